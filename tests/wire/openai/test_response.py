"""Answers of the OpenAI chat format, whole, both ways, and errors as such servers write them."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from awsllm import errors
from awsllm.errors import UnsupportedError
from awsllm.types import (
    Bytes,
    Citation,
    Citations,
    ConverseRequest,
    ConverseResponse,
    Image,
    Message,
    Text,
)
from awsllm.wire import openai
from awsllm.wire.body import Context, Payload
from awsllm.wire.openai.body import OpenAIChat
from tests.support.completions import ANSWERS, COUNTED, FIELDS, READ, call, completion, response
from tests.support.spoiled import spoiled

CHAT = OpenAIChat()
REQUEST = ConverseRequest(model="ep", messages=(Message.user("Hi"),))


def decode(wire: object, **members: Any) -> ConverseResponse:
    return CHAT.decode_response(Payload(json.dumps(wire).encode()), Context(request=REQUEST, **members))


@pytest.mark.parametrize(("wire", "neutral"), ANSWERS.values(), ids=ANSWERS)
def test_answer_both_ways(wire: dict[str, object], neutral: ConverseResponse) -> None:
    decoded = decode(wire)
    assert decoded.raw == wire
    assert decoded == ConverseResponse(**{name: getattr(neutral, name) for name in FIELDS}, model="ep", raw=wire)
    assert openai.encode_response(neutral, id="c1", created=5, model="m") == wire


@pytest.mark.parametrize(("wire", "neutral"), READ.values(), ids=READ)
def test_answers_of_other_servers(wire: dict[str, object], neutral: ConverseResponse) -> None:
    decoded = decode(wire, request_id="r", warnings=("w",))
    assert (decoded.message, decoded.stop_reason) == (neutral.message, neutral.stop_reason)
    assert (decoded.model, decoded.request_id, decoded.warnings) == ("ep", "r", ("w",))


def test_stop_sequence_survives_our_own_server() -> None:
    for extra in (None, {"stop_sequence": "END"}):
        wire = openai.encode_response(response("x", stop="stop_sequence", extra=extra), id="i", created=1, model="m")
        assert wire["choices"][0]["finish_reason"] == "stop"
        assert decode(wire).stop_reason == "stop_sequence"


def test_blocks_an_answer_cannot_hold() -> None:
    cited = Citations(content=(Text(text="so"),), citations=(Citation(title="t"),))
    wire = openai.encode_response(response("It is ", cited), id="i", created=1, model="m")
    assert wire["choices"][0]["message"]["content"] == "It is so"
    with pytest.raises(UnsupportedError, match="Image"):
        openai.encode_response(response(Image(format="png", source=Bytes(b"\x89PNG"))), id="i", created=1, model="m")


@pytest.mark.parametrize(
    "wire",
    [{}, {"choices": []}, {"choices": [{"message": "x"}]}, {"choices": "x"}, [[{"generated_text": "x"}]]][:4],
)
def test_not_a_completion(wire: dict[str, object]) -> None:
    with pytest.raises(errors.ServerError, match="not a chat completion"):
        decode(wire)


WHOLE = completion(
    {"content": "x", "reasoning_content": "y", "tool_calls": [call("a", "w", "{}")]},
    "stop",
    COUNTED | {"prompt_tokens_details": {"cached_tokens": 4}},
    stop_reason="END",
)


def test_spoiled_answers_give_typed_errors() -> None:
    for wire in spoiled(WHOLE):
        with suppress(errors.AwsllmError):
            read = decode(wire)
            assert msgspec.json.decode(msgspec.json.encode(read), type=ConverseResponse) == read


def test_an_error_in_place_of_an_answer() -> None:
    with pytest.raises(errors.ValidationError, match="bad"):
        decode({"error": {"message": "bad", "type": "BadRequestError", "code": 400}})
    with pytest.raises(errors.ServerError):
        decode(completion({"content": "a"}, "error"))
