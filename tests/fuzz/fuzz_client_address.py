"""Fuzz what callers can write about their own address: forwarding headers, and PROXY protocol preludes.

    python -m tests.fuzz.fuzz_client_address                    until Ctrl-C; a finding is a traceback and its input
    python -m tests.fuzz.fuzz_client_address -runs=1000000      with atheris: libFuzzer's options, a corpus directory

With atheris (`pip install atheris`) the fuzzer follows coverage, from the corpus of spellings on, and keeps what it
finds in build/fuzz/; without it, the corpus is mutated at random, from a seed that is printed and can be given
(`--seed N`), until Ctrl-C or as often as is said (`--inputs N`). `test_fuzz_target.py` runs the same checks on the
corpus itself, and on a few thousand mutations.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from ipaddress import ip_network
from pathlib import Path

from multidict import CIMultiDict

from proxy.client_address.networks import NetworkSet, parse_address
from proxy.client_address.proxy_protocol import Prelude, PreludeError, PreludeSource
from proxy.client_address.resolve import (
    ClientAddress,
    ForwardingHeader,
    HopCount,
    SingleHeader,
    Strategy,
    TrustedProxies,
    forwarded_scheme,
    resolve,
)
from tests.client_address.spellings import FIELDS, SPELLINGS

BUILD = Path(__file__).parents[2] / "build" / "fuzz"
PROXIES = NetworkSet([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
PROXY, EVIL = parse_address("10.0.0.1"), parse_address("192.0.2.66")

STRATEGIES: tuple[Strategy, ...] = (
    TrustedProxies(PROXIES),
    TrustedProxies(PROXIES, ForwardingHeader.FORWARDED),
    HopCount(PROXIES, 1),
    HopCount(PROXIES, 1, ForwardingHeader.FORWARDED),
    HopCount(PROXIES, 4),
    SingleHeader(PROXIES, "cf-connecting-ip"),
)
APPENDED = (f"{EVIL}", f"for={EVIL}", f"{EVIL}", f"for={EVIL}", None, None)
"""What the nearest proxy adds, where that decides."""


def check(data: bytes) -> None:
    """What must hold for any bytes: they are lines of fields, and a prelude."""
    lines = [line.decode("utf-8", "surrogateescape") for line in data.split(b"\n")]
    fields = [(FIELDS[len(line) % len(FIELDS)], line) for line in lines]
    for trusted, appended in zip(STRATEGIES, APPENDED, strict=True):
        spoken = CIMultiDict(fields)
        assert resolve(EVIL, spoken, trusted) == ClientAddress(EVIL, EVIL)
        assert resolve(None, spoken, trusted).address is None
        assert forwarded_scheme(EVIL, spoken, trusted) is None
        name = trusted.name if isinstance(trusted, SingleHeader) else trusted.header.value
        repeated = CIMultiDict([(name, line) for line in lines])
        for peer, vouched in ((PROXY, False), (None, True)):
            found = resolve(peer, repeated, trusted, vouched=vouched)
            assert found.problem.isprintable()
            assert (found.address is None) == bool(found.problem)
            forwarded_scheme(peer, repeated, trusted, vouched=vouched)
        if appended is not None:
            repeated.add(name, appended)
            assert resolve(PROXY, repeated, trusted).address == EVIL
            joined = CIMultiDict([(name, ", ".join([*lines, appended]))])
            assert resolve(PROXY, joined, trusted).address == EVIL
    at_once = prelude(data, step=len(data))
    assert at_once == prelude(data, step=1) == prelude(data, step=7)


def prelude(data: bytes, *, step: int) -> tuple[PreludeSource | None, int] | None:
    """What is read of `data` as it arrives in parts of `step` bytes, and how much of it; None: it is refused."""
    reader, at = Prelude(), 0
    try:
        while at < len(data):
            part = data[at : at + min(reader.wanted, step)]
            at += len(part)
            found = reader.feed(part)
            if found is not None:
                return found, at
    except PreludeError:
        return None
    return None, at


SEEDS = [
    *(spelling.encode("utf-8", "surrogateescape") for spelling in SPELLINGS),
    b"PROXY TCP4 203.0.113.5 10.0.0.1 1 2\r\n",
    b"PROXY TCP6 2001:db8::5 2001:db8::1 1 2\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\5\x0a\0\0\1\0\1\0\2",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
]


def mutated(chance: random.Random) -> bytes:
    """Some seeds, joined, cut and bent."""
    glue = chance.choice([b"", b",", b", ", b"\n", b";", b'"', b"\\", b" "])
    data = bytearray(glue.join(chance.choices(SEEDS, k=chance.randint(1, 5))))
    for _ in range(chance.randint(0, 6)):
        at = chance.randint(0, len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[at:at] = chance.choice(b'\x00\t\n\r "%,.:;=[\\]_0\xff').to_bytes(1, "big")
        elif kind == 1:
            del data[at : at + chance.randint(1, 4)]
        elif at < len(data):
            data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def main() -> None:
    if importlib.util.find_spec("atheris") is not None:
        import atheris

        seeds, found = BUILD / "seeds", BUILD / "found"
        for directory in (seeds, found):
            directory.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            (seeds / str(number)).write_bytes(seed)
        atheris.instrument_all()
        # libFuzzer begins with what is in all directories, and keeps what it finds in the first.
        has_corpus = any(not argument.startswith("-") for argument in sys.argv[1:])
        atheris.Setup([*sys.argv, *([] if has_corpus else [str(found)]), str(seeds)], check)
        atheris.Fuzz()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--inputs", type=int)
    options = parser.parse_args()
    print(f"atheris is not installed: mutating at random, --seed {options.seed}", flush=True)
    chance, tried, data = random.Random(options.seed), 0, b""
    try:
        while tried != options.inputs:
            data = mutated(chance)
            check(data)
            tried += 1
    except KeyboardInterrupt:
        pass
    except BaseException:
        print(f"after {tried} inputs: {data!r}")
        raise
    print(f"{tried} inputs, nothing found")


if __name__ == "__main__":
    main()
