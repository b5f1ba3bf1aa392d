"""One spelling for one meaning; whoever writes another is told the right one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.client_address.networks import AddressError
from proxy.config import places, values
from proxy.config.binds import SocketAddress, UnixSocket
from proxy.config.values import ValueProblem
from proxy.routing.mounts import Mount


def duration(value: object) -> float:
    return values.parse_duration(value, at_least=0, at_most=1e9)


def size(value: object) -> int:
    return values.parse_size(value, at_least=0, at_most=2**62)


def size_or_none(value: object) -> int | None:
    return values.parse_size_or_none(value, at_least=0, at_most=2**62)


def count(value: object) -> int:
    return values.parse_count(value, at_most=100)


@pytest.mark.parametrize(
    ("parse", "written", "meant"),
    [
        (duration, "500ms", 0.5),
        (duration, "30ms", 0.03),
        (duration, "90s", 90.0),
        (duration, "5m", 300.0),
        (duration, "12h", 43200.0),
        (duration, "1d", 86400.0),
        (duration, 75, 75.0),
        (duration, 0, 0.0),
        (size, "512B", 512),
        (size, "64KiB", 65536),
        (size, "8MiB", 8 * 1024**2),
        (size, "1GiB", 1024**3),
        (size, 4096, 4096),
        (size_or_none, "unlimited", None),
        (size_or_none, "64MiB", 64 * 1024**2),
        (count, 1, 1),
        (count, 100, 100),
        (values.parse_flag, True, True),
        (values.parse_flag, False, False),
        (places.parse_bind, "127.0.0.1:8080", SocketAddress("127.0.0.1", 8080)),
        (places.parse_bind, "[::1]:8080", SocketAddress("::1", 8080)),
        (places.parse_bind, "[0:0::1]:8080", SocketAddress("::1", 8080)),
        (places.parse_bind, "0.0.0.0:0", SocketAddress("0.0.0.0", 0)),
        (places.parse_listener_bind, "127.0.0.1:8080", SocketAddress("127.0.0.1", 8080)),
        (places.parse_listener_bind, "unix:/run/nbgate.sock", UnixSocket(Path("/run/nbgate.sock"))),
        (places.parse_listener_bind, "unix:/run/" + "n" * 102, UnixSocket(Path("/run/" + "n" * 102))),
        (places.parse_mode, "0660", 0o660),
        (places.parse_mode, "600", 0o600),
        (places.parse_header, "CF-Connecting-IP", "cf-connecting-ip"),
        (places.parse_port, 65535, 65535),
        (places.parse_hostname, "Notebooks.Internal.", "notebooks.internal"),
        (places.parse_hostname, "localhost", "localhost"),
        (places.parse_hostname, "127.0.0.1", "127.0.0.1"),
        (places.parse_hostname, "[::1]", "[::1]"),
        (places.parse_hostname, "xn--bcher-kva.example", "xn--bcher-kva.example"),
        (values.parse_instance_name, "a", "a"),
        (values.parse_instance_name, "gpu-1", "gpu-1"),
        (values.parse_instance_name, "a" * 63, "a" * 63),
        (values.parse_notebook, "My-Notebook--1", "My-Notebook--1"),
        (values.parse_notebook, "n" * 63, "n" * 63),
        (values.parse_region, "eu-west-1", "eu-west-1"),
        (values.parse_region, "us-gov-east-1", "us-gov-east-1"),
        (values.parse_region, "cn-northwest-1", "cn-northwest-1"),
        (values.parse_role, "arn:aws-cn:iam::123456789012:role/a/b", "arn:aws-cn:iam::123456789012:role/a/b"),
        (places.parse_endpoint, "https://api.sagemaker.example", "https://api.sagemaker.example"),
        (places.parse_endpoint, "https://API.example:444/", "https://api.example:444"),
        (places.parse_endpoint, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (places.parse_endpoint, "http://[::1]:9000", "http://[::1]:9000"),
        (places.parse_endpoint, "http://localhost:9000", "http://localhost:9000"),
        (places.parse_notebook_origin, "https://127.0.0.1:9001", "https://127.0.0.1:9001"),
        (places.parse_mount, "root", Mount.root()),
        (places.parse_mount, {"host": "NLP.nb.internal"}, Mount.on_host("nlp.nb.internal")),
        (places.parse_mount, {"port": 8444}, Mount.on_port(8444)),
        (places.parse_mount, {"path": "/research"}, Mount.at_path("/research/")),
    ],
)  # fmt: skip
def test_what_is_read(parse: Callable[[object], object], written: object, meant: object) -> None:
    assert parse(written) == meant
    assert type(parse(written)) is type(meant)


@pytest.mark.parametrize(
    ("parse", "written", "told"),
    [
        (duration, "90", "'90' is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, "1:30", "'1:30' is not a duration | write 90s if those are minutes and seconds"),
        (duration, "12:30:00", "'12:30:00' is not a duration | "
                               "write 45000s if those are hours, minutes and seconds"),
        (duration, "1h30m", "'1h30m' is not a duration | write 90m"),
        (duration, "5 m", "'5 m' is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, "1.5h", "'1.5h' is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, "٣s", "'٣s' is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, "5m\n", "'5m\n' is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, -1, "-1 is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, True, "true is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (duration, None, "nothing is not a duration | write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"),
        (size_or_none, None, "must be a size or unlimited, not nothing | write unlimited, or such as 64MiB"),
        (size_or_none, "none", "must be a size or unlimited, not 'none' | write unlimited, or such as 64MiB"),
        (size_or_none, 0, "must be a size or unlimited, not 0 | write unlimited, or such as 64MiB"),
        (values.parse_session_duration, "15m", "'15m' is too short | from 30m to 12h"),
        (values.parse_session_duration, "13h", "'13h' is too long | from 30m to 12h"),
        (values.parse_session_duration, "1800500ms", "'1800500ms' is not a whole number of seconds | "
         "from 30m to 12h"),
        (size, "64k", "'64k' is not a size | write 64KiB"),
        (size, "64KB", "'64KB' is not a size | write 64KiB"),
        (size, "64 MiB", "'64 MiB' is not a size | write 64MiB"),
        (size, "1TiB", "'1TiB' is not a size | write a whole number and a unit: 512B, 64KiB, 8MiB, 1GiB"),
        (size, ["1"], "a list is not a size | write a whole number and a unit: 512B, 64KiB, 8MiB, 1GiB"),
        (count, "5", "must be a whole number, not '5' | without quotes, dots or leading zeros"),
        (count, True, "must be a whole number, not true | without quotes, dots or leading zeros"),
        (count, 0, "0 is too small | from 1 to 100"),
        (count, 101, "101 is too large | from 1 to 100"),
        (values.parse_flag, "yes", "must be true or false, not 'yes' | write true, without quotes"),
        (values.parse_flag, "Off", "must be true or false, not 'Off' | write false, without quotes"),
        (values.parse_flag, 1, "must be true or false, not 1 | write true, without quotes"),
        (values.parse_flag, "maybe", "must be true or false, not 'maybe' | write true or false, without quotes"),
        (places.parse_bind, 8080, "8080 is not an address | write 127.0.0.1:8080, or 0.0.0.0:8080 for all"),
        (places.parse_bind, "127.0.0.1", "'127.0.0.1' is not an address and a port | write 127.0.0.1:8080"),
        (places.parse_bind, "nonsense", "'nonsense' is not an address and a port | "
                                        "write 127.0.0.1:8080 or '[::1]:8080'"),
        (places.parse_bind, "localhost:80", "'localhost:80' does not begin with an IP address | write 127.0.0.1:80"),
        (places.parse_bind, "*:80", "'*:80' does not begin with an IP address | "
                                    "write 0.0.0.0:80 for every IPv4 address, '[::]:80' for every IPv6 address"),
        (places.parse_bind, "::1:80", "'::1:80' does not begin with an IP address | write '[::1]:80'"),
        (places.parse_bind, "nb.internal:80", "'nb.internal:80' does not begin with an IP address | "
                                              "write an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        (places.parse_bind, "127.0.0.01:80", "'127.0.0.01:80' does not begin with an IP address | "
                                             "write an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        (places.parse_bind, "[fe80::1%eth0]:80", "'[fe80::1%eth0]:80' does not begin with an IP address | "
                                                 "write an IP address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        (places.parse_bind, "127.0.0.1:080", "'080' is not a port | ports go from 1 to 65535"),
        (places.parse_bind, "127.0.0.1:99999", "'99999' is not a port | ports go from 1 to 65535"),
        (places.parse_bind, "127.0.0.1:", "'' is not a port | ports go from 1 to 65535"),
        (places.parse_port, "80", "'80' is not a port | write a number from 1 to 65535, without quotes"),
        (places.parse_port, 0, "0 is not a port | write a number from 1 to 65535, without quotes"),
        (places.parse_hostname, "https://nb.internal:8443/x",
         "'https://nb.internal:8443/x' is not a host name | leave scheme and path out: nb.internal"),
        (places.parse_hostname, "nb/x", "'nb/x' is not a host name | leave scheme and path out: nb"),
        (places.parse_hostname, "nb.internal:8443",
         "'nb.internal:8443' is not a host name | "
         "write nb.internal; the port belongs to a listener (bind, public_port)"),
        (places.parse_hostname, "*.nb.internal",
         "'*.nb.internal': wildcards are not read here | list the names; instances on host mounts add their own"),
        (places.parse_hostname, "bücher.example", "'bücher.example' is not a host name | "
         "letters, digits and hyphens, in parts joined by dots; other scripts as xn--…"),
        (places.parse_hostname, "a_b", "'a_b' is not a host name | "
                                       "letters, digits and hyphens, in parts joined by dots; other scripts as xn--…"),
        (places.parse_hostname, "a..b", "'a..b' is not a host name | "
                                        "letters, digits and hyphens, in parts joined by dots; other scripts as xn--…"),
        (places.parse_hostname, "::1", "'::1' is not a host name | write IPv6 in brackets: '[::1]'"),
        (places.parse_hostname, "127.0.0.01", "'127.0.0.01' is neither a host name nor an IPv4 address | "
         "such as 127.0.0.1"),
        (places.parse_hostname, 127, 'must be text, not the number 127 | such as notebooks.internal; '
                                     'text that looks like a number needs quotes: "127"'),
        (places.parse_hostname, "", "must be text, not '' | such as notebooks.internal"),
        (values.parse_instance_name, "Research_GPU", "'Research_GPU' cannot be an instance's name here | "
         "write research-gpu"),
        (values.parse_instance_name, "-a", "'-a' cannot be an instance's name here | "
         "at most 63 lowercase letters, digits and hyphens, neither first nor last a hyphen"),
        (values.parse_list_name, "a b", "'a b' cannot be a list's name | "
         "letters, digits, '.', '_' and '-', at most 63"),
        (values.parse_reference, 3, "must be the name of a list, not 3 | such as office"),
        (values.parse_notebook, "n" * 64, f"'{'n' * 57}...' cannot be a notebook instance's name | "
                                          "at most 63 letters, digits and hyphens, as the SageMaker console shows it"),
        (values.parse_notebook, "a-", "'a-' cannot be a notebook instance's name | "
                                      "at most 63 letters, digits and hyphens, as the SageMaker console shows it"),
        (values.parse_notebook, "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/gpu",
         "must be the notebook instance's name, not its ARN | write gpu"),
        (values.parse_region, "eu-west-1a", "'eu-west-1a' is not the code of an AWS Region | write eu-west-1"),
        (values.parse_region, "EU-WEST-1", "'EU-WEST-1' is not the code of an AWS Region | write eu-west-1"),
        (values.parse_region, "Ireland", "'Ireland' is not the code of an AWS Region | such as eu-west-1"),
        (values.parse_role, "nbgate", "'nbgate' is not the ARN of a role | "
         "such as arn:aws:iam::123456789012:role/nbgate"),
        (places.parse_endpoint, "http://user:pw@127.0.0.1", "a URL with credentials is refused | "
                                                            "leave out everything up to the '@'"),
        (places.parse_endpoint, "http://example.com:81", "plain http is refused beyond this machine | "
         "write https://example.com:81; plain http is for a test endpoint on 127.0.0.1"),
        (places.parse_endpoint, "http://127.0.0.1.evil.example", "plain http is refused beyond this machine | "
         "write https://127.0.0.1.evil.example; plain http is for a test endpoint on 127.0.0.1"),
        (places.parse_endpoint, "ftp://example.com", "'ftp://example.com' is not an http or https URL | "
         "such as https://vpce-0a1b.api.sagemaker.eu-west-1.vpce.amazonaws.com"),
        (places.parse_endpoint, "https://a/b?c", "'https://a/b?c' has more than scheme, host and port | "
         "write https://a"),
        (places.parse_endpoint, "https://a b", "'https://a b' has an unusable host | "
         "such as https://vpce-0a1b.api.sagemaker.eu-west-1.vpce.amazonaws.com"),
        (places.parse_endpoint, "https://a:b", "is not a URL | "
         "such as https://vpce-0a1b.api.sagemaker.eu-west-1.vpce.amazonaws.com"),
        (places.parse_notebook_origin, "https://x.example", "'https://x.example' is not on this machine | "
         "SageMaker's own notebook hosts are known and need no entry"),
        (places.parse_cidr, 167772160, 'must be a network, not 167772160 | write it as text: "203.0.113.0/24"'),
        (places.parse_cidr, True, 'must be a network, not true | write it as text: "203.0.113.0/24"'),
        (places.parse_proxy_cidr, "::/0", "::/0 would let every caller choose its own address | "
                                          "list the networks that the load balancers or proxies connect from"),
        (places.parse_header, "x_real_ip", "'x_real_ip' is not the name of a header | "
                                           "such as x-forwarded-for or cf-connecting-ip"),
        (places.parse_header, ["forwarded"], "must be text, not a list | such as x-forwarded-for"),
        (places.parse_header, "CloudFront-Viewer-Address",
         "cloudfront-viewer-address has a port behind the address, where it may be part of it | "
         "let CloudFront's X-Forwarded-For count: strategy: hop_count, or trusted_proxies"),
        (places.parse_listener_bind, "localhost:80", "'localhost:80' does not begin with an IP address | "
                                                     "write 127.0.0.1:80"),
        (places.parse_listener_bind, "unix:nbgate.sock", "'unix:nbgate.sock' is not the absolute path of a file | "
                                                         "write the whole path of the socket: "
                                                         "unix:/run/nbgate/nbgate.sock"),
        (places.parse_listener_bind, "unix:@nbgate", "'unix:@nbgate' is not the absolute path of a file | "
                                                     "write the whole path of the socket: "
                                                     "unix:/run/nbgate/nbgate.sock"),
        (places.parse_listener_bind, "unix:/run/" + "n" * 103,
         f"'unix:/run/{'n' * 47}...' is too long for a Unix socket | at most 107 bytes"),
        (places.parse_mode, 660, '660 is not a file\'s mode | three octal digits, in quotes: "0660"'),
        (places.parse_mode, "0888", "'0888' is not a file's mode | three octal digits, in quotes: \"0660\""),
        (places.parse_mode, "rw-rw----", "'rw-rw----' is not a file's mode | three octal digits, in quotes: \"0660\""),
        (places.parse_mount, "/research/", "'/research/' is not a mount | write {path: /research/}"),
        (places.parse_mount, 8444, "8444 is not a mount | write {port: 8444}"),
        (places.parse_mount, "a.nb.internal", "'a.nb.internal' is not a mount | write {host: a.nb.internal}"),
        (places.parse_mount, None, "nothing is not a mount | write root, or one of "
                                   "{host: research.notebooks.internal}, {port: 8444}, {path: /research/}"),
        (places.parse_mount, {}, "no kind of mount for one instance | write root, or one of "
                                 "{host: research.notebooks.internal}, {port: 8444}, {path: /research/}"),
        (places.parse_mount, {"port": 1, "path": "/"}, "several kinds of mount for one instance | "
         "write root, or one of "
         "{host: research.notebooks.internal}, {port: 8444}, {path: /research/}"),
        (places.parse_mount, {"paht": "/a/"}, "'paht' is not a kind of mount | write root, or one of "
                                              "{host: research.notebooks.internal}, {port: 8444}, {path: /research/}"),
        (places.parse_mount, {"path": "a"}, "'a' does not begin with a slash | write /a/"),
        (places.parse_mount, {"path": "/"}, "the path of a mount is more than a slash | "
         "write mount: root for the whole host"),
        (places.parse_mount, {"path": "/api/"}, "'/api/' meets the gateway's own pages at /api/gateway/ | "
                                                "choose another path, such as /research/"),
    ],
)  # fmt: skip
def test_what_is_refused_and_what_to_write_instead(
    parse: Callable[[object], object], written: object, told: str
) -> None:
    with pytest.raises(ValueProblem) as caught:
        parse(written)
    assert f"{caught.value} | {caught.value.hint}" == told


@given(st.integers(min_value=0, max_value=10**9))
def test_durations_are_printed_as_they_are_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert duration(values.format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(min_value=0, max_value=2**39))
def test_sizes_are_printed_as_they_are_read(number: int) -> None:
    assert size(values.format_size(number)) == number


PARSERS: list[Callable[[object], object]] = [
    duration, size, count, values.parse_flag, places.parse_bind, places.parse_port, places.parse_hostname,
    values.parse_instance_name, values.parse_list_name, values.parse_notebook, values.parse_region, values.parse_role,
    places.parse_endpoint, places.parse_notebook_origin, places.parse_mount, places.parse_proxy_cidr,
]  # fmt: skip


@pytest.mark.parametrize("parse", PARSERS)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(),
        st.from_regex(r"[\w.:/\[\]%@-]{1,40}", fullmatch=True),
        st.lists(st.text()),
        st.dictionaries(st.sampled_from(["host", "port", "path", "x"]), st.one_of(st.text(), st.integers())),
    )
)
def test_no_value_makes_a_reader_fail_in_any_other_way(
    parse: Callable[[object], object], value: object
) -> None:
    with suppress(ValueProblem, AddressError):
        parse(value)
