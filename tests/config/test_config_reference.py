"""config/nbgate.yaml is what the code says of itself: every setting, explained once, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.config.json_schema import json_schema
from proxy.config.reference import reference
from tests.config.config_files import EXAMPLES, load_text, text_of

SCHEMA = json_schema()
WRITTEN = {
    f"{name}.{key}": one
    for name, section in {"File": SCHEMA, **SCHEMA["$defs"]}.items()
    for key, one in section["properties"].items()
    if "description" in one
}
LEAVES = {
    "admin": "Admin",
    "aws": "AwsSection",
    "lifecycle": "GatewayLifecycle",
    "limits": "Limits",
    "log": "Log",
    "timeouts": "Timeouts",
    "tokens": "Tokens",
}


def words(text: str) -> str:
    """Without line ends, and without what makes comments of lines."""
    return " ".join(re.sub(r"(?m)^[ #]*", "", text).split())


def test_the_annotated_example_is_up_to_date() -> None:
    written = (EXAMPLES / "nbgate.yaml").read_text("utf-8")
    assert written == reference(), "write it anew: python -m proxy.config.reference > config/nbgate.yaml"


@pytest.mark.parametrize("setting", WRITTEN)
def test_each_setting_is_explained_and_shown(setting: str) -> None:
    text = reference()
    description = words(WRITTEN[setting]["description"])
    assert words(text).count(description) >= 1
    key = setting.partition(".")[2]
    assert re.search(rf"(?m)^[ #-]*{key}:(?= |$)", text)


def test_no_line_is_too_long_to_read() -> None:
    assert max(map(len, reference().splitlines())) <= 120


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, key)
        for section, name in LEAVES.items()
        for key, one in SCHEMA["$defs"][name]["properties"].items()
        if one.get("default") not in (None, [])
    ],
)
def test_a_default_that_is_written_down_changes_nothing(tmp_path: Path, section: str, key: str) -> None:
    default = SCHEMA["$defs"][LEAVES[section]]["properties"][key]["default"]
    content = {key: default} | ({"region": "eu-west-1"} if section == "aws" else {})
    written = load_text(tmp_path, text_of(**{section: yaml.safe_dump({section: content})}))
    assert written == load_text(tmp_path, text_of())
