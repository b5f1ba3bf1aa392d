"""What stands in the way at AWS is said when the gateway starts, and whenever `nbgate check --aws` asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from proxy.aws.regions import known_regions
from proxy.aws.service_data import new_session
from proxy.cli import main
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.server.operations.aws_check import region_in_words, unknown_region
from proxy.server.operations.first_look import report_first_look
from tests.harness.gateway import Rig, open_rig
from tests.harness.ports import held_port

ROLE = "arn:aws:iam::123456789012:role/vision"
TWO: dict[str, Any] = {
    "research": {"notebook": "research-gpu-1", "mount": "root"},
    "vanished": {"notebook": "no-such-notebook", "assume_role": ROLE},
}
MINIMAL = Path(__file__).parents[3] / "config" / "minimal.yaml"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as opened:
        yield opened


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without AWS credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


async def look(rig: Rig, settings: Settings | None = None) -> None:
    await report_first_look(
        settings or rig.gateway.reloader.settings,
        sagemaker=rig.gateway.process.sagemaker,
        events=rig.gateway.logs.events,
    )


async def said_of_aws(rig: Rig) -> str:
    """In /readyz."""
    url = f"http://{rig.gateway.admin_address}/readyz"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return str((await answer.json())["details"]["aws"])


def told(rig: Rig) -> list[dict[str, Any]]:
    return [
        line for line in rig.log_lines() if line.get("event") == "AWS does not let the gateway do its work"
    ]


async def check(rig: Rig) -> Result:
    """`nbgate check --aws`, beside the loop that the sandbox runs in."""
    file = str(rig.gateway.reloader.settings.source)
    return await asyncio.to_thread(CliRunner().invoke, main, ["check", "--aws", file])


def asked(result: Result) -> list[str]:
    return result.stdout.partition("\nAWS\n")[2].splitlines()


async def test_a_start_at_which_all_is_well_says_nothing(rig: Rig) -> None:
    assert await said_of_aws(rig) == "not asked"
    await look(rig)
    assert await said_of_aws(rig) == "ok"
    assert rig.sandbox.calls == {"DescribeNotebookInstance": 1}
    assert told(rig) == []


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("UnrecognizedClientException", 400, "CREDENTIALS_REFUSED"),
        ("ExpiredTokenException", 400, "CREDENTIALS_REFUSED"),
        ("AccessDeniedException", 400, "PERMISSION_MISSING"),
    ],
)
async def test_what_stands_in_the_way_is_one_line_and_in_readyz_until_it_is_mended(
    rig: Rig, code: str, status: int, expected: str
) -> None:
    rig.sandbox.faults.fail(code, "as planted", status=status)
    await look(rig)
    assert await said_of_aws(rig) == expected
    await look(rig)
    assert await said_of_aws(rig) == "ok"
    [line] = told(rig)
    assert (line["level"], line["instance"], line["notebook"]) == ("error", "research", "research-gpu-1")
    assert line["code"] == expected
    assert "as planted" in line["detail"]
    assert line["remedy"]
    assert "Traceback" not in rig.log_file.read_text()


async def test_without_credentials(nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rig(tmp_path) as rig:
        # The rig brings some.
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        await look(rig)
        assert await said_of_aws(rig) == "CREDENTIALS_MISSING"
        result = await check(rig)
        [line] = told(rig)
        assert line["code"] == "CREDENTIALS_MISSING"
        assert "role" in line["remedy"]
        assert result.exit_code == 1
        first, second = asked(result)
        assert first.startswith("identity: CREDENTIALS_MISSING; NoCredentialsError")
        for way_out in ("AWS_PROFILE", "aws.profile", "aws sso login"):
            assert way_out in first
        assert second == "research (research-gpu-1): CREDENTIALS_MISSING, as for identity"


@pytest.mark.slow
def test_without_a_network_it_says_that_nothing_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    file = tmp_path / "nbgate.yaml"
    with held_port() as port:
        # Nothing listens there.
        proxied = f"aws:\n  https_proxy: http://127.0.0.1:{port}\n"
        file.write_text(MINIMAL.read_text().replace("aws:\n", proxied))
        identity, instance = asked(CliRunner().invoke(main, ["check", "--aws", str(file)]))
    assert "CONTROL_PLANE_UNREACHABLE; ProxyConnectionError" in identity
    assert "look at the way to SageMaker's API and to STS" in identity
    assert instance == "research (research-gpu-1): CONTROL_PLANE_UNREACHABLE, as for identity"


async def test_an_instance_that_is_stopped_or_busy_times_are_nothing_to_mend(rig: Rig) -> None:
    rig.sandbox.faults.throttle(times=9)
    await look(rig)
    assert (await said_of_aws(rig), told(rig)) == ("ok", [])


async def test_check_asks_who_it_is_and_for_each_instance(tmp_path: Path) -> None:
    async with open_rig(tmp_path, mounted=TWO) as rig:
        result = await check(rig)
        assert result.exit_code == 1
        assert asked(result) == [
            "identity: arn:aws:iam::123456789012:user/sandbox",
            f"identity as {ROLE}: arn:aws:sts::123456789012:assumed-role/vision/nbgate",
            "research (research-gpu-1): InService, ml.t3.medium, notebook-al2023-v1",
            "vanished (no-such-notebook): INSTANCE_NOT_FOUND; DescribeNotebookInstance: ValidationException: "
            "RecordNotFound; correct notebook: of the instance, or aws.region, or the account that the role is of",
        ]
        assert "CreatePresignedNotebookInstanceUrl" not in rig.sandbox.calls


async def test_check_ends_well_where_all_is_well(rig: Rig) -> None:
    assert (await check(rig)).exit_code == 0


async def test_each_role_is_looked_at_once_at_the_start(tmp_path: Path) -> None:
    mounted = TWO | {"second": {"notebook": "research-gpu-1"}}
    async with open_rig(tmp_path, mounted=mounted) as rig:
        await look(rig)
        assert [(line["instance"], line["code"]) for line in told(rig)] == [
            ("vanished", "INSTANCE_NOT_FOUND")
        ]
        assert rig.sandbox.calls["DescribeNotebookInstance"] == 2


def test_the_regions_that_are_known_are_those_of_the_installed_botocore() -> None:
    session = new_session()
    partitions = session.get_available_partitions()
    theirs = {
        region for partition in partitions for region in session.get_available_regions("sagemaker", partition)
    }
    assert theirs <= known_regions()
    assert {"eu-west-1", "us-gov-west-1", "cn-north-1"} <= known_regions()


@pytest.mark.parametrize(
    ("region", "hint"),
    [
        ("eu-west-11", "did you mean 'eu-west-1'?"),
        ("xx-nowhere-9", "look at its spelling, such as eu-west-1"),
    ],
)
def test_a_region_that_is_not_known_is_a_warning_with_its_line(
    tmp_path: Path, region: str, hint: str
) -> None:
    file = tmp_path / "nbgate.yaml"
    file.write_text(MINIMAL.read_text().replace("eu-west-1", region))
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 0
    assert (
        f"warning: {file}:7: aws.region: '{region}' is no Region that this version knows of" in result.stderr
    )
    assert hint in result.stderr


def test_a_region_of_somebody_elses_endpoint_may_be_called_anything(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    text = MINIMAL.read_text().replace("eu-west-1", "xx-nowhere-9\n  endpoint_url: http://127.0.0.1:9")
    file.write_text(text)
    settings = load(file, environ={})
    assert unknown_region(settings) is None
    assert region_in_words(settings) == "xx-nowhere-9"


async def test_the_start_says_that_a_region_is_not_known(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(MINIMAL.read_text().replace("eu-west-1", "eu-west-11"))
    rig.sandbox.faults.throttle(times=9)
    settings = load(file, environ={})
    await look(rig, settings)
    assert region_in_words(settings) == "eu-west-11 (not known)"
    [line] = [line for line in rig.log_lines() if line.get("event") == "the Region is not known"]
    assert (line["level"], line["hint"]) == ("warning", "did you mean 'eu-west-1'?")
