"""A notebook instance's status, in SageMaker's words, and all that is said of each.

The rule: what a status means stands here once: for programs, for pages, and for whoever decides what can be done with
an instance. SageMaker may use new words at any time, so a status is text wherever it comes in; these are the ones that
are known (`NotebookInstanceStatus` of DescribeNotebookInstance). It must not know who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class InstanceStatus(StrEnum):
    """Equal to SageMaker's word."""

    PENDING = "Pending"
    IN_SERVICE = "InService"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    FAILED = "Failed"
    DELETING = "Deleting"
    UPDATING = "Updating"
    PENDING_MAINTENANCE = "PendingMaintenance"
    IN_MAINTENANCE = "InMaintenance"


PASSING: Final = frozenset({InstanceStatus.PENDING, InstanceStatus.STOPPING, InstanceStatus.UPDATING})
"""They soon give way to others by themselves."""
STARTABLE: Final = frozenset({InstanceStatus.STOPPED, InstanceStatus.FAILED})
"""StartNotebookInstance leads on from them (API reference)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusText:
    """What is said of a status.

    `word` and `mood` are the portal's: our word, and the colour of its mark. `sentence` is for programs, with
    `retry_after_seconds` where it passes; without where only a person can help: reloading a stopped instance's page
    starts nothing. The rest is for the page that stands in the notebook's place, which reloads by itself after
    `refresh_seconds`; 0: it does not.
    """

    word: str
    mood: str
    sentence: str
    title: str
    message: str
    advice: str
    retry_after_seconds: int | None = None
    refresh_seconds: int = 0


_MAINTAINED: Final = "The notebook instance is under maintenance"

TEXTS: Final[Mapping[str, StatusText]] = MappingProxyType(
    {
        InstanceStatus.PENDING: StatusText(
            word="Starting",
            mood="wait",
            sentence="The notebook instance is starting.",
            title="The notebook instance is starting",
            message="SageMaker is starting it. That usually takes a few minutes.",
            advice="This page reloads by itself and shows the notebook when it is ready.",
            retry_after_seconds=15,
            refresh_seconds=10,
        ),
        InstanceStatus.UPDATING: StatusText(
            word="Being updated",
            mood="wait",
            sentence="The notebook instance is being updated.",
            title="The notebook instance is being updated",
            message="SageMaker is applying a change to it. That usually takes a few minutes.",
            advice="When it is done, the instance has to be started. This page reloads by itself.",
            retry_after_seconds=30,
            refresh_seconds=20,
        ),
        InstanceStatus.PENDING_MAINTENANCE: StatusText(
            word="About to be maintained",
            mood="wait",
            sentence="The notebook instance is about to be maintained.",
            title=_MAINTAINED,
            message="SageMaker is maintaining it.",
            advice="This passes, and the page reloads by itself.",
            retry_after_seconds=60,
            refresh_seconds=30,
        ),
        InstanceStatus.IN_MAINTENANCE: StatusText(
            word="Under maintenance",
            mood="wait",
            sentence=f"{_MAINTAINED}.",
            title=_MAINTAINED,
            message="SageMaker is maintaining it.",
            advice="This passes, and the page reloads by itself.",
            retry_after_seconds=60,
            refresh_seconds=30,
        ),
        InstanceStatus.STOPPING: StatusText(
            word="Stopping",
            mood="wait",
            sentence="The notebook instance is stopping.",
            title="The notebook instance is stopping",
            message="Somebody, or a schedule, stopped it. Files on its volume are kept.",
            advice="Wait until SageMaker says Stopped, start it, then reload this page.",
        ),
        InstanceStatus.STOPPED: StatusText(
            word="Stopped",
            mood="idle",
            sentence="The notebook instance is stopped.",
            title="The notebook instance is stopped",
            message="It is switched off. Files on its volume are kept.",
            advice="Start it in the SageMaker console, or ask whoever looks after it; then reload this page.",
        ),
        InstanceStatus.FAILED: StatusText(
            word="Failed",
            mood="stop",
            sentence="The notebook instance has failed.",
            title="The notebook instance failed to start",
            message="SageMaker could not start it.",
            advice="The SageMaker console shows the reason. When it is mended, start it and reload this page.",
        ),
        InstanceStatus.DELETING: StatusText(
            word="Being deleted",
            mood="stop",
            sentence="The notebook instance is being deleted.",
            title="The notebook instance is being deleted",
            message="SageMaker is deleting it.",
            advice="Ask whoever looks after it where the work goes on.",
        ),
    }
)
"""Of all that are not InService."""
