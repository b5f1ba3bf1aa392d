"""What a request sees of the connection that it came on, so that neither has to know how the other is made.

The rule: a request says what is to happen (read no more, the answer is complete, all is over); when and how, the
connection knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from proxy.admission.verdict import Admission
    from proxy.client_address.networks import Address
    from proxy.config.settings import Listener
    from proxy.dataplane.budgets import Place
    from proxy.dataplane.caller.intake import Intake
    from proxy.dataplane.caller.reader import Reader
    from proxy.dataplane.caller.writer import Writer
    from proxy.dataplane.notebook.translation import ToNotebook, ToNotebooks
    from proxy.dataplane.plane import DataPlane


class Channel(Protocol):
    """See the module's docstring; `caller.connection.CallerConnection` is one."""

    plane: DataPlane
    listener: Listener
    place: Place
    pages: web.Server
    """Makes what answers for own pages."""
    transport: asyncio.Transport | None
    intake: Intake
    reader: Reader
    writer: Writer

    known: Admission | None
    """That of the last request that was admitted."""
    to_notebook: ToNotebook
    """How that one got to a notebook, as the next one of the same caller does."""
    to_notebooks: ToNotebooks
    """The same for each caller of whom requests came on this connection."""
    keeps: bool
    """Another request may follow the one under way."""

    @property
    def peer(self) -> Address | None: ...

    @property
    def is_carrying(self) -> bool:
        """Whether a body goes to whoever answers, as it comes."""

    def began(self) -> None:
        """Something of the answer is sent, so that no other one can be given."""

    def deliver(self) -> None:
        """Whoever is to have it takes what waits now."""

    def stop_reading(self) -> None:
        """Read nothing more: where this message ends is not known."""

    def answered(self) -> None:
        """The answer is complete."""

    def over(self) -> None:
        """It is cut: nothing of it is for anybody any more."""

    def hand_over(self) -> tuple[asyncio.Transport, bytes, bool]:
        """Give the transport away, with what waits, and whether the caller takes no more."""
