"""Policy documents as AWS prints them, in: which statements are meant, and whether they are the guide's own pattern.

The rule: what cannot be honoured is refused with its reason; what does not concern this gateway (statements about
other actions) is left out and said. Source: IAM User Guide, "Grammar of the IAM JSON policy language"; SageMaker
Developer Guide, "Control Access to a Notebook Instance by IP Address" in its versions of 2018, 2020 and 2023.
It must not know files or lines: flaws carry paths inside the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from proxy.client_address.networks import NetworkSet, parse_network
from proxy.policy.context import CONNECT
from proxy.policy.elements import Flaw, Path, StatementError, concerns_us, listed, read_statement
from proxy.policy.errors import PolicyError
from proxy.wire.strict_json import KeyTwice, NestedTooDeep, NotJson, read_json

VERSIONS = ("2012-10-17", "2008-10-17")

# What the AWS CLI and the API wrap documents in: get-role-policy, get-policy-version, get-user-policy.
_WRAPPINGS = (("PolicyVersion", "Document"), ("PolicyDocument",))

# Why a key of AWS's has no meaning here, for the ones that policies for notebook instances commonly have.
_ELSEWHERE = {
    "aws:sourcevpc": "tells through which VPC AWS was called",
    "aws:sourcevpce": "tells through which VPC endpoint AWS was called",
    "aws:multifactorauthpresent": "tells how AWS's own sign-in went",
    "aws:viaawsservice": "tells whether a service of AWS's is calling",
    "aws:principalarn": "names an IAM principal",
    "aws:principalorgid": "names an AWS organization",
    "aws:userid": "names an IAM principal",
}


class DocumentError(PolicyError):
    """A document that cannot be honoured; `flaws` has every reason, with paths from the document's root."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        super().__init__(flaws[0].message, flaws[0].hint)
        self.flaws = tuple(flaws)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a document says for this gateway.

    `networks` is set where the document is AWS's own pattern, and says all of it; `statements` are the elements
    to write otherwise. `remarks` tell what was left out or means more here than at AWS.
    """

    networks: tuple[str, ...]
    statements: tuple[Mapping[str, Any], ...]
    remarks: tuple[str, ...]


def parse_document(text: str) -> tuple[Any, Path]:
    """The document in what AWS printed, unwrapped and url-decoded, and the path that leads to it.

    Raises `DocumentError` where that is no JSON, or has a key twice.
    """
    if text.lstrip()[:3].lower() == "%7b":
        text = unquote(text)
    data: Any = _json(text, ())
    path: Path = ()
    for wrapping in _WRAPPINGS:
        inside = data
        for key in wrapping:
            inside = inside.get(key) if isinstance(inside, Mapping) else None
        if inside is not None:
            data, path = inside, wrapping
            break
    if isinstance(data, str):
        data = _json(unquote(data), path)
    return data, path


def import_document(document: Any, path: Path = ()) -> Imported:
    """What the document (JSON, parsed) says for this gateway. `path` leads to it. Raises `DocumentError`."""
    if not isinstance(document, Mapping) or "Statement" not in document:
        raise DocumentError(
            [Flaw(path, "is not a policy document", 'it begins with {"Version": "2012-10-17"')]
        )
    flaws = [
        Flaw(
            (*path, key), f"there is no element called {key!r} in a document", "Version, Id and Statement are"
        )
        for key in document
        if key not in ("Version", "Id", "Statement")
    ]
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        flaws.append(
            Flaw((*path, "Version"), f"{document['Version']!r} is not a version", f"write {VERSIONS[0]}")
        )
    remarks: list[str] = []
    kept: list[Mapping[str, Any]] = []
    sids: set[str] = set()
    for index, element in enumerate(listed(document["Statement"])):
        place: Path = (
            (*path, "Statement", index) if isinstance(document["Statement"], list) else (*path, "Statement")
        )
        ours = _ours(element, index, remarks)
        if ours is None:
            continue
        try:
            statement = read_statement(ours, sid=f"statement-{index + 1}")
            if statement.sid in sids:
                flaws.append(
                    Flaw((*place, "Sid"), f"the id {statement.sid} is taken", "statement ids are unique")
                )
            sids.add(statement.sid)
            kept.append(ours)
        except StatementError as error:
            flaws += [
                Flaw(_as_written(element, place, flaw.path), flaw.message, _hint(flaw))
                for flaw in error.flaws
            ]
    if flaws:
        raise DocumentError(flaws)
    if not kept:
        raise DocumentError(
            [Flaw(path, "no statement is about an action of this gateway", f"such as {CONNECT}")]
        )
    networks = _guides_pattern(kept)
    if networks:
        remarks.append(
            "The document is about connecting alone; the list counts for describing, starting and stopping, too."
        )
        if not any(element["Effect"] == "Allow" for element in kept):
            remarks.append("At AWS this Deny needs an Allow elsewhere; here the list is both.")
        return Imported(networks, (), tuple(remarks))
    if not any(element["Effect"] == "Allow" for element in kept):
        remarks.append("Nothing here allows: without an `allow` beside the statements nobody is let in.")
    return Imported((), tuple(kept), tuple(remarks))


def _json(text: str, path: Path) -> Any:
    try:
        return read_json(text)
    except KeyTwice as error:
        flaw = Flaw(path, f"the key {error.key!r} is in one mapping twice", "keep one of them")
        raise DocumentError([flaw]) from error
    except NestedTooDeep as error:
        raise DocumentError([Flaw(path, "is nested too deep")]) from error
    except NotJson as error:
        raise DocumentError([Flaw(path, f"is not JSON: {error}", "give it as AWS prints it")]) from error


def _ours(element: Any, index: int, remarks: list[str]) -> Any:
    """The statement without the actions of other services; None where nothing is left that could apply.

    Leaving them out of an Action or a NotAction changes nothing: nobody asks for them here. What is no statement
    at all comes back as it is, for `read_statement` to refuse.
    """
    if not isinstance(element, Mapping):
        return element
    element = {**element, **_plain_sid(element.get("Sid"))}
    name = next((one for one in ("Action", "NotAction") if one in element), None)
    patterns = listed(element[name]) if name else []
    if name is None or not all(isinstance(pattern, str) for pattern in patterns):
        return element
    ours = [pattern for pattern in patterns if concerns_us(pattern)]
    others = [str(pattern) for pattern in patterns if pattern not in ours]
    called = f"statement {element.get('Sid', index + 1)}"
    if not others:
        return element
    if not ours and name == "Action":
        remarks.append(f"Left out: {called}, which is about other actions ({', '.join(others)}).")
        return None
    remarks.append(f"Left out of {called}: other actions ({', '.join(others)}).")
    if not ours:
        return {**{key: value for key, value in element.items() if key != name}, "Action": "*"}
    return {**element, name: ours}


def _plain_sid(sid: object) -> dict[str, str]:
    """AWS's own examples have ids with spaces, which IAM refuses, and so do we: `EnableNotebookAccess`."""
    if not isinstance(sid, str) or re.fullmatch("[A-Za-z0-9]*", sid):
        return {}
    return {"Sid": "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", sid))}


def _as_written(element: Any, place: Path, path: Path) -> Path:
    """A flaw's path in the document, where indexes are those of the lists before others' actions were left out."""
    if len(path) == 2 and path[0] in ("Action", "NotAction") and isinstance(element, Mapping):
        return (*place, path[0])
    return (*place, *path)


def _hint(flaw: Flaw) -> str:
    if len(flaw.path) >= 3 and flaw.path[0] == "Condition":
        reason = _ELSEWHERE.get(str(flaw.path[2]).lower())
        if reason:
            return f"it {reason}, which is not known here; leave the condition out where it only serves AWS"
    return flaw.hint


def _guides_pattern(elements: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The networks, if the document is the guide's: Deny `NotIpAddress` (2018), with Allow `IpAddress` (2020), or the
    Allow alone (2023), of one list and for every instance. () for anything else.
    """
    found: dict[str, list[str]] = {}
    for element in elements:
        effect = element["Effect"]
        operator = {"Deny": "NotIpAddress", "Allow": "IpAddress"}[effect]
        condition = element.get("Condition")
        if effect in found or not isinstance(condition, Mapping) or list(condition) != [operator]:
            return ()
        keys = {key.lower(): values for key, values in condition[operator].items()}
        actions = [str(action).lower() for action in listed(element.get("Action"))]
        whole = actions == [CONNECT.lower()] and listed(element.get("Resource")) == ["*"]
        if list(keys) != ["aws:sourceip"] or not whole:
            return ()
        found[effect] = [str(value) for value in listed(keys["aws:sourceip"])]
    sets = [NetworkSet(map(parse_network, values)) for values in found.values()]
    return tuple(next(iter(found.values()))) if all(one == sets[0] for one in sets) else ()
