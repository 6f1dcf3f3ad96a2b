"""Keys of callers, over HTTP: who is let in, to what, and how much is counted."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from awsllm.errors import ThrottlingError
from awsllm.policy.keys import Key, create, write_keys
from awsllm.server import running
from awsllm.testing import AsyncScriptedBackend, Broken
from awsllm.types import ConverseResponse, Message, MessageStart, Usage
from awsllm.types.speech import SpeechSetup
from awsllm.wire.model_stream import ModelStreamDecoder, encode_part
from awsllm.wire.sonic.inputs import encode_input
from awsllm.wire.sonic.prompt import SonicPrompt

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "amazon.nova-pro-v1:0"
NOW = 1_795_000_000.0  # no time passes, so that nothing comes back
KEYS: dict[str, tuple[Key, str]] = {
    "free": create(),
    "signs": create(signs=True, requests_per_minute=1000),
    "haiku": create(models=("anthropic.*",)),
    "nova": create(models=("amazon.nova-*",)),
    "few": create(requests_per_minute=3),
    "tokens": create(tokens_per_minute=1000),
    "spent": create(monthly_tokens=5),
    "dollars": create(monthly_dollars=1.0),
    "ended": create(disabled=True),
    "reads": create(monthly_tokens=1000),
}


class Stage:
    reply: Any = "Hello there"


STAGE = Stage()
BACKEND = AsyncScriptedBackend(lambda _: STAGE.reply)


@pytest.fixture(autouse=True)
def _reset() -> None:
    STAGE.reply = "Hello there"
    BACKEND.requests.clear()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gate") / "keys.toml"
    write_keys(path, [key for key, _ in KEYS.values()])
    return path


@pytest.fixture(scope="module")
def url(file: Path) -> Iterator[str]:
    with running(BACKEND, keys=file, usage=file.with_name("usage.db"), clock=lambda: NOW) as at:
        yield at


def secret(name: str) -> str:
    return KEYS[name][1]


def call(url: str, path: str, body: Any = None, key: str = "", **headers: str) -> tuple[int, Any, Any]:
    data = None if body is None else json.dumps(body).encode()
    shown = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json", **shown, **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.headers, reply.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def asked(model: str = "gpt-4o", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, **more}


def used(url: str, name: str) -> Any:
    """What a key has used, once all that was asked is counted: that happens when a reply is over."""
    status, _, text = call(url, "/usage", key=secret(name))
    assert status == 200
    return json.loads(text)


def settled(url: str, name: str, requests: int) -> list[dict[str, Any]]:
    for _ in range(1000):
        rows: list[dict[str, Any]] = used(url, name)["usage"]
        if sum(row["requests"] for row in rows) >= requests:
            return rows
        time.sleep(0.02)
    raise AssertionError(rows)


def bedrock(url: str, id: str, key: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        "us-east-1",
        endpoint_url=url,
        aws_access_key_id=id,
        aws_secret_access_key=key,
        config=Config(retries={"max_attempts": 0}),
    )


def converse(client: Any, model: str = HAIKU) -> Any:
    return client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "Hi"}]}])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", f"/model/{HAIKU}/converse"])
def test_nobody_calls_without_a_key(url: str, path: str) -> None:
    status = 403 if path.startswith("/model") else 401
    for key in ("", "sk-awsllm-wrong", secret("ended")):
        assert call(url, path, asked("claude-3-haiku-20240307"), key)[0] == status
    assert "was revoked" in call(url, path, asked(), secret("ended"))[2]
    assert BACKEND.requests == []


def test_a_key_is_shown_in_either_header(url: str) -> None:
    assert call(url, "/v1/chat/completions", asked(), secret("free"))[0] == 200
    anthropic = {"x-api-key": secret("free")}
    assert call(url, "/v1/messages", asked("claude-3-haiku-20240307"), **anthropic)[0] == 200


def test_boto3_signs_with_a_key(url: str) -> None:
    key, key_secret = KEYS["signs"]
    assert converse(bedrock(url, key.id, key_secret))["output"]["message"]["content"] == [{"text": "Hello there"}]
    assert settled(url, "signs", 1)[0]["model"] == HAIKU
    for name, wrong in ((key.id, "wrong"), ("AWSLLMUNKNOWN", key_secret), (KEYS["free"][0].id, secret("free"))):
        with pytest.raises(ClientError, match="signature we calculated does not match"):
            converse(bedrock(url, name, wrong))


def test_a_key_calls_its_models_alone(url: str) -> None:
    key = secret("haiku")
    assert call(url, "/v1/messages", asked("claude-3-haiku-20240307"), key)[0] == 200
    for path, model in (("/v1/chat/completions", "gpt-4o"), (f"/model/{NOVA}/converse", NOVA)):
        body = asked(model) if path.startswith("/v1") else {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
        status, _, text = call(url, path, body, key)
        assert (status, "may not call the model" in text) == (403, True)
    status, _, text = call(url, "/", {}, key, **{"x-amz-target": "SageMaker.ListEndpoints"})
    assert (status, "for calls of models alone" in text) == (403, True)


def test_a_key_is_shown_its_models_alone(url: str) -> None:
    def ids(key: str, **headers: str) -> set[str]:
        status, _, text = call(url, "/v1/models", key=key, **headers)
        assert status == 200
        return {one["id"] for one in json.loads(text)["data"]}

    anthropic = {"anthropic-version": "2023-06-01"}
    free, key = secret("free"), secret("haiku")
    assert {NOVA, HAIKU} < ids(free)
    assert ids(key) == {name for name in ids(free) if name.startswith("anthropic.")}
    assert ids(key, **anthropic) == ids(free, **anthropic) != set()
    assert ids(secret("nova"), **anthropic) == set()
    assert call(url, f"/v1/models/{HAIKU}", key=key)[0] == 200
    assert call(url, f"/v1/models/{NOVA}", key=key)[0] == 404
    assert call(url, f"/v1/models/{NOVA}", key=free)[0] == 200


def test_limits_a_minute_are_told_as_openai_and_anthropic_do(url: str) -> None:
    key = secret("few")
    _, headers, _ = call(url, "/v1/chat/completions", asked(), key)
    assert [headers[f"x-ratelimit-{part}-requests"] for part in ("limit", "remaining", "reset")] == ["3", "2", "20s"]
    _, headers, _ = call(url, "/v1/messages", asked("claude-3-haiku-20240307"), key)
    assert headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    call(url, "/v1/chat/completions", asked(), key)
    for path in ("/v1/chat/completions", "/v1/messages"):
        status, headers, text = call(url, path, asked(HAIKU), key)
        assert (status, json.loads(text)["error"]["type"]) == (429, "rate_limit_error")
        assert headers["retry-after"] == "20"
    status, headers, _ = call(
        url, f"/model/{HAIKU}/converse", {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, key
    )
    assert (status, headers["x-amzn-errortype"].partition(":")[0]) == (429, "ThrottlingException")
    assert len(BACKEND.requests) == 3
    assert sum(row["requests"] for row in settled(url, "few", 3)) == 3


def test_tokens_are_given_back(url: str) -> None:
    key = secret("tokens")
    status, headers, _ = call(url, "/v1/chat/completions", asked(max_tokens=900), key)
    assert (status, int(headers["x-ratelimit-remaining-tokens"]) < 100) == (200, True)
    settled(url, "tokens", 1)
    assert call(url, "/v1/chat/completions", asked(max_tokens=900), key)[0] == 200
    STAGE.reply = ThrottlingError("no", status=429)
    settled(url, "tokens", 2)
    assert call(url, "/v1/chat/completions", asked(max_tokens=900), key)[0] == 429
    assert settled(url, "tokens", 3)[0]["output"] == 4  # of the two that were answered


def test_a_budget(url: str) -> None:
    assert call(url, "/v1/chat/completions", asked(), secret("spent"))[0] == 200
    STAGE.reply = "one two three four five six"
    assert call(url, "/v1/chat/completions", asked(), secret("spent"))[0] == 200
    settled(url, "spent", 2)
    status, headers, text = call(url, "/v1/chat/completions", asked(), secret("spent"))
    assert (status, json.loads(text)["error"]["code"]) == (429, "insufficient_quota")
    assert int(headers["retry-after"]) > 0


def test_what_it_cost(url: str) -> None:
    usage = Usage(input_tokens=100_000, output_tokens=10_000, cache_read_input_tokens=1000)
    STAGE.reply = ConverseResponse(message=Message.assistant("Hi"), stop_reason="end_turn", usage=usage)
    status, _, text = call(url, "/v1/chat/completions", asked("gpt-unknown"), secret("dollars"))
    assert (status, "No price is known" in text) == (403, True)
    for stream in (False, True):
        assert call(url, "/v1/messages", asked("amazon.nova-pro-v1:0", stream=stream), secret("dollars"))[0] == 200
    (row,) = settled(url, "dollars", 2)
    assert (row["input"], row["output"], row["cached"], row["unpriced"]) == (200_000, 20_000, 2000, 0)
    assert row["cost"] == pytest.approx(2 * (0.08 + 0.032 + 0.0002), rel=0.01)
    month = used(url, "dollars")["month"]
    assert month == {"tokens": 222_000, "dollars": row["cost"]}


def test_an_answer_from_a_knowledge_base_is_its_models_call(tmp_path: Path) -> None:
    base = "ABCDEFGHIJ"
    listed, listed_secret = create(models=(base, "amazon.nova-*"), monthly_dollars=1.0)
    other, other_secret = create(models=("amazon.nova-*",))
    write_keys(tmp_path / "keys.toml", [listed, other])
    bases = {base: ["Dogs bark at night."]}

    def generate(url: str, model: str, key: str) -> tuple[int, Any, str]:
        how = {"knowledgeBaseId": base, "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{model}"}
        configuration = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": how}
        body = {"input": {"text": "When?"}, "retrieveAndGenerateConfiguration": configuration}
        return call(url, "/retrieveAndGenerate", body, key)

    with running(BACKEND, keys=tmp_path / "keys.toml", knowledge_bases=bases) as at:
        assert (generate(at, HAIKU, listed_secret)[0], generate(at, NOVA, other_secret)[0]) == (403, 403)
        assert BACKEND.requests == []
        assert generate(at, NOVA, listed_secret)[0] == 200
        for _ in range(1000):
            (row,) = json.loads(call(at, "/usage", key=listed_secret)[2])["usage"] or [{"output": 0}]
            if row["output"]:
                break
            time.sleep(0.02)
        assert (row["model"], row["requests"], row["unpriced"], row["cost"] > 0) == (NOVA, 1, 0, True)


def test_the_turns_of_a_spoken_conversation_are_calls(tmp_path: Path) -> None:
    sonic = "amazon.nova-sonic-v1:0"
    once, once_secret = create(models=("amazon.nova-sonic*",), requests_per_minute=1)
    other, other_secret = create(models=("anthropic.*",))
    write_keys(tmp_path / "keys.toml", [once, other])
    prompt = SonicPrompt(SpeechSetup(model=sonic))
    events = [*prompt.opening(), *prompt.text("Hello"), *prompt.closing()]
    said = b"".join(encode_part(encode_input(one)) for one in events)

    def talk(at: str, key: str) -> bytes:
        shown = {"Authorization": f"Bearer {key}"}
        path = f"{at}/model/{sonic}/invoke-with-bidirectional-stream"
        with urllib.request.urlopen(urllib.request.Request(path, said, shown), timeout=60) as reply:
            return bytes(reply.read())

    with running(BACKEND, keys=tmp_path / "keys.toml", account=False, clock=lambda: NOW) as at:
        assert b"may not call the model" in talk(at, other_secret)
        assert BACKEND.requests == []
        assert b"Hello there" in b"".join(ModelStreamDecoder().feed(talk(at, once_secret)))
        for _ in range(1000):
            (row,) = json.loads(call(at, "/usage", key=once_secret)[2])["usage"] or [{"output": 0}]
            if row["output"]:
                break
            time.sleep(0.02)
        assert (row["model"], row["requests"], row["input"] > 0) == (sonic, 1, True)
        assert b"throttlingException" in talk(at, once_secret)
        assert len(BACKEND.requests) == 1


def test_what_has_no_tokens_is_counted_by_itself(url: str) -> None:
    before = len(used(url, "dollars")["usage"])
    counted = {"model": "claude-opus-4-1", "messages": [{"role": "user", "content": "one two three"}]}
    assert call(url, "/v1/messages/count_tokens", counted, secret("dollars"))[0] == 200
    picture = {"prompt": "a cat"}
    assert call(url, "/model/stability.stable-image-core-v1:1/invoke", picture, secret("dollars"))[0] == 200
    for _ in range(1000):
        rows = {row["model"]: row for row in used(url, "dollars")["usage"]}
        if len(rows) == before + 2:
            break
        time.sleep(0.02)
    free, paid = rows["claude-opus-4-1"], rows["stability.stable-image-core-v1:1"]
    assert (free["input"], free["cost"], free["unpriced"]) == (0, 0.0, 0)
    assert (paid["input"], paid["unpriced"]) == (0, 0)
    assert paid["cost"] > 0


def test_a_stream_that_nobody_reads_to_its_end_is_counted(url: str) -> None:
    before = sum(row["output"] for row in used(url, "free")["usage"])
    count = sum(row["requests"] for row in used(url, "free")["usage"])
    STAGE.reply = Broken("a few words and then no more of them " * 20, after=100)
    call(url, "/v1/chat/completions", asked(stream=True, max_tokens=1000), secret("free"))
    rows = settled(url, "free", count + 1)
    assert sum(row["output"] for row in rows) > before + 50


def test_a_caller_who_leaves_before_the_answer_is_counted(url: str) -> None:
    before = settled(url, "signs", 0)
    asked_for, over = threading.Event(), threading.Event()

    async def slow() -> Any:
        asked_for.set()
        while not over.is_set():
            await asyncio.sleep(0.01)
        yield MessageStart("assistant")

    STAGE.reply = slow()
    host, _, port = url.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=60)
    body = json.dumps(asked("gpt-left", messages=[{"role": "user", "content": "word " * 100}], stream=True))
    shown = {"Authorization": f"Bearer {secret('signs')}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, shown)
    assert asked_for.wait(60)
    connection.close()
    rows = settled(url, "signs", sum(row["requests"] for row in before) + 1)
    over.set()
    (row,) = [row for row in rows if row["model"] == "gpt-left"]
    assert row["input"] > 100


def test_calls_at_once_take_no_more_than_there_is(tmp_path: Path) -> None:
    key, key_secret = create(requests_per_minute=7)
    write_keys(tmp_path / "keys.toml", [key])
    settings: dict[str, Any] = {"keys": tmp_path / "keys.toml", "account": False, "clock": lambda: NOW}
    with running(BACKEND, **settings) as url, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: call(url, "/v1/chat/completions", asked(), key_secret)[0], range(20)))
    assert sorted(found) == [200] * 7 + [429] * 13


def test_keys_change_while_the_server_runs(file: Path, url: str) -> None:
    new, new_secret = create()
    assert call(url, "/v1/chat/completions", asked(), new_secret)[0] == 401
    write_keys(file, [*(key for key, _ in KEYS.values()), new])
    for _ in range(1000):  # it is looked at once a second
        status, _, _ = call(url, "/v1/chat/completions", asked(), new_secret)
        if status == 200:
            break
        time.sleep(0.05)
    assert status == 200


def test_usage_is_for_who_has_a_key(url: str) -> None:
    assert call(url, "/usage")[0] == 401
    assert used(url, "haiku")["limits"]["models"] == ["anthropic.*"]


def test_the_servers_own_key_is_not_counted_and_sees_all(tmp_path: Path) -> None:
    key, key_secret = create()
    write_keys(tmp_path / "keys.toml", [key])
    with running(BACKEND, keys=tmp_path / "keys.toml", api_key="the-servers-own", account=False) as url:
        for shown in ("the-servers-own", key_secret):
            assert call(url, "/v1/chat/completions", asked(), shown)[0] == 200
        for _ in range(1000):
            rows = json.loads(call(url, "/usage", key="the-servers-own")[2])["usage"]
            if rows:
                break
            time.sleep(0.02)
        assert [(row["key"], row["requests"]) for row in rows] == [(key.id, 1)]
        assert call(url, "/metrics", key="the-servers-own")[0] == 200
        assert call(url, "/metrics", key=key_secret)[0] in (401, 403)


def test_without_the_servers_own_key_its_other_pages_are_nobodys(url: str) -> None:
    assert call(url, "/health")[0] == 200
    for shown in ("", secret("free")):
        assert call(url, "/metrics", key=shown)[0] in (401, 403)


@pytest.mark.parametrize("path", ["/retrieveAndGenerate", "/retrieveAndGenerateStream"])
def test_what_a_model_says_of_documents_is_counted(path: str, url: str) -> None:
    content = {"identifier": "a.txt", "contentType": "text/plain", "data": "aGVsbG8gd29ybGQ="}
    sources = [{"sourceType": "BYTE_CONTENT", "byteContent": content}]
    external = {"modelArn": NOVA, "sources": sources}
    how = {"type": "EXTERNAL_SOURCES", "externalSourcesConfiguration": external}
    before = sum(row["requests"] for row in used(url, "reads")["usage"])
    tokens = used(url, "reads")["month"]["tokens"]
    body = {"input": {"text": "What does it say?"}, "retrieveAndGenerateConfiguration": how}
    status, _, text = call(url, path, body, secret("reads"))
    assert status == 200, text
    settled(url, "reads", before + 1)
    assert used(url, "reads")["month"]["tokens"] > tokens
