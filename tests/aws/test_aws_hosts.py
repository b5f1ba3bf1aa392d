"""Only notebook hosts of the configured Region, spelt beyond doubt, are ever connected to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.loaders import Loader
from yarl import URL

from proxy.aws.hosts import SIGN_IN_HOSTS, NotebookHosts, foreign_host, is_sign_in
from proxy.config.values import parse_region
from proxy.policy.resources import partition_of
from proxy.upstream import Origin

WEST = NotebookHosts("us-west-2")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-west-2", "mynotebookinstance.notebook.us-west-2.sagemaker.aws"),
        ("us-west-2", "deployment-notebook-d8ka.notebook.us-west-2.sagemaker.aws"),
        ("us-west-2", "MyNotebook.Notebook.us-west-2.SageMaker.aws"),
        ("us-west-2", "nb.notebook-fips.us-west-2.sagemaker.aws"),
        ("us-gov-west-1", "nb.notebook.us-gov-west-1.sagemaker.aws"),
        ("us-gov-east-1", "nb.notebook-fips.us-gov-east-1.sagemaker.aws"),
        ("cn-north-1", "nb.notebook.cn-north-1.sagemaker.com.cn"),
        ("cn-northwest-1", "nb.notebook.cn-northwest-1.sagemaker.com.cn"),
    ],
)
def test_notebook_hosts_of_every_partition(region: str, host: str) -> None:
    assert NotebookHosts(region).allows(URL(f"https://{host}?authToken=x", encoded=True))


@pytest.mark.parametrize(
    "url",
    [
        "http://nb.notebook.us-west-2.sagemaker.aws/",
        "https://nb.notebook.us-west-2.sagemaker.aws:8443/",
        "https://nb.notebook.us-west-2.sagemaker.aws./",
        "https://nb.notebook.eu-west-1.sagemaker.aws/",
        "https://notebook.us-west-2.sagemaker.aws/",
        "https://.notebook.us-west-2.sagemaker.aws/",
        "https://a.b.notebook.us-west-2.sagemaker.aws/",
        "https://-nb.notebook.us-west-2.sagemaker.aws/",
        "https://nb_1.notebook.us-west-2.sagemaker.aws/",
        "https://nb.notebook.us-west-2.sagemaker.aws.evil.example/",
        "https://evilnotebook.us-west-2.sagemaker.aws/",
        "https://nb.notebook.us-west-2.sagemaker.com.cn/",
        "https://user@nb.notebook.us-west-2.sagemaker.aws/",
        "https://user:pw@nb.notebook.us-west-2.sagemaker.aws/",
        "https://nb.studio.us-west-2.sagemaker.aws/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://127.0.0.1/",
        "ftp://nb.notebook.us-west-2.sagemaker.aws/",
        "/relative",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    assert not WEST.allows(URL(url, encoded=True))


PARTITIONS: list[dict[str, Any]] = Loader().load_data("partitions")["partitions"]
REGIONS = {
    region: partition["id"]
    for partition in PARTITIONS
    for region in partition["regions"]
    if not region.endswith("-global")
}


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_that_botocore_knows_has_notebooks(region: str) -> None:
    domain = "sagemaker.com.cn" if REGIONS[region] == "aws-cn" else "sagemaker.aws"
    hosts = NotebookHosts(region)
    assert hosts.allows(URL(f"https://nb.notebook.{region}.{domain}/"))
    assert parse_region(region) == region
    assert partition_of(region) == REGIONS[region]


def sign_in_hosts_of_botocore() -> Iterator[str]:
    """By its rules for the service `signin`, but for API endpoints, which no browser is sent to."""
    rules = json.dumps(Loader().load_service_model("signin", "endpoint-rule-set-1"))
    for host in set(re.findall(r'"https://([^"/]+)"', rules)):
        if "PartitionResult" not in host and ".api." not in host:
            yield from (host.replace("{Region}", region) for region in REGIONS)


@pytest.mark.newest
def test_every_host_where_botocore_signs_people_in_is_known() -> None:
    hosts = set(sign_in_hosts_of_botocore())
    assert "eusc-de-east-1.signin.amazonaws-eusc.eu" in hosts
    assert [host for host in sorted(hosts) if not is_sign_in(host, 443, SIGN_IN_HOSTS)] == []
    for console in ("eusc-de-east-1.console.amazonaws-eusc.eu", "us-gov-west-1.console.amazonaws-us-gov.com"):
        assert is_sign_in(console, 443, SIGN_IN_HOSTS)


def test_suffixes_of_the_operators_count_besides_those_that_are_known() -> None:
    hosts = NotebookHosts("eusc-de-east-1", more_suffixes=("notebook.eusc-de-east-1.sagemaker.example",))
    for host in ("nb.notebook.eusc-de-east-1.sagemaker.example", "nb.notebook.eusc-de-east-1.sagemaker.aws"):
        assert hosts.allows(URL(f"https://{host}/"))
        assert hosts.are_sagemakers(Origin("https", host, 443))
    for url in (
        "https://a.b.notebook.eusc-de-east-1.sagemaker.example/",
        "https://nb.notebook.eusc-de-east-1.sagemaker.example:8443/",
        "http://nb.notebook.eusc-de-east-1.sagemaker.example/",
        "https://notebook.eusc-de-east-1.sagemaker.example/",
        "https://evilnotebook.eusc-de-east-1.sagemaker.example/",
    ):
        assert not hosts.allows(URL(url))


def test_a_test_origin_is_not_sagemakers() -> None:
    hosts = NotebookHosts("us-east-1", test_origins=frozenset({"http://127.0.0.1:9001"}))
    assert hosts.allows(URL("http://127.0.0.1:9001/"))
    assert not hosts.are_sagemakers(Origin("http", "127.0.0.1", 9001))


def test_a_test_origin_counts_exactly_as_configured() -> None:
    hosts = NotebookHosts("us-west-2", test_origins=frozenset({"http://127.0.0.1:9001"}))
    assert hosts.allows(URL("http://127.0.0.1:9001/x?y"))
    for other in (
        "http://127.0.0.1:9002",
        "https://127.0.0.1:9001",
        "http://localhost:9001",
        "http://u@127.0.0.1:9001",
    ):
        assert not hosts.allows(URL(other))


@pytest.mark.parametrize("region", ["", "us-west", "us-west-2.evil.example", "US-WEST-2", "us-west-2/", "a"])
def test_a_region_must_look_like_one(region: str) -> None:
    with pytest.raises(ValueError, match="not an AWS Region"):
        NotebookHosts(region)


def test_a_test_origin_must_be_an_origin() -> None:
    with pytest.raises(ValueError, match="http"):
        NotebookHosts("us-west-2", test_origins=frozenset({"127.0.0.1"}))


@pytest.mark.parametrize(
    ("host", "port", "verdict"),
    [
        ("signin.aws.amazon.com", 443, True),
        ("us-west-2.signin.aws.amazon.com", 443, True),
        ("us-west-2.signin.aws", 443, True),
        ("signin.aws.amazon.com.", 443, True),
        ("us-west-2.console.aws.amazon.com", 443, True),
        ("d-9267.awsapps.com", 443, True),
        ("signin.amazonaws.cn", 443, True),
        ("console.amazonaws-us-gov.com", 443, True),
        ("docs.aws.amazon.com", 443, False),
        ("evilsignin.aws.amazon.com", 443, False),
        ("signin.aws.amazon.com.evil.example", 443, False),
        ("login.microsoftonline.com", 443, False),
        ("127.0.0.1", 9000, True),
        ("127.0.0.1", 9001, False),
        ("signin.test", None, True),
    ],
)
def test_sign_in_hosts(host: str, port: int | None, verdict: bool) -> None:
    assert is_sign_in(host, port, SIGN_IN_HOSTS | {"127.0.0.1:9000", "signin.test"}) is verdict


def test_a_name_that_is_longer_than_any_is_no_sign_in_host() -> None:
    assert is_sign_in("a." * 116 + "signin.aws.amazon.com", None, SIGN_IN_HOSTS)
    assert not is_sign_in("a." * 118 + "signin.aws.amazon.com", None, SIGN_IN_HOSTS)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"/lab", None),
        (b"lab?x", None),
        (b"", None),
        (b"https://nb.example/lab", None),
        (b"https://NB.example:443/lab", None),
        (b"//nb.example/x", None),
        (b"http://nb.example/", ("nb.example", 80)),
        (b"https://nb.example:8443/", ("nb.example", 8443)),
        (b"//other.example/x", ("other.example", 443)),
        (b"https://other.example", ("other.example", 443)),
        (b"weird://other.example", ("other.example", None)),
        (b"https://[::1", None),
        (b"https://other.example:port", None),
        (b"\xff\xfe", None),
    ],
)
def test_where_a_location_leads(location: bytes, expected: tuple[str, int | None] | None) -> None:
    assert foreign_host(location, Origin("https", "nb.example", 443)) == expected
