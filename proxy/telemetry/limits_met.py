"""Limits that were met: counted always, told once a minute for each address and limit, recorded a few times.

The rule: a limit that is met leaves a trace, and a stranger who meets one 200 times a second leaves no flood of them.
The first time in a minute is told at once, the others as one number when the minute is over; of refused connections the
first few also get an access record. What is remembered is bounded, too: beyond so many addresses a minute, all others
are one. Each limit has its own share of all that, so that those whom strangers meet hide nobody at another. It must not
know what a limit is for, nor how one is kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.clock import Clock
from proxy.telemetry.events import Warn

WINDOW_SECONDS: Final = 60.0
ADDRESSES_TOLD: Final = 128
"""Addresses that are told apart within a minute, at each limit."""
RECORDS_EACH: Final = 10
RECORDS_IN_ALL: Final = 200
"""Access records within a minute, at each limit: of one address, and together."""
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit: where it is set, and the code that stands for it in records and metrics."""

    setting: str
    code: str


class LimitsMet:
    """Since the start of the process. Event loop's thread only; `sweep` is called about once a second."""

    def __init__(self, clock: Clock, warn: Warn) -> None:
        self.counts: Counter[Bound] = Counter()
        self._clock = clock
        self._warn = warn
        self._began_at = clock.monotonic()
        self._times: defaultdict[Bound, Counter[str]] = defaultdict(Counter)
        self._records: Counter[Bound] = Counter()

    def count(self, bound: Bound) -> None:
        """`bound` was met by whatever rested, as it is meant to: nobody is told."""
        self.counts[bound] += 1

    def note(self, bound: Bound, address: str | None, *, most: float | None = None, **about: str) -> bool:
        """`address` met `bound`, which is `most`. True: this time is worth an access record of its own. `about` stands
        in the event, if one is written.
        """
        self.counts[bound] += 1
        times = self._times[bound]
        who = address or "-"
        if who not in times and len(times) >= ADDRESSES_TOLD:
            who = OTHERS
        times[who] += 1
        if times[who] == 1:
            self._tell(bound, who, 1, most, about)
        if times[who] > RECORDS_EACH or self._records[bound] >= RECORDS_IN_ALL:
            return False
        self._records[bound] += 1
        return True

    def sweep(self) -> None:
        """Tell what was not told yet, once its minute is over."""
        now = self._clock.monotonic()
        if now - self._began_at < WINDOW_SECONDS:
            return
        met, self._times = self._times, defaultdict(Counter)
        self._began_at = now
        self._records.clear()
        for bound, times in met.items():
            for who, count in times.items():
                if count > 1:
                    self._tell(bound, who, count - 1, None, {})

    def _tell(
        self, bound: Bound, address: str, times: int, most: float | None, about: Mapping[str, str]
    ) -> None:
        fields = {} if most is None else {"most": most}
        self._warn(
            "limit met",
            limit=bound.setting,
            code=bound.code,
            address=address,
            times=times,
            **fields,
            **about,
        )


def ignore(event: str, **fields: object) -> None:
    """For whoever tells nobody."""
