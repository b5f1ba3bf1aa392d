"""Faults in messages that are good, for tests that compare readers of HTTP/1 with each other."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

PIECES = (
    *(b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\t", b"\n\n", b"\0", b" ", b"\t", b":", b" :", b"::", b"\x0b"),
    *(b"\x0c", b"\x80", b"\xff", b"\x7f", b"#", b",", b";", b"+", b"-", b"0", b"1" * 20, b"_", b"/", b"("),
    *(b'"', b"\x1c", b"\x85", b"\xc4\xb1", b"http://", b"GET ", b"chunked", b"identity"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Host: b\r\n", b"Upgrade: h2c\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n"),
    *(b"Expect: x\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"RTSP/1.0", b"HTTP/1.1 "),
)
"""What readers disagree about."""


def mutated(seeds: Sequence[bytes], *, seed: int, count: int) -> Iterator[bytes]:
    """So many of these, each with one to three faults in it."""
    chance = random.Random(seed)
    for _ in range(count):
        yield with_faults(chance.choice(seeds), chance)


def with_faults(good: bytes, chance: random.Random) -> bytes:
    """Something put in, put in another's place, taken away, or said twice."""
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(PIECES)
            case 1:
                data[at : at + chance.randrange(1, 4)] = chance.choice(PIECES)
            case 2:
                del data[at : at + chance.randrange(1, 6)]
            case 3:
                data[at : at + 1] = bytes((chance.randrange(256),))
            case _:
                end = at + chance.randrange(1, 20)
                data[at:at] = data[at:end]
    return bytes(data)
