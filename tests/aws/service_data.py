"""Cuts botocore's data down to what nbgate uses: `python -m tests.aws.service_data` writes proxy/aws/models.

The rule: nothing is changed but left out: operations and shapes that are not reachable from OPERATIONS, services
other than SERVICES, and documentation. The source is the installed botocore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.loaders import Loader

from proxy.aws.service_data import MODELS

OPERATIONS = (
    "CreatePresignedNotebookInstanceUrl",
    "DescribeNotebookInstance",
    "ListNotebookInstances",
    "StartNotebookInstance",
    "StopNotebookInstance",
)
SERVICES = frozenset({"api.sagemaker", "sts", "portal.sso", "oidc", "signin"})
"""Endpoint prefixes: SageMaker, and whom the search for credentials asks."""

Data = dict[str, Any]


def service_model(loader: Loader) -> tuple[str, Data]:
    """SageMaker's model and its API version."""
    version = loader.determine_latest_version("sagemaker", "service-2")
    whole: Mapping[str, Any] = loader.load_service_model("sagemaker", "service-2", version)
    operations = {name: whole["operations"][name] for name in OPERATIONS}
    shapes: Data = {}
    waiting = [name for operation in operations.values() for name in _referred(operation)]
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = whole["shapes"][name]
            waiting += _referred(shapes[name])
    cut = {**whole, "operations": operations, "shapes": dict(sorted(shapes.items()))}
    return version, _without_documentation(cut)


def endpoints(loader: Loader) -> Data:
    """Partitions and Regions, and how SERVICES depart from their rules."""
    whole: Data = loader.load_data("endpoints")
    partitions = [
        {**one, "services": {name: rest for name, rest in one["services"].items() if name in SERVICES}}
        for one in whole["partitions"]
    ]
    return {**whole, "partitions": partitions}


def _referred(node: Any) -> Iterator[str]:
    """The shapes that an operation or a shape names; in the model, only a reference has a text as `shape`."""
    if isinstance(node, Mapping):
        if isinstance(node.get("shape"), str):
            yield node["shape"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _referred(part)


def _without_documentation(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {
            name: _without_documentation(part)
            for name, part in node.items()
            if not (name == "documentation" and isinstance(part, str))
        }
    return [_without_documentation(part) for part in node] if isinstance(node, list) else node


def main() -> None:
    loader = Loader()
    version, model = service_model(loader)
    directory = MODELS / "sagemaker" / version
    directory.mkdir(parents=True, exist_ok=True)
    for file, content in (
        (directory / "service-2.json", model),
        (MODELS / "endpoints.json", endpoints(loader)),
    ):
        file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
