"""Vendors' own bodies of a prompt (AI21, LightOn, Hugging Face's pipelines): published payloads, both ways."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import StreamError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    Text,
    ToolSpec,
    Usage,
)
from awsllm.wire import endpoint
from awsllm.wire.body import Chat, Context, Settings
from tests.support.bodies import PLAIN, ask, payload, received, streamed

NAMES = ("jurassic", "lighton", "lyra", "huggingface")
FULL = InferenceConfig(max_tokens=20, temperature=0.5, top_p=0.9, stop_sequences=("##",))
HF = {"max_new_tokens": 20, "do_sample": True, "temperature": 0.5, "top_p": 0.9}
LIGHTON = {"n_tokens": 20, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["##"]}
STREAMED = LIGHTON | {"prettify": False}
LYRA = {"n_tokens": 20, "temperature": 0.5, "p": 0.9, "stop_words": ["##"], "mode": "nucleus"}
JURASSIC = {"maxTokens": 20, "temperature": 0.5, "topP": 0.9, "stopSequences": ["##"]}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


def chat_of(name: str) -> Chat:
    chat = endpoint.get(name).chat
    assert chat is not None
    return chat


# --- requests --------------------------------------------------------------------------------------------------------

# body, settings, streamed, what the request ``ask("Hi", inference_config=FULL)`` becomes
REQUESTS: list[tuple[str, Settings, bool, dict[str, Any]]] = [
    ("jurassic", PLAIN, False, {"prompt": "Hi", **JURASSIC}),
    ("lighton", PLAIN, False, {"data": {**CHAT, "params": LIGHTON}, "endpoint": "llm/chat"}),
    ("lighton", PLAIN, True, {"data": {**CHAT, "params": STREAMED}, "endpoint": "/llm/stream_chat"}),
    (
        "lighton",
        Settings(task="text-generation"),
        False,
        {"data": {"text": "Hi", "params": LIGHTON}, "endpoint": "llm/create"},
    ),
    ("lyra", PLAIN, False, {"text": "Hi", "params": LYRA}),
    ("huggingface", PLAIN, False, {"inputs": "Hi", "parameters": {**HF, "return_full_text": False}}),
    ("huggingface", Settings(task="summarization"), False, {"inputs": "Hi", "parameters": HF}),
    ("huggingface", Settings(task="translation_en_to_de"), False, {"inputs": "Hi", "parameters": HF}),
]


@pytest.mark.parametrize(("name", "settings", "stream", "wire"), REQUESTS)
def test_a_request_becomes_the_published_body_and_back(
    name: str, settings: Settings, stream: bool, wire: dict[str, Any]
) -> None:
    request = ask(inference_config=FULL)
    sent = chat_of(name).encode_request(request, settings, stream=stream)
    assert sent.json() == wire
    back, streams = chat_of(name).decode_request("ep", sent, settings)
    assert streams == stream
    config = FULL if name != "huggingface" else msgspec.structs.replace(FULL, stop_sequences=())
    assert msgspec.structs.replace(back, extra=None) == msgspec.structs.replace(request, inference_config=config)


@pytest.mark.parametrize("name", NAMES)
def test_tools_name_the_formats_that_know_them(name: str) -> None:
    spec = ToolSpec("find", {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]})
    with pytest.raises(UnsupportedError, match="openai or cohere-chat"):
        chat_of(name).encode_request(ask(tools=(spec,)), PLAIN)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_for_the_answer_cannot_be_asked_for(name: str) -> None:
    request = ask(output_config=OutputConfig(json_schema=JsonSchema({"type": "object"})))
    with pytest.raises(UnsupportedError, match="openai"):
        chat_of(name).encode_request(request, PLAIN)


PROMPTED = {"jurassic": PLAIN, "lyra": PLAIN, "huggingface": PLAIN, "lighton": Settings(task="text-generation")}


@pytest.mark.parametrize("name", PROMPTED)
def test_several_turns_want_a_known_style(name: str) -> None:
    talk = ConverseRequest(
        model="ep", messages=(Message.user("a"), Message.assistant("b"), Message.user("c")), system=(Text("s"),)
    )
    chat, styled = chat_of(name), Settings(prompt="chatml")
    with pytest.raises(UnsupportedError, match="awsllm:prompt"):
        chat.encode_request(talk, PROMPTED[name])
    joined = chat.encode_request(talk, Settings(prompt="plain"))
    assert b'"s\\n\\na\\n\\nb\\n\\nc"' in joined.body
    assert chat.warnings(talk, styled) == () == chat.warnings(ask(), PLAIN)
    sent = chat.encode_request(talk, styled)
    back, _ = chat.decode_request("ep", sent, styled)
    assert (back.system, back.messages) == (talk.system, talk.messages)
    assert back.inference_config.stop_sequences == ()
    assert (b'<|im_end|>"]' in sent.body) == (name != "huggingface")  # a pipeline knows no stop sequences


def test_a_temperature_of_zero_is_a_mode_of_lyra() -> None:
    request = ask(inference_config=InferenceConfig(temperature=0.0, top_p=0.9))
    sent = chat_of("lyra").encode_request(request, PLAIN)
    assert sent.json()["params"] == {"mode": "greedy", "p": 0.9}
    back, _ = chat_of("lyra").decode_request("ep", sent, PLAIN)
    assert back.inference_config == request.inference_config


# --- replies ---------------------------------------------------------------------------------------------------------

# body, a published reply, text, stop reason, usage
REPLIES: list[tuple[str, JsonValue, str, str, Usage]] = [
    (
        "jurassic",
        {
            "id": "1",
            "prompt": {"text": "Hi", "tokens": [{}, {}]},
            "completions": [{"data": {"text": "x", "tokens": [{}]}, "finishReason": {"reason": "endoftext"}}],
        },
        "x",
        "end_turn",
        Usage(input_tokens=2, output_tokens=1),
    ),
    (
        "lighton",
        {
            "responses": [
                {
                    "input_text": "Hi",
                    "completions": [
                        {"output_text": "x", "log_probs": None, "finish_reason": "length", "completion_id": "c"}
                    ],
                }
            ]
        },
        "x",
        "max_tokens",
        Usage(),
    ),
    (
        "lyra",
        {
            "request_id": "1",
            "outputs": [
                [
                    {
                        "input_text": "Hi",
                        "completions": [
                            {
                                "output_text": "x",
                                "score": {"logprob": -1, "normalized_logprob": -1},
                                "execution_metadata": {
                                    "cost": {"tokens_used": 24, "tokens_input": 4, "tokens_generated": 20},
                                    "finish_reason": "length",
                                },
                            }
                        ],
                    }
                ]
            ],
            "costs": {},
        },
        "x",
        "max_tokens",
        Usage(input_tokens=4, output_tokens=20, total_tokens=24),
    ),
    ("huggingface", [{"generated_text": "x"}], "x", "end_turn", Usage()),
    ("huggingface", [[{"generated_text": "x"}]], "x", "end_turn", Usage()),
    ("huggingface", [{"summary_text": "x"}], "x", "end_turn", Usage()),
    ("huggingface", [{"translation_text": "x##y"}], "x", "stop_sequence", Usage()),
]


@pytest.mark.parametrize(("name", "reply", "text", "stop_reason", "usage"), REPLIES)
def test_a_published_reply_is_read_and_kept(
    name: str, reply: JsonValue, text: str, stop_reason: str, usage: Usage
) -> None:
    if isinstance(reply, dict):
        reply = reply | {"newer": {"kept": True}}
    context = Context(request=ask(inference_config=FULL), request_id="id", warnings=("w",))
    response = chat_of(name).decode_response(payload(reply), context)
    assert (response.text, response.stop_reason, response.usage) == (text, stop_reason, usage)
    assert (response.request_id, response.warnings, response.model) == ("id", ("w",), "ep")
    assert response.raw == (reply if isinstance(reply, dict) else {"reply": reply})


REASONS = {  # what a body can tell of why an answer stopped
    "jurassic": ("end_turn", "max_tokens", "stop_sequence"),
    "lighton": ("end_turn", "max_tokens", "stop_sequence"),
    "lyra": ("end_turn", "max_tokens", "stop_sequence"),
    "huggingface": ("end_turn",),
}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_what_a_server_answers_is_what_the_client_reads(name: str, data: st.DataObject) -> None:
    chat = chat_of(name)
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    reason = data.draw(st.sampled_from(REASONS[name]))
    usage = Usage(input_tokens=data.draw(st.integers(0, 99)), output_tokens=data.draw(st.integers(0, 99)))
    answer = ConverseResponse(message=Message.assistant(text), stop_reason=reason, usage=usage)
    request = ask(inference_config=InferenceConfig(stop_sequences=("no such text",)))
    context = received(endpoint.get(name), chat.encode_request(request, PLAIN))
    back = chat.decode_response(chat.encode_response(answer, context), Context(request=request))
    assert (back.text, back.stop_reason) == (text, reason)
    counts = (back.usage.input_tokens, back.usage.output_tokens)
    assert counts == ((usage.input_tokens, usage.output_tokens) if name == "lyra" else (None, None))


def test_lighton_streams_end_with_done() -> None:
    data = 'data: {"request_id":"r","text":"Grü"}\n\ndata: {"request_id":"r","text":"ße"}\n\n'.encode()
    chat, context = chat_of("lighton"), Context(request=ask())
    for cut in range(1, len(data)):
        assert streamed(chat, data + b"data: [DONE]\n\n", context, cut).text == "Grüße"
    with pytest.raises(StreamError, match="cut"):
        streamed(chat, data, context)


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    whole = {"responses": [{"completions": [{"output_text": "Grüße"}]}]}
    response = streamed(chat_of("lighton"), json.dumps(whole).encode(), Context(request=ask()))
    assert (response.text, response.stop_reason) == ("Grüße", "end_turn")
