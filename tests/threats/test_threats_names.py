"""Which instances there are is told to who may reach them: to everybody else, one that is there is as one that is not.

Each way in is tried for an instance that this caller may not reach, and for a name that nobody has. The answers are the
same bytes but for the request's id, and each leaves one audit record.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.sandbox.instance import InstanceSpec
from tests.harness.clocks import FakeClock
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.portals import HTML, Form, post_form
from tests.threats.callers import HANDSHAKE, audited

HIDDEN, NOBODYS = "secret-1", "nobody-1"
MOUNTED: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": {"path": "/research/"}},
    HIDDEN: {
        "notebook": "research-gpu-2",
        "mount": {"path": f"/{HIDDEN}/"},
        "allow": ["elsewhere"],
        "aliases": [f"old-{HIDDEN}"],
    },
}
SPECS = (InstanceSpec(name="research-gpu-1"), InstanceSpec(name="research-gpu-2", status="Stopped"))
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON = "Content-Type: application/json\r\n"
SELF_MADE = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nAccept: */*\r\n"


@dataclass(frozen=True)
class Way:
    """A request in which `{}` is the name, and what its answer's status is for both."""

    target: str
    extra: str = ""
    method: str = "GET"
    body: str = ""
    status: int = 403
    version: str = "1.1"

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.extra.partition(chr(13))[0]}"

    def written(self, rig: Rig, name: str) -> bytes:
        length = f"Content-Length: {len(self.body.replace('{}', name))}\r\n" if self.body else ""
        return (
            f"{self.method} {self.target} HTTP/{self.version}\r\nHost: {rig.authority}\r\nConnection: close\r\n"
            f"{length}{self.extra}\r\n{self.body}"
        ).replace("{}", name).replace("{origin}", rig.origin).encode()  # fmt: skip


UPGRADE = HANDSHAKE.replace("Connection: Upgrade\r\n", "Connection: close, Upgrade\r\n")
PATHS = [
    Way("/{}"),
    Way("/{}", HTML),
    Way("/{}?a=b"),
    Way("/{}/"),
    Way("/{}/", HTML),
    Way("/{}/lab/tree/a.ipynb", HTML),
    Way("/{}/lab", "Accept: text/html\r\nSec-Purpose: prefetch;prerender\r\n"),
    Way("/{}/lab", "User-Agent: Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)\r\n"),
    Way("/{}/lab", version="1.0"),
    Way("/{}/?authToken=nbgate2_u.00000000.AAAA.BBBB", HTML),
    Way("/{}/api/kernels/1?token=nbgate2_a.00000000.AAAA.BBBB"),
    Way("/{}/api/kernels/1", "Authorization: token nbgate2_a.00000000.AAAA.BBBB\r\n"),
    Way("/{}/api/kernels/1", "Cookie: nbgate-session=nbgate2_s.00000000.AAAA.BBBB\r\n"),
    # What JupyterLab asks for by itself, whose answer may be another one.
    Way("/{}/api/kernels/1", SELF_MADE, status=0),
    Way("/{}/api/kernels/1", "Referer: {origin}/{}/lab\r\n", status=0),
    Way("/{}/lab/api/settings", SELF_MADE + "Referer: {origin}/{}/lab\r\n", status=0),
    Way("/{}/api/kernels/1/channels", UPGRADE + "Origin: {origin}\r\n"),
    Way("/{}/api/kernels/1/channels", UPGRADE + "Origin: https://evil.example\r\n"),
    Way("/{}/api/kernels/1/channels", UPGRADE.replace("13", "8")),
    Way("/{}/lab", "X-Amz-Target: SageMaker.DescribeNotebookInstance\r\n"),
    # What a page under its mount asks for outside of it.
    Way("/proxy/8050/{}", "Referer: {origin}/{}/lab\r\n"),
    Way("/proxy/8050/{}", HTML + "Referer: {origin}/{}/proxy/8050/\r\n"),
    Way("/proxy/8050/{}", "Referer: {origin}/{}/proxy/8050/\r\n", "POST", "a=b"),
    Way("/proxy/8050/{}", UPGRADE + "Origin: {origin}\r\nReferer: {origin}/{}/proxy/8050/\r\n"),
    # Where it was before.
    Way("/old-{}/lab"),
    *(
        Way(f"/{{}}{rest}", method=method, body=body)
        for method, body in [
            ("HEAD", ""), ("OPTIONS", ""), ("DELETE", ""), ("TRACE", ""), ("PROPFIND", ""),
            ("POST", "a=b"), ("PUT", "x" * 100_000), ("PATCH", "{}"),
        ]
        for rest in ("", "/", "/api/contents/a")
    ),
    Way("/{}/api/contents/a", "Expect: 100-continue\r\n", "PUT", "hello"),
    Way("/{}/api/contents/a", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", method="PUT"),
    Way("/{}/api/contents/a", "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n", "POST", "a"),
]  # fmt: skip
PAGES = [
    Way("/.nbgate/start/{}", HTML, status=404),
    Way("/.nbgate/start/{}", status=404),
    Way("/.nbgate/start/{}", method="HEAD", status=404),
    Way("/.nbgate/start/{}", method="DELETE", status=405),
    *(
        Way(f"/.nbgate/{action}/{{}}", f"{FORM}Origin: {{origin}}\r\n", "POST", "token=x&hours=2", status=404)
        for action in ("start", "stop", "awake")
    ),
    Way("/api/gateway/v1/instances/{}", status=404),
    Way("/api/gateway/v1/instances/{}", method="HEAD", status=404),
    Way("/api/gateway/v1/instances/{}?a=b", status=400),
    Way("/api/gateway/v1/explain?instance={}", status=404),
    *(
        Way(f"/api/gateway/v1/instances/{{}}/{action}", JSON, "POST", "{ }", status=404)
        for action in ("url", "start", "stop")
    ),
]
OPERATIONS = [
    Way(
        "/",
        f"X-Amz-Target: SageMaker.{operation}\r\nContent-Type: application/x-amz-json-1.1\r\n",
        "POST",
        '{"NotebookInstanceName": "{}"}',
    )
    for operation in (
        "CreatePresignedNotebookInstanceUrl",
        "DescribeNotebookInstance",
        "StartNotebookInstance",
        "StopNotebookInstance",
    )
]


def same(answer: bytes, name: str) -> bytes:
    """An answer without what is another one each time, and without the name that was asked for."""
    answer = re.sub(rb"\b[0-9a-f]{16,32}\b", b"REQUEST-ID", answer)
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer).replace(name.encode(), b"NAME")


@asynccontextmanager
async def open_hiding(directory: Path, **changes: Any) -> AsyncIterator[Rig]:
    changes = {"mounted": MOUNTED, "lifecycle": {"start_on_open": True, "stop_after_idle": "60m"}, **changes}
    async with open_rig(directory, instances=SPECS, clock=FakeClock(), **changes) as rig:
        yield rig
        assert rig.sandbox.calls["StartNotebookInstance"] == 0
        assert rig.sandbox.plain["research-gpu-2"].seen == []


async def compared(rig: Rig, way: Way) -> None:
    there = await rig.raw(way.written(rig, HIDDEN))
    absent = await rig.raw(way.written(rig, NOBODYS))
    assert same(there, HIDDEN) == same(absent, NOBODYS), way
    if way.status:
        assert status_of(there) == way.status, way


async def test_a_path_of_an_instance_that_is_not_yours_is_as_one_of_none(tmp_path: Path) -> None:
    async with open_hiding(tmp_path) as rig:
        for way in PATHS:
            await compared(rig, way)
        records = audited(rig)
        assert len(records) == 2 * len(PATHS)
        for there, absent in zip(records[::2], records[1::2], strict=True):
            # A page that asks for what is mounted nowhere is denied as if it named nothing.
            assert there["instance"] == (None if there["path"].startswith("/proxy/") else HIDDEN)
            assert absent["reason"] == "denied: nothing is mounted there"


async def test_so_is_each_page_and_operation_about_it(tmp_path: Path) -> None:
    ways = [*PAGES, *OPERATIONS]
    async with open_hiding(tmp_path) as rig:
        for way in ways:
            await compared(rig, way)
        assert len(audited(rig)) == 2 * sum(way.status in (403, 404) for way in ways)


async def test_buttons_that_were_offered_are_no_way_to_find_out(tmp_path: Path) -> None:
    """The token of a form that was good once: the instance is looked for before it."""
    async with open_hiding(tmp_path) as rig:
        settings = rig.gateway.reloader.settings
        answers = []
        for name in (HIDDEN, NOBODYS):
            token = rig.gateway.serving.forms.issue(
                address="127.0.0.1",
                instance=name,
                leads_to=settings.leads_to(HIDDEN),
                action="sagemaker:StartNotebookInstance",
            )
            form = Form(f"/.nbgate/start/{name}", {"token": token, "then": "open"})
            answers.append(same(await rig.raw(post_form(rig, form)), name))
        assert answers[0] == answers[1]
        assert status_of(answers[0]) == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"access": "presigned"},
        {"policy": {"allow": ["elsewhere"]}},
        {
            "mounted": MOUNTED
            | {"rest": {"notebook": "research-gpu-2", "mount": "root", "allow": ["elsewhere"]}}
        },
        # The gateway's own pages are not for this caller, an instance is.
        {
            "policy": {
                "statements": [
                    {
                        "Effect": "Allow",
                        "Action": "*",
                        "Resource": "arn:aws:sagemaker:us-east-1:*:notebook-instance/research-gpu-1",
                    }
                ]
            }
        },
    ],
    ids=["presigned", "denied everywhere", "beside a root mount", "an instance alone"],
)
async def test_whatever_else_the_caller_may(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with open_hiding(tmp_path, **changes) as rig:
        for way in PATHS:
            await compared(rig, way)
        assert len(audited(rig)) == 2 * len(PATHS)


async def test_a_connection_that_goes_on_tells_nothing_either(tmp_path: Path) -> None:
    """Pipelined behind a request that was let in, and followed by another one."""
    async with open_hiding(tmp_path) as rig:
        answers = []
        for name in (HIDDEN, NOBODYS):
            own = f"GET /research/lab HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n"
            hidden = own.replace("/research/lab", f"/{name}/lab")
            last = own.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            answers.append(await rig.raw(f"{own}{hidden}{own}{last}".encode()))
        first, second = (
            [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")] for answer in answers
        )
        assert first == second


async def test_the_page_says_both_and_the_address(tmp_path: Path) -> None:
    async with open_hiding(tmp_path) as rig:
        page = body_of(await rig.get(f"/{NOBODYS}/lab", extra=HTML)).decode()
        assert "No notebook is mounted here, or your address is not allowed to reach it." in page
        assert "127.0.0.1" in page
        told = json.loads(body_of(await rig.get(f"/{NOBODYS}/lab")))["error"]
        assert (told["code"], told["client_address"]) == ("ACCESS_DENIED", "127.0.0.1")


async def test_hosts_that_are_not_ours_stay_misdirected(tmp_path: Path) -> None:
    async with open_hiding(tmp_path) as rig:
        for target in ("/", "/research/", f"/{HIDDEN}/", "/.nbgate/"):
            assert status_of(await rig.get(target, host="elsewhere.test")) == 421
