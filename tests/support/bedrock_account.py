"""boto3's view of Bedrock's control plane inside ``mock_aws``, in few words."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import boto3
from botocore.config import Config

from tests.support.sagemaker_account import client

ROLE = "arn:aws:iam::123456789012:role/bedrock"
WHERE = "arn:aws:bedrock:us-east-1:123456789012"
NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/"
CLAUDE_BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "Hello"}],
}
MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]


def bedrock(region: str = "us-east-1") -> Any:
    return client("bedrock", region)


@functools.cache
def runtime(region: str = "us-east-1") -> Any:
    """A client that asks once: botocore repeats what is refused as not ready, and each time is a look."""
    session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b")
    return session.client("bedrock-runtime", region, config=Config(retries={"total_max_attempts": 1}))


def put(key: str, *records: Any, bucket: str = "data") -> str:
    """An object of JSON Lines; texts are lines as they are. Returns its URI."""
    s3 = client("s3")
    s3.create_bucket(Bucket=bucket)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    s3.put_object(Bucket=bucket, Key=key, Body="\n".join(lines).encode())
    return f"s3://{bucket}/{key}"


def get(key: str, bucket: str = "data") -> bytes:
    body: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def lines(key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in get(key).splitlines()]


def keys(prefix: str, bucket: str = "data") -> list[str]:
    found = client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", ())]


def names(summaries: Iterable[dict[str, Any]], member: str) -> list[str]:
    return [str(summary[member]) for summary in summaries]
