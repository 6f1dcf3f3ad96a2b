"""What Bedrock refuses for a known reason is repaired once, kept for the model, and told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

import awsllm
from awsllm import types as t
from awsllm.aws.call import HttpResponse
from awsllm.backends.bedrock.backend import BedrockBackend
from awsllm.calls.repair import Fix, find_fix, fixed
from awsllm.errors import AccessDeniedError, RequestError, ThrottlingError, ValidationError
from awsllm.models.repairs import REPAIRS
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from tests.support.requests import assert_botocore_takes, request
from tests.support.transports import StubTransport

MODEL = "bedrock:us.new.model-v9:0"
BOTH = "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model."
TOOL = t.ToolSpec("look", {"type": "object", "properties": {}})
POINT = t.CachePoint()
RESULTS = t.Message.user(t.ToolResult("u1", (t.Text("4"),)), "Go on.")
THOUGHT = t.Reasoning("Hm.", "sig")
ASKED = t.Message.assistant(THOUGHT, t.ToolUse("u1", "look", {}))


def refused(message: str) -> ValidationError:
    return ValidationError(message, code="ValidationException", status=400)


def unless(fits: Callable[[t.ConverseRequest], bool], message: str, reply: Any = "Done.") -> Callable[..., Any]:
    """A model that refuses what does not fit."""
    return lambda sent: reply if fits(sent) else refused(message)


def one_knob(sent: t.ConverseRequest) -> bool:
    return sent.inference_config.temperature is None or sent.inference_config.top_p is None


def client_of(script: Any) -> tuple[awsllm.Client, Any]:
    backend = ScriptedBackend(script)
    return awsllm.Client(backends={"bedrock": backend}), backend


# --- each answer -----------------------------------------------------------------------------------------------------

# What the service answered (the rows' sources have it), what it answered to, and what is sent then.
CASES: list[tuple[str, t.ConverseRequest, t.ConverseRequest]] = [
    (
        "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try it.",
        request(tools=(TOOL,), tool_choice=t.ToolChoice("any")),
        request(tools=(TOOL,)),
    ),
    (
        "Thinking may not be enabled when tool_choice forces tool use.",
        request(tools=(TOOL,), tool_choice=t.ToolChoice("tool", "look")),
        request(tools=(TOOL,)),
    ),
    (
        BOTH,
        request(inference_config=t.InferenceConfig(temperature=0.2, top_p=0.9)),
        request(inference_config=t.InferenceConfig(temperature=0.2)),
    ),
    (
        "`temperature` is deprecated for this model.",
        request(inference_config=t.InferenceConfig(9, 0.2)),
        request(inference_config=t.InferenceConfig(9)),
    ),
    (
        "The model returned the following errors: temperature may only be set to 1 when thinking is enabled.",
        request(inference_config=t.InferenceConfig(temperature=0.2)),
        request(),
    ),
    ("`top_p` is deprecated for this model.", request(inference_config=t.InferenceConfig(top_p=0.5)), request()),
    (
        "This model doesn't support the stopSequences field. Remove stopSequences and try again.",
        request(inference_config=t.InferenceConfig(stop_sequences=("END",))),
        request(),
    ),
    (
        "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that "
        "is lower than 4096.",
        request(inference_config=t.InferenceConfig(9000)),
        request(inference_config=t.InferenceConfig(4096)),
    ),
    (
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.',
        request(extra={"thinking": {"type": "enabled", "budget_tokens": 2048}, "top_k": 5}),
        request(extra={"thinking": {"type": "adaptive"}, "top_k": 5}),
    ),
    (
        "This model does not support the effort parameter.",
        request(output_config=t.OutputConfig(effort="low")),
        request(),
    ),
    (
        "messages.1.content.0.type: Expected 'thinking' or 'redacted_thinking', but found 'tool_use'. When 'thinking' "
        "is enabled, a final 'assistant' message must start with a thinking block.",
        request(t.Message.user("?"), ASKED, RESULTS, extra={"thinking": {"type": "adaptive"}}),
        request(t.Message.user("?"), ASKED, RESULTS),
    ),
    (
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        request(t.Message.user("?"), t.Message.assistant(THOUGHT, "4"), t.Message.user("Sure?")),
        request(t.Message.user("?"), t.Message.assistant("4"), t.Message.user("Sure?")),
    ),
    (
        "The model returned the following errors: messages.369.content.0.thinking.signature: Field required",
        request(t.Message.user("?"), t.Message.assistant(THOUGHT), t.Message.user("Sure?")),
        request(t.Message.user("?"), t.Message.assistant("(no output)"), t.Message.user("Sure?")),
    ),
    (
        "This model doesn't support the reasoningContent field for assistant messages.",
        request(t.Message.user("?"), t.Message.assistant(THOUGHT, "4"), t.Message.user("Sure?")),
        request(t.Message.user("?"), t.Message.assistant("4"), t.Message.user("Sure?")),
    ),
    (
        "You invoked an unsupported model or your request did not allow prompt caching. See the documentation.",
        request(t.Message.user("?", POINT), system=(t.Text("Be brief."), POINT), tools=(TOOL, POINT)),
        request(t.Message.user("?"), system=(t.Text("Be brief."),), tools=(TOOL,)),
    ),
    (
        "This model doesn't support system messages. Try again without a system message or use a model that does.",
        request(t.Message.user("?"), system=(t.Text("Be brief."),)),
        request(t.Message.user("Be brief.", "?")),
    ),
    (
        "messages.2.content: Conversation blocks and tool result blocks cannot be provided in the same turn.",
        request(t.Message.user("?"), ASKED, RESULTS),
        request(
            t.Message.user("?"), ASKED, t.Message.user(t.ToolResult("u1", (t.Text("4"), t.Text("Go on.")))),
        ),
    ),
    (
        "A conversation must alternate between user and assistant roles. Make sure that it does and try again.",
        request(t.Message.user("a"), t.Message.user("b")),
        request(t.Message.user("a", "b")),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "before", "after"), CASES)
def test_an_answer_names_what_mends_it(message: str, before: t.ConverseRequest, after: t.ConverseRequest) -> None:
    fix = find_fix(refused(message))
    assert fix is not None
    mended, notes = fixed(before, [fix])
    assert mended == after
    assert len(notes) == 1
    assert notes[0].startswith("repaired, since the model refuses it: ")
    assert_botocore_takes(mended)
    assert fixed(mended, [fix]) == (mended, ())  # nothing is left to mend, and nothing is told


def test_every_row_has_a_case() -> None:
    assert {find_fix(refused(message)).action for message, _, _ in CASES} == {row.action for row in REPAIRS}


def test_a_lower_wish_than_the_limit_stays() -> None:
    sent = request(inference_config=t.InferenceConfig(100))
    assert fixed(sent, [Fix("at_most_tokens", "4096")]) == (sent, ())


def test_what_is_not_known_is_not_guessed_at() -> None:
    assert find_fix(refused("The provided model identifier is invalid.")) is None


# --- a call ----------------------------------------------------------------------------------------------------------


def test_a_request_is_repaired_once_remembered_and_told() -> None:
    client, backend = client_of(unless(one_knob, BOTH))
    reply = client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9)
    assert reply.text == "Done."
    assert reply.warnings == ("repaired, since the model refuses it: top_p was left out",)
    assert [sent.inference_config.top_p for sent in backend.requests] == [0.9, None]
    again = client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9)
    assert [sent.inference_config.top_p for sent in backend.requests] == [0.9, None, None]
    assert again.warnings == reply.warnings  # told each time: it is not what was wished for
    other = client.converse("bedrock:us.other.model", "Hello", temperature=0.2, top_p=0.9)
    assert other.warnings == reply.warnings
    assert len(backend.requests) == 5  # of another model nothing was known
    assert client.converse(MODEL, "Hello", temperature=0.2).warnings == ()


def test_it_can_be_turned_off() -> None:
    client, backend = client_of(unless(one_knob, BOTH))
    with pytest.raises(ValidationError, match="cannot both be specified"):
        client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9, repair=False)
    assert len(backend.requests) == 1


def test_what_the_repair_does_not_mend_is_raised() -> None:
    client, backend = client_of(lambda _: refused(BOTH))
    with pytest.raises(ValidationError, match="cannot both be specified"):
        client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9)
    assert len(backend.requests) == 2
    with pytest.raises(ValidationError):
        client.converse(MODEL, "Hello", temperature=0.2)  # it cannot be that: nothing to leave out
    assert len(backend.requests) == 3


def test_a_refusal_of_access_that_means_the_cache_is_repaired_too() -> None:
    """Converse answers 403 to cache points of a model that has none (strands-agents/harness-sdk 1807)."""
    no = AccessDeniedError("You invoked an unsupported model or your request did not allow prompt caching.", status=403)
    has_point = [False]

    def reply(sent: t.ConverseRequest) -> Any:
        has_point[0] = any(isinstance(block, t.CachePoint) for block in sent.system)
        return no if has_point[0] else "Done."

    client, _ = client_of(reply)
    assert client.converse(MODEL, "Hello", system=["Be brief.", POINT]).text == "Done."


def test_retries_go_on_after_a_repair() -> None:
    replies = [refused(BOTH), ThrottlingError("slow down"), "Done."]
    backend = ScriptedBackend(replies)
    policy = awsllm.Policy(max_attempts=2, base_delay=0, sleep=lambda _: None)
    client = awsllm.Client(backends={"bedrock": backend}, policy=policy)
    assert client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9).text == "Done."


def test_a_stream_is_repaired_before_its_first_event() -> None:
    client, backend = client_of(unless(one_knob, BOTH))
    with client.converse_stream(MODEL, "Hello", temperature=0.2, top_p=0.9) as stream:
        assert "".join(stream.text_stream) == "Done."
        assert stream.response.warnings == ("repaired, since the model refuses it: top_p was left out",)
    assert len(backend.requests) == 2


def test_a_stream_that_has_begun_is_not_sent_again() -> None:
    broken = Broken("One two three.", error=refused(BOTH), after=2)
    client, backend = client_of(broken)
    with (
        pytest.raises(awsllm.StreamError),
        client.converse_stream(MODEL, "Hello", temperature=0.2, top_p=0.9) as stream,
    ):
        list(stream)
    assert len(backend.requests) == 1


def look() -> str:
    """Look."""
    return "There."


def test_each_turn_of_a_tool_loop_is_sent_as_the_model_takes_it() -> None:
    def reply(sent: t.ConverseRequest) -> Any:
        if not one_knob(sent):
            return refused(BOTH)
        return "Done." if len(sent.messages) > 1 else t.ToolUse("u1", "look", {})

    for use in ("whole", "stream"):
        client, backend = client_of(reply)
        options: Any = {"temperature": 0.2, "top_p": 0.9, "tools": [look]}
        if use == "whole":
            response = client.converse(MODEL, "Hello", **options)
        else:
            response = client.converse_stream(MODEL, "Hello", **options).response
        assert response.text == "Done."
        assert response.warnings == ("repaired, since the model refuses it: top_p was left out",)
        assert len(backend.requests) == 3


def test_the_async_client_does_the_same() -> None:
    def reply(sent: t.ConverseRequest) -> Any:
        if not one_knob(sent):
            return refused(BOTH)
        return "Done." if len(sent.messages) > 1 or not sent.tools else t.ToolUse("u1", "look", {})

    async def use() -> list[awsllm.ConverseResponse]:
        found = []
        for tools in ([], [look]):
            options: Any = {"temperature": 0.2, "top_p": 0.9, **({"tools": tools} if tools else {})}
            for streamed in (False, True):
                backend = AsyncScriptedBackend(reply)
                async with awsllm.AsyncClient(backends={"bedrock": backend}) as client:
                    if streamed:
                        found.append(await client.converse_stream(MODEL, "Hello", **options).response)
                    else:
                        found.append(await client.converse(MODEL, "Hello", **options))
        return found

    for response in asyncio.run(use()):
        assert response.text == "Done."
        assert response.warnings == ("repaired, since the model refuses it: top_p was left out",)


def test_what_is_about_one_conversation_is_not_held_against_the_model() -> None:
    def reply(sent: t.ConverseRequest) -> Any:
        thoughts = [block for turn in sent.messages for block in turn.content if isinstance(block, t.Reasoning)]
        return (
            "Done."
            if all(x.signature == "good" for x in thoughts)
            else refused("Invalid `signature` in `thinking` block")
        )

    client, backend = client_of(reply)
    bad = [t.Message.user("?"), t.Message.assistant(THOUGHT, "4"), t.Message.user("Sure?")]
    good = [bad[0], t.Message.assistant(replace(THOUGHT, signature="good"), "4"), bad[2]]
    assert client.converse(MODEL, bad).text == "Done."
    assert client.converse(MODEL, good).warnings == ()
    assert backend.requests[-1].messages == tuple(good)


def test_the_words_of_the_wire_reach_the_repair() -> None:
    body = b'{"message":"The model returned the following errors: `temperature` and `top_p` cannot both be specified"}'
    answer = (
        b'{"output":{"message":{"role":"assistant","content":[{"text":"Done."}]}},"stopReason":"end_turn",'
        b'"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}'
    )
    headers = {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    transport = StubTransport(
        lambda sent: HttpResponse(400, headers, body) if b"topP" in sent.body else HttpResponse(200, {}, answer)
    )
    client = awsllm.Client(backends={"bedrock": BedrockBackend(transport)})
    assert client.converse(MODEL, "Hello", temperature=0.2, top_p=0.9).text == "Done."
    assert [b"topP" in sent.body for sent in transport.requests] == [True, False]


def test_on_demand_throughput_is_answered_with_the_profile_to_name() -> None:
    """No other region is called in silence: the id says where a call goes."""
    from awsllm.wire.errors import error_for

    message = "Invocation of model ID amazon.nova-micro-v1:0 with on-demand throughput isn’t supported. Retry."
    error = error_for("ValidationException", message)
    assert isinstance(error, RequestError)
    assert "`us.` or `global.` before the id (us.amazon.nova-micro-v1:0); client.models() lists" in error.message
    assert find_fix(error) is None
