"""What the answer to /api/status tells: every row with the marks of Jupyter's, and without."""

from __future__ import annotations

import gzip
import zlib

import pytest

from proxy.aws.hosts import SIGN_IN_HOSTS
from proxy.aws.sessions import StatusMeaning
from proxy.aws.status_answer import BODY_BYTES, Asked, meaning_of
from tests.aws.fakes import NOTEBOOK_HOST, ORIGIN
from tests.aws.heads import JUPYTERS, UNMARKED, head

JSON = "application/json"
HTML = "text/html"
STATUS = b'{"connections": 0, "kernels": 0, "last_activity": "2026-11-27T00:00:00Z", "started": "x"}'
LOADING = b'<!doctype html><meta http-equiv="refresh" content="5"><p>Loading'
SIGN_IN = "https://signin.aws.amazon.com/signin?x"
CONSOLE = "https://us-west-2.console.aws.amazon.com/sagemaker/home?region=us-west-2&notebookState=L2E=#/x"

ANSWERS = [
    # why, status, location, type, body, what it tells where nothing marks it
    ("Jupyter's status", 200, "", JSON, STATUS, StatusMeaning.YES),
    ("... compressed against our wish", 200, "", JSON, b"\x1f\x8b\x08", StatusMeaning.YES),
    ("Jupyter's password", 403, "", JSON, b'{"message": "Forbidden", "reason": null}', StatusMeaning.YES),
    (
        "... of an older one",
        401,
        "",
        JSON,
        b'{"reason": "x", "message": "m", "traceback": ""}',
        StatusMeaning.YES,
    ),
    (
        "Jupyter's own fault",
        500,
        "",
        JSON,
        b'{"message": "Unhandled error", "reason": null}',
        StatusMeaning.YES,
    ),
    ("Jupyter does not know the path", 404, "", JSON, b'{"message": "x", "reason": null}', StatusMeaning.YES),
    ("Jupyter's login page", 302, "/login?next=%2Fapi%2Fstatus", "", b"", StatusMeaning.YES),
    ("redirect to sign in", 302, SIGN_IN, "", b"", StatusMeaning.NO),
    ("redirect to the console", 303, CONSOLE, HTML, b"", StatusMeaning.NO),
    ("redirect to another host", 307, "https://elsewhere.example/", "", b"", StatusMeaning.NO),
    ("a login elsewhere", 302, "https://elsewhere.example/login", "", b"", StatusMeaning.NO),
    ("401", 401, "", "", b"", StatusMeaning.NO),
    ("403 with a page", 403, "", HTML, b"<h1>Forbidden", StatusMeaning.NO),
    ("403 of AWS's JSON", 403, "", JSON, b'{"message": "Forbidden"}', StatusMeaning.NO),
    ("403 of no JSON", 403, "", JSON, b'{"message', StatusMeaning.NO),
    ("403 of a list", 403, "", JSON, b'["message", "reason"]', StatusMeaning.NO),
    ("403 of JSON without end", 403, "", JSON, b"[" * 16384, StatusMeaning.NO),
    ("a page that loads itself again", 200, "", HTML, LOADING, StatusMeaning.PAGE),
    ("any other page", 200, "", HTML, b"<title>Sign-In", StatusMeaning.PAGE),
    ("... with another good status", 202, "", HTML, LOADING, StatusMeaning.PAGE),
    ("... an empty one", 200, "", "application/xhtml+xml", b"", StatusMeaning.PAGE),
    ("the stopped instance's 400", 400, "", HTML, b"<h1>Bad Request", StatusMeaning.FAULT),
    ("404", 404, "", HTML, b"", StatusMeaning.FAULT),
    ("404 of AWS's JSON", 404, "", JSON, b'{"message": "Not Found"}', StatusMeaning.FAULT),
    ("429", 429, "", "", b"", StatusMeaning.FAULT),
    ("500", 500, "", "text/plain", b"", StatusMeaning.FAULT),
    ("502", 502, "", HTML, b"", StatusMeaning.FAULT),
    ("503", 503, "", "", b"", StatusMeaning.FAULT),
    ("504", 504, "", "", b"", StatusMeaning.FAULT),
    ("a redirect within the host", 302, "/nb-sign-in/1", "", b"", StatusMeaning.NOTHING),
    ("a redirect nowhere", 302, "", "", b"", StatusMeaning.NOTHING),
    ("a broken redirect", 302, "https://[bad", "", b"", StatusMeaning.NOTHING),
    ("no page and no JSON", 200, "", "text/plain", b"ok", StatusMeaning.NOTHING),
    ("nothing", 204, "", "", b"", StatusMeaning.NOTHING),
]


def told(row: tuple[str, int, str, str, bytes, StatusMeaning], lines: tuple[str, ...]) -> StatusMeaning:
    _, status, location, content_type, body, _ = row
    facts = head(status, *lines, location=location, content_type=content_type)
    return meaning_of(Asked(facts, body, ORIGIN, SIGN_IN_HOSTS))


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row[0])
@pytest.mark.parametrize("lines", UNMARKED.values(), ids=UNMARKED)
def test_an_answer_that_nothing_marks(row, lines: tuple[str, ...]) -> None:
    assert told(row, lines) is row[-1]


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row[0])
@pytest.mark.parametrize("lines", JUPYTERS.values(), ids=JUPYTERS)
def test_what_jupyter_answers_was_let_through_to_it(row, lines: tuple[str, ...]) -> None:
    """Nobody else sends browsers to sign in to AWS."""
    is_sign_in = row[2] in {SIGN_IN, CONSOLE}
    assert told(row, lines) is (StatusMeaning.NO if is_sign_in else StatusMeaning.YES)


def test_a_redirect_to_its_own_host_in_full_is_one_within() -> None:
    row = ("", 302, f"https://{NOTEBOOK_HOST}/login?next=x", "", b"", StatusMeaning.YES)
    assert told(row, ()) is StatusMeaning.YES


def test_what_users_clients_saw_is_no_proof_of_anything() -> None:
    """ "Invalid response: 200 OK" was a page that redirects had led to."""
    assert (
        told(("", 200, "", HTML, b"<html>Amazon Web Services Sign-In", StatusMeaning.PAGE), ())
        is not StatusMeaning.NO
    )


REFUSED = b'{"message": "Forbidden", "reason": null}'


@pytest.mark.parametrize(
    ("coding", "body", "says"),
    [
        ("gzip", gzip.compress(REFUSED), StatusMeaning.YES),
        ("GZIP", gzip.compress(REFUSED), StatusMeaning.YES),
        ("deflate", zlib.compress(REFUSED), StatusMeaning.YES),
        ("identity", REFUSED, StatusMeaning.YES),
        ("gzip", gzip.compress(b'{"message": "Forbidden"}'), StatusMeaning.NO),
        ("gzip", gzip.compress(REFUSED)[:20], StatusMeaning.NO),
        ("gzip", gzip.compress(b"[" * BODY_BYTES * 100), StatusMeaning.NO),
        ("gzip", b"", StatusMeaning.NO),
        ("gzip", REFUSED, StatusMeaning.NO),
        ("br", REFUSED, StatusMeaning.NO),
    ],
)
def test_jupyters_refusal_is_read_though_it_was_compressed_on_the_way(
    coding: str, body: bytes, says: StatusMeaning
) -> None:
    facts = head(403, f"Content-Encoding: {coding}", content_type=JSON)
    assert meaning_of(Asked(facts, body, ORIGIN, SIGN_IN_HOSTS)) is says
