"""Where nbgate's time for a small GET goes.

Two views that add up. Outside: a gateway under load, its CPU time per request as the kernel splits it. Inside: the
same gateway in this process with transports that only take note, so that nothing but its own code runs; a timer of
CPU time samples which function it is in. What the gateway's code does not explain of the user's part is the event
loop's. The rule: it asks nothing of the gateway but what its server does, so that it survives changes inside.
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.dataplane.budgets import Claim, Place
from proxy.dataplane.caller.reception import Reception
from proxy.server.run import GC_THRESHOLDS
from proxy.server.running import RunningGateway, start
from tests.benchmarks.install import BUILD, ROOT
from tests.benchmarks.machine import LOAD_CORE, PROXY_CORE, TICKS_PER_SECOND
from tests.benchmarks.metrics import SMALL_PATH, Effort, small
from tests.benchmarks.rounds import origin, started
from tests.benchmarks.systems import Site, nbgate
from tests.harness.ports import held_port

SAMPLE_SECONDS = 0.001
"""What is asked for; the kernel samples at its own tick, if that is slower."""
REQUESTS_PER_TURN = 200
LOAD_CONNECTIONS = 16

BROWSER_FIELDS = (
    "Connection: keep-alive\r\n"
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\n'
    "X-XSRFToken: 2|1f0c5a3b|5f4dcc3b5aa765d61d8327deb882cf99|1700000000\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
    "Safari/537.36\r\n"
    "Content-Type: application/json\r\n"
    "Accept: */*\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "Sec-Fetch-Dest: empty\r\n"
    "Referer: http://127.0.0.1/lab\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    'Cookie: _xsrf=2|1f0c5a3b|5f4dcc3b5aa765d61d8327deb882cf99|1700000000; username-127-0-0-1="2|1:0|10:1700000000"\r\n'
)


class NotingTransport(asyncio.Transport):
    """Takes what is written, and sends it nowhere."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 50001)})
        self.written = 0
        self.last = b""
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += 1
        self.last = bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        return None

    def resume_reading(self) -> None:
        return None

    def close(self) -> None:
        return None

    def abort(self) -> None:
        return None


class Loop(uvloop.Loop):
    """uvloop, but for connections to the notebook, once `upstream` is set."""

    upstream: NotingTransport | None = None

    async def create_connection(self, protocol_factory: Callable[[], Any], *args: Any, **options: Any) -> Any:
        if self.upstream is None:
            return await super().create_connection(protocol_factory, *args, **options)
        protocol = protocol_factory()
        self.upstream.set_protocol(protocol)
        protocol.connection_made(self.upstream)
        return self.upstream, protocol


class Sampler:
    """Counts in which function, or line, the process spends its CPU time."""

    def __init__(self, *, by_line: bool) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._by_line = by_line

    def __enter__(self) -> Sampler:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)
        return self

    def __exit__(self, *reason: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        place, caller = frame.f_code.co_qualname, frame.f_back
        if frame.f_code.co_filename == "<string>" and caller is not None:
            # What dataclasses generate has no place of its own: say who calls it.
            frame, place = caller, f"{caller.f_code.co_qualname}: a dataclass's {place.rpartition('.')[2]}"
        code = frame.f_code
        if self._by_line:
            # Some instructions belong to no line.
            line = frame.f_lineno or code.co_firstlineno
            place = f"{line}: {linecache.getline(code.co_filename, line).strip()[:90]}"
        self.counts[_module(code.co_filename), place] += 1


def _module(filename: str) -> str:
    path = Path(filename)
    for base in (ROOT, Path(asyncio.__file__).parents[1]):
        with suppress(ValueError):
            return str(path.relative_to(base)).partition("site-packages/")[2] or str(path.relative_to(base))
    return filename


def profile(console: Console, *, seconds: float, rows: int, by_line: bool, as_browser: bool) -> None:
    """Print both views."""
    user, system, total = _outside(seconds)
    inside, sampler = _inside(seconds, as_browser=as_browser, by_line=by_line)
    table = Table(title=f"A small GET: {total:.1f} µs of CPU")
    table.add_column("where")
    table.add_column("µs", justify="right")
    table.add_row("kernel: sockets, epoll", f"{system:.1f}")
    table.add_row("event loop, cold caches", f"{user - inside:.1f}" if not as_browser else "")
    table.add_row("gateway's code" + (", a browser's header fields" if as_browser else ""), f"{inside:.1f}")
    console.print(table)
    console.print(_inside_table(sampler, inside, rows))


def _outside(seconds: float) -> tuple[float, float, float]:
    """Microseconds per request: the user's part, the kernel's, both."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with origin() as (_, origin_port), started("nbgate", name="nbgate", origin_port=origin_port) as target:
        (pid,) = target.pids
        small(target, Effort(seconds=1), connections=LOAD_CONNECTIONS)
        before = _ticks(pid)
        figures = small(target, Effort(seconds=seconds), connections=LOAD_CONNECTIONS)
        user, system = (after - earlier for after, earlier in zip(_ticks(pid), before, strict=True))
    total = figures[f"small_c{LOAD_CONNECTIONS}_cpu"] * 1e6
    share = user / max(user + system, 1 / TICKS_PER_SECOND)
    return total * share, total * (1 - share), total


def _ticks(pid: int) -> tuple[float, float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND


def _inside(seconds: float, *, as_browser: bool, by_line: bool) -> tuple[float, Sampler]:
    """Microseconds per request in the gateway's own code, and where."""
    directory = BUILD / "profile"
    directory.mkdir(parents=True, exist_ok=True)
    with origin() as (_, origin_port), held_port() as port:
        os.sched_setaffinity(0, {PROXY_CORE})
        launch = nbgate(Site(directory, port, origin_port))
        os.environ.update(launch.env)
        settings = load(Path(launch.argv[-1]), environ=os.environ)
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(_drive(settings, seconds, as_browser=as_browser, by_line=by_line))


async def _drive(
    settings: Settings, seconds: float, *, as_browser: bool, by_line: bool
) -> tuple[float, Sampler]:
    null = os.open(os.devnull, os.O_WRONLY)
    gateway = await start(settings, log_fd=null)
    try:
        response = await _really_get(gateway)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        gateway.plane.pool.close()
        loop.upstream = NotingTransport()
        caller = NotingTransport()
        place = gateway.plane.budgets.take(ip_address("127.0.0.1"), Claim.WELCOME)
        assert isinstance(place, Place)
        downstream = Reception(gateway.plane, settings.listeners[0]).connection(place, math.inf)
        downstream.connection_made(caller)
        request = _request(gateway, BROWSER_FIELDS if as_browser else "")

        async def turn() -> None:
            upstream = loop.upstream
            assert upstream is not None
            for _ in range(REQUESTS_PER_TURN):
                asked, answered = upstream.written, caller.written
                downstream.data_received(request)
                while upstream.written == asked:
                    await asyncio.sleep(0)
                upstream.protocol.data_received(response)
                while caller.written == answered:
                    await asyncio.sleep(0)

        # As the server does when it has started.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await turn()
        assert caller.last.endswith(response.partition(b"\r\n\r\n")[2]), caller.last
        costs = []
        # Being sampled slows it down: what it costs is measured without, and where it goes by shares.
        stop = time.monotonic() + seconds / 2
        while time.monotonic() < stop:
            before = time.process_time()
            await turn()
            costs.append((time.process_time() - before) / REQUESTS_PER_TURN * 1e6)
            await asyncio.sleep(0)  # what the gateway does now and then is done between turns
        sampler = Sampler(by_line=by_line)
        stop = time.monotonic() + seconds
        with sampler:
            while time.monotonic() < stop:
                await turn()
                await asyncio.sleep(0)
        costs.sort()
        return costs[len(costs) // 2], sampler
    finally:
        await gateway.close()
        os.close(null)


def _port(gateway: RunningGateway) -> int:
    address = gateway.addresses[0]
    assert isinstance(address, SocketAddress)
    return address.port


def _request(gateway: RunningGateway, fields: str) -> bytes:
    port = _port(gateway)
    return f"GET {SMALL_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}\r\n".encode()


async def _really_get(gateway: RunningGateway) -> bytes:
    """Sign in and see that it works; what the origin says to a small GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", _port(gateway))
    writer.write(_request(gateway, ""))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head[:20], head
    body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
    writer.close()
    # The gateway's own field is not the origin's.
    return b"".join(line for line in head.splitlines(True) if not line.startswith(b"X-Request-Id:")) + body


def _inside_table(sampler: Sampler, microseconds: float, rows: int) -> Table:
    total = max(1, sampler.counts.total())
    table = Table(
        title=f"The gateway's code: {microseconds:.1f} µs, {total} samples; itself and C that it calls"
    )
    table.add_column("module")
    table.add_column("where")
    table.add_column("µs", justify="right")
    table.add_column("%", justify="right")
    modules: Counter[str] = Counter()
    for (module, _), count in sampler.counts.items():
        modules[module] += count
    for module, count in modules.most_common():
        if count * 200 >= total:
            table.add_row(
                f"[bold]{module}[/]",
                "",
                f"[bold]{microseconds * count / total:.1f}[/]",
                f"{100 * count / total:.0f}",
            )
    table.add_section()
    for (module, place), count in sampler.counts.most_common(rows):
        table.add_row(module, place, f"{microseconds * count / total:.2f}", f"{100 * count / total:.1f}")
    return table
