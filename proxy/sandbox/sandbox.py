"""The local SageMaker as a whole: an API, and for each instance a notebook host with a server behind it.

`async with Sandbox(...) as sandbox:` starts all of it on ports of its own and ends all of it. The rule: what
can be seen from outside goes over sockets (`endpoint_url`, `origins`); what a test may see and switch beside
that is `calls`, `instances`, `hosts`, `plain` and `faults`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from proxy.clock import Clock, SystemClock
from proxy.sandbox.control_api import ControlApi
from proxy.sandbox.fault_switches import FaultSwitches
from proxy.sandbox.instance import IN_SERVICE, InstanceSpec, NotebookInstance
from proxy.sandbox.jupyter import JupyterServer
from proxy.sandbox.notebook_host import NotebookHost
from proxy.sandbox.plain_upstream import PlainUpstream, Upstream
from proxy.sandbox.relay import JupyterRelay
from proxy.tasks import Tasks


class Sandbox:
    """A SageMaker of one's own. Entering it returns when every Jupyter server answers."""

    def __init__(
        self,
        instances: Sequence[InstanceSpec] = (InstanceSpec(name="research-gpu-1"),),
        *,
        clock: Clock | None = None,
        region: str = "us-east-1",
        listen: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`port` is the API's; `tls` makes the notebook hosts https, the API stays http."""
        clock = clock or SystemClock()
        self.region = region
        self.background_errors: list[BaseException] = []
        self._clock = clock
        self._tasks = Tasks(lambda _name, error: self.background_errors.append(error))
        self._listen = listen
        self._port = port
        self._stack = AsyncExitStack()
        self._directory = Path()
        self._specs = {spec.name: spec for spec in instances}
        self.instances = {name: NotebookInstance(spec, clock=clock) for name, spec in self._specs.items()}
        self.hosts = {
            name: NotebookHost(instance, clock=clock, tasks=self._tasks, listen=listen, tls=tls)
            for name, instance in self.instances.items()
        }
        self.plain = {name: PlainUpstream() for name, spec in self._specs.items() if not spec.jupyter}
        self._upstreams: dict[str, Upstream] = {
            name: self.plain.get(name)
            or JupyterServer(
                spec.extensions,
                # The hosts' ports are not known before they listen.
                allow_origin_pattern=rf"https?://{re.escape(listen)}(:\d+)?" if spec.jupyter_host else "",
            )
            for name, spec in self._specs.items()
        }
        self._api = ControlApi(
            self.hosts, clock=clock, region=region, start=self._start_instance, stop=self._stop_instance
        )
        self.faults = FaultSwitches(self._api, self.hosts)

    async def __aenter__(self) -> Sandbox:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def endpoint_url(self) -> str:
        """For boto3 and the AWS CLI, SageMaker and STS alike."""
        return f"http://{self._listen}:{self._port}"

    @property
    def origins(self) -> dict[str, str]:
        """Scheme, host and port of each notebook host."""
        return {name: host.origin for name, host in self.hosts.items()}

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was called, failed calls included."""
        return self._api.calls

    @property
    def calls_by(self) -> Counter[tuple[str, str]]:
        """The same by operation and caller (the ARN of an assumed role, or else an access key id)."""
        return self._api.calls_by

    def state(self) -> dict[str, Any]:
        """All that is known, as JSON: what `GET /_sandbox` answers."""
        return {
            "endpoint_url": self.endpoint_url,
            "region": self.region,
            "calls": dict(self.calls),
            "instances": {
                name: {
                    "origin": self.hosts[name].origin,
                    "status": instance.status,
                    "open_websockets": self.hosts[name].open_websockets,
                    **asdict(instance.counts),
                }
                for name, instance in self.instances.items()
            },
        }

    async def _start(self) -> None:
        # Private (0700): this is what keeps others from a Jupyter server without a password.
        self._directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="nbgate-")))
        for upstream in self._upstreams.values():
            self._stack.push_async_callback(upstream.stop)
        # Ended after the hosts and before the upstreams, which they might start again.
        self._stack.push_async_callback(self._tasks.close)
        async with asyncio.TaskGroup() as starting:
            for name, instance in self.instances.items():
                self._socket_path(name).parent.mkdir()
                if instance.status == IN_SERVICE:
                    starting.create_task(self._start_upstream(name))
        for name, host in self.hosts.items():
            relay = await self._stack.enter_async_context(JupyterRelay(self._socket_path(name)))
            self._stack.push_async_callback(host.stop)
            await host.start(relay)
        application = web.Application()
        application.router.add_post("/", self._api.answer)
        application.router.add_get("/_sandbox", self._tell_state)
        application.router.add_post("/_sandbox/faults", self._switch_fault)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, self._listen, self._port).start()
        self._port = runner.addresses[0][1]

    def _socket_path(self, name: str) -> Path:
        # By number: the path of a unix socket has about a hundred bytes, of which a name may take 63.
        return self._directory / str(list(self.instances).index(name)) / "upstream.sock"

    async def _start_upstream(self, name: str) -> None:
        await self._upstreams[name].start(self._socket_path(name))

    async def _start_instance(self, name: str) -> None:
        self.instances[name].set_status("Pending")
        self._tasks.start(self._become_in_service(name), name=f"start {name}")

    async def _become_in_service(self, name: str) -> None:
        instance = self.instances[name]
        await self._clock.sleep(instance.transition_seconds)
        # It still runs if its status was set to Stopped as a fault.
        await self._upstreams[name].stop()
        await self._start_upstream(name)
        instance.set_status(IN_SERVICE)

    async def _stop_instance(self, name: str) -> None:
        self.instances[name].set_status("Stopping")
        self._tasks.start(self._become_stopped(name), name=f"stop {name}")

    async def _become_stopped(self, name: str) -> None:
        instance = self.instances[name]
        await self._clock.sleep(instance.transition_seconds)
        await self._upstreams[name].stop()
        instance.set_status("Stopped")

    async def _tell_state(self, _request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _switch_fault(self, request: web.Request) -> web.Response:
        try:
            command = await request.json()
            if not isinstance(command, dict):
                raise ValueError("the command is a JSON object")
            await self.faults.apply(command)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.state())
