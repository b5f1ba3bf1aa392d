"""Connections are taken some at a time, and running out of descriptors is neither an end nor a spin."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.client_address.networks import Address
from proxy.server.accepting import AT_ONCE, REST_SECONDS, Acceptor
from proxy.tasks import Tasks
from tests.harness.clocks import FakeClock
from tests.harness.waiting import settle


class ListeningSocket(socket.socket):
    """Raises `failures` before it accepts anything."""

    failures: list[OSError]
    tried = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tried += 1
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


@dataclass
class Post:
    sock: ListeningSocket
    acceptor: Acceptor
    clock: FakeClock
    received: list[tuple[socket.socket, Address | None]]
    faults: list[OSError]

    def call(self) -> socket.socket:
        """A caller that the kernel has let in already."""
        return socket.create_connection(self.sock.getsockname())

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.received) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    received: list[tuple[socket.socket, Address | None]] = []
    faults: list[OSError] = []
    sock = ListeningSocket(socket.AF_INET, socket.SOCK_STREAM)
    sock.failures = []
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    clock = FakeClock()
    tasks = Tasks(lambda _name, error: pytest.fail(str(error)))
    acceptor = Acceptor(
        sock,
        lambda *connection: received.append(connection),
        on_fault=faults.append,
        clock=clock,
        tasks=tasks,
    )
    acceptor.open()
    post = Post(sock, acceptor, clock, received=received, faults=faults)
    yield post
    acceptor.close()
    acceptor.close()
    await tasks.close()
    for one, _ in received:
        one.close()


async def test_what_comes_is_handed_on_with_its_address_and_does_not_block(post: Post) -> None:
    with post.call():
        await post.until(1)
        [(sock, peer)] = post.received
        assert str(peer) == "127.0.0.1"
        assert not sock.getblocking()


async def test_a_flood_is_taken_in_parts(post: Post) -> None:
    """The loop turns in between, so that nobody who is in already waits for all of them."""
    post.sock.listen(3 * AT_ONCE)
    callers = [post.call() for _ in range(3 * AT_ONCE)]
    seen = []
    async with asyncio.timeout(30):
        while len(post.received) < 3 * AT_ONCE:
            await asyncio.sleep(0)
            seen.append(len(post.received))
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= AT_ONCE
    for caller in callers:
        caller.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EPERM])
async def test_where_nothing_can_be_taken_it_rests_and_goes_on(post: Post, number: int) -> None:
    """asyncio's way ends in a log line for each turn of the loop, uvloop's closes the connection or the listener."""
    post.sock.failures += [OSError(number, "no"), OSError(number, "still no")]
    with post.call():
        async with asyncio.timeout(30):
            while not post.faults:
                await asyncio.sleep(0.001)
        await settle(200)
        assert post.sock.tried == 1
        await post.clock.advance(REST_SECONDS)
        async with asyncio.timeout(30):
            while len(post.faults) < 2:
                await asyncio.sleep(0.001)
        assert not post.received
        await post.clock.advance(REST_SECONDS)
        await post.until(1)
        assert [error.errno for error in post.faults] == [number] * 2


async def test_a_connection_that_was_gone_before_its_turn_is_no_fault(post: Post) -> None:
    post.sock.failures.append(ConnectionAbortedError(errno.ECONNABORTED, "gone"))
    with post.call():
        await post.until(1)
    assert not post.faults


async def test_closing_while_it_rests_ends_it(post: Post) -> None:
    post.sock.failures.append(OSError(errno.EMFILE, "no"))
    with post.call():
        async with asyncio.timeout(30):
            while not post.faults:
                await asyncio.sleep(0.001)
        post.acceptor.close()
        await post.clock.advance(REST_SECONDS)
        assert not post.received


async def test_closing_within_a_turn_takes_nothing_more(post: Post) -> None:

    def close(sock: socket.socket, _peer: object) -> None:
        sock.close()
        post.acceptor.close()

    post.acceptor._receive = close
    with post.call(), post.call():
        async with asyncio.timeout(30):
            while post.sock.fileno() >= 0:
                await asyncio.sleep(0.001)
    assert post.sock.tried == 1


async def test_a_receiver_that_fails_leaves_no_connection_open(post: Post) -> None:
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))

    def fail(_sock: socket.socket, _peer: Address | None) -> None:
        raise RuntimeError("a fault of our own")

    post.acceptor._receive = fail
    with post.call() as caller:
        caller.settimeout(10)
        assert await asyncio.to_thread(caller.recv, 1) == b""
        assert [type(error) for error in told] == [RuntimeError]


async def test_who_cannot_listen_again_tries_on(post: Post) -> None:
    """The kernel may refuse that, too; else nobody would be let in any more."""
    loop, failures = asyncio.get_running_loop(), [OSError(errno.ENOMEM, "no"), OSError(errno.ENOSPC, "no")]

    class Reluctant:
        remove_reader = staticmethod(loop.remove_reader)

        @staticmethod
        def add_reader(*listening: object) -> None:
            if failures:
                raise failures.pop(0)
            loop.add_reader(*listening)  # type: ignore[arg-type]

    post.acceptor._loop = Reluctant()  # type: ignore[assignment]
    post.sock.failures = [OSError(errno.EMFILE, "no")]
    with post.call():
        async with asyncio.timeout(30):
            while not post.faults:
                await asyncio.sleep(0.001)
        for _ in range(3):
            await post.clock.advance(REST_SECONDS)
        await post.until(1)
    assert [error.errno for error in post.faults] == [errno.EMFILE, errno.ENOMEM, errno.ENOSPC]
    for sock, _ in post.received:
        sock.close()
