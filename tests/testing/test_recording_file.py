"""The file of a recording: what a person reads in it, edits in it, and what becomes of it."""

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from awsllm.errors import ConfigurationError
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, RecordedExchange, record, replay
from awsllm.testing.traffic.bodies import read_body, write_body

MODEL = "amazon.nova-lite-v1:0"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture(scope="module")
def bedrock() -> Iterator[str]:
    with running(AsyncScriptedBackend("an answer")) as url:
        yield url


@functools.cache
def runtime(url: str = NOWHERE) -> Any:
    return boto3.Session("AKIAJ7TUJ6FQTSTLXYZQ", "made-up").client("bedrock-runtime", "us-east-1", endpoint_url=url)


def ask(client: Any, text: str = "Hello") -> str:
    messages = [{"role": "user", "content": [{"text": text}]}]
    return str(client.converse(modelId=MODEL, messages=messages)["output"]["message"]["content"][0]["text"])


def test_the_file_can_be_read(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "line\nbreak, ünïcode, 'yes', 2024-01-01: \u2028\x85\x07")
    text = (tmp_path / "a.yaml").read_text(encoding="utf-8")
    title, exchange = yaml.safe_load_all(text)
    assert title == {"awsllm-recording": 1}
    assert list(exchange) == ["request", "response"]
    request = exchange["request"]
    assert request["path"] == f"/model/{MODEL}/converse"
    assert (request["service"], request["operation"], request["region"]) == ("bedrock-runtime", "Converse", "us-east-1")
    assert request["json"]["messages"][0]["content"] == [
        {"text": "line\nbreak, ünïcode, 'yes', 2024-01-01: \u2028\x85\x07"}
    ]
    assert "x-amzn-requestid" in exchange["response"]["headers"]
    assert "date" in exchange["response"]["headers"]


def test_a_text_of_several_lines_is_several_lines(bedrock: str, tmp_path: Path) -> None:
    with record(tmp_path / "a.yaml"):
        ask(runtime(bedrock), "You are a poet.\nYou rhyme.\n")
    assert "text: |\n          You are a poet.\n          You rhyme.\n" in (tmp_path / "a.yaml").read_text()


def test_a_hand_may_edit_the_file(bedrock: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with record(path):
        answer = ask(runtime(bedrock))
    path.write_text(path.read_text().replace(answer, "2024-01-01"))
    with replay(path):
        assert ask(runtime()) == "2024-01-01"


def test_a_file_is_replaced_whole(bedrock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    with record(path):
        ask(runtime(bedrock))
    before = path.read_bytes()

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt), record(path):
            ask(runtime(bedrock), "Other")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: b",
        "- 1",
        "{",
        "awsllm-recording: 2",
        "awsllm-recording: 1\n---\nrequest: 1",
        "awsllm-recording: 1\n---\n- a",
        "!!python/object/apply:os.system ['true']",
        "interactions: [{}]",
        "\x00",
        "\udcff",
        "[" * 100_000,
        '{"a":' * 100_000,
        "awsllm-recording: 1\n---\nrequest: {service: s, method: GET, path: /, json: {on: 1}}\nresponse: {}",
        "awsllm-recording: 1\n---\nrequest: {service: s, method: GET, path: /, json: &a [*a]}\nresponse: {}",
    ],
)
def test_a_file_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigurationError, match=r"a\.yaml"):
        replay(tmp_path / "a.yaml").__enter__()


# --- the user's scrubber ---------------------------------------------------------------------------------------------


def test_a_scrubber_of_ones_own(bedrock: str, tmp_path: Path) -> None:
    """It edits what is written, and what looks for its answer."""

    def anonymous(exchange: RecordedExchange) -> None:
        message = exchange.request.body["messages"][0]["content"][0]
        message["text"] = message["text"].replace("Alice", "somebody")
        if exchange.response is not None:
            exchange.response.headers.pop("date", None)

    with record(tmp_path / "a.yaml", scrub=anonymous):
        answer = ask(runtime(bedrock), "I am Alice")
    text = (tmp_path / "a.yaml").read_text()
    assert "Alice" not in text
    assert "date:" not in text
    with replay(tmp_path / "a.yaml", scrub=anonymous):
        assert ask(runtime(), "I am Alice") == answer


def test_a_scrubber_may_return_another(bedrock: str, tmp_path: Path) -> None:
    import msgspec

    def renamed(exchange: RecordedExchange) -> RecordedExchange:
        return RecordedExchange(msgspec.structs.replace(exchange.request, path="/model/m"), exchange.response)

    with record(tmp_path / "a.yaml", scrub=renamed) as recorded:
        ask(runtime(bedrock))
    assert recorded.exchanges[0].request.path == "/model/m"
    assert json.loads(json.dumps(recorded.exchanges[0].request.body))["messages"]


def test_a_body_that_is_nested_too_deeply_is_text() -> None:
    data = b"[" * 100_000
    form, body = read_body(data, "application/json")
    assert (form, write_body(form, body)) == ("text", data)
