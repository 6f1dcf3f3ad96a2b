"""Test classes under ``mock_aws``: what a set-up makes is there for its test, and gone for the next."""

from __future__ import annotations

import inspect
import unittest
from typing import Any

import boto3

from awsllm.testing import mock_aws

WORDS: Any = {"wordsConfig": [{"text": "bomb"}]}
HELLO: Any = [{"role": "user", "content": [{"text": "Hello"}]}]
AWS = mock_aws(reply=["One.", "Two.", "Three."])


def ask() -> str:
    runtime = boto3.client("bedrock-runtime", "us-east-1")
    reply = runtime.converse(modelId="us.amazon.nova-lite-v1:0", messages=HELLO)
    return str(reply["output"]["message"]["content"][0]["text"])


def make() -> None:
    boto3.client("s3", "us-east-1").create_bucket(Bucket="bucket")
    boto3.client("bedrock", "us-east-1").create_guardrail(
        name="words", blockedInputMessaging="No.", blockedOutputsMessaging="No.", wordPolicyConfig=WORDS
    )


def made() -> tuple[int, int]:
    buckets = boto3.client("s3", "us-east-1").list_buckets()["Buckets"]
    guardrails = boto3.client("bedrock", "us-east-1").list_guardrails()["guardrails"]
    return len(buckets), len(guardrails)


@AWS
class TestPlain(unittest.TestCase):
    def setUp(self) -> None:
        make()
        self.first = ask()

    def ask(self) -> str:  # decorated as well
        return ask()

    def test_one(self) -> None:
        assert made() == (1, 1)
        assert (self.first, self.ask(), self.ask()) == ("One.", "Two.", "Three.")
        assert len(AWS.requests) == 3
        AWS.assert_all_used()

    def test_two(self) -> None:
        assert made() == (1, 1)
        assert (self.first, self.ask()) == ("One.", "Two.")
        assert len(AWS.requests) == 2


@mock_aws(reply="Hi")
class TestAwaited(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        make()

    async def test_one(self) -> None:
        assert made() == (1, 1)

    async def test_two(self) -> None:
        assert made() == (1, 1)


@mock_aws(reply="Hi")
class TestOfPytest:  # which looks how many arguments a set-up takes
    def setup_method(self) -> None:
        make()

    def test_one(self) -> None:
        assert made() == (1, 1)


def test_an_own_method_of_the_test_is_still_given() -> None:
    @mock_aws(reply="Hi")
    class Given:
        def setup_method(self, method: Any) -> None:
            self.name = method.__name__

    case = Given()
    case.setup_method(ask)
    assert case.name == "ask"
    assert inspect.signature(case.setup_method).parameters.keys() == {"method"}
