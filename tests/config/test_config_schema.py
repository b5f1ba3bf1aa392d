"""The JSON Schema that editors use agrees with what is read, and with the annotated example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.config.json_schema import json_schema
from proxy.config.schema import File, keys_at, validate
from tests.config.config_files import EXAMPLES, text_of

SCHEMA = json_schema()


def errors(data: object) -> list[str]:
    return [error.json_path for error in Draft202012Validator(SCHEMA).iter_errors(data)]


def test_the_schema_is_valid_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["title"] == "nbgate configuration"
    assert SCHEMA["required"] == ["hostname", "policy", "instances"]


def test_every_setting_is_described() -> None:
    sections = [SCHEMA, *SCHEMA["$defs"].values()]
    bare = [
        name for one in sections for name, field in one["properties"].items() if not field.get("description")
    ]
    assert set(bare) <= {
        "policy",
        "client_address",
        "aws",
        "admin",
        "lifecycle",
        "limits",
        "timeouts",
        "tokens",
        "log",
        "tls",
    }


@pytest.mark.parametrize("name", ["minimal.yaml", "nbgate.yaml"])
def test_examples_agree_with_the_schema(name: str) -> None:
    assert errors(yaml.safe_load((EXAMPLES / name).read_text())) == []


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"listener": "listener: []"}, "$"),
        ({"hostname": ""}, "$"),
        ({"log": "log: {level: loud}"}, "$.log.level"),
        ({"timeouts": "timeouts: {idle: 5 m}"}, "$.timeouts.idle"),
        ({"limits": "limits: {connections: 0}"}, "$.limits.connections"),
        ({"instances": "instances: {A_B: {notebook: x}}"}, "$.instances"),
        ({"instances": "instances: {a: {notebook: x, mount: /a/}}"}, "$.instances.a.mount"),
        ({"instances": "instances: {a: {notebook: x, allow: []}}"}, "$.instances.a.allow"),
        ({"allowlists": "allowlists: {office: []}"}, "$.allowlists.office"),
        ({"policy": "policy: {allow: []}"}, "$.policy.allow"),
        ({"listeners": "listeners: []"}, "$.listeners"),
    ],
)
def test_the_schema_refuses_what_an_editor_can_see(sections: dict[str, str], path: str) -> None:
    assert errors(yaml.safe_load(text_of(**sections))) == [path]


def test_the_schema_admits_references_to_the_environment() -> None:
    text = text_of(
        listeners="listeners: [{bind: '${BIND}', public_port: '${PORT}'}]",
        timeouts="timeouts: {idle: '${IDLE:-75s}'}",
        log="log: {access: '${ACCESS}'}",
    )
    assert errors(yaml.safe_load(text)) == []


def described(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section in [schema, *schema["$defs"].values()]:
        yield from section.get("properties", {}).items()


def test_every_setting_is_described_for_editors_and_stands_in_the_annotated_example() -> None:
    example = (EXAMPLES / "nbgate.yaml").read_text()
    for name, setting in described(SCHEMA):
        references = [setting, *setting.get("anyOf", [])]
        described_there = any(
            "description" in SCHEMA["$defs"].get(one.get("$ref", "").rpartition("/")[2], one)
            for one in references
        )
        assert described_there, name
        assert re.search(rf"(?m)^[ #{{-]*.*\b{name}:", example), name


def test_defaults_are_shown_as_the_file_would_have_them() -> None:
    timeouts = SCHEMA["$defs"]["Timeouts"]["properties"]
    assert timeouts["idle"]["default"] == "75s"
    assert SCHEMA["$defs"]["Limits"]["properties"]["replay_body"]["default"] == "64KiB"
    assert SCHEMA["$defs"]["AwsSection"]["properties"]["session_duration"]["default"] == "12h"
    assert SCHEMA["properties"]["listeners"]["default"] == [{"bind": "127.0.0.1:8080"}]


def test_known_keys_are_found_by_path() -> None:
    assert keys_at(()) == list(File.model_fields)
    assert keys_at(("instances", "any")) == [
        "notebook",
        "mount",
        "aliases",
        "allow",
        "deny",
        "statements",
        "assume_role",
        "start_on_open",
        "stop_after_idle",
        "stop_warning",
        "stop_dry_run",
        "stop_ignore_unknown_terminals",
        "access",
        "cross_site_requests",
    ]
    assert keys_at(("listeners", 3, "tls")) == ["certificate", "key"]
    # Names of the operator's choice, a scalar, and nothing.
    assert keys_at(("instances",)) == []
    assert keys_at(("hostname", 0)) == []
    assert keys_at(("nothing", "there")) == []


def test_what_could_be_read_is_kept_beside_the_findings() -> None:
    """So that mistakes across keys are told in the same go."""
    file, findings = validate(
        {
            "hostname": ["nb.internal", 7],
            "policy": {"allow": ["office"], "deny": 3},
            "instances": {"a": {"notebook": "x"}, "b": {}, "c": {"notebook": "y", "mount": []}},
        }
    )
    assert [one.path for one in findings] == [
        ("hostname", 1), ("policy", "deny"), ("instances", "b", "notebook"), ("instances", "c", "mount"),
    ]  # fmt: skip
    assert file.hostname == ["nb.internal"]
    assert file.policy is not None
    assert file.policy.allow == ["office"]
    assert file.instances is not None
    assert set(file.instances) == {"a", "c"}
