"""The OpenAPI 3.1 description of the JSON API: plain data, served at `/api/gateway/v1/openapi.json`.

The rule: every answer that the API gives is in here, and `tests/server/api/test_openapi.py` has a stranger look for one
that is not. It must not know how the answers come about.
"""

from __future__ import annotations

from typing import Any, Final

from proxy import __version__
from proxy.lifecycle.awake import MOST_AWAKE_HOURS

BASE: Final = "/api/gateway/v1"
SESSION_SECONDS_MIN: Final = 1800
SESSION_SECONDS_MAX: Final = 43200
SESSION_SECONDS_DEFAULT: Final = 43200
"""As `SessionExpirationDurationInSeconds` of CreatePresignedNotebookInstanceUrl (API reference)."""
NAME_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

_Data = dict[str, Any]

_REFUSALS: Final = {
    400: "The request is malformed (`BAD_REQUEST`), or holds what is not asked for (`VALIDATION_ERROR`).",
    403: "The policy denies it (`ACCESS_DENIED`), or another site's page sent it (`ORIGIN_REFUSED`).",
    404: "There is no such thing for this caller (`NOT_FOUND`), or SageMaker does not know it (`INSTANCE_NOT_FOUND`).",
    405: "Not with this method (`METHOD_NOT_ALLOWED`); `Allow` has those that there are.",
    409: "The instance's state does not allow it (`WRONG_STATE`), or another gateway decides it (`NOT_THE_STOPPER`).",
    413: "The body is too large (`BODY_TOO_LARGE`).",
    415: "The body is not `application/json` (`MEDIA_TYPE_REFUSED`).",
    502: "Somebody has to mend it: the gateway's role lacks a permission (`PERMISSION_MISSING`).",
    503: "Not now (`THROTTLED`, `CONTROL_PLANE_TIMEOUT`, `CONTROL_PLANE_FAILED`, `LIMIT_REACHED`, `DRAINING` …); "
    "`Retry-After` says when.",
}
_READING: Final = (400, 403, 404, 405)
_ACTING: Final = (400, 403, 404, 405, 409, 413, 415, 502, 503)
_PROMISING: Final = (400, 403, 404, 405, 409, 413, 415, 503)
_GIVING: Final = (400, 403, 404, 405, 413, 415)


def _ref(name: str) -> _Data:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: _Data, *, closed: bool = True) -> _Data:
    """All of the `properties` are always there."""
    shape: _Data = {"type": "object", "properties": properties, "required": list(properties)}
    return shape | ({"additionalProperties": False} if closed else {})


def _nullable(kind: str, description: str, **more: Any) -> _Data:
    return {"type": [kind, "null"], "description": description, **more}


def _json(schema: _Data) -> _Data:
    return {"application/json": {"schema": schema}}


def _operation(
    operation_id: str,
    summary: str,
    *,
    answer: _Data,
    refusals: tuple[int, ...],
    status: int = 200,
    parameters: tuple[_Data, ...] = (),
    body: _Data | None = None,
) -> _Data:
    envelope = _object({"success": {"const": True}, "data": answer})
    described: _Data = {
        "operationId": operation_id,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            str(status): {"description": "Done.", "content": _json(envelope)},
            **{
                str(code): {"description": _REFUSALS[code], "content": _json(_ref("Refusal"))}
                for code in refusals
            },
        },
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": _json(body)}
    return described


def _schemas() -> _Data:
    instant = "As RFC 3339 has it, in UTC."
    return {
        "Refusal": _object(
            {
                "success": {"const": False},
                "error": _object(
                    {
                        "code": {"type": "string", "description": "Stable; for programs."},
                        "message": {"type": "string", "description": "For people."},
                        "request_id": {"type": "string", "description": "For whoever runs the gateway."},
                    },
                    closed=False,
                ),
            },
            closed=False,
        ),
        "Instance": _object(
            {
                "name": {"type": "string", "pattern": NAME_PATTERN},
                "url": {"type": "string", "description": "Where it is; ends in a slash."},
                "status": _nullable(
                    "string",
                    "SageMaker's word, such as `InService`. null: not known, or not for this caller.",
                ),
                "instance_type": _nullable("string", "Such as `ml.t3.medium`."),
                "volume_size_gb": _nullable("integer", "Of its volume.", minimum=0),
                "modified_at": _nullable("string", f"When its state last changed. {instant}"),
                "failure_reason": _nullable(
                    "string", "SageMaker's reason for `Failed`, without the account's ids and addresses."
                ),
                "problem": _nullable("string", "Why its state is not known."),
                "open_websockets": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Through this gateway: one for each kernel or terminal that a page shows.",
                },
                "may_start": {"type": "boolean", "description": "It could be started, by this caller."},
                "may_stop": {"type": "boolean", "description": "It could be stopped, by this caller."},
                "starting": {
                    "description": "How far its start has come; null unless it is starting.",
                    "anyOf": [
                        {"type": "null"},
                        _object(
                            {
                                "waited_seconds": {"type": "integer", "minimum": 0},
                                "usual_seconds": _nullable("integer", "The median of those seen.", minimum=0),
                            }
                        ),
                    ],
                },
            }
        ),
        "Link": _object(
            {
                "url": {"type": "string", "description": "Open it in a browser."},
                "expires_at": _nullable("string", f"When it stops working; null: never. {instant}"),
            }
        ),
        "Awake": _object(
            {"kept_awake_until": _nullable("string", f"null: it is stopped as soon as it is idle. {instant}")}
        ),
        "Explanation": _object(
            {
                "client_address": _nullable("string", "The caller's, as the policy sees it."),
                "found_in": {
                    "type": "string",
                    "description": "`peer`, or the field that a trusted proxy sent.",
                },
                "instances": {
                    "type": "array",
                    "items": _object(
                        {
                            "name": {"type": "string"},
                            "decisions": {
                                "type": "array",
                                "items": _object(
                                    {
                                        "action": {"type": "string"},
                                        "allowed": {"type": "boolean"},
                                        "sids": {"type": "array", "items": {"type": "string"}},
                                    }
                                ),
                            },
                        }
                    ),
                },
            }
        ),
    }


def document() -> _Data:
    """The whole description."""
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "The gateway's name of an instance.",
        "schema": {"type": "string", "pattern": NAME_PATTERN},
    }
    instance, nothing = _ref("Instance"), {"type": "object", "additionalProperties": False}
    session = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "session_seconds": {
                "type": "integer",
                "minimum": SESSION_SECONDS_MIN,
                "maximum": SESSION_SECONDS_MAX,
                "default": SESSION_SECONDS_DEFAULT,
                "description": "How long the session lasts that the address buys, where it buys one.",
            }
        },
    }
    hours = {
        "type": "object",
        "additionalProperties": False,
        "required": ["hours"],
        "properties": {
            "hours": {
                "type": "number",
                "minimum": 0,
                "maximum": MOST_AWAKE_HOURS,
                "description": "0: no longer.",
            }
        },
    }
    asked = (
        {
            "name": "ip",
            "in": "query",
            "description": "An address; only the caller's own is explained.",
            "schema": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        },
        {
            "name": "instance",
            "in": "query",
            "description": "One instance alone.",
            "schema": {"type": "string", "pattern": NAME_PATTERN},
        },
    )
    listing = _object({"instances": {"type": "array", "items": instance}})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nbgate",
            "version": __version__,
            "description": "The notebook instances behind this gateway that the caller may reach. Who that is, and "
            "what it may do, is decided by its address, as everywhere here; there is nothing to sign in to. A request "
            "that changes something says `Content-Type: application/json`, and is refused from other sites' pages.",
        },
        "servers": [{"url": BASE}],
        "paths": {
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": "This description",
                    "responses": {
                        "200": {"description": "Done.", "content": _json({"type": "object"})},
                        **{
                            str(code): {"description": _REFUSALS[code], "content": _json(_ref("Refusal"))}
                            for code in (400, 403, 405)
                        },
                    },
                }
            },
            "/instances": {
                "get": _operation(
                    "listInstances", "What this caller may reach", answer=listing, refusals=(400, 403, 405)
                )
            },
            "/instances/{name}": {
                "get": _operation(
                    "getInstance", "One instance", answer=instance, refusals=_READING, parameters=(name,)
                )
            },
            "/instances/{name}/url": {
                "post": _operation(
                    "createUrl",
                    "An address to open it at",
                    answer=_ref("Link"),
                    refusals=_GIVING,
                    parameters=(name,),
                    body=session,
                )
            },
            "/instances/{name}/start": {
                "post": _operation(
                    "startInstance",
                    "Start it (SageMaker's StartNotebookInstance)",
                    answer=instance,
                    status=202,
                    refusals=_ACTING,
                    parameters=(name,),
                    body=nothing,
                )
            },
            "/instances/{name}/stop": {
                "post": _operation(
                    "stopInstance",
                    "Stop it (SageMaker's StopNotebookInstance)",
                    answer=instance,
                    status=202,
                    refusals=_ACTING,
                    parameters=(name,),
                    body=nothing,
                )
            },
            "/instances/{name}/awake": {
                "post": _operation(
                    "keepAwake",
                    "Do not stop it for some hours, although nobody uses it; the last word counts",
                    answer=_ref("Awake"),
                    refusals=_PROMISING,
                    parameters=(name,),
                    body=hours,
                )
            },
            "/explain": {
                "get": _operation(
                    "explain",
                    "What the policy says of the caller's own address",
                    answer=_ref("Explanation"),
                    refusals=_READING,
                    parameters=asked,
                )
            },
        },
        "components": {"schemas": _schemas()},
    }
