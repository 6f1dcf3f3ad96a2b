"""OpenAI's APIs as the server speaks them: over HTTP, in their own shapes, errors included."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from awsllm.errors import ModelNotFoundError, ThrottlingError
from awsllm.server import running
from awsllm.server.mapping import Models
from awsllm.server.surfaces.openai import _Kept
from awsllm.server.surfaces.routes import is_ours, plan
from awsllm.server.work import Ask, Incoming, Stream
from awsllm.testing import AsyncScriptedBackend, Broken
from awsllm.types import ConverseRequest, Message, Reasoning, Text, ToolUse
from awsllm.types.embedding import EmbedResponse
from awsllm.wire.framing import FramingDecoder

MODEL = "openai.gpt-oss-20b-1:0"
HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
ASKED = {"model": MODEL, "input": "Hi"}
ASKED_AT: dict[str, dict[str, Any]] = {"chat/completions": HELLO, "completions": {"prompt": "Once"}, "responses": ASKED}
KEY = "a-key-of-this-server"
PLACES = ("/v1", "/openai/v1")


class Stage:
    """What the model says next."""

    reply: Any = "Hello"


STAGE = Stage()
BACKEND = AsyncScriptedBackend(lambda _: STAGE.reply)


@pytest.fixture(autouse=True)
def _reset() -> None:
    STAGE.reply = "Hello"
    BACKEND.requests.clear()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(BACKEND) as url:
        yield url


def call(url: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.headers, read(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, read(error.read())


def read(data: bytes) -> Any:
    return json.loads(data) if data.startswith(b"{") else FramingDecoder().feed(data)


@pytest.mark.parametrize("place", PLACES)
def test_a_completion(url: str, place: str) -> None:
    status, headers, wire = call(f"{url}{place}/chat/completions", {**HELLO, "user": "u", "seed": 7})
    assert (status, headers["content-type"], headers["x-request-id"][:4]) == (200, "application/json", "req_")
    assert (wire["object"], wire["model"]) == ("chat.completion", MODEL)
    assert wire["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    (request,) = BACKEND.requests
    assert isinstance(request, ConverseRequest)
    assert (request.messages, request.extra) == ((Message.user("Hi"),), {"seed": 7})


@pytest.mark.parametrize("place", PLACES)
def test_a_completion_in_chunks(url: str, place: str) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    status, headers, chunks = call(f"{url}{place}/chat/completions", {**HELLO, **options})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "Hello"
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    _, _, chunks = call(f"{url}{place}/chat/completions", {**HELLO, "stream": True})
    assert all(chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize("place", PLACES)
def test_a_response(url: str, place: str) -> None:
    STAGE.reply = Message("assistant", (Reasoning("Hm"), Text("Hello"), ToolUse("c", "f", {"a": 1})))
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    status, _, wire = call(f"{url}{place}/responses", {**ASKED, "tools": tools, "instructions": "Be kind"})
    assert (status, wire["object"], wire["status"], wire["model"]) == (200, "response", "completed", MODEL)
    assert [item["type"] for item in wire["output"]] == ["reasoning", "message", "function_call"]
    assert (wire["instructions"], wire["tools"][0]["name"]) == ("Be kind", "f")
    assert wire["usage"]["total_tokens"] > 0


def test_a_response_in_events(url: str) -> None:
    status, _, events = call(f"{url}/v1/responses", {**ASKED, "stream": True})
    assert status == 200
    assert [event["type"].removeprefix("response.") for event in events if "delta" not in event["type"]] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert events[0]["response"]["id"] == events[-1]["response"]["id"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_a_stream_that_breaks_says_so(url: str) -> None:
    STAGE.reply = Broken("one two three", after=2, error=ThrottlingError("slow down"))
    _, _, events = call(f"{url}/v1/responses", {**ASKED, "stream": True})
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down", "param": None}


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_can_be_gone_on_from_unless_it_is_not_to_be_kept(url: str, stream: bool) -> None:
    def ask(text: str, **members: Any) -> tuple[int, Any]:
        status, _, wire = call(f"{url}/v1/responses", {"model": MODEL, "input": text, "stream": stream, **members})
        return status, wire[-1]["response"] if status == 200 and stream else wire

    _, first = ask("I am Ada")
    STAGE.reply = "Ada"
    status, second = ask("Who?", previous_response_id=first["id"], store=False)
    assert status == 200
    asked = BACKEND.requests[-1]
    assert isinstance(asked, ConverseRequest)
    assert [turn.text for turn in asked.messages] == ["I am Ada", "Hello", "Who?"]
    status, wire = ask("And?", previous_response_id=second["id"])
    assert (status, wire["error"]["message"]) == (400, f"Previous response with id {second['id']!r} not found.")


def test_few_are_kept() -> None:
    kept = _Kept()
    work = plan(incoming("/v1/responses", ASKED))
    assert isinstance(work, Ask)
    from awsllm.wire.body import Context

    for number in range(kept.MOST + 2):
        kept.keeper(Context(request=work.request, request_id=str(number)))(Message.assistant("x"))
    assert len(kept._turns) == kept.MOST
    assert "resp_1" not in kept._turns
    assert "resp_2" in kept._turns


@pytest.mark.parametrize("place", PLACES)
def test_models(url: str, place: str) -> None:
    status, _, wire = call(f"{url}{place}/models")
    listed = {model["id"]: model for model in wire["data"]}
    assert (status, wire["object"]) == (200, "list")
    assert listed[MODEL]["owned_by"] == "openai"
    assert "amazon.titan-embed-text-v2:0" in listed
    assert "amazon.nova-canvas-v1:0" not in listed
    status, _, wire = call(f"{url}{place}/models/openai.gpt-oss-20b-1%3A0")
    assert (status, wire) == (200, {**listed[MODEL], "created": 0})
    status, _, wire = call(f"{url}{place}/models/nobody")
    assert (status, wire["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "change", "status", "kind", "words"),
    [
        ("chat/completions", {"messages": []}, 400, "invalid_request_error", "messages"),
        ("chat/completions", {"model": None}, 400, "invalid_request_error", "model"),
        ("chat/completions", {"model": "nobody.such"}, 404, "not_found_error", "does not exist"),
        ("chat/completions", {"model": "cohere.embed-v4:0"}, 400, "invalid_request_error", "does not chat"),
        ("responses", {"input": None}, 400, "invalid_request_error", "input"),
        ("responses", {"background": True}, 400, "invalid_request_error", "background"),
        ("responses", {"tools": [{"type": "web_search"}]}, 400, "invalid_request_error", "'web_search'"),
        ("embeddings", {"input": ""}, 400, "invalid_request_error", "input"),
    ],
)
def test_what_is_refused(url: str, path: str, change: dict[str, Any], status: int, kind: str, words: str) -> None:
    body = {**({} if path == "responses" else HELLO), **ASKED, **change}
    found, _, wire = call(f"{url}/v1/{path}", body)
    assert (found, wire["error"]["type"]) == (status, kind)
    assert words in wire["error"]["message"]
    assert wire["error"]["code"] is None or isinstance(wire["error"]["code"], str)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "change", "parameter"),
    [
        ("chat/completions", {"logprobs": True, "top_logprobs": 2}, "logprobs"),
        ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
        ("completions", {"logprobs": 5}, "logprobs"),
        ("responses", {"top_logprobs": 2}, "top_logprobs"),
        ("responses", {"include": ["message.output_text.logprobs"]}, "include"),
    ],
)
def test_probabilities_of_tokens_are_refused(
    url: str, path: str, change: dict[str, Any], parameter: str, stream: bool
) -> None:
    body = {"model": MODEL, **ASKED_AT[path], "stream": stream, **change}
    status, _, wire = call(f"{url}/v1/{path}", body)
    assert (status, BACKEND.requests) == (400, [])
    assert wire["error"] == {
        "message": f"Unsupported parameter: {parameter!r} is not supported with this model.",
        "type": "invalid_request_error",
        "param": parameter,
        "code": "unsupported_parameter",
    }


@pytest.mark.parametrize("value", [None, False, 0])
@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
def test_no_probabilities_may_be_asked_for(url: str, path: str, value: Any) -> None:
    body = {"model": MODEL, **ASKED_AT[path], "logprobs": value, "top_logprobs": value, "include": []}
    assert call(f"{url}/v1/{path}", body)[0] == 200


@pytest.mark.parametrize("place", PLACES)
def test_a_prompt_and_what_follows_it(url: str, place: str) -> None:
    asked = {"model": MODEL, "prompt": ["Once"], "max_tokens": 7, "stop": "."}
    status, _, wire = call(f"{url}{place}/completions", asked)
    assert (status, wire["object"], wire["model"]) == (200, "text_completion", MODEL)
    assert wire["choices"] == [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}]
    (request,) = BACKEND.requests
    assert isinstance(request, ConverseRequest)
    assert (request.messages, request.extra) == ((Message.user("Once"),), None)
    assert (request.inference_config.max_tokens, request.inference_config.stop_sequences) == (7, (".",))


def test_a_prompt_s_stream(url: str) -> None:
    asked = {"model": MODEL, "prompt": "Once", "stream": True}
    status, headers, chunks = call(f"{url}/v1/completions", asked)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hello"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    STAGE.reply = Broken("Hello there", after=2)
    assert call(f"{url}/v1/completions", asked)[2][-1]["error"]["type"] == "server_error"


@pytest.mark.parametrize("change", [{"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"n": 2}, {"prompt": None}])
def test_prompts_that_are_refused(url: str, change: dict[str, Any]) -> None:
    status, _, wire = call(f"{url}/v1/completions", {"model": MODEL, "prompt": "Once", **change})
    assert (status, wire["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("text-embedding-3-small", 1536),
        ("amazon.titan-embed-text-v2:0", 1024),
        ("amazon.nova-2-multimodal-embeddings-v1:0", 3072),
        ("all-minilm-l6-v2", 384),
    ],
)
def test_vectors_have_the_size_that_their_model_is_known_for(url: str, model: str, size: int) -> None:
    """A program's index is made for as many numbers."""
    _, _, wire = call(f"{url}/v1/embeddings", {"model": model, "input": "a"})
    assert len(wire["data"][0]["embedding"]) == size


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions"), ("POST", "/v1/files"), ("GET", "/openai/v1/batches"), ("GET", "/v1/responses/a")],
)
def test_what_is_not_served_is_told_in_openai_s_words(url: str, method: str, path: str) -> None:
    status, _, wire = call(url + path, {} if method == "POST" else None, Authorization="Bearer any")
    assert (status, wire["error"]["type"], wire["error"]["code"]) == (404, "invalid_request_error", "unknown_url")
    assert "POST /v1/chat/completions" in wire["error"]["message"]


def test_failures_of_the_model_have_their_status(url: str) -> None:
    STAGE.reply = ThrottlingError("slow down")
    for path, body in (("chat/completions", HELLO), ("responses", ASKED)):
        status, _, wire = call(f"{url}/v1/{path}", body)
        assert (status, wire["error"]["type"], wire["error"]["message"]) == (429, "rate_limit_error", "slow down")


def test_the_key_is_shown_as_openai_s_clients_show_it() -> None:
    with running(BACKEND, api_key=KEY) as url:
        status, _, wire = call(f"{url}/v1/responses", ASKED)
        assert (status, wire["error"]["code"]) == (401, "invalid_api_key")
        assert call(f"{url}/v1/responses", ASKED, Authorization=f"Bearer {KEY}")[0] == 200
        assert call(f"{url}/v1/models", Authorization=f"Bearer {KEY}")[0] == 200


def incoming(path: str, body: Any, method: str = "POST") -> Incoming:
    return Incoming(method, path, {}, json.dumps(body).encode())


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "local:smollm2-135m-instruct"])
def test_a_local_model_is_called_by_its_own_name(name: str) -> None:
    assert isinstance(plan(incoming("/v1/chat/completions", {**HELLO, "model": name})), Ask)
    for wrong in ("all-minilm-l6-v2", "local:absent"):
        with pytest.raises(ModelNotFoundError):
            plan(incoming("/v1/chat/completions", {**HELLO, "model": wrong}))


def test_a_local_model_that_would_have_to_be_fetched_is_not_there_for_callers() -> None:
    """Else whoever calls could fill the disk, or would be answered by another model than he names."""
    asked = incoming("/v1/chat/completions", {**HELLO, "model": "local:qwen3-4b"})
    with pytest.raises(ModelNotFoundError):
        plan(replace(asked, models=Models("local:chat", routed=True)))
    assert isinstance(plan(replace(asked, models=Models("local:chat", own=("qwen3-4b",), routed=True))), Ask)


def test_operations_by_path() -> None:
    assert isinstance(plan(incoming("/v1/chat/completions", HELLO)), Ask)
    assert isinstance(plan(incoming("/openai/v1/responses", {**ASKED, "stream": True})), Stream)
    named = plan(incoming("/v1/responses", {**ASKED, "model": "gpt-5.4"}))
    assert isinstance(named, Ask)
    assert named.request.model == "gpt-5.4"
    embedded: Any = plan(
        incoming("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a"], "dimensions": 8})
    )
    assert (embedded.request.texts, embedded.request.dimensions) == (("a",), None)  # the vectors are brought to 8
    reply = embedded.encode(EmbedResponse(vectors=[[3.0, 4.0, *([0.0] * 10)]]))
    (vector,) = json.loads(reply.body)["data"]
    assert vector["embedding"] == [0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]

    assert is_ours(Incoming("GET", "/v1/models"))
    nothing: Any = plan(incoming("/v1/responses", {}, "PUT"))
    assert nothing.status == 404
