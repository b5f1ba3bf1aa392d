"""`nbgate probe`: `proxy.aws.probe` with a configuration's parts, its lines coloured for a terminal."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console
from rich.markup import escape

from proxy import __version__
from proxy.aws import probe
from proxy.aws.exchange import ExchangeOptions
from proxy.aws.probe_questions import LineKind
from proxy.aws.sagemaker import SageMaker
from proxy.chance import new_id
from proxy.clock import SystemClock
from proxy.config.settings import Settings
from proxy.server import compose

_LOOKS: Final = {
    LineKind.STEP: "[bold]{}[/]",
    LineKind.FACT: "  {}",
    LineKind.GOOD: "  [green]{}[/]",
    LineKind.BAD: "  [red]{}[/]",
}


def run(settings: Settings, name: str, *, start: bool = False, deep: bool = False) -> int:
    """Sign in to the configured instance `name` and print each step. Returns the exit status."""
    return asyncio.run(_run(settings, name, start=start, deep=deep))


async def _run(settings: Settings, name: str, *, start: bool, deep: bool) -> int:
    console = Console(highlight=False, soft_wrap=True)
    instance = settings.instances[name]
    clock = SystemClock()
    now = clock.now().strftime("%Y-%m-%d %H:%M UTC")
    console.print(f"nbgate {__version__} probe, {now}, Region {settings.aws.region}")
    sagemaker = SageMaker(compose.aws_options(settings), clock=clock)
    try:
        return await probe.run(
            instance.notebook,
            control_plane=sagemaker.control_plane(instance.assume_role or ""),
            hosts=compose.notebook_hosts(settings),
            clock=clock,
            new_id=new_id,
            options=ExchangeOptions(
                ssl_context=compose.upstream_trust(settings), egress=compose.egress(settings)
            ),
            start=start,
            deep=deep,
            say=lambda kind, text: console.print(_LOOKS[kind].format(escape(text))),
        )
    finally:
        sagemaker.close()
