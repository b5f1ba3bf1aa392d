"""Which requests and messages are use, and which only say that a tab is open.

They are those that JupyterLab 4.6, Notebook 7.6, nbclassic and their extensions really send, with what they append.
"""

from __future__ import annotations

import re

import pytest

from proxy.lifecycle.use import (
    BACKGROUND_REQUESTS,
    BACKGROUND_WEBSOCKETS,
    CountedMessages,
    counted_messages,
    is_change,
    is_use,
)

USE = [
    ("GET", "/"),
    ("GET", "/lab"),
    ("GET", "/lab?reset"),
    ("GET", "/lab/tree/team/a.ipynb"),
    ("GET", "/lab/workspaces/auto-4"),
    ("GET", "/tree"),
    ("GET", "/tree/work"),
    ("GET", "/notebooks/a.ipynb"),
    ("GET", "/edit/a.py"),
    ("GET", "/doc/tree/a.ipynb"),
    ("GET", "/terminals/1"),
    ("GET", "/nbclassic"),
    ("GET", "/nbclassic/tree/work"),
    ("GET", "/nbclassic/notebooks/a.ipynb"),
    ("GET", "/nbclassic/terminals/1"),
    ("GET", "/retro/tree"),
    ("GET", "/voila/"),
    ("GET", "/voila/tree/work"),
    ("GET", "/voila/render/team/a.ipynb?x=1"),
    ("GET", "/files/data.csv?download=1"),
    ("GET", "/nbconvert/html/a.ipynb?download=true"),
    ("GET", "/proxy/8050/"),
    ("GET", "/proxy/absolute/8050/?page=1"),
    ("GET", "/proxy/localhost:8050/"),
    ("GET", "/api/contents/a.ipynb?type=notebook&content=1&hash=1&1700000000000"),
    ("GET", "/api/contents/team/a.py?type=file&format=text&content=1&hash=1&1700000000000"),
    ("GET", "/api/contents/a.ipynb?type=notebook&_=1700000000000"),
    ("PUT", "/api/contents/a.ipynb"),
    ("PATCH", "/api/contents/a.ipynb"),
    ("DELETE", "/api/contents/a.ipynb"),
    ("POST", "/api/contents/a.ipynb/checkpoints"),
    ("POST", "/api/sessions"),
    ("POST", "/api/kernels/8b7e/interrupt"),
    ("POST", "/api/terminals"),
    ("DELETE", "/api/terminals/1"),
    ("PUT", "/lab/api/settings/@jupyterlab/apputils-extension:themes"),
    ("POST", "/lab/api/workspaces/analysis"),
    ("DELETE", "/lab/api/workspaces/analysis"),
    ("POST", "/lab/api/extensions"),
    ("PUT", "/api/collaboration/session/a.ipynb?1700000000000"),
    ("PUT", "/api/collaboration/undo_redo/json:notebook:1?action=undo&steps=1"),
    ("POST", "/api/kernels/8b7e/execute"),
    ("POST", "/proxy/8050/_dash-update-component"),
    ("PUT", "/proxy/8889/lab/api/workspaces/default"),
    ("POST", "/proxy/3000/git/team/status"),
    ("POST", "/git/team/commit"),
    ("POST", "/git/team/push"),
    ("POST", "/git/team/stash"),
    ("POST", "/git/team/ignore"),
    ("POST", "/git/team/branch/delete"),
    ("POST", "/git/team/remote/add"),
    ("POST", "/git/team/fetch/add"),
    ("POST", "/git/team/diff"),
    ("DELETE", "/git/team/stash?index=0"),
    ("POST", "/nbdime/api/gitdiff"),
    ("PROPFIND", "/anything"),
]

READ = [
    ("GET", "/api/kernels"),
    ("GET", "/api/kernels?1700000000000"),
    ("GET", "/api/sessions?1700000000000"),
    ("GET", "/api/terminals?1700000000000"),
    ("GET", "/api/status"),
    ("GET", "/api/kernelspecs?1700000000000"),
    ("GET", "/api/me?1700000000000"),
    ("GET", "/api/nbconvert?1700000000000"),
    ("GET", "/api/contents?content=1&hash=0&1700000000000"),
    ("GET", "/api/contents/work?content=1&hash=0&1700000000000"),
    ("GET", "/api/contents/work?type=directory&_=1700000000000"),
    ("GET", "/api/contents/a.ipynb?content=0&hash=0&1700000000000"),
    ("GET", "/api/contents/a.ipynb?type=notebook&content=0&hash=1&contentProviderId=undefined&1700000000000"),
    ("GET", "/api/contents/a.ipynb/checkpoints?1700000000000"),
    ("GET", "/api/contents/files/data.csv"),
    ("GET", "/api/metrics/v1?1700000000000"),
    ("GET", "/api/metrics/v1/kernel_usage/get_usage/8b7e?1700000000000"),
    ("GET", "/api/kernels/8b7e/requests/51?1700000000000"),
    ("GET", "/api/collaboration/timeline/a.ipynb?format=json&&type=notebook"),
    ("GET", "/lsp/status?1700000000000"),
    ("GET", "/git/settings?version=0.55.0&1700000000000"),
    ("GET", "/git/team/stash?1700000000000"),
    ("GET", "/git/team/remote/show?1700000000000"),
    ("GET", "/git/team/submodules?1700000000000"),
    ("GET", "/lab/api/workspaces?1700000000000"),
    ("GET", "/lab/api/workspaces/default"),
    ("GET", "/lab/api/settings?ids_only=true&1700000000000"),
    ("GET", "/lab/api/settings/@jupyterlab/docmanager-extension:plugin?1700000000000"),
    ("GET", "/lab/api/translations/default?1700000000000"),
    ("GET", "/lab/api/themes/@jupyterlab/theme-light-extension/index.css"),
    ("GET", "/lab/api/extensions?refresh=0&1700000000000"),
    ("GET", "/lab/api/build?1700000000000"),
    ("GET", "/lab/api/news?1700000000000"),
    ("GET", "/lab/api/update?1700000000000"),
    ("GET", "/lab/extensions/@jupyterlab/git/static/remoteEntry.js"),
    ("GET", "/static/lab/main.js"),
    ("GET", "/favicon.ico"),
    ("GET", "/proxy/8501/_stcore/health"),
    ("GET", "/proxy/8050/_reload-hash"),
    ("GET", "/proxy/8050"),
    ("GET", "/laboratory"),
    ("GET", "/terminals/websocket/1"),
    ("GET", "/nbclassic/static/notebook/js/main.min.js"),
    ("GET", "/nbclassic/api/x"),
    ("GET", "/voila/static/voila.js"),
    ("GET", "/voila/templates/lab/static/main.js"),
    ("GET", "/voila/api/themes/x/index.css"),
    ("GET", "/documents/"),
    ("GET", "/treehouse/"),
    ("HEAD", "/files/data.csv"),
    ("HEAD", "/lab"),
    ("HEAD", "/api/contents/a.ipynb?type=notebook&content=1"),
    ("OPTIONS", "/api/contents"),
]

UNASKED = [
    ("PUT", "/lab/api/workspaces/default?1700000000000"),
    ("PUT", "/lab/api/workspaces/auto-4"),
    ("POST", "/git/status"),
    ("POST", "/git/team/status?1700000000000"),
    ("POST", "/git/team/project/branch"),
    ("POST", "/git/team/tags"),
    ("POST", "/git/team/changed_files"),
    ("POST", "/git/team/remote/fetch?x=1"),
    ("POST", "/git/show_prefix"),
    ("POST", "/git/show_top_level"),
    ("POST", "/git/all_history"),
    ("POST", "/nbdime/api/isgit?1700000000000"),
    ("POST", "/api/security/csp-report?reportOnly=1"),
]

SOCKETS = [
    ("/api/kernels/8b7e/channels?session_id=1", CountedMessages.EACH),
    ("/terminals/websocket/1", CountedMessages.EACH),
    ("/proxy/8501/_stcore/stream", CountedMessages.EACH),
    ("/proxy/8889/api/events/subscribe", CountedMessages.EACH),
    ("/api/ai/chats", CountedMessages.EACH),
    ("/api/events/subscribe", CountedMessages.NONE),
    ("/lsp/ws/pylsp", CountedMessages.NONE),
    ("/api/collaboration/room/JupyterLab:globalAwareness", CountedMessages.NONE),
    ("/api/collaboration/room/JupyterLab%3AglobalAwareness?x=1", CountedMessages.NONE),
    ("/api/yjs/JupyterLab:globalAwareness", CountedMessages.NONE),
    ("/api/collaboration/room/json:notebook:fd52cab9?sessionId=3b89", CountedMessages.CHANGES),
    ("/api/collaboration/room/text:file:globalAwareness/2", CountedMessages.CHANGES),
    ("/api/yjs/json:notebook:team/a.ipynb", CountedMessages.CHANGES),
]

MESSAGES = [
    (b"\x00\x02", True),  # an update
    (b"\x02\x04", True),  # a save
    (b"\x7d\x01", True),  # a word in jupyter-collaboration's chat, before 2.0
    (b"\x00\x03", True),
    (b"\x00", True),
    (b"", True),
    (b"\x01\xd6", False),  # awareness
    (b"\x01", False),
    (b"\x03", False),  # who is there?
    (b"\x00\x00", False),  # what the page has
    (b"\x00\x01", False),  # what the other side lacks
]


@pytest.mark.parametrize(("method", "target"), USE)
def test_what_somebody_does_is_use(method: str, target: str) -> None:
    assert is_use(method, target)


@pytest.mark.parametrize(("method", "target"), READ + UNASKED)
def test_what_a_page_asks_by_itself_is_not(method: str, target: str) -> None:
    assert not is_use(method, target)


def test_each_row_of_what_pages_send_unasked_is_needed() -> None:
    for row in BACKGROUND_REQUESTS:
        assert any(
            method == row.method and re.fullmatch(row.path, target.partition("?")[0])
            for method, target in UNASKED
        ), row


@pytest.mark.parametrize(("target", "counts"), SOCKETS)
def test_which_messages_of_a_websocket_are_use(target: str, counts: CountedMessages) -> None:
    assert counted_messages(target) is counts


def test_each_row_of_what_pages_say_unasked_is_needed() -> None:
    """The first one that fits decides: each is the first for something."""
    for row in BACKGROUND_WEBSOCKETS:
        first = [
            next(
                (one for one in BACKGROUND_WEBSOCKETS if re.fullmatch(one.path, target.partition("?")[0])),
                None,
            )
            for target, _ in SOCKETS
        ]
        assert row in first, row


@pytest.mark.parametrize(("opening", "is_use"), MESSAGES)
def test_writing_and_saving_a_shared_document_is_use(opening: bytes, is_use: bool) -> None:
    assert is_change(opening) is is_use
