"""Allowlists that stand in files of their own, one network a line, `#` begins a comment.

Its rule: a file is read as strictly as a list in the configuration, and a problem in it carries its own line.
A file without a network is refused, as an empty list is: whatever writes it may have been interrupted.
It must not know what a list is used for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from proxy.client_address.networks import AddressError, Network, parse_network
from proxy.config.findings import Finding, did_you_mean
from proxy.config.values import shown
from proxy.errors import Problem

MAX_BYTES = 32 * 1024 * 1024
MAX_PROBLEMS = 20
"""Of one file; whatever wrote it wrote the rest in the same way."""

MAX_SHOWN = 64
_NO_NETWORK = ("is not a network", "write a network such as 203.0.113.0/24; what is there is not shown")
_HINT = "write the path of a file with one network a line, such as vpn-ranges.txt"


@dataclass(frozen=True, slots=True)
class Included:
    """A list that was read from `file`."""

    file: Path
    networks: tuple[Network, ...]


@dataclass(slots=True)
class Includes:
    """What was read, and what was wrong: `findings` in the configuration, `problems` in the files."""

    data: Any
    """The configuration without the lists that stand elsewhere."""
    lists: dict[str, Included] = field(default_factory=dict)
    _: KW_ONLY
    files: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def include(data: Any, *, directory: Path) -> Includes:
    """Read every list of the form `{file: …}`. Relative paths count from `directory`."""
    lists = data.get("allowlists") if isinstance(data, dict) else None
    elsewhere = (
        {name: one for name, one in lists.items() if isinstance(one, dict)} if isinstance(lists, dict) else {}
    )
    if not elsewhere:
        return Includes(data)
    assert isinstance(lists, dict)
    here = {name: one for name, one in lists.items() if name not in elsewhere}
    includes = Includes({**data, "allowlists": here})
    for name, section in elsewhere.items():
        _include(includes, name, section, directory)
    return includes


def _include(includes: Includes, name: str, section: Mapping[str, object], directory: Path) -> None:
    path = ("allowlists", name)
    for key in section:
        if key != "file":
            hint = did_you_mean(str(key), ["file"])
            includes.findings.append(Finding((*path, key), f"there is no setting called '{key}'", hint))
    written = section.get("file")
    if not section:
        hint = "write a list, or {file: ranges.txt}"
        includes.findings.append(Finding(path, "is neither a list nor a file", hint))
    if "file" not in section:
        return
    if not isinstance(written, str) or not written:
        includes.findings.append(Finding((*path, "file"), f"must be a path, not {shown(written)}", _HINT))
        return
    file = directory / written
    includes.files.append(file)
    try:
        text = _text(file)
    except OSError as error:
        reason = error.strerror or str(error)
        includes.findings.append(Finding((*path, "file"), f"{file} cannot be read: {reason}", _HINT))
        return
    except _UnusableError as error:
        includes.findings.append(Finding((*path, "file"), f"{file} {error}", _HINT))
        return
    networks, problems = _networks(text, str(file))
    includes.problems += problems
    if not networks and not problems:
        hint = "write networks such as 203.0.113.0/24, one a line"
        includes.problems.append(
            Problem(str(file), 0, where="", message="holds no network; it would let nobody in", hint=hint)
        )
    includes.lists[name] = Included(file, tuple(networks))


class _UnusableError(Exception):
    """A file that was found and is none of networks."""


def _text(file: Path) -> str:
    if file.exists() and not file.is_file():
        # Opening a pipe would wait for whoever writes to it.
        raise _UnusableError("is not a file")
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _UnusableError(f"is larger than {MAX_BYTES // 1024**2} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnusableError("is not UTF-8 text") from error


def _networks(text: str, file: str) -> tuple[list[Network], list[Problem]]:
    networks: list[Network] = []
    problems: list[Problem] = []
    for number, entry in _entries(text):
        try:
            networks.append(parse_network(entry))
        except AddressError as error:
            if len(problems) == MAX_PROBLEMS:
                problems.append(
                    Problem(
                        file,
                        number,
                        where="",
                        message="here and below may be more",
                        hint="see the ones above",
                    )
                )
                break
            message, hint = (str(error), error.hint) if _is_address_like(entry) else _NO_NETWORK
            problems.append(Problem(file, number, where="", message=message, hint=hint))
    return networks, problems


def _is_address_like(entry: str) -> bool:
    """Whether an entry is worth quoting. Others are: a list's name may lead to a file of secrets by mistake."""
    return len(entry) <= MAX_SHOWN and any(mark in entry for mark in ".:")


def _entries(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if entry := line.partition("#")[0].strip():
            yield number, entry
