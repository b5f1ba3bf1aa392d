"""Buttons of pages: what each posts to, and the token that proves that it was offered, to whom and for which notebook.

The rule: a token is bound to where the instance's name leads now, so that a page which still lies open never acts on
another notebook than it showed. Who may press a button is for others to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.config.settings import Settings
from proxy.policy.context import START, STOP
from proxy.server.pages.forms import FormTokens
from proxy.server.viewer import Viewer

START_PATH: Final = "/.nbgate/start/"
STOP_PATH: Final = "/.nbgate/stop/"
AWAKE_PATH: Final = "/.nbgate/awake/"
AWAKE: Final = "keep awake"
"""No action of SageMaker's: who may start an instance may also say that it is not to be stopped."""
_PATHS: Final = {START: START_PATH, STOP: STOP_PATH, AWAKE: AWAKE_PATH}


@dataclass(frozen=True, slots=True)
class Button:
    """Where it posts to, and its token."""

    name: str
    action: str
    token: str


class Buttons:
    """Makes and verifies them. `settings` are those of now."""

    def __init__(self, forms: FormTokens, *, settings: Callable[[], Settings]) -> None:
        self._forms = forms
        self._settings = settings

    def make(self, viewer: Viewer, name: str, action: str) -> Button:
        """A button for an action, to be shown to who may press it."""
        token = self._forms.issue(
            address=viewer.caller.address,
            instance=name,
            leads_to=self._settings().leads_to(name),
            action=action,
        )
        return Button(name, _PATHS[action] + name, token)

    def verify(self, viewer: Viewer, name: str, action: str, *, token: str) -> None:
        """Raise OriginRefused unless `token` is of a button that was made for this, where the name still leads."""
        self._forms.verify(
            token,
            address=viewer.caller.address,
            instance=name,
            leads_to=self._settings().leads_to(name),
            action=action,
        )
