"""Cohere's Command R: published requests, answers and streams, both ways."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import ValidationError
from awsllm.types import (
    Citation,
    Citations,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentText,
    InferenceConfig,
    Json,
    JsonValue,
    Message,
    SearchResult,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Context
from awsllm.wire.cohere.chat import CommandRChat
from tests.support.bodies import PLAIN, ask, json_lines, payload, received, streamed, written
from tests.support.cohere import FULL, SAMPLED

BODY, CHAT = endpoint.get("cohere-chat"), CommandRChat()
FEW = settings(max_examples=25)
SPEC = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]})


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_becomes_the_published_body_and_back(stream: bool) -> None:
    request = ask(inference_config=FULL)
    sent = CHAT.encode_request(request, PLAIN, stream=stream)
    assert sent.json() == {"message": "Hi", **SAMPLED, "stream": stream}
    assert CHAT.decode_request("ep", sent, PLAIN) == (request, stream)


def test_a_published_reply_is_read_and_kept() -> None:
    reply = {
        "response_id": "r",
        "generation_id": "g",
        "text": "x",
        "finish_reason": "MAX_TOKENS",
        "tool_calls": [],
        "meta": {"billed_units": {"input_tokens": 1, "output_tokens": 2}},
        "newer": {"kept": True},
    }
    response = CHAT.decode_response(payload(reply), Context(request=ask(), request_id="id", warnings=("w",)))
    assert (response.text, response.stop_reason) == ("x", "max_tokens")
    assert response.usage == Usage(input_tokens=1, output_tokens=2)
    assert (response.request_id, response.warnings, response.model, response.raw) == ("id", ("w",), "ep", reply)


STREAMS: list[tuple[list[JsonValue], str, str]] = [
    (
        [
            {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
            {"event_type": "text-generation", "text": " 你"},
            {"event_type": "a-newer-one", "text": "?"},
            {"event_type": "text-generation", "text": "好"},
            {"event_type": "stream-end", "finish_reason": "MAX_TOKENS", "response": {"text": " 你好"}},
        ],
        " 你好",
        "max_tokens",
    ),
    ([{"response_id": "r", "text": "你好", "finish_reason": "COMPLETE"}], "你好", "end_turn"),
]


@pytest.mark.parametrize(("chunks", "text", "stop_reason"), STREAMS)
def test_published_streams_are_read_at_every_cut(chunks: list[JsonValue], text: str, stop_reason: str) -> None:
    data = json_lines(*chunks)
    for cut in range(1, len(data) + 1):
        response = streamed(CHAT, data, Context(request=ask()), cut)
        assert (response.text, response.stop_reason) == (text, stop_reason)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "stop_sequence", "content_filtered"])
def test_why_it_stopped_survives(reason: str) -> None:
    usage = Usage(input_tokens=1, output_tokens=2)
    answer = ConverseResponse(message=Message.assistant("x"), stop_reason=reason, usage=usage)
    request = ask(inference_config=InferenceConfig(stop_sequences=("no such text",)))
    sent = CHAT.encode_response(answer, Context(request=request))
    back = CHAT.decode_response(sent, Context(request=request))
    assert (back.text, back.stop_reason, back.usage) == ("x", reason, usage)
    data = written(CHAT, answer, Context(request=request))
    assert streamed(CHAT, data, Context(request=request)).stop_reason == reason


# --- tools, documents, citations -------------------------------------------------------------------------------------

SHOPPER = {
    "name": "personal_shopper",
    "description": "Returns items and requested volumes to purchase",
    "parameter_definitions": {
        "item": {"description": "the item requested to be purchased", "type": "str", "required": True},
        "quantity": {"description": "how many of the items should be purchased", "type": "int", "required": True},
    },
}
SHOPPER_SPEC = ToolSpec(
    "personal_shopper",
    {
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "the item requested to be purchased"},
            "quantity": {"type": "integer", "description": "how many of the items should be purchased"},
        },
        "required": ["item", "quantity"],
    },
    "Returns items and requested volumes to purchase",
)
EGGS = {"name": "personal_shopper", "parameters": {"item": "eggs", "quantity": 12}}
APPLE = {"name": "personal_shopper", "parameters": {"item": "apple", "quantity": 1}}
SHOPPED = {  # cohere-aws, examples/command_r_samples/sample_tool_results_input.json
    "message": "I'd like a dozen eggs and an apple please",
    "tools": [SHOPPER],
    "tool_results": [
        {"call": EGGS, "outputs": [{"status": "Completed", "price": "$6.99"}]},
        {"call": APPLE, "outputs": [{"status": "Out of stock, transaction not complete", "price": "$0.99"}]},
    ],
}


def uses(*calls: dict[str, Any], first: int = 0) -> tuple[ToolUse, ...]:
    return tuple(ToolUse(id=f"call_{first + at}", name=c["name"], input=c["parameters"]) for at, c in enumerate(calls))


def test_the_published_tool_results_are_a_conversation_and_back() -> None:
    request, _ = CHAT.decode_request("ep", payload(SHOPPED), PLAIN)
    outputs = [result["outputs"][0] for result in SHOPPED["tool_results"]]  # type: ignore[index]
    results = (ToolResult(f"call_{at}", (Json(value=output),)) for at, output in enumerate(outputs))
    question = Message.user("I'd like a dozen eggs and an apple please")
    assert request == ConverseRequest(
        model="ep",
        messages=(question, Message("assistant", uses(EGGS, APPLE)), Message("user", tuple(results))),
        tools=(SHOPPER_SPEC,),
    )
    assert CHAT.encode_request(request, PLAIN).json() == SHOPPED | {"stream": False}
    assert CHAT.warnings(request, PLAIN) == ()


def test_the_published_calls_are_tool_uses() -> None:
    wire = {
        "response_id": "1d99c13f",
        "text": "",
        "generation_id": "90077ac5",
        "chat_history": [],
        "finish_reason": "COMPLETE",
        "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 37, "output_tokens": 28}},
        "tool_calls": [EGGS, APPLE],
    }
    response = CHAT.decode_response(payload(wire), Context(request=ask()))
    assert response.message.content == uses(EGGS, APPLE)
    assert (response.stop_reason, response.usage.input_tokens, response.usage.output_tokens) == ("tool_use", 37, 28)


RAG = {
    "response_id": "d95fb1b5",
    "text": "Emperor penguins are the tallest species of penguin.",
    "finish_reason": "COMPLETE",
    "token_count": {"prompt_tokens": 760, "response_tokens": 9, "total_tokens": 769, "billed_tokens": 71},
    "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 62, "output_tokens": 9}},
    "citations": [{"start": 0, "end": 16, "text": "Emperor penguins", "document_ids": ["doc_0"]}],
    "documents": [{"id": "doc_0", "snippet": "Emperor penguins are the tallest.", "title": "Tall penguins"}],
}


def test_citations_and_counts_are_read_whole_and_streamed() -> None:
    context = Context(request=ask())
    response = CHAT.decode_response(payload(RAG), context)
    snippet = Text("Emperor penguins are the tallest.")
    cited = Citations(content=(Text(str(RAG["text"])),), citations=(Citation("Tall penguins", "doc_0", (snippet,)),))
    assert response.message.content == (cited,)
    billed = {"billed_units": {"input_tokens": 62, "output_tokens": 9}}
    assert response.usage == Usage(input_tokens=760, output_tokens=9, extra=billed)
    chunks = [
        {"event_type": "text-generation", "text": RAG["text"]},
        {"event_type": "citation-generation", "citations": RAG["citations"]},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": RAG},
    ]
    data = b"\n".join(json.dumps(chunk).encode() for chunk in chunks)
    back = streamed(CHAT, data, context)
    assert (back.message, back.usage, back.stop_reason) == (response.message, response.usage, "end_turn")


def test_calls_that_are_told_in_pieces_and_again_are_told_once() -> None:
    call = {"name": "find", "parameters": {"q": "AAPL"}}
    chunks: list[JsonValue] = [
        {"event_type": "tool-calls-chunk", "text": "I will "},
        {"event_type": "tool-calls-chunk", "text": "look."},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "find"}},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "parameters": "{"}},
        {"event_type": "tool-calls-generation", "text": "I will look.", "tool_calls": [call]},
        {
            "event_type": "stream-end",
            "finish_reason": "COMPLETE",
            "response": {"text": "I will look.", "tool_calls": [call]},
        },
    ]
    data = b"\n".join(json.dumps(chunk).encode() for chunk in chunks)
    back = streamed(CHAT, data, Context(request=ask()))
    assert back.message.content == (Text("I will look."), *uses(call))
    assert back.stop_reason == "tool_use"


def test_a_chain_of_calls_documents_and_history_survive() -> None:
    call = {"name": "find", "parameters": {"q": "x"}}
    request = ConverseRequest(
        model="ep",
        system=(Text("Be brief."),),
        messages=(
            Message(
                "user",
                (
                    Document(name="notes", source=DocumentText("n"), format="txt"),
                    SearchResult("https://a", "A", ("s",)),
                    Text("q"),
                ),
            ),
            Message("assistant", (Text("I will look."), *uses(call))),
            Message("user", (ToolResult("call_0", (Text("nothing"),)),)),
            Message("assistant", uses(call, first=1)),
            Message("user", (ToolResult("call_1", (Json(value={"n": 1}),)),)),
        ),
        tools=(SPEC,),
    )
    sent = CHAT.encode_request(request, PLAIN)
    wire = sent.json()
    assert [turn["role"] for turn in wire["chat_history"]] == ["USER", "CHATBOT", "TOOL", "CHATBOT"]
    assert (wire["message"], wire["preamble"]) == ("", "Be brief.")
    back, _ = CHAT.decode_request("ep", sent, PLAIN)
    first, last = request.messages[0].content, request.messages[-1].content
    expected = (Message("user", first[2:]), *request.messages[1:-1], Message("user", (*last, *first[:2])))
    assert msgspec.structs.replace(back, messages=expected) == msgspec.structs.replace(back)
    assert (back.system, back.tools) == (request.system, request.tools)


def test_command_r_refuses_what_it_cannot_be_told() -> None:
    with pytest.raises(errors.UnsupportedError, match="tool_choice"):
        CHAT.encode_request(ask(tools=(SPEC,), tool_choice=ToolChoice("any")), PLAIN)
    with pytest.raises(ValidationError, match="answers no tool use"):
        orphan = Message("user", (ToolResult("x", (Text("y"),)),))
        CHAT.encode_request(ConverseRequest(model="ep", messages=(orphan,)), PLAIN)
    with pytest.raises(ValidationError, match="answers no call"):
        CHAT.decode_request("ep", payload({"tool_results": [{"call": {"name": "f"}, "outputs": []}]}), PLAIN)
    with pytest.raises(errors.UnsupportedError, match="must end"):
        CHAT.encode_request(ConverseRequest(model="ep", messages=(Message.assistant("x"),)), PLAIN)
    nested = ToolSpec("f", {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}})
    assert any("parameters" in warning for warning in CHAT.warnings(ask(tools=(nested,)), PLAIN))
    with pytest.raises(errors.ServerError, match="error"):
        CHAT.decode_response(payload({"text": "", "finish_reason": "ERROR"}), Context(request=ask()))


@FEW
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    calls=st.lists(st.tuples(st.text("abc", min_size=1), st.dictionaries(st.text("xyz"), st.integers())), max_size=3),
    cut=st.integers(1, 50),
)
def test_calls_and_text_of_command_r_are_the_same_whole_and_streamed(
    text: str, calls: list[tuple[str, dict[str, int]]], cut: int
) -> None:
    words = (Text(text),) if text else ()
    made = uses(*({"name": name, "parameters": parameters} for name, parameters in calls))
    answer = ConverseResponse(
        message=Message("assistant", (*words, *made)), stop_reason="tool_use" if made else "end_turn"
    )
    context = received(BODY, CHAT.encode_request(ask(), PLAIN, stream=True))
    whole = CHAT.decode_response(CHAT.encode_response(answer, context), Context(request=ask()))
    back = streamed(CHAT, written(CHAT, answer, context), Context(request=ask()), cut)
    for found in (whole, back):
        assert (found.message, found.stop_reason) == (answer.message, answer.stop_reason)
