"""`nbgate demo`: a local SageMaker with two real JupyterLabs, and nbgate in front of it, on this machine.

The gateway runs as anybody would run it, `nbgate serve --config FILE` in a process of its own with a
configuration file that one can read; it gets the sandbox's address and nothing else. The rule: whatever ends
the demo (Ctrl-C, SIGTERM, an error, a kill), everything that it started ends too.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import yaml
from rich.console import Console
from rich.markup import escape

from proxy.clock import SystemClock
from proxy.sandbox.child import Child
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.jupyter import JupyterFailed
from proxy.sandbox.sandbox import Sandbox

_LISTEN = "127.0.0.1"
_OPEN = "research"
_DENIED = "secret"
_START_SECONDS = 30.0
_POLL_SECONDS = 0.1


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


def run(*, port: int = 8080) -> int:
    """Run the demo until it is interrupted; returns the exit status. Port 0 picks a free one."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        _require_jupyter()
        with _held(port) as port:
            asyncio.run(_until_interrupted(console, port))
    except (DemoFailed, JupyterFailed) as error:
        complaint = f"[red]nbgate demo:[/] {escape(str(error))}"
        Console(stderr=True, highlight=False, soft_wrap=True).print(complaint)
        return 1
    return 0


async def _until_interrupted(console: Console, port: int) -> None:
    demo = asyncio.current_task()
    assert demo is not None
    interrupted = False

    def interrupt() -> None:
        # Once only: a second Ctrl-C must not interrupt the cleaning up.
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            console.print("Stopping …")
            demo.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        await _demo(console, port)
    except asyncio.CancelledError:
        if not interrupted:
            raise
    except BaseExceptionGroup as group:
        # Several Jupyter servers start at once; one reason is enough.
        raise group.exceptions[0] from group


async def _demo(console: Console, port: int) -> None:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="nbgate-demo-")))
        stack.enter_context(_goodbye(console))
        with console.status("Starting a local SageMaker and two JupyterLabs …"):
            specs = [InstanceSpec(name=f"{name}-notebook", jupyter=True) for name in (_OPEN, _DENIED)]
            sandbox = await stack.enter_async_context(Sandbox(specs))
        console.print("[green]✓[/] A local SageMaker, with two JupyterLabs behind it")
        with console.status("Starting nbgate …"):
            config = directory / "nbgate.yaml"
            config.write_text(configuration(sandbox, port))
            gateway = await Child.start(
                "proxy",
                ["serve", "--config", str(config)],
                log=directory / "nbgate.log",
                environment=environment(),
                cwd=directory,
            )
            stack.push_async_callback(gateway.stop)
            await _answers(gateway, f"http://{_LISTEN}:{port}/api/status")
        console.print("[green]✓[/] nbgate in front of it, signed in")
        _tell(console, port, directory, region=sandbox.region)
        status = await gateway.wait()
        raise DemoFailed(f"nbgate ended with status {status}:\n{gateway.last_output}")


def _require_jupyter() -> None:
    missing = [name for name in ("jupyterlab", "notebook") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoFailed(
            f"{' and '.join(missing)} not installed. Run in nbgate's checkout: pip install '.[demo]'"
        )


@contextmanager
def _held(port: int) -> Iterator[int]:
    """The port itself, or for 0 one that nobody else is given meanwhile; DemoFailed if somebody listens there."""
    with socket.socket() as holder:
        # As the gateway will bind it: it may listen where this is bound, and connections of an earlier demo that still
        # linger do not count.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((_LISTEN, port))
        except OSError as error:
            raise DemoFailed(
                f"port {port}: {error.strerror}. Choose another: nbgate demo --port N"
            ) from error
        yield int(holder.getsockname()[1])


def configuration(sandbox: Sandbox, port: int) -> str:
    settings = {
        "hostname": [_LISTEN, "localhost"],
        "listeners": [{"bind": f"{_LISTEN}:{port}"}],
        "admin": {"bind": f"{_LISTEN}:0"},
        "aws": {
            "region": sandbox.region,
            "endpoint_url": sandbox.endpoint_url,
            "notebook_origins": list(sandbox.origins.values()),
        },
        "allowlists": {"this-machine": [_LISTEN], "elsewhere": ["192.0.2.0/24"]},
        "policy": {"allow": ["this-machine", "elsewhere"]},
        "instances": {
            _OPEN: {"notebook": f"{_OPEN}-notebook", "mount": "root"},
            _DENIED: {
                "notebook": f"{_DENIED}-notebook",
                "mount": {"path": f"/{_DENIED}/"},
                "allow": ["elsewhere"],
            },
        },
        # Whoever stops a demo does not want to wait for it.
        "timeouts": {"drain_delay": "0s", "drain": "2s"},
    }
    return yaml.safe_dump(settings, sort_keys=False)


def environment() -> dict[str, str]:
    """Nobody's AWS credentials or profiles take part: the sandbox wants a signature and checks none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "NBGATE_"))}
    return kept | {
        "AWS_ACCESS_KEY_ID": "AKIDEMO",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


async def _answers(gateway: Child, url: str) -> None:
    """Return when Jupyter answers through the gateway."""
    clock = SystemClock()
    give_up_at = clock.monotonic() + _START_SECONDS
    async with aiohttp.ClientSession() as session:
        while clock.monotonic() < give_up_at:
            if gateway.status is not None:
                raise DemoFailed(f"nbgate ended with status {gateway.status}:\n{gateway.last_output}")
            try:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, OSError):
                pass
            await clock.sleep(_POLL_SECONDS)
    raise DemoFailed(f"{url} did not answer within {_START_SECONDS:g} s:\n{gateway.last_output}")


def _tell(console: Console, port: int, directory: Path, *, region: str) -> None:
    origin = f"http://{_LISTEN}:{port}"
    api = f"{origin}/api/status"
    secret = f"{origin}/{_DENIED}/api/status"
    console.print(
        f"""
Open JupyterLab at  [bold cyan]{origin}/[/]

The portal, with all that you may reach, is at  [bold cyan]{origin}/.nbgate/[/]

Or try
  curl -i {api}
      [dim]{_OPEN}: your address is on its list; Jupyter answers[/]
  curl -i {secret}
      [dim]{_DENIED}: your address is not on its list; 403[/]
  curl -i -H 'X-Forwarded-For: 192.0.2.7' {secret}
      [dim]saying that you are somewhere else does not help; 403[/]
  aws sagemaker list-notebook-instances --endpoint-url {origin}/.nbgate/aws/ --region {region} --no-sign-request
      [dim]SageMaker's own API, for what you may reach[/]

Configuration  {directory / "nbgate.yaml"}
Log            {directory / "nbgate.log"}

Ctrl-C stops all of it."""
    )


@contextmanager
def _goodbye(console: Console) -> Iterator[None]:
    """Says so when everything that was started after it has ended."""
    try:
        yield
    finally:
        console.print("Everything has stopped.")
