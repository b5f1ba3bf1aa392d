"""No answer of a notebook acts beyond its mount: each field on bytes, at each kind of mount, in any case, repeated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.wire.heads import Translation, read_response, response_head
from proxy.wire.reach import FAR_REACHING, FAR_REACHING_VALUES, clear_of_own_origin
from tests.wire.registered_fields import NEVER, OWN_ORIGIN, PASSES, TRANSLATED, VALUES

SHARED = Translation(
    upstream_authority=b"nb.example",
    upstream_origin=b"https://nb.example",
    own_origin=b"https://notebooks.internal",
    prefix=b"",
    cookies=b"",
    withheld_cookies=frozenset(),
    forwarding=b"",
)
MOUNTS = {
    "root": SHARED,
    "path": replace(SHARED, prefix=b"/research"),
    "host": replace(SHARED, owns_origin=True),
    "port": replace(SHARED, owns_origin=True),
}
OWN = ("host", "port")
SPELLINGS = (str, str.lower, str.upper, str.swapcase)


def passed(lines: list[str], translation: Translation) -> list[str]:
    """The field lines that reach the caller."""
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines]) + "\r\n\r\n"
    facts = read_response(head.encode())
    assert facts is not None
    return response_head(facts, translation, framing=b"").decode().split("\r\n")[1:-2]


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("name", [*PASSES, *OWN_ORIGIN, *NEVER])
def test_a_field_goes_as_far_as_it_may(name: str, mount: str) -> None:
    may_pass = name in PASSES or (name in OWN_ORIGIN and mount in OWN)
    for spell in SPELLINGS:
        for _ in range(2):  # not met before, and remembered
            lines = [
                f"X-Before: {name}",
                f"{spell(name)}: 1",
                f"{name}:2 ",
                "X-Behind: 1",
                f"{spell(name)}: 1",
            ]
            expected = lines if may_pass else [lines[0], lines[3]]
            assert passed(lines, MOUNTS[mount]) == expected


def test_every_row_of_the_table_is_among_the_names() -> None:
    named = {name.lower().encode() for name in (*OWN_ORIGIN, *NEVER, *TRANSLATED)}
    assert set(FAR_REACHING) <= named
    assert {name.lower().encode() for name, _, _ in VALUES} == set(FAR_REACHING_VALUES)
    assert all(row.why for row in FAR_REACHING.values())
    assert all(row.why for row in FAR_REACHING_VALUES.values())
    assert len({*PASSES, *OWN_ORIGIN, *NEVER}) == len(PASSES) + len(OWN_ORIGIN) + len(NEVER)


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(("name", "value", "may_pass"), VALUES)
def test_of_some_fields_the_value_decides(name: str, value: str, may_pass: bool, mount: str) -> None:
    for spell in SPELLINGS:
        line = f"{spell(name)}: {value}"
        for _ in range(2):
            assert passed([line, "X: 1", line], MOUNTS[mount]) == (
                [line, "X: 1", line] if may_pass else ["X: 1"]
            )
        longer = f"{line}{' ' * 300}"
        assert passed([longer], MOUNTS[mount]) == ([longer] if may_pass else [])


@pytest.mark.parametrize("mount", ["root", "path"])
@pytest.mark.parametrize("value", ['"cookies"', '"storage"', '"cache", "storage"', '"*"', "", "nonsense"])
def test_nothing_is_cleared_where_the_origin_is_shared(mount: str, value: str) -> None:
    for spell in SPELLINGS:
        assert passed([f"{spell('Clear-Site-Data')}: {value}", "X: 1"], MOUNTS[mount]) == ["X: 1"]


@pytest.mark.parametrize("mount", OWN)
@pytest.mark.parametrize(
    ("value", "left"),
    [
        ('"storage"', '"storage"'),
        ('"cache" ,\t"storage","executionContexts"', '"cache", "storage", "executionContexts"'),
        ('"cookies"', ""),
        ('"cookies", "storage"', '"storage"'),
        ('"*"', ""),
        ('"*", "cache"', '"cache"'),
        ('"COOKIES", "Storage"', ""),
        ('cookies, storage, "cookies', ""),
        ('"cache", "clientHints", "prefetchCache", "prerenderCache"',) * 2,
        ("", ""),
    ],
)
def test_a_mount_with_an_origin_of_its_own_clears_that_alone(mount: str, value: str, left: str) -> None:
    """Cookies are the whole domain's, and with them other mounts' sessions."""
    line = f"Clear-Site-Data: {value}"
    kept = [f"Clear-Site-Data: {left}"] if left else []
    assert passed([line, "X: 1", line], MOUNTS[mount]) == [*kept, "X: 1", *kept]
    assert clear_of_own_origin(value.encode()) == left.encode()


@pytest.mark.parametrize("mount", MOUNTS)
def test_without_a_word_of_the_router_no_worker_is_allowed_anything(mount: str) -> None:
    """Interim answers and handshakes: what is said there of workers counts for nothing."""
    for spell in SPELLINGS:
        assert passed([f"{spell('Service-Worker-Allowed')}: /", "X: 1"], MOUNTS[mount]) == ["X: 1"]


def test_connection_does_not_bring_back_what_goes_no_further() -> None:
    lines = ["NEL: {}", "Accept-CH: DPR", "X-Kept: 1", "Connection: NEL, Accept-CH, close"]
    assert passed(lines, MOUNTS["path"]) == ["X-Kept: 1"]
