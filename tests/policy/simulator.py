"""An IAM simulator that others wrote, for the tests that want a second opinion."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.harness.installed import installed
from tests.harness.npm import npm_packages

HERE = Path(__file__).parent / "oracle"


def simulate(requests: Iterable[Mapping[str, Any]]) -> list[str]:
    """What it says of each `{policy, context, action, resource}`: Allowed, ExplicitlyDenied or ImplicitlyDenied.

    Skips the test where it cannot be installed, but in CI.
    """
    node, directory = installed("node"), npm_packages(HERE, name="oracle")
    script = str(HERE / "simulate.mjs")
    lines = "\n".join(map(json.dumps, requests))
    done = subprocess.run(
        [node, script], input=lines, cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()
