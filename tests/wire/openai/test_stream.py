"""The OpenAI chat format as a stream of chunks, both ways."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from awsllm import errors
from awsllm.errors import StreamError, UnsupportedError
from awsllm.stream import fold, replay
from awsllm.types import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ConverseRequest,
    ConverseResponse,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Unknown,
    Usage,
)
from awsllm.wire import openai
from awsllm.wire.body import Context
from tests.support.completions import ANSWERS, COUNTED, READ, call
from tests.support.spoiled import spoiled

REQUEST = ConverseRequest(model="ep", messages=(Message.user("Hi"),))
CONTEXT = Context(request=REQUEST, warnings=("w",))


def chunk(delta: dict[str, object], finish: str | None = None, **choice: object) -> dict[str, object]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


def calls(*pieces: tuple[int, str | None, str | None, str]) -> dict[str, object]:
    made = []
    for index, call_id, name, arguments in pieces:
        function = {"arguments": arguments} | ({"name": name} if name else {})
        made.append({"index": index, "function": function} | ({"id": call_id} if call_id else {}))
    return chunk({"tool_calls": made})


USAGE_CHUNK = {"id": "c", "choices": [], "usage": COUNTED}


def events_of(chunks: list[Any], *, done: bool = True) -> list[object]:
    decoder = openai.CompletionDecoder(CONTEXT)
    events = [event for one in chunks for event in decoder.push(one)]
    return [*events, *decoder.finish(done=done)]


def test_chunks_in_converse_order() -> None:
    assert events_of(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            calls((0, "a", "w", "")),
            calls((0, None, None, '{"x":')),
            calls((1, "b", "w", "{}"), (0, None, None, "1}")),
            chunk({}, "tool_calls"),
            USAGE_CHUNK,
        ]
    ) == [
        MessageStart("assistant"),
        ContentBlockDelta(0, ReasoningDelta(text="Hm")),
        ContentBlockStop(0),
        ContentBlockDelta(1, TextDelta("Hel")),
        ContentBlockDelta(1, TextDelta("lo")),
        ContentBlockStop(1),
        ContentBlockStart(2, ToolUseStart("a", "w")),
        ContentBlockDelta(2, ToolUseDelta('{"x":')),
        ContentBlockStart(3, ToolUseStart("b", "w")),
        ContentBlockDelta(3, ToolUseDelta("{}")),
        ContentBlockDelta(2, ToolUseDelta("1}")),
        ContentBlockStop(2),
        ContentBlockStop(3),
        MessageStop("tool_use"),
        Metadata(Usage(10, 2, 12), warnings=("w",)),
    ]


TWO_CALLS = (ToolUse(id="a", name="w", input={"x": 1}), ToolUse(id="b", name="v", input={}))
STREAMED = {
    "every piece a new id (early vLLM)": (
        [calls((0, "a", "w", "")), calls((0, "z", None, '{"x":1}')), calls((1, "b", "v", ""))],
        TWO_CALLS,
    ),
    "name and id repeated (TGI)": ([calls((0, "a", "w", '{"x"')), calls((0, "a", "w", ":1}"))], TWO_CALLS[:1]),
    "every call is number 0": ([calls((0, "a", "w", '{"x":1}')), calls((0, "b", "v", ""))], TWO_CALLS),
    "no index": (
        [chunk({"tool_calls": [call("a", "w", '{"x":1}'), call("b", "v", "")]})],
        TWO_CALLS,
    ),
    "arguments before the name": ([calls((0, "a", None, '{"x"')), calls((0, None, "w", ":1}"))], TWO_CALLS[:1]),
    "an object in place of a list (TGI)": (
        [chunk({"tool_calls": {"index": 0, "id": "a", "function": {"name": "w", "arguments": {"x": 1}}}})],
        TWO_CALLS[:1],
    ),
}


@pytest.mark.parametrize(("pieces", "blocks"), STREAMED.values(), ids=STREAMED)
def test_streamed_tool_calls(pieces: list[dict[str, object]], blocks: tuple[ToolUse, ...]) -> None:
    folded = fold(events_of([*pieces, chunk({}, "stop")]))  # type: ignore[arg-type]
    assert folded.message.content == blocks
    assert folded.stop_reason == "tool_use"


@pytest.mark.parametrize(("wire", "neutral"), (ANSWERS | READ).values(), ids=ANSWERS | READ)
def test_a_whole_completion_in_a_stream(wire: dict[str, object], neutral: ConverseResponse) -> None:
    """A server that does not stream; and the fold of a stream equals the answer that comes whole."""
    folded = fold(events_of([wire], done=False))  # type: ignore[arg-type]
    assert (folded.message, folded.stop_reason, folded.usage) == (
        neutral.message,
        neutral.stop_reason,
        openai.decode_response(wire, CONTEXT).usage,
    )


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {"arguments cut"}))  # replay writes whole arguments only
def test_events_to_chunks_and_back(name: str) -> None:
    _, neutral = ANSWERS[name]
    encoder = openai.CompletionEncoder(id="c1", created=5, model="m", include_usage=True)
    chunks = [made for event in replay(neutral) for made in encoder.push(event)]
    assert all(made["object"] == "chat.completion.chunk" and made["created"] == 5 for made in chunks)
    assert chunks[-1]["choices"] == []
    decoder = openai.CompletionDecoder(Context(request=REQUEST))
    events = [event for made in json.loads(json.dumps(chunks)) for event in decoder.push(made)]
    assert fold([*events, *decoder.finish()]) == neutral


def test_chunks_without_usage_unless_asked() -> None:
    encoder = openai.CompletionEncoder(id="c1", created=5, model="m")
    assert encoder.push(Metadata(Usage(1, 2, 3))) == []
    with pytest.raises(UnsupportedError):
        encoder.push(ContentBlockStart(0, Unknown("hologram")))


def test_metadata_once_and_last() -> None:
    running = [chunk({"content": "a"}) | {"usage": COUNTED}, chunk({}, "stop") | {"usage": COUNTED}, USAGE_CHUNK]
    assert [type(event) for event in events_of(running)][-2:] == [MessageStop, Metadata]
    assert sum(isinstance(event, Metadata) for event in events_of(running)) == 1
    silent = events_of([chunk({"content": "a"}), chunk({}, "stop")], done=False)
    assert silent[-1] == Metadata(warnings=("w",))


def test_streams_that_end_early() -> None:
    with pytest.raises(StreamError, match="cut"):
        events_of([chunk({"content": "a"})], done=False)
    with pytest.raises(StreamError, match="cut"):
        events_of([], done=True)
    assert MessageStop("end_turn") in events_of([chunk({"content": "a"})], done=True)
    with pytest.raises(StreamError, match="name"):
        events_of([calls((0, "a", None, "{}")), chunk({}, "tool_calls")])
    with pytest.raises(StreamError, match=r"choices\.0\.delta|choices"):
        events_of([{"choices": "x"}])


def test_other_choices_are_left_out() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": None}]}
    assert fold(events_of([chunk({"content": "yes"}), other, chunk({}, "stop")])).text == "yes"  # type: ignore[arg-type]


PIECES = [chunk({"content": "x", "reasoning_content": "y"}), calls((0, "a", "w", "{}")), chunk({}, "stop"), USAGE_CHUNK]


def test_spoiled_chunks_give_typed_errors() -> None:
    for chunks in spoiled(PIECES):
        if isinstance(chunks, list):
            with suppress(errors.AwsllmError):
                for event in events_of(chunks):
                    assert msgspec.json.decode(msgspec.json.encode(event), type=StreamEvent) == event


def test_an_error_inside_a_stream() -> None:
    wire = {"error": {"message": "bad", "type": "BadRequestError", "code": 400}}
    decoder = openai.CompletionDecoder(CONTEXT)
    assert list(decoder.push(chunk({"content": "a"})))
    with pytest.raises(errors.ValidationError, match="bad"):
        list(decoder.push(wire))


def test_lmi_ends_with_an_error() -> None:
    with pytest.raises(errors.ServerError):
        events_of([chunk({"content": "a"}), chunk({}, "error")])
