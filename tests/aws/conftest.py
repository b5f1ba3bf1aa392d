"""boto3 that finds nothing on this machine: no profile, no credentials but the test's, no metadata service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from proxy.aws.sagemaker import AwsOptions, SageMaker
from tests.aws.servers import Build, SageMakerApi
from tests.harness.clocks import FakeClock


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASOURCE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "source-secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


@pytest.fixture
async def api() -> AsyncIterator[SageMakerApi]:
    api = SageMakerApi()
    await api.start()
    yield api
    await api.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def build(aws_environment: pytest.MonkeyPatch, clock: FakeClock) -> Iterator[Build]:
    """Makes `SageMaker`s and closes them."""
    made = []

    def make(options: AwsOptions) -> SageMaker:
        made.append(SageMaker(options, clock=clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def options(api: SageMakerApi) -> AwsOptions:
    return AwsOptions(
        region="eu-west-1",
        endpoint_url=api.endpoint_url,
        sts_endpoint_url=api.endpoint_url,
        connect_timeout_seconds=5,
        read_timeout_seconds=5,
        max_attempts=1,
    )
