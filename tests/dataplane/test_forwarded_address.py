"""Who is told callers' addresses: a test endpoint's notebooks are, SageMaker's only where the operator wants it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.binds import UnixSocket
from proxy.upstream import Origin
from tests.harness.certificates import self_signed, serving, trusting
from tests.harness.gateway import open_rig
from tests.harness.notebook import Notebook
from tests.harness.peer import Peer
from tests.harness.plane import open_plane

HOST = "research.notebook.us-east-1.sagemaker.aws"
SPELLINGS = (
    "X-Forwarded-For",
    "X-Real-IP",
    "Forwarded",
    "X_Forwarded_For",
    "CF-Connecting-IP",
    "True-Client-IP",
)


async def told(directory: Path, **aws: Any) -> bytes:
    """The head that a notebook of SageMaker's is sent; it is reached over an endpoint of one's own."""
    certificate = self_signed(directory, name=f"DNS:{HOST}")
    notebook = Notebook(by_hand=False)
    notebook.tls = serving(certificate)
    async with notebook:
        section = {"region": "us-east-1", "notebook_endpoint": f"127.0.0.1:{notebook.port}", **aws}
        async with open_plane(directory, aws=section, tls=trusting(certificate)) as opened:
            opened.keeper.session = replace(opened.keeper.known, origin=Origin("https", HOST, 443))
            extra = "".join(f"{name}: for=198.51.100.7\r\n" for name in SPELLINGS)
            assert (await opened.get("/lab", extra=extra)).status == 200
    [head] = notebook.heads
    assert b"\r\nHost: %b\r\n" % HOST.encode() in head
    assert b"198.51.100.7" not in head
    return head


async def test_sagemakers_hosts_are_not_told_who_calls(tmp_path: Path) -> None:
    head = await told(tmp_path)
    assert b"127.0.0.1\r\n" not in head
    assert b"forwarded-for" not in head.lower()
    # What applications behind Jupyter make links of is nobody's address.
    assert b"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: 127.0.0.1:" in head


async def test_they_are_where_the_operator_wants_it(tmp_path: Path) -> None:
    head = await told(tmp_path, forward_client_address=True)
    assert head.count(b"\r\nX-Forwarded-For: 127.0.0.1\r\n") == 1


@pytest.mark.parametrize("forward", [True, False])
async def test_a_test_endpoints_notebooks_are_told_in_any_case(tmp_path: Path, forward: bool) -> None:
    section = {"region": "us-east-1", "forward_client_address": forward}
    async with open_plane(tmp_path, aws=section) as opened:
        assert (await opened.get("/lab")).status == 200
        assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in opened.upstream.heads[0]


async def test_of_a_caller_without_an_address_nobody_is_told_none(tmp_path: Path) -> None:
    """Whoever opens the Unix socket and is let in by a policy that asks for no address."""
    everybody = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    listeners = [
        {"bind": "127.0.0.1:0"},
        {"bind": f"unix:{tmp_path}/nb.sock", "trust_unix": "header"},
    ]
    async with open_rig(tmp_path, listeners=listeners, policy={"statements": [everybody]}) as rig:
        bind = rig.gateway.addresses[1]
        assert isinstance(bind, UnixSocket)
        caller = Peer(*await asyncio.open_unix_connection(bind.path))
        caller.send("GET /lab HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await caller.rest()
        caller.close()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        seen = rig.upstream.seen[-1]
        assert seen.values("X-Forwarded-Proto") == ["http"]
        assert seen.values("X-Forwarded-For") == []
