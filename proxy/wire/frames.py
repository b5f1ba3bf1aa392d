"""Where WebSocket frames begin and end: a header-only tracker of RFC 6455 section 5; control frames to add.

The tracker watches one direction of a relay whose bytes pass verbatim. It reads the headers and, of a
close frame, the status code; payloads are never decompressed, copied or re-framed, and never unmasked but for
the two bytes that `MessageOpenings` reads. What it is for: control frames of the gateway's own may be put in at a
boundary only, and an ill-formed frame must not reach the other side. It knows nothing of sockets, time or
policy; a masking key is chance, and passed in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
"""After it, as after 1000, JupyterLab 4.6 and Notebook 7.6 never connect again: nothing that heals says so."""
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
"""Never on the wire: a close frame without a status code."""
ABNORMAL_CLOSURE: Final = 1006
"""Never on the wire: the connection ended without a close frame."""
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
SERVICE_RESTART: Final = 1012
"""IANA's registry of close codes: the service is restarted, and whoever comes again is welcome."""

TIMED_OUT: Final = 3008
"""IANA's registry of close codes, "Timeout": nothing came for too long."""

MAX_CONTROL_PAYLOAD: Final = 125
MAX_PAYLOAD: Final = 2**63 - 1
"""RFC 6455 section 5.2: the most significant bit of a length is 0."""

_CONTINUATION: Final = 0x0
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_DATA_OPCODES: Final = frozenset({0x1, 0x2})
_CONTROL_OPCODES: Final = frozenset({_CLOSE, _PING, _PONG})
_FIN: Final = 0x80
_RSV: Final = 0x70
_MASK: Final = 0x80
_KEY_BYTES: Final = 4
FRAMES_A_FEED: Final = 2048
"""A feed follows so many frames at most, a run of equal ones counting as one: half a millisecond of the smallest."""
_EACH: Final = range(FRAMES_A_FEED)
# From so many bytes on it pays to look for a run of frames with equal headers.
_LONG_RUN: Final = 4096
OPENING_BYTES: Final = 2
MOST_OPENINGS: Final = 256
"""A feed of `MessageOpenings` looks at so many frames at most."""
_LONGEST_OPENING: Final = 10 + _KEY_BYTES + OPENING_BYTES
# Two bytes and a 64-bit length; or, of a close frame, two bytes, a masking key and a status code.
_LONGEST_LOOK: Final = 10


class FrameError(Exception):
    """A frame that may not pass; the connection is to be failed (RFC 6455 section 7.1.7).

    `close_code` is what to tell both sides, `reason` says why in words that hold none of the payload, and
    `good` counts the bytes of the feed that lie before the offending frame.
    """

    def __init__(self, close_code: int, reason: str, *, good: int = 0) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.reason = reason
        self.good = good


class CloseBegins(Exception):
    """Not a fault: a close frame with a code that is to be told has begun.

    `size` counts the bytes of the feed up to the end of that code, which is whole (1005: of the length, which
    tells that there is none): they count as fed, and the rest of that feed is to be fed again.
    """

    def __init__(self, code: int, *, size: int) -> None:
        super().__init__(code)
        self.code = code
        self.size = size


def is_wire_close_code(code: int) -> bool:
    """Tell whether a close frame may carry this code (RFC 6455 section 7.4, and IANA's registry).

    1004 is reserved, 1005, 1006 and 1015 say what no peer can say, 1016 to 2999 are unassigned.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


class FrameTracker:
    """The frames of one direction. `masked` says which: callers mask every frame, servers none.

    With `extensions` negotiated the reserved bits are theirs and pass. `max_frame_bytes` bounds a data
    frame's payload on the wire (1009), if anything does; control frames have the RFC's bound. `told_codes` are close
    codes at which `feed` stops and raises CloseBegins, for the first close frame: what cannot happen twice costs frames
    nothing.
    """

    __slots__ = (
        "_extensions",
        "_flips",
        "_fragmented",
        "_head",
        "_left",
        "_masked",
        "_max",
        "_medium",
        "_medium_overhead",
        "_simple",
        "_skips",
        "_told_codes",
        "close_code",
        "close_seen",
    )

    def __init__(
        self,
        *,
        masked: bool,
        max_frame_bytes: int = MAX_PAYLOAD,
        extensions: bool = False,
        told_codes: frozenset[int] = frozenset(),
    ) -> None:
        self.close_seen = False
        """A close frame has begun: no data frame may follow (RFC 6455 section 5.5.1)."""
        self.close_code: int | None = None
        """What that close frame said; 1005 if it said nothing (RFC 6455 section 7.1.5)."""
        self._masked = masked
        self._max = max_frame_bytes
        self._extensions = extensions
        self._told_codes = told_codes
        self._fragmented = False
        self._left = 0  # bytes of the frame under way still to come, its masking key included
        self._head = b""  # a header that has only partly arrived
        self._medium = 126 | (_MASK if masked else 0)
        self._medium_overhead = 4 + (_KEY_BYTES if masked else 0)
        self._skips = _frame_lengths(masked, min(max_frame_bytes, MAX_CONTROL_PAYLOAD))
        self._enter_state(fragmented=False)

    @property
    def at_boundary(self) -> bool:
        """Nothing of a frame is under way: a control frame may be put in here.

        After a FrameError it tells the same of the bytes before the offending frame.
        """
        return not self._left and not self._head

    @property
    def is_over(self) -> bool:
        """Its close frame is whole: nothing of interest is to come."""
        return self.close_seen and self.at_boundary

    def feed(self, data: bytes | memoryview) -> int:
        """Follow `data`, which may end anywhere.

        Returns 0, or after `FRAMES_A_FEED` frames, at a boundary, how much of it was followed: the rest is to be fed
        after a turn of the event loop. Raises FrameError as soon as a header cannot become a legal one; feed nothing
        more then. Raises CloseBegins once, for a close frame with one of `told_codes`.
        """
        size = len(data)
        left = self._left
        if size <= left:
            self._left = left - size
            return 0
        position = left
        self._left = 0
        if self._head:
            position = self._resume(data)
            if not position:
                return 0
        last = size - 1
        skips = self._skips
        simple = self._simple
        if last - position >= _LONG_RUN:
            position = self._skip_run(data, position)
        for _ in _EACH:
            if position >= last:
                break
            # Nearly all frames change no state and tell their length in one byte, or in two more.
            first = data[position]
            if simple[first]:
                second = data[position + 1]
                if skip := skips[second]:
                    position += skip
                    continue
                if second == self._medium and position + 4 <= size and not first & _CLOSE:
                    length = data[position + 2] << 8 | data[position + 3]
                    if MAX_CONTROL_PAYLOAD < length <= self._max:
                        position += length + self._medium_overhead
                        continue
            elif self._flips[first] and (skip := skips[data[position + 1]]):
                position += skip
                self._enter_state(fragmented=not self._fragmented)
                simple = self._simple
                continue
            step = self._enter(bytes(data[position : position + _LONGEST_LOOK]), good=position)
            if not step:
                return 0
            position += step
            simple = self._simple
        if position < last:
            return position
        if position == last:
            self._enter(bytes(data[position:]), good=position)
        else:
            self._left = position - size
        return 0

    def _skip_run(self, data: bytes | memoryview, position: int) -> int:
        """Return where the first of the frames from `position` on begins that does not look like the one before.

        In a flood of small messages the headers stand at equal distances: strides compare them all at once.
        """
        first, second = data[position], data[position + 1]
        skip = self._skips[second]
        if not self._simple[first] or not 0 < skip <= _LONG_RUN // 8:
            return position
        data = bytes(data)
        seconds = data[position + 1 :: skip]
        run = len(seconds) - len(seconds.lstrip(data[position + 1 : position + 2]))
        firsts = data[position : position + run * skip : skip]
        run -= len(firsts.lstrip(data[position : position + 1]))
        return position + run * skip

    def boundary_in(self, data: bytes | memoryview) -> int:
        """Return how many leading bytes of `data` belong to the frame under way: 0 at a boundary.

        Changes nothing. `len(data)` may mean that the frame ends there or beyond: feed them, and ask
        `at_boundary`. Raises FrameError as `feed` would, if that frame's header is at fault.
        """
        needed = self._left
        if self._head:
            known = len(self._head)
            total = self._measure(self._head + bytes(data[: _LONGEST_LOOK - known]), good=0)
            needed = total - known if total else len(data)
        return min(needed, len(data))

    def _resume(self, data: bytes | memoryview) -> int:
        """Complete the header under way; return where its frame ends in `data`, or 0 and keep it partial."""
        head = self._head
        self._head = b""
        try:
            total = self._enter(head + bytes(data[: _LONGEST_LOOK - len(head)]), good=0, known=len(head))
        except FrameError:
            self._head = head
            raise
        return total - len(head) if total else 0

    def _enter(self, head: bytes, *, good: int, known: int = 0) -> int:
        """Begin the frame whose first bytes are `head`; return its length, or 0 and keep a partial header.

        `known` bytes of it came with an earlier feed, `good` bytes of this one lie before it.
        """
        total = self._measure(head, good=good)
        if not total:
            self._head = head
            return 0
        opcode = head[0] & 0x0F
        if opcode not in _CONTROL_OPCODES:
            fragmented = not head[0] & _FIN
            if fragmented is not self._fragmented:
                self._enter_state(fragmented=fragmented)
        elif opcode == _CLOSE:
            is_first, self.close_seen = not self.close_seen, True
            self.close_code = self._close_code(head) if head[1] & 0x7F else NO_STATUS
            self._enter_state(fragmented=self._fragmented)
            if is_first and self.close_code in self._told_codes:
                to_code = 2
                if self.close_code != NO_STATUS:
                    to_code = 4 + (_KEY_BYTES if self._masked else 0)
                self._left = total - to_code
                raise CloseBegins(self.close_code, size=good + to_code - known)
        return total

    def _enter_state(self, *, fragmented: bool) -> None:
        self._fragmented = fragmented
        self._simple, self._flips = _first_bytes(self._extensions, fragmented, self.close_seen)

    def _measure(self, head: bytes, *, good: int) -> int:
        """Return a frame's whole length, or 0 while `head` does not tell it; refuse what may not pass."""
        if fault := self._first_byte_fault(head[0]):
            raise FrameError(PROTOCOL_ERROR, fault, good=good)
        if len(head) < 2:
            return 0
        second = head[1]
        if bool(second & _MASK) is not self._masked:
            raise FrameError(
                PROTOCOL_ERROR,
                "a frame is not masked" if self._masked else "a frame is masked",
                good=good,
            )
        key_at = 2
        length = second & 0x7F
        opcode = head[0] & 0x0F
        if opcode in _CONTROL_OPCODES:
            if length > MAX_CONTROL_PAYLOAD:
                raise FrameError(PROTOCOL_ERROR, "a control frame is too long", good=good)
            if opcode == _CLOSE and not self._close_code_known(head, length, good=good):
                return 0
        else:
            if length > MAX_CONTROL_PAYLOAD:
                key_at = 4 if length == 126 else 10
                if len(head) < key_at:
                    return 0
                shortest = 126 if length == 126 else 0x10000
                length = int.from_bytes(head[2:key_at], "big")
                if length < shortest or length >> 63:
                    raise FrameError(PROTOCOL_ERROR, "a frame's length is malformed", good=good)
            if length > self._max:
                raise FrameError(MESSAGE_TOO_BIG, "a frame is too big", good=good)
        return key_at + (_KEY_BYTES if self._masked else 0) + length

    def _first_byte_fault(self, first: int) -> str:
        opcode = first & 0x0F
        if opcode in _CONTROL_OPCODES:
            if not first & _FIN:
                return "a control frame is fragmented"
            # RFC 7692 section 6.1 leaves control frames alone, and no other extension is registered.
            return "a control frame sets a reserved bit" if first & _RSV else ""
        if opcode not in _DATA_OPCODES and opcode != _CONTINUATION:
            return "a frame's opcode is reserved"
        if first & _RSV and not self._extensions:
            return "a frame sets a reserved bit"
        if self.close_seen:
            return "a data frame follows a close frame"
        if self._fragmented:
            return "" if opcode == _CONTINUATION else "a message begins inside another"
        return "a continuation continues nothing" if opcode == _CONTINUATION else ""

    def _close_code_known(self, head: bytes, length: int, *, good: int) -> bool:
        """Check a close frame's status code; False while it has not arrived."""
        if length == 0:
            return True
        if length == 1:
            raise FrameError(PROTOCOL_ERROR, "a close frame's status code is cut short", good=good)
        if len(head) < 4 + (_KEY_BYTES if self._masked else 0):
            return False
        if not is_wire_close_code(self._close_code(head)):
            raise FrameError(PROTOCOL_ERROR, "a close frame's status code is not allowed", good=good)
        return True

    def _close_code(self, head: bytes) -> int:
        """The status code of a close frame whose header, key and first two bytes are there."""
        if self._masked:
            return int.from_bytes(head[6:8], "big") ^ int.from_bytes(head[2:4], "big")
        return int.from_bytes(head[2:4], "big")


@lru_cache(maxsize=512)
def _frame_lengths(masked: bool, longest: int) -> tuple[int, ...]:
    """Index by a header's second byte: the whole frame's length if one byte tells it, else 0."""
    lengths = [0] * 256
    first, overhead = (_MASK, 2 + _KEY_BYTES) if masked else (0, 2)
    for length in range(longest + 1):
        lengths[first + length] = overhead + length
    return tuple(lengths)


@lru_cache(maxsize=8)
def _first_bytes(
    extensions: bool, fragmented: bool, closed: bool
) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Index by a header's first byte: is such a frame legal and (changes no state, begins or ends a message)."""
    simple = [False] * 256
    flips = [False] * 256
    simple[_FIN | _PING] = simple[_FIN | _PONG] = True
    if not closed:
        for reserved in range(0, _RSV + 1 if extensions else 1, 0x10):
            if fragmented:
                simple[reserved | _CONTINUATION] = True
                flips[reserved | _CONTINUATION | _FIN] = True
            else:
                for opcode in _DATA_OPCODES:
                    simple[reserved | opcode | _FIN] = True
                    flips[reserved | opcode] = True
    return tuple(simple), tuple(flips)


class MessageOpenings:
    """The first bytes of each message of a masked direction, from a boundary on: the only payload that is unmasked.

    It is fed what a FrameTracker has followed, so all frames are well-formed.
    """

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # a header, or an opening, that has only partly arrived
        self._left = 0  # bytes of the frame under way still to come

    def feed(self, data: bytes | memoryview) -> list[bytes] | None:
        """Return the openings that are whole by now: OPENING_BYTES of a message, or as many as its first frame has.

        One that an extension may have changed is empty. Returns None for more frames than MOST_OPENINGS: feed nothing
        more then.
        """
        position, self._left = self._left, 0
        if self._head:
            data, self._head = self._head + bytes(data), b""
        size = len(data)
        openings: list[bytes] = []
        for _ in range(MOST_OPENINGS):
            if position >= size:
                break
            head = bytes(data[position : position + _LONGEST_OPENING])
            key_at, length = _key_and_length(head)
            opening_at = key_at + _KEY_BYTES
            if not key_at or len(head) < opening_at + min(length, OPENING_BYTES):
                self._head = head
                return openings
            if head[0] & 0x0F in _DATA_OPCODES:
                masked = b"" if head[0] & _RSV else head[opening_at : opening_at + min(length, OPENING_BYTES)]
                key = head[key_at:opening_at]
                openings.append(bytes(byte ^ key[index] for index, byte in enumerate(masked)))
            position += opening_at + length
        if position < size:
            return None
        self._left = position - size
        return openings


def _key_and_length(head: bytes) -> tuple[int, int]:
    """Where a frame's masking key begins, and how long its payload is; zeros while its header does not tell."""
    length = head[1] & 0x7F if len(head) > 1 else 126
    if length <= MAX_CONTROL_PAYLOAD:
        return 2, length
    key_at = 4 if length == 126 else 10
    return (key_at, int.from_bytes(head[2:key_at], "big")) if len(head) >= key_at else (0, 0)


def is_only_control(data: bytes | memoryview) -> bool:
    """Tell whether masked `data`, from a boundary on, holds nothing but whole control frames: pongs, mostly.

    What is cut short counts as a message, and so do very many of them: to mistake a message for a pong would be the
    worse mistake.
    """
    position, size = 0, len(data)
    for _ in _EACH:
        if position + 1 >= size or not data[position] & _CLOSE:
            break
        position += 2 + _KEY_BYTES + (data[position + 1] & 0x7F)
    return position == size


def close_frame(code: int, reason: str = "", *, mask: bytes | None) -> bytes:
    """Build a close frame (RFC 6455 section 5.5.1); `mask` is a 4-byte key towards a server, else None.

    A reason too long for a control frame is cut at a character. Raises ValueError for a code that no peer
    may send.
    """
    if not is_wire_close_code(code):
        raise ValueError(f"close code {code} may not be sent")
    text = reason.encode()[: MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore").encode()
    return _control_frame(_CLOSE, code.to_bytes(2, "big") + text, mask)


def ping_frame(payload: bytes = b"", *, mask: bytes | None) -> bytes:
    """Build a ping (RFC 6455 section 5.5.2). Raises ValueError for more than 125 bytes."""
    return _control_frame(_PING, payload, mask)


def _control_frame(opcode: int, payload: bytes, mask: bytes | None) -> bytes:
    if len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError("a control frame holds 125 bytes at most")
    if mask is None:
        return bytes((_FIN | opcode, len(payload))) + payload
    if len(mask) != _KEY_BYTES:
        raise ValueError("a masking key has 4 bytes")
    masked = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
    return bytes((_FIN | opcode, _MASK | len(payload))) + mask + masked
