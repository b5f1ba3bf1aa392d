"""What is taken out of text, and that the linear way of finding it finds all that the plain way does."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.redact import may_hold_secrets, redact, scrub

JWT: Final = re.compile(r"\beyJ[\w-]{8,}\.[\w.-]+")
USERINFO: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.I)
"""As one would write them where no caller chooses the text: the oracles. In long texts they take for ever."""

SECRET: Final = "plain-secret.0"


def encoded(text: str, times: int, *, every: bool = False) -> str:
    """Percent-encoded, as often; `every` character, or those that an encoder cannot leave."""
    for _ in range(times):
        text = (
            "".join(f"%{ord(one):02x}" for one in text) if every and "%" not in text else quote(text, safe="")
        )
    return text


@pytest.mark.parametrize("times", range(1, 8))
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        f"?authToken={SECRET}",
        f"?a=b&token={SECRET}&c=d",
        f"?X-Amz-Signature={SECRET}",
        "nbgate2_u.00112233.plain-secret.0",
        f"/lab/nbgate1_a.{SECRET}/x",
        "Cookie: a=plain-secret.0",
        "https://user:plain-secret.0@h/",
        f"eyJhbGciOiJIUzI1NiJ9.{SECRET}",
    ],
)
def test_what_was_encoded_is_found_however_often(text: str, every: bool, times: int) -> None:
    scrubbed = scrub(f"before {encoded(text, times, every=every)} after")
    plain = scrubbed
    while "%" in plain:
        plain = unquote(plain)
    assert "secret" not in plain
    assert "***" in scrubbed
    assert scrubbed.startswith("before ")
    assert scrubbed.endswith(" after")


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("/lab%3FauthToken%3Dplain&view=lab", "/lab%3FauthToken%3D***&view=lab"),
        ("/lab%253FauthToken%253Dplain%2526a%253D1/b", "/lab%253FauthToken%253D***/b"),
        ("/a%2Fb%20c%25d%zz%", "/a%2Fb%20c%25d%zz%"),
        ("/%25%32%35%37%34oken%3Dplain /%74oken%3Dplain", "/%25%32%35%37%34oken%3D*** /%74oken%3D***"),
        # Digits that are encoded themselves; no encoder does that.
        ("/%%36%65bgate2_a.plain/x", "/***/x"),
        ("token=plain%3Fauth%54oken%3Dplain", "token=***"),
    ],
)
def test_what_stands_around_it_stays_as_it_was_written(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


@given(text=st.text(alphabet="%25zAnbgate1_.token=3D&/ '\":", max_size=60))
def test_any_text_is_scrubbed_to_its_end(text: str) -> None:
    """No spelling makes it fail, and what is told apart for speed holds nothing."""
    scrubbed = scrub(text)
    assert scrub(scrubbed) == scrubbed
    if not may_hold_secrets(text):
        assert scrubbed == text


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": [("Cookie", "a=plain-secret"), ("Accept", "*/*")]},
        {"headers": ((b"Authorization", b"Bearer plain-secret"), (b"a", b"b"))},
        {"access_key": "plain-secret"},
        {"AWS_SECRET_ACCESS_KEY": "plain-secret"},
    ],
    ids=str,
)
def test_fields_of_a_head_are_known_by_their_names(fields: dict[str, object]) -> None:
    assert "plain-secret" not in json.dumps(redact(fields))


TEXTS: Final = st.lists(
    st.sampled_from(
        ["eyJ", "eyJhbGciOi", "-", "_", ".", " ", "é", "0", "a.", "/", "@", ":", '"', " https://", " a+b://"]
    )
).map("".join)


@given(text=TEXTS)
def test_what_the_plain_patterns_find_is_found(text: str) -> None:
    expected = USERINFO.sub(r"\1***@", JWT.sub("***", text))
    assert scrub(text) == expected


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("at postgres://user:plainsecret@db/x", "at postgres://***@db/x"),
        ("at 9://plainsecret@db and ://plainsecret@db", "at 9://***@db and ://***@db"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("eyJab.eyJhbGciOiJIUzI1.e30", "eyJab.***"),
        ("eyJhbGciOiJIUzI1 eyJhbGciOiJIUzI1.", "eyJhbGciOiJIUzI1 eyJhbGciOiJIUzI1."),
        ("Cookie \t:\n a=plainsecret\nx", "Cookie \t:\n ***\nx"),
        # This gateway's own, of whatever version, and wherever it was cut.
        ("/a/nbgate2_a.0011.AbC-_.XyZ/b", "/a/***/b"),
        ("token of nbgate1_u. is", "token of *** is"),
        ("nbgate1_s.a nbgate99_s.b", "*** ***"),
        ("nbgate is not nbgate_x, nor nbgate2", "nbgate is not nbgate_x, nor nbgate2"),
        # As it stands in JSON, and in what Python prints.
        ('{"token": "plainsecret", "a": "b"}', '{"token": "***", "a": "b"}'),
        (
            "{'SessionToken': 'plain', 'SecretAccessKey' : 'plain'}",
            "{'SessionToken': '***', 'SecretAccessKey' : '***'}",
        ),
        ("tokens.key: is too short; the token: it is bad", "tokens.key: is too short; the token: it is bad"),
    ],
)
def test_scrubbed(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed
