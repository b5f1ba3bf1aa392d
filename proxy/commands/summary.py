"""What `nbgate check` says about a good configuration, as tables.

Its rule: it prints what was understood, worked-out defaults included, so that a wrong one is seen before it
matters; plain text where the output is not a terminal. It must not judge: problems were found by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proxy.client_address.resolve import HopCount, SingleHeader
from proxy.config.sections import Lifecycle, Tokens
from proxy.config.settings import Instance, Listener, Settings
from proxy.config.values import format_duration
from proxy.policy.dates import format_instant
from proxy.policy.lists import NamedList, by_end
from proxy.policy.short_form import ShortForm
from proxy.wire.egress import parse_egress_proxy


def print_summary(settings: Settings, *, now: datetime) -> None:
    """Print to standard output. Entries of lists that have ended by `now` do not count."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width to fold addresses to.
        console = Console(highlight=False, width=1000)
    console.print(f"[bold]{escape(str(settings.source))}[/bold] is valid.")
    for table in (_listeners(settings), _instances(settings), _lists(settings, now), _other(settings)):
        console.print()
        console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "NETWORKS" else "left")
    return table


def _listeners(settings: Settings) -> Table:
    table = _table("LISTENER", "SEEN BY CALLERS AS", "TLS")
    for listener in settings.listeners:
        if listener.tls:
            tls = f"here, {listener.tls.certificate}"
        else:
            tls = "in front of this listener" if listener.scheme == "https" else "none"
        seen = ", ".join(listener.origin(name) for name in settings.hostnames)
        table.add_row(escape(_where(listener)), escape(seen), escape(tls))
    if settings.admin:
        table.add_row(str(settings.admin.bind), "(health checks)", "none")
    return table


def _where(listener: Listener) -> str:
    if listener.proxy_protocol is None:
        return str(listener.bind)
    senders = ", ".join(str(network) for network in listener.proxy_protocol)
    return f"{listener.bind}, PROXY protocol" + (f" of {senders}" if senders else "")


def _instances(settings: Settings) -> Table:
    has_lifecycle = not settings.stopper or any(
        one.lifecycle != Lifecycle() for one in settings.instances.values()
    )
    table = _table("INSTANCE", "NOTEBOOK", "ADDRESS", "LETS IN", *(["BY ITSELF"] if has_lifecycle else []))
    for name, instance in settings.instances.items():
        addresses = "\n".join(settings.urls(name))
        lets_in = escape(_let_in(settings, instance))
        lifecycle = [_lifecycle(instance.lifecycle, stopper=settings.stopper)] if has_lifecycle else []
        table.add_row(name, instance.notebook, escape(addresses), lets_in, *lifecycle)
    return table


def _lifecycle(lifecycle: Lifecycle, *, stopper: bool) -> str:
    """What happens to an instance without anybody's asking."""
    parts = ["starts when opened"] if lifecycle.start_on_open else []
    if not stopper:
        parts.append("not stopped by this gateway")
    elif lifecycle.stop_after_idle_seconds is not None:
        parts.append(
            f"{'would stop' if lifecycle.stop_dry_run else 'stops'} after "
            f"{format_duration(lifecycle.stop_after_idle_seconds)} idle"
        )
    return ", ".join(parts) or "nothing"


def _let_in(settings: Settings, instance: Instance) -> str:
    who = _admitted(settings, instance)
    if instance.access == "presigned":
        who += "; with a link or a token"
    if instance.cross_site_requests == "allow":
        who += "; other sites' pages, too"
    return who


def _admitted(settings: Settings, instance: Instance) -> str:
    own = instance.restriction
    text = _names(settings.restriction.allow or ()) or "whom statements allow"
    denied = settings.restriction.deny
    if own is not None:
        # Both lists must let a caller in; a list that is in both says nothing new.
        if own.allow is not None:
            text = (
                _names(own.allow)
                if set(own.allow) <= set(settings.restriction.allow or ())
                else (f"{_names(own.allow)}, if also {text}")
            )
        denied += own.deny
    if denied:
        text += f", except {_names(denied)}"
    count = len(settings.statements) + len(instance.statements)
    return f"{text} (+ {count} statement{'s' if count > 1 else ''})" if count else text


def _names(lists: Iterable[NamedList]) -> str:
    return " or ".join(dict.fromkeys(one.name for one in lists))


def _lists(settings: Settings, now: datetime) -> Table:
    end = any(one.ending for one in settings.allowlists.values())
    table = _table("LIST", "NETWORKS", "USED BY", *(["ENTRIES END"] if end else []))
    for name, one in settings.allowlists.items():
        users = escape(", ".join(_users(settings, name)) or "nothing")
        ended = sum(1 for remark in one.ending if remark.until is not None and remark.until <= now)
        table.add_row(
            escape(name), str(len(one.networks) - ended), users, *([_ends(one, now)] if end else [])
        )
    return table


def _ends(one: NamedList, now: datetime) -> str:
    return "\n".join(
        f"{format_instant(until)}{' (ended)' if until <= now else ''}: "
        f"{', '.join(str(remark.network) for remark in remarks)}"
        for until, remarks in by_end([one]).items()
    )


def _users(settings: Settings, name: str) -> Iterable[str]:
    places: list[tuple[str, ShortForm | None]] = [("policy", settings.restriction)]
    places += [
        (f"instances.{instance.name}", instance.restriction) for instance in settings.instances.values()
    ]
    for place, form in places:
        if form and any(one.name == name for one in (*(form.allow or ()), *form.deny)):
            yield place


def _other(settings: Settings) -> Table:
    table = _table("OTHER", "")
    table.add_row("client address", _client_address(settings))
    aws = settings.aws
    table.add_row("AWS Region", aws.region)
    table.add_row("AWS identity", escape(_identity(settings)))
    if aws.endpoint_url:
        table.add_row("SageMaker's API", escape(aws.endpoint_url))
    if aws.notebook_endpoint:
        table.add_row("notebooks", f"over {aws.notebook_endpoint}")
    if aws.https_proxy:
        but = f", but for {aws.no_proxy}" if aws.no_proxy else ""
        table.add_row("proxy to AWS", escape(f"{parse_egress_proxy(aws.https_proxy)}{but}"))
    if aws.ca_bundle:
        table.add_row("trusted for AWS", escape(str(aws.ca_bundle)))
    if settings.tokens != Tokens() or any(one.access == "presigned" for one in settings.instances.values()):
        table.add_row("tokens", _tokens(settings))
    if settings.api.keys:
        table.add_row("API here", _api(settings))
    table.add_row("sign-in lasts", f"{format_duration(aws.session_seconds)}, renewed by the gateway")
    return table


def _tokens(settings: Settings) -> str:
    count = len(settings.tokens.keys)
    keys = (
        f"{count} key{'s' if count > 1 else ''}"
        if count
        else "a key drawn at each start, known to that process alone"
    )
    return f"{keys}; for one client address" if settings.tokens.bind_address else keys


def _api(settings: Settings) -> str:
    count = len(settings.api.keys)
    keys = f"{count} access key{'s' if count > 1 else ''}"
    return f"only signed with one of {keys}" if settings.api.is_signed else f"{keys}; unsigned calls, too"


def _client_address(settings: Settings) -> str:
    strategy = settings.address_strategy
    behind = [str(network) for network in strategy.networks]
    if any(listener.trust_unix for listener in settings.listeners):
        behind.append("Unix sockets")
    if not behind:
        return "of the connection; forwarding headers are ignored"
    if isinstance(strategy, SingleHeader):
        source = f"what {strategy.name} says"
    elif isinstance(strategy, HopCount):
        source = f"number {strategy.hops} from the right of {strategy.header.value}"
    else:
        source = f"from {strategy.header.value}"
    return f"{source}, behind {', '.join(behind)}"


def _identity(settings: Settings) -> str:
    base = f"profile {settings.aws.profile}" if settings.aws.profile else "as boto3 finds it"
    return f"{settings.aws.assume_role}, assumed ({base})" if settings.aws.assume_role else base
