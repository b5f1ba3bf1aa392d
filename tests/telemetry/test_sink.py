"""The sink: nothing that the far end does makes a caller wait, and what is lost is counted and told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from proxy.telemetry.sink import FLUSH_BYTES, LineSink


class Pipe:
    """Both ends of a pipe, each closed once."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def close(self, *fds: int) -> None:
        for fd in self._open.intersection(fds or self._open):
            os.close(fd)
            self._open.remove(fd)


def loss_line(count: int, why: str) -> str:
    return f"{count} lines lost\n"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


@pytest.fixture
def make_sink() -> Iterator[Callable[..., LineSink]]:
    sinks: list[LineSink] = []

    def make(fd: int, *, max_backlog_bytes: int = 1 << 20) -> LineSink:
        sink = LineSink(fd, loss_line=loss_line, max_backlog_bytes=max_backlog_bytes)
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink.close(timeout_seconds=30)


def read_all(fd: int) -> bytes:
    data = b""
    while part := os.read(fd, 1 << 16):
        data += part
    return data


def test_buffered_lines_go_out_with_flush_and_single_ones_at_once(
    pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer)
    sink.add("one\n")
    sink.put("two\n")
    assert os.read(reader, 100) == b"two\n"
    sink.add("three\n")
    sink.flush()
    assert os.read(reader, 100) == b"one\nthree\n"
    sink.flush()
    sink.close()
    assert sink.lost == 0


def test_a_full_buffer_flushes_itself(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    reader, writer = pipe.reader, pipe.writer
    line = "x" * 1023 + "\n"
    sink = make_sink(writer)
    for _ in range(FLUSH_BYTES // 1024):
        sink.add(line)
    data = b""
    while len(data) < FLUSH_BYTES:
        data += os.read(reader, FLUSH_BYTES)
    assert data == line.encode() * (FLUSH_BYTES // 1024)


def test_close_writes_what_is_left(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer)
    sink.add("last\n")
    sink.close()
    pipe.close(writer)
    assert read_all(reader) == b"last\n"
    sink.put("too late\n")
    assert sink.lost == 1


def test_a_reader_that_stops_costs_lines_but_no_time(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    """The caller's side returns although nobody reads, and holds no more than the bound."""
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer, max_backlog_bytes=256 * 1024)
    for _ in range(1000):
        sink.put("y" * 1023 + "\n")
    # At most what the backlog and the pipe itself hold was accepted.
    assert sink.lost >= 1000 - 256 - 64
    pipe.close(reader)  # frees the writing thread, before its descriptor's number is used again


def test_the_stream_says_how_many_lines_are_missing_where_they_are_missing(
    monkeypatch: pytest.MonkeyPatch, pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    real_write = os.write
    reader, writer = pipe.reader, pipe.writer
    resume = threading.Event()

    def stuck_write(fd: int, data: bytes) -> int:
        if fd == writer:
            assert resume.wait(30)
        return real_write(fd, data)

    monkeypatch.setattr("proxy.telemetry.sink.os.write", stuck_write)
    sink = make_sink(writer, max_backlog_bytes=10)
    sink.put("123456789\n")
    for _ in range(3):
        sink.put("lost\n")
    assert sink.lost == 3
    resume.set()
    sink.close()
    pipe.close(writer)
    assert read_all(reader) == b"123456789\n3 lines lost\n"


def test_close_gives_up_on_a_reader_that_never_reads(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer)
    sink.put("z" * (1 << 19) + "\n")
    sink.close(timeout_seconds=0.05)
    pipe.close(reader)


def test_a_broken_pipe_is_counted_and_survived(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    reader, writer = pipe.reader, pipe.writer
    pipe.close(reader)
    sink = make_sink(writer)
    sink.put("one\n")
    sink.put("two\n")
    sink.close()
    assert sink.lost == 2


def test_after_a_failed_write_the_stream_goes_on_with_a_whole_line(
    monkeypatch: pytest.MonkeyPatch, pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    """As with a disk that was full for a while: half a line is ended, the loss told, the next line whole."""
    real_write = os.write
    reader, writer = pipe.reader, pipe.writer
    answers: list[int | None] = [3, None]
    failed = threading.Event()

    def failing_write(fd: int, data: bytes) -> int:
        if fd != writer or not answers:
            return real_write(fd, data)
        count = answers.pop(0)
        if count is None:
            failed.set()
            raise OSError(28, "No space left on device")
        return real_write(fd, bytes(data)[:count])

    monkeypatch.setattr("proxy.telemetry.sink.os.write", failing_write)
    sink = make_sink(writer)
    sink.put("first\n")
    assert failed.wait(5)
    sink.put("second\n")
    sink.close()
    pipe.close(writer)
    assert read_all(reader) == b"fir\n1 lines lost\nsecond\n"


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(
    pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    reader, writer = pipe.reader, pipe.writer
    os.set_blocking(writer, False)
    sink = make_sink(writer)
    text = "w" * ((1 << 18) - 1) + "\n"
    sink.put(text)
    received = b""
    while len(received) < len(text):
        received += os.read(reader, 1 << 16)
    assert received == text.encode()
    assert sink.lost == 0


def test_text_that_is_not_valid_unicode_is_still_valid_utf8(
    pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer)
    sink.put("a\udcffé\n")
    assert os.read(reader, 100).decode() == "a\\udcffé\n"


def test_lines_from_many_threads_stay_whole(pipe: Pipe, make_sink: Callable[..., LineSink]) -> None:
    reader, writer = pipe.reader, pipe.writer
    sink = make_sink(writer)

    def work(name: str) -> None:
        for number in range(100):
            sink.put(f"{name}{number}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    pipe.close(writer)
    lines = read_all(reader).decode().splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{number}" for number in range(100)]


def test_losses_add_up_until_they_can_be_told(
    monkeypatch: pytest.MonkeyPatch, pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    real_write = os.write
    reader, writer = pipe.reader, pipe.writer
    failures = 3
    failed = threading.Semaphore(0)

    def failing_write(fd: int, data: bytes) -> int:
        nonlocal failures
        if fd == writer and failures:
            failures -= 1
            failed.release()
            raise OSError(5, "Input/output error")
        return real_write(fd, data)

    monkeypatch.setattr("proxy.telemetry.sink.os.write", failing_write)
    sink = make_sink(writer)
    for _ in range(3):
        sink.put("lost\n")
        assert failed.acquire(timeout=5)
    sink.put("found\n")
    sink.close()
    pipe.close(writer)
    assert read_all(reader) == b"3 lines lost\nfound\n"
    assert sink.lost == 3


@pytest.mark.parametrize("error", [ValueError, MemoryError, RecursionError])
def test_the_thread_outlives_whatever_goes_wrong_in_it(
    pipe: Pipe, make_sink: Callable[..., LineSink], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Else all that is logged from then on would be lost, and nobody would know."""
    failed = threading.Event()
    write = os.write

    def broken(fd: int, data: bytes) -> int:
        if bytes(data).startswith(b"first"):
            failed.set()
            raise error
        return write(fd, data)

    monkeypatch.setattr(os, "write", broken)
    sink = make_sink(pipe.writer)
    sink.put("first\n")
    assert failed.wait(10)
    sink.put("second\n")
    sink.close(timeout_seconds=10)
    assert os.read(pipe.reader, 1000) == b"1 lines lost\nsecond\n"
    assert sink.lost == 1


def test_a_sink_whose_thread_has_ended_says_so(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LineSink, "_take", lambda _self: [])
    sink = LineSink(pipe.writer, loss_line=loss_line)
    sink._thread.join(10)
    assert sink.is_dead


def test_a_sink_that_waits_for_its_far_end_is_not_dead(
    pipe: Pipe, make_sink: Callable[..., LineSink]
) -> None:
    sink = make_sink(pipe.writer)
    sink.put("x" * 1_000_000)
    assert not sink.is_dead
    pipe.close(pipe.reader)
    sink.close(timeout_seconds=10)
    assert not sink.is_dead
