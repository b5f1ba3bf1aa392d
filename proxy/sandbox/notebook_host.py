"""The front end of one notebook instance: `https://NAME.notebook.REGION.sagemaker.aws` in real life.

The rule: every request needs a session, got by a token that the API gave out; without one it is answered
"not signed in" in the shape that is switched on, WebSocket upgrades too. Its own cookies stop here.
What passes goes to Jupyter through `relay`. Faults are attributes and methods of the host.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterable
from enum import Enum
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.chance import new_id
from proxy.clock import Clock
from proxy.sandbox.instance import (
    IN_SERVICE,
    Loading,
    NotebookInstance,
    Session,
    SignedOutShape,
    SignInShape,
)
from proxy.sandbox.relay import MAX_FIELD_BYTES, AnswerChanges, BodyCut, JupyterRelay, request_headers
from proxy.tasks import Tasks

STEERING = ("expiryTime", "redirectURL", "authMode", "ssoExpiryTimestamp")
TOKEN_PARAMETER = "authToken"  # noqa: S105 - its name, not its value
SIGN_IN_PAGE = "https://signin.aws.amazon.com/signin?redirect_uri="
CONSOLE = "https://{region}.console.aws.amazon.com/sagemaker/home?region={region}&notebookState={state}"
_CHAIN_PATH = "/nb-sign-in/"
_LOADING_SECONDS = 5


class DropAt(Enum):
    """When the host breaks a connection on purpose."""

    HEAD = "head"
    """Before any byte of the answer."""
    BODY = "body"
    """Within the body: after `NotebookHost.drop_after_bytes` of it."""


class NotebookHost:
    """Listens on a port of its own. Use `start` and `stop`; `origin` is known after the first start."""

    def __init__(
        self,
        instance: NotebookInstance,
        *,
        clock: Clock,
        tasks: Tasks,
        listen: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.instance = instance
        self.delay_seconds = 0.0
        self.drop_after_bytes = 1
        self._drops: list[DropAt] = []
        self._clock = clock
        self._tasks = tasks
        self._listen = listen
        self._tls = tls
        self._port = 0
        self._relay: JupyterRelay | None = None
        self._server: web.Server | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._websockets: set[asyncio.Transport] = set()
        self._half_signed_in: dict[str, tuple[Session, str]] = {}

    @property
    def authority(self) -> str:
        """Host and port, as `DescribeNotebookInstance.Url` gives it (without a scheme)."""
        return f"{self._listen}:{self._port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://{self.authority}"

    @property
    def open_websockets(self) -> int:
        """How many are being carried now."""
        return len(self._websockets)

    async def start(self, relay: JupyterRelay) -> None:
        """Listen, and pass what is admitted to `relay`."""
        self._relay = relay
        self._server = web.Server(
            self._answer,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.5)
        await self._runner.setup()
        await self.accept()

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._runner is not None:
            self.drop_connections()
            await self._runner.cleanup()
            self._runner = self._site = self._server = None

    async def refuse(self) -> None:
        """Fault: nobody listens any more, and connections that are open break."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self.drop_connections()

    async def accept(self) -> None:
        """Listen (again), on the same port."""
        assert self._runner is not None, "not started"
        if self._site is None:
            self._site = web.TCPSite(
                self._runner, self._listen, self._port, ssl_context=self._tls, reuse_address=True
            )
            await self._site.start()
            self._port = self._runner.addresses[-1][1]

    def drop(self, at: DropAt, *, times: int = 1) -> None:
        """Fault: break the next `times` connections that ask for something, at the given moment."""
        self._drops += [at] * times

    def stop_dropping(self) -> None:
        """Forget drops that were asked for and did not happen yet."""
        self._drops.clear()

    def drop_connections(self) -> None:
        """Fault: break every open connection, now."""
        assert self._server is not None, "not started"
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def drop_websockets(self) -> None:
        """Fault: break the WebSockets that are open, without a close frame."""
        for transport in self._websockets:
            transport.abort()

    def close_websockets(self, code: int) -> None:
        """Fault: close the WebSockets that are open with a code of the host's own, whatever Jupyter says."""
        for transport in self._websockets:
            # Frames are written whole, so this stands between two of them (RFC 6455 section 5.5.1).
            transport.write(b"\x88\x02" + code.to_bytes(2, "big"))
            transport.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        instance = self.instance
        instance.counts.requests += 1
        if self.delay_seconds:
            await self._clock.sleep(self.delay_seconds)
        drop = self._drops.pop(0) if self._drops else None
        if drop is DropAt.HEAD:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=HTTPStatus.BAD_GATEWAY)
        if not instance.admits(request.remote or ""):
            instance.counts.denied += 1
            return _page(HTTPStatus.FORBIDDEN, "Access denied", "Your address is not allowed here.")
        if instance.status != IN_SERVICE:
            # What users report of a notebook that was stopped under them (lifecycle-config-samples #9).
            return _page(HTTPStatus.BAD_REQUEST, "Bad Request", f"The instance is {instance.status}.")
        if instance.front_end_status:
            return _page(instance.front_end_status, "Error", "The front end's own.")
        cut = BodyCut(self.drop_after_bytes) if drop is DropAt.BODY else None
        if instance.loading is Loading.EVERYBODY:
            return _loading(instance.loading_status)

        target, token = _without_token(request.raw_path)
        if token is not None:
            return await self._sign_in(request, target=target, token=token)
        if target.startswith(_CHAIN_PATH) and (half := self._half_signed_in.pop(target, None)):
            session, location = half
            session.complete = True
            return _redirect(location, self._set_cookies(session, self.instance.cookie_names[1:]))
        session_or_none = instance.session_of(_cookies(request))
        if session_or_none is None:
            return self._signed_out(target)
        if instance.loading is Loading.SIGNED_IN:
            return _loading(instance.loading_status, self._steering(target))
        return await self._pass_on(request, target=target, session=session_or_none, cut=cut)

    async def _sign_in(self, request: web.BaseRequest, *, target: str, token: str) -> web.StreamResponse:
        session = self.instance.redeem(token)
        if session is None:
            return self._signed_out(target)
        names = self.instance.cookie_names
        match self.instance.sign_in:
            case SignInShape.REDIRECT:
                return _redirect(target, (*self._set_cookies(session, names), *self._steering(target)))
            case SignInShape.CHAIN:
                session.complete = False
                step = f"{_CHAIN_PATH}{new_id()}"
                self._half_signed_in[step] = (session, target)
                return _redirect(step, self._set_cookies(session, names[:1]))
            case SignInShape.DIRECT:
                return await self._pass_on(
                    request, target=target, session=session, set_cookies=self._set_cookies(session, names)
                )

    async def _pass_on(
        self,
        request: web.BaseRequest,
        *,
        target: str,
        session: Session,
        set_cookies: tuple[str, ...] = (),
        cut: BodyCut | None = None,
    ) -> web.StreamResponse:
        assert self._relay is not None, "not started"
        instance = self.instance
        instance.counts.proxied += 1
        headers = request_headers(request)
        _remove_cookies(headers, instance.cookie_names)
        if instance.jupyter_host:
            headers[hdrs.HOST] = instance.jupyter_host
        changes = AnswerChanges(hidden=instance.hidden_fields, html_coding=instance.html_coding)
        transport = request.transport
        if transport is not None and _is_upgrade(request):
            self._websockets.add(transport)
            try:
                return await self._relay.splice(
                    request,
                    target=target,
                    headers=headers,
                    tasks=self._tasks,
                    set_cookies=self._steering(target),
                )
            finally:
                self._websockets.discard(transport)
        if self.instance.reissue_cookies and not set_cookies:
            value = self.instance.reissue(session)
            set_cookies = (self._set_cookie(self.instance.cookie_names[-1], value),)
        return await self._relay.forward(
            request,
            target=target,
            headers=headers,
            set_cookies=(*set_cookies, *self._steering(target)),
            cut=cut,
            changes=changes,
        )

    def _steering(self, target: str) -> tuple[str, ...]:
        """The cookies by which AWS's own page is steered, as its extension for JupyterLab reads them."""
        if not self.instance.steering_cookies:
            return ()
        ends_at = int(self._clock.now().timestamp() * 1000) + 12 * 3600 * 1000
        values = (str(ends_at), f'"{self._console(target)}"', "Iam", "-1")
        return tuple(f"{name}={value}; Path=/" for name, value in zip(STEERING, values, strict=True))

    def _console(self, target: str) -> str:
        """Where the console opens the notebook again, at the same path."""
        state = quote(base64.b64encode(target.encode()).decode(), safe="")
        name = f"#/notebook-instances/openNotebook/{self.instance.name}"
        return CONSOLE.format(region="us-east-1", state=state) + name

    def _signed_out(self, target: str) -> web.Response:
        self.instance.counts.signed_out += 1
        match self.instance.signed_out:
            case SignedOutShape.REDIRECT:
                return _redirect(SIGN_IN_PAGE + quote(self.origin + target, safe=""))
            case SignedOutShape.CONSOLE:
                return _redirect(self._console(target), self._steering(target))
            case SignedOutShape.UNAUTHORIZED:
                return _page(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Sign in to the console.")
            case SignedOutShape.FORBIDDEN:
                return _page(HTTPStatus.FORBIDDEN, "Forbidden", "Sign in to the console.")
            case SignedOutShape.PAGE:
                return _page(HTTPStatus.OK, "Amazon Web Services Sign-In", "Sign in to the console.")

    def _set_cookies(self, session: Session, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._set_cookie(name, next(iter(session.cookies[name]))) for name in names)

    def _set_cookie(self, name: str, value: str) -> str:
        secure = "; Secure" if self._tls else ""
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _without_token(target: str) -> tuple[str, str | None]:
    """The raw target without its `authToken` parameter, and that parameter's value."""
    path, mark, query = target.partition("?")
    token: str | None = None
    kept = []
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == TOKEN_PARAMETER:
            token = value
        else:
            kept.append(parameter)
    if token is None:
        return target, None
    return path + (mark + "&".join(kept) if kept else ""), token


def _is_upgrade(request: web.BaseRequest) -> bool:
    """RFC 6455 section 4.2.1: a GET that asks for an upgrade to `websocket`."""
    asked = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    return asked and request.method == hdrs.METH_GET


def _cookies(request: web.BaseRequest) -> dict[str, str]:
    """Of cookies sent twice the first counts, as with most servers."""
    cookies: dict[str, str] = {}
    for line in request.headers.getall(hdrs.COOKIE, ()):
        for pair in line.split(";"):
            name, _, value = pair.strip().partition("=")
            cookies.setdefault(name, value)
    return cookies


def _remove_cookies(headers: CIMultiDict[str], names: Iterable[str]) -> None:
    """Drop the named pairs; all others stay as they are, in order, repeated ones repeated."""
    own = set(names)
    for line in headers.popall(hdrs.COOKIE, ()):
        kept = [pair.strip() for pair in line.split(";") if pair.strip().partition("=")[0] not in own]
        if kept:
            headers.add(hdrs.COOKIE, "; ".join(kept))


def _redirect(location: str, set_cookies: Iterable[str] = ()) -> web.Response:
    response = web.Response(status=HTTPStatus.FOUND)
    response.headers[hdrs.LOCATION] = location
    for cookie in set_cookies:
        response.headers.add(hdrs.SET_COOKIE, cookie)
    return response


def _loading(status: int, set_cookies: Iterable[str] = ()) -> web.Response:
    """What stands in Jupyter's place while that is starting: it loads itself again."""
    refresh = f'<meta http-equiv="refresh" content="{_LOADING_SECONDS}">'
    response = web.Response(
        status=status,
        text=f"<!doctype html>{refresh}<title>Loading</title><p>The notebook is being prepared.</p>\n",
        content_type="text/html",
    )
    for cookie in set_cookies:
        response.headers.add(hdrs.SET_COOKIE, cookie)
    return response


def _page(status: int, title: str, text: str) -> web.Response:
    body = f"<!doctype html><title>{title}</title><h1>{title}</h1><p>{text}</p>\n"
    return web.Response(status=status, text=body, content_type="text/html")
