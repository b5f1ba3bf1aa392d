"""The configuration, exchanged under traffic: whole or not at all, and nobody fails for it who is let in."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from yarl import URL

from proxy.aws.cookies import Cookies, parse_set_cookies
from proxy.aws.presigned import SessionKey
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.dataplane.plane import Current
from proxy.errors import ConfigError, Problem
from proxy.rounds import Round, Rounds
from proxy.server import compose
from proxy.server.in_effect import InEffect
from proxy.server.reload import DATE_LOOK_SECONDS, Reloader, servable
from proxy.telemetry.access_log import LogStyle
from proxy.telemetry.events import Threshold, open_events
from proxy.telemetry.sink import LineSink
from proxy.upstream import Origin
from tests.harness.clocks import settle
from tests.harness.gateway import Rig, open_rig, status_of
from tests.harness.keeper import Keeper
from tests.harness.notebook import switching
from tests.harness.plane import OpenPlane, open_plane
from tests.harness.waiting import PATIENCE_SECONDS

ONE, OTHER = "127.0.0.2", "127.0.0.3"
"""Two callers of this machine."""


class ReloadedKeeper(Keeper):
    """A session that is there, until its keeper is closed."""

    def __init__(self, opened: OpenPlane, key: SessionKey) -> None:
        session = opened.keeper.session
        assert session is not None
        origin = session.origin
        cookies = Cookies().apply(
            parse_set_cookies([b"notebook=" + key.notebook.encode()]),
            host=origin.host,
            now=opened.clock.now(),
        )
        super().__init__(replace(session, cookies=cookies))
        self.key = key
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Lines(LineSink):
    """A sink that is a list."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def put(self, line: str) -> None:
        self._lines.append(line)


@dataclass
class Reloading:
    """A data plane whose file can be changed. `made` are the keepers so far, `lines` what was logged."""

    opened: OpenPlane
    reloader: Reloader
    file: Path
    lines: list[str]
    made: list[ReloadedKeeper]

    def write(self, **changes: Any) -> None:
        """Change sections of the file."""
        self.file.write_text(yaml.safe_dump({**yaml.safe_load(self.file.read_text()), **changes}))

    def spoil(self) -> str:
        """Make the file invalid; returns what it was."""
        valid = self.file.read_text()
        self.file.write_text(valid + "\nno_such_key: 1\npolicy: 2\n")
        return valid

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@asynccontextmanager
async def open_reloading(directory: Path, **changes: Any) -> AsyncIterator[Reloading]:
    """A data plane in front of a notebook that the test plays, and what reloads its configuration."""
    async with open_plane(directory, **changes) as opened:
        file = directory / "nbgate.yaml"
        settings = load(file, environ={})
        made: list[ReloadedKeeper] = []

        def make(key: SessionKey) -> Any:
            made.append(ReloadedKeeper(opened, key))
            return made[-1]

        keepers = compose.keepers(settings, make)
        lines: list[str] = []
        threshold = Threshold("info")
        events = open_events(Lines(lines), opened.clock, style=LogStyle.JSON, threshold=threshold)
        make_gateway = partial(
            compose.gateway, audit=lambda inbound, refusal: opened.refusals.append(refusal)
        )
        gateway = make_gateway(settings, at=opened.clock.now())
        await opened.plane.adopt(
            Current(gateway=gateway, keepers=keepers, limits=settings.limits, timeouts=settings.timeouts)
        )
        reloader = Reloader(
            InEffect(settings, gateway),
            keepers=keepers,
            plane=opened.plane,
            load=partial(load, environ={}),
            make_gateway=make_gateway,
            make_keepers=partial(compose.keepers, make=make),
            events=events,
            faults=opened.plane.faults,
            threshold=threshold,
            clock=opened.clock,
        )
        yield Reloading(opened, reloader, file, lines, made)


@pytest.fixture
async def reloading(tmp_path: Path) -> AsyncIterator[Reloading]:
    async with open_reloading(tmp_path) as opened:
        yield opened


# -- whole or not at all ------------------------------------------------------------------------------


async def test_a_valid_change_is_served(reloading: Reloading) -> None:
    opened = reloading.opened
    assert (await opened.get()).status == 200
    reloading.write(policy={"allow": ["elsewhere"]})
    assert await reloading.reloader.reload_now()
    assert (await opened.get()).status == 403
    assert reloading.reloader.status.word == "in effect"
    assert reloading.reloader.status.applied == 1
    [event] = reloading.events()
    assert event["event"] == "configuration reloaded"
    assert event["instances"] == ["research"]


async def test_an_invalid_change_leaves_all_as_it_was_and_is_shouted_with_its_lines(
    reloading: Reloading,
) -> None:
    opened, reloader = reloading.opened, reloading.reloader
    gateway = opened.plane.current.gateway
    valid = reloading.spoil()
    assert not await reloader.reload_now()
    assert opened.plane.current.gateway is gateway
    assert (await opened.get()).status == 200
    assert reloader.status.word == "refused"
    assert reloader.status.details() | {"config_applied_at": ""} == {
        "config": "refused",
        "config_problems": len(reloader.status.problems),
        "config_restart_needed_for": "",
        "config_applied_at": "",
        "reloads_applied": 0,
        "reloads_refused": 1,
    }
    [event] = reloading.events()
    assert event["level"] == "error"
    assert len(event["problems"]) == len(reloader.status.problems) >= 1
    assert all(problem.startswith(f"{reloading.file}:") for problem in event["problems"])
    reloading.file.write_text(valid)
    assert await reloader.reload_now(asked=False)
    assert reloader.status.word == "in effect"
    assert reloading.events()[-1]["event"] == "configuration is in effect"


async def test_what_was_refused_is_refused_again_quietly_unless_somebody_asked(reloading: Reloading) -> None:
    reloading.spoil()
    for asked in (False, False, True):
        await reloading.reloader.reload_now(asked=asked)
    assert reloading.reloader.status.refused == 2
    assert len(reloading.events()) == 2


async def test_a_look_at_a_file_that_says_nothing_new_is_quiet(reloading: Reloading) -> None:
    gateway = reloading.opened.plane.current.gateway
    reloading.file.write_text(f"{reloading.file.read_text()}\n# a comment\n")
    assert await reloading.reloader.reload_now(asked=False)
    assert reloading.opened.plane.current.gateway is gateway
    assert reloading.events() == []


async def test_lines_that_have_moved_are_followed(reloading: Reloading) -> None:
    """Explanations and audit records point at lines; the ones of another version would mislead."""
    before = reloading.reloader.settings.origins
    reloading.file.write_text(f"# a comment\n{reloading.file.read_text()}")
    assert await reloading.reloader.reload_now(asked=False)
    after = reloading.opened.plane.current.gateway.rules.judge.policy("research").statements
    assert {statement.origin for statement in after}.isdisjoint(before)
    assert {statement.origin for statement in after} <= set(reloading.reloader.settings.origins)


async def test_a_file_that_is_missing_for_a_moment_is_refused_like_any_other(reloading: Reloading) -> None:
    content = reloading.file.read_text()
    reloading.file.unlink()
    assert not await reloading.reloader.reload_now()
    assert (await reloading.opened.get()).status == 200
    reloading.file.write_text(content)
    assert await reloading.reloader.reload_now()


async def test_a_fault_of_our_own_refuses_the_change_and_no_more(
    reloading: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> Settings:
        raise RecursionError

    monkeypatch.setattr(reloading.reloader, "_load", broken)
    assert not await reloading.reloader.reload_now()
    assert (await reloading.opened.get()).status == 200
    assert [type(error) for error in reloading.opened.faults] == [RecursionError]
    reloading.opened.faults.clear()
    assert [event["event"] for event in reloading.events()] == [
        "configuration refused, the one before it stays in effect",
    ]


async def test_files_that_had_problems_are_watched_with_those_in_effect(
    reloading: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mending a list that the refused version was the first to name must be noticed."""
    assert reloading.reloader.files() == (reloading.file,)
    listed = reloading.file.parent / "office.txt"

    def broken(_path: Path) -> Settings:
        raise ConfigError([Problem(str(listed), 3, where="", message="is not a network")])

    monkeypatch.setattr(reloading.reloader, "_load", broken)
    await reloading.reloader.reload_now()
    assert reloading.reloader.files() == (reloading.file, listed)


# -- what only a restart can change -------------------------------------------------------------------


def settings_of(directory: Path, **changes: Any) -> Settings:
    file = directory / "other.yaml"
    minimal = {
        "hostname": ["nb.test"],
        "aws": {"region": "eu-west-1"},
        "allowlists": {"here": ["127.0.0.1"]},
        "policy": {"allow": ["here"]},
        "instances": {"research": {"notebook": "research-gpu-1"}},
    }
    file.write_text(yaml.safe_dump({**minimal, **changes}))
    return load(file, environ={})


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("listeners", [{"bind": "127.0.0.1:8099"}]),
        ("admin", {"bind": "127.0.0.1:9902"}),
        ("aws", {"region": "eu-west-1", "session_duration": "1h"}),
        ("log", {"format": "json"}),
        ("log", {"access": False}),
    ],
)
def test_a_section_that_needs_a_restart_keeps_its_old_content_and_the_rest_counts(
    tmp_path: Path, section: str, content: Any
) -> None:
    current = settings_of(tmp_path)
    new = settings_of(tmp_path, hostname=["other.test"], **{section: content})
    served, restart_for = servable(current, new)
    assert restart_for == (section,)
    assert getattr(served, section) == getattr(current, section)
    assert served.hostnames == ("other.test",)


def test_the_log_level_and_roles_need_no_restart(tmp_path: Path) -> None:
    role = "arn:aws:iam::123456789012:role/nbgate"
    new = settings_of(tmp_path, log={"level": "debug"}, aws={"region": "eu-west-1", "assume_role": role})
    served, restart_for = servable(settings_of(tmp_path), new)
    assert restart_for == ()
    assert served == new


async def test_a_restart_that_is_needed_is_said_until_it_is_not(reloading: Reloading) -> None:
    reloader = reloading.reloader
    before = yaml.safe_load(reloading.file.read_text())
    reloading.write(aws={"region": "eu-west-1"}, policy={"allow": ["elsewhere"]})
    assert await reloader.reload_now()
    assert (await reloading.opened.get()).status == 403
    assert reloader.status.word == "restart needed"
    assert reloader.status.details()["config_restart_needed_for"] == "aws"
    event = reloading.events()[-1]
    assert (event["level"], event["sections"]) == ("warning", ["aws"])
    reloading.write(**before)
    assert await reloader.reload_now()
    assert reloader.status.word == "in effect"


# -- what goes with it --------------------------------------------------------------------------------


async def test_sessions_are_kept_where_notebook_and_role_are(reloading: Reloading) -> None:
    instances = {
        "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
        "again": {"notebook": "research-gpu-1", "mount": {"path": "/again/"}},
        "new": {"notebook": "new", "mount": {"path": "/new/"}},
    }
    reloading.write(instances=instances)
    assert await reloading.reloader.reload_now()
    assert [keeper.key.notebook for keeper in reloading.made] == ["research-gpu-1", "new"]
    reloading.write(instances={"new": {"notebook": "new", "mount": "root"}})
    assert await reloading.reloader.reload_now()
    assert [keeper.closed for keeper in reloading.made] == [True, False]
    assert (await reloading.opened.get()).status == 200


async def test_what_is_hardly_meant_is_said_once_for_as_long_as_it_is_there(reloading: Reloading) -> None:
    def warned() -> list[str]:
        return [line["problem"] for line in reloading.events() if line["event"] == "configuration warning"]

    everybody = {"here": ["127.0.0.0/8"], "all": ["0.0.0.0/0"]}
    reloading.write(allowlists=everybody)
    assert await reloading.reloader.reload_now()
    [said] = warned()
    assert "allowlists.all[0]: is every IPv4 address" in said
    assert str(reloading.file) in said
    # Another change beside it, and a line that moves, say nothing of it again.
    reloading.write(timeouts={"idle": "60s"})
    assert await reloading.reloader.reload_now()
    reloading.file.write_text(f"# moved\n{reloading.file.read_text()}")
    assert await reloading.reloader.reload_now()
    assert len(warned()) == 1
    reloading.write(allowlists={"here": ["127.0.0.0/8"]})
    assert await reloading.reloader.reload_now()
    reloading.write(allowlists=everybody)
    assert await reloading.reloader.reload_now()
    assert len(warned()) == 2


async def test_it_is_said_at_the_start(tmp_path: Path) -> None:
    async with open_rig(tmp_path, allowlists={"here": ["127.0.0.0/8"], "all": ["0.0.0.0/0"]}) as rig:
        [line] = [line for line in rig.log_lines() if line.get("event") == "configuration warning"]
        assert (line["level"], "allowlists.all[0]" in line["problem"]) == ("warning", True)


async def test_the_log_level_moves(reloading: Reloading) -> None:
    reloading.write(log={"level": "error"})
    assert await reloading.reloader.reload_now()
    assert reloading.events() == []
    reloading.spoil()
    await reloading.reloader.reload_now()
    assert [event["level"] for event in reloading.events()] == ["error"]


# -- dates --------------------------------------------------------------------------------------------


def follow_dates(reloading: Reloading) -> Round:
    """As the server does."""
    plane = reloading.opened.plane
    rounds = Rounds(clock=plane.clock, tasks=plane.tasks, faults=plane.faults)
    return rounds.start(
        "dates", reloading.reloader.follow_dates, every_seconds=DATE_LOOK_SECONDS, at_once=True
    )


async def test_a_date_that_passes_counts_from_its_first_moment(tmp_path: Path) -> None:
    """An entry that ends: its callers' connections end with it, and no request of theirs is let in any more."""
    ending = [{"cidr": "127.0.0.0/8", "note": "contractor", "until": "2026-01-02"}]
    async with open_reloading(tmp_path, allowlists={"here": ending}) as reloading:
        opened = reloading.opened
        following = follow_dates(reloading)
        await settle()
        caller = await opened.call()
        caller.send(opened.upgrade())
        assert b" 101 " in await caller.head()
        await opened.clock.jump(86_399.75)
        assert (await opened.get()).status == 200
        await opened.clock.advance(0.25)
        assert (await caller.exactly(4))[2:] == b"\x03\xf0"
        assert (await opened.get()).status == 403
        event = reloading.events()[-1]
        assert event["event"] == "a date in the policy has passed"
        assert event["websockets_ended"] == 1
        following.stop()


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        ("DateLessThan", 200, 403),
        ("DateLessThanIfExists", 200, 403),
        ("DateLessThanEquals", 200, 403),
        ("DateGreaterThan", 403, 200),
        ("DateGreaterThanEquals", 403, 200),
    ],
)
async def test_a_date_condition_is_judged_again_when_it_passes(
    tmp_path: Path, operator: str, before: int, after: int
) -> None:
    """A statement's own date, either way: who is let in no longer is closed out, who is let in now gets in."""
    allow = {
        "Effect": "Allow",
        "Action": "*",
        "Resource": "*",
        "Condition": {operator: {"aws:CurrentTime": "2026-01-02T00:00:00Z"}},
    }
    async with open_reloading(tmp_path, policy={"statements": [allow]}) as reloading:
        opened = reloading.opened
        following = follow_dates(reloading)
        caller = await opened.call()
        caller.send(opened.upgrade())
        assert (b" 101 " in await caller.head()) is (before == 200)
        await opened.clock.jump(86_399)
        assert (await opened.get()).status == before
        # "Less than or equal" and "greater than" turn a microsecond later.
        await opened.clock.advance(1.5)
        assert (await opened.get()).status == after
        if after == 403:
            assert (await caller.exactly(4))[2:] == b"\x03\xf0"
            assert opened.plane.open.withdrawn["websockets"] == 1
        following.stop()


async def test_a_reload_brings_its_own_dates(reloading: Reloading) -> None:
    opened = reloading.opened
    following = follow_dates(reloading)
    await opened.clock.jump(86_400)
    reloading.write(
        allowlists={"here": [{"cidr": "127.0.0.1", "until": "2026-01-03"}], "elsewhere": ["203.0.113.1"]}
    )
    assert await reloading.reloader.reload_now()
    await opened.clock.jump(86_399)
    assert (await opened.get()).status == 200
    await opened.clock.advance(1)
    assert (await opened.get()).status == 403
    following.stop()


async def test_a_list_in_a_file_of_its_own_is_a_file_to_watch(reloading: Reloading) -> None:
    listed = reloading.file.with_name("here.txt")
    listed.write_text("127.0.0.0/8\n")
    reloading.write(allowlists={"here": {"file": "here.txt"}, "elsewhere": ["203.0.113.1"]})
    assert await reloading.reloader.reload_now()
    assert reloading.reloader.files() == (reloading.file, listed)
    assert (await reloading.opened.get()).status == 200
    listed.write_text("127.0.0.0/33\n")
    assert not await reloading.reloader.reload_now()
    [problem] = reloading.reloader.status.problems
    assert str(problem).startswith(f"{listed}:1:")
    listed.write_text("198.51.100.7\n")
    assert await reloading.reloader.reload_now()
    assert (await reloading.opened.get()).status == 403


# -- a thousand WebSockets ----------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """A notebook that sends back every message of eight bytes; callers mask theirs with zeros."""

    def __init__(self, echoes: list[Echo]) -> None:
        self._echoes = echoes
        self._head = b""
        self._is_open = False
        self._buffer = b""
        self.received: list[int] = []
        self.close_code = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._echoes.append(self)

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._head += data
            if self._head.endswith(b"\r\n\r\n"):
                self._is_open = True
                self.number = int(self._head.split(b"/ws/")[1].split(b" ")[0])
                self._transport.write(switching(self._head))
            return
        self._buffer += data
        while len(self._buffer) >= 14 and self._buffer[0] == 0x82:
            frame, self._buffer = self._buffer[:14], self._buffer[14:]
            self.received.append(int.from_bytes(frame[6:], "big"))
            self._transport.write(b"\x82\x08" + frame[6:])
        if self._buffer[:1] == b"\x88" and len(self._buffer) >= 8:
            mask, code = self._buffer[2:6], self._buffer[6:8]
            self.close_code = (code[0] ^ mask[0]) << 8 | code[1] ^ mask[1]
            self._transport.write(b"\x88\x02" + self.close_code.to_bytes(2, "big"))
            self._transport.close()


class Chatter(asyncio.Protocol):
    """A caller with two messages on their way at any time, who checks that each comes back in its turn."""

    def __init__(self, number: int, head: str) -> None:
        self._head = head
        self._buffer = b""
        self._next = count(1)
        self.is_open = False
        self.number = number
        self.received = 0
        self.is_in_order = True
        self.close_code = 0
        self.closed_at = 0.0
        self.after_close = b""
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.name = transport.get_extra_info("sockname")
        self.transport.write(self._head.encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open:
            if b"\r\n\r\n" not in self._buffer:
                return
            assert b" 101 " in self._buffer[:20], self._buffer
            self.is_open = True
            self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        while len(self._buffer) >= 10 and self._buffer[0] == 0x82:
            frame, self._buffer = self._buffer[:10], self._buffer[10:]
            self.received += 1
            self.is_in_order &= int.from_bytes(frame[2:], "big") == self.received
            self._say()
        if self._buffer[:1] == b"\x88" and not self.close_code:
            self.closed_at = time.process_time()
            length = self._buffer[1]
            self.close_code = int.from_bytes(self._buffer[2:4], "big")
            self.after_close = self._buffer[2 + length :]
            self.transport.write(b"\x88\x82\0\0\0\0" + self.close_code.to_bytes(2, "big"))
        elif self.close_code:
            self.after_close += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def begin(self) -> None:
        self._say()
        self._say()

    def _say(self) -> None:
        if not self.close_code:
            self.transport.write(b"\x82\x88\0\0\0\0" + next(self._next).to_bytes(8, "big"))


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_of_1000_open_websockets_the_withdrawn_half_closes_and_the_other_loses_nothing(
    tmp_path: Path,
) -> None:
    """Within a second of the reload, with 1008, no frame passing in either direction after the exchange."""
    loop = asyncio.get_running_loop()
    both = {"one": [ONE], "other": [OTHER]}
    async with open_reloading(tmp_path, allowlists=both, policy={"allow": ["one", "other"]}) as reloading:
        opened = reloading.opened
        plane = opened.plane
        echoes: list[Echo] = []
        server = await loop.create_server(lambda: Echo(echoes), "127.0.0.1", 0, backlog=1024)
        origin = Origin.of(URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        [keeper] = reloading.made
        assert keeper.session is not None
        keeper.session = replace(keeper.session, origin=origin)
        chatters: list[Chatter] = []
        for number in range(1000):
            make = partial(Chatter, number, opened.upgrade(f"/ws/{number}"))
            address = (ONE if number % 2 else OTHER, 0)
            _, chatter = await loop.create_connection(make, "127.0.0.1", opened.port, local_addr=address)
            chatters.append(chatter)
        await until(lambda: all(chatter.is_open for chatter in chatters))
        for chatter in chatters:
            chatter.begin()
        await until(lambda: all(chatter.received >= 5 for chatter in chatters))

        # What has come into the gateway when it exchanges its parts: so much may pass, and nothing that comes later.
        passed: dict[tuple[str, int], tuple[int, int]] = {}
        adopt = plane.adopt

        async def watched(current: Current) -> None:
            for relay in plane.open.relays:
                peer = relay.caller.transport.get_extra_info("peername")
                passed[peer] = relay.caller.bytes_received, relay.notebook.bytes_received
            await adopt(current)

        plane.adopt = watched  # type: ignore[method-assign]
        reloading.write(policy={"allow": ["one"]})
        # What it costs, not what this process waits for others on the machine.
        started_at = time.process_time()
        assert await reloading.reloader.reload_now()
        stay = [chatter for chatter in chatters if chatter.number % 2]
        go = [chatter for chatter in chatters if not chatter.number % 2]
        await until(lambda: all(chatter.is_lost for chatter in go))
        assert max(chatter.closed_at for chatter in go) - started_at < 1.0
        assert {chatter.close_code for chatter in go} == {1008}
        assert {chatter.after_close for chatter in go} == {b""}

        by_number = {echo.number: echo for echo in echoes}
        await until(lambda: all(by_number[chatter.number].close_code for chatter in go))
        for chatter in go:
            echo = by_number[chatter.number]
            from_caller, from_notebook = passed[chatter.name]
            # A frame of which a part had passed is finished.
            assert len(echo.received) <= -(-from_caller // 14)
            assert chatter.received <= -(-from_notebook // 10)

        counts = [chatter.received for chatter in stay]
        await until(lambda: all(one.received >= two + 20 for one, two in zip(stay, counts, strict=True)))
        assert all(chatter.is_in_order and not chatter.close_code and not chatter.is_lost for chatter in stay)
        assert len(plane.open.relays) == 500
        assert plane.open.withdrawn == {"websockets": 500}
        event = reloading.events()[-1]
        assert event["websockets_ended"] == 500
        for chatter in chatters:
            chatter.transport.abort()
        await until(lambda: not plane.open.relays)
        server.close()


# -- a storm ------------------------------------------------------------------------------------------

EVEN: dict[str, Any] = {
    "policy": {"allow": ["one", "other"]},
    "instances": {
        "always": {"notebook": "always", "mount": {"host": "always.test"}},
        "even": {"notebook": "even", "mount": {"host": "even.test"}, "allow": ["one"]},
    },
}
ODD: dict[str, Any] = {
    "policy": {"allow": ["one", "other"]},
    "instances": {
        "always": {"notebook": "always", "mount": {"host": "always.test"}},
        "odd": {"notebook": "odd", "mount": {"host": "odd.test"}, "allow": ["other"]},
    },
}
# Who asks for which host is answered so by the one version and by the other: status, and by which notebook.
ANSWERS: dict[tuple[str, str], tuple[tuple[int, bytes], tuple[int, bytes]]] = {
    (ONE, "even.test"): ((200, b"even"), (421, b"")),
    (ONE, "odd.test"): ((421, b""), (403, b"")),
    (OTHER, "even.test"): ((403, b""), (421, b"")),
    (OTHER, "odd.test"): ((421, b""), (200, b"odd")),
}


def notebook_of(head: bytes, _body: bytes) -> bytes:
    """The notebook tells whose session it was asked with."""
    name = head.partition(b"notebook=")[2].split(b"\r")[0]
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)


async def ask(opened: OpenPlane, address: str, host: str) -> tuple[int, bytes]:
    """One request on a connection of its own; of an answer of the gateway's own, the status alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.port, local_addr=(address, 0))
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{opened.port}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    status = status_of(answer)
    return status, answer.partition(b"\r\n\r\n")[2] if status == 200 else b""


@pytest.mark.slow
async def test_a_storm_of_requests_through_100_changes_meets_no_mixture_and_no_failure(
    tmp_path: Path,
) -> None:
    """Each answer is wholly of one version: who may, where to, and whose session. A third of them is invalid."""
    lists = {"one": [ONE], "other": [OTHER]}
    async with open_reloading(tmp_path, allowlists=lists, hostname=["nb.test"], **EVEN) as reloading:
        opened, reloader = reloading.opened, reloading.reloader
        opened.upstream.answer = notebook_of
        is_over = False
        answered = 0

        async def storm(address: str, host: str) -> None:
            nonlocal answered
            while not is_over:
                assert await ask(opened, address, host) in ANSWERS[address, host]
                answered += 1

        async def steady(address: str) -> None:
            """On one connection, which nothing may end: this caller is let in by all versions."""
            nonlocal answered
            reader, writer = await asyncio.open_connection("127.0.0.1", opened.port, local_addr=(address, 0))
            while not is_over:
                writer.write(f"GET / HTTP/1.1\r\nHost: always.test:{opened.port}\r\n\r\n".encode())
                answer = await asyncio.wait_for(reader.readuntil(b"always"), PATIENCE_SECONDS)
                assert status_of(answer) == 200
                answered += 1
            writer.close()

        tasks = [asyncio.ensure_future(storm(*one)) for one in ANSWERS for _ in range(4)]
        tasks += [asyncio.ensure_future(steady(address)) for address in (ONE, OTHER) for _ in range(4)]
        in_effect = 0
        for number in range(100):
            if number % 3 == 2:
                valid = reloading.spoil()
                assert not await reloader.reload_now()
                reloading.file.write_text(valid)
            else:
                reloading.write(**(EVEN, ODD)[number % 2])
                assert await reloader.reload_now()
                in_effect = number % 2
            for (address, host), answers in ANSWERS.items():
                assert await ask(opened, address, host) == answers[in_effect]
        is_over = True
        await asyncio.gather(*tasks)
        assert answered > 100
        assert reloader.status.refused == 33
        always = [keeper for keeper in reloading.made if keeper.key.notebook == "always"]
        assert [keeper.closed for keeper in always] == [False]


# -- the whole gateway --------------------------------------------------------------------------------


async def readyz(rig: Rig) -> tuple[int, dict[str, Any]]:
    address = rig.gateway.admin_address
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    return status_of(answer), json.loads(answer.partition(b"\r\n\r\n")[2])["details"]


@pytest.mark.slow
async def test_a_file_that_is_saved_counts_within_a_second_and_readyz_tells(rig: Rig) -> None:
    """The machine's own clock and file system: an editor's rename, and nobody calls anything."""
    file = rig.log_file.with_name("nbgate.yaml")
    valid = yaml.safe_load(file.read_text())

    async def save(text: str, word: str, count: str) -> float:
        """Seconds until it was noticed, as this loop slept them: on a busy machine all take their turns later."""
        slept = 0.0
        file.with_suffix(".swp").write_text(text)
        before = (await readyz(rig))[1][count]
        file.with_suffix(".swp").replace(file)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (told := await readyz(rig))[1][count] == before:
                await asyncio.sleep(0.01)
                slept += 0.01
        assert told[0] == 200
        assert told[1]["config"] == word
        return slept

    assert status_of(await rig.get("/status/204")) == 204
    took = await save(
        yaml.safe_dump({**valid, "policy": {"allow": ["elsewhere"]}}), "in effect", "reloads_applied"
    )
    assert took < 1.0
    assert status_of(await rig.get("/status/204")) == 403
    await save("policy: 1", "refused", "reloads_refused")
    assert status_of(await rig.get("/status/204")) == 403
    await save(
        yaml.safe_dump({**valid, "admin": {"bind": "127.0.0.1:1"}}), "restart needed", "reloads_applied"
    )
    assert status_of(await rig.get("/status/204")) == 204


@pytest.mark.slow
async def test_a_config_map_that_is_exchanged_counts_within_a_second(tmp_path: Path) -> None:
    """Kubernetes: nbgate.yaml and its list are links into ..data, which is exchanged; only the list's content differs,
    then only the configuration's. On the machine's own clock and file system, and nobody calls anything.
    """
    for version, network in (("..1", "127.0.0.0/8"), ("..2", "203.0.113.0/24")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "office.txt").write_text(f"{network}\n")
    lists = {"office": {"file": "office.txt"}}
    (tmp_path / "office.txt").symlink_to("..data/office.txt")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "nbgate.yaml").symlink_to("..data/nbgate.yaml")

    async def exchange(rig: Rig, version: str, status: int) -> float:
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        slept = 0.0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while status_of(await rig.get("/status/204")) != status:
                await asyncio.sleep(0.01)
                slept += 0.01
        return slept

    async with open_rig(tmp_path, allowlists=lists, policy={"allow": ["office"]}) as rig:
        configuration = (tmp_path / "nbgate.yaml").read_text()
        (tmp_path / "..2" / "nbgate.yaml").write_text(configuration)
        assert status_of(await rig.get("/status/204")) == 204
        assert await exchange(rig, "..2", 403) < 1.0
        assert await exchange(rig, "..1", 204) < 1.0
        (tmp_path / "..3").mkdir()
        (tmp_path / "..3" / "office.txt").write_text("127.0.0.0/8\n")
        denying = yaml.safe_load(configuration) | {"policy": {"allow": ["office"], "deny": ["office"]}}
        (tmp_path / "..3" / "nbgate.yaml").write_text(yaml.safe_dump(denying))
        assert await exchange(rig, "..3", 403) < 1.0


async def test_sighup_has_the_file_read_and_ends_nothing(tmp_path: Path) -> None:
    """A process of its own, as `systemctl reload` would have it."""
    file = tmp_path / "nbgate.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "hostname": "127.0.0.1",
                "listeners": [{"bind": "127.0.0.1:0"}],
                "admin": None,
                "aws": {"region": "eu-west-1"},
                "allowlists": {"here": ["127.0.0.1"]},
                "policy": {"allow": ["here"]},
                "instances": {"research": {"notebook": "research-gpu-1"}},
                "timeouts": {"drain_delay": "0s"},
                "log": {"format": "json"},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "serve", "--config", str(file), stdout=asyncio.subprocess.PIPE
    )
    lines = process.stdout
    assert lines is not None

    async def event(phrase: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while line := await lines.readline():
                record = json.loads(line)
                if record["event"] == phrase:
                    return record
        raise AssertionError(f"ended before it said {phrase!r}")

    try:
        await event("serving")
        process.send_signal(signal.SIGHUP)
        assert (await event("configuration is in effect"))["level"] == "info"
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0
