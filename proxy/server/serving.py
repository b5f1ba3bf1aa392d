"""The second of three steps: what one configuration gives, and how it follows the next one.

    who decides -> sessions with notebooks -> the fleet -> what carries bytes -> who stops and starts -> pages -> reload

The rule: each part is handed what it needs when it is made, and none is given to another afterwards. Where two need
each other, a part stands between them that needs neither: `InEffect` for what counts now, `Notices` for what an error
page says of an instance, `StartOnOpen` for what is answered in an error's place. Pages are added to their table last:
nothing listens yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy.aws.keeper import SessionKeeper
from proxy.chance import new_id, secret_key
from proxy.config.sections import Limits
from proxy.config.settings import Settings
from proxy.dataplane import descriptors
from proxy.dataplane.plane import DataPlane
from proxy.dataplane.traffic import Traffic
from proxy.identity.entrance import Entrance
from proxy.identity.sigv4 import Signatures
from proxy.identity.tokens import TokenSigner
from proxy.lifecycle.opening import Opening
from proxy.server import compose
from proxy.server.api.instance_links import Links
from proxy.server.api.json_api import JsonApi
from proxy.server.in_effect import InEffect
from proxy.server.instance_orders import InstanceOrders
from proxy.server.instance_views import InstanceViews
from proxy.server.operations.fleet import Fleet
from proxy.server.operations.idleness import Idleness
from proxy.server.operations.reports import NotebookReports, SessionReports, audit_refusals, report_unkept
from proxy.server.operations.start_on_open import StartOnOpen
from proxy.server.own_pages import OwnPages
from proxy.server.pages import link_page, sign_in
from proxy.server.pages.buttons import Buttons
from proxy.server.pages.forms import FormTokens
from proxy.server.pages.notices import Notices
from proxy.server.pages.portal import Portal
from proxy.server.pages.streams import Streams
from proxy.server.process import GatewayProcess
from proxy.server.reload import Reloader
from proxy.server.sagemaker.callers import Signers, access_keys
from proxy.server.sagemaker.sagemaker_api import SageMakerApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What serves callers once something listens."""

    plane: DataPlane
    fleet: Fleet
    idleness: Idleness
    tokens: TokenSigner
    forms: FormTokens
    pages: OwnPages
    streams: Streams
    reloader: Reloader


def prepare_serving(
    settings: Settings, process: GatewayProcess, *, load: Callable[[Path], Settings]
) -> Serving:
    """`load` reads the configuration when it changed. Raises OSError where certificates cannot be read."""
    clock, tasks, faults, logs = process.clock, process.tasks, process.faults, process.logs
    tokens = compose.tokens(settings, clock=clock)
    forms = FormTokens(settings.tokens.keys, own_key=secret_key(), clock=clock)
    signatures = Signatures(access_keys(settings.api), region=settings.aws.region, clock=clock)
    make_gateway = partial(
        compose.gateway,
        audit=audit_refusals(logs, process.troubles),
        entrance=Entrance(tokens, clock=clock),
    )
    in_effect = InEffect(settings, make_gateway(settings, at=clock.now()))
    sessions = SessionReports(logs.events, process.troubles, logs.counts, settings=in_effect.settings)
    make_keepers = partial(
        compose.keepers,
        make=compose.keeper_maker(
            settings,
            sagemaker=process.sagemaker,
            clock=clock,
            tasks=tasks,
            on_event=sessions.changed,
            on_news=sessions.learnt,
            on_unkept=report_unkept(logs.events),
            tls=process.upstream_tls,
        ),
    )
    keepers = make_keepers(settings)
    fleet = Fleet(
        settings,
        sessions=keepers,
        control_plane=process.sagemaker.control_plane,
        clock=clock,
        tasks=tasks,
        rounds=process.rounds,
        faults=faults,
        events=logs.events,
    )
    buttons = Buttons(forms, settings=in_effect.settings)
    notices = Notices(settings=in_effect.settings, fleet=fleet, buttons=buttons, clock=clock, tasks=tasks)
    notebooks = NotebookReports(logs.events, process.troubles, settings=in_effect.settings)
    opening = Opening(clock=clock, tasks=tasks, starter=fleet, events=logs.events)
    pages = OwnPages(on_fault=partial(_page_failed, process))
    log = logs.access.write if logs.access is not None else logs.counts.count
    plane = compose.data_plane(
        settings,
        door=in_effect.gateway(),
        sessions=keepers,
        clock=clock,
        new_id=new_id,
        tasks=tasks,
        log=log,
        faults=faults,
        tls=process.upstream_tls,
        pages=pages,
        notice=notices.about,
        limits_met=process.limits_met,
        files=process.descriptors,
        on_error=StartOnOpen(opening, gateway=in_effect.gateway).answer,
        on_trouble=notebooks.failed,
        on_recovery=notebooks.answered,
    )
    promise = _Promise(process)
    promise.check(settings.limits)
    idleness = Idleness(
        fleet=fleet,
        plane=plane,
        traffic=Traffic(plane, clock=clock, write=log),
        clock=clock,
        tasks=tasks,
        faults=faults,
        events=logs.events,
        questions=compose.question_limits(settings, tls=process.upstream_tls),
        opening=opening,
    )
    idleness.adopt(settings, keepers)
    streams = _add_pages(
        pages,
        process=process,
        in_effect=in_effect,
        plane=plane,
        fleet=fleet,
        idleness=idleness,
        buttons=buttons,
        tokens=tokens,
        signatures=signatures,
    )
    followers = _Followers(
        process=process,
        promise=promise,
        tokens=tokens,
        forms=forms,
        signatures=signatures,
        fleet=fleet,
        idleness=idleness,
    )
    reloader = Reloader(
        in_effect,
        keepers=keepers,
        plane=plane,
        load=load,
        make_gateway=make_gateway,
        make_keepers=make_keepers,
        events=logs.events,
        faults=faults,
        threshold=logs.threshold,
        clock=clock,
        on_adopt=followers.adopt,
    )
    return Serving(
        plane=plane,
        fleet=fleet,
        idleness=idleness,
        tokens=tokens,
        forms=forms,
        pages=pages,
        streams=streams,
        reloader=reloader,
    )


def _add_pages(
    pages: OwnPages,
    *,
    process: GatewayProcess,
    in_effect: InEffect,
    plane: DataPlane,
    fleet: Fleet,
    idleness: Idleness,
    buttons: Buttons,
    tokens: TokenSigner,
    signatures: Signatures,
) -> Streams:
    """All that is answered at addresses of the gateway's own. Returns what outlasts its answer."""
    settings = in_effect.settings
    instances = InstanceViews(
        settings=settings,
        fleet=fleet,
        websockets=partial(_websockets, plane),
        awake=idleness.lifecycle.state,
        clock=process.clock,
        tasks=process.tasks,
    )
    orders = InstanceOrders(fleet=fleet, idleness=idleness)
    streams = Streams(
        instances=instances,
        fleet=fleet,
        settings=settings,
        clock=process.clock,
        rounds=process.rounds,
        faults=process.faults,
    )
    streams.register(pages)
    sign_in.register(pages)
    link_page.register(pages)
    Portal(instances=instances, buttons=buttons, orders=orders).register(pages)
    link = Links(instances=instances, tokens=tokens, settings=settings, clock=process.clock)
    JsonApi(instances=instances, orders=orders, link=link).register(pages)
    SageMakerApi(
        fleet=fleet,
        tokens=tokens,
        settings=settings,
        events=process.logs.events,
        identify=Signers(signatures, settings=settings),
    ).register(pages)
    return streams


@dataclass(frozen=True, slots=True, kw_only=True)
class _Followers:
    """The parts that go by the configuration, besides those that read it anew each time."""

    process: GatewayProcess
    promise: _Promise
    tokens: TokenSigner
    forms: FormTokens
    signatures: Signatures
    fleet: Fleet
    idleness: Idleness

    def adopt(self, settings: Settings, keepers: Mapping[str, SessionKeeper]) -> None:
        """Have all of them go by another one, in one step."""
        adoptions: tuple[Callable[[], object], ...] = (
            partial(self.tokens.adopt, settings.tokens.keys, bind_address=settings.tokens.bind_address),
            partial(self.forms.adopt, settings.tokens.keys),
            partial(self.signatures.adopt, access_keys(settings.api)),
            partial(self.fleet.adopt, settings, keepers),
            partial(self.idleness.adopt, settings, keepers),
            partial(self.promise.check, settings.limits),
        )
        # One that fails must not keep what the file says from the others, the policy least of all.
        self.process.faults.each("reload", adoptions, lambda adopt: adopt())


def _page_failed(process: GatewayProcess, request_id: str, error: BaseException) -> None:
    process.faults.met("page", error, what=request_id)


def _websockets(plane: DataPlane, name: str) -> int:
    """How many an instance has open."""
    return sum(record.instance == name for record in plane.open.relays.values())


class _Promise:
    """How many connections the configuration says may be open, and whether so many can be."""

    def __init__(self, process: GatewayProcess) -> None:
        self._process = process
        self._checked = 0

    def check(self, limits: Limits) -> None:
        """Say so where fewer can be held: once, until it is another number."""
        if limits.connections == self._checked:
            return
        self._checked = limits.connections
        files = self._process.descriptors
        if files is not None and (held := descriptors.connections_for(files)) < limits.connections:
            needed = descriptors.needed_for(limits.connections)
            self._process.logs.events.warning(
                "fewer connections can be held than limits.connections",
                configured=limits.connections,
                held=held,
                file_descriptors=files,
                needed=needed,
                hint=f"set LimitNOFILE={needed} (systemd), ulimit -n {needed}, or limits.connections: {held}",
            )
