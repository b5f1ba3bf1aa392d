"""The real ones in front: HAProxy with `send-proxy` and `send-proxy-v2`, nginx with `proxy_protocol` and over a Unix
socket. The caller is 127.0.0.2 or 127.0.0.3, the load balancer 127.0.0.1, and only 127.0.0.2 is let in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.certificates import self_signed, trusting
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.installed import installed, missing
from tests.harness.ports import held_port
from tests.harness.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.program

FRIEND, STRANGER, BALANCER = "127.0.0.2", "127.0.0.3", "127.0.0.1"
CHANGES: dict[str, Any] = {"allowlists": {"friends": [FRIEND]}, "policy": {"allow": ["friends"]}}
LISTENER = {"bind": "127.0.0.1:0", "proxy_protocol": [BALANCER]}
DEPLOY_README = Path(__file__).parents[2] / "deploy" / "README.md"
STREAM_MODULES = [
    Path(directory) / "ngx_stream_module.so"
    for directory in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
]


def stream_module() -> Path:
    for file in STREAM_MODULES:
        if file.exists():
            return file
    raise missing("nginx's stream module is not installed")


@asynccontextmanager
async def running(*command: str, port: int) -> AsyncIterator[None]:
    """A child that listens on `port` by the time this begins."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while child.returncode is None:
                try:
                    _, writer = await asyncio.open_connection(BALANCER, port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
            else:
                pytest.fail((await child.stdout.read()).decode())
        yield
    finally:
        if child.returncode is None:
            child.terminate()
        await child.communicate()


@asynccontextmanager
async def haproxy(directory: Path, rig: Rig, server: str, *, backend: str = "") -> AsyncIterator[int]:
    file = directory / "haproxy.cfg"
    with held_port() as port:
        file.write_text(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
            f"frontend callers\n  bind {BALANCER}:{port}\n  default_backend nbgate\n"
            f"backend nbgate\n{backend}  server gateway {rig.authority} {server}\n"
        )
        async with running(installed("haproxy"), "-db", "-f", str(file), port=port):
            yield port


@asynccontextmanager
async def nginx(directory: Path, blocks: str) -> AsyncIterator[int]:
    """`blocks` say where to listen: at LISTEN."""
    file = directory / "nginx.conf"
    prefix = directory / "nginx"
    prefix.mkdir()
    program = installed("nginx")
    with held_port() as port:
        file.write_text(
            f"daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr;\n"
            f"{blocks.replace('LISTEN', f'{BALANCER}:{port}')}\n"
        )
        async with running(program, "-p", str(prefix), "-e", "stderr", "-c", str(file), port=port):
            yield port


async def get(port: int, source: str, *, tls: Any = None, extra: str = "") -> bytes:
    """A request from `source`, with everything that could pretend to be somebody else."""
    reader, writer = await asyncio.open_connection(
        BALANCER, port, local_addr=(source, 0), ssl=tls, server_hostname=BALANCER if tls else None
    )
    writer.write(
        f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {FRIEND}\r\nForwarded: for={FRIEND}\r\n"
        f"X-Real-IP: {FRIEND}\r\n{extra}Connection: close\r\n\r\n".encode()
    )
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    finally:
        writer.close()


async def judged(port: int, **how: Any) -> list[int]:
    return [status_of(await get(port, source, **how)) for source in (FRIEND, STRANGER, BALANCER)]


def clients(rig: Rig) -> list[tuple[int, str | None]]:
    return [(line["status"], line["client"]) for line in rig.log_lines() if line.get("kind") == "http"]


@pytest.mark.parametrize(
    "server", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
)
async def test_haproxy(tmp_path: Path, server: str) -> None:
    async with (
        open_rig(tmp_path, listeners=[LISTENER], **CHANGES) as rig,
        haproxy(tmp_path, rig, server) as port,
    ):
        assert await judged(port) == [200, 403, 403]
        assert rig.upstream.seen[-1].values("x-forwarded-for") == [FRIEND]
        assert [one for one in clients(rig) if one[0]] == [(200, FRIEND), (403, STRANGER), (403, BALANCER)]


@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2 proxy-v2-options ssl,cert-cn,authority"])
async def test_haproxy_in_front_of_tls(tmp_path: Path, server: str) -> None:
    certificate = self_signed(tmp_path, name=f"IP:{BALANCER}")
    listener = {**LISTENER, "tls": {"certificate": str(certificate), "key": str(certificate)}}
    async with (
        open_rig(tmp_path, listeners=[listener], **CHANGES) as rig,
        haproxy(tmp_path, rig, server) as port,
    ):
        assert await judged(port, tls=trusting(certificate)) == [200, 403, 403]


@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
async def test_haproxys_health_checks_are_its_own(tmp_path: Path, server: str) -> None:
    """They come as `LOCAL` (version 2) or in its own name, and are judged as the load balancer."""
    checks = "  option httpchk GET /\n  http-check send hdr Host localhost\n  http-check expect status 403\n"
    async with (
        open_rig(tmp_path, listeners=[LISTENER], **CHANGES) as rig,
        haproxy(
            tmp_path, rig, f"{server} check check-send-proxy inter 200ms fall 20", backend=checks
        ) as port,
    ):
        await eventually(lambda: rig.log_file.read_text().count(f'"client":"{BALANCER}"') >= 3)
        assert await judged(port) == [200, 403, 403]


async def test_haproxy_without_a_header_is_closed_out(tmp_path: Path) -> None:
    """The setting is forgotten on its side: nobody gets in as the load balancer."""
    async with (
        open_rig(tmp_path, listeners=[LISTENER], **CHANGES) as rig,
        haproxy(tmp_path, rig, "") as port,
    ):
        for source in (FRIEND, BALANCER):
            assert await get(port, source) == b""
        assert not rig.upstream.seen


@pytest.mark.parametrize("tls", [False, True])
async def test_nginx_with_proxy_protocol(tmp_path: Path, tls: bool) -> None:
    certificate = self_signed(tmp_path, name=f"IP:{BALANCER}")
    files = {"tls": {"certificate": str(certificate), "key": str(certificate)}} if tls else {}
    async with open_rig(tmp_path, listeners=[{**LISTENER, **files}], **CHANGES) as rig:
        stream = (
            f"load_module {stream_module()};\nevents {{}}\nstream {{ server {{ listen LISTEN;"
            f" proxy_pass {rig.authority}; proxy_protocol on; }} }}"
        )
        async with nginx(tmp_path, stream) as port:
            assert await judged(port, tls=trusting(certificate) if tls else None) == [200, 403, 403]


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({}, "X-Forwarded-For $proxy_add_x_forwarded_for"),
        ({"strategy": "hop_count", "hops": 1}, "X-Forwarded-For $proxy_add_x_forwarded_for"),
        ({"header": "forwarded"}, 'Forwarded "$http_forwarded, for=$remote_addr"'),
        ({"strategy": "single_header", "header": "x-real-ip"}, "X-Real-IP $remote_addr"),
    ],
)
async def test_nginx_over_a_unix_socket(tmp_path: Path, keys: dict[str, Any], field: str) -> None:
    """As a sidecar does; with each strategy that reads a header."""
    path = tmp_path / "nb.sock"
    listener = {"bind": f"unix:{path}", "trust_unix": "header"}
    async with open_rig(tmp_path, listeners=[listener], client_address=keys, **CHANGES) as rig:
        temporary = " ".join(
            f"{name}_temp_path {tmp_path}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        http = (
            f"events {{}}\nhttp {{ access_log off; {temporary} server {{ listen LISTEN; location / {{"
            f" proxy_pass http://unix:{path}; proxy_set_header Host localhost; proxy_set_header {field};"
            " } } }"
        )
        async with nginx(tmp_path, http) as port:
            assert await judged(port) == [200, 403, 403]
            assert rig.upstream.seen[-1].values("x-forwarded-for") == [FRIEND]


async def test_nginx_with_the_lines_of_the_readme(tmp_path: Path) -> None:
    """The very lines: only where it listens, its certificate and the socket are this machine's."""
    [lines] = re.findall(r"^```nginx\n(.*?)^```", DEPLOY_README.read_text("utf-8"), re.M | re.S)
    path = tmp_path / "nb.sock"
    certificate = self_signed(tmp_path, name=f"IP:{BALANCER}")
    for written, here in {
        "listen 443 ssl;": "listen LISTEN ssl;",
        "/etc/nginx/tls/tls.crt": str(certificate),
        "/etc/nginx/tls/tls.key": str(certificate),
        "/run/nbgate/nbgate.sock": str(path),
    }.items():
        assert written in lines
        lines = lines.replace(written, here)
    temporary = " ".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    listener = {"bind": f"unix:{path}", "trust_unix": "header", "scheme": "https"}
    tls = trusting(certificate)
    async with (
        open_rig(tmp_path, listeners=[listener], **CHANGES) as rig,
        nginx(tmp_path, f"events {{}}\nhttp {{ access_log off; {temporary}\n{lines} }}") as port,
    ):
        assert await judged(port, tls=tls) == [200, 403, 403]
        assert rig.upstream.seen[-1].values("x-forwarded-for") == [FRIEND]
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://localhost:{port}\r\n"
        )
        for source, expected in ((FRIEND, 101), (STRANGER, 403)):
            reader, writer = await asyncio.open_connection(
                BALANCER, port, local_addr=(source, 0), ssl=tls, server_hostname=BALANCER
            )
            writer.write(f"GET /ws HTTP/1.1\r\nHost: localhost:{port}\r\n{upgrade}\r\n".encode())
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
            assert status_of(answer) == expected
            writer.close()
        # An upload above nginx's 1 MiB.
        reader, writer = await asyncio.open_connection(
            BALANCER, port, local_addr=(FRIEND, 0), ssl=tls, server_hostname=BALANCER
        )
        size = 3 * 1024 * 1024
        head = f"PUT /api/contents/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + bytes(size))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert status_of(answer) == 200
        writer.close()


async def test_haproxy_in_front_of_nginx(tmp_path: Path) -> None:
    """Both: the PROXY protocol's source is the proxy that connects, and that proxy's header names the client."""
    listener = {**LISTENER, "proxy_protocol": [BALANCER]}
    proxies = {"trusted_proxies": ["127.0.0.9"]}
    async with (
        open_rig(tmp_path, listeners=[listener], client_address=proxies, **CHANGES) as rig,
        haproxy(tmp_path, rig, "send-proxy-v2") as balancer,
    ):
        http = (
            f"events {{}}\nhttp {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path"
            f" {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path"
            f" {tmp_path}/s; server {{ listen LISTEN; location / {{ proxy_bind 127.0.0.9;"
            f" proxy_pass http://{BALANCER}:{balancer}; proxy_set_header Host localhost;"
            " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }"
        )
        async with nginx(tmp_path, http) as port:
            assert await judged(port) == [200, 403, 403]
            # Past nginx, the header is the caller's own word.
            assert await judged(balancer) == [200, 403, 403]
