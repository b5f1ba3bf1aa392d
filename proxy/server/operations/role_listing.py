"""Whether instances are listed as one role, or described one by one.

The rule: one listing tells of all instances, in a few calls; it is worth that where there are enough of them, and tried
again after a while where it does not work. Pure: nobody is asked here.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Final

from proxy.errors import ControlPlaneError, ControlPlaneFailed, PermissionMissing, Throttled
from proxy.shared_fetch import SharedFetch

LIST_FROM: Final = 3
"""So many instances of one role are worth a listing. Fewer are described, which tells more."""
LISTED_AT_MOST: Final = 1000
"""Of an account with more instances than that, ten calls' worth, those of the configuration are described."""
_LISTED_AT_ONCE: Final = 100
"""Instances in one answer."""
NOT_LISTED_SECONDS: Final = 900.0
"""How long it counts that a role may not list, or that there are too many."""
LIST_FAILED_SECONDS: Final = 60.0
"""The same for failures that pass."""


@dataclass(slots=True)
class RoleListing:
    """What is known of listing instances as one role. Instants are monotonic seconds."""

    fetch: SharedFetch[None]
    calls: int = 1
    """That the last one took."""
    _: KW_ONLY
    not_before: float = -math.inf
    """Until then instances are described."""
    rests_until: float = -math.inf
    """SageMaker throttles: what is watched waits."""
    problem: str = ""
    """Why it does not work, as it was logged."""

    def is_worth_it(self, count: int, now: float) -> bool:
        """Whether listing is worth it for so many instances, and works."""
        is_cheaper = count >= max(LIST_FROM, 2 * self.calls)
        return is_cheaper and now >= self.not_before and now >= self.rests_until

    def succeeded(self, found: int) -> None:
        """So many instances were listed."""
        self.calls = max(1, math.ceil(found / _LISTED_AT_ONCE))
        self.problem = ""

    def failed(self, error: ControlPlaneError, now: float) -> bool:
        """It did not work: whether instances are described for a while, and not left alone until SageMaker rests."""
        if isinstance(error, Throttled):
            self.rests_until = now + LIST_FAILED_SECONDS / 2
            return False
        is_lasting = isinstance(error, PermissionMissing | ControlPlaneFailed)
        self.not_before = now + (NOT_LISTED_SECONDS if is_lasting else LIST_FAILED_SECONDS)
        return True
