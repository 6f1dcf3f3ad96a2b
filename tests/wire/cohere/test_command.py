"""Cohere's Command: published requests, answers and streams, both ways."""

import pytest

from awsllm import errors
from awsllm.types import ConverseRequest, ConverseResponse, InferenceConfig, JsonValue, Message, Text, ToolSpec, Usage
from awsllm.wire.body import Context, Settings
from awsllm.wire.cohere.command import CommandChat
from tests.support.bodies import PLAIN, ask, json_lines, payload, streamed, written
from tests.support.cohere import FULL, SAMPLED

CHAT = CommandChat()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_becomes_the_published_body_and_back(stream: bool) -> None:
    request = ask(inference_config=FULL)
    sent = CHAT.encode_request(request, PLAIN, stream=stream)
    assert sent.json() == {"prompt": "Hi", **SAMPLED, "stream": stream}
    assert CHAT.decode_request("ep", sent, PLAIN) == (request, stream)


def test_a_published_reply_is_read_and_kept() -> None:
    generation = {"id": "2", "text": " x", "likelihood": -1.2}
    reply = {"id": "1", "prompt": "Hi", "generations": [generation], "newer": {"kept": True}}
    context = Context(request=ask(inference_config=FULL), request_id="id", warnings=("w",))
    response = CHAT.decode_response(payload(reply), context)
    assert (response.text, response.stop_reason, response.usage) == (" x", "end_turn", Usage())
    assert (response.request_id, response.warnings, response.model, response.raw) == ("id", ("w",), "ep", reply)


WHOLE = {"id": "1", "prompt": "Hi", "generations": [{"id": "2", "text": " Grüße 你好"}]}
STREAMS: list[list[JsonValue]] = [
    [
        {"text": " Grüße", "is_finished": False, "index": 0},
        {"text": " 你好", "is_finished": False, "index": 0},
        {"is_finished": True, "finish_reason": "COMPLETE", "response": WHOLE},
    ],
    [WHOLE],
]


@pytest.mark.parametrize("chunks", STREAMS)
def test_published_streams_are_read_at_every_cut(chunks: list[JsonValue]) -> None:
    data = json_lines(*chunks)
    for cut in range(1, len(data) + 1):
        response = streamed(CHAT, data, Context(request=ask()), cut)
        assert (response.text, response.stop_reason) == (" Grüße 你好", "end_turn")


def test_an_answer_is_cut_at_a_stop_sequence_whole_and_streamed() -> None:
    data = json_lines(
        {"text": "x#", "is_finished": False},
        {"text": "#y", "is_finished": False},
        {"is_finished": True, "finish_reason": "COMPLETE"},
    )
    context = Context(request=ask(inference_config=FULL))
    whole = CHAT.decode_response(payload({"generations": [{"text": "x##y"}]}), context)
    for response in (whole, streamed(CHAT, data, context)):
        assert (response.text, response.stop_reason) == ("x", "stop_sequence")


def test_tools_name_the_formats_that_know_them() -> None:
    spec = ToolSpec("find", {"type": "object", "properties": {}})
    with pytest.raises(errors.UnsupportedError, match="openai or cohere-chat"):
        CHAT.encode_request(ask(tools=(spec,)), PLAIN)


def test_several_turns_want_a_known_style() -> None:
    talk = ConverseRequest(
        model="ep",
        messages=(Message.user("a"), Message.assistant("b"), Message.user("c")),
        system=(Text("s"),),
        inference_config=InferenceConfig(),
    )
    styled = Settings(prompt="chatml")
    with pytest.raises(errors.UnsupportedError, match="awsllm:prompt"):
        CHAT.encode_request(talk, PLAIN)
    assert b'"s\\n\\na\\n\\nb\\n\\nc"' in CHAT.encode_request(talk, Settings(prompt="plain")).body
    assert CHAT.warnings(talk, styled) == () == CHAT.warnings(ask(), PLAIN)
    sent = CHAT.encode_request(talk, styled)
    assert b'<|im_end|>"]' in sent.body
    assert CHAT.decode_request("ep", sent, styled) == (talk, False)


def test_more_than_one_answer_is_refused() -> None:
    with pytest.raises(errors.UnsupportedError, match="num_generations"):
        CHAT.encode_request(ask(extra={"num_generations": 2}), PLAIN)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "stop_sequence", "content_filtered"])
def test_why_it_stopped_survives(reason: str) -> None:
    usage = Usage(input_tokens=1, output_tokens=2)
    answer = ConverseResponse(message=Message.assistant("x"), stop_reason=reason, usage=usage)
    request = ask(inference_config=InferenceConfig(stop_sequences=("no such text",)))
    sent = CHAT.encode_response(answer, Context(request=request))
    back = CHAT.decode_response(sent, Context(request=request))
    assert (back.text, back.stop_reason, back.usage) == ("x", reason, Usage())
    data = written(CHAT, answer, Context(request=request))
    assert streamed(CHAT, data, Context(request=request)).stop_reason == reason
