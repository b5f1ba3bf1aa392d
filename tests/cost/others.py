"""What reads no text of callers, notebooks or AWS, and why: the rest of the table."""

from __future__ import annotations

from typing import Final

PATTERNS: Final = {
    "aws.hosts:_REGION": "the operator's Region, when a configuration is loaded",
    "client_address.networks:_RANGE": "the operator's addresses, when a configuration is loaded",
    "client_address.networks:_WILDCARDS": "the operator's addresses, when a configuration is loaded",
    "config": "the operator's own files, when they are loaded",
    "wire.egress:_HOST": "the operator's proxy, when a configuration is loaded",
    "policy": "the operator's own statements, when they are loaded; what they are asked about is an address, or a name "
    "of the configuration's",
    "routing.mounts:_PATH": "the operator's mounts, when a configuration is loaded",
    "sandbox": "a test double, which serves nobody else",
}
"""By pattern, or by package."""

READING: Final = ("client_address", "routing", "wire")
"""Packages that read for the others: each of their modules stands in the table, or here."""

MODULES: Final = {
    "routing.entry": "joins what was read before",
}
