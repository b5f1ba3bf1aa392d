"""Policy documents into lines for the configuration file, and the configuration's policy into documents.

Its rule: `proxy.policy` says what a document means; here it gets lines to complain about, and YAML to come out
as, which the configuration's own reader reads back as the same. It must not change any file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from proxy.client_address.networks import Network
from proxy.config.settings import Settings
from proxy.config.yaml_lines import dotted, line_of, parse
from proxy.errors import ConfigError, Problem
from proxy.policy.documents import DocumentError, Imported, import_document, parse_document
from proxy.policy.export import Exported, callers_document, gateway_document
from proxy.wire.strict_json import NotJson

MAX_BYTES = 1024 * 1024
"""AWS's documents end at 10,240 characters."""


def import_file(path: Path, *, list_name: str) -> str:
    """The lines for nbgate.yaml that say what a policy document says. Raises ConfigError with all problems."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            [Problem(file, 0, where="", message=f"cannot be read: {error.strerror}")]
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file, 0, where="", message="is not UTF-8 text")]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([Problem(file, 0, where="", message=f"is larger than {MAX_BYTES // 1024} KiB")])
    try:
        document, inside = parse_document(text)
        imported = import_document(document, inside)
    except DocumentError as error:
        raise ConfigError(_problems(error, text, file)) from error
    return _yaml(imported, list_name=list_name, source=path.name)


def export_callers(settings: Settings) -> Exported:
    """What the configuration says of callers, for those who call AWS themselves."""
    common = settings.policy.statements
    return callers_document(
        common,
        {one.arn: one.policy.statements[len(common) :] for one in settings.instances.values()},
    )


def export_gateway(
    settings: Settings, *, role: str | None, egress: Sequence[Network], endpoints: Sequence[str]
) -> Exported:
    """What the gateway itself needs, or a `role` that it assumes. Raises `PolicyError`."""
    instances = [one for one in settings.instances.values() if one.assume_role == role]
    assumed = (
        [one.assume_role for one in settings.instances.values() if one.assume_role] if role is None else []
    )
    return gateway_document([one.arn for one in instances], roles=assumed, egress=egress, endpoints=endpoints)


def document_text(document: Mapping[str, Any]) -> str:
    """JSON as AWS's tools take it."""
    return json.dumps(document, indent=2)


def _problems(error: DocumentError, text: str, file: str) -> list[Problem]:
    cause = error.__cause__
    if isinstance(cause, NotJson) and cause.line and not error.flaws[0].path:
        return [Problem(file, cause.line, where="", message=f"is not JSON: {cause.reason}", hint=error.hint)]
    try:
        # JSON is YAML, and this reader knows lines.
        root = parse(text, file)[0]
    except ConfigError:
        root = None
    return [
        Problem(
            file,
            line_of(root, one.path) if root else 0,
            where=dotted(one.path),
            message=one.message,
            hint=one.hint,
        )
        for one in error.flaws
    ]


def _yaml(imported: Imported, *, list_name: str, source: str) -> str:
    content: dict[str, Any]
    if imported.networks:
        content = {
            "allowlists": {list_name: list(imported.networks)},
            "policy": {"allow": [list_name]},
        }
    else:
        content = {"policy": {"statements": [dict(one) for one in imported.statements]}}
    comments = "".join(f"# {line}\n" for line in (f"From {source}.", *imported.remarks))
    return comments + yaml.safe_dump(content, sort_keys=False, default_flow_style=False, width=110)
