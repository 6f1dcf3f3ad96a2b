"""The gateway, asked by OpenAI's and Anthropic's own clients: what goes through, what is refused, what is counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import boto3
import openai
import pytest
from msgspec.structs import replace

from awsllm.aws import http as transport
from awsllm.aws import rpc as rpc_module
from awsllm.aws.rpc import Rpc
from awsllm.client import Client
from awsllm.errors import AccessDeniedError, ConfigurationError, ThrottlingError, ValidationError
from awsllm.lambdas.gateway import GatewayCall, gateway_handler
from awsllm.lambdas.gateway_callers import KEY_TAG, NAME_TAG, REQUEST_TAG
from awsllm.lambdas.http.stream_head import StreamHead
from awsllm.policy.keys import Key, create
from awsllm.policy.keys_dynamodb import KeyTable
from awsllm.policy.usage_dynamodb import UsageTable
from awsllm.stream import replay
from awsllm.testing import Broken, ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest, ConverseResponse, Message, Text, ToolUse
from tests.support.front_door import function_url, url_event
from tests.support.lambdas import FakeContext, answered, event
from tests.support.tables import KEYS, USAGE, AtomicRpc, create_tables, table

NOVA = "amazon.nova-lite-v1:0"
MODELS = {
    "fast": f"bedrock:{NOVA}",
    "claude-3-haiku-20240307": "bedrock:us.anthropic.claude-3-haiku-20240307-v1:0",
    "vectors": "bedrock:amazon.titan-embed-text-v2:0",
}


class Stage:
    """What the model says."""

    reply: Any = "Hello there"


class Bench:
    """The gateway's surroundings: its tables, and what the models were asked."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.rpc = AtomicRpc()
        self.keys = KeyTable(table(KEYS, self.rpc), life=0)
        self.usage = UsageTable(table(USAGE, self.rpc))

    def key(self, **members: Any) -> tuple[Key, str]:
        key, secret = create(**members)
        self.keys.add(key)
        return key, secret

    @property
    def requests(self) -> list[Any]:
        found: list[Any] = self.aws.requests
        return found

    def used(self, key: Key) -> list[tuple[str, int, int]]:
        return [(row.model, row.requests, row.output) for row in self.usage.rows(key.id)]


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    with mock_aws(reply=lambda _: Stage.reply) as found:
        yield found


@pytest.fixture(autouse=True)
def bench(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in (("REGION", "us-east-1"), ("ACCESS_KEY_ID", "AKID"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWSLLM_KEYS_TABLE", KEYS)
    monkeypatch.setenv("AWSLLM_USAGE_TABLE", USAGE)
    monkeypatch.setenv("AWSLLM_GATEWAY_MODELS", json.dumps(MODELS))
    Stage.reply = "Hello there"
    create_tables()
    aws.requests.clear()
    return Bench(aws)


@pytest.fixture(params=["buffered", "streamed"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "streamed":
        monkeypatch.setenv("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/awsllm-stream")
    return str(request.param)


@pytest.fixture
def url(mode: str) -> Iterator[str]:
    with function_url(gateway_handler()) as at:
        yield at


def ask(
    handler: Any, path: str = "/v1/chat/completions", secret: str = "", body: Any = None, **more: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one call."""
    method = more.pop("method", "POST")
    data = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}], **(body or {})}).encode()
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    sent = url_event(method, path, data if method == "POST" else b"", {**headers, **more.pop("headers", {})})
    reply = handler(sent, FakeContext(**more))
    return reply["statusCode"], reply["headers"], json.loads(reply["body"] or "null")


# --- the clients ------------------------------------------------------------------------------------------------------


def test_openais_client(url: str, bench: Bench) -> None:
    key, secret = bench.key(name="Ann's team", requests_per_minute=100)
    hi: Any = [{"role": "user", "content": "Hi"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as client:
        whole = client.chat.completions.with_raw_response.create(model="fast", messages=hi)
        assert whole.headers["x-ratelimit-remaining-requests"] == "99"
        assert whole.parse().choices[0].message.content == "Hello there"
        with client.chat.completions.create(model="fast", messages=hi, stream=True) as events:
            assert "".join(one.choices[0].delta.content or "" for one in events if one.choices) == "Hello there"
        assert client.responses.create(model="fast", input="Hi").output_text == "Hello there"
        with client.responses.create(model="fast", input="Hi", stream=True) as responses:
            assert [one for one in responses][-1].type == "response.completed"  # noqa: C416
        found = client.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
        assert len(found.data) == 2
        assert {model.id for model in client.models.list()} >= set(MODELS)
        assert client.models.retrieve("fast").id == "fast"
        with pytest.raises(openai.BadRequestError, match="several processes"):
            client.responses.create(model="fast", input="Go on", previous_response_id="resp_1")
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="gpt-other", messages=hi)
        with pytest.raises(openai.NotFoundError, match="not served"):
            client.files.list()
    asked = [request for request in bench.requests if isinstance(request, ConverseRequest)]
    assert [request.model for request in asked] == [NOVA] * 4
    assert asked[0].request_metadata == {
        KEY_TAG: key.id,
        NAME_TAG: "Ann-s team",
        REQUEST_TAG: FakeContext.aws_request_id,
    }
    assert bench.used(key) == [("fast", 4, 8), ("vectors", 1, 0)]
    assert all(row.cost > 0 for row in bench.usage.rows(key.id))


def test_anthropics_client(url: str, bench: Bench) -> None:
    key, secret = bench.key(tokens_per_minute=100_000)
    model = "claude-3-haiku-20240307"
    hi: Any = [{"role": "user", "content": "Hi"}]
    asked: dict[str, Any] = {"model": model, "max_tokens": 50, "messages": hi}
    with anthropic.Anthropic(base_url=url, api_key=secret, max_retries=0) as client:
        whole = client.messages.with_raw_response.create(**asked)
        assert int(whole.headers["anthropic-ratelimit-tokens-remaining"]) < 100_000
        (block,) = whole.parse().content
        assert isinstance(block, anthropic.types.TextBlock)
        assert block.text == "Hello there"
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_text() == "Hello there"
        assert client.messages.count_tokens(model=model, messages=hi).input_tokens > 0
        with pytest.raises(anthropic.BadRequestError, match="identifier is invalid"):
            client.messages.create(**{**asked, "model": "claude-unknown"})
    with (
        anthropic.Anthropic(base_url=url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(**asked)
    assert bench.used(key) == [(model, 3, 4)]
    (row,) = bench.usage.rows(key.id)
    assert (row.cost, row.unpriced) == (0.0, 2)  # there is no price of it; to count tokens costs nothing


def test_a_tool_is_called_through_the_gateway(url: str, bench: Bench) -> None:
    _, secret = bench.key()
    Stage.reply = Message("assistant", (ToolUse("call-1", "weather", {"city": "Oslo"}),))
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as client:
        reply = client.chat.completions.create(model="fast", messages=[{"role": "user", "content": "Hi"}], tools=[tool])
    calls: Any = reply.choices[0].message.tool_calls
    (call,) = calls
    assert json.loads(call.function.arguments) == {"city": "Oslo"}


def test_the_parts_of_a_stream_are_the_servers_bytes_as_they_come(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_EXEC_WRAPPER", "/opt/awsllm-stream")
    _, secret = bench.key()
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    sent = url_event("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {secret}"})
    head, *parts = gateway_handler()(sent, FakeContext())
    assert isinstance(head, StreamHead)
    assert (head.status, head.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert len(parts) > 2
    assert parts[-1].endswith(b"data: [DONE]\n\n")
    assert all(part.startswith(b"data: ") for part in parts)


# --- front doors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["rest", "http", "url", "alb", "alb_multi"])
def test_each_front_door(door: str, bench: Bench) -> None:
    key, secret = bench.key()
    sent, path = event(door), "/v1/chat/completions"
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}]})
    shown = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    sent |= {"body": body, "isBase64Encoded": False, "httpMethod": "POST"}
    sent |= {"path": path} if "path" in sent else {"rawPath": path}
    if "headers" in sent:
        sent["headers"] = shown
    if "multiValueHeaders" in sent:
        sent["multiValueHeaders"] = {name: [value] for name, value in shown.items()}
    if "http" in sent["requestContext"]:
        sent["requestContext"]["http"] |= {"method": "POST", "path": path}
    reply = gateway_handler()(sent, FakeContext())
    assert reply["statusCode"] == 200, reply
    assert json.loads(reply["body"])["choices"][0]["message"]["content"] == "Hello there"
    assert bench.used(key) == [("fast", 1, 2)]


@pytest.mark.usefixtures("mode")
def test_an_event_of_no_front_door_is_acknowledged() -> None:
    handler = gateway_handler()
    assert handler({"Records": []}, FakeContext())["statusCode"] == 400
    assert handler({**url_event("POST", "/v1/models"), "body": "%"}, FakeContext())["statusCode"] == 400


def test_a_web_page_that_may_call_and_one_that_may_not(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "https://page.example")
    _, secret = bench.key()
    handler = gateway_handler()
    for origin, allowed in (("https://page.example", "https://page.example"), ("https://other.example", None)):
        _, headers, _ = ask(handler, secret=secret, headers={"origin": origin})
        assert headers.get("access-control-allow-origin") == allowed
    preflight = handler(url_event("OPTIONS", "/v1/models", headers={"origin": "https://page.example"}), FakeContext())
    assert (preflight["statusCode"], "authorization" in preflight["headers"]["access-control-allow-headers"]) == (
        204,
        True,
    )
    assert ask(handler, "/health", method="GET")[0] == 200


# --- what is refused --------------------------------------------------------------------------------------------------


def test_nobody_calls_without_a_key_that_holds(bench: Bench) -> None:
    handler, (key, secret) = gateway_handler(keys=bench.keys), bench.key()
    for shown in ("", "sk-awsllm-invented"):
        for path in ("/v1/chat/completions", "/v1/messages", "/usage", "/v1/models"):
            assert ask(handler, path, shown)[0] == 401
    bench.keys.revoke(key.id)
    status, _, told = ask(handler, secret=secret)
    assert (status, "was revoked" in told["error"]["message"]) == (401, True)
    assert bench.requests == []


def test_a_key_calls_its_models_alone(bench: Bench) -> None:
    handler, (_, secret) = gateway_handler(), bench.key(models=("claude-*",))
    status, _, told = ask(handler, secret=secret)
    assert (status, told["error"]["type"]) == (403, "permission_error")
    listed = ask(handler, "/v1/models", secret, method="GET")[2]["data"]
    assert {model["id"] for model in listed} == {"claude-3-haiku-20240307"}
    assert bench.requests == []


@pytest.mark.parametrize(
    ("path", "model"), [("/v1/chat/completions", "fast"), ("/v1/messages", "claude-3-haiku-20240307")]
)
def test_limits_a_minute_and_what_is_told_of_them(path: str, model: str, bench: Bench) -> None:
    handler, (key, secret) = gateway_handler(), bench.key(requests_per_minute=2)
    asked = {"model": model, "max_tokens": 10}
    assert [ask(handler, path, secret, asked)[0] for _ in range(2)] == [200, 200]
    status, headers, told = ask(handler, path, secret, asked)
    assert (status, told["error"]["type"]) == (429, "rate_limit_error")
    assert 0 < int(headers["retry-after"]) <= 30
    assert bench.used(key) == [(model, 2, 4)]


def test_tokens_are_given_back_and_a_budget_ends(bench: Bench) -> None:
    handler, (key, secret) = gateway_handler(), bench.key(tokens_per_minute=1000, monthly_tokens=8)
    for _ in range(3):  # each is thought to need more than half of the tokens
        assert ask(handler, secret=secret, body={"max_tokens": 600})[0] == 200
    status, headers, told = ask(handler, secret=secret)
    assert (status, told["error"]["code"], int(headers["retry-after"]) > 0) == (429, "insufficient_quota", True)
    month = ask(handler, "/usage", secret, method="GET")[2]
    assert month["month"]["tokens"] == sum(row["input"] + row["output"] for row in month["usage"]) >= 8
    assert (month["key"], month["limits"]["monthly_tokens"]) == (key.id, 8)


def test_what_is_refused_by_the_model_costs_nothing(bench: Bench) -> None:
    handler, (key, secret) = gateway_handler(), bench.key(tokens_per_minute=1000)
    Stage.reply = ThrottlingError("no", status=429)
    assert ask(handler, secret=secret, body={"max_tokens": 900})[0] == 429
    Stage.reply = "Hello there"
    assert ask(handler, secret=secret, body={"max_tokens": 900})[0] == 200
    assert bench.used(key) == [("fast", 2, 2)]


def test_a_key_or_everybody_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, (key, secret), (_, other) = gateway_handler(keys=bench.keys), bench.key(), bench.key()

    def told(shown: str, path: str = "/v1/chat/completions") -> tuple[int, bool]:
        status, _, body = ask(handler, path, shown)
        return status, "stopped by whoever runs" in body.get("error", {}).get("message", "")

    bench.keys.stop(key.id, True)
    assert (told(secret), told(other)[0]) == ((503, True), 200)
    bench.keys.stop(None, True)
    assert told(other) == told(other, "/v1/messages") == (503, True)
    bench.keys.stop(None, False)
    bench.keys.stop(key.id, False)
    assert told(secret)[0] == 200
    monkeypatch.setenv("AWSLLM_KILL_SWITCH", "1")
    handler = gateway_handler()
    assert told(secret) == (503, True)
    monkeypatch.setenv("AWSLLM_KILL_SWITCH", "off")
    handler = gateway_handler()
    assert told(secret)[0] == 200


def test_what_is_wrong_with_a_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MAX_BODY_BYTES", "300")
    handler, (_, secret) = gateway_handler(), bench.key()
    assert ask(handler, secret=secret, body={"user": "u" * 400})[0] == 413
    assert ask(handler, "/v1/messages", secret, {"user": "u" * 400})[0] == 413
    assert ask(handler, secret=secret, milliseconds=400)[0] == 504
    assert ask(handler, "/v2/chat", secret)[0] == 404
    broken = url_event("POST", "/v1/chat/completions", b"{", {"authorization": f"Bearer {secret}"})
    assert handler(broken, FakeContext())["statusCode"] == 400
    assert bench.requests == []


def test_tables_that_cannot_be_reached_let_nobody_in(bench: Bench) -> None:
    handler, (_, secret) = gateway_handler(keys=bench.keys), bench.key(requests_per_minute=5)
    boto3.client("dynamodb", "us-east-1").delete_table(TableName=USAGE)
    status, _, told = ask(handler, secret=secret)
    assert (status, USAGE in json.dumps(told)) == (503, False)
    assert bench.requests == []


def test_what_aws_refuses_the_function_is_told_without_its_names(bench: Bench) -> None:
    handler, (key, secret) = gateway_handler(), bench.key()
    Stage.reply = AccessDeniedError(
        "User: arn:aws:sts::111122223333:assumed-role/gateway is not authorized",
        code="AccessDeniedException",
        status=403,
    )
    status, _, told = ask(handler, secret=secret)
    assert (status, "may not call the model" in told["error"]["message"], "arn:" in json.dumps(told)) == (
        503,
        True,
        False,
    )
    assert bench.used(key) == [("fast", 1, 0)]


def test_a_client_of_ones_own_calls_the_models(bench: Bench) -> None:
    backend = ScriptedBackend("From a backend of one's own")
    handler, (_, secret) = gateway_handler(client=Client(backends={"bedrock": backend})), bench.key()
    _, _, told = ask(handler, secret=secret)
    assert told["choices"][0]["message"]["content"] == "From a backend of one's own"
    assert bench.requests == []


# --- what goes wrong later --------------------------------------------------------------------------------------------


def test_a_stream_that_breaks_says_so_and_is_counted(url: str, bench: Bench, capsys: Any) -> None:
    key, secret = bench.key()
    Stage.reply = Broken("a few words and then no more of them " * 20, after=100)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "a private prompt"}]
        with (
            client.chat.completions.create(model="fast", messages=messages, stream=True) as events,
            pytest.raises(openai.APIError),
        ):
            list(events)
    told = ""
    for _ in range(200):  # the function ends after its caller has seen the break
        told += capsys.readouterr().out
        if told and bench.used(key):
            break
        time.sleep(0.05)
    ((_, requests, output),) = bench.used(key)
    assert (requests, output > 50) == (1, True)
    (line,) = [json.loads(line) for line in told.splitlines()]
    assert (line["level"], line["message"], line["item"]) == ("ERROR", "failed", f"key {key.id}")


def test_a_model_that_thinks_for_long_is_waited_for_with_comments(
    monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_EXEC_WRAPPER", "/opt/awsllm-stream")
    monkeypatch.setattr("awsllm.lambdas.gateway.SILENCE", 0.01)
    key, secret = bench.key()
    thought = threading.Event()

    def think() -> Iterator[Any]:
        assert thought.wait(60)
        yield from replay(ConverseResponse(message=Message.assistant("Hello"), stop_reason="end_turn"))

    Stage.reply = think()
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    sent = url_event("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {secret}"})
    parts = gateway_handler()(sent, FakeContext())
    assert next(parts).status == 200
    assert next(parts) == b": keep-alive\n\n"
    thought.set()
    rest = b"".join(parts)
    assert b'"Hello"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")
    assert [requests for _, requests, _ in bench.used(key)] == [1]


def test_a_snapshot_has_no_connections_and_is_renewed(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    taken: list[Any] = []
    monkeypatch.setattr("awsllm.lambdas.snapstart.take_part", taken.append)
    handler, (_, secret) = gateway_handler(), bench.key()
    assert ask(handler, secret=secret)[0] == 200
    (snapshot,) = taken
    before = snapshot.value
    snapshot.close()
    snapshot.renew()
    assert snapshot.value is not before
    assert ask(handler, secret=secret)[0] == 200


def test_who_leaves_has_used_what_was_written(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setenv("AWS_LAMBDA_EXEC_WRAPPER", "/opt/awsllm-stream")
    key, secret = bench.key(tokens_per_minute=10_000)
    Stage.reply = "many words " * 200
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 5000}
    sent = url_event("POST", "/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {secret}"})
    parts = gateway_handler()(sent, FakeContext())
    for _ in range(20):
        next(parts)
    parts.close()
    ((_, requests, output),) = bench.used(key)
    assert requests == 1
    assert 5 < output < 200
    state = table(USAGE).get({"id": key.id, "period": "now"})
    assert state is not None
    assert state["tokens level"] > 9_000  # the rest has been given back


def test_an_answer_that_cannot_be_counted_is_given(bench: Bench, capsys: Any) -> None:
    handler, (_, secret) = gateway_handler(usage=bench.usage), bench.key()
    boto3.client("dynamodb", "us-east-1").delete_table(TableName=USAGE)  # of which a key without limits asks nothing
    assert ask(handler, secret=secret)[0] == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("ERROR", "a call could not be counted"),
        ("INFO", "answered"),
    ]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_an_answer_that_no_door_passes_on_is_told(path: str, bench: Bench, capsys: Any) -> None:
    handler, (_, secret) = gateway_handler(), bench.key()
    Stage.reply = "x" * 2**20
    body = json.dumps({"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    headers = {"authorization": f"Bearer {secret}"}
    alb = event("alb", path=path, headers=headers, body=body, isBase64Encoded=False)
    status, told = answered(handler(alb, FakeContext()))
    assert (status, "longer than can be sent" in told["error"]["message"]) == (500, True)
    assert "the reply is longer" in capsys.readouterr().out
    handler(event("url", rawPath=path, headers=headers, body=body, isBase64Encoded=False), FakeContext())
    assert "the reply is longer" not in capsys.readouterr().out  # which passes it on


def test_what_is_counted_ends_in_time_for_the_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[tuple[str, float | None]] = []
    call = Rpc.call

    def called(self: Any, service: str, operation: str, *rest: Any, **more: Any) -> Any:
        until = rpc_module._until.get()
        left.append((operation, None if until is None else until - time.monotonic()))
        return call(self, service, operation, *rest, **more)

    handler, (_, secret) = gateway_handler(), bench.key(requests_per_minute=5)
    monkeypatch.setattr(Rpc, "call", called)
    assert ask(handler, secret=secret, milliseconds=2_000)[0] == 200
    assert {operation for operation, _ in left} == {"GetItem", "UpdateItem", "TransactWriteItems"}
    assert all(seconds is not None and seconds <= 1.75 for _, seconds in left)
    left.clear()
    status, _, told = ask(handler, secret=secret, milliseconds=400)
    assert (status, left, "time is over" in json.dumps(told)) == (504, [], True)  # nothing is begun


def test_an_answer_to_head_has_no_body(mode: str, bench: Bench) -> None:
    handler, (_, secret) = gateway_handler(), bench.key()
    for path, status in (("/health", 200), ("/v1/models", 404)):
        given = handler(url_event("HEAD", path, b"", {"authorization": f"Bearer {secret}"}), FakeContext())
        if mode == "buffered":
            assert (given["statusCode"], given["body"]) == (status, "")
        else:
            (head,) = given
            assert head.status == status


def test_logs_have_no_prompt_answer_or_secret(bench: Bench, capsys: Any) -> None:
    handler, (key, secret) = gateway_handler(), bench.key()
    Stage.reply = "a private answer"
    assert ask(handler, secret=secret, body={"messages": [{"role": "user", "content": "a private prompt"}]})[0] == 200
    Stage.reply = RuntimeError("a private fault")
    status, _, told = ask(handler, secret=secret)
    assert (status, "private" in json.dumps(told)) == (500, False)
    out = capsys.readouterr().out
    assert "private" not in out
    assert secret not in out
    first, second = (line for line in map(json.loads, out.splitlines()) if "item" in line)
    assert (first["item"], first["model"], first["output_tokens"], first["status"]) == (f"key {key.id}", "fast", 3, 200)
    assert (second["level"], second["error"]) == ("ERROR", "RuntimeError")


# --- what a deployment says -------------------------------------------------------------------------------------------


def test_a_request_is_prepared_by_ones_own_function(bench: Bench) -> None:
    def prepare(call: GatewayCall) -> Any:
        if not isinstance(call.request, ConverseRequest):
            raise ValidationError("only conversations", status=400)
        assert call.front.path == "/v1/chat/completions"
        return replace(call.request, system=(Text(f"You answer {call.key.name}."),))

    handler, (_, secret) = gateway_handler({"a-*": f"bedrock:{NOVA}"}, prepare=prepare), bench.key(name="Ann")
    assert ask(handler, secret=secret, body={"model": "a-model"})[0] == 200
    assert bench.requests[0].system == (Text("You answer Ann."),)
    status, _, told = ask(handler, "/v1/embeddings", secret, {"model": "a-model", "input": "x"})
    assert (status, "only conversations" in told["error"]["message"]) == (400, True)


def test_the_deployments_guardrail_reads_along(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_GUARDRAIL", "abc123:1")
    handler, (_, secret) = gateway_handler(), bench.key()
    own = {"X-Amzn-Bedrock-GuardrailIdentifier": "another", "X-Amzn-Bedrock-GuardrailVersion": "2"}
    assert ask(handler, secret=secret, headers=own)[0] == 200
    given = bench.requests[0].guardrail_config
    assert (given.guardrail_identifier, given.guardrail_version) == ("abc123", "1")


@pytest.mark.parametrize(
    ("model", "reference"), [("", "amazon.nova-micro-v1:0"), ("bedrock:amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0")]
)
def test_without_a_table_bedrocks_own_ids_or_one_model(
    model: str, reference: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWSLLM_GATEWAY_MODELS")
    monkeypatch.setenv("AWSLLM_MODEL", model)
    _, secret = bench.key()
    assert ask(gateway_handler(), secret=secret, body={"model": "amazon.nova-micro-v1:0"})[0] == 200
    assert bench.requests[0].model == reference


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWSLLM_KEYS_TABLE", ""),
        ("AWSLLM_USAGE_TABLE", ""),
        ("AWSLLM_GATEWAY_MODELS", "fast=nowhere:m"),
        ("AWSLLM_CALLER_ROLE", "my-role"),
        ("AWSLLM_GUARDRAIL", "abc"),
        ("AWSLLM_MAX_BODY_BYTES", "many"),
    ],
)
def test_what_is_wrong_with_the_environment_is_said_at_once(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        gateway_handler()


def test_calls_are_metrics_where_the_deployment_asks_for_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("AWSLLM_TELEMETRY", "emf")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "my-gateway")
    _, secret = bench.key()
    assert ask(gateway_handler(), secret=secret)[0] == 200
    (metrics,) = (line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line)
    assert (metrics["Service"], metrics["Calls"], metrics["OutputTokens"]) == ("my-gateway", 1, 2)


def test_calls_are_made_as_the_callers_role(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_CALLER_ROLE", "arn:aws:iam::111122223333:role/callers")
    signers: list[tuple[str, str]] = []
    forms: list[bytes] = []

    def sign(request: Any, session: Any, keys: Any = None) -> Any:
        from awsllm.aws.signing import sign

        signed = sign(request, session, keys)
        if request.service == "sts":
            forms.append(request.body)
        if request.service == "bedrock-runtime":
            signers.append((request.service, signed.headers["Authorization"].partition("=")[2].partition("/")[0]))
        return signed

    monkeypatch.setattr(transport, "sign", sign)
    handler = gateway_handler()
    (ann, secret), (_, other) = bench.key(team="search"), bench.key()
    for shown in (secret, other, secret):
        assert ask(handler, secret=shown)[0] == 200
    first, second, third = (signer for _, signer in signers)
    assert first == third != second
    assert first.startswith("ASIA")
    assert len(forms) == 2
    assert f"Tags.member.1.Key=awsllm-key&Tags.member.1.Value={ann.id}".encode() in forms[0]
    assert b"Value=search" in forms[0]
