"""`nbgate check --aws`: `proxy.server.operations.aws_check` with a configuration's parts, in colour at a terminal."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.markup import escape

from proxy.aws.sagemaker import SageMaker
from proxy.clock import SystemClock
from proxy.config.settings import Settings
from proxy.server import compose
from proxy.server.operations.aws_check import ask


def run(settings: Settings) -> int:
    """Ask, and print a line for each answer. Returns the exit status: 1 if AWS refused anything."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    console = Console(highlight=False, soft_wrap=True)
    console.print("\n[bold]AWS[/bold]")
    sagemaker = SageMaker(compose.aws_options(settings), clock=SystemClock())
    status = 0
    try:
        async for answered in ask(settings, sagemaker):
            if answered.error is not None:
                status = 1
            console.print(f"[{'green' if answered.error is None else 'red'}]{escape(answered.line)}[/]")
    finally:
        sagemaker.close()
    return status
