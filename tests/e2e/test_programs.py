"""Programs that know nothing of nbgate: Jupyter's REST API and kernels, on each kind of mount, unmodified."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests


def _is_ours(host: str) -> bool:
    """Browsers take every name below `localhost` for this machine (RFC 6761 section 6.3); libraries ask."""
    return host.endswith(".localhost")


@pytest.fixture(autouse=True)
def names_below_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if _is_ours(str(host)) else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


class LocalhostResolver(aiohttp.ThreadedResolver):
    """The same for aiohttp, which asks the event loop."""

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        found = await super().resolve("127.0.0.1" if _is_ours(host) else host, port, family)
        return [one | {"hostname": host} for one in found]


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UPLOAD_BYTES = 200 * 1024 * 1024
PART_BYTES = 25 * 1024 * 1024


def client(url: str) -> requests.Session:
    """A client with Jupyter's double-submit cookie, as any script gets it."""
    session = requests.Session()
    session.get(f"{url}tree", timeout=60).raise_for_status()
    session.headers["X-XSRFToken"] = session.cookies["_xsrf"] or ""
    return session


def test_contents_are_created_renamed_and_deleted(mount_url: str) -> None:
    name = f"made-{uuid.uuid4().hex}"
    with client(mount_url) as session:
        contents = f"{mount_url}api/contents"
        text = {"type": "file", "format": "text", "content": "42\n"}
        assert session.put(f"{contents}/{name}.txt", json=text).status_code == 201
        renamed = session.patch(f"{contents}/{name}.txt", json={"path": f"{name} b%2F;x.txt"})
        assert renamed.status_code == 200, renamed.text
        encoded = f"{name}%20b%252F%3Bx.txt"
        assert session.get(f"{contents}/{encoded}").json()["content"] == "42\n"
        assert session.get(f"{mount_url}files/{encoded}").text == "42\n"
        assert session.delete(f"{contents}/{encoded}").status_code == 204
        assert session.get(f"{contents}/{encoded}").status_code == 404


def test_200_megabytes_go_up_and_come_down_the_same(mount_url: str) -> None:
    """Uploaded in parts as JupyterLab does it, downloaded in one piece: the same sha256."""
    name = f"big-{uuid.uuid4().hex}.bin"
    part = os.urandom(PART_BYTES)
    digest = hashlib.sha256()
    with client(mount_url) as session:
        target = f"{mount_url}api/contents/{name}"
        parts = UPLOAD_BYTES // PART_BYTES
        encoded = b64encode(part).decode()
        for number in range(1, parts + 1):
            digest.update(part)
            chunk = number if number < parts else -1
            body: Any = {"type": "file", "format": "base64", "content": encoded, "chunk": chunk}
            answer = session.put(target, json=body)
            assert answer.status_code in {200, 201}, answer.text
        received = hashlib.sha256()
        size = 0
        with session.get(f"{mount_url}files/{name}", params={"download": 1}, stream=True) as download:
            assert download.status_code == 200
            for block in download.iter_content(1024 * 1024):
                received.update(block)
                size += len(block)
        assert size == UPLOAD_BYTES
        assert received.hexdigest() == digest.hexdigest()
        assert session.delete(target).status_code == 204


def message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A message of Jupyter's protocol (version 5.3)."""
    return {
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "username": "",
            "session": uuid.uuid4().hex,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": content,
        "buffers": [],
        "channel": "shell",
    }


def packed(request: dict[str, Any]) -> bytes:
    """The same for `v1.kernel.websocket.jupyter.org`: offsets, then channel and the four parts."""
    parts = [b"shell", *(json.dumps(request[key]).encode() for key in PARTS)]
    offsets = [8 * (1 + len(parts) + 1)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


PARTS = ("header", "parent_header", "metadata", "content")


def unpacked(frame: bytes) -> dict[str, Any]:
    """The reverse of `packed`."""
    (count,) = struct.unpack_from("<Q", frame)
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    parts = [frame[start:end] for start, end in pairwise(offsets)]
    return {key: json.loads(part) for key, part in zip(PARTS, parts[1:], strict=False)}


@pytest.mark.parametrize("subprotocol", ["v1.kernel.websocket.jupyter.org", None])
async def test_a_kernel_computes_over_its_websocket(mount_url: str, subprotocol: str | None) -> None:
    own_origin = "{0.scheme}://{0.netloc}".format(urlsplit(mount_url))
    # An IP address is a host too, and its cookies count.
    jar = aiohttp.CookieJar(unsafe=True)
    connector = aiohttp.TCPConnector(resolver=LocalhostResolver())
    async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as session:
        async with session.get(f"{mount_url}tree") as page:
            assert page.status == 200
        token = next(cookie.value for cookie in session.cookie_jar if cookie.key == "_xsrf")
        headers = {"X-XSRFToken": token}
        async with session.post(f"{mount_url}api/kernels", json={"name": "python3"}, headers=headers) as made:
            assert made.status == 201, await made.text()
            kernel = (await made.json())["id"]
        try:
            async with session.ws_connect(
                f"{mount_url}api/kernels/{kernel}/channels",
                protocols=(subprotocol,) if subprotocol else (),
                origin=own_origin,
            ) as channels:
                assert channels.protocol == subprotocol
                request = message("execute_request", {"code": "print(6*7)", "silent": False})
                if subprotocol:
                    await channels.send_bytes(packed(request))
                else:
                    await channels.send_str(json.dumps(request))
                printed = ""
                async for frame in channels:
                    binary = frame.type is aiohttp.WSMsgType.BINARY
                    reply = unpacked(frame.data) if binary else json.loads(frame.data)
                    if reply["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                        continue
                    if reply["header"]["msg_type"] == "stream":
                        printed += reply["content"]["text"]
                    if reply["header"]["msg_type"] == "execute_reply":
                        assert reply["content"]["status"] == "ok"
                    if reply["content"].get("execution_state") == "idle":
                        break
                assert printed == "42\n"
        finally:
            async with session.delete(f"{mount_url}api/kernels/{kernel}", headers=headers) as gone:
                assert gone.status == 204
