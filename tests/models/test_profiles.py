"""What models can do."""

from __future__ import annotations

import pytest

from awsllm.errors import ConfigurationError
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


# A family each: the body of InvokeModel with its prompt template, the routes that tell it apart, and how it thinks.
@pytest.mark.parametrize(
    ("model", "body", "prompt", "routes"),
    [
        ("us.anthropic.claude-opus-5-5", "anthropic-messages", None, {"converse", "invoke", "mantle_messages"}),
        ("anthropic.claude-v2:1", "anthropic-text", None, {"converse", "invoke_stream"}),
        ("ai21.j2-ultra-v1", "jurassic", None, {"converse", "invoke"}),
        ("ai21.jamba-1-5-mini-v1:0", "jamba", None, {"converse", "invoke_stream"}),
        ("cohere.command-light-text-v14", "cohere-command", None, {"invoke_stream"}),
        ("cohere.command-r-plus-v1:0", "cohere-chat", None, {"converse"}),
        ("meta.llama2-70b-chat-v1", "llama", "llama2", {"converse"}),
        ("us.meta.llama3-3-70b-instruct-v1:0", "llama", "llama3", {"converse"}),
        ("us.meta.llama4-scout-17b-instruct-v1:0", "llama", "llama4", {"converse"}),
        ("mistral.mixtral-8x7b-instruct-v0:1", "mistral-text", "mistral", {"converse"}),
        ("us.mistral.pixtral-large-2502-v1:0", "mistral-chat", None, {"converse"}),
        ("mistral.ministral-3-8b-instruct", "openai-chat", None, {"mantle_chat"}),
        ("amazon.titan-text-express-v1", "titan-text", "titan", {"converse"}),
        ("us.amazon.nova-2-lite-v1:0", "nova", None, {"converse"}),
        ("us.deepseek.r1-v1:0", "deepseek-text", "deepseek", {"converse"}),
        ("deepseek.v3.2", "openai-chat", None, {"openai_chat", "mantle_chat"}),
        ("openai.gpt-oss-120b-1:0", "openai-chat", None, {"openai_chat", "mantle_responses"}),
        ("us.openai.gpt-6-sol", None, None, {"converse", "openai_chat", "openai_responses", "mantle_responses"}),
        ("openai.gpt-5.6-cyber", None, None, {"mantle_responses"}),
        ("google.gemma-4-31b", None, None, {"mantle_chat"}),
        ("us.xai.grok-4.7", None, None, {"converse", "mantle_chat"}),
        ("writer.palmyra-x5-v1:0", "writer", None, {"converse"}),
        ("global.zai.glm-5.3", "openai-chat", None, {"converse"}),
        ("amazon.titan-embed-image-v1", "titan-embed-image", None, {"invoke"}),
        ("amazon.nova-2-multimodal-embeddings-v1:0", "nova-embed", None, {"invoke", "async_invoke"}),
        ("cohere.embed-multilingual-v3", "cohere-embed", None, {"invoke"}),
        ("us.cohere.embed-v4:0", "cohere-embed-v4", None, {"invoke"}),
        ("twelvelabs.marengo-embed-2-7-v1:0", "marengo", None, {"invoke", "async_invoke"}),
        ("us.twelvelabs.marengo-embed-3-0-v1:0", "marengo-3", None, {"invoke", "async_invoke"}),
        ("us.twelvelabs.pegasus-1-5-v1:0", "pegasus", None, {"invoke", "invoke_stream"}),
        ("amazon.titan-image-generator-v2:0", "titan-image", None, {"invoke"}),
        ("amazon.nova-canvas-v1:0", "nova-canvas", None, {"invoke"}),
        ("stability.stable-diffusion-xl-v1", "stability-sdxl", None, {"invoke"}),
        ("stability.sd3-5-large-v1:0", "stability-core", None, {"invoke"}),
        ("us.stability.stable-outpaint-v1:0", "stability-edit", None, {"invoke"}),
        ("cohere.rerank-v3-5:0", "cohere-rerank", None, {"invoke"}),
        ("amazon.rerank-v1:0", "amazon-rerank", None, {"invoke"}),
        ("amazon.nova-reel-v1:1", "nova-reel", None, {"async_invoke"}),
        ("luma.ray-v2:0", "luma-ray", None, {"async_invoke"}),
        ("amazon.nova-2-sonic-v1:0", None, None, {"bidirectional"}),
    ],
)
def test_how_a_model_is_called(model: str, body: str | None, prompt: str | None, routes: set[str]) -> None:
    found = profile("bedrock", model)
    assert (found.invoke_body, found.invoke_prompt, found.known) == (body, prompt, True)
    assert routes <= found.routes
    assert ("invoke" in found.routes or "async_invoke" in found.routes) == (body is not None)


@pytest.mark.parametrize(
    ("model", "thinking", "always"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", set(), False),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", {"budget"}, False),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"budget"}, False),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", {"budget", "effort"}, False),
        ("us.anthropic.claude-opus-4-6-v1", {"budget", "adaptive", "effort"}, False),
        ("us.anthropic.claude-opus-4-7", {"adaptive", "effort"}, True),
        ("us.anthropic.claude-sonnet-5-5", {"adaptive", "effort"}, False),
        ("us.anthropic.claude-opus-5-5", {"adaptive", "effort"}, True),
        ("us.amazon.nova-2-lite-v1:0", {"effort"}, False),
        ("amazon.nova-lite-v1:0", set(), False),
        ("global.openai.gpt-6-astra", {"effort"}, False),
        ("us.deepseek.r1-v1:0", set(), False),
    ],
)
def test_how_a_model_is_made_to_think(model: str, thinking: set[str], always: bool) -> None:
    found = profile("bedrock", model)
    assert found.thinking == thinking
    assert found.thinking_always is always


@pytest.mark.parametrize(
    ("model", "points", "minimum", "ttls"),
    [
        ("us.anthropic.claude-opus-5", {"system", "messages", "tools"}, 512, {"5m", "1h"}),
        ("us.anthropic.claude-sonnet-4-6", {"system", "messages", "tools"}, 1024, {"5m", "1h"}),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", {"system", "messages", "tools"}, 2048, {"5m"}),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", {"system", "messages", "tools"}, 4096, {"5m", "1h"}),
        ("anthropic.claude-3-haiku-20240307-v1:0", set(), None, {"5m"}),
        ("amazon.nova-pro-v1:0", {"system", "messages"}, 1000, {"5m"}),
        ("us.meta.llama3-3-70b-instruct-v1:0", set(), None, {"5m"}),
        ("us.openai.gpt-5.6-sol", set(), None, {"5m"}),
    ],
)
def test_where_a_model_caches(model: str, points: set[str], minimum: int | None, ttls: set[str]) -> None:
    found = profile("bedrock", model)
    assert found.cache_points == points
    assert found.cache_ttls == ttls
    assert (found.cache_minimum, found.cache_limit) == (minimum, 4)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("claude", ("claude", "anthropic-messages")),
        ("Nova", ("nova", "nova")),
        ("us.meta.llama4-scout-17b-instruct-v1:0", ("llama", "llama")),
        ("arn:aws:bedrock:us-east-1::foundation-model/ai21.j2-mid-v1", ("jurassic", "jurassic")),
        ("architecture:chat/Qwen2ForCausalLM", ("openai-chat", "openai-chat")),
        ("architecture:mistral", ("mistral", "mistral-text")),
        ("architecture:qwen2", ("qwen", "llama")),
        ("architecture:flan-t5", ("text", "llama")),
        ("architecture:no-such", ("unknown", None)),
    ],
)
def test_a_family_says_what_an_opaque_arn_is(family: str, expected: tuple[str, str | None]) -> None:
    found = profile("bedrock", APPLICATION, family)
    assert (found.family, found.invoke_body) == expected


def test_a_family_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="family='clade' is no family of models"):
        profile("bedrock", APPLICATION, "clade")


@pytest.mark.parametrize("model", ["newcorp.brilliant-v1:0", APPLICATION, "something else"])
def test_an_unknown_model_gets_the_permissive_default(model: str) -> None:
    assert profile("bedrock", model) == Profile()


def test_the_other_places_decode_under_any_schema() -> None:
    assert profile("local", "smollm2-135m-instruct").native_json_schema
    assert not profile("local", "smollm2-135m-instruct").strict_subset
    assert profile("sagemaker", "my-endpoint").native_json_schema


@pytest.mark.parametrize(
    ("model", "routes"),
    [
        ("openai.gpt-5.5", {"mantle_responses"}),
        ("us.openai.gpt-5.5", {"converse", "openai_responses"}),
        ("global.openai.gpt-6-sol", {"converse", "openai_responses", "openai_chat"}),
        ("xai.grok-4.6", {"mantle_chat", "mantle_responses"}),
        ("us.xai.grok-4.6", {"converse"}),
        ("google.gemma-4-31b", {"mantle_chat", "mantle_responses"}),
        ("us.google.gemma-4-31b", set()),
        ("us.amazon.nova-lite-v1:0", {"converse", "invoke", "invoke_stream"}),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.openai.gpt-5.5", {"converse", "openai_responses"}),
    ],
)
def test_which_routes_take_an_id(model: str, routes: set[str]) -> None:
    found = profile("bedrock", model).routes_of(model)
    assert found >= routes
    if routes != {"converse", "invoke", "invoke_stream"} and not model.startswith("arn:"):
        assert found == routes


@pytest.mark.parametrize(
    ("model", "path"),
    [
        *((f"openai.{name}", "/openai/v1") for name in ("gpt-5.4", "gpt-6-sol", "gpt-daybreak-blue-5.6-sol")),
        *((model, "/openai/v1") for model in ("xai.grok-4.3", "google.gemma-4-31b")),
        *((model, "/v1") for model in ("openai.gpt-oss-120b", "qwen.qwen3-32b", "newer.model")),
    ],
)
def test_where_mantle_has_a_model(model: str, path: str) -> None:
    assert profile("bedrock", model).mantle_path == path
