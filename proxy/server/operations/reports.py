"""What happens to the process, to sessions and to notebooks, in the words of the log.

The rule: one line for each fault, which names it (event, code), whose it is (instance, notebook), for which request,
and what to mend; with a traceback only where the fault is the gateway's own. `deploy/log.md` lists the events. It must
not decide anything.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

from proxy.admission.caller import Inbound
from proxy.admission.verdict import Refusal
from proxy.aws.cookies import Unkept
from proxy.aws.presigned import SessionKey
from proxy.aws.session_news import Loss, Lost, News, NotObtained, Obtained
from proxy.aws.session_states import SessionEvent, SessionState
from proxy.aws.sessions import OnUnkept
from proxy.config.settings import Instance, Settings
from proxy.errors import AddressUnknown, InternalError, NbgateError
from proxy.faults import Faults
from proxy.server.explaining import audited
from proxy.telemetry.counts import GatewayCounts
from proxy.telemetry.events import EventLog
from proxy.telemetry.incoming_ids import incoming_ids
from proxy.telemetry.logs import Logs
from proxy.telemetry.troubles import Troubles
from proxy.upstream import Origin

SIGN_IN_FAILED: Final = "sign-in failed"
NOTEBOOK_FAILED: Final = "notebook failed"
ADDRESS_UNKNOWN: Final = "client address unknown, access denied"

COOKIES_TOLD: Final = 8
"""In one event. A notebook may set as many as it likes."""

_OF_THE_MACHINE: Final = {
    errno.ENOSPC: ("DISK_FULL", "make room on the disk"),
    errno.EDQUOT: ("DISK_FULL", "make room, or have the quota raised"),
    errno.EROFS: ("READ_ONLY", "mount what is written to so that it can be written to"),
    errno.EIO: ("DISK_FAULT", "look at the disk"),
    errno.EMFILE: ("NO_DESCRIPTORS", "raise LimitNOFILE (systemd) or ulimit -n"),
    errno.ENFILE: ("NO_DESCRIPTORS", "raise fs.file-max"),
    errno.ENOMEM: ("NO_MEMORY", "give the process more memory"),
}
"""What the machine lacks, by the system's number for it: a code, and what to mend."""


def expected_fields(error: BaseException) -> dict[str, str] | None:
    """What an event says of a fault that is to be expected; None: it is the gateway's own, and its traceback says more.

    Looks behind errors that were raised from others.
    """
    found: BaseException | None = error
    for _ in range(8):
        if isinstance(found, NbgateError) and not isinstance(found, InternalError):
            return found.log_fields()
        if isinstance(found, OSError) and found.errno in _OF_THE_MACHINE:
            code, remedy = _OF_THE_MACHINE[found.errno]
            return {"code": code, "detail": str(found), "remedy": remedy}
        found = found.__cause__ if found is not None else None
    return None


def report_fault(events: EventLog, where: str, what: str, error: BaseException, untold: int) -> None:
    """Something failed, and what it belongs to goes on (`proxy.faults`)."""
    more: dict[str, object] = {"what": what} if what else {}
    if untold:
        more["times_since"] = untold
    expected = expected_fields(error)
    if expected is None:
        events.error("a fault of the gateway's own", where=where, **more, exc_info=error)
    else:
        events.error("something failed and is tried again", where=where, **more, **expected)


def report_failed_task(events: EventLog, faults: Faults, name: str, error: BaseException) -> None:
    """Something in the background failed of which nobody told."""
    if isinstance(error, NbgateError):
        events.warning("task failed", task=name, **error.log_fields())
    else:
        faults.met("task", error, what=name)


class SessionReports:
    """Reports on sessions with notebooks. `settings` gives those of now, which say what notebooks are called."""

    def __init__(
        self, events: EventLog, troubles: Troubles, counts: GatewayCounts, *, settings: Callable[[], Settings]
    ) -> None:
        self._events = events
        self._troubles = troubles
        self._counts = counts
        self._settings = settings
        self._known: set[SessionKey] = set()
        """Who had a session before: the next one is a renewal."""

    def changed(self, key: SessionKey, event: SessionEvent, state: SessionState) -> None:
        """A session's state did."""
        self._counts.sessions[key.notebook, event.value] += 1
        if event is SessionEvent.LATE:
            self._events.warning(
                "signing in takes long, callers are told to come again",
                **self._whose(key),
                step=state.value,
            )

    def learnt(self, key: SessionKey, news: News) -> None:
        """There is news of a session."""
        match news:
            case Obtained():
                event = "session renewed" if key in self._known else "session opened"
                self._known.add(key)
                self._troubles.over(SIGN_IN_FAILED, of=key)
                self._events.info(event, **self._whose(key), lasts_seconds=round(news.lasts_seconds))
            case Lost():
                tell = self._events.warning if news.why is Loss.REJECTED else self._events.info
                tell("session lost", **self._whose(key), why=news.why.value)
            case NotObtained():
                request = {"request_id": news.asked_by} if news.asked_by else {}
                self._troubles.met(
                    SIGN_IN_FAILED,
                    news.error,
                    of=key,
                    **self._whose(key),
                    **request,
                    attempt=news.attempt,
                    next_try_seconds=round(news.next_try_seconds, 1),
                )

    def _whose(self, key: SessionKey) -> dict[str, str]:
        names = [name for name, one in self._settings().instances.items() if _key(one) == key]
        role = {"role": key.role_arn} if key.role_arn else {}
        return {"instance": ", ".join(names), "notebook": key.notebook, **role}


def _key(instance: Instance) -> Hashable:
    return SessionKey(instance.notebook, instance.assume_role or "")


class NotebookReports:
    """Reports what notebooks do to requests, once they are signed in to."""

    def __init__(self, events: EventLog, troubles: Troubles, *, settings: Callable[[], Settings]) -> None:
        self._events = events
        self._troubles = troubles
        self._settings = settings

    def failed(self, error: NbgateError, instance: str, request_id: str) -> None:
        """A notebook's side failed a request."""
        self._troubles.met(
            NOTEBOOK_FAILED, error, of=instance, **self._whose(instance), request_id=request_id
        )

    def answered(self, instance: str) -> None:
        """It answers."""
        if self._troubles.over(NOTEBOOK_FAILED, of=instance):
            self._events.info("notebook answers again", **self._whose(instance))

    def _whose(self, instance: str) -> Mapping[str, str]:
        # A reload may have taken it away while a request was under way.
        known = self._settings().instances.get(instance)
        return {"instance": instance, **({"notebook": known.notebook} if known is not None else {})}


def audit_refusals(logs: Logs, troubles: Troubles) -> Callable[[Inbound, Refusal], None]:
    """What writes refusals down."""

    def denied(inbound: Inbound, refusal: Refusal) -> None:
        client, decision = refusal.client, refusal.decision
        if isinstance(refusal.error, AddressUnknown):
            # It is no single caller's affair: everybody behind that proxy is locked out, mostly.
            peer = "" if client.peer is None else str(client.peer)
            troubles.met(ADDRESS_UNKNOWN, refusal.error, of=client.peer, peer=peer, source=client.source)
        if decision is not None:
            logs.counts.denied[refusal.instance] += 1
        logs.audit.denied(
            request_id=inbound.request_id,
            client=str(client.address) if client.address is not None else None,
            peer=str(client.peer) if client.peer is not None else None,
            action=refusal.action,
            source=client.source,
            problem=client.problem,
            instance=refusal.instance,
            sids=decision.sids if decision is not None else (),
            reason=decision.reason if decision is not None else refusal.reason,
            user=refusal.user,
            error=refusal.error.code,
            statements=audited(refusal.verdicts),
            method=inbound.method,
            target=inbound.target,
            host=inbound.host,
            incoming_ids=incoming_ids(inbound.headers) if refusal.is_behind_proxy else (),
        )

    return denied


def report_unkept(events: EventLog) -> OnUnkept:
    """What tells of cookies that a notebook's front end set and that were not kept."""

    def unkept(origin: Origin, cookies: Sequence[Unkept]) -> None:
        events.warning(
            "cookies of a notebook's front end were not kept, its session may not hold",
            host=origin.host,
            count=len(cookies),
            # Not a field that is named like a credential: those are hidden.
            names=[f"{one.name} ({one.size_bytes} bytes): {one.why}" for one in cookies[:COOKIES_TOLD]],
        )

    return unkept
