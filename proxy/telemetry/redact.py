"""Takes credentials out of text and of event fields, as the second line of defence.

The first line is that nobody logs one: presigned URLs and sessions print as `***`, and the access log drops
every query. This module catches what slips through: a URL in a library's exception, a header in a warning, a link that
was encoded into a path. It errs towards hiding too much, and knows nothing about who logs what. Callers choose the
text, so each pattern is linear in it: quantifiers are possessive where a failure would walk back, and what a failed
attempt has looked at is passed over, never begun again one character on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"cookie|credential|authori[sz]ation|token|password|passwd|secret|signature|presigned|(?:private|access)_?key",
    re.I,
)

# The gateway's own links, sessions and tokens, wherever they stand and wherever they were cut.
_OURS = re.compile(r"nbgate[0-9]++_[\w.-]*+", re.I)
# As in a query, or as in JSON and in what Python prints of a mapping.
_PARAMETER = re.compile(
    r"((?:auth[_-]?token|token|x-amz-(?:security-token|signature|credential)|signature|password|passwd"
    r"|secret(?:[_-]?access[_-]?key)?|private[_-]?key)"
    r"(?:=|['\"]\s*+:\s*+['\"]))"
    r"[^&\s\"'<>/]+",
    re.I,
)
_FIELD = re.compile(r"((?:set-cookie|cookie|authorization)['\"]?\s*+[:=]\s*)[^\r\n]+", re.I)
# The second way takes a run that is no JWT as a whole: what begins inside of it ends where it ends, and is none either.
_JWT = re.compile(r"\beyJ(?:[\w-]{8,}+(\.)[\w.-]++|[\w-]*+)")
# Not asked is what stands before `://`: a scheme is sought from each of its letters, in vain from most.
_USERINFO = re.compile(r"://[^/\s@\"']++@")

# One character that was percent-encoded, however many times: `%3D`, `%253D`, `%25253D` …
_ENCODED = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})")
_ENDS = re.compile(r"[&\s\"'<>/]")
_LAYERS = 3
"""Of encodings that no encoder makes, in which the digits of one are encoded themselves."""

_MAX_DEPTH = 6


def scrub(text: str) -> str:
    """`text` with `***` for this gateway's tokens, the values of token-like parameters, cookie and authorization
    fields, JWTs and the user part of URLs; also where they are percent-encoded, once or many times.
    """
    text = _OURS.sub(HIDDEN, text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    text = _FIELD.sub(rf"\1{HIDDEN}", text)
    text = _JWT.sub(_hide_jwt, text)
    text = _USERINFO.sub(f"://{HIDDEN}@", text)
    return _scrub_encoded(text) if "%" in text else text


def may_hold_secrets(text: str) -> bool:
    """False where `scrub` finds nothing in a text: for those who look at many, of which most hold nothing."""
    return "%" in text or "=" in text or ":" in text or "eyJ" in text or "nbgate" in text.lower()


def _hide_jwt(found: re.Match[str]) -> str:
    return HIDDEN if found[1] else found[0]


def _scrub_encoded(text: str) -> str:
    """Read `text` as it is without its encodings; what is found is hidden up to its end as the text is written."""
    layers = [text]
    while len(layers) <= _LAYERS and (plain := _ENCODED.sub(_character, layers[-1])) != layers[-1]:
        layers.append(plain)
    found = _secrets(layers[-1])
    if not found:
        return text
    for layer in reversed(layers[:-1]):
        starts = _starts(layer)
        found = [starts[at] for at in found]
    kept: list[str] = []
    done = 0
    for start in found:
        if start >= done:
            end = _ENDS.search(text, start)
            kept += (text[done:start], HIDDEN)
            done = end.start() if end is not None else len(text)
    return "".join((*kept, text[done:]))


def _character(encoded: re.Match[str]) -> str:
    return chr(int(encoded[1], 16))


def _starts(text: str) -> list[int]:
    """Where in `text` each character begins of what it is with a layer of encodings taken off."""
    starts: list[int] = []
    done = 0
    for found in _ENCODED.finditer(text):
        starts += range(done, found.start() + 1)
        done = found.end()
    starts += range(done, len(text))
    return starts


def _secrets(text: str) -> list[int]:
    """Where in `text` secrets begin, in order."""
    found = [match.start() for match in _OURS.finditer(text)]
    found += [match.end(1) for pattern in (_PARAMETER, _FIELD) for match in pattern.finditer(text)]
    found += [match.start() for match in _JWT.finditer(text) if match[1]]
    found += [match.start() + 3 for match in _USERINFO.finditer(text)]
    # `***` is what was hidden already.
    return sorted(at for at in found if not text.startswith(HIDDEN, at))


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
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str | bytes):
        # A header, most likely.
        name = value[0] if isinstance(value[0], str) else value[0].decode("latin-1")
        return [_redact_value(value[0], depth - 1), _redact_field(name, value[1], depth - 1)]
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item, depth - 1) for item in value]
    if isinstance(value, bytes | bytearray):
        return scrub(value.decode("utf-8", "backslashreplace"))
    return scrub(str(value))
