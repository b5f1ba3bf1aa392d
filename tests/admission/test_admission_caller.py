"""Who sends a request: whose word counts, and when two callers are one."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.admission.caller import Inbound, identify
from proxy.client_address.networks import NetworkSet, parse_address, parse_network
from proxy.client_address.resolve import TrustedProxies
from proxy.errors import BadRequest
from proxy.policy.context import Principal
from proxy.policy.judge import Question

PROXY, CLIENT = parse_address("10.0.0.1"), parse_address("203.0.113.9")
TRUSTED = TrustedProxies(NetworkSet([parse_network("10.0.0.0/8")]))
FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


def inbound(fields: dict[str, str] | None = None, **changes: Any) -> Inbound:
    made: dict[str, Any] = {
        "peer": PROXY,
        "headers": CIMultiDict(FORWARDED if fields is None else fields),
        "host": "notebooks.internal",
        "target": "/research/",
        "method": "GET",
        "port": 443,
        "scheme": "http",
        "request_id": "id",
    }
    return Inbound(**made | changes)


def test_behind_a_trusted_proxy_its_word_counts() -> None:
    caller = identify(inbound(), TRUSTED)
    assert (caller.address, caller.peer, caller.scheme) == ("203.0.113.9", "10.0.0.1", "https")
    assert caller.is_behind_proxy
    assert str(caller.authority) == "notebooks.internal"


def test_nobody_elses_word_counts() -> None:
    caller = identify(inbound(peer=CLIENT), TRUSTED)
    assert (caller.address, caller.peer, caller.scheme) == ("203.0.113.9", "203.0.113.9", "http")
    assert not caller.is_behind_proxy
    certain = identify(inbound(is_scheme_certain=True), TRUSTED)
    assert certain.scheme == "http"


def test_a_socket_without_an_address_is_a_proxys_where_that_is_known() -> None:
    vouched = identify(inbound(peer=None, vouched=True), TRUSTED)
    assert (vouched.address, vouched.peer, vouched.is_behind_proxy) == ("203.0.113.9", None, True)
    stranger = identify(inbound(peer=None), TRUSTED)
    assert (stranger.address, stranger.is_behind_proxy) == (None, False)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest):
        identify(inbound(host="a/b"), TRUSTED)


def test_callers_are_equal_where_nothing_that_travels_on_tells_them_apart() -> None:
    one = identify(inbound(), TRUSTED)
    again = identify(inbound({**FORWARDED, "X-Request-Id": "2"}, target="/other", request_id="2"), TRUSTED)
    assert one == again
    assert one is not again
    assert hash(one) == hash(again)
    others = [
        identify(inbound({**FORWARDED, "X-Forwarded-For": "203.0.113.8"}), TRUSTED),
        identify(inbound({**FORWARDED, "X-Forwarded-Proto": "http"}), TRUSTED),
        identify(inbound(host="other.internal"), TRUSTED),
        identify(inbound(peer=parse_address("10.0.0.2")), TRUSTED),
        identify(inbound(peer=CLIENT), TRUSTED),
    ]
    assert len({one, *others}) == 1 + len(others)


def test_what_a_caller_asks_of_the_policy() -> None:
    caller, signer = identify(inbound(), TRUSTED), Principal("alice")
    assert caller.question("gpu") == Question(CLIENT, "gpu", secure=True)
    asked = caller.question("gpu", "sagemaker:StopNotebookInstance", signer)
    assert asked == Question(CLIENT, "gpu", "sagemaker:StopNotebookInstance", True, signer)


def test_a_request_shows_nothing_of_its_fields_and_target() -> None:
    """They hold cookies and tokens, and a repr may stand in a log."""
    shown = repr(inbound({"Cookie": "nbgate-session=s3cret"}, target="/?token=s3cret"))
    assert "s3cret" not in shown
    assert "notebooks.internal" in shown
