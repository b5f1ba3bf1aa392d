"""Whether a notebook's front end honours a session, asked once for all who want to know.

The rule: an answer that looks like "not signed in" may be an application's own, so the front end is asked a question of
which the answer is known. What it said counts for a moment, and where it says nothing, SageMaker knows more of the
instance. It must not know what becomes of a session that is not honoured.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from proxy.aws.control_plane import ControlPlane, not_in_service
from proxy.aws.presigned import SessionKey
from proxy.aws.sessions import StatusMeaning, UpstreamSession
from proxy.clock import Clock
from proxy.errors import ControlPlaneError, InstanceNotInService
from proxy.instance_status import InstanceStatus
from proxy.shared_fetch import Hold, SharedFetch, StillUnderWay
from proxy.tasks import Tasks
from proxy.upstream import Honoured

TOLD_SECONDS: Final = 2.0
"""How long it counts that the notebook's front end said, or did not say, whether it honours a session."""
STARTING_TOLD_SECONDS: Final = 1.0
"""How long it counts that Jupyter is starting: it may be up in the next moment."""
UP_SECONDS: Final = 30.0
"""How long after Jupyter answered a question it is up, as far as a page of what runs behind it is concerned."""
DESCRIBED_SECONDS: Final = 30.0
"""How long it counts what SageMaker said of the instance's state, or that it could not be asked: a start takes minutes,
and all instances of a team may be asked about at once."""
DESCRIBE_SECONDS: Final = 5.0
"""How long somebody who waits for an answer waits for that."""
LONGEST_START_SECONDS: Final = 600.0
"""A page that stands in Jupyter's place for so long, for whoever asks, may be one that says "not signed in"."""
SAME_PAGE_SECONDS: Final = 60.0
"""Between two questions: after that it may be another start."""

Honours = Callable[[UpstreamSession], Awaitable[StatusMeaning]]
"""Asks the notebook's front end whether it honours a session. Never raises NbgateError."""

_CONCLUSIONS: Final = {
    StatusMeaning.YES: Honoured.YES,
    StatusMeaning.NO: Honoured.NO,
    StatusMeaning.STARTING: Honoured.STARTING,
    StatusMeaning.NOTHING: Honoured.UNTOLD,
}


def _counts_for(honoured: Honoured) -> float:
    return STARTING_TOLD_SECONDS if honoured is Honoured.STARTING else TOLD_SECONDS


class SessionCheck:
    """Of the sessions with one notebook."""

    def __init__(
        self,
        key: SessionKey,
        *,
        control_plane: ControlPlane,
        honours: Honours,
        out_of_service: Callable[[InstanceNotInService], None],
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        """`out_of_service` is told that the instance is, before whoever asked."""
        self._key = key
        self._control_plane = control_plane
        self._honours = honours
        self._out_of_service = out_of_service
        self._clock = clock
        self._tasks = tasks
        self._questions: dict[int, SharedFetch[Honoured]] = {}
        """By the generation that they are about."""
        self._up_at = -math.inf
        """When Jupyter answered a question last, and nothing stood in its place since."""
        self._page_since = self._page_at = -math.inf
        """Since when, and until when, all questions were answered with a page, whoever asked."""
        self._status: SharedFetch[str] = SharedFetch(
            clock=clock, tasks=tasks, hold=Hold(lambda _status: DESCRIBED_SECONDS, after_failure="")
        )

    @property
    def is_up(self) -> bool:
        """Whether Jupyter itself is known to have answered of late."""
        return self._clock.monotonic() - self._up_at < UP_SECONDS

    async def honoured(self, session: UpstreamSession, *, again: bool = False) -> Honoured:
        """See `SessionKeeper.honoured`. All who ask at once share a question, and what was told counts for a moment."""
        question = self._question(session.generation)
        held = question.held()
        if held is not None and not (again and held is Honoured.YES):
            return held
        asking = question.begin(partial(self._ask, session), name=f"session of {self._key}")
        return await question.outcome(asking)

    async def status(self) -> str:
        """SageMaker's word for the instance's state, "" where it does not say in time."""
        held = self._status.held()
        if held is not None:
            return held
        asking = self._status.begin(self._describe, name=f"describe {self._key}")
        try:
            return await self._status.outcome(asking, within_seconds=DESCRIBE_SECONDS)
        except StillUnderWay:
            return ""

    def forget_status(self) -> None:
        """It has changed."""
        self._status.forget()

    def _question(self, generation: int) -> SharedFetch[Honoured]:
        question = self._questions.get(generation)
        if question is None:
            # A session that was renewed may still be asked about, and none before that.
            kept = {one: asked for one, asked in self._questions.items() if one >= generation - 1}
            question = SharedFetch(
                clock=self._clock, tasks=self._tasks, hold=Hold(_counts_for, after_failure=Honoured.UNTOLD)
            )
            self._questions = {**kept, generation: question}
        return question

    async def _ask(self, session: UpstreamSession) -> Honoured:
        honoured = Honoured.UNTOLD
        try:
            honoured = await self._conclusion(await self._honours(session))
        finally:
            self._up_at = self._clock.monotonic() if honoured is Honoured.YES else -math.inf
        return honoured

    async def _conclusion(self, said: StatusMeaning) -> Honoured:
        """What the front end's word comes to, with what else can be known."""
        if said is StatusMeaning.PAGE:
            return self._after_a_page()
        self._page_at = -math.inf
        if said is StatusMeaning.FAULT:
            return await self._after_a_fault()
        return _CONCLUSIONS[said]

    async def _after_a_fault(self) -> Honoured:
        status = await self.status()
        if status == InstanceStatus.IN_SERVICE:
            return Honoured.STARTING
        if not status:
            return Honoured.UNTOLD
        self._out_of_service(not_in_service(status, detail="the notebook's front end does not reach it"))
        return Honoured.OUT

    def _after_a_page(self) -> Honoured:
        """Jupyter is starting, or nobody is signed in: the page does not say. Signing in costs a URL, so that it is
        tried once in a long while."""
        now = self._clock.monotonic()
        if now - self._page_at > SAME_PAGE_SECONDS:
            self._page_since = now
        self._page_at = now
        if now - self._page_since < LONGEST_START_SECONDS:
            return Honoured.STARTING
        self._page_at = -math.inf
        return Honoured.NO

    async def _describe(self) -> str:
        try:
            return (await self._control_plane.describe(self._key.notebook)).status
        except ControlPlaneError:
            return ""  # whoever asked has an answer without it
