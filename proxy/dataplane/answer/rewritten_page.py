"""A page whose text changes under a path mount, on its way to its caller.

The rule: it is rewritten in pieces, one in a turn of the event loop, and while more has come than is rewritten at once,
or the caller takes no more, nothing is read. Its head waits until it is known whether all of it is there, so that it
can tell the length. What changes in a page is `proxy.dataplane.answer.rewriting`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from proxy.errors import InternalError, UpstreamInvalid
from proxy.wire.codings import CodingError

if TYPE_CHECKING:
    from proxy.dataplane.answer.rewriting import PageRewrite
    from proxy.dataplane.answer.stream import AnswerStream
    from proxy.dataplane.turns import Turns
    from proxy.errors import NbgateError
    from proxy.wire.body import Data
    from proxy.wire.heads import ResponseFacts


class PageOwner(Protocol):
    """Whose answer the page is."""

    def complete(self) -> None:
        """All of it was passed on."""

    def page_is_spoilt(self, error: NbgateError) -> None:
        """It does not decode, or a fault of our own ended it: what was sent of it must not look like all of it."""


class RewrittenPage:
    """Implements `proxy.dataplane.notebook.exchange.BodyTaker`."""

    __slots__ = (
        "_has_begun",
        "_head_of",
        "_is_over",
        "_is_stalled",
        "_is_there",
        "_out",
        "_owner",
        "_page",
        "_text",
        "_turns",
    )

    def __init__(
        self,
        page: PageRewrite,
        out: AnswerStream,
        *,
        head_of: Callable[[ResponseFacts, bytes], bytes],
        owner: PageOwner,
        turns: Turns,
    ) -> None:
        """`head_of` makes its head, given what the rewritten page's says and the lines that say how it ends."""
        self._page = page
        self._out = out
        self._owner = owner
        self._head_of = head_of
        self._turns = turns
        self._text = b""
        """What is rewritten and waits for the head."""
        self._has_begun = False
        self._is_stalled = False
        """The caller takes no more of it for now."""
        self._is_there = False
        """All of it has come."""
        self._is_over = False

    @property
    def is_waiting(self) -> bool:
        """Something of what came is not rewritten yet."""
        return self._page.is_waiting

    def on_body(self, data: Data) -> None:
        """More of the page came."""
        page = self._page
        was_waiting = page.is_waiting
        page.add(bytes(data))
        if not was_waiting:
            self._turns.now_or_later(self._rewrite)
        if page.is_waiting and self._out.source is not None:
            self._out.source.pause_reading()

    def flush(self) -> None:
        """No more has come for now: the head cannot wait any longer."""
        if self._is_over:
            return
        if not self._has_begun:
            self._begin(None)
        self._out.flush()

    def ended(self) -> None:
        """All of it has come."""
        self._is_there = True
        if not self._page.is_waiting:
            self._finish()

    def on_caller_drained(self) -> bool:
        """The caller takes bytes again. Whether more may be read for it."""
        if self._is_stalled:
            self._is_stalled = False
            self._turns.later(self._rewrite)
            return False
        return not self._page.is_waiting

    def stop(self) -> None:
        """Nothing more of it is wanted."""
        self._is_over = True

    def _rewrite(self) -> None:
        """Rewrite a piece of the page."""
        try:
            self._rewrite_piece()
        except Exception:
            # A fault of our own; the event loop tells of it. The notebook may be done with, so that no deadline of its
            # counts any more, and the caller must not wait for ever.
            self._spoil(InternalError())
            raise

    def _rewrite_piece(self) -> None:
        page = self._page
        if self._is_over or not page.is_waiting:
            return  # it ended meanwhile
        if self._out.is_full:
            self._is_stalled = True
            return
        try:
            text = page.rewrite()
        except CodingError:
            self._does_not_decode()
            return
        self._pass_on(text)
        if self._has_begun or page.is_waiting:
            self.flush()
        if page.is_waiting:
            self._turns.later(self._rewrite)
        elif self._is_there:
            self._finish()
        elif self._out.source is not None and not self._out.is_full:
            self._out.source.resume_reading()

    def _finish(self) -> None:
        """All of it is there, and rewritten. A page that was there at once is told with its length."""
        try:
            text = self._page.finish()
        except CodingError:
            self._does_not_decode()
            return
        self._pass_on(text)
        if not self._has_begun:
            self._begin(len(self._text))
        self._is_over = True
        self._owner.complete()

    def _begin(self, length: int | None) -> None:
        self._has_begun = True
        self._out.unsent = self._head_of(self._page.facts_as_rewritten, self._out.framing_of_page(length))
        text, self._text = self._text, b""
        self._pass_on(text)

    def _pass_on(self, text: bytes) -> None:
        if not self._has_begun:
            self._text += text
        elif text:
            self._out.on_body(text)

    def _does_not_decode(self) -> None:
        self._spoil(UpstreamInvalid(detail="a page that does not decode"))

    def _spoil(self, error: NbgateError) -> None:
        self._is_over = True
        self._owner.page_is_spoilt(error)
