"""AWS's API through a proxy, under a company's own authorities: the same word counts as for notebooks."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.aws.dial import Egress
from proxy.aws.sagemaker import AwsOptions
from proxy.errors import ControlPlaneError, ControlPlaneProxyRefused, ControlPlaneTimeout
from proxy.wire.egress import parse_egress_proxy
from tests.aws.servers import Build, SageMakerApi
from tests.harness.certificates import self_signed, serving
from tests.harness.egress_proxies import open_egress_proxy
from tests.harness.ports import held_port

ROLE = "arn:aws:iam::123456789012:role/notebooks"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("api"), name="IP:127.0.0.1")


@pytest.fixture
async def secured(certificate: Path) -> AsyncIterator[SageMakerApi]:
    """SageMaker's API over TLS."""
    api = SageMakerApi()
    await api.start(serving(certificate))
    api.put("nb")
    yield api
    await api.close()


@pytest.fixture
def options(secured: SageMakerApi, certificate: Path) -> AwsOptions:
    return AwsOptions(
        region="eu-west-1",
        endpoint_url=secured.endpoint_url,
        sts_endpoint_url=secured.endpoint_url,
        connect_timeout_seconds=5,
        read_timeout_seconds=5,
        max_attempts=1,
        ca_bundle=str(certificate.parent / "certificate.pem"),
    )


def through(options: AwsOptions, port: int, *, credentials: str = "", no_proxy: str = "") -> AwsOptions:
    return replace(options, egress=Egress(parse_egress_proxy(f"{credentials}127.0.0.1:{port}"), no_proxy))


async def test_both_services_go_through_the_proxy_and_trust_the_authorities(
    secured: SageMakerApi, options: AwsOptions, build: Build
) -> None:
    async with open_egress_proxy() as proxy:
        sagemaker = build(through(options, proxy.port, credentials="gate:hunter22@"))
        assert (await sagemaker.control_plane(ROLE).describe("nb")).in_service
        assert len(secured.assumed) == 1
        assert set(proxy.targets) == {secured.endpoint_url.removeprefix("https://")}
        assert len(proxy.targets) == 2
        assert all(b"Proxy-Authorization: Basic Z2F0ZTpodW50ZXIyMg==" in head for head in proxy.heads)


async def test_without_the_authorities_nothing_is_trusted(options: AwsOptions, build: Build) -> None:
    with pytest.raises(ControlPlaneError) as caught:
        await build(replace(options, ca_bundle=None)).control_plane().describe("nb")
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.detail


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*"])
async def test_what_no_proxy_names_is_called_directly(
    options: AwsOptions, build: Build, no_proxy: str
) -> None:
    async with open_egress_proxy() as proxy:
        sagemaker = build(through(options, proxy.port, no_proxy=no_proxy))
        assert (await sagemaker.control_plane(ROLE).describe("nb")).in_service
        assert proxy.heads == []


async def test_only_what_the_configuration_took_of_the_environment_counts(
    options: AwsOptions, build: Build, aws_environment: pytest.MonkeyPatch
) -> None:
    aws_environment.delenv("NO_PROXY")
    with held_port() as port:
        aws_environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert (await build(options).control_plane(ROLE).describe("nb")).in_service


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "403 Forbidden"])
async def test_a_proxy_that_refuses_is_named_without_its_credentials(
    options: AwsOptions, build: Build, status: str
) -> None:
    async with open_egress_proxy(answer=f"HTTP/1.1 {status}\r\n\r\n".encode()) as proxy:
        # botocore hides credentials by replacing their first occurrence, which "http" has in the scheme.
        sagemaker = build(through(options, proxy.port, credentials="http:hunter22%40@"))
        with pytest.raises(ControlPlaneProxyRefused) as caught:
            await sagemaker.control_plane().describe("nb")
        told = "".join(traceback.format_exception(caught.value)) + caught.value.detail
        assert f"127.0.0.1:{proxy.port}" in caught.value.detail
        assert f"answered {status[:3]} to CONNECT" in caught.value.detail
        assert "hunter22" not in told


async def test_a_proxy_that_is_away_or_finds_no_way_passes(options: AwsOptions, build: Build) -> None:
    with held_port() as port, pytest.raises(ControlPlaneTimeout) as caught:
        await build(through(options, port)).control_plane().describe("nb")
    assert f"127.0.0.1:{port}" in caught.value.detail
    async with open_egress_proxy(answer=b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as proxy:
        with pytest.raises(ControlPlaneTimeout):
            await build(through(options, proxy.port)).control_plane().describe("nb")
