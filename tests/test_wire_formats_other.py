"""Formats of containers that are neither TGI nor LMI: both halves, against published payloads and each other."""

import json

import pytest

from awsllm import errors
from awsllm.errors import StreamError, ValidationError
from awsllm.stream import fold, replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    InferenceConfig,
    JsonValue,
    Message,
    Text,
    ToolUse,
    Usage,
)
from awsllm.wire.endpoint.format import Format, Payload, ReplyContext, Settings
from awsllm.wire.endpoint.framing import FramingDecoder
from awsllm.wire.endpoint.openai_format import OpenAI

PLAIN = Settings()


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
    events = []
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
