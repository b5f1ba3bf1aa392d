"""Which service workers a notebook's pages may install: those that cover nothing but their own mount.

A worker answers for every address below its scope, long after the page that installed it was closed, and sees the
links that lead there. Browsers (Service Workers, W3C, "Update") let a scope lie below the script's directory, or below
what `Service-Worker-Allowed` widens that to. So the rule: neither may hold the gateway's own pages or another mount
that the same origin has. Everything is about addresses as the browser knows them, the mount's path included, compared
as they came: a browser has resolved dot segments, and installs no worker from a path with an encoded slash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_AMBIGUOUS: Final = re.compile(r"\\|%2f|%5c|/(?:\.|%2e){1,2}(?:/|\Z)", re.IGNORECASE)
# Nothing that a browser would resolve, decode or leave out on the way: no dot segment, escape, tab, query or host.
_PLAIN_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]*+)+")


def is_confined(scope: str, *, mount: str, others: Sequence[str]) -> bool:
    """Whether what begins with `scope` lies below `mount` (`/research/`, or `/`) and touches none of the `others`,
    the paths on that origin that are not the mount's."""
    return scope.startswith(mount) and not any(
        other.startswith(scope) or scope.startswith(other) for other in others
    )


def may_be_worker(path: str, *, mount: str, others: Sequence[str]) -> bool:
    """Whether the script at `path` (raw, with no query) may become a service worker of its directory."""
    directory = path[: path.rfind("/") + 1]
    return _AMBIGUOUS.search(path) is None and is_confined(directory, mount=mount, others=others)


def worker_scope(allowed: str, *, script: str, mount: str, others: Sequence[str]) -> str:
    """What `Service-Worker-Allowed` may say of the script at the path `script`, in the notebook's words `allowed`.

    "": nothing, so that the script's directory counts. What reaches too far is cut back to the widest directory of
    the script's that is the mount's alone: applications say `/`, and mean all that is theirs.
    """
    if not _PLAIN_PATH.fullmatch(allowed) or allowed.startswith("//"):
        return ""
    asked = allowed if allowed.startswith(mount) else mount[:-1] + allowed
    if is_confined(asked, mount=mount, others=others):
        return asked
    if not script.startswith(asked):
        return ""
    # Beyond the longest of these, a deeper directory is as good or as bad.
    longest = max(map(len, (mount, *others)))
    end = 0
    while end <= longest and (end := script.find("/", end) + 1):
        if is_confined(directory := script[:end], mount=mount, others=others):
            return directory
    return ""
