"""nbgate's excerpts of botocore's data: the same as the installed botocore's, and of the same effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session

from proxy.aws.service_data import MODELS, new_session
from tests.aws import service_data

AGAIN = "botocore's data changed; make the excerpt again: python -m tests.aws.service_data"


def presigned(session: Session, service: str, operation: str, region: str, **settings: Any) -> str:
    """Where a call would go, and the Region and service that it is signed for."""
    client = session.create_client(
        service,
        region_name=region,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="not-a-secret",
        config=Config(**settings),
    )
    url = client.generate_presigned_url(operation, ExpiresIn=60)  # type: ignore[attr-defined]
    scope = url.partition("X-Amz-Credential=")[2].partition("&")[0]
    return f"{url.partition('?')[0]} {scope.split('%2F')[2:]}"


@pytest.fixture(scope="module")
def whole() -> Session:
    return Session()


@pytest.fixture(scope="module")
def ours() -> Session:
    return new_session()


@pytest.mark.newest
def test_the_service_model_is_that_of_the_installed_botocore() -> None:
    version, model = service_data.service_model(Loader())
    assert json.loads((MODELS / "sagemaker" / version / "service-2.json").read_text()) == model, AGAIN


def test_the_model_holds_the_operations_that_nbgate_uses_and_no_other(ours: Session) -> None:
    assert set(ours.get_service_model("sagemaker").operation_names) == set(service_data.OPERATIONS)


@pytest.mark.parametrize(
    ("service", "operation"), [("sagemaker", "list_notebook_instances"), ("sts", "get_caller_identity")]
)
def test_calls_go_where_botocore_sends_them_in_every_region(
    whole: Session, ours: Session, service: str, operation: str
) -> None:
    """Those that our file does not know yet, too: so an excerpt that is older than a Region is no error."""
    regions = [
        region
        for partition in whole.get_available_partitions()
        for region in whole.get_available_regions("ec2", partition)
    ]
    assert len(regions) > 30
    for region in (*regions, "eu-novelty-7"):
        expected = presigned(whole, service, operation, region)
        assert presigned(ours, service, operation, region) == expected


@pytest.mark.parametrize("settings", [{"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}], ids=str)
@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "eu-central-1"])
def test_endpoint_rules_stay_botocores(
    whole: Session, ours: Session, settings: dict[str, Any], region: str
) -> None:
    call = ("sagemaker", "list_notebook_instances", region)
    assert presigned(ours, *call, **settings) == presigned(whole, *call, **settings)


def test_everything_else_is_the_installed_botocores(ours: Session) -> None:
    loader = ours.get_component("data_loader")
    assert loader.load_data("_retry") == Loader().load_data("_retry")
    assert ours.get_service_model("sts").operation_names == Session().get_service_model("sts").operation_names


def test_data_of_the_operators_own_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_DATA_PATH, as everywhere with botocore."""
    (tmp_path / "_novelty.json").write_text('{"here": true}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert new_session().get_data("_novelty") == {"here": True}


def test_the_profile_that_is_named_and_not_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    file.write_text("[profile one]\n[profile two]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "one")
    assert new_session().profile == "one"
    assert new_session("two").profile == "two"
