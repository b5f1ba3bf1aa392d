"""What `/readyz` and `/metrics` say, out of the parts that serve.

The rule: counts and states, by the names of sections and instances; nothing of callers or rules.
"""

from __future__ import annotations

from proxy.aws.sagemaker import SageMaker
from proxy.dataplane.plane import DataPlane
from proxy.policy.dates import format_instant
from proxy.server.checking import Checked
from proxy.server.operations import aws_check
from proxy.server.operations.admin import Readiness
from proxy.server.operations.idleness import Idleness
from proxy.server.operations.longest_turn import LongestTurn
from proxy.server.reload import Reloader
from proxy.telemetry.logs import Logs


def readiness(
    *,
    reloader: Reloader,
    plane: DataPlane,
    idleness: Idleness,
    certificates: Checked,
    sagemaker: SageMaker,
) -> Readiness:
    """Whether the process may be sent traffic now."""
    ends_at = certificates.ends_at
    # A configuration that was refused is no reason to send callers elsewhere: what counted before still does.
    return Readiness(
        ready=not plane.leaving,
        details={
            "draining": plane.leaving,
            "instances": len(reloader.settings.instances),
            "connections": len(plane.open.connections),
            "websockets": len(plane.open.relays),
            "aws": sagemaker.last_answer,
            "aws_region": aws_check.region_in_words(reloader.settings),
            **({"certificate_ends_at": format_instant(ends_at)} if ends_at is not None else {}),
            **idleness.details(),
            **reloader.status.details(),
        },
    )


def metrics(
    accept: str,
    *,
    plane: DataPlane,
    reloader: Reloader,
    idleness: Idleness,
    logs: Logs,
    longest_turn: LongestTurn,
) -> tuple[bytes, str]:
    """Those of now, and their content type, for a scraper's `Accept`."""
    # Its library is loaded when somebody first asks, in some 10 ms: most gateways start, and many run, without.
    from proxy.server.operations.metrics import exposition

    return exposition(
        plane=plane,
        reloader=reloader,
        idleness=idleness,
        logs=logs,
        longest_turn=longest_turn,
        accept=accept,
    )
