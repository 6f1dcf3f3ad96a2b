"""``awsllm keys``, and the options of ``awsllm serve`` that concern models and keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awsllm.policy.keys import read_keys
from awsllm.policy.limits import Spent
from awsllm.policy.usage import KeyUsage
from tests.support.command_line import Run, runner


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("AWSLLM_KEYS", "AWSLLM_USAGE", "AWSLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return runner(monkeypatch, capsys)


def test_the_life_of_a_key(run: Run) -> None:
    options = ["--name", "search", "-m", "anthropic.*", "--requests-per-minute", "60", "--expires", "2099-01-01"]
    made = run("keys", "create", *options, "--json")
    key, secret = json.loads(made.out).values()
    shown = run("keys", "create")
    assert shown.out.startswith("sk-awsllm-")
    assert "shown this once" in shown.err
    found = read_keys(Path("keys.toml"))
    assert found.shown(secret) == found.by_id[key]
    listed = run("keys", "list").out
    assert key in listed
    assert "2099-01-01  anthropic.*" in listed
    assert secret not in listed
    (public, _) = json.loads(run("keys", "list", "--json").out)
    assert not {"sha256", "secret"} & public.keys()
    assert run("keys", "revoke", key).out == f"{key}: revoked\n"
    assert "revoked" in run("keys", "list").out
    assert "no key 'other'" in run("keys", "revoke", "other").err


def test_a_key_that_signs_is_told_how(run: Run) -> None:
    result = run("keys", "create", "--sigv4")
    (key,) = read_keys(Path("keys.toml"))
    assert key.secret == result.out.strip()
    assert f"AWS_ACCESS_KEY_ID={key.id}" in result.err


def test_what_keys_used(run: Run) -> None:
    run("keys", "create")
    (key,) = read_keys(Path("keys.toml"))
    with closing(KeyUsage("usage.db")) as usage:
        for cost in (0.25, None):
            usage.settle(usage.admit(key, "m", 1), Spent(input=3, output=2, cost=cost))
    shown = run("keys", "usage").out.splitlines()
    assert shown[1].split(maxsplit=6) == [key.id, "m", "2", "6", "4", "0", "$0.2500 and 1 requests of unknown cost"]
    assert json.loads(run("keys", "usage", key.id, "--json").out)[0]["requests"] == 2
    assert json.loads(run("keys", "usage", "another", "--json").out) == []


@pytest.mark.parametrize("command", [["list"], ["revoke", "x"], ["usage"]])
def test_a_file_that_is_not_there(run: Run, command: list[str]) -> None:
    result = run("keys", *command)
    assert (result.code, "there is no" in result.err) == (1, True)


def test_serve_hands_models_and_keys_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def serving(*arguments: Any, ready: Callable[[Any], None], **options: Any) -> None:
        calls.append((arguments, options))

    monkeypatch.setattr("awsllm.server.serve", serving, raising=False)
    monkeypatch.setattr("awsllm.server.workers.supervise", serving)
    options = ["--map", "anthropic.*=local:a", "--map", "b=bedrock:c", "--strict-models", "--max-model-memory", "1.5G"]
    options += ["--device", "cuda:1", "--encoder-precision", "bfloat16"]
    run("serve", *options, "--keys", "k.toml", "--usage", "u.db", "--config", "c.toml", "--max-models", "2")
    ((arguments, settings),) = calls
    assert arguments == ("127.0.0.1", 8900)
    assert settings["device"] == "cuda:1"
    assert settings["models"] == {"anthropic.*": "local:a", "b": "bedrock:c"}
    assert (settings["mapped_only"], settings["max_models"], settings["max_model_memory"]) == (True, 2, 1_500_000_000)
    assert settings["encoder_precision"] == "bfloat16"
    assert [str(settings[name]) for name in ("keys", "usage", "config")] == ["k.toml", "u.db", "c.toml"]
    run("serve", "--workers", "3", "--no-account")
    assert (calls[1][0], calls[1][1]["account"]) == ((3, "127.0.0.1", 8900), False)


@pytest.mark.parametrize("option", [["--map", "x"], ["--max-model-memory", "much"]])
def test_a_wrong_option_is_told(run: Run, option: list[str]) -> None:
    result = run("serve", *option)
    assert result.code == 1
    assert option[-1] in result.err


def test_a_key_or_everybody_is_stopped_and_resumed(run: Run) -> None:
    key, secret = json.loads(run("keys", "create", "--team", "search", "--json").out).values()
    assert run("keys", "stop", key).out == f"{key}: stopped\n"
    assert "stopped" in run("keys", "list").out
    assert run("keys", "stop").out == "all keys: stopped\n"
    run("keys", "create")  # which changes nothing of that
    found = read_keys(Path("keys.toml"))
    assert found.stopped
    assert found.shown(secret) == found.by_id[key]
    assert (found.by_id[key].stopped, found.by_id[key].team) == (True, "search")
    run("keys", "resume")
    run("keys", "resume", key)
    found = read_keys(Path("keys.toml"))
    assert (found.stopped, found.by_id[key].stopped) == (False, False)
