"""`python -m proxy.sandbox`: a sandbox of its own, for benchmarks and for trying things out.

The first line on standard output is its state as JSON (`endpoint_url`, each instance's `origin`); then it
runs until SIGTERM or Ctrl-C. Faults are switched with `POST /_sandbox/faults` at `endpoint_url`;
`GET /_sandbox` tells the state.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence

import click

from proxy.sandbox.instance import InstanceSpec, SignedOutShape, SignInShape
from proxy.sandbox.sandbox import Sandbox


@click.command()
@click.option("--instance", "names", multiple=True, default=("research-gpu-1",), help="May be repeated.")
@click.option("--jupyter", is_flag=True, help="Real Jupyter servers behind the hosts, not plain ones.")
@click.option(
    "--extension", "extensions", multiple=True, help="Of Jupyter, besides its own. May be repeated."
)
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="Port of the API; 0 picks one.")
@click.option("--sign-in", default="redirect", type=click.Choice([shape.value for shape in SignInShape]))
@click.option(
    "--signed-out", default="redirect", type=click.Choice([shape.value for shape in SignedOutShape])
)
@click.option("--single-use-urls", is_flag=True, help="A presigned URL signs in once.")
def main(
    names: Sequence[str],
    jupyter: bool,
    extensions: Sequence[str],
    listen: str,
    port: int,
    sign_in: str,
    signed_out: str,
    single_use_urls: bool,
) -> None:
    """Serve a local SageMaker until SIGTERM or Ctrl-C; its addresses are printed as JSON."""
    specs = [
        InstanceSpec(
            name=name,
            jupyter=jupyter,
            extensions=extensions,
            sign_in=SignInShape(sign_in),
            signed_out=SignedOutShape(signed_out),
            single_use_urls=single_use_urls,
        )
        for name in names
    ]
    asyncio.run(_serve(Sandbox(specs, listen=listen, port=port)))


async def _serve(sandbox: Sandbox) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with sandbox:
        click.echo(json.dumps(sandbox.state()))
        await stop.wait()


if __name__ == "__main__":
    main()
