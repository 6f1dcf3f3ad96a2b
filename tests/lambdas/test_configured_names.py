"""Names of an ``awsllm.toml`` that is packaged with a function."""

from __future__ import annotations

from pathlib import Path

import pytest

from awsllm.errors import ConfigurationError
from awsllm.lambdas import chat_handler, settings, step_handler
from awsllm.lambdas.emulator.sample_events import sample
from awsllm.lambdas.gateway import _models
from awsllm.lambdas.packaging.contents import Recipe
from awsllm.testing import mock_aws
from tests.support.lambdas import FakeContext, answered

FILE = """
[aliases]
fast = "bedrock:amazon.nova-lite-v1:0"
[groups.chat]
models = ["fast", "bedrock:us-west-2/amazon.nova-pro-v1:0"]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "awsllm.toml"
    file.write_text(FILE, encoding="utf-8")
    monkeypatch.delenv("AWSLLM_CONFIG")
    monkeypatch.chdir(tmp_path)  # as /var/task is
    return file


@pytest.mark.usefixtures("path")
def test_the_model_of_a_function_may_be_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", "chat")
    assert settings.model(None) == "chat"
    assert [one.region for one in settings.references("chat")] == [None, "us-west-2"]
    assert [str(one) for one in settings.references("local:x")] == ["local:x"]
    with pytest.raises(ConfigurationError, match="slow"):
        settings.model("slow")


@pytest.mark.usefixtures("path")
def test_the_gateways_models_may_be_names(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _models({"gpt-5": "chat", "small": "fast"})
    assert given.strict
    assert given.table.group("gpt-5") == "gpt-5"
    assert str(given.table.find("small")) == "bedrock:amazon.nova-lite-v1:0"
    assert _models(None).table.group("chat") == "chat"
    monkeypatch.setenv("AWSLLM_MODEL", "chat")
    assert _models(None).table.group("whatever") == "*"


def test_a_package_has_the_file_that_it_is_given(path: Path, tmp_path: Path) -> None:
    from awsllm.lambdas.packaging import build

    recipe = Recipe({"handlers": ["awsllm.lambdas.chat.handler"], "configuration": path})
    building = build._Building(recipe, tmp_path / "work", tmp_path / "out.zip")
    building._lay_out_configuration()
    assert (tmp_path / "work" / "package" / "awsllm.toml").read_text(encoding="utf-8") == FILE
    assert "awsllm.policy.configuration" in recipe.closure.modules  # what reads it is there, too
    path.write_text("[aliases]\nx = 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"aliases\.x"):
        Recipe({"handlers": ["awsllm.lambdas.chat.handler"], "configuration": path})


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", ["fast", "chat"])
def test_handlers_answer_by_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSLLM_MODEL", name)
    with mock_aws(reply="Sunny."):
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        status, said = answered(chat_handler()(sample("url", '{"message": "Will it rain?"}'), FakeContext()))
        assert status == 200
        assert said["message"]["content"] == [{"text": "Sunny."}]
        assert step_handler()({"message": "Will it rain?"}, FakeContext())["text"] == "Sunny."


@pytest.mark.usefixtures("path")
def test_options_that_no_member_takes_are_the_deployments_fault() -> None:
    for name in ("fast", "chat"):
        with pytest.raises(ConfigurationError, match="the handler's options do not fit its model"):
            chat_handler(name, max_tokens=0)
