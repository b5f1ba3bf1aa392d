"""A hostile notebook's pages in Chromium: whatever they try, the portal and the neighbours stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import Browser, Page

from proxy.identity.tokens import TokenKind
from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.plain_upstream import SERVER
from tests.harness.browsing import PATIENCE_MS, open_page
from tests.harness.gateway import Background, in_background

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(300)]

SPECS = (InstanceSpec(name="hostile-1"), InstanceSpec(name="quiet-1"))
HOSTILE, QUIET = {"notebook": "hostile-1"}, {"notebook": "quiet-1"}
MOUNTED: dict[str, Any] = {
    "root": HOSTILE | {"mount": "root"},
    "path": HOSTILE | {"mount": {"path": "/hostile/"}},
    "own": HOSTILE | {"mount": {"host": "hostile.localhost"}},
    "neighbour": QUIET | {"mount": {"path": "/neighbour/"}, "access": "presigned"},
}
PREFIXES = {"root": "", "path": "/hostile", "own": ""}
WORKER = """
self.addEventListener("install", event => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", event => event.respondWith(
    new Response("<title>owned</title>", {headers: {"Content-Type": "text/html"}})));
"""


async def hostile(request: web.BaseRequest) -> web.StreamResponse:
    """A page for everything, but for scripts of workers (`.js`); each `+NAME=VALUE` in the query is a field."""
    script = request.path.endswith(".js")
    response = web.Response(
        text=WORKER if script else "<title>hostile</title>",
        content_type="text/javascript" if script else "text/html",
    )
    if request.path.endswith("redirect.js"):
        response = web.Response(status=302, headers={"Location": "/sw.js"})
    response.headers.update(SERVER)
    for name, value in request.query.items():
        if name.startswith("+"):
            response.headers.add(name[1:], value)
    return response


async def quiet(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="<title>quiet</title>", content_type="text/html", headers=SERVER)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Background]:
    with in_background(tmp_path, instances=SPECS, mounted=MOUNTED) as background:
        plain = background.rig.sandbox.plain
        plain["hostile-1"].handler, plain["quiet-1"].handler = hostile, quiet
        yield background


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with open_page(browser) as page:
        page.set_default_timeout(PATIENCE_MS)
        yield page


def origin_of(gate: Background, at: str) -> str:
    return f"http://hostile.localhost:{gate.rig.port}" if at == "own" else gate.origin


def title(page: Page, url: str) -> str:
    page.goto(url)
    return page.title()


def enter(gate: Background, page: Page) -> str:
    """Open the neighbour with a link, as its reader did; its address."""
    settings = gate.rig.gateway.reloader.settings
    token = gate.call(
        gate.rig.gateway.serving.tokens.issue,
        TokenKind.URL,
        instance="neighbour",
        leads_to=settings.leads_to("neighbour"),
        principal="zoe",
        address=None,
        seconds=300,
        session_seconds=1800,
    )
    address = f"{gate.origin}/neighbour/"
    assert title(page, f"{address}?authToken={token}") == "quiet"
    return address


def register(page: Page, script: str, options: dict[str, str]) -> str:
    """The scope of the worker that a page got, or the name of the error."""
    return page.evaluate(
        """async ([script, options]) => {
            try {
                const registration = await navigator.serviceWorker.register(script, options);
                const worker = registration.installing || registration.waiting || registration.active;
                while (worker.state !== "activated" && worker.state !== "redundant")
                    await new Promise(resolve => worker.addEventListener("statechange", resolve, {once: true}));
                return registration.scope;
            } catch (error) { return error.name; }
        }""",
        [script, options],
    )


def attempts(prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Scripts and options by which a page of the hostile notebook tries to cover more than its own."""
    wider = ["/", "/neighbour/", "/neighbour/lab", "/.nbgate/", "/api/", "/api/gateway/", f"{prefix or '/x'}"]
    for allowed in ("/", "%2Fneighbour%2F", "..%2F", "..%2F..%2F..%2F", ".%2F", "%2F..%2F", "%2F.%09.%2F"):
        yield f"{prefix}/files/sw.js?%2Bservice-worker-allowed={allowed}", {"scope": "/"}
    for allowed in ("%252F", "%2F%252e%252e%2F", "%2F%5C..%2F", "%2F%3F", "{origin}%2F", "%2F%2F{host}%2F"):
        yield f"{prefix}/files/sw.js?%2BService-Worker-Allowed={allowed}", {"scope": "/"}
    twice = "%2BService-Worker-Allowed=%2Ffiles%2F&%2BService-Worker-Allowed=%2F"
    for scope in wider:
        yield f"{prefix}/files/sw.js?%2BService-Worker-Allowed=%2F", {"scope": scope}
        yield f"{prefix}/files/sw.js?{twice}", {"scope": scope, "type": "module", "updateViaCache": "all"}
        yield f"{prefix}/files/sw.js?%2BSERVICE-WORKER-ALLOWED={scope.replace('/', '%2F')}", {"scope": scope}
        yield f"{prefix}/files/..%2f..%2fsw.js", {"scope": scope}
        yield f"{prefix}/files/..%5c..%5csw.js", {"scope": scope}
        yield f"{prefix}/files/%2e%2e/%2e%2e/sw.js?%2BService-Worker-Allowed=%2F", {"scope": scope}
        yield f"{prefix}/..;/sw.js?%2BService-Worker-Allowed=%2F", {"scope": scope}
        yield f"{prefix}/redirect.js", {"scope": scope}
        yield "/sw.js?%2BService-Worker-Allowed=%2F", {"scope": scope}
        yield "/api/sw.js?%2BService-Worker-Allowed=%2F", {"scope": scope}
    for script in ("/.nbgate/portal.js", "/.nbgate/", "/api/gateway/v1/instances", "/neighbour/sw.js"):
        yield script, {}
    yield "/sw.js", {}
    yield "/api/sw.js", {}
    yield "data:text/javascript,0", {"scope": "/"}


@pytest.mark.parametrize("at", sorted(PREFIXES))
def test_no_worker_of_a_notebooks_page_covers_more_than_its_mount(
    gate: Background, page: Page, at: str
) -> None:
    """N6: one visit installed a worker that answered the portal and other notebooks, and saw unspent links."""
    neighbour = enter(gate, page)
    origin, prefix = origin_of(gate, at), PREFIXES[at]
    assert (
        title(page, f"{origin}{prefix}/index.html?%2BLink=%3C%2Fsw.js%3E%3Brel%3Dserviceworker") == "hostile"
    )
    host = origin.partition("//")[2]
    for script, options in attempts(prefix):
        register(page, script.format(origin=origin.replace("/", "%2F"), host=host), options)
    # Workers do work here, within the mount: what was allowed everything was allowed that.
    own = f"{origin}{prefix}/codeserver/"
    script = f"{prefix}/codeserver/js/sw.js?%2BService-Worker-Allowed=%2F"
    assert register(page, script, {"scope": f"{prefix}/codeserver/"}) == own
    assert title(page, f"{own}lab") == "owned"

    scopes = page.evaluate(
        "async () => (await navigator.serviceWorker.getRegistrations()).map(one => one.scope)"
    )
    assert own in scopes
    beyond = [f"{origin}{path}" for path in ("/.nbgate/", "/api/gateway/v1/instances")]
    beyond += [f"{gate.origin}/.nbgate/", neighbour]
    assert [scope for scope in scopes if any(url.startswith(scope) for url in beyond)] == []
    assert all(scope.startswith(f"{origin}{prefix}/") and scope != f"{origin}/" for scope in scopes)
    for url in beyond:
        assert title(page, url) != "owned", url
    assert title(page, neighbour) == "quiet"
    assert "neighbour" in page.evaluate("fetch('/api/gateway/v1/instances').then(answer => answer.text())")
    refused = [line for line in gate.rig.log_lines() if line.get("error") == "WORKER_REFUSED"]
    assert len(refused) > 10


CLEARING = ('"*"', '"cookies"', '"storage"', '"cache", "cookies", "storage", "executionContexts"')
KEEP = """async () => {
    localStorage.setItem("kept", "1");
    document.cookie = "kept=1; path=/neighbour/";
    await (await caches.open("kept")).put("/neighbour/kept", new Response("1"));
}"""
IS_KEPT = """async () => [
    localStorage.getItem("kept"), document.cookie.includes("kept=1"), await caches.has("kept")]"""


def clear(page: Page, url: str) -> None:
    """Load what would clear the site: as a page, and as what a page asks for by itself."""
    for name in ("Clear-Site-Data", "clear-site-data"):
        for value in CLEARING:
            query = f"?%2B{name}={value.replace(' ', '%20')}"
            page.goto(f"{url}{query}")
            page.evaluate("url => fetch(url).then(answer => answer.text())", f"{url}{query}")


@pytest.mark.parametrize("at", ["root", "path"])
def test_a_notebook_clears_nothing_of_its_neighbours(gate: Background, page: Page, at: str) -> None:
    """N6: `Clear-Site-Data` logged neighbours out, and deleted what they had stored."""
    neighbour = enter(gate, page)
    page.evaluate(KEEP)
    clear(page, f"{origin_of(gate, at)}{PREFIXES[at]}/x.html")
    assert title(page, neighbour) == "quiet"
    assert page.evaluate(IS_KEPT) == ["1", True, True]


def test_a_notebook_with_an_origin_of_its_own_clears_what_it_stored_there(
    gate: Background, page: Page
) -> None:
    """So that the test above could fail: this Chromium does clear, on http at loopback, too."""
    neighbour = enter(gate, page)
    page.evaluate(KEEP)
    url = f"{origin_of(gate, 'own')}/x.html"
    page.goto(url)
    page.evaluate("() => { localStorage.setItem('kept', '1'); document.cookie = 'kept=1'; }")
    clear(page, url)
    page.goto(url)
    assert page.evaluate("[localStorage.getItem('kept'), document.cookie.includes('kept=1')]") == [None, True]
    assert title(page, neighbour) == "quiet"
    assert page.evaluate(IS_KEPT) == ["1", True, True]
