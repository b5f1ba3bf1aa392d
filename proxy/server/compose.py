"""The composition root: from one `Settings` snapshot to the parts that serve it, wired by constructor.

The rule: everything that has state is made here and handed down; nothing else reads `Settings` as a whole.
Sockets are opened in `proxy.server.run`.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType

from proxy.aws.dial import Dialler, Egress
from proxy.aws.exchange import ExchangeOptions, NotebookExchange
from proxy.aws.front_end import SageMakerFrontEnd
from proxy.aws.hosts import NotebookHosts
from proxy.aws.keeper import KeeperOptions, OnEvent, SessionKeeper
from proxy.aws.notebook_api import QuestionLimits as QuestionLimits
from proxy.aws.notebook_api import honours
from proxy.aws.presigned import PresignedUrlCache, SessionKey
from proxy.aws.sagemaker import CALL_SECONDS, AwsOptions, SageMaker
from proxy.aws.session_news import OnNews
from proxy.aws.sessions import OnUnkept, keep_quiet
from proxy.chance import Jitter, NewId, jitter, nonce, secret_key
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.dataplane.answers import Page, Render
from proxy.dataplane.budgets import Budgets
from proxy.dataplane.descriptors import connections_for, upstreams_for
from proxy.dataplane.notebook.pool import UpstreamPool
from proxy.dataplane.plane import Current, DataPlane, pool_limits
from proxy.dataplane.sessions import Keeper
from proxy.errors import NbgateError
from proxy.faults import Faults
from proxy.gateway import Admission, Audit, Entrance, Gateway, Inbound
from proxy.identity.tokens import Tokens
from proxy.server.own_pages import OwnPages
from proxy.server.pages import error_pages, sign_in
from proxy.server.pages.error_pages import Standing
from proxy.server.sagemaker.faults import fault_page
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.events import Warn
from proxy.telemetry.limits_met import LimitsMet, ignore
from proxy.wire.browsers import Asker, who_asks
from proxy.wire.egress import parse_egress_proxy


def gateway(
    settings: Settings, *, audit: Audit, at: datetime | None = None, entrance: Entrance | None = None
) -> Gateway:
    """The door for a snapshot, at an instant (UTC). Without an `entrance` nobody is let in by a session or a token."""
    if entrance is not None and settings.tokens.keys:
        # Others may issue tokens with them.
        entrance.watch()
    return Gateway(
        hostnames=settings.hostnames,
        mounts=settings.mounts,
        aliases={name: instance.aliases for name, instance in settings.instances.items()},
        policies={name: instance.policy for name, instance in settings.instances.items()},
        own_policy=settings.policy,
        trusted_proxies=settings.trusted_proxies,
        audit=audit,
        resources={name: instance.arn for name, instance in settings.instances.items()},
        leads_to={name: settings.leads_to(name) for name in settings.instances},
        region=settings.aws.region,
        at=at,
        entrance=entrance,
        guarded=frozenset(
            name for name, instance in settings.instances.items() if instance.access == "presigned"
        ),
        cross_site=frozenset(
            name for name, instance in settings.instances.items() if instance.cross_site_requests == "allow"
        ),
    )


def tokens(settings: Settings, *, clock: Clock) -> Tokens:
    """Signs and verifies what lets callers in."""
    return Tokens(
        settings.tokens.keys,
        own_key=secret_key(),
        clock=clock,
        nonce=nonce,
        bind_address=settings.tokens.bind_address,
    )


def aws_options(settings: Settings) -> AwsOptions:
    """How to reach SageMaker's API."""
    aws = settings.aws
    return AwsOptions(
        region=aws.region,
        profile=aws.profile,
        endpoint_url=aws.endpoint_url,
        # Only a sandbox answers for STS at SageMaker's address; a VPC endpoint of SageMaker's does not.
        sts_endpoint_url=aws.endpoint_url if aws.notebook_origins else None,
        connect_timeout_seconds=aws.connect_timeout_seconds,
        read_timeout_seconds=aws.read_timeout_seconds,
        ca_bundle=str(aws.ca_bundle) if aws.ca_bundle else None,
        egress=egress(settings),
        # Whoever gives an attempt so long means it.
        call_seconds=max(CALL_SECONDS, aws.connect_timeout_seconds + aws.read_timeout_seconds),
    )


def notebook_hosts(settings: Settings) -> NotebookHosts:
    """Which hosts may be notebooks."""
    aws = settings.aws
    return NotebookHosts(
        aws.region,
        test_origins=frozenset(aws.notebook_origins),
        more_suffixes=aws.notebook_suffixes,
    )


def egress(settings: Settings) -> Egress:
    """How connections to notebooks leave."""
    aws = settings.aws
    return Egress(
        proxy=parse_egress_proxy(aws.https_proxy) if aws.https_proxy else None,
        no_proxy=aws.no_proxy,
        endpoint=(aws.notebook_endpoint.host, aws.notebook_endpoint.port) if aws.notebook_endpoint else None,
    )


def upstream_trust(settings: Settings) -> ssl.SSLContext | None:
    """Whom notebooks' certificates may be from; None: the system's authorities, which are read when they are needed.

    Raises OSError, with the file's name, where `aws.ca_bundle` cannot be read.
    """
    bundle = settings.aws.ca_bundle
    if bundle is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(bundle))
    except OSError as error:
        raise OSError(error.errno, f"aws.ca_bundle {bundle}: {error.strerror or error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def question_limits(settings: Settings, *, tls: ssl.SSLContext | None) -> QuestionLimits:
    """What bounds the gateway's own questions to notebooks, and how they get there."""
    return QuestionLimits(
        ssl_context=tls,
        sign_in_hosts=notebook_hosts(settings).sign_in_hosts,
        egress=egress(settings),
    )


def keeper_maker(
    settings: Settings,
    *,
    sagemaker: SageMaker,
    clock: Clock,
    tasks: Tasks,
    on_event: OnEvent,
    on_unkept: OnUnkept = keep_quiet,
    on_news: OnNews,
    tls: ssl.SSLContext | None = None,
) -> Callable[[SessionKey], SessionKeeper]:
    """Makes keepers that share one cache of presigned URLs, and tell `on_event` what happens, `on_news` what of it is
    news, and `on_unkept` of cookies that are not kept."""
    aws = settings.aws
    urls = PresignedUrlCache(clock, margin_seconds=aws.presigned_url_margin_seconds)
    exchange = NotebookExchange(
        notebook_hosts(settings),
        clock=clock,
        options=ExchangeOptions(
            url_margin_seconds=aws.presigned_url_margin_seconds, ssl_context=tls, egress=egress(settings)
        ),
        on_unkept=on_unkept,
    )
    options = KeeperOptions(
        session_seconds=aws.session_seconds, renew_margin_seconds=aws.session_margin_seconds
    )

    ask = partial(
        honours,
        limits=question_limits(settings, tls=tls),
    )

    def make(key: SessionKey) -> SessionKeeper:
        return SessionKeeper(
            key,
            control_plane=sagemaker.control_plane(key.role_arn),
            urls=urls,
            exchange=exchange,
            honours=ask,
            clock=clock,
            jitter=jitter,
            tasks=tasks,
            options=options,
            on_event=on_event,
            on_unkept=on_unkept,
            on_news=on_news,
        )

    return make


def keepers(
    settings: Settings,
    make: Callable[[SessionKey], SessionKeeper],
    *,
    known: Mapping[str, SessionKeeper] = MappingProxyType({}),
) -> dict[str, SessionKeeper]:
    """One keeper for each notebook and role; instances that share both share it.

    What is among the `known` ones stays the keeper that it is, so that nobody signs in again for a reload.
    """
    by_key = {keeper.key: keeper for keeper in known.values()}
    by_instance: dict[str, SessionKeeper] = {}
    for name, instance in settings.instances.items():
        key = SessionKey(instance.notebook, instance.assume_role or "")
        if key not in by_key:
            by_key[key] = make(key)
        by_instance[name] = by_key[key]
    return by_instance


def data_plane(
    settings: Settings,
    *,
    door: Gateway,
    sessions: Mapping[str, Keeper],
    clock: Clock,
    new_id: NewId,
    tasks: Tasks,
    log: Callable[[RequestRecord], None],
    faults: Faults,
    tls: ssl.SSLContext | None = None,
    pages: OwnPages | None = None,
    standing: Callable[[Admission, int], Standing] | None = None,
    warn: Warn = ignore,
    files: int | None = None,
    jitter: Jitter = jitter,
) -> DataPlane:
    """Everything that carries bytes. Without `pages` the gateway has none of its own; `standing`: see `renderer`.

    `warn` is told of limits that are met; `files` is how many descriptors there may be, None: as many as it takes.
    """
    limits, timeouts = settings.limits, settings.timeouts
    hosts = notebook_hosts(settings)
    pool = UpstreamPool(
        pool_limits(limits, timeouts),
        clock=clock,
        tls=tls,
        most=math.inf if files is None else upstreams_for(files),
        dial=Dialler(egress(settings)),
    )
    return DataPlane(
        current=Current(gateway=door, keepers=sessions, limits=limits, timeouts=timeouts),
        pool=pool,
        clock=clock,
        new_id=new_id,
        jitter=jitter,
        tasks=tasks,
        render=renderer(standing),
        log=log,
        own_pages=pages or OwnPages(),
        faults=faults,
        budgets=Budgets(limits, most=None if files is None else connections_for(files)),
        limits_met=LimitsMet(clock, warn),
        front_end=SageMakerFrontEnd(hosts.sign_in_hosts),
        tells_address=lambda origin: settings.aws.forward_client_address or not hosts.are_sagemakers(origin),
    )


def renderer(standing: Callable[[Admission, int], Standing] | None = None) -> Render:
    """Shows errors as the caller wants to see them. `standing` says what it may know of the instance it came for."""

    def render(
        error: NbgateError,
        inbound: Inbound | None,
        *,
        request_id: str,
        client: str | None,
        admission: Admission | None,
        port: int,
        json_only: bool = False,
    ) -> Page:
        status, asker = error.status, Asker.PROGRAM
        if inbound is not None:
            if "X-Amz-Target" in inbound.headers:
                return fault_page(error, request_id=request_id, client_address=client)
            asker = who_asks(inbound.headers, host=inbound.host, target=inbound.target)
            # A relative address: the one that the caller asked has this page, too.
            leads_to = sign_in.PATH if sign_in.is_for(error, asker, inbound) else ""
            if leads_to := leads_to or sign_in.for_program(error, asker, inbound):
                redirect = (("Location", leads_to), *error_pages.HEADERS, ("X-Request-Id", request_id))
                return Page(redirect, b"", status=302)
            status = error_pages.status_for(error, asker, method=inbound.method, target=inbound.target)
        wants_html = asker is Asker.WINDOW and not json_only
        known = None
        if standing is not None and wants_html and admission is not None and admission.instance:
            known = standing(admission, port)
        rendered = error_pages.render(
            error,
            wants_html=wants_html,
            request_id=request_id,
            client_address=client,
            standing=known,
            status=status,
        )
        headers = (("Content-Type", rendered.content_type), ("X-Request-Id", request_id), *rendered.headers)
        return Page(headers, rendered.body, status)

    return render
