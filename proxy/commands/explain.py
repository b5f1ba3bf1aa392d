"""Explanations for a person at a terminal: a line of judgement, the facts, and a table.

Its rule: it shows what `proxy.server.explaining` found, and finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proxy.config.settings import Settings
from proxy.server.explaining import (
    ExplainOptions,
    Explanation,
    InstanceExplanation,
    ListCell,
    answer,
    as_json,
    lines_of,
)
from proxy.server.explaining import table as table_of


def run(settings: Settings, question: ExplainOptions, *, json_wanted: bool) -> None:
    """InstanceExplanation on standard output."""
    asked = question.address is not None or question.peer is not None
    if json_wanted:
        told = as_json(answer(settings, question)) if asked else _cells_as_json(table_of(settings, question))
        print(json.dumps(told, indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width to fold addresses to.
        console = Console(highlight=False, width=1000)
    if asked:
        _print(console, answer(settings, question))
    else:
        console.print(_lists(table_of(settings, question)))


def _print(console: Console, explanation: Explanation) -> None:
    if len(explanation.answers) == 1:
        (only,) = explanation.answers
        console.print(f"{_judgement(only)}: {escape(only.instance)}; {escape(_reason(only))}")
        console.print()
    for line in lines_of(explanation):
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


def _lists(cells: Sequence[ListCell]) -> Table:
    lists = dict.fromkeys(cell.list for cell in cells)
    table = _table("INSTANCE", *(escape(name) for name in lists))
    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell.instance, []).append(_shown(cell))
    for name, row in rows.items():
        table.add_row(name, *row)
    return table


def _shown(cell: ListCell) -> str:
    if cell.let_in == cell.networks:
        return "[green]let in[/]"
    return f"[yellow]{cell.let_in} of {cell.networks}[/]" if cell.let_in else "[red]denied[/]"


def _cells_as_json(cells: Sequence[ListCell]) -> dict[str, dict[str, dict[str, int]]]:
    told: dict[str, dict[str, dict[str, int]]] = {}
    for cell in cells:
        told.setdefault(cell.instance, {})[cell.list] = {"networks": cell.networks, "let_in": cell.let_in}
    return told


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
