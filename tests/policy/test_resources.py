"""ARNs of notebook instances, and patterns that are compared part by part."""

from __future__ import annotations

import pytest

from proxy.policy.errors import PolicyError
from proxy.policy.resources import ArnPatterns, notebook_arn, partition_of

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:notebook-instance/gpu-1"


def test_an_arn_is_what_sagemaker_prints() -> None:
    assert notebook_arn("gpu-1", region="eu-west-1", account="123456789012") == ARN
    assert notebook_arn("x", region="cn-north-1", account="") == (
        "arn:aws-cn:sagemaker:cn-north-1::notebook-instance/x"
    )


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("us-east-1", "aws"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_the_partition_follows_from_the_region(region: str, partition: str) -> None:
    assert partition_of(region) == partition


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        (ARN, True),
        ("arn:aws:sagemaker:*:*:notebook-instance/gpu-?", True),
        ("arn:*:sagemaker:eu-*:*:*", True),
        ("arn:aws:sagemaker:*:*:*/gpu*", True),
        ("arn:aws:sagemaker:*:*:notebook-instance/gpu-2", False),
        ("arn:aws:sagemaker:*:*:notebook-instance/GPU-1", False),
        ("arn:aws:sagemaker:us-east-1:*:notebook-instance/gpu-1", False),
        ("arn:aws:sagemaker:*:999999999999:notebook-instance/gpu-1", False),
        # No wildcard reaches across a colon.
        ("arn:aws:sagemaker:*:notebook-instance/gpu-1:x", False),
    ],
)
def test_every_part_must_match(pattern: str, matches: bool) -> None:
    assert (ARN in ArnPatterns([pattern])) is matches
    assert (ARN in ArnPatterns(["arn:aws:sagemaker:x:y:z", pattern])) is matches


def test_what_is_no_instance_is_matched_by_the_star_alone() -> None:
    assert "*" in ArnPatterns(["*"])
    assert "*" not in ArnPatterns([ARN, "arn:*:sagemaker:*:*:*"])


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("gpu-1", "not the ARN of a notebook instance", "notebook-instance/NAME, or '*'"),
        ("arn:aws:sagemaker:*", "not the ARN", "write arn:aws:sagemaker:REGION"),
        ("x:aws:sagemaker:a:b:c", "not the ARN", "write arn:"),
        ("arn:aws:s3:::bucket/*", "not of the service sagemaker", "write arn:"),
        ("arn:aws:sage*:a:b:c", "not of the service sagemaker", "write sagemaker as its service"),
    ],
)
def test_what_is_no_arn_is_refused(pattern: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        ArnPatterns([pattern])
    assert hint in caught.value.hint


def test_an_account_is_needed_where_it_is_named() -> None:
    assert ArnPatterns([ARN]).name_accounts
    assert ArnPatterns(["*", "arn:aws:sagemaker:*:1*:x"]).name_accounts
    assert not ArnPatterns(["*", "arn:aws:sagemaker:eu-west-1:*:notebook-instance/x"]).name_accounts


def test_the_account_can_be_left_open() -> None:
    unknown = notebook_arn("gpu-1", region="eu-west-1", account="")
    assert unknown not in ArnPatterns([ARN])
    assert unknown in ArnPatterns([ARN]).of_any_account
    assert ArnPatterns(["*", ARN]).of_any_account.patterns == (
        "*",
        "arn:aws:sagemaker:eu-west-1:*:notebook-instance/gpu-1",
    )


def test_are_compared_by_what_they_say() -> None:
    assert ArnPatterns([ARN]) == ArnPatterns((ARN,))
    assert hash(ArnPatterns([ARN])) == hash(ArnPatterns([ARN]))
    assert ArnPatterns([ARN]) != ArnPatterns(["*"])
    assert ArnPatterns([ARN]) != ARN
    assert repr(ArnPatterns(["*", ARN])) == f"ArnPatterns(*, {ARN})"
