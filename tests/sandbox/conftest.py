"""What the sandbox's tests share: a plain sandbox under a clock that stands still, and ways to call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proxy.sandbox.instance import InstanceSpec
from proxy.sandbox.sandbox import Sandbox
from tests.harness.clocks import FakeClock
from tests.sandbox.sandbox_calls import NAME, Call, sagemaker_client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def sandbox(clock: FakeClock) -> AsyncIterator[Sandbox]:
    async with Sandbox([InstanceSpec(name=NAME)], clock=clock) as sandbox:
        yield sandbox
    assert sandbox.background_errors == []


@pytest.fixture
async def call(sandbox: Sandbox) -> Call:
    """`await call("describe_notebook_instance", NotebookInstanceName=...)` through boto3, in a thread."""
    client = sagemaker_client(sandbox.endpoint_url)

    async def call(operation: str, **parameters: Any) -> Any:
        return await asyncio.to_thread(getattr(client, operation), **parameters)

    return call


@pytest.fixture
async def url(call: Call) -> URL:
    """A fresh presigned URL."""
    answer = await call("create_presigned_notebook_instance_url", NotebookInstanceName=NAME)
    return URL(answer["AuthorizedUrl"])


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """Keeps cookies, and follows redirects."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def signed_in(browser: aiohttp.ClientSession, url: URL) -> aiohttp.ClientSession:
    """The browser after it opened a presigned URL."""
    async with browser.get(url) as response:
        assert response.status == 200
    return browser
