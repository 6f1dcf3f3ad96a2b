"""Requests that no AWS SDK sends: broken bodies, escapes, smuggled requests, and clients that never finish.

The server is a real one, on loopback, over a scripted backend: what is tested stands before the model.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from types import ModuleType

import pytest

from awsllm.server import running
from awsllm.server.surfaces import agents, anthropic, bedrock, openai, sagemaker
from awsllm.server.surfaces.routes import plan
from awsllm.server.work import Ask, Incoming
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ContentBlock, ConverseRequest, Message
from awsllm.wire.openai import request
from awsllm.wire.openai.responses import request as responses_request

PATH = b"/model/amazon.nova-lite-v1%3A0/converse"
CONVERSE = b"POST " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n"
HELLO = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}).encode()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with running(AsyncScriptedBackend(lambda request: "Hello.")) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def sent(address: tuple[str, int], data: bytes) -> tuple[int | None, bytes]:
    """The status and the whole answer to ``data``, or None where the connection ends without one."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(data)
        with http.client.HTTPResponse(connection) as response:
            try:
                response.begin()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                return None, b""
            return response.status, response.read()


def posted(address: tuple[str, int], body: bytes, path: bytes = PATH) -> tuple[int | None, bytes]:
    return sent(
        address, b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)
    )


def conversation(**settings: object) -> bytes:
    return json.dumps({**json.loads(HELLO), "inferenceConfig": settings}).encode()


def test_an_ordinary_request_is_answered(address: tuple[str, int]) -> None:
    assert posted(address, HELLO)[0] == 200


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"messages":"\xff\xfe"}', id="no UTF-8"),
        pytest.param(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, id="deep objects"),
        pytest.param(b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep lists"),
        pytest.param(b'{"messages":[],"inferenceConfig":{"maxTokens":' + b"9" * 5000 + b"}}", id="a huge number"),
        pytest.param(b'{"messages":[],"inferenceConfig":{"temperature":NaN}}', id="NaN"),
        pytest.param(HELLO.replace(b"Hi", b"\\ud800"), id="half a surrogate pair"),
        pytest.param(HELLO[:-1] + b',"messages":"x"}', id="a name twice"),
        pytest.param(b"\x1f\x8b\x08\x00", id="compressed"),
        pytest.param(conversation(maxTokens=0), id="no tokens"),
        pytest.param(conversation(maxTokens=-1), id="less than no tokens"),
        pytest.param(conversation(maxTokens=1.5), id="a half token"),
        pytest.param(conversation(temperature=1e308), id="too hot"),
        pytest.param(conversation(temperature=-1), id="too cold"),
    ],
)  # fmt: skip
def test_a_body_that_makes_no_sense_is_the_callers_mistake(body: bytes, address: tuple[str, int]) -> None:
    status, answer = posted(address, body)
    assert status == 400
    assert json.loads(answer)["message"]


@pytest.mark.parametrize("before", [b"", b"2\r\n{}\r\n"], ids=["at once", "later"])
def test_a_broken_chunk_is_the_callers_mistake(before: bytes, address: tuple[str, int]) -> None:
    status, answer = sent(address, CONVERSE + b"Transfer-Encoding: chunked\r\n\r\n" + before + b"zz\r\n")
    assert status == 400
    assert json.loads(answer)["message"] == "the body ended before it was whole"


@pytest.mark.parametrize("path", [b"/endpoints/a/invocations", b"/model/amazon.titan-embed-text-v2%3A0/invoke"])
def test_bytes_that_are_no_text_are_the_callers_mistake_everywhere(path: bytes, address: tuple[str, int]) -> None:
    """An endpoint's container says so, as a ModelError (424) with its own status in it."""
    status, answer = posted(address, b'{"inputText":"\xff","messages":[{"role":"user","content":"\xff"}]}', path)
    assert status in (400, 424)
    assert status == 400 or json.loads(answer)["OriginalStatusCode"] == 400


NUMBERS = json.dumps({"model": "amazon.titan-embed-text-v2:0", "input": "a", "dimensions": 10**9}).encode()
CANVAS = b"/model/amazon.nova-canvas-v1%3A0/invoke"


MANY = NUMBERS.replace(b"1000000000", b"8192").replace(b'"a"', b'["a"%s]' % (b',"a"' * 2000))
REEL = b"/model/amazon.nova-reel-v1%3A1/invoke"
VIDEO = b'{"taskType":"TEXT_VIDEO","textToVideoParams":{"text":"a"}}'


def picture(**how: int) -> bytes:
    wire = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}, "imageGenerationConfig": how}
    return json.dumps(wire).encode()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(b"/v1/embeddings", NUMBERS, id="numbers of a vector"),
        pytest.param(b"/v1/embeddings", NUMBERS.replace(b"1000000000", b"9" * 400), id="more numbers"),
        pytest.param(b"/v1/embeddings", NUMBERS.replace(b"1000000000", b"-1"), id="fewer than none"),
        pytest.param(b"/v1/embeddings", MANY, id="numbers in all"),
        pytest.param(CANVAS, picture(width=10**6, height=10**6), id="pixels"),
        pytest.param(CANVAS, picture(width=4096, height=4096, numberOfImages=5), id="pixels in all"),
        pytest.param(CANVAS, picture(numberOfImages=10**6), id="images"),
        pytest.param(CANVAS, b'{"taskType":["TEXT_IMAGE"]}', id="a list of tasks"),
        pytest.param(REEL, VIDEO, id="a video at once"),
    ],
)  # fmt: skip
def test_more_than_any_model_gives_is_the_callers_mistake(path: bytes, body: bytes, address: tuple[str, int]) -> None:
    assert posted(address, body, path)[0] == 400


@pytest.mark.parametrize("module", [request, responses_request])
def test_turns_that_are_joined_are_made_once(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joined one by one, the last of many items would copy all before it."""
    made: list[str] = []

    def message(role: str, content: tuple[ContentBlock, ...]) -> Message:
        made.append(role)
        return Message(role, content)

    monkeypatch.setattr(module, "Message", message)
    item = {"role": "user", "content": "x"}
    model = "openai.gpt-oss-20b-1:0"
    results = [{"role": "tool", "tool_call_id": "a", "content": "x"}] * 100
    path, wire = {
        request: ("/v1/chat/completions", {"model": model, "messages": [*results, item]}),
        responses_request: ("/v1/responses", {"model": model, "input": [item] * 101}),
    }[module]
    work = plan(Incoming("POST", path, {}, json.dumps(wire).encode()))
    assert isinstance(work, Ask)
    assert isinstance(work.request, ConverseRequest)
    assert [len(turn.content) for turn in work.request.messages] == [101]
    assert made == ["user"]


# --- paths and heads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        b"/model/../../etc/passwd/converse",
        b"/model/%2e%2e%2f%2e%2e%2fetc%2fpasswd.gguf/converse",
        b"/model/a%00b/converse",
        b"/model/%zz%ff/converse",
        b"/model/" + b"a" * 60_000 + b"/converse",
        b"http://elsewhere/model/x/converse",
        b"/endpoints/%2Fetc%2Fpasswd.gguf/invocations",
    ],
    ids=lambda path: path[:40].decode(),
)
def test_a_model_is_no_path(path: bytes, address: tuple[str, int]) -> None:
    status, answer = posted(address, HELLO, path)
    assert status == 400
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: +5\r\n\r\n{}   ", id="a signed length"),
        pytest.param(b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", id="two lengths"),
        pytest.param(b"Content-Length: 99999999999999999\r\n\r\n{}", id="a huge length"),
        pytest.param(b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", id="a folded line"),
        pytest.param(b"X: " + b"a" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\n{}", id="a huge line"),
        pytest.param(
            b"".join(b"X%d: a\r\n" % number for number in range(10_000)) + b"Content-Length: 2\r\n\r\n{}",
            id="many lines",
        ),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(head: bytes, address: tuple[str, int]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it is sent
        status, _ = sent(address, CONVERSE + head)
        assert status in (400, 431, None)


def test_a_request_that_is_smuggled_in_a_body_is_not_answered(address: tuple[str, int]) -> None:
    """Both a length and chunks: whoever reads the one sees one request, whoever reads the other sees two."""
    second = b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(CONVERSE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + second)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert len(re.findall(rb"HTTP/1\.1 \d", answers)) == 1


@pytest.mark.parametrize(
    "host",
    [
        b"elsewhere.example",
        b"elsewhere.example:8900",
        b"127.0.0.1.elsewhere.example",
        b"localhost.example",
        b"10.0.0.1",
    ],
)
def test_a_host_that_is_not_this_machine_is_refused(host: bytes, address: tuple[str, int]) -> None:
    """So a page at a name that its owner turns to 127.0.0.1 reads nothing."""
    for head in (b"POST " + PATH, b"GET /anything"):
        status, answer = sent(address, head + b" HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n{}" % host)
        assert status == 403
        assert "does not name this machine" in json.loads(answer)["message"]


@pytest.mark.parametrize(
    "host", [b"localhost:1", b"LOCALHOST", b"127.0.0.1", b"127.8.9.1:80", b"[::1]:8900", b"bucket.localhost:8900"]
)
def test_names_of_this_machine_are_answered(host: bytes, address: tuple[str, int]) -> None:
    head = b"POST " + PATH + b" HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (host, len(HELLO))
    assert sent(address, head + HELLO)[0] == 200


@pytest.mark.parametrize(("version", "status"), [(b"1.1", 400), (b"1.0", 200)])
def test_a_request_without_a_host_is_malformed(version: bytes, status: int, address: tuple[str, int]) -> None:
    head = b"POST " + PATH + b" HTTP/" + version + b"\r\nContent-Length: %d\r\n\r\n" % len(HELLO)
    assert sent(address, head + HELLO)[0] == status


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: evil.example\r\nHost: localhost\r\n",
        b"Host: localhost\r\nHost: evil.example\r\n",
        b"Host: localhost:80, evil.example\r\n",
        b"Host: localhost\r\nOrigin: http://evil.example\r\nOrigin: http://localhost\r\n",
    ],
)
def test_of_two_hosts_or_origins_neither_is_let_in(headers: bytes, address: tuple[str, int]) -> None:
    assert sent(address, b"GET /v1/models HTTP/1.1\r\n%s\r\n" % headers)[0] == 403


def test_a_header_that_is_the_same_twice_is_one(address: tuple[str, int]) -> None:
    twice = b"Host: localhost\r\nHost: localhost\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
    assert sent(address, b"GET /v1/models HTTP/1.1\r\n%s" % twice)[0] == 200


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_what_a_browser_sends_for_another_page_is_refused(site: bytes, address: tuple[str, int]) -> None:
    head = b"Sec-Fetch-Site: %s\r\nContent-Length: %d\r\n\r\n" % (site, len(HELLO))
    assert sent(address, CONVERSE + head + HELLO)[0] == 403


@pytest.mark.parametrize("origin", [b"http://elsewhere.example", b"null", b""])
def test_no_origin_is_that_of_a_page_that_may_call(origin: bytes, address: tuple[str, int]) -> None:
    head = b"Origin: %s\r\nContent-Length: %d\r\n\r\n" % (origin, len(HELLO))
    assert sent(address, CONVERSE + head + HELLO)[0] == 403


# --- clients that never finish ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(CONVERSE + b"X", id="heads"),
        pytest.param(CONVERSE + b"Content-Length: 100\r\n\r\n{", id="bodies"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", id="kept alive"),
    ],
)
def test_unfinished_requests_do_not_keep_others_out(begun: bytes) -> None:
    with running(AsyncScriptedBackend("Hello.")) as url, contextlib.ExitStack() as stack:
        host, port = url.removeprefix("http://").split(":")
        for _ in range(400):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            connection.sendall(begun)
        asking = http.client.HTTPConnection(host, int(port), timeout=20)
        stack.callback(asking.close)
        asking.request("GET", "/health")
        assert asking.getresponse().status == 200


# --- who may call ----------------------------------------------------------------------------------------------------

DOORS = [
    *(f"POST /model/amazon.nova-lite-v1%3A0/{name}" for name in bedrock.OPERATIONS),
    *(f"POST /endpoints/a/{name}" for name in sagemaker.OPERATIONS),
    *(f"POST {path}" for path in anthropic.OPERATIONS),
    *(f"{method} {path}" for method, path in openai.OPERATIONS),
    *(f"GET {path}x" for path in openai.MODEL_PATHS),
    *(f"POST {path}" for path in agents.PREFIXES),
    *(
        "POST /knowledgebases/ABCDEFGHIJ/retrieve",
        "POST /agents/A/agentAliases/B/sessions/s-1/text",
        "POST /agents/s-1",
    ),
    *("POST /guardrail/g/version/1/apply", "POST /guardrail-checks/invoke", "POST /async-invoke", "GET /async-invoke"),
    *("POST /", "GET /nothing", "PUT /bucket/key", "GET //health", "GET /health/", "GET /%68ealth"),
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, int]]:
    with running(AsyncScriptedBackend(lambda request: "Hello."), api_key="the-key") as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


@pytest.mark.parametrize("door", DOORS)
def test_no_door_is_open_without_the_key(door: str, guarded: tuple[str, int]) -> None:
    head = f"{door} HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: 2\r\n".encode()
    for shown in (b"", b"x-api-key: another\r\n", b"Authorization: Bearer\r\n"):
        assert sent(guarded, head + shown + b"\r\n{}")[0] in (401, 403)
    assert sent(guarded, head + b"Authorization: Bearer the-key\r\n\r\n{}")[0] not in (401, 403, 500)
