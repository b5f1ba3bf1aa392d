"""The gateway's own JSON API under `/api/gateway/v1/`: what the portal shows and does, for programs.

    {"success": true, "data": {…}}    {"success": false, "error": {"code": "…", "message": "…"}}

The rule: it shows and does what the portal would for the same caller, and no more; what it does not know by name in a
query or body is refused. What changes something must say that it sends JSON, which no page of another site can do
unasked, and must not come from another origin. `proxy.server.api.openapi` describes it, and answers that are
not described there are not given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from proxy.client_address.networks import read_address
from proxy.errors import (
    AccessDenied,
    InstanceNotInService,
    MediaTypeRefused,
    ValidationFailed,
    WrongState,
)
from proxy.lifecycle.awake import MOST_AWAKE_HOURS
from proxy.policy.context import CONNECT, DESCRIBE, START, STOP
from proxy.server.api.openapi import (
    BASE,
    SESSION_SECONDS_DEFAULT,
    SESSION_SECONDS_MAX,
    SESSION_SECONDS_MIN,
    document,
)
from proxy.server.instance_orders import InstanceOrders
from proxy.server.instance_views import InstanceView, InstanceViews
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.server.pages.forms import require_same_origin
from proxy.wire.strict_json import NotJson, read_json

BODY_BYTES: Final = 4096
_EXPLAINED: Final = (CONNECT, DESCRIBE, START, STOP)


@dataclass(frozen=True, slots=True)
class InstanceLink:
    """An address to open an instance at; `expires_at` (UTC) is when it stops working, None: never."""

    url: str
    expires_at: datetime | None = None


MakeLink = Callable[[PageRequest, str, int], InstanceLink]
"""For a request, an instance and the seconds that the link's session is to last."""


class JsonApi:
    """Handlers of the API."""

    def __init__(self, *, instances: InstanceViews, orders: InstanceOrders, link: MakeLink) -> None:
        self._instances = instances
        self._orders = orders
        self._link = link
        self._document = json.dumps(document()).encode()

    def register(self, table: OwnPages) -> None:
        """Answer at the API's paths."""
        table.add("GET", f"{BASE}/openapi.json", self.openapi)
        table.add("GET", f"{BASE}/instances", self.instances)
        table.add("GET", f"{BASE}/instances/{{name}}", self.instance)
        table.add("POST", f"{BASE}/instances/{{name}}/url", self.url)
        table.add("POST", f"{BASE}/instances/{{name}}/start", self.start)
        table.add("POST", f"{BASE}/instances/{{name}}/stop", self.stop)
        table.add("POST", f"{BASE}/instances/{{name}}/awake", self.awake)
        table.add("GET", f"{BASE}/explain", self.explain)

    async def openapi(self, request: PageRequest) -> web.StreamResponse:
        """The description of all this."""
        _query(request)
        return web.Response(body=self._document, content_type="application/json")

    async def instances(self, request: PageRequest) -> web.StreamResponse:
        """All that this caller may reach."""
        _query(request)
        views = await self._instances.view_all(request.viewer)
        return _answer({"instances": [_shown(view) for view in views]})

    async def instance(self, request: PageRequest) -> web.StreamResponse:
        """One of them."""
        _query(request)
        name = self._named(request)
        return _answer(_shown(await self._instances.view(request.viewer, name)))

    async def url(self, request: PageRequest) -> web.StreamResponse:
        """An address to open it at."""
        name, body = await self._asked(request, known=("session_seconds",))
        seconds = body.get("session_seconds", SESSION_SECONDS_DEFAULT)
        # 3600.0 is an integer in JSON Schema, and in JSON the same number; a bool is one in Python alone.
        if isinstance(seconds, float) and seconds.is_integer():
            seconds = int(seconds)
        if type(seconds) is not int or not SESSION_SECONDS_MIN <= seconds <= SESSION_SECONDS_MAX:
            raise ValidationFailed(
                f"session_seconds is a whole number from {SESSION_SECONDS_MIN} to {SESSION_SECONDS_MAX}."
            )
        link = self._link(request, name, seconds)
        return _answer({"url": link.url, "expires_at": _instant(link.expires_at)})

    async def start(self, request: PageRequest) -> web.StreamResponse:
        """Start it, if it is stopped."""
        name, _ = await self._asked(request)
        try:
            await self._orders.start(request, name, way="api")
        except InstanceNotInService as error:
            raise _wrong_state(error) from error
        return _answer(_shown(await self._instances.view(request.viewer, name)), status=202)

    async def stop(self, request: PageRequest) -> web.StreamResponse:
        """Stop it, if it runs."""
        name, _ = await self._asked(request)
        try:
            await self._orders.stop(request, name, way="api")
        except InstanceNotInService as error:
            raise _wrong_state(error) from error
        return _answer(_shown(await self._instances.view(request.viewer, name)), status=202)

    async def awake(self, request: PageRequest) -> web.StreamResponse:
        """Do not stop it for some hours, although nobody uses it."""
        name, body = await self._asked(request, known=("hours",))
        hours: Any = body.get("hours")
        # A bool is a number in Python alone.
        is_number = isinstance(hours, int | float) and not isinstance(hours, bool)
        if not is_number or not 0 <= hours <= MOST_AWAKE_HOURS:
            raise ValidationFailed(f"hours is a number from 0 (no longer) to {MOST_AWAKE_HOURS:.0f}.")
        state = self._orders.keep_awake(request, name, float(hours), way="api")
        return _answer({"kept_awake_until": _instant(state.kept_awake_until)})

    async def explain(self, request: PageRequest) -> web.StreamResponse:
        """What the policy says of the caller's own address, and by which statements: ids alone.

        Rules are an operator's to read (`nbgate explain`): neither another's address, nor an instance that this
        caller may not reach, nor what a statement holds is told.
        """
        asked = _query(request, known=("ip", "instance"))
        caller, viewer = request.caller, request.viewer
        if "ip" in asked:
            address = read_address(asked["ip"])
            if address is None:
                raise ValidationFailed("ip is not an address.")
            if address != caller.client.address:
                raise AccessDenied("Only your own address is explained here.")
        names: Iterable[str] = self._instances.names(viewer)
        if "instance" in asked:
            self._instances.reach(request, asked["instance"])
            names = [asked["instance"]]
        decided = {
            name: {
                action: request.gateway.rules.judge.decide(caller.question(name, action))
                for action in _EXPLAINED
            }
            for name in names
        }
        return _answer(
            {
                "client_address": caller.address,
                "found_in": caller.client.source,
                "instances": [
                    {
                        "name": name,
                        "decisions": [
                            {"action": action, "allowed": decision.allowed, "sids": list(decision.sids)}
                            for action, decision in decisions.items()
                        ],
                    }
                    for name, decisions in decided.items()
                ],
            }
        )

    def _named(self, request: PageRequest) -> str:
        [name] = request.names
        self._instances.reach(request, name)
        return name

    async def _asked(
        self, request: PageRequest, *, known: tuple[str, ...] = ()
    ) -> tuple[str, Mapping[str, Any]]:
        """The instance in the path and the body, for what changes something or gives something away."""
        require_same_origin(request.inbound.headers, request.caller, browsers_only=True)
        _query(request)
        kinds = request.inbound.headers.getall(hdrs.CONTENT_TYPE, [])
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
            raise MediaTypeRefused("The body is JSON, and Content-Type: application/json says so.")
        body = _object(await request.body(max_bytes=BODY_BYTES), known)
        # After the body, which may have taken its time: a reload counts, and nothing waits from here on.
        return self._named(request), body


def _wrong_state(error: InstanceNotInService) -> WrongState:
    return WrongState(error.message if error.instance_status else None, detail=error.detail)


def _object(body: bytes, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A body as an object with none but `known` keys; no body is an empty one. Raises ValidationFailed."""
    try:
        read = read_json(body) if body else {}
    except NotJson:
        raise ValidationFailed("The body is not valid JSON.") from None
    if not isinstance(read, dict):
        raise ValidationFailed("The body is not a JSON object.")
    if not read.keys() <= set(known):
        raise ValidationFailed(f"The body may hold {', '.join(known) or 'nothing'}.")
    return read


def _query(request: PageRequest, *, known: tuple[str, ...] = ()) -> dict[str, str]:
    """The query's parameters, each at most once and none but `known`. Raises ValidationFailed."""
    text = request.inbound.target.partition("?")[2]
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=8)
    except ValueError:
        raise ValidationFailed("The query is malformed.") from None
    read = dict(pairs)
    if len(read) != len(pairs) or not read.keys() <= set(known):
        raise ValidationFailed(f"The query may hold {', '.join(known) or 'nothing'}, each once.")
    return read


def _shown(view: InstanceView) -> dict[str, Any]:
    """An instance as the document's `Instance`."""
    seen = view.description
    return {
        "name": view.name,
        "url": view.url,
        "status": view.status or None,
        "instance_type": (seen.instance_type or None) if seen is not None else None,
        "volume_size_gb": seen.volume_size_gb if seen is not None else None,
        "modified_at": _instant(seen.modified_at) if seen is not None else None,
        "failure_reason": view.reason or None,
        "problem": view.problem or None,
        "open_websockets": view.websockets,
        "may_start": view.may_start,
        "may_stop": view.may_stop,
        "starting": None
        if view.progress is None
        else {
            "waited_seconds": view.progress.waited_seconds,
            "usual_seconds": view.progress.usual_seconds,
        },
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _answer(data: Mapping[str, Any], *, status: int = 200) -> web.Response:
    body = json.dumps({"success": True, "data": data}).encode()
    return web.Response(status=status, body=body, content_type="application/json")
