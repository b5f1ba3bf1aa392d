"""The load and the origin: all that they exchange is verified, and a single bit that differs is noticed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.benchmarks.install import install, program
from tests.benchmarks.processes import LoadError, run_load
from tests.benchmarks.rounds import origin
from tests.harness.installed import installed
from tests.harness.ports import held_port

pytestmark = [pytest.mark.program, pytest.mark.serial]

SIZE = 3_000_001
TRANSFERS = {
    "download": ("download", SIZE, "length"),
    "download, chunked": ("download", SIZE, "chunked"),
    "upload": ("upload", SIZE, "length"),
    "upload, chunked": ("upload", SIZE, "chunked"),
    "echo": ("echo", 2, 0.2, 0),
    "flood of 64 bytes": ("source", 64, 0.1),
    "flood of 64 KiB": ("source", 65536, 0.1),
    "flood of 64 bytes to the origin": ("sink", 64, 0.1),
    "flood of 64 KiB to the origin": ("sink", 65536, 0.1),
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    installed("cc")
    installed("setpriv")
    install([], plot=False, wrk=False)
    with origin() as (_, number):
        yield number


def relay_once(upstream_port: int, *, flip_at: int) -> int:
    """A relay for one connection that flips a bit in each direction, so many bytes behind the head; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        begun = False
        try:
            while data := bytearray(source.recv(65536)):
                body = 0 if begun else data.find(b"\r\n\r\n") + 4
                begun = True
                at = body + flip_at - passed
                if body <= at < len(data):
                    data[at] ^= 1
                passed += len(data) - body
                sink.sendall(data)
        except OSError:
            pass  # the load gives up, as it should
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve() -> None:
        with closing(listener):
            caller, _ = listener.accept()
        with caller, socket.create_connection(("127.0.0.1", upstream_port)) as upstream:
            back = threading.Thread(target=pump, args=(upstream, caller))
            back.start()
            pump(caller, upstream)
            back.join()

    threading.Thread(target=serve, daemon=True).start()
    number: int = listener.getsockname()[1]
    return number


@pytest.mark.parametrize("words", TRANSFERS.values(), ids=TRANSFERS)
def test_a_transfer_is_verified(port: int, words: tuple[object, ...]) -> None:
    result = run_load(program("load"), port, *words)
    assert result["seconds"] > 0
    assert result.get("bytes", SIZE) > 0


@pytest.mark.parametrize(
    "words",
    [words for words in TRANSFERS.values() if words[0] != "echo"],
    ids=lambda words: f"{words[0]}-{words[1]}",
)
def test_a_bit_that_differs_ends_the_run(port: int, words: tuple[object, ...]) -> None:
    # Behind the head and the first chunk's or frame's own head, in the middle of the payload.
    with pytest.raises(LoadError):
        run_load(program("load"), relay_once(port, flip_at=40), *words)


def test_an_echo_that_differs_ends_the_run(port: int) -> None:
    with pytest.raises(LoadError, match="an echo differs"):
        run_load(program("load"), relay_once(port, flip_at=40), "echo", 1, 5, 0)


def test_small_gets_come_at_the_rate_that_is_asked_for(port: int) -> None:
    result = run_load(program("load"), port, "get", 200, 0.5, 4)
    assert result["requests"] == 100
    assert result["seconds"] > 0.4
    assert 0 < result["p50_us"] <= result["p99_us"]


def test_websockets_are_opened_used_and_closed(port: int) -> None:
    result = run_load(program("load"), port, "echo", 4, 0.2, 1)
    assert result["closed"] > 4
    assert result["echoes"] >= result["closed"]


@pytest.mark.usefixtures("port")
def test_a_load_that_nobody_answers_says_so() -> None:
    with held_port() as number, pytest.raises(LoadError, match="connect"):
        run_load(program("load"), number, "download", 1, "length")
