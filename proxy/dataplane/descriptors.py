"""File descriptors: how many connections they suffice for, and how to tell that there are none left.

The rule: every connection of a caller can be given one to a notebook, as a WebSocket takes two for as long as it is
open; and a part is kept for what must work whatever callers do: the admin listener, files, name lookups, AWS, and
those who are told that a limit is met. So it is a limit that is met first, which says so, and not the descriptors.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

from proxy.dataplane.bounds import RAN_OUT
from proxy.errors import NoDescriptor
from proxy.telemetry.limits_met import LimitsMet

RESERVED: Final = 256
"""64 connections of the admin listener, 64 above a limit, 128 for files, name lookups and AWS; of few, half."""
EACH: Final = 2
"""A caller's connection, and the notebook's."""

_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})
_CHAIN: Final = 16
"""Errors that are looked at behind one: those that it came from."""


def take_all() -> int:
    """Let this process have as many as its hard limit says, for which no permission is needed; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft  # "unlimited" is more than some kernels let anybody have
    return hard


def allowed() -> int | None:
    """How many this process may have; None: there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def connections_for(descriptors: int) -> int:
    """How many connections of callers so many suffice for."""
    return max(1, (descriptors - min(RESERVED, descriptors // 2)) // EACH)


def upstreams_for(descriptors: int) -> int:
    """How many connections to notebooks there may be then."""
    return max(1, descriptors - min(RESERVED, descriptors // 2) - connections_for(descriptors))


def needed_for(connections: int) -> int:
    """How many descriptors so many connections of callers need."""
    return EACH * connections + min(RESERVED, EACH * connections)


def probe() -> BaseException | None:
    """What came of opening a file, if it failed: whatever ran into that a moment ago need not have said so."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error
    return None


def ran_out(error: BaseException | None) -> bool:
    """Whether an error (None: none), or what it came from, is that there was no descriptor left."""
    for _ in range(_CHAIN):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in _NONE_LEFT:
            return True
        error = error.__cause__ or error.__context__
    return False


def note_exhausted(error: BaseException | None, limits_met: LimitsMet) -> None:
    """Something failed: have it known where that was because there was no descriptor left."""
    if ran_out(error):
        limits_met.note(RAN_OUT, None, most=allowed(), remedy=NoDescriptor.remedy)
