"""What models can do."""

from __future__ import annotations

import pytest

from awsllm.models.profiles import Profile, profile

FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"
APPLICATION = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", {"native_json_schema": True, "family": "claude"}),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"native_json_schema": True}),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", {"native_json_schema": True}),
        (FOUNDATION, {"native_json_schema": True}),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama3-1-8b-instruct-v1:0", {"tool_choices": {"auto"}}),
        (
            "anthropic.claude-3-haiku-20240307-v1:0",
            {"native_json_schema": False, "tool_choices": {"auto", "any", "tool"}},
        ),
        ("us.anthropic.claude-opus-5-5", {"tool_choices": {"auto"}}),
        ("amazon.nova-micro-v1:0", {"tool_choices": {"auto", "any", "tool"}, "images": False, "documents": False}),
        ("apac.amazon.nova-pro-v1:0", {"images": True, "cache_points": {"system", "messages"}}),
        ("amazon.titan-text-express-v1", {"tool_choices": set(), "system_prompt": False}),
        ("mistral.mistral-7b-instruct-v0:2", {"tool_choices": set(), "system_prompt": False}),
        ("mistral.mistral-large-2407-v1:0", {"tool_choices": {"auto", "any"}, "images": False}),
        ("eu.meta.llama3-2-11b-instruct-v1:0", {"tool_choices": {"auto"}, "images": True}),
        ("qwen.qwen3-32b-v1:0", {"native_json_schema": True, "family": "qwen", "images": False}),
        ("qwen.qwen3-vl-235b-a22b", {"images": True}),
        ("nvidia.nemotron-nano-9b-v2", {"images": False}),
        ("nvidia.nemotron-nano-12b-v2", {"images": True}),
        ("moonshot.kimi-k2-thinking", {"images": False}),
        ("minimax.minimax-m2.5", {"images": False}),
        ("mistral.devstral-2-123b", {"images": False}),
        ("mistral.ministral-3-8b-instruct", {"images": True}),
        ("us.zai.glm-5.3", {"images": False}),
        ("cohere.command-text-v14", {"system_prompt": False, "tool_choices": set(), "documents": True}),
        ("ai21.j2-ultra-v1", {"system_prompt": False, "tool_choices": set(), "documents": False}),
        ("eu.amazon.nova-pro-v1:0", {"neighbouring_turns": True, "assistant_first": False}),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"neighbouring_turns": False, "assistant_first": True}),
    ],
)
def test_what_a_model_can_do(model: str, expected: dict[str, object]) -> None:
    found = profile("bedrock", model)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.known
    assert found.reasons


@pytest.mark.parametrize("model", ["newcorp.brilliant-v1:0", APPLICATION, "something else"])
def test_an_unknown_model_gets_the_permissive_default(model: str) -> None:
    assert profile("bedrock", model) == Profile()


def test_the_other_places_decode_under_any_schema() -> None:
    assert profile("local", "smollm2-135m-instruct").native_json_schema
    assert not profile("local", "smollm2-135m-instruct").strict_subset
    assert profile("sagemaker", "my-endpoint").native_json_schema
