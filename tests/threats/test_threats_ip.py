"""Threats, "IP decision", and its two choices on forwarded addresses: each row as a GET and as an upgrade.

"Deny" is 403, no connection to SageMaker or to a notebook, one audit record: `callers.denying` checks the latter two.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.load import load
from proxy.errors import ConfigError
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.threats.callers import HANDSHAKE, ask, asked, audited, denying, untouched

ALLOWED = "203.0.113.7"
EVIL = "198.51.100.66"
BEHIND_A_PROXY: dict[str, Any] = {
    "client_address": {"trusted_proxies": ["127.0.0.0/8"]},
    "policy": {"allow": ["elsewhere"]},
}
BEHIND_RFC_7239: dict[str, Any] = {
    "client_address": {"trusted_proxies": ["127.0.0.0/8"], "header": "forwarded"},
    "policy": {"allow": ["elsewhere"]},
}
BEHIND_ONE_HOP: dict[str, Any] = {
    "client_address": {"strategy": "hop_count", "hops": 1, "trusted_proxies": ["127.0.0.0/8"]},
    "policy": {"allow": ["elsewhere"]},
}
BEHIND_A_CDN: dict[str, Any] = {
    "client_address": {
        "strategy": "single_header",
        "header": "cf-connecting-ip",
        "trusted_proxies": ["127.0.0.0/8"],
    },
    "policy": {"allow": ["elsewhere"]},
}
STRATEGIES = (BEHIND_A_PROXY, BEHIND_RFC_7239, BEHIND_ONE_HOP, BEHIND_A_CDN)
SPOOFS = [
    f"X-Forwarded-For: {ALLOWED}\r\n",
    f"X-Forwarded-For: {ALLOWED}, {ALLOWED}\r\nX-Forwarded-For: {ALLOWED}\r\n",
    f"Forwarded: for={ALLOWED}\r\n",
    f"X-Real-IP: {ALLOWED}\r\n",
    f"X-Client-IP: {ALLOWED}\r\nTrue-Client-IP: {ALLOWED}\r\nCF-Connecting-IP: {ALLOWED}\r\n",
    f"X_Forwarded_For: {ALLOWED}\r\nX-Forwarded-For : {ALLOWED}\r\n"[
        : len(f"X_Forwarded_For: {ALLOWED}\r\n")
    ],
]


async def test_an_untrusted_peers_headers_do_not_count(tmp_path: Path) -> None:
    """oauth2-proxy #1778: untrusted peer with any `X-Forwarded-For`/`Forwarded`/`X-Real-IP` -> peer IP, deny."""
    async with denying(tmp_path) as rig:
        assert await ask(rig) == [403, 403]
        for spoof in SPOOFS:
            assert await ask(rig, extra=spoof) == [403, 403], spoof
        assert {record["client"] for record in audited(rig)} == {"127.0.0.1"}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_no_strategy_believes_an_untrusted_peer(tmp_path: Path, strategy: dict[str, Any]) -> None:
    """oauth2-proxy #1778: the same where headers do count, in what others send."""
    proxies = {**strategy["client_address"], "trusted_proxies": ["10.0.0.0/8"]}
    async with denying(tmp_path, client_address=proxies) as rig:
        for spoof in SPOOFS:
            assert await ask(rig, extra=spoof) == [403, 403], spoof
        assert {record["client"] for record in audited(rig)} == {"127.0.0.1"}


async def test_an_untrusted_peers_headers_do_not_harm_it_either(rig: Rig) -> None:
    """oauth2-proxy #1778: an allowed peer stays itself, and the notebook is told so."""
    for spoof in SPOOFS:
        assert await ask(rig, extra=spoof.replace(ALLOWED, EVIL)) == [200, 101]
    for seen in asked(rig):
        assert seen.values("x-forwarded-for") == ["127.0.0.1"]
        assert not any(EVIL in value for _, value in seen.headers)


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (f"X-Forwarded-For: {ALLOWED}, {EVIL}\r\n", EVIL),
        (f"X-Forwarded-For: {ALLOWED}\r\nX-Forwarded-For: {EVIL}\r\n", EVIL),
        (f"X-Forwarded-For: {ALLOWED}, {EVIL}, 127.0.0.9\r\n", EVIL),
        (f"X-Forwarded-For: {ALLOWED}, {EVIL}\r\nX-Forwarded-For: 127.0.0.9, 127.0.0.8\r\n", EVIL),
        (f"Forwarded: for={ALLOWED}\r\nX-Real-IP: {ALLOWED}\r\n", "127.0.0.1"),
        (f"Forwarded: for={ALLOWED}\r\nX-Forwarded-For: {EVIL}\r\n", EVIL),
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 127.0.0.3, 127.0.0.2\r\n", "127.0.0.3"),
        # 6to4 and NAT64 name other hosts: they are not unwrapped.
        ("X-Forwarded-For: 2002:cb00:7107::1\r\n", "2002:cb00:7107::1"),
        ("X-Forwarded-For: 64:ff9b::203.0.113.7\r\n", "64:ff9b::cb00:7107"),
    ],
)
async def test_behind_a_trusted_proxy_the_rightmost_untrusted_hop_is_denied(
    tmp_path: Path, headers: str, client: str
) -> None:
    """oauth2-proxy #1778: `X-Forwarded-For: ALLOWED, EVIL` -> EVIL, deny; two lines are one list; if all hops are
    trusted, the leftmost is the client."""
    async with denying(tmp_path, **BEHIND_A_PROXY) as rig:
        assert await ask(rig, extra=headers) == [403, 403]
        assert {record["client"] for record in audited(rig)} == {client}


async def test_behind_a_trusted_proxy_the_rightmost_untrusted_hop_is_allowed(tmp_path: Path) -> None:
    """oauth2-proxy #1778, the other way round; a port suffix is stripped; a mapped hop is the IPv4 address."""
    async with open_rig(tmp_path, **BEHIND_A_PROXY) as rig:
        for hops in (
            ALLOWED,
            f"{EVIL}, {ALLOWED}",
            f"{EVIL}, {ALLOWED}, 127.0.0.9",
            f"nonsense, {ALLOWED}",
            f"{EVIL}\r\nX-Forwarded-For: {ALLOWED}",
            f"{ALLOWED}:4711",
            f"::ffff:{ALLOWED}",
            f"[::ffff:{ALLOWED}]:80",
        ):
            assert await ask(rig, extra=f"X-Forwarded-For: {hops}\r\n") == [200, 101], hops
        assert all(seen.values("x-forwarded-for") == [ALLOWED] for seen in asked(rig))


async def test_forwarded_counts_where_it_is_the_proxies_field(tmp_path: Path) -> None:
    """oauth2-proxy #1778 with RFC 7239: one field is trusted, the other is the caller's own words."""
    async with open_rig(tmp_path, **BEHIND_RFC_7239) as rig:
        for hops in (
            f"for={ALLOWED}",
            f'for={EVIL}, for="{ALLOWED}:80";proto=http',
            f"For={ALLOWED};by=10.0.0.1",
        ):
            assert await ask(rig, extra=f"Forwarded: {hops}\r\nX-Forwarded-For: {EVIL}\r\n") == [200, 101], (
                hops
            )
        for hops in (
            f"for={ALLOWED}, for={EVIL}",
            f"for=unknown, for=_hidden, for={EVIL}",
            f'for="{ALLOWED}',
            "for=_x",
        ):
            extra = f"Forwarded: {hops}\r\nX-Forwarded-For: {ALLOWED}\r\n"
            assert await ask(rig, extra=extra) == [403, 403], hops


async def test_a_fixed_number_of_hops_is_counted_from_the_right(tmp_path: Path) -> None:
    """oauth2-proxy #1778 with `hop_count`: what the caller wrote stands to the left, however much it is."""
    async with denying(tmp_path, **BEHIND_ONE_HOP) as rig:
        for headers in (
            f"X-Forwarded-For: {ALLOWED}, {EVIL}\r\n",
            f"X-Forwarded-For: {ALLOWED}\r\nX-Forwarded-For: {EVIL}\r\n",
            f"X-Forwarded-For: {ALLOWED}, 127.0.0.9\r\n",
            f"X-Forwarded-For: {ALLOWED}, unknown\r\n",
            f"X-Forwarded-For: {ALLOWED},\r\n",
            f"Forwarded: for={ALLOWED}\r\n",
            "",
        ):
            assert await ask(rig, extra=headers) == [403, 403], headers
    counted = tmp_path / "counted"
    counted.mkdir()
    async with open_rig(counted, **BEHIND_ONE_HOP) as rig:
        for hops in (
            ALLOWED,
            f"{EVIL}, {ALLOWED}",
            f"nonsense, {ALLOWED}",
            f"{EVIL}\r\nX-Forwarded-For: {ALLOWED}",
        ):
            assert await ask(rig, extra=f"X-Forwarded-For: {hops}\r\n") == [200, 101], hops


async def test_a_single_value_header_holds_one_address_or_none_counts(tmp_path: Path) -> None:
    """oauth2-proxy #1778 with `single_header`: two values, or the caller's beside the proxy's, are no address."""
    async with denying(tmp_path, **BEHIND_A_CDN) as rig:
        for headers in (
            f"CF-Connecting-IP: {EVIL}\r\nX-Forwarded-For: {ALLOWED}\r\n",
            f"CF-Connecting-IP: {ALLOWED}\r\nCF-Connecting-IP: {EVIL}\r\n",
            f"CF-Connecting-IP: {ALLOWED}\r\nCF-Connecting-IP: {ALLOWED}\r\n",
            f"CF-Connecting-IP: {ALLOWED}, {ALLOWED}\r\n",
            f"CF-Connecting-IP: 0{ALLOWED}\r\n",
            f"True-Client-IP: {ALLOWED}\r\n",
            "CF-Connecting-IP:\r\n",
            "",
        ):
            assert await ask(rig, extra=headers) == [403, 403], headers
    named = tmp_path / "named"
    named.mkdir()
    async with open_rig(named, **BEHIND_A_CDN) as rig:
        for value in (ALLOWED, f"::ffff:{ALLOWED}", f"{ALLOWED}:4711"):
            headers = f"CF-Connecting-IP: {value}\r\nX-Forwarded-For: {EVIL}\r\n"
            assert await ask(rig, extra=headers) == [200, 101], value


def statement(effect: str, condition: dict[str, Any] | None = None) -> dict[str, Any]:
    conditions = {"Condition": condition} if condition else {}
    return {"Effect": effect, "Action": "*", "Resource": "*", **conditions}


@pytest.mark.parametrize(
    "statements",
    [
        [statement("Allow", {"IpAddress": {"aws:SourceIp": ALLOWED}})],
        [statement("Allow", {"IpAddress": {"aws:VpcSourceIp": ALLOWED}})],
        [statement("Allow"), statement("Deny", {"NotIpAddress": {"aws:SourceIp": ALLOWED}})],
        [statement("Allow"), statement("Deny", {"NotIpAddressIfExists": {"aws:SourceIp": ALLOWED}})],
        [statement("Allow"), statement("Deny", {"Null": {"aws:SourceIp": "true"}})],
        [statement("Allow", {"Null": {"aws:SourceIp": "false"}})],
    ],
    ids=str,
)
async def test_an_absent_address_is_denied_by_statements_too(
    tmp_path: Path, statements: list[dict[str, Any]]
) -> None:
    """NotIpAddress, key absent -> the condition is true; IpAddress, key absent -> false. As IAM's tables have it."""
    changes = {**BEHIND_A_PROXY, "policy": {"statements": statements}}
    async with open_rig(tmp_path, **changes) as rig:
        assert await ask(rig, extra="X-Forwarded-For: unknown\r\n") == [403, 403]
        assert untouched(rig)
        assert await ask(rig, extra=f"X-Forwarded-For: {ALLOWED}\r\n") == [200, 101]
        assert [record["client"] for record in audited(rig)] == [None, None]


async def test_a_list_of_which_every_entry_has_ended_lets_nobody_in(tmp_path: Path) -> None:
    """Traefik #11605: a list that has become empty is not an absent rule."""
    ended = [{"cidr": "127.0.0.0/8", "until": "2020-01-01"}]
    async with denying(tmp_path, allowlists={"here": ended}, policy={"allow": ["here"]}) as rig:
        assert await ask(rig) == [403, 403]


async def test_a_list_that_is_emptied_while_it_is_served_changes_nothing(tmp_path: Path) -> None:
    """Traefik #11605: whatever wrote the file may have been interrupted; who was denied stays denied."""
    listed = tmp_path / "office.txt"
    listed.write_text("203.0.113.0/24\n")
    async with denying(
        tmp_path, allowlists={"office": {"file": "office.txt"}}, policy={"allow": ["office"]}
    ) as rig:
        for content in ("", "# nobody\n", "\n\n"):
            listed.write_text(content)
            assert not await rig.gateway.reloader.reload_now()
            assert await ask(rig) == [403, 403]


@pytest.mark.parametrize(
    "hop",
    [
        f"0{ALLOWED}",
        "203.0.113.007",
        f"{ALLOWED}%eth0",
        "fe80::1%a",
        "unknown",
        "_hidden",
        "",
        f"{ALLOWED}/24",
        f"{ALLOWED} {ALLOWED}",
        "203.0.113",
        "3405803783",
        "0xcb.0.0x71.7",
        f"{ALLOWED}:99999",
        f"[{ALLOWED}]",
        f"'{ALLOWED}'",
        f"{ALLOWED}\x01",
        "２０３.0.113.7".encode().decode("latin-1"),
    ],
)
async def test_a_hop_that_cannot_be_read_denies(tmp_path: Path, hop: str) -> None:
    """CVE-2021-29921 (leading zeros), zones, and "an unparseable hop inside the trusted walk denies": never falls
    back to a more trusting answer. NotIpAddress with an absent key is a Deny (both oracles agree)."""
    async with denying(tmp_path, **BEHIND_A_PROXY) as rig:
        if "\x01" in hop:
            # Not even a field (CVE-2026-34520's kind).
            assert await ask(rig, extra=f"X-Forwarded-For: {hop}\r\n") == [400, 400]
            hop = ""
        assert await ask(rig, extra=f"X-Forwarded-For: {ALLOWED}, {hop}\r\n") == [403, 403]
        assert await ask(rig, extra=f"X-Forwarded-For: {ALLOWED}, {hop}, 127.0.0.9\r\n") == [403, 403]
        assert {(record["client"], bool(record["problem"])) for record in audited(rig)} == {(None, True)}


async def test_a_denied_caller_behind_an_unreadable_hop_is_told_so(tmp_path: Path) -> None:
    """NotIpAddress, key absent: the page says that the address could not be determined, and nothing of the rules."""
    async with denying(tmp_path, **BEHIND_A_PROXY) as rig:
        page = body_of(await rig.get(extra="X-Forwarded-For: unknown\r\nAccept: text/html\r\n"))
        assert b"could not be determined" in page
        assert b"elsewhere" not in page


async def test_the_walk_over_trusted_hops_is_bounded(tmp_path: Path) -> None:
    """A list of thousands of trusted hops denies, quickly."""
    async with denying(tmp_path, **BEHIND_A_PROXY) as rig:
        chain = ", ".join(["127.0.0.9"] * 1000)
        assert await ask(rig, extra=f"X-Forwarded-For: {ALLOWED}, {chain}\r\n") == [403, 403]


async def test_a_mapped_peer_is_the_ipv4_address(tmp_path: Path) -> None:
    """Mapped v6 (3proxy#807): a dual-stack peer `::ffff:127.0.0.1` matches 127.0.0.0/8, for allow and for deny."""
    listeners = [{"bind": "[::]:0"}]
    async with open_rig(tmp_path, listeners=listeners) as rig:
        assert await ask(rig) == [200, 101]
        assert asked(rig)[0].values("x-forwarded-for") == ["127.0.0.1"]
    for policy in (
        {"allow": ["here"], "deny": ["v4"]},
        {"allow": ["here"], "deny": ["v4-as-v6"]},
    ):
        lists = {"here": ["0.0.0.0/0", "::/0"], "v4": ["127.0.0.0/8"], "v4-as-v6": ["::ffff:127.0.0.0/104"]}
        directory = tmp_path / policy["deny"][0]
        directory.mkdir()
        async with denying(directory, listeners=listeners, allowlists=lists, policy=policy) as rig:
            assert await ask(rig) == [403, 403]


async def test_an_explicit_deny_beats_any_allow(tmp_path: Path) -> None:
    """NotIpAddress and Deny, gateway-wide and per instance: an instance's list narrows and never widens."""
    for name, changes in {
        "deny": {"policy": {"allow": ["here"], "deny": ["here"]}},
        "instance-deny": {
            "policy": {"allow": ["here"]},
            "mounted": {"research": {"notebook": "research-gpu-1", "mount": "root", "deny": ["here"]}},
        },
        "instance-narrower": {
            "policy": {"allow": ["here"]},
            "mounted": {"research": {"notebook": "research-gpu-1", "mount": "root", "allow": ["elsewhere"]}},
        },
        "instance-wider": {
            "policy": {"allow": ["elsewhere"]},
            "mounted": {"research": {"notebook": "research-gpu-1", "mount": "root", "allow": ["here"]}},
        },
    }.items():
        directory = tmp_path / name
        directory.mkdir()
        async with denying(directory, **changes) as rig:  # type: ignore[arg-type]
            assert await ask(rig, "/lab?x") == [403, 403], name


NO_PLAIN_HTTP = {
    "Sid": "NoPlainHttp",
    "Effect": "Deny",
    "Action": "*",
    "Resource": "*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


@pytest.mark.parametrize(
    ("scheme", "field", "statuses"),
    [
        ("http", "X-Forwarded-Proto: https\r\n", [403, 403]),
        ("http", "", [403, 403]),
        ("https", "X-Forwarded-Proto: http\r\n", [200, 101]),
        # Not written: the proxy serves both, and says which.
        (None, "X-Forwarded-Proto: https\r\n", [200, 101]),
        (None, "X-Forwarded-Proto: http\r\n", [403, 403]),
        (None, "", [403, 403]),
    ],
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
async def test_a_scheme_that_is_written_counts_whatever_a_proxy_passes_on(
    tmp_path: Path, header: str, scheme: str | None, field: str, statuses: list[int]
) -> None:
    """A caller's own `X-Forwarded-Proto` behind a proxy that does not set it must not pass for TLS."""
    client = "X-Forwarded-For: 203.0.113.7\r\n"
    if header == "forwarded":
        proto = field.partition(": ")[2].strip()
        client, field = f"Forwarded: for=203.0.113.7{f';proto={proto}' if proto else ''}\r\n", ""
    listener = {"bind": "127.0.0.1:0"} | ({"scheme": scheme} if scheme else {})
    async with open_rig(
        tmp_path,
        listeners=[listener],
        client_address={"trusted_proxies": ["127.0.0.0/8"], "header": header},
        policy={"allow": ["elsewhere"], "statements": [NO_PLAIN_HTTP]},
    ) as rig:
        seen = "https" if statuses[0] == 200 else "http"
        asking = f"{client}{field}"
        assert status_of(await rig.get(extra=asking)) == statuses[0]
        head = f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\n{HANDSHAKE}Origin: {seen}://{rig.authority}\r\n{asking}\r\n"
        assert status_of(await rig.raw(head.encode(), until_eof=False)) == statuses[1]


async def test_a_denied_caller_learns_its_address_and_nothing_of_the_rules(tmp_path: Path) -> None:
    """DESIGN section 9: the address that the gateway saw and a request id, which the audit record has too."""
    async with denying(tmp_path) as rig:
        answer = await rig.get("/lab?secret=1", extra="Accept: text/html\r\nX-Forwarded-For: 203.0.113.9\r\n")
        assert status_of(answer) == 403
        assert b"127.0.0.1" in body_of(answer)
        for told in (b"203.0.113", b"elsewhere", b"Deny", b"secret", b"/lab"):
            assert told not in answer.partition(b"\r\n\r\n")[2], told
        [record] = audited(rig)
        assert record["request_id"].encode() in answer
        assert record["sids"]


@pytest.mark.parametrize(
    "forward", ["PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11"]
)
async def test_a_proxy_protocol_header_from_anybody_ends_the_connection(tmp_path: Path, forward: str) -> None:
    """PROXY: a spoofed v1 or v2 header -> close, on a listener that expects none (others: `proxy_protocol`)."""
    async with open_rig(tmp_path, policy={"allow": ["elsewhere"]}) as rig:
        answer = await rig.raw(
            forward.encode("latin-1") + f"GET / HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode()
        )
        assert status_of(answer) == 400
        assert answer.count(b"HTTP/1.1 ") == 1
        assert untouched(rig)


def problems_of(directory: Path, text: str) -> list[str]:
    file = directory / "nbgate.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "entry",
    [
        "010.0.0.1",
        "10.0.0.08/32",
        '"::ffff:10.0.0.0/8"',
        "true",
        "1",
        "3232235777",
        "10.0.0.0/0.255.255.255",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/08",
        "10.0.0.1/8",
        '"fe80::1%a"',
        '"fe80::%a/10"',
        "null",
        "[10.0.0.0/8]",
        '" 10.0.0.0/8"',
        "10.0.0.0/33",
        "example.com",
    ],
)
def test_a_network_that_can_be_misread_is_refused_with_its_line(tmp_path: Path, entry: str) -> None:
    """CVE-2021-29921, AIKIDO-2026-101201, YAML/ipaddress, zones: each refused with file:line."""
    text = (
        "hostname: notebooks.internal\nlisteners:\n- bind: 127.0.0.1:0\naws:\n  region: us-east-1\n"
        f"allowlists:\n  office:\n  - {entry}\n"
        "policy:\n  allow: [office]\ninstances:\n  research:\n    notebook: r\n    mount: root\n"
    )
    assert any("nbgate.yaml:8: " in problem for problem in problems_of(tmp_path, text)), problems_of(
        tmp_path, text
    )


@pytest.mark.parametrize(
    "entry", ["::ffff:10.0.0.0/8", "010.0.0.0/8", "10.0.0.1/8", "fe80::1%a", "10.0.0.0/255.0.0.0", True, 1]
)
def test_so_is_a_trusted_proxy_that_can_be_misread(tmp_path: Path, entry: object) -> None:
    """AIKIDO-2026-101201: `::ffff:10.0.0.0/8` trusted everything. A load balancer's prelude is trusted as much."""
    sections = {
        "hostname": "notebooks.internal",
        "aws": {"region": "us-east-1"},
        "allowlists": {"office": ["10.0.0.0/8"]},
        "policy": {"allow": ["office"]},
        "instances": {"research": {"notebook": "r", "mount": "root"}},
    }
    for place, changes in (
        ("client_address.trusted_proxies[0]", {"client_address": {"trusted_proxies": [entry]}}),
        (
            "listeners[0].proxy_protocol[0]",
            {"listeners": [{"bind": "127.0.0.1:0", "proxy_protocol": [entry]}]},
        ),
    ):
        problems = problems_of(tmp_path, yaml.safe_dump({**sections, **changes}))
        assert any(place in problem for problem in problems), problems


@pytest.mark.parametrize("allow", ["[]", "null", ""])
def test_nor_does_an_instances(tmp_path: Path, allow: str) -> None:
    """Traefik #11605: an instance's own list, left empty, would be read as "no narrowing" by somebody."""
    text = (
        "hostname: notebooks.internal\naws:\n  region: us-east-1\nallowlists:\n  office: [10.0.0.0/8]\n"
        f"policy: {{allow: [office]}}\ninstances:\n  research:\n    notebook: r\n    allow: {allow}\n"
    )
    assert any("instances.research.allow" in problem for problem in problems_of(tmp_path, text))


@pytest.mark.parametrize(
    "policy", ["policy: {allow: []}", "policy: {allow: null}", "policy: {}", "policy: null", ""]
)
def test_an_empty_or_absent_list_does_not_start(tmp_path: Path, policy: str) -> None:
    """Traefik #11605: an empty, absent or null list never means "everybody"; here it is refused before serving."""
    text = (
        "hostname: notebooks.internal\nlisteners:\n- bind: 127.0.0.1:0\naws:\n  region: us-east-1\n"
        "allowlists:\n  office: [10.0.0.0/8]\n"
        f"{policy}\ninstances:\n  research:\n    notebook: r\n    mount: root\n"
    )
    assert problems_of(tmp_path, text)


def test_an_empty_named_list_is_refused(tmp_path: Path) -> None:
    """Traefik #11605, one level down."""
    for value in ("[]", "null", ""):
        text = (
            yaml.safe_dump({"hostname": "a", "policy": {"allow": ["office"]}})
            + f"allowlists:\n  office: {value}\n"
        )
        assert any("allowlists" in problem for problem in problems_of(tmp_path, text))


async def test_denials_on_one_connection_are_each_recorded(tmp_path: Path) -> None:
    """ "One audit record" per denial, also for many on a connection that a trusted proxy keeps."""
    async with denying(tmp_path, client_address={"trusted_proxies": ["127.0.0.1"]}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for number in range(20):
            writer.write(
                f"GET /{number} HTTP/1.1\r\nHost: {rig.authority}\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert status_of(head) == 403
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
            await reader.readexactly(length)
        writer.close()
        assert [record["path"] for record in audited(rig)] == [f"/{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("hop", "code"),
    [
        ("for=2001:db8::9", "FORWARDED_UNQUOTED"),
        ("for=[2001:db8::9]:4711", "FORWARDED_UNQUOTED"),
        ("for=192.0.2.9:4711", "FORWARDED_UNQUOTED"),
        ("for=unknown", "CLIENT_ADDRESS_UNKNOWN"),
    ],
)
async def test_a_proxy_that_locks_everybody_out_is_told_of_with_what_to_mend(
    tmp_path: Path, hop: str, code: str
) -> None:
    """Some proxies write an IPv6 address or a port without quotes. It is not guessed at; but the log says so."""
    reading = {"trusted_proxies": ["127.0.0.0/8"], "header": "forwarded"}
    async with open_rig(tmp_path, client_address=reading) as rig:
        for _ in range(3):
            assert status_of(await rig.get("/api", extra=f"Forwarded: {hop}\r\n")) == 403
        lines = rig.log_lines()
    [told] = [line for line in lines if line.get("event") == "client address unknown, access denied"]
    assert (told["code"], told["peer"]) == (code, "127.0.0.1")
    assert hop in told["detail"]
    assert told["remedy"]
    accesses = [line for line in lines if line.get("kind") == "http"]
    assert {(line["error"], line["detail"]) for line in accesses} == {(code, told["detail"])}
    audits = [line for line in lines if line.get("kind") == "audit"]
    assert {line["problem"] for line in audits} == {told["detail"]}
    assert len(audits) == len(accesses) == 3
