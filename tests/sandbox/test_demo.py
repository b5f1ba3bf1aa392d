"""`nbgate demo`: one command, an address that shows JupyterLab, and nothing left when it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import uuid
from pathlib import Path

import aiohttp
import pytest

from proxy.config.load import load
from proxy.sandbox import demo
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.clocks import FakeClock
from tests.sandbox.left_behind import mark, marked

_COMMAND = (sys.executable, "-c", "import sys; from proxy.sandbox.demo import run; sys.exit(run(port=0))")


async def start(monkeypatch: pytest.MonkeyPatch, run: str, directory: Path) -> asyncio.subprocess.Process:
    mark(monkeypatch, run)
    monkeypatch.setenv("TMPDIR", str(directory))
    return await asyncio.create_subprocess_exec(*_COMMAND, stdout=asyncio.subprocess.PIPE)


async def read_until(process: asyncio.subprocess.Process, words: str) -> str:
    assert process.stdout is not None
    text = ""
    while words not in text:
        line = await process.stdout.readline()
        assert line, f"ended after: {text}"
        text += line.decode()
    return text


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_shows_jupyterlab_denies_the_other_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: signal.Signals
) -> None:
    run = uuid.uuid4().hex
    process = await start(monkeypatch, run, tmp_path)
    try:
        text = await read_until(process, "Ctrl-C stops all of it.")
        found = re.search(r"Open JupyterLab at\s+(http://127\.0\.0\.1:\d+/)", text)
        assert found, text
        async with aiohttp.ClientSession() as browser:
            async with browser.get(found[1]) as response:
                assert response.status == 200
                assert "jupyter-config-data" in await response.text()
            for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
                async with browser.get(f"{found[1]}secret/lab", headers=headers) as response:
                    assert response.status == 403
    finally:
        if process.returncode is None:
            process.send_signal(number)
        await process.communicate()
    assert process.returncode == 0
    assert marked(run) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
async def test_interrupted_while_it_starts_it_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex
    process = await start(monkeypatch, run, tmp_path)
    # The demo itself and a Jupyter server that has begun.
    while len(marked(run)) < 2:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0
    assert marked(run) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_port_that_is_taken_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = await asyncio.to_thread(demo.run, port=taken.getsockname()[1])
    assert status == 1
    assert "Address already in use. Choose another: nbgate demo --port N" in capsys.readouterr().err


async def test_without_jupyter_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert await asyncio.to_thread(demo.run, port=0) == 1
    assert "pip install '.[demo]'" in capsys.readouterr().err


async def test_its_configuration_is_valid_and_says_what_the_demo_shows(
    tmp_path: Path, clock: FakeClock
) -> None:
    specs = [InstanceSpec(name="research-notebook"), InstanceSpec(name="secret-notebook")]
    async with Sandbox(specs, clock=clock) as sandbox:
        file = tmp_path / "nbgate.yaml"
        file.write_text(demo.configuration(sandbox, 8080))
        settings = load(file, environ={})
        assert settings.aws.notebook_origins == tuple(sandbox.origins.values())
    assert settings.hostnames == ("127.0.0.1", "localhost")
    assert {name: str(mount) for name, mount in settings.mounts.items()} == {
        "research": "root",
        "secret": "path /secret/",
    }


async def test_nobodys_aws_credentials_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("NBGATE_CONFIG", "/etc/nbgate.yaml")
    environment = demo.environment()
    assert environment["AWS_ACCESS_KEY_ID"] == "AKIDEMO"
    assert "AWS_PROFILE" not in environment
    assert "NBGATE_CONFIG" not in environment
    assert environment["PATH"] == os.environ["PATH"]
