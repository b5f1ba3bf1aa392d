"""What is in effect now: the configuration, and the gateway that decides by it.

The rule: one place holds both, made before whoever reads it. The reloader alone exchanges them, in one step; others
read them anew each time, and keep nothing of them over a wait.
"""

from __future__ import annotations

from proxy.config.settings import Settings
from proxy.gateway import Gateway


class InEffect:
    """One for each process."""

    __slots__ = ("_gateway", "_settings")

    def __init__(self, settings: Settings, gateway: Gateway) -> None:
        self._settings = settings
        self._gateway = gateway

    def settings(self) -> Settings:
        """Those in effect."""
        return self._settings

    def gateway(self) -> Gateway:
        """Who decides."""
        return self._gateway

    def exchange(self, settings: Settings, gateway: Gateway) -> None:
        """These count from now on."""
        self._settings = settings
        self._gateway = gateway
