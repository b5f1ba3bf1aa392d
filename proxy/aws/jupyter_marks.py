"""Whose answer is it, Jupyter's or that of the front end before it? What only Jupyter writes tells.

The front end may hide `Server`, so that no judgement hangs on it alone. Jupyter's handlers also write where violations
of their Content-Security-Policy are reported to (jupyter_server and notebook, base/handlers.py), and the cookies that
Jupyter keeps for itself. The rule: a mark proves Jupyter, and the want of one proves nothing. Pure: no sockets, no
sessions, and no bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from proxy.wire.cookies import set_cookie_name

_SERVER: Final = b"TornadoServer"
_REPORTS: Final = b"/api/security/csp-report"


class JudgedHead(Protocol):
    """A response's head, as far as it is judged; b"" for absent fields. `content_type` is spelt in any case."""

    @property
    def status(self) -> int: ...
    @property
    def location(self) -> bytes: ...
    @property
    def server(self) -> bytes: ...
    @property
    def content_type(self) -> bytes: ...
    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]:
        """All of them, repeated ones repeated."""


def is_from_jupyter(head: JudgedHead) -> bool:
    """Whether a head bears a mark of Jupyter's. What runs behind Jupyter may write anything, these marks too."""
    if head.server.startswith(_SERVER):
        return True
    for name, value in head.fields:
        lower = name.lower()
        if lower == b"content-security-policy" and _REPORTS in value:
            return True
        if lower == b"set-cookie" and is_jupyter_cookie(set_cookie_name(value)):
            return True
    return False


def is_jupyter_cookie(name: bytes) -> bool:
    """Jupyter's own cookies, which are the browser's: `_xsrf` is read by its script, and `username-HOST` says
    who somebody is among the users of one server (jupyter_server auth/identity.py)."""
    return name == b"_xsrf" or name.startswith(b"username-")


def is_html(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in {b"text/html", b"application/xhtml+xml"}


def is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == b"application/json"
