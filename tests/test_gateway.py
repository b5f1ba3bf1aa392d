"""The door's decisions: asked in any order, and however much of it is remembered, they are the policy's own."""

from __future__ import annotations

from itertools import product

import pytest

from proxy import gateway as gateway_module
from proxy.client_address.networks import NetworkSet, parse_address, parse_network
from proxy.client_address.resolve import TrustedProxies
from proxy.gateway import Gateway
from proxy.policy.context import CONNECT
from proxy.policy.elements import read_statement
from proxy.policy.evaluate import evaluate
from proxy.policy.lists import NamedList
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.routing.mounts import Mount

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/"
START = "sagemaker:StartNotebookInstance"


def door() -> Gateway:
    office = NamedList(
        "office", NetworkSet([parse_network("203.0.113.0/24"), parse_network("2001:db8::/32")])
    )
    vpn = NamedList("vpn", NetworkSet([parse_network("203.0.113.0/30")]))
    statements = [
        {
            "Effect": "Deny",
            "Action": START,
            "Resource": f"{ARN}nlp",
            "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.7"}},
        },
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": f"{ARN}research",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    policy = gateway_policy(
        ShortForm(allow=(office,)),
        tuple(read_statement(one, sid=f"s{index}") for index, one in enumerate(statements)),
    )
    return Gateway(
        hostnames=["notebooks.internal"],
        mounts={name: Mount.at_path(f"/{name}/") for name in ("research", "nlp")},
        policies={
            "research": instance_policy(policy, name="research", form=ShortForm(allow=(vpn,))),
            "nlp": policy,
        },
        own_policy=policy,
        trusted_proxies=TrustedProxies(),
        audit=lambda inbound, refusal: None,
        resources={name: f"{ARN}{name}" for name in ("research", "nlp")},
        region="eu-west-1",
    )


@pytest.mark.parametrize("remembered", [1, 4096])
def test_no_question_gets_the_answer_to_another(monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    """By address, instance, TLS and action."""
    monkeypatch.setattr(gateway_module, "QUESTIONS_REMEMBERED", remembered)
    gateway = door()
    addresses = [
        None if text is None else parse_address(text)
        for text in ("203.0.113.1", "203.0.113.7", "192.0.2.1", "2001:db8::1", "2001:db9::1", None)
    ]
    questions = list(product(addresses, ("research", "nlp", ""), (True, False, None), (CONNECT, START)))
    allowed = 0
    for address, instance, secure, action in [*questions, *reversed(questions)]:
        said = gateway.decide(address, instance, secure_transport=secure, action=action)
        context = gateway.context(address, instance, secure_transport=secure, action=action)
        assert said == evaluate(gateway.policy(instance), context)
        allowed += said.allowed
    assert 0 < allowed < 2 * len(questions)


def test_an_instance_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        door().decide(None, "stranger")


def test_only_addresses_that_some_rule_could_let_in_are_no_strangers() -> None:
    """Whatever else a request brings: over TLS `research` is open to the few, `nlp` and the own pages to the office."""
    opened = door()
    for text, could in (
        ("203.0.113.1", True),
        ("203.0.113.200", True),
        ("2001:db8::1", True),
        ("198.51.100.1", False),
        ("2001:db9::1", False),
    ):
        assert opened.could_let_in(parse_address(text)) is could
