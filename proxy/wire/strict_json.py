"""JSON as RFC 8259 has it, read so that no two readers could read it differently.

The rule: what the standard leaves to each reader is refused: a key that an object has twice, `NaN` and `Infinity`, any
encoding but UTF-8, and what is nested deeper than this reader goes. It must not know what the text is about.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class NotJson(ValueError):
    """The text is no JSON; `str` says why and where, `reason` why, in the words of Python's reader.

    `line` counts from 1; 0 where it is not known.
    """

    def __init__(self, text: str, *, reason: str = "", line: int = 0) -> None:
        super().__init__(text)
        self.reason = reason or text
        self.line = line


class KeyTwice(NotJson):
    """An object has `key` twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} is in one object twice")
        self.key = key


class NestedTooDeep(NotJson):
    """More objects or arrays within one another than this reader takes."""


def read_json(text: bytes | str) -> Any:
    """Raises NotJson."""
    try:
        return json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_constant=_refuse,
        )
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(str(error), reason=error.msg, line=error.lineno) from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    except RecursionError:
        raise NestedTooDeep("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        times = Counter(key for key, _ in pairs)
        raise KeyTwice(times.most_common(1)[0][0])
    return found


def _refuse(constant: str) -> Any:
    raise NotJson(f"{constant} is no number of JSON's")
