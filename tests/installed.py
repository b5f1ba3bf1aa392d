"""Programs from outside that some tests need. A person's machine may lack one, and the test is skipped; in CI
(`CI` is set), where tests are what counts, it fails: `.ci/run` installs them all.
"""

from __future__ import annotations

import os
import shutil

import pytest


def installed(*names: str) -> str:
    """The path of the first of these commands that there is."""
    for name in names:
        # Debian's daemons are in sbin, which is not on everybody's path.
        if path := shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
            return path
    if os.environ.get("CI"):
        pytest.fail(f"{names[0]} is not installed")
    pytest.skip(f"{names[0]} is not installed")
