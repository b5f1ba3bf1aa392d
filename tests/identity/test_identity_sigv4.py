"""Signature Version 4: what is signed well passes once and within five minutes; everything else says why not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import sigv4
from proxy.identity.sigv4 import FIELDS_SIGNED, AccessKey, SignatureRefused, Signatures, SignedRequest
from tests.harness.clocks import FakeClock
from tests.harness.signing import Signing

GOOD = Signing()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = AccessKey(GOOD.key_id, GOOD.secret, "alice", frozenset({"research"}))
BUILD = AccessKey("NBGATEBUILD1", "fedcba9876543210fedcba9876543210", "build")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.signatures = Signatures(
            {key.id: key for key in (ALICE, BUILD)}, region=GOOD.region, clock=self.clock
        )

    def verify(
        self,
        signing: Signing,
        *,
        fields: Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        target: str | None = None,
        method: str | None = None,
        source: str = "127.0.0.1",
        is_question: bool = False,
    ) -> AccessKey:
        request = SignedRequest(
            method or signing.method,
            target or signing.target,
            fields=signing.sign() if fields is None else fields,
            body=signing.body if body is None else body,
            source=source,
        )
        return self.signatures.verify(request, is_question=is_question)

    def refused(self, signing: Signing, **changes: object) -> SignatureRefused:
        with pytest.raises(SignatureRefused) as caught:
            self.verify(signing, **changes)  # type: ignore[arg-type]
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


def with_authorization(text: str) -> list[tuple[str, str]]:
    return [*GOOD.sign()[:-1], ("Authorization", text)]


# -- what passes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signing",
    [
        GOOD,
        GOOD.but(target="/.nbgate/aws/"),
        GOOD.but(target="/?b=2&a=1"),
        GOOD.but(body=b""),
        GOOD.but(more=(("X-Amz-User-Agent", "  some   client/1.0 "),)),
        GOOD.but(more=(("X-Amz-Meta", "one"), ("X-Amz-Meta", "two"))),
        GOOD.but(more=(("User-Agent", "curl/8"),)),
        GOOD.but(unsigned=frozenset({"content-type"})),
        GOOD.but(more=(("X-Amz-Content-SHA256", sha256(GOOD.body).hexdigest()),)),
        GOOD.but(at=NOW - timedelta(seconds=300)),
        GOOD.but(at=NOW + timedelta(seconds=300)),
    ],
    ids=str,
)
def test_what_was_signed_well_is_its_signers(world: World, signing: Signing) -> None:
    assert world.verify(signing) is ALICE


def test_each_key_has_its_own_secret(world: World) -> None:
    assert world.verify(GOOD.but(key_id=BUILD.id, secret=BUILD.secret)) is BUILD
    assert world.refused(GOOD.but(key_id=BUILD.id)).code == "InvalidSignatureException"


def test_parts_of_the_authorization_may_come_in_any_order_and_spacing(world: World) -> None:
    """botocore writes them with a blank behind each comma, others without."""
    algorithm, credential, signed, signature = GOOD.sign()[-1][1].replace(",", "").split(" ")
    fields = with_authorization(f"{algorithm}  {signature},{credential},  {signed}")
    assert world.verify(GOOD, fields=fields) is ALICE


# -- what is tampered with --------------------------------------------------------------------------------

MISMATCH = "the signature does not match"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"body": b'{"NotebookInstanceName": "other"}'}, MISMATCH),
        ({"body": GOOD.body + b" "}, MISMATCH),
        ({"target": "/.nbgate/aws/"}, MISMATCH),
        ({"target": "/?a=1"}, MISMATCH),
        ({"method": "PUT"}, MISMATCH),
    ],
)
def test_a_request_that_was_changed_on_its_way(world: World, changes: dict[str, object], reason: str) -> None:
    error = world.refused(GOOD, **changes)
    assert (error.code, error.status, error.reason) == ("InvalidSignatureException", 403, reason)
    assert error.key_id == GOOD.key_id
    assert "does not match the signature you provided" in str(error)


@pytest.mark.parametrize("name", ["Host", "X-Amz-Date", "X-Amz-Target", "Content-Type"])
def test_a_field_that_was_changed_on_its_way(world: World, name: str) -> None:
    changed = {"X-Amz-Date": "20260101T000001Z"}.get(name, "other")
    fields = [(key, changed if key == name else value) for key, value in GOOD.sign()]
    assert world.refused(GOOD, fields=fields).reason == MISMATCH


def test_another_secret(world: World) -> None:
    assert world.refused(GOOD.but(secret="x" * 32)).reason == MISMATCH


@pytest.mark.parametrize(
    "signature", ["0" * 64, GOOD.sign()[-1][1][-64:-1] + "g", "0" * 63, "A" * 64, "é" * 64]
)
def test_a_signature_that_is_none(world: World, signature: str) -> None:
    assert world.refused(GOOD.but(signature=signature)).code == "InvalidSignatureException"


def test_a_body_whose_hash_is_told_wrongly_or_not_at_all(world: World) -> None:
    for told in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", sha256(b"x").hexdigest(), "é"):
        signing = GOOD.but(more=(("X-Amz-Content-SHA256", told),))
        assert world.refused(signing).reason == "the body is another than was signed"


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target", "x-amz-security-token"])
def test_what_decides_must_be_signed(world: World, name: str) -> None:
    signing = GOOD.but(more=(("X-Amz-Security-Token", "t"),), unsigned=frozenset({name}))
    error = world.refused(signing)
    assert error.reason == f"not signed: {name}"
    assert error.code == "InvalidSignatureException"


@pytest.mark.parametrize("name", ["Host", "X-Amz-Target", "X-Amz-Date", "Content-Type"])
def test_a_field_that_is_there_twice(world: World, name: str) -> None:
    error = world.refused(GOOD, fields=[*GOOD.sign(), (name, "SageMaker.StopNotebookInstance")])
    assert (error.code, error.reason) == ("IncompleteSignatureException", f"more than one {name.lower()}")


def test_a_signed_field_in_bytes_that_are_not_ascii(world: World) -> None:
    for value in ("é", "\udce9"):
        fields = [*GOOD.sign()[:-1], ("X-Amz-Note", value)]
        authorization = GOOD.but(more=(("X-Amz-Note", "e"),)).sign()[-1]
        assert world.refused(GOOD, fields=[*fields, authorization]).reason == "a signed field is not ASCII"


# -- scope and time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signing", "message"),
    [
        (GOOD.but(region="us-east-1"), "Credential should be scoped to a valid region."),
        (GOOD.but(service="s3"), "Credential should be scoped to correct service: 'sagemaker'."),
        (
            GOOD.but(terminator="aws5_request"),
            "Credential should be scoped with a valid terminator: 'aws4_request'.",
        ),
        (
            GOOD.but(scope_date="20251231"),
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'20251231' != '20260101', from '20260101T000000Z'.",
        ),
        (
            GOOD.but(at=NOW - timedelta(seconds=301)),
            "Signature expired: 20251231T235459Z is now earlier than 20251231T235500Z (20260101T000000Z - 5 min.)",
        ),
        (
            GOOD.but(at=NOW + timedelta(seconds=301)),
            "Signature not yet current: 20260101T000501Z is still later than 20260101T000500Z "
            "(20260101T000000Z + 5 min.)",
        ),
    ],
)
def test_a_signature_for_another_place_or_time(world: World, signing: Signing, message: str) -> None:
    error = world.refused(signing)
    assert (error.code, str(error), error.status) == ("InvalidSignatureException", message, 403)


def test_a_key_that_is_not_configured(world: World) -> None:
    error = world.refused(GOOD.but(key_id="AKIASOMEBODY"))
    assert (error.code, error.key_id) == ("UnrecognizedClientException", "AKIASOMEBODY")
    assert str(error) == "The security token included in the request is invalid."


# -- malformed --------------------------------------------------------------------------------------------


def test_no_signature_at_all(world: World) -> None:
    error = world.refused(GOOD, fields=GOOD.sign()[:-1])
    assert (error.code, str(error)) == ("MissingAuthenticationTokenException", "Missing Authentication Token")


def test_two_signatures(world: World) -> None:
    assert world.refused(GOOD, fields=[*GOOD.sign(), GOOD.sign()[-1]]).reason == "more than one signature"


CREDENTIAL = "Credential=NBGATEALICE1/20260101/eu-west-1/sagemaker/aws4_request"
SIGNATURE = f"Signature={'0' * 64}"
SIGNED = "SignedHeaders=host;x-amz-date;x-amz-target"


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "Unsupported AWS 'algorithm': use 'AWS4-HMAC-SHA256'."),
        ("Bearer x", "Unsupported AWS 'algorithm': use 'AWS4-HMAC-SHA256'."),
        ("Basic YTpi", "Unsupported AWS 'algorithm': use 'AWS4-HMAC-SHA256'."),
        (f"AWS4-ECDSA-P256-SHA256 {CREDENTIAL}, {SIGNED}, {SIGNATURE}", "Unsupported AWS 'algorithm'"),
        (f"AWS4-HMAC-SHA1 {CREDENTIAL}, {SIGNED}, {SIGNATURE}", "Unsupported AWS 'algorithm'"),
        (f"none {CREDENTIAL}, {SIGNED}, Signature=", "Unsupported AWS 'algorithm'"),
        (f"AWS4-HMAC-SHA256 {SIGNED}, {SIGNATURE}", "Authorization header requires 'Credential' parameter."),
        (
            f"AWS4-HMAC-SHA256 {CREDENTIAL}, Signature=, SignedHeaders=",
            "Authorization header requires 'SignedHeaders' parameter. "
            "Authorization header requires 'Signature' parameter.",
        ),
        ("AWS4-HMAC-SHA256", "Authorization header holds something else"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, {CREDENTIAL}, {SIGNED}, {SIGNATURE}", "Authorization header holds"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, {SIGNED}, {SIGNATURE}, More=1", "Authorization header holds"),
        (f"AWS4-HMAC-SHA256 Credential=a/b, {SIGNED}, {SIGNATURE}", "Credential must have exactly 5"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}/more, {SIGNED}, {SIGNATURE}", "Credential must have exactly 5"),
    ],
)
def test_an_authorization_that_cannot_be_read(world: World, authorization: str, message: str) -> None:
    error = world.refused(GOOD, fields=with_authorization(authorization))
    assert (error.code, error.status) == ("IncompleteSignatureException", 403)
    assert str(error).startswith(message)


def test_more_signed_fields_than_anybody_signs(world: World) -> None:
    """botocore looks for each among all, and a key's id is no secret."""
    for count, reason in ((FIELDS_SIGNED, MISMATCH), (FIELDS_SIGNED + 1, "too many signed fields")):
        names = ";".join(
            sorted(["host", "x-amz-date", "x-amz-target", *(f"x-{n:03}" for n in range(count - 3))])
        )
        claim = GOOD.sign()[-1][1].partition("SignedHeaders=")[0]
        fields = with_authorization(f"{claim}SignedHeaders={names}, Signature={'0' * 64}")
        assert world.refused(GOOD, fields=fields).reason == reason


@pytest.mark.parametrize(
    ("authorization", "known"),
    [
        (GOOD.sign()[-1][1], True),
        (f"Credential={GOOD.key_id}/", True),
        (f"Credential=x/,Credential={GOOD.key_id}/", True),
        (f"Credential=xCredential={GOOD.key_id}/", True),
        (f"Credential={GOOD.key_id}, /", False),
        ("Credential=ANOTHER/20260101/", False),
        ("Basic Og==", False),
        ("", False),
    ],
)
def test_a_field_that_names_a_key_of_ours_is_known_however_it_is_made(
    world: World, authorization: str, known: bool
) -> None:
    assert world.signatures.knows(authorization) is known


@pytest.mark.parametrize("signed", ["x-amz-target;x-amz-date;host", "host;host;x-amz-date;x-amz-target"])
def test_names_of_signed_fields_out_of_order(world: World, signed: str) -> None:
    fields = with_authorization(f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders={signed}, {SIGNATURE}")
    assert world.refused(GOOD, fields=fields).reason == "malformed signature"


@pytest.mark.parametrize(
    "stamp", ["", "20260101", "2026-01-01T00:00:00Z", "20260101T000000Z ", "٢٠٢٦٠١٠١T000000Z"]
)
def test_a_date_that_is_none(world: World, stamp: str) -> None:
    fields = [(key, stamp if key == "X-Amz-Date" else value) for key, value in GOOD.sign()]
    error = world.refused(GOOD, fields=fields)
    assert (error.code, error.reason) == ("IncompleteSignatureException", "no x-amz-date, or not a date")


def test_a_date_that_no_calendar_has(world: World) -> None:
    fields = [(key, "20260101T250000Z" if key == "X-Amz-Date" else value) for key, value in GOOD.sign()]
    assert world.refused(GOOD, fields=fields).reason == "no such date"


# -- once -------------------------------------------------------------------------------------------------


async def test_a_signature_is_good_once(world: World) -> None:
    """Refused in a way that AWS's clients answer by signing anew."""
    world.verify(GOOD)
    error = world.refused(GOOD)
    assert (error.code, error.reason, error.status) == (
        "ThrottlingException",
        "a signature that was used before",
        400,
    )
    await world.clock.advance(299)
    assert world.refused(GOOD).reason == "a signature that was used before"
    await world.clock.advance(2)
    assert world.refused(GOOD).reason == "the signature is too old"
    assert world.verify(GOOD.but(at=world.clock.now())) is ALICE


async def test_one_of_the_future_is_remembered_for_as_long_as_it_could_count(world: World) -> None:
    early = GOOD.but(at=NOW + timedelta(seconds=300))
    world.verify(early)
    await world.clock.advance(599)
    assert world.refused(early).reason == "a signature that was used before"
    await world.clock.advance(2)
    assert world.refused(early).reason == "the signature is too old"


async def test_a_question_may_be_repeated_for_a_moment_by_whoever_asked_it(world: World) -> None:
    """Two equal requests within a second have one signature."""
    world.verify(GOOD, is_question=True)
    world.verify(GOOD, is_question=True)
    assert world.refused(GOOD, is_question=True, source="127.0.0.2").code == "ThrottlingException"
    assert world.refused(GOOD).code == "ThrottlingException"
    await world.clock.advance(5)
    world.verify(GOOD, is_question=True)
    await world.clock.advance(1)
    assert world.refused(GOOD, is_question=True).code == "ThrottlingException"


def test_a_bad_signature_is_not_remembered(world: World) -> None:
    world.refused(GOOD, body=b"other")
    assert world.verify(GOOD) is ALICE


async def test_memory_is_bounded_and_refuses_rather_than_forgets(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sigv4, "SIGNATURES_REMEMBERED", 3)
    for number in range(3):
        world.verify(GOOD.but(body=b"%d" % number))
    assert world.refused(GOOD.but(body=b"3")).reason == "more requests of one access key than are remembered"
    assert world.refused(GOOD.but(body=b"0")).reason == "a signature that was used before"
    assert world.verify(GOOD.but(key_id=BUILD.id, secret=BUILD.secret)) is BUILD
    await world.clock.advance(601)
    assert world.verify(GOOD.but(at=world.clock.now())) is ALICE


def test_what_was_seen_outlives_a_reload_and_keys_do_not(world: World) -> None:
    world.verify(GOOD)
    world.signatures.adopt({ALICE.id: ALICE})
    assert world.refused(GOOD).reason == "a signature that was used before"
    assert world.refused(GOOD.but(key_id=BUILD.id, secret=BUILD.secret)).code == "UnrecognizedClientException"


# -- anything ---------------------------------------------------------------------------------------------

_VALUES = st.text(max_size=40) | st.sampled_from([value for _, value in GOOD.sign()])
_FIELDS = st.lists(st.tuples(st.sampled_from([name for name, _ in GOOD.sign()]), _VALUES), max_size=7)


@given(_FIELDS, st.binary(max_size=20))
def test_whatever_comes_is_refused_with_a_reason(fields: list[tuple[str, str]], body: bytes) -> None:
    error = World().refused(GOOD, fields=fields, body=body)
    assert error.reason
    assert error.status in (400, 403)


@given(st.integers(0, len(GOOD.sign()[-1][1]) - 1), st.characters(codec="ascii"))
def test_a_change_of_any_character_of_the_authorization_is_noticed(index: int, character: str) -> None:
    text = GOOD.sign()[-1][1]
    changed = text[:index] + character + text[index + 1 :]
    if changed.split() != text.split():
        World().refused(GOOD, fields=with_authorization(changed))


# -- secrets ----------------------------------------------------------------------------------------------


def test_no_secret_shows(world: World) -> None:
    assert GOOD.secret not in repr(ALICE)
    assert repr(world.signatures) == "Signatures(2 keys)"
    error = world.refused(GOOD, body=b"other")
    expected = GOOD.but(body=b"other").sign()[-1][1][-64:]
    assert expected not in f"{error!r} {error} {error.reason}"
    assert GOOD.secret not in f"{error!r} {error} {error.reason}"


def test_keys_that_are_named(world: World) -> None:
    assert world.signatures.knows(GOOD.sign()[-1][1])
    assert not world.signatures.knows(GOOD.but(key_id="AKIASOMEBODY").sign()[-1][1])
    assert not world.signatures.knows("Bearer x")
    sigv4.prepare()
