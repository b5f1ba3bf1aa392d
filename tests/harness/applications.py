"""What else runs on notebooks, behind a gateway whose only mount is a path: nbclassic, Voilà, jupyter-server-nbmodel in
one Jupyter, and beside it Dash and streams. All run as processes of their own.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.harness import processes

EXTENSIONS = ("nbclassic", "voila.server_extension", "jupyter_server_proxy", "jupyter_server_nbmodel")
IN_LAB = ("@datalayer/jupyter-server-nbmodel", "@jupyterhub/jupyter-server-proxy")
MOUNT = "/research"
PATIENCE_SECONDS = 60.0
HEAD_SECONDS = 30.0
"""`timeouts.response_head` of the gateway that waits for no answer any longer."""
_APPLICATIONS = Path(__file__).parents[1] / "e2e" / "run_applications.py"


@dataclass(frozen=True)
class Applications:
    """`url` is the mount's, with a slash at the end, and `hasty_url` that of the same mount at a gateway that waits
    `HEAD_SECONDS` for an answer; `ports` are those of `run_applications.py`.
    """

    url: str
    hasty_url: str
    ports: dict[str, int]

    def proxied(self, name: str) -> str:
        return f"{self.url}proxy/{self.ports[name]}/"

    def put_notebook(self, name: str, *cells: str) -> None:
        """Have a notebook of these cells."""
        content = {
            "cells": [
                {"cell_type": "code", "execution_count": None, "id": f"cell-{number}", "metadata": {},
                 "outputs": [], "source": cell}
                for number, cell in enumerate(cells)
            ],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }  # fmt: skip
        self._put(name, {"type": "notebook", "format": "json", "content": content})

    def put_text(self, name: str, text: str) -> None:
        self._put(name, {"type": "file", "format": "text", "content": text})

    def _put(self, name: str, model: dict[str, Any]) -> None:
        """Save a file, as anybody could."""
        with urllib.request.urlopen(f"{self.url}lab", timeout=PATIENCE_SECONDS) as page:
            cookie = next(
                value.partition(";")[0]
                for value in page.headers.get_all("Set-Cookie", ())
                if value.startswith("_xsrf=")
            )
        request = urllib.request.Request(
            f"{self.url}api/contents/{name}",
            json.dumps(model).encode(),
            {"Cookie": cookie, "X-XSRFToken": cookie.partition("=")[2], "Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
            pass


@contextmanager
def open_applications(directory: Path) -> Iterator[Applications]:
    with ExitStack() as stack:
        named = [f"--extension={name}" for name in (*EXTENSIONS, *IN_LAB)]
        sandbox = processes.told(stack, directory / "sandbox.log", "-m", "proxy.sandbox", "--jupyter", *named)
        applications = processes.told(stack, directory / "applications.log", str(_APPLICATIONS), MOUNT)
        urls: list[str] = []
        for name, timeouts in (("patient", {}), ("hasty", {"response_head": f"{HEAD_SECONDS:g}s"})):
            config = directory / f"{name}.yaml"
            config.write_text(yaml.safe_dump(_gateways(sandbox, timeouts)))
            gateway = processes.told(stack, directory / f"{name}.log", str(_GATEWAY), str(config))
            urls.append(f"http://127.0.0.1:{gateway['port']}{MOUNT}/")
        patient, hasty = urls
        yield Applications(patient, hasty, applications)


def _gateways(sandbox: dict[str, Any], timeouts: dict[str, str]) -> dict[str, Any]:
    """The configuration of a gateway in front of it."""
    return {
        "hostname": ["127.0.0.1"],
        "listeners": [{"bind": "127.0.0.1:0"}],
        "admin": None,
        "aws": {
            "region": sandbox["region"],
            "endpoint_url": sandbox["endpoint_url"],
            "notebook_origins": [one["origin"] for one in sandbox["instances"].values()],
        },
        "allowlists": {"here": ["127.0.0.0/8"]},
        "policy": {"allow": ["here"]},
        "instances": {"research": {"notebook": "research-gpu-1", "mount": {"path": f"{MOUNT}/"}}},
        "timeouts": {"drain_delay": "0s", "drain": "1s"} | timeouts,
    }


_GATEWAY = Path(__file__).parents[1] / "e2e" / "run_gateway.py"
