"""Everything in `proxy` that reads text which others wrote, with the worst inputs that could be thought of for each.

The rule: each `re` pattern and each module that meets a caller's, a notebook's or AWS's text stands here, or in
`cost.others` with the reason why not; `test_cost.py` reads the sources and insists. A family is a name and a function
from a size in bytes to an input of about that size; `most` is what can come at once, after all limits.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.admission.caller import Inbound
from proxy.aws import botocore_errors, client, exchange, hosts, probe, probe_questions
from proxy.aws.control_plane import InstanceDescription
from proxy.aws.cookies import STEERING, Cookies, parse_set_cookies
from proxy.aws.jupyter_marks import is_from_jupyter
from proxy.aws.sessions import UpstreamSession
from proxy.aws.signed_out import shape_of
from proxy.aws.status_answer import BODY_BYTES, Asked, meaning_of
from proxy.client_address.networks import NetworkSet, parse_network, read_address
from proxy.client_address.proxy_protocol import Prelude
from proxy.client_address.resolve import (
    ForwardingHeader,
    HopCount,
    SingleHeader,
    Strategy,
    TrustedProxies,
    forwarded_scheme,
    resolve,
)
from proxy.config.load import load
from proxy.dataplane.answer.rewriting import PIECE_BYTES, wants_plain
from proxy.dataplane.budgets import Claim, Place
from proxy.dataplane.buffers import ReadMemory
from proxy.dataplane.caller.reader import Reader as CallerReader
from proxy.dataplane.caller.reader import ReadingLimits
from proxy.dataplane.caller.reception import Reception
from proxy.dataplane.notebook.connection import UpstreamConnection
from proxy.dataplane.plane import REQUEST_FIELDS as FIELDS
from proxy.dataplane.websocket import closes
from proxy.dataplane.websocket.handshake import handshake_fault
from proxy.identity.sigv4 import AccessKey, Signatures, SignedRequest
from proxy.identity.tokens import TokenKind, TokenSigner
from proxy.lifecycle.evidence import Bodies, read_state
from proxy.lifecycle.opening import PageVisit, is_opened
from proxy.lifecycle.use import counted_messages, is_use
from proxy.routing import pages
from proxy.routing.authority import origin_form, parse_authority, same_origin
from proxy.routing.jupyters import is_jupyters_own
from proxy.routing.mounts import Mount
from proxy.routing.pages import Rewriting
from proxy.routing.referrers import referring_path
from proxy.routing.router import Route, Router
from proxy.routing.workers import may_be_worker, worker_scope
from proxy.server import compose
from proxy.server.api import json_api
from proxy.server.own_pages import OwnPages
from proxy.server.pages.error_pages import public_reason
from proxy.server.pages.forms import FormTokens, require_same_origin
from proxy.server.sagemaker import instance_list as sagemaker_list
from proxy.tasks import Tasks
from proxy.telemetry.access_log import (
    MAX_PATH_CHARACTERS,
    AccessLog,
    LogStyle,
    RequestRecord,
    loggable_path,
    loggable_text,
    printable,
)
from proxy.telemetry.audit import AuditLog
from proxy.telemetry.events import Threshold, open_events
from proxy.telemetry.incoming_ids import incoming_ids
from proxy.telemetry.redact import redact, scrub
from proxy.upstream import Origin
from proxy.wire import aws_json, codings, egress, fields, heads
from proxy.wire.body import CHUNKS_A_FEED, ChunkedBody, parse_content_length
from proxy.wire.browsers import is_unattended, who_asks
from proxy.wire.cookies import (
    is_our_cookie,
    parse_cookie_pairs,
    sanitize_set_cookie,
    set_cookie_name,
    set_cookie_value,
    strip_and_overlay,
)
from proxy.wire.credentials import (
    authorization,
    session_tokens,
    subprotocols,
    take_out,
    token_request_fields,
    without_credentials,
)
from proxy.wire.frames import FrameTracker, MessageOpenings, is_only_control
from proxy.wire.heads import (
    OutgoingRequest,
    RequestFields,
    Translation,
    read_response,
    request_head,
    response_head,
)
from proxy.wire.reach import FAR_REACHING_VALUES, clear_of_own_origin
from proxy.wire.request_heads import HeadBounds, read_request, request_field
from tests.cost.measures import Make, Read
from tests.harness.clocks import FakeClock
from tests.harness.faulty import collecting
from tests.harness.signing import Signing

KIB: Final = 1024
HEAD: Final = 64 * KIB
"""Of a whole head; `limits.request_head` and `limits.response_head`."""
FIELD: Final = 16 * KIB
"""Of one field, or one target, of a request. It may be nearly all of the head; but above 30,000 bytes CPython searches
in another way, which costs several times as much for each byte, so that sizes on both sides tell nothing of growth."""
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
HERE: Final = ip_address("203.0.113.9")
ELSEWHERE: Final = ip_address("198.51.100.9")
NOTEBOOK: Final = "nb-x1.notebook.eu-west-1.sagemaker.aws"
ORIGIN: Final = Origin("https", NOTEBOOK, 443)


@dataclass(frozen=True)
class Reader:
    """One row. `modules` (below `proxy.`) and `patterns` (`module:NAME`, or `module:function` for a pattern that has no
    name) are what it covers.
    """

    name: str
    modules: tuple[str, ...]
    read: Read
    families: Mapping[str, Make]
    patterns: tuple[str, ...] = ()
    most: int = FIELD


def of(unit: Any, *, before: Any = None, after: Any = None) -> Make:
    """`unit` again and again, between `before` and `after`."""

    def make(size: int) -> Any:
        text = unit * -(-size // len(unit))
        return (before or unit[:0]) + text + (after or unit[:0])

    return make


def mapped(make: Make, change: Callable[[Any], Any]) -> Make:
    return lambda size: change(make(size))


def latin(families: Mapping[str, Make]) -> dict[str, Make]:
    """The same families as text."""
    return {name: mapped(make, lambda data: data.decode("latin-1")) for name, make in families.items()}


def headers(pairs: Any) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


# -- logs ---------------------------------------------------------------------------------------------------

SECRETS: Final[dict[str, Make]] = {
    "schemes": of("a.", before="oken"),
    "half schemes": of("a.a", after="://" + "b" * 100),
    "separators": of("://a"),
    "users": of("://a@"),
    "no user": of("a" * 50, before="://"),
    "half a JWT": of("eyJ-"),
    "JWTs without an end": of("eyJaaaaaaaa."),
    "JWTs": of("eyJaaaaaaaa.a "),
    "token parameters": of("token="),
    "empty tokens": of("token=/"),
    "encoded tokens": of("authToken%253D"),
    "cookie and blanks": of(" ", before="cookie"),
    "cookies and blanks": of("cookie  "),
    "cookie and lines": of("\n", before="cookie:"),
    "authorizations": of("authorization:\n"),
    "set-cookies": of("set-cookie='"),
    "percents": of("%25"),
    "a deep encoding": of("25", before="%", after="3D"),
    "a deep encoding of nothing": of("25", before="token%"),
    "encodings of encodings": of("%%32%35"),
    "encoded parameters": of("%74oken%3D%2F"),
    "encoded tokens of ours": of("%6ebgate1_%26"),
    "tokens of ours": of("nbgate1_"),
    "one token of ours": of("a.", before="nbgate1_"),
    "digits": of("1", before="nbgate"),
    "mappings": of("'token' : '"),
    "a mapping and blanks": of(" ", before="'token'"),
    "slashes": of("/"),
}


PATHS: Final = {name: mapped(make, lambda text: f"/oken{text}") for name, make in SECRETS.items()}
FEW: Final = ("schemes", "half a JWT", "users", "encoded tokens", "percents")
"""Families for those who hand a text to redaction, and do little else with it."""


class _Lines:
    """Stands in for a sink."""

    def add(self, line: str) -> None: ...

    put = add


def _access_log(target: str) -> None:
    log = AccessLog(_Lines(), FakeClock(), style=LogStyle.JSON, finished=Finished())  # type: ignore[arg-type]
    log.write(
        RequestRecord(
            "r", "203.0.113.9", "203.0.113.9", "", "GET", target, target, 200, 0, 0, 0.0, allowed=False
        )
    )


class Finished(dict[Any, int]):
    def __missing__(self, key: Any) -> int:
        return 0


def _audit_log(text: str) -> None:
    for style in LogStyle:
        AuditLog(_Lines(), FakeClock(), style=style).denied(  # type: ignore[arg-type]
            request_id="r",
            client=None,
            peer=None,
            action="a",
            source="peer",
            problem=text[:300],
            instance="",
            sids=(),
            reason=text[:300],
            method="GET",
            target=text,
            host=text,
            user=text[:300],
        )


def _event(text: str) -> None:
    for style in LogStyle:
        log = open_events(_Lines(), FakeClock(), style=style, threshold=Threshold("info"))  # type: ignore[arg-type]
        log.warning(text, url=text, names=[text], headers={text: text}, exception=text)


LOGS: Final = (
    Reader(
        "redaction of a text",
        ("telemetry.redact",),
        scrub,
        SECRETS,
        (
            "telemetry.redact:_OURS",
            "telemetry.redact:_PARAMETER",
            "telemetry.redact:_ENCODED",
            "telemetry.redact:_ENDS",
            "telemetry.redact:_FIELD",
            "telemetry.redact:_JWT",
            "telemetry.redact:_USERINFO",
        ),
    ),
    Reader(
        "redaction of fields",
        ("telemetry.redact",),
        redact,
        {
            "names": lambda size: {f"tokenless{number}": "eyJ" for number in range(size // 16)},
            "a name": lambda size: {"toke" * (size // 4): "x"},
            "a list": lambda size: {"a": ["eyJ-"] * (size // 4)},
            "bytes": lambda size: {"a": b"\xff" * size},
        },
        ("telemetry.redact:_SECRET_NAME",),
    ),
    Reader(
        "path of a log line",
        ("telemetry.access_log",),
        loggable_path,
        {
            **PATHS,
            "absolute": of("a", before="http://x"),
            "no ASCII": of("\udce9", before="/oken"),
            "questions": of("?#", before="/"),
        },
        most=MAX_PATH_CHARACTERS,
    ),
    Reader(
        "detail of a log line",
        ("telemetry.access_log",),
        loggable_text,
        SECRETS,
    ),
    Reader(
        "ids of proxies",
        ("telemetry.incoming_ids",),
        lambda text: incoming_ids(CIMultiDict({"X-Request-Id": text, "X-Amzn-Trace-Id": text})),
        {
            "an id": of("a"),
            "members": of("Root=1;"),
            "ends wrongly": of("a", after=" "),
            **SECRETS,
        },
        ("telemetry.incoming_ids:_ID",),
    ),
    Reader(
        "access record",
        ("telemetry.access_log", "dataplane.caller.records"),
        _access_log,
        {name: PATHS[name] for name in FEW},
    ),
    Reader(
        "audit record",
        ("telemetry.audit",),
        _audit_log,
        {name: PATHS[name] for name in FEW} | {"controls": of("\x1b")},
    ),
    Reader(
        "event",
        ("telemetry.events",),
        _event,
        {name: SECRETS[name] for name in FEW} | {"lines": of("a\n"), "controls": of("\x1b[2J")},
    ),
    Reader(
        "text for a terminal", ("telemetry.access_log",), printable, {"controls": of("\x1b"), "text": of("a")}
    ),
)

# -- heads of requests --------------------------------------------------------------------------------------

TRANSLATION: Final = Translation(
    upstream_authority=NOTEBOOK.encode(),
    upstream_origin=b"https://" + NOTEBOOK.encode(),
    own_origin=b"https://notebooks.test",
    prefix=b"/research",
    cookies=b"auth=secret; sid=hidden",
    withheld_cookies=frozenset(
        {b"auth", b"sid", *(b"__Host-nbgate-session-%d" % port for port in range(8000, 8100))}
    ),
    forwarding=b"X-Forwarded-For: 203.0.113.9\r\n",
)

TARGETS: Final[dict[str, Make]] = {
    "slashes": of("/"),
    "a long path": of("a", before="/research/"),
    "dots": of("../", before="/research/"),
    "encoded": of("%2e%2f", before="/research/"),
    "parameters": of("a&", before="/?"),
    "tokens": of("token=nbgate1_&", before="/research/?"),
    "links": of("authToken=x&", before="/research/?"),
    "encoded parameters": of("%74oken=%6ebgate1_&", before="/?"),
    "half encoded": of("%2", before="/?oken"),
    "equals": of("=", before="/?token"),
    "pluses": of("+", before="/?token="),
    "digits": of("0", before="/?token=nbgate"),
    "absolute": of("/", before="http://notebooks.test/"),
    "an authority": of("a.", before="http://"),
    "no ASCII": of("\udce9", before="/"),
    "views": of("view=lab&", before="/?"),
}
"""Request targets."""

HOSTS: Final[dict[str, Make]] = {
    "letters": of("a"),
    "labels": of("a."),
    "long labels": of("a" * 62 + "."),
    "dashes": of("a-"),
    "underscores": of("_"),
    "colons": of(":", before="["),
    "digits": of("1", before="a:"),
    "dots": of("."),
    "at": of("a@"),
    "no ASCII": of("é"),
}

COOKIES: Final[dict[str, Make]] = {
    "pairs": of(b"a=b; "),
    "semicolons": of(b";"),
    "equals": of(b"="),
    "commas": of(b","),
    "blanks": of(b" "),
    "quotes": of(b'"', before=b"a="),
    "a withheld name": of(b"auth=x; "),
    "a withheld name in between": of(b",auth", after=b" sid=1"),
    "a withheld name and blanks": of(b" ", before=b"auth"),
    "half a withheld name": of(b" __Host-nbgate-session-80", after=b"; sid"),
    "sessions": of(b"__Host-nbgate-session=x;"),
    "a long value": of(b"a", before=b"a="),
}
"""Values of `Cookie`."""


_NUMBERS: Final = itertools.count(1_000_000)
"""For names that no memory holds."""


def _lines_of(name: bytes, make: Make, *, count: int = 100) -> Make:
    """That many fields, together of the size."""
    return lambda size: [(name, make(max(1, size // count)))] * count


def _fields(pairs: list[tuple[bytes, bytes]]) -> bytes:
    head = OutgoingRequest("GET", b"/", RequestFields([request_field(*pair) for pair in pairs]))
    # One that has not seen them: short cookies are remembered, long ones are not.
    return request_head(head, replace(TRANSLATION))


REQUEST_FIELDS: Final[dict[str, Make]] = {
    **{f"Cookie: {name}": _lines_of(b"Cookie", make) for name, make in COOKIES.items()},
    "one long Cookie": _lines_of(b"Cookie", of(b"auth=x; "), count=1),
    "Connection: names": _lines_of(b"Connection", of(b"a,")),
    "Connection: different names": lambda size: [
        (b"Connection", b",".join(b"%d" % i for i in range(size // 6)))
    ],
    "Connection fields": lambda size: [(b"Connection", b"x")] * (size // 11),
    "Cookie fields": lambda size: [(b"Cookie", b"x")] * (size // 7),
    "fields": lambda size: [(b"X", b"y")] * (size // 2),
    "different fields": lambda size: [(b"X-%d" % next(_NUMBERS), b"y") for _ in range(size // 12)],
    "look-alikes": lambda size: [(b"x_.-" * 8, b"y")] * (size // 33),
    "a long name": lambda size: [(b"X_" * (size // 2), b"y")],
    "Referer": _lines_of(b"Referer", of(b"/", before=b"https://notebooks.test/research")),
    "Origin": _lines_of(b"Origin", of(b"A", before=b"https://notebooks.test")),
    "Accept-Encoding": _lines_of(b"Accept-Encoding", of(b"gzip,")),
}


class _Protocol(BaseProtocol):
    def __init__(self) -> None:
        super().__init__(_LOOP)


_LOOP: Final = asyncio.new_event_loop()
"""Never run: parsers and connections only want to have one."""


class _Transport(asyncio.Transport):
    """Takes everything, and sends nothing."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("198.51.100.1", 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


@cache
def _server() -> Callable[[], Any]:
    """Makes connections of a gateway that lets their caller in nowhere."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "nbgate.yaml"
        file.write_text(
            """
hostname: [notebooks.test]
listeners: [{bind: "127.0.0.1:0"}]
aws: {region: eu-west-1}
allowlists: {here: [203.0.113.0/24]}
policy: {allow: [here]}
instances: {research: {notebook: nb, mount: root}}
limits: {request_head: 64KiB}
"""
        )
        settings = load(file, environ={})

    async def make() -> Callable[[], Any]:
        plane = compose.data_plane(
            settings,
            door=compose.gateway(settings, audit=lambda inbound, refusal: None),
            sessions={},
            clock=FakeClock(),
            new_id=lambda: "r",
            tasks=Tasks(lambda name, error: None),
            log=lambda record: None,
            faults=collecting([]),
        )
        make_connection = Reception(plane, settings.listeners[0]).connection

        def connect() -> Any:
            place = plane.budgets.take(ELSEWHERE, Claim.TRUSTED)
            assert isinstance(place, Place)
            return make_connection(place, math.inf)

        return connect

    return _LOOP.run_until_complete(make())


def _called(pieces: int) -> Read:
    """A connection on which that comes in pieces of that size, and the loop's turns that it takes."""

    async def call(connection: Any, data: bytes) -> None:
        connection.connection_made(_Transport())
        for at in range(0, len(data), pieces):
            connection.data_received(data[at : at + pieces])
        for _ in range(data.count(b"HTTP/1.1\r\n")):
            await asyncio.sleep(0)
        connection.connection_lost(None)

    return lambda data: _LOOP.run_until_complete(call(_server()(), data))


REQUEST: Final = b"GET / HTTP/1.1\r\nHost: notebooks.test\r\n"


def _head(pairs: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    return b"GET / HTTP/1.1\r\nHost: notebooks.test\r\n" + lines + b"\r\n"


BOUNDS: Final = HeadBounds(HEAD + KIB, FIELDS)


def _read_request(head: bytes) -> object:
    return read_request(head, BOUNDS)


def _bounded(families: Mapping[str, Make], count: int) -> dict[str, Make]:
    """No more fields than are read: beyond, a head is refused at once."""
    return {name: mapped(make, lambda pairs: pairs[:count]) for name, make in families.items()}


KNOWN: Final = CallerReader(ReadingLimits(BOUNDS), is_proxys=True)
KNOWN.read(b"GET / HTTP/1.1\r\nHost: 1\r\n\r\n")


def _router() -> Router:
    mounts = {f"nb{number}": Mount.at_path(f"/team/nb{number}/") for number in range(50)}
    return Router(["notebooks.test"], mounts | {"deep": Mount.at_path("/a/b/c/d/e/f/g/")})


ROUTER: Final = _router()


def _route(target: str) -> object:
    return ROUTER.match(
        host="notebooks.test", listener_port=443, target=origin_form(target, "notebooks.test")
    )


def _wants_plain(value: str) -> bool:
    route = Route("research", Mount.at_path("/research/"), "/lab", "/research")
    return wants_plain("GET", route, headers([("Accept", value)] * 2))


def _asked(target: str = "/research/api/kernels", **fields_of: str) -> object:
    inbound = _inbound(**fields_of)
    return who_asks(inbound.headers, host="notebooks.test", target=target), is_unattended(inbound.headers)


def _inbound(**fields_of: str) -> Inbound:
    pairs = [(name.replace("_", "-"), value) for name, value in fields_of.items()]
    return Inbound(HERE, headers(pairs), "notebooks.test", "/", "GET", 443, "https", "r")


CALLER: Final = SimpleNamespace(scheme="https", authority=parse_authority("notebooks.test"))

OWN_PAGES: Final = OwnPages()
for _path in ("/", "/.nbgate/", "/.nbgate/start/{name}", "/api/gateway/v1/instances/{name}/url"):
    OWN_PAGES.add("GET", _path, lambda visit: None)  # type: ignore[arg-type, return-value]


def _own_page(path: str) -> object:
    visit: Any = SimpleNamespace(path=path, inbound=SimpleNamespace(method="GET"))
    return OWN_PAGES._find(visit)


ORIGINS: Final = {name: mapped(make, lambda host: f"https://{host}") for name, make in HOSTS.items()} | {
    "slashes": of("/", before="https:"),
    "no scheme": of("https"),
}
ACCEPTS: Final[dict[str, Make]] = {
    "ranges": of("text/html,"),
    "parameters": of(";a", before="text/html"),
    "weights": of(";q=1", before="text/html"),
    "digits": of("1", before="text/html;q=0."),
    "commas": of(","),
    "blanks": of(" "),
}

REQUESTS: Final = (
    Reader(
        "a request's head",
        ("wire.request_heads",),
        _read_request,
        {
            **{name: mapped(make, _head) for name, make in _bounded(REQUEST_FIELDS, FIELDS - 1).items()},
            "blanks before a value": lambda size: b"GET / HTTP/1.1\r\nHost:" + b" " * size + b"\0\r\n\r\n",
            "options": mapped(_lines_of(b"Connection", of(b"a,")), _head),
            "no target": lambda size: b"GET " + b" " * size + b"\r\n\r\n",
            "Transfer-Encoding": mapped(_lines_of(b"Transfer-Encoding", of(b"chunked,")), _head),
            "Content-Length": mapped(_lines_of(b"Content-Length", of(b"1")), _head),
            "Upgrade": mapped(_lines_of(b"Upgrade", of(b"websocket,")), _head),
            "a long target": lambda size: b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        },
        (
            "wire.request_heads:_REQUEST_LINE",
            "wire.request_heads:_ASKED",
            "wire.request_heads:_TOKEN",
            "wire.request_heads:_VALUE",
            "wire.request_heads:_DIGITS",
        ),
        most=HEAD,
    ),
    *(
        Reader(
            f"a caller's connection in pieces of {pieces}",
            (
                "dataplane.caller.connection",
                "dataplane.caller.admitting",
                "dataplane.caller.request",
                "gateway",
            ),
            _called(pieces),
            {
                "a target": of(b"a", before=b"GET /"),
                "a field": of(b"a", before=REQUEST + b"X: "),
                "fields": of(b"X:\r\n", before=REQUEST),
                "empty lines": of(b"\r\n"),
                "half empty lines": of(b"\n"),
                "requests": of(REQUEST + b"\r\n"),
                "requests and empty lines": of(REQUEST + b"\r\n\r\n\r\n"),
                "requests with a body": of(REQUEST + b"Content-Length: 1\r\n\r\nx"),
                "requests with chunks": of(
                    REQUEST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                ),
                "chunks": of(b"1\r\nx\r\n", before=REQUEST + b"Transfer-Encoding: chunked\r\n\r\n"),
                "expectations": of(REQUEST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
            },
            most=HEAD,
        )
        for pieces in (1, HEAD + KIB)
    ),
    Reader(
        "a head that came before",
        ("dataplane.caller.reader",),
        KNOWN.read,
        {
            "a target": of(b"a", before=b"GET /", after=b" HTTP/1.1\r\nHost: 1\r\n\r\n"),
            "no target": of(b" ", before=b"GET /", after=b"\r\nHost: 1\r\n\r\n"),
            "a method": of(b"GET", after=b"\r\nHost: 1\r\n\r\n"),
            "a number": of(b"a", before=b"GET / HTTP/1.1\r\nHost: 1\r\nX-Request-Id:", after=b"\r\n\r\n"),
            "numbers": of(b"CF-Ray:\r\n", before=b"GET / HTTP/1.1\r\nHost: 1\r\n", after=b"\r\n"),
            "beginnings of numbers": of(b"\nCF-Ray:", before=b"GET / HTTP/1.1\r\n", after=b"\r\n\r\n"),
            "line ends": of(b"\n", before=b"GET / HTTP/1.1\r\n", after=b"\r\n\r\n"),
        },
        ("dataplane.caller.reader:_PLAIN_REQUEST_LINE", "wire.request_heads:_NUMBER_LINE"),
        most=16 * KIB,
    ),
    Reader(
        "a request's fields",
        ("wire.heads", "wire.fields"),
        _fields,
        _bounded(REQUEST_FIELDS, FIELDS),
        most=HEAD,
    ),
    Reader("a request's fields, of any number", ("wire.heads", "wire.fields"), _fields, REQUEST_FIELDS),
    Reader(
        "a name that may be a credential's",
        ("wire.fields",),
        fields.may_be_secret,
        {
            "beginnings": of(b"websocket-protoco"),
            "letters": of(b"a"),
            "others": of(b"aucocsidpaseto"),
        },
        ("wire.fields:_SECRET_NAMES",),
    ),
    Reader(
        "tokens of Connection",
        ("wire.fields",),
        lambda value: (fields.nominated([value]), fields.has_token(value, b"x")),
        {
            "commas": of(b","),
            "names": of(b"ab,"),
            "blanks": of(b" "),
            "different names": lambda size: b",".join(b"%d" % number for number in range(size // 5)),
        },
    ),
    Reader(
        "names of fields",
        ("wire.fields",),
        fields.only_proxies_may_set,
        {
            "underscores": of(b"x_"),
            "forwarded": of(b"-", before=b"x-forwarded"),
        },
    ),
    Reader("pairs of Cookie", ("wire.cookies",), lambda value: parse_cookie_pairs([value]), COOKIES),
    Reader(
        "Cookie without what is withheld",
        ("wire.cookies",),
        lambda value: strip_and_overlay([value], drop=TRANSLATION.withheld_cookies, overlay=b"a=b"),
        COOKIES,
        ("wire.cookies:_names_pattern",),
    ),
    Reader(
        "sessions in Cookie",
        ("wire.credentials",),
        lambda value: session_tokens([value], "__Host-nbgate-session"),
        latin(COOKIES),
    ),
    Reader(
        "credentials in a target",
        ("wire.credentials",),
        take_out,
        TARGETS,
        ("wire.credentials:_OURS",),
    ),
    Reader(
        "an address that may tell credentials",
        ("wire.credentials",),
        lambda address: without_credentials(address.encode("utf-8", "surrogateescape")),
        {
            **TARGETS,
            **ORIGINS,
            "encoded": of("%25", before="/"),
            "ours": of("nbgate", before="/"),
            "a scheme": of("a+", after="oken%"),
        },
        ("wire.credentials:_TELLING", "wire.credentials:_ORIGIN"),
    ),
    Reader(
        "the page that asked",
        ("routing.referrers",),
        lambda referer: referring_path([referer], scheme="https", authority=CALLER.authority),
        {
            name: mapped(make, lambda target: f"https://notebooks.test{target}")
            for name, make in TARGETS.items()
        }
        | ORIGINS
        | {"fragments": of("#", before="https://notebooks.test/"), "colons": of("://")},
    ),
    Reader(
        "a cookie of a gateway's",
        ("wire.cookies",),
        is_our_cookie,
        {"prefixes": of(b"__a-"), "letters": of(b"a", before=b"__"), "a name": of(b"a", before=b"nbgate-")},
        ("wire.cookies:_IS_GATEWAYS",),
    ),
    Reader(
        "credentials in Authorization",
        ("wire.credentials",),
        lambda value: (
            authorization([value]),
            token_request_fields([(b"Authorization", value.encode())], xsrf="x"),
        ),
        {
            "blanks": of(" ", before="token"),
            "blanks before": of(" "),
            "a token": of("a", before="Bearer ", after=" b"),
            "digits": of("1", before="token nbgate"),
            "schemes": of("token "),
        },
        ("wire.credentials:_AUTHORIZATION",),
    ),
    Reader(
        "credentials among subprotocols",
        ("wire.credentials",),
        lambda value: (
            subprotocols([value]),
            token_request_fields([(b"Sec-WebSocket-Protocol", value.encode())], xsrf="x"),
        ),
        {
            "commas": of(","),
            "offers": of("v1.token.websocket.jupyter.org.,"),
            "tokens": of("v1.token.websocket.jupyter.org.nbgate2_a,"),
            "a token": of("%61", before="v1.token.websocket.jupyter.org.nbgate2_"),
        },
    ),
    Reader("Host", ("routing.authority",), parse_authority, HOSTS, ("routing.authority:_AUTHORITY",)),
    Reader(
        "Origin",
        ("routing.authority",),
        lambda value: same_origin(value, scheme="https", authority=CALLER.authority),
        ORIGINS,
        ("routing.authority:_ORIGIN",),
    ),
    Reader(
        "a target and its mount",
        ("routing.authority", "routing.router", "routing.mounts"),
        _route,
        TARGETS,
        ("routing.authority:_ABSOLUTE_FORM",),
    ),
    Reader(
        "a WebSocket handshake",
        ("dataplane.websocket.handshake", "wire.provenance"),
        lambda value: handshake_fault(
            _inbound(Sec_WebSocket_Key="x", Sec_WebSocket_Version="13", Origin=value),
            CALLER,  # type: ignore[arg-type]
            draining=False,
        ),
        ORIGINS,
    ),
    Reader(
        "the sender of a form",
        ("server.pages.forms",),
        lambda value: require_same_origin(
            headers([("Origin", value), ("Sec-Fetch-Site", "same-origin")]),
            CALLER,  # type: ignore[arg-type]
        ),
        ORIGINS,
    ),
    Reader(
        "a form's token",
        ("server.pages.forms",),
        lambda value: FormTokens(["k" * 32], own_key="", clock=FakeClock()).verify(
            value, address=None, instance="research", leads_to="nb", action="a"
        ),
        {"letters": of("A"), "equals": of("="), "odd": of("!"), "no ASCII": of("é")},
    ),
    Reader(
        "a form's fields",
        ("server.pages.portal",),
        lambda text: parse_qs(text, max_num_fields=16),
        {
            "ampersands": of("&"),
            "equals": of("="),
            "percents": of("%41", before="a="),
            "pluses": of("+", before="a="),
        },
        most=4 * KIB,
    ),
    Reader(
        "Accept",
        ("wire.browsers",),
        lambda value: _asked(Accept=value, Sec_Purpose=value, User_Agent=value),
        ACCEPTS,
    ),
    Reader(
        "who asks",
        ("wire.browsers",),
        lambda target: _asked(target, Referer=f"http://notebooks.test{target}"),
        {
            **TARGETS,
            "APIs": of("/api/"),
            "own APIs": of("/api/gateway/"),
            "labs": of("/lab/api"),
            "proxies": of("/proxy/", after="/api/"),
            "half an API": of("/api"),
        },
    ),
    Reader("Accept of a page to rewrite", ("dataplane.answer.rewriting",), _wants_plain, ACCEPTS),
    Reader(
        "who opens a page",
        ("lifecycle.opening",),
        lambda value: is_opened(PageVisit("GET", CIMultiDict({"Accept": value}))),
        ACCEPTS,
    ),
    Reader(
        "what is use",
        ("lifecycle.use", "dataplane.traffic"),
        lambda target: (
            *(is_use(method, target) for method in ("GET", "POST", "PUT")),
            counted_messages(target),
        ),
        {
            **TARGETS,
            "lab": of("/", before="/lab/tree"),
            "tree": of("/tree"),
            "git": of("/status", before="/git"),
            "git's remotes": of("/remote", before="/git"),
            "workspaces": of("/a", before="/lab/api/workspaces"),
            "documents": of("&type=file", before="/api/contents/a?content=0"),
            "ports": of("8", before="/proxy/"),
            "hosts": of("a", before="/proxy/"),
            "rooms": of("/a", before="/api/collaboration/room"),
            "classic": of("/tree", before="/nbclassic"),
            "voila": of("/render", before="/voila"),
            "terminals": of("a", before="/nbclassic/terminals/", after="/"),
            "awareness": of("globalAwareness", before="/api/collaboration/room/"),
        },
        ("lifecycle.use:_OPENED", "lifecycle.use:_BACKGROUND", "lifecycle.use:_COUNTED"),
    ),
    Reader(
        "a path of our own pages",
        ("server.own_pages",),
        _own_page,
        {name: mapped(make, lambda target: "/.nbgate" + target) for name, make in TARGETS.items()},
    ),
)

# -- addresses ----------------------------------------------------------------------------------------------

PROXIES: Final = NetworkSet([parse_network("203.0.113.0/24"), parse_network("2001:db8::/32")])

FORWARDED: Final[dict[str, Make]] = {
    "commas": of(","),
    "trusted hops": of("203.0.113.9,"),
    "blanks": of(" "),
    "tabs between": of("\t", before="203.0.113.8,", after="203.0.113.9"),
    "a long hop": of("1.", before="198.51.100.1,"),
    "colons": of(":", before="["),
    "for": of("for=203.0.113.9,"),
    "quotes": of('"'),
    "quoted commas": of(",", before='for="', after='"'),
    "an open quote": of(",", before='for="'),
    "backslashes": of("\\", before='for="', after='"'),
    "backslashes without a quote": of("\\", after='"'),
    "quoted pairs": of("\\a", before='for="'),
    "quotes and backslashes": of('\\"', before='"'),
    "parameters": of("a=b;"),
    "different parameters": lambda size: ";".join(f"a{number}=b" for number in range(size // 8)),
    "a word": of("a"),
    "words": of("a=a "),
    "semicolons": of(";"),
    "blanks in a pair": of(" ", before="for=203.0.113.9", after="x"),
    "quoted texts": of('for="a";', after='"'),
}


def _resolved(strategy: Strategy, name: str) -> Read:
    def read(value: str) -> object:
        fields_of = headers([(name, value)])
        return resolve(HERE, fields_of, strategy), forwarded_scheme(HERE, fields_of, strategy)

    return read


def _scheme(value: str) -> object:
    return forwarded_scheme(HERE, headers([("X-Forwarded-Proto", value)]), TrustedProxies(PROXIES))


def _prelude(received: bytes) -> None:
    prelude = Prelude()
    for at in range(len(received)):
        prelude.feed(received[at : at + 1])


_V2: Final = b"\r\n\r\n\0\r\nQUIT\n\x21\x11"

ADDRESSES: Final = (
    *(
        Reader(
            name,
            ("client_address.resolve", "client_address.forwarded"),
            _resolved(strategy, field_name),
            FORWARDED,
            patterns,
        )
        for name, strategy, field_name, patterns in (
            ("X-Forwarded-For", TrustedProxies(PROXIES), "x-forwarded-for", ()),
            (
                "Forwarded",
                TrustedProxies(PROXIES, ForwardingHeader.FORWARDED),
                "forwarded",
                (
                    "client_address.forwarded:_NODE",
                    "client_address.forwarded:_PAIR",
                    "client_address.forwarded:_ESCAPED",
                ),
            ),
            ("X-Forwarded-For, counted", HopCount(PROXIES, 100_000), "x-forwarded-for", ()),
            ("Forwarded, counted", HopCount(PROXIES, 100_000, ForwardingHeader.FORWARDED), "forwarded", ()),
            ("a header of one address", SingleHeader(PROXIES, "x-real-ip"), "x-real-ip", ()),
        )
    ),
    Reader("X-Forwarded-Proto", ("client_address.resolve",), _scheme, {**FORWARDED, "https": of("https,")}),
    Reader(
        "an address",
        ("client_address.networks",),
        read_address,
        {
            "digits": of("1"),
            "dots": of("1."),
            "colons": of(":"),
            "groups": of("1:"),
            "mapped": of("1.", before="::ffff:"),
            "zeros": of("0", before="::"),
            "no ASCII": of("é"),
            "nothing": of("\0"),
        },
    ),
    Reader(
        "a PROXY prelude, byte by byte",
        ("client_address.proxy_protocol",),
        _prelude,
        {
            "version 2": lambda size: _V2 + size.to_bytes(2, "big") + bytes(size),
            "extensions": lambda size: (
                _V2 + (12 + size // 3 * 3).to_bytes(2, "big") + bytes(12 + size // 3 * 3)
            ),
            "an unknown origin": of(b"a", before=b"PROXY UNKNOWN "),
            "addresses": of(b"1.", before=b"PROXY TCP4 "),
        },
        ("client_address.proxy_protocol:_V1_UNKNOWN", "client_address.proxy_protocol:_V1_TCP"),
        most=4 * KIB,
    ),
)

# -- credentials and the APIs -------------------------------------------------------------------------------

TOKENS: Final = TokenSigner(["k" * 32], own_key="", clock=FakeClock(), nonce=lambda: "n")
KEY: Final = AccessKey(Signing().key_id, Signing().secret, "alice")


def _token(text: str) -> object:
    return TOKENS.verify(TokenKind.SESSION, text, instance="research", leads_to="nb", address=HERE)


def _signatures() -> Signatures:
    return Signatures({KEY.id: KEY}, region="eu-west-1", clock=FakeClock())


def _signed(fields_of: list[tuple[str, str]]) -> object:
    request = SignedRequest("POST", "/", fields=fields_of, body=b"{}", source="203.0.113.9")
    signatures = _signatures()
    return signatures.knows(fields_of[-1][1]), signatures.verify(request, is_question=True)


def _authorized(make: Make) -> Make:
    """A request signed as ever, whose Authorization has these ends."""
    return lambda size: [*Signing().sign()[:-1], ("Authorization", make(size))]


_SCOPE: Final = f"{Signing().key_id}/20260101/eu-west-1/sagemaker/aws4_request"


def _claim(signed: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders={signed}, Signature={'0' * 64}"


JSON: Final[dict[str, Make]] = {
    "brackets": of(b"["),
    "braces": of(b'{"a":'),
    "many keys": lambda size: json.dumps({f"k{number}": number for number in range(size // 12)}).encode(),
    "the same key": of(b'"a":1,', before=b"{", after=b'"b":1}'),
    "many keys, and one of them again": lambda size: (
        b"{" + b"".join(b'"k%d":1,' % number for number in range(size // 12)) + b'"z":1,"z":1}'
    ),
    "an open text": of(b"a", before=b'{"NotebookInstanceName": "'),
    "a long text": of(b"a", before=b'{"NotebookInstanceName": "', after=b'"}'),
    "dashes": of(b"-", before=b'{"NotebookInstanceName": "a', after=b'"}'),
    "escapes": of(b"\\u0041", before=b'{"NotebookInstanceName": "', after=b'"}'),
    "backslashes": of(b"\\", before=b'{"a": "'),
    "a long number": of(b"1", before=b'{"MaxResults": ', after=b"}"),
    "long numbers": of(b"1" * 4000 + b",", before=b"[", after=b"1]"),
    "a long fraction": of(b"1", before=b'{"CreationTimeAfter": 1.', after=b"}"),
    "an exponent": of(b"1", before=b'{"CreationTimeAfter": 1e', after=b"}"),
    "blanks": of(b" "),
    "lines": of(b"\n", after=b"x"),
    "no UTF-8": of(b"\xff"),
}


def _parameters(body: bytes) -> None:
    for operation in aws_json.INPUTS:
        try:
            aws_json.answer({"all": list(aws_json.read_parameters(operation, body).values.values())})
        except aws_json.AwsFault as fault:
            aws_json.answer_fault(fault)


INSTANCES: Final = tuple(InstanceDescription(f"nb-{number}", "InService") for number in range(50))


def _listed(text: str) -> object:
    wanted = aws_json.Parameters(
        {"NextToken": text, "NameContains": text, "DefaultCodeRepositoryContains": text}
    )
    return sagemaker_list.page(INSTANCES, wanted)


def _query(text: str) -> object:
    visit: Any = SimpleNamespace(inbound=SimpleNamespace(target=f"/?{text}"))
    return json_api._query(visit, known=("ip", "instance"))


APIS: Final = (
    Reader(
        "a token",
        ("identity.tokens", "identity.entrance"),
        _token,
        {
            "letters": of("a", before="nbgate2_s.01234567."),
            "dots": of(".", before="nbgate2_s.01234567"),
            "digits": of("1", before="nbgate"),
            "nothing of ours": of("a."),
        },
        ("identity.tokens:_SHAPE",),
        most=3 * KIB,
    ),
    Reader(
        "a signed request",
        ("identity.sigv4", "server.sagemaker.callers"),
        _signed,
        {
            "credentials": _authorized(of("Credential=")),
            "a long credential": _authorized(of("a", before="AWS4-HMAC-SHA256 Credential=")),
            "slashes": _authorized(of("/", before="Credential=")),
            "commas": _authorized(of(",", before="AWS4-HMAC-SHA256 ")),
            "signed fields": _authorized(
                lambda size: _claim(";".join(f"f{number:06}" for number in range(size // 8)))
            ),
            "signed fields of a request": lambda size: [
                *((f"X-Amz-{number:02}", "a " * (size // 64)) for number in range(50)),
                *Signing().sign()[:-1],
                (
                    "Authorization",
                    _claim(
                        "host;"
                        + ";".join(f"x-amz-{number:02}" for number in range(50))
                        + ";x-amz-date;x-amz-target"
                    ),
                ),
            ],
            "fields": lambda size: [
                *((f"X-Amz-{number}", "") for number in range(size // 10)),
                *Signing().sign(),
            ],
            "dates": lambda size: [("X-Amz-Date", "2" * size), *Signing().sign()[2:]],
        },
        ("identity.sigv4:_DATE", "identity.sigv4:_SIGNATURE"),
        most=16 * KIB,
    ),
    Reader("X-Amz-Target", ("wire.aws_json",), aws_json.read_operation, {"dots": of("SageMaker.")}),
    Reader(
        "parameters of an operation",
        ("wire.aws_json", "wire.strict_json"),
        _parameters,
        JSON,
        ("wire.aws_json:_broken",),
    ),
    Reader(
        "a repository's address",
        ("wire.aws_json",),
        lambda text: _parameters(json.dumps({"AdditionalCodeRepositoryEquals": text}).encode()),
        {
            "no end": lambda size: "https://" + "a" * (size // 2) + "/" + "b" * (size // 2) + "\n\n",
            "dashes": of("-", before="a", after="!"),
            "slashes": of("/", before="https://a", after="\n"),
        },
        most=1000,
    ),
    Reader(
        "a list's cursor and filters",
        ("server.sagemaker.instance_list",),
        _listed,
        {
            "letters": of("A"),
            "equals": of("="),
            "brackets": of("W1tb"),
            "no ASCII": of("é"),
        },
        most=8 * KIB,
    ),
    Reader(
        "the JSON API's bodies",
        ("server.api.json_api",),
        lambda body: json_api._object(body, ("session_seconds",)),
        JSON,
        most=4 * KIB,
    ),
    Reader(
        "the JSON API's queries",
        ("server.api.json_api",),
        _query,
        {
            **{
                name: mapped(make, lambda target: target.partition("?")[2] or target)
                for name, make in TARGETS.items()
            },
            "semicolons": of(";"),
        },
    ),
)

# -- what notebooks send ------------------------------------------------------------------------------------

PAGES: Final[dict[str, Make]] = {
    "less-than": of(b"<"),
    "tags": of(b"<a>"),
    "links": of(b'<a href="/x">'),
    "short links": of(b"<a href=/>"),
    "open tags": of(b"<a "),
    "attributes": of(b" a", before=b"<a"),
    "attributes with values": of(b" href=/", before=b"<a"),
    "an open quote": of(b'<a x="'),
    "quotes": of(b"'", before=b"<a x="),
    "equals": of(b"=", before=b"<a x"),
    "slashes": of(b"/", before=b"<a "),
    "blanks": of(b" ", before=b"<a x"),
    "a long name": of(b"a", before=b"<"),
    "comments": of(b"<!--"),
    "dashes": of(b"-", before=b"<!--"),
    "ends": of(b"</"),
    "declarations": of(b"<!"),
    "scripts": of(b"<script>"),
    "scripts that end": of(b"<script></script>"),
    "ends of scripts": of(b"</script", before=b"<script>"),
    "half ends of scripts": of(b"</scrip", before=b"<script>"),
    "configurations": of(b'<script id="jupyter-config-data">{"baseUrl": "/"}</script>'),
    "a configuration of brackets": of(b"[", before=b"<script id=jupyter-config-data>"),
    "a configuration of texts": of(b'"/",', before=b'<script id=jupyter-config-data>{"baseUrl":'),
    "a configuration of keys": of(b'"baseUrl":"/",', before=b"<script id=jupyter-config-data>{"),
    "a configuration of backslashes": of(b"\\", before=b'<script id=jupyter-config-data>{"baseUrl":"/'),
    "scripts of addresses": of(b"'/static/", before=b"<script>"),
    "scripts of quotes": of(b"'", before=b"<script>"),
    "scripts of slashes": of(b"'/", before=b"<script>"),
    "plain text": of(b"<plaintext>"),
    "no tags": of(b"a"),
}
"""Bodies of HTML."""
SPECS: Final[dict[str, Make]] = {
    **JSON,
    "resources": of(b'"a":"/x",', before=b'{"resources":{', after=b'"b":"/y"}}'),
    "kernels": of(b'"a":{"resources":{"a":"/"}},', before=b'{"kernelspecs":{', after=b'"b":{}}}'),
    "open kernels": of(b'"kernelspecs":{', before=b"{"),
}
"""Bodies of /api/kernelspecs."""
ICONS: Final[dict[str, Make]] = {
    **JSON,
    "lists": of(b"[", before=b'{"server_processes":'),
    "icons": of(b'{"launcher_entry":{"icon_url":"/x"}},', before=b'{"server_processes":['),
    "texts": of(b'"/x",', before=b'{"server_processes":['),
    "open icons": of(b'{"launcher_entry":', before=b'{"server_processes":['),
}
"""Bodies of /server-proxy/servers-info."""
THEMES: Final[dict[str, Make]] = {
    "quotes": of(b"'"),
    "openings": of(b"('/"),
    "addresses": of(b"url(/lab/api/themes/"),
    "half addresses": of(b"'/lab/api/theme"),
    "letters": of(b"a"),
}
"""Style sheets."""
CODED: Final[dict[str, Make]] = {
    "packed": lambda size: gzip.compress(os.urandom(size)),
    "packed well": lambda size: gzip.compress(bytes(size)),
    "members": lambda size: gzip.compress(b"a") * (size // 21),
    "empty members": lambda size: gzip.compress(b"") * (size // 20),
    "what follows": of(b"\x1f", before=gzip.compress(b"a")),
    "anything": of(b"a"),
}
"""Bodies that come compressed."""

RESPONSE: Final = b"HTTP/1.1 200 OK\r\n"


def _response(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return RESPONSE + b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"


def _passed_on(head: bytes) -> object:
    facts = read_response(head)
    if facts is None:
        return None
    return facts.fields, response_head(facts, TRANSLATION, framing=b"", location=b"/x")


def _facts(pairs: list[tuple[bytes, bytes]]) -> object:
    lines = [b"%b: %b" % pair for pair in pairs]
    facts = heads.ResponseFacts(200, b"HTTP/1.1 200 OK", is_http_11=True, received=lines)
    return facts.fields, response_head(facts, TRANSLATION, framing=b"", location=b"/x")


SET_COOKIES: Final[dict[str, Make]] = {
    "attributes": of(b"; path=/", before=b"a=b"),
    "domains": of(b";domain", before=b"a=b"),
    "semicolons": of(b";", before=b"a=b;domain"),
    "blanks": of(b" ", before=b"a=b; domain"),
    "equals": of(b"="),
    "a date": of(b"1", before=b"auth=b; expires=Mon, 01 Jan "),
    "dates": of(b"; expires=1 Jan 2026 00:00:00 GMT", before=b"auth=b"),
    "dashes": of(b"1-", before=b"auth=b; expires="),
    "an age": of(b"9", before=b"auth=b; max-age="),
    "a value": of(b"a", before=b"auth="),
    "a domain": of(b"a.", before=b"auth=b; domain="),
}

ANSWERED_FIELDS: Final[dict[str, Make]] = {
    **{f"Set-Cookie: {name}": _lines_of(b"Set-Cookie", make) for name, make in SET_COOKIES.items()},
    "one Set-Cookie": _lines_of(b"Set-Cookie", of(b";domain=a;path=/", before=b"a=b"), count=1),
    "empty Set-Cookies": lambda size: [(b"Set-Cookie", b"")] * (size // 14),
    "Set-Cookies to withhold": lambda size: [(b"Set-Cookie", b"auth=x")] * (size // 20),
    "Connections": lambda size: [(b"Connection", b"x")] * (size // 15),
    "Connection: names": _lines_of(b"Connection", of(b"a,")),
    "Connection: different names": lambda size: [
        (b"Connection", b",".join(b"%d" % number for number in range(size // 6)))
    ],
    "Locations": lambda size: [(b"Location", b"/")] * (size // 13),
    "Transfer-Encodings": lambda size: [(b"Transfer-Encoding", b"a")] * (size // 22),
    "Content-Lengths": lambda size: [(b"Content-Length", b"1")] * (size // 19),
    "fields": lambda size: [(b"X", b"")] * (size // 5),
    "different fields": lambda size: [(b"X-%d" % next(_NUMBERS), b"y") for _ in range(size // 15)],
    "a long field": lambda size: [(b"X", b"a" * size)],
    "blanks": lambda size: [(b"X", b" " * size)],
    "no field": lambda size: [(b"X", b"a" * size + b"\0")],
    "no name": lambda size: [(b"X" * size + b" ", b"")],
}


class _Exchange:
    method = "GET"

    def __init__(self) -> None:
        self.size = 0
        self.taker = self

    def on_interim(self, facts: Any) -> None: ...
    def on_head(self, facts: Any, body: Any) -> Any:
        return body

    def on_body(self, data: Any) -> None:
        self.size += len(data)

    def flush(self) -> None: ...
    def on_end(self) -> None: ...
    def on_failure(self, error: Exception) -> None: ...


def _connection() -> UpstreamConnection:
    connection = UpstreamConnection(
        ORIGIN, head_limit_bytes=1 << 30, read_memory=ReadMemory(), on_closed=lambda connection: None
    )
    connection.connection_made(_Transport())
    connection.begin(_Exchange())  # type: ignore[arg-type]
    return connection


def _received_byte_by_byte(data: bytes) -> None:
    connection = _connection()
    for at in range(len(data)):
        connection.data_received(data[at : at + 1])


def _received_at_once(data: bytes) -> None:
    async def receive() -> None:
        _connection().data_received(data)
        for _ in range(len(data) // CHUNKS_A_FEED):
            await asyncio.sleep(0)

    _LOOP.run_until_complete(receive())


def _dechunked(pieces: int, *, decode: bool) -> Read:
    """Feed a body in pieces of that size, the rest of each as the data plane does, in turns."""

    def read(data: bytes) -> None:
        body = ChunkedBody(decode=decode)
        for at in range(0, len(data), pieces):
            rest: Any = data[at : at + pieces]
            while rest:
                _, rest = body.feed(rest)

    return read


CHUNKS: Final[dict[str, Make]] = {
    "one byte": of(b"1\r\nx\r\n"),
    "zeros before": of(b"0000000000000001\r\nx\r\n"),
    "extensions": of(b"8;a\r\n12345678\r\n"),
    "an extension": of(b"a", before=b"1;"),
    "one chunk": lambda size: b"%x\r\n" % size + bytes(size),
    "trailers": of(b"A:\r\n", before=b"0\r\n"),
    "a trailer": of(b"A", before=b"0\r\n"),
    "a trailer's value": of(b" ", before=b"0\r\nA:", after=b"\r\n\r\n"),
    "digits": of(b"1"),
}


def _frame(payload: bytes, *, first: int = 0x82, masked: bool = True) -> bytes:
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, mask | len(payload)))
    else:
        head = bytes((first, mask | 126)) + len(payload).to_bytes(2, "big")
    return head + (b"mask" if masked else b"") + payload


FRAMES: Final[dict[str, Make]] = {
    "empty": of(_frame(b"")),
    "empty fragments": of(_frame(b"", first=0x00), before=_frame(b"", first=0x02)),
    "fragments begin and end": of(_frame(b"", first=0x02) + _frame(b"", first=0x80)),
    "pings": of(_frame(b"", first=0x89)),
    "pongs and messages": of(_frame(b"", first=0x8A) + _frame(b"a")),
    "two lengths": of(_frame(b"a") + _frame(b"ab")),
    "medium": of(_frame(b"a" * 126)),
    "runs that end": of(_frame(b"a") * 20 + _frame(b"ab")),
    "one byte of many": of(_frame(b"a" * 100)),
}


def _followed(pieces: int) -> Read:
    def read(data: bytes) -> None:
        tracker = FrameTracker(masked=True, max_frame_bytes=1 << 20)
        for at in range(0, len(data), pieces):
            piece = memoryview(data)[at : at + pieces]
            tracker.boundary_in(piece)
            # A turn of the event loop lies between two of these.
            while stopped_at := tracker.feed(piece):
                piece = piece[stopped_at:]

    return read


def _opened(pieces: int) -> Read:
    def read(data: bytes) -> None:
        openings = MessageOpenings()
        for at in range(0, len(data), pieces):
            if openings.feed(memoryview(data)[at : at + pieces]) is None:
                break

    return read


LOCATIONS: Final[dict[str, Make]] = {
    **{f"a host of {name}": mapped(make, lambda host: f"https://{host}/") for name, make in HOSTS.items()},
    **{
        f"a target of {name}": mapped(make, lambda target: f"https://{NOTEBOOK}{target}")
        for name, make in TARGETS.items()
    },
    **TARGETS,
    "slashes": of("/"),
    "colons": of(":"),
    "a query": of("?", before="/"),
    "brackets": of("[", before="https://"),
}


def _location(value: str) -> str:
    return pages.rewrite_location(
        value, prefix="/research", upstream_origin=f"https://{NOTEBOOK}", own_origin="https://notebooks.test"
    )


NOTEBOOKS: Final = (
    Reader(
        "a response's head, and what becomes of it",
        ("wire.heads", "wire.fields", "wire.cookies"),
        _passed_on,
        {
            name: mapped(make, _response)
            for name, make in _bounded(ANSWERED_FIELDS, heads.RESPONSE_FIELDS).items()
        }
        | {"a reason": lambda size: b"HTTP/1.1 200 " + b"a" * size + b"\r\n\r\n"},
        ("wire.heads:_FIELD_LINE", "wire.heads:_STATUS_LINE"),
        most=HEAD,
    ),
    Reader(
        "a response's fields, of any number",
        ("wire.heads",),
        _facts,
        ANSWERED_FIELDS,
        most=HEAD,
    ),
    Reader(
        "a response, byte by byte",
        ("dataplane.notebook.connection",),
        _received_byte_by_byte,
        {
            "a head": of(b"a", before=RESPONSE + b"X: "),
            "fields": of(b"X:1\r\n", before=RESPONSE),
            "interim heads": of(b"HTTP/1.1 103 Hm\r\nX: " + b"a" * 100 + b"\r\n\r\n"),
            "a body": lambda size: RESPONSE + b"Content-Length: %d\r\n\r\n" % size + bytes(size),
            "chunks": of(b"1\r\nx\r\n", before=RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n"),
            "trailers": of(b"A:", before=RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"),
        },
        most=16 * KIB,
    ),
    Reader(
        "a response in one read, and the turns that it takes",
        ("dataplane.notebook.connection",),
        _received_at_once,
        {
            "chunks": of(b"1\r\nx\r\n", before=RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n"),
            "extensions": of(b"1;a\r\nx\r\n", before=RESPONSE + b"Transfer-Encoding: chunked\r\n\r\n"),
            "interim heads": of(b"HTTP/1.1 103 Hm\r\nX: " + b"a" * 100 + b"\r\n\r\n"),
        },
        most=256 * KIB,
    ),
    Reader(
        "Set-Cookie for a browser",
        ("wire.cookies",),
        lambda value: (
            set_cookie_name(value),
            sanitize_set_cookie(value, prefix="/research"),
            sanitize_set_cookie(value, prefix=""),
        ),
        SET_COOKIES,
        ("wire.cookies:_SCOPE",),
    ),
    Reader(
        "Set-Cookie of a session",
        ("aws.cookies", "aws.sessions", "aws.keeper"),
        lambda value: _SESSION.absorb([value], now=NOW),
        SET_COOKIES,
    ),
    Reader(
        "Set-Cookies of a session",
        ("aws.cookies", "aws.sessions"),
        lambda values: _SESSION.absorb(values, now=NOW),
        {
            "the same": lambda size: [b"auth=x"] * min(size // 6, heads.RESPONSE_FIELDS),
            "others": lambda size: [b"a%d=x" % number for number in range(size // 8)],
        },
    ),
    *(
        Reader(
            f"a chunked body in pieces of {pieces}, {'decoded' if decode else 'passed on'}",
            ("wire.body",),
            _dechunked(pieces, decode=decode),
            CHUNKS,
            ("wire.body:_SIZE_LINE", "wire.body:_FIELD_LINE"),
        )
        for pieces in (1, 7, 256 * KIB)
        for decode in (False, True)
    ),
    Reader(
        "Content-Length",
        ("wire.body",),
        parse_content_length,
        {"digits": of("1"), "zeros": of("0"), "dashes": of("-")},
    ),
    *(
        Reader(
            f"frames in pieces of {pieces}",
            ("wire.frames", "dataplane.websocket.end"),
            _followed(pieces),
            FRAMES,
        )
        for pieces in (1, 7, 256 * KIB)
    ),
    Reader("frames of control alone", ("wire.frames",), is_only_control, FRAMES),
    *(
        Reader(
            f"openings in pieces of {pieces}",
            ("wire.frames", "dataplane.websocket.end"),
            _opened(pieces),
            FRAMES,
        )
        for pieces in (1, 7, 256 * KIB)
    ),
    Reader(
        "a service worker's script and scope",
        ("routing.workers",),
        lambda target: (
            may_be_worker(target, mount="/research/", others=("/other/", "/.nbgate/")),
            worker_scope("/", script=target, mount="/research/", others=("/research/other/",)),
            worker_scope(target, script="/research/x.js", mount="/research/", others=("/other/",)),
        ),
        {
            **TARGETS,
            "directories": of("/", before="/research/other/"),
            "directories of the mount": of("a/", before="/research/"),
            "half encoded slashes": of("%2", before="/research/"),
        },
        ("routing.workers:_AMBIGUOUS", "routing.workers:_PLAIN_PATH"),
    ),
    Reader(
        "whether Jupyter answers",
        ("routing.jupyters",),
        is_jupyters_own,
        TARGETS,
        ("routing.jupyters:_UNSURE",),
    ),
    Reader(
        "values that reach too far",
        ("wire.reach",),
        lambda value: (
            clear_of_own_origin(value),
            *(row.pattern.search(value) for row in FAR_REACHING_VALUES.values()),
        ),
        {
            "commas": of(b","),
            "parts": of(b'"cache",'),
            "schemes": of(b"negotiat,"),
            "half a worker": of(b"servicework"),
            "blanks": of(b" "),
        },
        ("wire.reach:_CONNECTION_SCHEMES", "wire.reach:FAR_REACHING_VALUES"),
        most=HEAD,
    ),
    Reader(
        "the target of a WebSocket that closes",
        ("dataplane.websocket.closes",),
        lambda target: closes.code_for_page(
            1000, target=target, page_closed=False, session_is_over=lambda: False
        ),
        TARGETS
        | {
            "channels": of("/channels", before="/api/kernels/"),
            "a kernel": of("a", before="/api/kernels/"),
            "kernels": of("/api/kernels"),
        },
        ("dataplane.websocket.closes:_JUPYTERS",),
    ),
    Reader("Location", ("routing.pages",), _location, LOCATIONS, ("routing.pages:_ABSOLUTE_URL",)),
    Reader(
        "a policy's address for reports",
        ("routing.pages",),
        lambda value: pages.rewrite_csp(value, "/research"),
        {
            "addresses": of(b" /x", before=b"report-uri"),
            "blanks": of(b" ", before=b"report-uri"),
            "directives": of(b"report-uri /x;"),
            "half a directive": of(b";report-uri"),
            "semicolons": of(b";"),
        },
        ("routing.pages:_REPORT_URI",),
    ),
    Reader(
        "an entity tag",
        ("routing.pages",),
        pages.rewritten_etag,
        {
            "letters": of(b"a", before=b'"', after=b'"'),
            "quotes": of(b'"'),
            "blanks": of(b" "),
        },
        ("routing.pages:_ETAG",),
    ),
    Reader(
        "what is rewritten",
        ("routing.pages",),
        lambda value: (
            pages.needs_rewrite(target="/lab", content_type=f"text/html;{value}", status=200),
            pages.needs_rewrite(
                target=f"/api/kernelspecs{value}", content_type="application/json", status=200
            ),
        ),
        {
            "charsets": of("charset"),
            "blanks": of(" ", before="charset"),
            "an equals sign": of("charset= "),
            "slashes": of("/"),
            "a kernel": of("a", before="/"),
        },
        ("routing.pages:_WIDE_CHARSET", "routing.pages:_JSON", "routing.pages:_THEMES"),
    ),
    Reader(
        "Jupyter's state",
        ("lifecycle.evidence", "aws.notebook_api"),
        lambda body: read_state(
            Bodies(
                b'{"started": "2026-01-01T00:00:00Z", "last_activity": "2026-01-01T00:00:00Z"}', body, body
            ),
            read_at=0.0,
            now=NOW,
        ),
        {
            **JSON,
            "kernels": lambda size: json.dumps([{"id": "k"}] * (size // 14)).encode(),
            "instants": lambda size: json.dumps([{"id": "k", "last_activity": "1" * size}]).encode(),
        },
    ),
    Reader(
        "Jupyter's date",
        ("lifecycle.evidence",),
        lambda date: read_state(
            Bodies(
                b'{"started": "2026-01-01T00:00:00Z", "last_activity": "2026-01-01T00:00:00Z"}',
                b"[]",
                None,
                date,
            ),
            read_at=0.0,
            now=NOW,
        ),
        {
            "digits": of("1"),
            "dashes": of("1-"),
            "words": of("a "),
            "colons": of("1:", before="Mon, 01 Jan 2026 "),
        },
    ),
)

_SESSION: Final[UpstreamSession] = UpstreamSession(
    origin=ORIGIN,
    cookies=Cookies().apply(parse_set_cookies([b"auth=secret", b"sid=hidden"]), host=NOTEBOOK, now=NOW),
    obtained_at=0.0,
    renew_at=1e9,
    expires_at=1e9,
)

# -- what AWS sends -----------------------------------------------------------------------------------------

NOTEBOOK_HOSTS: Final = hosts.NotebookHosts("eu-west-1")
TOKEN_URL: Final = URL(f"https://{NOTEBOOK}/?authToken={'t' * 2000}", encoded=True)


def _shape(location: str) -> object:
    redirect = client.NotebookAnswer(
        302, location.encode("latin-1", "replace"), server=b"", content_type=b"", cookies=()
    )
    asked = Asked(redirect, b"", ORIGIN, hosts.SIGN_IN_HOSTS)
    return shape_of(redirect, target="/lab", origin=ORIGIN), meaning_of(asked)


def _status_told(body: bytes) -> object:
    refused = client.NotebookAnswer(403, b"", server=b"", content_type=b"application/json", cookies=())
    return meaning_of(Asked(refused, body[:BODY_BYTES], ORIGIN, hosts.SIGN_IN_HOSTS))


def _marks(pairs: list[tuple[bytes, bytes]]) -> object:
    return is_from_jupyter(
        client.NotebookAnswer(
            200, b"", server=b"", content_type=b"text/html", cookies=(), fields=tuple(pairs)
        )
    )


def _steering(value: bytes) -> object:
    value = set_cookie_value(value)
    return [form.fullmatch(value) for form in STEERING.values()]


def _followed_up(location: str) -> object:
    """What an exchange makes of a `Location`."""
    secrets = exchange._secrets(TOKEN_URL)
    found = exchange._holds(location.encode("latin-1", "replace"), secrets)
    following = exchange._parsed(location, base=TOKEN_URL)
    if following is None:
        return found
    return exchange._safe_path(following, secrets), NOTEBOOK_HOSTS.allows(following)


class _Content:
    """Stands in for the body of an answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    async def readany(self) -> bytes:
        self._at += 1
        return self._body[self._at - 1 : self._at]


def _asked_for(body: bytes) -> None:
    content: Any = _Content(body)
    reading = client._body(content, len(body))
    with suppress(StopIteration):
        reading.send(None)


AWS_TEXTS: Final[dict[str, Make]] = {
    **SECRETS,
    "queries": of("?"),
    "statuses": of("Status (a"),
    "a status": of("a", before="Status ("),
    "ARNs": of("arn:"),
    "accounts": of("123456789012"),
    "accounts and blanks": of("123456789012 "),
    "addresses": of("1."),
    "networks": of("vpc-"),
    "a network": of("a", before="vpc-"),
    "URLs": of("https://"),
    "blanks": of(" "),
}

AWS: Final = (
    Reader(
        "an answer that may mean signed out",
        ("aws.signed_out", "aws.hosts", "aws.status_answer"),
        _shape,
        LOCATIONS,
    ),
    Reader(
        "what the answer to a question tells",
        ("aws.status_answer",),
        _status_told,
        {
            "an object": of(b'"a":1,', before=b"{"),
            "depth": of(b"[", before=b'{"message":'),
            "a text": of(b"a", before=b'{"message":"'),
            "blanks": of(b" "),
        },
        most=BODY_BYTES,
    ),
    Reader("marks of Jupyter's", ("aws.jupyter_marks",), _marks, ANSWERED_FIELDS),
    Reader(
        "what steers the front end's page",
        ("aws.cookies", "wire.cookies"),
        _steering,
        {
            **SET_COOKIES,
            "digits": of(b"1", before=b"a="),
            "labels": of(b"a.", before=b'a="https://'),
            "dashes": of(b"-", before=b"a=https://console.aws"),
            "consoles": of(b"console.aws.", before=b'a="https://'),
            "a path": of(b"/", before=b'a="https://console.aws.amazon.com'),
        },
        ("aws.cookies:_INSTANT", "aws.cookies:_CONSOLE", "aws.cookies:STEERING"),
    ),
    Reader(
        "a sign-in host",
        ("aws.hosts",),
        lambda host: hosts.is_sign_in(host, 443, hosts.SIGN_IN_HOSTS),
        HOSTS,
    ),
    Reader(
        "a redirect of the exchange",
        ("aws.exchange", "aws.client"),
        _followed_up,
        LOCATIONS,
        ("aws.hosts:_LABEL",),
    ),
    Reader(
        "a presigned URL",
        ("aws.exchange", "aws.presigned"),
        lambda text: exchange._secrets(URL(text, encoded=True)),
        {
            "parameters": of("a=bbbbbbbb&", before=f"https://{NOTEBOOK}/?"),
            "percents": of("%41", before=f"https://{NOTEBOOK}/?authToken="),
        },
    ),
    Reader(
        "AWS's errors",
        ("aws.botocore_errors",),
        lambda text: (
            botocore_errors.scrub(text),
            botocore_errors.cause(ValueError(text)),
            botocore_errors._STATUS.search(text),
            botocore_errors._PLATFORM.search(text),
            botocore_errors._REFUSED_BY_PROXY.search(text),
        ),
        {
            **AWS_TEXTS,
            "platforms": of("Platform identifier ("),
            "refusals": of("Tunnel connection failed: "),
            "credentials": of("//a:b"),
            "many at": of("//a@"),
            "a platform": of("a", before="Platform identifier (", after=") is not supported"),
        },
        (
            "aws.botocore_errors:_PLATFORM",
            "aws.botocore_errors:_REFUSED_BY_PROXY",
            "aws.botocore_errors:_STATUS",
            "aws.botocore_errors:_QUERY",
            "aws.botocore_errors:_TOKEN",
            "aws.botocore_errors:_USERINFO",
        ),
    ),
    Reader(
        "an answer to the gateway's own questions, byte by byte",
        ("aws.client",),
        _asked_for,
        {"bytes": bytes},
        most=4 * HEAD,
    ),
    Reader(
        "SageMaker's reason for a failure",
        ("server.pages.error_pages",),
        public_reason,
        AWS_TEXTS,
        ("server.pages.error_pages:_INSIDES",),
    ),
    Reader(
        "account numbers, as probe tells them",
        ("aws.probe",),
        lambda text: probe._ACCOUNT.sub("ACCOUNT", text),
        {"digits": of("1"), "numbers": of("123456789012 "), "letters": of("a")},
        ("aws.probe:_ACCOUNT",),
    ),
    Reader(
        "an egress proxy's answer",
        ("wire.egress",),
        egress.connect_status,
        {"letters": of(b"a"), "a reason": of(b"a", before=b"HTTP/1.1 200 "), "versions": of(b"HTTP/1.")},
        ("wire.egress:connect_status",),
        most=16 * KIB,
    ),
    Reader(
        "a parameter's name, as probe tells it",
        ("aws.probe_questions",),
        probe_questions._NAME.fullmatch,
        {"letters": of("a")},
        ("aws.probe_questions:_NAME",),
    ),
)


def _decoded(coding: bytes) -> Read:
    """Decode a body that comes at once, as the data plane does."""

    def read(data: bytes) -> None:
        reader = codings.decoder(coding)
        assert reader is not None
        rest = data
        try:
            while rest:
                _, rest = reader.feed(rest, PIECE_BYTES)
        except codings.CodingError:
            pass

    return read


def _rewritten(kind: Rewriting, pieces: int) -> Read:
    """Rewrite a text that comes in pieces of that size, the rest of each as the data plane does, in turns."""

    def read(data: bytes) -> None:
        rewriter = pages.rewriter(kind, "/research")
        for at in range(0, len(data), pieces):
            rest = data[at : at + pieces]
            while rest:
                _, rest = rewriter.feed(rest)
        rewriter.finish()

    return read


CODED_BODIES: Final = tuple(
    Reader(f"a body in {coding.decode()}", ("wire.codings",), _decoded(coding), CODED, (), most=PIECE_BYTES)
    for coding in (b"gzip", b"deflate")
)
HTML: Final = tuple(
    Reader(
        f"{name}, in pieces of {pieces}",
        (
            "routing.pages",
            "routing.markup",
            "routing.json_texts",
            "routing.links",
            "routing.quoted",
            "dataplane.answer.rewriting",
        ),
        _rewritten(kind, pieces),  # type: ignore[arg-type]
        families,
        patterns,
        most=16 * KIB if pieces == 1 else PIECE_BYTES,
    )
    for name, kind, families, patterns in (
        (
            "a page",
            "jupyters html",
            PAGES,
            (
                "routing.markup:_ENDS",
                "routing.markup:_MARKUP",
                "routing.markup:_TAG_NAME",
                "routing.markup:_BETWEEN",
                "routing.markup:_ATTRIBUTE_NAME",
                "routing.markup:_REST_OF_NAME",
                "routing.markup:_BLANKS",
                "routing.markup:_END_OF_UNQUOTED",
                "routing.pages:_CONFIG_FIELD",
            ),
        ),
        (
            "a list of kernels",
            "kernelspecs",
            SPECS,
            (
                "routing.json_texts:_MARK",
                "routing.json_texts:_BRACKET",
                "routing.json_texts:_END_OF_TEXT",
            ),
        ),
        ("a list of applications", "applications", ICONS, ()),
        (
            "a style sheet",
            "theme",
            THEMES,
            ("routing.quoted:_OPENING", "routing.quoted:CONFIGURED", "routing.quoted:THEMED"),
        ),
    )
    for pieces in (1, PIECE_BYTES)
)

READERS: Final = (*HTML, *CODED_BODIES, *LOGS, *REQUESTS, *ADDRESSES, *APIS, *NOTEBOOKS, *AWS)
