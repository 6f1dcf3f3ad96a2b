"""Nova's own format, both ways, and its streams."""

import json
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import StreamError, UnsupportedError, ValidationError
from awsllm.stream import fold, replay
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ConverseRequest,
    ConverseResponse,
    Document,
    DocumentText,
    GuardContent,
    GuardText,
    Image,
    InferenceConfig,
    Json,
    JsonSchema,
    Message,
    OutputConfig,
    Reasoning,
    S3Location,
    SearchResult,
    StreamEvent,
    SystemTool,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
    Usage,
    Video,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Context
from tests.support.bodies import PLAIN, ask, payload, received, streamed, written

BODY = invoke.get("nova")
assert BODY.chat is not None
NOVA: Chat = BODY.chat
SPEC = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}}, "Finds.")
RICH = ConverseRequest(
    model="amazon.nova-2-lite-v1:0",
    system=(Text("Be brief."), CachePoint()),
    messages=(
        Message.user("Look:", Image("png", Bytes(b"\x89PNG")), Video("mp4", S3Location("s3://b/v.mp4", "1" * 12))),
        Message.assistant(
            Reasoning("[REDACTED]", "sig"), ToolUse("t1", "find", {"q": "a"}), ToolUse("t2", "find", {"q": "b"})
        ),
        Message.user(
            ToolResult("t1", (Json({"n": 1}), Image("jpeg", Bytes(b"\xff\xd8"))), "success"),
            ToolResult("t2", (Text("none"),), "error"),
            CachePoint(),
        ),
    ),
    inference_config=InferenceConfig(100, 0.5, 0.9, ("END",)),
    tools=(SPEC, SystemTool("nova_grounding"), SystemTool("nova_code_interpreter")),
    tool_choice=ToolChoice("tool", "find"),
    extra={"inferenceConfig": {"topK": 20}, "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
)


def encode(request: ConverseRequest) -> Any:
    return NOVA.encode_request(request, PLAIN).json()


# --- requests --------------------------------------------------------------------------------------------------------


def test_the_published_request() -> None:
    """docs.aws.amazon.com/nova/latest/userguide/using-invoke-api.html"""
    request = ask(
        "A camping trip",
        system=(Text("Act as a creative writing assistant."),),
        inference_config=InferenceConfig(max_tokens=500, top_p=0.9, temperature=0.7),
        extra={"inferenceConfig": {"topK": 20}},
    )
    assert encode(request) == {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": "A camping trip"}]}],
        "system": [{"text": "Act as a creative writing assistant."}],
        "inferenceConfig": {"maxTokens": 500, "topP": 0.9, "topK": 20, "temperature": 0.7},
    }


def test_a_conversation_with_everything_comes_back_as_it_was() -> None:
    read, streams = NOVA.decode_request(RICH.model, NOVA.encode_request(RICH, PLAIN), PLAIN)
    assert (read, streams) == (RICH, False)
    assert encode(RICH)["inferenceConfig"] == {
        "maxTokens": 100,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["END"],
        "topK": 20,
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
    }
    assert NOVA.encode_request(RICH, PLAIN, stream=True) == NOVA.encode_request(RICH, PLAIN)


def test_botocore_takes_the_conversation_for_converses() -> None:
    """The documentation says that both formats' conversations are the same but for base64."""
    model = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
    wire = encode(RICH)
    members = {name: wire[name] for name in ("messages", "system", "toolConfig")}
    shape = model.operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": "m", **members}, shape)
    assert not report.has_errors(), report.generate_report()


def test_documents_and_search_results_are_sent_by_their_text() -> None:
    document = Document("notes", DocumentText("Paris."), "txt")
    found = SearchResult("https://a.example", "A", ("Rome.",))
    request = ConverseRequest(
        model="m", messages=(Message.user(document, found), Message.user(ToolResult("t", (document, Json({})))))
    )
    content = encode(request)["messages"][0]["content"]
    assert ["Paris." in content[0]["text"], "Rome." in content[1]["text"]] == [True, True]
    result = encode(request)["messages"][1]["content"][0]["toolResult"]["content"]
    assert "Paris." in result[0]["text"]
    assert result[1] == {"json": {}}
    picture = Document("scan", Bytes(b"x"), "docx")
    with pytest.raises(UnsupportedError, match="docx"):
        encode(ConverseRequest(model="m", messages=(Message.user(picture),)))


def test_effort_is_how_much_it_reasons() -> None:
    effort = ask(output_config=OutputConfig(effort="high"))
    assert encode(effort)["inferenceConfig"] == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}
    off = ask(output_config=OutputConfig(effort="high"), extra={"reasoningConfig": {"type": "disabled"}})
    assert encode(off)["inferenceConfig"] == {"reasoningConfig": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask(output_config=OutputConfig(JsonSchema({"type": "object"}))), "schema of a tool"),
        (ask(prompt_variables={"a": "b"}), "prompt_variables"),
        (ask(system=(GuardContent(GuardText("x")),)), "guarded content"),
        (ConverseRequest(model="m", messages=(Message.user(GuardContent(GuardText("x"))),)), "GuardContent"),
        (ConverseRequest(model="m", messages=(Message("system", (Text("x"),)),)), "system="),
        (ConverseRequest(model="m", messages=(Message.user(Unknown("new")),)), "newer than this version"),
    ],
)
def test_what_has_no_place_is_refused(request_: ConverseRequest, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        encode(request_)


def test_what_it_cannot_honour_is_a_warning() -> None:
    strict = ask(tools=(ToolSpec("find", {"type": "object"}, strict=True),))
    assert encode(strict)["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "find", "inputSchema": {"json": {"type": "object"}}}}
    ]
    assert [text.partition(":")[0] for text in NOVA.warnings(strict, PLAIN)] == ["strict"]
    paths = ask(additional_model_response_field_paths=("/x",))
    assert [text.partition(":")[0] for text in NOVA.warnings(paths, PLAIN)] == ["additional_model_response_field_paths"]
    assert NOVA.warnings(RICH, PLAIN) == ()


def test_a_server_reads_older_names_and_keeps_what_is_new() -> None:
    sent = payload(
        {
            "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            "inferenceConfig": {"max_new_tokens": 1000, "top_p": 0.5},
            "later": 1,
        }
    )
    request, _ = NOVA.decode_request("m", sent, PLAIN)
    assert request.inference_config == InferenceConfig(max_tokens=1000, top_p=0.5)
    assert request.extra == {"later": 1}


@pytest.mark.parametrize(
    ("wire", "path"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"text": 7}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}], "schemaVersion": "v9"}, "schemaVersion"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}], "inferenceConfig": {"topP": "x"}}, "topP"),
    ],
)
def test_malformed_requests(wire: object, path: str) -> None:
    with pytest.raises(ValidationError, match=path):
        NOVA.decode_request("m", payload(wire), PLAIN)


# --- responses -------------------------------------------------------------------------------------------------------

REPLY = {
    # strands-agents and the user guide show these members; the cache's names are InvokeModel's.
    "output": {
        "message": {
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "[REDACTED]"}}},
                {"text": "Let me look."},
                {"toolUse": {"name": "find", "toolUseId": "t1", "input": {"q": "a"}}},
                {"toolUse": {"name": "find", "toolUseId": "t2", "input": {"q": "b"}}},
            ],
            "role": "assistant",
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 12,
        "outputTokens": 5,
        "totalTokens": 20,
        "cacheReadInputTokenCount": 3,
        "cacheWriteInputTokenCount": 0,
    },
}


def test_the_published_reply() -> None:
    context = Context(request=ask(), request_id="r", warnings=("w",))
    response = NOVA.decode_response(payload(REPLY), context)
    assert response.message.content == (
        Reasoning("[REDACTED]"),
        Text("Let me look."),
        ToolUse("t1", "find", {"q": "a"}),
        ToolUse("t2", "find", {"q": "b"}),
    )
    assert (response.stop_reason, response.request_id, response.model) == ("tool_use", "r", "ep")
    assert response.usage == Usage(12, 5, 20, 3, 0)
    assert (response.warnings, response.raw) == (("w",), REPLY)
    assert NOVA.encode_response(response, context).json() == REPLY


@pytest.mark.parametrize("reply", ["<html>", 7, [], {}, {"output": 1}, {"output": {"message": {"role": "assistant"}}}])
def test_a_reply_of_another_shape_is_a_server_error(reply: object) -> None:
    with pytest.raises(errors.ServerError):
        NOVA.decode_response(payload(reply), Context(request=ask()))


def test_what_the_services_own_tools_gave() -> None:
    """Web grounding cites, the code interpreter runs inside the answer; both go back in the next turn as they came."""
    content = [
        {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": "x"}}},
        {"toolResult": {"toolUseId": "s1", "content": [{"text": "found"}], "type": "nova_grounding_result"}},
        {"text": "It is so."},
        {
            "citationsContent": {
                "citations": [{"location": {"web": {"url": "https://a.example", "domain": "a.example"}}}],
            }
        },
    ]
    reply = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
    response = NOVA.decode_response(payload(reply), Context(request=ask()))
    assert (response.text, response.warnings) == ("It is so.", ())
    again = encode(ConverseRequest(model="m", messages=(Message.user("Q"), response.message, Message.user("And?"))))
    back = again["messages"][1]["content"]
    assert back[:3] == content[:3]
    assert back[3]["citationsContent"]["citations"] == content[3]["citationsContent"]["citations"]  # type: ignore[index]


def test_unknown_blocks_and_reasons_pass() -> None:
    message = {"role": "assistant", "content": [{"hologram": {"x": 1}}]}
    response = NOVA.decode_response(
        payload({"output": {"message": message}, "stopReason": "tired"}), Context(request=ask())
    )
    assert response.message.content == (Unknown("hologram", {"x": 1}),)
    assert response.stop_reason == "tired"


# --- streams ---------------------------------------------------------------------------------------------------------

CHUNKS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "Let me"}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": " look."}, "contentBlockIndex": 0}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t1", "name": "find"}}, "contentBlockIndex": 1}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"q":'}}, "contentBlockIndex": 1}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '"a"}'}}, "contentBlockIndex": 1}},
    {"contentBlockStop": {"contentBlockIndex": 1}},
    {"messageStop": {"stopReason": "tool_use"}},
    {
        "metadata": {
            "usage": {"inputTokens": 9, "outputTokens": 4, "cacheReadInputTokenCount": 2},
            "metrics": {},
            "trace": {},
        },
        "amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 4},
    },
]


def decoded(chunks: list[Any], context: Context) -> ConverseResponse:
    decoder = NOVA.stream_decoder(context)
    events: list[StreamEvent] = [event for chunk in chunks for event in decoder.push(chunk)]
    return fold([*events, *decoder.finish(done=True)])


def test_the_chunks_of_a_stream() -> None:
    response = decoded(CHUNKS, Context(request=ask(), request_id="r", warnings=("w",)))
    assert response.message.content == (Text("Let me look."), ToolUse("t1", "find", {"q": "a"}))
    assert (response.stop_reason, response.request_id, response.warnings) == ("tool_use", "r", ("w",))
    assert (response.usage.input_tokens, response.usage.cache_read_input_tokens) == (9, 2)


def test_a_stream_without_metadata_is_whole_and_one_without_a_stop_is_not() -> None:
    assert decoded(CHUNKS[:-1], Context(request=ask(), warnings=("w",))).warnings == ("w",)
    with pytest.raises(StreamError, match="cut"):
        decoded(CHUNKS[:-2], Context(request=ask()))


@pytest.mark.parametrize("chunk", [7, [], {"messageStop": {}}, {"contentBlockDelta": {"delta": {"text": "a"}}}])
def test_chunks_that_make_no_sense(chunk: object) -> None:
    with pytest.raises(StreamError):
        list(NOVA.stream_decoder(Context(request=ask())).push(chunk))


@settings(max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4),
    cut=st.integers(1, 60),
)
def test_a_stream_folds_to_the_answer_wherever_it_is_cut(texts: list[str], cut: int) -> None:
    uses = (ToolUse("t1", "find", {"q": texts[0]}), ToolUse("t2", "find", {}))
    answer = ConverseResponse(
        message=Message.assistant(Reasoning("hm", "sig"), *texts, *uses), stop_reason="tool_use", usage=Usage(3, 4, 7)
    )
    context = received(BODY, NOVA.encode_request(ask(), PLAIN))
    back = streamed(NOVA, written(NOVA, answer, context), Context(request=ask(), warnings=("w",)), cut)
    assert (back.message, back.stop_reason) == (answer.message, "tool_use")
    assert (back.usage, back.warnings) == (answer.usage, ("w",))


def test_a_server_that_fails_in_a_stream() -> None:
    encoder = NOVA.stream_encoder(Context(request=ask()))
    data = b"".join(map(encoder.event, replay(ConverseResponse(message=Message.assistant("half"), stop_reason=None))))
    with pytest.raises(StreamError):
        encoder.end()
    with pytest.raises(errors.ThrottlingError, match="slow down"):
        streamed(NOVA, data + encoder.failure(errors.ThrottlingError("slow down")), Context(request=ask()))
    assert encoder.event(Unknown("new", {})) == b""


def test_errors_are_the_services_own() -> None:
    status, sent = BODY.encode_error(errors.ThrottlingError("slow down"))
    assert (status, json.loads(sent.body)) == (429, {"message": "slow down"})


def test_sound_is_sent() -> None:
    request = ConverseRequest(model="m", messages=(Message.user(Audio("mp3", Bytes(b"ID3"))),))
    assert encode(request)["messages"][0]["content"] == [{"audio": {"format": "mp3", "source": {"bytes": "SUQz"}}}]
