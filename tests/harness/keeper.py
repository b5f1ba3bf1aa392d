"""The keeper of a session with a notebook, played: its session is there at once, unless the test says otherwise.

It has what the data plane uses of `proxy.aws.keeper.SessionKeeper`, and signs in nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from proxy.aws.cookies import Cookies, parse_set_cookies
from proxy.aws.sessions import UpstreamSession
from proxy.errors import NbgateError
from proxy.upstream import Honoured, Origin

SESSION_COOKIE = b"FrontEnd=front-end-1"


def session_at(
    port: int, *, number: int = 1, tls: bool = False, cookies: Sequence[bytes] = ()
) -> UpstreamSession:
    """A session whose notebook is on a port of this machine; its cookie's value ends in `number`, unless `cookies`
    replace it.
    """
    host = "localhost" if tls else "127.0.0.1"
    fields = parse_set_cookies(cookies or [b"FrontEnd=front-end-%d" % number])
    return UpstreamSession(
        origin=Origin("https" if tls else "http", host, port),
        cookies=Cookies().apply(fields, host=host, now=datetime.max),
        obtained_at=0.0,
        renew_at=float("inf"),
        expires_at=float("inf"),
        generation=number,
    )


@dataclass(eq=False)
class Keeper:
    """`waits` is how long callers would wait.

    `reject` signs in anew while there are `successors`; `gate` holds `acquire` back; `failure` ends it. Sessions with
    a generation in `ended` are over. `honoured_as` is what the front end says of its session, once `asking` lets it.
    """

    session: UpstreamSession | None
    successors: list[UpstreamSession] = field(default_factory=list)
    rejected: int = 0
    absorbed: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: NbgateError | None = None
    ended: set[int] = field(default_factory=set)
    waits: list[dict[str, float]] = field(default_factory=list)
    is_up: bool = True
    honoured_as: Honoured = Honoured.YES
    asked: int = 0
    asking: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.asking.set()

    # -- for the test -----------------------------------------------------------------------------------

    @property
    def known(self) -> UpstreamSession:
        """The session that is there."""
        assert self.session is not None
        return self.session

    def cold(self) -> None:
        """The session is gone, and whoever wants it waits for `warm()`."""
        if self.session is not None:
            self.successors.insert(0, self.session)
            self.session = None
        self.gate.clear()

    def warm(self) -> None:
        """It is there again."""
        if self.session is None:
            self.session = self.successors.pop(0)
        self.gate.set()

    def fails(self, error: NbgateError) -> None:
        """The session is gone, and whoever wants it is told so at once."""
        self.cold()
        self.failure = error
        self.gate.set()

    # -- for the data plane -----------------------------------------------------------------------------

    def live(self) -> UpstreamSession | None:
        return self.session

    async def acquire(self, *, asked_by: str = "", **how_long: float) -> UpstreamSession:
        self.waits.append(how_long)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.session is None:
            self.session = self.successors.pop(0)
        return self.session

    async def honoured(self, session: object, *, again: bool = False) -> Honoured:
        self.asked += 1
        await self.asking.wait()
        return self.honoured_as

    def reject(self, session: object) -> bool:
        self.rejected += 1
        if session is self.session:
            if not self.successors:
                return False
            self.session = None
        return True

    def is_over(self, session: object) -> bool:
        return isinstance(session, UpstreamSession) and session.generation in self.ended

    def absorb(self, _session: object, set_cookie_fields: Sequence[bytes], /) -> None:
        self.absorbed += set_cookie_fields
