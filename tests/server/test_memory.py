"""The local models of a server: loaded when they are asked for, told of, and let go."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.policy.keys import create, write_keys
from awsllm.server import running
from awsllm.server.instance import Instance, registered
from awsllm.testing import AsyncScriptedBackend
from tests.support.command_line import Run, runner

CHAT, EMBED = "smollm2-135m-instruct", "all-minilm-l6-v2"
KEY = "the-servers-key"
TOKEN = "the-servers-admin-token"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWSLLM_API_KEY", KEY)
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(api_key=KEY, admin_token=TOKEN, account=False, max_models=1) as at:
        yield at


def post(url: str, path: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(url + path, json.dumps(body).encode(), headers)) as reply:
        return json.loads(reply.read())


def test_models_take_turns(url: str, run: Run) -> None:
    def loaded() -> list[tuple[str, str, int]]:
        return [
            (one["name"], one["kind"], one["in_flight"]) for one in json.loads(run("ps", "--url", url, "--json").out)
        ]

    assert loaded() == [(CHAT, "chat", 0)]
    assert len(post(url, "/v1/embeddings", {"model": EMBED, "input": ["a"]})["data"]) == 1
    assert loaded() == [(EMBED, "embedding", 0)]
    body = {"model": CHAT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    assert post(url, "/v1/chat/completions", body)["model"] == CHAT
    assert loaded() == [(CHAT, "chat", 0)]
    shown = run("ps", "--url", url).out.splitlines()
    assert shown[0].split() == ["MODEL", "KIND", "SIZE", "IN", "FLIGHT", "USED"]
    assert shown[1].split()[:4] == [CHAT, "chat", "98", "MB"]
    assert run("stop", CHAT, "--url", url).out == f"{CHAT}: unloaded\n"
    assert loaded() == []
    assert "is in memory" in run("stop", CHAT, "--url", url).err


def test_nobody_else_is_told(url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_API_KEY", "another")
    result = run("ps", "--url", url)
    assert (result.code, "AWSLLM_API_KEY" in result.err) == (1, True)
    request = urllib.request.Request(f"{url}/_awsllm/models/{CHAT}", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.code == 401


def test_who_started_the_server_needs_no_key(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWSLLM_API_KEY")
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    assert run("ps", "--url", url).code == 1
    with registered(Instance(url=url, key_needed=True, admin_token=TOKEN)):
        assert run("ps").code == 0
        assert run("stop", "none-of-this-name").err.startswith("awsllm: No model 'none-of-this-name' is in memory")
    with registered(Instance(url=url, key_needed=True, admin_token="another-" + TOKEN)):
        assert "admin token is missing or wrong" in run("ps").err
    request = urllib.request.Request(f"{url}/_awsllm/models", headers={"x-awsllm-token": TOKEN, "Origin": url})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.code == 403


def test_a_server_of_keys_or_of_a_script_says_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))
    key, secret = create()
    write_keys(tmp_path / "keys.toml", [key])
    monkeypatch.setenv("AWSLLM_API_KEY", secret)
    with running(AsyncScriptedBackend("x"), account=False, keys=tmp_path / "keys.toml", admin_token=TOKEN) as at:
        assert "a key of its --keys does not do" in run("ps", "--url", at).err
        with registered(Instance(url=at, key_needed=True, admin_token=TOKEN)):
            assert "No local models answer at this server (a script does" in run("ps").err
            assert "No local models answer at this server (a script does" in run("stop", CHAT).err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "file:///etc/passwd"])
def test_where_no_server_is(run: Run, url: str) -> None:
    result = run("ps", "--url", url)
    assert (result.code, "Traceback" in result.err, url in result.err) == (1, False, True)
