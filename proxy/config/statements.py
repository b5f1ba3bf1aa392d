"""The long form in the file: IAM statements under `policy.statements` and under instances.

Its rule: `proxy.policy.elements` says what a statement is; here it is asked for every one, and what statements
and the rest of the file say about each other is checked: ids that repeat, instances that would widen, ARNs
that name nothing. It must not know lines: findings carry paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.config.findings import Finding
from proxy.config.yaml_lines import KeyPath
from proxy.policy.elements import StatementError, listed, read_statement
from proxy.policy.resources import ArnPatterns
from proxy.policy.statements import Effect, Statement


def default_sid(place: KeyPath, index: int) -> str:
    """The id of a statement that has none of its own: `policy-statement-1`, `instance-research-statement-1`."""
    scope = f"instance-{place[1]}" if place[0] == "instances" else "policy"
    return f"{scope}-statement-{index + 1}"


def places(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, list[Any]]]:
    """Every list of statements in the file as written, with its place."""
    sections: list[tuple[KeyPath, Any]] = [(("policy",), data.get("policy"))]
    instances = data.get("instances")
    if isinstance(instances, dict):
        sections += [(("instances", str(name)), section) for name, section in instances.items()]
    for place, section in sections:
        statements = section.get("statements") if isinstance(section, dict) else None
        if isinstance(statements, list):
            yield place, statements


def statement_findings(data: Mapping[str, Any], arns: Mapping[str, str] | None) -> Iterator[Finding]:
    """Everything wrong with the file's statements.

    `arns` are the instances' ARNs, by name; None where they cannot be told, so that nothing is said of them.
    """
    gateway_sids: set[str] = set()
    for place, statements in places(data):
        # An instance's statements join the gateway's, whose ids come first.
        sids = set(gateway_sids)
        for index, element in enumerate(statements):
            path: KeyPath = (*place, "statements", index)
            try:
                statement = read_statement(element, sid=default_sid(place, index))
            except StatementError as error:
                yield from (Finding((*path, *flaw.path), flaw.message, flaw.hint) for flaw in error.flaws)
                continue
            if statement.sid in sids:
                yield Finding((*path, "Sid"), f"the id {statement.sid} is taken", "statement ids are unique")
            sids.add(statement.sid)
            if place[0] == "instances":
                yield from _widening(path, statement)
            if arns is not None:
                own = (
                    {place[1]: arns[str(place[1])]} if place[0] == "instances" and place[1] in arns else arns
                )
                yield from _resources(path, element, list(own.values()))
        if place == ("policy",):
            gateway_sids = sids


def _widening(path: KeyPath, statement: Statement) -> Iterator[Finding]:
    if statement.effect is Effect.ALLOW:
        yield Finding(
            (*path, "Effect"),
            "an instance narrows the gateway-wide policy, so its statements deny",
            "write a Deny of the opposite; or an Allow under policy, with this instance's ARN as its Resource",
        )


def _resources(path: KeyPath, element: Mapping[str, Any], arns: Sequence[str]) -> Iterator[Finding]:
    name = "Resource" if "Resource" in element else "NotResource"
    for index, pattern in enumerate(listed(element[name])):
        place = (*path, name, index) if isinstance(element[name], list) else (*path, name)
        patterns = ArnPatterns((str(pattern),))
        meant = [arn for arn in arns if arn.split(":")[4] == "" and arn in patterns.of_any_account]
        if patterns.name_accounts and meant:
            yield Finding(
                place,
                "names an account, and the instances' account is not known",
                "write aws: {account: '123456789012'}, or * for the account",
            )
        elif arns and not any(arn in patterns for arn in arns):
            yield Finding(place, f"matches no instance: {pattern}", f"an instance's ARN is {arns[0]}")
