"""Configuration files for tests: a valid one, and what loading a text says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.errors import ConfigError, Problem

NOW = datetime(2026, 11, 28, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[2] / "config"

BASE: Mapping[str, str] = {
    "hostname": "hostname: nb.internal",
    "aws": "aws: {region: eu-west-1}",
    "allowlists": "allowlists: {office: [203.0.113.0/24], vpn: [198.51.100.7]}",
    "policy": "policy: {allow: [office]}",
    "instances": "instances: {research: {notebook: research-gpu-1}}",
}
"""A valid file, section by section; each section is one line."""


def text_of(**sections: str) -> str:
    """The valid file, with sections added or put in the place of its own; the given ones come first.

    A section is given as its text, from its key on; an empty text removes it.
    """
    kept = {**sections, **{name: text for name, text in BASE.items() if name not in sections}}
    return "\n".join(text for text in kept.values() if text) + "\n"


def load_text(directory: Path, text: str | bytes, *, environ: Mapping[str, str] | None = None) -> Settings:
    file = directory / "nbgate.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, environ=environ or {})


def problems_of(
    directory: Path, text: str | bytes, *, environ: Mapping[str, str] | None = None
) -> list[Problem]:
    """What is wrong with a file, which must be something. The file's name is cut to its last part."""
    with pytest.raises(ConfigError) as caught:
        load_text(directory, text, environ=environ)
    return [
        Problem(Path(one.file).name, one.line, where=one.where, message=one.message, hint=one.hint)
        for one in caught.value.problems
    ]


def said(problem: Problem) -> tuple[int, str, str, str]:
    return problem.line, problem.where, problem.message, problem.hint
