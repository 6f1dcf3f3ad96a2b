"""The formats that take and give texts: both halves against each other, published payloads, streams cut anywhere."""

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
    ConfigurationError,
    ContextWindowError,
    EulaNotAcceptedError,
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
    EmbedRequest,
    EmbedResponse,
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
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint import formats
from awsllm.wire.endpoint.errors import container_error, find_error
from awsllm.wire.endpoint.format import Format, ReplyContext
from awsllm.wire.framing import FramingDecoder

TEXT = ("tgi", "lmi", "djl", "dialogs", "mms", "mms-text")
STREAMING = ("tgi", "lmi", "djl")
ACCEPTING = EndpointOptions(accept_eula=True)


UNKNOWN = Usage()


def request(*messages: Message, **members: Any) -> ConverseRequest:
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


def streamed(format: Format, context: ReplyContext, data: bytes, cuts: tuple[int, ...] = ()) -> Iterator[StreamEvent]:
    framing, chunks = FramingDecoder(), format.chunk_decoder(context)
    bounds = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(bounds):
        for value in framing.feed(data[start:end]):
            yield from chunks.push(value)
    framing.close()
    yield from chunks.finish(done=framing.done)


def encoded(format: Format, response: ConverseResponse, asked: ReplyContext) -> bytes:
    encoder = format.chunk_encoder(asked)
    return b"".join([*map(encoder.event, replay(response)), encoder.end()])


# --- the registry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXT)
def test_a_format_is_found_by_its_name(name: str) -> None:
    assert formats.get(name).name == name


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="openai, tgi, lmi"):
        formats.get("tig")


# --- requests --------------------------------------------------------------------------------------------------------

REQUESTS: tuple[tuple[str, ConverseRequest, Settings, Any], ...] = (
    (
        "tgi",
        request(
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
        request(
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
        request(system=(Text("Be brief."),), inference_config=InferenceConfig(16, 0.5, None, ("##",))),
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
    ("djl", request(), Settings(), {"inputs": "Hi", "parameters": {"max_new_tokens": 64}}),
    (
        "dialogs",
        request(
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
        request(),
        Settings(task="text-generation"),
        {"inputs": "Hi", "parameters": {"max_new_tokens": 64}},
    ),
    (
        "mms",
        request(inference_config=InferenceConfig(50, 0.7, 0.95), extra={"num_beams": 1, "top_k": 50}),
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


@pytest.mark.parametrize(("name", "asked", "settings", "wire"), REQUESTS)
def test_a_request_is_written_as_published_and_read_back(
    name: str, asked: ConverseRequest, settings: Settings, wire: Any
) -> None:
    spoken = formats.get(name)
    sent = spoken.encode_converse(asked, settings, stream=False)
    assert sent.json() == wire
    back, stream = spoken.decode_request("ep", sent, settings)
    assert not stream
    assert isinstance(back, ConverseRequest)
    extra = {k: v for k, v in (back.extra or {}).items() if k != "details"} or None
    assert msgspec.structs.replace(back, extra=extra, endpoint=ACCEPTING) == asked


def test_a_text_is_the_whole_body() -> None:
    spoken = formats.get("mms-text")
    sent = spoken.encode_converse(request(inference_config=InferenceConfig()), Settings(), stream=False)
    assert (sent.body, sent.content_type) == (b"Hi", "application/x-text")
    back, _ = spoken.decode_request("ep", sent, Settings())
    assert back == ConverseRequest(model="ep", messages=(Message.user("Hi"),))
    with pytest.raises(UnsupportedError, match="top_k"):
        spoken.encode_converse(request(extra={"top_k": 1}), Settings(), stream=False)
    assert any(
        "temperature" in text for text in spoken.warnings(request(inference_config=InferenceConfig(1, 0.5)), Settings())
    )


@pytest.mark.parametrize("name", ["tgi", "lmi"])
def test_a_stream_is_asked_for_in_the_body(name: str) -> None:
    sent = formats.get(name).encode_converse(request(), Settings(), stream=True)
    assert sent.json()["stream"] is True
    assert formats.get(name).decode_request("ep", sent, Settings())[1]


@pytest.mark.parametrize("name", ["tgi", "lmi", "djl", "dialogs", "mms"])
def test_a_limit_is_always_sent_and_named(name: str) -> None:
    asked = request(inference_config=InferenceConfig())
    sent = formats.get(name).encode_converse(asked, Settings(), stream=False).json()
    assert 512 in {**sent, **sent.get("parameters", {})}.values()
    assert any("max_tokens" in text for text in formats.get(name).warnings(asked, Settings()))
    assert not any("not set" in text for text in formats.get(name).warnings(request(), Settings()))


UNSUPPORTED = (
    request(tools=(ToolSpec("f", {"type": "object"}),)),
    request(Message.user(Image("png", Bytes(b"x")))),
    request(Message.user("Hi"), Message.assistant(ToolUse("1", "f", {})), Message.user("x")),
    request(guardrail_config=GuardrailConfig("g")),
    request(prompt_variables={"a": "b"}),
)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("asked", UNSUPPORTED)
def test_what_a_text_cannot_hold_is_refused(name: str, asked: ConverseRequest) -> None:
    with pytest.raises(UnsupportedError, match=r"openai|bedrock"):
        formats.get(name).encode_converse(asked, Settings(prompt="llama2"), stream=False)


@pytest.mark.parametrize("name", ["lmi", "djl", "dialogs", "mms", "mms-text"])
def test_a_schema_is_refused_where_there_is_no_grammar(name: str) -> None:
    asked = request(output_config=OutputConfig(json_schema=JsonSchema({})))
    with pytest.raises(UnsupportedError, match="openai and tgi"):
        formats.get(name).encode_converse(asked, Settings(), stream=False)


@pytest.mark.parametrize("name", ["tgi", "lmi", "djl", "mms", "mms-text"])
def test_a_conversation_without_a_known_style_names_the_fix(name: str) -> None:
    asked = request(Message.user("a"), Message.assistant("b"), Message.user("c"))
    with pytest.raises(UnsupportedError, match="awsllm:prompt"):
        formats.get(name).encode_converse(asked, Settings(), stream=False)


def test_earlier_thinking_is_left_out_with_a_warning() -> None:
    asked = request(Message.user("a"), Message.assistant(Reasoning("hm"), "b"), Message.user("c"))
    assert any("thinking" in text for text in formats.get("tgi").warnings(asked, Settings()))


# --- dialogs ---------------------------------------------------------------------------------------------------------


def test_the_licence_is_accepted_in_the_call_or_not_at_all() -> None:
    dialogs = formats.get("dialogs")
    assert dialogs.encode_converse(request(), Settings(), stream=False).attributes == "accept_eula=true"
    with pytest.raises(EulaNotAcceptedError, match="accept_eula"):
        dialogs.encode_converse(request(endpoint=None), Settings(), stream=False)
    sent = dialogs.encode_converse(request(), Settings(), stream=False)
    with pytest.raises(EulaNotAcceptedError):
        dialogs.decode_request("ep", msgspec.structs.replace(sent, attributes=None), Settings())


@pytest.mark.parametrize(
    "turns",
    [(Message.assistant("x"),), (Message.user("a"), Message.user("b")), (Message.user("a"), Message.assistant("b"))],
)
def test_turns_of_a_dialog_alternate(turns: tuple[Message, ...]) -> None:
    with pytest.raises(ValidationError):
        formats.get("dialogs").encode_converse(request(*turns), Settings(), stream=False)


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
    context = ReplyContext(request=request(), request_id="r", warnings=("w",))
    found = formats.get(name).decode_converse(payload(wire), context)
    assert neutral(found) == neutral(msgspec.structs.replace(expected, warnings=("w",)))
    assert (found.request_id, found.model) == ("r", "ep")


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("wire", [{}, [], {"generated_text": 3}, [{"generation": {}}], b"{"])
def test_another_reply_is_the_containers_fault(name: str, wire: Any) -> None:
    with pytest.raises(ServerError):
        formats.get(name).decode_converse(payload(wire), ReplyContext(request=request()))


def test_an_error_inside_a_200_is_an_error() -> None:
    wire = {"generated_text": "", "details": {"finish_reason": "error", "generated_tokens": None}}
    with pytest.raises(ServerError, match="stopped generating"):
        formats.get("lmi").decode_converse(payload(wire), ReplyContext(request=request()))


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
    spoken = formats.get(name)
    sent = spoken.encode_converse(request(), settings, stream=False)
    asked, _ = spoken.decode_request("ep", sent, settings)
    reply = spoken.encode_converse_response(response, ReplyContext(request=asked, settings=settings))
    context = ReplyContext(request=request(), settings=settings)
    assert neutral(spoken.decode_converse(reply, context)) == neutral(response)
    whole = encoded(spoken, response, ReplyContext(request=asked, settings=settings))
    assert neutral(fold(streamed(spoken, context, whole))) == neutral(response)


@pytest.mark.parametrize("name", ["djl", "dialogs", "mms", "mms-text"])
@pytest.mark.parametrize("settings", [Settings(), Settings(is_list=True)])
def test_containers_that_tell_nothing_of_usage(name: str, settings: Settings) -> None:
    spoken, response = formats.get(name), answer("Grüße 你好")
    reply = spoken.encode_converse_response(response, ReplyContext(request=request(), settings=settings))
    assert neutral(spoken.decode_converse(reply, ReplyContext(request=request(), settings=settings))) == neutral(
        response
    )


def test_tgi_tells_the_length_of_the_input_in_a_stream() -> None:
    response = answer("x", usage=Usage(9, 1, 10))
    whole = encoded(formats.get("tgi"), response, ReplyContext(request=request()))
    assert neutral(fold(streamed(formats.get("tgi"), ReplyContext(request=request()), whole))) == neutral(response)


@pytest.mark.parametrize("name", STREAMING)
def test_a_stop_sequence_is_cut_from_the_answer(name: str) -> None:
    asked = request(inference_config=InferenceConfig(9, None, None, ("##",)), extra={"details": True})
    context = ReplyContext(request=asked)
    spoken, response = (
        formats.get(name),
        answer("one # two", "stop_sequence", Usage(output_tokens=3) if name != "djl" else UNKNOWN),
    )
    found = spoken.decode_converse(spoken.encode_converse_response(response, context), context)
    assert (found.text, found.stop_reason) == ("one # two", "stop_sequence")
    folded = fold(streamed(spoken, context, encoded(spoken, response, context)))
    assert neutral(folded) == neutral(found)


def test_the_end_of_a_turn_is_cut_from_the_answer() -> None:
    context = ReplyContext(request=request(), settings=Settings(prompt="chatml"))
    found = formats.get("tgi").decode_converse(payload([{"generated_text": "Hi<|im_end|>"}]), context)
    assert (found.text, found.stop_reason) == ("Hi", "end_turn")


@pytest.mark.parametrize("name", TEXT)
def test_an_answer_with_a_tool_use_is_no_text(name: str) -> None:
    message = Message("assistant", (ToolUse("1", "f", {}),))
    response = ConverseResponse(message=message, stop_reason="tool_use")
    with pytest.raises(UnsupportedError):
        formats.get(name).encode_converse_response(response, ReplyContext(request=request()))


@pytest.mark.parametrize("name", [name for name in TEXT if name != "mms-text"])  # to which any text is a prompt
@pytest.mark.parametrize("body", [[], {}, {"inputs": 3}, {"inputs": []}, {"text_inputs": {}}])
def test_a_malformed_body_is_the_callers_fault(name: str, body: Any) -> None:
    sent = msgspec.structs.replace(payload(body), attributes="accept_eula=true")
    with pytest.raises(ValidationError):
        formats.get(name).decode_request("ep", sent, Settings())


# --- embeddings ------------------------------------------------------------------------------------------------------

EMBEDDING = (
    ("lmi", Settings(task="embedding"), {"inputs": ["a", "b"]}, [[0.5, 1.0], [0.25, 2.0]]),
    ("mms", Settings(), {"text_inputs": ["a", "b"], "mode": "embedding"}, {"embedding": [[0.5, 1.0], [0.25, 2.0]]}),
)


@pytest.mark.parametrize(("name", "settings", "asked", "replied"), EMBEDDING)
def test_embeddings_both_ways(name: str, settings: Settings, asked: Any, replied: Any) -> None:
    spoken, wanted = formats.get(name), EmbedRequest(model="ep", texts=("a", "b"))
    sent = spoken.encode_embed(wanted, settings)
    assert sent.json() == asked
    assert spoken.decode_request("ep", sent, settings) == (wanted, False)
    response = EmbedResponse(vectors=[[0.5, 1.0], [0.25, 2.0]], model="ep")
    context = ReplyContext(request=wanted, settings=settings)
    reply = spoken.encode_embed_response(response, context)
    assert reply.json() == replied
    assert msgspec.structs.replace(spoken.decode_embed(reply, context), raw=None) == response
    with pytest.raises(ServerError, match="2 vectors for 1"):
        spoken.decode_embed(reply, ReplyContext(request=EmbedRequest(model="ep", texts=("a",))))
    with pytest.raises(ServerError, match="not vectors"):
        spoken.decode_embed(payload({"generated_text": "x"}), context)
    with pytest.raises(UnsupportedError, match="dimensions"):
        spoken.encode_embed(msgspec.structs.replace(wanted, dimensions=8), settings)
    assert spoken.warnings(msgspec.structs.replace(wanted, normalize=True, input_type="classification"), settings)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tgi", "lmi"])
@pytest.mark.parametrize(
    "error",
    [ValidationError("bad"), ContextWindowError("5000 tokens"), ThrottlingError("full"), ServerError("broke")],
)
def test_a_containers_error_comes_back_as_what_it_was(name: str, error: AwsllmError) -> None:
    status, body = formats.get(name).encode_error(error)
    found = container_error(status, str(body.json()), body=body.body.decode())
    assert isinstance(found, type(error) if name == "tgi" or type(error) is not ValidationError else ServerError)


@pytest.mark.parametrize("name", TEXT)
def test_every_error_has_a_status_and_words(name: str) -> None:
    for error in (
        ValidationError("w0rds"),
        ModelNotReadyError("w0rds"),
        ServerError("w0rds"),
        ContextWindowError("w0rds"),
    ):
        status, body = formats.get(name).encode_error(error)
        assert status >= 400
        assert b"w0rds" in body.body


@pytest.mark.parametrize("name", STREAMING)
def test_an_error_inside_a_stream_is_raised(name: str) -> None:
    context = ReplyContext(request=request())
    encoder = formats.get(name).chunk_encoder(context)
    events = list(replay(answer("Hallo")))[:2]
    data = b"".join(map(encoder.event, events)) + encoder.failure(ServerError("broke"))
    with pytest.raises(ServerError):
        list(streamed(formats.get(name), context, data))


def test_tgis_words_for_an_error_are_understood() -> None:
    found = find_error({"error": "Model is overloaded", "error_type": "overloaded"})
    assert isinstance(found, ThrottlingError)


@pytest.mark.parametrize("name", STREAMING)
def test_events_that_were_cut_cannot_be_ended(name: str) -> None:
    encoder = formats.get(name).chunk_encoder(ReplyContext(request=request()))
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
    spoken, context = formats.get(name), ReplyContext(request=request())
    for cut in range(len(data) + 1):
        assert neutral(fold(streamed(spoken, context, data, (cut,)))) == neutral(expected)
    for size in range(1, 9):
        cuts = tuple(range(size, len(data), size))
        assert neutral(fold(streamed(spoken, context, data, cuts))) == neutral(expected)


@pytest.mark.parametrize(("name", "data", "expected"), [row for row in STREAMS if row[0] != "djl"])
def test_a_stream_that_breaks_off_is_never_whole(name: str, data: bytes, expected: ConverseResponse) -> None:
    spoken, context = formats.get(name), ReplyContext(request=request())
    for end in range(len(data.rstrip()) - 1):
        with pytest.raises(StreamError):
            fold(streamed(spoken, context, data[:end]))


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
    asked = request(inference_config=InferenceConfig(9, None, None, tuple(stops)), extra={"details": True})
    context = ReplyContext(request=asked, settings=settings)
    spoken = formats.get(name)
    whole = answer("".join(pieces), "max_tokens", Usage(output_tokens=7))
    encoder = spoken.chunk_encoder(context)
    start, *_, stop, metadata = replay(whole)
    deltas = [event for piece in pieces for event in list(replay(answer(piece)))[1:-3]]
    data = b"".join([*map(encoder.event, (start, *deltas, stop, metadata)), encoder.end()])
    places = tuple(cut % (len(data) + 1) for cut in cuts)
    folded = fold(streamed(spoken, context, data, places))
    decoded = spoken.decode_converse(spoken.encode_converse_response(whole, context), context)
    assert neutral(folded) == neutral(decoded)
    assert not any(sequence in folded.text for sequence in stops)


@given(st.binary(max_size=60), st.sampled_from(TEXT))
def test_hostile_bodies_raise_errors_of_ours(data: bytes, name: str) -> None:
    spoken = formats.get(name)
    context = ReplyContext(request=request())
    for call in (
        lambda: spoken.decode_converse(Payload(data), context),
        lambda: spoken.decode_request("ep", Payload(data, attributes="accept_eula=true"), Settings()),
        lambda: list(streamed(spoken, context, data)) if name in STREAMING else None,
    ):
        with suppress(AwsllmError):
            call()
