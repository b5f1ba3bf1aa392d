"""Single values of the file, as annotations: how each is read, and how it is described to editors.

Its rule: every scalar is read by a function of `proxy.config.values` or `.places`, and what that finds wrong is told in
its words. Knows pydantic, and neither sections nor what two keys say about each other.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from proxy.client_address.networks import AddressError, Network
from proxy.config import places, values
from proxy.config.binds import Bind, SocketAddress
from proxy.config.values import ValueProblem
from proxy.routing.mounts import Mount

# A reference may stand wherever text, a number, true or false does, so the schema for editors admits it.
REFERENCE: Mapping[str, Any] = {"type": "string", "pattern": r"\$\{.*\}"}


def _as_it_is(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """The annotation of a scalar that `parse` reads; `json` describes its spelling to editors."""

    parse: Callable[[object], object]
    json: Mapping[str, Any]
    is_key: bool = False
    """Keys are read like values, but no reference is replaced in them."""
    spell: Callable[[Any], object] = _as_it_is
    """A value that was read, as the file would have it."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.json) if self.is_key else {"anyOf": [dict(self.json), dict(REFERENCE)]}

    def _validate(self, value: object) -> object:
        try:
            return self.parse(value)
        except (ValueProblem, AddressError) as wrong:
            raise problem(str(wrong), wrong.hint) from wrong


def problem(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("value_problem", "{message}", {"message": message, "hint": hint})


def duration(at_least: float, at_most: float) -> Scalar:
    """Seconds, both bounds included."""
    json = {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": values.DURATION_PATTERN}]
    }
    return Scalar(
        lambda value: values.parse_duration(value, at_least=at_least, at_most=at_most),
        json,
        spell=values.format_duration,
    )


def session_duration() -> Scalar:
    """Whole seconds, as SageMaker grants sessions."""
    return Scalar(values.parse_session_duration, duration(0, 0).json, spell=values.format_duration)


def idle_duration(at_least: float, at_most: float) -> Scalar:
    """Seconds, or infinity for never."""
    json = {"anyOf": [{"const": "never"}, *duration(at_least, at_most).json["anyOf"]]}
    return Scalar(lambda value: values.parse_idle_duration(value, at_least=at_least, at_most=at_most), json)


def idle_duration_or_none(at_least: float, at_most: float) -> Scalar:
    """Seconds, or None for never."""
    read = idle_duration(at_least, at_most)

    def parse(value: object) -> object:
        return None if (seconds := read.parse(value)) == math.inf else seconds

    return Scalar(
        parse, read.json, spell=lambda value: "never" if value is None else values.format_duration(value)
    )


def size(at_least: int, at_most: int) -> Scalar:
    """Bytes, both bounds included."""
    json = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": values.SIZE_PATTERN}]}
    return Scalar(
        lambda value: values.parse_size(value, at_least=at_least, at_most=at_most),
        json,
        spell=values.format_size,
    )


def size_or_none(at_least: int, at_most: int) -> Scalar:
    """Bytes, or None for any number of them."""
    json = {"anyOf": [{"const": values.UNLIMITED}, *size(at_least, at_most).json["anyOf"]]}
    return Scalar(
        lambda value: values.parse_size_or_none(value, at_least=at_least, at_most=at_most),
        json,
        spell=lambda value: values.UNLIMITED if value is None else values.format_size(value),
    )


def count(at_most: int) -> Scalar:
    json = {"type": "integer", "minimum": 1, "maximum": at_most}
    return Scalar(lambda value: values.parse_count(value, at_most=at_most), json)


def one_of(choices: object) -> Scalar:
    words = typing.get_args(choices)
    return Scalar(lambda value: values.parse_choice(value, words), {"enum": list(words)})


def spelled(default: object) -> Any:
    """A default as the file would have it, and as editors show it; the model holds what it means."""
    return Field(default=default, validate_default=True)


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """The annotation of a list that must not be null or empty; `alone` lets one text stand for a list of one."""

    what: str
    hint: str
    alone: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        listed = {**handler(schema), "minItems": 1}
        return {"anyOf": [listed["items"], listed]} if self.alone else listed

    def _check(self, value: object) -> object:
        if value is None or value == []:
            raise problem(f"{self.what} is empty", self.hint)
        return [value] if self.alone and not isinstance(value, list) else value


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """The annotation of a list that is used as one text, with commas between."""

    of: object

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(",".join, handler.generate_schema(self.of))


TEXT = {"type": "string", "minLength": 1}
CIDR = {"type": "string", "examples": ["203.0.113.0/24", "2001:db8:10::/48", "198.51.100.7"]}

PemFile = Annotated[Path, Scalar(lambda value: Path(values.text(value, example="/etc/nbgate/tls.crt")), TEXT)]
Profile = Annotated[str, Scalar(lambda value: values.text(value, example="default"), TEXT)]
Flag = Annotated[bool, Scalar(values.parse_flag, {"type": "boolean"})]
AdminBind = Annotated[
    SocketAddress, Scalar(places.parse_bind, {"type": "string", "pattern": places.BIND_PATTERN}, spell=str)
]
ListenerBind = Annotated[
    Bind, Scalar(places.parse_listener_bind, {"type": "string", "pattern": places.LISTENER_BIND_PATTERN})
]
Mode = Annotated[int, Scalar(places.parse_mode, {"type": "string", "pattern": places.MODE_PATTERN})]
Port = Annotated[int, Scalar(places.parse_port, {"type": "integer", "minimum": 1, "maximum": 65535})]
Hostname = Annotated[str, Scalar(places.parse_hostname, TEXT)]
Cidr = Annotated[Network, Scalar(places.parse_cidr, CIDR)]
Note = Annotated[str, Scalar(values.parse_note, {"type": "string", "minLength": 1, "maxLength": 200})]
Until = Annotated[
    datetime,
    Scalar(values.parse_until, {"type": "string", "examples": ["2027-01-31", "2027-01-31T17:00:00Z"]}),
]
Account = Annotated[
    str,
    Scalar(
        values.parse_account,
        {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": values.ACCOUNT_PATTERN}]},
    ),
]
ProxyCidr = Annotated[Network, Scalar(places.parse_proxy_cidr, CIDR)]
Header = Annotated[
    str,
    Scalar(
        places.parse_header,
        {
            "type": "string",
            "pattern": places.HEADER_PATTERN,
            "examples": ["x-forwarded-for", "forwarded", "cf-connecting-ip", "true-client-ip"],
        },
    ),
]
ListName = Annotated[
    str, Scalar(values.parse_list_name, {"type": "string", "pattern": values.LIST_NAME_PATTERN}, is_key=True)
]
Reference = Annotated[str, Scalar(values.parse_reference, TEXT)]
InstanceName = Annotated[
    str,
    Scalar(
        values.parse_instance_name, {"type": "string", "pattern": values.INSTANCE_NAME_PATTERN}, is_key=True
    ),
]
Notebook = Annotated[
    str, Scalar(values.parse_notebook, {"type": "string", "pattern": values.NOTEBOOK_PATTERN})
]
Region = Annotated[str, Scalar(values.parse_region, {"type": "string", "pattern": values.REGION_PATTERN})]
Role = Annotated[str, Scalar(values.parse_role, {"type": "string", "pattern": values.ROLE_PATTERN})]
Endpoint = Annotated[str, Scalar(places.parse_endpoint, {"type": "string", "pattern": "^https?://"})]
NotebookOrigin = Annotated[
    str, Scalar(places.parse_notebook_origin, {"type": "string", "pattern": "^https?://"})
]
NotebookSuffix = Annotated[str, Scalar(places.parse_notebook_suffix, TEXT)]
NotebookEndpoint = Annotated[SocketAddress, Scalar(places.parse_notebook_endpoint, TEXT)]
HttpsProxy = Annotated[
    str, Scalar(places.parse_https_proxy, {"type": "string", "examples": ["http://proxy.internal:3128"]})
]
_NoProxyHost = Annotated[
    str, Scalar(places.parse_no_proxy, {"type": "string", "examples": [".internal", "*"]})
]
NoProxy = Annotated[str, _Joined(list[_NoProxyHost])]
TokenKey = Annotated[
    str, Scalar(values.parse_token_key, {"type": "string", "minLength": values.TOKEN_KEY_CHARACTERS})
]
AccessKeyId = Annotated[
    str,
    Scalar(
        values.parse_access_key_id, {"type": "string", "pattern": values.ACCESS_KEY_ID_PATTERN}, is_key=True
    ),
]
User = Annotated[str, Scalar(values.parse_user, {"type": "string", "pattern": values.USER_PATTERN})]
MountAt = Annotated[
    Mount,
    Scalar(
        places.parse_mount,
        {
            "oneOf": [
                {"const": "root", "description": "The whole listener is this instance."},
                *(
                    {
                        "type": "object",
                        "properties": {key: {"anyOf": [shape, dict(REFERENCE)], "description": description}},
                        "required": [key],
                        "additionalProperties": False,
                    }
                    for key, shape, description in (
                        ("host", TEXT, "A host name of its own: research.notebooks.internal"),
                        ("port", {"type": "integer"}, "A port of its own; needs a listener with that port."),
                        (
                            "path",
                            {"type": "string", "pattern": "^/"},
                            "A path under the hostname: /research/",
                        ),
                    )
                ),
            ]
        },
    ),
]

Alias = Annotated[
    Mount,
    Scalar(
        places.parse_alias,
        {
            "oneOf": [
                {"type": "string", "pattern": values.INSTANCE_NAME_PATTERN, "description": "A former name."},
                *(
                    {
                        "type": "object",
                        "properties": {key: shape},
                        "required": [key],
                        "additionalProperties": False,
                    }
                    for key, shape in (("host", TEXT), ("path", {"type": "string", "pattern": "^/"}))
                ),
            ]
        },
    ),
]
