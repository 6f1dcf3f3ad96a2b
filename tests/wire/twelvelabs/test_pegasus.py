"""TwelveLabs' Pegasus: one video and what is asked of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, StreamError, ThrottlingError, UnsupportedError, ValidationError
from awsllm.stream import fold
from awsllm.types import (
    Bytes,
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    Message,
    OutputConfig,
    S3Location,
    Text,
    ToolSpec,
    Video,
)
from awsllm.wire import invoke
from awsllm.wire.body import Context, Settings
from tests.support.bodies import received, streamed, written
from tests.support.media import payload

PLAIN = Settings()
PEGASUS = invoke.get("pegasus")
assert PEGASUS.chat is not None
CHAT = PEGASUS.chat
THERE = Video("mp4", S3Location("s3://b/v.mp4", "123456789012"))
HERE = Video("mp4", Bytes(b"0000ftypisom"))


def ask(*content: Any, **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=(Message.user(*content),), **members)


SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}
# docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-pegasus.html, and the example of aws-samples/
# sample-amazon-bedrock-global-cris.
REQUESTS: dict[str, tuple[ConverseRequest, JsonObject]] = {
    "in S3": (
        ask(THERE, "Describe it.", inference_config=InferenceConfig(max_tokens=2048, temperature=0.2)),
        {
            "inputPrompt": "Describe it.",
            "mediaSource": {"s3Location": {"uri": "s3://b/v.mp4", "bucketOwner": "123456789012"}},
            "temperature": 0.2,
            "maxOutputTokens": 2048,
        },
    ),
    "inline, with a schema": (
        ask(HERE, "Title?", output_config=OutputConfig(json_schema=JsonSchema(SCHEMA)), extra={"analysis_mode": "x"}),
        {
            "inputPrompt": "Title?",
            "mediaSource": {"base64String": "MDAwMGZ0eXBpc29t"},
            "responseFormat": {"jsonSchema": SCHEMA},
            "analysis_mode": "x",
        },
    ),
}


@pytest.mark.parametrize(("neutral", "wire"), REQUESTS.values(), ids=REQUESTS)
def test_requests_both_ways(neutral: ConverseRequest, wire: JsonObject) -> None:
    assert CHAT.encode_request(neutral, PLAIN).json() == wire
    assert CHAT.encode_request(neutral, PLAIN, stream=True).json() == wire
    assert PEGASUS.read("m", payload(wire), PLAIN) == (neutral, False)


def test_a_system_prompt_comes_first_and_says_so() -> None:
    request = ask(THERE, "What?", system=(Text("Be brief."),), inference_config=InferenceConfig(top_p=0.5))
    assert CHAT.encode_request(request, PLAIN).json()["inputPrompt"] == "Be brief.\n\nWhat?"
    assert CHAT.warnings(request, PLAIN) == (
        "top_p: the format of TwelveLabs' Pegasus has no such setting",
        "system: it was put before what is asked",
    )


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        (ask("What?"), ValidationError, "one video a call .*, not 0"),
        (ask(THERE, HERE), ValidationError, "not 2"),
        (ConverseRequest(model="m", messages=(Message.user("a"),) * 2), UnsupportedError, "one turn"),
        (ask(THERE, tools=(ToolSpec("f", {}),)), UnsupportedError, "knows no tools"),
        (ask(Video("mp4", Bytes(bytes(27_000_001)))), ValidationError, "put it into S3"),
    ],
)
def test_what_cannot_be_is_refused_with_its_fix(request_: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CHAT.encode_request(request_, PLAIN)


CONTEXT = Context(request=ask(THERE, "What?"), request_id="r", warnings=("w",))


@pytest.mark.parametrize(("reason", "stop"), [("stop", "end_turn"), ("length", "max_tokens"), ("new", "new")])
def test_replies_are_read(reason: str, stop: str) -> None:
    reply = {"message": "This video shows a desert.", "finishReason": reason}
    response = CHAT.decode_response(payload(reply), CONTEXT)
    assert (response.text, response.stop_reason) == ("This video shows a desert.", stop)
    assert (response.request_id, response.warnings, response.raw) == ("r", ("w",), reply)
    assert CHAT.encode_response(response, CONTEXT).json() == {
        **reply,
        "finishReason": reason if reason != "new" else "stop",
    }


@pytest.mark.parametrize("reply", [{}, [], {"message": 1}, {"finishReason": "stop"}])
def test_what_is_no_reply_is_a_server_error(reply: object) -> None:
    with pytest.raises(ServerError):
        CHAT.decode_response(payload(reply), CONTEXT)


# Chunks as the example of aws-samples/sample-amazon-bedrock-global-cris takes them apart.
def test_a_stream_gives_pieces_and_then_the_reason() -> None:
    decoder = CHAT.stream_decoder(CONTEXT)
    chunks = [{"message": "A "}, {"new": 1}, {"message": "desert."}, {"finishReason": "length"}]
    events = [event for chunk in chunks for event in decoder.push(chunk)]
    response = fold([*events, *decoder.finish(done=True)])
    assert (response.text, response.stop_reason, response.warnings) == ("A desert.", "max_tokens", ("w",))


def test_a_stream_that_was_cut_raises() -> None:
    decoder = CHAT.stream_decoder(CONTEXT)
    list(decoder.push({"message": "A "}))
    with pytest.raises(StreamError):
        list(decoder.finish())


@settings(max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1), cut=st.integers(1, 60)
)
def test_a_stream_folds_to_its_text_wherever_it_is_cut(texts: list[str], cut: int) -> None:
    answer = ConverseResponse(message=Message.assistant(*texts), stop_reason="end_turn")
    context = received(PEGASUS, CHAT.encode_request(ask(THERE, "What?"), PLAIN))
    back = streamed(CHAT, written(CHAT, answer, context), CONTEXT, cut)
    assert (back.text, back.stop_reason) == ("".join(texts), "end_turn")


def test_a_failure_inside_a_stream_is_the_service_s_error() -> None:
    data = CHAT.stream_encoder(CONTEXT).failure(ThrottlingError("slow down"))
    with pytest.raises(ThrottlingError, match="slow down"):
        streamed(CHAT, data, CONTEXT)
