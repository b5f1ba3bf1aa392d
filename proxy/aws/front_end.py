"""What becomes of a response that looks like the front end's own, once it was asked what is the matter: as a table.

The rules: the gateway signs in again where it is not signed in, and only there: while Jupyter is starting that costs a
URL and helps nobody. No page and no redirect of AWS's passes in Jupyter's place, for it would mislead; an answer of
what runs behind Jupyter passes wherever it may be one. JupyterLab and Notebook 7 give a kernel up for ever after a 429,
502 or 504 to what they ask of Jupyter's API, so that the data plane answers in words of its own there. It knows no
sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from proxy.aws.hosts import SIGN_IN_HOSTS
from proxy.aws.jupyter_marks import JudgedHead, is_from_jupyter
from proxy.aws.signed_out import Shape, shape_of
from proxy.routing.jupyters import is_jupyters_own, is_proxied
from proxy.upstream import Honoured, NotebookSession, Outcome

TRANSIENT: Final = frozenset({429, 502, 504})
"""What is over by itself after a while. 503 is not among them: it is what those pages wait after."""
REACHED: Final = frozenset({500, 502, 504})
"""After these, what was asked may have been done: the front end may have passed it on."""
_OF_THE_REQUEST: Final = 400
"""Where all else is well, this is said of what was asked, and will be said again."""
_APIS: Final = ("/api/", "/lab/api/")


class UsualAnswerer(Enum):
    """Who mostly answers a request target."""

    API = "Jupyter's API"
    JUPYTER = "Jupyter"
    BEHIND = "what runs behind Jupyter, or nobody knows"
    PROXIED = "what runs behind Jupyter"


_P, _A, _X = Outcome.PASS, Outcome.AWAY, Outcome.REFUSE
_API, _JUPYTER, _BEHIND, _PROXY = (
    UsualAnswerer.API,
    UsualAnswerer.JUPYTER,
    UsualAnswerer.BEHIND,
    UsualAnswerer.PROXIED,
)
_YES, _UNTOLD = Honoured.YES, Honoured.UNTOLD

OUTCOMES: Final = MappingProxyType(
    {
        # What runs behind Jupyter may send browsers where it likes; Jupyter sends nobody to sign in to AWS.
        (Shape.SIGN_IN, _YES): {_API: _X, _JUPYTER: _X, _BEHIND: _X, _PROXY: _P},
        (Shape.SIGN_IN, _UNTOLD): {_API: _X, _JUPYTER: _X, _BEHIND: _X, _PROXY: _X},
        (Shape.ELSEWHERE, _YES): {_API: _P, _JUPYTER: _P, _BEHIND: _P, _PROXY: _P},
        (Shape.ELSEWHERE, _UNTOLD): {_API: _X, _JUPYTER: _X, _BEHIND: _X, _PROXY: _X},
        (Shape.REFUSED, _YES): {_API: _P, _JUPYTER: _P, _BEHIND: _P, _PROXY: _P},
        (Shape.REFUSED, _UNTOLD): {_API: _X, _JUPYTER: _P, _BEHIND: _P, _PROXY: _P},
        (Shape.PAGE, _YES): {_API: _P, _JUPYTER: _P, _BEHIND: _P, _PROXY: _P},
        (Shape.PAGE, _UNTOLD): {_API: _A, _JUPYTER: _A, _BEHIND: _P, _PROXY: _P},
        (Shape.FAULT, _YES): {_API: _P, _JUPYTER: _P, _BEHIND: _P, _PROXY: _P},
        (Shape.FAULT, _UNTOLD): {_API: _A, _JUPYTER: _A, _BEHIND: _P, _PROXY: _P},
    }
)
"""By what it looked like, what was said, and who mostly answers there. Whatever it looked like: see `outcome`."""
_WHATEVER: Final = MappingProxyType(
    {Honoured.NO: Outcome.RENEW, Honoured.STARTING: Outcome.STARTING, Honoured.OUT: Outcome.OUT}
)


def outcome(
    shape: Shape, honoured: Honoured, *, target: str, status: int, jupyter_shows: bool = False
) -> Outcome:
    """What becomes of a response to `target` (as the notebook sees it). `jupyter_shows` is the session's."""
    if whatever := _WHATEVER.get(honoured):
        return whatever
    place = usual_answerer(target)
    if honoured is _YES:
        if status in TRANSIENT and place is _API:
            return Outcome.AWAY
        if jupyter_shows and place in {_API, _JUPYTER}:
            # It was up when it was asked, which was later, and what it answers bears a mark.
            if shape is Shape.PAGE:
                return Outcome.STARTING
            if shape is Shape.FAULT and status != _OF_THE_REQUEST:
                return Outcome.AWAY
    return OUTCOMES[shape, honoured][place]


def without_renewal(shape: Shape, *, target: str) -> Outcome:
    """What becomes of it where nobody is signed in, and that cannot be changed: right after signing in, or if that does
    not help. A plain refusal is then the notebook's own."""
    return Outcome.PASS if shape is Shape.REFUSED and usual_answerer(target) is not _API else Outcome.REFUSE


def contradicts(shape: Shape, *, target: str) -> bool:
    """Whether an answer says that Jupyter is not up, whatever was known a moment ago."""
    return shape in {Shape.PAGE, Shape.FAULT} and usual_answerer(target) in {_API, _JUPYTER}


def usual_answerer(target: str) -> UsualAnswerer:
    if target.startswith(_APIS):
        return _API
    if is_proxied(target):
        return _PROXY
    return _JUPYTER if is_jupyters_own(target) else _BEHIND


def is_front_ends(head: JudgedHead, target: str) -> bool:
    """Whether an answer to `target` (as the notebook sees it) is the front end's own, where nobody but Jupyter answers
    beside it."""
    return target.startswith(_APIS) and not is_from_jupyter(head)


@dataclass(frozen=True, slots=True)
class SuspectAnswer:
    """A response to `target` that looks like the front end's own; implements `proxy.dataplane.sessions.Suspicion`."""

    shape: Shape
    target: str
    status: int
    jupyter_shows: bool

    @property
    def sends_to_sign_in(self) -> bool:
        return self.shape is Shape.SIGN_IN

    @property
    def may_have_passed_on(self) -> bool:
        return self.status in REACHED

    @property
    def contradicts(self) -> bool:
        return contradicts(self.shape, target=self.target)

    def outcome(self, honoured: Honoured) -> Outcome:
        return outcome(
            self.shape,
            honoured,
            target=self.target,
            status=self.status,
            jupyter_shows=self.jupyter_shows,
        )

    def without_renewal(self) -> Outcome:
        return without_renewal(self.shape, target=self.target)


@dataclass(frozen=True, slots=True)
class SageMakerFrontEnd:
    """What the data plane asks of all this; implements `proxy.dataplane.sessions.FrontEnd`."""

    sign_in_hosts: frozenset[str] = SIGN_IN_HOSTS
    """`NotebookHosts.sign_in_hosts`."""

    def suspect(
        self, head: JudgedHead, *, target: str, session: NotebookSession, is_up: bool
    ) -> SuspectAnswer | None:
        shape = shape_of(
            head, target=target, origin=session.origin, is_up=is_up, sign_in_hosts=self.sign_in_hosts
        )
        return None if shape is None else SuspectAnswer(shape, target, head.status, session.jupyter_shows)

    def has_answered(self, head: JudgedHead, *, target: str) -> bool:
        return head.status in TRANSIENT and is_front_ends(head, target)
