"""Why no connection to a notebook came about: each reason has its own code, a detail, and something to mend."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

from proxy.aws.dial import Dialler
from proxy.aws.sessions import NotConnected, no_connection
from proxy.dataplane.notebook.pool import PoolLimits, UpstreamPool
from proxy.errors import NbgateError
from proxy.upstream import Origin
from tests.harness.clocks import FakeClock

ORIGIN = Origin("https", "research-x1.notebook.eu-west-1.sagemaker.aws", 443)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.verify_message = "self-signed certificate in certificate chain"
    return error


REASONS: dict[str, tuple[OSError, str, str]] = {
    "refused": (ConnectionRefusedError(111, "Connection refused"), "UPSTREAM_REFUSED", "refused"),
    "refused by all addresses": (
        OSError(
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0), [Errno 111] Connect call failed"
        ),
        "UPSTREAM_REFUSED",
        "[Errno 111]",
    ),
    "name": (
        socket.gaierror(-2, "Name or service not known"),
        "UPSTREAM_NAME_UNKNOWN",
        "Name or service not known",
    ),
    "route": (OSError(101, "Network is unreachable"), "UPSTREAM_UNREACHABLE", "Network is unreachable"),
    "time": (TimeoutError(), "CONNECT_TIMEOUT", "connect"),
    "certificate": (untrusted(), "UPSTREAM_UNTRUSTED", "self-signed certificate"),
    "descriptors": (OSError(24, "Too many open files"), "NO_DESCRIPTORS", "Too many open files"),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_each_reason_is_told_apart(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, code, detail = REASONS[reason]

    async def create_connection(*_args: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    pool = UpstreamPool(PoolLimits(), clock=FakeClock(), dial=Dialler())
    with pytest.raises(NbgateError) as caught:
        await pool.connect(ORIGIN)
    assert caught.value.code == code
    assert detail in caught.value.detail
    assert caught.value.remedy


@pytest.mark.parametrize("reason", ["refused", "refused by all addresses", "name", "route"])
def test_a_sign_in_that_sent_nothing_tells_them_apart_as_well(reason: str) -> None:
    """And its URL may be used again."""
    error, code, _ = REASONS[reason]
    kind = no_connection(error, first=True)
    assert kind.code == code
    assert issubclass(kind, NotConnected)
