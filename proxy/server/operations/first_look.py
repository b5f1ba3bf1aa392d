"""What stands in the way at AWS, said once in the log when the gateway starts: nobody waits for it.

The rule: whoever started the gateway looks at the log now, not when the first visitor comes.
"""

from __future__ import annotations

from proxy.aws.sagemaker import SageMaker
from proxy.config.settings import Settings
from proxy.server.operations.aws_check import first_look, unknown_region
from proxy.telemetry.events import EventLog


async def report_first_look(settings: Settings, *, sagemaker: SageMaker, events: EventLog) -> None:
    """Ask, and say what was refused."""
    if (region := unknown_region(settings)) is not None:
        events.warning("the Region is not known", message=region.message, hint=region.hint)
    async for answered in first_look(settings, sagemaker):
        error = answered.error
        assert error is not None
        instance = settings.instances[answered.about]
        events.error(
            "AWS does not let the gateway do its work",
            instance=instance.name,
            notebook=instance.notebook,
            region=settings.aws.region,
            **error.log_fields(),
        )
