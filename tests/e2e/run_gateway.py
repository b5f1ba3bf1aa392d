"""A gateway whose port the system draws: `python run_gateway.py FILE` prints it as JSON and serves until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop

from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.server.running import start


async def main() -> None:
    gateway = await start(load(Path(sys.argv[1]), environ={}), log_fd=2)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    address = gateway.addresses[0]
    assert isinstance(address, SocketAddress)
    print(json.dumps({"port": address.port}), flush=True)
    await stop.wait()
    await gateway.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
