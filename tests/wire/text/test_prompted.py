"""Bodies of models that take a prompt, behind InvokeModel: published and recorded payloads, both ways."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, StreamError, ThrottlingError, UnsupportedError
from awsllm.stream import replay
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    GuardrailConfig,
    InferenceConfig,
    JsonObject,
    Message,
    Reasoning,
    Text,
    ToolSpec,
    Usage,
)
from awsllm.wire import invoke
from awsllm.wire.body import Chat, Context, Settings
from tests.support.bodies import PLAIN, ask, json_lines, payload, streamed, written

FULL = InferenceConfig(max_tokens=20, temperature=0.5, top_p=0.9, stop_sequences=("##",))
PROMPTED = ("llama", "mistral-text", "titan-text", "deepseek-text", "openai-completion", "jurassic", "cohere-command")
STREAMED = tuple(name for name in PROMPTED if name != "jurassic")


def chat_of(name: str) -> Chat:
    chat = invoke.get(name).chat
    assert chat is not None
    return chat


# --- requests --------------------------------------------------------------------------------------------------------

LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
LLAMA4 = "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\n"
R1 = "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n"
KNOBS = {"max_tokens": 20, "temperature": 0.5, "top_p": 0.9, "stop": ["##"]}
LLAMA = {"max_gen_len": 20, "temperature": 0.5, "top_p": 0.9}
TITAN = {"maxTokenCount": 20, "temperature": 0.5, "topP": 0.9}

# body, prompt style, what the request ``ask("Hi", inference_config=FULL)`` becomes: docs.aws.amazon.com, userguide,
# model-parameters-meta, -mistral-text-completion, -titan-text, -deepseek, -jurassic2, -cohere-command
REQUESTS: list[tuple[str, str | None, dict[str, Any]]] = [
    ("llama", "llama2", {"prompt": "<s>[INST] Hi [/INST]", **LLAMA}),
    ("llama", "llama3", {"prompt": LLAMA3, **LLAMA}),
    ("llama", "llama4", {"prompt": LLAMA4, **LLAMA}),
    ("llama", None, {"prompt": "Hi", **LLAMA}),
    ("mistral-text", "mistral", {"prompt": "<s>[INST] Hi [/INST]", **KNOBS}),
    ("deepseek-text", "deepseek", {"prompt": R1, **KNOBS}),
    ("openai-completion", None, {"prompt": "Hi", **KNOBS}),
    (
        "titan-text",
        "titan",
        {"inputText": "User: Hi\nBot:", "textGenerationConfig": {**TITAN, "stopSequences": ["##", "User:"]}},
    ),
    (
        "jurassic",
        None,
        {"prompt": "Hi", "maxTokens": 20, "temperature": 0.5, "topP": 0.9, "stopSequences": ["##"]},
    ),
    (
        "cohere-command",
        None,
        {"prompt": "Hi", "max_tokens": 20, "temperature": 0.5, "p": 0.9, "stop_sequences": ["##"], "stream": False},
    ),
]


@pytest.mark.parametrize(("name", "prompt", "wire"), REQUESTS)
def test_a_request_becomes_the_published_body_and_back(name: str, prompt: str | None, wire: dict[str, Any]) -> None:
    request, settings = ask(inference_config=FULL), Settings(prompt=prompt)
    sent = chat_of(name).encode_request(request, settings)
    assert sent.json() == wire
    back, streams = chat_of(name).decode_request("ep", sent, settings)
    config = msgspec.structs.replace(FULL, stop_sequences=()) if name == "llama" else FULL  # which knows no stops
    assert (back, streams) == (msgspec.structs.replace(request, inference_config=config), False)


# Recorded: open-telemetry/opentelemetry-python-contrib, cassettes of instrumentation-botocore, test_invoke_model_*;
# DataDog/dd-trace-py, tests/contrib/botocore/bedrock_cassettes.
RECORDED_REQUESTS: list[tuple[str, JsonObject, InferenceConfig, JsonObject | None]] = [
    (
        "llama",
        {"prompt": "Say this is a test", "max_gen_len": 10, "temperature": 0.8, "top_p": 1},
        InferenceConfig(10, 0.8, 1.0),
        None,
    ),
    (
        "mistral-text",
        {"prompt": "Say this is a test", "max_tokens": 10, "temperature": 0.8, "top_p": 1, "stop": ["|"]},
        InferenceConfig(10, 0.8, 1.0, ("|",)),
        None,
    ),
    (
        "titan-text",
        {
            "inputText": "Say this is a test",
            "textGenerationConfig": {"maxTokenCount": 10, "temperature": 0.8, "topP": 1, "stopSequences": ["|"]},
        },
        InferenceConfig(10, 0.8, 1.0, ("|",)),
        None,
    ),
    (
        "cohere-command",
        {"prompt": "Say this is a test", "max_tokens": 10, "temperature": 0.8, "p": 1, "k": 0, "stop_sequences": ["|"]},
        InferenceConfig(10, 0.8, 1.0, ("|",)),
        {"k": 0},
    ),
    (
        "jurassic",
        {"prompt": "Say this is a test", "temperature": 0.9, "topP": 1.0, "maxTokens": 10, "stopSequences": []},
        InferenceConfig(10, 0.9, 1.0),
        None,
    ),
]


@pytest.mark.parametrize("prompt", [None, "llama3"])
@pytest.mark.parametrize(("name", "wire", "config", "extra"), RECORDED_REQUESTS)
def test_a_recorded_request_is_read(
    name: str, wire: JsonObject, config: InferenceConfig, extra: JsonObject | None, prompt: str | None
) -> None:
    """A prompt in no style is what the user said."""
    request, streams = chat_of(name).decode_request("ep", payload(wire), Settings(prompt=prompt))
    assert (request.messages, streams) == ((Message.user("Say this is a test"),), False)
    assert (request.inference_config, request.extra) == (config, extra)


def test_what_a_body_has_more_stays_where_it_stood() -> None:
    config = {"maxTokenCount": 5, "countPenalty": {"scale": 0}}
    wire = {"inputText": "Hi", "textGenerationConfig": config, "newer": 1}
    request, _ = chat_of("titan-text").decode_request("ep", payload(wire), PLAIN)
    assert request.extra == {"newer": 1, "textGenerationConfig": {"countPenalty": {"scale": 0}}}
    assert chat_of("titan-text").encode_request(request, PLAIN).json() == wire
    wire = {"prompt": "Hi", "countPenalty": {"scale": 0}, "max_gen_len": 5}
    request, _ = chat_of("llama").decode_request("ep", payload(wire), PLAIN)
    assert request.extra == {"countPenalty": {"scale": 0}}
    assert chat_of("llama").encode_request(request, PLAIN).json() == wire


def test_a_conversation_is_written_in_the_style_and_read_back() -> None:
    talk = ConverseRequest(
        model="ep", messages=(Message.user("a"), Message.assistant("b"), Message.user("c")), system=(Text("s"),)
    )
    rows = (("llama", "llama2"), ("llama", "llama3"), ("llama", "llama4"), ("titan-text", "titan"))
    for name, prompt in (*rows, ("deepseek-text", "deepseek")):
        sent = chat_of(name).encode_request(talk, Settings(prompt=prompt))
        assert chat_of(name).decode_request("ep", sent, Settings(prompt=prompt)) == (talk, False)


@pytest.mark.parametrize("name", PROMPTED)
def test_what_a_prompt_cannot_carry_is_refused(name: str) -> None:
    tool = ToolSpec("find", {"type": "object", "properties": {}})
    guardrail = GuardrailConfig("g", "1")
    for request in (ask(tools=(tool,)), ask(guardrail_config=guardrail)):
        with pytest.raises(UnsupportedError):
            chat_of(name).encode_request(request, PLAIN)
    assert chat_of(name).warnings(ask(), PLAIN) == ()


def test_a_model_without_stop_sequences_is_cut_at_them() -> None:
    request = ask(inference_config=FULL)
    assert any("stop_sequences" in warning for warning in chat_of("llama").warnings(request, PLAIN))
    reply = {"generation": "one##two", "stop_reason": "length"}
    response = chat_of("llama").decode_response(payload(reply), Context(request=request))
    assert (response.text, response.stop_reason) == ("one", "stop_sequence")


# --- answers ---------------------------------------------------------------------------------------------------------

# body, a recorded reply (sources as above; the completion's: traceloop/openllmetry, test_imported_model), text, stop
# reason, usage
REPLIES: list[tuple[str, JsonObject, str, str, Usage]] = [
    (
        "llama",
        {
            "generation": " post. This is a test post. This is",
            "prompt_token_count": 5,
            "generation_token_count": 10,
            "stop_reason": "length",
        },
        " post. This is a test post. This is",
        "max_tokens",
        Usage(5, 10),
    ),
    (
        "mistral-text",
        {"outputs": [{"text": "\n\nA man stands before a crowd of people", "stop_reason": "length"}]},
        "\n\nA man stands before a crowd of people",
        "max_tokens",
        Usage(),
    ),
    (
        "titan-text",
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 9, "outputText": " comment\nHello! How are you?", "completionReason": "FINISH"}],
        },
        " comment\nHello! How are you?",
        "end_turn",
        Usage(5, 9),
    ),
    (
        "deepseek-text",
        {"choices": [{"text": "Hm.\n</think>\n\nHi.", "stop_reason": "stop"}]},
        "Hi.",
        "end_turn",
        Usage(),
    ),
    (
        "openai-completion",
        {
            "object": "text_completion",
            "id": "",
            "created": 1741682064,
            "model": "/opt/ml/model",
            "system_fingerprint": "3.0.1-native",
            "choices": [{"index": 0, "text": " I'm a student.", "logprobs": None, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 6, "completion_tokens": 100, "total_tokens": 106},
        },
        " I'm a student.",
        "max_tokens",
        Usage(6, 100),
    ),
    (
        "jurassic",
        {
            "id": 1234,
            "prompt": {"text": "old: what?", "tokens": [{"generatedToken": {"token": "▁old"}}, {}]},
            "completions": [
                {
                    "data": {"text": "\nA neural network", "tokens": [{}, {}, {}]},
                    "finishReason": {"reason": "length", "length": 10},
                }
            ],
        },
        "\nA neural network",
        "max_tokens",
        Usage(2, 3),
    ),
    (
        "cohere-command",
        {
            "id": "a09c1c60",
            "generations": [{"id": "8b38", "text": " Let it be a test", "finish_reason": "MAX_TOKENS"}],
            "prompt": "Say this is a test",
        },
        " Let it be a test",
        "max_tokens",
        Usage(),
    ),
]


@pytest.mark.parametrize(("name", "reply", "text", "stop_reason", "usage"), REPLIES)
def test_a_recorded_reply_is_read_and_kept(
    name: str, reply: JsonObject, text: str, stop_reason: str, usage: Usage
) -> None:
    reply = reply | {"newer": {"kept": True}}
    settings = Settings(prompt="deepseek" if name == "deepseek-text" else None)
    context = Context(request=ask(), settings=settings, request_id="id", warnings=("w",))
    response = chat_of(name).decode_response(payload(reply), context)
    assert (response.text, response.stop_reason, response.usage) == (text, stop_reason, usage)
    assert (response.request_id, response.warnings, response.raw) == ("id", ("w",), reply)


@pytest.mark.parametrize("name", PROMPTED)
def test_a_reply_of_another_shape_is_a_server_error(name: str) -> None:
    for reply in (b"<html>", b"7", b"{}", b'{"outputs": [], "results": [], "choices": [], "generation": 1}'):
        with pytest.raises(ServerError):
            chat_of(name).decode_response(
                payload(json.loads(reply) if reply[:1] != b"<" else ""), Context(request=ask())
            )


def test_an_unknown_reason_to_stop_passes_through() -> None:
    reply = {"results": [{"outputText": "x", "completionReason": "RAG_QUERY_WHEN_RAG_DISABLED"}]}
    response = chat_of("titan-text").decode_response(payload(reply), Context(request=ask()))
    assert response.stop_reason == "RAG_QUERY_WHEN_RAG_DISABLED"
    assert response.usage == Usage()


# --- streams ---------------------------------------------------------------------------------------------------------

LLAMA_CHUNKS: list[
    JsonObject
] = [  # DataDog/dd-trace-py, meta_invoke_stream.yaml, without the metrics of its last chunk
    {"generation": "\n", "prompt_token_count": 10, "generation_token_count": 1, "stop_reason": None},
    {"generation": "\n", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
    {"generation": "The", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": None},
    {"generation": " text", "prompt_token_count": None, "generation_token_count": 4, "stop_reason": None},
    {"generation": " you", "prompt_token_count": None, "generation_token_count": 5, "stop_reason": "length"},
]
STREAMS: list[tuple[str, list[JsonObject], str, str, Usage]] = [
    ("llama", LLAMA_CHUNKS, "\n\nThe text you", "max_tokens", Usage(10, 5)),
    (
        "mistral-text",
        [
            {"outputs": [{"text": " A", "stop_reason": None}]},
            {"outputs": [{"text": " man", "stop_reason": None}]},
            {"outputs": [{"text": "", "stop_reason": "stop"}]},
        ],
        " A man",
        "end_turn",
        Usage(),
    ),
    (
        "titan-text",  # opentelemetry-python-contrib, test_invoke_model_with_response_stream_with_content
        [
            {
                "outputText": "\nHello! I am a computer program designed to",
                "index": 0,
                "totalOutputTextTokenCount": 10,
                "completionReason": "LENGTH",
                "inputTextTokenCount": 5,
            }
        ],
        "\nHello! I am a computer program designed to",
        "max_tokens",
        Usage(5, 10),
    ),
    (
        "cohere-command",  # DataDog/dd-trace-py, cohere_invoke_stream_single_output.yaml: streamed with stream false
        [
            {
                "generations": [
                    {"finish_reason": "MAX_TOKENS", "id": "b63d", "text": ' "LLM" stands for "Large Language Model'}
                ],
                "id": "55e7",
                "prompt": "p",
            }
        ],
        ' "LLM" stands for "Large Language Model',
        "max_tokens",
        Usage(),
    ),
    (
        "cohere-command",
        [
            {"text": " Hi", "is_finished": False},
            {"text": "<EOS_TOKEN>", "is_finished": False},
            {"is_finished": True, "finish_reason": "COMPLETE"},
        ],
        " Hi",
        "end_turn",
        Usage(),
    ),
]


@pytest.mark.parametrize(("name", "chunks", "text", "stop_reason", "usage"), STREAMS)
def test_a_recorded_stream_is_read(
    name: str, chunks: list[JsonObject], text: str, stop_reason: str, usage: Usage
) -> None:
    data = json_lines(*chunks)
    for cut in (1, 7, len(data)):
        response = streamed(chat_of(name), data, Context(request=ask()), cut)
        assert (response.text, response.stop_reason, response.usage) == (text, stop_reason, usage)


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("prompt", [None, "deepseek"])
@settings(max_examples=20)
@given(data=st.data())
def test_a_stream_folds_to_the_whole_answer_wherever_it_is_cut(
    name: str, prompt: str | None, data: st.DataObject
) -> None:
    words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
    texts = data.draw(st.lists(words, min_size=1, max_size=4))
    thinking = (Reasoning(data.draw(words)),) if prompt else ()
    answer = ConverseResponse(
        message=Message("assistant", (*thinking, *map(Text, texts))), stop_reason="max_tokens", usage=Usage(3, 4)
    )
    styled = Settings(prompt=prompt)
    context = Context(request=ask(), settings=styled)
    chat = chat_of(name)
    whole = chat.decode_response(chat.encode_response(answer, context), context)
    folded = streamed(chat, written(chat, answer, context), context, data.draw(st.integers(1, 60)))
    expected = Message("assistant", (*thinking, Text("".join(texts))))
    assert (whole.message, folded.message) == (expected, expected)
    assert whole.stop_reason == folded.stop_reason == "max_tokens"
    assert whole.usage == folded.usage
    assert whole.usage in (Usage(3, 4), Usage())


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_that_was_cut_or_failed_raises(name: str) -> None:
    chat, context = chat_of(name), Context(request=ask())
    encoder = chat.stream_encoder(context)
    half = ConverseResponse(message=Message.assistant("half"), stop_reason=None)
    data = b"".join(map(encoder.event, replay(half)))
    with pytest.raises(StreamError):
        encoder.end()
    with pytest.raises(StreamError):
        streamed(chat, data, context)
    with pytest.raises(ThrottlingError, match="slow down"):
        streamed(chat, encoder.failure(ThrottlingError("slow down")), context)


def test_r1_streams_its_thinking_as_a_block_of_its_own() -> None:
    chunks = [{"choices": [{"text": text, "stop_reason": None}]} for text in ("Hm", ".\n</th", "ink>\n", "\nH", "i.")]
    data = json_lines(*chunks, {"choices": [{"text": "", "stop_reason": "stop"}]})
    context = Context(request=ask(), settings=Settings(prompt="deepseek"))
    response = streamed(chat_of("deepseek-text"), data, context)
    assert response.message.content == (Reasoning("Hm.\n"), Text("Hi."))
