"""The OpenAI format as a body: whole and streamed in either framing, embeddings beside chat, errors."""

import pytest

from awsllm import errors
from awsllm.errors import StreamError, ValidationError
from awsllm.types import ConverseResponse, Message, Text, ToolUse, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Settings
from awsllm.wire.openai.body import OpenAIChat
from awsllm.wire.openai.embeddings import OpenAIEmbed
from tests.support.bodies import PLAIN, ask, payload, received, streamed, written

BODY, CHAT, EMBED = endpoint.get("openai"), OpenAIChat(), OpenAIEmbed()
ANSWER = ConverseResponse(
    message=Message("assistant", (Text(text="Grüße, 你好 🙂"), ToolUse(id="c1", name="find", input={"q": "x"}))),
    stop_reason="tool_use",
    usage=Usage(input_tokens=3, output_tokens=5, total_tokens=8),
)


def test_it_streams_what_it_answers_at_every_cut() -> None:
    context = received(BODY, CHAT.encode_request(ask(), PLAIN, stream=True))
    whole = CHAT.decode_response(CHAT.encode_response(ANSWER, context), Context(request=ask()))
    for framing in ("sse", "jsonlines"):
        context = Context(request=context.request, settings=Settings(framing=framing))
        data = written(CHAT, ANSWER, context)
        assert data.endswith(b"data: [DONE]\n\n") == (framing == "sse")
        for cut in range(1, 40):
            response = streamed(CHAT, data, Context(request=ask()), cut)
            assert (response.message, response.stop_reason, response.usage) == (
                whole.message,
                whole.stop_reason,
                whole.usage,
            )


def test_usage_is_told_in_a_stream_only_where_it_was_asked_for() -> None:
    context = received(BODY, payload({"messages": [{"role": "user", "content": "Hi"}], "stream": True}))
    assert streamed(CHAT, written(CHAT, ANSWER, context), Context(request=ask())).usage == Usage()


def test_a_body_with_input_asks_for_embeddings_which_keep_their_encoding() -> None:
    for form in ("float", "base64"):
        context = received(BODY, payload({"input": ["a", "b"], "encoding_format": form}))
        assert context.request == EmbedRequest(model="ep", texts=("a", "b"), extra={"encoding_format": form})
        sent = EMBED.encode_response(EmbedResponse(vectors=[[0.5, 1.0], [0.25, 2.0]]), context)
        back = EMBED.decode_response(sent, Context(request=EmbedRequest(model="ep", texts=("a", "b"))))
        assert back.vectors == [[0.5, 1.0], [0.25, 2.0]]
    with pytest.raises(ValidationError, match="encoding_format"):
        received(BODY, payload({"input": "a", "encoding_format": "int8"}))


def test_errors_come_back_as_they_were() -> None:
    status, sent = BODY.encode_error(errors.ThrottlingError("slow down"))
    assert status == 429
    with pytest.raises(errors.ThrottlingError, match="slow down"):
        CHAT.decode_response(sent, Context(request=ask()))


def test_an_answer_that_was_cut_is_refused() -> None:
    with pytest.raises(StreamError, match="before its message did"):
        CHAT.stream_encoder(Context(request=ask())).end()


def test_what_only_tunes_embeddings_is_named() -> None:
    request = EmbedRequest(model="ep", texts=("a",), normalize=True, input_type="search_query")
    assert [text.partition(":")[0] for text in EMBED.warnings(request, PLAIN)] == ["normalize", "input_type"]
