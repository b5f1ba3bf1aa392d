"""What some tests need from outside. A person's machine may lack it, and the test is skipped; in CI (`CI` is set),
where tests are what counts, it fails: `.ci/run` installs all of it.
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
    raise missing(f"{names[0]} is not installed")


def missing(what: str) -> BaseException:
    """What to raise in a test that cannot be run for want of something."""
    return pytest.fail.Exception(what) if os.environ.get("CI") else pytest.skip.Exception(what)
