"""What reads no text of callers, notebooks or AWS, and why: the rest of the table."""

from __future__ import annotations

from typing import Final

PATTERNS: Final = {
    "aws.hosts:_REGION": "the operator's Region, when a configuration is loaded",
    "config": "the operator's own files, when they are loaded",
    "policy": "the operator's own statements, when they are loaded; what they are asked about is an address, or a name "
    "of the configuration's",
    "routing.mounts:_PATH": "the operator's mounts, when a configuration is loaded",
    "sandbox": "a test double, which serves nobody else",
}
"""By pattern, or by package."""

READING: Final = ("client_address", "dataplane", "routing", "wire")
"""Packages of which each module stands in the table, or here."""

MODULES: Final = {
    "dataplane.answers": "joins what is the gateway's own",
    "dataplane.arrival": "hands a prelude to client_address.proxy_protocol, a bounded piece at a time",
    "dataplane.budgets": "counts",
    "dataplane.descriptors": "asks the operating system",
    "dataplane.forward": "passes on what wire.heads, wire.body and routing.pages have read",
    "dataplane.landing": "memory",
    "dataplane.link": "joins what was read before",
    "dataplane.outbox": "joins nothing: each message is written as it is",
    "dataplane.plane": "wires the others",
    "dataplane.pool": "connections, by origin",
    "dataplane.transports": "asks the operating system",
    "dataplane.visit": "asks the gateway",
    "routing.entry": "joins what was read before",
}
