"""What came out: tables, JSON and a plot.

The rule: figures are medians; ratios are to nginx's figure of the same run. Measures nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bars import Verdict, judge
from tests.benchmarks.install import BUILD, PYTHON, ROOT
from tests.benchmarks.machine import LOAD_CORE, PROXY_CORE, cpu_model
from tests.benchmarks.metrics import Figures
from tests.benchmarks.rounds import SPOILED_AT, Outcome, Plan

REFERENCE = "nginx"

VERSION_COMMANDS = {
    "nginx": ("nginx", "-v"),
    "haproxy": ("haproxy", "-v"),
    "caddy": ("caddy", "version"),
    "node": ("node", "--version"),
    "wrk": ("wrk", "-v"),
    "cc": ("cc", "--version"),
}


def show(console: Console, outcome: Outcome) -> None:
    """All figures, all bars that they decide, and what to think of the run."""
    medians = outcome.medians()
    console.print(_figures_table(medians))
    verdicts = judge(medians)
    if verdicts:
        console.print(_bars_table(verdicts))
    for (system, metric), problem in outcome.failures.items():
        console.print(f"failed: {system} {metric}: {problem}", style="red", highlight=False, markup=False)
    console.print(
        f"Others used {100 * statistics.median(outcome.foreign or [0]):.0f} % of a core (median), "
        f"{100 * max(outcome.foreign, default=0):.0f} % at most; {outcome.repeated} measurements were repeated, "
        f"{sum(share > SPOILED_AT for share in outcome.foreign)} stayed spoiled."
    )


def _figures_table(medians: Mapping[str, Figures]) -> Table:
    names = dict.fromkeys(name for figures in medians.values() for name in figures)
    table = Table(title="Medians, and multiples of nginx")
    table.add_column("metric", no_wrap=True)
    for system in medians:
        table.add_column(system, justify="right", no_wrap=True)
    for name in names:
        reference = medians.get(REFERENCE, {}).get(name)
        table.add_row(name, *(_cell(name, figures.get(name), reference) for figures in medians.values()))
    return table


def _cell(name: str, value: float | None, reference: float | None) -> str:
    if value is None:
        return ""
    ratio = f" [dim]{value / reference:.2f}×[/]" if reference and not name.startswith("stall") else ""
    return _shown(name, value) + ratio


def _shown(name: str, value: float) -> str:
    if name.endswith("_cpu"):
        if value < 1e-6:
            return f"{value * 1e9:.1f} ns"
        return f"{value * 1e6:.2f} µs" if value < 0.01 else f"{value:.3f} s"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _bars_table(verdicts: list[Verdict]) -> Table:
    table = Table(title=f"Bars: {sum(verdict.met for verdict in verdicts)} of {len(verdicts)} are met")
    for title in ("", "bar", "measured", ""):
        table.add_column(title)
    row = ""
    for verdict in verdicts:
        bar = verdict.bar
        table.add_row(
            bar.row if bar.row != row else "",
            bar.meaning,
            f"{verdict.value:.3g}",
            "[green]met[/]" if verdict.met else "[red]not met[/]",
        )
        row = bar.row
    return table


def write(file: Path, outcome: Outcome, plan: Plan) -> None:
    """The JSON, and the plot beside it."""
    medians = outcome.medians()
    verdicts = judge(medians)
    content = {
        "systems": medians,
        "meta": _meta(outcome, plan),
        "bars": [
            {"row": verdict.bar.row, "bar": verdict.bar.meaning, "value": verdict.value, "met": verdict.met}
            for verdict in verdicts
        ],
        "samples": outcome.samples,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")
    # matplotlib takes most of a second to import, and only a run of everything needs it.
    from tests.benchmarks.plot import draw

    draw(file.with_suffix(".png"), medians, verdicts)


def _meta(outcome: Outcome, plan: Plan) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "pinned": {"proxy": PROXY_CORE, "load and origin": LOAD_CORE},
        "kernel": platform.release(),
        "versions": _versions(),
        "rounds": plan.rounds,
        "effort": asdict(plan.effort),
        "foreign_cpu": {
            "median": statistics.median(outcome.foreign or [0]),
            "max": max(outcome.foreign, default=0),
            "spoiled_at": SPOILED_AT,
        },
        "repeated": outcome.repeated,
        "failures": {f"{system} {metric}": text for (system, metric), text in outcome.failures.items()},
    }


def _versions() -> dict[str, str]:
    chp = BUILD / "chp/node_modules/configurable-http-proxy/package.json"
    return {
        "python": _first_line((str(PYTHON), "-VV")),
        **{package: version(package) for package in ("nbgate", "aiohttp", "uvloop")},
        "commit": _first_line(("git", "-C", str(ROOT), "describe", "--always", "--dirty")),
        **{name: _first_line(command) for name, command in VERSION_COMMANDS.items()},
        "configurable-http-proxy": json.loads(chp.read_text())["version"] if chp.exists() else "",
    }


def _first_line(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return next(iter((done.stdout or done.stderr).splitlines()), "")
