"""The portal: each caller sees what it may reach and presses what it may press, and nobody else's page does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from proxy.lifecycle.judge import IdleFinding, IdleVerdict
from proxy.sandbox.instance import InstanceSpec
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, config_for, open_rig, status_of
from tests.harness.portals import HTML, Form, Shown, location, post_form, shown

SPECS = (
    InstanceSpec(name="research-gpu-1"),
    InstanceSpec(name="sleeper", status="Stopped"),
    InstanceSpec(name="broken", status="Failed", failure_reason="no capacity in subnet-0123456789abcdef0"),
)
NO_START = {
    "Sid": "NobodyStarts",
    "Effect": "Deny",
    "Action": ["sagemaker:StartNotebookInstance", "sagemaker:StopNotebookInstance"],
    "Resource": "*",
}
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    "sleeper": {"notebook": "sleeper", "mount": {"path": "/sleeper/"}},
    "broken": {"notebook": "broken", "mount": {"path": "/broken/"}},
    "guarded": {"notebook": "sleeper", "mount": {"path": "/guarded/"}, "statements": [NO_START]},
    "secret": {"notebook": "research-gpu-1", "mount": {"path": "/secret/"}, "allow": ["elsewhere"]},
    "own": {"notebook": "research-gpu-1", "mount": {"host": "own.localhost"}},
}
START, STOP = "/.nbgate/start/", "/.nbgate/stop/"


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[Rig]:
    async with open_rig(
        tmp_path, instances=SPECS, mounted=MOUNTED, clock=FakeClock(), sandbox_clock=FakeClock()
    ) as rig:
        yield rig


def offered(rig: Rig, name: str, action: str) -> str:
    """The token of a button as a page would have offered it to this machine."""
    leads_to = rig.gateway.reloader.settings.leads_to(name)
    return rig.gateway.serving.forms.issue(
        address="127.0.0.1", instance=name, leads_to=leads_to, action=action
    )


async def test_only_what_this_caller_may_reach_is_there_with_its_state(house: Rig) -> None:
    page = await shown(house)
    assert page.cards == {
        "research": "Running",
        "sleeper": "Stopped",
        "broken": "Failed",
        "guarded": "Stopped",
        "own": "Running",
    }
    assert "secret" not in page.text
    assert "127.0.0.1" in page.text
    assert "ml.t3.medium" in page.text


async def test_links_lead_to_each_mount_at_the_host_that_was_called(house: Rig) -> None:
    for host in ("127.0.0.1", "localhost"):
        links = (await shown(house, host=f"{host}:{house.port}")).links
        assert f"http://{host}:{house.port}/research/" in links
        assert f"http://{host}:{house.port}/research/lab" in links
        assert f"http://{host}:{house.port}/research/tree" in links
        assert f"http://own.localhost:{house.port}/" in links


async def test_buttons_are_there_for_who_may_press_them(house: Rig) -> None:
    actions = {form.action for form in (await shown(house)).forms}
    assert actions == {
        f"{STOP}research",
        f"{START}sleeper",
        f"{START}broken",
        f"{STOP}own",
    }


async def test_start_starts_and_stop_stops(house: Rig) -> None:
    page = await shown(house)
    answer = await house.raw(post_form(house, page.form(f"{START}sleeper")))
    assert (status_of(answer), location(answer)) == (303, f"{START}sleeper")
    assert house.sandbox.instances["sleeper"].status == "Pending"
    answer = await house.raw(post_form(house, page.form(f"{STOP}research")))
    assert (status_of(answer), location(answer)) == (303, "/")
    assert house.sandbox.instances["research-gpu-1"].status == "Stopping"


async def test_the_second_to_press_is_led_on_like_the_first(house: Rig) -> None:
    form = (await shown(house)).form(f"{START}sleeper")
    for _ in range(2):
        answer = await house.raw(post_form(house, form))
        assert (status_of(answer), location(answer)) == (303, f"{START}sleeper")


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n",
    ],
)
async def test_what_another_sites_page_sends_changes_nothing(house: Rig, extra: str) -> None:
    form = (await shown(house)).form(f"{START}sleeper")
    answer = await house.raw(post_form(house, form, extra=extra))
    assert status_of(answer) == 403
    assert house.sandbox.instances["sleeper"].status == "Stopped"


async def test_a_form_of_another_instance_action_or_without_token_changes_nothing(house: Rig) -> None:
    page = await shown(house)
    start, stop = page.form(f"{START}broken"), page.form(f"{STOP}research")
    for form in (
        replace(start, action=f"{START}sleeper"),
        replace(stop, action=f"{START}sleeper"),
        Form(f"{START}sleeper", {}),
        Form(f"{START}sleeper", {"token": ""}),
        replace(start, action=f"{STOP}broken"),
    ):
        assert status_of(await house.raw(post_form(house, form))) == 403
    assert house.sandbox.calls["StartNotebookInstance"] == 0
    assert house.sandbox.calls["StopNotebookInstance"] == 0


async def test_a_form_of_another_address_changes_nothing(tmp_path) -> None:
    async with open_rig(
        tmp_path,
        instances=SPECS,
        mounted=MOUNTED,
        allowlists={"here": ["127.0.0.0/8", "198.51.100.0/24"], "elsewhere": ["203.0.113.0/24"]},
        client_address={"trusted_proxies": ["127.0.0.1"]},
    ) as rig:
        form = (await shown(rig, extra="X-Forwarded-For: 198.51.100.1\r\n")).form(f"{START}sleeper")
        origin = f"Origin: {rig.origin}\r\n"
        other = await rig.raw(post_form(rig, form, extra=f"{origin}X-Forwarded-For: 198.51.100.2\r\n"))
        assert status_of(other) == 403
        assert rig.sandbox.calls["StartNotebookInstance"] == 0
        same = await rig.raw(post_form(rig, form, extra=f"{origin}X-Forwarded-For: 198.51.100.1\r\n"))
        assert status_of(same) == 303


async def test_an_action_that_the_policy_denies_is_denied_whatever_form_comes(house: Rig) -> None:
    """The token alone opens nothing: it is decided when it is pressed. The denial is on record, with its action."""
    token = offered(house, "guarded", "sagemaker:StartNotebookInstance")
    answer = await house.raw(post_form(house, Form(f"{START}guarded", {"token": token})))
    assert status_of(answer) == 403
    assert house.sandbox.calls["StartNotebookInstance"] == 0
    [line] = [line for line in house.log_lines() if line["kind"] == "audit"]
    assert (line["instance"], line["action"]) == ("guarded", "sagemaker:StartNotebookInstance")
    assert "NobodyStarts" in line["sids"]


async def test_buttons_end_with_the_key_that_signed_them(tmp_path) -> None:
    """As links do: a key that was exchanged because somebody knows it must not sign buttons any more."""
    old, new = "old-key-0123456789-abcdefghijklmnop", "new-key-0123456789-abcdefghijklmnop"
    mounted = {"research": MOUNTED["research"]}
    async with open_rig(tmp_path, mounted=mounted, clock=FakeClock(), tokens={"key": old}) as rig:

        async def exchange(key: Any) -> None:
            file = tmp_path / "nbgate.yaml"
            file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "tokens": {"key": key}}))
            assert await rig.gateway.reloader.reload_now()

        form = (await shown(rig)).form(f"{STOP}research")
        await exchange([new, old])
        rig.sandbox.instances["research-gpu-1"].status = "Stopped"
        # Both count; that it is stopped already is no fault.
        assert status_of(await rig.raw(post_form(rig, form))) == 303
        await exchange(new)
        assert status_of(await rig.raw(post_form(rig, form))) == 403
        rig.sandbox.instances["research-gpu-1"].status = "InService"
        await rig.gateway.serving.fleet.describe("research", max_age_seconds=0)
        assert status_of(await rig.raw(post_form(rig, (await shown(rig)).form(f"{STOP}research")))) == 303


@pytest.mark.parametrize("name", ["secret", "nothing", "..", "%73ecret"])
async def test_what_may_not_be_reached_is_as_absent_as_what_there_is_not(house: Rig, name: str) -> None:
    answer = await house.get(f"{START}{name}", extra=HTML)
    assert status_of(answer) == 404
    form = (await shown(house)).form(f"{START}sleeper")
    assert status_of(await house.raw(post_form(house, replace(form, action=f"{START}{name}")))) == 404


async def test_the_door_of_an_instance_in_service_leads_into_it(house: Rig) -> None:
    answer = await house.get(f"{START}research", extra=HTML)
    assert (status_of(answer), location(answer)) == (303, f"{house.origin}/research/")


async def test_the_door_of_a_stopped_instance_says_so_and_offers_to_start_it(house: Rig) -> None:
    for target in (f"{START}sleeper", "/sleeper/lab"):
        page = await shown(house, target)
        assert "The notebook instance is stopped" in page.text
        assert status_of(await house.raw(post_form(house, page.form(f"{START}sleeper")))) == 303
        house.sandbox.faults.set_status(status="Stopped", instance="sleeper")


async def test_who_may_not_start_it_is_offered_no_button(house: Rig) -> None:
    for target in (f"{START}guarded", "/guarded/lab"):
        page = await shown(house, target)
        assert "The notebook instance is stopped" in page.text
        assert page.forms == []


async def test_a_failure_is_shown_with_sagemakers_reason_and_none_of_the_accounts_insides(house: Rig) -> None:
    await shown(house)
    for target in ("/", f"{START}broken", "/broken/lab"):
        page = await shown(house, target)
        assert "no capacity in …" in page.text
        assert "subnet-" not in page.text


async def test_an_origin_of_an_instances_own_knows_no_other_instance(house: Rig) -> None:
    """Script in the notebooks there can read these pages."""
    host = f"own.localhost:{house.port}"
    page = await shown(house, "/.nbgate/", host=host)
    assert page.cards == {"own": "Running"}
    assert f"http://{host}/" in page.links
    answer = await house.get(f"{START}sleeper", extra=HTML, host=host)
    assert status_of(answer) == 404


async def test_a_state_that_cannot_be_learnt_is_said_to_be_unknown(house: Rig) -> None:
    house.sandbox.faults.deny(times=99, operation="DescribeNotebookInstance")
    page = await shown(house)
    assert set(page.cards.values()) == {"State unknown"}
    assert "role lacks a permission" in page.text


async def test_a_slow_sagemaker_does_not_hold_the_page_up(tmp_path) -> None:
    clock = FakeClock()
    async with open_rig(
        tmp_path, instances=SPECS, mounted=MOUNTED, clock=clock, sandbox_clock=FakeClock()
    ) as rig:
        rig.sandbox.faults.slow_api(seconds=3600)
        asked = asyncio.ensure_future(shown(rig))
        while not any(task.get_name() == "patience" for task in rig.gateway.process.tasks._tasks):
            await asyncio.sleep(0.001)
        await clock.advance(3)
        page = await asked
        assert set(page.cards.values()) == {"State unknown"}


@pytest.mark.slow
async def test_an_instance_that_a_reload_takes_away_meanwhile_is_gone(tmp_path) -> None:
    clock, slow = FakeClock(), FakeClock()
    async with open_rig(tmp_path, instances=SPECS, mounted=MOUNTED, clock=clock, sandbox_clock=slow) as rig:
        rig.sandbox.faults.slow_api(seconds=2)
        pages = [asyncio.ensure_future(rig.get(target, extra=HTML)) for target in ("/", f"{START}sleeper")]
        async with asyncio.timeout(30):
            while slow.sleeping < 2:
                await asyncio.sleep(0.001)
        left = {"research": MOUNTED["research"]}
        (tmp_path / "nbgate.yaml").write_text(yaml.safe_dump(config_for(rig.sandbox, instances=left)))
        assert await rig.gateway.reloader.reload_now()
        async with asyncio.timeout(30):
            while not all(page.done() for page in pages):
                await slow.advance(2)
                await asyncio.sleep(0.001)
        portal, door = [page.result() for page in pages]
        assert (status_of(portal), status_of(door)) == (200, 404)
        assert Shown(portal).cards == {"research": "Running"}


async def test_nobody_else_may_show_the_portal_in_a_frame_and_nothing_in_it_may_load(house: Rig) -> None:
    answer = await house.get("/", extra=HTML)
    head = answer.partition(b"\r\n\r\n")[0].decode()
    policy = next(line for line in head.split("\r\n") if line.startswith("Content-Security-Policy: "))
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Referrer-Policy: same-origin" in head


async def test_without_any_notebook_the_portal_says_so(tmp_path) -> None:
    secret = {"secret": MOUNTED["secret"]}
    async with open_rig(tmp_path, mounted=secret) as rig:
        page = await shown(rig)
        assert page.cards == {}
        assert "No notebook for your address" in page.text


async def test_an_instance_at_the_root_keeps_its_root_and_the_portal_is_beside_it(rig: Rig) -> None:
    assert (await shown(rig, "/.nbgate/")).cards == {"research": "Running"}
    answer = await rig.get("/", extra=HTML)
    assert b"data-watch" not in answer


IDLE = {"stop_after_idle": "60m"}
AWAKE = "/.nbgate/awake/"


async def test_an_instance_that_is_stopped_when_idle_can_be_kept_awake(tmp_path) -> None:
    mounted = {"research": MOUNTED["research"] | IDLE, "sleeper": MOUNTED["sleeper"] | IDLE}
    async with open_rig(
        tmp_path, instances=SPECS, mounted=mounted, clock=FakeClock(), sandbox_clock=FakeClock()
    ) as rig:
        page = await shown(rig)
        assert [form.action for form in page.forms if AWAKE in form.action] == [f"{AWAKE}research"]
        form = page.form(f"{AWAKE}research")
        for hours in ("", "1e9", "nan", "-1", "3"):
            changed = replace(form, fields=form.fields | {"hours": hours})
            assert status_of(await rig.raw(post_form(rig, changed))) == 400
        kept = replace(form, fields=form.fields | {"hours": "8"})
        answer = await rig.raw(post_form(rig, kept))
        assert (status_of(answer), location(answer)) == (303, "/")
        assert "Kept awake until 08:00 UTC" in (await shown(rig)).text
        # A form that was made to start it does not keep it awake.
        token = offered(rig, "research", "sagemaker:StartNotebookInstance")
        stolen = replace(kept, fields=kept.fields | {"token": token})
        assert status_of(await rig.raw(post_form(rig, stolen))) == 403


async def test_where_another_gateway_stops_instances_there_is_no_promise(tmp_path) -> None:
    """One that is pressed here would be unknown there."""
    mounted = {"research": MOUNTED["research"] | IDLE}
    async with open_rig(
        tmp_path,
        mounted=mounted,
        lifecycle={"stopper": False},
        clock=FakeClock(),
        sandbox_clock=FakeClock(),
    ) as rig:
        page = await shown(rig)
        assert [form.action for form in page.forms if AWAKE in form.action] == []
        assert "Keep awake" not in page.text
        assert "stops by itself" not in page.text
        # The page may have been made before a reload that said so.
        token = offered(rig, "research", "keep awake")
        answer = await rig.raw(post_form(rig, Form(f"{AWAKE}research", {"token": token, "hours": "8"})))
        assert status_of(answer) == 409
        assert b"another gateway decides that" in answer


async def test_who_may_not_start_an_instance_may_not_keep_it_awake(tmp_path) -> None:
    guarded = MOUNTED["research"] | IDLE | {"statements": [NO_START]}
    async with open_rig(
        tmp_path, mounted={"research": guarded}, clock=FakeClock(), sandbox_clock=FakeClock()
    ) as rig:
        assert (await shown(rig)).forms == []
        token = offered(rig, "research", "keep awake")
        form = Form(f"{AWAKE}research", {"token": token, "hours": "8"})
        assert status_of(await rig.raw(post_form(rig, form))) == 403


async def test_what_runs_is_told_where_it_is_known_anyway(tmp_path) -> None:
    """Kernels that compute, from the look at idleness; open WebSockets, from their own register."""
    mounted = {"research": MOUNTED["research"] | IDLE}
    async with open_rig(tmp_path, mounted=mounted, clock=FakeClock(), sandbox_clock=FakeClock()) as rig:
        lifecycle = rig.gateway.serving.idleness.lifecycle
        lifecycle._watches["research"].verdict = IdleVerdict(
            IdleFinding.IN_USE, "a kernel computes", used_at=0.0
        )
        page = await shown(rig)
        assert "a kernel computes" in page.text
        assert "in use" not in page.text
        record = SimpleNamespace(instance="research", relay=None)
        relays: Any = rig.gateway.plane.open.relays
        for number in (1, 2):
            relays[object()] = record
            said = {1: "1 kernel or terminal in use", 2: "2 kernels and terminals in use"}[number]
            assert said in (await shown(rig)).text
        relays.clear()


async def test_a_form_never_leads_to_another_origin(house: Rig) -> None:
    """Browsers hold `form-action` against redirects, too (CSP 3, section 6.4.1)."""
    for name, leads_to in (("own", "/"), ("research", f"{START}research")):
        token = offered(house, name, "sagemaker:StartNotebookInstance")
        form = Form(f"{START}{name}", {"token": token, "then": "open"})
        answer = await house.raw(post_form(house, form))
        assert (status_of(answer), location(answer)) == (303, leads_to)
