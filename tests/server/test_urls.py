"""What callers of the server name by URL: fetched from the hosts that were allowed, and from nowhere else."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm.fetching.rules import FetchUrls
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import Bytes, ConverseRequest, Document, Image
from tests.support.loopback import Received, Response, serving
from tests.support.requests import PDF, PNG

OPENAI, ANTHROPIC = "openai.gpt-oss-20b-1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"
BACKEND = AsyncScriptedBackend(lambda _: "Seen")
SEEN: list[Received] = []


def respond(request: Received) -> Response:
    SEEN.append(request)
    if request.path.startswith("/elsewhere"):
        return Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"})
    return Response(PDF if "report" in request.path else b"<html>" if "page" in request.path else PNG)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serving(respond) as url:
        yield url


@pytest.fixture(scope="module")
def server(host: str) -> Iterator[str]:
    allowed = FetchUrls(hosts=[host.partition("://")[2]], http=True, networks=["127.0.0.0/8"])
    with running(BACKEND, fetch_urls=allowed, account=False) as url:
        yield url


@pytest.fixture(autouse=True)
def _reset() -> None:
    SEEN.clear()
    BACKEND.requests.clear()


def content() -> Any:
    """Of the first turn, as it reached the model."""
    (request,) = BACKEND.requests
    assert isinstance(request, ConverseRequest)
    return request.messages[0].content


def call(url: str, path: str, body: Any) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def chat(*parts: Any, role: str = "user") -> tuple[str, Any]:
    turns = [{"role": "user", "content": "Hi"}] if role != "user" else []
    return "/v1/chat/completions", {"model": OPENAI, "messages": [*turns, {"role": role, "content": list(parts)}]}


def responses(*parts: Any) -> tuple[str, Any]:
    return "/v1/responses", {"model": OPENAI, "input": [{"role": "user", "content": list(parts)}]}


def messages(*parts: Any) -> tuple[str, Any]:
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}
    return "/v1/messages", {"model": ANTHROPIC, "max_tokens": 9, "messages": [turn]}


def picture(dialect: Any, url: str) -> tuple[str, Any]:
    if dialect is chat:
        return chat({"type": "image_url", "image_url": {"url": url}})
    if dialect is responses:
        return responses({"type": "input_image", "image_url": url})
    return messages({"type": "image", "source": {"type": "url", "url": url}})


DIALECTS = (chat, responses, messages)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_picture_reaches_the_model_as_bytes(server: str, host: str, dialect: Any) -> None:
    status, _ = call(server, *picture(dialect, f"{host}/cat.jpg"))
    assert status == 200
    assert Image("png", Bytes(PNG)) in content()


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        (responses, lambda url: {"type": "input_file", "file_url": url}),
        (messages, lambda url: {"type": "document", "source": {"type": "url", "url": url}}),
    ],
)
def test_a_document_reaches_the_model_as_bytes(server: str, host: str, dialect: Any, part: Any) -> None:
    status, _ = call(server, *dialect(part(f"{host}/my%20report.pdf")))
    assert status == 200
    (block,) = [block for block in content() if isinstance(block, Document)]
    assert (block.source, block.format) == (Bytes(PDF), "pdf")
    assert block.name == ("my report" if dialect is responses else block.name)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("path", "told"),
    [("/elsewhere", "none of the hosts"), ("/page", "no image"), ("/report.pdf", "is no image")],
)
def test_what_is_not_allowed_is_the_callers_fault(server: str, host: str, dialect: Any, path: str, told: str) -> None:
    status, body = call(server, *picture(dialect, host + path + "?word"))
    assert status == 400
    assert told in body
    assert "word" not in body
    assert BACKEND.requests == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_another_host_is_not_asked(server: str, host: str, dialect: Any) -> None:
    for other in ("http://169.254.169.254/", "http://localhost:1/", "http://[::1]/", "https://example.com/cat.png"):
        status, body = call(server, *picture(dialect, other))
        assert status == 400
        assert "none of the hosts" in body
    assert SEEN == []


def test_all_urls_are_judged_before_any_is_asked(server: str, host: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (f"{host}/cat.png", "http://10.0.0.1/cat.png")]
    assert call(server, *chat(*parts))[0] == 400
    assert SEEN == []
    many = [{"type": "image_url", "image_url": {"url": f"{host}/{index}.png"}} for index in range(17)]
    status, body = call(server, *chat(*many))
    assert (status, SEEN) == (400, [])
    assert "16 are fetched at most" in body


def test_what_a_model_wrote_is_not_asked_for(server: str, host: str) -> None:
    """In an assistant's turn, a tool's call and its result, an address may be one that nobody chose."""
    source = {"type": "url", "url": f"{host}/cat.png"}
    turns = [
        {"role": "user", "content": f"Look at {host}/cat.png"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"source": source}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image", "source": source}]},
                {"type": "text", "text": json.dumps({"type": "image", "source": source})},
            ],
        },
    ]
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    body = {"model": ANTHROPIC, "max_tokens": 9, "messages": turns, "tools": tools}
    call(server, "/v1/messages", body)
    call(server, *chat({"type": "image_url", "image_url": {"url": f"{host}/cat.png"}}, role="assistant"))
    call(server, *chat({"type": "image_url", "image_url": {"url": f"{host}/cat.png"}}, role="tool"))
    assert SEEN == []


def test_a_server_that_was_not_told_to_fetches_nothing(host: str) -> None:
    with running(BACKEND, account=False) as url:
        for dialect in DIALECTS:
            call(url, *picture(dialect, f"{host}/cat.png"))
        status, body = call(url, *picture(chat, f"{host}/cat.png"))
    assert (status, SEEN) == (400, [])
    assert "--fetch-urls HOST" in body


def test_a_signature_is_checked_before_anything_is_fetched(host: str) -> None:
    allowed = FetchUrls(hosts=[host.partition("://")[2]], http=True, networks=["127.0.0.0/8"])
    with running(BACKEND, fetch_urls=allowed, account=False, api_key="a-key-of-this-server") as url:
        assert call(url, *picture(messages, f"{host}/cat.png"))[0] in (401, 403)
    assert SEEN == []


def test_a_real_client_sends_a_url(server: str, host: str) -> None:
    import openai

    with openai.OpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0) as client:
        part: Any = {"type": "image_url", "image_url": {"url": f"{host}/cat.png"}}
        client.chat.completions.create(model=OPENAI, messages=[{"role": "user", "content": [part]}])
    assert Image("png", Bytes(PNG)) in content()


def test_workers_are_given_the_rules() -> None:
    """Each worker's process gets what the server was started with."""
    import pickle

    rules = FetchUrls(hosts=["images.example.com"], networks=["10.0.0.0/8"], timeout=3)
    assert pickle.loads(pickle.dumps(rules)) == rules  # noqa: S301


def test_the_option_names_hosts() -> None:
    from awsllm.cli.serve import _fetch_rules

    assert _fetch_rules(None) is None
    assert _fetch_rules(["images.example.com"]) == awsllm.FetchUrls(hosts=["images.example.com"])


def test_a_url_that_stands_often_is_asked_for_once(server: str, host: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"{host}/cat.png"}}
    assert call(server, *chat(*[part] * 16))[0] == 200
    assert len(SEEN) == 1
    assert list(content()).count(Image("png", Bytes(PNG))) == 16


def test_the_urls_of_a_request_give_together_what_one_may(host: str) -> None:
    name = host.partition("://")[2]
    allowed = FetchUrls(hosts=[name], http=True, networks=["127.0.0.0/8"], max_bytes=len(PNG) * 2 + 1)
    parts = [{"type": "image_url", "image_url": {"url": f"{host}/{number}.png"}} for number in range(3)]
    with running(BACKEND, fetch_urls=allowed, account=False) as url:
        assert call(url, *chat(*parts[:2]))[0] == 200
        status, body = call(url, *chat(*parts))
    assert status == 400
    assert "larger than" in body


def test_callers_are_not_told_what_is_in_the_network_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the private network, one that means nothing and one that does not answer look alike."""

    def found(place: Any) -> list[str]:
        if place.host == "nothing.example":
            raise socket.gaierror("nothing is called that")
        return [] if place.host == "empty.example" else ["10.0.0.1"]

    monkeypatch.setattr("awsllm.fetching.rules._addresses", found)
    told = set()
    with running(BACKEND, fetch_urls=FetchUrls(hosts=["*"]), account=False) as url:
        for name in ("private.example", "nothing.example", "empty.example", "127.0.0.1"):
            told.add(call(url, *picture(chat, f"https://{name}/cat.png")))
    ((status, body),) = told
    assert status == 400
    assert "cannot be asked" in body
