"""By which door of Bedrock a call goes."""

from __future__ import annotations

from typing import TypedDict

import pytest
from msgspec.structs import replace

import awsllm
from awsllm.backends.bedrock import invoke, openai
from awsllm.calls.prepare import prepare
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.testing import mock_aws
from awsllm.types import Message, Text, ToolResult, ToolUse

MODEL = "bedrock:us.amazon.nova-lite-v1:0"


@pytest.mark.parametrize(
    ("model", "api", "door"),
    [
        (MODEL, None, None),
        (MODEL, "auto", None),
        (MODEL, "converse", None),
        (MODEL, "invoke", "invoke"),
        ("bedrock:openai.gpt-oss-20b-1:0", "openai", "openai"),
        ("bedrock:us.openai.gpt-5.5", None, None),
        ("bedrock:openai.gpt-5.5", None, "openai"),
        ("bedrock:google.gemma-4-31b", "auto", "openai"),
        ("bedrock:newer.model-v1", None, None),
        ("bedrock:newer.model-v1", "openai", "openai"),
        ("sagemaker:ep", None, None),
        ("local:x", "auto", None),
    ],
)
def test_the_door_of_a_call(model: str, api: str | None, door: str | None) -> None:
    assert prepare(model, "Hello", {"api": api} if api else {}, Knowledge()).request.api == door


@pytest.mark.parametrize(
    ("model", "api", "words"),
    [
        (MODEL, "opneai", "'opneai' is none of 'auto', 'converse', 'invoke', 'openai'"),
        ("sagemaker:ep", "converse", "names a door of bedrock: models; sagemaker:ep has one"),
        ("local:x", "openai", "leave api out"),
    ],
)
def test_a_door_that_is_none(model: str, api: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        prepare(model, "Hello", {"api": api}, Knowledge())


def test_converse_of_a_model_that_has_none() -> None:
    with pytest.raises(UnsupportedError, match=r"has no Converse: leave api out, or take api='openai'$"):
        prepare("bedrock:google.gemma-4-31b", "Hello", {"api": "converse"}, Knowledge())


@pytest.mark.parametrize(
    ("model", "api", "words"),
    [
        (
            "google.gemma-4-31b",
            "invoke",
            "known for 'google.gemma-4-31b': the model's doors are api='openai'$",
        ),
        ("newer.model-v1", "invoke", "family= which model it is, or call invoke_model"),
        ("us.amazon.nova-lite-v1:0", "openai", "this id: leave api out, or take api='converse' or api='invoke'$"),
        (
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "openai",
            "has mantle_messages, under its id without",
        ),
    ],
)
def test_a_door_that_a_model_lacks_is_refused_with_those_that_it_has(model: str, api: str, words: str) -> None:
    request = replace(prepare(f"bedrock:{model}", "Hello", {"api": api}, Knowledge()).request, model=model)
    door = {"invoke": invoke, "openai": openai}[api]
    with pytest.raises(UnsupportedError, match=words):
        door.converse_call(request)


# Converse has tools for these, and the prompt that InvokeModel takes has no place for them.
@pytest.mark.parametrize("model", ["us.meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-large-2402-v1:0"])
def test_a_typed_answer_of_a_body_that_is_a_prompt(model: str) -> None:
    with mock_aws(reply='{"total": 99.5}'), awsllm.Client(region="us-east-1") as client:
        answer = client.converse(f"bedrock:{model}", "99.50 euros", output_type=Total, max_tokens=20, api="invoke")
    assert answer.output == {"total": 99.5}


class Total(TypedDict):
    total: float


def test_calls_without_their_tools_are_taken_where_the_route_takes_them() -> None:
    turns = [
        Message.user("a"),
        Message.assistant(ToolUse("c", "f", {})),
        Message.user(ToolResult("c", (Text("x"),))),
    ]
    assert prepare("bedrock:openai.gpt-5.5", turns, {}, Knowledge()).request.messages == tuple(turns)
    with pytest.raises(ValidationError, match="there are no tools"):
        prepare(MODEL, turns, {}, Knowledge())
