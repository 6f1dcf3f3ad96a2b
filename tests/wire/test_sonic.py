"""Nova Sonic's events: the shapes of AWS's guides, in every cut.

Payloads marked "guide" are those of docs.aws.amazon.com/nova/latest/userguide/input-events.html, output-events.html and
nova2-userguide/sonic-turn-taking.html, with values for the placeholders.
"""

import base64
import json
from typing import Any, get_args

import msgspec
import pytest

from awsllm.errors import ModelTimeoutError, StreamError, UnsupportedError, ValidationError
from awsllm.types import InferenceConfig, Json, Message, Text, ToolChoice, ToolResult, ToolSpec, ToolUse, Unknown
from awsllm.types.speech import (
    Interruption,
    SpeechAudio,
    SpeechEvent,
    SpeechSetup,
    SpeechUsage,
    Transcript,
    TurnEnd,
)
from awsllm.wire.eventstream import encode_exception_frame
from awsllm.wire.model_stream import encode_chunk
from awsllm.wire.sonic.inputs import InputEvent, PromptStart, SessionStart, decode_input, encode_input
from awsllm.wire.sonic.outputs import decode_output, encode_output
from awsllm.wire.sonic.prompt import MAX_TEXT, SonicPrompt, decode_inference, decode_tools
from awsllm.wire.sonic.reader import SYNTHETIC, SpeechReader

PCM = b"\x01\x00\x02\x00"
AUDIO = base64.b64encode(PCM).decode()
IDS = {"sessionId": "s", "promptName": "p", "completionId": "c"}

INPUTS: dict[str, Any] = {  # guide
    "sessionStart": {
        "inferenceConfiguration": {"maxTokens": 1000, "topP": 0.9, "temperature": 0.7},
        "turnDetectionConfiguration": {"endpointingSensitivity": "HIGH"},
    },
    "promptStart": {
        "promptName": "p",
        "textOutputConfiguration": {"mediaType": "text/plain"},
        "audioOutputConfiguration": {
            "mediaType": "audio/lpcm",
            "sampleRateHertz": 8000,
            "sampleSizeBits": 16,
            "channelCount": 1,
            "voiceId": "matthew",
            "encoding": "base64",
            "audioType": "SPEECH",
        },
        "toolUseOutputConfiguration": {"mediaType": "application/json"},
        "toolConfiguration": {
            "tools": [{"toolSpec": {"name": "n", "description": "d", "inputSchema": {"json": "{}"}}}],
            "toolChoice": {"any": {}},
        },
    },
    "contentStart": {
        "promptName": "p",
        "contentName": "n",
        "type": "AUDIO",
        "interactive": True,
        "role": "USER",
        "audioInputConfiguration": {
            "mediaType": "audio/lpcm",
            "sampleRateHertz": 16000,
            "sampleSizeBits": 16,
            "channelCount": 1,
            "audioType": "SPEECH",
            "encoding": "base64",
        },
    },
    "textInput": {"promptName": "p", "contentName": "n", "content": "Hello"},
    "audioInput": {"promptName": "p", "contentName": "n", "content": AUDIO},
    "toolResult": {"promptName": "p", "contentName": "n", "content": '{"key": "value"}'},
    "contentEnd": {"promptName": "p", "contentName": "n"},
    "promptEnd": {"promptName": "p"},
    "sessionEnd": {},
}
TOOL_START = {  # guide
    "promptName": "p",
    "contentName": "n",
    "interactive": False,
    "type": "TOOL",
    "role": "TOOL",
    "toolResultInputConfiguration": {
        "toolUseId": "t",
        "type": "TEXT",
        "textInputConfiguration": {"mediaType": "text/plain"},
    },
}


def text_block(role: str, stage: str, text: str, stop: str, block: str = "t") -> list[dict[str, Any]]:
    """A text block as the guide shows it."""
    named = {**IDS, "contentId": block}
    fields = json.dumps({"generationStage": stage})
    configuration = {"mediaType": "text/plain"}
    start = {"type": "TEXT", "role": role, "additionalModelFields": fields, "textOutputConfiguration": configuration}
    return [
        {"contentStart": {**named, **start}},
        {"textOutput": {**named, "content": text}},
        {"contentEnd": {**named, "stopReason": stop, "type": "TEXT"}},
    ]


def audio_block(stop: str = "END_TURN") -> list[dict[str, Any]]:
    named = {**IDS, "contentId": "a"}
    configuration = {
        "mediaType": "audio/lpcm",
        "sampleRateHertz": 16000,
        "sampleSizeBits": 16,
        "encoding": "base64",
        "channelCount": 1,
    }
    start = {"type": "AUDIO", "role": "ASSISTANT", "audioOutputConfiguration": configuration}
    return [
        {"contentStart": {**named, **start}},
        {"audioOutput": {**named, "content": AUDIO}},
        {"contentEnd": {**named, "stopReason": stop, "type": "AUDIO"}},
    ]


TOOL_BLOCK: list[dict[str, Any]] = [
    {
        "contentStart": {
            **IDS,
            "contentId": "u",
            "type": "TOOL",
            "role": "TOOL",
            "toolUseOutputConfiguration": {"mediaType": "application/json"},
        }
    },
    {"toolUse": {**IDS, "contentId": "u", "content": '{"city":"Bonn"}', "toolName": "weather", "toolUseId": "t1"}},
    {"contentEnd": {**IDS, "contentId": "u", "stopReason": "TOOL_USE", "type": "TOOL"}},
]
USAGE: dict[str, Any] = {
    "usageEvent": {
        **IDS,
        "details": {
            "delta": {
                "input": {"speechTokens": 1, "textTokens": 2},
                "output": {"speechTokens": 3, "textTokens": 4},
            },
            "total": {
                "input": {"speechTokens": 10, "textTokens": 20},
                "output": {"speechTokens": 30, "textTokens": 40},
            },
        },
        "totalInputTokens": 30,
        "totalOutputTokens": 70,
        "totalTokens": 100,
    }
}
CONVERSATION: list[dict[str, Any]] = [
    {"completionStart": IDS},
    *text_block("USER", "FINAL", "weather in bonn", "PARTIAL_TURN"),
    *TOOL_BLOCK,
    *text_block("ASSISTANT", "SPECULATIVE", "It is sunny.", "PARTIAL_TURN"),
    *audio_block(),
    *text_block("ASSISTANT", "FINAL", "It is sunny.", "END_TURN"),
    USAGE,
    {"completionEnd": {**IDS, "stopReason": "END_TURN"}},
]
MEANT: list[SpeechEvent] = [
    Transcript("user", "weather in bonn"),
    ToolUse(id="t1", name="weather", input={"city": "Bonn"}),
    Transcript("assistant", "It is sunny.", final=False),
    SpeechAudio(PCM, 16000),
    Transcript("assistant", "It is sunny."),
    TurnEnd(),
    SpeechUsage(10, 20, 30, 40),
]


def body(events: list[dict[str, Any]]) -> bytes:
    return b"".join(encode_chunk(json.dumps({"event": event}).encode(), "p") for event in events)


def read(data: bytes) -> list[SpeechEvent]:
    return list(SpeechReader(24000).feed(data))


# --- codecs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wire"), [*INPUTS.items(), ("contentStart", TOOL_START)])
def test_an_input_is_read_and_written_as_the_guide_has_it(name: str, wire: Any) -> None:
    data = json.dumps({"event": {name: wire}}).encode()
    assert json.loads(encode_input(decode_input(data))) == {"event": {name: wire}}


@pytest.mark.parametrize("wire", CONVERSATION, ids=lambda wire: next(iter(wire)))
def test_an_output_is_read_and_written_as_the_guide_has_it(wire: dict[str, Any]) -> None:
    event = decode_output(json.dumps({"event": wire}).encode())
    assert not isinstance(event, Unknown)
    assert json.loads(encode_output(event)) == {"event": wire}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"event":{}}',
        b'{"event":{"textInput":{}}}',
        b'{"event":{"textInput":{"promptName":1,"contentName":"n","content":"x"}}}',
        b'{"event":{"audioInput":{"promptName":"p","contentName":"n","content":"?"}}}',
        b'{"event":{"promptEnd":{"promptName":"p"},"sessionEnd":{}}}',
        b'{"event":{"shout":{}}}',
    ],
)
def test_what_is_no_input_is_refused_as_the_service_does(data: bytes) -> None:
    with pytest.raises(ValidationError, match="Malformed input event") as caught:
        decode_input(data)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)


def test_an_output_newer_than_this_version_is_kept() -> None:
    assert decode_output(b'{"event":{"laughter":{"loud":true}}}') == Unknown("laughter", {"loud": True})
    assert read(body([{"laughter": {"loud": True}}])) == [Unknown("laughter", {"loud": True})]


def test_what_is_no_output_is_an_error_of_the_stream() -> None:
    with pytest.raises(StreamError, match="cannot be read"):
        decode_output(b'{"event":{"textOutput":{}}}')


# --- what is said to the model ---------------------------------------------------------------------------------------

SETUP = SpeechSetup(
    model="amazon.nova-2-sonic-v1:0",
    system="Be brief.",
    messages=(Message.user("Hi"), Message.assistant("Hello.")),
    tools=(ToolSpec("weather", {"type": "object"}, "The weather.", strict=True),),
    tool_choice=ToolChoice("tool", "weather"),
    inference_config=InferenceConfig(1000, 0.7, 0.9),
    endpointing_sensitivity="LOW",
)


def written(events: Any) -> list[tuple[str, Any]]:
    return [next(iter(json.loads(encode_input(event))["event"].items())) for event in events]


def test_a_session_opens_as_the_guide_says() -> None:
    events = written(SonicPrompt(SETUP).opening())
    text = ["contentStart", "textInput", "contentEnd"]
    assert [name for name, _ in events] == ["sessionStart", "promptStart", *3 * text]
    start, prompt = events[0][1], events[1][1]
    assert start == {
        "inferenceConfiguration": {"maxTokens": 1000, "topP": 0.9, "temperature": 0.7},
        "turnDetectionConfiguration": {"endpointingSensitivity": "LOW"},
    }
    spec = {"name": "weather", "description": "The weather.", "inputSchema": {"json": '{"type":"object"}'}}
    assert prompt["toolConfiguration"] == {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "weather"}}}
    assert prompt["toolUseOutputConfiguration"] == {"mediaType": "application/json"}
    roles = [(value["role"], value["interactive"]) for name, value in events if name == "contentStart"]
    assert roles == [("SYSTEM", False), ("USER", False), ("ASSISTANT", False)]
    assert {value.get("promptName", prompt["promptName"]) for _, value in events} == {prompt["promptName"]}


def test_the_server_reads_back_what_a_session_was_opened_with() -> None:
    start, prompt, *_ = SonicPrompt(SETUP).opening()
    assert isinstance(start, SessionStart)
    assert isinstance(prompt, PromptStart)
    assert decode_inference(start) == SETUP.inference_config
    assert decode_tools(prompt) == (ToolSpec("weather", {"type": "object"}, "The weather."),)


def test_a_plain_session_says_nothing_of_tools() -> None:
    start, prompt = written(SonicPrompt(SpeechSetup(model="m")).opening())
    assert start == ("sessionStart", {"inferenceConfiguration": {}})
    assert not {"toolConfiguration", "toolUseOutputConfiguration"} & prompt[1].keys()


@pytest.mark.parametrize("text", ["a" * 2500, "ü" * 1400, "💬" * 700])
def test_a_long_text_goes_in_pieces_of_one_block(text: str) -> None:
    events = written(SonicPrompt(SETUP).text(text))
    pieces = [value["content"] for name, value in events if name == "textInput"]
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= MAX_TEXT for piece in pieces)
    assert [name for name, _ in events].count("contentStart") == 1


def test_history_keeps_what_fits_and_says_so() -> None:
    turns = [Message.user("a" * 9000), Message.assistant("b" * 9000)] * 3
    prompt = SonicPrompt(SpeechSetup(model="m", messages=tuple(turns)))
    roles = [value["role"] for name, value in written(prompt.opening()) if name == "contentStart"]
    assert roles == ["USER", "ASSISTANT"] * 2
    assert ["first 2" in warning for warning in prompt.warnings] == [True]


def test_history_begins_with_the_user_and_is_text() -> None:
    use = ToolUse(id="t", name="weather", input={})
    turns = (Message.assistant("Welcome."), Message.user("Hi"), Message.assistant("Hello.", use))
    prompt = SonicPrompt(SpeechSetup(model="m", messages=turns))
    events = written(prompt.opening())
    assert [value["content"] for name, value in events if name == "textInput"] == ["Hi", "Hello."]
    assert len(prompt.warnings) == 2


def test_one_container_of_audio_stays_open_until_the_end() -> None:
    prompt = SonicPrompt(SETUP)
    said = written([*prompt.audio(PCM), *prompt.audio(PCM), *prompt.closing()])
    names = [name for name, _ in said]
    assert names == ["contentStart", "audioInput", "audioInput", "contentEnd", "promptEnd", "sessionEnd"]
    assert said[1][1]["content"] == AUDIO
    assert len({value["contentName"] for _, value in said if "contentName" in value}) == 1


@pytest.mark.parametrize(
    ("result", "content"),
    [
        (ToolResult("t", (Text("sunny"),)), {"result": "sunny"}),
        (ToolResult("t", (Json({"sky": "blue"}),)), {"sky": "blue"}),
        (ToolResult("t", (Text("a"), Json({"b": 1}))), {"result": ["a", {"b": 1}]}),
        (ToolResult("t", (Text("no"),), "error"), {"error": "no"}),
    ],
)
def test_a_tool_result_is_one_json_object(result: ToolResult, content: Any) -> None:
    start, said, end = written(SonicPrompt(SETUP).tool_result(result))
    assert json.loads(said[1]["content"]) == content
    assert start[1]["toolResultInputConfiguration"]["toolUseId"] == "t"
    assert end[0] == "contentEnd"


def test_what_nova_sonic_cannot_take_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnsupportedError, match="stop sequences"):
        list(SonicPrompt(SpeechSetup(model="m", inference_config=InferenceConfig(stop_sequences=("x",)))).opening())
    with pytest.raises(UnsupportedError, match="tool results"):
        list(SonicPrompt(SETUP).tool_result(ToolResult("t", (Unknown("hologram"),))))
    with pytest.raises(ValidationError, match="blank"):
        list(SonicPrompt(SETUP).text(" "))
    with pytest.raises(ValidationError, match="JSON"):
        encode_input(next(e for e in SonicPrompt(SETUP).text("\ud800") if hasattr(e, "content")))


# --- what the model says ---------------------------------------------------------------------------------------------


def test_a_conversation_means_what_it_says() -> None:
    assert read(body(CONVERSATION)) == MEANT


def test_every_cut_gives_the_same_events() -> None:
    data = body(CONVERSATION)
    for step in (1, 2, 7, 100, 1000):
        reader, events = SpeechReader(24000), list[SpeechEvent]()
        for at in range(0, len(data), step):
            events += reader.feed(data[at : at + step])
        reader.close()
        assert events == MEANT


def test_a_body_that_ends_within_a_frame_is_broken() -> None:
    reader = SpeechReader(24000)
    list(reader.feed(body(CONVERSATION)[:-5]))
    with pytest.raises(StreamError, match="inside a frame"):
        reader.close()


def test_an_interruption_is_one_event() -> None:
    cut = text_block("ASSISTANT", "FINAL", '{ "interrupted" : true }', "INTERRUPTED")
    planned = text_block("ASSISTANT", "SPECULATIVE", "Once upon a time.", "PARTIAL_TURN")
    events = read(body([*planned, *audio_block("PARTIAL_TURN")[:2], *cut, *cut, *planned, *cut]))
    assert [event for event in events if isinstance(event, Interruption)] == [Interruption()] * 2
    assert not any(isinstance(event, Transcript) and "interrupted" in event.text for event in events)


def test_an_interruption_may_come_after_the_end_of_the_turn() -> None:
    """What was sent may still be playing."""
    cut = text_block("ASSISTANT", "FINAL", '{ "interrupted" : true }', "INTERRUPTED")
    assert read(body([*CONVERSATION[6:-2], *cut]))[-2:] == [TurnEnd(), Interruption()]


def test_words_about_interruptions_are_words() -> None:
    said = text_block("ASSISTANT", "FINAL", "Sorry that I interrupted you.", "PARTIAL_TURN")
    heard = text_block("USER", "FINAL", '{ "interrupted" : true }', "PARTIAL_TURN")
    assert [type(event) for event in read(body([*said, *heard]))] == [Transcript, Transcript]


def test_the_end_of_a_completion_ends_a_turn_that_has_not_ended() -> None:
    events = [*text_block("ASSISTANT", "SPECULATIVE", "Bye.", "END_TURN"), *audio_block(), {"completionEnd": IDS}]
    assert read(body(events))[-1] == TurnEnd()
    assert read(body([{"completionEnd": IDS}])) == []


def test_what_a_server_made_up_says_so() -> None:
    named = {**IDS, "contentId": "a", "type": "AUDIO", "role": "ASSISTANT"}
    start = {**named, "additionalModelFields": json.dumps({SYNTHETIC: "silence"})}
    events = read(body([{"contentStart": start}, {"audioOutput": {"contentId": "a", "content": AUDIO}}]))
    assert events == [SpeechAudio(PCM, 24000, "silence")]
    assert "silence" in repr(events[0])


def test_arguments_that_are_no_json_stay_the_text_they_are() -> None:
    event = {"toolUse": {"content": "{broken", "toolName": "weather", "toolUseId": "t"}}
    assert read(body([event])) == [ToolUse(id="t", name="weather", input="{broken")]


def test_the_end_of_a_session_says_how_to_go_on() -> None:
    message = b'{"message":"Model has timed out in processing the request. Try your request again."}'
    with pytest.raises(ModelTimeoutError, match=r"8 minutes.*messages=session\.messages") as caught:
        read(encode_exception_frame("modelTimeoutException", message))
    assert caught.value.code == "ModelTimeoutException"


def test_values_survive_json() -> None:
    for event in MEANT:
        assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
    assert "Be brief" not in repr(SETUP)


def test_unions_are_complete() -> None:
    assert len(INPUTS) == len(get_args(InputEvent))
