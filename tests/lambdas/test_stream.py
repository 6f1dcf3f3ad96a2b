"""Answers as they are written: the events, their order, silence, deadlines, errors, and callers that leave."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from awsllm import Client, Policy
from awsllm.errors import AccessDeniedError, ConfigurationError, ThrottlingError
from awsllm.lambdas import stream as module
from awsllm.lambdas.context import DeadlineError
from awsllm.lambdas.http.sse import frame
from awsllm.lambdas.http.stream_head import StreamHead, split_head
from awsllm.lambdas.runtime import Runtime, RuntimeApiError
from awsllm.lambdas.stream import ChatTurn, answers, stream_handler
from awsllm.testing import Broken, ScriptedBackend
from awsllm.types import (
    Bytes,
    Citation,
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ImageDelta,
    ImageStart,
    MessageStart,
    MessageStop,
    Metadata,
    Reasoning,
    StreamEvent,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Usage,
)
from tests.support.lambdas import FakeContext, event
from tests.support.runtime_api import PATIENCE, RuntimeApi
from tests.support.streams import SentEvent, sent_events
from tests.test_architecture import HEAVY, loaded_after

MODEL = "bedrock:amazon.nova-lite-v1:0"


def scripted(reply: Any) -> dict[str, Any]:
    once = Policy(max_attempts=1)
    client = Client(region="us-east-1", backends={"bedrock": ScriptedBackend(reply)}, policy=once)
    return {"model": MODEL, "client": client}


def answered(handler: Any, sent: Any = None, context: Any = None) -> tuple[StreamHead, list[SentEvent]]:
    """The head and the events of an answer, which may break off."""
    items = handler(event("url") if sent is None else sent, context or FakeContext())
    head, body = next(items), []
    try:
        body.extend(items)
    except Exception as error:
        body.append(frame("raised", {"type": type(error).__name__}))
    return head, sent_events(body)


def refused(handler: Any, sent: Any, context: Any = None) -> tuple[StreamHead, Any]:
    head, body = handler(sent, context or FakeContext())
    return head, json.loads(body)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_answer_is_deltas_then_metadata_then_done() -> None:
    head, events = answered(stream_handler(**scripted("One two three."), max_tokens=50))
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert [one.name for one in events][-2:] == ["metadata", "done"]
    assert "".join(one.data["text"] for one in events if one.name == "delta") == "One two three."
    metadata = events[-2].data
    assert (metadata["stop_reason"], metadata["model"]) == ("end_turn", MODEL)
    assert metadata["usage"]["output_tokens"] == 3
    assert metadata["cost"] > 0
    assert events[-1].data == "[DONE]"


def test_tool_uses_come_whole_and_thinking_apart() -> None:
    reply = (Reasoning("Let me look."), Text("Looking."), ToolUse("t1", "search", {"q": "é"}))
    _, events = answered(stream_handler(**scripted(reply)))
    assert events[0].data == {"text": "Let me look."}
    assert events[0].name == "reasoning"
    assert next(one.data for one in events if one.name == "tool_use") == {
        "id": "t1",
        "name": "search",
        "input": {"q": "é"},
    }
    assert events[-2].data["stop_reason"] == "tool_use"


def test_citations_are_sent_and_images_told_of() -> None:
    def respond(turn: ChatTurn) -> Iterator[StreamEvent]:
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, CitationDelta(Citation(title="Paper")))
        yield ContentBlockDelta(1, ToolUseDelta('{"q'))
        yield ContentBlockStart(2, ImageStart("png"))
        yield ContentBlockDelta(2, ImageDelta(Bytes(b"x")))
        yield MessageStop("end_turn")

    _, events = answered(stream_handler(**scripted(""), respond=respond))
    assert [one.name for one in events] == ["citation", "metadata", "done"]
    assert events[0].data["title"] == "Paper"
    assert "an image" in events[1].data["warnings"][0]


def test_a_tool_use_that_was_cut_is_sent_as_it_came() -> None:
    def respond(turn: ChatTurn) -> Iterator[StreamEvent]:
        yield ContentBlockStart(0, ToolUseStart("t1", "search"))
        yield ContentBlockDelta(0, ToolUseDelta('{"q": "a'))
        yield ContentBlockStop(0)
        yield MessageStop("max_tokens")

    _, events = answered(stream_handler(**scripted(""), respond=respond))
    assert events[0].data == {"id": "t1", "name": "search", "input": '{"q": "a'}


def test_a_function_of_ones_own_yields_texts_and_events() -> None:
    def respond(turn: ChatTurn) -> Iterator[str | StreamEvent]:
        yield f"{turn.text}? "
        yield from answers(turn, system="Be brief.")

    options = scripted("Yes.")
    _, events = answered(stream_handler(**options, respond=respond))
    assert "".join(one.data["text"] for one in events if one.name == "delta") == "Say hello.? Yes."
    assert events[-2].data["stop_reason"] == "end_turn"


@pytest.mark.parametrize("pieces", [iter, lambda stream: stream.text_stream])
def test_what_a_function_of_ones_own_asked_for_is_counted(
    pieces: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(turn: ChatTurn) -> Iterator[str | StreamEvent]:
        yield from pieces(answers(turn, system="Find what helps.", max_tokens=9))
        yield from pieces(answers(turn))

    _, alone = answered(stream_handler(**scripted("Yes.")))
    _, events = answered(stream_handler(**scripted("Yes."), respond=respond))
    told, one = events[-2].data, alone[-2].data
    assert told["model"] == one["model"] == MODEL
    assert told["cost"] > one["cost"]
    assert told["usage"]["output_tokens"] == 2 * one["usage"]["output_tokens"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cost"] == told["cost"]


def test_under_awss_own_client_it_says_at_once_how_to_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    stream_handler(**scripted(""))  # under awsllm's loop
    monkeypatch.setitem(sys.modules, "awslambdaric.bootstrap", sys)
    with pytest.raises(ConfigurationError, match=r"AWS_LAMBDA_EXEC_WRAPPER .* /var/task/awsllm-stream"):
        stream_handler(**scripted(""))


def test_texts_alone_are_whole_where_they_end() -> None:
    _, events = answered(stream_handler(**scripted(""), respond=lambda turn: ["a", "", "b"]))
    assert [one.name for one in events] == ["delta", "delta", "metadata", "done"]


def test_events_without_a_stop_are_no_whole_answer() -> None:
    def respond(turn: ChatTurn) -> Iterator[StreamEvent]:
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, TextDelta("a"))
        yield Metadata(Usage(1, 1))

    _, events = answered(stream_handler(**scripted(""), respond=respond))
    assert [one.name for one in events] == ["delta", "error", "raised"]


def test_what_comes_after_a_stop_must_stop_too() -> None:
    def respond(turn: ChatTurn) -> Iterator[StreamEvent]:
        yield MessageStop("tool_use")
        yield ContentBlockDelta(0, TextDelta("a"))

    _, events = answered(stream_handler(**scripted(""), respond=respond))
    assert [one.name for one in events] == ["delta", "error", "raised"]


def test_an_allowed_origin_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_CORS_ORIGINS", "https://a.example")
    sent = event("url")
    sent["headers"]["origin"] = "https://a.example"
    head, _ = answered(stream_handler(**scripted("x")), sent)
    assert head.headers["access-control-allow-origin"] == "https://a.example"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["url", "rest", "alb"])
def test_a_request_that_is_none_has_a_status(door: str) -> None:
    head, body = refused(stream_handler(**scripted("x")), event(door, body="{"))
    assert (head.status, body["error"]["type"], body["error"]["request_id"]) == (
        400,
        "invalid_request",
        FakeContext.aws_request_id,
    )


def test_what_fails_before_the_first_event_has_a_status() -> None:
    error = ThrottlingError("too many tokens", code="ThrottlingException", retry_after=0.0)
    head, body = refused(stream_handler(**scripted(error)), event("url"), FakeContext(2000))
    assert (head.status, head.headers["retry-after"], body["error"]["type"]) == (429, "1", "throttled")


def test_an_error_says_nothing_of_roles(capsys: pytest.CaptureFixture[str]) -> None:
    error = AccessDeniedError("role arn:aws:iam::123456789012:role/x may not", code="AccessDeniedException")
    error.annotate(backend="bedrock", model="m")
    head, body = refused(stream_handler(**scripted(error)), event("url"))
    assert (head.status, "arn:" in json.dumps(body)) == (502, False)
    assert json.loads(capsys.readouterr().out)["error"] == "AccessDeniedError"


def test_other_methods_and_health() -> None:
    handler = stream_handler(**scripted("x"))
    sent = event("url", rawPath="/health")
    sent["requestContext"]["http"]["method"] = "GET"
    assert refused(handler, sent)[1] == {"status": "ok"}
    sent["requestContext"]["http"]["method"] = "HEAD"
    assert list(handler(sent, FakeContext()))[1:] == [b""]
    sent = event("url")
    sent["requestContext"]["http"]["method"] = "PUT"
    head, _ = refused(handler, sent)
    assert (head.status, head.headers["allow"]) == (405, "POST, GET, OPTIONS")


def test_an_event_of_no_front_door_is_acknowledged() -> None:
    assert stream_handler(**scripted("x"))({"some": "thing"}, FakeContext())["statusCode"] == 400


def test_no_time_left_is_told_at_once() -> None:
    head, body = refused(stream_handler(**scripted("x")), event("url"), FakeContext(300))
    assert (head.status, body["error"]["type"]) == (504, "deadline")


# --- silence, deadlines, breaks --------------------------------------------------------------------------------------


class Gated:
    """A model that waits for the test before its first and its second word."""

    def __init__(self) -> None:
        self.gates = [threading.Event(), threading.Event()]
        self.closed = threading.Event()

    def __call__(self, request: Any) -> Iterator[StreamEvent]:
        try:
            yield MessageStart("assistant")
            for gate, word in zip(self.gates, ("one", "two"), strict=True):
                assert gate.wait(PATIENCE)
                yield ContentBlockDelta(0, TextDelta(word))
            yield MessageStop("end_turn")
            yield Metadata(Usage(1, 2))
        finally:
            self.closed.set()


def test_silence_is_filled_with_comments() -> None:
    model = Gated()
    items = stream_handler(**scripted(model), silence=0.01)(event("url"), FakeContext())
    assert next(items).status == 200
    assert next(items) == b": keep-alive\n\n"
    model.gates[0].set()
    assert next(item for item in items if item[:1] != b":") == b'event: delta\ndata: {"text":"one"}\n\n'
    assert next(items) == b": keep-alive\n\n"
    model.gates[1].set()
    assert [one.name for one in sent_events(items)] == ["delta", "metadata", "done"]


def test_the_end_of_the_functions_time_ends_the_answer_and_loses_nothing() -> None:
    model, context = Gated(), FakeContext()
    model.gates[0].set()
    items = stream_handler(**scripted(model))(event("url"), context)
    assert next(items).status == 200
    assert sent_events([next(items)]) == [("delta", {"text": "one"})]
    context.milliseconds = 510  # no time for the second word
    (last,) = sent_events([next(items)])
    assert (last.name, last.data["error"]["type"]) == ("error", "deadline")
    with pytest.raises(DeadlineError):
        next(items)
    model.gates[1].set()
    assert model.closed.wait(PATIENCE)


def test_what_has_come_is_sent_although_the_time_is_over() -> None:
    come, gate, context = threading.Event(), threading.Event(), FakeContext()

    def respond(turn: ChatTurn) -> Iterator[str]:
        yield from "abc"
        come.set()
        gate.wait(PATIENCE)

    items = stream_handler(**scripted(""), respond=respond)(event("url"), context)
    assert next(items).status == 200
    assert come.wait(PATIENCE)
    context.milliseconds = 500
    seen = []
    with pytest.raises(DeadlineError):
        for item in items:
            seen += sent_events([item])
    gate.set()
    assert [one.name for one in seen] == ["delta", "delta", "delta", "error"]


def test_a_stream_that_breaks_is_an_error_event_and_no_done() -> None:
    _, events = answered(stream_handler(**scripted(Broken("one two three", after=2))))
    assert [one.name for one in events] == ["delta", "error", "raised"]
    assert events[1].data["error"]["type"] == "upstream"
    assert events[1].data["error"]["request_id"] == FakeContext.aws_request_id


def test_a_foreign_exception_tells_no_words() -> None:
    def respond(turn: ChatTurn) -> Iterator[str]:
        yield "a"
        raise KeyError("secret prompt")

    _, events = answered(stream_handler(**scripted(""), respond=respond))
    assert events[1].data["error"]["type"] == "upstream"
    assert "secret" not in json.dumps(events)


def test_a_caller_that_leaves_frees_the_model() -> None:
    model = Gated()
    model.gates[0].set()
    options = scripted(model)
    items = stream_handler(**options)(event("url"), FakeContext())
    assert next(items).status == 200
    next(items)
    items.close()
    model.gates[1].set()
    assert model.closed.wait(PATIENCE)


# --- under the runtime's loop ----------------------------------------------------------------------------------------


def test_behind_the_runtime_api_each_event_is_a_chunk_and_a_break_has_trailers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "")
    model, leaver = Gated(), Gated()
    options = scripted([model, Broken("one two three", after=2), leaver])
    monkeypatch.setitem(vars(module), "handler", stream_handler(**options))

    def run() -> None:
        with pytest.raises(RuntimeApiError):
            Runtime(api.address).run("awsllm.lambdas.stream.handler")

    with RuntimeApi() as api:
        thread = threading.Thread(target=run)
        thread.start()
        invoked = api.invoke(event("url"))
        model.gates[0].set()
        chunks = invoked.stream(PATIENCE)
        head = split_head(next(chunks))
        assert head is not None
        assert head[0].status == 200
        assert sent_events([next(chunks)]) == [("delta", {"text": "one"})]
        assert invoked.outcome is None
        model.gates[1].set()
        assert [one.name for one in sent_events(chunks)] == ["delta", "metadata", "done"]
        assert invoked.wait(PATIENCE).trailers == {}
        broken = api.invoke(event("url")).wait(PATIENCE)
        assert broken.trailers["lambda-runtime-function-error-type"] == "Runtime.StreamError"
        assert [one.name for one in sent_events([broken.body.partition(b"\0" * 8)[2]])] == ["delta", "error"]
        leaver.gates[0].set()
        left = api.invoke(event("url"))
        assert next(left.stream(PATIENCE))
        left.leave()
        assert left.wait(PATIENCE).outcome == "cut"
        leaver.gates[1].set()
        assert leaver.closed.wait(PATIENCE)
        unknown = api.invoke({"what": "is this"}).wait(PATIENCE)
        assert (unknown.outcome, unknown.json()["statusCode"]) == ("response", 400)
    thread.join(PATIENCE)
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["level"] for line in logged] == ["INFO", "ERROR", "WARNING", "WARNING"]
    assert logged[0]["output_tokens"] == 2
    assert "one two" not in json.dumps(logged)


def test_what_a_first_reply_needs_is_loaded_and_no_more() -> None:
    code = (
        f"import os; os.environ.update(AWSLLM_MODEL={MODEL!r}, AWS_REGION='us-east-1')\n"
        "import awsllm.lambdas.runtime, awsllm.lambdas.stream\nawsllm.lambdas.stream.handler"
    )
    unwanted = HEAVY | {"botocore", "logging", "http.server", "snapshot_restore_py"}
    assert not loaded_after(code) & (unwanted | {"awsllm.server", "awsllm.lambdas.http.sessions", "awsllm.tools"})


def test_the_handler_is_made_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", MODEL)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert module.handler is module.handler
    del module.handler
    monkeypatch.setenv("AWSLLM_MODEL", "nova")
    with pytest.raises(ConfigurationError, match="AWSLLM_MODEL"):
        _ = module.handler
