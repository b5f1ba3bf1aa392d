"""A child process that never outlives its parent: `Child` starts it, and this module is its first module.

`python -m proxy.sandbox.child MODULE ARGUMENTS…` runs MODULE. Its standard input is a pipe from the parent.
When the parent ends, however it ends, the pipe closes, and the child sends itself SIGTERM, upon which Jupyter
ends its kernels and nbgate drains. Neither half knows what it runs.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy.sandbox.processes import descendants, end

STOP_SECONDS = 10.0


class Child:
    """A module running in a process of its own; its output goes to a file. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls, module: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str], cwd: Path
    ) -> Child:
        """Run `python -m MODULE ARGUMENTS…`. It shares no terminal: Ctrl-C is for the parent alone."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the current directory on the path: files there must not hide modules.
                "-P",
                "-m",
                __name__,
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.returncode

    @property
    def last_output(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:]

    async def wait(self) -> int:
        """Return its exit status when it ends."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and after STOP_SECONDS end it by force; whatever it started does not outlive it."""
        process = self._process
        if process.returncode is None:
            started = descendants(process.pid)
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            await end(started)
        assert process.stdin is not None
        process.stdin.close()


def _follow_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow_parent, name="follow parent", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
