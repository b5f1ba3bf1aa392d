"""A request whose notebook is away: it waits for it, is tried again, or is answered after all.

The rule: it waits only if a later try may do better, and together with all others of its notebook
(`proxy.dataplane.answer.outages`), which says when. Knows no bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import JupyterStarting, UpstreamTimeout, UpstreamUnreachable

if TYPE_CHECKING:
    from proxy.dataplane.notebook.connection import UpstreamConnection
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.sessions import Keeper
    from proxy.errors import NbgateError

PAGE_SECONDS: Final = 3.0
"""How long a browser's window stays as it is while the gateway signs in: then it shows a page that asks again."""


class UnansweredRequest(Protocol):
    """The request, as far as it matters here."""

    keeper: Keeper

    def again(self) -> None:
        """Ask the notebook again."""

    def answer(self, error: NbgateError) -> None:
        """Tell the caller that no answer came."""

    def drop(self) -> None:
        """Cut the caller off."""


def may_pass(error: NbgateError, connection: UpstreamConnection | None) -> bool:
    """Whether a later try may do better."""
    no_connection = isinstance(error, UpstreamTimeout) and connection is None
    return no_connection or isinstance(error, UpstreamUnreachable | JupyterStarting)


@dataclass(frozen=True, slots=True)
class _Absence:
    request: UnansweredRequest
    error: NbgateError
    """What to answer if the notebook stays away."""


class WaitingRequest:
    """Implements `proxy.dataplane.answer.outages.Waiting`. It knows its request only while that waits: they hold each
    other, and whoever asked.
    """

    __slots__ = ("_absence", "_failed_at", "_plane")

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._absence: _Absence | None = None
        self._failed_at = plane.clock.monotonic()
        """When it first met that the notebook was away."""

    def begins(self, request: UnansweredRequest, error: NbgateError) -> bool:
        """The notebook did not answer. True: the request waits, for one of the calls below."""
        plane, now = self._plane, self._plane.clock.monotonic()
        if not plane.outages.may_wait(request.keeper, self, since=self._failed_at, now=now):
            return False
        self._absence = _Absence(request, error)
        return True

    def forget(self) -> None:
        """Its caller is gone."""
        self._end(lambda absence: self._plane.outages.forget(absence.request.keeper, self))

    def try_again(self) -> None:
        self._end(lambda absence: absence.request.again())

    def give_up(self) -> None:
        self._end(lambda absence: absence.request.answer(absence.error))

    def drop(self) -> None:
        self._end(lambda absence: absence.request.drop())

    def _end(self, do: Callable[[_Absence], None]) -> None:
        """It waits no more, if it did."""
        absence, self._absence = self._absence, None
        if absence is None:
            return
        try:
            do(absence)
        except BaseException:
            # Whoever wanted that drops it then.
            self._absence = absence
            raise
