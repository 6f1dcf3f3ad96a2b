"""The server without an SDK: what it refuses, how it routes and authenticates, and that nothing runs for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.validate import ParamValidator
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError, ContextWindowError, ModelNotReadyError, ThrottlingError, ValidationError
from awsllm.server import Models, running, serve
from awsllm.server.http.tls import Certificates, local_certificates
from awsllm.server.run import Address, _Requests, free_address
from awsllm.server.shapes import check, service_model
from awsllm.server.surfaces.routes import plan
from awsllm.server.surfaces.vectors import resize
from awsllm.server.work import Ask, Incoming, Reply, Stream
from awsllm.testing.replies import respond
from awsllm.testing.scripted import AsyncScriptedBackend, Broken, ScriptedBackend
from awsllm.types import (
    ContentBlockDelta,
    ConverseRequest,
    Message,
    MessageStart,
    MessageStop,
    Metadata,
    StreamEvent,
    TextDelta,
    ToolUse,
    Usage,
)
from awsllm.types.embedding import EmbedRequest
from awsllm.wire.converse import EventDecoder
from awsllm.wire.eventstream import FrameDecoder

CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
FULL: dict[str, Any] = {
    "modelId": CLAUDE,
    "messages": [
        {"role": "user", "content": [{"text": "Hi"}, {"image": {"format": "png", "source": {"bytes": "AA=="}}}]}
    ],
    "system": [{"text": "Be brief."}],
    "inferenceConfig": {"maxTokens": 10, "temperature": 0.5, "topP": 1, "stopSequences": ["x"]},
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}],
        "toolChoice": {"tool": {"name": "weather"}},
    },
    "requestMetadata": {"team": "a"},
    "additionalModelRequestFields": {"top_k": [1, {"x": None}]},
    "outputConfig": {"effort": "low"},
    "serviceTier": {"type": "flex"},
}


def post(path: str, body: Any = HELLO, **headers: str) -> Incoming:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming("POST", path, headers, data)


def changed(path: str, value: Any) -> dict[str, Any]:
    """FULL with the member at a dotted ``path`` set to ``value``."""
    wire = copy.deepcopy(FULL)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = wire
    for part in parents:
        place = place[part]
    place[last] = value
    return wire


# --- what the service model says -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "inferenceConfig.temperature",
            1.5,
            "'1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Mem",
        ),
        ("inferenceConfig.maxTokens", 0, "Member must have value greater than or equal to 1"),
        ("inferenceConfig.maxTokens", "10", "'inferenceConfig.maxTokens' has the wrong type: a integer is expected"),
        ("inferenceConfig.maxTokens", True, "not a boolean"),
        ("toolConfig.tools", [], "Member must have length greater than or equal to 1"),
        ("toolConfig.tools.0.toolSpec.name", "x y", "at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy c"),
        ("toolConfig.tools.0.toolSpec.name", "x" * 65, "Member must have length less than or equal to 64"),
        ("toolConfig.tools.0.toolSpec.name", None, "Value null at 'toolConfig.tools.1.member.toolSpec.name'"),
        ("messages.0.role", "bot", "Member must satisfy enum value set: [user, assistant"),
        ("messages.0.content.0", {"text": "a", "cachePoint": {"type": "default"}}, "exactly one of [text, image"),
        ("messages.0.content.0", {}, "exactly one of [text, image"),
        ("messages.0.content.1.image.format", "tiff", "Member must satisfy enum value set: [png, jpeg, gif, webp]"),
        ("messages.0.content.1.image.source.bytes", "", "Member must have length greater than or equal to 1"),
        ("messages", {}, "a list is expected, not an object"),
        ("requestMetadata", {"a": "\x00"}, "at 'requestMetadata.a.value'"),
        ("modelId", "a b", "at 'modelId' failed to satisfy constraint: Member must satisfy regular expression"),
    ],
)
def test_what_breaks_the_model_is_named_with_its_path(path: str, value: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check("bedrock-runtime", "Converse", changed(path, value))
    assert expected in caught.value.message
    assert caught.value.message.startswith("1 validation error detected: ")


def test_all_faults_are_told_at_once() -> None:
    wire = changed("inferenceConfig", {"topP": -1, "temperature": 2})
    with pytest.raises(ValidationError, match=r"^2 validation errors detected: .*; .*"):
        check("bedrock-runtime", "Converse", wire)


def test_what_is_whole_or_newer_passes() -> None:
    check("bedrock-runtime", "Converse", FULL)
    check("bedrock-runtime", "Converse", {**FULL, "memberOfNextYear": {"a": 1}})


paths = st.sampled_from([*FULL, "messages.0.content.0.text", "inferenceConfig.topP"])
values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "role", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(paths, values)
def test_what_botocore_refuses_is_refused(path: str, value: Any) -> None:
    """botocore's validator is the weaker judge: types, required members, minima. Unknown members it refuses alone."""
    wire = changed(path, value)
    shape = service_model("bedrock-runtime").operation_model("Converse").input_shape
    report = ParamValidator().validate(wire, shape).generate_report()
    mine = ""
    try:
        check("bedrock-runtime", "Converse", wire)
    except ValidationError as error:
        mine = error.message
    theirs = [line for line in report.splitlines() if "Unknown parameter" not in line]
    assert not theirs or mine, theirs


# --- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        CLAUDE,
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/" + CLAUDE,
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.meta.llama3-1-8b-instruct-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdef123456",
    ],
)
@pytest.mark.parametrize("safe", ["", ":", ":/"], ids=["boto3", "AnthropicBedrock", "raw"])
def test_model_ids_survive_every_way_of_escaping(model: str, safe: str) -> None:
    work = plan(post(f"/model/{quote(model, safe=safe)}/converse"))
    assert isinstance(work, Ask)
    assert work.request == ConverseRequest(model=model, messages=(Message.user("Hello"),))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"/model/{CLAUDE}/converse-stream", Stream),
        ("/endpoints/my-endpoint/invocations", Ask),
        ("/endpoints/my-endpoint/invocations-response-stream", Stream),
    ],
)
def test_operations_by_path(path: str, kind: type) -> None:
    body = HELLO if path.startswith("/model") else {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
    if kind is Ask:
        body.pop("stream", None)
    assert isinstance(plan(post(path, body)), kind)


def test_counting_and_embedding() -> None:
    counting = plan(post(f"/model/{CLAUDE}/count-tokens", {"input": {"converse": HELLO}}))
    assert isinstance(counting, Ask)
    assert json.loads(counting.encode(7).body) == {"inputTokens": 7}
    embedding = plan(post("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "a", "dimensions": 256}))
    assert isinstance(embedding, Ask)
    assert isinstance(embedding.request, EmbedRequest)
    assert embedding.request.texts == ("a",)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/model/{CLAUDE}/converse"),
        ("POST", "/model/converse"),
        ("POST", "/guardrail/x/version/1"),
        ("POST", "/endpoints/a/async-invocations"),
        ("GET", "/"),
    ],
)
def test_what_is_not_served_says_what_is(method: str, path: str) -> None:
    reply = plan(Incoming(method, path))
    assert isinstance(reply, Reply)
    assert reply.status == 404
    assert reply.headers["x-amzn-ErrorType"] == "UnknownOperationException"
    assert " is not served here. " in json.loads(reply.body)["message"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/model/no.such-model-v9%3A9/converse", HELLO, "The provided model identifier is invalid"),
        ("/model/amazon.titan-embed-text-v1/converse", HELLO, "This action doesn't support the model"),
        (
            "/model/amazon.titan-embed-text-v2%3A0/invoke",
            {"inputText": "a", "embeddingTypes": ["binary"]},
            "only float",
        ),
        ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": ""}, "inputText"),
        (f"/model/{CLAUDE}/converse", b"{", "Malformed input request"),
        (f"/model/{CLAUDE}/converse", b"[]", "a JSON object is expected"),
        (f"/model/{CLAUDE}/converse", b'{"a":' * 200 + b"1" + b"}" * 200, "nested more than 100 levels"),
        (f"/model/{CLAUDE}/converse", b"[" * 100_000, "Malformed input request"),
        (
            "/model/amazon.titan-embed-text-v2%3A0/invoke-with-response-stream",
            {"inputText": "a"},
            "The model is unsupported for streaming",
        ),
    ],
)
def test_requests_that_are_refused(path: str, body: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        plan(post(path, body))
    assert expected in caught.value.message


def test_vectors_in_other_sizes() -> None:
    assert resize([0.6, 0.8], 4, normalize=False) == [0.6, 0.8, 0.0, 0.0]
    assert resize([3.0, 4.0, 12.0], 2, normalize=True) == [0.6, 0.8]
    assert resize([0.0, 0.0], 2, normalize=True) == [0.0, 0.0]


# --- over HTTP -------------------------------------------------------------------------------------------------------


class Stage:
    """What the server's one backend says next."""

    reply: Any = "Hello."


stage = Stage()
backend = AsyncScriptedBackend(lambda request: stage.reply(request) if callable(stage.reply) else stage.reply)


@pytest.fixture(autouse=True)
def _reset() -> None:
    stage.reply = "Hello."
    backend.cancelled.clear()
    backend.requests.clear()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(backend) as url:
        yield url


def call(url: str, path: str, body: Any = HELLO, **headers: str) -> tuple[int, dict[str, str], bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def test_a_reply_has_the_headers_of_aws(url: str) -> None:
    status, headers, body = call(url, f"/model/{CLAUDE}/converse")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert len(headers["x-amzn-requestid"]) == 36
    assert "date" in headers
    wire = json.loads(body)
    assert wire["output"]["message"] == {"role": "assistant", "content": [{"text": "Hello."}]}
    assert wire["stopReason"] == "end_turn"
    assert set(wire["usage"]) >= {"inputTokens", "outputTokens", "totalTokens"}
    assert isinstance(wire["metrics"]["latencyMs"], int)


def test_a_stream_is_chunked_padded_and_sorted(url: str) -> None:
    stage.reply = "one two three"
    status, headers, body = call(url, f"/model/{CLAUDE}/converse-stream")
    assert status == 200
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    assert "content-length" not in headers
    assert headers["transfer-encoding"] == "chunked"
    decoder = EventDecoder()
    events = list(decoder.feed(body))
    decoder.close()
    assert isinstance(events[0], MessageStart)
    assert isinstance(events[-1], Metadata)
    deltas = [event.delta.text for event in events if isinstance(event, ContentBlockDelta)]
    assert deltas == ["one", " two", " three"]
    for frame in FrameDecoder().feed(body):
        payload = json.loads(frame.payload)
        assert list(payload) == sorted(payload)
        assert 2 <= len(payload["p"]) <= 61


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ThrottlingError("slow down"), 429, "ThrottlingException"),
        (ContextWindowError("900 tokens"), 400, "ValidationException"),
        (ModelNotReadyError("loading"), 429, "ModelNotReadyException"),
        (ZeroDivisionError("a secret"), 500, "InternalServerException"),
    ],
)
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_errors_before_the_first_event_have_their_status(
    url: str, error: Exception, status: int, kind: str, operation: str
) -> None:
    stage.reply = error
    got, headers, body = call(url, f"/model/{CLAUDE}/{operation}")
    assert got == status
    assert headers["x-amzn-errortype"].startswith(kind + ":http")
    assert set(json.loads(body)) == {"message"}
    assert b"secret" not in body
    assert "x-amzn-requestid" in headers


@pytest.mark.parametrize("error", [ThrottlingError("slow down"), ZeroDivisionError("a secret")])
def test_errors_after_the_200_are_exception_frames(url: str, error: Exception) -> None:
    stage.reply = Broken("a b c", after=2, error=error)
    status, _, body = call(url, f"/model/{CLAUDE}/converse-stream")
    assert status == 200
    name = b"throttlingException" if isinstance(error, ThrottlingError) else b"internalServerException"
    assert name in body
    assert b"secret" not in body


def test_a_stream_cut_by_the_backend_is_told(url: str) -> None:
    stage.reply = lambda request: iter([MessageStart("assistant"), ContentBlockDelta(0, TextDelta("a"))])
    _, _, body = call(url, f"/model/{CLAUDE}/converse-stream")
    assert b"modelStreamErrorException" in body


def test_bodies_beyond_the_limit_are_refused(url: str) -> None:
    status, _, body = call(url, f"/model/{CLAUDE}/converse", b" " * 25_000_001)
    assert status == 400
    assert "25000000 bytes" in json.loads(body)["message"]


def test_a_large_document_passes(url: str) -> None:
    image = {"image": {"format": "png", "source": {"bytes": "AAAA" * 1_000_000}}}
    status, _, _ = call(url, f"/model/{CLAUDE}/converse", {"messages": [{"role": "user", "content": [image]}]})
    assert status == 200


def test_web_pages_may_not_call(url: str) -> None:
    status, _, body = call(url, f"/model/{CLAUDE}/converse", Origin="https://example.org")
    assert (status, json.loads(body)["message"][:20]) == (403, "Calls from web pages")
    host = url.removeprefix("http://")
    port = host.partition(":")[2]
    for origin in ("null", f"http://localhost:{port}", "http://127.0.0.1", f"http://{host}.example.org", f"{host}"):
        assert call(url, f"/model/{CLAUDE}/converse", Origin=origin)[0] == 403, origin
    assert call(url, f"/model/{CLAUDE}/converse", Origin=url)[0] == 200  # the server's own page
    elsewhere = {"Origin": url, "Sec-Fetch-Site": "cross-site"}
    assert call(url, f"/model/{CLAUDE}/converse", **elsewhere)[0] == 403


USE = ToolUse(id="t1", name="weather", input={})


@pytest.mark.parametrize("reply", ["one two", USE, ThrottlingError("slow"), Broken("a b c", after=2)])
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_the_driver_in_process_answers_alike(url: str, reply: Any, operation: str) -> None:
    stage.reply = reply
    path = f"/model/{CLAUDE}/{operation}"
    status, headers, body = call(url, path)
    answered = respond(post(path), plan(post(path)), ScriptedBackend(reply), Models())
    assert answered.status == status
    assert answered.headers["Content-Type"] == headers["content-type"]
    assert essence(answered.body.read()) == essence(body)


def essence(body: bytes) -> Any:
    """A body without what differs from call to call."""
    if body.startswith(b"{"):
        return json.loads(body) | {"metrics": None}
    events = [json.loads(frame.payload) for frame in FrameDecoder().feed(body)]
    return [{name: value for name, value in event.items() if name not in ("p", "metrics")} for event in events]


def test_health(url: str) -> None:
    with urllib.request.urlopen(url + "/health", timeout=20) as reply:
        assert json.loads(reply.read()) == {"status": "ok"}


class Endless:
    """A stream that never ends: an event comes when the test lets it."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.closed = threading.Event()

    async def __call__(self) -> AsyncIterator[StreamEvent]:
        try:
            yield MessageStart("assistant")
            while True:
                await asyncio.to_thread(self.steps.acquire, timeout=0.05)
                yield ContentBlockDelta(0, TextDelta("x"))
        finally:
            self.closed.set()


def test_a_client_that_leaves_stops_the_computation(url: str) -> None:
    endless = Endless()
    stage.reply = lambda request: endless()
    host, port = url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", f"/model/{CLAUDE}/converse-stream", json.dumps(HELLO))
    reply = connection.getresponse()
    endless.steps.release()
    assert b"messageStart" in reply.read(200)
    assert not endless.closed.is_set()
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    reply.close()
    assert endless.closed.wait(20)
    assert backend.cancelled.wait(20)


class Patient(AsyncScriptedBackend):
    """Its converse never returns."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.ended = threading.Event(), threading.Event()

    async def ask(self, request: Any, attempt: Any = None) -> Any:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


def test_a_client_that_leaves_a_whole_answer_stops_it_too() -> None:
    patient = Patient()
    with running(patient) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            body = json.dumps(HELLO).encode()
            head = f"POST /model/{CLAUDE}/converse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            assert patient.began.wait(20)
        assert patient.ended.wait(20)


def test_events_are_sent_as_they_come(url: str) -> None:
    """The second event is not made before the first has been read."""
    go = threading.Event()

    def events() -> Iterator[StreamEvent]:
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, TextDelta("first"))
        assert go.wait(20)
        yield MessageStop("end_turn")
        yield Metadata(usage=Usage(1, 1, 2))

    async def threaded() -> AsyncIterator[StreamEvent]:
        source = events()
        while (event := await asyncio.to_thread(next, source, None)) is not None:
            yield event

    stage.reply = lambda request: threaded()
    host, port = url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", f"/model/{CLAUDE}/converse-stream", json.dumps(HELLO))
    reply = connection.getresponse()
    seen = b""
    while b"first" not in seen:
        seen += reply.read1()
    assert b"messageStop" not in seen
    go.set()
    assert b"messageStop" in reply.read()
    connection.close()


# --- who may call ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(backend, api_key="the-key") as url:
        yield url


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer the-key"}, {"x-api-key": "the-key"}])
def test_a_shown_key_is_accepted(locked: str, headers: dict[str, str]) -> None:
    assert call(locked, f"/model/{CLAUDE}/converse", **headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer other"}, {"Authorization": "AWS4-HMAC-SHA256 nonsense"}, {"x-api-key": ""}],
)
def test_without_the_key_nothing_is_answered(locked: str, headers: dict[str, str]) -> None:
    status, answer, _ = call(locked, f"/model/{CLAUDE}/converse", **headers)
    assert status == 403
    signed = "AWS4" in headers.get("Authorization", "")
    code = "IncompleteSignatureException" if signed else "AccessDeniedException"
    assert answer["x-amzn-errortype"].partition(":")[0] == code
    assert not backend.requests


def test_health_needs_no_key(locked: str) -> None:
    with urllib.request.urlopen(locked + "/health", timeout=20) as reply:
        assert reply.status == 200


# --- the process -----------------------------------------------------------------------------------------------------


def test_an_exposed_address_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="give an API key"):
        serve("0.0.0.0", 0)  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_an_empty_key_is_not_taken_for_none(host: str) -> None:
    with pytest.raises(ConfigurationError, match="the API key is empty"):
        serve(host, 0, api_key="")
    with pytest.raises(ConfigurationError, match="the API key is empty"), running(backend, api_key=" "):
        pass


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen at 127.0.0.1 port {port}"):
            serve("127.0.0.1", port)


def test_a_host_may_be_a_name() -> None:
    assert free_address("localhost", 0).host == "127.0.0.1"


def test_an_address_that_is_all_of_them_is_shown_as_one_to_go_to() -> None:
    for host, shown in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]")):  # noqa: S104 -- nothing listens
        assert Address(host, 80).url == f"http://{shown}:80"


def test_tls_needs_its_files() -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        serve("127.0.0.1", 0, tls=Certificates(Path("cert.pem"), Path("key.pem")))


def test_tls_needs_files_that_fit(tmp_path: Path) -> None:
    with local_certificates(tmp_path / "one") as one, local_certificates(tmp_path / "two") as two:
        (tmp_path / "none.pem").write_text("no PEM")
        encoded = load_pem_private_key(one.key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        (tmp_path / "encrypted.pem").write_bytes(encoded)
        for key in (two.key, tmp_path / "none.pem", tmp_path / "encrypted.pem"):
            with pytest.raises(ConfigurationError, match=f"with key '{key}' cannot be used"):
                free_address("127.0.0.1", 0, Certificates(one.certificate, key))


SERVING = """
import sys
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
serve(port=0, backend=AsyncScriptedBackend("Hello."), ready=lambda server: print(server.url, flush=True))
print("ended")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert call(url, f"/model/{CLAUDE}/converse")[0] == 200
        process.send_signal(number)
        assert process.stdout.read() == "ended\n"
    assert process.returncode == 0


async def never() -> Any:
    await asyncio.Event().wait()


async def whole() -> dict[str, Any]:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def dropped(message: Any) -> None:
    """What is sent to nobody."""


def test_what_is_not_yet_a_request_is_not_waited_for() -> None:
    """At the end, a request whose body is unfinished is given up; one that is being answered is not."""

    async def main() -> None:
        go = asyncio.Event()
        answered: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await go.wait()
            answered.append(scope["path"])

        requests = _Requests(app)
        unread = asyncio.create_task(requests({"type": "http", "path": "unread"}, never, dropped))
        under_way = asyncio.create_task(requests({"type": "http", "path": "under way"}, whole, dropped))
        await asyncio.sleep(0)
        requests.end_unread()
        await unread
        assert not requests.ended.is_set()
        go.set()
        await requests.ended.wait()
        await under_way
        assert answered == ["under way"]

    asyncio.run(main())


def test_with_nothing_under_way_the_end_is_at_once() -> None:
    async def main() -> None:
        requests = _Requests(never)  # type: ignore[arg-type]
        requests.end_unread()
        await requests.ended.wait()

    asyncio.run(main())


def test_an_answer_that_has_begun_is_finished_before_the_end() -> None:
    go = asyncio.Event()

    async def events() -> AsyncIterator[StreamEvent]:
        yield MessageStart("assistant")
        yield ContentBlockDelta(0, TextDelta("first"))
        loops.append(asyncio.get_running_loop())
        await go.wait()
        yield MessageStop("end_turn")

    loops: list[asyncio.AbstractEventLoop] = []
    server = running(AsyncScriptedBackend(lambda request: events()))
    host, port = server.__enter__().removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", f"/model/{CLAUDE}/converse-stream", json.dumps(HELLO))
    reply = connection.getresponse()
    seen = b""
    while b"first" not in seen:
        seen += reply.read1()
    leaving = threading.Thread(target=server.__exit__, args=(None, None, None))
    leaving.start()
    while not loops:
        pass
    loops[0].call_soon_threadsafe(go.set)
    assert b"messageStop" in reply.read()
    connection.close()
    leaving.join(20)
    assert not leaving.is_alive()


class Unending(AsyncScriptedBackend):
    """Its streams go on until they are closed; tells when it is closed itself."""

    def __init__(self) -> None:
        super().__init__(lambda request: self._events())
        self.closed = False

    async def _events(self) -> AsyncIterator[StreamEvent]:
        yield MessageStart("assistant")
        while True:
            yield ContentBlockDelta(0, TextDelta("x"))
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        self.closed = True


def test_leaving_ends_streams_that_do_not_end(capfd: pytest.CaptureFixture[str]) -> None:
    unending = Unending()
    with running(unending) as url:
        host, port = url.removeprefix("http://").split(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        connection.request("POST", f"/model/{CLAUDE}/converse-stream", json.dumps(HELLO))
        reply = connection.getresponse()
        assert b"messageStart" in reply.read(200)
    with pytest.raises(IncompleteRead):
        reply.read()
    connection.close()
    assert unending.cancelled.is_set()
    assert unending.closed
    assert capfd.readouterr().err == ""


ENDLESS = """
from itertools import chain, repeat
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ContentBlockDelta, MessageStart, TextDelta
start, piece = MessageStart("assistant"), ContentBlockDelta(0, TextDelta("x"))
events = lambda request: chain([start], repeat(piece))
serve(port=0, backend=AsyncScriptedBackend(events), ready=lambda server: print(server.url, flush=True))
print("ended")
"""


def is_ready(host: str, port: int) -> bool:
    with contextlib.closing(HTTPConnection(host, port, timeout=20)) as connection:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_signal_ends_what_is_under_way() -> None:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", ENDLESS], **pipes) as process:
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        connection = HTTPConnection(host, int(port), timeout=20)
        connection.request("POST", f"/model/{CLAUDE}/converse-stream", json.dumps(HELLO))
        reply = connection.getresponse()
        process.send_signal(signal.SIGTERM)
        while is_ready(host, int(port)):  # until the first signal is seen
            reply.read(10_000)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(IncompleteRead):
            reply.read()
        connection.close()
        said, told = process.communicate()
        assert (said, told.count("\n")) == ("ended\n", 1)
        # Of this request, and of the question whether the server is ready where that came at the same moment.
        assert re.search(r" seconds to end \([12]\); another signal ends them now\n$", told)
    assert process.returncode == 0
