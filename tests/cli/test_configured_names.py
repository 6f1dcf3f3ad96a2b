"""``awsllm chat`` by the names of an ``awsllm.toml``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import awsllm
from awsllm.cli.app import app
from awsllm.cli.chat import _names
from awsllm.cli.conversation import Conversation, chosen
from awsllm.cli.explain import _meant
from awsllm.errors import AwsllmError
from awsllm.policy.configuration_file import model_named
from awsllm.testing import ScriptedBackend, mock_aws


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "awsllm.toml"
    path.write_text(
        '[aliases]\nfast = "bedrock:second"\nvectors = "local:bge-small-en-v1.5"\n'
        '[groups.chat]\nmodels = ["bedrock:first", "fast"]\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("AWSLLM_CONFIG", str(path))
    return path


def test_a_conversation_goes_on_with_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    backend = ScriptedBackend(
        lambda request: awsllm.ThrottlingError("no") if request.model == "first" else request.model
    )
    typed = iter(["/model chat", "Hi", "/model vectors", "/model slow", "/exit"])
    policy = awsllm.Policy(max_attempts=1)
    with awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": backend}) as client:
        Conversation(client, "bedrock:first", {}, read=lambda: next(typed), plain=True).run()
    shown = capsys.readouterr()
    assert "second" in shown.out
    assert "(chat)" in shown.err
    assert "'slow'" in shown.err
    assert [request.model for request in backend.requests] == ["first", "second"]


def test_names_are_completed_and_checked() -> None:
    assert _names("") == ["fast", "vectors", "chat"]
    assert _names("f") == ["fast"]
    assert chosen("chat") == "chat"
    assert chosen("bedrock:x") == "bedrock:x"
    with pytest.raises(AwsllmError, match="bge-small"):
        chosen("vectors")


def test_explain_takes_names(tmp_path: Path) -> None:
    assert [_meant(name) for name in ("vectors", "local:x", "unnamed")] == [
        "local:bge-small-en-v1.5",
        "local:x",
        "unnamed",
    ]
    with pytest.raises(typer.BadParameter, match="no local model"):
        _meant("chat")
    with (tmp_path / "awsllm.toml").open("a", encoding="utf-8") as file:
        file.write('[groups.near]\nmodels = ["fast", "local:smollm2-135m-instruct"]\n')
    assert _meant("near") == "local:smollm2-135m-instruct"


def test_an_alias_is_a_model_where_one_is_asked_for() -> None:
    assert str(model_named("fast")) == "bedrock:second"
    assert str(model_named("bedrock:first")) == "bedrock:first"
    for name, why in (("chat", "'chat' is a group of awsllm.toml: name one model here"), ("slow", "'slow' is not a")):
        with pytest.raises(AwsllmError, match=why):
            model_named(name)


def test_a_check_tells_what_there_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text + '[policy]\nmax_attempts = 4\n[log]\npath = "calls.db"\n', encoding="utf-8")
    checked = CliRunner().invoke(app, ["config", "check"]).stdout
    assert checked.endswith("awsllm.toml can be used: 2 aliases, 1 group, policy, log\n")
    shown = CliRunner().invoke(app, ["config", "show"]).output
    assert "\n[policy]\nmax_attempts = 4\n" in shown
    assert "\n[log]\npath = 'calls.db'\n" in shown


def test_profiles_are_made_of_an_alias(file: Path) -> None:
    file.write_text('[aliases]\nnova = "bedrock:amazon.nova-lite-v1:0"\n', encoding="utf-8")
    run = partial(CliRunner().invoke, app)
    with mock_aws(reply="hi"):
        none = run(["profiles", "list", "--region", "us-east-1"])
        made = run(["profiles", "create", "-m", "nova", "-t", "team=search", "--region", "us-east-1"])
    assert none.output == "There are no application inference profiles.\n"
    assert '"bedrock:amazon.nova-lite-v1:0" = "arn:aws:bedrock:' in made.output
