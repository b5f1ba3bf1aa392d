"""What a WebSocket keeps of the request that it came from."""

from __future__ import annotations

import gc

import aiohttp

from proxy.dataplane.answer.forward import Forward
from proxy.dataplane.caller.connection import CallerConnection
from proxy.dataplane.caller.request import Request
from tests.harness.gateway import Rig


def http_objects() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, CallerConnection | Request | Forward)]


async def test_a_websocket_holds_nothing_of_the_http_connection_that_it_was(rig: Rig) -> None:
    """A WebSocket may last for days: parser, request and exchange are freed once both transports are spliced."""
    gc.collect()
    # Of other tests, whose loops do not run any more.
    before = set(map(id, kept := http_objects()))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{rig.origin}/ws", origin=rig.origin) as socket,
    ):
        await socket.send_str("one")
        assert (await socket.receive()).data == "one"
        gc.collect()
        assert [one for one in http_objects() if id(one) not in before] == []
        assert len(rig.gateway.plane.open.relays) == 1
        await socket.send_str("two")
        assert (await socket.receive()).data == "two"
    del kept
