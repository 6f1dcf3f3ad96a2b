"""IAM values: partitions judged by botocore's own table, ARNs and statements as IAM reads them."""

import re
from typing import Any

import botocore.session
import pytest

from awsllm.aws import iam
from awsllm.aws.iam import Arns
from awsllm.errors import ValidationError

PARTITIONS: list[dict[str, Any]] = (
    botocore.session.Session().get_component("data_loader").load_data("partitions")["partitions"]
)


@pytest.mark.parametrize("told", PARTITIONS, ids=lambda one: one["id"])
def test_every_region_that_botocore_knows(told: dict[str, Any]) -> None:
    regions = [region for region in told["regions"] if re.fullmatch(told["regionRegex"], region)]
    assert regions
    fips = [f"fips-{regions[0]}", f"{regions[0]}-fips"]
    for region in [*told["regions"], *fips]:
        assert iam.partition(region) == told["id"]
        assert iam.dns_suffix(region) == told["outputs"]["dnsSuffix"]


def test_arns() -> None:
    arns = Arns("cn-north-1", "111122223333")
    assert arns.of("sagemaker", "model/m") == "arn:aws-cn:sagemaker:cn-north-1:111122223333:model/m"
    assert arns.iam("role/r") == "arn:aws-cn:iam::111122223333:role/r"
    assert Arns("us-east-1").iam("role/r") == "arn:aws:iam::*:role/r"
    assert iam.account_of(arns.of("sagemaker", "model/a:b")) == "111122223333"
    assert iam.account_of("admin") == "*"


@pytest.mark.parametrize(
    ("uri", "objects", "folder"),
    [
        ("s3://data/in/a.jsonl", "data/in/a.jsonl*", "data/in/a.jsonl/*"),
        ("s3://data/in/", "data/in/*", "data/in/*"),
        ("s3://data/in", "data/in*", "data/in/*"),
        ("s3://data", "data/*", "data/*"),
    ],
)
def test_what_is_read_begins_alike_and_what_is_written_lies_beneath(uri: str, objects: str, folder: str) -> None:
    arns = Arns("us-east-1")
    assert arns.bucket(uri) == "arn:aws:s3:::data"
    assert arns.objects(uri) == f"arn:aws:s3:::{objects}"
    assert arns.folder(uri) == f"arn:aws:s3:::{folder}"


def test_equal_rights_read_equal() -> None:
    one = iam.statement("Read", ["s3:GetObject", "s3:GetObject"], "*")
    assert one == iam.statement("Read", "s3:GetObject", ["*"])
    assert one == {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"]}


@pytest.mark.parametrize("role", ["admin", "arn:aws:iam::1:role/r", "arn:aws:iam::111122223333:user/r"])
def test_what_is_no_role(role: str) -> None:
    with pytest.raises(ValidationError, match="ARN of a role"):
        iam.check_role(role)
    assert iam.check_role("arn:aws-us-gov:iam::111122223333:role/path/r")
