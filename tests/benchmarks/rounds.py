"""The rounds: every system has its turn in every round, in an order that rotates; what others spoiled is repeated.

The rule: systems of one metric are measured one right after the other, so that what changes slowly on a shared
machine changes for all of them; of a measurement's attempts the one counts during which others used least.
Knows no metric's meaning.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.benchmarks.install import BUILD, program
from tests.benchmarks.machine import LOAD_CORE, PROXY_CORE, CoreUse, cpu_seconds, process_tree
from tests.benchmarks.metrics import METRICS, SMALL_PATH, Effort, Figures, Metric, Start, Target
from tests.benchmarks.processes import (
    LoadError,
    Process,
    run_load,
    running,
    wait_until_answered,
)
from tests.benchmarks.systems import DIRECT, SYSTEMS, Site
from tests.harness.ports import held_port

STARTUP_SECONDS = 20.0
STRANGE_HOST = "elsewhere.invalid"
SPOILED_AT = 0.08
"""What others may use of a core during a measurement."""
QUIET_SECONDS = 10.0
QUIET_LOOK_SECONDS = 0.5

Samples = dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `attempts`: how often a measurement is made at most, if others spoil it."""

    systems: Sequence[str]
    metrics: Sequence[str]
    rounds: int
    effort: Effort
    attempts: int = 3


@dataclass(slots=True)
class Outcome:
    """All samples by system and figure; what failed; what others used of a core, and how often it spoiled."""

    samples: Samples = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)
    repeated: int = 0

    def medians(self) -> dict[str, Figures]:
        """By system and figure."""
        return {
            system: {name: statistics.median(values) for name, values in figures.items()}
            for system, figures in self.samples.items()
        }


Progress = Callable[[str], None]


class Bench:
    """An origin, and in front of it the systems that run."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._outcome = Outcome()
        self._stack = ExitStack()
        self._live: dict[str, Target] = {}
        self._origin: Process
        self._origin_port: int

    def run(self) -> Outcome:
        """All rounds. Whatever was started is ended, however this ends."""
        with self._stack:
            self._origin, self._origin_port = self._stack.enter_context(origin())
            for name in self._plan.metrics:
                self._run_metric(name, METRICS[name])
        return self._outcome

    def _run_metric(self, name: str, metric: Metric) -> None:
        systems = [system for system in self._plan.systems if _has(system, metric)]
        rounds = 1 if metric.once else self._plan.rounds
        for number in range(rounds):
            turn = number % len(systems) if systems else 0
            for system in (*systems[turn:], *systems[:turn]):
                if (system, name) in self._outcome.failures:
                    continue
                self._progress(f"{name}: round {number + 1} of {rounds}, {system}")
                try:
                    figures = self._measure(system, metric)
                except LoadError as error:
                    self._outcome.failures[system, name] = str(error)
                    continue
                for figure, value in figures.items():
                    self._outcome.samples[system][figure].append(value)

    def _measure(self, system: str, metric: Metric) -> Figures:
        attempts: list[tuple[float, Figures]] = []
        while True:
            attempts.append(self._attempt(system, metric))
            if attempts[-1][0] <= SPOILED_AT or metric.once or len(attempts) == self._plan.attempts:
                break
            self._wait_for_quiet()
        self._outcome.repeated += len(attempts) - 1
        foreign, figures = min(attempts, key=lambda attempt: attempt[0])
        self._outcome.foreign.append(foreign)
        return figures

    def _wait_for_quiet(self) -> None:
        """Until others let go of the machine, if they do soon: what spoiled one attempt would spoil the next."""
        deadline = time.monotonic() + QUIET_SECONDS
        foreign = 1.0
        while foreign > SPOILED_AT and time.monotonic() < deadline:
            before = self._core_use(())
            time.sleep(QUIET_LOOK_SECONDS)
            foreign = self._core_use(()).foreign_since(before)

    def _core_use(self, pids: Iterable[int]) -> CoreUse:
        proxies = {pid for live in self._live.values() for pid in live.pids}
        return CoreUse.now(proxies=proxies | set(pids), helpers=(self._origin.pid,))

    def _attempt(self, system: str, metric: Metric) -> tuple[float, Figures]:
        with ExitStack() as stack:
            if metric.fresh:
                target = stack.enter_context(
                    started(system, name=f"{system}-fresh", origin_port=self._origin_port)
                )
            else:
                target = self._live_target(system)
            before = self._core_use(target.pids)
            figures = metric.measure(target, self._plan.effort)
            foreign = self._core_use(target.pids).foreign_since(before)
            return foreign, figures

    # -- processes --------------------------------------------------------------------------------------

    def _live_target(self, system: str) -> Target:
        if system not in self._live:
            self._live[system] = self._stack.enter_context(
                started(system, name=system, origin_port=self._origin_port)
            )
            # Interpreters and compilers at run time find their feet.
            run_load(program("load"), self._live[system].port, "get", 3000, 1, 16)
            run_load(program("load"), self._live[system].port, "echo", 4, 0.3, 0)
        return self._live[system]


@contextmanager
def origin() -> Iterator[tuple[Process, int]]:
    """The origin, and the port that it chose."""
    file, log = BUILD / "origin.port", BUILD / "origin.err"
    with (
        file.open("wb") as stdout,
        running([str(program("origin"))], core=LOAD_CORE, log=log, stdout=stdout) as process,
    ):
        while not (text := file.read_text()).endswith("\n"):
            if process.poll() is not None:
                raise LoadError(f"the origin ended: {log.read_text()}")
            time.sleep(0.001)
        yield process, int(text)


@contextmanager
def started(system: str, *, name: str, origin_port: int) -> Iterator[Target]:
    """A system that answers; `name` is its directory's below build/bench."""
    configure = SYSTEMS[system]
    directory = BUILD / name
    directory.mkdir(parents=True, exist_ok=True)
    if configure is None:
        yield Target(origin_port, (), directory, Start())
        return
    log = directory / "stderr.log"
    with ExitStack() as stack:
        port = stack.enter_context(held_port())
        launch = configure(Site(directory, port, origin_port))
        start = time.monotonic()
        process = stack.enter_context(running(launch.argv, core=PROXY_CORE, log=log, env=launch.env))
        ask = partial(wait_until_answered, process, port, path=SMALL_PATH, seconds=STARTUP_SECONDS)
        try:
            # nbgate answers for a name that is not its own by itself; the others pass all names on.
            answered = ask(host=STRANGE_HOST)
            cpu = cpu_seconds(process_tree(process.pid))
            proxied = ask(host=f"127.0.0.1:{port}", status="200")
        except LoadError as error:
            raise LoadError(f"{system}: {error}\n{_tail(log)}") from error
        yield Target(
            port,
            process_tree(process.pid),
            directory,
            Start(answered_seconds=answered - start, cpu_seconds=cpu, proxied_seconds=proxied - start),
        )


def _has(system: str, metric: Metric) -> bool:
    return system == metric.only if metric.only else metric.of_direct or system != DIRECT


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])
