"""The port to upstream sessions: what the data plane asks of whoever keeps them, and of who knows notebooks.

The rule: nothing of AWS is imported here or anywhere in the data plane; `proxy.aws` implements these, and composition
hands them in. What both sides call by name is in `proxy.upstream`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Hashable, Sequence
from typing import Protocol

from proxy.upstream import Honoured, NotebookSession, Origin, Outcome
from proxy.wire.heads import ResponseFacts


class Keeper(Hashable, Protocol):
    """Keeps the upstream session of one notebook, whoever asks. Two that are one object lead to one notebook."""

    def live(self) -> NotebookSession | None:
        """The session if there is one, at once. Every request asks this."""

    async def acquire(
        self, *, within_seconds: float = ..., patience_seconds: float = ..., asked_by: str = ""
    ) -> NotebookSession:
        """The session, after signing in if need be, which takes `within_seconds` at most for all who wait, and
        `patience_seconds` for this one. `asked_by` is the id of the request. Raises NbgateError.
        """

    @property
    def is_up(self) -> bool:
        """Whether Jupyter itself is known to have answered of late."""

    async def honoured(self, session: NotebookSession, *, again: bool = False) -> Honoured:
        """What the notebook's front end makes of a session; `again`: that Jupyter was up a moment ago does not count.

        Raises NbgateError.
        """

    def reject(self, session: NotebookSession) -> bool:
        """It is not honoured any more. True: worth repeating with `acquire()`."""

    def is_over(self, session: NotebookSession) -> bool:
        """Whether it has ended, as far as is known; one that was only replaced has not."""

    def absorb(self, session: NotebookSession, set_cookie_fields: Sequence[bytes], /) -> None:
        """A response to a request with it carried these `Set-Cookie` fields."""


class Suspicion(Protocol):
    """A response looks like one that the notebook's front end gave in Jupyter's place."""

    @property
    def sends_to_sign_in(self) -> bool:
        """Who is sent to sign in was not let through: nothing of the request was acted on."""

    @property
    def may_have_passed_on(self) -> bool:
        """The front end may have passed the request on before it gave this answer."""

    @property
    def contradicts(self) -> bool:
        """It says that Jupyter is not up, whatever was known a moment ago."""

    def outcome(self, honoured: Honoured) -> Outcome:
        """What becomes of the response, now that it is known what the front end makes of the session."""

    def without_renewal(self) -> Outcome:
        """What becomes of it where that is to sign in anew, and this cannot be done or does not help."""


class FrontEnd(Protocol):
    """What is known of the front end that stands before notebooks, and answers in Jupyter's place at times."""

    def suspect(
        self, head: ResponseFacts, *, target: str, session: NotebookSession, is_up: bool
    ) -> Suspicion | None:
        """Whether a response to `target` (as the notebook sees it) looks like its own; None: it does not.

        `is_up`: Jupyter is known to have answered of late. An answer with status 200 that is no HTML is never suspect.
        """

    def has_answered(self, head: ResponseFacts, *, target: str) -> bool:
        """Whether a response is the front end's for certain, and of something transient. Not with status 200."""


class Dial(Protocol):
    """Connects to notebooks, through whatever stands between."""

    async def __call__(
        self,
        origin: Origin,
        protocol: asyncio.Protocol,
        *,
        tls: ssl.SSLContext | None,
        within_seconds: float,
    ) -> None:
        """Connect `protocol`; `tls` is for an origin that has it.

        Raises UpstreamUnreachable and its branch, UpstreamUntrusted, UpstreamProxyRefused and ConnectTimeout, each from
        the OSError behind it, if there was one.
        """
