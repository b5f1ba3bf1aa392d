"""What becomes of each response: all of what it looked like, what was said, and where it was."""

from __future__ import annotations

import itertools

import pytest

from proxy.aws.front_end import (
    OUTCOMES,
    SageMakerFrontEnd,
    SuspectAnswer,
    UsualAnswerer,
    contradicts,
    is_front_ends,
    outcome,
    usual_answerer,
    without_renewal,
)
from proxy.aws.sessions import UpstreamSession
from proxy.aws.signed_out import Shape
from proxy.upstream import Honoured, Outcome
from tests.aws.fakes import ORIGIN, jar
from tests.aws.heads import JUPYTERS, TORNADO, UNMARKED, head

TARGETS = {
    UsualAnswerer.API: "/api/contents/a",
    UsualAnswerer.JUPYTER: "/lab/tree/a",
    UsualAnswerer.BEHIND: "/rstudio/",
    UsualAnswerer.PROXIED: "/proxy/8501/",
}
AT_ALL = {
    Honoured.NO: Outcome.RENEW,
    Honoured.STARTING: Outcome.STARTING,
    Honoured.OUT: Outcome.OUT,
}


@pytest.mark.parametrize(("honoured", "expected"), AT_ALL.items())
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("target", TARGETS.values())
def test_what_the_front_end_said_counts_whatever_the_answer_looked_like(
    shape: Shape, honoured: Honoured, expected: Outcome, target: str
) -> None:
    assert outcome(shape, honoured, target=target, status=200) is expected


def test_the_table_holds_all_that_is_left() -> None:
    assert set(OUTCOMES) == set(itertools.product(Shape, [Honoured.YES, Honoured.UNTOLD]))
    assert all(set(row) == set(UsualAnswerer) for row in OUTCOMES.values())


@pytest.mark.parametrize(
    ("shape", "honoured", "place", "expected"),
    [
        # Jupyter answers, so that what nothing marks is its own, or an application's.
        *[(Shape.REFUSED, Honoured.YES, place, Outcome.PASS) for place in UsualAnswerer],
        *[(Shape.PAGE, Honoured.YES, place, Outcome.PASS) for place in UsualAnswerer],
        *[(Shape.FAULT, Honoured.YES, place, Outcome.PASS) for place in UsualAnswerer],
        (Shape.SIGN_IN, Honoured.YES, UsualAnswerer.JUPYTER, Outcome.REFUSE),
        (Shape.SIGN_IN, Honoured.YES, UsualAnswerer.PROXIED, Outcome.PASS),
        # Nobody can say: nothing of AWS's in Jupyter's place, and nothing of an application's is lost.
        (Shape.PAGE, Honoured.UNTOLD, UsualAnswerer.API, Outcome.AWAY),
        (Shape.PAGE, Honoured.UNTOLD, UsualAnswerer.JUPYTER, Outcome.AWAY),
        (Shape.PAGE, Honoured.UNTOLD, UsualAnswerer.PROXIED, Outcome.PASS),
        (Shape.FAULT, Honoured.UNTOLD, UsualAnswerer.API, Outcome.AWAY),
        (Shape.FAULT, Honoured.UNTOLD, UsualAnswerer.PROXIED, Outcome.PASS),
        (Shape.REFUSED, Honoured.UNTOLD, UsualAnswerer.API, Outcome.REFUSE),
        (Shape.REFUSED, Honoured.UNTOLD, UsualAnswerer.PROXIED, Outcome.PASS),
        (Shape.SIGN_IN, Honoured.UNTOLD, UsualAnswerer.PROXIED, Outcome.REFUSE),
    ],
)
def test_where_it_depends(shape: Shape, honoured: Honoured, place: UsualAnswerer, expected: Outcome) -> None:
    assert outcome(shape, honoured, target=TARGETS[place], status=403) is expected


@pytest.mark.parametrize("status", [429, 502, 504])
def test_after_what_a_kernel_would_be_given_up_the_gateway_speaks(status: int) -> None:
    assert outcome(Shape.FAULT, Honoured.YES, target="/api/kernels/1", status=status) is Outcome.AWAY
    assert outcome(Shape.FAULT, Honoured.YES, target="/lab", status=status) is Outcome.PASS


@pytest.mark.parametrize("place", UsualAnswerer)
def test_a_page_without_a_mark_where_marks_show_is_not_jupyters_even_if_that_was_up_a_moment_ago(
    place: UsualAnswerer,
) -> None:
    expected = Outcome.STARTING if place in {UsualAnswerer.API, UsualAnswerer.JUPYTER} else Outcome.PASS
    at = TARGETS[place]
    assert outcome(Shape.PAGE, Honoured.YES, target=at, status=200, jupyter_shows=True) is expected
    for status in (404, 500, 502, 503, 504):
        away = outcome(Shape.FAULT, Honoured.YES, target=at, status=status, jupyter_shows=True)
        assert away is (Outcome.PASS if expected is Outcome.PASS else Outcome.AWAY)
    # That is said of what was asked, and would be said again.
    assert outcome(Shape.FAULT, Honoured.YES, target=at, status=400, jupyter_shows=True) is Outcome.PASS


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("place", UsualAnswerer)
def test_where_signing_in_does_not_help_a_refusal_is_the_notebooks(
    shape: Shape, place: UsualAnswerer
) -> None:
    passes = shape is Shape.REFUSED and place is not UsualAnswerer.API
    expected = Outcome.PASS if passes else Outcome.REFUSE
    assert without_renewal(shape, target=TARGETS[place]) is expected


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("place", UsualAnswerer)
def test_an_answer_that_jupyter_cannot_have_given_is_not_cleared_by_what_was_known_before(
    shape: Shape, place: UsualAnswerer
) -> None:
    expected = shape in {Shape.PAGE, Shape.FAULT} and place in {UsualAnswerer.API, UsualAnswerer.JUPYTER}
    assert contradicts(shape, target=TARGETS[place]) is expected


@pytest.mark.parametrize("place", UsualAnswerer)
def test_places(place: UsualAnswerer) -> None:
    assert usual_answerer(TARGETS[place]) is place


def test_the_front_end_is_known_only_where_nobody_but_jupyter_answers() -> None:
    for lines in UNMARKED.values():
        assert is_front_ends(head(429, *lines), "/lab/api/workspaces")
        assert not is_front_ends(head(429, *lines), "/proxy/8501/api/x")
    for lines in JUPYTERS.values():
        assert not is_front_ends(head(429, *lines), "/api/kernels")


def session_of() -> UpstreamSession:
    return UpstreamSession(ORIGIN, jar(), obtained_at=0.0, renew_at=1e9, expires_at=2e9, jupyter_shows=True)


SIGNED_OUT = head(302, location="https://signin.aws.amazon.com/x")


@pytest.mark.parametrize("is_up", [True, False])
def test_a_response_is_suspect_for_its_shape_and_remembers_where_it_came_from(is_up: bool) -> None:
    front_end, session = SageMakerFrontEnd(), session_of()
    suspicion = front_end.suspect(SIGNED_OUT, target="/lab", session=session, is_up=is_up)
    assert suspicion == SuspectAnswer(Shape.SIGN_IN, "/lab", 302, session.jupyter_shows)
    clean = front_end.suspect(head(404, TORNADO), target="/lab", session=session, is_up=is_up)
    assert clean is None


def test_the_hosts_that_sign_in_are_those_that_it_is_told() -> None:
    elsewhere = head(302, location="https://signin.test/x")
    for hosts, expected in ((frozenset({"signin.test"}), True), (frozenset[str](), False)):
        found = SageMakerFrontEnd(hosts).suspect(elsewhere, target="/lab", session=session_of(), is_up=False)
        assert (found is not None and found.sends_to_sign_in) is expected


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("honoured", Honoured)
@pytest.mark.parametrize("place", UsualAnswerer)
def test_a_suspect_answer_comes_to_what_the_tables_say(
    shape: Shape, honoured: Honoured, place: UsualAnswerer
) -> None:
    target = TARGETS[place]
    for status in (200, 302, 403, 500, 502):
        one = SuspectAnswer(shape, target, status, jupyter_shows=True)
        expected = outcome(shape, honoured, target=target, status=status, jupyter_shows=True)
        assert one.outcome(honoured) is expected
        assert one.without_renewal() is without_renewal(shape, target=target)
        assert one.contradicts is contradicts(shape, target=target)
        assert one.sends_to_sign_in is (shape is Shape.SIGN_IN)
        assert one.may_have_passed_on is (status in {500, 502, 504})


@pytest.mark.parametrize("status", [429, 502, 504, 503, 500])
def test_what_passes_by_itself_is_the_front_ends_for_certain_only_in_jupyters_place(status: int) -> None:
    front_end, passes = SageMakerFrontEnd(), status in {429, 502, 504}
    assert front_end.has_answered(head(status), target="/api/kernels") is passes
    assert not front_end.has_answered(head(status), target="/proxy/8501/")
    assert not front_end.has_answered(head(status, TORNADO), target="/api/kernels")
