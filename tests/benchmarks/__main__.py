"""`python -m tests.benchmarks`: the benchmarks' command line.

The rule: an option narrows what is run, never what is asked of it; build/bench.json is written only by a run of
everything, or where `--output` says so. See README.md.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from tests.benchmarks import report
from tests.benchmarks.install import ROOT, MissingError, check_out, install
from tests.benchmarks.machine import LOAD_CORE
from tests.benchmarks.metrics import METRICS, QUICK, Effort
from tests.benchmarks.processes import LoadError
from tests.benchmarks.rounds import Bench, Plan
from tests.benchmarks.systems import BASELINE, SYSTEMS

WIDTH = 170
"""Of tables that are not written to a terminal."""


def _names(known: Sequence[str]) -> Callable[[click.Context, click.Parameter, str | None], list[str]]:
    def parse(context: click.Context, option: click.Parameter, text: str | None) -> list[str]:
        names = list(known) if text is None else text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise click.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


@click.group(invoke_without_command=True, context_settings={"max_content_width": 110})
@click.option("--systems", callback=_names(list(SYSTEMS)), metavar="A,B", help="Default: all.")
@click.option("--metrics", callback=_names(list(METRICS)), metavar="A,B", help="Default: all.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2), help="Of each timed run. Default: 2, or 1 with --quick."
)
@click.option("--quick", is_flag=True, help="Small transfers, short stalls: to see whether all works.")
@click.option("--attempts", type=click.IntRange(1), default=3, show_default=True, help="If others spoil it.")
@click.option("--baseline", metavar="REV", help="Measure nbgate at this commit beside this one.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON and, beside it, the plot.")
@click.pass_context
def main(
    context: click.Context,
    systems: list[str],
    metrics: list[str],
    rounds: int,
    seconds: float | None,
    quick: bool,
    attempts: int,
    baseline: str | None,
    output: Path | None,
) -> None:
    """Measure nbgate beside the proxies that people would run otherwise."""
    # What has to be ended is ended on the way out, so go the same way on SIGTERM.
    signal.signal(signal.SIGTERM, _leave)
    os.chdir(ROOT)
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if context.invoked_subcommand is not None:
        return
    effort = QUICK if quick else Effort()
    if seconds is not None:
        effort = replace(effort, seconds=seconds)
    if baseline is None:
        systems = [name for name in systems if name != BASELINE]
    complete = set(systems) >= set(SYSTEMS) - {BASELINE} and set(metrics) == set(METRICS) and not quick
    if output is None and complete:
        output = ROOT / "build" / "bench.json"
    console, errors = _console(), Console(stderr=True)
    plan = Plan(systems, metrics, rounds, effort, attempts)
    try:
        with errors.status("installing") as status:
            install(systems, plot=output is not None)
            if baseline is not None:
                check_out(baseline)
            os.sched_setaffinity(0, {LOAD_CORE})
            outcome = Bench(plan, status.update).run()
    except (MissingError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    report.show(console, outcome)
    if output is not None:
        report.write(output, outcome, plan)
        console.print(f"Written: {output}")


@main.command("profile")
@click.option("--seconds", type=click.FloatRange(0.5), default=5.0, show_default=True, help="Of each part.")
@click.option("--rows", type=click.IntRange(1), default=30, show_default=True, help="Functions shown.")
@click.option("--lines", is_flag=True, help="By line instead of by function.")
@click.option("--browser", is_flag=True, help="Requests with the header fields that a browser sends.")
def profile_command(seconds: float, rows: int, lines: bool, browser: bool) -> None:
    """Show where nbgate's time for a small GET goes."""
    from tests.benchmarks.profile import profile

    try:
        install(["nbgate"], plot=False)
        profile(_console(), seconds=seconds, rows=rows, by_line=lines, as_browser=browser)
    except (MissingError, LoadError) as error:
        raise click.ClickException(str(error)) from error


@main.command("install")
def install_command() -> None:
    """Install the peers and compile the load and the origin; nothing is measured."""
    try:
        install(list(SYSTEMS), plot=True)
    except MissingError as error:
        raise click.ClickException(str(error)) from error


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
