"""Forms: what comes from another site, or was not offered by a page of ours to this caller, changes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.errors import OriginRefused
from proxy.routing.authority import parse_authority
from proxy.server.pages.forms import TOKEN_SECONDS, FormTokens, form_key, require_same_origin
from tests.harness.clocks import FakeClock

OWN = "https://notebooks.internal:8443"
CALLER: Any = SimpleNamespace(scheme="https", authority=parse_authority("notebooks.internal:8443"))
BOUND = {
    "address": "203.0.113.7",
    "instance": "research",
    "leads_to": "eu-west-1   research-gpu-1",
    "action": "start",
}

OURS = [
    {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
    {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    {"Origin": OWN},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "same-origin"},
]
FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://notebooks.internal:8443"},
    {"Origin": "https://notebooks.internal"},
    {"Origin": "https://notebooks.internal:8443.evil.example"},
    {"Origin": "https://research.notebooks.internal:8443"},
    {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": OWN, "Sec-Fetch-Site": "same-site"},
    {"Origin": OWN, "Sec-Fetch-Site": "none"},
    {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": OWN, "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
]


@pytest.mark.parametrize("headers", OURS)
@pytest.mark.parametrize("browsers_only", [False, True])
def test_what_our_own_pages_send_passes(headers: dict[str, str], browsers_only: bool) -> None:
    require_same_origin(CIMultiDict(headers), CALLER, browsers_only=browsers_only)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("browsers_only", [False, True])
def test_what_another_page_may_have_caused_is_refused(headers: dict[str, str], browsers_only: bool) -> None:
    """CVE-2026-40864: `Sec-Fetch-Mode: no-cors` is not same-origin."""
    with pytest.raises(OriginRefused):
        require_same_origin(CIMultiDict(headers), CALLER, browsers_only=browsers_only)


def test_nodes_own_fetch_is_a_programs() -> None:
    """It says the mode, as browsers do, and nothing else that they say."""
    said = CIMultiDict({"sec-fetch-mode": "cors", "user-agent": "node"})
    require_same_origin(said, CALLER, browsers_only=True)
    with pytest.raises(OriginRefused):
        require_same_origin(said, CALLER)


def test_two_origins_are_none() -> None:
    with pytest.raises(OriginRefused):
        require_same_origin(CIMultiDict([("Origin", OWN), ("Origin", OWN)]), CALLER)


def test_a_request_that_says_nothing_is_no_forms_but_may_be_a_programs() -> None:
    require_same_origin(CIMultiDict(), CALLER, browsers_only=True)
    with pytest.raises(OriginRefused):
        require_same_origin(CIMultiDict(), CALLER)


def tokens(clock: FakeClock | None = None, *keys: str, own_key: str = "k" * 32) -> FormTokens:
    return FormTokens(keys, own_key=own_key, clock=clock or FakeClock())


def test_a_token_is_good_for_what_it_was_issued_for() -> None:
    issued = tokens().issue(**BOUND)
    tokens().verify(issued, **BOUND)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "203.0.113.8"},
        {"address": None},
        {"instance": "other"},
        {"leads_to": "eu-west-1   research-gpu-2"},
        {"action": "stop"},
        # The border between two parts moved.
        {"leads_to": "eu-west-1   research-gpu-1s", "action": "tart"},
    ],
)
def test_a_token_is_good_for_nothing_else(change: dict[str, str | None]) -> None:
    issued = tokens().issue(**BOUND)
    with pytest.raises(OriginRefused):
        tokens().verify(issued, **(BOUND | change))  # type: ignore[arg-type]


async def test_a_token_ends() -> None:
    clock = FakeClock()
    guard = tokens(clock)
    issued = guard.issue(**BOUND)
    await clock.jump(TOKEN_SECONDS - 1)
    guard.verify(issued, **BOUND)
    await clock.jump(1)
    with pytest.raises(OriginRefused):
        guard.verify(issued, **BOUND)


def test_a_token_of_another_process_is_refused() -> None:
    with pytest.raises(OriginRefused):
        tokens(own_key="o" * 32).verify(tokens().issue(**BOUND), **BOUND)


def test_keys_are_exchanged_as_those_of_links_are() -> None:
    old, new = "old-" * 8, "new-" * 8
    forms = tokens(None, old)
    issued = forms.issue(**BOUND)
    # The new one signs; what lies open goes on until the old one is gone.
    forms.adopt([new, old])
    forms.verify(issued, **BOUND)
    later = forms.issue(**BOUND)
    forms.adopt([new])
    forms.verify(later, **BOUND)
    with pytest.raises(OriginRefused):
        forms.verify(issued, **BOUND)
    # And without any it is this process's own again.
    forms.adopt([])
    tokens().verify(forms.issue(**BOUND), **BOUND)
    with pytest.raises(OriginRefused):
        forms.verify(later, **BOUND)


@given(st.data())
def test_a_token_that_was_changed_is_refused(data: st.DataObject) -> None:
    issued = tokens().issue(**BOUND)
    place = data.draw(st.integers(0, len(issued) - 2))
    other = data.draw(st.sampled_from("ABCxyz-_").filter(lambda letter: letter != issued[place]))
    with pytest.raises(OriginRefused):
        tokens().verify(issued[:place] + other + issued[place + 1 :], **BOUND)


@given(st.text())
def test_whatever_is_sent_as_a_token_is_refused(text: str) -> None:
    with pytest.raises(OriginRefused):
        tokens().verify(text, **BOUND)


def test_the_key_of_forms_is_another_for_each_secret_and_is_not_the_secret() -> None:
    assert form_key("a" * 32) != form_key("b" * 32)
    assert form_key("a" * 32) == form_key("a" * 32)
    assert form_key("a" * 32) != b"a" * 32
