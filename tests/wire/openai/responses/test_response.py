"""Whole responses of the Responses API and their streams: what they mean, both ways, at every cut."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.stream import fold, replay
from awsllm.types import (
    SERVER_TOOL_USE,
    Citation,
    Citations,
    ConverseRequest,
    ConverseResponse,
    JsonObject,
    Message,
    Reasoning,
    ServiceTier,
    Text,
    ToolSpec,
    ToolUse,
    Usage,
    WebLocation,
)
from awsllm.wire import body as bodies
from awsllm.wire.body import Context, Payload
from awsllm.wire.framing import encode_named_sse
from awsllm.wire.openai.responses.decoder import ResponseDecoder
from awsllm.wire.openai.responses.response import decode_response
from tests.support.bodies import PLAIN, ask, streamed, written
from tests.support.responses import CALL, CITED, CUSTOM, SEARCH, THOUGHT, TOLD, events, message, told, whole
from tests.support.spoiled import spoiled

BODY = bodies.load("awsllm.wire.openai.responses.body", "openai-responses")
CHAT: Any = BODY.chat
CONTEXT = Context(request=ask())
USAGE = Usage(5, 7, 17, 4, 1, extra={"output_tokens_details": {"reasoning_tokens": 3}})
THINKING = Reasoning(
    "First.\n\nThen, naïvely.",
    'openai-reasoning:{"id":"rs_1","summary":[6,14],"encrypted_content":"gAAAAABo"}',
)
RAIN = Citation("Rain", "https://example.com/rain", location=WebLocation("https://example.com/rain"))


def answered(*blocks: Any, stop: str = "end_turn", **members: Any) -> ConverseResponse:
    answer = Message("assistant", blocks)
    given: dict[str, Any] = {"usage": USAGE, "extra": {"id": "resp_1"}, **members}
    return ConverseResponse(message=answer, messages=(answer,), stop_reason=stop, **given)


RESPONSES: dict[str, tuple[JsonObject, ConverseResponse]] = {
    "text": (whole(message(told("Hello, wörld"))), answered(Text("Hello, wörld"))),
    "two parts": (whole(message(told("One."), told("Two."))), answered(Text("One."), Text("Two."))),
    "thinking, then text": (whole(THOUGHT, message(told("Rain."))), answered(THINKING, Text("Rain."))),
    "thinking that says nothing": (
        whole({"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gB"}),
        answered(Reasoning("", 'openai-reasoning:{"id":"rs_2","summary":[],"encrypted_content":"gB"}')),
    ),
    "parallel calls": (
        whole(THOUGHT, CALL, {**CALL, "id": "fc_2", "call_id": "call_9", "arguments": "{}", "namespace": "n"}),
        answered(
            THINKING,
            ToolUse("call_1", "weather", {"city": "Køln"}),
            ToolUse("call_9", "weather", {}, extra={"namespace": "n"}),
            stop="tool_use",
        ),
    ),
    "a custom tool": (
        whole(CUSTOM),
        answered(ToolUse("call_2", "run", {"input": 'print("hé")\n'}, "custom_tool_call"), stop="tool_use"),
    ),
    "what the service ran": (
        whole(SEARCH, message(told("Rain", CITED))),
        answered(ToolUse("ws_1", "web_search_call", SEARCH, SERVER_TOOL_USE), Citations((Text("Rain"),), (RAIN,))),
    ),
    "arguments that are no JSON": (
        whole({**CALL, "arguments": '{"ci'}, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        answered(ToolUse("call_1", "weather", '{"ci'), stop="max_tokens"),
    ),
    "filtered": (
        whole(message(told("I")), status="incomplete", incomplete_details={"reason": "content_filter"}),
        answered(Text("I"), stop="content_filtered"),
    ),
    "a newer reason": (
        whole(message(told("I")), status="incomplete", incomplete_details={"reason": "steered"}),
        answered(Text("I"), stop="steered"),
    ),
    "a tier": (
        whole(message(told("I")), service_tier="flex"),
        answered(Text("I"), service_tier=ServiceTier("flex")),
    ),
    "no usage": (whole(message(told("I")), usage=None), answered(Text("I"), usage=Usage())),
    "nothing": (whole(), answered()),
}


def without_raw(response: ConverseResponse) -> ConverseResponse:
    return ConverseResponse(
        message=response.message,
        messages=response.messages,
        stop_reason=response.stop_reason,
        usage=response.usage,
        extra=response.extra,
        service_tier=response.service_tier,
        warnings=response.warnings,
    )


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_read(name: str) -> None:
    wire, expected = RESPONSES[name]
    assert without_raw(decode_response(wire, CONTEXT)) == expected


@pytest.mark.parametrize("name", RESPONSES)
def test_a_stream_folds_to_the_response_at_every_cut(name: str) -> None:
    wire, expected = RESPONSES[name]
    data = b"".join(map(encode_named_sse, events(wire, str(wire["status"]))))
    for cut in (1, 7, 100, 1 << 30):
        assert without_raw(streamed(CHAT, data, CONTEXT, cut)) == expected, cut


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("kept", ["items", "the end", "the response"])
def test_what_is_told_only_when_it_is_done_is_told_all_the_same(name: str, kept: str) -> None:
    wire, expected = RESPONSES[name]
    told = events(wire, str(wire["status"]))
    if kept == "items":
        told = [event for event in told if event["type"].endswith(("item.done", wire["status"]))]
    told = {"items": told, "the end": told[-1:], "the response": [wire]}[kept]
    decoder = ResponseDecoder(CONTEXT)
    response = fold([event for chunk in told for event in decoder.push(chunk)])
    decoder.finish()
    assert without_raw(response) == expected


def test_the_published_example() -> None:
    response = CHAT.decode_response(Payload(json.dumps(TOLD).encode()), CONTEXT)
    assert (response.text, response.stop_reason) == ("In a peaceful grove", "end_turn")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (36, 87, 123)
    assert response.extra == {"id": TOLD["id"]}
    assert response.raw == TOLD


def test_a_response_that_is_not_kept_has_no_id_to_go_on_from() -> None:
    context = Context(request=ask(extra={"store": False}))
    assert decode_response(whole(), context).extra is None


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_an_answer_in_the_background_has_not_stopped(status: str) -> None:
    assert decode_response(whole(status=status), CONTEXT).stop_reason == status


# --- thinking comes back as it was -----------------------------------------------------------------------------------

THOUGHTS: dict[str, JsonObject] = {
    "summary": THOUGHT,
    "itself": {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    "both": {**THOUGHT, "content": [{"type": "reasoning_text", "text": "Hm."}]},
    "nothing but an id": {"type": "reasoning", "id": "r", "summary": []},
    "newer members": {**THOUGHT, "weight": 7},
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thinking_is_sent_back_as_it_came_after_it_was_saved_and_loaded(name: str) -> None:
    answer = decode_response(whole(THOUGHTS[name], message(told("x"))), CONTEXT).message
    loaded = Message.from_dict(json.loads(json.dumps(answer.to_dict())))
    request = ConverseRequest(model="m", messages=(Message.user("Hi"), loaded, Message.user("And?")))
    sent = json.loads(CHAT.encode_request(request, PLAIN).body)["input"][1]
    assert sent == THOUGHTS[name]


def test_a_thought_whose_words_were_changed_is_one_part() -> None:
    changed = Reasoning("Shorter.", THINKING.signature)
    request = ConverseRequest(model="m", messages=(Message("assistant", (changed,)), Message.user("And?")))
    sent = json.loads(CHAT.encode_request(request, PLAIN).body)["input"][0]
    assert sent["summary"] == [{"type": "summary_text", "text": "Shorter."}]
    assert sent["encrypted_content"] == "gAAAAABo"


# --- failures --------------------------------------------------------------------------------------------------------

FAILURES = [
    ("server_error", errors.ServerError, True),
    ("rate_limit_exceeded", errors.ThrottlingError, True),
    ("invalid_prompt", errors.ValidationError, False),
    ("image_too_large", errors.ValidationError, False),
    ("context_length_exceeded", errors.ContextWindowError, False),
]


@pytest.mark.parametrize(("code", "kind", "retryable"), FAILURES)
def test_a_response_that_failed_is_its_error(code: str, kind: type[errors.AwsllmError], retryable: bool) -> None:
    wire = whole(status="failed", error={"code": code, "message": "no"})
    told = {"type": "error", "code": code, "message": "no", "param": None, "sequence_number": 3}
    for fails in (
        lambda: CHAT.decode_response(Payload(json.dumps(wire).encode()), CONTEXT),
        lambda: list(ResponseDecoder(CONTEXT).push({"type": "response.failed", "response": wire})),
        lambda: list(ResponseDecoder(CONTEXT).push(told)),
        lambda: list(ResponseDecoder(CONTEXT).push({"type": "error", "error": {"code": code, "message": "no"}})),
    ):
        with pytest.raises(kind, match="no") as caught:
            fails()
        assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_an_error_without_a_code_is_the_server_s() -> None:
    with pytest.raises(errors.ServerError, match="no reason was given"):
        list(ResponseDecoder(CONTEXT).push({"type": "response.failed", "response": whole(status="failed")}))


@pytest.mark.parametrize("body", [b"no JSON", b"[]", b'{"object": "list"}', b'{"object": "response", "output": 7}'])
def test_what_is_no_response_is_the_server_s_fault_and_is_not_shown(body: bytes) -> None:
    with pytest.raises(errors.ServerError) as caught:
        CHAT.decode_response(Payload(body), CONTEXT)
    assert "no JSON" not in str(caught.value)


def test_a_stream_that_is_cut_says_so() -> None:
    told = events(RESPONSES["text"][0])
    for end in range(len(told)):
        decoder = ResponseDecoder(CONTEXT)
        for chunk in told[:end]:
            list(decoder.push(chunk))
        with pytest.raises(errors.StreamError, match="cut"):
            decoder.finish()


def test_an_event_that_makes_no_sense_breaks_the_stream_and_newer_ones_do_not() -> None:
    decoder = ResponseDecoder(CONTEXT)
    assert list(decoder.push({"type": "response.newer", "x": 1})) == []
    with pytest.raises(errors.StreamError, match="delta: is required"):
        list(decoder.push({"type": "response.output_text.delta", "output_index": 0}))


def test_a_refusal_is_told_as_text() -> None:
    wire = whole(message({"type": "refusal", "refusal": "I will not."}))
    assert decode_response(wire, CONTEXT).text == "I will not."
    pieces = [
        {"type": "response.created", "response": whole()},
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "I will "},
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "not."},
        {"type": "response.output_item.done", "output_index": 0, "item": wire["output"][0]},
        {"type": "response.completed", "response": wire},
    ]
    decoder = ResponseDecoder(CONTEXT)
    assert fold([event for piece in pieces for event in decoder.push(piece)]).text == "I will not."


# --- the server's half -----------------------------------------------------------------------------------------------

ANSWERS: dict[str, ConverseResponse] = {
    name: expected
    for name, (_, expected) in RESPONSES.items()
    if name not in ("a newer reason", "a tier", "arguments that are no JSON")
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_server_writes_is_what_the_client_reads(name: str) -> None:
    answer = ANSWERS[name]
    read = CHAT.decode_response(CHAT.encode_response(answer, CONTEXT), CONTEXT)
    assert read.message == answer.message
    assert (read.stop_reason, read.usage) == (answer.stop_reason, answer.usage)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("cut", [1, 1 << 30])
def test_what_the_server_streams_is_what_the_client_reads(name: str, cut: int) -> None:
    answer = ANSWERS[name]
    read = streamed(CHAT, written(CHAT, answer, CONTEXT), CONTEXT, cut)
    assert read.message == answer.message
    assert (read.stop_reason, read.usage) == (answer.stop_reason, answer.usage)


@given(st.lists(st.tuples(st.sampled_from("ter"), st.text(max_size=8)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_answer_survives_the_stream(parts: list[tuple[str, str]]) -> None:
    """Thinking of another model gets a signature of this dialect; its words stay."""
    make: dict[str, Any] = {
        "t": lambda n, text: Text(text or "-"),
        "e": lambda n, text: ToolUse(f"call_{n}", "f", {"a": text}),
        "r": lambda n, text: Reasoning(text),
    }
    blocks = [make[kind](n, text) for n, (kind, text) in enumerate(parts)]
    answer = answered(*blocks, stop="tool_use" if any(isinstance(block, ToolUse) for block in blocks) else "end_turn")
    read = streamed(CHAT, written(CHAT, answer, CONTEXT), CONTEXT)
    bare = [Reasoning(block.text) if isinstance(block, Reasoning) else block for block in read.message.content]
    assert bare == blocks
    assert read.stop_reason == answer.stop_reason


def test_events_are_numbered_and_a_failure_is_the_last() -> None:
    request = ask(tools=(ToolSpec("f", {"type": "object"}),))
    encoder = CHAT.stream_encoder(Context(request=request, request_id="ab"))
    replayed = list(replay(ANSWERS["text"]))
    data = b"".join(map(encoder.event, replayed[:2])) + encoder.failure(errors.ThrottlingError("slow down"))
    told = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[0]["response"]["id"] == "resp_ab"
    assert told[0]["response"]["tools"][0]["name"] == "f"
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"]["code"] == "rate_limit_exceeded"
    with pytest.raises(errors.StreamError, match="ended before its message"):
        CHAT.stream_encoder(CONTEXT).end()


@pytest.mark.parametrize("name", ["thinking, then text", "parallel calls", "what the service ran"])
def test_spoiled_responses_and_events_raise_nothing_but_what_is_typed(name: str) -> None:
    wire, _ = RESPONSES[name]
    for spoilt in spoiled(wire):
        with suppress(errors.AwsllmError):
            CHAT.decode_response(Payload(json.dumps(spoilt).encode()), CONTEXT)
    for event in events(wire):
        for spoilt in spoiled(event):
            with suppress(errors.AwsllmError):
                list(ResponseDecoder(CONTEXT).push(spoilt))
