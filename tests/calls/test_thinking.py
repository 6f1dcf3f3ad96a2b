"""How a model is made to think, and thoughts that outlive a save, a broken stream and a change of the model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import awsllm
from awsllm import types as t
from awsllm.calls.prepare import Prepared, prepare, prepare_count_tokens
from awsllm.errors import StreamError, ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.stream import fold, replay
from awsllm.testing import Broken, ScriptedBackend
from tests.support.requests import assert_botocore_takes

BUDGET = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ADAPTIVE = "bedrock:us.anthropic.claude-opus-4-6-v1"
ALWAYS = "bedrock:us.anthropic.claude-opus-4-7"
NOVA = "bedrock:us.amazon.nova-2-lite-v1:0"
OSS = "bedrock:openai.gpt-oss-20b-1:0"
LOCAL = "local:smollm2-135m-instruct"
LLAMA = "bedrock:us.meta.llama3-3-70b-instruct-v1:0"
NEW = "bedrock:new.model-v9:0"


def call(model: str, messages: Any = "Hello", **options: Any) -> Prepared:
    return prepare(model, messages, options, Knowledge())  # type: ignore[arg-type]


# --- how to think ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "extra", "config"),
    [
        (BUDGET, {"thinking": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None),
        (BUDGET, {"thinking": True}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        (BUDGET, {"thinking": False}, {"thinking": {"type": "disabled"}}, None),
        (ADAPTIVE, {"thinking": True}, {"thinking": {"type": "adaptive"}}, None),
        (ADAPTIVE, {"thinking": "adaptive", "effort": "low"}, {"thinking": {"type": "adaptive"}}, "low"),
        (ADAPTIVE, {"thinking": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None),
        (ALWAYS, {"thinking": True}, None, None),
        (NOVA, {"effort": "low"}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}, None),
        (NOVA, {"thinking": True}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, None),
        (OSS, {"effort": "high"}, {"reasoning_effort": "high"}, None),
        ("bedrock:us.openai.gpt-6-sol", {"thinking": False, "api": "openai"}, None, "none"),
        (NEW, {"effort": "low"}, None, "low"),
        (NEW, {"thinking": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None),
        (LLAMA, {"thinking": False}, None, None),
        (LOCAL, {"thinking": False}, {"thinking": {"type": "disabled"}}, None),
        (LOCAL, {"thinking": "adaptive", "effort": "low"}, {"thinking": {"type": "enabled"}}, "low"),
        (LOCAL, {"thinking": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None),
    ],
)
def test_each_family_is_told_in_its_own_words(
    model: str, options: dict[str, Any], extra: dict[str, Any] | None, config: str | None
) -> None:
    prepared = call(model, **options)
    assert prepared.request.extra == extra
    assert (prepared.request.output_config and prepared.request.output_config.effort) == config
    assert prepared.warnings == ()
    assert_botocore_takes(prepared.request)


@pytest.mark.parametrize(
    ("model", "options", "warning"),
    [
        (LLAMA, {"thinking": True}, "does not think"),
        (ALWAYS, {"thinking": False}, "always thinks"),
        (ALWAYS, {"thinking": 2048}, "thinks adaptively"),
        (BUDGET, {"thinking": "adaptive"}, "it has a budget of 1024 tokens"),
        (BUDGET, {"effort": "low"}, "thinks by a budget"),
        (NOVA, {"thinking": 2048}, "this model has an effort"),
        (NOVA, {"effort": "huge"}, "which are high, low, medium"),
        (BUDGET, {"thinking": 2048, "temperature": 0.2}, "temperature cannot be set while this model thinks"),
        (NOVA, {"effort": "high", "temperature": 0.2, "max_tokens": 9}, "temperature and max_tokens cannot be set"),
    ],
)
def test_what_cannot_be_honoured_is_a_warning(model: str, options: dict[str, Any], warning: str) -> None:
    prepared = call(model, **options)
    assert any(warning in line for line in prepared.warnings), prepared.warnings


def test_what_is_refused_beside_thinking_is_left_out() -> None:
    config = call(BUDGET, thinking=2048, temperature=0.2, top_p=0.5, max_tokens=4096).request.inference_config
    assert config == t.InferenceConfig(4096)
    kept = call(BUDGET, thinking=2048, temperature=1, top_p=0.97).request.inference_config
    assert kept == t.InferenceConfig(temperature=1, top_p=0.97)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"thinking": 100}, "at least 1024"),
        ({"thinking": 4096, "max_tokens": 4096}, "leaves nothing of max_tokens=4096"),
        ({"thinking": True, "max_tokens": 500}, "leaves nothing of max_tokens=500"),
        ({"thinking": "high"}, "effort= says how much"),
        ({"thinking": 2.5}, "effort= says how much"),
    ],
)
def test_a_budget_that_cannot_be_is_named(options: dict[str, Any], fix: str) -> None:
    with pytest.raises(ValidationError, match=fix):
        call(BUDGET, **options)


def test_a_forced_tool_yields_to_thinking() -> None:
    tool = t.ToolSpec("look", {"type": "object", "properties": {}})
    prepared = call(BUDGET, thinking=2048, tools=[tool], tool_choice="any")
    assert prepared.request.tool_choice is None
    assert any("while thinking" in line for line in prepared.warnings)


def test_the_callers_own_words_go_before_it() -> None:
    own = {"thinking": {"type": "enabled", "budget_tokens": 5000}}
    assert call(BUDGET, thinking=2048, extra=own).request.extra == own


# --- what was thought ------------------------------------------------------------------------------------------------

SIGNED = t.Reasoning("Let me see.", "sig")
REDACTED = t.Reasoning(redacted=b"\x00\xff")
CALL = t.ToolUse("u1", "look", {})
LOOK = t.ToolSpec("look", {"type": "object", "properties": {}})
RESULT = t.Message.user(t.ToolResult("u1", (t.Text("There."),)))


def client_of(script: Any) -> tuple[awsllm.Client, Any]:
    backend = ScriptedBackend(script)
    return awsllm.Client(backends={"bedrock": backend}), backend


def thoughts(messages: Any) -> list[t.Reasoning]:
    return [block for turn in messages for block in turn.content if isinstance(block, t.Reasoning)]


def of_thinking(response: t.ConverseResponse) -> list[str]:
    """Not those on the life of a model, which come with the years."""
    return [line for line in response.warnings if "thinking" in line]


@pytest.mark.parametrize("use", ["whole", "stream"])
def test_thoughts_survive_saving_and_are_sent_back_as_they_came(use: str) -> None:
    client, backend = client_of([t.Message.assistant(SIGNED, REDACTED, CALL), "It is there."])
    ask: Any = client.converse if use == "whole" else lambda *a, **k: client.converse_stream(*a, **k).response
    history = [t.Message.user("Where?")]
    response = ask(BUDGET, history, tools=[LOOK])
    assert [block.made_by for block in thoughts(response.messages)] == ["claude", "claude"]
    assert thoughts([response.message]) == thoughts(response.messages)
    saved = msgspec.json.encode([turn.to_dict() for turn in (*history, *response.messages, RESULT)])
    loaded = [t.Message.from_dict(turn) for turn in msgspec.json.decode(saved)]
    assert of_thinking(client.converse(BUDGET, loaded, tools=[LOOK])) == []
    assert backend.requests[-1].messages == tuple(loaded)
    from awsllm.wire.converse import encode_message

    assert encode_message(loaded[1])["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "Let me see.", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": b"\x00\xff"}},
    ]


@pytest.mark.parametrize("model", [NOVA, OSS, LLAMA, "bedrock:us.deepseek.r1-v1:0"])
def test_another_familys_model_does_not_see_them(model: str) -> None:
    client, backend = client_of([t.Message.assistant(SIGNED, REDACTED, "There."), "Yes."])
    history = [t.Message.user("Where?"), *client.converse(BUDGET, "Where?").messages, t.Message.user("Sure?")]
    response = client.converse(model, history)
    assert thoughts(backend.requests[-1].messages) == []
    assert response.warnings[:1] == ("thinking of another family's model was left out: messages[1], messages[1]",)


def test_another_model_of_the_family_sees_them() -> None:
    client, backend = client_of([t.Message.assistant(SIGNED, "There."), "Yes."])
    history = [t.Message.user("Where?"), *client.converse(BUDGET, "Where?").messages, t.Message.user("Sure?")]
    assert of_thinking(client.converse(ADAPTIVE, history)) == []
    assert len(thoughts(backend.requests[-1].messages)) == 1


def test_unsigned_thoughts_of_another_family_are_kept_from_claude_and_from_none_of_its_own() -> None:
    plain = t.Message.assistant(t.Reasoning("Hm."), "There.")
    client, backend = client_of([plain, "Yes.", "Yes."])
    history = [t.Message.user("Where?"), *client.converse(OSS, "Where?").messages, t.Message.user("Sure?")]
    assert of_thinking(client.converse(OSS, history)) == []
    assert len(thoughts(backend.requests[-1].messages)) == 1
    assert "another family's" in client.converse(BUDGET, history).warnings[0]


def test_a_model_that_nobody_knows_is_sent_what_there_is() -> None:
    client, backend = client_of("Yes.")
    thought = t.Reasoning("Hm.", made_by="claude")
    history = [t.Message.user("Where?"), t.Message.assistant(thought, "There."), t.Message.user("Sure?")]
    assert of_thinking(client.converse(NEW, history)) == []
    assert backend.requests[-1].messages == tuple(history)


def test_a_stream_that_was_broken_off_leaves_a_thought_that_is_not_sent() -> None:
    client, backend = client_of([Broken(t.Message.assistant(SIGNED, "There."), after=2), "Yes."])
    stream = client.converse_stream(BUDGET, "Where?")
    with pytest.raises(StreamError):
        list(stream)
    partial = stream.partial.message
    assert thoughts([partial])[0].signature is None
    assert thoughts([partial])[0].made_by == "claude"
    response = client.converse(BUDGET, [t.Message.user("Where?"), partial, t.Message.user("Go on.")])
    assert thoughts(backend.requests[-1].messages) == []
    assert response.warnings[0].startswith("thinking without its signature, as a stream leaves it that was broken off")
    assert_botocore_takes(backend.requests[-1])


def test_an_empty_signature_is_none() -> None:
    history = [t.Message.user("?"), t.Message.assistant(t.Reasoning("Hm.", ""), "4"), t.Message.user("Sure?")]
    assert thoughts(call(BUDGET, history).request.messages) == []


def test_who_thought_it_is_not_sent_nor_streamed() -> None:
    response = t.ConverseResponse(message=t.Message.assistant(SIGNED, "There."), stop_reason="end_turn")
    assert fold(replay(response)).message == response.message


@pytest.mark.parametrize(
    ("model", "thinking", "before", "is_kept"),
    [
        (BUDGET, 2048, (t.Reasoning("Hm."), CALL), False),  # unsigned: a stream was broken off
        (BUDGET, 2048, (t.Reasoning("Hm.", "sig", made_by="nova"), CALL), False),
        (BUDGET, 2048, (CALL,), False),
        (BUDGET, 2048, (SIGNED, CALL), True),
        (BUDGET, 2048, (REDACTED, CALL), True),
        (ADAPTIVE, "adaptive", (CALL,), True),
    ],
)
def test_a_turn_whose_thought_is_lost_is_answered_without_thinking(
    model: str, thinking: Any, before: tuple[t.ContentBlock, ...], is_kept: bool
) -> None:
    prepared = call(
        model, [t.Message.user("?"), t.Message("assistant", before), RESULT], thinking=thinking, tools=[LOOK]
    )
    assert (prepared.request.extra is not None) == is_kept
    assert any("answered without thinking" in line for line in prepared.warnings) != is_kept


def test_a_new_question_is_thought_about_whatever_was_lost() -> None:
    turns = [t.Message.user("?"), t.Message.assistant(t.Reasoning("Hm."), "4"), t.Message.user("Sure?")]
    assert call(BUDGET, turns, thinking=2048).request.extra == {"thinking": {"type": "enabled", "budget_tokens": 2048}}


def test_counting_counts_what_would_be_sent() -> None:
    history = [t.Message.user("?"), t.Message.assistant(t.Reasoning("Hm."), "4"), t.Message.user("Sure?")]
    _, request = prepare_count_tokens(BUDGET, history, {"thinking": 2048})
    assert thoughts(request.converse.messages) == []
    assert request.converse.extra == {"thinking": {"type": "enabled", "budget_tokens": 2048}}
