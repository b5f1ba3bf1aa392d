"""A request whose notebook is away: it waits for it, is tried again, or is answered after all.

The rule: it waits only if a later try may do better, and together with all others of its notebook
(`proxy.dataplane.answer.outages`), which says when. Knows no bytes.
"""

from __future__ import annotations

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


class WaitingRequest:
    """Implements `proxy.dataplane.answer.outages.Waiting`."""

    __slots__ = ("_error", "_failed_at", "_plane", "_request")

    def __init__(self, request: UnansweredRequest, plane: DataPlane) -> None:
        self._request = request
        self._plane = plane
        self._error: NbgateError | None = None
        """What to answer if the notebook stays away; None while it does not wait."""
        self._failed_at = plane.clock.monotonic()
        """When it first met that the notebook was away."""

    def begins(self, error: NbgateError) -> bool:
        """The notebook did not answer. True: the request waits, for one of the calls below."""
        plane = self._plane
        may_wait = plane.outages.may_wait(
            self._request.keeper, self, since=self._failed_at, now=plane.clock.monotonic()
        )
        if may_wait:
            self._error = error
        return may_wait

    def forget(self) -> None:
        """Its caller is gone."""
        self._error = None
        self._plane.outages.forget(self._request.keeper, self)

    def try_again(self) -> None:
        if self._error is not None:
            self._error = None
            self._request.again()

    def give_up(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._request.answer(error)

    def drop(self) -> None:
        self._request.drop()
