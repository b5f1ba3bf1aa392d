"""The one error of this package: a policy that cannot be honoured.

The rule: raised while a policy is compiled, never while it decides. It must not know files or lines.
"""

from __future__ import annotations


class PolicyError(ValueError):
    """A policy that cannot be honoured; the message says what is wrong, `hint` what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
