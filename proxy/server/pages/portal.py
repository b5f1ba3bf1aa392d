"""The portal: the notebooks that a caller may reach, their states, and the buttons to open, start and stop them.

The rule: server-rendered, and whole without its script. A button is shown to who may press it, and pressing it is
decided anew: by where it comes from, by its form's token, and by the policy for exactly that action. Who may not reach
an instance is told what one is told that there is not. Where somebody is sent afterwards is never taken from the
request. It must not know how states are learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs

from aiohttp import hdrs, web

from proxy.errors import InstanceNotInService, MediaTypeRefused, ValidationFailed
from proxy.instance_status import TEXTS, InstanceStatus
from proxy.lifecycle.awake import AwakeState
from proxy.lifecycle.judge import IdleFinding
from proxy.policy.context import START, STOP
from proxy.server.instance_orders import InstanceOrders
from proxy.server.instance_starts import Progress
from proxy.server.instance_views import InstanceView, InstanceViews
from proxy.server.own_pages import OwnPages
from proxy.server.page_request import PageRequest
from proxy.server.pages import templates as pages
from proxy.server.pages.buttons import AWAKE, AWAKE_PATH, START_PATH, STOP_PATH, Button, Buttons
from proxy.server.pages.forms import require_same_origin
from proxy.server.viewer import Viewer

FORM_BYTES: Final = 4096
AWAKE_HOURS: Final = ("2", "8", "24", "0")
"""What the buttons of *Keep awake* say; 0 takes it back."""

_VIEWS: Final = (("JupyterLab", "lab"), ("Notebook", "tree"), ("Terminal", "terminals/new"))


@dataclass(frozen=True, slots=True)
class _ViewLink:
    name: str
    url: str


@dataclass(frozen=True, slots=True)
class _Idle:
    """What is said of an instance's idleness, and the instant that it ends with, if any."""

    says: str
    at: datetime | None = None

    @property
    def written(self) -> str:
        return "" if self.at is None else f"{self.at:%H:%M} UTC"

    @property
    def machine(self) -> str:
        return "" if self.at is None else f"{self.at:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Card:
    """An instance as the portal's template shows it."""

    name: str
    url: str
    _: KW_ONLY
    door: str
    state: str
    word: str
    mood: str
    facts: tuple[str, ...]
    note: str
    is_open: bool
    is_passing: bool
    views: tuple[_ViewLink, ...]
    progress: Progress | None
    start: Button | None
    stop: Button | None
    awake: Button | None
    is_kept: bool
    idle: _Idle | None

    @property
    def version(self) -> str:
        """Changes with anything that is seen, and not with tokens and times, which are others each time."""
        shown = (self.url, self.word, self.facts, self.note, self.is_open, self.is_passing)
        usual = self.progress.usual if self.progress is not None else None
        idle = (self.idle.says, self.idle.written) if self.idle is not None else None
        buttons = (self.start is None, self.stop is None, self.awake is None, self.is_kept)
        return hashlib.sha256(repr((shown, usual, idle, buttons)).encode()).hexdigest()[:12]


class Portal:
    """Handlers of the portal's pages."""

    def __init__(
        self,
        *,
        instances: InstanceViews,
        buttons: Buttons,
        orders: InstanceOrders,
    ) -> None:
        self._instances = instances
        self._buttons = buttons
        self._orders = orders

    def register(self, table: OwnPages) -> None:
        """Answer at the portal's paths."""
        table.add("GET", "/", self.page)
        table.add("GET", "/.nbgate/", self.page)
        table.add("GET", START_PATH + "{name}", self.door)
        table.add("POST", START_PATH + "{name}", self.start)
        table.add("POST", STOP_PATH + "{name}", self.stop)
        table.add("POST", AWAKE_PATH + "{name}", self.awake)

    async def page(self, request: PageRequest) -> web.StreamResponse:
        """All that there is for this caller."""
        viewer = request.viewer
        views = await self._instances.view_all(viewer)
        page = pages.PORTAL.page(
            live=True,
            forms=True,
            cards=[self._card(viewer, view) for view in views],
            address=request.caller.address,
            request_id=request.request_id,
        )
        return page.response()

    async def door(self, request: PageRequest) -> web.StreamResponse:
        """Where one waits for an instance: leads into it as soon as it is in service."""
        name = self._named(request)
        viewer = request.viewer
        view = await self._instances.view(viewer, name)
        if view.status and view.status != InstanceStatus.IN_SERVICE:
            return request.error(InstanceNotInService(instance_status=view.status), instance=name)
        return web.Response(status=303, headers={hdrs.LOCATION: view.url})

    async def start(self, request: PageRequest) -> web.StreamResponse:
        """The button *Start*, or *Open* of one that is stopped."""
        name, fields = await self._pressed(request, START)
        opens = fields.get("then") == "open"
        try:
            await self._orders.start(request, name, way="portal")
        except InstanceNotInService as error:
            # Somebody else was quicker: what was wanted is under way.
            if error.instance_status not in (InstanceStatus.PENDING, InstanceStatus.IN_SERVICE):
                return request.error(error, instance=name)
            if error.instance_status == InstanceStatus.IN_SERVICE and self._is_elsewhere(request, name):
                # The door would lead to another origin at once, which `form-action 'self'` forbids a form.
                opens = False
        # Only one of two places, and neither of them is the request's.
        leads_to = START_PATH + name if opens else self._home(request)
        return web.Response(status=303, headers={hdrs.LOCATION: leads_to})

    async def stop(self, request: PageRequest) -> web.StreamResponse:
        """The button *Stop*."""
        name, _ = await self._pressed(request, STOP)
        try:
            await self._orders.stop(request, name, way="portal")
        except InstanceNotInService as error:
            if error.instance_status not in (InstanceStatus.STOPPING, InstanceStatus.STOPPED):
                return request.error(error, instance=name)
        return web.Response(status=303, headers={hdrs.LOCATION: self._home(request)})

    async def awake(self, request: PageRequest) -> web.StreamResponse:
        """The buttons of *Keep awake*."""
        name, fields = await self._pressed(request, AWAKE)
        hours = fields.get("hours", "")
        if hours not in AWAKE_HOURS:
            raise ValidationFailed
        self._orders.keep_awake(request, name, float(hours), way="portal")
        return web.Response(status=303, headers={hdrs.LOCATION: self._home(request)})

    # -- pressing a button --------------------------------------------------------------------------------

    async def _pressed(self, request: PageRequest, offered: str) -> tuple[str, dict[str, str]]:
        """The instance whose button was pressed, on a page of ours that offered it for this; and the form's fields."""
        require_same_origin(request.inbound.headers, request.caller)
        kind = request.inbound.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise MediaTypeRefused
        text = (await request.body(max_bytes=FORM_BYTES)).decode("ascii", "replace")
        try:
            fields = {key: values[-1] for key, values in parse_qs(text, max_num_fields=16).items()}
        except ValueError:
            fields = {}
        # After the body, which may have taken its time: a reload counts, and nothing waits from here on.
        name = self._named(request)
        self._buttons.verify(request.viewer, name, offered, token=fields.get("token", ""))
        return name, fields

    def _named(self, request: PageRequest) -> str:
        """The instance in the path, which this caller may reach. Raises RouteNotFound, which is audited."""
        [name] = request.names
        self._instances.reach(request, name)
        return name

    def _is_elsewhere(self, request: PageRequest, name: str) -> bool:
        """Whether an instance is at another origin than this page."""
        own = f"{request.caller.scheme}://{request.caller.authority}/"
        return not self._instances.url(request.viewer, name).startswith(own)

    def _home(self, request: PageRequest) -> str:
        return request.viewer.home

    # -- showing ------------------------------------------------------------------------------------------

    def _card(self, viewer: Viewer, view: InstanceView) -> Card:
        word, mood = _word(view.status)
        note = f"SageMaker’s reason: {view.reason}" if view.reason else view.problem
        if not view.status:
            word, mood = ("State unknown", "fault") if view.may_describe else ("", "idle")
        return Card(
            view.name,
            view.url,
            door=START_PATH + view.name,
            state=view.status,
            word=word or "Here for you",
            mood=mood,
            facts=tuple(_facts(view)),
            note=note,
            is_open=view.status == InstanceStatus.IN_SERVICE or not view.status,
            is_passing=view.status == InstanceStatus.PENDING,
            views=tuple(_ViewLink(name, view.url + path) for name, path in _VIEWS),
            progress=view.progress,
            start=self._buttons.make(viewer, view.name, START) if view.may_start else None,
            stop=self._buttons.make(viewer, view.name, STOP) if view.may_stop else None,
            awake=self._buttons.make(viewer, view.name, AWAKE) if view.may_keep_awake else None,
            is_kept=view.awake.kept_awake_until is not None,
            idle=_idle(view.awake),
        )


def _idle(awake: AwakeState) -> _Idle | None:
    if awake.after_seconds is None:
        return None
    if awake.kept_awake_until is not None:
        return _Idle("Kept awake until", awake.kept_awake_until)
    if awake.dry_run or awake.stops_at is None:
        return None
    return _Idle("Not used: stops by itself at", awake.stops_at)


def _word(status: str) -> tuple[str, str]:
    """Our word for a status, and the colour of its mark."""
    if status == InstanceStatus.IN_SERVICE:
        return "Running", "good"
    text = TEXTS.get(status)
    return (status, "fault") if text is None else (text.word, text.mood)


def _facts(view: InstanceView) -> Iterable[str]:
    if view.description is not None:
        if view.description.instance_type:
            yield view.description.instance_type
        if view.description.volume_size_gb is not None:
            yield f"{view.description.volume_size_gb} GB volume"
    if view.needs_link:
        yield "opens with a link that is made for you"
    if view.awake.finding is IdleFinding.IN_USE and view.may_describe:
        yield view.awake.why
    if view.websockets:
        # Each open notebook holds one to its kernel, each terminal one.
        yield (
            "1 kernel or terminal in use"
            if view.websockets == 1
            else f"{view.websockets} kernels and terminals in use"
        )
