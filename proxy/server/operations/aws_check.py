"""Can this gateway do its work at AWS? Asked for by `nbgate check --aws`, and once by `serve` at its start.

The rule: one line for each thing that was asked, with what to mend where it fails. Nothing is changed at AWS, no URL is
made. It must not print, and must not know where lines go.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from proxy.aws.regions import known_regions
from proxy.aws.sagemaker import SageMaker
from proxy.config.findings import Finding, did_you_mean
from proxy.config.settings import Settings
from proxy.errors import ControlPlaneError, InstanceNotInService, LimitReached, Throttled


@dataclass(frozen=True, slots=True)
class Answered:
    """What AWS said to one question. `error` None: what was hoped for, in `text`. `as_for`: to another question it said
    the same before."""

    about: str
    text: str
    error: ControlPlaneError | None = None
    as_for: str = ""

    @property
    def line(self) -> str:
        """All of it, on one line."""
        if self.error is None:
            return f"{self.about}: {self.text}"
        if self.as_for:
            return f"{self.about}: {self.error.code}, as for {self.as_for}"
        return f"{self.about}: {_said(self.error)}"


def _said(error: ControlPlaneError) -> str:
    parts = (error.code, error.log_detail or error.message, error.remedy)
    return "; ".join(part for part in parts if part)


def unknown_region(settings: Settings) -> Finding | None:
    """What there is to say of a Region that this version does not know."""
    region, known = settings.aws.region, known_regions()
    if settings.aws.endpoint_url is not None or region in known:
        return None
    # Without one that is alike it would name them all.
    hint = did_you_mean(region, known) if difflib.get_close_matches(region, known) else ""
    return Finding(
        ("aws", "region"),
        f"'{region}' is no Region that this version knows of; if there is none, nothing will be found",
        hint or "look at its spelling, such as eu-west-1",
    )


def region_in_words(settings: Settings) -> str:
    """The Region, and whether there may be none."""
    return settings.aws.region + (" (not known)" if unknown_region(settings) else "")


async def ask(settings: Settings, sagemaker: SageMaker) -> AsyncIterator[Answered]:
    """Ask AWS who each role is, and for each instance, one after the other."""
    said: dict[str, str] = {}
    async for answered in _ask(settings, sagemaker):
        if answered.error is not None:
            first = said.setdefault(_said(answered.error), answered.about)
            if first != answered.about:
                answered = replace(answered, as_for=first)
        yield answered


async def _ask(settings: Settings, sagemaker: SageMaker) -> AsyncIterator[Answered]:
    for role in dict.fromkeys(one.assume_role or "" for one in settings.instances.values()):
        about = f"identity as {role}" if role else "identity"
        try:
            yield Answered(about, await sagemaker.identity(role))
        except ControlPlaneError as error:
            yield Answered(about, "", error)
    for name, instance in settings.instances.items():
        about = f"{name} ({instance.notebook})"
        try:
            described = await sagemaker.control_plane(instance.assume_role or "").describe(instance.notebook)
        except ControlPlaneError as error:
            yield Answered(about, "", error)
        else:
            parts = (described.status, described.instance_type, described.platform)
            yield Answered(about, ", ".join(part for part in parts if part))


async def first_look(settings: Settings, sagemaker: SageMaker) -> AsyncIterator[Answered]:
    """What stands in the way, as far as one instance of each role shows. Who only watches over the start is not to call
    AWS for all of them.
    """
    asked: set[str] = set()
    for name, instance in settings.instances.items():
        role = instance.assume_role or ""
        if role in asked:
            continue
        asked.add(role)
        try:
            await sagemaker.control_plane(role).describe(instance.notebook)
        except (InstanceNotInService, LimitReached, Throttled):
            # AWS knows us.
            continue
        except ControlPlaneError as error:
            yield Answered(name, "", error)
