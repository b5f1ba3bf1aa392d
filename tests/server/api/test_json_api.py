"""The JSON API: what the portal shows and does, for programs, and nothing for other sites' pages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.sandbox.instance import InstanceSpec
from proxy.server.api.openapi import BASE
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of

SPECS = (
    InstanceSpec(name="research-gpu-1"),
    InstanceSpec(name="sleeper", status="Stopped"),
    InstanceSpec(
        name="broken", status="Failed", failure_reason="role arn:aws:iam::123456789012:role/x is gone"
    ),
)
NO_START = {
    "Sid": "NobodyStarts",
    "Effect": "Deny",
    "Action": "sagemaker:StartNotebookInstance",
    "Resource": "*",
}
UNSEEN = {
    "Sid": "NobodyLooks",
    "Effect": "Deny",
    "Action": "sagemaker:DescribeNotebookInstance",
    "Resource": "*",
}
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    "sleeper": {"notebook": "sleeper", "mount": {"path": "/sleeper/"}},
    "broken": {"notebook": "broken", "mount": {"path": "/broken/"}},
    "guarded": {"notebook": "sleeper", "mount": {"path": "/guarded/"}, "statements": [NO_START]},
    "unseen": {"notebook": "sleeper", "mount": {"path": "/unseen/"}, "statements": [UNSEEN]},
    "secret": {"notebook": "research-gpu-1", "mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
}


@pytest.fixture
async def api(tmp_path) -> AsyncIterator[Rig]:
    async with open_rig(
        tmp_path, instances=SPECS, mounted=MOUNTED, clock=FakeClock(), sandbox_clock=FakeClock()
    ) as rig:
        yield rig


async def get(rig: Rig, path: str, **changes: Any) -> tuple[int, Any]:
    answer = await rig.get(BASE + path, **changes)
    return status_of(answer), json.loads(body_of(answer))


async def post(
    rig: Rig, path: str, body: str = "{}", *, kind: str = "application/json", extra: str = ""
) -> tuple[int, Any]:
    field = f"Content-Type: {kind}\r\n" if kind else ""
    sent = body.encode()
    head = f"POST {BASE}{path} HTTP/1.1\r\nHost: {rig.authority}\r\nConnection: close\r\n{field}{extra}"
    answer = await rig.raw(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
    return status_of(answer), json.loads(body_of(answer))


async def test_instances_are_those_that_this_caller_may_reach(api: Rig) -> None:
    status, told = await get(api, "/instances")
    assert status == 200
    assert told["success"] is True
    by_name = {one["name"]: one for one in told["data"]["instances"]}
    assert by_name.keys() == {"research", "sleeper", "broken", "guarded", "unseen"}
    assert by_name["research"] == {
        "name": "research",
        "url": f"{api.origin}/research/",
        "status": "InService",
        "instance_type": "ml.t3.medium",
        "volume_size_gb": by_name["research"]["volume_size_gb"],
        "modified_at": "2026-01-01T00:00:00Z",
        "failure_reason": None,
        "problem": None,
        "open_websockets": 0,
        "may_start": False,
        "may_stop": True,
        "starting": None,
    }
    assert by_name["broken"]["failure_reason"] == "role … is gone"
    assert by_name["guarded"]["may_start"] is False


async def test_a_state_is_told_to_who_may_describe_it(api: Rig) -> None:
    _, told = await get(api, "/instances/unseen")
    assert (told["data"]["status"], told["data"]["instance_type"]) == (None, None)


async def test_start_and_stop_do_it_and_tell_the_new_state(api: Rig) -> None:
    status, told = await post(api, "/instances/sleeper/start")
    assert (status, told["data"]["status"]) == (202, "Pending")
    assert told["data"]["starting"]["usual_seconds"] is None
    status, told = await post(api, "/instances/research/stop")
    assert (status, told["data"]["status"]) == (202, "Stopping")


async def test_an_instance_is_kept_awake_for_hours_and_no_longer(api: Rig) -> None:
    status, told = await post(api, "/instances/research/awake", '{"hours": 1.5}')
    assert (status, told["data"]) == (200, {"kept_awake_until": "2026-01-01T01:30:00Z"})
    status, told = await post(api, "/instances/research/awake", '{"hours": 0}')
    assert (status, told["data"]) == (200, {"kept_awake_until": None})


@pytest.mark.parametrize(
    "body",
    ["{}", '{"hours": true}', '{"hours": "8"}', '{"hours": -1}', '{"hours": 72.1}', '{"hours": 1e999}'],
)
async def test_hours_are_a_number_within_bounds(api: Rig, body: str) -> None:
    status, told = await post(api, "/instances/research/awake", body)
    assert (status, told["error"]["code"]) == (400, "VALIDATION_ERROR")


async def test_a_retired_platform_is_named_with_the_way_out(api: Rig) -> None:
    api.sandbox.faults.set_platform(platform="notebook-al2-v2", instance="sleeper")
    status, told = await post(api, "/instances/sleeper/start")
    assert status == 502
    assert told["error"]["code"] == "PLATFORM_RETIRED"
    assert "notebook-al2-v2" in told["error"]["message"]
    assert "UpdateNotebookInstance to the platform notebook-al2023-v1" in told["error"]["message"]


async def test_who_may_not_start_an_instance_may_not_keep_it_awake(api: Rig) -> None:
    status, told = await post(api, "/instances/guarded/awake", '{"hours": 8}')
    assert (status, told["error"]["code"]) == (403, "ACCESS_DENIED")


async def test_where_another_gateway_stops_instances_none_is_kept_awake(tmp_path) -> None:
    async with open_rig(
        tmp_path,
        instances=SPECS,
        mounted=MOUNTED,
        lifecycle={"stopper": False, "stop_after_idle": "1h"},
        clock=FakeClock(),
        sandbox_clock=FakeClock(),
    ) as rig:
        status, told = await post(rig, "/instances/research/awake", '{"hours": 8}')
        assert (status, told["error"]["code"]) == (409, "NOT_THE_STOPPER")
        assert "another gateway decides that" in told["error"]["message"]


async def test_a_gateway_that_leaves_promises_nothing(api: Rig) -> None:
    api.gateway.plane.leaving = True
    status, told = await post(api, "/instances/research/awake", '{"hours": 8}')
    assert (status, told["error"]["code"]) == (503, "DRAINING")


async def test_the_wrong_state_is_a_conflict_that_says_which(api: Rig) -> None:
    await get(api, "/instances")
    status, told = await post(api, "/instances/research/start")
    assert (status, told["success"], told["error"]["code"]) == (409, False, "WRONG_STATE")


async def test_what_the_policy_denies_is_denied_and_audited(api: Rig) -> None:
    status, told = await post(api, "/instances/guarded/start")
    assert (status, told["error"]["code"]) == (403, "ACCESS_DENIED")
    assert api.sandbox.calls["StartNotebookInstance"] == 0
    [line] = [line for line in api.log_lines() if line["kind"] == "audit"]
    assert (line["instance"], line["action"]) == ("guarded", "sagemaker:StartNotebookInstance")


@pytest.mark.parametrize("name", ["secret", "nothing", "%72esearch", "..", "a" * 100])
async def test_what_may_not_be_reached_is_as_absent_as_what_there_is_not(api: Rig, name: str) -> None:
    assert (await get(api, f"/instances/{name}"))[0] == 404
    assert (await post(api, f"/instances/{name}/start"))[0] == 404
    assert (await post(api, f"/instances/{name}/url"))[0] == 404


async def test_the_address_of_an_instance(api: Rig) -> None:
    status, told = await post(api, "/instances/research/url", '{"session_seconds": 3600}')
    assert (status, told["data"]) == (200, {"url": f"{api.origin}/research/", "expires_at": None})


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "1",
        "null",
        "{",
        "\xff",
        '{"session_seconds": 1799}',
        '{"session_seconds": 43201}',
        '{"session_seconds": true}',
        '{"session_seconds": "3600"}',
        '{"session_seconds": 3600.5}',
        '{"session_seconds": 1e400}',
        '{"session_seconds": NaN}',
        '{"session_seconds": 3600, "session_seconds": 3601}',
        '{"other": 1}',
        "[" * 4000,
    ],
)
async def test_a_body_that_is_not_what_is_asked_for_is_refused(api: Rig, body: str) -> None:
    status, told = await post(api, "/instances/research/url", body)
    assert (status, told["error"]["code"]) == (400, "VALIDATION_ERROR")


async def test_a_body_without_end_is_refused(api: Rig) -> None:
    status, told = await post(api, "/instances/research/url", " " * 5000)
    assert (status, told["error"]["code"]) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_a_body_of_another_kind_is_refused(api: Rig, kind: str) -> None:
    """What a page of another site can send without asking first (Fetch, "CORS-safelisted request-header")."""
    status, told = await post(api, "/instances/sleeper/start", kind=kind)
    assert (status, told["error"]["code"]) == (415, "MEDIA_TYPE_REFUSED")
    assert api.sandbox.calls["StartNotebookInstance"] == 0


@pytest.mark.parametrize(
    "extra",
    [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n",
    ],
)
async def test_what_another_sites_page_sends_changes_nothing(api: Rig, extra: str) -> None:
    status, told = await post(api, "/instances/sleeper/start", extra=extra)
    assert (status, told["error"]["code"]) == (403, "ORIGIN_REFUSED")
    assert api.sandbox.calls["StartNotebookInstance"] == 0


@pytest.mark.parametrize(
    "query", ["?a=b", "?ip", "?ip=1.2.3.4&ip=1.2.3.4", "?%", "?ip=010.0.0.1", "?ip=x", "?ip="]
)
async def test_a_query_that_is_not_what_is_asked_for_is_refused(api: Rig, query: str) -> None:
    assert (await get(api, f"/explain{query}"))[0] == 400


async def test_other_methods_are_405_with_those_that_there_are(api: Rig) -> None:
    for method, path, allowed in (
        ("DELETE", "/instances", b"GET, HEAD"),
        ("GET", "/instances/sleeper/start", b"POST"),
        ("OPTIONS", "/explain", b"GET, HEAD"),
        ("TRACE", "/explain", b"GET, HEAD"),
    ):
        answer = await api.get(BASE + path, method=method)
        assert status_of(answer) == 405
        assert b"\r\nAllow: " + allowed + b"\r\n" in answer


async def test_errors_are_json_even_for_a_browser(api: Rig) -> None:
    html = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"
    for target, status in ((f"{BASE}/instances/nothing", 404), (f"{BASE}/nothing", 404)):
        answer = await api.get(target, extra=html)
        assert status_of(answer) == status
        assert json.loads(body_of(answer))["success"] is False


async def test_the_callers_own_address_is_explained_by_ids_alone(api: Rig) -> None:
    for query in ("", "?ip=127.0.0.1", "?ip=127.0.0.1&instance=guarded", "?ip=::ffff:127.0.0.1"):
        status, told = await get(api, f"/explain{query}")
        assert status == 200
        assert told["data"]["client_address"] == "127.0.0.1"
        by_name = {one["name"]: one["decisions"] for one in told["data"]["instances"]}
        assert "secret" not in by_name
        [start] = [one for one in by_name["guarded"] if one["action"] == "sagemaker:StartNotebookInstance"]
        assert (start["allowed"], start["sids"]) == (False, ["NobodyStarts"])
        assert "127.0.0.0" not in json.dumps(told), "no list's content"


async def test_neither_another_address_nor_an_instance_out_of_reach_is_explained(api: Rig) -> None:
    status, told = await get(api, "/explain?ip=203.0.113.9")
    assert (status, told["error"]["code"]) == (403, "ACCESS_DENIED")
    assert (await get(api, "/explain?instance=secret"))[0] == 404


async def test_trouble_with_sagemaker_is_said_and_is_no_500(api: Rig) -> None:
    api.sandbox.faults.deny(times=99, operation="StartNotebookInstance")
    status, told = await post(api, "/instances/sleeper/start")
    assert (status, told["error"]["code"]) == (502, "PERMISSION_MISSING")
    assert "arn:" not in json.dumps(told)


GUARDED = {"research": MOUNTED["research"] | {"access": "presigned"}, "secret": MOUNTED["secret"]}


async def test_a_link_to_a_guarded_instance_brings_what_opens_it(tmp_path) -> None:
    async with open_rig(tmp_path, mounted=GUARDED, clock=FakeClock(), sandbox_clock=FakeClock()) as rig:
        assert status_of(await rig.get("/research/api/status")) == 401
        status, told = await post(rig, "/instances/research/url", '{"session_seconds": 1800}')
        assert (status, told["data"]["expires_at"]) == (200, "2026-01-01T00:05:00Z")
        target = told["data"]["url"].removeprefix(rig.origin)
        assert target.startswith("/research/?authToken=")
        answer = await rig.get(target, extra="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
        assert status_of(answer) == 302
        assert b"\r\nSet-Cookie: " in answer


async def test_no_link_to_a_guarded_instance_is_made_for_a_page_or_beside_signatures(tmp_path) -> None:
    """Script in a notebook at the same origin could ask for one with its reader's address."""
    page = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n"
    async with open_rig(tmp_path, mounted=GUARDED, clock=FakeClock(), sandbox_clock=FakeClock()) as rig:
        for extra in (page, f"Origin: {rig.origin}\r\n", page + f"Origin: {rig.origin}\r\n"):
            status, told = await post(rig, "/instances/research/url", extra=extra)
            assert (status, told["error"]["code"]) == (403, "ACCESS_DENIED")
        assert [line["instance"] for line in rig.log_lines() if line["kind"] == "audit"] == ["research"] * 3
    keys = {"NBGATECI0001": {"secret": "0123456789abcdef" * 4}}
    async with open_rig(
        tmp_path, mounted=GUARDED, clock=FakeClock(), sandbox_clock=FakeClock(), api_keys=keys
    ) as rig:
        assert (await post(rig, "/instances/research/url"))[0] == 403
