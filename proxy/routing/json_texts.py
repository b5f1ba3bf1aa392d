"""Addresses in JSON that streams by: the prefix is put before those that stand at known places.

The rule: places are told by rules, one for each object on the way, so that all else is only counted: brackets, and
where texts end. What is no JSON passes without harm, for nothing is ever added but the prefix, at the start of a text.
A machine that may be stopped between any two bytes; the longest thing it holds back is a key. Knows no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from proxy.routing.links import STEPS_A_FEED, is_outside, telling_bytes

LONGEST_KEY: Final = 256
"""Of those that are looked at."""

JsonPlace = Callable[[str], "JsonPlace | Each | Literal['address'] | None"]
"""What stands at a key of an object: an address, an object with a rule of its own, or nothing of interest."""


@dataclass(frozen=True, slots=True)
class Each:
    """A list of objects, each with that rule."""

    place: JsonPlace


_MARK: Final = re.compile(rb'["{}\[\],:]')
_BRACKET: Final = re.compile(rb'["{}\[\]]')
_END_OF_TEXT: Final = re.compile(rb'["\\]')

_Step = Callable[["JsonAddresses", int], int]
"""Reads on from a position: returns where the next one does, or ~N to wait for more from N on."""


class JsonAddresses:
    """Rewrites one JSON text. Implements `proxy.routing.links.Rewriter`."""

    __slots__ = (
        "_copied",
        "_data",
        "_deep",
        "_found",
        "_held",
        "_is_at_key",
        "_out",
        "_places",
        "_step",
        "_under",
        "steps",
    )

    def __init__(self, prefix: str, place: JsonPlace) -> None:
        self._under = prefix.encode("ascii")
        self._step: _Step = JsonAddresses._between
        self._places: list[JsonPlace | Each] = []
        """Rules of the objects and lists that are open, from the outermost."""
        self._found: JsonPlace | Each | Literal["address"] | None = place
        """What the value to come is."""
        self._is_at_key = False
        self._deep = 0
        """Brackets that are open below the innermost of those."""
        self._held = b""
        self._data = b""
        self._out: list[bytes] = []
        self._copied = 0
        self.steps = 0
        """Those that the last feed took."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self._held:
            data = self._held + data
            self._held = b""
        self._data = data
        self._copied = self.steps = position = 0
        size = len(data)
        while position < size and self.steps < STEPS_A_FEED:
            self.steps += 1
            position = self._step(self, position)
            if position < 0:
                position = size = ~position
                self._held = data[position:]
        self._out.append(data[self._copied : position])
        rewritten = b"".join(self._out)
        # Between two feeds nothing of the text is kept but what is held back.
        self._data = b""
        self._out.clear()
        return rewritten, data[position:size]

    def finish(self) -> bytes:
        return self._held

    def _between(self, position: int) -> int:
        """Between texts."""
        found = (_BRACKET if self._deep else _MARK).search(self._data, position)
        if found is None:
            return len(self._data)
        mark = found[0]
        if mark == b'"':
            if self._deep or not self._places:
                self._step = JsonAddresses._text
            elif self._is_at_key:
                self._step = JsonAddresses._key
            else:
                self._step = JsonAddresses._address if self._found == "address" else JsonAddresses._text
        elif mark in (b"{", b"["):
            self._open(is_object=mark == b"{")
        elif mark in (b"}", b"]"):
            self._close()
        elif not self._places or not isinstance(among := self._places[-1], Each):
            self._is_at_key = mark == b","
        else:
            self._found = among.place
        return found.end()

    def _open(self, *, is_object: bool) -> None:
        found = None if self._deep or self._is_at_key else self._found
        if is_object and callable(found):
            self._places.append(found)
            self._found = None
            self._is_at_key = True
        elif not is_object and isinstance(found, Each):
            self._places.append(found)
            self._found = found.place
        elif self._places:
            self._deep += 1
        else:
            self._step = JsonAddresses._over

    def _close(self) -> None:
        if self._deep:
            self._deep -= 1
            return
        self._found = None
        self._is_at_key = False
        del self._places[-1:]
        if not self._places:
            self._step = JsonAddresses._over

    def _text(self, position: int) -> int:
        found = _END_OF_TEXT.search(self._data, position)
        if found is None:
            return len(self._data)
        self._step = JsonAddresses._between if found[0] == b'"' else JsonAddresses._escaped
        return found.end()

    def _escaped(self, position: int) -> int:
        self._step = JsonAddresses._text
        return position + 1

    def _key(self, position: int) -> int:
        key = self._data[position : position + LONGEST_KEY]
        end = key.find(b'"')
        if end < 0 and len(key) < LONGEST_KEY:
            return ~position
        # One with an escape is no key that is looked for, or a very odd spelling of one.
        within = self._places[-1]
        assert not isinstance(within, Each)
        self._found = within(key[:end].decode("latin-1")) if end >= 0 else None
        self._step = JsonAddresses._text
        return position

    def _address(self, position: int) -> int:
        """Where so much has come as tells, it is decided whether the prefix stands before it."""
        telling = telling_bytes(self._under)
        told, quote, _ = self._data[position : position + telling].partition(b'"')
        if not quote and len(told) < telling:
            return ~position
        # An escape is no letter that Jupyter would write there, and taken for what it may stand for: `//`.
        if is_outside(told, self._under):
            self._out += (self._data[self._copied : position], self._under)
            self._copied = position
        self._step = JsonAddresses._text
        return position

    def _over(self, _position: int) -> int:
        """Behind the outermost object, or where there is none."""
        return len(self._data)
