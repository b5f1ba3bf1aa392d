"""Exported documents decide at AWS about the same callers as the gateway does, in an independent simulator's view."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.client_address.networks import Network, NetworkSet, parse_address, parse_network
from proxy.policy.context import ACTIONS, CONNECT, Context
from proxy.policy.documents import import_document
from proxy.policy.elements import read_statement
from proxy.policy.errors import PolicyError
from proxy.policy.evaluate import evaluate
from proxy.policy.export import MANAGED_POLICY_CHARACTERS, callers_document, gateway_document
from proxy.policy.lists import NamedList, Remark
from proxy.policy.short_form import ShortForm, gateway_policy, instance_policy
from proxy.policy.statements import Statement
from tests.policy.simulator import simulate

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/"
MARCH = datetime(2027, 3, 1, tzinfo=UTC)
PUBLIC = ["203.0.113.0/24", "203.0.113.128/25", "198.51.100.7", "2001:db8::/32", "203.0.112.0/23"]
PRIVATE = ["10.0.0.0/8", "10.1.0.0/16", "192.168.1.0/24", "100.64.0.0/16", "fd00::/8", "172.16.5.0/24"]
ADDRESSES = ["203.0.113.5", "203.0.113.200", "198.51.100.7", "192.0.2.1", "2001:db8::5", "8.8.8.8"]
PRIVATE_ADDRESSES = ["10.1.2.3", "10.2.3.4", "192.168.1.5", "100.64.0.9", "fd00::5", "172.16.6.1"]


def named(name: str, *networks: str, ending: tuple[str, ...] = ()) -> NamedList:
    remarks = tuple(Remark(parse_network(text), "", MARCH) for text in ending)
    listed = [*map(parse_network, networks), *(remark.network for remark in remarks)]
    return NamedList(name, NetworkSet(listed), remarks)


def statement(effect: str, condition: dict[str, Any], **others: Any) -> Statement:
    element = {"Effect": effect, "Action": "*", "Resource": "*", "Condition": condition, **others}
    return read_statement(element, sid="policy-statement-1")


class Drawn:
    """A random configuration: lists, statements, an instance of its own."""

    def __init__(self, chance: random.Random) -> None:
        def some(count: int) -> list[str]:
            return chance.sample(PUBLIC + PRIVATE, chance.randint(1, count))

        def lists(count: int) -> tuple[NamedList, ...]:
            return tuple(
                named(f"l{index}", *some(4), ending=tuple(some(2)) if chance.random() < 0.3 else ())
                for index in range(chance.randint(1, count))
            )

        operators = ["IpAddress", "NotIpAddress", "IpAddressIfExists", "ForAllValues:NotIpAddress"]
        statements = []
        for _ in range(chance.randint(0, 1)):
            condition: dict[str, Any] = {}
            for operator in chance.sample(operators, chance.randint(1, 2)):
                condition[operator] = {chance.choice(("aws:SourceIp", "aws:VpcSourceIp")): some(3)}
            if chance.random() < 0.3:
                condition["Null"] = {"aws:SourceIp": chance.choice(("true", "false"))}
            if chance.random() < 0.3:
                condition["DateLessThan"] = {"aws:CurrentTime": "2027-03-01"}
            effect = chance.choice(("Allow", "Deny"))
            actions = {chance.choice(("Action", "NotAction")): chance.choice((CONNECT, "sagemaker:St*"))}
            element = {"Effect": effect, "Resource": "*", "Condition": condition, **actions}
            statements.append(read_statement(element, sid="s"))
        form = ShortForm(
            lists(2) if chance.random() < 0.8 or not statements else None, lists(1)[: chance.randint(0, 1)]
        )
        self.gateway = gateway_policy(form, tuple(statements))
        own = ShortForm(lists(1)) if chance.random() < 0.5 else None
        self.instance = instance_policy(self.gateway, name="nlp", form=own)
        self.exported = callers_document(
            self.gateway.statements, {ARN + "nlp": self.instance.statements[len(self.gateway.statements) :]}
        )


@pytest.mark.slow
@pytest.mark.program
def test_both_ends_agree() -> None:
    """A public caller has aws:SourceIp at AWS, one through a VPC endpoint aws:VpcSourceIp; never both."""
    requests: list[dict[str, Any]] = []
    expected: list[bool] = []
    for number in range(200):
        drawn = Drawn(random.Random(number))
        for key, addresses in (("aws:SourceIp", ADDRESSES), ("aws:VpcSourceIp", PRIVATE_ADDRESSES)):
            for address in addresses:
                for name, policy in (("research", drawn.gateway), ("nlp", drawn.instance)):
                    now = MARCH.replace(day=1 + number % 2, month=2 + number % 2)
                    resource = ARN + name
                    requests.append(
                        {
                            "policy": drawn.exported.document,
                            "context": {key: address, "aws:CurrentTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")},
                            "action": CONNECT,
                            "resource": resource,
                        }
                    )
                    context = Context(parse_address(address), resource=resource, now=now)
                    expected.append(evaluate(policy, context).allowed)
    said = [word == "Allowed" for word in simulate(requests)]
    different = [
        request for request, one, other in zip(requests, said, expected, strict=True) if one is not other
    ]
    assert not different, f"{len(different)} of {len(requests)}; the first: {json.dumps(different[0])}"
    assert len(requests) / 10 < sum(expected) < len(requests) * 0.9


def test_a_public_list_is_the_guides_pair_and_comes_back_as_the_list() -> None:
    office = named("office", "203.0.113.0/24", "2001:db8::/32")
    exported = callers_document(gateway_policy(ShortForm((office,))).statements, {})
    networks = ["203.0.113.0/24", "2001:db8::/32"]
    assert exported.document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "GatewayAllow",
                "Effect": "Deny",
                "Action": CONNECT,
                "Resource": "*",
                "Condition": {"NotIpAddress": {"aws:SourceIp": networks}},
            },
            {
                "Sid": "GatewayAllowListed",
                "Effect": "Allow",
                "Action": CONNECT,
                "Resource": "*",
                "Condition": {"IpAddress": {"aws:SourceIp": networks}},
            },
        ],
    }
    assert exported.remarks == ()
    assert import_document(exported.document).networks == tuple(networks)


def test_a_mixed_list_is_divided_between_the_two_keys() -> None:
    both = named("both", "203.0.113.0/24", "10.0.0.0/8")
    deny, *allows = callers_document(gateway_policy(ShortForm((both,))).statements, {}).document["Statement"]
    assert deny["Condition"] == {
        "NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24"], "aws:VpcSourceIp": ["10.0.0.0/8"]}
    }
    assert [one["Condition"] for one in allows] == [
        {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24"]}},
        {"IpAddress": {"aws:VpcSourceIp": ["10.0.0.0/8"]}},
    ]
    assert [one["Sid"] for one in allows] == ["GatewayAllowListed", "GatewayAllowListed2"]


def test_everybody_is_everybody_under_both_keys() -> None:
    (deny, *_) = callers_document(
        gateway_policy(ShortForm((named("all", "0.0.0.0/0"),))).statements, {}
    ).document["Statement"]
    assert deny["Condition"] == {
        "NotIpAddress": {"aws:SourceIp": ["0.0.0.0/0"], "aws:VpcSourceIp": ["0.0.0.0/0"]}
    }


def test_nobody_is_nobody() -> None:
    document = callers_document(gateway_policy(ShortForm()).statements, {}).document
    assert document["Statement"] == [
        {"Sid": "GatewayAllow", "Effect": "Deny", "Action": CONNECT, "Resource": "*"}
    ]


def test_this_machine_is_left_out_and_said() -> None:
    exported = callers_document(
        gateway_policy(ShortForm((named("here", "127.0.0.0/8", "203.0.113.0/24"),))).statements, {}
    )
    assert exported.document["Statement"][0]["Condition"] == {
        "NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24"]}
    }
    assert exported.remarks == (
        "Addresses of a machine or link itself are left out: nobody calls AWS from there.",
    )


def test_a_star_of_five_actions_is_not_a_star_of_all_of_aws() -> None:
    element = {
        "Sid": "Tls",
        "Effect": "Deny",
        "NotAction": "sagemaker:Describe*",
        "NotResource": [ARN + "a", ARN + "b"],
        "Condition": {"Bool": {"aws:SecureTransport": [False]}, "StringLike": {"aws:username": "a*"}},
    }
    tls = read_statement(element, sid="")
    nothing = read_statement({"Effect": "Deny", "NotAction": "*", "Resource": "*"}, sid="nothing")
    exported = callers_document((tls, nothing), {})
    assert exported.document["Statement"] == [
        {
            "Sid": "Tls",
            "Effect": "Deny",
            "Action": [action for action in ACTIONS if "Describe" not in action],
            "NotResource": [ARN + "a", ARN + "b"],
            "Condition": {"Bool": {"aws:SecureTransport": ["false"]}, "StringLike": {"aws:username": ["a*"]}},
        }
    ]
    assert exported.remarks == ("aws:username is of IAM's users there, and of the gateway's here.",)


def test_at_aws_there_is_always_an_address() -> None:
    def exported(null: str) -> list[dict[str, Any]]:
        condition = {"Null": {"aws:SourceIp": null}, "IpAddressIfExists": {"aws:SourceIp": "203.0.113.0/24"}}
        return list(
            callers_document((statement("Deny", condition, Action=CONNECT),), {}).document["Statement"]
        )

    assert exported("true") == []
    (deny,) = exported("false")
    assert deny["Condition"] == {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24"]}}


def test_what_must_be_on_two_lists_is_what_both_have() -> None:
    condition = {
        "IpAddress": {"aws:SourceIp": "203.0.113.0/24", "aws:VpcSourceIp": ["203.0.113.0/25", "10.0.0.0/8"]},
        "NotIpAddress": {"aws:SourceIp": "203.0.113.64/26"},
    }
    (allow,) = callers_document((statement("Allow", condition),), {}).document["Statement"]
    assert allow["Condition"] == {"IpAddress": {"aws:SourceIp": ["203.0.113.0/26"]}}


def test_an_instances_statements_are_about_it() -> None:
    office, vpn = named("office", "203.0.113.0/24"), named("vpn", "198.51.100.7")
    gateway = gateway_policy(ShortForm((office,)))
    own = statement("Deny", {"IpAddress": {"aws:SourceIp": "203.0.113.9"}}, Sid="One", Action=CONNECT)
    element = {"Sid": "Two", "Effect": "Deny", "Action": "*", "NotResource": "arn:aws:sagemaker:*:*:*/nlp"}
    other = read_statement(element, sid="")
    policy = instance_policy(gateway, name="nlp", form=ShortForm((vpn,)), statements=(own, other))
    arn = ARN.replace("123456789012", "") + "nlp"
    document = callers_document(
        gateway.statements, {arn: policy.statements[len(gateway.statements) :]}
    ).document
    assert [(one["Sid"], one["Resource"]) for one in document["Statement"][2:]] == [
        ("InstanceNlpAllow", ARN.replace("123456789012", "*") + "nlp"),
        ("One", ARN.replace("123456789012", "*") + "nlp"),
    ]


def test_a_document_that_is_too_long_is_said() -> None:
    many = named("many", *(f"203.0.{number}.0/25" for number in range(255)))
    (remark,) = callers_document(gateway_policy(ShortForm((many,))).statements, {}).remarks
    assert str(MANAGED_POLICY_CHARACTERS) in remark


# The gateway's own role.

EGRESS: list[Network] = [parse_network("203.0.113.1"), parse_network("2001:db8::1")]


def test_the_gateways_role_may_do_two_things_from_its_own_addresses() -> None:
    exported = gateway_document([ARN + "a", ARN + "b", ARN + "a"], roles=[], egress=EGRESS, endpoints=[])
    assert exported.document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NbgateConnects",
                "Effect": "Allow",
                "Action": [
                    CONNECT,
                    *(f"sagemaker:{verb}NotebookInstance" for verb in ("Describe", "Start", "Stop")),
                ],
                "Resource": [ARN + "a", ARN + "b"],
                "Condition": {"IpAddress": {"aws:SourceIp": ["203.0.113.1/32", "2001:db8::1/128"]}},
            }
        ],
    }
    assert exported.remarks == ()


def test_of_several_instances_it_may_list_the_states() -> None:
    arns = [ARN + name for name in "abc"]
    exported = gateway_document(arns, roles=[], egress=EGRESS, endpoints=[])
    connects, lists = exported.document["Statement"]
    assert connects["Resource"] == arns
    assert lists == {
        "Sid": "NbgateLists",
        "Effect": "Allow",
        "Action": "sagemaker:ListNotebookInstances",
        "Resource": "*",
        "Condition": connects["Condition"],
    }


def test_or_through_its_own_endpoints_and_it_may_assume_roles() -> None:
    endpoints = ["vpce-0a1b2c3d4e5f67890", "vpce-0a1b2c3d"]
    roles = ["arn:aws:iam::123456789012:role/x"] * 2
    arn = ARN.replace("123456789012", "") + "a"
    exported = gateway_document([arn], roles=roles, egress=[], endpoints=endpoints)
    connects, assumes = exported.document["Statement"]
    assert connects["Resource"] == [ARN.replace("123456789012", "*") + "a"]
    assert connects["Condition"] == {"StringEquals": {"aws:SourceVpce": endpoints}}
    assert assumes == {
        "Sid": "NbgateAssumesRoles",
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Resource": roles[:1],
    }
    assert "The account is not known" in exported.remarks[0]
    only = gateway_document([], roles=roles, egress=[], endpoints=endpoints).document["Statement"]
    assert [one["Sid"] for one in only] == ["NbgateAssumesRoles"]


@pytest.mark.parametrize(
    ("egress", "endpoints", "message"),
    [
        (["10.0.0.1"], [], "10.0.0.1/32 is no public address"),
        (["127.0.0.1"], [], "no public address"),
        ([], ["vpc-1"], "'vpc-1' is no VPC endpoint's id"),
    ],
)
def test_what_aws_will_never_see_is_refused(egress: list[str], endpoints: list[str], message: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        gateway_document([ARN + "a"], roles=[], egress=list(map(parse_network, egress)), endpoints=endpoints)
    assert caught.value.hint
