"""Whose page caused a request: `Origin` and Fetch Metadata, which have to agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.routing.authority import parse_authority
from proxy.wire.provenance import Provenance, provenance

OWN = "https://notebooks.internal:8443"
EVIL = "https://evil.example"


def judged(*fields: tuple[str, str]) -> Provenance:
    return provenance(
        CIMultiDict(fields), scheme="https", authority=parse_authority("notebooks.internal:8443")
    )


@pytest.mark.parametrize(
    ("origin", "site", "expected"),
    [
        (None, None, Provenance.PROGRAM),
        (OWN, None, Provenance.OWN),
        (OWN.upper().replace("HTTPS", "https"), None, Provenance.OWN),
        (OWN, "same-origin", Provenance.OWN),
        (OWN, " Same-Origin ", Provenance.OWN),
        (OWN, "none", Provenance.USER),
        (OWN, "same-site", Provenance.FOREIGN),
        (OWN, "cross-site", Provenance.FOREIGN),
        (OWN, "", Provenance.FOREIGN),
        (OWN, "new-word", Provenance.FOREIGN),
        (None, "same-origin", Provenance.UNNAMED),
        (None, "none", Provenance.USER),
        (None, "same-site", Provenance.FOREIGN),
        (None, "cross-site", Provenance.FOREIGN),
        (None, "", Provenance.FOREIGN),
        ("null", "same-origin", Provenance.UNNAMED),
        ("null", None, Provenance.FOREIGN),
        ("null", "none", Provenance.FOREIGN),
        ("null", "cross-site", Provenance.FOREIGN),
        ("", None, Provenance.FOREIGN),
        ("", "same-origin", Provenance.FOREIGN),
        (EVIL, None, Provenance.FOREIGN),
        (EVIL, "same-origin", Provenance.FOREIGN),
        (EVIL, "none", Provenance.FOREIGN),
        ("https://research.notebooks.internal:8443", "same-site", Provenance.FOREIGN),
        ("https://notebooks.internal", None, Provenance.FOREIGN),
        ("http://notebooks.internal:8443", None, Provenance.FOREIGN),
        (f"{OWN}/", None, Provenance.FOREIGN),
        ("chrome-extension://abcdef", "none", Provenance.FOREIGN),
    ],
)
def test_what_is_said_and_what_is_not(origin: str | None, site: str | None, expected: Provenance) -> None:
    fields = [("Origin", origin)] if origin is not None else []
    fields += [("Sec-Fetch-Site", site)] if site is not None else []
    assert judged(*fields) is expected
    # What else browsers say changes nothing where they say from where.
    if fields:
        assert judged(*fields, ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")) is expected


@pytest.mark.parametrize(
    "fields",
    [
        [("Sec-Fetch-Mode", "no-cors")],
        [("Sec-Fetch-Mode", "navigate")],
        [("Sec-Fetch-Mode", "")],
        [("sec-fetch-dest", "empty")],
        [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")],
        [("Sec-Fetch-Mode", "cors"), ("sec-fetch-mode", "websocket")],
    ],
)
def test_a_browsers_field_alone_is_no_programs_word(fields: list[tuple[str, str]]) -> None:
    assert judged(*fields) is Provenance.UNSAID


@pytest.mark.parametrize("mode", ["cors", "websocket"])
def test_but_node_says_a_mode_and_nothing_of_where_it_comes_from(mode: str) -> None:
    """undici's `fetch` and `WebSocket`, of Node 18 to 22."""
    assert judged(("sec-fetch-mode", mode)) is Provenance.PROGRAM


@pytest.mark.parametrize(
    "fields",
    [
        [("Origin", OWN), ("Origin", OWN)],
        [("Origin", OWN), ("origin", EVIL)],
        [("Origin", OWN), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    ],
)
def test_what_is_said_twice_says_nothing_good(fields: list[tuple[str, str]]) -> None:
    assert judged(*fields) is Provenance.FOREIGN


@given(st.text(max_size=30), st.text(max_size=20))
def test_whatever_a_page_writes_it_is_not_ours(origin: str, site: str) -> None:
    assert judged(("Origin", f"https://evil{origin}")) is Provenance.FOREIGN
    if site.strip().lower() not in {"same-origin", "none"}:
        assert judged(("Origin", OWN), ("Sec-Fetch-Site", site)) is Provenance.FOREIGN
