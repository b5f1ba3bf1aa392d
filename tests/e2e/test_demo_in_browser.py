"""`nbgate demo` as its first user meets it: one command, one address, JupyterLab in a browser, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.harness.browsing import open_lab, open_notebook, run_cell, run_in_terminal
from tests.sandbox.left_behind import MARK, marked

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

COMMAND = Path(sys.executable).with_name("nbgate")


def address_in(process: subprocess.Popen[str]) -> str:
    """The address that the demo prints; its output has been read to the last line of its announcement."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if "Ctrl-C stops all of it." in line:
            break
    found = re.search(r"Open JupyterLab at\s+(http://127\.0\.0\.1:\d+/)", text)
    assert found, text
    return found[1]


def test_the_demo_shows_jupyterlab_and_ctrl_c_leaves_nothing(page: Page, tmp_path: Path) -> None:
    run = uuid.uuid4().hex
    process = subprocess.Popen(
        [COMMAND, "demo", "--port", "0"],
        env=os.environ | {MARK: run, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = address_in(process)
        assert len(marked(run)) >= 4, "the demo, nbgate and two Jupyter servers"

        page.goto(address)
        page.wait_for_selector(".jp-Launcher", state="visible")
        open_notebook(page)
        run_cell(page)
        open_lab(page, address)
        run_in_terminal(page, address)

        denied = page.goto(f"{address}secret/")
        assert denied is not None
        assert denied.status == 403
        assert "127.0.0.1" in page.inner_text("body")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0
    assert marked(run) == []
    assert list(tmp_path.iterdir()) == []
