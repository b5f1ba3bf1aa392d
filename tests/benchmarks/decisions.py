"""What a decision costs for an address that was not seen before, by the number of prefixes listed.

The rule: all that is done for a new connection is timed, from the text that the socket gives to the decision, through
the gateway itself; every decision is compared with what it should be. In CPU time, which others' work disturbs least.
`python -m tests.benchmarks.decisions` prints one JSON object.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from proxy.client_address.networks import Network, NetworkSet, peer_address
from proxy.client_address.resolve import ForwardingHeader, TrustedProxies
from proxy.gateway import Gateway
from proxy.policy.short_form import NamedList, ShortForm, gateway_policy
from proxy.routing.mounts import Mount

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


def addresses(family: str, networks: list[Network], chance: random.Random, count: int) -> list[str]:
    """As a socket spells them: half of them listed, all different."""
    found: set[str] = set()
    while len(found) < count:
        if chance.random() < 0.5:
            network = chance.choice(networks)
            address = network.network_address + chance.randrange(network.num_addresses)
        else:
            address = (
                IPv4Address(chance.getrandbits(32))
                if family == "v4"
                else IPv6Address(chance.getrandbits(128))
            )
        found.add(str(address))
    return list(found)


def door(networks: NetworkSet) -> Gateway:
    """A gateway that lets these networks in."""
    policy = gateway_policy(ShortForm(allow=(NamedList("listed", networks),)))
    return Gateway(
        hostnames=["notebooks.internal"],
        mounts={INSTANCE: Mount.root()},
        policies={INSTANCE: policy},
        own_policy=policy,
        trusted_proxies=TrustedProxies(NetworkSet(()), ForwardingHeader.X_FORWARDED_FOR),
        audit=lambda inbound, refusal: None,
    )


def microseconds(decide: Callable[[str], bool], batches: list[list[str]]) -> float:
    """The median batch's CPU time per decision."""
    costs = []
    for batch in batches:
        start = time.thread_time_ns()
        for text in batch:
            decide(text)
        costs.append((time.thread_time_ns() - start) / len(batch) / 1e3)
    return statistics.median(costs)


def measure(family: str, size: int) -> float:
    """Microseconds of a decision among `size` prefixes. AssertionError where one is wrong."""
    chance = random.Random(f"{family} {size}")
    listed = prefixes(family, size, chance)
    networks = NetworkSet(listed)
    gateway = door(networks)

    def decide(text: str) -> bool:
        return gateway.decide(peer_address(text), INSTANCE).allowed

    texts = addresses(family, listed, chance, DECISIONS_PER_BATCH * BATCHES)
    batches = [texts[at : at + DECISIONS_PER_BATCH] for at in range(0, len(texts), DECISIONS_PER_BATCH)]
    cost = microseconds(decide, batches)
    for text in texts:
        address = peer_address(text)
        assert address is not None
        assert decide(text) is (address in networks)
    return cost


def main() -> None:
    figures: dict[str, float] = {}
    for name, size in SIZES.items():
        costs = {family: measure(family, size) for family in FAMILIES}
        figures |= {f"decide_{name}_{family}_us": cost for family, cost in costs.items()}
        # The figure of the bars: whichever family is dearer.
        figures[f"decide_{name}_us"] = max(costs.values())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
