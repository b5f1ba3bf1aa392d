"""`nbgate probe`: `proxy.aws.probe` with a configuration's parts, its lines coloured for a terminal."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console
from rich.markup import escape

from proxy.aws import probe
from proxy.aws.exchange import ExchangeOptions
from proxy.aws.probe import Kind
from proxy.aws.sagemaker import SageMaker
from proxy.chance import new_id
from proxy.clock import SystemClock
from proxy.config.settings import Settings
from proxy.server import compose

_LOOKS: Final = {
    Kind.STEP: "[bold]{}[/]",
    Kind.FACT: "  {}",
    Kind.GOOD: "  [green]{}[/]",
    Kind.BAD: "  [red]{}[/]",
}


def run(settings: Settings, name: str) -> int:
    """Sign in to the configured instance `name` and print each step. Returns the exit status."""
    return asyncio.run(_run(settings, name))


async def _run(settings: Settings, name: str) -> int:
    console = Console(highlight=False, soft_wrap=True)
    instance = settings.instances[name]
    clock = SystemClock()
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
            say=lambda kind, text: console.print(_LOOKS[kind].format(escape(text))),
        )
    finally:
        sagemaker.close()
