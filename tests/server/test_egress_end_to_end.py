"""A whole gateway whose connections to notebooks leave through a proxy, under a company's own authorities."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from tests.harness.certificates import self_signed, serving
from tests.harness.egress_proxies import open_egress_proxy
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.plane import KEY

SECRET = "hunter22-hunter22"
LARGE = 8 * 1024 * 1024


def upgrade(authority: str) -> bytes:
    return (
        f"GET /ws HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ).encode()


async def large(rig: Rig) -> bytes:
    """A file, read in the large pieces that files are read in."""

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=bytes(LARGE))

    rig.upstream.handler = answer
    return body_of(await rig.get("/files/large.bin"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_sign_in_traffic_websockets_and_questions_go_through_the_proxy(
    tmp_path: Path, scheme: str
) -> None:
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    async with open_egress_proxy(tls=serving(certificate) if scheme == "https" else None) as proxy:
        more_aws = {
            "https_proxy": f"{scheme}://gate:{SECRET}@127.0.0.1:{proxy.port}",
            "ca_bundle": "certificate.pem",
        }
        async with open_rig(tmp_path, notebook_tls=serving(certificate), more_aws=more_aws) as rig:
            [origin] = rig.sandbox.origins.values()
            assert status_of(await rig.get("/lab")) == 200
            # Of the sign-in and of traffic, which the WebSocket takes over.
            assert len(proxy.targets) == 2
            assert status_of(await rig.raw(upgrade(rig.authority), until_eof=False)) == 101
            assert status_of(await rig.get("/lab")) == 200
            assert len(proxy.targets) == 3
            assert set(proxy.targets) == {origin.removeprefix("https://")}
            body = await large(rig)
            assert len(body) == LARGE
            assert SECRET not in str(rig.log_lines())
            assert all(b"Proxy-Authorization: Basic " in head for head in proxy.heads)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 502, "UPSTREAM_PROXY_REFUSED"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 502, "UPSTREAM_PROXY_REFUSED"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 503, "UPSTREAM_UNREACHABLE"),
    ],
)
async def test_a_proxy_that_lets_nothing_through_is_told_to_callers_and_named_in_the_log(
    tmp_path: Path, answer: bytes, status: int, code: str
) -> None:
    certificate = self_signed(tmp_path, name="IP:127.0.0.1")
    async with open_egress_proxy(answer=answer) as proxy:
        more_aws = {
            "https_proxy": f"http://gate:{SECRET}@127.0.0.1:{proxy.port}",
            "ca_bundle": str(certificate),
        }
        async with open_rig(tmp_path, notebook_tls=serving(certificate), more_aws=more_aws) as rig:
            told = await rig.get("/lab")
            assert status_of(told) == status
            assert code.encode() in told
            assert b"127.0.0.1:%d" % proxy.port not in told
            again = await rig.get("/lab")
            assert status_of(again) == status
            # The URL was not spent by it.
            assert rig.sandbox.calls["CreatePresignedNotebookInstanceUrl"] == 1
            lines = rig.log_lines()
            assert SECRET not in str(lines)
            [line, *_] = [line for line in lines if line["kind"] == "event" and line.get("code") == code]
            assert (
                f"the proxy http://127.0.0.1:{proxy.port} answered {answer[9:12].decode()}" in line["detail"]
            )
            assert line["remedy"]
            assert "Traceback" not in str(lines)


async def test_an_authority_file_that_cannot_be_read_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("nothing")
    for file in ("missing.pem", "broken.pem"):
        with pytest.raises(OSError, match=rf"aws.ca_bundle \S*{file}: "):
            async with open_rig(tmp_path, more_aws={"ca_bundle": file}):
                pass
