"""What a call used and cost, and counting before it is made: the cases U1 and U2."""

import json
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from awsllm.types import ToolSpec
from tests.support.cases import NOVA, PROFILE, REPLY, answering, asking

PRICES = {NOVA: awsllm.Price(input=1.0, output=4.0)}


@pytest.mark.parametrize("model", [NOVA, "sagemaker:mine", "local:smollm2-135m-instruct"])
def test_u1_usage_and_cost_are_in_one_place(model: str) -> None:
    """``usage`` and ``cost`` of the reply, whole and streamed, wherever the model runs; an endpoint, which is paid by
    the hour, has None there, and what runs here costs nothing."""
    cost = {NOVA: pytest.approx((1 * 1.0 + 3 * 4.0) / 1e6), "sagemaker:mine": None, "local:smollm2-135m-instruct": 0.0}
    client = awsllm.Client(region="us-east-1", prices=PRICES, formats={"mine": "openai"})
    with mock_aws(reply="one two three", endpoints="*"), client:
        reply = client.converse(model, "Hi", max_tokens=9)
        with client.converse_stream(model, "Hi", max_tokens=9) as stream:
            streamed = stream.response
    for found in (reply, streamed):
        assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (1, 3, 4)
        assert found.cost == cost[model]


@pytest.mark.parametrize("usage", [None, {"inputTokens": 3}])
def test_u1_what_is_not_known_is_none(usage: dict[str, int] | None) -> None:
    """A reply without its counts has no counts and no cost."""
    wire = {name: value for name, value in {**REPLY, "usage": usage}.items() if value is not None}
    with asking(answering(wire), prices=PRICES) as (client, _):
        reply = client.converse(NOVA, "Hi")
    assert reply.usage.output_tokens is None
    assert reply.cost is None


def test_u1_an_application_profile_is_priced_as_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ARN has no price of its own: what is behind it does."""
    monkeypatch.setattr(
        "awsllm.backends.bedrock.models.resolve", lambda session, arn: ("global.anthropic.claude-sonnet-4-6", None)
    )
    with mock_aws(reply="Hi."), awsllm.Client(region="us-east-1") as client:
        priced = client.converse("bedrock:global.anthropic.claude-sonnet-4-6", "Hi").cost
        assert priced
        assert client.converse(PROFILE, "Hi").cost == priced


def test_u2_tokens_are_counted_behind_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """CountTokens takes foundation models alone: a geography's profile and an ARN are counted of the one behind."""
    described = "us.anthropic.claude-sonnet-4-6"
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", lambda session, arn: (described, None))
    with asking(answering({"inputTokens": 5})) as (client, seen):
        assert client.count_tokens(NOVA, "Hi") == 5
        assert client.count_tokens(PROFILE, "Hi") == 5
    paths = [request.path for request in seen]  # one call each, and nothing is fetched
    assert paths == [f"/model/{m}/count-tokens" for m in ("amazon.nova-lite-v1%3A0", "anthropic.claude-sonnet-4-6")]


def test_u2_tools_and_system_texts_are_counted() -> None:
    """All that makes up the prompt is sent to be counted, the same tools as ``converse`` sends."""
    tool = ToolSpec("f", {"type": "object", "properties": {"a": {"type": "string"}}}, "Finds it.")
    options: dict[str, Any] = {"tools": [tool], "system": "Be brief."}
    counted, asked = answering({"inputTokens": 5}), answering()
    with asking(counted, asked) as (client, seen):
        client.count_tokens(NOVA, "Hi", **options)
        client.converse(NOVA, "Hi", **options)
    first, second = (json.loads(request.body) for request in seen)
    assert first["input"]["converse"] == second
    with mock_aws(reply="unused"), awsllm.Client(region="us-east-1") as client:
        assert client.count_tokens(NOVA, "Hi", **options) > client.count_tokens(NOVA, "Hi")
