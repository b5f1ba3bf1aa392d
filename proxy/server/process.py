"""The first of three steps: what lasts for the process, whatever its configuration says later.

The rule: each part is whole when it is made, out of those before it. What has to be closed is put on `closing`. It must
not know callers, instances or sockets.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from proxy.aws.sagemaker import SageMaker
from proxy.clock import Clock
from proxy.config.settings import Settings
from proxy.dataplane import descriptors
from proxy.faults import Faults
from proxy.rounds import Rounds
from proxy.server import compose
from proxy.server.operations.reports import report_failed_task, report_fault
from proxy.tasks import Tasks
from proxy.telemetry.limits_met import LimitsMet
from proxy.telemetry.logs import Logs
from proxy.telemetry.troubles import Troubles


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProcess:
    """Time, logs, background work, and AWS. `descriptors` is how many there may be, None: as many as it takes;
    `upstream_tls` says whom notebooks' certificates may be from, None: the system's authorities.
    """

    clock: Clock
    logs: Logs
    faults: Faults
    troubles: Troubles
    limits_met: LimitsMet
    tasks: Tasks
    rounds: Rounds
    sagemaker: SageMaker
    descriptors: int | None
    upstream_tls: ssl.SSLContext | None


def open_process(
    settings: Settings,
    *,
    clock: Clock,
    logs: Logs,
    upstream_tls: ssl.SSLContext | None,
    closing: AsyncExitStack,
) -> GatewayProcess:
    """In the running event loop, whose own faults are met from now on."""
    faults = Faults(partial(report_fault, logs.events), monotonic=clock.monotonic)
    closing.callback(_meet_faults_of_callbacks(faults))
    limits_met = LimitsMet(clock, logs.events.warning)

    def task_failed(name: str, error: BaseException) -> None:
        descriptors.note_exhausted(error, limits_met)
        report_failed_task(logs.events, faults, name, error)

    tasks = Tasks(task_failed)
    sagemaker = SageMaker(compose.aws_options(settings), clock=clock)
    closing.callback(sagemaker.close)
    closing.push_async_callback(tasks.close)
    return GatewayProcess(
        clock=clock,
        logs=logs,
        faults=faults,
        troubles=Troubles(clock, logs.events.warning),
        limits_met=limits_met,
        tasks=tasks,
        rounds=Rounds(clock=clock, tasks=tasks, faults=faults),
        sagemaker=sagemaker,
        descriptors=descriptors.allowed(),
        upstream_tls=upstream_tls,
    )


def _meet_faults_of_callbacks(faults: Faults) -> Callable[[], None]:
    """Have faults met that reach the event loop itself, such as a connection's; the result undoes it."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def meet(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        message, error = str(context["message"]), context.get("exception")
        faults.met(
            "callback", error if isinstance(error, BaseException) else RuntimeError(message), what=message
        )

    loop.set_exception_handler(meet)
    return partial(loop.set_exception_handler, before)
