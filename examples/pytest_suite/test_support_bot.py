"""Tests of a Bedrock application: no account, no network, no canned HTTP. The fixtures come with awsllm[test].

pytest examples/pytest_suite
"""

from collections.abc import Callable, Iterator

import boto3
import pytest

import awsllm
from awsllm.testing import MockAws
from awsllm.testing.faults import cut, throttle
from examples.pytest_suite import support_bot  # your application

Enter = Callable[..., MockAws]
STATUS = {"toolUse": {"name": "order_status", "input": {"number": "A-17"}}}


@pytest.fixture
def client() -> Iterator[awsllm.Client]:
    with awsllm.Client(region="us-east-1", policy=awsllm.Policy(max_attempts=2)) as client:
        yield client


def test_the_tool_runs_and_its_result_reaches_the_model(mock_aws: Enter, client: awsllm.Client) -> None:
    aws = mock_aws(reply=[STATUS, "It is packed."])
    boto3.client("s3").create_bucket(Bucket=support_bot.BUCKET)

    assert support_bot.answer(client, "Where is A-17?") == "It is packed."

    first, second = (request for request in aws.requests if isinstance(request, awsllm.ConverseRequest))
    assert [tool.name for tool in first.tools if isinstance(tool, awsllm.ToolSpec)] == ["order_status"]
    [result] = second.messages[-1].content
    assert isinstance(result, awsllm.ToolResult)
    assert result.content == (awsllm.Text("packed"),)
    [kept] = boto3.client("s3").list_objects_v2(Bucket=support_bot.BUCKET)["Contents"]
    text = boto3.client("s3").get_object(Bucket=support_bot.BUCKET, Key=kept["Key"])["Body"].read()
    assert text == b"Where is A-17?\nIt is packed."
    aws.assert_all_used()


def test_one_throttled_call_goes_unnoticed(mock_aws: Enter, client: awsllm.Client) -> None:
    aws = mock_aws(reply="Hello.", faults=[throttle(times=1)])
    boto3.client("s3").create_bucket(Bucket=support_bot.BUCKET)
    assert support_bot.answer(client, "Hi") == "Hello."
    [(_, times)] = aws.faults.happened()
    assert times == 1


def test_a_throttled_account_is_told_politely(mock_aws: Enter, client: awsllm.Client) -> None:
    mock_aws(reply=awsllm.ThrottlingError("slow down"))
    assert "ask again" in support_bot.answer(client, "Hi")


def test_a_stream_that_breaks(mock_aws: Enter, client: awsllm.Client) -> None:
    mock_aws(reply="The order is on its way to you.", faults=[cut()])
    *said, last = support_bot.live_answer(client, "Where is A-18?")
    assert last == " [the connection broke]"
    assert "The order is on its way to you.".startswith("".join(said))


def test_a_blank_question_never_leaves_the_house(mock_aws: Enter, client: awsllm.Client) -> None:
    aws = mock_aws(reply="Hello.")
    with pytest.raises(awsllm.ValidationError, match="blank text"):
        support_bot.answer(client, " ")
    assert aws.requests == []
