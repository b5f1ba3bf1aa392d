"""Which requests and messages are a person's, or a program's, doing, and which only say that a tab is open.

The rule: what changes something is use, unless it stands in `BACKGROUND_REQUESTS`, which lists what pages send unasked,
again and again; what only reads is none, but for downloads, pages and documents that are opened. A message on a
WebSocket is use, unless `BACKGROUND_WEBSOCKETS` says otherwise. In doubt it is use: an instance that runs for too long
costs money, one that is stopped under somebody's hands costs work. Sources: what tabs of JupyterLab 4.6, Notebook 7.6
and nbclassic send when nobody touches them, with jupyter-collaboration, jupyter-lsp, jupyterlab-git, nbdime and
jupyter-resource-usage, and those extensions' code. It must not know sockets, nor what follows from use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_OPENED: Final = re.compile(
    r"/(?:lab(?:/(?:tree|workspaces|doc)(?:/.*)?)?|doc(?:/.*)?|(?:nbclassic|retro|voila)/?|voila/(?:tree|render)(?:/.*)?"
    r"|(?:(?:nbclassic|retro)/)?(?:tree(?:/.*)?|(?:notebooks|edit|consoles|view|files|nbconvert)/.*|terminals/[^/]+)"
    r"|proxy/(?:absolute/)?(?:[^/:]+:)?\d+/)?"
)
"""Pages, an application's first one among them, and downloads. What such pages fetch by themselves is elsewhere: /api,
/lab/api, /static."""

_DOCUMENTS: Final = "/api/contents/"
_TYPES: Final = frozenset({"type=file", "type=notebook"})


@dataclass(frozen=True, slots=True)
class BackgroundRequest:
    """Requests that change something, or might, and that pages make while nobody touches them."""

    method: str
    path: str
    """A pattern of the whole path."""
    why: str


BACKGROUND_REQUESTS: Final = (
    BackgroundRequest(
        "POST", r"/api/security/csp-report", "the browser reports what a page's policy forbids"
    ),
    BackgroundRequest(
        "PUT",
        r"/lab/api/workspaces/.*",
        "JupyterLab saves its layout after each refresh of the file browser, every 10 s, changed or not; a person who "
        "changes it opens, runs, writes or saves something besides",
    ),
    BackgroundRequest(
        "POST",
        r"/git/(?:.*/)?(?:all_history|branch|changed_files|remote/fetch|remote/show|show_prefix|show_top_level|status"
        r"|submodules|tag_list|tags)",
        "jupyterlab-git looks at the repository, and fetches, every few seconds",
    ),
    BackgroundRequest(
        "POST", r"/nbdime/api/isgit", "nbdime asks of each open notebook whether it is in a repository"
    ),
)


class CountedMessages(Enum):
    """Which messages of a WebSocket's caller are use."""

    EACH = "each"
    NONE = "none"
    CHANGES = "changes"
    """Those that change a shared document, or save it: `is_change` says which."""


@dataclass(frozen=True, slots=True)
class BackgroundWebSocket:
    """WebSockets on which pages speak while nobody touches them. Pings and pongs are no messages: they never count."""

    path: str
    """A pattern of the whole path."""
    counts: CountedMessages
    why: str


BACKGROUND_WEBSOCKETS: Final = (
    BackgroundWebSocket(
        r"/api/events/subscribe", CountedMessages.NONE, "Jupyter tells of events, and nobody answers"
    ),
    BackgroundWebSocket(
        r"/lsp/ws/.*",
        CountedMessages.NONE,
        "a language server may ask, and the page answers; who writes saves, or changes a shared document, besides",
    ),
    BackgroundWebSocket(
        r"/api/(?:collaboration/room|yjs)/[^/]*globalAwareness",
        CountedMessages.NONE,
        "jupyter-collaboration tells who is there, every few seconds",
    ),
    BackgroundWebSocket(
        r"/api/(?:collaboration/room|yjs)/.*",
        CountedMessages.CHANGES,
        "jupyter-collaboration tells where each cursor stands, every few seconds, moved or not",
    ),
)

_BACKGROUND: Final = re.compile("|".join(f"{one.method} (?:{one.path})" for one in BACKGROUND_REQUESTS))
_COUNTED: Final = tuple((re.compile(one.path), one.counts) for one in BACKGROUND_WEBSOCKETS)

# y-websocket's protocol, which jupyter-collaboration speaks: a message's first byte says what it is.
_AWARENESS: Final = b"\x01"
_QUERY_AWARENESS: Final = b"\x03"
# 0 is `sync`, and the next byte says of which kind. Step 1 tells what a page has, step 2 what the other side lacks:
# they pass when a page connects. Step 2 repeats all deletions that ever were, so none is told from nothing new. Whoever
# writes sends updates, which are 2.
_SYNC_STEPS: Final = (b"\x00\x00", b"\x00\x01")


def is_use(method: str, target: str) -> bool:
    """Judge a request to Jupyter by its method and target (origin-form, without the mount's prefix)."""
    path, _, query = target.partition("?")
    if method in _READING:
        return method == "GET" and (_OPENED.fullmatch(path) is not None or _opens_document(path, query))
    return _BACKGROUND.fullmatch(f"{method} {path}") is None


def counted_messages(target: str) -> CountedMessages:
    """Which messages of a WebSocket to Jupyter are use, by its target (as `is_use` has it)."""
    path = target.partition("?")[0]
    return next((counts for pattern, counts in _COUNTED if pattern.fullmatch(path)), CountedMessages.EACH)


def is_change(opening: bytes) -> bool:
    """Judge a message of a shared document by its first two bytes, or by what there is of them.

    What is not known counts: a save (2) among others.
    """
    return opening[:1] not in (_AWARENESS, _QUERY_AWARENESS) and opening not in _SYNC_STEPS


def _opens_document(path: str, query: str) -> bool:
    """Whether a document is read with its content. What looks for changes asks for a directory, or for `content=0`."""
    if not path.startswith(_DOCUMENTS):
        return False
    asked = query.split("&")
    return not _TYPES.isdisjoint(asked) and "content=0" not in asked
