"""Programs that know Jupyter and nothing of nbgate, with a token that it gave out: on mounts that need one, and others.

None of them knows Jupyter's double-submitted cookie; the gateway answers for it, since the token is proof enough.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.harness.installed import installed
from tests.harness.jupyter import GUARDED_MOUNTS, House
from tests.harness.npm import npm_packages

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
MOUNTS = (*GUARDED_MOUNTS, "host", "path")


def printed_url(house: House, name: str, *options: str) -> str:
    """What `nbgate url` prints."""
    command = [sys.executable, "-m", "proxy", "url", name, "--config", str(house.config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def address_and_token(house: House, name: str) -> tuple[str, str]:
    url, _, token = printed_url(house, name, "--token").partition("?token=")
    assert url == house.urls[name]
    return url, token


def run(command: list[str], *, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MOUNTS)
def test_nbclient_runs_a_notebook(house: House, name: str) -> None:
    url, token = address_and_token(house, name)
    [output] = json.loads(run([sys.executable, str(HERE / "run_notebook.py"), url, token]))
    assert output["text"] == "42\n"
    assert token not in house.log_file.read_text()


@contextmanager
def connected(*words: str, **environ: str) -> Iterator[str]:
    """`nbgate connect` while it runs; the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "connect", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )
    assert process.stdout is not None
    try:
        # It ends only if it is of no use.
        address = process.stdout.readline().strip()
        if not address:
            pytest.fail(process.communicate(timeout=60)[1])
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in told


@pytest.mark.parametrize("how", ["environment", "file", "configuration"])
def test_nbclient_as_it_is_runs_a_notebook_through_connect(house: House, tmp_path: Path, how: str) -> None:
    """Its WebSocket carries no token: at the gateway it would be refused."""
    name = "guarded-path"
    url, token = address_and_token(house, name)
    file = tmp_path / "token"
    file.write_text(f"{url}?token={token}\n")
    words, environ = {
        "environment": ([url], {"NBGATE_TOKEN": token}),
        "file": ([url, "--token-file", str(file)], {}),
        "configuration": ([name, "--config", str(house.config)], {}),
    }[how]
    with connected(*words, **environ) as address:
        assert urlsplit(address).hostname == "127.0.0.1"
        [output] = json.loads(run([sys.executable, str(HERE / "run_notebook.py"), address]))
        assert output["text"] == "42\n"
    assert token not in house.log_file.read_text()


def test_without_connect_its_websocket_is_refused(house: House) -> None:
    url, token = address_and_token(house, "guarded-path")
    command = [sys.executable, str(HERE / "run_notebook.py"), url]
    done = subprocess.run(
        command,
        env=os.environ | {"JUPYTER_GATEWAY_AUTH_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    deadline = time.monotonic() + 10
    while not any(
        "/channels" in line and "SIGN_IN_REQUIRED" in line for line in house.log_file.read_text().splitlines()
    ):
        assert time.monotonic() < deadline, "the refusal is not in the log"
        time.sleep(0.1)  # another process, which writes its lines a few times a second


@pytest.mark.parametrize(("token", "told"), [("nbgate2_a.made-up", "the token is not good")])
def test_connect_says_at_once_that_a_token_is_of_no_use(house: House, token: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "connect", house.urls["guarded-path"]],
        env=os.environ | {"NBGATE_TOKEN": token},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert token not in done.stderr


@pytest.mark.program
@pytest.mark.parametrize("name", MOUNTS)
def test_jupyterlabs_own_client_runs_a_cell_in_node(house: House, name: str) -> None:
    directory = npm_packages(HERE / "services", name="services")
    url, token = address_and_token(house, name)
    said = run([installed("node"), str(HERE / "services" / "run.mjs"), url, token], cwd=directory)
    # It reports on itself before.
    assert json.loads(said.splitlines()[-1]) == {"printed": "42\n", "type": "directory"}
    assert token not in house.log_file.read_text()


@pytest.mark.parametrize("name", GUARDED_MOUNTS)
def test_without_a_token_they_get_nowhere(house: House, name: str) -> None:
    url = house.urls[name]
    answer = requests.get(
        f"http://127.0.0.1:{urlsplit(url).port}{urlsplit(url).path}api/kernels",
        headers={"Host": urlsplit(url).netloc},
        timeout=60,
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "SIGN_IN_REQUIRED"


def test_a_script_gets_files_and_makes_them_with_nothing_but_the_token(house: House) -> None:
    url, token = address_and_token(house, "guarded-path")
    with requests.Session() as session:
        session.headers["Authorization"] = f"token {token}"
        made = session.put(
            f"{url}api/contents/with-a-token.txt", json={"type": "file", "format": "text", "content": "42\n"}
        )
        assert made.status_code == 201, made.text
        # Now with the cookies that Jupyter set on the way, which are not for this.
        assert session.get(f"{url}files/with-a-token.txt").text == "42\n"
        renamed = session.patch(f"{url}api/contents/with-a-token.txt", json={"path": "renamed.txt"})
        assert renamed.status_code == 200, renamed.text
        assert session.delete(f"{url}api/contents/renamed.txt").status_code == 204


def test_a_link_lets_a_browser_in_once(house: House) -> None:
    link = printed_url(house, "guarded-path", "--lab", "/")
    with requests.Session() as session:
        session.headers["Accept"] = "text/html"
        page = session.get(link, timeout=60)
        assert page.status_code == 200
        assert page.url == f"{house.urls['guarded-path']}lab"
        assert "jupyter-config-data" in page.text
    with requests.Session() as session:
        session.headers["Accept"] = "text/html"
        page = session.get(link, timeout=60)
        assert urlsplit(page.url).path == "/.nbgate/sign-in"
    deadline = time.monotonic() + 10
    while "a link that was used before" not in (lines := house.log_file.read_text()):
        assert time.monotonic() < deadline, "the refusal is not in the log"
        time.sleep(0.1)  # another process, which writes its lines a few times a second
    assert "authToken" not in lines
