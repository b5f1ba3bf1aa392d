"""The bars that nbgate has to clear, as data, and whether it does.

The rule: a bar compares medians of one run; one whose figures were not measured is left out. Their source is the
issue "Fast enough to forget"; its prose is each bar's `row`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Medians = Mapping[str, Mapping[str, float]]

OURS = "nbgate"


@dataclass(frozen=True, slots=True)
class Bar:
    """nbgate's `figure`, divided by that of `system` if there is one, is at most `limit`.

    `over` is another figure to divide by; default: the same one.
    """

    row: str
    figure: str
    limit: float
    system: str = ""
    over: str = ""

    @property
    def meaning(self) -> str:
        """What is compared, in words."""
        if not self.system:
            return f"{self.figure} <= {self.limit:g}"
        against = f"{self.system}'s" if self.system != OURS else f"its own {self.over}"
        return f"{self.figure} <= {self.limit:g} of {against}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: a ratio, or the figure itself."""

    bar: Bar
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.bar.limit


def _bars(row: str, figures: Iterable[str], limits: Mapping[str, float]) -> tuple[Bar, ...]:
    return tuple(Bar(row, figure, limit, system) for figure in figures for system, limit in limits.items())


BARS: tuple[Bar, ...] = (
    *_bars(
        "small GET, 16 and 64 connections",
        ("small_c16_cpu", "small_c64_cpu"),
        {"nginx": 2.2, "chp": 0.17, "aiohttp-plain": 0.3, "caddy": 0.5},
    ),
    *_bars("p50 latency at 300 requests/s", ("rate_p50_us",), {"nginx": 1.5}),
    *_bars(
        "1 GB download, both framings",
        ("download_cpu", "download_chunked_cpu"),
        {"nginx": 0.6, "nginx-64k": 1.1},
    ),
    *_bars("1 GB upload, both framings", ("upload_cpu", "upload_chunked_cpu"), {"nginx": 0.45}),
    *_bars("WebSocket echo, 32 connections", ("ws_echo_c32_cpu",), {"nginx": 1.3, "chp": 0.7}),
    *_bars("WebSocket 64 KiB frames one way", ("ws_flood64k_cpu",), {"nginx": 0.25, "nginx-64k": 0.9}),
    *_bars("WebSocket 64-byte flood", ("ws_flood64_cpu",), {"nginx": 1.3, "aiohttp-plain": 0.02}),
    *_bars("memory per idle WebSocket", ("ws_idle_kb",), {"nginx": 0.5}),
    Bar("growth with stalled readers", "stall_growth_mb", 4.0),
    *_bars("time to first answer", ("startup_s",), {"chp": 1.3}),
    *_bars("idle memory", ("idle_rss_mb",), {"chp": 0.8}),
    Bar("decision for a new address", "decide_100k_us", 5.0),
    Bar("decision for a new address", "decide_100k_us", 2.0, OURS, "decide_10_us"),
    # "No cost per request" among more prefixes; a fifth is what two runs of the same differ by.
    Bar("request on a decided connection", "decided_100k_us", 1.2, OURS, "decided_10_us"),
)


def judge(medians: Medians) -> list[Verdict]:
    """A verdict for each bar whose figures are there."""
    verdicts = []
    for bar in BARS:
        value = medians.get(OURS, {}).get(bar.figure)
        reference = medians.get(bar.system, {}).get(bar.over or bar.figure) if bar.system else 1.0
        if value is not None and reference:
            verdicts.append(Verdict(bar, value / reference))
    return verdicts
