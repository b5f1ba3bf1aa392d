"""What the answer to `GET /api/status` tells of a session, and of the Jupyter behind it: the proof after a suspicion.

Only Jupyter answers that path, in JSON of a known form, also where it refuses (a password of its own, XSRF: `message`
and `reason`). The rules stand below as a table, the first that fits counts. "Signed out" is a redirect to sign in, or
a bare refusal; a page with a good status never is: it stands in Jupyter's place while that is starting. Pure: an answer
and the beginning of its body in, a word out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from proxy.aws.hosts import foreign_host, is_sign_in
from proxy.aws.jupyter_marks import JudgedHead, is_from_jupyter, is_html, is_json
from proxy.aws.sessions import StatusMeaning
from proxy.upstream import Origin
from proxy.wire.codings import CodingError, decoder

STATUS_TARGET: Final = "/api/status"
BODY_BYTES: Final = 16 * 1024
"""So much of a body is looked at. Jupyter's has some 100 bytes."""

_REFUSALS: Final = frozenset({401, 403})
_LOGIN: Final = "/login"
_REFUSED_IN_JUPYTERS_WORDS: Final = frozenset({"message", "reason"})


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, and where it came from."""

    head: JudgedHead
    body: bytes
    origin: Origin
    sign_in_hosts: frozenset[str]


def wants_body(head: JudgedHead) -> bool:
    """Whether the body of an answer tells more than its head."""
    return head.status >= 400 and is_json(head.content_type) and not is_from_jupyter(head)


def _leads_to_sign_in(asked: Asked) -> bool:
    elsewhere = _elsewhere(asked)
    return elsewhere is not None and is_sign_in(*elsewhere, asked.sign_in_hosts)


def _bears_a_mark(asked: Asked) -> bool:
    return is_from_jupyter(asked.head)


def _leads_away(asked: Asked) -> bool:
    return _elsewhere(asked) is not None


def _leads_to_jupyters_login(asked: Asked) -> bool:
    if not _is_redirect(asked):
        return False
    try:
        path = urlsplit(asked.head.location.decode("latin-1")).path
    except ValueError:
        return False
    return path == _LOGIN


def _is_jupyters_status(asked: Asked) -> bool:
    return asked.head.status == 200 and is_json(asked.head.content_type)


def _is_refused_by_jupyter(asked: Asked) -> bool:
    said = _object(asked)
    return asked.head.status >= 400 and isinstance(said, dict) and said.keys() >= _REFUSED_IN_JUPYTERS_WORDS


def _is_refused(asked: Asked) -> bool:
    return asked.head.status in _REFUSALS


def _is_a_page(asked: Asked) -> bool:
    return 200 <= asked.head.status < 300 and is_html(asked.head.content_type)


def _is_a_fault(asked: Asked) -> bool:
    return asked.head.status >= 400


RULES: Final[tuple[tuple[Callable[[Asked], bool], StatusMeaning], ...]] = (
    (_leads_to_sign_in, StatusMeaning.NO),
    (_bears_a_mark, StatusMeaning.YES),
    (_leads_away, StatusMeaning.NO),
    (_leads_to_jupyters_login, StatusMeaning.YES),
    (_is_jupyters_status, StatusMeaning.YES),
    (_is_refused_by_jupyter, StatusMeaning.YES),
    (_is_refused, StatusMeaning.NO),
    (_is_a_page, StatusMeaning.PAGE),
    (_is_a_fault, StatusMeaning.FAULT),
)


def meaning_of(asked: Asked) -> StatusMeaning:
    """What an answer to `STATUS_TARGET` tells."""
    return next((said for holds, said in RULES if holds(asked)), StatusMeaning.NOTHING)


def _is_redirect(asked: Asked) -> bool:
    return 300 <= asked.head.status < 400 and bool(asked.head.location)


def _elsewhere(asked: Asked) -> tuple[str, int | None] | None:
    return foreign_host(asked.head.location, asked.origin) if _is_redirect(asked) else None


def _object(asked: Asked) -> object:
    """The body as JSON, None where it is none."""
    if not is_json(asked.head.content_type):
        return None
    try:
        return json.loads(_plain(asked))
    except (ValueError, RecursionError, CodingError):
        return None


def _plain(asked: Asked) -> bytes:
    """The beginning of the body, decoded where it came compressed, although that was not asked for."""
    codings = [value for name, value in asked.head.fields if name.lower() == b"content-encoding"]
    coding = b",".join(codings).strip().lower()
    if coding in (b"", b"identity") or not asked.body:
        return asked.body
    decoding = decoder(coding)
    if decoding is None:
        raise CodingError
    text, _ = decoding.feed(asked.body, BODY_BYTES)
    return text
