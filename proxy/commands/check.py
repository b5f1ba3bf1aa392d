"""`nbgate check`: what a configuration means, and what is wrong with it beyond the file itself.

The rule: it shows what `proxy.server.checking` found, and finds nothing. Problems and warnings are handed back, for
whoever reads the command line prints them as those of the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.clock import SystemClock
from proxy.commands.summary import print_summary
from proxy.config.load import located
from proxy.config.settings import Settings
from proxy.errors import Problem
from proxy.server.checking import everything


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What there is to say of a file that can be read, each at its line."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def run(settings: Settings, file: Path) -> CheckedFile:
    """Print what the file means, unless nobody could be served so."""
    now = SystemClock().now()
    checked = everything(settings, now=now)
    if not checked.problems:
        print_summary(settings, now=now)
    return CheckedFile(
        problems=tuple(located(checked.problems, file, environ=os.environ)),
        warnings=(*settings.warnings, *located(checked.warnings, file, environ=os.environ)),
    )
