"""What came out: a table, JSON and a plot.

The rule: figures are medians; ratios are to nginx's figure of the same run. Measures nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.rounds import Outcome, Plan

REFERENCE = "nginx"


def show(console: Console, outcome: Outcome) -> None:
    """The table: a row for each figure, absolute and, behind it, as a multiple of nginx's."""
    medians = outcome.medians()
    names = list(dict.fromkeys(name for figures in medians.values() for name in figures))
    table = Table(title="medians, and multiples of nginx")
    table.add_column("metric")
    for system in medians:
        table.add_column(system, justify="right")
    for name in names:
        reference = medians.get(REFERENCE, {}).get(name)
        table.add_row(name, *(_cell(figures.get(name), reference, name) for figures in medians.values()))
    console.print(table)
    for (system, metric), problem in outcome.failures.items():
        console.print(f"[red]failed[/] {system} {metric}: {problem}", highlight=False)
    console.print(
        f"others used {100 * max(outcome.foreign, default=0):.0f} % of a core at most, "
        f"{outcome.repeated} measurements were repeated"
    )


def _cell(value: float | None, reference: float | None, name: str) -> str:
    if value is None:
        return ""
    shown = _microseconds(value, name)
    return f"{shown} [dim]{value / reference:.2f}×[/]" if reference else shown


def _microseconds(value: float, name: str) -> str:
    if name.endswith("_cpu"):
        return f"{value * 1e6:.2f} µs" if value < 0.01 else f"{value:.3f} s"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def write(file: Path, outcome: Outcome, plan: Plan) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"systems": outcome.medians()}, indent=2) + "\n")
