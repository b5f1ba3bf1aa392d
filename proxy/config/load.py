"""From a configuration file to `Settings`, or to the list of everything that is wrong with it.

Its rule: a function of the file's content and the environment that it is handed; it keeps nothing, so that
a reload is a second call. Steps: text, tree with lines, environment, shape, consistency, build.
It must not act on what it reads: certificates are not opened, names not looked up, addresses not bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from proxy.config import build, schema
from proxy.config.concealment import Concealment
from proxy.config.consistency import inconsistencies
from proxy.config.environment import Substituted, substitute
from proxy.config.findings import Finding
from proxy.config.includes import include
from proxy.config.settings import Settings
from proxy.config.warnings import warnings
from proxy.config.yaml_lines import (
    LIST_FILES,
    MappingNode,
    SequenceNode,
    dotted,
    line_of,
    node_at,
    parse,
    to_data,
)
from proxy.config.yaml_lines import KeyPath as DataPath
from proxy.errors import ConfigError, Problem

MAX_BYTES = 8 * 1024 * 1024


def load(path: Path, *, environ: Mapping[str, str]) -> Settings:
    """Read a configuration file. Raises ConfigError with all problems, in the order of the file. What is valid and
    hardly meant is in the settings' `warnings`.

    `environ` is what `${NAME}` refers to, and where AWS_REGION is looked up if the file names no Region.
    """
    file = str(path)
    root, problems = parse(_text(path), file)
    substituted = substitute(root, environ=environ, file=file)
    problems += substituted.problems
    data = to_data(substituted.root)
    included = include(data, directory=path.parent)
    content, findings = schema.validate(included.data)
    findings += included.findings
    findings += inconsistencies(content, data if isinstance(data, dict) else {}, findings, environ=environ)
    problems += [_problem(one, substituted, file) for one in findings if one.path not in substituted.failed]
    problems += included.problems
    concealment = Concealment(root, substituted, keys_at=schema.keys_at)
    if problems:
        raise ConfigError([concealment.problem(one) for one in problems])
    settings = build.settings(
        content,
        environ=environ,
        source=path,
        included=included.lists,
        origin=lambda place: f"{file}:{line_of(substituted.root, place)}",
    )
    hardly_meant = (_problem(one, substituted, file) for one in warnings(content, settings))
    return replace(settings, warnings=tuple(concealment.problem(one) for one in hardly_meant))


def located(findings: Iterable[Finding], path: Path, *, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """Findings of others about a file that was loaded, with their lines; of the file as it is now."""
    file = str(path)
    root, _ = parse(_text(path), file)
    substituted = substitute(root, environ=environ, file=file)
    return tuple(_problem(one, substituted, file) for one in findings)


def _text(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [Problem(file, 0, where="", message=f"cannot be read: {error.strerror}")]
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            [
                Problem(
                    file, 0, where="", message=f"is larger than {MAX_BYTES // 1024**2} MiB", hint=LIST_FILES
                )
            ]
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(file, line, where="", message="is not UTF-8 text", hint="save the file as UTF-8")]
        ) from error


def _problem(one: Finding, substituted: Substituted, file: str) -> Problem:
    path = _existing(one.path, substituted)
    return Problem(
        file, line_of(substituted.root, path), where=dotted(path), message=one.message, hint=one.hint
    )


def _existing(path: DataPath, substituted: Substituted) -> DataPath:
    """`hostname: nb` is read as a list of one, and a network as an entry with a `cidr`; the file has neither."""
    if len(path) > 1:
        parent = node_at(substituted.root, path[:-1])
        if parent is not None and not isinstance(
            parent, SequenceNode if isinstance(path[-1], int) else MappingNode
        ):
            return path[:-1]
    return path
