"""Notebooks that went away a moment ago, and what their open pages have asked meanwhile.

An outage of some seconds is no news for a page that only asks by itself: told of it, JupyterLab shows a dialog that has
to be closed, its terminals give up after seven tries, and a file is not saved. So that waits, for `patience_seconds`
from the outage's beginning: each second one of those that wait is tried again, and as soon as the notebook has answered
they all are. The rule: a notebook that stays away is told of at once, and no request waits for longer than that,
whatever the notebook does meanwhile: no page, and no browser's share of connections, is held up. One that can
be neither tried nor told is dropped, and costs the others nothing. It must not know what a request is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from proxy.faults import Faults

FORGOTTEN_SECONDS: Final = 3600.0
"""An outage that nobody met for so long is over, or nobody's concern."""


class Waiting(Protocol):
    """A request that was not answered."""

    def try_again(self) -> None:
        """Ask the notebook again."""

    def give_up(self) -> None:
        """Tell its caller."""

    def drop(self) -> None:
        """Cut its caller off: what was to be done with it has failed."""


@dataclass(slots=True)
class _Outage:
    began_at: float
    met_at: float
    waiting: dict[Waiting, float] = field(default_factory=dict)
    """Since when each."""


class Outages:
    """By notebook: whoever keeps its session is the key. Times are the monotonic clock's."""

    def __init__(self, patience_seconds: float, *, faults: Faults) -> None:
        self.patience_seconds = patience_seconds
        """0: nothing waits."""
        self._faults = faults
        self._is_closed = False
        self._outages: dict[Hashable, _Outage] = {}

    def __len__(self) -> int:
        """How many requests wait."""
        return sum(len(outage.waiting) for outage in self._outages.values())

    def may_wait(self, notebook: Hashable, waiting: Waiting, *, since: float, now: float) -> bool:
        """`notebook` did not answer, for the first time at `since`. True: one of the methods of `waiting` is called."""
        outage = self._outages.get(notebook)
        if outage is None:
            outage = self._outages[notebook] = _Outage(now, now)
        outage.met_at = now
        if self._is_closed or now - min(since, outage.began_at) >= self.patience_seconds:
            return False
        outage.waiting[waiting] = since
        return True

    def answered(self, notebook: Hashable) -> None:
        """It did: its outage, if there was one, is over."""
        outage = self._outages.pop(notebook, None)
        if outage is not None:
            self._each(outage.waiting, _try_again)

    def forget(self, notebook: Hashable, waiting: Waiting) -> None:
        """Whoever asked is gone."""
        outage = self._outages.get(notebook)
        if outage is not None:
            outage.waiting.pop(waiting, None)

    def sweep(self, now: float) -> None:
        """Try again, or give up. Called about once a second."""
        for notebook, outage in tuple(self._outages.items()):
            is_over = now - outage.began_at >= self.patience_seconds
            overdue = [
                waiting
                for waiting, since in outage.waiting.items()
                if is_over or now - since >= self.patience_seconds
            ]
            for waiting in overdue:
                del outage.waiting[waiting]
            self._each(overdue, _give_up)
            if outage.waiting:
                first = next(iter(outage.waiting))
                del outage.waiting[first]
                self._each((first,), _try_again)
            elif now - outage.met_at >= FORGOTTEN_SECONDS:
                del self._outages[notebook]

    def close(self) -> None:
        """Nothing waits any more: the gateway goes away."""
        self._is_closed = True
        for outage in tuple(self._outages.values()):
            waiting, outage.waiting = outage.waiting, {}
            self._each(waiting, _give_up)

    def _each(self, waiting: Iterable[Waiting], do: Callable[[Waiting], None]) -> None:
        self._faults.each("outages", waiting, do, broken=_drop)


def _try_again(one: Waiting) -> None:
    one.try_again()


def _give_up(one: Waiting) -> None:
    one.give_up()


def _drop(one: Waiting) -> None:
    one.drop()
