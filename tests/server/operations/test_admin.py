"""The admin listener: alive is not ready, and it tells nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp.test_utils import TestClient

from proxy.server.operations.admin import Readiness, admin_application


@dataclass
class State:
    """What the server would say."""

    now: Readiness = field(default_factory=lambda: Readiness(ready=True, details={"listeners": 2}))


def metrics(accept: str) -> tuple[bytes, str]:
    return f"# for {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def client(state: State, aiohttp_client: Callable[..., Awaitable[TestClient]]) -> TestClient:
    return await aiohttp_client(admin_application(lambda: state.now, metrics))


async def test_healthz_is_ok_while_the_process_lives_even_when_it_is_not_ready(
    client: TestClient, state: State
) -> None:
    state.now = Readiness(ready=False, details={"draining": True})
    response = await client.get("/healthz")
    assert (response.status, await response.text()) == (200, "ok\n")


async def test_readyz_is_200_with_its_details_when_ready(client: TestClient) -> None:
    response = await client.get("/readyz")
    assert response.status == 200
    assert await response.json() == {"ready": True, "details": {"listeners": 2}}


async def test_readyz_is_503_and_says_why_when_not(client: TestClient, state: State) -> None:
    state.now = Readiness(ready=False, details={"draining": True, "config": "loaded"})
    response = await client.get("/readyz")
    assert response.status == 503
    assert await response.json() == {"ready": False, "details": {"draining": True, "config": "loaded"}}


async def test_readiness_is_asked_anew_each_time(client: TestClient, state: State) -> None:
    assert (await client.get("/readyz")).status == 200
    state.now = Readiness(ready=False)
    assert (await client.get("/readyz")).status == 503


async def test_head_works_for_probes_that_use_it(client: TestClient) -> None:
    assert (await client.head("/healthz")).status == 200


async def test_metrics_are_what_the_server_counts_in_the_format_that_is_asked_for(client: TestClient) -> None:
    response = await client.get("/metrics", headers={"Accept": "text/plain"})
    assert (response.status, await response.text()) == (200, "# for text/plain\n")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_anything_else_is_404_as_json_without_repeating_it(client: TestClient) -> None:
    response = await client.get("/metrics<script>")
    assert response.status == 404
    assert await response.json() == {
        "success": False,
        "error": {"code": "NOT_FOUND", "message": "Here are /healthz, /readyz and /metrics."},
    }


async def test_other_methods_are_405_as_json_with_what_is_allowed(client: TestClient) -> None:
    response = await client.post("/readyz")
    assert response.status == 405
    assert response.headers["Allow"] == "GET,HEAD"
    assert (await response.json())["error"]["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_no_answer_is_cached_or_names_the_software_version(client: TestClient, path: str) -> None:
    response = await client.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Server"] == "nbgate"
