"""`nbgate explain`: who is let in and why, as the running gateway would decide it.

Its rule: it asks a `Gateway` made of the configuration as `serve` makes one, and the same `resolve`; it decides
nothing by itself. It opens no socket and calls nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime

from multidict import CIMultiDict

from proxy.client_address.networks import Address, Network
from proxy.client_address.resolve import ClientAddress, SingleHeader, resolve
from proxy.config.settings import Access, Settings
from proxy.gateway import Gateway
from proxy.policy.context import Principal
from proxy.policy.dates import format_instant
from proxy.policy.evaluate import Decision
from proxy.policy.explain import StatementVerdict, decisive
from proxy.policy.judge import Question
from proxy.policy.lists import NamedList
from proxy.server import compose
from proxy.telemetry.audit import AuditedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What is asked. `peer` and `via` are a connection's other end and the value of its forwarding header."""

    at: datetime
    address: Address | None = None
    peer: Address | None = None
    via: str | None = None
    instance: str | None = None
    """None: all of them."""
    user: str | None = None
    scheme: str = "https"


@dataclass(frozen=True, slots=True)
class InstanceExplanation:
    """The decision about one instance, and everything that it hung on."""

    instance: str
    decision: Decision
    verdicts: tuple[StatementVerdict, ...]
    access: Access = "open"
    """What an allowed caller needs besides."""

    @property
    def decisive(self) -> tuple[StatementVerdict, ...]:
        """The statements that made it."""
        return decisive(self.verdicts)


@dataclass(frozen=True, slots=True)
class ListMatch:
    """A list that an address is on, or not (`entries` is empty then): its networks that hold the address."""

    name: str
    entries: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer to a question about one caller."""

    question: ExplainOptions
    client: ClientAddress
    _: KW_ONLY
    found: str
    """How the address was found, in words."""
    lists: tuple[ListMatch, ...]
    answers: tuple[InstanceExplanation, ...]


@dataclass(frozen=True, slots=True)
class ListCell:
    """Of one list's networks, how many an instance lets in, judged by their first and last addresses."""

    instance: str
    list: str
    networks: int
    let_in: int


def audited(verdicts: Sequence[StatementVerdict]) -> tuple[AuditedStatement, ...]:
    """Verdicts as the audit log takes them: without the values that the policy holds."""
    return tuple(
        AuditedStatement(
            each.statement.sid,
            each.statement.effect.value,
            applies=each.applies,
            because=each.reasons(values=False),
            origin=each.statement.origin,
        )
        for each in verdicts
    )


def answer(settings: Settings, question: ExplainOptions) -> Explanation:
    """Decide as the gateway would, about one instance or about all of them."""
    judge = _gateway(settings, question.at).rules.judge
    client, found = _client(settings, question)
    names = [question.instance] if question.instance is not None else list(settings.instances)
    answers = []
    for name in names:
        # Connecting, nobody is a user yet; what a policy says of them can be tried here all the same.
        user = None if question.user is None else Principal(question.user)
        asked = Question(client.address, name, secure=question.scheme == "https", principal=user)
        access = settings.instances[name].access
        answers.append(InstanceExplanation(name, judge.decide(asked), judge.explain(asked), access))
    lists = tuple(_listing(one, client.address) for one in settings.allowlists.values())
    return Explanation(question, client, found=found, lists=lists, answers=tuple(answers))


def cells(settings: Settings, question: ExplainOptions) -> list[ListCell]:
    """Every instance by every list."""
    judge, secure = _gateway(settings, question.at).rules.judge, question.scheme == "https"
    found = []
    for name in settings.instances:
        for one in settings.allowlists.values():
            let_in = sum(
                all(
                    judge.decide(Question(address, name, secure=secure)).allowed
                    for address in (network[0], network[-1])
                )
                for network in one.networks
            )
            found.append(ListCell(name, one.name, len(one.networks), let_in))
    return found


def _gateway(settings: Settings, at: datetime) -> Gateway:
    return compose.gateway(settings, audit=lambda inbound, refusal: None, at=at)


def _client(settings: Settings, question: ExplainOptions) -> tuple[ClientAddress, str]:
    if question.address is not None:
        return ClientAddress(question.address, question.address), "as given"
    strategy = settings.address_strategy
    name = strategy.name if isinstance(strategy, SingleHeader) else strategy.header.value
    headers = CIMultiDict[str]() if question.via is None else CIMultiDict([(name, question.via)])
    client = resolve(question.peer, headers, strategy)
    if question.peer is not None and question.peer not in strategy.networks:
        ignored = f"; it is no trusted proxy, so {name} is ignored" if question.via is not None else ""
        return client, f"the peer's{ignored}"
    if client.problem:
        return client, "not found"
    if client.source == "peer":
        return client, f"the peer's: a trusted proxy that sent no {name}"
    return client, f"from {name}, which the trusted proxy {question.peer} sent"


def _listing(one: NamedList, address: Address | None) -> ListMatch:
    if address is None or address not in one.networks:
        return ListMatch(one.name, (), one.origin)
    remarked = {remark.network for remark in one.remarks}
    entries = [
        str(network) for network in one.networks if network not in remarked and _holds(network, address)
    ]
    for remark in one.remarks:
        if _holds(remark.network, address):
            note = f", {remark.note}" if remark.note else ""
            until = f", until {format_instant(remark.until)}" if remark.until else ""
            entries.append(f"{remark.network}{note}{until}")
    return ListMatch(one.name, tuple(entries), one.origin)


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network
