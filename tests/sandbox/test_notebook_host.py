"""The notebook host's door: tokens, sessions, the shapes of both, the IP condition, and faults."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from proxy.sandbox.instance import InstanceSpec, Loading, SignedOutShape, SignInShape
from proxy.sandbox.notebook_host import DropAt
from proxy.sandbox.sandbox import Sandbox
from tests.harness.certificates import self_signed, serving, trusting
from tests.harness.clocks import FakeClock
from tests.harness.waiting import eventually
from tests.sandbox.sandbox_calls import NAME, UPGRADE, Call, sagemaker_client

SIGN_IN_HOST = "signin.aws.amazon.com"


async def is_signed_in(browser: aiohttp.ClientSession, sandbox: Sandbox) -> bool:
    async with browser.get(f"{sandbox.origins[NAME]}/api/status", allow_redirects=False) as response:
        return response.status == 200


async def test_the_token_buys_cookies_and_leads_to_the_same_url_without_it(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    deep = url.with_path("/lab/tree/a%2Fb", encoded=True, keep_query=True)
    more = URL(f"{deep}&view=lab&q=%2B", encoded=True)
    async with browser.get(more, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/lab/tree/a%2Fb?view=lab&q=%2B"
        cookies = response.headers.getall("Set-Cookie")
    assert [cookie.split("=")[0] for cookie in cookies] == ["nb-auth", "nb-session"]
    assert all(cookie.endswith("; Path=/; HttpOnly; SameSite=Lax") for cookie in cookies)
    assert await is_signed_in(browser, sandbox)


async def test_a_chain_of_two_redirects_sets_a_part_of_the_cookies_each(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    sandbox.faults.sign_in_as(shape=SignInShape.CHAIN)
    async with browser.get(url.with_path("/lab", keep_query=True), allow_redirects=False) as first:
        assert [cookie.split("=")[0] for cookie in first.headers.getall("Set-Cookie")] == ["nb-auth"]
    assert not await is_signed_in(browser, sandbox)
    async with browser.get(
        sandbox.origins[NAME] + first.headers["Location"], allow_redirects=False
    ) as second:
        assert [cookie.split("=")[0] for cookie in second.headers.getall("Set-Cookie")] == ["nb-session"]
        assert second.headers["Location"] == "/lab"
    assert await is_signed_in(browser, sandbox)


async def test_the_page_itself_may_come_with_the_cookies(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    sandbox.faults.sign_in_as(shape=SignInShape.DIRECT)
    async with browser.get(url, allow_redirects=False) as response:
        assert response.status == 200
        assert len(response.headers.getall("Set-Cookie")) == 2
        assert (await response.json())["target"] == "/"
    assert await is_signed_in(browser, sandbox)


async def test_every_cookie_is_needed(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, browser: aiohttp.ClientSession
) -> None:
    browser.cookie_jar.clear(lambda cookie: cookie.key == "nb-auth")
    assert not await is_signed_in(browser, sandbox)


async def test_a_url_lives_five_minutes(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession, clock: FakeClock
) -> None:
    await clock.advance(299.9)
    async with browser.get(url, allow_redirects=False) as response:
        assert response.headers["Location"] == "/"
    await clock.advance(0.1)
    async with browser.get(url, allow_redirects=False) as response:
        assert URL(response.headers["Location"]).host == SIGN_IN_HOST
        assert "authToken" not in response.headers["Location"]
    assert sandbox.instances[NAME].counts.sign_ins == 1
    assert sandbox.instances[NAME].counts.sign_in_failures == 1


@pytest.mark.parametrize("seconds", [1800, 43200])
async def test_a_session_lives_as_long_as_was_asked_for(
    sandbox: Sandbox, call: Call, browser: aiohttp.ClientSession, clock: FakeClock, seconds: int
) -> None:
    answer = await call(
        "create_presigned_notebook_instance_url",
        NotebookInstanceName=NAME,
        SessionExpirationDurationInSeconds=seconds,
    )
    async with browser.get(answer["AuthorizedUrl"]):
        pass
    await clock.advance(seconds - 1)
    assert await is_signed_in(browser, sandbox)
    await clock.advance(1)
    assert not await is_signed_in(browser, sandbox)


async def test_a_url_may_be_good_for_one_use(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    sandbox.instances[NAME].single_use_urls = True
    for location in ("/", "https://signin"):
        async with browser.get(url, allow_redirects=False) as response:
            assert response.headers["Location"].startswith(location)


async def test_a_token_of_one_instance_opens_no_other(
    clock: FakeClock, browser: aiohttp.ClientSession
) -> None:
    async with Sandbox([InstanceSpec(name="a"), InstanceSpec(name="b")], clock=clock) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(
            client.create_presigned_notebook_instance_url, NotebookInstanceName="a"
        )
        elsewhere = answer["AuthorizedUrl"].replace(sandbox.origins["a"], sandbox.origins["b"])
        async with browser.get(elsewhere, allow_redirects=False) as response:
            assert URL(response.headers["Location"]).host == SIGN_IN_HOST


@pytest.mark.parametrize(
    ("shape", "status"),
    [
        (SignedOutShape.REDIRECT, 302),
        (SignedOutShape.CONSOLE, 302),
        (SignedOutShape.UNAUTHORIZED, 401),
        (SignedOutShape.FORBIDDEN, 403),
        (SignedOutShape.PAGE, 200),
    ],
)
async def test_not_signed_in_comes_in_all_shapes_on_http_and_on_the_upgrade(
    sandbox: Sandbox, browser: aiohttp.ClientSession, shape: SignedOutShape, status: int
) -> None:
    sandbox.faults.signed_out_as(shape=shape)
    for headers in ({}, UPGRADE):
        async with browser.get(
            f"{sandbox.origins[NAME]}/api/status", headers=headers, allow_redirects=False
        ) as response:
            assert response.status == status
            if shape is SignedOutShape.REDIRECT:
                assert URL(response.headers["Location"]).host == SIGN_IN_HOST
            elif shape is SignedOutShape.CONSOLE:
                location = URL(response.headers["Location"])
                assert location.host == "us-east-1.console.aws.amazon.com"
                assert base64.b64decode(location.query["notebookState"]) == b"/api/status"
                assert location.fragment == f"/notebook-instances/openNotebook/{NAME}"
            else:
                assert response.content_type == "text/html"
    assert sandbox.instances[NAME].counts.signed_out == 2
    assert sandbox.plain[NAME].seen == []


async def test_the_hosts_cookies_stop_at_the_host(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    jar = {cookie.key: cookie.value for cookie in signed_in.cookie_jar}
    line = f"_xsrf=1; nb-auth={jar['nb-auth']}; _xsrf=2; nb-session={jar['nb-session']}; username-x=a b"
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as plain,
        plain.get(f"{sandbox.origins[NAME]}/x", headers={"Cookie": line}) as response,
    ):
        assert response.status == 200
    assert sandbox.plain[NAME].seen[-1].values("Cookie") == ["_xsrf=1; _xsrf=2; username-x=a b"]
    async with signed_in.get(f"{sandbox.origins[NAME]}/x"):
        pass
    assert sandbox.plain[NAME].seen[-1].values("Cookie") == []


async def test_a_later_answer_may_set_a_session_cookie_again(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    before = {cookie.key: cookie.value for cookie in signed_in.cookie_jar}
    sandbox.instances[NAME].reissue_cookies = True
    async with signed_in.get(f"{sandbox.origins[NAME]}/x") as response:
        assert [cookie.split("=")[0] for cookie in response.headers.getall("Set-Cookie")] == ["nb-session"]
    after = {cookie.key: cookie.value for cookie in signed_in.cookie_jar}
    assert after["nb-session"] != before["nb-session"]
    assert await is_signed_in(signed_in, sandbox)


async def test_the_ip_condition_holds_for_the_peer(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    sandbox.instances[NAME].networks = ["192.0.2.0/24"]
    async with browser.get(url, headers={"X-Forwarded-For": "192.0.2.1"}) as response:
        assert response.status == 403
    assert sandbox.instances[NAME].counts.denied == 1
    sandbox.instances[NAME].networks = ["192.0.2.0/24", "127.0.0.0/8"]
    async with browser.get(url) as response:
        assert response.status == 200


async def test_a_stopped_instance_signs_everybody_out(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    sandbox.faults.set_status(status="Stopped")
    async with signed_in.get(f"{sandbox.origins[NAME]}/x") as response:
        assert response.status == 400
    sandbox.faults.set_status(status="InService")
    assert not await is_signed_in(signed_in, sandbox)


async def test_everybody_may_be_signed_out_now(
    sandbox: Sandbox, url: URL, signed_in: aiohttp.ClientSession
) -> None:
    sandbox.faults.expire_sessions()
    assert not await is_signed_in(signed_in, sandbox)
    async with signed_in.get(url):
        pass
    assert await is_signed_in(signed_in, sandbox)
    sandbox.faults.expire_urls()
    sandbox.faults.expire_sessions()
    async with signed_in.get(url, allow_redirects=False) as response:
        assert URL(response.headers["Location"]).host == SIGN_IN_HOST


async def test_slow_waits_by_the_clock(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, clock: FakeClock
) -> None:
    sandbox.faults.slow(seconds=7)
    pending = asyncio.ensure_future(is_signed_in(signed_in, sandbox))
    await eventually(lambda: clock.sleeping)
    await clock.advance(6)
    assert not pending.done()
    await clock.advance(1)
    assert await pending


async def test_a_connection_dropped_before_the_head(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    sandbox.faults.drop(times=1)
    # A POST: the client would repeat a GET by itself.
    with pytest.raises(aiohttp.ClientConnectionError):
        await signed_in.post(f"{sandbox.origins[NAME]}/x")
    async with signed_in.post(f"{sandbox.origins[NAME]}/x") as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["bytes", "chunks"])
async def test_a_connection_dropped_within_the_body_never_looks_complete(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, path: str
) -> None:
    sandbox.faults.drop(at=DropAt.BODY, after_bytes=1000)
    async with signed_in.get(f"{sandbox.origins[NAME]}/{path}/200000") as response:
        assert response.status == 200
        assert len(await response.content.readexactly(1000)) == 1000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_refuse_breaks_what_is_open_and_accept_listens_on_the_same_port(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    origin = sandbox.origins[NAME]
    async with signed_in.ws_connect(f"{origin}/ws") as socket:
        await sandbox.faults.refuse()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSED
    with pytest.raises(aiohttp.ClientConnectorError):
        await is_signed_in(signed_in, sandbox)
    await sandbox.faults.accept()
    assert sandbox.origins[NAME] == origin
    assert await is_signed_in(signed_in, sandbox)


async def test_open_websockets_can_be_cut(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws") as socket:
        await socket.send_str("there?")
        assert await socket.receive_str() == "there?"
        assert sandbox.hosts[NAME].open_websockets == 1
        sandbox.faults.expire_sessions()
        await socket.send_str("still there?")
        assert await socket.receive_str() == "still there?"
        sandbox.faults.drop_websockets()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSED
        assert socket.close_code != aiohttp.WSCloseCode.GOING_AWAY


@pytest.mark.parametrize("code", [1000, 1001])
async def test_open_websockets_can_be_closed_by_the_host_itself(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, code: int
) -> None:
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws", autoclose=False) as socket:
        await socket.send_str("there?")
        assert await socket.receive_str() == "there?"
        await sandbox.faults.apply({"fault": "close_websockets", "code": code})
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)


STEERING = ["authMode", "expiryTime", "redirectURL", "ssoExpiryTimestamp"]


async def test_a_loading_page_stands_in_jupyters_place(
    sandbox: Sandbox, url: URL, signed_in: aiohttp.ClientSession
) -> None:
    origin = sandbox.origins[NAME]
    async with signed_in.ws_connect(f"{origin}/ws") as socket:
        sandbox.faults.load()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSED
    async with aiohttp.ClientSession() as stranger:
        for path, headers in (("/lab", {}), ("/api/status", {}), ("/proxy/8501/", {}), ("/ws", UPGRADE)):
            async with signed_in.get(f"{origin}{path}", headers=headers) as response:
                assert (response.status, response.content_type) == (200, "text/html")
                assert 'http-equiv="refresh"' in await response.text()
                assert "Server" not in response.headers or "Tornado" not in response.headers["Server"]
            async with stranger.get(f"{origin}{path}", allow_redirects=False) as response:
                assert response.status == 302
        await sandbox.faults.apply({"fault": "load", "shape": "everybody", "status": 202})
        async with stranger.get(url, allow_redirects=False) as response:
            assert (response.status, response.content_type) == (202, "text/html")
            assert "Set-Cookie" not in response.headers
    await sandbox.faults.clear()
    assert await is_signed_in(signed_in, sandbox)
    assert sandbox.instances[NAME].counts.sign_ins == 1


@pytest.mark.parametrize("status", [400, 404, 502])
async def test_the_front_end_may_answer_by_itself_while_the_api_says_in_service(
    sandbox: Sandbox, call: Call, signed_in: aiohttp.ClientSession, status: int
) -> None:
    await sandbox.faults.apply({"fault": "answer", "status": status})
    before = len(sandbox.plain[NAME].seen)
    async with signed_in.get(f"{sandbox.origins[NAME]}/api/status") as response:
        assert response.status == status
    assert len(sandbox.plain[NAME].seen) == before
    described = await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert described["NotebookInstanceStatus"] == "InService"
    await sandbox.faults.apply({"fault": "answer", "status": 0})
    assert await is_signed_in(signed_in, sandbox)


async def test_fields_of_jupyters_answers_may_be_hidden(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession
) -> None:
    target = f"{sandbox.origins[NAME]}/status/403"
    async with signed_in.get(target) as response:
        assert response.headers["Server"].startswith("TornadoServer")
    await sandbox.faults.apply({"fault": "hide"})
    async with signed_in.get(target) as response:
        assert response.headers["Server"] == "front-end"
    await sandbox.faults.apply({"fault": "hide", "fields": ["x-repeated"]})
    async with signed_in.get(f"{sandbox.origins[NAME]}/repeated") as response:
        assert "X-Repeated" not in response.headers
        assert len(response.headers.getall("Set-Cookie")) == 2


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_html_may_come_compressed_whatever_was_asked_for(
    sandbox: Sandbox, signed_in: aiohttp.ClientSession, coding: str
) -> None:
    page = "<p>" + "x" * 100_000

    async def html(request: web.BaseRequest) -> web.StreamResponse:
        is_page = request.raw_path == "/lab"
        return web.Response(text=page, content_type="text/html" if is_page else "text/plain")

    sandbox.plain[NAME].handler = html
    await sandbox.faults.apply({"fault": "compress", "coding": coding})
    for path, expected in (("/lab", coding), ("/api/x", None)):
        for method in ("GET", "HEAD"):
            async with signed_in.request(
                method, f"{sandbox.origins[NAME]}{path}", headers={"Accept-Encoding": "identity"}
            ) as response:
                if method == "GET":
                    assert response.headers.get("Content-Encoding") == expected
                    assert await response.text() == page
    with pytest.raises(ValueError, match="unknown coding 'br'; there are gzip, deflate"):
        sandbox.faults.compress(coding="br")


async def test_cookies_that_steer_the_page_depend_on_its_path(
    sandbox: Sandbox, url: URL, signed_in: aiohttp.ClientSession
) -> None:
    await sandbox.faults.apply({"fault": "steer"})
    values = []
    for path in ("/lab", "/proxy/8501/", "/lab"):
        async with signed_in.get(f"{sandbox.origins[NAME]}{path}") as response:
            fields = response.headers.getall("Set-Cookie")
        assert sorted(field.partition("=")[0] for field in fields) == STEERING
        values.append(fields)
    assert values[0] == values[2] != values[1]
    async with signed_in.ws_connect(f"{sandbox.origins[NAME]}/ws") as socket:
        assert len(socket._response.headers.getall("Set-Cookie")) == 4
    sandbox.faults.steer(on=False)
    async with signed_in.get(f"{sandbox.origins[NAME]}/lab") as response:
        assert "Set-Cookie" not in response.headers


async def test_jupyter_may_be_handed_another_host(sandbox: Sandbox, signed_in: aiohttp.ClientSession) -> None:
    await sandbox.faults.apply({"fault": "foreign_host", "host": "localhost:8443"})
    async with signed_in.get(f"{sandbox.origins[NAME]}/x"):
        pass
    assert sandbox.plain[NAME].seen[-1].values("Host") == ["localhost:8443"]


async def test_urls_may_be_good_for_one_use_by_name(
    sandbox: Sandbox, url: URL, browser: aiohttp.ClientSession
) -> None:
    await sandbox.faults.apply({"fault": "single_use_urls"})
    for location in ("/", "https://signin"):
        async with browser.get(url, allow_redirects=False) as response:
            assert response.headers["Location"].startswith(location)


async def test_clear_undoes_faults(sandbox: Sandbox, call: Call, signed_in: aiohttp.ClientSession) -> None:
    sandbox.faults.throttle(times=100)
    sandbox.faults.slow_api(seconds=1000)
    sandbox.faults.slow(seconds=1000)
    sandbox.faults.drop(times=100)
    sandbox.faults.load(shape=Loading.EVERYBODY)
    sandbox.faults.answer(status=502)
    await sandbox.faults.refuse()
    await sandbox.faults.clear()
    await call("describe_notebook_instance", NotebookInstanceName=NAME)
    assert await is_signed_in(signed_in, sandbox)


async def test_a_host_may_speak_tls_and_its_cookies_are_then_secure(
    tmp_path: Path, clock: FakeClock, browser: aiohttp.ClientSession
) -> None:
    file = self_signed(tmp_path, name="IP:127.0.0.1")
    async with Sandbox([InstanceSpec(name=NAME)], clock=clock, tls=serving(file)) as sandbox:
        client = sagemaker_client(sandbox.endpoint_url)
        answer = await asyncio.to_thread(
            client.create_presigned_notebook_instance_url, NotebookInstanceName=NAME
        )
        assert answer["AuthorizedUrl"].startswith("https://127.0.0.1:")
        async with browser.get(answer["AuthorizedUrl"], ssl=trusting(file)) as response:
            assert response.status == 200
            cookies = response.history[0].headers.getall("Set-Cookie")
        assert all(cookie.endswith("; Secure") for cookie in cookies)
