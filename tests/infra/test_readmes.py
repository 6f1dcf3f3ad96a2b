"""What is written beside the templates is true of them: parameters, outputs, commands, costs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from awsllm.cli.app import app
from tests.support.stacks import NAMES, ROOT, document

_FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_CAMEL = re.compile(r"`((?:[A-Z][a-z0-9]+){2,}|Url|Schema|Labels|Task|Sessions|Prompts|Release|Reference)(?:=[^`]*)?`")


def _readme(name: str) -> str:
    return (ROOT / name / "README.md").read_text(encoding="utf-8")


def _commands(text: str) -> Iterator[list[str]]:
    """The words of each ``awsllm`` command in a text."""
    for fence in _FENCE.findall(text):
        for line in fence.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("…", ""), comments=True)
            if words[:1] == ["awsllm"]:
                yield words[1:]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_is_there(name: str) -> None:
    template = document(name)
    shared = {"Retrieve", "RetrieveAndGenerate", "BASE"} | template.get("Resources", {}).keys()
    known = template["Parameters"].keys() | template["Outputs"].keys() | shared | _named_elsewhere(name)
    assert {each for each in _CAMEL.findall(_readme(name)) if each not in known} == set()


def _named_elsewhere(name: str) -> set[str]:
    """What a text says of another template."""
    return {"router": {"GatewayModels"}, "guardrails": {"GuardrailId", "GuardrailVersion"}}.get(name, set())


@pytest.mark.parametrize("name", [*NAMES, "."])
def test_its_commands_are_those_of_awsllm(name: str) -> None:
    for words in _commands(_readme(name)):
        options = _options(words)
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words
        if words[:2] == ["infra", "deploy"]:
            given = {words[at + 1].partition("=")[0] for at, word in enumerate(words) if word == "--parameter"}
            assert given <= document(words[2])["Parameters"].keys(), words


def _options(words: list[str]) -> set[str]:
    """The options of the command that the words name."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_the_cost_of_the_template(name: str) -> None:
    told = document(name)["Metadata"]["awsllm"]["idle_cost"]["usd_per_month"]
    (cost,) = re.findall(r"\*\*Cost while idle:\*\*(.*?)\n\n", _readme(name), re.DOTALL)
    assert (told in cost or told.removesuffix(".00") in cost) if float(told) else "nothing" in cost


def test_the_list_has_every_template() -> None:
    assert sorted(re.findall(r"^\| \[([a-z-]+)\]", _readme("."), re.MULTILINE)) == NAMES
