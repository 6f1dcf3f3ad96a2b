"""The OpenAI format as models' own: what is not sent, thinking in tags, and recorded streams."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, StreamError, ThrottlingError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    Message,
    Reasoning,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Context, Payload
from tests.support.bodies import PLAIN, ask, json_lines, payload, received, streamed, written

FULL = InferenceConfig(max_tokens=20, temperature=0.5, top_p=0.9, stop_sequences=("##",))
NAMES = ("openai-chat", "openai-gpt", "mistral-chat", "jamba", "writer")
TAGGED = ("openai-chat", "openai-gpt")
FIND = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}}, "Finds.")


def chat_of(name: str) -> Chat:
    chat = invoke.get(name).chat
    assert chat is not None
    return chat


def sent_by(name: str, request: ConverseRequest) -> dict[str, Any]:
    wire = chat_of(name).encode_request(request, PLAIN, stream=True).json()
    assert isinstance(wire, dict)
    return wire


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_model_nor_the_stream_is_in_the_body(name: str) -> None:
    """docs.aws.amazon.com, OpenAI models: both may be left out, and are filled in by the service."""
    limit = "max_completion_tokens" if name == "openai-gpt" else "max_tokens"
    expected = {
        "messages": [{"role": "user", "content": "Hi"}],
        limit: 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["##"],
    }
    request = ask(inference_config=FULL)
    assert sent_by(name, request) == expected
    assert chat_of(name).decode_request("ep", payload(expected), PLAIN) == (request, False)
    assert sent_by(name, ask(extra={"model": "m", "seed": 1})).items() >= {"model": "m", "seed": 1}.items()


def talk_with_tools() -> ConverseRequest:
    use = ToolUse(id="Ab3dEf6h9", name="find", input={"q": "x"})
    return ConverseRequest(
        model="ep",
        messages=(
            Message.user("Find"),
            Message("assistant", (use,)),
            Message("user", (ToolResult(tool_use_id=use.id, content=(Text("found"),)),)),
        ),
        system=(Text("Be brief"),),
        tools=(FIND,),
    )


@pytest.mark.parametrize("name", NAMES)
def test_tools_and_their_results_come_back_as_they_were(name: str) -> None:
    request = talk_with_tools()
    if name == "writer":
        request = msgspec.structs.replace(request, inference_config=InferenceConfig(max_tokens=5))
    assert chat_of(name).decode_request("ep", Payload(msgspec.json.encode(sent_by(name, request))), PLAIN) == (
        request,
        False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_thinking_of_earlier_turns_is_left_out_with_a_warning(name: str) -> None:
    thought = Message.assistant(Reasoning("hm"), "b")
    request = ConverseRequest(model="ep", messages=(Message.user("a"), thought, Message.user("c")))
    assert sent_by(name, request)["messages"][1] == {"role": "assistant", "content": "b"}
    assert any("thinking of earlier turns" in warning for warning in chat_of(name).warnings(request, PLAIN))
    assert not any("thinking" in warning for warning in chat_of(name).warnings(ask(), PLAIN))


def test_a_choice_of_tools_is_sent_as_the_format_has_it() -> None:
    for choice, wire in ((ToolChoice("any"), "required"), (ToolChoice("auto"), "auto")):
        assert sent_by("openai-chat", ask(tools=(FIND,), tool_choice=choice))["tool_choice"] == wire
    named = sent_by("openai-gpt", ask(tools=(FIND,), tool_choice=ToolChoice("tool", "find")))["tool_choice"]
    assert named == {"type": "function", "function": {"name": "find"}}


# --- answers ---------------------------------------------------------------------------------------------------------

# traceloop/openllmetry, test_openai_models.py: answers of us.openai.gpt-6-sol, 2026
GPT6: JsonObject = {
    "choices": [
        {
            "finish_reason": "stop",
            "index": 0,
            "message": {"annotations": [], "content": "pong", "refusal": None, "role": "assistant"},
        }
    ],
    "id": "chatcmpl-1",
    "model": "us.openai.gpt-6-sol",
    "object": "chat.completion",
    "usage": {"completion_tokens": 5, "prompt_tokens": 11, "total_tokens": 16},
}


def reply(**message: object) -> JsonObject:
    choice = {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", **message}}
    return {"choices": [choice], "usage": {"completion_tokens": 5, "prompt_tokens": 11}}


def decoded(name: str, wire: JsonObject) -> ConverseResponse:
    return chat_of(name).decode_response(payload(wire), Context(request=ask(), request_id="id"))


@pytest.mark.parametrize("name", TAGGED)
def test_a_recorded_answer_is_read_and_kept(name: str) -> None:
    response = decoded(name, GPT6)
    assert (response.text, response.stop_reason, response.raw) == ("pong", "end_turn", GPT6)
    assert (response.usage, response.request_id) == (Usage(11, 5, 16), "id")


@pytest.mark.parametrize("name", TAGGED)
def test_thinking_in_tags_is_a_block_of_its_own(name: str) -> None:
    """promptfoo#9587: gpt-oss puts its thinking before the answer."""
    wire = reply(content="<reasoning>User says hi.</reasoning>Hello!")
    response = decoded(name, wire)
    assert response.message.content == (Reasoning("User says hi."), Text("Hello!"))
    assert response.raw == wire
    assert decoded(name, reply(content="a <reasoning> b")).text == "a <reasoning> b"
    assert decoded(name, reply(content=None, reasoning_content="hm")).message.content == (Reasoning("hm"),)
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    both = decoded(name, reply(content="<reasoning>hm</reasoning>", tool_calls=[call]))
    assert both.message.content == (Reasoning("hm"), ToolUse(id="c", name="find", input={}))
    assert both.stop_reason == "tool_use"


# CherryHQ/cherry-studio#10225: each piece of gpt-oss's thinking comes in tags of its own.
def chunk(delta: JsonObject, finish: str | None = None, **more: object) -> JsonObject:
    choice = {"delta": delta, "index": 0} | ({"finish_reason": finish} if finish else {})
    return {"id": "chatcmpl-1", "choices": [choice], "model": "openai.gpt-oss-120b-1:0", **more}


GPT_OSS = [
    chunk({"role": "assistant"}),
    chunk({"content": "<reasoning>They ask</reasoning>"}),
    chunk({"content": "<reasoning> for one sentence.</reasoning>"}),
    chunk({"content": "Relativity"}),
    chunk({"content": " is <reasoning>."}),
    chunk({}, "stop"),
]
CUT_TAGS = [
    chunk({"content": "<reas"}),
    chunk({"content": "oning>They ask for one"}),
    chunk({"content": " sentence.</reasoning>Relativity is <reasoning>."}, "stop"),
]


@pytest.mark.parametrize("chunks", [GPT_OSS, CUT_TAGS])
@pytest.mark.parametrize("name", TAGGED)
def test_a_recorded_stream_of_thinking_is_read(name: str, chunks: list[JsonObject]) -> None:
    data = json_lines(*chunks)
    for cut in (1, 9, len(data)):
        response = streamed(chat_of(name), data, Context(request=ask()), cut)
        assert response.message.content == (
            Reasoning("They ask for one sentence."),
            Text("Relativity is <reasoning>."),
        )
        assert (response.stop_reason, response.usage) == ("end_turn", Usage())


@pytest.mark.parametrize("name", TAGGED)
def test_what_was_held_back_comes_before_a_call(name: str) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "find", "arguments": "{}"}}
    data = json_lines(chunk({"content": "<"}), chunk({"tool_calls": [call]}), chunk({}, "tool_calls"))
    response = streamed(chat_of(name), data, Context(request=ask()))
    assert response.message.content == (Text("<"), ToolUse(id="c", name="find", input={}))


@pytest.mark.parametrize("name", TAGGED)
def test_what_was_held_back_comes_with_the_reason_to_stop(name: str) -> None:
    data = json_lines(chunk({"content": "<reas"}), chunk({}, "length"))
    response = streamed(chat_of(name), data, Context(request=ask()))
    assert (response.text, response.stop_reason) == ("<reas", "max_tokens")


@pytest.mark.parametrize("name", TAGGED)
def test_what_was_held_back_comes_at_the_end_of_a_stream_that_gives_no_reason(name: str) -> None:
    data = json_lines(chunk({"content": "<reas"})) + b"data: [DONE]\n\n"
    response = streamed(chat_of(name), data, Context(request=ask()))
    assert (response.text, response.stop_reason) == ("<reas", "end_turn")


def test_a_recorded_stream_of_tool_calls_is_read() -> None:
    """traceloop/openllmetry, test_openai_models.py: usage comes with the reason to stop, and once more alone."""
    usage = {"completion_tokens": 18, "prompt_tokens": 52}
    call = {"function": {"arguments": "", "name": "get_weather"}, "id": "call_0", "index": 0, "type": "function"}
    chunks = [
        chunk({"content": "", "role": "assistant"}, usage=None),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"function": {"arguments": '{"city":'}, "index": 0}]}),
        chunk({"tool_calls": [{"function": {"arguments": '"Paris"}'}, "index": 0}]}),
        chunk({}, "tool_calls", usage=usage),
        {"choices": [], "usage": usage},
    ]
    response = streamed(chat_of("openai-gpt"), json_lines(*chunks), Context(request=ask()))
    assert response.message.tool_uses == (ToolUse(id="call_0", name="get_weather", input={"city": "Paris"}),)
    assert (response.stop_reason, response.usage.input_tokens, response.usage.output_tokens) == ("tool_use", 52, 18)


def test_a_stream_may_end_with_a_text_that_says_so() -> None:
    """langchain-aws: Writer's last chunk is the JSON text [DONE]."""
    context = Context(request=ask())
    decoder = chat_of("writer").stream_decoder(context)
    events = [*decoder.push(chunk({"content": "Hi"}, "stop")), *decoder.push("[DONE]"), *decoder.finish(done=True)]
    assert [type(event).__name__ for event in events][-2:] == ["MessageStop", "Metadata"]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(data=st.data())
def test_a_stream_folds_to_the_whole_answer_wherever_it_is_cut(name: str, data: st.DataObject) -> None:
    words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
    blocks: list[Any] = [*([Reasoning(data.draw(words))] if data.draw(st.booleans()) else []), Text(data.draw(words))]
    calls = data.draw(st.integers(0, 2))
    blocks += [ToolUse(id=f"call_{at}", name="find", input={"q": at}) for at in range(calls)]
    reason = "tool_use" if calls else data.draw(st.sampled_from(("end_turn", "max_tokens")))
    answer = ConverseResponse(message=Message("assistant", tuple(blocks)), stop_reason=reason, usage=Usage(3, 4))
    chat = chat_of(name)
    context = received(invoke.get(name), chat.encode_request(ask(), PLAIN))
    whole = chat.decode_response(chat.encode_response(answer, context), context)
    folded = streamed(chat, written(chat, answer, context), context, data.draw(st.integers(1, 60)))
    assert (whole.message, whole.stop_reason) == (answer.message, reason)
    assert (folded.message, folded.stop_reason) == (answer.message, reason)
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize("name", TAGGED)
def test_a_server_writes_thinking_in_tags_as_the_models_do(name: str) -> None:
    answer = ConverseResponse(message=Message.assistant(Reasoning("hm"), "yes"), stop_reason="end_turn")
    context = Context(request=ask())
    assert b'"content":"<reasoning>hm</reasoning>yes"' in chat_of(name).encode_response(answer, context).body
    assert b'"content":"<reasoning>hm</reasoning>"' in written(chat_of(name), answer, context)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_answer_raises(name: str) -> None:
    chat, context = chat_of(name), Context(request=ask())
    wires: list[JsonObject] = [{}, {"choices": []}, {"choices": [7]}, {"choices": [{"message": 1}]}]
    for wire in wires:
        with pytest.raises(ServerError):
            chat.decode_response(payload(wire), context)
    with pytest.raises(StreamError, match="cut"):
        list(chat.stream_decoder(context).finish())
    failure = chat.stream_encoder(context).failure(ThrottlingError("slow down"))
    with pytest.raises(ThrottlingError, match="slow down"):
        streamed(chat, failure, context)
