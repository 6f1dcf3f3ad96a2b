"""Formats of containers that are neither TGI nor LMI: both halves, against published payloads and each other."""

import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import StreamError, ValidationError
from awsllm.stream import fold, replay
from awsllm.types import (
    Bytes,
    Citation,
    Citations,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentText,
    EmbedRequest,
    EmbedResponse,
    Image,
    ImageRequest,
    ImageResponse,
    InferenceConfig,
    Json,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    RankedDocument,
    RerankRequest,
    RerankResponse,
    SearchResult,
    StreamEvent,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint import formats
from awsllm.wire.endpoint.errors import decode_error
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.openai.body import OpenAI

PLAIN = Settings()
FEW = settings(max_examples=25)


def payload(value: JsonValue, **members: str) -> Payload:
    return Payload(json.dumps(value).encode(), **members)


def ask(text: str = "Hi", **members: object) -> ConverseRequest:
    return ConverseRequest(model="ep", messages=(Message.user(text),), **members)  # type: ignore[arg-type]


def asked(fmt: Format, sent: Payload, settings: Settings = PLAIN) -> ReplyContext:
    """What a container makes of a payload."""
    request, _ = fmt.decode_request("ep", sent, settings)
    return ReplyContext(request=request, settings=settings)


def written(fmt: Format, response: ConverseResponse, context: ReplyContext) -> bytes:
    """The bytes of ``response`` as the container streams it."""
    encoder = fmt.chunk_encoder(context)
    return b"".join(map(encoder.event, replay(response))) + encoder.end()


def streamed(fmt: Format, data: bytes, context: ReplyContext, cut: int = 1 << 30) -> ConverseResponse:
    """What the client makes of ``data`` that arrives in pieces of ``cut`` bytes."""
    framing, decoder = FramingDecoder(), fmt.chunk_decoder(context)
    events: list[StreamEvent] = []
    for start in range(0, len(data), cut):
        for chunk in framing.feed(data[start : start + cut]):
            events += decoder.push(chunk)
    framing.close()
    events += decoder.finish(done=framing.done)
    return fold(events)


ANSWER = ConverseResponse(
    message=Message("assistant", (Text(text="Grüße, 你好 🙂"), ToolUse(id="c1", name="find", input={"q": "x"}))),
    stop_reason="tool_use",
    usage=Usage(input_tokens=3, output_tokens=5, total_tokens=8),
)


def test_openai_streams_what_it_answers_at_every_cut() -> None:
    fmt = OpenAI()
    context = asked(fmt, fmt.encode_converse(ask(), Settings(), stream=True))
    whole = fmt.decode_converse(fmt.encode_converse_response(ANSWER, context), ReplyContext(request=ask()))
    for framing in ("sse", "jsonlines"):
        context = ReplyContext(request=context.request, settings=Settings(framing=framing))
        data = written(fmt, ANSWER, context)
        assert data.endswith(b"data: [DONE]\n\n") == (framing == "sse")
        for cut in range(1, 40):
            response = streamed(fmt, data, ReplyContext(request=ask()), cut)
            assert (response.message, response.stop_reason, response.usage) == (
                whole.message,
                whole.stop_reason,
                whole.usage,
            )


def test_openai_tells_usage_in_a_stream_only_where_it_was_asked_for() -> None:
    fmt = OpenAI()
    context = asked(fmt, payload({"messages": [{"role": "user", "content": "Hi"}], "stream": True}))
    assert streamed(fmt, written(fmt, ANSWER, context), ReplyContext(request=ask())).usage == Usage()


def test_openai_embeddings_keep_their_encoding() -> None:
    fmt = OpenAI()
    for form in ("float", "base64"):
        context = asked(fmt, payload({"input": ["a", "b"], "encoding_format": form}))
        assert context.request == EmbedRequest(model="ep", texts=("a", "b"), extra={"encoding_format": form})
        sent = fmt.encode_embed_response(EmbedResponse(vectors=[[0.5, 1.0], [0.25, 2.0]]), context)
        back = fmt.decode_embed(sent, ReplyContext(request=EmbedRequest(model="ep", texts=("a", "b"))))
        assert back.vectors == [[0.5, 1.0], [0.25, 2.0]]
    with pytest.raises(ValidationError, match="encoding_format"):
        asked(fmt, payload({"input": "a", "encoding_format": "int8"}))


def test_openai_errors_come_back_as_they_were() -> None:
    status, body = OpenAI().encode_error(errors.ThrottlingError("slow down"))
    assert status == 429
    with pytest.raises(errors.ThrottlingError, match="slow down"):
        OpenAI().decode_converse(body, ReplyContext(request=ask()))


def test_openai_refuses_an_answer_that_was_cut() -> None:
    with pytest.raises(StreamError, match="before its message did"):
        OpenAI().chunk_encoder(ReplyContext(request=ask(inference_config=InferenceConfig()))).end()


# --- texts -----------------------------------------------------------------------------------------------------------

FULL = InferenceConfig(max_tokens=20, temperature=0.5, top_p=0.9, stop_sequences=("##",))
SAMPLED = {"max_tokens": 20, "temperature": 0.5, "p": 0.9, "stop_sequences": ["##"]}
HF = {"max_new_tokens": 20, "do_sample": True, "temperature": 0.5, "top_p": 0.9}
LIGHTON = {"n_tokens": 20, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["##"]}
STREAMED = LIGHTON | {"prettify": False}
LYRA = {"n_tokens": 20, "temperature": 0.5, "p": 0.9, "stop_words": ["##"], "mode": "nucleus"}
JURASSIC = {"numResults": 1, "maxTokens": 20, "temperature": 0.5, "topP": 0.9, "stopSequences": ["##"]}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}

# format, settings, streamed, the body that the request ``ask("Hi", inference_config=FULL)`` becomes
BODIES: list[tuple[str, Settings, bool, dict[str, Any]]] = [
    ("cohere-command", PLAIN, False, {"prompt": "Hi", **SAMPLED, "stream": False}),
    ("cohere-command", PLAIN, True, {"prompt": "Hi", **SAMPLED, "stream": True}),
    ("cohere-chat", PLAIN, True, {"message": "Hi", **SAMPLED, "stream": True}),
    ("jurassic", PLAIN, False, {"prompt": "Hi", **JURASSIC}),
    ("lighton", PLAIN, False, {"data": {**CHAT, "params": LIGHTON}, "endpoint": "llm/chat"}),
    ("lighton", PLAIN, True, {"data": {**CHAT, "params": STREAMED}, "endpoint": "/llm/stream_chat"}),
    (
        "lighton",
        Settings(task="text-generation"),
        False,
        {"data": {"text": "Hi", "params": LIGHTON}, "endpoint": "llm/create"},
    ),
    ("lyra", PLAIN, False, {"text": "Hi", "params": LYRA}),
    ("huggingface", PLAIN, False, {"inputs": "Hi", "parameters": {**HF, "return_full_text": False}}),
    ("huggingface", Settings(task="summarization"), False, {"inputs": "Hi", "parameters": HF}),
    ("huggingface", Settings(task="translation_en_to_de"), False, {"inputs": "Hi", "parameters": HF}),
]


@pytest.mark.parametrize(("name", "settings", "stream", "body"), BODIES)
def test_a_request_becomes_the_published_body_and_back(
    name: str, settings: Settings, stream: bool, body: dict[str, Any]
) -> None:
    fmt, request = formats.get(name), ask(inference_config=FULL)
    sent = fmt.encode_converse(request, settings, stream=stream)
    assert sent.json() == body
    back, streams = fmt.decode_request("ep", sent, settings)
    assert streams == stream
    assert isinstance(back, ConverseRequest)
    config = FULL if name != "huggingface" else msgspec.structs.replace(FULL, stop_sequences=())
    assert msgspec.structs.replace(back, extra=None) == msgspec.structs.replace(request, inference_config=config)


# format, a published reply, text, stop reason, usage
REPLIES: list[tuple[str, JsonValue, str, str, Usage]] = [
    (
        "cohere-command",
        {"id": "1", "prompt": "Hi", "generations": [{"id": "2", "text": " x", "likelihood": -1.2}]},
        " x",
        "end_turn",
        Usage(),
    ),
    (
        "cohere-chat",
        {
            "response_id": "r",
            "generation_id": "g",
            "text": "x",
            "finish_reason": "MAX_TOKENS",
            "tool_calls": [],
            "meta": {"billed_units": {"input_tokens": 1, "output_tokens": 2}},
        },
        "x",
        "max_tokens",
        Usage(input_tokens=1, output_tokens=2),
    ),
    (
        "jurassic",
        {
            "id": "1",
            "prompt": {"text": "Hi", "tokens": [{}, {}]},
            "completions": [{"data": {"text": "x", "tokens": [{}]}, "finishReason": {"reason": "endoftext"}}],
        },
        "x",
        "end_turn",
        Usage(input_tokens=2, output_tokens=1),
    ),
    (
        "lighton",
        {
            "responses": [
                {
                    "input_text": "Hi",
                    "completions": [
                        {"output_text": "x", "log_probs": None, "finish_reason": "length", "completion_id": "c"}
                    ],
                }
            ]
        },
        "x",
        "max_tokens",
        Usage(),
    ),
    (
        "lyra",
        {
            "request_id": "1",
            "outputs": [
                [
                    {
                        "input_text": "Hi",
                        "completions": [
                            {
                                "output_text": "x",
                                "score": {"logprob": -1, "normalized_logprob": -1},
                                "execution_metadata": {
                                    "cost": {"tokens_used": 24, "tokens_input": 4, "tokens_generated": 20},
                                    "finish_reason": "length",
                                },
                            }
                        ],
                    }
                ]
            ],
            "costs": {},
        },
        "x",
        "max_tokens",
        Usage(input_tokens=4, output_tokens=20, total_tokens=24),
    ),
    ("huggingface", [{"generated_text": "x"}], "x", "end_turn", Usage()),
    ("huggingface", [[{"generated_text": "x"}]], "x", "end_turn", Usage()),
    ("huggingface", [{"summary_text": "x"}], "x", "end_turn", Usage()),
    ("huggingface", [{"translation_text": "x##y"}], "x", "stop_sequence", Usage()),
]


@pytest.mark.parametrize(("name", "reply", "text", "stop_reason", "usage"), REPLIES)
def test_a_published_reply_is_read_and_kept(
    name: str, reply: JsonValue, text: str, stop_reason: str, usage: Usage
) -> None:
    if isinstance(reply, dict):
        reply = reply | {"newer": {"kept": True}}
    context = ReplyContext(request=ask(inference_config=FULL), request_id="id", warnings=("w",))
    response = formats.get(name).decode_converse(payload(reply), context)
    assert (response.text, response.stop_reason, response.usage) == (text, stop_reason, usage)
    assert (response.request_id, response.warnings, response.model) == ("id", ("w",), "ep")
    assert response.raw == (reply if isinstance(reply, dict) else {"reply": reply})


TEXTUAL = ("cohere-command", "cohere-chat", "jurassic", "lighton", "lyra", "huggingface")
STREAMING = ("openai", "cohere-command", "cohere-chat", "lighton")
COUNTING = ("cohere-chat", "lyra")
TOLD = {  # what a format can tell of why an answer stopped
    "cohere-command": ("end_turn", "max_tokens", "stop_sequence", "content_filtered"),
    "cohere-chat": ("end_turn", "max_tokens", "stop_sequence", "content_filtered"),
    "jurassic": ("end_turn", "max_tokens", "stop_sequence"),
    "lighton": ("end_turn", "max_tokens", "stop_sequence"),
    "lyra": ("end_turn", "max_tokens", "stop_sequence"),
    "huggingface": ("end_turn",),
}


@pytest.mark.parametrize("name", TEXTUAL)
@FEW
@given(data=st.data())
def test_what_a_container_answers_is_what_the_client_reads(name: str, data: st.DataObject) -> None:
    fmt = formats.get(name)
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    reason = data.draw(st.sampled_from(TOLD[name]))
    usage = Usage(input_tokens=data.draw(st.integers(0, 99)), output_tokens=data.draw(st.integers(0, 99)))
    answer = ConverseResponse(message=Message.assistant(text), stop_reason=reason, usage=usage)
    request = ask(inference_config=InferenceConfig(stop_sequences=("no such text",)))
    context = asked(fmt, fmt.encode_converse(request, PLAIN, stream=False))
    back = fmt.decode_converse(fmt.encode_converse_response(answer, context), ReplyContext(request=request))
    assert (back.text, back.stop_reason) == (text, reason)
    told = (back.usage.input_tokens, back.usage.output_tokens)
    assert told == ((usage.input_tokens, usage.output_tokens) if name in COUNTING else (None, None))


@pytest.mark.parametrize("name", STREAMING)
@FEW
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1), cut=st.integers(1, 60)
)
def test_a_stream_folds_to_its_text_wherever_it_is_cut(name: str, texts: list[str], cut: int) -> None:
    fmt = formats.get(name)
    answer = ConverseResponse(message=Message.assistant(*texts), stop_reason="end_turn")
    context = asked(fmt, fmt.encode_converse(ask(), PLAIN, stream=True))
    back = streamed(fmt, written(fmt, answer, context), ReplyContext(request=ask(), warnings=("w",)), cut)
    assert (back.text, back.stop_reason, back.warnings) == ("".join(texts), "end_turn", ("w",))


COMMAND = [
    {"text": " Grü\u00dfe", "is_finished": False, "index": 0},
    {"text": " 你好", "is_finished": False, "index": 0},
]
WHOLE = {"id": "1", "prompt": "Hi", "generations": [{"id": "2", "text": " Grüße 你好"}]}
STREAMS: list[tuple[str, list[JsonValue], str, str]] = [
    (
        "cohere-command",
        [*COMMAND, {"is_finished": True, "finish_reason": "COMPLETE", "response": WHOLE}],
        " Grüße 你好",
        "end_turn",
    ),
    ("cohere-command", [WHOLE], " Grüße 你好", "end_turn"),
    (
        "cohere-chat",
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
    ("cohere-chat", [{"response_id": "r", "text": "你好", "finish_reason": "COMPLETE"}], "你好", "end_turn"),
]


@pytest.mark.parametrize(("name", "chunks", "text", "stop_reason"), STREAMS)
def test_published_streams_are_read_at_every_cut(
    name: str, chunks: list[JsonValue], text: str, stop_reason: str
) -> None:
    data = b"".join(json.dumps(chunk, ensure_ascii=False).encode() + b"\n" for chunk in chunks)
    for cut in range(1, len(data) + 1):
        response = streamed(formats.get(name), data, ReplyContext(request=ask()), cut)
        assert (response.text, response.stop_reason) == (text, stop_reason)


def test_an_answer_is_cut_at_a_stop_sequence_whole_and_streamed() -> None:
    data = b"".join(
        json.dumps(chunk).encode() + b"\n"
        for chunk in [
            {"text": "x#", "is_finished": False},
            {"text": "#y", "is_finished": False},
            {"is_finished": True, "finish_reason": "COMPLETE"},
        ]
    )
    fmt, context = formats.get("cohere-command"), ReplyContext(request=ask(inference_config=FULL))
    whole = fmt.decode_converse(payload({"generations": [{"text": "x##y"}]}), context)
    for response in (whole, streamed(fmt, data, context)):
        assert (response.text, response.stop_reason) == ("x", "stop_sequence")


def test_lighton_streams_end_with_done() -> None:
    data = 'data: {"request_id":"r","text":"Grü"}\n\ndata: {"request_id":"r","text":"ße"}\n\n'.encode()
    fmt, context = formats.get("lighton"), ReplyContext(request=ask())
    for cut in range(1, len(data)):
        assert streamed(fmt, data + b"data: [DONE]\n\n", context, cut).text == "Grüße"
    with pytest.raises(StreamError, match="cut"):
        streamed(fmt, data, context)


@pytest.mark.parametrize("name", STREAMING)
def test_a_stream_that_was_cut_raises_on_both_sides(name: str) -> None:
    fmt = formats.get(name)
    context = asked(fmt, fmt.encode_converse(ask(), PLAIN, stream=True))
    encoder = fmt.chunk_encoder(context)
    cut = ConverseResponse(message=Message.assistant("half"), stop_reason=None)
    data = b"".join(map(encoder.event, replay(cut)))
    with pytest.raises(StreamError):
        encoder.end()
    with pytest.raises(StreamError):
        streamed(fmt, data, ReplyContext(request=ask()))


@pytest.mark.parametrize("name", STREAMING)
def test_a_failure_inside_a_stream_is_the_containers_error(name: str) -> None:
    fmt = formats.get(name)
    context = asked(fmt, fmt.encode_converse(ask(), PLAIN, stream=True))
    data = fmt.chunk_encoder(context).failure(errors.ThrottlingError("slow down"))
    with pytest.raises(errors.ThrottlingError, match="slow down"):
        streamed(fmt, data, ReplyContext(request=ask()))


OWN = ("huggingface", "tei", "cohere-command", "cohere-chat", "cohere-embed", "cohere-rerank", "jurassic", "lighton")


@pytest.mark.parametrize("name", ["openai", *OWN, "lyra", "stable-diffusion", "sdxl"])
def test_an_error_of_the_container_keeps_its_kind_through_the_service(name: str) -> None:
    status, body = formats.get(name).encode_error(errors.ModelNotReadyError("still loading"))
    wrapped = {"OriginalStatusCode": status, "OriginalMessage": body.body.decode(), "Message": "m"}
    error = decode_error(424, {"x-amzn-errortype": "ModelError"}, json.dumps(wrapped).encode())
    assert isinstance(error, errors.ModelNotReadyError)
    assert error.message == "still loading"


@pytest.mark.parametrize("name", TEXTUAL)
@pytest.mark.parametrize("reply", [b"<html>", b"[]", b"{}", b"7", b'{"generations": 1}', b'{"responses": [1]}'])
def test_a_reply_of_another_shape_is_a_server_error(name: str, reply: bytes) -> None:
    with pytest.raises(errors.ServerError):
        formats.get(name).decode_converse(Payload(reply), ReplyContext(request=ask()))


@pytest.mark.parametrize("name", TEXTUAL)
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_malformed_body_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(ValidationError):
        formats.get(name).decode_request("ep", Payload(body), PLAIN)


SPEC = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]})


@pytest.mark.parametrize("name", [name for name in TEXTUAL if name != "cohere-chat"])
def test_tools_name_the_formats_that_know_them(name: str) -> None:
    with pytest.raises(errors.UnsupportedError, match="openai or cohere-chat"):
        formats.get(name).encode_converse(ask(tools=(SPEC,)), PLAIN, stream=False)


@pytest.mark.parametrize("name", TEXTUAL)
def test_a_schema_for_the_answer_cannot_be_asked_for(name: str) -> None:
    request = ask(output_config=OutputConfig(json_schema=JsonSchema({"type": "object"})))
    with pytest.raises(errors.UnsupportedError, match="openai"):
        formats.get(name).encode_converse(request, PLAIN, stream=False)


PROMPTED = dict.fromkeys(("cohere-command", "jurassic", "lyra", "huggingface"), PLAIN)
PROMPTED["lighton"] = Settings(task="text-generation")


@pytest.mark.parametrize("name", PROMPTED)
def test_several_turns_want_a_known_style(name: str) -> None:
    talk = ConverseRequest(
        model="ep", messages=(Message.user("a"), Message.assistant("b"), Message.user("c")), system=(Text("s"),)
    )
    fmt, styled = formats.get(name), Settings(prompt="chatml")
    with pytest.raises(errors.UnsupportedError, match="awsllm:prompt"):
        fmt.encode_converse(talk, PROMPTED[name], stream=False)
    joined = fmt.encode_converse(talk, Settings(prompt="plain"), stream=False)
    assert b'"s\\n\\na\\n\\nb\\n\\nc"' in joined.body
    assert fmt.warnings(talk, styled) == () == fmt.warnings(ask(), PLAIN)
    sent = fmt.encode_converse(talk, styled, stream=False)
    back, _ = fmt.decode_request("ep", sent, styled)
    assert isinstance(back, ConverseRequest)
    assert (back.system, back.messages) == (talk.system, talk.messages)
    assert back.inference_config.stop_sequences == ()
    assert (b'<|im_end|>"]' in sent.body) == (name != "huggingface")  # a pipeline knows no stop sequences


def test_a_pipeline_repeats_the_prompt_unless_told_not_to() -> None:
    fmt, answer = formats.get("huggingface"), ConverseResponse(message=Message.assistant("x"), stop_reason="end_turn")
    for parameters, expected in (({}, "Hix"), ({"return_full_text": False}, "x")):
        context = asked(fmt, payload({"inputs": "Hi", "parameters": parameters}))
        assert fmt.encode_converse_response(answer, context).json() == [{"generated_text": expected}]


def test_a_temperature_of_zero_is_no_sampling_where_a_container_refuses_it() -> None:
    request = ask(inference_config=InferenceConfig(temperature=0.0, top_p=0.9))
    sent = formats.get("huggingface").encode_converse(request, PLAIN, stream=False)
    assert sent.json()["parameters"] == {"do_sample": False, "return_full_text": False}
    sent = formats.get("lyra").encode_converse(request, PLAIN, stream=False)
    assert sent.json()["params"] == {"mode": "greedy", "p": 0.9}
    back, _ = formats.get("lyra").decode_request("ep", sent, PLAIN)
    assert isinstance(back, ConverseRequest)
    assert back.inference_config == request.inference_config


# --- Command R -------------------------------------------------------------------------------------------------------

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
    fmt = formats.get("cohere-chat")
    request, _ = fmt.decode_request("ep", payload(SHOPPED), PLAIN)
    outputs = [result["outputs"][0] for result in SHOPPED["tool_results"]]  # type: ignore[index]
    results = (ToolResult(f"call_{at}", (Json(value=output),)) for at, output in enumerate(outputs))
    question = Message.user("I'd like a dozen eggs and an apple please")
    assert request == ConverseRequest(
        model="ep",
        messages=(question, Message("assistant", uses(EGGS, APPLE)), Message("user", tuple(results))),
        tools=(SHOPPER_SPEC,),
    )
    assert isinstance(request, ConverseRequest)
    assert fmt.encode_converse(request, PLAIN, stream=False).json() == SHOPPED | {"stream": False}
    assert fmt.warnings(request, PLAIN) == ()


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
    response = formats.get("cohere-chat").decode_converse(payload(wire), ReplyContext(request=ask()))
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
    fmt, context = formats.get("cohere-chat"), ReplyContext(request=ask())
    response = fmt.decode_converse(payload(RAG), context)
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
    back = streamed(fmt, data, context)
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
    back = streamed(formats.get("cohere-chat"), data, ReplyContext(request=ask()))
    assert back.message.content == (Text("I will look."), *uses(call))
    assert back.stop_reason == "tool_use"


def test_a_chain_of_calls_documents_and_history_survive() -> None:
    fmt, call = formats.get("cohere-chat"), {"name": "find", "parameters": {"q": "x"}}
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
    sent = fmt.encode_converse(request, PLAIN, stream=False)
    wire = sent.json()
    assert [turn["role"] for turn in wire["chat_history"]] == ["USER", "CHATBOT", "TOOL", "CHATBOT"]
    assert (wire["message"], wire["preamble"]) == ("", "Be brief.")
    back, _ = fmt.decode_request("ep", sent, PLAIN)
    assert isinstance(back, ConverseRequest)
    first, last = request.messages[0].content, request.messages[-1].content
    expected = (Message("user", first[2:]), *request.messages[1:-1], Message("user", (*last, *first[:2])))
    assert msgspec.structs.replace(back, messages=expected) == msgspec.structs.replace(back)
    assert (back.system, back.tools) == (request.system, request.tools)


def test_command_r_refuses_what_it_cannot_be_told() -> None:
    fmt = formats.get("cohere-chat")
    with pytest.raises(errors.UnsupportedError, match="tool_choice"):
        fmt.encode_converse(ask(tools=(SPEC,), tool_choice=ToolChoice("any")), PLAIN, stream=False)
    with pytest.raises(ValidationError, match="answers no tool use"):
        orphan = Message("user", (ToolResult("x", (Text("y"),)),))
        fmt.encode_converse(ConverseRequest(model="ep", messages=(orphan,)), PLAIN, stream=False)
    with pytest.raises(ValidationError, match="answers no call"):
        fmt.decode_request("ep", payload({"tool_results": [{"call": {"name": "f"}, "outputs": []}]}), PLAIN)
    with pytest.raises(errors.UnsupportedError, match="must end"):
        fmt.encode_converse(ConverseRequest(model="ep", messages=(Message.assistant("x"),)), PLAIN, stream=False)
    nested = ToolSpec("f", {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}})
    assert any("parameters" in warning for warning in fmt.warnings(ask(tools=(nested,)), PLAIN))
    with pytest.raises(errors.ServerError, match="error"):
        fmt.decode_converse(payload({"text": "", "finish_reason": "ERROR"}), ReplyContext(request=ask()))


@FEW
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    calls=st.lists(st.tuples(st.text("abc", min_size=1), st.dictionaries(st.text("xyz"), st.integers())), max_size=3),
    cut=st.integers(1, 50),
)
def test_calls_and_text_of_command_r_are_the_same_whole_and_streamed(
    text: str, calls: list[tuple[str, dict[str, int]]], cut: int
) -> None:
    fmt = formats.get("cohere-chat")
    told = (Text(text),) if text else ()
    made = uses(*({"name": name, "parameters": parameters} for name, parameters in calls))
    answer = ConverseResponse(
        message=Message("assistant", (*told, *made)), stop_reason="tool_use" if made else "end_turn"
    )
    context = asked(fmt, fmt.encode_converse(ask(), PLAIN, stream=True))
    whole = fmt.decode_converse(fmt.encode_converse_response(answer, context), ReplyContext(request=ask()))
    back = streamed(fmt, written(fmt, answer, context), ReplyContext(request=ask()), cut)
    for found in (whole, back):
        assert (found.message, found.stop_reason) == (answer.message, answer.stop_reason)


# --- vectors and order -----------------------------------------------------------------------------------------------

EXTRACT = Settings(task="feature-extraction")
TEXTS = EmbedRequest(model="ep", texts=("a", "b"))
EMBEDDERS: list[tuple[str, Settings, EmbedRequest, dict[str, Any]]] = [
    ("tei", PLAIN, TEXTS, {"inputs": ["a", "b"]}),
    ("tei", PLAIN, msgspec.structs.replace(TEXTS, normalize=False), {"inputs": ["a", "b"], "normalize": False}),
    ("tei", PLAIN, msgspec.structs.replace(TEXTS, extra={"truncate": True}), {"inputs": ["a", "b"], "truncate": True}),
    ("huggingface", EXTRACT, TEXTS, {"inputs": ["a", "b"]}),
    (
        "cohere-embed",
        PLAIN,
        msgspec.structs.replace(TEXTS, input_type="search_query", extra={"truncate": "END"}),
        {"texts": ["a", "b"], "input_type": "search_query", "truncate": "END"},
    ),
]


@pytest.mark.parametrize(("name", "settings", "request_", "body"), EMBEDDERS)
def test_texts_to_embed_become_the_published_body_and_back(
    name: str, settings: Settings, request_: EmbedRequest, body: dict[str, Any]
) -> None:
    fmt = formats.get(name)
    sent = fmt.encode_embed(request_, settings)
    assert sent.json() == body
    back: tuple[Asked, bool] = fmt.decode_request("ep", sent, settings)
    assert back == (request_, False)


@pytest.mark.parametrize(("name", "settings"), [("tei", PLAIN), ("huggingface", EXTRACT), ("cohere-embed", PLAIN)])
@FEW
@given(
    vectors=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
)
def test_vectors_come_back_as_they_were(name: str, settings: Settings, vectors: list[list[float]]) -> None:
    fmt, request = formats.get(name), EmbedRequest(model="ep", texts=("t",) * len(vectors))
    context = asked(fmt, fmt.encode_embed(request, settings), settings)
    sent = fmt.encode_embed_response(EmbedResponse(vectors=vectors), context)
    back = fmt.decode_embed(sent, ReplyContext(request=request, settings=settings))
    assert back.vectors == vectors
    assert back.usage == Usage()


def embed(name: str, reply: JsonValue, **members: Any) -> list[list[float]]:
    request = EmbedRequest(model="ep", **{"texts": ("a",), **members})
    return formats.get(name).decode_embed(payload(reply), ReplyContext(request=request)).vectors


def test_token_vectors_are_pooled_in_every_nesting() -> None:
    tokens = [[1.0, 2.0], [3.0, 6.0]]
    for reply in ([tokens], [[tokens]], [[2.0, 4.0]]):
        assert embed("huggingface", reply) == [[2.0, 4.0]]
    assert embed("huggingface", [tokens, [[5.0, 5.0]]], texts=("a", "b")) == [[2.0, 4.0], [5.0, 5.0]]
    assert embed("huggingface", [[[3.0, 4.0]]], normalize=True) == [[0.6, 0.8]]
    assert formats.get("huggingface").warnings(TEXTS, EXTRACT) != ()


def test_vectors_by_type_are_read_floats_first() -> None:
    assert embed("cohere-embed", {"embeddings": {"int8": [[1]], "float": [[0.5]]}}) == [[0.5]]
    assert embed("cohere-embed", {"embeddings": {"int8": [[1]]}}) == [[1.0]]
    assert embed("cohere-embed", {"id": "1", "texts": ["a"], "embeddings": [[0.25]]}) == [[0.25]]


@pytest.mark.parametrize("name", ["tei", "huggingface", "cohere-embed"])
def test_what_are_no_vectors_for_these_texts_is_a_server_error(name: str) -> None:
    for reply in (
        [],
        [[1.0], [2.0]],
        [["x"]],
        [[]],
        {"embeddings": [[1.0], [2.0]]},
        {"embeddings": 7},
        [[[1.0], ["x"]]],
    ):
        with pytest.raises(errors.ServerError):
            embed(name, reply)
    with pytest.raises(errors.UnsupportedError, match="dimensions"):
        formats.get(name).encode_embed(EmbedRequest(model="ep", texts=("a",), dimensions=2), PLAIN)


def test_what_an_embedding_format_cannot_honour_is_named() -> None:
    request = msgspec.structs.replace(TEXTS, normalize=True, input_type="search_query")
    named = {
        name: [warning.partition(":")[0] for warning in formats.get(name).warnings(request, PLAIN)]
        for name in ("openai", "tei", "cohere-embed")
    }
    assert named == {"openai": ["normalize", "input_type"], "tei": ["input_type"], "cohere-embed": ["normalize"]}


def test_a_container_of_one_task_refuses_the_other() -> None:
    fmt = formats.get("huggingface")
    with pytest.raises(errors.UnsupportedError, match="does not converse"):
        fmt.encode_converse(ask(), EXTRACT, stream=False)
    with pytest.raises(errors.UnsupportedError, match="does not embed"):
        fmt.encode_embed(TEXTS, Settings(task="summarization"))


RERANK = RerankRequest(model="ep", query="q", documents=("a", "b", "c"), top_n=2)
RANKED = (RankedDocument(2, 0.87, "c"), RankedDocument(0, 0.17, "a"))


def test_documents_are_ranked_by_cohere() -> None:
    fmt = formats.get("cohere-rerank")
    sent = fmt.encode_rerank(RERANK, PLAIN)
    assert sent.json() == {"api_version": 2, "query": "q", "documents": ["a", "b", "c"], "top_n": 2}
    assert fmt.decode_request("ep", sent, PLAIN) == (RERANK, False)
    older = {"query": "q", "documents": [{"text": "a"}, {"text": "b"}, {"text": "c"}], "top_n": 2}
    assert fmt.decode_request("ep", payload(older), PLAIN) == (RERANK, False)
    wire = {
        "id": "0edaa627",
        "results": [{"index": 2, "relevance_score": 0.87}, {"index": 0, "relevance_score": 0.17}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    response = fmt.decode_rerank(payload(wire), ReplyContext(request=RERANK))
    assert response.results == RANKED
    assert response.usage == Usage(extra={"billed_units": {"search_units": 1}})
    back = fmt.encode_rerank_response(RerankResponse(results=RANKED), ReplyContext(request=RERANK))
    assert fmt.decode_rerank(back, ReplyContext(request=RERANK)).results == RANKED


def test_documents_are_ranked_by_tei() -> None:
    fmt = formats.get("tei")
    sent = fmt.encode_rerank(RERANK, PLAIN)
    assert sent.json() == {"query": "q", "texts": ["a", "b", "c"]}
    asked_, _ = fmt.decode_request("ep", sent, PLAIN)
    assert asked_ == msgspec.structs.replace(RERANK, top_n=None)
    wire = [{"index": 1, "score": 0.1}, {"index": 2, "score": 0.87}, {"index": 0, "score": 0.17}]
    assert fmt.decode_rerank(payload(wire), ReplyContext(request=RERANK)).results == RANKED
    context = asked(fmt, payload({"query": "q", "texts": ["a", "b", "c"], "return_text": True}))
    back = fmt.encode_rerank_response(RerankResponse(results=RANKED), context)
    assert back.json()[0] == {"index": 2, "score": 0.87, "text": "c"}
    for reply in ({"results": []}, [{"index": 3, "score": 1.0}], [{"score": 1.0}]):
        with pytest.raises(errors.ServerError):
            fmt.decode_rerank(payload(reply), ReplyContext(request=RERANK))


# --- images ----------------------------------------------------------------------------------------------------------

JPEG = b"\xff\xd8\xff\xe0 a jpeg"
PAINT = ImageRequest(
    model="ep",
    prompt="a cat",
    negative_prompt="blurry",
    count=2,
    width=512,
    height=256,
    steps=50,
    guidance_scale=7.5,
    seed=1,
    extra={"scheduler": "x"},
)


def test_an_image_request_becomes_the_published_body_and_back() -> None:
    fmt = formats.get("stable-diffusion")
    sent = fmt.encode_image(PAINT, PLAIN)
    assert sent.accept == "application/json;jpeg"
    assert sent.json() == {
        "prompt": "a cat",
        "negative_prompt": "blurry",
        "width": 512,
        "height": 256,
        "num_images_per_prompt": 2,
        "num_inference_steps": 50,
        "guidance_scale": 7.5,
        "seed": 1,
        "scheduler": "x",
    }
    assert fmt.decode_request("ep", sent, PLAIN) == (PAINT, False)
    with pytest.raises(errors.UnsupportedError, match="jpeg"):
        fmt.decode_request("ep", Payload(sent.body), PLAIN)
    fmt = formats.get("sdxl")
    sent = fmt.encode_image(PAINT, PLAIN)
    assert sent.json() == {
        "text_prompts": [{"text": "a cat", "weight": 1}, {"text": "blurry", "weight": -1}],
        "cfg_scale": 7.5,
        "steps": 50,
        "seed": 1,
        "height": 256,
        "width": 512,
        "samples": 2,
        "scheduler": "x",
    }
    assert fmt.decode_request("ep", sent, PLAIN) == (PAINT, False)
    with pytest.raises(ValidationError, match="text_prompts"):
        fmt.decode_request("ep", payload({"text_prompts": []}), PLAIN)


@pytest.mark.parametrize("name", ["stable-diffusion", "sdxl"])
def test_images_come_back_as_they_were(name: str) -> None:
    fmt = formats.get(name)
    images = (Image("jpeg", Bytes(JPEG)), Image("png", Bytes(b"\x89PNG\r\n"), error="CONTENT_FILTERED"))
    images = images if name == "sdxl" else images[:1]
    sent = fmt.encode_image_response(ImageResponse(images=images), ReplyContext(request=PAINT))
    assert fmt.decode_image(sent, ReplyContext(request=PAINT)).images == images


def paint(name: str, reply: JsonValue) -> tuple[Image, ...]:
    return formats.get(name).decode_image(payload(reply), ReplyContext(request=PAINT)).images


def test_published_images_are_read() -> None:
    base64 = b64encode(JPEG).decode()
    made = (Image("jpeg", Bytes(JPEG)),)
    assert paint("stable-diffusion", {"generated_images": [base64], "prompt": "a cat"}) == made
    assert paint("sdxl", {"artifacts": [{"base64": base64, "finishReason": "SUCCESS", "seed": 1}]}) == made
    assert paint("sdxl", {"generated_image": base64}) == made
    (withheld,) = paint("sdxl", {"artifacts": [{"base64": "", "finishReason": "CONTENT_FILTERED", "seed": 1}]})
    assert (withheld.error, withheld.source) == ("CONTENT_FILTERED", Bytes(b""))


def pixels_of(png: bytes) -> tuple[tuple[int, int], bytes]:
    """Size and scanlines of a PNG, its chunks checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    return (width, height), zlib.decompress(chunks[b"IDAT"])


@FEW
@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_pixels_become_a_png(width: int, height: int, data: st.DataObject) -> None:
    rows = [[[data.draw(st.integers(0, 255)) for _ in range(3)] for _ in range(width)] for _ in range(height)]
    (image,) = paint("stable-diffusion", {"generated_image": rows, "prompt": "a cat"})
    assert isinstance(image.source, Bytes)
    size, lines = pixels_of(image.source.data)
    assert (image.format, size) == ("png", (width, height))
    assert lines == b"".join(b"\0" + bytes(number for pixel in row for number in pixel) for row in rows)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"generated_images": []},
        {"generated_image": [[1, 2]]},
        {"generated_image": [[[1, 2, 256]]]},
        {"generated_image": [[[1, 2, 3]], []]},
        {"generated_image": [[[1, 2]]]},
        {"generated_image": [[[10**12]]]},
        {"generated_image": []},
        {"generated_images": ["not base64!"]},
        {"generated_images": [7]},
    ],
)
def test_what_are_no_images_is_a_server_error(reply: JsonValue) -> None:
    with pytest.raises(errors.ServerError):
        paint("stable-diffusion", reply)


# --- what a format does not do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", *OWN, "lyra", "stable-diffusion", "sdxl"])
def test_a_format_does_what_it_says_and_nothing_else(name: str) -> None:
    fmt = formats.get(name)
    calls: dict[str, Callable[[], Payload]] = {
        "converse": lambda: fmt.encode_converse(ask(), PLAIN, stream=False),
        "converse_stream": lambda: fmt.encode_converse(ask(), PLAIN, stream=True),
        "embed": lambda: fmt.encode_embed(TEXTS, PLAIN),
        "generate_image": lambda: fmt.encode_image(PAINT, PLAIN),
        "rerank": lambda: fmt.encode_rerank(RERANK, PLAIN),
    }
    for operation, call in calls.items():
        if operation in fmt.serves:
            assert call().body
        else:
            with pytest.raises(errors.UnsupportedError):
                call()


# --- nothing but awsllm's own errors ---------------------------------------------------------------------------------

WORDS = (
    "text message chat_history tools tool_results tool_calls documents call outputs name parameters type description "
    "parameter_definitions finish_reason meta billed_units tokens token_count citations document_ids id event_type "
    "response generations completions data finishReason reason prompt responses output_text execution_metadata cost "
    "endpoint params messages role content inputs texts embeddings results index relevance_score score query weight "
    "generated_text artifacts base64 generated_images generated_image text_prompts is_finished title url snippet error"
)
LEAVES = st.sampled_from([None, True, 0, 1.5, 10**30, "", "x", "USER", "TOOL", "llm/chat", "stream-end", "COMPLETE"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4),
)


@pytest.mark.parametrize("name", ["openai", *OWN, "lyra", "stable-diffusion", "sdxl"])
@settings(max_examples=60)
@given(value=TREES)
def test_any_json_is_read_or_refused(name: str, value: JsonValue) -> None:
    fmt, wire = formats.get(name), payload(value, accept="application/json;jpeg")
    readers: dict[str, Callable[[], object]] = {
        "converse": lambda: fmt.decode_converse(wire, ReplyContext(request=ask())),
        "converse_stream": lambda: [*fmt.chunk_decoder(ReplyContext(request=ask())).push(value)],
        "embed": lambda: fmt.decode_embed(wire, ReplyContext(request=TEXTS)),
        "rerank": lambda: fmt.decode_rerank(wire, ReplyContext(request=RERANK)),
        "generate_image": lambda: fmt.decode_image(wire, ReplyContext(request=PAINT)),
    }
    for read in (lambda: fmt.decode_request("ep", wire, PLAIN), *(readers[operation] for operation in fmt.serves)):
        with suppress(errors.AwsllmError):
            read()
