"""Each status that SageMaker has is told, and a status is SageMaker's word."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import proxy
from proxy.instance_status import PASSING, STARTABLE, TEXTS, InstanceStatus


def test_a_status_is_sagemakers_word() -> None:
    assert str(InstanceStatus.IN_SERVICE) == "InService"
    assert {InstanceStatus.IN_SERVICE: 1}["InService"] == 1  # type: ignore[index]
    assert f"{InstanceStatus.IN_MAINTENANCE}" == "InMaintenance"
    assert "Stopping" in PASSING
    assert {"Stopped", "Failed"} == STARTABLE


def test_there_is_something_to_say_of_each_that_is_not_in_service() -> None:
    assert set(TEXTS) == set(InstanceStatus) - {InstanceStatus.IN_SERVICE}
    assert TEXTS.get("Novelty") is None


@pytest.mark.parametrize("status", sorted(TEXTS))
def test_what_passes_by_itself_is_worth_another_request_and_another_look(status: str) -> None:
    text = TEXTS[status]
    assert bool(text.retry_after_seconds) is bool(text.refresh_seconds)
    assert ("reloads by itself" in text.advice) is bool(text.refresh_seconds)
    assert all((text.word, text.mood, text.sentence, text.title, text.message, text.advice))


def test_a_status_is_spelled_in_one_place() -> None:
    """The sandbox is a SageMaker of its own, and knows nothing of ours."""
    package = Path(proxy.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in set(InstanceStatus)
    }
    assert {path for path in found if not path.startswith("sandbox")} == {"instance_status.py"}
