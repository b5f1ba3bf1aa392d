"""From one `Settings` snapshot to single parts: which of its settings each of them is made of.

The rule: each function makes one part out of settings and of the parts that it is handed, and keeps nothing. In which
order parts are made, and who is handed to whom, is said in `proxy.server.process`, `proxy.server.serving` and
`proxy.server.running`.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType

from proxy.admission.access import AccessCheck
from proxy.admission.rules import Rules
from proxy.admission.verdict import Admission, Audit
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
from proxy.dataplane.budgets import Budgets
from proxy.dataplane.descriptors import connections_for, upstreams_for
from proxy.dataplane.notebook.pool import UpstreamPool
from proxy.dataplane.plane import (
    Current,
    DataPlane,
    OnError,
    OnTrouble,
    as_it_is,
    pool_limits,
    unheard,
    untold,
)
from proxy.dataplane.sessions import Keeper
from proxy.faults import Faults
from proxy.gateway import Gateway
from proxy.identity.tokens import TokenSigner
from proxy.policy.judge import Judge
from proxy.routing.router import Router
from proxy.server.own_pages import OwnPages
from proxy.server.pages.error_pages import InstanceNotice
from proxy.server.pages.rendering import renderer
from proxy.tasks import Tasks
from proxy.telemetry.access_log import RequestRecord
from proxy.telemetry.limits_met import LimitsMet, ignore
from proxy.wire.egress import parse_egress_proxy


def gateway(
    settings: Settings, *, audit: Audit, at: datetime | None = None, entrance: AccessCheck | None = None
) -> Gateway:
    """The door for a snapshot, at an instant (UTC). Without an `entrance` nobody is let in by a session or a token."""
    if entrance is not None and settings.tokens.keys:
        # Others may issue tokens with them.
        entrance.watch()
    instances = settings.instances
    rules = Rules(
        Router(settings.hostnames, settings.mounts, {name: one.aliases for name, one in instances.items()}),
        Judge(
            {name: one.policy for name, one in instances.items()},
            settings.policy,
            resources={name: one.arn for name, one in instances.items()},
            region=settings.aws.region,
            at=at,
        ),
        address_strategy=settings.address_strategy,
        guarded=frozenset(name for name, one in instances.items() if one.access == "presigned"),
        leads_to={name: settings.leads_to(name) for name in instances},
        cross_site=frozenset(name for name, one in instances.items() if one.cross_site_requests == "allow"),
    )
    return Gateway(rules, audit=audit, access=entrance)


def tokens(settings: Settings, *, clock: Clock) -> TokenSigner:
    """Signs and verifies what lets callers in."""
    return TokenSigner(
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
    notice: Callable[[Admission, int], InstanceNotice] | None = None,
    limits_met: LimitsMet | None = None,
    files: int | None = None,
    jitter: Jitter = jitter,
    on_error: OnError = as_it_is,
    on_trouble: OnTrouble = untold,
    on_recovery: Callable[[str], None] = unheard,
) -> DataPlane:
    """Everything that carries bytes. Without `pages` the gateway has none of its own; `notice`: see `renderer`.

    `files` is how many descriptors there may be, None: as many as it takes.
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
        render=renderer(notice),
        log=log,
        own_pages=pages or OwnPages(),
        faults=faults,
        budgets=Budgets(limits, most=None if files is None else connections_for(files)),
        limits_met=limits_met or LimitsMet(clock, ignore),
        front_end=SageMakerFrontEnd(hosts.sign_in_hosts),
        on_error=on_error,
        on_trouble=on_trouble,
        on_recovery=on_recovery,
        tells_address=lambda origin: settings.aws.forward_client_address or not hosts.are_sagemakers(origin),
    )
