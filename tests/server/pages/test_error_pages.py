"""Error pages: every error has a page and an envelope that help, and neither tells what a caller must not
know.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.errors import (
    AccessDenied,
    BadRequest,
    ConfigError,
    Draining,
    InstanceNotInService,
    LimitReached,
    NbgateError,
    OutcomeUnknown,
    Problem,
    Throttled,
    UpgradeRequired,
    UpstreamUnreachable,
)
from proxy.server.instance_starts import Progress, duration
from proxy.server.pages.answer_body import AnswerBody
from proxy.server.pages.buttons import Button
from proxy.server.pages.error_pages import InstanceNotice, public_reason, render


def error_classes(base: type[NbgateError] = NbgateError) -> Iterator[type[NbgateError]]:
    yield base
    for child in base.__subclasses__():
        yield from error_classes(child)


ERRORS = [
    kind
    for kind in error_classes()
    if kind not in (NbgateError, ConfigError) and kind.__module__ == errors.__name__
]
STATES = [
    "Pending",
    "Stopping",
    "Stopped",
    "Failed",
    "Deleting",
    "Updating",
    "PendingMaintenance",
    "InMaintenance",
]


def page(error: NbgateError, *, client_address: str | None = "203.0.113.7") -> AnswerBody:
    return render(error, wants_html=True, request_id="3f9c2a71b0d84e56", client_address=client_address)


def envelope(error: NbgateError, *, client_address: str | None = "203.0.113.7") -> AnswerBody:
    return render(error, wants_html=False, request_id="3f9c2a71b0d84e56", client_address=client_address)


class Page(HTMLParser):
    """What a reader of the page gets: elements, attributes, text outside `<style>`."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.style = ""
        self.texts: dict[str, str] = {}
        self.feed(body.decode())
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_a_page_that_says_what_happened_what_to_do_and_the_request_id(
    kind: type[NbgateError],
) -> None:
    body = page(kind())
    read = Page(body.body)
    assert body.content_type == "text/html; charset=utf-8"
    assert read.texts["h1"] == kind.title
    assert kind.default_message in body.body.decode().replace("&#39;", "'")
    assert 'class="advice"' in body.body.decode()
    assert "3f9c2a71b0d84e56" in read.texts["dd"]
    assert read.attributes("html") == [{"lang": "en"}]
    assert len(read.attributes("main")) == len(read.attributes("h1")) == len(read.attributes("title")) == 1


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_an_envelope_for_programs(kind: type[NbgateError]) -> None:
    body = envelope(kind())
    assert body.content_type == "application/json"
    told = json.loads(body.body)
    assert told.keys() == {"success", "message", "error"}
    assert told["message"] == told["error"]["message"]
    assert told["success"] is False
    assert told["error"]["code"] == kind.code
    assert told["error"]["message"] == kind.default_message
    assert told["error"]["request_id"] == "3f9c2a71b0d84e56"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("html", [True, False])
def test_no_answer_is_cached_sniffed_or_leaks_a_referrer(kind: type[NbgateError], html: bool) -> None:
    headers = dict(render(kind(), wants_html=html, request_id="r", client_address=None).headers)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_loads_nothing_runs_nothing_and_its_policy_admits_only_its_own_style() -> None:
    body = page(AccessDenied())
    policy = dict(body.headers)["Content-Security-Policy"]
    read = Page(body.body)
    digest = base64.b64encode(hashlib.sha256(read.texts["style"].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
    assert not {"script", "link", "img", "iframe", "form", "object"} & {tag for tag, _ in read.elements}
    assert not [attributes for _, attributes in read.elements if {"style", "src"} & attributes.keys()]
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert "url(" not in read.texts["style"]
    assert "@import" not in read.texts["style"]


def test_the_page_serves_light_dark_and_phones() -> None:
    read = Page(page(AccessDenied()).body)
    metas = {attributes.get("name"): attributes.get("content") for attributes in read.attributes("meta")}
    assert metas["color-scheme"] == "light dark"
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert "prefers-color-scheme: dark" in read.texts["style"]


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_that_wcag_asks_for_in_both_schemes() -> None:
    """WCAG 2.2, 1.4.3: at least 4.5:1 for text."""
    style = Page(page(AccessDenied()).body).texts["style"]
    schemes = [dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media")[:2]]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "soft", "link"):
            for ground in ("card", "ground", "well"):
                light, dark = sorted((_luminance(scheme[ink]), _luminance(scheme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, scheme)


def test_a_denied_caller_is_told_the_address_that_the_gateway_saw() -> None:
    assert "203.0.113.7" in page(AccessDenied()).body.decode()
    assert json.loads(envelope(AccessDenied()).body)["error"] == {
        "code": "ACCESS_DENIED",
        "message": "No notebook is mounted here, or your address is not allowed to reach it.",
        "request_id": "3f9c2a71b0d84e56",
        "client_address": "203.0.113.7",
    }


def test_a_denied_caller_without_a_known_address_is_told_so() -> None:
    assert "could not be determined" in page(AccessDenied(), client_address=None).body.decode()
    assert "client_address" not in json.loads(envelope(AccessDenied(), client_address=None).body)["error"]


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if not issubclass(kind, AccessDenied)])
def test_the_address_is_told_only_where_it_matters(kind: type[NbgateError]) -> None:
    assert "203.0.113.7" not in page(kind()).body.decode() + envelope(kind()).body.decode()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("show", [page, envelope])
def test_what_is_meant_for_the_operator_is_never_sent(
    kind: type[NbgateError], show: type[AnswerBody]
) -> None:
    body = show(kind(detail="statement gateway-allow-office, authToken=eyJsecret"))  # type: ignore[call-arg,arg-type]
    sent = body.body.decode() + repr(body.headers)
    assert "office" not in sent
    assert "eyJsecret" not in sent


def test_problems_of_the_configuration_are_never_sent() -> None:
    error = ConfigError(
        [Problem("/etc/nbgate/nbgate.yaml", 3, where="policy.allow", message="no such list 'office'")]
    )
    for body in (page(error), envelope(error)):
        assert b"office" not in body.body
        assert b"nbgate.yaml" not in body.body


@given(message=st.text(min_size=1), request_id=st.text(), address=st.text(), status=st.text())
def test_whatever_reaches_the_page_is_escaped(
    message: str, request_id: str, address: str, status: str
) -> None:
    """No part comes from the request, but a page must not depend on that."""
    tricks = "<script>alert(1)</script>\"'&"
    for error in (
        AccessDenied(message + tricks),
        InstanceNotInService(message + tricks, instance_status=status + tricks),
    ):
        for html in (True, False):
            body = render(
                error, wants_html=html, request_id=request_id + tricks, client_address=address + tricks
            )
            if html:
                assert b"<script" not in body.body
            else:
                assert json.loads(body.body)["error"]["message"] == message + tricks
            assert all("\n" not in value and "script" not in value for _, value in body.headers)


@pytest.mark.parametrize("status", STATES)
def test_a_page_for_each_state_of_an_instance_shows_sagemakers_word_for_it(status: str) -> None:
    body = page(InstanceNotInService(instance_status=status)).body.decode()
    assert f"Notebook instance: {status}" in body
    assert Page(body.encode()).texts["h1"] != InstanceNotInService.title


def test_an_unknown_state_is_shown_with_the_errors_own_words() -> None:
    body = page(InstanceNotInService(instance_status="Hibernating"))
    assert "Notebook instance: Hibernating" in body.body.decode()
    assert Page(body.body).texts["h1"] == InstanceNotInService.title


def test_the_errors_own_message_wins_over_the_states() -> None:
    error = InstanceNotInService("It is being moved.", instance_status="Pending")
    assert "It is being moved." in page(error).body.decode()
    assert json.loads(envelope(error).body)["error"]["message"] == "It is being moved."


def refresh_seconds(body: AnswerBody) -> list[str | None]:
    return [
        attributes["content"]
        for attributes in Page(body.body).attributes("meta")
        if attributes.get("http-equiv") == "refresh"
    ]


@pytest.mark.parametrize(
    ("error", "refresh", "retry_after"),
    [
        (InstanceNotInService(instance_status="Pending"), ["10"], "10"),
        (InstanceNotInService(instance_status="Pending", retry_after_seconds=7), ["7"], "7"),
        (InstanceNotInService(instance_status="Stopped"), [], None),
        (InstanceNotInService(instance_status="Stopped", retry_after_seconds=30), ["30"], "30"),
        (Draining(), ["5"], "5"),
        (Throttled(retry_after_seconds=3), ["3"], "3"),
        (UpstreamUnreachable(), ["5"], "5"),
        (UpstreamUnreachable(retry_after_seconds=2), ["2"], "2"),
        (LimitReached(), [], "60"),
        (OutcomeUnknown(), [], None),
        (AccessDenied(), [], None),
    ],
)
def test_what_passes_by_itself_reloads_by_itself_and_programs_are_told_when(
    error: NbgateError, refresh: list[str], retry_after: str | None
) -> None:
    assert refresh_seconds(page(error)) == refresh
    for body in (page(error), envelope(error)):
        assert dict(body.headers).get("Retry-After") == retry_after


def test_a_page_that_reloads_by_itself_says_so_and_offers_to_do_it_now() -> None:
    body = page(InstanceNotInService(instance_status="Pending"))
    assert "reloads by itself" in body.body.decode()
    # An empty reference is the page's own address (RFC 3986 section 4.4), without repeating any of it here.
    assert [link["href"] for link in Page(body.body).attributes("a")] == [""]


def test_an_upgrade_to_another_version_is_told_which_one_works() -> None:
    """RFC 9110 section 15.5.22, RFC 6455 section 4.4."""
    headers = dict(envelope(UpgradeRequired()).headers)
    assert (headers["Upgrade"], headers["Sec-WebSocket-Version"]) == ("websocket", "13")
    assert "Upgrade" not in dict(envelope(BadRequest()).headers)


@pytest.mark.parametrize(
    "kind",
    [
        AccessDenied,
        errors.CrossSiteRefused,
        errors.Misdirected,
        errors.OriginRefused,
        errors.RouteNotFound,
        errors.WorkerRefused,
    ],
)
def test_what_would_fail_again_does_not_offer_to_try_again(kind: type[NbgateError]) -> None:
    assert Page(page(kind()).body).attributes("a") == []


NOTICE = InstanceNotice(
    "research",
    start=Button("research", "/.nbgate/start/research", "a-token"),
    progress=Progress("research", 75, 200),
    reason="no capacity",
    home="/",
)


def stands(status: str, notice: InstanceNotice = NOTICE) -> AnswerBody:
    return render(
        InstanceNotInService(instance_status=status),
        wants_html=True,
        request_id="r",
        client_address=None,
        notice=notice,
    )


def policy_of(body: AnswerBody) -> dict[str, str]:
    policy = dict(body.headers)["Content-Security-Policy"]
    return dict(directive.split(" ", 1) for directive in policy.split("; "))


@pytest.mark.parametrize("status", STATES)
def test_a_page_about_a_state_offers_the_start_where_it_helps_and_shows_how_far_it_is(status: str) -> None:
    body = stands(status)
    read = Page(body.body)
    assert bool(read.attributes("form")) == (status in ("Stopped", "Failed"))
    assert bool(read.attributes("progress")) == (status == "Pending")
    assert (b"no capacity" in body.body) == (status == "Failed")
    assert policy_of(body)["form-action"] == ("'self'" if read.attributes("form") else "'none'")


def test_a_form_is_sent_with_its_origin_and_everything_else_without_a_referrer() -> None:
    assert dict(stands("Stopped").headers)["Referrer-Policy"] == "same-origin"
    assert dict(stands("Pending").headers)["Referrer-Policy"] == "no-referrer"


def test_what_is_being_started_already_is_not_offered_again() -> None:
    error = InstanceNotInService(instance_status="Stopped", retry_after_seconds=5)
    body = render(error, wants_html=True, request_id="r", client_address=None, notice=NOTICE)
    assert Page(body.body).attributes("form") == []


@pytest.mark.parametrize("status", ["Pending", "Stopped"])
def test_a_page_that_refreshes_itself_runs_our_script_and_no_other(status: str) -> None:
    body = stands(status)
    read = Page(body.body)
    digest = base64.b64encode(hashlib.sha256(read.texts["script"].encode()).digest()).decode()
    policy = policy_of(body)
    assert policy["script-src"] == f"'sha256-{digest}'"
    assert policy["connect-src"] == "'self'"
    assert read.attributes("script") == [{}]


def test_a_browser_without_script_reloads_a_page_that_passes_by_itself() -> None:
    """With script it is not reloaded under its reader (WCAG 2.2, 2.2.1): only when there is news."""
    body = stands("Pending").body.decode()
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in body


def test_progress_is_shown_with_what_is_usual_if_that_is_known() -> None:
    body = stands("Pending").body.decode()
    assert "1 min 15 s" in body
    assert "usually takes 3 min 20 s" in body
    assert 'max="200" value="75"' in " ".join(body.split())
    unknown = stands("Pending", replace(NOTICE, progress=Progress("research", 75))).body.decode()
    assert "usually takes a few minutes" in unknown
    assert "value=" not in unknown.split("<progress")[1].split(">")[0]


def test_a_start_that_takes_longer_than_usual_fills_the_bar_and_no_more() -> None:
    body = stands("Pending", replace(NOTICE, progress=Progress("research", 999, 200))).body.decode()
    assert 'max="200" value="200"' in " ".join(body.split())


@given(name=st.text(), reason=st.text(), token=st.text(), home=st.text())
def test_whatever_is_known_of_an_instance_is_escaped(name: str, reason: str, token: str, home: str) -> None:
    trick = "\"'><script>alert(1)</script>"
    notice = InstanceNotice(
        name + trick,
        start=Button(name + trick, "/a" + trick, token + trick),
        reason=reason + trick,
        home=home + trick,
    )
    assert stands("Failed", notice).body.count(b"<script") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("No capacity.\nTry again.", "No capacity. Try again."),
        ("role arn:aws:iam::123456789012:role/x is gone", "role … is gone"),
        ("account 123456789012 in vpc-0a1b2c3d, subnet-0123456789abcdef0", "account … in …, …"),
        ("cannot reach 10.0.0.7 (eni-0123456789abcdef0)", "cannot reach … (…)"),
        ("see https://console.aws.amazon.com/x?y=z for more", "see … for more"),
        ("ml.t3.medium, 5 GB, exit code 1", "ml.t3.medium, 5 GB, exit code 1"),
        ("x" * 1000, "x" * 300 + "…"),
    ],
)
def test_sagemakers_reason_is_told_without_the_accounts_insides(text: str, told: str) -> None:
    assert public_reason(text) == told


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_programs_are_told_the_state_as_sagemaker_says_it() -> None:
    told = json.loads(envelope(InstanceNotInService(instance_status="Pending")).body)
    assert told["error"]["instance_status"] == "Pending"


def test_a_method_that_is_not_answered_names_those_that_are() -> None:
    """RFC 9110 section 15.5.6."""
    assert dict(envelope(errors.MethodNotAllowed(allow=("POST",))).headers)["Allow"] == "POST"


def test_a_page_at_another_name_tells_the_operator_what_to_do() -> None:
    """Who tries a first configuration asks for localhost, which is not its hostname."""
    body = page(errors.Misdirected()).body.decode()
    assert "curl --resolve NAME:PORT:127.0.0.1" in body
    for told in (body, envelope(errors.Misdirected()).body.decode()):
        assert "answers only for the host names in its configuration (hostname)" in told


def test_whoever_never_had_a_link_is_told_whom_to_ask() -> None:
    assert "Ask whoever runs this gateway" in page(errors.SignInRequired()).body.decode()


def test_a_page_that_reloads_says_so_for_each_way_in_which_sagemaker_is_away() -> None:
    for kind in (errors.ControlPlaneTimeout, errors.ControlPlaneUnreachable, errors.ControlPlaneFailed):
        assert "This page reloads by itself" in page(kind()).body.decode()
