"""A real Jupyter server as a child process: JupyterLab on /lab, Notebook 7 on /tree, kernels, terminals.

It has no token and no password, as on a notebook instance, where the front end alone decides who comes
in. The rule is therefore that only the front end can reach it: it listens on a unix socket in a private
directory and not on a port. It reads no configuration of the user's, and of the extensions that are installed beside
it, it has those alone that are asked for; it, its kernels and its terminals end with the sandbox.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp

from proxy.clock import SystemClock
from proxy.sandbox.child import Child

START_SECONDS = 60.0
_POLL_SECONDS = 0.1

_WELCOME: dict[str, object] = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "welcome",
            "metadata": {},
            "outputs": [],
            "source": "print(6*7)",
        }
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


_SERVER_EXTENSIONS = ("jupyterlab", "notebook", "notebook_shim", "jupyter_server_terminals")
_LAB_EXTENSIONS = ("@jupyter-notebook/lab-extension", "jupyterlab_pygments")


class JupyterFailed(Exception):
    """The Jupyter server ended, or did not answer in time; the message ends with what it printed last."""


class JupyterServer:
    """One server. The notebooks in its directory stay over a stop and a start, as on an instance's volume."""

    def __init__(self, extensions: Sequence[str] = (), *, allow_origin_pattern: str = "") -> None:
        """`extensions` are names of server extensions (`nbclassic`), and of JupyterLab's (`@scope/name`), besides
        JupyterLab and Notebook 7. `allow_origin_pattern` is for a front end that hands on another `Host`."""
        self._extensions = tuple(extensions)
        self._allow_origin_pattern = allow_origin_pattern
        # How long a real process takes is no matter of a clock that tests move.
        self._clock = SystemClock()
        self._child: Child | None = None

    async def start(self, socket_path: Path) -> None:
        """Start it and return when it answers on `socket_path`; its files go beside that.

        Raises JupyterFailed. Needs the extra `demo`.
        """
        base = socket_path.parent
        environment = _prepare(base, socket_path, self._extensions, self._allow_origin_pattern)
        child = await Child.start(
            "jupyter_server",
            [f"--config={base / 'config' / 'server.json'}"],
            log=base / "jupyter.log",
            environment=environment,
            cwd=base / "notebooks",
        )
        try:
            await self._answers(child, socket_path)
        except BaseException:
            await child.stop()
            raise
        self._child = child

    async def stop(self) -> None:
        """End it, its kernels and its terminals."""
        child, self._child = self._child, None
        if child is not None:
            await child.stop()

    async def _answers(self, child: Child, socket_path: Path) -> None:
        give_up_at = self._clock.monotonic() + START_SECONDS
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as session:
            while self._clock.monotonic() < give_up_at:
                if child.status is not None:
                    raise JupyterFailed(f"Jupyter ended with {child.status}:\n{child.last_output}")
                try:
                    async with session.get("http://jupyter/api/status") as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, OSError):
                    pass
                await self._clock.sleep(_POLL_SECONDS)
        raise JupyterFailed(f"Jupyter did not answer within {START_SECONDS:g} s:\n{child.last_output}")


def _prepare(
    base: Path, socket_path: Path, extensions: Sequence[str], allow_origin_pattern: str
) -> dict[str, str]:
    """Write the server's configuration; returns the environment that keeps it off the user's files."""
    for name in ("config/labconfig", "data", "runtime", "ipython", "notebooks"):
        (base / name).mkdir(parents=True, exist_ok=True)
    config = {
        "ServerApp": {
            "sock": str(socket_path),
            "sock_mode": "0600",
            "root_dir": str(base / "notebooks"),
            "base_url": "/",
            "default_url": "/lab",
            "open_browser": False,
            "allow_root": True,
            # The front end passes its own host name on.
            "allow_remote_access": True,
            "allow_origin_pat": allow_origin_pattern,
            "jpserver_extensions": {
                **dict.fromkeys(_installed_in_server(), False),
                **dict.fromkeys((*_SERVER_EXTENSIONS, *extensions), True),
            },
            # Packages may bring parts of JupyterLab that it would like to build in, and asks people about.
            "tornado_settings": {"page_config_data": {"buildAvailable": False, "buildCheck": False}},
            "log_level": "WARN",
        },
        "IdentityProvider": {"token": ""},
        # Nothing here may look for news or packages on the internet.
        "LabApp": {
            "extension_manager": "readonly",
            "news_url": None,
            "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
        },
    }
    (base / "config" / "server.json").write_text(json.dumps(config))
    kept_in_lab = {*_LAB_EXTENSIONS, *extensions}
    disabled = ["@jupyterlab/apputils-extension:announcements"]
    disabled += [name for name in _installed_in_lab() if name not in kept_in_lab]
    page_config = {"disabledExtensions": dict.fromkeys(disabled, True)}
    (base / "config" / "labconfig" / "page_config.json").write_text(json.dumps(page_config))
    welcome = base / "notebooks" / "welcome.ipynb"
    if not welcome.exists():
        welcome.write_text(json.dumps(_WELCOME))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "JPY_"))}
    # AWS credentials of whoever runs the sandbox have no business in a notebook.
    kept = {name: value for name, value in kept.items() if not name.startswith("AWS_")}
    return kept | {
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "IPYTHONDIR": str(base / "ipython"),
        "PYTHONUNBUFFERED": "1",
    }


def _installed_in_server() -> Iterator[str]:
    """Server extensions that packages of this environment switch on."""
    from jupyter_core.paths import jupyter_config_path

    for directory in jupyter_config_path():
        for file in Path(directory).glob("jupyter_server_config.d/*.json"):
            yield from json.loads(file.read_text()).get("ServerApp", {}).get("jpserver_extensions", ())


def _installed_in_lab() -> Iterator[str]:
    """JupyterLab's, that packages bring built."""
    from jupyter_core.paths import jupyter_path

    for directory in jupyter_path("labextensions"):
        for file in (*Path(directory).glob("*/package.json"), *Path(directory).glob("@*/*/package.json")):
            yield json.loads(file.read_text())["name"]
