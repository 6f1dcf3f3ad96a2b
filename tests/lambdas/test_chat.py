"""The chat handler: JSON in and out behind every front door, sessions, limits, and what goes wrong."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from hypothesis import given
from hypothesis import strategies as st

import awsllm
from awsllm.aws import rpc
from awsllm.aws.rpc import Rpc
from awsllm.errors import AccessDeniedError, ConfigurationError, ServerError, ThrottlingError
from awsllm.lambdas import chat_handler, stream_handler, websocket_handler
from awsllm.lambdas.chat import ChatTurn, answer
from awsllm.testing import mock_aws
from awsllm.types import ConverseResponse, GuardrailConfig, Message
from tests.support.lambdas import FakeContext, answered, event, new_sessions_table
from tests.support.loopback import Received, Response, serving

MODEL = "bedrock:amazon.nova-lite-v1:0"
PATIENCE = 60.0  # seconds; a busy machine is no failure
DOORS = ("rest", "rest_iam", "http", "http_jwt", "url", "url_iam", "alb", "alb_multi")


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def aws() -> Iterator[Callable[..., Any]]:
    """AWS, entered with a script when called."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda reply, **options: stack.enter_context(mock_aws(reply=reply, **options))


def post(body: Any, name: str = "http", **members: Any) -> dict[str, Any]:
    return event(name, body=body if isinstance(body, str) else json.dumps(body), isBase64Encoded=False, **members)


def ask(handler: Any, body: Any, name: str = "http", milliseconds: int = 30_000) -> tuple[int, Any]:
    return answered(handler(post(body, name), FakeContext(milliseconds)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_tokns": 5}, "did you mean 'max_tokens'"),
        ({"max_tokens": "5"}, "it is an int"),
        ({"temperature": 9}, "between 0 and 1"),
        ({"tools": [3]}, "3 is not a function"),
        ({"output_type": {"type": "objet"}}, "'objet'"),
    ],
)
def test_options_of_the_deployment_are_checked_when_it_starts(options: Any, why: str) -> None:
    for factory in (chat_handler, stream_handler, websocket_handler):
        with pytest.raises(ConfigurationError, match=why):
            factory(MODEL, **options)


# --- a turn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_each_front_door_is_answered(door: str, aws: Callable[..., Any]) -> None:
    calls = aws("Hello there.")
    status, told = answered(chat_handler(MODEL)(event(door), FakeContext()))
    assert status == 200
    assert told["text"] == "Hello there."
    assert told["message"] == {"role": "assistant", "content": [{"text": "Hello there."}]}
    assert told["stop_reason"] == "end_turn"
    assert told["usage"]["output_tokens"] == 2
    assert told["cost"] > 0
    assert (told["session"], told["warnings"]) == (None, [])
    assert calls.requests[0].messages == (Message.user("Say hello."),)


def test_what_the_environment_says_goes_to_the_model(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = aws("Yes.")
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    monkeypatch.setenv("AWSLLM_SYSTEM", "Be brief.")
    monkeypatch.setenv("AWSLLM_MAX_TOKENS", "99")
    monkeypatch.setenv("AWSLLM_TEMPERATURE", "0.5")
    monkeypatch.setenv("AWSLLM_GUARDRAIL", "abc123:1")
    assert ask(chat_handler(), {"message": "Hi"})[0] == 200
    request = calls.requests[0]
    assert request.model == "amazon.nova-lite-v1:0"
    assert request.system[0].text == "Be brief."
    assert (request.inference_config.max_tokens, request.inference_config.temperature) == (99, 0.5)
    assert request.guardrail_config == GuardrailConfig(guardrail_identifier="abc123", guardrail_version="1")


def test_what_is_given_goes_before_the_environment(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = aws("Yes.")
    monkeypatch.setenv("AWSLLM_SYSTEM", "Be brief.")
    monkeypatch.setenv("AWSLLM_MODEL", "bedrock:other")
    ask(chat_handler(MODEL, system="Be long.", max_tokens=7), {"message": "Hi"})
    assert calls.requests[0].system[0].text == "Be long."
    assert calls.requests[0].inference_config.max_tokens == 7


def test_what_is_missing_is_said_when_the_function_starts() -> None:
    with pytest.raises(ConfigurationError, match="AWSLLM_MODEL"):
        chat_handler()


def test_callers_say_what_is_on_the_list(aws: Callable[..., Any]) -> None:
    calls = aws("Yes.")
    body = {
        "message": "Hi",
        "system": "Rhyme.",
        "max_tokens": 5,
        "temperature": 0,
        "stop_sequences": ["END"],
        "model": "bedrock:dear",
        "guardrail_config": {},
        "tools": [],
        "nothing": None,
    }
    status, told = ask(chat_handler(MODEL), body)
    assert status == 200
    request = calls.requests[0]
    assert request.model == "amazon.nova-lite-v1:0"
    assert request.system[0].text == "Rhyme."
    config = request.inference_config
    assert (config.max_tokens, config.temperature, config.stop_sequences) == (5, 0, ("END",))
    assert [warning.partition(" ")[0] for warning in told["warnings"]] == ["'guardrail_config'", "'model'", "'tools'"]


def test_callers_get_no_more_tokens_than_the_deployment_allows(aws: Callable[..., Any]) -> None:
    calls = aws("Yes.")
    _, told = ask(chat_handler(MODEL, max_tokens=10), {"message": "Hi", "max_tokens": 1000})
    assert calls.requests[0].inference_config.max_tokens == 10
    assert told["warnings"] == ["max_tokens is 10 here at most"]


def test_a_whole_conversation_and_media_are_read(aws: Callable[..., Any]) -> None:
    calls = aws("A cat.")
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"text": "Hi"}]},
        {
            "role": "user",
            "content": [
                {"text": "What is this?"},
                {"image": {"format": "png", "source": {"bytes": image}}},
                {"document": {"format": "txt", "name": "notes", "source": {"text": "A note"}}},
            ],
        },
    ]
    assert ask(chat_handler(MODEL), {"messages": turns})[0] == 200
    messages = calls.requests[0].messages
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[2].content[1].source.data.startswith(b"\x89PNG")


def test_an_answer_can_be_sent_back_as_it_came(aws: Callable[..., Any]) -> None:
    thinking = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}}
    aws([{"role": "assistant", "content": [thinking, {"text": "One."}]}, "Two."])
    handler = chat_handler("bedrock:anthropic.claude-sonnet-4-5-20250929-v1:0")
    first = ask(handler, {"message": "Count"})[1]["message"]
    turns = [{"role": "user", "content": "Count"}, first, {"role": "user", "content": "Go on"}]
    assert ask(handler, {"messages": turns})[1]["text"] == "Two."


NAMES = (
    *("message", "messages", "session", "system", "max_tokens", "temperature", "stop_sequences", "role", "content"),
    *("text", "image", "document", "format", "source", "bytes", "name", "reasoningContent", "citationsContent"),
)

# --- what is refused -------------------------------------------------------------------------------------------------

IMAGE = {"format": "png", "source": {"bytes": "AAAA"}}


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "JSON object"),
        ('"text"', "JSON object"),
        ({}, "either 'message'"),
        ({"message": "a", "messages": []}, "either 'message'"),
        ({"message": 1}, "message is a text"),
        ({"message": []}, "message is a text"),
        ({"message": [1]}, "a block of message"),
        ({"message": [{"text": "a", "image": IMAGE}]}, "a block of message"),
        ({"message": [{"toolResult": {}}]}, "a block of message"),
        ({"message": [{"cachePoint": {"type": "default"}}]}, "a block of message"),
        ({"message": [{"text": 1}]}, "text"),
        ({"message": "  "}, "blank"),
        ({"message": [{"image": {**IMAGE, "source": {"s3Location": {"uri": "s3://private/x"}}}}]}, "no other place"),
        ({"message": [{"image": {**IMAGE, "source": {"url": "http://169.254.169.254/"}}}]}, "no other place"),
        ({"message": [{"image": {**IMAGE, "source": "s3://private/x"}}]}, "no other place"),
        ({"message": [{"image": {**IMAGE, "newer": 1}}]}, "nothing else"),
        ({"message": [{"image": {**IMAGE, "source": {"bytes": "%%%"}}}]}, "bytes"),
        ({"messages": "Hi"}, "list of turns"),
        ({"messages": []}, "list of turns"),
        ({"messages": ["Hi"]}, r"messages\[0\] has the 'role'"),
        ({"messages": [{"role": "system", "content": "Obey"}]}, r"messages\[0\] has the 'role'"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, r"messages\[0\] has the 'role'"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "the user's"),
        ({"message": "Hi", "session": "x" * 20}, "no sessions are kept here"),
        ({"message": "Hi", "max_tokens": "5"}, "'max_tokens' is a whole number"),
        ({"message": "Hi", "max_tokens": 0}, "'max_tokens' is a whole number"),
        ({"message": "Hi", "max_tokens": True}, "'max_tokens' is a whole number"),
        ({"message": "Hi", "temperature": "hot"}, "'temperature' is a number"),
        ({"message": "Hi", "stop_sequences": "x"}, "list of texts"),
        ({"message": "Hi", "system": ["a"]}, "'system' is a text"),
    ],
)
def test_a_body_that_is_wrong_says_how(body: Any, match: str, aws: Callable[..., Any]) -> None:
    calls = aws("never")
    status, told = ask(chat_handler(MODEL), body)
    assert (status, told["error"]["type"]) == (400, "invalid_request")
    assert told["error"]["request_id"] == FakeContext.aws_request_id
    assert pytest.raises(AssertionError, match=match).matches(AssertionError(told["error"]["message"]))
    assert not calls.requests


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=10,
)
ANSWERING = chat_handler(MODEL, client=object(), respond=lambda turn: "ok")


@given(st.dictionaries(st.sampled_from(NAMES), NESTED, max_size=4) | NESTED)
def test_any_json_is_answered(body: Any) -> None:
    assert ask(ANSWERING, json.dumps(body))[0] in (200, 400)


def test_a_deployments_system_prompt_is_not_the_callers_to_change(aws: Callable[..., Any]) -> None:
    aws("never")
    assert ask(chat_handler(MODEL, system="Be kind."), {"message": "Hi", "system": "Be rude."})[0] == 400


def test_a_body_over_the_limit_is_refused(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    aws("never")
    monkeypatch.setenv("AWSLLM_MAX_BODY_BYTES", "100")
    status, told = ask(chat_handler(MODEL), {"message": "x" * 200})
    assert (status, told["error"]["type"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/v1/health/", 200),
        ("GET", "/chat", 405),
        ("PUT", "/chat", 405),
        ("POST", "/ask/the/clerk", 200),  # which routes lead here, the front door says
        ("DELETE", "/sessions/abc", 404),  # none are kept here
        ("OPTIONS", "/chat", 204),
        ("POST", "/", 200),
        ("POST", "/v1/chat", 200),
    ],
)
def test_each_method_and_path_has_its_answer(method: str, path: str, status: int, aws: Callable[..., Any]) -> None:
    calls = aws("Hi")
    reply = chat_handler(MODEL)(event("rest", httpMethod=method, path=path), FakeContext())
    assert reply["statusCode"] == status
    assert len(calls.requests) == (status == 200 and method == "POST")
    if method == "HEAD":
        assert reply["body"] == ""
    if status == 405:
        assert "POST" in reply["headers"]["allow"]


@pytest.mark.parametrize("stray", [None, [], {}, {"Records": []}, {"source": "aws.events", "detail": {}}, 5])
def test_an_event_of_no_door_is_answered_and_done_with(stray: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler = chat_handler(MODEL)
    status, told = answered(handler(stray, FakeContext()))
    assert (status, told["error"]["type"]) == (400, "invalid_request")
    assert json.loads(capsys.readouterr().out)["error"] == "UnknownEventError"


def test_pages_of_listed_origins_may_call(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    aws("Hi")
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "https://a.example,https://b.example")
    handler = chat_handler(MODEL)

    def headers(origin: str, method: str = "POST") -> Any:
        front = event("rest", httpMethod=method, multiValueHeaders=None, headers={"Origin": origin})
        return handler(front, FakeContext())["headers"]

    assert headers("https://b.example")["access-control-allow-origin"] == "https://b.example"
    assert headers("https://b.example")["vary"] == "origin"
    assert "POST" in headers("https://a.example", "OPTIONS")["access-control-allow-methods"]
    assert "authorization" in headers("https://a.example", "OPTIONS")["access-control-allow-headers"]
    assert not [name for name in headers("https://evil.example") if name.startswith("access-control")]
    assert not [name for name in headers("https://evil.example", "OPTIONS") if name.startswith("access-control")]


def test_a_refusal_can_be_read_by_a_page_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "*")
    front = event("http", headers={"origin": "https://a.example"}, body="{", isBase64Encoded=False)
    reply = chat_handler(MODEL)(front, FakeContext())
    assert reply["statusCode"] == 400
    assert reply["headers"]["access-control-allow-origin"] == "*"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_model_is_not_asked_when_no_time_is_left(aws: Callable[..., Any]) -> None:
    calls = aws("never")
    status, told = ask(chat_handler(MODEL), {"message": "Hi"}, milliseconds=400)
    assert (status, told["error"]["type"]) == (504, "deadline")
    assert not calls.requests


def test_a_call_gets_the_time_that_is_left(aws: Callable[..., Any]) -> None:
    aws("Hi")
    times: list[float] = []

    def respond(turn: ChatTurn) -> str:
        times.append(turn.options["timeout"])
        return "ok"

    ask(chat_handler(MODEL, respond=respond), {"message": "Hi"}, milliseconds=10_000)
    ask(chat_handler(MODEL, respond=respond, timeout=3.0), {"message": "Hi"}, milliseconds=10_000)
    assert times == [pytest.approx(9.5), 3.0]


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (
            ThrottlingError("Too many requests", code="ThrottlingException", status=429, retry_after=100),
            429,
            "throttled",
        ),
        (AccessDeniedError("User: arn:aws:sts::1:x is not authorized", status=403), 502, "upstream"),
        (ServerError("boom", status=500, retryable=False), 502, "upstream"),
    ],
)
def test_what_a_service_refuses_has_its_status(
    raised: Exception,
    status: int,
    kind: str,
    aws: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    aws(raised)
    client = awsllm.Client(policy=awsllm.Policy(max_attempts=1))
    got = chat_handler(MODEL, client=client)(post({"message": "Hi"}), FakeContext())
    assert (got["statusCode"], json.loads(got["body"])["error"]["type"]) == (status, kind)
    assert ("retry-after" in got["headers"]) == (status == 429)
    assert "arn:" not in got["body"]
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["error"]) == ("WARNING" if status < 500 else "ERROR", type(raised).__name__)


def test_an_error_of_ones_own_code_is_told_to_nobody(
    aws: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    aws("never")

    def respond(turn: ChatTurn) -> str:
        raise KeyError(f"no passage for {turn.text}")

    status, told = ask(chat_handler(MODEL, respond=respond), {"message": "my secret"})
    line = capsys.readouterr().out
    assert (status, told["error"]["type"]) == (502, "upstream")
    assert "secret" not in json.dumps(told) + line
    assert json.loads(line)["where"][-1].endswith(" respond")


def test_an_answer_that_is_none_is_no_fault_of_the_callers() -> None:
    respond: Any = lambda turn: None  # noqa: E731
    assert ask(chat_handler(MODEL, client=object(), respond=respond), {"message": "Hi"})[0] == 502


def test_a_model_that_keeps_silent_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def respond(received: Received) -> Response:
        over.wait(PATIENCE)
        return Response(b"{}")

    with serving(respond) as url, awsllm.Client(endpoint_url=url) as client:
        status, told = ask(chat_handler(MODEL, client=client), {"message": "Hi"}, milliseconds=1_000)
        over.set()
    assert (status, told["error"]["type"]) == (504, "deadline")


def test_no_line_of_the_log_has_a_prompt_or_an_answer(
    aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aws("the canary sings")
    monkeypatch.setenv("AWSLLM_LOG_LEVEL", "DEBUG")
    handler = chat_handler(MODEL)
    ask(handler, {"message": "tell the canary"})
    ask(handler, {"message": [{"image": {"format": "canary", "source": {"bytes": "AAAA"}}}]})
    out = capsys.readouterr().out
    assert "canary" not in out
    line = json.loads(out.splitlines()[0])
    assert (line["message"], line["model"], line["output_tokens"]) == ("answered", MODEL, 3)


@pytest.mark.parametrize(("door", "most"), [("url", 6 * 2**20), ("alb", 2**20)])
def test_an_answer_that_no_door_passes_on_is_told(door: str, most: int) -> None:
    fits = chat_handler(MODEL, respond=lambda turn: "x" * (most // 2 - 1000))  # it stands in text and in message
    assert ask(fits, {"message": "Hi"}, door)[0] == 200
    status, told = ask(chat_handler(MODEL, respond=lambda turn: "x" * (most // 2)), {"message": "Hi"}, door)
    assert (status, "longer than can be sent" in told["error"]["message"]) == (502, True)


# --- extending -------------------------------------------------------------------------------------------------------


def test_respond_may_answer_itself(aws: Callable[..., Any]) -> None:
    calls = aws("never")
    seen: list[ChatTurn] = []

    def respond(turn: ChatTurn) -> str:
        seen.append(turn)
        return f"You said: {turn.text}"

    status, told = answered(chat_handler(MODEL, respond=respond)(event("http_jwt"), FakeContext()))
    assert (status, told["text"], told["cost"]) == (200, "You said: Say hello.", None)
    assert seen[0].caller == "8f1c2d3e-0000-4000-8000-000000000001"
    assert seen[0].event["routeKey"] == "POST /chat"
    assert "hello" not in repr(seen[0])
    assert not calls.requests


def test_respond_may_ask_in_its_own_way(aws: Callable[..., Any]) -> None:
    calls = aws("From the passage.")

    def respond(turn: ChatTurn) -> ConverseResponse:
        return answer(turn, system="Answer from: passage", messages=[*turn.messages])

    assert ask(chat_handler(MODEL, respond=respond), {"message": "Hi"})[1]["text"] == "From the passage."
    assert calls.requests[0].system[0].text == "Answer from: passage"


def test_a_typed_answer_is_there_as_json(aws: Callable[..., Any]) -> None:
    aws('{"name": "Ann", "age": 7}')
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    told = ask(chat_handler(MODEL, output_type=schema), {"message": "Who?"})[1]
    assert told["output"] == {"name": "Ann", "age": 7}


def test_tools_run_in_the_function(aws: Callable[..., Any]) -> None:
    aws([{"toolUse": {"name": "today", "input": {}}}, "It is Thursday."])

    def today() -> str:
        """Which day it is."""
        return "Thursday"

    assert ask(chat_handler(MODEL, tools=[today]), {"message": "Which day?"})[1]["text"] == "It is Thursday."


def test_a_router_of_powertools_may_call_it(aws: Callable[..., Any]) -> None:
    aws("Hi")
    app, chat = APIGatewayRestResolver(), chat_handler(MODEL)

    @app.post("/chat")
    def route() -> Any:
        return json.loads(chat(app.current_event.raw_event, app.lambda_context)["body"])

    context: Any = FakeContext()
    assert json.loads(app.resolve(event("rest"), context)["body"])["text"] == "Hi"


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    def enter(reply: Any) -> Any:
        calls = aws(reply)
        new_sessions_table("sessions")
        return calls

    monkeypatch.setenv("AWSLLM_SESSIONS_TABLE", "sessions")
    return enter


def test_a_session_goes_on(kept: Callable[[Any], Any]) -> None:
    calls = kept(["Hello Ann.", "Ann."])
    handler = chat_handler(MODEL)
    first = ask(handler, {"message": "I am Ann."}, "http_jwt")[1]
    second = ask(handler, {"message": "Who am I?", "session": first["session"]}, "http_jwt")[1]
    assert (second["text"], second["session"]) == ("Ann.", first["session"])
    texts = [message.text for message in calls.requests[1].messages]
    assert texts == ["I am Ann.", "Hello Ann.", "Who am I?"]


def test_a_session_is_its_callers_own(kept: Callable[[Any], Any]) -> None:
    calls = kept("Hello Ann.")
    handler = chat_handler(MODEL)
    session = ask(handler, {"message": "I am Ann."}, "http_jwt")[1]["session"]
    for other in ("http", "http_iam", "rest_iam", "url_iam", "alb"):
        assert ask(handler, {"message": "Who am I?", "session": session}, other)[0] == 404
    assert len(calls.requests) == 1


def test_a_session_is_forgotten_by_its_caller_alone(kept: Callable[[Any], Any]) -> None:
    kept("Hello.")
    handler = chat_handler(MODEL)
    session = ask(handler, {"message": "Hi"}, "rest_iam")[1]["session"]

    def forget(name: str) -> int:
        status: int = handler(event(name, httpMethod="DELETE", path=f"/sessions/{session}"), FakeContext())[
            "statusCode"
        ]
        return status

    assert forget("rest_cognito") == 204  # whether there was one is nobody else's business
    assert ask(handler, {"message": "Hi", "session": session}, "rest_iam")[0] == 200
    assert forget("rest_iam") == 204
    assert ask(handler, {"message": "Hi", "session": session}, "rest_iam")[0] == 404


def test_who_remembers_himself_has_no_session(kept: Callable[[Any], Any]) -> None:
    kept("Hello.")
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert ask(chat_handler(MODEL), body)[1]["session"] is None
    status, told = ask(chat_handler(MODEL), {**body, "session": "x" * 20})
    assert (status, "one 'message'" in told["error"]["message"]) == (400, True)


def test_of_two_turns_at_once_the_second_is_answered_and_says_it_was_not_kept(kept: Callable[[Any], Any]) -> None:
    kept("Hello.")
    handler = chat_handler(MODEL)
    session = ask(handler, {"message": "Hi"})[1]["session"]

    def respond(turn: ChatTurn) -> str:
        ask(handler, {"message": "Meanwhile", "session": session})
        return "Late."

    status, told = ask(chat_handler(MODEL, respond=respond), {"message": "Slow", "session": session})
    assert (status, told["text"], told["session"]) == (200, "Late.", session)
    assert "one turn at a time" in told["warnings"][0]


def test_a_turn_that_a_guardrail_stopped_is_not_kept(kept: Callable[[Any], Any]) -> None:
    stopped = ConverseResponse(message=Message.assistant("No."), stop_reason="guardrail_intervened")
    kept([stopped, "Hello."])
    told = ask(chat_handler(MODEL), {"message": "Bad"})[1]
    assert (told["text"], told["session"]) == ("No.", None)
    assert "guardrail" in told["warnings"][0]


def test_an_answer_is_given_though_the_table_cannot_be_written(
    kept: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kept("Hello.")

    def respond(turn: ChatTurn) -> str:
        boto3.client("dynamodb", "us-east-1").delete_table(TableName="sessions")
        return "Paid for."

    status, told = ask(chat_handler(MODEL, respond=respond), {"message": "Hi"})
    assert (status, told["text"], told["session"]) == (200, "Paid for.", None)
    assert "could not be written" in told["warnings"][0]
    assert "could not be saved" in capsys.readouterr().out


def test_a_session_is_saved_in_time_for_the_answer(kept: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that stalls must not keep back an answer that was paid for until Lambda stops the function."""
    kept("Hello.")
    left: dict[str, float] = {}
    call = Rpc.call

    def called(self: Any, service: str, operation: str, *rest: Any, **more: Any) -> Any:
        left[operation] = (rpc._until.get() or math.inf) - time.monotonic()
        return call(self, service, operation, *rest, **more)

    monkeypatch.setattr(Rpc, "call", called)
    handler = chat_handler(MODEL)
    _, told = ask(handler, {"message": "Hi"}, milliseconds=2_000)
    assert ask(handler, {"message": "Go on", "session": told["session"]}, milliseconds=2_000)[0] == 200
    assert left["PutItem"] <= 1.75
    assert left["GetItem"] <= 1.5


def test_a_table_that_is_not_there_is_a_fault_of_the_deployment(
    aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws("never")
    monkeypatch.setenv("AWSLLM_SESSIONS_TABLE", "none")
    status, told = ask(chat_handler(MODEL), {"message": "Hi", "session": "x" * 24})
    assert (status, told["error"]["type"]) == (502, "upstream")
