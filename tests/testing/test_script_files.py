"""Scripts in files: what they may hold, that a change is seen, and that a mistake is told with its line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, ThrottlingError
from awsllm.server import running
from awsllm.testing import Broken
from awsllm.testing.script_files import ScriptFile, read_script
from awsllm.testing.served import ServedScript
from awsllm.testing.table import LocalModel, ScriptTable, scripted
from awsllm.types import ConverseRequest, Message
from tests.support.sessions import new_client
from tests.testing.test_mock import CLAUDE, HELLO, ask, error_of

LOCAL = "local:smollm2-135m-instruct"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    written = iter(range(1, 1000))

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        os.utime(path, (next(written), 0))  # a clock that ticks too slowly to tell two writings apart
        return path

    return put


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Any]]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def enter(path: Path) -> Any:
            url = stack.enter_context(running(ServedScript(ScriptFile(path)), account=False))
            client = new_client("bedrock-runtime", endpoint_url=url)
            stack.callback(client.close)
            return client

        yield enter


def test_a_python_script_is_read_anew_when_it_changes(write: Write, serve: Callable[[Path], Any]) -> None:
    path = write("replies.py", "reply = ['one', lambda request: request.model]\n")
    client = serve(path)
    assert [ask(client), ask(client)] == ["one", CLAUDE]
    write("replies.py", "reply = 'changed'\n")
    assert [ask(client), ask(client)] == ["changed", "changed"]
    write("replies.py", "reply = 'a\nreply = 'b'\n")
    error = error_of(client.converse, modelId=CLAUDE, messages=HELLO)["Error"]
    assert error["Code"] == "ValidationException"
    assert error["Message"].endswith("(replies.py, line 1).")
    write("replies.py", "import os\n\ndef reply(request):\n    return os.nothing\n")
    error = error_of(client.converse_stream, modelId=CLAUDE, messages=HELLO)["Error"]
    assert "AttributeError: module 'os' has no attribute 'nothing' (replies.py, line 4)" in error["Message"]
    write("replies.py", "reply = 'mended'\n")
    assert ask(client) == "mended"
    path.unlink()
    assert "FileNotFoundError" in error_of(client.converse, modelId=CLAUDE, messages=HELLO)["Error"]["Message"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.py", "reply = (", r"'\(' was never closed \(a\.py, line 1\)"),
        ("a.py", "\n\nreply = 1 / 0", r"ZeroDivisionError: division by zero \(a\.py, line 3\)"),
        ("a.py", "replies = []", "a.py binds no `reply`"),
        ("a.py", "models = ['x']", "`models` is a table"),
        ("a.py", "models = {'x*': 'bedrock:x'}", "is not one"),
        ("a.json", "{", "a.json is not JSON: .*line 1"),
        ("a.json", '{"error": 5}', "not a scripted reply|not a reply in JSON"),
        ("a.yaml", "a: [", "a.yaml is not YAML: .*line 1"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "a.yaml is not YAML"),
        ("a.txt", "x", "not '.txt'"),
    ],
)
def test_a_script_that_cannot_be_read_says_where(write: Write, name: str, text: str, why: str) -> None:
    path = write(name, text)
    with pytest.raises((ConfigurationError, TypeError), match=why):
        ScriptFile(path).check()
        scripted(read_script(path)).ask(ConverseRequest(model=CLAUDE, messages=(Message.user("x"),)))
    with pytest.raises(ConfigurationError, match="there is no script"):
        ScriptFile(path.with_name("none.py")).check()


def test_scripts_in_json_and_yaml(write: Write) -> None:
    broken = '{"broken": "a b", "after": 1}'
    path = write("a.json", f'["text", {{"error": "ThrottlingException", "message": "slow"}}, {broken}]')
    first, second, third = read_script(path)
    assert first == "text"
    assert isinstance(second, ThrottlingError)
    assert isinstance(third, Broken)
    assert (third.reply, third.after) == ("a b", 1)
    text = f"reply:\n  anthropic.*:\n    - one\n    - two\nmodels:\n  amazon.nova*: {LOCAL}\n"
    table = read_script(write("a.yaml", text))
    assert table["anthropic.*"] == ["one", "two"]
    assert isinstance(table["amazon.nova*"], LocalModel)
    assert isinstance(scripted(table), ScriptTable)
    both = read_script(write("b.py", f"reply = 'x'\nmodels = {{'amazon.nova*': '{LOCAL}'}}"))
    assert list(both) == ["*", "amazon.nova*"]
    assert read_script(write("c.yml", "just a text")) == "just a text"
    real = read_script(write("d.json", f'{{"local": "{LOCAL}"}}'))
    assert f"local:{real.models.chat}" == LOCAL
