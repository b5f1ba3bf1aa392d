"""A notebook does not reach beyond its own mount, and other sites' pages do not reach into it: over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.client_address.networks import parse_address
from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.notebook import switching
from tests.harness.plane import OpenPlane, open_plane
from tests.threats.callers import audited

NOTEBOOK = {"notebook": "research-gpu-1"}
MOUNTED: dict[str, Any] = {
    "root": NOTEBOOK | {"mount": "root"},
    "path": NOTEBOOK | {"mount": {"path": "/research/"}},
    "own": NOTEBOOK | {"mount": {"host": "research.localhost"}},
}
HOST_OF = {"own": "research.localhost"}
PREFIX_OF = {"path": "/research"}
HERE = parse_address("127.0.0.1")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenPlane]:
    async with open_plane(tmp_path, instances=MOUNTED) as opened:
        yield opened


def head(opened: OpenPlane, target: str, *, at: str = "root", method: str = "GET", extra: str = "") -> str:
    host = f"{HOST_OF[at]}:{opened.port}" if at in HOST_OF else opened.authority
    return f"{method} {PREFIX_OF.get(at, '')}{target} HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n"


def issued(rig: Rig, kind: TokenKind) -> str:
    """A session's or a program's token for the instance `research`."""
    leads_to = rig.gateway.reloader.settings.leads_to("research")
    return rig.gateway.serving.tokens.issue(
        kind, instance="research", leads_to=leads_to, principal="zoe", address=HERE, seconds=600
    )


async def fields(
    opened: OpenPlane, answer: str, target: str = "/lab", *, at: str = "root", html: bool = False
) -> list[str]:
    """The field lines that a caller gets when the notebook answers with these."""
    body = b"<a href=/x>" if html else b""
    kind = "Content-Type: text/html\r\n" if html else ""
    opened.upstream.answer = lambda _head, _body: (
        f"HTTP/1.1 200 OK\r\nServer: TornadoServer/6\r\n{kind}{answer}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    peer = await opened.call()
    peer.send(head(opened, target, at=at, extra="Accept: text/html\r\n"))
    response = await peer.response()
    assert response.status == 200
    mine = {"server", "content-length", "content-type", "x-request-id"}
    return [f"{name}: {value}" for name, value in response.fields if name not in mine]


# -- origin-wide response fields ----------------------------------------------------------------------


@pytest.mark.parametrize("html", [False, True], ids=["plain", "rewritten page"])
@pytest.mark.parametrize("at", sorted(MOUNTED))
async def test_no_answer_speaks_for_more_than_its_mount(opened: OpenPlane, at: str, html: bool) -> None:
    """N6: the whole table is `tests/wire/test_reach.py`'s; here it goes the way that answers go."""
    sent = (
        "Strict-Transport-Security: max-age=1\r\nsTRICT-tRANSPORT-sECURITY: max-age=2\r\nNEL: {}\r\nReport-To: {}\r\n"
        'Clear-Site-Data: "*"\r\nAlt-Svc: h3\r\nAccept-CH: DPR\r\naccept-ch: ECT\r\nOrigin-Agent-Cluster: ?1\r\n'
        "X-Kept: 1\r\nSet-Cookie2: a=1\r\nX-Accel-Redirect: /x\r\nWWW-Authenticate: Negotiate\r\n"
    )
    own = ["accept-ch: DPR", "accept-ch: ECT", "origin-agent-cluster: ?1"] if at == "own" else []
    assert await fields(opened, sent, at=at, html=html) == [*own, "x-kept: 1"]


async def test_interim_answers_and_handshakes_speak_for_no_more(opened: OpenPlane) -> None:
    """N6: 103 and 101 have fields, too."""
    beyond = b'Clear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\nStrict-Transport-Security: max-age=1\r\n'
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n"
        + beyond
        + b"\r\nHTTP/1.1 200 OK\r\nServer: T\r\nContent-Length: 0\r\n\r\n"
    )
    peer = await opened.call()
    peer.send(head(opened, "/x", at="path"))
    assert await peer.head() == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nService-Worker-Allowed: /research/\r\n\r\n"
    )
    assert (await peer.response()).status == 200
    opened.upstream.answer = lambda _head, _body: (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + beyond
        + b"\r\n"
    )
    peer = await opened.call()
    peer.send(opened.upgrade("/research/ws"))
    switched = await peer.head()
    assert (
        switched == b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"X-Request-Id: 0000000000000002\r\n\r\n"
    )
    peer.abort()
    await opened.settled(lambda: len(opened.records) == 2)


@pytest.mark.parametrize(
    ("at", "target", "allowed", "passes"),
    [
        ("path", "/codeserver/js/sw.js", "/", "/research/"),
        ("path", "/codeserver/js/sw.js?v=/", "/codeserver/", "/research/codeserver/"),
        ("path", "/files/sw.js", "/../", None),
        ("path", "/files/sw.js", "/.\t./", None),
        ("path", "/files/sw.js", "https://127.0.0.1/", None),
        ("root", "/codeserver/js/sw.js", "/", "/codeserver/"),
        ("root", "/codeserver/js/sw.js", "/research/", None),
        ("own", "/codeserver/js/sw.js", "/", "/codeserver/"),
        ("own", "/codeserver/js/sw.js", "/.nbgate/", None),
    ],
)
async def test_a_service_worker_is_allowed_no_more_than_the_mount(
    opened: OpenPlane, at: str, target: str, allowed: str, passes: str | None
) -> None:
    """N6: with `Service-Worker-Allowed: /` one visit installed a worker over the portal and other notebooks."""
    for name in ("Service-Worker-Allowed", "service-worker-allowed", "SERVICE-WORKER-ALLOWED"):
        lines = await fields(opened, f"{name}: {allowed}\r\nX: 1\r\n{name}: {allowed}\r\n", target, at=at)
        line = [] if passes is None else [f"service-worker-allowed: {passes}"]
        assert lines == [*line, "x: 1", *line]


@pytest.mark.parametrize(
    ("at", "target", "status"),
    [
        ("path", "/sw.js", 200),
        ("path", "/files/sw.js", 200),
        ("path", "/files/..%2f..%2fsw.js", 403),
        ("path", "/files/%2e%2e/sw.js", 403),
        ("path", "/a%5csw.js", 403),
        ("root", "/sw.js", 403),
        ("root", "/api/sw.js", 403),
        ("root", "/api/gateway/v1/sw.js", 403),
        ("root", "/.nbgate/sw.js", 403),
        ("root", "/files/sw.js", 200),
        ("own", "/sw.js", 403),
        ("own", "/.nbgate/portal.js", 403),
        ("own", "/proxy/8080/sw.js", 200),
    ],
)
async def test_a_service_worker_that_would_cover_more_than_its_mount_is_refused(
    opened: OpenPlane, at: str, target: str, status: int
) -> None:
    """N6: the default scope is the script's directory, and the gateway's own pages have no workers."""
    for line in ("Service-Worker: script\r\n", "service-worker: script\r\n", "SERVICE-WORKER: x\r\n"):
        seen, audits = len(opened.upstream.heads), len(opened.refusals)
        peer = await opened.call()
        # Twice on one connection: a head that is repeated is judged as any other.
        for _ in range(2):
            peer.send(head(opened, target, at=at, extra=line))
            assert (await peer.response()).status == status
        refused = status == 403
        assert len(opened.upstream.heads) - seen == (0 if refused else 2)
        assert len(opened.refusals) - audits == (2 if refused else 0)
        assert not refused or opened.records[-1].error == "WORKER_REFUSED"
        peer.abort()
    if target != "/api/gateway/v1/sw.js":
        # As anything but a worker it is what it always was.
        expected = 404 if target.startswith("/.nbgate/") else 200
        peer = await opened.call()
        peer.send(head(opened, target, at=at))
        assert (await peer.response()).status == expected


# -- cookies ------------------------------------------------------------------------------------------

GATEWAYS_COOKIES = [
    "nbgate-session",
    "nbgate-session-8444",
    "NBGATE-Session",
    "__Host-nbgate-session",
    "__host-NBGATE-session-9999",
    "__Secure-nbgate-session",
    "__Host-nbgate-login-0123abcd",
]


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("name", GATEWAYS_COOKIES)
async def test_no_session_of_the_gateways_reaches_a_notebook(
    opened: OpenPlane, name: str, upgrade: bool
) -> None:
    """N8: those of former and other mounts, and of a second gateway on the host, whatever the case."""
    for cookie in (f"{name}=nbgate1_s.x", f"a=1; {name}=nbgate1_s.x; b=2", f"a=1;  {name} = nbgate1_s.x"):
        peer = await opened.call()
        extra = f"Cookie: {cookie}\r\nCookie: c=3\r\n"
        peer.send(opened.upgrade("/ws", extra=extra) if upgrade else opened.head("/x", extra=extra))
        assert (await peer.response()).status == (101 if upgrade else 200)
        peer.abort()
        seen = opened.upstream.fields()
        assert b"nbgate" not in seen.head.lower()
        assert "c=3" in seen.value("cookie")
        assert ("a=1" in seen.value("cookie")) == ("a=1" in cookie)


@pytest.mark.parametrize("at", sorted(MOUNTED))
@pytest.mark.parametrize("name", GATEWAYS_COOKIES)
async def test_no_notebook_sets_a_session_of_the_gateways(opened: OpenPlane, name: str, at: str) -> None:
    """N8, the other way round: ports share one jar, and a root mount's cookies go to every path."""
    for target in ("/lab", "/proxy/8080/"):
        sent = f"Set-Cookie: {name}=evil; Path=/\r\nSet-Cookie: ={name}=evil\r\nSet-Cookie: a=1; HttpOnly\r\n"
        assert await fields(opened, sent, target, at=at) == ["set-cookie: a=1; HttpOnly"]


@pytest.mark.parametrize("at", sorted(MOUNTED))
@pytest.mark.parametrize(
    ("target", "takes"),
    [
        ("/", True),
        ("/lab/tree/a.ipynb", True),
        ("/api/status", True),
        ("/proxy/8080/", False),
        ("/proxy/absolute/8080/x", False),
        ("/proxy/localhost:8080/", False),
        ("/rstudio/", False),
        ("/codeserver", False),
        ("/files/evil.html", False),
        ("//proxy/8080/", False),
        ("/lab//proxy/8080/", False),
        ("/x/../proxy/8080/", False),
        ("/lab/../proxy/8080/", False),
        ("/lab/%2e%2e/proxy/8080/", False),
        ("/lab%2f..%2fproxy%2f8080/", False),
        ("/lab/..;/proxy/8080/", False),
        ("/%70roxy/8080/", False),
    ],
)
async def test_only_the_front_ends_answers_change_the_shared_session(
    opened: OpenPlane, at: str, target: str, takes: bool
) -> None:
    """N9: an application's `Set-Cookie` of a known name replaced the session of all callers; and neither reaches the
    browser."""
    sent = "Set-Cookie: nb-auth=evil; Path=/\r\nset-cookie: nb-session=evil\r\nSet-Cookie: theme=dark\r\n"
    assert await fields(opened, sent, target, at=at) == ["set-cookie: theme=dark"]
    taken = [b"nb-auth=evil; Path=/", b"nb-session=evil", b"theme=dark"]
    assert opened.keeper.absorbed == (taken if takes else [])


STEERING_VALUES = {
    "expiryTime": ("1732723200000", "-1"),
    "ssoExpiryTimestamp": ("1732723200000", "-1"),
    "authMode": ("Iam", "Sso"),
    "redirectURL": (
        '"https://us-west-2.console.aws.amazon.com/sagemaker/home?region=us-west-2&notebookState=L2xhYg==#/x"',
        '"https://console.amazonaws.cn/sagemaker/home"',
        '"https://console.amazonaws-us-gov.com"',
        "%22https%3A%2F%2Feu-west-1.console.aws.amazon.com%2Fsagemaker%2Fhome%22",
    ),
}
"""What the front end sets, as AWS's extension for JupyterLab reads it."""


@pytest.mark.parametrize("name", ["expiryTime", "redirectURL", "authMode", "ssoExpiryTimestamp"])
async def test_the_front_ends_countdown_reaches_no_browser(opened: OpenPlane, name: str) -> None:
    """AWS's extension would send people to the console when a session is about to end that the gateway renews."""
    values = STEERING_VALUES[name]
    for value in (*values, "", "the application's own"):
        for target in (
            "/lab",
            "/api/status",
            "/files/a",
            "/rstudio/",
            "/proxy/8080/",
            "/proxy/8080/deep?x=1",
        ):
            for scope in ("", "; Path=/", "; Path=/proxy/8080/; Max-Age=60"):
                sent = f"Set-Cookie: {name}={value}{scope}\r\n"
                # An application's own of such a name is its own; the front end's is told by its form.
                passes = target.startswith("/proxy/") and value not in values
                expected = [sent.strip().replace("Set-Cookie", "set-cookie")] if passes else []
                assert await fields(opened, sent, target) == expected, sent


@pytest.mark.parametrize("name", ["expiryTime", "redirectURL", "authMode", "ssoExpiryTimestamp"])
@pytest.mark.parametrize(
    ("target", "own_passes"), [("/api/kernels/1/channels", False), ("/proxy/8080/ws", True)]
)
async def test_the_front_ends_countdown_reaches_no_browser_with_a_websocket(
    opened: OpenPlane, name: str, target: str, own_passes: bool
) -> None:
    for value in (*STEERING_VALUES[name], "own"):
        field = f"Set-Cookie: {name}={value}; Path=/".encode()
        opened.upstream.answer = lambda head, _body, field=field: switching(head)[:-2] + field + b"\r\n\r\n"
        peer = await opened.call()
        peer.send(opened.upgrade(target))
        answer = await peer.head()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert (field in answer) is (own_passes and value == "own")


async def test_cookies_in_front_of_the_good_one_lock_nobody_out(tmp_path: Path) -> None:
    """N8: more than eight of that name ahead of the good one gave 401. Script can set them, for deeper paths."""
    async with open_rig(tmp_path, clock=FakeClock(), access="presigned") as rig:
        good = issued(rig, TokenKind.SESSION)
        tossed = "; ".join(f"nbgate-session=nbgate1_s.{number:08}.AAAA.BBBB" for number in range(300))
        answer = await rig.get("/api/status", extra=f"Cookie: {tossed}; nbgate-session={good}\r\n")
        assert status_of(answer) == 200
        answer = await rig.get("/api/status", extra=f"Cookie: {tossed}\r\nCookie: nbgate-session={good}\r\n")
        assert status_of(answer) == 200
        assert status_of(await rig.get("/api/status", extra=f"Cookie: {tossed}\r\n")) == 401


# -- what an echoing notebook sees --------------------------------------------------------------------


@pytest.mark.parametrize("upgrade", [False, True])
async def test_an_echoing_notebook_sees_nothing_of_the_gateways(opened: OpenPlane, upgrade: bool) -> None:
    """N8: look-alikes of framing and forwarding fields, and tokens in addresses, ended at the notebook."""
    evil = [
        "Transfer_Encoding",
        "Transfer.Encoding",
        "TRANSFER~ENCODING",
        "Content_Length",
        "Content.Length",
        "content!length",
        "Proxy_Connection",
        "Keep_Alive",
        "HTTP2_Settings",
        "X_Forwarded_For",
        "X^Forwarded^Host",
        "X|Real|IP",
        "Remote'User",
        "Client*Cert",
        "X`Original`URL",
        "Sec_WebSocket_Key1",
    ]
    lines = "".join(f"{name}: evil\r\n" for name in evil)
    for referer in (
        f"{opened.origin}/lab?token=nbgate1_a.evil",
        f"{opened.origin}/lab?auth%54oken=evil&a=1",
        f"{opened.origin}/lab/%6Ebgate1_evil",
        "https://other.example/?next=%2Flab%3FauthToken%3Devil",
    ):
        extra = f"{lines}Referer: {referer}\r\nPing-From: {referer}\r\nX-Kept: 1\r\n"
        peer = await opened.call()
        peer.send(opened.upgrade("/ws", extra=extra) if upgrade else opened.head("/x", extra=extra))
        assert (await peer.response()).status == (101 if upgrade else 200)
        peer.abort()
        seen = opened.upstream.fields()
        assert b"evil" not in seen.head
        assert seen.values("x-kept") == ["1"]
        assert len(seen.values("referer")) == 1


# -- other sites' pages -------------------------------------------------------------------------------

UNSAFE = ["POST", "PUT", "PATCH", "DELETE", "MKCOL"]
FOREIGN = [
    "Origin: https://evil.example\r\n",
    "Origin: null\r\n",
    "Origin: \r\n",
    "Origin: http://127.0.0.1\r\n",
    "Origin: http://sub.localhost:80\r\nSec-Fetch-Site: same-site\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n",
    "Origin: {own}\r\nSec-Fetch-Site: cross-site\r\n",
    "Origin: {own}\r\nOrigin: https://evil.example\r\n",
    "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
]
OWN = [
    "",
    "Sec-Fetch-Mode: cors\r\n",
    "Origin: {own}\r\n",
    "Origin: {own}\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n",
    "Sec-Fetch-Site: same-origin\r\n",
    "Sec-Fetch-Site: none\r\n",
    "Origin: null\r\nSec-Fetch-Site: same-origin\r\n",
    "Referer: https://evil.example/\r\n",
]


async def asked(opened: OpenPlane, method: str, extra: str, *, at: str, target: str = "/proxy/8080/") -> int:
    own = f"http://{HOST_OF[at]}:{opened.port}" if at in HOST_OF else opened.origin
    peer = await opened.call()
    peer.send(
        head(opened, target, at=at, method=method, extra=extra.format(own=own) + "Content-Length: 2\r\n")
        + "{}"
    )
    status = (await peer.response()).status
    peer.abort()
    return status


@pytest.mark.parametrize("at", sorted(MOUNTED))
@pytest.mark.parametrize("method", UNSAFE)
async def test_another_sites_page_changes_nothing(opened: OpenPlane, at: str, method: str) -> None:
    """N11: in `access: open` a cross-site `POST` reached applications under `/proxy/`."""
    for number, extra in enumerate(FOREIGN, start=1):
        for target in ("/proxy/8080/", "/api/contents/x"):
            assert await asked(opened, method, extra, at=at, target=target) == 403, extra
        assert len(opened.refusals) == 2 * number
    assert opened.upstream.accepted == 0
    assert {record.error for record in opened.records} == {"CROSS_SITE_REFUSED"}
    assert {record.instance for record in opened.records} == {at}


@pytest.mark.parametrize("at", sorted(MOUNTED))
@pytest.mark.parametrize("method", UNSAFE)
async def test_the_mounts_own_pages_and_programs_do(opened: OpenPlane, at: str, method: str) -> None:
    """N11: and whoever sends none of a browser's fields. A `Referer` proves nothing, either way."""
    for extra in OWN:
        assert await asked(opened, method, extra, at=at) == 200, extra
    assert not opened.refusals


async def test_what_is_safe_is_not_asked_where_it_comes_from(opened: OpenPlane) -> None:
    """N11: links, images and preflights from elsewhere are the notebook's to answer, as they were."""
    for method in ("GET", "HEAD", "OPTIONS"):
        for extra in FOREIGN:
            peer = await opened.call()
            peer.send(head(opened, "/x", at="path", method=method, extra=extra.format(own=opened.origin)))
            assert (await peer.head()).startswith(b"HTTP/1.1 200 "), (method, extra)
            peer.abort()
    assert not opened.refusals


async def test_cross_site_requests_may_be_allowed_for_an_instance(tmp_path: Path) -> None:
    """N11: the setting; WebSockets stay as strict as they are."""
    mounted = {
        "one": NOTEBOOK | {"mount": {"path": "/one/"}, "cross_site_requests": "allow"},
        "two": NOTEBOOK | {"mount": {"path": "/two/"}},
    }
    async with open_plane(tmp_path, instances=mounted) as opened:
        for extra in FOREIGN:
            assert await asked(opened, "POST", extra, at="root", target="/one/x") == 200
            assert await asked(opened, "POST", extra, at="root", target="/two/x") == 403
        peer = await opened.call()
        peer.send(opened.upgrade("/one/ws", origin="https://evil.example"))
        assert (await peer.response()).status == 403


async def test_a_cross_site_handshake_is_on_the_audit_record_too(opened: OpenPlane) -> None:
    """One rule of what is same-origin, and one record of who broke it."""
    peer = await opened.call()
    peer.send(opened.upgrade("/ws", origin="https://evil.example"))
    assert (await peer.response()).status == 403
    [refusal] = opened.refusals
    assert (refusal.error.code, refusal.instance) == ("ORIGIN_REFUSED", "root")
    assert refusal.reason == "a page of another site"


async def test_a_session_or_a_token_excuses_no_foreign_page(tmp_path: Path) -> None:
    """N11 with `access: presigned`: a page of the same site has the cookie sent along; a token is no excuse. Jupyter,
    which never sees the token, would say 404."""
    spec = InstanceSpec(name="research-gpu-1")
    async with open_rig(tmp_path, instances=(spec,), clock=FakeClock(), access="presigned") as rig:
        cookie = f"Cookie: nbgate-session={issued(rig, TokenKind.SESSION)}\r\n"
        token = f"Authorization: token {issued(rig, TokenKind.API)}\r\n"
        foreign = "Origin: https://evil.example\r\n"
        own = f"Origin: {rig.origin}\r\n"
        for credential in (cookie, token):
            for extra, method, status in (
                (foreign, "POST", 403),
                (own, "POST", 200),
                ("", "POST", 200),
                # Jupyter lets no foreign page read, either, but for who brings a token of its own.
                (foreign, "GET", 403 if credential is token else 200),
                ("Sec-Fetch-Site: cross-site\r\n", "GET", 403 if credential is token else 200),
                (own, "GET", 200),
            ):
                assert await code(rig, method, credential + extra) == status, (credential[:8], extra, method)
        refused = [record for record in audited(rig) if record["reason"] == "a page of another site"]
        assert len(refused) == 4
        # Without a credential, too: it is not said whether one would have been good.
        assert await code(rig, "POST", foreign) == 403


async def code(rig: Rig, method: str, extra: str) -> int:
    answer = await rig.get("/api/kernels", method=method, extra=f"{extra}Content-Length: 0\r\n")
    status = status_of(answer)
    if status == 403:
        assert b'"CROSS_SITE_REFUSED"' in answer
    return status
