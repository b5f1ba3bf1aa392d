"""Policy documents to attach in AWS, so that both ends agree.

The rule: what is exported decides there about the same callers as it does here. At AWS a request comes with
`aws:SourceIp` (public callers) or with `aws:VpcSourceIp` (callers through a VPC endpoint), never with both and
never with neither, so each list is divided between the two. Source: IAM User Guide, "AWS global condition
context keys"; SageMaker API reference, CreatePresignedNotebookInstanceUrl. It must not know the configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from proxy.client_address.networks import Network, NetworkSet
from proxy.policy.conditions import OPERATORS, Condition, Kind, Values
from proxy.policy.context import ACTIONS, CONNECT, DESCRIBE, START, STOP
from proxy.policy.errors import PolicyError
from proxy.policy.lists import without
from proxy.policy.resources import ArnPatterns
from proxy.policy.statements import AllBut, Statement
from proxy.policy.wildcards import ANYTHING

VERSION = "2012-10-17"
MANAGED_POLICY_CHARACTERS = 6144
"""The size of a managed policy, white space not counted (IAM and AWS STS quotas)."""

# What a VPC's addresses can be (RFC 1918, RFC 6598, RFC 4193).
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
# What no caller of AWS can come from: this machine, and the link.
_NOWHERE = tuple(map(ip_network, ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10")))

_ENDPOINT = re.compile(r"vpce-[0-9a-f]{8,17}")
_CONDITION_BLOCK = dict[str, dict[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Exported:
    """A document, and what to know before it is attached."""

    document: Mapping[str, Any]
    remarks: tuple[str, ...] = ()


def callers_document(gateway: Sequence[Statement], instances: Mapping[str, Sequence[Statement]]) -> Exported:
    """The restriction of people who call AWS directly.

    `gateway` has the statements that hold for every instance, `instances` those of each besides, by its ARN.
    Statements about any action are about connecting alone, as in AWS's own guide.
    """
    remarks: list[str] = []
    elements: list[dict[str, Any]] = []
    outside = next((one for one in gateway if one.sid == "gateway-allow"), None)
    for statement in gateway:
        if statement.sid == "gateway-allow-listed" and outside is not None:
            # Here it needs no condition, for the Deny stands beside it; a document may be taken apart.
            statement = _inside(statement, outside)
        elements += _elements(statement, statement.resources, remarks)
    for arn, statements in instances.items():
        for statement in statements:
            if arn in statement.resources:
                elements += _elements(statement, ArnPatterns((_any_account(arn),)), remarks)
    document = {"Version": VERSION, "Statement": _named(elements)}
    size = len(json.dumps(document, separators=(",", ":")))
    if size > MANAGED_POLICY_CHARACTERS:
        remarks.append(
            f"{size} characters are more than the {MANAGED_POLICY_CHARACTERS} of a managed policy: divide it."
        )
    return Exported(document, tuple(dict.fromkeys(remarks)))


GATEWAY_ACTIONS = (CONNECT, DESCRIBE, START, STOP)
"""What the gateway does itself; who may have it started and stopped is for its own policy and settings."""


WORTH_LISTING = 3
"""Instances of one role whose states one listing tells; fewer are described."""


def gateway_document(
    arns: Sequence[str], *, roles: Sequence[str], egress: Sequence[Network], endpoints: Sequence[str]
) -> Exported:
    """All that the gateway's own role needs, from its own addresses or VPC endpoints and nowhere else.

    `arns` are the instances that it opens itself, `roles` those that it assumes for others. Raises
    `PolicyError` for a private address, and for what is no endpoint's id.
    """
    for network in egress:
        if not _public([network]):
            raise PolicyError(
                f"{network} is no public address, and AWS sees public ones only",
                "give the NAT gateway's address, or the VPC endpoints",
            )
    for endpoint in endpoints:
        if not _ENDPOINT.fullmatch(endpoint):
            raise PolicyError(f"{endpoint!r} is no VPC endpoint's id", "such as vpce-0a1b2c3d4e5f67890")
    condition: dict[str, Any] = (
        {"StringEquals": {"aws:SourceVpce": list(endpoints)}}
        if endpoints
        else {"IpAddress": {"aws:SourceIp": [str(network) for network in egress]}}
    )
    statements: list[dict[str, Any]] = []
    if arns:
        statements.append(
            {
                "Sid": "NbgateConnects",
                "Effect": "Allow",
                "Action": list(GATEWAY_ACTIONS),
                "Resource": [_any_account(arn) for arn in dict.fromkeys(arns)],
                "Condition": condition,
            }
        )
    if len(set(arns)) >= WORTH_LISTING:
        statements.append(
            {
                "Sid": "NbgateLists",
                "Effect": "Allow",
                "Action": "sagemaker:ListNotebookInstances",
                # The action knows no resources (Service Authorization Reference).
                "Resource": "*",
                "Condition": condition,
            }
        )
    if roles:
        # Of STS the address is another matter: it has endpoints of its own.
        statements.append(
            {
                "Sid": "NbgateAssumesRoles",
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Resource": list(dict.fromkeys(roles)),
            }
        )
    unknown = any(arn.split(":")[4] == "" for arn in arns)
    remark = "The account is not known (aws.account), so the ARNs have a * in its place." if unknown else ""
    return Exported({"Version": VERSION, "Statement": statements}, (remark,) if remark else ())


def _inside(statement: Statement, outside: Statement) -> Statement:
    (condition,) = outside.conditions
    inside = Condition(
        # The same networks, asked the other way round.
        OPERATORS["IpAddress"],
        condition.key,
        values=condition.values,
        when_absent=False,
    )
    return Statement(
        statement.sid,
        statement.effect,
        actions=statement.actions,
        resources=statement.resources,
        conditions=(inside,),
    )


def _elements(statement: Statement, resources: Values, remarks: list[str]) -> Iterator[dict[str, Any]]:
    """The statement as AWS's elements: none where it could not apply there, two where both keys may let it."""
    actions = _actions(statement.actions)
    if not actions:
        return
    others: dict[str, dict[str, list[Any]]] = {}
    for condition in statement.conditions:
        if condition.key.kind is Kind.ADDRESS:
            continue
        if condition.key.kind is Kind.TEXT and condition.key.name != "aws:RequestedRegion":
            remarks.append(f"{condition.key.name} is of IAM's users there, and of the gateway's here.")
        others.setdefault(condition.operator.name, {})[condition.key.name] = [
            str(value).lower() if isinstance(value, bool) else value for value in condition.written
        ]
    for block in _addresses(statement, remarks):
        element: dict[str, Any] = {
            "Sid": statement.sid,
            "Effect": statement.effect.value,
            "Action": _one_or_all(actions),
            **_resource(resources),
        }
        if block or others:
            element["Condition"] = {**block, **others}
        yield element


def _addresses(statement: Statement, remarks: list[str]) -> Iterator[_CONDITION_BLOCK]:
    """The statement's conditions on the address, one block for each way in which they can hold at AWS."""
    inside: NetworkSet | None = None
    outside: list[Network] = []
    for condition in statement.conditions:
        if condition.key.kind is not Kind.ADDRESS:
            continue
        networks = condition.values
        if not isinstance(networks, NetworkSet):
            # `Null`: there is always an address at AWS.
            if object() not in networks:
                return
        elif condition.operator.negated:
            outside += networks
        else:
            inside = networks if inside is None else without(inside, without(inside, networks))
    if inside is None:
        listed = _divided(outside, remarks)
        yield {"NotIpAddress": listed} if listed else {}
        return
    for key, values in _divided(without(inside, NetworkSet(outside)), remarks).items():
        yield {"IpAddress": {key: values}}


def _divided(networks: Iterable[Network], remarks: list[str]) -> dict[str, list[str]]:
    """Networks under the key that a caller from there has at AWS."""
    given = _collapsed(networks)
    if any(_within(network, _NOWHERE) for network in given):
        remarks.append("Addresses of a machine or link itself are left out: nobody calls AWS from there.")
    public, private = _public(given), [one for one in given if _meets(one, _PRIVATE)]
    listed = {"aws:SourceIp": public, "aws:VpcSourceIp": private}
    return {key: [str(network) for network in values] for key, values in listed.items() if values}


def _public(networks: Sequence[Network]) -> list[Network]:
    return [network for network in networks if not _within(network, (*_PRIVATE, *_NOWHERE))]


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    listed = list(networks)
    return [
        *collapse_addresses(one for one in listed if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in listed if isinstance(one, IPv6Network)),
    ]


def _within(network: Network, ranges: Iterable[Network]) -> bool:
    return any(network.version == one.version and network.subnet_of(one) for one in ranges)  # type: ignore[arg-type]


def _meets(network: Network, ranges: Iterable[Network]) -> bool:
    return any(network.version == one.version and network.overlaps(one) for one in ranges)


def _actions(actions: Values) -> list[str]:
    """By name: a `*` that means five actions here would mean all of AWS there."""
    return [CONNECT] if actions is ANYTHING else [action for action in ACTIONS if action in actions]


def _resource(resources: Values) -> dict[str, str | list[str]]:
    if isinstance(resources, AllBut):
        return {"NotResource": _patterns(resources.excepted)}
    return {"Resource": "*" if resources is ANYTHING else _patterns(resources)}


def _patterns(values: Values) -> str | list[str]:
    assert isinstance(values, ArnPatterns)
    return _one_or_all(list(values.patterns))


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _named(elements: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The statements with ids as IAM has them, letters and digits, each once."""
    taken: set[str] = set()
    for element in elements:
        plain = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", element["Sid"]))
        number, sid = 1, plain
        while sid in taken:
            number += 1
            sid = f"{plain}{number}"
        taken.add(sid)
        element["Sid"] = sid
    return list(elements)


def _any_account(arn: str) -> str:
    parts = arn.split(":")
    parts[4] = parts[4] or "*"
    return ":".join(parts)
