"""Carries finished lines to a file descriptor without ever making the caller wait.

A thread of its own does the writing, because nothing else keeps the event loop safe from a log collector
that stopped reading, a terminal under Ctrl-S or a disk that hangs (`O_NONBLOCK` would be shared with every
other process that holds the descriptor, and does nothing for files). What does not fit into the bounded
backlog, or cannot be written, is dropped and counted, and the next write that succeeds says how much is
missing. The sink knows nothing of what a line means.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FLUSH_BYTES: Final = 256 * 1024
WRITE_BYTES: Final = 1024 * 1024
MAX_BACKLOG_BYTES: Final = 8 * 1024 * 1024


OVERFULL: Final = "whoever takes the log is too slow"


def _keep_quiet(_why: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Whole lines that wait to be written, and how many were lost right before them."""

    data: bytes
    lines: int
    lost_before: int


class LineSink:
    """Lines on their way to `fd`, which the sink does not own and never closes.

    `loss_line(count, why)` formats the line that says how many are missing; `complain(why)` is called when writing
    begins to fail, for there is nobody else to tell. Both are called in the sink's thread.
    """

    def __init__(
        self,
        fd: int,
        *,
        loss_line: Callable[[int, str], str],
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
        complain: Callable[[str], None] = _keep_quiet,
    ) -> None:
        self._fd = fd
        self._loss_line = loss_line
        self._complain = complain
        self._why = ""
        """Why writing fails, since it last succeeded."""
        self._max_backlog_bytes = max_backlog_bytes
        self._buffer: list[str] = []
        self._buffered = 0
        self._state = threading.Condition()
        self._backlog: deque[_Chunk] = deque()
        self._backlog_bytes = 0
        self._lost = 0
        self._lost_untold = 0
        self._closing = False
        self._mid_line = False
        self._thread = threading.Thread(target=self._run, name="nbgate-log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines were dropped since the start."""
        return self._lost

    def add(self, line: str) -> None:
        """Buffer one line (its newline included) until `flush()` or 256 KiB. Event loop's thread only."""
        self._buffer.append(line)
        self._buffered += len(line)
        if self._buffered >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand the buffered lines to the writing thread. Event loop's thread only; free when there are
        none.
        """
        if self._buffer:
            lines, self._buffer, self._buffered = self._buffer, [], 0
            self._put("".join(lines), len(lines))

    def put(self, line: str) -> None:
        """Hand over one line (its newline included) at once. Any thread."""
        self._put(line, 1)

    def close(self, *, timeout_seconds: float = 2.0) -> None:
        """Write what is left, waiting at most `timeout_seconds` for a sink that does not take it."""
        self.flush()
        with self._state:
            if not self._closing:
                self._closing = True
                self._accept(b"", 0)
        self._thread.join(timeout_seconds)

    def _put(self, text: str, count: int) -> None:
        # Lone surrogates stand for bytes that are not UTF-8; a log must stay readable as UTF-8.
        data = text.encode("utf-8", "backslashreplace")
        with self._state:
            if self._closing or self._backlog_bytes + len(data) > self._max_backlog_bytes:
                self._lost += count
                self._lost_untold += count
            else:
                self._accept(data, count)

    def _accept(self, data: bytes, count: int) -> None:
        self._backlog.append(_Chunk(data, count, self._lost_untold))
        self._backlog_bytes += len(data)
        self._lost_untold = 0
        self._state.notify()

    @property
    def is_dead(self) -> bool:
        """Nothing is written any more, although nobody closed the sink. One that only waits is not dead."""
        return not self._closing and not self._thread.is_alive()

    def _run(self) -> None:
        untold = 0
        while chunks := self._take():
            missing = untold + sum(chunk.lost_before for chunk in chunks)
            try:
                self._write_all(chunks, untold)
                lost = untold = 0
                self._why = ""
            except Exception as error:
                # Whatever it was, the next lines get their turn, and these are counted.
                self._fails(error)
                lost = sum(chunk.lines for chunk in chunks)
                untold = missing + lost
            with self._state:
                # The bytes count against the bound until they are out: a write under way may last for ever.
                self._backlog_bytes -= sum(len(chunk.data) for chunk in chunks)
                self._lost += lost

    def _fails(self, error: Exception) -> None:
        is_news, self._why = not self._why, (getattr(error, "strerror", "") or type(error).__name__)
        if is_news:
            try:
                self._complain(self._why)
            except OSError:
                pass  # nobody hears of it but from the number of lines that are missing

    def _write_all(self, chunks: list[_Chunk], untold: int) -> None:
        """Write these lines, each gap among them with how many are missing there, `untold` before the first."""
        text = []
        for chunk in chunks:
            untold += chunk.lost_before
            if untold:
                text.append(
                    self._loss_line(untold, self._why or OVERFULL).encode("utf-8", "backslashreplace")
                )
            text.append(chunk.data)
            untold = 0
        if self._mid_line:
            self._write(b"\n")
        self._write(b"".join(text))

    def _take(self) -> list[_Chunk]:
        """Wait for lines; take about 1 MiB of them at once, since each turn waits for the interpreter's
        lock.

        Returns nothing at the end.
        """
        with self._state:
            while not self._backlog and not self._closing:
                self._state.wait()
            chunks, size = [], 0
            while self._backlog and size < WRITE_BYTES:
                chunks.append(self._backlog.popleft())
                size += len(chunks[-1].data)
            return chunks

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._fd, view)
            except BlockingIOError:
                # Somebody else made the shared descriptor non-blocking.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
                continue
            self._mid_line = view[written - 1] != 0x0A
            view = view[written:]
