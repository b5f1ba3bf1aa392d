"""The door: its order, what of an earlier request counts for the next, and when a request is admitted no more."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.admission.caller import Inbound
from proxy.admission.rules import Rules
from proxy.admission.verdict import Admission, Objection, Refusal
from proxy.client_address.networks import NetworkSet, parse_address, parse_network
from proxy.client_address.resolve import TrustedProxies
from proxy.errors import (
    AccessDenied,
    BadRequest,
    CrossSiteRefused,
    OutsideMount,
    SignInRequired,
    WorkerRefused,
)
from proxy.gateway import Gateway
from proxy.policy.judge import Judge, Question
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy
from proxy.policy.statements import Policy
from proxy.routing.mounts import Mount
from proxy.routing.router import Detour, OwnPage, Route, Router

OFFICE = NamedList("office", NetworkSet([parse_network("203.0.113.0/24")]))
PROXIES = TrustedProxies(NetworkSet([parse_network("10.0.0.0/8")]))
PROXY, INSIDE, OUTSIDE = (parse_address(text) for text in ("10.0.0.1", "203.0.113.9", "198.51.100.1"))


class CountingJudge(Judge):
    """Writes down what it is asked."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked: list[Question] = []

    def decide(self, question: Question) -> Any:
        self.asked.append(question)
        return super().decide(question)


class Door:
    """A gateway, and what it wrote down."""

    def __init__(
        self, policy: Policy | None = None, mounts: dict[str, Mount] | None = None, **more: Any
    ) -> None:
        policy = policy or gateway_policy(ShortForm(allow=(OFFICE,)))
        mounts = mounts or {"research": Mount.at_path("/research/"), "nlp": Mount.at_path("/nlp/")}
        self.judge = CountingJudge(dict.fromkeys(mounts, policy), policy)
        self.audited: list[tuple[Inbound, Refusal]] = []
        rules = Rules(Router(["notebooks.internal"], mounts), self.judge, address_strategy=PROXIES, **more)
        self.gateway = Gateway(rules, audit=lambda inbound, refusal: self.audited.append((inbound, refusal)))

    def refused(self, inbound: Inbound) -> Refusal:
        """The request is refused, and that is written down once."""
        verdict = self.gateway.admit(inbound)
        assert isinstance(verdict, Refusal)
        assert self.audited == [(inbound, verdict)]
        assert inbound.is_audited
        self.audited.clear()
        return verdict

    def admitted(self, inbound: Inbound, known: Admission | None = None, **more: Any) -> Admission:
        verdict = self.gateway.admit(inbound, known, **more)
        assert isinstance(verdict, Admission)
        assert verdict.inbound is inbound or verdict is known
        assert self.audited == []
        return verdict


def inbound(target: str = "/research/lab", fields: dict[str, str] | None = None, **changes: Any) -> Inbound:
    made: dict[str, Any] = {
        "peer": INSIDE,
        "headers": CIMultiDict(fields or {}),
        "host": "notebooks.internal",
        "target": target,
        "method": "GET",
        "port": 443,
        "scheme": "https",
        "request_id": "id",
    }
    return Inbound(**made | changes)


def test_who_may_come_in_is_led_to_the_notebook_or_to_a_page() -> None:
    door = Door()
    assert door.admitted(inbound()).route == Route(
        "research", Mount.at_path("/research/"), "/lab", "/research"
    )
    assert door.admitted(inbound("/")).route == OwnPage("/")


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (inbound(peer=OUTSIDE), AccessDenied),
        (inbound("/nowhere"), AccessDenied),
        (inbound(host="a/b"), BadRequest),
        (inbound(method="POST", fields={"Origin": "https://elsewhere.test"}), CrossSiteRefused),
        (
            inbound("/x", {"Referer": "https://notebooks.internal/nlp/lab"}, method="POST"),
            OutsideMount,
        ),
    ],
)
def test_who_stays_out_is_written_down_with_the_reason(asked: Inbound, error: type[Exception]) -> None:
    refusal = Door().refused(asked)
    assert type(refusal.error) is error
    assert (refusal.decision is None) is bool(refusal.reason)


def test_where_nothing_is_mounted_is_refused_as_what_one_may_not_reach() -> None:
    door = Door()
    for peer in (INSIDE, OUTSIDE):
        refusal = door.refused(inbound("/nowhere", peer=peer))
        assert refusal.error.message == door.refused(inbound(peer=OUTSIDE)).error.message
        assert refusal.verdicts == () or peer is OUTSIDE


def test_a_page_under_a_mount_is_led_back_by_who_may_reach_it() -> None:
    page = {"Referer": "https://notebooks.internal/nlp/lab"}
    assert Door().admitted(inbound("/x?y", page)).route == Detour("/nlp/x?y", instance="nlp")
    assert type(Door().refused(inbound("/x", page, peer=OUTSIDE)).error) is AccessDenied


def test_an_instance_that_is_guarded_needs_more_than_an_address() -> None:
    door = Door(guarded=frozenset({"research"}))
    assert type(door.refused(inbound()).error) is SignInRequired
    assert type(door.refused(inbound(peer=OUTSIDE)).error) is AccessDenied
    door.admitted(inbound("/nlp/lab"))


def test_pages_of_other_sites_may_change_what_allows_for_it() -> None:
    foreign = {"Origin": "https://elsewhere.test"}
    door = Door(cross_site=frozenset({"nlp"}))
    door.admitted(inbound("/nlp/x", foreign, method="POST"))
    door.refused(inbound("/research/x", foreign, method="POST"))
    door.admitted(inbound("/research/x", foreign))


def test_a_service_worker_is_looked_at_after_it_was_admitted() -> None:
    door = Door(mounts={"research": Mount.root()})
    wide, narrow = door.admitted(inbound("/sw.js")), door.admitted(inbound("/lab/sw.js"))
    assert door.gateway.check_worker(narrow.inbound, narrow) is None
    refusal = door.gateway.check_worker(wide.inbound, wide)
    assert refusal is not None
    assert type(refusal.error) is WorkerRefused
    assert door.audited == [(wide.inbound, refusal)]


# -- what of an earlier request counts


def test_a_connection_is_decided_about_once_for_each_instance() -> None:
    door = Door()
    known = door.admitted(inbound())
    for _ in range(10):
        known = door.admitted(inbound(request_id="next"), known)
    assert door.judge.asked == [Question(INSIDE, "research", secure=True)]
    other = door.admitted(inbound("/nlp/"), known)
    assert other.caller is known.caller
    assert len(door.judge.asked) == 2


def test_what_is_known_of_another_host_does_not_count() -> None:
    door = Door(mounts={"research": Mount.on_host("research.internal"), "nlp": Mount.on_host("nlp.internal")})
    known = door.admitted(inbound("/", host="research.internal"))
    other = door.admitted(inbound("/", host="nlp.internal"), known)
    assert (other.instance, other.caller.host) == ("nlp", "nlp.internal")


def test_behind_a_proxy_only_the_same_fields_are_the_same_caller() -> None:
    door = Door()
    fields = {"X-Forwarded-For": "203.0.113.9"}
    known = door.admitted(inbound(fields=fields, peer=PROXY))
    assert door.admitted(inbound(fields=fields, peer=PROXY), known, is_repeated=True).caller is known.caller
    elsewhere = door.gateway.admit(inbound(fields={"X-Forwarded-For": "198.51.100.1"}, peer=PROXY), known)
    assert isinstance(elsewhere, Refusal)
    door.audited.clear()
    again = door.admitted(inbound(fields=fields, peer=PROXY), known)
    assert again.caller == known.caller


def test_what_other_rules_knew_does_not_count() -> None:
    known = Door().admitted(inbound())
    door = Door(gateway_policy(ShortForm()))
    assert isinstance(door.gateway.admit(inbound(), known), Refusal)
    assert isinstance(door.gateway.admit(inbound(), known, is_repeated=True), Refusal)


# -- admitted no more


def test_who_is_admitted_by_the_same_rules_is_not_asked_about_again() -> None:
    door = Door()
    admission = door.admitted(inbound())
    door.judge.asked.clear()
    assert door.gateway.still_admits(admission) is admission
    assert door.judge.asked == []


def test_other_rules_admit_it_as_if_it_came_now() -> None:
    admission, later = Door().admitted(inbound()), Door()
    verdict = later.gateway.still_admits(admission)
    assert isinstance(verdict, Admission)
    assert verdict.rules is later.gateway.rules
    assert later.gateway.still_admits(verdict) is verdict


@pytest.mark.parametrize(
    ("has_ended", "reason"), [(False, "access was withdrawn"), (True, "the session has ended")]
)
def test_who_would_be_refused_now_is_and_that_is_written_down(has_ended: bool, reason: str) -> None:
    admission, later = Door().admitted(inbound()), Door(gateway_policy(ShortForm()))
    objection = later.gateway.still_admits(admission, has_ended=has_ended)
    assert isinstance(objection, Objection)
    assert objection.reason == reason
    assert [refusal for _, refusal in later.audited] == [objection.refusal]


def test_what_let_it_in_may_end_under_the_same_rules() -> None:
    door = Door()
    admission = door.admitted(inbound())
    door.judge.asked.clear()
    assert door.gateway.still_admits(admission, has_ended=True) == admission
    assert len(door.judge.asked) == 1


def test_an_address_that_leads_elsewhere_is_an_objection_and_no_refusal() -> None:
    admission = Door().admitted(inbound("/research/lab"))
    later = Door(mounts={"research": Mount.at_path("/research/"), "new": Mount.at_path("/research/lab/")})
    moved = Door(mounts={"nlp": Mount.at_path("/research/")})
    for gateway in (later.gateway, moved.gateway):
        assert gateway.still_admits(admission) == Objection("this address leads elsewhere now")
