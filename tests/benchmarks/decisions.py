"""What a decision costs by the number of prefixes listed: for an address not seen before, and on a decided connection.

The rule: all that is done for a new connection is timed, from the text that the socket gives to the decision, through
the gateway itself; every decision is compared with what it should be. Of a connection that was decided about, it is
all of `Gateway.admit` for one more request. In CPU time, which others' work disturbs least.
`python -m tests.benchmarks.decisions` prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from multidict import CIMultiDict

from proxy.admission.caller import Inbound
from proxy.admission.rules import Rules
from proxy.admission.verdict import Admission
from proxy.client_address.networks import Network, NetworkSet, peer_address
from proxy.client_address.resolve import ForwardingHeader, TrustedProxies
from proxy.gateway import Gateway
from proxy.policy.judge import Judge, Question
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy
from proxy.routing.mounts import Mount
from proxy.routing.router import Router
from proxy.server.run import GC_THRESHOLDS

SIZES = {"10": 10, "1k": 1_000, "100k": 100_000}
FAMILIES = ("v4", "v6")
DECISIONS_PER_BATCH = 2_000
BATCHES = 25
INSTANCE = "benchmark"


def prefixes(family: str, count: int, chance: random.Random) -> list[Network]:
    """Distinct prefixes, spread over the address space: /24 and longer, /48 and longer."""
    if family == "v4":
        starts = chance.sample(range(1 << 16, 224 << 16), count)
        return [IPv4Network((start << 8, chance.choice((24, 26, 28))), strict=False) for start in starts]
    starts = chance.sample(range(0x2001 << 32, 0x3000 << 32), count)
    return [IPv6Network((start << 80, chance.choice((48, 56, 64))), strict=False) for start in starts]


def addresses(family: str, networks: list[Network], chance: random.Random, count: int) -> dict[str, bool]:
    """As a socket spells them, all different, half of them listed; with whether each is, found by other means."""
    bits = networks[0].max_prefixlen
    starts = {
        (int(network.network_address) >> bits - network.prefixlen, network.prefixlen) for network in networks
    }
    lengths = {length for _, length in starts}
    found: dict[str, bool] = {}
    while len(found) < count:
        network = chance.choice(networks)
        number = int(network.network_address) + chance.randrange(network.num_addresses)
        if chance.random() < 0.5:
            number = chance.getrandbits(bits)
        address = IPv4Address(number) if family == "v4" else IPv6Address(number)
        found[str(address)] = any((number >> bits - length, length) in starts for length in lengths)
    return found


def door(networks: NetworkSet) -> Gateway:
    """A gateway that lets these networks in."""
    policy = gateway_policy(ShortForm(allow=(NamedList("listed", networks),)))
    rules = Rules(
        Router(["notebooks.internal"], {INSTANCE: Mount.root()}),
        Judge({INSTANCE: policy}, policy),
        address_strategy=TrustedProxies(NetworkSet(()), ForwardingHeader.X_FORWARDED_FOR),
    )
    return Gateway(rules, audit=lambda inbound, refusal: None)


def measure(family: str, size: int) -> float:
    """Microseconds of a decision among `size` prefixes: the median batch's. AssertionError where one is wrong."""
    chance = random.Random(f"{family} {size}")
    listed = prefixes(family, size, chance)
    networks = NetworkSet(listed)
    decide = door(networks).rules.judge.decide
    expected = addresses(family, listed, chance, DECISIONS_PER_BATCH * BATCHES)
    texts = list(expected)
    # As the server does when it has started.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    costs = []
    for at in range(0, len(texts), DECISIONS_PER_BATCH):
        batch = texts[at : at + DECISIONS_PER_BATCH]
        start = time.thread_time_ns()
        for text in batch:
            decide(Question(peer_address(text), INSTANCE))
        costs.append((time.thread_time_ns() - start) / len(batch) / 1e3)
    for text, allowed in expected.items():
        assert decide(Question(peer_address(text), INSTANCE)).allowed is allowed
    return statistics.median(costs)


def measure_decided(size: int) -> float:
    """Microseconds of `Gateway.admit` for one more request of a connection: the median batch's."""
    chance = random.Random(f"decided {size}")
    listed = prefixes("v4", size, chance)
    peer = peer_address(str(listed[0].network_address))
    gateway = door(NetworkSet(listed))
    inbound = Inbound(peer, CIMultiDict(), "notebooks.internal", "/api/kernels", "GET", 443, "https", "id")
    admission = gateway.admit(inbound)
    assert isinstance(admission, Admission)
    costs = []
    for _ in range(BATCHES):
        start = time.thread_time_ns()
        for _ in range(DECISIONS_PER_BATCH):
            gateway.admit(inbound, admission)
        costs.append((time.thread_time_ns() - start) / DECISIONS_PER_BATCH / 1e3)
    return statistics.median(costs)


def main() -> None:
    figures: dict[str, float] = {}
    for name, size in SIZES.items():
        figures[f"decided_{name}_us"] = measure_decided(size)
        costs = {family: measure(family, size) for family in FAMILIES}
        figures |= {f"decide_{name}_{family}_us": cost for family, cost in costs.items()}
        # The figure of the bars: whichever family is dearer.
        figures[f"decide_{name}_us"] = max(costs.values())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
