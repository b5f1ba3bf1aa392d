"""The admin listener's pages: is the process alive, may it be sent traffic, and what has it counted.

It stands on a listener of its own because it has no policy: whoever reaches it may ask. So it tells states
and counts, those of /metrics by the names of instances, and nothing of callers or rules, and it acts on nothing.
What "ready" means is decided by whoever passes `readiness`, what is counted by whoever passes `metrics`; this
module only says it over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.client_address.networks import read_address
from proxy.errors import BadRequest
from proxy.routing.authority import parse_authority

Detail = bool | int | float | str
PATHS: Final = ("/healthz", "/readyz", "/metrics")

_FIELDS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # aiohttp would name itself and its version.
    "Server": "nbgate",
    "Connection": "close",
}
"""On every answer."""

Metrics = Callable[[str], tuple[bytes, str]]
"""From a scraper's `Accept` to the metrics of now and their content type."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process may be sent traffic now, and the details that say why (not)."""

    ready: bool
    details: Mapping[str, Detail] = field(default_factory=dict)


def admin_application(
    readiness: Callable[[], Readiness],
    metrics: Metrics,
    unwell: Callable[[], Sequence[str]] = tuple,
    *,
    hosts: Collection[str] = (),
) -> web.Application:
    """`GET /healthz`: 200 while the event loop turns and nothing is `unwell()`, else 503 and what is.

    `GET /readyz`: 200 or 503, with `readiness()` as JSON.

    `GET /metrics`: what Prometheus reads, in its text format or as OpenMetrics. Anything else is 404 or 405, as JSON.

    Who asks has to call it by an address, as localhost, or by one of `hosts` (lower case): a page of some site whose
    name leads here (DNS rebinding) is a 421. Each connection is for one request.
    """

    async def healthz(request: web.Request) -> web.Response:
        if words := unwell():
            return web.Response(status=503, text="".join(f"{word}\n" for word in words))
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        state = readiness()
        return _json(
            {"ready": state.ready, "details": dict(state.details)}, status=200 if state.ready else 503
        )

    async def expose(request: web.Request) -> web.Response:
        body, content_type = metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application(middlewares=[_errors_as_json, _called_by({"localhost", *hosts})])
    for path, handler in zip(PATHS, (healthz, readyz, expose), strict=True):
        application.router.add_get(path, handler)
    application.on_response_prepare.append(_common_headers)
    return application


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        response = _error("METHOD_NOT_ALLOWED", "Only GET and HEAD are answered here.", status=error.status)
        response.headers["Allow"] = error.headers["Allow"]
        return response
    except web.HTTPMisdirectedRequest as error:
        return _error(
            "MISDIRECTED_REQUEST", "Not a name of this listener (admin.hosts).", status=error.status
        )
    except web.HTTPNotFound as error:
        return _error("NOT_FOUND", "Here are /healthz, /readyz and /metrics.", status=error.status)


def _called_by(names: Collection[str]) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        # aiohttp's own `request.host` may come from the target. Only HTTP/1.0, which no browser speaks, may name none.
        for text in request.headers.getall("Host", []):
            try:
                host = parse_authority(text).host
            except BadRequest:
                raise web.HTTPMisdirectedRequest from None
            if host not in names and read_address(host.strip("[]")) is None:
                raise web.HTTPMisdirectedRequest
        return await handler(request)

    return check


async def _common_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_FIELDS)
    response.force_close()


def _error(code: str, message: str, *, status: int) -> web.Response:
    return _json(_envelope(code, message), status=status)


def _envelope(code: str, message: str) -> dict[str, object]:
    return {"success": False, "error": {"code": code, "message": message}}


def _json(content: object, *, status: int) -> web.Response:
    return web.Response(body=_text(content), content_type="application/json", status=status)


def _text(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _malformed() -> bytes:
    body = _text(_envelope("BAD_REQUEST", "The request is malformed."))
    fields = {"Content-Type": "application/json", "Content-Length": f"{len(body)}", **_FIELDS}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n".encode() + body


MALFORMED: Final = _malformed()
"""The whole answer to what is no request."""
