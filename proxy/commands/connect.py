"""What `nbgate connect` does: look whether the token is good, open the port, say its address, and wait.

The rule: the address goes to standard output alone, for whatever starts programs with it; what people are to know goes
to standard error. The token is printed nowhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from proxy.chance import secret_key
from proxy.commands.usage import UsageProblem
from proxy.server.connect import CONNECT_SECONDS, open_client, open_local_port
from proxy.signals import PROCESS
from proxy.wire.credentials import TOKEN_PARAMETER

ANSWER_SECONDS: Final = 60.0
Tell = Callable[[str], None]


class Destination(NamedTuple):
    """An instance's address at the gateway, and the token for it."""

    base: URL
    token: str


def read_destination(address: str, token: str) -> Destination:
    """Read what was given. `token` may be the whole address that `nbgate url --token` prints.

    Raises UsageProblem, whose text never holds the token.
    """
    base = _server(address)
    token = token.strip()
    if "://" in token:
        printed = URL(token, encoded=True)
        token = printed.query.get(TOKEN_PARAMETER, "")
        if _server(str(printed.with_query(None))) != base:
            raise UsageProblem(f"the token is for another address than {base}")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageProblem("there is no token in what was given: nbgate url INSTANCE --token prints one")
    return Destination(base, token)


def _server(address: str) -> URL:
    """The address with a slash at its end."""
    try:
        url = URL(address, encoded=True)
        usable = url.scheme in ("http", "https") and url.host is not None and url.user is None
    except ValueError:
        usable = False
    if not usable:
        raise UsageProblem(
            "the address has to be an instance's own, such as https://notebooks.internal/research/"
        )
    if url.query_string:
        # Every user of the machine may read the command line of a process.
        raise UsageProblem(
            "the address must not hold a token: hand that in by NBGATE_TOKEN, --token-file, or when asked for it"
        )
    return url.with_path(f"{url.raw_path.rstrip('/')}/", encoded=True).with_fragment(None)


def run(to: Destination, *, port: int, authority: str | None, say: Tell, tell: Tell) -> int:
    """Carry until Ctrl-C or SIGTERM. `authority` names a file of certificates to trust instead of the system's; `say`
    is standard output, `tell` standard error. Returns the exit status.
    """
    try:
        tls = ssl.create_default_context(cafile=authority)
    except OSError as error:
        tell(f"{authority} cannot be used: {error.strerror or error}")
        return 1
    PROCESS.take()
    return asyncio.run(_run(to, port=port, tls=tls, say=say, tell=tell))


async def _run(to: Destination, *, port: int, tls: ssl.SSLContext, say: Tell, tell: Tell) -> int:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    PROCESS.on_stop(lambda _times: loop.call_soon_threadsafe(asked.set))
    problem, is_final = await what_hinders(to, tls)
    if problem:
        tell(problem)
    if is_final:
        return 1
    try:
        async with open_local_port(to.base, token=to.token, secret=secret_key(), port=port, tls=tls) as line:
            say(line.address)
            tell(
                f"Give programs on this machine that address as Jupyter's; it leads to {to.base}. "
                "Whoever knows it gets in as you do. Ctrl-C ends it."
            )
            await asked.wait()
    except OSError as error:
        tell(f"cannot listen on port {port}: {error.strerror or error}")
        return 1
    return 0


async def what_hinders(to: Destination, tls: ssl.SSLContext) -> tuple[str, bool]:
    """What stands in the way, "" for nothing, and whether waiting does not help."""
    where = to.base.origin()
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            open_client(to.token, tls=tls) as client,
            client.get(to.base.join(URL("api/status")), allow_redirects=False) as answer,
        ):
            status = answer.status
    except aiohttp.ConnectionTimeoutError:
        return f"{where} cannot be reached: no connection within {CONNECT_SECONDS:g} s", True
    except TimeoutError:
        return f"{where} has not answered within {ANSWER_SECONDS:g} s; going on all the same", False
    except aiohttp.ClientConnectorCertificateError:
        return f"the certificate of {where} is not trusted here: name its authority with --ca FILE", True
    except (aiohttp.ClientError, OSError) as error:
        return f"{where} cannot be reached: {_reason(error)}", True
    match status:
        case 200:
            return "", False
        case 401:
            return "the token is not good, or not any more: nbgate url INSTANCE --token prints another", True
        case 403:
            return "this machine's address is not let in there, or nothing is there", True
        case 404 | 421 | 301 | 302 | 307 | 308:
            return f"{to.base} is not an instance's address ({status})", True
        case _:
            return f"{to.base} answers {status} for now; going on all the same", False


def _reason(error: Exception) -> str:
    """Not its text: that may hold more of the address than is to be told."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "it refuses connections"
    return type(error).__name__
