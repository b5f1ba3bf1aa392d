"""Tokens: what is issued is verified, and nothing else is, each refusal with its reason."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from ipaddress import ip_address
from typing import Any

import pytest

from proxy.errors import ClientError, TokenRefused
from proxy.identity import tokens as module
from proxy.identity.tokens import (
    MAX_SECONDS,
    SKEW_SECONDS,
    TokenKind,
    TokenSigner,
    authorized_url,
)
from proxy.wire.credentials import is_our_credential
from tests.harness.clocks import FakeClock
from tests.harness.held import held_by, texts_held_by

KEY = "correct-horse-battery-staple-and-more"
OTHER_KEY = "another-secret-which-is-long-enough-too"
NOTEBOOK = "eu-west-1 123456789012 arn:aws:iam::123456789012:role/nbgate research-gpu-1"
HERE, ELSEWHERE = ip_address("203.0.113.7"), ip_address("2001:db8::7")


def made(*keys: str, clock: FakeClock | None = None, bind_address: bool = True) -> TokenSigner:
    numbers = iter(range(1, 1000))
    return TokenSigner(
        keys,
        own_key=KEY,
        clock=clock or FakeClock(),
        nonce=lambda: f"{next(numbers):024x}",
        bind_address=bind_address,
    )


def issued(tokens: TokenSigner, kind: TokenKind = TokenKind.URL, **changes: object) -> str:
    said = {
        "instance": "research",
        "leads_to": NOTEBOOK,
        "principal": "zoë@example.com",
        "address": HERE,
        "seconds": 300,
        "session_seconds": 1800 if kind is TokenKind.URL else 0,
        **changes,
    }
    return tokens.issue(kind, **said)  # type: ignore[arg-type]


def refused(tokens: TokenSigner, text: str, kind: TokenKind = TokenKind.URL, **changes: object) -> str:
    usual: dict[str, Any] = {"instance": "research", "leads_to": NOTEBOOK, "address": HERE}
    with pytest.raises(TokenRefused) as caught:
        tokens.verify(kind, text, **(usual | changes))
    error = caught.value
    assert isinstance(error, ClientError)
    assert error.status == 401
    assert error.message == TokenRefused.default_message, "the caller must not learn the reason"
    return error.reason


@pytest.mark.parametrize("kind", TokenKind)
def test_what_was_issued_is_verified_and_says_what_it_was_told(kind: TokenKind) -> None:
    tokens = made()
    text = issued(tokens, kind)
    claims = tokens.verify(kind, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    assert (claims.kind, claims.instance, claims.principal) == (kind, "research", "zoë@example.com")
    assert claims.address == HERE
    assert claims.ends_at - claims.issued_at == 300
    assert claims.session_seconds == (1800 if kind is TokenKind.URL else 0)
    assert claims.nonce == f"{1:024x}"
    assert is_our_credential(text)


def test_a_token_needs_no_encoding_in_a_url_a_cookie_or_a_field() -> None:
    text = issued(made(), principal="x" * 200)
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_that_is_changed_anywhere_is_refused(kind: TokenKind) -> None:
    tokens = made()
    text = issued(tokens, kind)
    for place, character in enumerate(text):
        for other in {"A", "b", "_", ".", "0"} - {character}:
            changed = text[:place] + other + text[place + 1 :]
            assert refused(tokens, changed, kind), changed


def test_a_signature_in_another_spelling_of_the_same_bytes_is_refused() -> None:
    """43 characters of base64 hold two bits more than 32 bytes: four texts decode to the same signature."""
    tokens = made()
    text = issued(tokens)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = alphabet.index(text[-1])
    respelled = text[:-1] + alphabet[place ^ 1]
    decode = lambda one: urlsafe_b64decode(one.rpartition(".")[2] + "=")  # noqa: E731
    assert decode(text) == decode(respelled)
    assert refused(tokens, respelled) == "the signature is wrong"
    assert refused(tokens, text + "=") == "malformed"


def test_a_truncated_token_is_refused_wherever_it_was_cut() -> None:
    tokens = made()
    text = issued(tokens)
    for length in range(len(text)):
        assert refused(tokens, text[:length]) in {"malformed", "the signature is wrong"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed"),
        ("nbgate2_", "malformed"),
        ("nbgate2_u.00000000..", "malformed"),
        ("eyJhbGciOiJub25lIn0.eyJpbnN0YW5jZSI6InJlc2VhcmNoIn0.", "malformed"),
        ("nbgate2_u.00000000.é." + "A" * 43, "malformed"),
        ("nbgate2_u.٠٠٠٠٠٠٠٠.AAAA." + "A" * 43, "malformed"),
        ("nbgate2_u.00000000.AAAA." + "A" * 43 + "\n", "malformed"),
        # Those of 0.1 ended with it: they were not bound to a notebook.
        ("nbgate1_u.00000000.AAAA." + "A" * 43, "a token of another version"),
        ("nbgate0_u.00000000.AAAA." + "A" * 43, "a token of another version"),
        ("nbgate2_u." + "A" * 10_000, "too long to be a token"),
        ("\udcff" * 10, "malformed"),
        ("nbgate2_u.00000000.AAAA." + "A" * 43, "signed with a key that is not configured"),
    ],
)
def test_what_is_no_token_is_refused(text: str, reason: str) -> None:
    assert refused(made(), text) == reason


def test_a_token_is_good_for_its_seconds_and_not_one_more() -> None:
    clock = FakeClock()
    tokens = made(clock=clock)
    text = issued(tokens)
    clock.set(299.9)
    tokens.verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    clock.set(300.0)
    assert refused(tokens, text) == "expired"
    clock.set(301.0)
    assert refused(tokens, text) == "expired"


def test_clocks_of_two_gateways_may_differ_by_a_minute() -> None:
    text = issued(made(), seconds=3600)
    behind = FakeClock()
    behind.set(-float(SKEW_SECONDS))
    made(clock=behind).verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    behind.set(-float(SKEW_SECONDS) - 1)
    assert refused(made(clock=behind), text) == "issued in the future"


def test_another_instances_token_is_refused() -> None:
    tokens = made()
    assert refused(tokens, issued(tokens), instance="nlp") == "for another instance"


@pytest.mark.parametrize("kind", TokenKind)
@pytest.mark.parametrize(
    "leads_to",
    [
        "eu-west-2 123456789012 arn:aws:iam::123456789012:role/nbgate research-gpu-1",
        "eu-west-1 210987654321 arn:aws:iam::123456789012:role/nbgate research-gpu-1",
        "eu-west-1  arn:aws:iam::123456789012:role/nbgate research-gpu-1",
        "eu-west-1 123456789012 arn:aws:iam::123456789012:role/other research-gpu-1",
        "eu-west-1 123456789012  research-gpu-1",
        "eu-west-1 123456789012 arn:aws:iam::123456789012:role/nbgate research-gpu-2",
        "",
    ],
    ids=["Region", "account", "no account", "role", "no role", "notebook", "nothing"],
)
def test_a_token_for_what_the_name_led_to_before_is_refused(kind: TokenKind, leads_to: str) -> None:
    tokens = made()
    text = issued(tokens, kind)
    for _ in range(2):
        reason = refused(tokens, text, kind, leads_to=leads_to)
        assert reason == "for the notebook that the instance led to before"
        # And the other way round: it is not the first one asked about that counts.
        tokens.verify(kind, text, instance="research", leads_to=NOTEBOOK, address=HERE)


def test_a_token_tells_nobody_which_account_and_role_it_is_for() -> None:
    """Its claims can be read by whoever has it. Account numbers are few enough to try out a plain hash of them."""
    first, second = issued(made()), issued(made(OTHER_KEY))
    claims = [json.loads(urlsafe_b64decode(one.split(".")[2] + "==")) for one in (first, second)]
    for text in NOTEBOOK.split():
        assert text not in json.dumps(claims)
    # Under another key the same notebook has another mark.
    assert claims[0][0] == claims[1][0] == "research"
    assert claims[0][1] != claims[1][1]


@pytest.mark.parametrize("address", [ELSEWHERE, ip_address("203.0.113.8"), None])
def test_another_addresss_token_is_refused(address: object) -> None:
    tokens = made()
    assert refused(tokens, issued(tokens), address=address) == "from another address than it was issued to"


def test_unless_bound_a_token_is_good_from_everywhere() -> None:
    tokens = made(bind_address=False)
    text = issued(tokens)
    assert (
        tokens.verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=ELSEWHERE).address
        is None
    )
    # What was bound stays bound.
    assert refused(tokens, issued(made()), address=ELSEWHERE)


@pytest.mark.parametrize("kind", TokenKind)
@pytest.mark.parametrize("other", TokenKind)
def test_another_kind_of_token_is_refused(kind: TokenKind, other: TokenKind) -> None:
    if kind is other:
        return
    tokens = made()
    text = issued(tokens, kind)
    assert refused(tokens, text, other) == "a token of another kind"
    renamed = text.replace(f"_{kind.value}.", f"_{other.value}.", 1)
    assert refused(tokens, renamed, other) == "the signature is wrong", "each kind has a key of its own"


def test_there_is_no_algorithm_to_choose() -> None:
    """What the `alg` of a JSON Web Token is tricked with: no field of a token says how it is signed."""
    tokens = made()
    text = issued(tokens)
    head, key, payload, mac = text.split(".")
    for forged in (
        f"{head}.{key}.{payload}.",
        f"{head}.{key}.{payload}",
        f"nbgate2_n.{key}.{payload}.{mac}",
        f"{head}.{key}.{payload}.{'A' * 43}",
    ):
        assert refused(tokens, forged)
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert all(isinstance(claim, str | int) for claim in claims)


def test_the_first_key_signs_and_all_verify() -> None:
    clock = FakeClock()
    old = issued(made(KEY, clock=clock))
    rotated = made(OTHER_KEY, KEY, clock=clock)
    new = issued(rotated)
    for text in (old, new):
        rotated.verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    assert refused(made(KEY, clock=clock), new) == "signed with a key that is not configured"
    rotated.adopt([OTHER_KEY], bind_address=True)
    assert refused(rotated, old) == "signed with a key that is not configured"
    # A key's name is not enough: it says which to try.
    names = old.split(".")[1], new.split(".")[1]
    assert refused(rotated, old.replace(*names)) == "the signature is wrong"


def test_without_a_key_it_is_the_processs_own_until_there_is_one() -> None:
    tokens = made()
    text = issued(tokens)
    tokens.adopt([OTHER_KEY], bind_address=True)
    assert refused(tokens, text) == "signed with a key that is not configured"
    tokens.adopt([], bind_address=True)
    tokens.verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=HERE)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    tokens = made()
    text = issued(tokens)
    tokens.verify(TokenKind.URL, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    assert refused(tokens, text[:-43] + "A" * 43)
    assert compared == [text[-43:]] * 2


def test_a_token_that_was_verified_before_is_judged_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERIFIED_REMEMBERED", 3)
    clock = FakeClock()
    tokens = made(clock=clock)
    text = issued(tokens, TokenKind.SESSION)
    for _ in range(2):
        tokens.verify(TokenKind.SESSION, text, instance="research", leads_to=NOTEBOOK, address=HERE)
    assert refused(tokens, text, TokenKind.SESSION, instance="nlp") == "for another instance"
    assert refused(tokens, text, TokenKind.SESSION, address=ELSEWHERE)
    assert refused(tokens, text, TokenKind.URL) == "a token of another kind"
    assert refused(tokens, text[:-1], TokenKind.SESSION) == "malformed"
    clock.set(300.0)
    assert refused(tokens, text, TokenKind.SESSION) == "expired"
    # Other keys: what the old ones signed is unknown again.
    tokens.adopt([OTHER_KEY], bind_address=True)
    assert refused(tokens, text, TokenKind.SESSION) == "signed with a key that is not configured"
    texts = []
    for _ in range(10):
        texts.append(issued(tokens, TokenKind.API))
        tokens.verify(TokenKind.API, texts[-1], instance="research", leads_to=NOTEBOOK, address=HERE)
        assert len(set(texts) & set(texts_held_by(tokens))) <= 3


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": MAX_SECONDS + 1},
        {"session_seconds": 0},
        {"session_seconds": 43_201},
        {"principal": "x" * 1025},
        {"principal": "ö" * 513},
        {"principal": "a\r\nb"},
        {"principal": "\udcff"},
    ],
)
def test_what_no_token_can_say_is_not_issued(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot last|no principal"):
        issued(made(), **changes)


@pytest.mark.parametrize(("bind_address", "address"), [(False, HERE), (False, None), (True, None)])
def test_a_link_for_more_than_five_minutes_is_bound_to_an_address(
    bind_address: bool, address: object
) -> None:
    """Which links were used is forgotten with the process: it would be good once more, for whoever found it."""
    tokens = made(bind_address=bind_address)
    issued(tokens, address=address, seconds=300)
    with pytest.raises(ValueError, match="longer than 300 s"):
        issued(tokens, address=address, seconds=301)
    issued(made(), seconds=301)
    for kind in (TokenKind.SESSION, TokenKind.API):
        issued(tokens, kind, address=address, seconds=86400)


def test_the_longest_token_that_can_be_issued_is_verified() -> None:
    tokens = made()
    text = issued(tokens, instance="x" * 63, principal="ö" * 512, address=ELSEWHERE)
    tokens.verify(TokenKind.URL, text, instance="x" * 63, leads_to=NOTEBOOK, address=ELSEWHERE)


def test_no_key_shows() -> None:
    tokens = made(KEY, OTHER_KEY)
    kept = list(held_by(tokens))
    shown = " ".join(repr(one) for one in kept if type(one).__module__ == type(tokens).__module__)
    derived = [one for one in kept if isinstance(one, bytes) and len(one) == 32]
    assert len(derived) >= 2 * len(TokenKind)
    assert not any(secret in shown for secret in (KEY, OTHER_KEY))
    assert not any(one.hex() in shown or repr(one) in shown for one in derived)


def test_whether_any_was_issued_is_known() -> None:
    tokens = made()
    told = []
    tokens.when_about(lambda: told.append("before"))
    assert told == []
    issued(tokens)
    issued(tokens)
    assert told == ["before"]
    tokens.when_about(lambda: told.append("after"))
    assert told == ["before", "after"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://nb.internal/research/", "https://nb.internal/research/?authToken=T"),
        ("https://nb.internal/?view=lab", "https://nb.internal/?view=lab&authToken=T"),
    ],
)
def test_a_link_is_the_mounts_address_with_the_token(url: str, expected: str) -> None:
    assert authorized_url(url, "T") == expected
