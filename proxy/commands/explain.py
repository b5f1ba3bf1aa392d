"""Explanations for a person at a terminal: a line of judgement, the facts, and a table.

Its rule: it shows what `proxy.server.explaining` found, and finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proxy.client_address.networks import Address, AddressError, parse_address
from proxy.clock import SystemClock
from proxy.commands.usage import UsageProblem
from proxy.config.settings import Settings
from proxy.policy.dates import format_instant, parse_instant
from proxy.policy.errors import PolicyError
from proxy.server.explaining import (
    ExplainOptions,
    Explanation,
    InstanceExplanation,
    ListCell,
    answer,
    cells,
)

_SHOWN_NETWORKS: Final = 3


def read_options(
    *,
    ip: str | None,
    peer: str | None,
    via: str | None,
    instance: str | None,
    user: str | None,
    at: str | None,
    scheme: str,
) -> ExplainOptions:
    """What was asked for, as it was typed; `at` None: now. Raises UsageProblem."""
    try:
        return ExplainOptions(
            at=parse_instant(at) if at else SystemClock().now().replace(microsecond=0),
            address=parse_address(ip) if ip else None,
            peer=parse_address(peer) if peer else None,
            via=via,
            instance=instance,
            user=user,
            scheme=scheme,
        )
    except (AddressError, PolicyError) as error:
        raise UsageProblem(f"{error} ({error.hint})") from error


def run(settings: Settings, options: ExplainOptions, *, json_wanted: bool) -> None:
    """Explain on standard output."""
    asked = options.address is not None or options.peer is not None
    if json_wanted:
        shown = _as_json(answer(settings, options)) if asked else _cells_as_json(cells(settings, options))
        print(json.dumps(shown, indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width to fold addresses to.
        console = Console(highlight=False, width=1000)
    if asked:
        _print(console, answer(settings, options))
    else:
        console.print(_lists(cells(settings, options)))


def _print(console: Console, explanation: Explanation) -> None:
    if len(explanation.answers) == 1:
        (only,) = explanation.answers
        console.print(f"{_judgement(only)}: {escape(only.instance)}; {escape(_reason(only))}")
        console.print()
    for line in _lines_of(explanation):
        console.print(escape(line))
    console.print()
    if len(explanation.answers) == 1:
        console.print(_statements(explanation.answers[0]))
    else:
        console.print(_instances(explanation.answers))


def _judgement(one: InstanceExplanation) -> str:
    return "[bold green]allowed[/]" if one.decision.allowed else "[bold red]denied[/]"


def _reason(one: InstanceExplanation) -> str:
    reason = one.decision.reason.partition(": ")[2]
    needs_more = one.decision.allowed and one.access == "presigned"
    return f"{reason}; with a link or a token besides" if needs_more else reason


def _statements(one: InstanceExplanation) -> Table:
    table = _table("", "STATEMENT", "EFFECT", "APPLIES", "BECAUSE", "AT")
    for verdict in one.verdicts:
        statement = verdict.statement
        table.add_row(
            "→" if verdict in one.decisive else "",
            escape(statement.sid),
            statement.effect.value,
            "yes" if verdict.applies else "no",
            escape("\n".join(verdict.reasons()) or "it applies to everything"),
            escape(statement.origin),
        )
    return table


def _instances(answers: Sequence[InstanceExplanation]) -> Table:
    table = _table("INSTANCE", "DECISION", "BECAUSE", "AT")
    for one in answers:
        lines = dict.fromkeys(each.statement.origin for each in one.decisive)
        table.add_row(one.instance, _judgement(one), escape(_reason(one)), escape("\n".join(lines)))
    return table


def _lists(found: Sequence[ListCell]) -> Table:
    lists = dict.fromkeys(cell.list for cell in found)
    table = _table("INSTANCE", *(escape(name) for name in lists))
    rows: dict[str, list[str]] = {}
    for cell in found:
        rows.setdefault(cell.instance, []).append(_shown(cell))
    for name, row in rows.items():
        table.add_row(name, *row)
    return table


def _shown(cell: ListCell) -> str:
    if cell.let_in == cell.networks:
        return "[green]let in[/]"
    return f"[yellow]{cell.let_in} of {cell.networks}[/]" if cell.let_in else "[red]denied[/]"


def _cells_as_json(found: Sequence[ListCell]) -> dict[str, dict[str, dict[str, int]]]:
    shown: dict[str, dict[str, dict[str, int]]] = {}
    for cell in found:
        shown.setdefault(cell.instance, {})[cell.list] = {"networks": cell.networks, "let_in": cell.let_in}
    return shown


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _as_json(explanation: Explanation) -> dict[str, object]:
    """The explanation as plain data, complete."""
    client, question = explanation.client, explanation.question
    return {
        "at": format_instant(question.at),
        "scheme": question.scheme,
        "user": question.user,
        "client": _text(client.address),
        "peer": _text(client.peer),
        "source": client.source,
        "found": explanation.found,
        "problem": client.problem or None,
        "lists": [
            {"name": one.name, "entries": list(one.entries), "at": one.origin} for one in explanation.lists
        ],
        "decisions": [
            {
                "instance": each.instance,
                "allowed": each.decision.allowed,
                "access": each.access,
                "sids": list(each.decision.sids),
                "reason": each.decision.reason,
                "statements": [
                    {
                        "sid": verdict.statement.sid,
                        "effect": verdict.statement.effect.value,
                        "applies": verdict.applies,
                        "decisive": verdict in each.decisive,
                        "because": list(verdict.reasons()),
                        "at": verdict.statement.origin,
                    }
                    for verdict in each.verdicts
                ],
            }
            for each in explanation.answers
        ],
    }


def _lines_of(explanation: Explanation) -> list[str]:
    """What goes above the tables."""
    client, question = explanation.client, explanation.question
    address = str(client.address) if client.address is not None else "unknown"
    lines = [f"client address {address}: {explanation.found}"]
    if client.problem:
        lines.append(f"               {client.problem}")
    lines.append(f"time           {format_instant(question.at)}, over {question.scheme}")
    if question.user is not None:
        lines.append(
            f"user           {question.user}; known only where a call to the SageMaker API here is signed"
        )
    on = [one for one in explanation.lists if one.entries]
    if not on:
        lines.append("lists          none")
    for index, one in enumerate(on):
        more = len(one.entries) - _SHOWN_NETWORKS
        shown = "; ".join(chain(one.entries[:_SHOWN_NETWORKS], [f"{more} more"] if more > 0 else []))
        lines.append(f"{'' if index else 'lists':14} {one.name} ({shown}), {one.origin}")
    return lines


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)
