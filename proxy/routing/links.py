"""Which addresses in a notebook's answers need the mount's prefix, and how a text that holds some is rewritten.

The rule: `prefix` is `/research` throughout, in ASCII. An address gets it once. Rewriting is done while a text streams
by, in pieces that may be cut anywhere: a rewriter holds back a few bytes, and never more however long the text is. Each
feed does a bounded amount of work, so that a text of nothing but marks does not keep the event loop from its turns.
"""

from __future__ import annotations

from typing import Final, Protocol

STEPS_A_FEED: Final = 2048
"""Marks (tags, attributes, brackets …) that a feed takes at most: a millisecond or two. Real pages have fewer."""


class Rewriter(Protocol):
    """Rewrites one text."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (what is rewritten, what was not looked at and is to be fed again). Never raises."""

    def finish(self) -> bytes:
        """Return what was held back, as it came: the text is at its end."""


def is_outside(address: bytes, under: bytes) -> bool:
    """Whether an address is absolute on its host and not below the prefix. Browsers take `/\\` for `//`."""
    return address.startswith(b"/") and address[1:2] not in (b"/", b"\\") and not is_below(address, under)


def is_below(address: bytes, under: bytes) -> bool:
    """Whether an address is the prefix, or leads below it."""
    return address.startswith(under) and address[len(under) : len(under) + 1] in (b"", b"/", b"?", b"#")


def telling_bytes(under: bytes) -> int:
    """How much of an address tells whether it is outside."""
    return max(2, len(under) + 1)
