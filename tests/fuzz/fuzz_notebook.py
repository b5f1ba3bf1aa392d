"""Fuzz what a notebook answers: heads, interim heads, bodies, chunks, 101s and frames, bent, and cut anywhere.

    python -m tests.fuzz.fuzz_notebook [--seed N]      until Ctrl-C, or as often as is said (`--inputs N`)

A finding is a traceback and its example. Each example is one request over real sockets, whose answer is handed to the
gateway's connection in the parts that the example says, as the event loop would. Whatever comes: nothing raises, the
caller gets one answer that is framed as HTTP has it, or a connection that is cut, and there is one record. Then it
asks for something else, and must get exactly that: no connection goes back to the pool with anything of the example
in it. `test_fuzz_notebook.py` runs the first hundreds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import uvloop

# As pytest has it: the harness's modules import each other by their names alone.
sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.websocket.relay import LINGER_SECONDS
from proxy.upstream import Honoured
from tests.harness.notebook import ok
from tests.harness.peer import Peer
from tests.harness.plane import HOST, OpenPlane, open_stage
from tests.harness.waiting import settle

INPUTS_EACH = 50
End = Literal["stay", "close", "reset"]


@dataclass(frozen=True)
class Example:
    """What the caller asks, and what comes back in which parts."""

    method: str
    target: str
    mount: str
    parts: tuple[bytes, ...]
    end: End = "stay"
    honoured: Honoured = Honoured.YES
    is_http_10: bool = False
    is_upgrade: bool = False
    body: bytes = b""
    sent: int = 0
    """How much of the request's body is there before the answer comes; the rest comes behind it."""


# -- what notebooks might say -------------------------------------------------------------------------

STATUS_LINES = [
    *[b"HTTP/1.1 %d X" % code for code in (200, 200, 200, 201, 204, 206, 301, 302, 304, 401, 403, 404, 429)],
    *[b"HTTP/1.1 %d X" % code for code in (500, 502, 503, 504, 101, 101, 100, 103, 199, 299, 999)],
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ",
    b"HTTP/2 200 OK",
    b"HTTP/1.1 0200 OK",
    b"HTTP/1.1 20",
    b"HTTP/1.1  200 OK",
    b"http/1.1 200 OK",
    b"ICY 200 OK",
    b"HTTP/1.1 200 \xff\xfe",
    b"",
]
LENGTHS = [
    b"0", b"1", b"5", b"5", b"5", b"12", b"abc", b"-1", b"+5", b"5, 5", b"5,6", b"", b" 5 ", b"0x5", b"5_0", b"05",
    b"18446744073709551615", b"999999999999999999", b"9" * 5000, "\u0665".encode(), b"\xb2", b"1e3", b"5;", b"5\t",
]  # fmt: skip
ADDRESSES = [
    b"", b"/", b"/x", b"//x", b"//[", b"http://[::1", b"http://[v1.x]/", b"http://a:99999/", b"http://a:b/",
    b"http://",
    b"https://signin.aws.amazon.com/x", b"https://eu-west-1.console.aws.amazon.com/", b"\xff\xfe", b"http://\xff/",
    b"%zz", b"http://%5b/", b"/" + b"a" * 3000, b"\\\\x", b"http:/x", b"?", b"#", b"http://127.0.0.1\x09/",
    b"javascript:x",
    b"http://127.0.0.1:1/lab?next=%2F", b"http://u:p@127.0.0.1/", b"HTTP://127.0.0.1:0/", b"ws://a/",
]  # fmt: skip
COOKIES = [
    b"", b"=", b"=x", b"a", b"a=", b"a=b; Path", b"a=b; Path=;;;", b"FrontEnd=x; Path=/", b"a=b; Domain=",
    b"a=\xff",
    b"a=b; Expires=never; Max-Age=x", b"a=b; Max-Age=99999999999999999999", b"a=b; Max-Age=-1", b"; ; ;",
    b"a=b" * 500,
    b"a=b; Expires=Thu, 99 Zzz 99999 99:99:99 GMT", b"a=b; Expires=Wed, 31 Dec 9999 23:59:59 GMT", b"expiryTime=1",
]  # fmt: skip
FIELDS: dict[bytes, list[bytes]] = {
    b"Content-Length": LENGTHS,
    b"Transfer-Encoding": [b"chunked", b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked",
    b"identity", b"",
                           b"xchunked", b"chunked;q=1", b"\x0bchunked"],
    b"Connection": [b"close", b"keep-alive", b"upgrade", b"content-length", b"Set-Cookie, Location", b",,,", b"",
                    b"transfer-encoding, close", b"\xff", b"close, " * 100],
    b"Content-Type": [b"text/html", b"text/html; charset=utf-8", b"TEXT/HTML;charset=utf-16",
    b"application/json", b"",
                      b"text/html;" * 50, b"\xff/\xfe", b"application/xhtml+xml", b"text/event-stream"],
    b"Content-Encoding": [b"gzip", b"identity", b"", b"br, gzip"],
    b"Location": ADDRESSES,
    b"Content-Location": ADDRESSES,
    b"Set-Cookie": COOKIES,
    b"ETag": [b'"x"', b'W/"x"', b"W/", b"", b'"', b'"\xff"', b'"a""b"', b"x"],
    b"Content-Security-Policy": [b"report-uri /x", b"report-uri", b"report-uri //x; report-uri http://[",
    b";;;", b"",
                                 b"default-src 'none', report-uri /a /b", b"\xff"],
    b"Upgrade": [b"websocket", b"WebSocket", b"h2c", b"", b"websocket, h2c"],
    b"Sec-WebSocket-Accept": [b"x", b""],
    b"Sec-WebSocket-Extensions": [b"permessage-deflate", b""],
    b"Server": [b"TornadoServer/6.5", b"x", b""],
    b"Service-Worker-Allowed": [*ADDRESSES[:12], b"/", b"/a/../b"],
    b"Clear-Site-Data": [b'"*"', b'"cookies", "storage"', b"", b'"', b"\xff"],
    b"Refresh": [b"0", b"0; url=/x", b"0;url=http://[", b"x", b""],
    b"Link": [b"</x>; rel=preload", b"<http://[>; rel=x", b"<", b""],
    b"Access-Control-Allow-Origin": [b"*", b"null", *ADDRESSES[4:8]],
    b"Retry-After": [b"1", b"x"],
    b"Date": [b"Wed, 21 Oct 2015 07:28:00 GMT", b""],
    b"Vary": [b"*", b"Cookie"],
    b"Trailer": [b"X", b"Content-Length"],
    b"X": [b"", b"y", b"y" * 9000, b"\x80\xff"],
    b"Transfer_Encoding": [b"chunked"],
    b"Keep-Alive": [b"timeout=x"],
}  # fmt: skip
RAW_LINES = [
    b"X : y", b" folded", b"\tfolded", b": y", b"X", b"", b"X: a\x00b", b"X: a\rb", b"X: a\nb", b"(X): y",
    b"X\x00: y",
    b"Content-Length : 5", b"Content-Length: 5\nTransfer-Encoding: chunked", b"\xff: y",
]  # fmt: skip
CONFIG = b'<script id="jupyter-config-data" type="application/json">%b</script>'
PAGES = [
    b"hello", b"", b"<", b"<" * 500, b"<a href=/x>", b'<a href="/x" src=\'/y', b"<script>", b"<!--",
    b"<a href", b"<a =>",
    CONFIG % b'{"baseUrl": "/", "fullStaticUrl": "/static"}', CONFIG % b"{", CONFIG % b"[1, 2]", CONFIG % b"null",
    CONFIG % (b"[" * 20_000), CONFIG % (b'{"a":' * 5000), CONFIG % b'{"baseUrl": 5}', CONFIG % b'"\\ud800"',
    CONFIG % b'{"baseUrl": "\xff"}', CONFIG % (b"1" * 6000), CONFIG % b"NaN", CONFIG % b"1e999999",
    b'{"kernelspecs": {"a": {"resources": {"logo": "/kernelspecs/a"}}}}', b'{"kernelspecs": []}', b"[" * 20_000,
    b'{"kernelspecs": {"a": 1}}', b'{"kernelspecs": {"a": {"resources": 5}}}',
    b'{"kernelspecs":{"a":{"resources":{"l":1}}}}',
    b'{"kernelspecs": {"a": {"resources": {"l": "\\ud800/"}}}}', b"1" * 6000, b'{"kernelspecs": NaN}',
    b"\xef\xbb\xbf{}",
    b"x" * 70_000,
]  # fmt: skip
FRAMES = [
    b"\x81\x02hi", b"\x89\x00", b"\x8a\x00", b"\x88\x00", b"\x88\x02\x03\xe8", b"\x88\x02\x03\xed",
    b"\x88\x01\x03", b"\xff\xff",
    b"\x01\x01a", b"\x80\x01b", b"\x80\x00", b"\x81\x7f" + b"\xff" * 8, b"\x81\x7e\x00\x01x",
    b"\x81\x82\0\0\0\0hi", b"\x09\x00",
    b"\x89\x7e\x00\x7e", b"\xc1\x00", b"\x83\x00", b"\x81\x00" * 300,
    b"\x82\x7f" + (70_000).to_bytes(8, "big") + b"y" * 70_000,
]  # fmt: skip
EXTENSIONS = [b"", b"", b"", b";a=b", b" ;x", b";" + b"e" * 5000, b";\xff"]
TRAILERS = [b"", b"", b"", b"X: y\r\n", b"Content-Length: 5\r\n", b"x\r\n", b"X: " + b"y" * 20_000 + b"\r\n"]
TARGETS = [
    "/",
    "/lab",
    "/api/kernelspecs",
    "/api/status",
    "/files/a.html",
    "/proxy/8000/",
    "/lab?authToken=x",
]
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
METHODS = ["GET", "GET", "GET", "HEAD", "HEAD", "POST", "OPTIONS", "DELETE"]


def head(chance: random.Random) -> bytes:
    lines = [chance.choice(STATUS_LINES[:13] if chance.random() < 0.7 else STATUS_LINES)]
    for _ in range(chance.choice([0, 1, 1, 2, 2, 3, 4, 6])):
        if chance.random() < 0.03:
            lines.append(chance.choice(RAW_LINES))
        else:
            name = chance.choice(list(FIELDS))
            lines.append(name + chance.choice([b": ", b":", b":\t", b":  "]) + chance.choice(FIELDS[name]))
    if chance.random() < 0.5:
        lines.append(
            chance.choice([b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Type: text/html"])
        )
    if chance.random() < 0.01:
        lines += [b"X: y"] * chance.choice([200, 2000])
    return b"\r\n".join(lines) + chance.choice([b"\r\n\r\n"] * 20 + [b"\n\n", b"\r\n", b"\r\n\r"])


def chunked(chance: random.Random, payload: bytes) -> bytes:
    data, at = b"", 0
    while at < len(payload):
        size = chance.choice([1, 2, 7, 100, len(payload)])
        piece = payload[at : at + size]
        at += len(piece)
        data += b"%x%b\r\n%b\r\n" % (len(piece), chance.choice(EXTENSIONS), piece)
        if len(data) > 200_000:
            break
    return data + b"0\r\n" + chance.choice(TRAILERS) + b"\r\n"


def answer(chance: random.Random) -> bytes:
    said = b"".join(
        chance.choice(
            [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nLink: </x>\r\n\r\n", head(chance)]
        )
        for _ in range(chance.choice([0] * 12 + [1, 2, 70]))
    )
    said += head(chance)
    body = chance.choice(PAGES) if chance.random() < 0.8 else b"".join(chance.choices(FRAMES, k=5))
    said += chunked(chance, body) if chance.random() < 0.4 else body
    if chance.random() < 0.1:
        # An answer that nobody asked for.
        said += head(chance) + b"hello"
    return said


def bent(chance: random.Random, data: bytes) -> bytes:
    bending = bytearray(data)
    for _ in range(chance.choice([0, 0, 0, 1, 2, 5])):
        # Mostly in the head, where most is decided.
        at = chance.randint(0, min(len(bending), chance.choice([40, 400, len(bending)])))
        kind = chance.randrange(4)
        if kind == 0:
            bending[at:at] = chance.choice(b'\x00\t\n\r "%,.:;=[\\]_0\xff').to_bytes(1, "big")
        elif kind == 1:
            del bending[at : at + chance.randint(1, 4)]
        elif kind == 2 and at < len(bending):
            bending[at] ^= 1 << chance.randrange(8)
        else:
            del bending[at + chance.randint(0, 200) :]
    return bytes(bending)


def cut(chance: random.Random, data: bytes) -> tuple[bytes, ...]:
    """Mostly into few parts, sometimes into bytes."""
    if chance.random() < 0.05:
        near = data[:600]
        return (*(near[at : at + 1] for at in range(len(near))), data[600:])
    places = sorted(chance.randint(0, len(data)) for _ in range(chance.choice([0, 0, 1, 1, 2, 4])))
    return tuple(data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b)


def example(chance: random.Random) -> Example:
    is_upgrade = chance.random() < 0.15
    method = "GET" if is_upgrade else chance.choice(METHODS)
    body = chance.choice([b"", bytes(10), bytes(70_000), bytes(200_000)]) if method == "POST" else b""
    return Example(
        method=method,
        target=chance.choice(TARGETS),
        mount=chance.choice(["root", "path"]),
        parts=cut(chance, bent(chance, answer(chance))),
        end=chance.choice(["stay", "stay", "close", "reset"]),
        honoured=chance.choice([Honoured.YES, Honoured.YES, Honoured.NO, Honoured.UNTOLD]),
        is_http_10=not is_upgrade and chance.random() < 0.05,
        is_upgrade=is_upgrade,
        body=body,
        sent=chance.choice([0, 1, len(body)]) if body else 0,
    )


# -- what must hold -----------------------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """Takes all that comes."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.has_ended = True

    def connection_lost(self, _exc: Exception | None) -> None:
        self.has_ended = True

    def take(self) -> bytes:
        """What came since the last time."""
        got = bytes(self.received)
        self.received.clear()
        return got


@dataclass
class Stages:
    """The gateway with a root mount, and with a path mount, for all examples. `broken` is what reached the loop."""

    by_mount: dict[str, OpenPlane]
    broken: list[Any] = field(default_factory=list)


async def open_stages(stack: AsyncExitStack) -> Stages:
    stages = Stages({})
    for name, mount in (("root", "root"), ("path", {"path": "/research/"})):
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages.by_mount[name] = await stack.enter_async_context(open_stage(directory, mount=mount))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: stages.broken.append(context))
    return stages


async def check(stages: Stages, one: Example) -> None:
    """Play an example, and raise where something does not hold."""
    stage = stages.by_mount[one.mount]
    stage.records.clear()
    stage.keeper.honoured_as = one.honoured
    prefix = "/research" if one.mount == "path" else ""
    _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", stage.port)
    caller.transport.write(request(one, prefix) + one.body[: one.sent])
    notebook = await stage.notebook()
    await notebook.head()
    taking = asyncio.ensure_future(take_all(notebook)) if one.body else None
    [connection] = connections(stage)
    for part in one.parts:
        await give(connection, part)
    if one.end == "close":
        notebook.close()
    elif one.end == "reset":
        notebook.reset()
    await turns()
    if not caller.has_ended:
        caller.transport.write(one.body[one.sent :])
    await turns()
    if taking is not None:
        taking.cancel()
    got, is_open = await heard(stage, caller)
    assert not stages.broken, stages.broken
    assert not stage.faults, stage.faults
    assert len(stage.records) + len(stage.plane.open.relays) == 1, stage.records
    final = one_answer(got, one.method, is_open=is_open)
    if stage.plane.open.relays:
        caller.transport.abort()
        await turns()
        for _ in range(2):
            # A notebook that sent nonsense is left a moment to read why it is over.
            stage.plane.sweep()
            await stage.clock.jump(LINGER_SECONDS)
        await until(lambda: not stage.plane.open.relays)
    elif is_open and final and not one.is_http_10 and not one.body:
        await ask_again(stage, caller, notebook, prefix)
    caller.transport.abort()
    await until(lambda: not stage.connections)
    assert len({record.request_id for record in stage.records}) == len(stage.records), stage.records
    stage.plane.pool.close()
    for left in connections(stage):
        left.abort()
    await until(lambda: not connections(stage))
    notebook.close()
    assert not stages.broken, stages.broken


def request(one: Example, prefix: str) -> bytes:
    version = "1.0" if one.is_http_10 else "1.1"
    fields = f"Host: {HOST}\r\nAccept: text/html\r\n"
    if one.body:
        fields += f"Content-Length: {len(one.body)}\r\n"
    if one.is_upgrade:
        fields += UPGRADE
    return f"{one.method} {prefix}{one.target} HTTP/{version}\r\n{fields}\r\n".encode()


async def take_all(notebook: Peer) -> None:
    """A notebook that takes what it is sent."""
    try:
        while await notebook.reader.read(65536):
            pass
    except ConnectionError:
        pass


def connections(stage: OpenPlane) -> list[UpstreamConnection]:
    return [one for of_origin in stage.plane.pool._open.values() for one in of_origin]


async def give(connection: UpstreamConnection, part: bytes) -> None:
    """Hand a part over as the loop does: to whoever has the connection now, and only while it reads."""
    transport = connection.transport
    for _ in range(2000):
        if transport.is_closing() or transport.is_reading():
            break
        await asyncio.sleep(0)
    else:
        return  # it waits for something that the end of the example will bring
    while part and not transport.is_closing():
        protocol: Any = transport.get_protocol()
        if isinstance(protocol, asyncio.BufferedProtocol) or hasattr(protocol, "buffer_updated"):
            memory = protocol.get_buffer(-1)
            size = min(len(memory), len(part))
            memory[:size] = part[:size]
            protocol.buffer_updated(size)
            part = part[size:]
        else:
            protocol.data_received(part)
            part = b""
    await asyncio.sleep(0)


async def turns() -> None:
    """Until nothing is left to do that the loop can do by itself."""
    await settle(5)


patience_seconds = 30.0
"""Of the machine's own clock, until something that has to come is missed."""


async def until(holds: Any) -> None:
    async with asyncio.timeout(patience_seconds):
        while not holds():
            await asyncio.sleep(0)


async def heard(stage: OpenPlane, caller: Caller) -> tuple[bytes, bool]:
    """All that the caller got, and whether its connection is still open. Time passes for what never ends by itself."""
    patience = stage.plane.current.timeouts
    for seconds in (0.0, patience.response_head_seconds, patience.response_body_seconds, 5.0):
        if seconds:
            stage.plane.sweep()
            await stage.clock.jump(seconds)
            stage.plane.sweep()
        await turns()
        if stage.records or stage.plane.open.relays:
            break
    assert stage.records or stage.plane.open.relays, "it goes on for ever"
    if not stage.connections and not stage.plane.open.relays:
        await until(lambda: caller.has_ended)
    # Whatever was written is on its way: a turn of the kernel's, and it is there.
    for _ in range(3):
        await asyncio.sleep(0.001)
    return caller.take(), not caller.has_ended


def one_answer(got: bytes, method: str, *, is_open: bool) -> bool:
    """Check the framing of what the caller got. True: a whole final answer, False: none, or half of one."""
    while got:
        if b"\r\n\r\n" not in got:
            assert not is_open, got
            return False
        first, _, rest = got.partition(b"\r\n\r\n")
        status_line, *lines = first.split(b"\r\n")
        assert status_line.startswith(b"HTTP/1.1 "), status_line
        status = int(status_line[9:12])
        fields = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
        ]
        assert all(name and not set(name) & set(b" \t") for name, _ in fields), lines
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        assert len(lengths) + len(codings) <= 1, lines
        assert all(value.isdigit() and len(value) <= 18 for value in lengths), lengths
        assert codings in ([], [b"chunked"]), codings
        if status == 101:
            return False
        if status < 200:
            got = rest
            continue
        if method == "HEAD" or status in (204, 304):
            assert rest == b"", rest
            return True
        if codings:
            whole, left = dechunked(rest)
            assert left == b"", left
            assert whole or not is_open
            return whole
        if lengths:
            assert len(rest) <= int(lengths[0])
            assert len(rest) == int(lengths[0]) or not is_open
            return len(rest) == int(lengths[0])
        # Its end is the connection's.
        assert not is_open
        return False
    return False


def dechunked(data: bytes) -> tuple[bool, bytes]:
    """Whether a chunked body is complete, and what follows it."""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return False, b""
        size = int(line, 16)
        if size == 0:
            return (True, rest[2:]) if rest.startswith(b"\r\n") else (False, b"")
        if len(rest) < size + 2:
            return False, b""
        assert rest[size : size + 2] == b"\r\n"
        data = rest[size + 2 :]


async def ask_again(stage: OpenPlane, caller: Caller, notebook: Peer, prefix: str) -> None:
    """The next request on the same connection gets its own answer, wherever it is sent."""
    before, records = stage.upstream.accepted, len(stage.records)
    caller.transport.write(f"GET {prefix}/probe HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    await until(
        lambda: (
            stage.upstream.accepted > before or b"/probe" in notebook.unread or len(stage.records) > records
        )
    )
    assert len(stage.records) == records, stage.records
    answering = await stage.notebook() if stage.upstream.accepted > before else notebook
    assert b"GET /probe " in await answering.head()
    answering.send(ok(b"probed", fields=b"Content-Type: text/plain\r\nServer: TornadoServer/6.5\r\n"))
    await until(lambda: len(stage.records) > records and caller.received.endswith(b"probed"))
    said = caller.take()
    assert said.startswith(b"HTTP/1.1 200 "), said
    assert one_answer(said, "GET", is_open=True)
    if answering is not notebook:
        answering.close()


async def run(seed: int, *, examples: float = float("inf")) -> int:
    """Check so many; raises, after printing the example, where one finds something."""
    chance, tried = random.Random(seed), 0
    async with AsyncExitStack() as stack:
        stages = await open_stages(stack)
        while tried < examples:
            one = example(chance)
            try:
                await check(stages, one)
            except Exception:
                print(f"after {tried} of seed {seed}: {one!r}"[:5000])
                raise
            tried += 1
    return tried


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument(
        "--inputs", type=int, help=f"an exchange counts as {INPUTS_EACH}, so long as it takes"
    )
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    most = float("inf") if options.inputs is None else options.inputs // INPUTS_EACH
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(f"{runner.run(run(options.seed, examples=most))} exchanges, nothing found")


if __name__ == "__main__":
    main()
