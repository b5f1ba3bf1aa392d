"""Faults of others, planted one by one in a whole gateway: one line names each, with what to mend, and no traceback.

The disk that is full is the log's own: `tests/telemetry/test_logs.py`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.instance import InstanceSpec
from tests.harness.certificates import self_signed, serving
from tests.harness.clocks import FakeClock
from tests.harness.egress_proxies import open_egress_proxy
from tests.harness.gateway import Rig, open_rig
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

NAVIGATION = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: {0}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://{0}\r\n\r\n"
)
Plant = Callable[[Rig], Awaitable[object]]
Patch = pytest.MonkeyPatch


async def nothing(_rig: Rig) -> None:
    pass


async def signed_in(rig: Rig) -> None:
    await rig.get("/lab")


@asynccontextmanager
async def refused(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    async with open_rig(directory) as rig:
        await signed_in(rig)
        await rig.sandbox.faults.refuse()
        yield rig


@asynccontextmanager
async def refused_at_sign_in(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    async with open_rig(directory) as rig:
        await rig.sandbox.faults.refuse()
        yield rig


def _dialling(error: OSError) -> Any:
    @asynccontextmanager
    async def opened(directory: Path, patch: Patch) -> AsyncIterator[Rig]:
        async def dial(*_args: object, **_options: object) -> None:
            raise error

        async with open_rig(directory) as rig:
            await signed_in(rig)
            rig.sandbox.faults.drop_connections()
            patch.setattr("proxy.aws.dial.dial", dial)
            yield rig

    return opened


@asynccontextmanager
async def certificate(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    own = self_signed(directory, name="IP:127.0.0.1")
    async with open_rig(directory, notebook_tls=serving(own)) as rig:
        yield rig


@asynccontextmanager
async def limit(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    async with open_rig(directory, limits={"upstream_connections": 1}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(UPGRADE.format(rig.authority).encode())
        await reader.readuntil(b"\r\n\r\n")
        yield rig
        writer.close()


@asynccontextmanager
async def no_credentials(directory: Path, patch: Patch) -> AsyncIterator[Rig]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(directory / "none"))
    patch.setenv("AWS_CONFIG_FILE", str(directory / "none"))
    async with open_rig(directory) as rig:
        yield rig


@asynccontextmanager
async def no_identity(directory: Path, patch: Patch) -> AsyncIterator[Rig]:
    """As where EKS mounts no token for the role."""
    patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(directory / "no-token"))
    patch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/gateway")
    async with no_credentials(directory, patch) as rig:
        yield rig


def _answering(plant: Callable[[Rig], object], **options: Any) -> Any:
    @asynccontextmanager
    async def opened(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
        async with open_rig(directory, **options) as rig:
            plant(rig)
            yield rig

    return opened


@asynccontextmanager
async def hanging(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    clock = FakeClock()
    async with open_rig(directory, clock=clock, sandbox_clock=FakeClock()) as rig:
        await signed_in(rig)
        rig.sandbox.faults.slow(seconds=1e6)
        asked = asyncio.ensure_future(rig.get("/api/kernels"))
        await eventually(lambda: any(one.under_way for one in rig.gateway.plane.open.connections))
        for _ in range(4):
            await clock.advance(100.0)
        await asked
        yield rig


@asynccontextmanager
async def egress(directory: Path, _patch: Patch) -> AsyncIterator[Rig]:
    own = self_signed(directory, name="IP:127.0.0.1")
    async with open_egress_proxy(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        more_aws = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "ca_bundle": str(own)}
        async with open_rig(directory, notebook_tls=serving(own), more_aws=more_aws) as rig:
            yield rig


STOPPED = [InstanceSpec(name="research-gpu-1", status="Stopped")]
RETIRED = [InstanceSpec(name="research-gpu-1", status="Stopped", platform="notebook-al2-v1")]
EXPIRED = ("ExpiredTokenException", "The security token included in the request is expired")
MISSING = {"research": {"notebook": "no-such-notebook", "mount": "root"}}

PLANTED: dict[str, tuple[Any, str, str, str]] = {
    # How, and the event, code and words that name it.
    "refused": (refused, "notebook failed", "UPSTREAM_REFUSED", "connect"),
    "refused at sign-in": (refused_at_sign_in, "sign-in failed", "UPSTREAM_REFUSED", "connecting to"),
    "DNS": (
        _dialling(socket.gaierror(-2, "Name or service not known")),
        "notebook failed",
        "UPSTREAM_NAME_UNKNOWN",
        "Name or service not known",
    ),
    "certificate": (certificate, "sign-in failed", "UPSTREAM_UNTRUSTED", "self-signed certificate"),
    "limit": (limit, "limit met", "TOO_MANY_UPSTREAM_CONNECTIONS", "limits.upstream_connections"),
    "no credentials": (no_credentials, "sign-in failed", "CREDENTIALS_MISSING", "NoCredentials"),
    "no identity token": (no_identity, "sign-in failed", "CREDENTIALS_MISSING", "no-token"),
    "expired": (
        _answering(lambda rig: rig.sandbox.faults.fail(*EXPIRED, times=99)),
        "sign-in failed",
        "CREDENTIALS_REFUSED",
        "is expired",
    ),
    "denied": (
        _answering(lambda rig: rig.sandbox.faults.deny(times=99)),
        "sign-in failed",
        "PERMISSION_MISSING",
        "sagemaker:CreatePresignedNotebookInstanceUrl",
    ),
    "missing": (
        _answering(lambda rig: None, mounted=MISSING),
        "sign-in failed",
        "INSTANCE_NOT_FOUND",
        "no-such-notebook",
    ),
    "stopped": (
        _answering(lambda rig: None, instances=STOPPED),
        "sign-in failed",
        "INSTANCE_NOT_IN_SERVICE",
        "Stopped",
    ),
    "hanging": (hanging, "limit met", "UPSTREAM_TIMEOUT", "timeouts.response_head"),
    "retired platform": (
        _answering(lambda rig: None, instances=RETIRED, lifecycle={"start_on_open": True}),
        "instance could not be started for a visitor",
        "PLATFORM_RETIRED",
        "notebook-al2-v1",
    ),
    "egress proxy": (egress, "sign-in failed", "UPSTREAM_PROXY_REFUSED", "403"),
    "descriptor limit": (
        _dialling(OSError(errno.EMFILE, "Too many open files")),
        "limit met",
        "NO_DESCRIPTORS",
        "RLIMIT_NOFILE",
    ),
}
SLOW: dict[str, tuple[Any, str, str, str]] = {
    # botocore's own pauses are real.
    "throttled": (
        _answering(lambda rig: rig.sandbox.faults.throttle(times=999)),
        "sign-in failed",
        "THROTTLED",
        "Rate exceeded",
    ),
}


@pytest.mark.parametrize(
    "planted",
    [*PLANTED.values(), *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW.values())],
    ids=[*PLANTED, *SLOW],
)
async def test_one_line_names_a_planted_fault_and_what_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: tuple[Any, str, str, str]
) -> None:
    opened, event, code, words = planted
    async with opened(tmp_path, monkeypatch) as rig:
        if opened is not hanging:
            for _ in range(3):
                await rig.get("/lab", extra=NAVIGATION)
        await eventually(lambda: code in rig.log_file.read_text())
        lines = rig.log_lines()
        # What else could not be done for the same reason, such as asking for the state, is told for itself.
        named = [line for line in lines if line.get("event") == event and line.get("code") == code]
        assert len(named) == 1, named
        [line] = named
        assert words in str(line)
        assert line.get("remedy") or line.get("limit"), line
        assert line["instance"] == "research"
        if event in ("sign-in failed", "notebook failed"):
            assert line["notebook"]
            assert line["request_id"] in {one.get("request_id") for one in lines if one["kind"] == "http"}
        if event == "sign-in failed":
            assert line["attempt"] == 1
            assert line["next_try_seconds"] > 0
        text = rig.log_file.read_text()
        assert "Traceback" not in text
        assert '"exception"' not in text
        assert "fault of the gateway" not in text
        assert "task failed" not in text
