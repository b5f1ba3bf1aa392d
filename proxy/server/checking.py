"""What `nbgate check` looks at besides the file: the certificates that it names, where they are, and the Region.

The rule: what `serve` would fail at is a problem, what callers will meet some day is a warning, and files that are on
another machine are none of both. Findings carry paths of the file. It must not print.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Final

from proxy.config.findings import Finding
from proxy.config.settings import Settings
from proxy.config.yaml_lines import Path
from proxy.policy.dates import format_instant
from proxy.server.aws_check import unknown_region
from proxy.server.certificates import UnusableCertificateError, is_public, validity

SOON: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, at its places in the file."""

    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    ends_at: datetime | None = None
    """When the first of the certificates ends; None where there are none that can be used."""


def everything(settings: Settings, *, now: datetime) -> Checked:
    """All that can be looked at without asking anybody."""
    checked = certificates(settings, now=now)
    region = unknown_region(settings)
    return checked if region is None else replace(checked, warnings=(region, *checked.warnings))


def certificates(settings: Settings, *, now: datetime) -> Checked:
    """Look at each pair of certificate and key, once."""
    problems: list[Finding] = []
    warnings: list[Finding] = []
    ends: list[datetime] = []
    seen = set()
    for index, listener in enumerate(settings.listeners):
        pair = listener.tls
        if pair is None or pair in seen:
            continue
        seen.add(pair)
        place: Path = ("listeners", index, "tls")
        missing = [file for file in (pair.certificate, pair.key) if not _is_there(file)]
        if missing:
            names = " and ".join(str(file) for file in missing)
            hint = "serve needs it on the machine that it runs on"
            warnings.append(Finding(place, f"not looked at: there is no {names} on this machine", hint))
            continue
        try:
            valid = validity(pair.certificate, pair.key)
        except UnusableCertificateError as error:
            problems.append(Finding(place, error.strerror or str(error)))
            continue
        ends.append(valid.ends_at)
        when = _when(valid.begins_at, valid.ends_at, now)
        if when:
            warnings.append(Finding((*place, "certificate"), f"{pair.certificate} {when}", "renew it"))
        if is_public(pair.key):
            hint = f"chmod o-r {pair.key}"
            warnings.append(Finding((*place, "key"), f"everybody on this machine can read {pair.key}", hint))
    return Checked(tuple(problems), tuple(warnings), min(ends, default=None))


def _is_there(file: FilePath) -> bool:
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:
        # It is there, and reading it says why it is of no use.
        return True
    return True


def _when(begins_at: datetime, ends_at: datetime, now: datetime) -> str:
    if ends_at <= now:
        return f"ended at {format_instant(ends_at)}: browsers refuse it"
    if begins_at > now:
        return f"begins at {format_instant(begins_at)}: browsers refuse it until then"
    if ends_at - now < SOON:
        return f"ends at {format_instant(ends_at)}"
    return ""
