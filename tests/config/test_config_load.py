"""A file becomes `Settings`, or the list of everything that is wrong with it, each with its line."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from proxy.client_address.networks import NetworkSet
from proxy.client_address.resolve import ForwardingHeader, HopCount, SingleHeader, Strategy, TrustedProxies
from proxy.config import load as load_module
from proxy.config.binds import SocketAddress, UnixSocket
from proxy.config.load import load
from proxy.config.sections import Admin, Limits, Log, Timeouts, Tls
from proxy.config.settings import Aws, Listener
from proxy.errors import ConfigError
from proxy.policy.context import Context
from proxy.policy.evaluate import evaluate
from proxy.routing.mounts import Mount
from tests.config.config_files import BASE, EXAMPLES, load_text, problems_of, said, text_of

# What is wrong, in a file that is valid but for these lines, which come first: line, where, message, hint.
PROXIES = NetworkSet([ip_network("10.0.0.0/8")])

MISTAKES: list[tuple[dict[str, str], list[tuple[int, str, str, str]]]] = [
    # Unknown, missing and misplaced keys.
    (
        {"listener": "listener:\n  - bind: 127.0.0.1:1"},
        [(1, "listener", "there is no setting called 'listener'", "did you mean 'listeners'?")],
    ),
    (
        {"policy": "polcy: {allow: [office]}"},
        [(1, "polcy", "there is no setting called 'polcy'", "did you mean 'policy'?")],
    ),
    (
        {"xyz": "xyz: 1"},
        [
            (
                1,
                "xyz",
                "there is no setting called 'xyz'",
                "known are: access, admin, allowlists, api, api_keys, aws, client_address, cross_site_requests, "
                "hostname, instances, lifecycle, limits, listeners, log, policy, timeouts, tokens",
            )
        ],
    ),
    (
        {"listeners": "listeners:\n  - bind: 127.0.0.1:80\n    tls:\n      certificate: a\n      keey: b"},
        [
            (3, "listeners[0].tls.key", "is missing", "'key' is needed here"),
            (5, "listeners[0].tls.keey", "there is no setting called 'keey'", "did you mean 'key'?"),
        ],
    ),
    (
        {"instances": "instances:\n  a:\n    notebok: x"},
        [
            (2, "instances.a.notebook", "is missing", "'notebook' is needed here"),
            (3, "instances.a.notebok", "there is no setting called 'notebok'", "did you mean 'notebook'?"),
        ],
    ),
    (
        {"hostname": ""},
        [(1, "hostname", "is missing", "write the name that people type, such as hostname: notebooks.internal")],
    ),
    (
        {"policy": "policy:"},
        [
            (
                1,
                "policy",
                "is missing",
                "without it nobody is let in; name allowlists: policy: {allow: [office]}",
            )
        ],
    ),
    (
        {"instances": "instances: {}"},
        [
            (
                1,
                "instances",
                "there is no instance",
                "name at least one: instances: {research: {notebook: research-gpu-1}}",
            )
        ],
    ),
    # Wrong types.
    (
        {"listeners": "listeners: {bind: 127.0.0.1:80}"},
        [(1, "listeners", "must be a list, not a mapping", "write [one, two], or lines with '- '")],
    ),
    (
        {"listeners": "listeners: []"},
        [(1, "listeners", "listeners is empty", "remove the key to listen on 127.0.0.1:8080")],
    ),
    (
        {"aws": "aws: eu-west-1"},
        [
            (
                1,
                "aws",
                "must be a mapping, not 'eu-west-1'",
                "its keys: region, account, profile, assume_role, endpoint_url, notebook_origins, "
                "notebook_suffixes, notebook_endpoint, ca_bundle, https_proxy, no_proxy, forward_client_address, "
                "session_duration, session_margin, presigned_url_margin, connect_timeout, read_timeout",
            )
        ],
    ),
    (
        {"instances": "instances:\n  - notebook: x"},
        [(1, "instances", "must be a mapping, not a list", "")],
    ),
    (
        {"policy": "policy:\n  allow: office"},
        [(2, "policy.allow", "must be a list, not 'office'", "write [office]")],
    ),
    (
        {"log": "log:\n  access: on\n  level: INFO"},
        [
            (2, "log.access", "must be true or false, not 'on'", "write true, without quotes"),
            (3, "log.level", "'INFO' is not possible here", "write debug or info or warning or error"),
        ],
    ),
    (
        {"limits": "limits:\n  connections: '5'\n  request_head: 1KiB\n  replay_body: 65MiB"},
        [
            (
                2,
                "limits.connections",
                "must be a whole number, not '5'",
                "without quotes, dots or leading zeros",
            ),
            (3, "limits.request_head", "'1KiB' is too small", "from 4KiB to 1MiB"),
            (4, "limits.replay_body", "'65MiB' is too large", "from 0B to 64MiB"),
        ],
    ),
    # Addresses, the way YAML 1.1 and Python's ipaddress would read them (THREATS, "YAML/ipaddress").
    (
        {
            "allowlists": "allowlists:\n  office:\n    - yes\n    - 167772160\n    - 010.0.0.1\n    - 10.0.0.1/8\n"
            "    - 10.0.0.0/0.255.255.255\n    - 10.0.0.0/08\n    - fe80::1%eth0\n    - ::ffff:10.0.0.0/8"
        },
        [
            (
                3,
                "allowlists.office[0]",
                "'yes' is not an IP address",
                "write an address such as 203.0.113.7 or 2001:db8::7",
            ),
            (
                4,
                "allowlists.office[1]",
                "must be a network, not 167772160",
                'write it as text: "203.0.113.0/24"',
            ),
            (
                5,
                "allowlists.office[2]",
                "'010.0.0.1' has leading zeros, which some programs read as octal",
                "write 10.0.0.1 if that is meant",
            ),
            (
                6,
                "allowlists.office[3]",
                "'10.0.0.1/8' has host bits set",
                "write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address",
            ),
            (
                7,
                "allowlists.office[4]",
                "'10.0.0.0/0.255.255.255' does not end in a prefix length",
                "write 10.0.0.0/8",
            ),
            (
                8,
                "allowlists.office[5]",
                "'10.0.0.0/08' has a leading zero in its prefix length",
                "write /8",
            ),
            (
                9,
                "allowlists.office[6]",
                "'fe80::1%eth0' has a zone",
                "write fe80::1: zones mean nothing to other machines",
            ),
            (
                10,
                "allowlists.office[7]",
                "'::ffff:10.0.0.0/8' reaches outside of the IPv4-mapped addresses",
                "write the IPv4 network, such as 10.0.0.0/8",
            ),
        ],
    ),
    # Empty lists: an empty allowlist is never taken for "no list" (THREATS, Traefik #11605).
    *(
        (
            {"allowlists": f"allowlists:\n  office: {empty}"},
            [
                (
                    2,
                    "allowlists.office",
                    "the list is empty",
                    "it would let nobody in; write networks such as 203.0.113.0/24, or remove the list",
                )
            ],
        )
        for empty in ("", "[]", "~")
    ),
    *(
        (
            {"policy": f"policy:\n  allow: {empty}"},
            [
                (
                    2,
                    "policy.allow",
                    "allow is empty",
                    "it would let nobody in; name at least one of the allowlists: allow: [office]",
                )
            ],
        )
        for empty in ("", "[]")
    ),
    (
        {"policy": "policy:\n  deny: [office]"},
        [(1, "policy.allow", "is missing", "name allowlists: allow: [office]; or write IAM statements")],
    ),
    (
        {"instances": "instances:\n  a:\n    notebook: x\n    allow:"},
        [
            (
                4,
                "instances.a.allow",
                "allow is empty",
                "it would let nobody in; name allowlists, or remove the key to let the gateway-wide policy decide",
            )
        ],
    ),
    # References.
    (
        {
            "policy": "policy:\n  allow: [offfice]\n  deny:\n    - office\n    - nowhere",
            "instances": "instances:\n  a:\n    notebook: x\n    allow: [203.0.113.0/24]\n    deny: [3, vpm]",
        },
        [
            (2, "policy.allow[0]", "there is no list called 'offfice'", "did you mean 'office'?"),
            (5, "policy.deny[1]", "there is no list called 'nowhere'", "known are: office, vpn"),
            (
                9,
                "instances.a.allow[0]",
                "there is no list called '203.0.113.0/24'",
                "give the network a name: allowlists: {office: [203.0.113.0/24]}, and write office here",
            ),
            (10, "instances.a.deny[0]", "must be the name of a list, not 3", "such as office"),
            (10, "instances.a.deny[1]", "there is no list called 'vpm'", "did you mean 'vpn'?"),
        ],
    ),
    (
        {"policy": "policy: {allow: [10.0.0.4-10.0.0.9]}"},
        [
            (
                1,
                "policy.allow[0]",
                "there is no list called '10.0.0.4-10.0.0.9'",
                "write networks: 10.0.0.4/30, 10.0.0.8/31, in a list with a name: allowlists: {office: […]}, and write "
                "office here",
            ),
        ],
    ),
    (
        {"allowlists": "", "policy": "policy: {allow: [office]}"},
        [
            (
                1,
                "policy.allow[0]",
                "there is no list called 'office'",
                "define it: allowlists: {office: [203.0.113.0/24]}",
            )
        ],
    ),
    # Mounts.
    (
        {
            "instances": "instances:\n  a: {notebook: x, mount: root}\n  b:\n    notebook: y\n    mount: root\n"
            "  c: {notebook: x}\n  d: {notebook: x, mount: {path: /c/}}\n  e: {notebook: x, mount: {path: /c/e/}}"
        },
        [
            (
                5,
                "instances.b.mount",
                "clashes with the mount of 'a': only one instance can be mounted at the root",
                "write {path: /b/}, or {host: b.nb.internal}",
            ),
            (
                7,
                "instances.d.mount",
                "clashes with the mount of 'c': both at path /c/",
                "choose another path",
            ),
            *(
                (
                    8,
                    "instances.e.mount",
                    f"clashes with the mount of '{other}': "
                    "path /c/e/ lies inside /c/, whose cookies browsers would send along",
                    "choose another path",
                )
                for other in ("c", "d")
            ),
        ],
    ),
    (
        {
            "instances": "instances:\n  a: {notebook: x, mount: {host: NB.internal}}\n"
            "  b: {notebook: y, mount: {host: c.nb.internal}}\n  c: {notebook: y, mount: {host: C.nb.internal.}}"
        },
        [
            (
                2,
                "instances.a.mount",
                "nb.internal is the gateway's own hostname",
                "give it a name of its own, such as a.nb.internal; or write root",
            ),
            (
                4,
                "instances.c.mount",
                "clashes with the mount of 'b': both at host c.nb.internal",
                "choose another host",
            ),
        ],
    ),
    (
        {
            "listeners": "listeners: [{bind: 127.0.0.1:80}, {bind: 127.0.0.1:81, public_port: 8444}]",
            "instances": "instances:\n  a: {notebook: x, mount: {port: 81}}\n"
            "  b: {notebook: y, mount: {port: 8444}}\n  c: {notebook: y, mount: {port: 8444}}",
        },
        [
            (
                3,
                "instances.a.mount",
                "no listener has port 81",
                "add one to listeners: '- bind: 0.0.0.0:81', or 'public_port: 81' to one",
            ),
            (5, "instances.c.mount", "clashes with the mount of 'b': both at port 8444", "choose another port"),
        ],
    ),
    (
        {"instances": "instances:\n  a: {notebook: x, mount: {port: 8080}}\n  b: {notebook: y}"},
        [
            (
                3,
                "instances.b",
                "every listener's port belongs to an instance on a port mount, and none leads here",
                "add a listener with another port",
            )
        ],
    ),
    (
        {"instances": "instances:\n  api:\n    notebook: x"},
        [
            (
                2,
                "instances.api",
                "'/api/' meets the gateway's own pages at /api/gateway/",
                "write a mount, such as {path: /api-notebook/}",
            )
        ],
    ),
    # Listeners.
    (
        {
            "listeners": "listeners:\n  - bind: 127.0.0.1:9901\n  - bind: 0.0.0.0:9901\n"
            "  - {bind: '[::]:9901', scheme: http, tls: {certificate: a, key: b}}"
        },
        [
            (1, "admin.bind", "127.0.0.1:9901 is in use by listeners[0]",
             "give it a port of its own: admin: {bind: 127.0.0.1:9901}"),
            (3, "listeners[1].bind", "0.0.0.0:9901 is in use by listeners[0]", "choose another port or address"),
            (4, "listeners[2].scheme", "a listener with tls is https", "remove one of the two"),
        ],
    ),
    (
        {"hostname": "hostname:\n  - nb.internal\n  - NB.internal."},
        [(3, "hostname[1]", "'nb.internal' is listed twice", "keep one of them")],
    ),
    (
        {"hostname": "hostname: nb.internal:8443"},
        [
            (
                1,
                "hostname",
                "'nb.internal:8443' is not a host name",
                "write nb.internal; the port belongs to a listener (bind, public_port)",
            )
        ],
    ),
    # AWS.
    (
        {"aws": "aws:\n  profile: x"},
        [(1, "aws.region", "no AWS Region is known", "write aws: {region: eu-west-1}, or set AWS_REGION")],
    ),
    (
        {"aws": "aws:\n  region: eu-west-1\n  notebook_origins: [http://127.0.0.1:1]"},
        [
            (
                3,
                "aws.notebook_origins",
                "is for a test endpoint only, and endpoint_url is not one on this machine",
                "remove it: SageMaker's own notebook hosts are known",
            )
        ],
    ),
    (
        {
            "aws": "aws:\n  region: eu-west-1\n  endpoint_url: https://vpce.example\n"
            "  notebook_origins: [http://127.0.0.1:1, http://evil.example]"
        },
        [
            (
                4,
                "aws.notebook_origins[1]",
                "plain http is refused beyond this machine",
                "write https://evil.example; plain http is for a test endpoint on 127.0.0.1",
            ),
            (
                4,
                "aws.notebook_origins",
                "is for a test endpoint only, and endpoint_url is not one on this machine",
                "remove it: SageMaker's own notebook hosts are known",
            ),
        ],
    ),
    (
        {
            "aws": "aws:\n  region: eu-west-1\n  notebook_suffixes: [sagemaker.aws, 10.0.0.1]\n"
            "  notebook_endpoint: https://vpce.example\n  https_proxy: socks5://u:hunter22@p:1080\n"
            "  no_proxy: [10.0.0.0/8, '*.internal', 'a, b']"
        },
        [
            (
                3,
                "aws.notebook_suffixes[0]",
                "'sagemaker.aws' would let too many hosts in",
                "write all that stands behind the instance's name, such as notebook.eusc-de-east-1.sagemaker.eu",
            ),
            (
                3,
                "aws.notebook_suffixes[1]",
                "'10.0.0.1' would let too many hosts in",
                "write all that stands behind the instance's name, such as notebook.eusc-de-east-1.sagemaker.eu",
            ),
            (
                4,
                "aws.notebook_endpoint",
                "'https://vpce.example' is not a host name",
                "leave scheme and path out: vpce.example",
            ),
            (
                5,
                "aws.https_proxy",
                "is neither an http nor an https URL",
                "such as http://proxy.internal:3128",
            ),
            (
                6,
                "aws.no_proxy[0]",
                "'10.0.0.0/8': networks are not read here, nor by botocore",
                "list addresses and names",
            ),
            (
                6,
                "aws.no_proxy[1]",
                "'*.internal': no wildcards, a name counts for all below it",
                "write .internal",
            ),
            (6, "aws.no_proxy[2]", "'a, b' is not one name or address", "write a list"),
        ],
    ),
    ({"aws": "aws:\n  region: eu-west-1\n  https_proxy: 7"}, [
        (3, "aws.https_proxy", "must be text", "such as http://proxy.internal:3128")
    ]),
    (
        {"aws": "aws:\n  region: eu-west-1\n  session_duration: 30m\n  session_margin: 20m"},
        [(4, "aws.session_margin", "is more than half of session_duration", "at most 15m")],
    ),
    (
        {"timeouts": "timeouts:\n  websocket_silence: 25s"},
        [
            (
                2,
                "timeouts.websocket_silence",
                "must be longer than websocket_ping",
                "leave time for three pings: 75s",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  trusted_proxies: [0.0.0.0/0]\n  header: x real ip"},
        [
            (
                2,
                "client_address.trusted_proxies[0]",
                "0.0.0.0/0 would let every caller choose its own address",
                "list the networks that the load balancers or proxies connect from",
            ),
            (
                3,
                "client_address.header",
                "'x real ip' is not the name of a header",
                "such as x-forwarded-for or cf-connecting-ip",
            ),
        ],
    ),
    (
        {"client_address": "client_address:\n  trusted_proxies: [10.0.0.0/24]\n  header: x-real-ip"},
        [
            (
                3,
                "client_address.header",
                "'x-real-ip' is not a list of hops",
                "write x-forwarded-for or forwarded; strategy: single_header reads a header that holds one address",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  strategy: rightmost"},
        [
            (
                2,
                "client_address.strategy",
                "'rightmost' is not possible here",
                "write peer or trusted_proxies or hop_count or single_header",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  header: true-client-ip\n  hops: 2"},
        [
            (
                line,
                f"client_address.{key}",
                "says nothing where no proxy is trusted",
                "list the proxies that write it: trusted_proxies: [10.0.0.0/24]",
            )
            for line, key in ((2, "header"), (3, "hops"))
        ],
    ),
    (
        {"client_address": "client_address:\n  strategy: peer\n  trusted_proxies: [10.0.0.0/24]"},
        [
            (
                3,
                "client_address.trusted_proxies",
                "says nothing where no proxy is trusted",
                "choose a strategy that reads a header",
            )
        ],
    ),
    (
        {
            "listeners": "listeners: [{bind: 'unix:/run/nb.sock', trust_unix: header}]",
            "client_address": "client_address:\n  strategy: peer",
        },
        [
            (
                3,
                "client_address.strategy",
                "has no use for the header that trust_unix relies on",
                "remove it, or write trust_unix: proxy_protocol",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  strategy: trusted_proxies"},
        [
            (
                2,
                "client_address.strategy",
                "needs proxies that are trusted",
                "list the networks that they connect from: trusted_proxies: [10.0.0.0/24]",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  strategy: hop_count\n  trusted_proxies: [10.0.0.0/24]"},
        [(2, "client_address.strategy", "needs a number of hops", "such as hops: 2")],
    ),
    (
        {"client_address": "client_address:\n  hops: 2\n  trusted_proxies: [10.0.0.0/24]"},
        [
            (
                2,
                "client_address.hops",
                "says nothing with strategy trusted_proxies",
                "write strategy: hop_count",
            )
        ],
    ),
    (
        {"client_address": "client_address:\n  strategy: single_header\n  trusted_proxies: [10.0.0.0/24]"},
        [(2, "client_address.strategy", "needs a header", "such as header: cf-connecting-ip")],
    ),
    (
        {
            "client_address": "client_address:\n  strategy: single_header\n  trusted_proxies: [10.0.0.0/24]\n"
            "  header: X-Forwarded-For"
        },
        [
            (
                4,
                "client_address.header",
                "'x-forwarded-for' is a list of hops",
                "write strategy: trusted_proxies, or hop_count",
            )
        ],
    ),
    (
        {
            "client_address": "client_address:\n  strategy: single_header\n  trusted_proxies: [10.0.0.0/24]\n"
            "  header: CF-Ray"
        },
        [
            (
                4,
                "client_address.header",
                "'cf-ray' numbers requests",
                "write the header that holds the client's address, such as cf-connecting-ip",
            )
        ],
    ),
    (
        {"listeners": "listeners:\n  - bind: unix:/run/nb.sock"},
        [
            (
                2,
                "listeners[0].bind",
                "nobody would be let in: who connects to a Unix socket has no address",
                "say who the client is: trust_unix: header, or trust_unix: proxy_protocol",
            )
        ],
    ),
    (
        {
            "listeners": "listeners:\n  - bind: unix:/run/nb.sock\n    proxy_protocol: [10.0.0.0/8]\n"
            "    mode: '0999'"
        },
        [(4, "listeners[0].mode", "'0999' is not a file's mode", 'three octal digits, in quotes: "0660"')],
    ),
    (
        {"listeners": "listeners:\n  - bind: unix:/run/nb.sock\n    proxy_protocol: [10.0.0.0/8]"},
        [
            (
                3,
                "listeners[0].proxy_protocol",
                "lists networks, and a Unix socket has no addresses",
                "write trust_unix: proxy_protocol, and see to it who may open the socket",
            )
        ],
    ),
    (
        {
            "listeners": "listeners:\n  - bind: 127.0.0.1:80\n    mode: '0600'\n    trust_unix: header\n"
            "  - bind: 127.0.0.1:81\n    trust_unix: proxy_protocol"
        },
        [
            (3, "listeners[0].mode", "is for Unix sockets only", "remove it"),
            (
                4,
                "listeners[0].trust_unix",
                "is for Unix sockets only",
                "remove it; proxies that connect over TCP belong into client_address.trusted_proxies",
            ),
            (
                6,
                "listeners[1].trust_unix",
                "is for Unix sockets only",
                "list the load balancers: proxy_protocol: [10.0.0.0/24]",
            ),
        ],
    ),
    (
        {
            "listeners": "listeners:\n  - {bind: 'unix:/run/nb.sock', trust_unix: header}\n"
            "  - {bind: 'unix:/run/nb.sock', trust_unix: header}"
        },
        [
            (
                3,
                "listeners[1].bind",
                "unix:/run/nb.sock is in use by listeners[0]",
                "choose another port or address",
            )
        ],
    ),
    (
        {"listeners": "listeners:\n  - bind: 127.0.0.1:80\n    proxy_protocol: []"},
        [
            (
                3,
                "listeners[0].proxy_protocol",
                "proxy_protocol is empty",
                "list the networks that the load balancers connect from, or remove the key",
            )
        ],
    ),
    (
        {"listeners": "listeners:\n  - bind: 127.0.0.1:80\n    proxy_protocol: ['::/0']"},
        [
            (
                3,
                "listeners[0].proxy_protocol[0]",
                "::/0 would let every caller choose its own address",
                "list the networks that the load balancers or proxies connect from",
            )
        ],
    ),
    (
        {"admin": "admin: {bind: 'unix:/run/nb.sock'}"},
        [(1, "admin.bind", "'unix:/run/nb.sock' is not an address and a port",
          "write 127.0.0.1:8080 or '[::1]:8080'")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "expected"),
    MISTAKES,
    ids=lambda value: next(iter(value.values()), "")[:40] if isinstance(value, dict) else "",
)
def test_each_mistake_is_told_with_its_line_and_what_to_write_instead(
    tmp_path: Path, sections: dict[str, str], expected: list[tuple[int, str, str, str]]
) -> None:
    told = [said(problem) for problem in problems_of(tmp_path, text_of(**sections))]
    assert sorted(told) == sorted(expected)


SEVERAL = """\
hostname: nb.internal
listeners:
  - bind: localhost:8443
    tls: {certificate: tls.crt}
allowlists:
  office: [203.0.113.0/24, 10.0.0.1/8]
  office: [198.51.100.7]
policy:
  allow: [ofice]
instances:
  Research:
    notebook: research-gpu-1
  nlp:
    notebook: ${NLP}
    mount: root
  vision:
    notebook: vision
    mount: root
    alow: [office]
timeouts: {idle: 1:30}
"""

SEVERAL_TOLD = """\
nbgate.yaml:1: aws.region: no AWS Region is known (write aws: {region: eu-west-1}, or set AWS_REGION)
nbgate.yaml:3: listeners[0].bind: 'localhost:8443' does not begin with an IP address (write 127.0.0.1:8443)
nbgate.yaml:4: listeners[0].tls.key: is missing ('key' is needed here)
nbgate.yaml:6: allowlists.office[1]: '10.0.0.1/8' has host bits set \
(write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address)
nbgate.yaml:7: allowlists.office: the key is here twice, first on line 6 (keep one of them)
nbgate.yaml:9: policy.allow[0]: there is no list called 'ofice' (did you mean 'office'?)
nbgate.yaml:11: instances.Research: 'Research' cannot be an instance's name here (write research)
nbgate.yaml:14: instances.nlp.notebook: the environment variable NLP is not set \
(set it, or give a default: ${NLP:-default})
nbgate.yaml:18: instances.vision.mount: clashes with the mount of 'nlp': only one instance can be mounted at the root \
(write {path: /vision/}, or {host: vision.nb.internal})
nbgate.yaml:19: instances.vision.alow: there is no setting called 'alow' (did you mean 'allow'?)
nbgate.yaml:20: timeouts.idle: '1:30' is not a duration (write 90s if those are minutes and seconds)
"""


def test_all_problems_are_told_in_one_go_in_the_order_of_the_file(tmp_path: Path) -> None:
    told = [f"{problem}\n" for problem in problems_of(tmp_path, SEVERAL)]
    assert "".join(told) == SEVERAL_TOLD


@pytest.mark.parametrize("text", ["[]\n", "just text\n", "12\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    told = problems_of(tmp_path, text)
    assert said(told[0]) == (1, "", "the file must be a mapping", "begin with hostname: notebooks.internal")


def test_a_file_that_cannot_be_read_is_a_problem_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "missing.yaml", environ={})
    assert str(caught.value) == f"{tmp_path}/missing.yaml: cannot be read: No such file or directory"


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path, b"a: 1\nb: \xff\n")
    assert said(told) == (2, "", "is not UTF-8 text", "save the file as UTF-8")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_text(tmp_path, b"\xef\xbb\xbf" + text_of().encode()).hostnames == ("nb.internal",)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "MAX_BYTES", 1024**2)
    (told,) = problems_of(tmp_path, b"#" * (1024**2 + 1))
    assert told.message == "is larger than 1 MiB"


# What a file means.


def test_defaults_are_those_of_settings(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of())
    assert settings.hostnames == ("nb.internal",)
    assert settings.listeners == (
        Listener(SocketAddress("127.0.0.1", 8080), scheme="http", public_port=8080),
    )
    assert settings.admin == Admin(SocketAddress("127.0.0.1", 9901))
    assert len(settings.address_strategy.networks) == 0
    assert settings.address_strategy.header is ForwardingHeader.X_FORWARDED_FOR
    assert settings.aws == Aws(region="eu-west-1")
    assert settings.limits == Limits()
    assert settings.timeouts == Timeouts()
    assert settings.log == Log()
    assert settings.source == tmp_path / "nbgate.yaml"
    instance = settings.instances["research"]
    assert instance.notebook == "research-gpu-1"
    assert instance.mount == Mount.at_path("/research/")
    assert instance.restriction is None
    assert instance.assume_role is None


def test_sections_may_be_empty_mappings(tmp_path: Path) -> None:
    sections = {name: f"{name}: {{}}" for name in ("admin", "client_address", "limits", "timeouts", "log")}
    plain = load_text(tmp_path, text_of())
    assert load_text(tmp_path, text_of(**sections)) == plain


@pytest.mark.parametrize(
    ("written", "scheme", "public_port", "tls"),
    [
        ("{bind: 0.0.0.0:80}", "http", 80, False),
        ("{bind: 0.0.0.0:8443, tls: {certificate: a, key: /b}}", "https", 8443, True),
        ("{bind: 0.0.0.0:8443, tls: {certificate: a, key: /b}, public_port: 443}", "https", 443, True),
        # Where something in front terminates TLS, people type no port.
        ("{bind: 127.0.0.1:8080, scheme: https}", "https", 443, False),
        ("{bind: 127.0.0.1:8080, scheme: https, public_port: 8443}", "https", 8443, False),
        ("{bind: 127.0.0.1:0}", "http", 0, False),
    ],
)
def test_what_the_address_bar_says_is_worked_out(
    tmp_path: Path, written: str, scheme: str, public_port: int, tls: bool
) -> None:
    (listener,) = load_text(tmp_path, text_of(listeners=f"listeners: [{written}]")).listeners
    assert (listener.scheme, listener.public_port) == (scheme, public_port)
    assert listener.tls == (Tls(tmp_path / "a", Path("/b")) if tls else None)


@pytest.mark.parametrize(
    ("written", "strategy"),
    [
        ("{}", TrustedProxies()),
        ("{strategy: peer}", TrustedProxies()),
        ("{trusted_proxies: [10.0.0.0/8]}", TrustedProxies(PROXIES)),
        ("{strategy: trusted_proxies, trusted_proxies: [10.0.0.0/8]}", TrustedProxies(PROXIES)),
        (
            "{trusted_proxies: [10.0.0.0/8], header: Forwarded}",
            TrustedProxies(PROXIES, ForwardingHeader.FORWARDED),
        ),
        ("{strategy: hop_count, trusted_proxies: [10.0.0.0/8], hops: 2}", HopCount(PROXIES, 2)),
        (
            "{strategy: hop_count, trusted_proxies: [10.0.0.0/8], hops: 1, header: forwarded}",
            HopCount(PROXIES, 1, ForwardingHeader.FORWARDED),
        ),
        (
            "{strategy: single_header, trusted_proxies: [10.0.0.0/8], header: True-Client-IP}",
            SingleHeader(PROXIES, "true-client-ip"),
        ),
    ],
)
def test_each_shape_of_deployment_has_its_strategy(tmp_path: Path, written: str, strategy: Strategy) -> None:
    settings = load_text(tmp_path, text_of(client_address=f"client_address: {written}"))
    assert settings.address_strategy == strategy


def test_a_unix_socket_is_trusted_to_name_the_client_in_one_of_two_ways(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            listeners="listeners:\n  - {bind: 'unix:/run/a.sock', trust_unix: header, mode: '0600', scheme: https}\n"
            "  - {bind: 'unix:/run/b.sock', trust_unix: proxy_protocol, public_port: 8080}\n"
            "  - {bind: '0.0.0.0:8443', proxy_protocol: [10.0.0.0/8]}"
        ),
    )
    assert settings.listeners == (
        Listener(
            UnixSocket(Path("/run/a.sock"), 0o600),
            scheme="https",
            public_port=443,
            trust_unix=True,
            is_scheme_written=True,
        ),
        Listener(UnixSocket(Path("/run/b.sock")), public_port=8080, proxy_protocol=NetworkSet()),
        Listener(SocketAddress("0.0.0.0", 8443), public_port=8443, proxy_protocol=PROXIES),
    )
    # No network is trusted, but the header counts: of whom, the listener says.
    assert settings.address_strategy == TrustedProxies()


def test_admin_null_means_no_admin_listener(tmp_path: Path) -> None:
    assert load_text(tmp_path, text_of(admin="admin: null")).admin is None


def test_ports_that_the_kernel_picks_do_not_clash(tmp_path: Path) -> None:
    sections = {
        "listeners": "listeners: [{bind: 127.0.0.1:0}, {bind: 127.0.0.1:0}]",
        "admin": "admin: {bind: 127.0.0.1:0}",
    }
    assert len(load_text(tmp_path, text_of(**sections)).listeners) == 2


def test_every_section_reaches_settings(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            hostname="hostname: [NB.internal, localhost]",
            client_address="client_address: {trusted_proxies: [10.0.0.0/8], header: Forwarded}",
            aws="aws: {region: us-east-1, profile: p, endpoint_url: 'http://127.0.0.1:9000', "
            "assume_role: 'arn:aws:iam::123456789012:role/gateway', session_duration: 1h, session_margin: 1m, "
            "presigned_url_margin: 1m, connect_timeout: 1s, read_timeout: 2s, "
            "notebook_origins: ['http://127.0.0.1:9001']}",
            limits="limits: {request_head: 4KiB, connections: 7}",
            timeouts="timeouts: {drain: 0, connect: 100ms}",
            log="log: {format: json, level: debug, access: false}",
            instances="instances:\n  own: {notebook: a, assume_role: 'arn:aws:iam::123456789012:role/own'}\n"
            "  other: {notebook: b, mount: root}",
        ),
    )
    assert settings.hostnames == ("nb.internal", "localhost")
    assert list(settings.address_strategy.networks) == [ip_network("10.0.0.0/8")]
    assert settings.address_strategy.header is ForwardingHeader.FORWARDED
    assert settings.aws == Aws(
        region="us-east-1",
        profile="p",
        endpoint_url="http://127.0.0.1:9000",
        assume_role="arn:aws:iam::123456789012:role/gateway",
        session_seconds=3600,
        session_margin_seconds=60.0,
        presigned_url_margin_seconds=60.0,
        connect_timeout_seconds=1.0,
        read_timeout_seconds=2.0,
        notebook_origins=("http://127.0.0.1:9001",),
    )
    assert settings.limits == Limits(request_head_bytes=4096, connections=7)
    assert settings.timeouts == Timeouts(drain_seconds=0.0, connect_seconds=0.1)
    assert settings.log == Log(format="json", level="debug", access=False)
    roles = {name: instance.assume_role for name, instance in settings.instances.items()}
    assert roles == {
        "own": "arn:aws:iam::123456789012:role/own",
        "other": "arn:aws:iam::123456789012:role/gateway",
    }


@pytest.mark.parametrize(
    ("address", "instance", "allowed"),
    [
        ("203.0.113.9", "open", True),
        ("198.51.100.7", "open", True),
        ("192.0.2.1", "open", False),
        ("203.0.113.200", "open", False),
        # An instance narrows the gateway-wide policy and never widens it.
        ("198.51.100.7", "narrow", True),
        ("203.0.113.9", "narrow", False),
        ("192.0.2.1", "narrow", False),
        ("203.0.113.9", "denying", True),
        ("198.51.100.7", "denying", False),
    ],
)
def test_lists_are_compiled_to_each_instances_policy(
    tmp_path: Path, address: str, instance: str, allowed: bool
) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            allowlists="allowlists: {office: [203.0.113.0/24], vpn: [198.51.100.7], other: [192.0.2.0/24], "
            "bots: [203.0.113.200]}",
            policy="policy: {allow: [office, vpn], deny: [bots]}",
            instances="instances:\n  open: {notebook: a}\n  narrow: {notebook: b, allow: [vpn, other]}\n"
            "  denying: {notebook: c, deny: [vpn]}",
        ),
    )
    decision = evaluate(settings.instances[instance].policy, Context(source_ip=ip_address(address)))
    assert decision.allowed is allowed


def test_the_region_comes_from_the_environment_where_the_file_has_none(tmp_path: Path) -> None:
    def region(**environ: str) -> str:
        return load_text(tmp_path, text_of(aws=""), environ=environ).aws.region

    assert region(AWS_REGION="eu-west-3", AWS_DEFAULT_REGION="eu-west-2") == "eu-west-3"
    assert region(AWS_DEFAULT_REGION="eu-west-2") == "eu-west-2"
    (told,) = problems_of(tmp_path, text_of(aws=""), environ={"AWS_REGION": "Paris"})
    assert told.message == "AWS_REGION of the environment: 'Paris' is not the code of an AWS Region"


def test_references_to_the_environment_are_replaced_and_typed(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            hostname="hostname: ${HOST}",
            listeners="listeners:\n  - bind: 127.0.0.1:${PORT}\n    public_port: ${PUBLIC}",
            aws="aws:\n  region: '${REGION:-eu-west-1}'\n  profile: ${PROFILE:-}",
        ),
        environ={"HOST": "nb.internal", "PORT": "8443", "PUBLIC": "443"},
    )
    assert settings.hostnames == ("nb.internal",)
    assert str(settings.listeners[0].bind).endswith(":8443")
    assert settings.listeners[0].public_port == 443
    assert settings.aws.profile is None


def test_a_wrong_value_from_the_environment_is_not_shown(tmp_path: Path) -> None:
    text = text_of(aws="aws:\n  region: ${SECRET}", allowlists="allowlists: {office: ['${SECRET}/24']}")
    told = problems_of(tmp_path, text, environ={"SECRET": "hunter2-hunter2"})
    assert "hunter2" not in "".join(str(problem) for problem in told)
    assert said(told[0])[:3] == (2, "aws.region", "'${SECRET}' is not the code of an AWS Region")


def test_loading_twice_gives_equal_settings(tmp_path: Path) -> None:
    """A reload that changes nothing can be seen to change nothing."""
    assert load_text(tmp_path, text_of()) == load_text(tmp_path, text_of())


# The examples.


@pytest.mark.parametrize("name", ["minimal.yaml", "nbgate.yaml"])
def test_examples_are_valid(name: str) -> None:
    assert load(EXAMPLES / name, environ={}).hostnames == ("notebooks.internal",)


def test_the_annotated_examples_comments_show_the_defaults(tmp_path: Path) -> None:
    """Every setting that is commented out with a value can be uncommented, and changes nothing."""
    text = (EXAMPLES / "nbgate.yaml").read_text()
    sections = re.findall(r"(?m)^# (?:admin|limits|timeouts|log):\n(?:#   .*\n)+", text)
    assert len(sections) == 4
    uncommented = "".join(re.sub(r"(?m)^# ", "", section) for section in sections)
    aws = re.findall(r"(?m)^  # ((?:session|presigned|connect|read|notebook|forward)_\w+: +[\w\[]\S*)", text)
    assert len(aws) == 8
    settings = load_text(
        tmp_path,
        uncommented + text_of(aws="aws:\n  region: eu-west-1\n" + "".join(f"  {line}\n" for line in aws)),
    )
    assert settings == load_text(tmp_path, "\n".join(BASE.values()))


def test_an_instance_may_have_been_elsewhere(tmp_path: Path) -> None:
    """By its former name, a path or a host; also by its own name where that is not its mount any more."""
    written = "[b, {path: /team/gpu/}, {host: Old.nb.internal}]"
    settings = load_text(
        tmp_path,
        text_of(
            instances=f"instances: {{b: {{notebook: x, mount: {{host: b.nb.internal}}, aliases: {written}}}}}"
        ),
    )
    assert settings.instances["b"].aliases == (
        Mount.at_path("/b/"),
        Mount.at_path("/team/gpu/"),
        Mount.on_host("old.nb.internal"),
    )


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("/old/", "'/old/' is not a name"),
        ("old.nb.internal", "'old.nb.internal' is not a name"),
        ("root", "'root' is not an alias"),
        ("7", "7 is not an alias"),
        ("{port: 8444}", "a port cannot be an alias"),
        ("{path: /.nbgate/x/}", "'/.nbgate/x/' meets the gateway's own pages at /.nbgate/"),
        ("{host: nb.internal}", "nb.internal is the gateway's own hostname"),
        ("b", "path /b/ never leads anywhere: the mount of 'b' is there"),
        ("a", "path /a/ never leads anywhere: the mount of 'a' is there"),
        ("{path: /a/x/}", "path /a/x/ never leads anywhere: the mount of 'a' is there"),
        ("{host: c.nb.internal}", "host c.nb.internal never leads anywhere: the mount of 'c' is there"),
        ("d", "path /d/ never leads anywhere: an alias of 'c' is there"),
        ("{path: /d/e/}", "path /d/e/ never leads anywhere: an alias of 'c' is there"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused(tmp_path: Path, alias: str, message: str) -> None:
    instances = (
        "instances: {a: {notebook: x}, c: {notebook: x, mount: {host: c.nb.internal}, aliases: [d]}, "
        f"b: {{notebook: y, aliases: [{alias}]}}}}"
    )
    [problem] = problems_of(tmp_path, text_of(instances=instances))
    assert (problem.where, problem.message) == ("instances.b.aliases[0]", message)
    assert problem.hint
