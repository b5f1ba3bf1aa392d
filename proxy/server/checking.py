"""What `nbgate check` looks at besides the file: the certificates that it names, the Region, and what has ended.

The rule: what `serve` would fail at is a problem, what callers will meet some day is a warning, and files that are on
another machine are none of both. Findings carry paths of the file. It must not print.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Final

from proxy.config.findings import Finding
from proxy.config.sections import Tls
from proxy.config.settings import Settings
from proxy.config.yaml_lines import KeyPath
from proxy.policy.dates import format_instant
from proxy.routing.mounts import MountKind
from proxy.server.certificates import UnusableCertificateError, Validity, is_public, validity
from proxy.server.operations.aws_check import unknown_region

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
    found = (*([region] if region else []), *_ended(settings, now=now), *checked.warnings)
    return replace(checked, warnings=found)


def _ended(settings: Settings, *, now: datetime) -> Iterator[Finding]:
    for name, one in settings.allowlists.items():
        ended = [entry for entry in one.ending if entry.until is not None and entry.until <= now]
        for entry in ended:
            until = format_instant(entry.until or now)
            yield Finding(
                ("allowlists", name),
                f"{entry.network} has ended at {until}: it counts no more",
                "remove it, or give it another until",
            )


def certificates(settings: Settings, *, now: datetime) -> Checked:
    """Look at each pair of certificate and key, once."""
    problems: list[Finding] = []
    warnings: list[Finding] = []
    ends: list[datetime] = []
    good: dict[Tls, tuple[KeyPath, Validity]] = {}
    seen = set()
    for index, listener in enumerate(settings.listeners):
        pair = listener.tls
        if pair is None or pair in seen:
            continue
        seen.add(pair)
        place: KeyPath = ("listeners", index, "tls")
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
        good[pair] = (place, valid)
        ends.append(valid.ends_at)
        when = _when(valid.begins_at, valid.ends_at, now)
        if when:
            warnings.append(Finding((*place, "certificate"), f"{pair.certificate} {when}", "renew it"))
        if is_public(pair.key):
            hint = f"chmod o-r {pair.key}"
            warnings.append(Finding((*place, "key"), f"everybody on this machine can read {pair.key}", hint))
    warnings += _not_named(settings, good)
    return Checked(tuple(problems), tuple(warnings), min(ends, default=None))


def _not_named(settings: Settings, good: Mapping[Tls, tuple[KeyPath, Validity]]) -> Iterator[Finding]:
    """Names that people type and that a certificate is not for."""
    # What other certificates are for that cannot be looked at here is not known.
    others_known = all(listener.tls in good for listener in settings.listeners if listener.scheme == "https")
    for pair, (place, valid) in good.items():
        asked = _asked_at(settings, pair)
        missing = [name for name in asked if not valid.is_for(name)]
        is_for_none = all(name in missing for name in settings.hostnames)
        if not is_for_none:
            missing = [
                name
                for name in missing
                if others_known
                and not any(
                    name in _asked_at(settings, other) and another.is_for(name)
                    for other, (_, another) in good.items()
                )
            ]
        if missing:
            named = ", ".join((*valid.names, *valid.addresses)) or "no name"
            yield Finding(
                (*place, "certificate"),
                f"{pair.certificate} is for {named}, not for {', '.join(missing)}: browsers refuse it there",
                "have one made for that name, or correct the name",
            )


def _asked_at(settings: Settings, pair: Tls) -> list[str]:
    """The names under which people reach the listeners that show a certificate."""
    ports = {mount.port for mount in settings.mounts.values() if mount.kind is MountKind.PORT}
    names = list(settings.hostnames)
    # The port of an instance leads to that instance alone.
    if any(one.tls == pair and one.public_port not in ports for one in settings.listeners):
        names += [mount.host for mount in settings.mounts.values() if mount.kind is MountKind.HOST]
    return names


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
