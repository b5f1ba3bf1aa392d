"""Answers of the notebook's front end itself, in Jupyter's place, of what passes by itself.

JupyterLab and Notebook 7 give a kernel up for ever after such an answer to what they ask of Jupyter's API, so that the
data plane answers in words of its own there. The rule: only under Jupyter's API, where what runs behind Jupyter
(`/proxy/`) never speaks, and never in the place of an answer that carries Jupyter's name (`Server: TornadoServer/…`).
Knows no sockets and no sessions.
"""

from __future__ import annotations

from typing import Final

from proxy.aws.signed_out import is_jupyter
from proxy.wire.heads import ResponseFacts

PASSING: Final = frozenset({429, 502, 504})
"""503 is not among them: it is what those pages wait after."""
_APIS: Final = ("/api/", "/lab/api/")


def is_front_ends(facts: ResponseFacts, target: str) -> bool:
    """Whether an answer to `target` (as the notebook sees it) is the front end's own."""
    return target.startswith(_APIS) and not is_jupyter(facts.server)
