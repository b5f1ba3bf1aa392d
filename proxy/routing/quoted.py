"""Addresses in quotes, in scripts and style sheets that stream by: the prefix is put before those of known roots.

The rule: nothing is understood of either language. Where a quote or a bracket opens, and an address of one of the few
roots that only Jupyter writes there follows, the prefix is put between; so a text that a user wrote is changed only
where it spells out such an address. Holds back less than an address's root. Knows no HTML and no sockets.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.routing.links import STEPS_A_FEED, is_outside, telling_bytes

LONGEST_ROOT: Final = 20

CONFIGURED: Final = re.compile(rb"/(?:static/|(?:custom|custom-preload|nbextensions|kernelspecs)[\"'/?])")
"""What the classic notebook's pages tell RequireJS, and MathJax."""
THEMED: Final = re.compile(rb"/(?:lab|voila)/api/themes/")
"""What JupyterLab's server makes of `url('image.png')` in the style sheet of a theme."""

_OPENING: Final = re.compile(rb"[\"'(](?=/|\Z)")


class QuotedAddresses:
    """Rewrites one text. Implements `proxy.routing.links.Rewriter`."""

    __slots__ = ("_held", "_roots", "_telling", "_under", "steps")

    def __init__(self, prefix: str, roots: re.Pattern[bytes]) -> None:
        self._under = prefix.encode("ascii")
        self._roots = roots
        self._telling = max(telling_bytes(self._under), LONGEST_ROOT)
        self._held = b""
        self.steps = 0
        """Those that the last feed took."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return self._rewrite(data, is_last=False)

    def finish(self) -> bytes:
        text, rest = self._rewrite(b"", is_last=True)
        assert not rest
        return text

    def _rewrite(self, data: bytes, *, is_last: bool) -> tuple[bytes, bytes]:
        if self._held:
            data = self._held + data
            self._held = b""
        out: list[bytes] = []
        copied = position = self.steps = 0
        end = len(data)
        while found := _OPENING.search(data, position):
            if self.steps == STEPS_A_FEED:
                end = position
                break
            self.steps += 1
            start = found.end()
            told = data[start : start + self._telling]
            if len(told) < self._telling and not is_last:
                self._held = data[found.start() :]
                out.append(data[copied : found.start()])
                return b"".join(out), b""
            if self._roots.match(told) and is_outside(told, self._under):
                out += (data[copied:start], self._under)
                copied = start
            position = start
        out.append(data[copied:end])
        return b"".join(out), data[end:]
