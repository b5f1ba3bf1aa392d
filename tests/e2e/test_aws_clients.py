"""The real AWS CLI and boto3, told of the gateway by --endpoint-url and of nothing else: all five operations, and the
link that the CLI prints, opened in Chromium.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from playwright.sync_api import Browser

from proxy.sandbox.instance import InstanceSpec
from tests.harness.browsing import PATIENCE_MS
from tests.harness.clocks import AheadClock
from tests.harness.gateway import Rig, in_background

pytestmark = [pytest.mark.e2e, pytest.mark.program, pytest.mark.timeout(300)]

SECRET = "0123456789abcdef0123456789abcdef"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "NBGATEALICE1", "AWS_SECRET_ACCESS_KEY": SECRET}
INSTANCES = {"research": {"notebook": "research-gpu-1"}, "nlp": {"notebook": "nlp-team"}}
SPECS = [
    InstanceSpec(name="research-gpu-1"),
    InstanceSpec(name="nlp-team", status="Stopped", transition_seconds=0.5),
]
WAYS = {
    "beside path mounts": (INSTANCES, ""),
    "beside a root mount": (
        {**INSTANCES, "research": {"notebook": "research-gpu-1", "mount": "root"}},
        "/.nbgate/aws/",
    ),
}


def aws(endpoint_url: str, *arguments: str, **credentials: str) -> subprocess.CompletedProcess[str]:
    """`aws sagemaker …` as anybody types it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        **(credentials or CREDENTIALS),
    }
    command = [
        str(Path(sys.executable).with_name("aws")),
        "sagemaker",
        *arguments,
        "--endpoint-url",
        endpoint_url,
    ]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def answer(endpoint_url: str, *arguments: str) -> Any:
    done = aws(endpoint_url, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def until(endpoint_url: str, name: str, status: str) -> None:
    for _ in range(60):
        described = answer(endpoint_url, "describe-notebook-instance", "--notebook-instance-name", name)
        if described["NotebookInstanceStatus"] == status:
            return
        time.sleep(0.5)
    pytest.fail(f"{name} is not {status}")


@pytest.fixture(params=WAYS)
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Rig, str]]:
    mounted, path = WAYS[request.param]
    keys = {"NBGATEALICE1": {"secret": SECRET, "user": "alice"}}
    with in_background(tmp_path, instances=SPECS, mounted=mounted, api_keys=keys) as background:
        yield background.rig, f"{background.origin}{path}"


def test_the_aws_cli_runs_all_five_operations(endpoint: tuple[Rig, str]) -> None:
    rig, url = endpoint
    for page in ((), ("--page-size", "1")):
        listed = answer(url, "list-notebook-instances", "--sort-by", "Status", *page)
        assert [one["NotebookInstanceName"] for one in listed["NotebookInstances"]] == [
            "research-gpu-1",
            "nlp-team",
        ]
    name = ("--notebook-instance-name", "nlp-team")
    assert answer(url, "describe-notebook-instance", *name)["NotebookInstanceStatus"] == "Stopped"
    assert answer(url, "start-notebook-instance", *name) is None
    until(url, "nlp-team", "InService")
    made = answer(
        url,
        "create-presigned-notebook-instance-url",
        *name,
        "--session-expiration-duration-in-seconds",
        "1800",
    )
    assert made["AuthorizedUrl"].startswith(f"{rig.origin}/nlp/?authToken=")
    assert answer(url, "stop-notebook-instance", *name) is None
    until(url, "nlp-team", "Stopped")


def test_the_aws_cli_shows_errors_as_those_of_aws(endpoint: tuple[Rig, str]) -> None:
    _, url = endpoint
    name = ("--notebook-instance-name", "nobody")
    done = aws(url, "stop-notebook-instance", *name)
    assert (
        "An error occurred (AccessDeniedException) when calling the StopNotebookInstance operation"
        in done.stderr
    )
    done = aws(
        url, "stop-notebook-instance", *name, AWS_ACCESS_KEY_ID="NBGATEALICE1", AWS_SECRET_ACCESS_KEY="wrong"
    )
    assert "An error occurred (InvalidSignatureException)" in done.stderr
    done = aws(url, "stop-notebook-instance", *name, "--no-sign-request")
    assert "An error occurred (MissingAuthenticationTokenException)" in done.stderr


def test_boto3_runs_all_five_operations(endpoint: tuple[Rig, str]) -> None:
    """Waiters included: they know the texts and states of the service."""
    rig, url = endpoint
    client = boto3.client(
        "sagemaker",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="NBGATEALICE1",
        aws_secret_access_key=SECRET,
    )
    pages = client.get_paginator("list_notebook_instances").paginate(PaginationConfig={"PageSize": 1})
    assert [one["NotebookInstanceName"] for page in pages for one in page["NotebookInstances"]] == [
        "nlp-team",
        "research-gpu-1",
    ]
    patience: Any = {"Delay": 1, "MaxAttempts": 60}
    client.start_notebook_instance(NotebookInstanceName="nlp-team")
    client.get_waiter("notebook_instance_in_service").wait(
        NotebookInstanceName="nlp-team", WaiterConfig=patience
    )
    made = client.create_presigned_notebook_instance_url(NotebookInstanceName="nlp-team")
    assert made["AuthorizedUrl"].startswith(f"{rig.origin}/nlp/?authToken=")
    client.stop_notebook_instance(NotebookInstanceName="nlp-team")
    client.get_waiter("notebook_instance_stopped").wait(
        NotebookInstanceName="nlp-team", WaiterConfig=patience
    )
    assert client.describe_notebook_instance(NotebookInstanceName="nlp-team")["VolumeSizeInGB"] == 5


@pytest.mark.browser
def test_the_link_that_the_cli_prints_opens_jupyterlab_in_time_and_from_an_address_that_may(
    browser: Browser, tmp_path: Path
) -> None:
    clock = AheadClock()
    with in_background(
        tmp_path,
        clock=clock,
        sandbox_clock=clock,
        instances=[InstanceSpec(name="research-gpu-1", jupyter=True)],
        mounted={"research": {"notebook": "research-gpu-1", "access": "presigned"}},
        client_address={"trusted_proxies": ["127.0.0.1/32"]},
    ) as background:
        rig = background.rig

        def printed() -> str:
            name = ("--notebook-instance-name", "research-gpu-1")
            url: str = answer(rig.origin, "create-presigned-notebook-instance-url", *name)["AuthorizedUrl"]
            return url

        def visit(url: str, *, from_address: str | None = None) -> tuple[int, str]:
            """The status of where a person lands who was never here, and its path."""
            headers = {"X-Forwarded-For": from_address} if from_address else {}
            context = browser.new_context(extra_http_headers=headers)
            try:
                page = context.new_page()
                response = page.goto(url)
                assert response is not None
                return response.status, page.url.removeprefix(rig.origin)
            finally:
                context.close()

        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{printed()}&view=lab")
        page.wait_for_selector(".jp-Launcher", state="visible")
        assert "authToken" not in page.url
        assert re.match(rf"{re.escape(rig.origin)}/research/lab", page.url)
        context.close()

        unspent = printed()
        assert visit(unspent, from_address="203.0.113.99")[0] == 403
        clock.ahead_seconds += 301
        assert visit(unspent)[1].startswith("/.nbgate/sign-in")
        assert visit(f"{rig.origin}/research/")[1].startswith("/.nbgate/sign-in")
