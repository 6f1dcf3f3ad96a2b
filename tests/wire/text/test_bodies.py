"""The bodies that take and give texts: both halves against each other, published payloads, streams cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import (
    AwsllmError,
    ContextWindowError,
    ModelNotReadyError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.stream import fold, replay
from awsllm.types import (
    Bytes,
    ConverseRequest,
    ConverseResponse,
    EndpointOptions,
    GuardrailConfig,
    Image,
    InferenceConfig,
    JsonSchema,
    Message,
    OutputConfig,
    Reasoning,
    StreamEvent,
    Text,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Chat, Context, Payload, Settings
from awsllm.wire.framing import FramingDecoder
from awsllm.wire.server_errors import error_for_status, find_error
from tests.support.bodies import written

TEXT = ("tgi", "lmi", "djl", "dialogs", "mms", "mms-text")
STREAMING = ("tgi", "lmi", "djl")
ACCEPTING = EndpointOptions(accept_eula=True)
UNKNOWN = Usage()


def chat_of(name: str) -> Chat:
    chat = endpoint.get(name).chat
    assert chat is not None
    return chat


def ask(*messages: Message, **members: Any) -> ConverseRequest:
    members.setdefault("endpoint", ACCEPTING)
    members.setdefault("inference_config", InferenceConfig(max_tokens=64))
    return ConverseRequest(model="ep", messages=messages or (Message.user("Hi"),), **members)


def answer(text: str, stop_reason: str = "end_turn", usage: Usage = UNKNOWN) -> ConverseResponse:
    message = Message("assistant", (Text(text),) if text else ())
    return ConverseResponse(message=message, stop_reason=stop_reason, usage=usage, model="ep", messages=(message,))


def payload(value: Any) -> Payload:
    return Payload(value if isinstance(value, bytes) else msgspec.json.encode(value))


def neutral(response: ConverseResponse) -> ConverseResponse:
    """What every way of answering has to agree on."""
    return msgspec.structs.replace(response, raw=None, model=None, request_id=None)


def streamed(chat: Chat, context: Context, data: bytes, cuts: tuple[int, ...] = ()) -> Iterator[StreamEvent]:
    framing, chunks = FramingDecoder(), chat.stream_decoder(context)
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        for value in framing.feed(data[start:end]):
            yield from chunks.push(value)
    framing.close()
    yield from chunks.finish(done=framing.done)


# --- requests --------------------------------------------------------------------------------------------------------

REQUESTS: tuple[tuple[str, ConverseRequest, Settings, Any], ...] = (
    (
        "tgi",
        ask(
            inference_config=InferenceConfig(64, 0.6, 0.9, ("\n\n",)),
            extra={"top_k": 50, "repetition_penalty": 1.1, "seed": 42},
        ),
        Settings(),
        {
            "inputs": "Hi",
            "parameters": {
                "max_new_tokens": 64,
                "do_sample": True,
                "temperature": 0.6,
                "top_p": 0.9,
                "top_k": 50,
                "stop": ["\n\n"],
                "repetition_penalty": 1.1,
                "seed": 42,
                "return_full_text": False,
                "details": True,
            },
            "stream": False,
        },
    ),
    (
        "tgi",
        ask(
            inference_config=InferenceConfig(8, 0.0),
            output_config=OutputConfig(json_schema=JsonSchema({"type": "object"})),
        ),
        Settings(),
        {
            "inputs": "Hi",
            "parameters": {
                "max_new_tokens": 8,
                "do_sample": False,
                "grammar": {"type": "json", "value": {"type": "object"}},
                "return_full_text": False,
                "details": True,
            },
            "stream": False,
        },
    ),
    (
        "lmi",
        ask(system=(Text("Be brief."),), inference_config=InferenceConfig(16, 0.5, None, ("##",))),
        Settings(prompt="llama2"),
        {
            "inputs": "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]",
            "parameters": {
                "max_new_tokens": 16,
                "do_sample": True,
                "temperature": 0.5,
                "stop_sequences": ["##"],
                "return_full_text": False,
                "details": True,
            },
            "stream": False,
        },
    ),
    ("djl", ask(), Settings(), {"inputs": "Hi", "parameters": {"max_new_tokens": 64}}),
    (
        "dialogs",
        ask(
            Message.user("Hi"),
            Message.assistant("Ho"),
            Message.user("He"),
            system=(Text("Be brief."),),
            inference_config=InferenceConfig(256, 0.6, 0.9),
        ),
        Settings(),
        {
            "inputs": [
                [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Ho"},
                    {"role": "user", "content": "He"},
                ]
            ],
            "parameters": {"max_new_tokens": 256, "temperature": 0.6, "top_p": 0.9},
        },
    ),
    (
        "dialogs",
        ask(),
        Settings(task="text-generation"),
        {"inputs": "Hi", "parameters": {"max_new_tokens": 64}},
    ),
    (
        "mms",
        ask(inference_config=InferenceConfig(50, 0.7, 0.95), extra={"num_beams": 1, "top_k": 50}),
        Settings(),
        {
            "text_inputs": "Hi",
            "max_length": 50,
            "num_beams": 1,
            "top_k": 50,
            "top_p": 0.95,
            "temperature": 0.7,
            "do_sample": True,
        },
    ),
)


@pytest.mark.parametrize(("name", "request_", "settings", "wire"), REQUESTS)
def test_a_request_is_written_as_published_and_read_back(
    name: str, request_: ConverseRequest, settings: Settings, wire: Any
) -> None:
    chat = chat_of(name)
    sent = chat.encode_request(request_, settings)
    assert sent.json() == wire
    back, stream = chat.decode_request("ep", sent, settings)
    assert not stream
    assert isinstance(back, ConverseRequest)
    extra = {k: v for k, v in (back.extra or {}).items() if k != "details"} or None
    assert msgspec.structs.replace(back, extra=extra, endpoint=ACCEPTING) == request_


def test_a_text_is_the_whole_body() -> None:
    chat = chat_of("mms-text")
    sent = chat.encode_request(ask(inference_config=InferenceConfig()), Settings())
    assert (sent.body, sent.content_type) == (b"Hi", "application/x-text")
    back, _ = chat.decode_request("ep", sent, Settings())
    assert back == ConverseRequest(model="ep", messages=(Message.user("Hi"),))
    with pytest.raises(UnsupportedError, match="top_k"):
        chat.encode_request(ask(extra={"top_k": 1}), Settings())
    assert any(
        "temperature" in text for text in chat.warnings(ask(inference_config=InferenceConfig(1, 0.5)), Settings())
    )


@pytest.mark.parametrize("name", ["tgi", "lmi"])
def test_a_stream_is_asked_for_in_the_body(name: str) -> None:
    sent = chat_of(name).encode_request(ask(), Settings(), stream=True)
    assert sent.json()["stream"] is True
    assert chat_of(name).decode_request("ep", sent, Settings())[1]


@pytest.mark.parametrize("name", ["tgi", "lmi", "djl", "dialogs", "mms"])
def test_a_limit_is_always_sent_and_named(name: str) -> None:
    request = ask(inference_config=InferenceConfig())
    sent = chat_of(name).encode_request(request, Settings()).json()
    assert 512 in {**sent, **sent.get("parameters", {})}.values()
    assert any("max_tokens" in text for text in chat_of(name).warnings(request, Settings()))
    assert not any("not set" in text for text in chat_of(name).warnings(ask(), Settings()))


UNSUPPORTED = (
    ask(tools=(ToolSpec("f", {"type": "object"}),)),
    ask(Message.user(Image("png", Bytes(b"x")))),
    ask(Message.user("Hi"), Message.assistant(ToolUse("1", "f", {})), Message.user("x")),
    ask(guardrail_config=GuardrailConfig("g")),
    ask(prompt_variables={"a": "b"}),
)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("request_", UNSUPPORTED)
def test_what_a_text_cannot_hold_is_refused(name: str, request_: ConverseRequest) -> None:
    with pytest.raises(UnsupportedError, match=r"openai|guardrail|prompt_variables"):
        chat_of(name).encode_request(request_, Settings(prompt="llama2"))


@pytest.mark.parametrize("name", ["lmi", "djl", "dialogs", "mms", "mms-text"])
def test_a_schema_is_refused_where_there_is_no_grammar(name: str) -> None:
    request = ask(output_config=OutputConfig(json_schema=JsonSchema({})))
    with pytest.raises(UnsupportedError, match="openai and tgi"):
        chat_of(name).encode_request(request, Settings())


@pytest.mark.parametrize("name", ["tgi", "lmi", "djl", "mms", "mms-text"])
def test_a_conversation_without_a_known_style_names_the_fix(name: str) -> None:
    request = ask(Message.user("a"), Message.assistant("b"), Message.user("c"))
    with pytest.raises(UnsupportedError, match="awsllm:prompt"):
        chat_of(name).encode_request(request, Settings())


def test_earlier_thinking_is_left_out_with_a_warning() -> None:
    request = ask(Message.user("a"), Message.assistant(Reasoning("hm"), "b"), Message.user("c"))
    assert any("thinking" in text for text in chat_of("tgi").warnings(request, Settings()))


# --- replies as published --------------------------------------------------------------------------------------------

TOKENS = [{"id": 1, "text": "…", "logprob": -0.1, "special": False}]
PUBLISHED: tuple[tuple[str, Any, ConverseResponse], ...] = (
    (
        "tgi",
        [
            {
                "generated_text": "whole",
                "details": {
                    "finish_reason": "length",
                    "generated_tokens": 20,
                    "seed": 42,
                    "prefill": [{"id": 1, "text": "…", "logprob": None}],
                    "tokens": TOKENS,
                },
            }
        ],
        answer("whole", "max_tokens", Usage(1, 20, 21)),
    ),
    ("tgi", [{"generated_text": "whole"}], answer("whole")),
    (
        "lmi",
        {
            "generated_text": "Deep",
            "details": {"finish_reason": "eos_token", "generated_tokens": 8, "inputs": "What", "tokens": []},
        },
        answer("Deep", usage=Usage(output_tokens=8)),
    ),
    (  # the documentation's own spelling
        "lmi",
        [{"generated_text": "Deep", "details": {"finish reason": "length", "generated_tokens": 8}}],
        answer("Deep", "max_tokens", Usage(output_tokens=8)),
    ),
    ("djl", [{"generated_text": "x"}], answer("x")),
    ("dialogs", [{"generation": {"role": "assistant", "content": "x"}}], answer("x")),
    ("dialogs", [{"generation": "x"}], answer("x")),
    ("dialogs", [{"generated_text": "x"}], answer("x")),
    ("mms", {"generated_texts": ["x", "y"]}, answer("x")),
    ("mms", [{"generated_text": "x"}], answer("x")),
    ("mms", [[{"generated_text": "x"}]], answer("x")),
    ("mms-text", {"generated_text": "x"}, answer("x")),
    ("mms-text", b"just a text", answer("just a text")),
)


@pytest.mark.parametrize(("name", "wire", "expected"), PUBLISHED)
def test_published_replies_are_read(name: str, wire: Any, expected: ConverseResponse) -> None:
    context = Context(request=ask(), request_id="r", warnings=("w",))
    found = chat_of(name).decode_response(payload(wire), context)
    assert neutral(found) == neutral(msgspec.structs.replace(expected, warnings=("w",)))
    assert (found.request_id, found.model) == ("r", "ep")


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("wire", [{}, [], {"generated_text": 3}, [{"generation": {}}], b"{"])
def test_another_reply_is_the_containers_fault(name: str, wire: Any) -> None:
    with pytest.raises(ServerError):
        chat_of(name).decode_response(payload(wire), Context(request=ask()))


def test_an_error_inside_a_200_is_an_error() -> None:
    wire = {"generated_text": "", "details": {"finish_reason": "error", "generated_tokens": None}}
    with pytest.raises(ServerError, match="stopped generating"):
        chat_of("lmi").decode_response(payload(wire), Context(request=ask()))


# --- both halves -----------------------------------------------------------------------------------------------------

ANSWERS = (
    answer("Hallo Grüße 你好", "end_turn", Usage(output_tokens=4)),
    answer("cut", "max_tokens", Usage(output_tokens=1)),
    answer("", "end_turn", Usage(output_tokens=1)),
)
SETTINGS = (Settings(), Settings(framing="jsonlines"), Settings(is_list=True))


@pytest.mark.parametrize("name", ["tgi", "lmi"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("response", ANSWERS)
def test_what_a_container_answers_is_what_the_client_reads(
    name: str, settings: Settings, response: ConverseResponse
) -> None:
    chat = chat_of(name)
    sent = chat.encode_request(ask(), settings)
    request, _ = chat.decode_request("ep", sent, settings)
    reply = chat.encode_response(response, Context(request=request, settings=settings))
    context = Context(request=ask(), settings=settings)
    assert neutral(chat.decode_response(reply, context)) == neutral(response)
    whole = written(chat, response, Context(request=request, settings=settings))
    assert neutral(fold(streamed(chat, context, whole))) == neutral(response)


@pytest.mark.parametrize("name", ["djl", "dialogs", "mms", "mms-text"])
@pytest.mark.parametrize("settings", [Settings(), Settings(is_list=True)])
def test_containers_that_tell_nothing_of_usage(name: str, settings: Settings) -> None:
    chat, response = chat_of(name), answer("Grüße 你好")
    reply = chat.encode_response(response, Context(request=ask(), settings=settings))
    assert neutral(chat.decode_response(reply, Context(request=ask(), settings=settings))) == neutral(response)


def test_tgi_tells_the_length_of_the_input_in_a_stream() -> None:
    response = answer("x", usage=Usage(9, 1, 10))
    whole = written(chat_of("tgi"), response, Context(request=ask()))
    assert neutral(fold(streamed(chat_of("tgi"), Context(request=ask()), whole))) == neutral(response)


@pytest.mark.parametrize("name", STREAMING)
def test_a_stop_sequence_is_cut_from_the_answer(name: str) -> None:
    request = ask(inference_config=InferenceConfig(9, None, None, ("##",)), extra={"details": True})
    context = Context(request=request)
    chat, response = (
        chat_of(name),
        answer("one # two", "stop_sequence", Usage(output_tokens=3) if name != "djl" else UNKNOWN),
    )
    found = chat.decode_response(chat.encode_response(response, context), context)
    assert (found.text, found.stop_reason) == ("one # two", "stop_sequence")
    folded = fold(streamed(chat, context, written(chat, response, context)))
    assert neutral(folded) == neutral(found)


def test_the_end_of_a_turn_is_cut_from_the_answer() -> None:
    context = Context(request=ask(), settings=Settings(prompt="chatml"))
    found = chat_of("tgi").decode_response(payload([{"generated_text": "Hi<|im_end|>"}]), context)
    assert (found.text, found.stop_reason) == ("Hi", "end_turn")


@pytest.mark.parametrize("name", TEXT)
def test_an_answer_with_a_tool_use_is_no_text(name: str) -> None:
    message = Message("assistant", (ToolUse("1", "f", {}),))
    response = ConverseResponse(message=message, stop_reason="tool_use")
    with pytest.raises(UnsupportedError):
        chat_of(name).encode_response(response, Context(request=ask()))


@pytest.mark.parametrize("name", [name for name in TEXT if name != "mms-text"])  # to which any text is a prompt
@pytest.mark.parametrize("body", [[], {}, {"inputs": 3}, {"inputs": []}, {"text_inputs": {}}])
def test_a_malformed_body_is_the_callers_fault(name: str, body: Any) -> None:
    sent = msgspec.structs.replace(payload(body), attributes="accept_eula=true")
    with pytest.raises(ValidationError):
        chat_of(name).decode_request("ep", sent, Settings())


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tgi", "lmi"])
@pytest.mark.parametrize(
    "error",
    [ValidationError("bad"), ContextWindowError("5000 tokens"), ThrottlingError("full"), ServerError("broke")],
)
def test_a_containers_error_comes_back_as_what_it_was(name: str, error: AwsllmError) -> None:
    status, body = endpoint.get(name).encode_error(error)
    found = error_for_status(status, str(body.json()), body=body.body.decode())
    assert isinstance(found, type(error) if name == "tgi" or type(error) is not ValidationError else ServerError)


@pytest.mark.parametrize("name", TEXT)
def test_every_error_has_a_status_and_words(name: str) -> None:
    for error in (
        ValidationError("w0rds"),
        ModelNotReadyError("w0rds"),
        ServerError("w0rds"),
        ContextWindowError("w0rds"),
    ):
        status, body = endpoint.get(name).encode_error(error)
        assert status >= 400
        assert b"w0rds" in body.body


@pytest.mark.parametrize("name", STREAMING)
def test_an_error_inside_a_stream_is_raised(name: str) -> None:
    context = Context(request=ask())
    encoder = chat_of(name).stream_encoder(context)
    events = list(replay(answer("Hallo")))[:2]
    data = b"".join(map(encoder.event, events)) + encoder.failure(ServerError("broke"))
    with pytest.raises(ServerError):
        list(streamed(chat_of(name), context, data))


def test_tgis_words_for_an_error_are_understood() -> None:
    found = find_error({"error": "Model is overloaded", "error_type": "overloaded"})
    assert isinstance(found, ThrottlingError)


@pytest.mark.parametrize("name", STREAMING)
def test_events_that_were_cut_cannot_be_ended(name: str) -> None:
    encoder = chat_of(name).stream_encoder(Context(request=ask()))
    with pytest.raises(StreamError):
        encoder.end()


# --- streams ---------------------------------------------------------------------------------------------------------

STREAMS: tuple[tuple[str, bytes, ConverseResponse], ...] = (
    (
        "tgi",
        'data:{"index":1,"token":{"id":1,"text":" Grüße","logprob":-0.3,"special":false},"generated_text":null,'
        '"details":null}\r\n\r\n: ping\r\n\r\ndata: {"token":{"id":2,"text":" 你","special":false},'
        '"generated_text":null,"details":null}\r\n\r\nevent: x\r\ndata:{"token":{"id":3,"text":"</s>","special":true},'
        '"generated_text":" Grüße 你","details":{"finish_reason":"eos_token","generated_tokens":3,"seed":null,'
        '"input_length":9}}'.encode(),
        answer(" Grüße 你", "end_turn", Usage(9, 3, 12)),
    ),
    (
        "lmi",
        '{"token":{"id":304,"text":"Tü","log_prob":-0.09}}\n{"token":{"id":[305],"text":"r 😀","log_prob":-0.1},'
        '"generated_text":"Tür 😀",\n "details":{"finish_reason":"length","generated_tokens":2,"inputs":"x"}}'.encode(),
        answer("Tür 😀", "max_tokens", Usage(output_tokens=2)),
    ),
    (  # glued together, and as server-sent events of one line break
        "lmi",
        '{"token":{"id":1,"text":"a"}}{"token":{"id":2,"text":"ß"}}data: {"token":{"id":3,"text":"c"},'
        '"generated_text":"aßc"}\n'.encode(),
        answer("aßc", "end_turn", Usage(output_tokens=3, estimated=True)),
    ),
    ("djl", '{"outputs":["Ä"]}\r\n{"outputs":["b"]}'.encode(), answer("Äb")),
    ("djl", b'[{"generated_text":"whole"}]', answer("whole")),
    (
        "tgi",
        b'[{"generated_text":"whole","details":{"finish_reason":"length","generated_tokens":1}}]',
        answer("whole", "max_tokens", Usage(output_tokens=1)),
    ),
)


@pytest.mark.parametrize(("name", "data", "expected"), STREAMS)
def test_a_stream_cut_at_every_place_gives_the_same(name: str, data: bytes, expected: ConverseResponse) -> None:
    chat, context = chat_of(name), Context(request=ask())
    for cut in range(len(data) + 1):
        assert neutral(fold(streamed(chat, context, data, (cut,)))) == neutral(expected)
    for size in range(1, 9):
        cuts = tuple(range(size, len(data), size))
        assert neutral(fold(streamed(chat, context, data, cuts))) == neutral(expected)


@pytest.mark.parametrize(("name", "data", "expected"), [row for row in STREAMS if row[0] != "djl"])
def test_a_stream_that_breaks_off_is_never_whole(name: str, data: bytes, expected: ConverseResponse) -> None:
    chat, context = chat_of(name), Context(request=ask())
    for end in range(len(data.rstrip()) - 1):
        with pytest.raises(StreamError):
            fold(streamed(chat, context, data[:end]))


PIECES = st.lists(st.text(st.sampled_from('ab#\n ß你😀"\\{}'), max_size=4), max_size=8)


@given(
    name=st.sampled_from(STREAMING),
    pieces=PIECES,
    stops=st.lists(st.text(st.sampled_from("ab#"), min_size=1, max_size=3), max_size=3),
    settings=st.sampled_from(SETTINGS),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_the_fold_of_any_stream_equals_the_whole_answer(
    name: str, pieces: list[str], stops: list[str], settings: Settings, cuts: list[int]
) -> None:
    request = ask(inference_config=InferenceConfig(9, None, None, tuple(stops)), extra={"details": True})
    context = Context(request=request, settings=settings)
    chat = chat_of(name)
    whole = answer("".join(pieces), "max_tokens", Usage(output_tokens=7))
    encoder = chat.stream_encoder(context)
    start, *_, stop, metadata = replay(whole)
    deltas = [event for piece in pieces for event in list(replay(answer(piece)))[1:-3]]
    data = b"".join([*map(encoder.event, (start, *deltas, stop, metadata)), encoder.end()])
    places = tuple(cut % (len(data) + 1) for cut in cuts)
    folded = fold(streamed(chat, context, data, places))
    decoded = chat.decode_response(chat.encode_response(whole, context), context)
    assert neutral(folded) == neutral(decoded)
    assert not any(sequence in folded.text for sequence in stops)


@given(st.binary(max_size=60), st.sampled_from(TEXT))
def test_hostile_bodies_raise_errors_of_ours(data: bytes, name: str) -> None:
    chat = chat_of(name)
    context = Context(request=ask())
    for call in (
        lambda: chat.decode_response(Payload(data), context),
        lambda: chat.decode_request("ep", Payload(data, attributes="accept_eula=true"), Settings()),
        lambda: list(streamed(chat, context, data)) if name in STREAMING else None,
    ):
        with suppress(AwsllmError):
            call()
