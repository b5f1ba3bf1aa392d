"""Which of a notebook's paths Jupyter itself answers, and which lead on to an application that somebody runs there.

Applications appear under `/proxy/PORT/`, `/proxy/absolute/PORT/`, `/proxy/HOST:PORT/` and, by jupyter-server-proxy's
named entries, under any other first segment (`/rstudio/`, `/codeserver/`). So the rule: Jupyter's own are a list, and
whatever is not surely on it is an application's. "Surely" means that nobody on the way (AWS's front end, Jupyter) can
read the path as another one: no escape that hides a slash, a dot or another escape, no dot segment, no empty one.
"""

from __future__ import annotations

import re
from typing import Final

# JupyterLab, Notebook 7 and the classic notebook (nbclassic), at base URL `/`; /files/ and /nbconvert/ serve what users
# made.
_FIRST_SEGMENTS: Final = frozenset(
    {
        "",
        "api",
        "consoles",
        "edit",
        "lab",
        "login",
        "logout",
        "nbclassic",
        "notebooks",
        "static",
        "terminals",
        "tree",
    }
)
_OTHERS: Final = frozenset(
    {"custom", "files", "kernelspecs", "nbconvert", "nbextensions", "proxy", "view", "voila"}
)
"""First segments of what Jupyter and its extensions serve besides, that pages and answers name."""
_PROXIED: Final = "/proxy/"
_UNSURE: Final = re.compile(r"//|/\.|\\|;|%(?:2[ef5]|5c|3b|00)", re.IGNORECASE)


def is_jupyters_own(target: str) -> bool:
    """Whether Jupyter itself answers a request for `target` (origin-form, as the notebook sees it)."""
    path = target.partition("?")[0]
    return path[1:].partition("/")[0] in _FIRST_SEGMENTS and _UNSURE.search(path) is None


def may_lead_on(path: str) -> bool:
    """Whether a path below a mount that is not known may lead to an application by its port."""
    return _PROXIED in path


def differs_from_jupyters(mount: str) -> bool:
    """Whether addresses below a path mount (`/research/`) can be told from Jupyter's, which need the prefix."""
    first, _, deeper = mount[1:].partition("/")
    return bool(deeper) or first not in _FIRST_SEGMENTS | _OTHERS or not first


def is_proxied(target: str) -> bool:
    """Whether a request for `target` is for an application by its port, which Jupyter never answers in its own name."""
    return target.startswith(_PROXIED)
