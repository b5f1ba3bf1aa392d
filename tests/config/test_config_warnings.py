"""What a valid file says that is hardly meant is said, with its line, and refuses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from tests.config.config_files import EXAMPLES, load_text, problems_of, text_of


def warned(directory: Path, **sections: str) -> list[tuple[int, str, str]]:
    """Line, place and message of each warning."""
    settings = load_text(directory, text_of(**sections))
    return [(one.line, one.where, one.message) for one in settings.warnings]


def test_what_people_mostly_write_warns_of_nothing(tmp_path: Path) -> None:
    assert warned(tmp_path) == []
    environ = {"NBGATE_TOKEN_KEY": "0123456789abcdef" * 2, "NBGATE_ALICE": "fedcba9876543210" * 2}
    assert load(EXAMPLES / "minimal.yaml", environ=environ).warnings == ()
    # It shows all kinds of mount at once, which few have.
    shown = load(EXAMPLES / "nbgate.yaml", environ=environ).warnings
    # It has no keys, since those need a secret.
    assert [one.where for one in shown] == ["instances.shared.mount", "instances.vision.access"]


KEYS = "api_keys: {NBGATEALICE1: {secret: '${ALICE}'}}"


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({}, []),
        ({"access": "access: presigned"}, ["access"]),
        ({"access": "access: presigned", "api_keys": KEYS}, []),
        ({"access": "access: presigned", "api_keys": KEYS, "api": "api: {signed: optional}"}, ["access"]),
        ({"access": "access: presigned", "instances": "instances: {a: {notebook: n, access: open}}"}, []),
        (
            {"instances": "instances: {a: {notebook: n}, b: {notebook: m, access: presigned}}"},
            ["instances.b.access"],
        ),
    ],
)
def test_links_that_whoever_is_let_in_makes(
    tmp_path: Path, sections: dict[str, str], where: list[str]
) -> None:
    """By the JSON API, or SageMaker's unsigned: `access: presigned` alone asks nobody for credentials."""
    found = load_text(tmp_path, text_of(**sections), environ={"ALICE": "fedcba9876543210" * 2}).warnings
    assert [one.where for one in found] == where
    assert all("an address that the policy allows is enough" in one.message for one in found)
    assert all(("signed: optional" if "api" in sections else "api_keys") in one.hint for one in found)


ROOT, PATH = "a: {notebook: x, mount: root}", "b: {notebook: y}"


def test_a_root_beside_paths_takes_what_their_applications_ask_for(tmp_path: Path) -> None:
    for instances in (f"{ROOT}, {PATH}", f"{PATH}, {ROOT}"):
        [(line, where, message)] = warned(tmp_path, instances=f"instances: {{{instances}}}")
        assert (line, where) == (1, "instances.a.mount")
        assert message.startswith(
            "the root takes what applications under path mounts ask for outside of those"
        )


@pytest.mark.parametrize(
    ("hostname", "hint"),
    [
        ("gate.example.org", "give it a place of its own: {host: a.gate.example.org}, or {path: /a/}"),
        ("[127.0.0.1, localhost]", "give it a place of its own: {host: a.localhost}, or {path: /a/}"),
        ("[127.0.0.1, '[::1]']", "give it a place of its own: {path: /a/}"),
    ],
)
def test_a_place_that_is_proposed_is_one_of_this_gateways(tmp_path: Path, hostname: str, hint: str) -> None:
    text = text_of(hostname=f"hostname: {hostname}", instances=f"instances: {{{ROOT}, {PATH}}}")
    [found] = load_text(tmp_path, text).warnings
    assert found.hint == hint


def test_no_name_is_proposed_below_an_address(tmp_path: Path) -> None:
    instances = "instances: {a: {notebook: x, mount: {host: 127.0.0.1}}}"
    [found] = problems_of(tmp_path, text_of(hostname="hostname: 127.0.0.1", instances=instances))
    assert found.hint == "give it a name of its own; or write root"


@pytest.mark.parametrize(
    "instances", [ROOT, PATH, f"{ROOT}, b: {{notebook: y, mount: {{host: b.nb.internal}}}}"]
)
def test_a_root_that_takes_nothing_of_theirs(tmp_path: Path, instances: str) -> None:
    assert warned(tmp_path, instances=f"instances: {{{instances}}}") == []


@pytest.mark.parametrize(
    ("instance", "hint"),
    [
        ("lab: {notebook: x}", "mount it elsewhere: {path: /lab-notebook/}"),
        ("a: {notebook: x, mount: {path: /tree/}}", "mount it elsewhere: {path: /tree-notebook/}"),
        ("lab: {notebook: x, mount: {path: /lab/gpu/}}", ""),
        ("lab: {notebook: x, mount: {host: lab.nb.internal}}", ""),
        ("a: {notebook: x, aliases: [lab]}", ""),
    ],
)
def test_a_mount_that_is_called_as_a_part_of_jupyter(tmp_path: Path, instance: str, hint: str) -> None:
    """`/lab/` of a notebook that sends browsers from `/` to `/lab` was a redirect without end."""
    found = load_text(tmp_path, text_of(instances=f"instances: {{{instance}}}")).warnings
    assert [one.hint for one in found] == [hint] * bool(hint)


V4, V6 = "every IPv4 address", "every IPv6 address"


@pytest.mark.parametrize(
    ("lists", "where", "message"),
    [
        ("office: [0.0.0.0/0]", "allowlists.office[0]", f"is {V4}: the list stands for everybody"),
        ("office: [203.0.113.0/24, 0.0.0.0/0]", "allowlists.office[1]", f"is {V4}: the list stands for everybody"),
        ("office: ['::/0']", "allowlists.office[0]", f"is {V6}: the list stands for everybody"),
        ("office: ['2000::/3']", "allowlists.office[0]", f"is {V6}: the list stands for everybody"),
        ("office: [{cidr: 0.0.0.0/0, note: for now}]", "allowlists.office[0]",
         f"is {V4}: the list stands for everybody"),
        ("office: [0.0.0.0/0, '::/0']", "allowlists.office[0]", "is every address: the list stands for everybody"),
        ("office: [0.0.0.0/1, 128.0.0.0/1]", "allowlists.office",
         f"holds {V4}, all networks together: the list stands for everybody"),
        ("office: [128.0.0.0/2, 0.0.0.0/1, 192.0.0.0/2, 203.0.113.0/24]", "allowlists.office",
         f"holds {V4}, all networks together: the list stands for everybody"),
        ("office: ['2000::/4', '3000::/4']", "allowlists.office",
         f"holds {V6}, all networks together: the list stands for everybody"),
        ("office: ['::ffff:0.0.0.0/96']", "allowlists.office[0]", f"is {V4}: the list stands for everybody"),
        # It need not be used to be wrong.
        ("office: [203.0.113.0/24], spare: [0.0.0.0/0]", "allowlists.spare[0]",
         f"is {V4}: the list stands for everybody"),
    ],
)  # fmt: skip
def test_a_list_that_holds_everybody(tmp_path: Path, lists: str, where: str, message: str) -> None:
    assert warned(tmp_path, allowlists=f"allowlists: {{{lists}}}") == [(1, where, message)]


@pytest.mark.parametrize(
    "networks", ["0.0.0.0/1, 128.0.0.0/2", "1.0.0.0/8, 0.0.0.0/8", "'2000::/4'", "10.0.0.0/8", "'fc00::/7'"]
)
def test_a_list_that_holds_many_is_none_of_everybody(tmp_path: Path, networks: str) -> None:
    assert warned(tmp_path, allowlists=f"allowlists: {{office: [{networks}]}}") == []


def test_a_list_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("0.0.0.0/1\n128.0.0.0/1\n")
    assert warned(tmp_path, allowlists="allowlists: {office: {file: all.txt}}") == [
        (1, "allowlists.office", f"holds {V4}, all networks together: the list stands for everybody")
    ]


HALVES = "allowlists: {one: [0.0.0.0/1], other: [128.0.0.0/1, 203.0.113.0/24], office: [203.0.113.0/24]}"


def test_lists_that_hold_everybody_together(tmp_path: Path) -> None:
    assert warned(tmp_path, allowlists=HALVES, policy="policy: {allow: [one, other]}") == [
        (2, "policy.allow", f"the lists together hold {V4}: everybody is let in")
    ]
    instances = "instances: {research: {notebook: r, allow: [other, office, one]}}"
    assert warned(tmp_path, allowlists=HALVES, instances=instances) == [
        (2, "instances.research.allow", f"the lists together hold {V4}: everybody is let in")
    ]
    assert warned(tmp_path, allowlists=HALVES, policy="policy: {allow: [one, office]}") == []


def test_a_list_that_holds_everybody_is_not_warned_of_twice(tmp_path: Path) -> None:
    lists = "allowlists: {all: [0.0.0.0/0], office: [203.0.113.0/24]}"
    assert len(warned(tmp_path, allowlists=lists, policy="policy: {allow: [all, office]}")) == 1


def test_denying_everybody(tmp_path: Path) -> None:
    policy = "policy: {allow: [office], deny: [one, other]}"
    assert warned(tmp_path, allowlists=HALVES, policy=policy) == [
        (2, "policy.deny", f"the lists hold {V4}: nobody who has one is let in")
    ]
    lists = "allowlists: {office: [203.0.113.0/24], all: ['::/0']}"
    assert warned(tmp_path, allowlists=lists, policy="policy: {allow: [office], deny: [all]}") == [
        (1, "allowlists.all[0]", f"is {V6}: the list stands for everybody"),
        (2, "policy.deny", f"the lists hold {V6}: nobody who has one is let in"),
    ]


@pytest.mark.parametrize(
    ("effect", "condition"),
    [
        ("Deny", "NotIpAddress: {aws:SourceIp: 0.0.0.0/0}"),
        ("Allow", "IpAddress: {aws:SourceIp: [203.0.113.0/24, 0.0.0.0/1, 128.0.0.0/1]}"),
        ("Allow", "IpAddressIfExists: {aws:VpcSourceIp: 0.0.0.0/0}"),
    ],
)
def test_a_statement_about_everybody(tmp_path: Path, effect: str, condition: str) -> None:
    statements = f"[{{Effect: {effect}, Action: '*', Resource: '*', Condition: {{{condition}}}}}]"
    operator, key = condition.partition(":")[0], condition.partition("{")[2].partition(": ")[0]
    assert warned(tmp_path, policy=f"policy: {{allow: [office], statements: {statements}}}") == [
        (1, "policy.statements[0]", f"{operator} on {key} has {V4}: that is everybody")
    ]
    fine = statements.replace("0.0.0.0/0", "10.0.0.0/8").replace("128.0.0.0/1", "10.0.0.0/8")
    assert warned(tmp_path, policy=f"policy: {{allow: [office], statements: {fine}}}") == []


def test_load_balancers_that_are_also_trusted_proxies(tmp_path: Path) -> None:
    client = "client_address: {trusted_proxies: [10.0.0.0/16]}"
    listeners = "listeners: [{bind: 0.0.0.0:8080, proxy_protocol: [192.0.2.0/24, 10.0.1.0/24]}]"
    [(line, where, message)] = warned(tmp_path, client_address=client, listeners=listeners)
    assert (line, where) == (2, "listeners[0].proxy_protocol[1]")
    assert message.startswith("10.0.1.0/24 meets client_address.trusted_proxies")
    apart = client.replace("10.0.0.0/16", "10.0.2.0/24")
    assert warned(tmp_path, client_address=apart, listeners=listeners) == []


@pytest.mark.parametrize("networks", ["0.0.0.0/1, 128.0.0.0/1", "'2000::/4', '3000::/4'", "'2000::/3'"])
def test_whom_everybody_would_be_trusted_as_is_no_warning_but_refused(tmp_path: Path, networks: str) -> None:
    """As 0.0.0.0/0 is: every caller would say for itself where it comes from."""
    for sections, where in (
        (
            {"client_address": f"client_address: {{trusted_proxies: [{networks}]}}"},
            "client_address.trusted_proxies",
        ),
        (
            {"listeners": f"listeners: [{{bind: 0.0.0.0:8080, proxy_protocol: [{networks}]}}]"},
            "listeners[0].proxy_protocol",
        ),
    ):
        [problem] = problems_of(tmp_path, text_of(**sections))
        assert problem.where == where
        assert "every caller would choose its own address" in problem.message


def test_warnings_make_no_other_settings(tmp_path: Path) -> None:
    """A line that moves is no news to a running gateway."""
    text = text_of(allowlists="allowlists: {office: [0.0.0.0/0]}")
    first, moved = load_text(tmp_path, text), load_text(tmp_path, f"\n{text}")
    assert first == moved
    assert first.warnings != moved.warnings
