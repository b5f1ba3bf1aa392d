"""A notebook's answer on its way to a caller: an answer whose head, and whose pages, change with the mount.

The rule: what need not change passes as it is, and costs nothing more than any other answer. Knows no sessions, and
nothing of whether the answer is to be believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from proxy.dataplane.answer.mount_heads import mounts_head
from proxy.dataplane.answer.rewriting import page_rewrite
from proxy.dataplane.answer.rewritten_page import PageOwner, RewrittenPage
from proxy.dataplane.answer.stream import AnswerStream
from proxy.errors import UpstreamInvalid
from proxy.wire.body import ChunkedBody
from proxy.wire.heads import response_head

if TYPE_CHECKING:
    from proxy.routing.router import Route
    from proxy.wire.body import Body
    from proxy.wire.heads import OutgoingRequest, ResponseFacts, Translation

_CODED: Final = (
    "The notebook's side compressed a page although it was asked not to, and in a way that cannot be undone here (gzip "
    "and deflate can), so that its links could not be rewritten. Switch it off, or give the notebook a host of its own."
)


class ForwardedRequest(PageOwner, Protocol):
    """What it is the answer to (`proxy.dataplane.answer.forward`)."""

    head: OutgoingRequest
    route: Route


class ForwardedAnswer(AnswerStream):
    """See the module's docstring."""

    page: RewrittenPage | None = None
    """What is rewritten on its way."""

    def begin(
        self,
        facts: ResponseFacts,
        body: Body | None,
        translation: Translation,
        owner: ForwardedRequest,
    ) -> Body | None:
        """Its head has come. Returns what follows the body; raises UpstreamInvalid where it cannot be passed on."""
        route = owner.route
        if route.prefix and (page := page_rewrite(route, facts)) is not None:
            if page.is_readable:
                if self.method != "HEAD":
                    self.page = RewrittenPage(
                        page,
                        self,
                        head_of=lambda facts, framing: self.mounts_head(facts, framing, translation, route),
                        owner=owner,
                        turns=self.plane.turns,
                    )
                    return ChunkedBody(decode=True) if isinstance(body, ChunkedBody) else body
                facts = page.facts_as_rewritten
            elif owner.head.plain_encoding and body is not None:
                raise UpstreamInvalid(_CODED, detail="a coding that was not asked for")
        framing = self.framing(facts, body)
        self.unsent = (
            self.mounts_head(facts, framing, translation, route)
            if facts.translated
            else response_head(facts, translation, framing=framing)
        )
        return self.tracker(body) if self.is_http_10 else body

    def mounts_head(
        self, facts: ResponseFacts, framing: bytes, translation: Translation, route: Route
    ) -> bytes:
        """The head of a response of which something depends on the mount."""
        return mounts_head(
            facts,
            translation,
            route=route,
            framing=framing,
            router=self.plane.current.gateway.rules.router,
        )

    def on_caller_drained(self) -> None:
        """The caller takes bytes again."""
        if (self.page is None or self.page.on_caller_drained()) and self.source is not None:
            self.source.resume_reading()

    def forget(self) -> None:
        self.forget_page()
        super().forget()

    def forget_page(self) -> None:
        """Nothing more of it is wanted."""
        if self.page is not None:
            self.page.stop()
            self.page = None
