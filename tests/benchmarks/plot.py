"""The plot: for every metric, each system's figure as a multiple of nginx's, and nbgate's bar.

The rule: less is better throughout, so it draws CPU time, latency and memory, and no throughput.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot

from tests.benchmarks.bars import OURS, Verdict

mpl.use("Agg")

REFERENCE = "nginx"
LESS_IS_BETTER = ("_cpu", "_us", "_kb", "_mb", "_s")
NOT_DRAWN = ("stall_growth_mb", "ws_open_per_s")
"""nginx's growth is about nothing, so that multiples of it say nothing."""

STYLES = {
    "nginx": ("#7f7f7f", "|"),
    "nginx-64k": ("#7f7f7f", "x"),
    "haproxy": ("#1f77b4", "s"),
    "caddy": ("#17becf", "^"),
    "chp": ("#ff7f0e", "D"),
    "aiohttp-plain": ("#2ca02c", "v"),
    "nbgate": ("#d62728", "o"),
}


def draw(file: Path, medians: Mapping[str, Mapping[str, float]], verdicts: Sequence[Verdict]) -> None:
    """Write the plot as PNG. Nothing is written where nginx was not measured."""
    reference = medians.get(REFERENCE, {})
    names = [
        name
        for name in reference
        if name.endswith(LESS_IS_BETTER) and name not in NOT_DRAWN and reference[name] > 0
    ]
    if not names:
        return
    rows = {name: row for row, name in enumerate(reversed(names))}
    figure, axes = pyplot.subplots(figsize=(11, 1.5 + 0.32 * len(names)), layout="constrained")
    axes.axvline(1.0, color="#7f7f7f", linewidth=1, zorder=1)
    for system, (color, marker) in STYLES.items():
        measured = [name for name in names if name in medians.get(system, {})]
        if measured:
            axes.scatter(
                [medians[system][name] / reference[name] for name in measured],
                [rows[name] for name in measured],
                s=80 if system == OURS else 40,
                color=color,
                marker=marker,
                label=system,
                zorder=3,
            )
    bars = [verdict.bar for verdict in verdicts if verdict.bar.system == REFERENCE]
    axes.scatter(
        [bar.limit for bar in bars],
        [rows[bar.figure] for bar in bars],
        s=45,
        color="black",
        marker="<",
        label="nbgate's bar, at most",
        zorder=2,
    )
    axes.set_xscale("log")
    axes.set_xticks(
        [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    )
    axes.set_yticks(list(rows.values()), list(rows))
    axes.grid(axis="both", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.set_xlabel("multiple of nginx (default buffers); less is better")
    figure.legend(loc="outside upper center", ncols=8, frameon=False)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
