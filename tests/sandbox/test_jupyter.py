"""A real Jupyter server behind a notebook host: kernels run, and nothing outlives the sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from proxy.sandbox.child import Child
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.jupyter import JupyterFailed, JupyterServer
from proxy.sandbox.sandbox import Sandbox
from tests.sandbox.left_behind import mark, marked
from tests.sandbox.sandbox_calls import NAME, sagemaker_client

V1 = "v1.kernel.websocket.jupyter.org"


@pytest.fixture
async def jupyter(browser: aiohttp.ClientSession) -> AsyncIterator[Sandbox]:
    """A sandbox with a Jupyter server, in which the browser is signed in."""
    async with Sandbox([InstanceSpec(name=NAME, jupyter=True)]) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(
            client.create_presigned_notebook_instance_url, NotebookInstanceName=NAME
        )
        async with browser.get(answer["AuthorizedUrl"]) as response:
            assert response.status == 200
        yield sandbox


def xsrf(browser: aiohttp.ClientSession) -> dict[str, str]:
    return {"X-XSRFToken": next(cookie.value for cookie in browser.cookie_jar if cookie.key == "_xsrf")}


def execute(code: str) -> dict[str, object]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": "s",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}


async def printed(socket: aiohttp.ClientWebSocketResponse, code: str) -> str:
    """What the code prints, in the dialect that was negotiated."""
    # Here, and not above: this module's other tests run where Jupyter is not installed.
    from jupyter_server.services.kernels.connection.base import (
        deserialize_msg_from_ws_v1,
        serialize_msg_to_ws_v1,
    )

    message = execute(code)
    if socket.protocol == V1:
        parts = [
            json.dumps(message[name]).encode() for name in ("header", "parent_header", "metadata", "content")
        ]
        await socket.send_bytes(serialize_msg_to_ws_v1(parts, "shell"))
    else:
        await socket.send_json(message)
    async for frame in socket:
        if frame.type is aiohttp.WSMsgType.BINARY:
            _, received = deserialize_msg_from_ws_v1(frame.data)
            kind, content = json.loads(received[0])["msg_type"], json.loads(received[3])
        else:
            answer = json.loads(frame.data)
            kind, content = answer["msg_type"], answer["content"]
        if kind == "stream":
            return str(content["text"])
    raise AssertionError("the WebSocket closed")


@pytest.mark.e2e
async def test_lab_notebook_kernels_and_terminals_work_through_the_host(
    jupyter: Sandbox, browser: aiohttp.ClientSession
) -> None:
    origin = jupyter.origins[NAME]
    async with browser.get(f"{origin}/api/status") as response:
        assert (await response.json())["kernels"] == 0
        assert response.headers["Server"].startswith("TornadoServer/")
    for page, mark_of_it in (("/lab", "JupyterLab"), ("/tree", "Jupyter Notebook"), ("/", "JupyterLab")):
        async with browser.get(origin + page) as response:
            assert response.status == 200
            assert mark_of_it in await response.text()

    async with browser.post(f"{origin}/api/kernels", headers=xsrf(browser), json={}) as response:
        assert response.status == 201
        kernel = (await response.json())["id"]
    for protocols in ((), (V1,)):
        async with browser.ws_connect(
            f"{origin}/api/kernels/{kernel}/channels?session_id=1", protocols=protocols, origin=origin
        ) as socket:
            assert socket.protocol == (protocols[0] if protocols else None)
            assert await printed(socket, "print(6*7)") == "42\n"

    async with browser.post(f"{origin}/api/terminals", headers=xsrf(browser)) as response:
        terminal = (await response.json())["name"]
    async with browser.ws_connect(f"{origin}/terminals/websocket/{terminal}", origin=origin) as socket:
        await socket.send_json(["stdin", "echo $((6*7))\r"])
        text = ""
        while "42" not in text:
            text += "".join(str(part) for part in await socket.receive_json())


@pytest.mark.e2e
async def test_jupyters_own_origin_check_sees_the_hosts_name(
    jupyter: Sandbox, browser: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.ws_connect(
            f"{jupyter.origins[NAME]}/api/events/subscribe", origin="https://evil.example"
        )
    assert refused.value.status == 403


@pytest.mark.e2e
async def test_kernels_and_terminals_end_with_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, browser: aiohttp.ClientSession, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex
    mark(monkeypatch, run)
    server = JupyterServer()
    socket_path = tmp_path / "server.sock"
    await server.start(socket_path)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as local:
            async with local.get("http://jupyter/lab") as response:
                cookies = {name: morsel.value for name, morsel in response.cookies.items()}
            headers = {"X-XSRFToken": cookies["_xsrf"], "Cookie": f"_xsrf={cookies['_xsrf']}"}
            for target in ("/api/kernels", "/api/terminals"):
                async with local.post(f"http://jupyter{target}", headers=headers, json={}) as response:
                    assert response.status in (200, 201), await response.text()
        assert len(marked(run)) >= 3
        assert os.stat(socket_path).st_mode & 0o077 == 0
    finally:
        await server.stop()
    assert marked(run) == []
    # The same place can be used again, as when an instance is stopped and started.
    await server.start(socket_path)
    await server.stop()
    await server.stop()
    assert marked(run) == []


@pytest.mark.e2e
async def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jupyter_server.py").write_text("raise SystemExit('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(JupyterFailed, match="ended with 1:\nbroken on purpose"):
        await JupyterServer().start(tmp_path / "server.sock")


@pytest.mark.e2e
async def test_a_server_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex
    mark(monkeypatch, run)
    (tmp_path / "jupyter_server.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("proxy.sandbox.jupyter.START_SECONDS", 0.2)
    with pytest.raises(JupyterFailed, match="did not answer within"):
        await JupyterServer().start(tmp_path / "server.sock")
    assert marked(run) == []


_PARENT = """
import asyncio, os, sys
from pathlib import Path
from proxy.sandbox.child import Child

async def main():
    here = Path(sys.argv[1])
    await Child.start("http.server", ["0"], log=here / "log", environment=os.environ, cwd=here)
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_child_ends_when_its_parent_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex
    mark(monkeypatch, run)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"started\n"
    assert len(marked(run)) == 2
    parent.send_signal(signal.SIGKILL)
    await parent.communicate()
    async with asyncio.timeout(30):
        while marked(run):
            await asyncio.sleep(0.05)


async def test_a_child_that_does_not_listen_is_ended_by_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('here', flush=True)\n"
        "while True:\n    time.sleep(60)\n"
    )
    monkeypatch.setattr("proxy.sandbox.child.STOP_SECONDS", 0.2)
    child = await Child.start(
        "stubborn",
        [],
        log=tmp_path / "log",
        environment={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
    )
    while child.last_output != "here\n":
        await asyncio.sleep(0.01)
    assert child.status is None
    await child.stop()
    assert child.status == -signal.SIGKILL


@pytest.mark.e2e
async def test_what_else_is_installed_beside_it_stays_out(
    jupyter: Sandbox, browser: aiohttp.ClientSession
) -> None:
    """The test extra brings nbclassic, Voilà and others, which switch themselves on in every Jupyter around."""
    origin = jupyter.origins[NAME]
    for target in ("/nbclassic/tree", "/voila/tree", "/server-proxy/servers-info"):
        async with browser.get(f"{origin}{target}") as response:
            assert response.status == 404
    async with browser.get(f"{origin}/lab") as response:
        text = await response.text()
    config = json.loads(
        text.partition('id="jupyter-config-data" type="application/json">')[2].partition("<")[0]
    )
    switched_on = {one["name"] for one in config["federated_extensions"]} - set(config["disabledExtensions"])
    assert config["buildCheck"] is False
    assert switched_on == {"@jupyter-notebook/lab-extension", "jupyterlab_pygments"}
