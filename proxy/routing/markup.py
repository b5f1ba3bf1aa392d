"""Links in HTML that streams by: the prefix is put before those of tags, and into Jupyter's configuration and scripts.

WHATWG HTML section 13.2.5, as far as it takes to tell tags from text, as a machine that may be stopped between any two
bytes. The rule: what is looked at is decided on the spot, so that each byte is looked at once, whatever the page. What
it cannot read passes as it came, and nothing is ever added but the prefix. Knows no sockets and no mounts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from proxy.routing.json_texts import JsonAddresses, JsonPlace
from proxy.routing.links import STEPS_A_FEED, is_outside, telling_bytes
from proxy.routing.quoted import QuotedAddresses

LONGEST_NAME: Final = 16
"""Of tags and attributes that are looked at."""

_LINKS: Final = frozenset({b"src", b"href", b"action"})
_CONFIG_ID: Final = b"jupyter-config-data"
_TEXT_ONLY: Final = frozenset(
    {b"script", b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes", b"plaintext"}
)
_ENDS: Final = {name: re.compile(rb"</" + name + rb"(?=[\s/>])", re.IGNORECASE) for name in _TEXT_ONLY}

_MARKUP: Final = re.compile(rb"<(?:[a-zA-Z/?!]|\Z)")
# Possessive: no input can backtrack. Each matches where it is tried.
_TAG_NAME: Final = re.compile(rb"[^\s/>]*+")
_BETWEEN: Final = re.compile(rb"[\s/]*+")
_ATTRIBUTE_NAME: Final = re.compile(rb"=?[^\s/>=]*+")
_REST_OF_NAME: Final = re.compile(rb"[^\s/>=]*+")
_BLANKS: Final = re.compile(rb"\s*+")
_END_OF_UNQUOTED: Final = re.compile(rb"[\s>]")

_Step = Callable[["HtmlLinks", int], int]
"""Reads on from a position: returns where the next one does, or ~N to wait for more from N on."""


class HtmlLinks:
    """Rewrites one page. Implements `proxy.routing.links.Rewriter`.

    Links are the values of `src`, `href` and `action` that begin with one `/` and are not below the prefix yet; of the
    classic notebook's `<body>` also `data-base-url`. `config` says where addresses stand in Jupyter's configuration,
    `roots` which ones its scripts hold (None: they are not Jupyter's).
    """

    __slots__ = (
        "_copied",
        "_data",
        "_held",
        "_is_config",
        "_out",
        "_place",
        "_prefix",
        "_quote",
        "_roots",
        "_seeks",
        "_spent",
        "_step",
        "_tag",
        "_under",
        "_within",
    )

    def __init__(self, prefix: str, config: JsonPlace, roots: re.Pattern[bytes] | None = None) -> None:
        self._prefix = prefix
        self._under = prefix.encode("ascii")
        self._place = config
        self._roots = roots
        self._step: _Step = HtmlLinks._text
        self._tag = b""
        self._seeks = b""
        """What the value to come is: `href` for any link, `id`, or nothing that matters."""
        self._quote = b""
        self._is_config = False
        self._within: JsonAddresses | QuotedAddresses | None = None
        """Rewrites the text of the element that the page is in."""
        self._held = b""
        self._data = b""
        self._out: list[bytes] = []
        self._copied = 0
        self._spent = 0
        """Steps of this feed that were taken within an element's text."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        if self._held:
            data = self._held + data
            self._held = b""
        self._data = data
        self._copied = self._spent = position = steps = 0
        size = len(data)
        while position < size and steps + self._spent < STEPS_A_FEED:
            steps += 1
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
        within = self._within.finish() if self._within is not None else b""
        return within + self._held

    # -- outside of tags ----------------------------------------------------------------------------------

    def _text(self, position: int) -> int:
        data = self._data
        found = _MARKUP.search(data, position)
        if found is None:
            return len(data)
        start = found.start()
        begins = data[start : start + 4]
        if len(begins) < 4 and b"<!--".startswith(begins):
            return ~start
        if begins == b"<!--":
            self._step = HtmlLinks._comment
            # Its dashes are looked at again, for `<!-->` is a whole one.
            return start + 2
        if begins[1:2].isalpha():
            self._is_config = False
            self._step = HtmlLinks._tag_name
            return start + 1
        self._step = HtmlLinks._other
        return start + 1

    def _comment(self, position: int) -> int:
        data = self._data
        end = data.find(b"-->", position)
        if end >= 0:
            self._step = HtmlLinks._text
            return end + 3
        last = data[max(position, len(data) - 2) :]
        dashes = len(last) - len(last.rstrip(b"-"))
        return ~(len(data) - dashes) if dashes else len(data)

    def _other(self, position: int) -> int:
        """In an end tag or a declaration."""
        end = self._data.find(b">", position)
        if end < 0:
            return len(self._data)
        self._step = HtmlLinks._text
        return end + 1

    # -- in a tag -----------------------------------------------------------------------------------------

    def _tag_name(self, position: int) -> int:
        name, end = self._name(_TAG_NAME, position)
        if name is None:
            return ~position
        self._tag = name
        self._step = HtmlLinks._rest_of_tag_name
        return end

    def _rest_of_tag_name(self, position: int) -> int:
        return self._past(_TAG_NAME, position, HtmlLinks._inside)

    def _inside(self, position: int) -> int:
        """Before an attribute, or before the end of the tag."""
        return self._past(_BETWEEN, position, HtmlLinks._attribute)

    def _attribute(self, position: int) -> int:
        if self._data.startswith(b">", position):
            self._leave_tag()
            return position + 1
        name, end = self._name(_ATTRIBUTE_NAME, position)
        if name is None:
            return ~position
        self._seeks = b""
        if name in _LINKS or (name == b"data-base-url" and self._tag == b"body"):
            self._seeks = b"href"
        elif name == b"id" and self._tag == b"script":
            self._is_config = False
            self._seeks = b"id"
        self._step = HtmlLinks._rest_of_attribute
        return end

    def _rest_of_attribute(self, position: int) -> int:
        return self._past(_REST_OF_NAME, position, HtmlLinks._named)

    def _named(self, position: int) -> int:
        """Behind an attribute's name."""
        return self._past(_BLANKS, position, HtmlLinks._equals)

    def _equals(self, position: int) -> int:
        if self._data.startswith(b"=", position):
            self._step = HtmlLinks._before_value
            return position + 1
        self._step = HtmlLinks._inside
        return position

    def _before_value(self, position: int) -> int:
        return self._past(_BLANKS, position, HtmlLinks._value)

    def _value(self, position: int) -> int:
        first = self._data[position : position + 1]
        self._quote = first if first in (b'"', b"'") else b""
        self._step = HtmlLinks._start_of_value if self._seeks else HtmlLinks._rest_of_value
        return position + len(self._quote)

    def _start_of_value(self, position: int) -> int:
        """Where so much has come as tells, it is decided what the value is."""
        telling = telling_bytes(self._under) if self._seeks == b"href" else len(_CONFIG_ID) + 1
        told = self._data[position : position + telling]
        end = self._end_of_value(told, 0)
        if end < 0 and len(told) < telling:
            return ~position
        value = told[:end] if end >= 0 else told
        if self._seeks == b"id":
            self._is_config = value == _CONFIG_ID
        elif is_outside(value, self._under):
            self._out += (self._data[self._copied : position], self._under)
            self._copied = position
        self._step = HtmlLinks._rest_of_value
        return position

    def _rest_of_value(self, position: int) -> int:
        end = self._end_of_value(self._data, position)
        if end < 0:
            return len(self._data)
        self._step = HtmlLinks._inside
        return end + len(self._quote)

    def _leave_tag(self) -> None:
        if self._tag == b"plaintext":
            self._step = HtmlLinks._plain
        elif self._tag in _TEXT_ONLY:
            self._step = HtmlLinks._element
            if self._is_config:
                self._within = JsonAddresses(self._prefix, self._place)
            elif self._tag == b"script" and self._roots is not None:
                self._within = QuotedAddresses(self._prefix, self._roots)
            else:
                self._within = None
        else:
            self._step = HtmlLinks._text

    def _name(self, pattern: re.Pattern[bytes], position: int) -> tuple[bytes | None, int]:
        """The name at a position, None while it is not all there, b"" for one that is longer than any that matter;
        and where it ends."""
        end = _end(pattern, self._data, position)
        if end - position > LONGEST_NAME:
            return b"", end
        return (None if end == len(self._data) else self._data[position:end].lower()), end

    def _past(self, pattern: re.Pattern[bytes], position: int, then: _Step) -> int:
        """Pass what the pattern matches, and take the next step behind it."""
        end = _end(pattern, self._data, position)
        if end < len(self._data):
            self._step = then
        return end

    def _end_of_value(self, data: bytes, position: int) -> int:
        if self._quote:
            return data.find(self._quote, position)
        found = _END_OF_UNQUOTED.search(data, position)
        return -1 if found is None else found.start()

    # -- in elements that hold nothing but text ------------------------------------------------------------

    def _element(self, position: int) -> int:
        data, end_tag = self._data, b"</" + self._tag
        found = _ENDS[self._tag].search(data, position)
        if found is not None:
            stop = found.start()
        else:
            stop = data.rfind(b"<", max(position, len(data) - len(end_tag)))
            if stop < 0 or not end_tag.startswith(data[stop:].lower()):
                stop = len(data)
        if self._within is not None and not self._rewrite_within(self._within, position, stop):
            return self._copied
        if found is not None:
            if self._within is not None:
                self._out.append(self._within.finish())
                self._within = None
            self._step = HtmlLinks._text
            return stop
        return ~stop if stop < len(data) else stop

    def _rewrite_within(self, within: JsonAddresses | QuotedAddresses, position: int, stop: int) -> bool:
        """False: not all of it was looked at, and it is for another feed."""
        rewritten, rest = within.feed(self._data[position:stop])
        self._spent += within.steps
        self._out += (self._data[self._copied : position], rewritten)
        self._copied = stop - len(rest)
        return not rest

    def _plain(self, _position: int) -> int:
        """Behind `<plaintext>`, which nothing ends."""
        return len(self._data)


def _end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    assert found is not None
    return found.end()
