"""Takes credentials out of text and of event fields, as the second line of defence.

The first line is that nobody logs one: presigned URLs and sessions print as `***`, and the access log drops
every query. This module catches what slips through: a URL in a library's exception, a header in a warning.
It errs towards hiding too much, and knows nothing about who logs what. Callers choose the text, so each pattern is
linear in it: quantifiers are possessive where a failure would walk back, and what a failed attempt has looked at is
passed over, never begun again one character on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"cookie|credential|authori[sz]ation|token|password|passwd|secret|signature|presigned|private_?key", re.I
)

# `=` also percent-encoded: a link that was encoded once too often carries `%3FauthToken%3D…` in its path.
_PARAMETER = re.compile(
    r"((?:auth[_-]?token|token|x-amz-(?:security-token|signature|credential)|signature|password|secret)"
    r"(?:=|%3D|%253D))"
    r"[^&\s\"'<>/]+",
    re.I,
)
_FIELD = re.compile(r"((?:set-cookie|cookie|authorization)['\"]?\s*+[:=]\s*)[^\r\n]+", re.I)
# The second way takes a run that is no JWT as a whole: what begins inside of it ends where it ends, and is none either.
_JWT = re.compile(r"\beyJ(?:[\w-]{8,}+(\.)[\w.-]++|[\w-]*+)")
# Not asked is what stands before `://`: a scheme is sought from each of its letters, in vain from most.
_USERINFO = re.compile(r"://[^/\s@\"']++@")

_MAX_DEPTH = 6


def scrub(text: str) -> str:
    """`text` with `***` for the values of token-like parameters, cookie and authorization fields, JWTs and
    the user part of URLs.
    """
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    text = _FIELD.sub(rf"\1{HIDDEN}", text)
    text = _JWT.sub(_hide_jwt, text)
    return _USERINFO.sub(f"://{HIDDEN}@", text)


def _hide_jwt(found: re.Match[str]) -> str:
    return HIDDEN if found[1] else found[0]


def redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `fields`, made of JSON's types alone, in which a field that is named like a credential is
    `***` and every text is scrubbed. Objects become their scrubbed `str`.
    """
    return {name: _redact_field(name, value, _MAX_DEPTH) for name, value in fields.items()}


def _redact_field(name: str, value: Any, depth: int) -> Any:
    if _SECRET_NAME.search(name) and value not in (None, "", False, True):
        return HIDDEN
    return _redact_value(value, depth)


def _redact_value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return scrub(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {scrub(str(key)): _redact_field(str(key), item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item, depth - 1) for item in value]
    if isinstance(value, bytes | bytearray):
        return scrub(value.decode("utf-8", "backslashreplace"))
    return scrub(str(value))
