"""Which modules a handler can come to need, by small programs of each form that an import takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from awsllm.lambdas.packaging.closure import closure, modules_in, own_modules
from awsllm.lambdas.packaging.contents import every_handler

OWN = own_modules()


def needed(tmp_path: Path, files: dict[str, str], root: str = "app") -> set[str]:
    """Of a made-up awsllm: the modules that ``app`` needs."""
    for name, text in {"awsllm/__init__.py": "", **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {name.removeprefix("awsllm.") for name in closure([root], modules_in(tmp_path)).modules} - {"awsllm"}


LAZY = "class Client:\n    def chat(self): from awsllm import chat\n    def jobs(self): from awsllm import jobs\n"
PARTS = {"awsllm/chat.py": "", "awsllm/jobs.py": "", "awsllm/client.py": LAZY}


@pytest.mark.parametrize(
    ("app", "found"),
    [
        ("from awsllm import chat", {"chat"}),
        ("import awsllm.chat as talk", {"chat"}),
        ("if TYPE_CHECKING:\n    from awsllm import jobs\nelse:\n    import awsllm.chat", {"chat"}),
        ("def f():\n    from awsllm import chat", {"chat"}),  # of a root every function counts
        ("import awsllm.client", {"client"}),
        ("import awsllm.client\nawsllm.client.Client().chat()", {"client", "chat"}),
        ("import awsllm.client\njobs = 3\nprint(jobs)", {"client"}),  # no method is called so
        ("import awsllm.client\ngetattr(awsllm.client.Client(), 'jobs')()", {"client", "jobs"}),
        ("import awsllm.client\nname = 'jobs'\ngetattr(awsllm.client.Client(), name)()", {"client", "jobs"}),
    ],
)  # fmt: skip
def test_imports(app: str, found: set[str], tmp_path: Path) -> None:
    assert needed(tmp_path, {**PARTS, "app.py": app}) == found


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("class A:\n    @property\n    def b(self): from awsllm import chat\n", {"m"}),
        ("class A:\n    def __enter__(self): from awsllm import chat\n", {"m", "chat"}),
        ("import registry\n@registry.add\ndef f(): from awsllm import chat\n", {"m", "chat"}),
        ("from threading import Thread\nclass A(Thread):\n    def run(self): from awsllm import chat\n", {"m", "chat"}),
        ("from typing import Protocol\nclass A(Protocol):\n    def run(self): from awsllm import chat\n", {"m"}),
        ("def f(): from awsllm import chat\nTABLE = {'f': f}\n", {"m", "chat"}),
        ("def f(): from awsllm import chat\ndef g(): f()\n", {"m"}),
        ("def f(): from awsllm import chat\ndef g(): f()\ng()\n", {"m", "chat"}),
        ("class A:\n    def f(self): from awsllm import chat\n    alias = f\n", {"m", "chat"}),
        ("TABLE = {'chat': 'awsllm.chat'}\n", {"m", "chat"}),
        ("def f(a=lambda: __import__('awsllm.chat')): ...\n", {"m", "chat"}),
    ],
)
def test_functions_that_may_be_called(module: str, found: set[str], tmp_path: Path) -> None:
    assert needed(tmp_path, {**PARTS, "awsllm/m.py": module, "app.py": "import awsllm.m"}) == found


def test_names_that_a_package_resolves_at_first_use(tmp_path: Path) -> None:
    """What is asked for alone, whoever asks; what only stands in the table is not needed."""
    lazy = (
        "_HOMES = {'A': 'a', 'B': 'b'}\ndef __getattr__(name):\n"
        "    import importlib\n    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)\n"
    )
    room = {"awsllm/r/__init__.py": lazy, "awsllm/r/a.py": "A = 1", "awsllm/r/b.py": "B = 1"}
    assert needed(tmp_path, {**room, "app.py": "from awsllm.r import A"}) == {"r", "r.a"}
    assert needed(tmp_path, {**room, "app.py": "from awsllm.r import *"}) == {"r", "r.a", "r.b"}
    top = lazy.replace("'a'", "'r.a'").replace("'b'", "'r.b'")
    assert needed(tmp_path, {**room, "awsllm/__init__.py": top, "app.py": "import awsllm\nawsllm.B"}) == {"r", "r.b"}


def test_a_folder_whose_modules_are_named_as_it_goes(tmp_path: Path) -> None:
    rules = "from importlib import import_module\ndef rules(name): return import_module(f'{__name__}.{name}').RULES\n"
    room = {"awsllm/r/__init__.py": rules, "awsllm/r/a.py": "", "awsllm/r/b.py": ""}
    assert needed(tmp_path, {**room, "app.py": "from awsllm.r import rules\nrules('a')"}) == {"r", "r.a", "r.b"}


def test_relative_imports_of_ones_own_code(tmp_path: Path) -> None:
    files = {"mine/__init__.py": "", "mine/app.py": "from . import other", "mine/other.py": "import awsllm.chat"}
    assert needed(tmp_path, {**PARTS, **files}, "mine.app") == {"chat"}


def test_what_others_provide_is_told_with_who_asks(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import numpy.linalg, os\nfrom requests import get\n", encoding="utf-8")
    found = closure(["app"], modules_in(tmp_path))
    assert found.foreign == {"numpy": "app", "os": "app", "requests": "app"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("converse('bedrock:x', 'Hi')", {"jumpstart.facade", "jobs.video", "speech.opening", "aws.aio", "cli"}),
        ("embed('bedrock:x', 'Hi')", {"jumpstart.facade", "speech.opening"}),
        ("videos", {"jumpstart.facade", "speech.opening"}),
    ],
)  # fmt: skip
def test_what_a_client_is_not_asked_for(code: str, absent: set[str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(f"import awsllm\nawsllm.Client().{code}\n", encoding="utf-8")
    found = closure(["app"], OWN | modules_in(tmp_path)).modules
    assert not found & {f"awsllm.{name}" for name in absent}


def test_the_handlers_are_found() -> None:
    """By what a module makes when ``handler`` is asked of it; the ASGI application is asked for as ``app``."""
    kinds = {handler.split(".")[2] for handler in every_handler(OWN)}
    assert {"chat", "documents", "mcp", "sqs", "stepfunctions", "stream"} <= kinds
    assert not kinds & {"asgi", "runtime", "context", "settings"}


# One program that asks a client for what functions ask it for; what each call loads stands in what is packed for it.
CALLS = {
    "chat": "client.converse('bedrock:us.amazon.nova-lite-v1:0', 'Hi')",
    "tools": "client.converse('bedrock:us.amazon.nova-lite-v1:0', 'Hi', tools=[len_of])",
    "stream": "list(client.converse_stream('bedrock:us.amazon.nova-lite-v1:0', 'Hi'))",
    "embedding": "client.embed('bedrock:amazon.titan-embed-text-v2:0', ['Hi'])",
    "retrieval": "client.retrieve('ABCDEFGHIJ', 'Hi')",
    "endpoint": "client.converse('sagemaker:chat', 'Hi')",
}
PROGRAM = """
import json, sys
import awsllm
def len_of(text: str) -> int: "Its length."; return len(text)
client = awsllm.Client(region="us-east-1", policy=awsllm.Policy(max_attempts=2, max_delay=0.001))
try:
    {call}
except awsllm.AwsllmError: pass
print(json.dumps([name for name in sys.modules if name.partition('.')[0] == 'awsllm']))
"""


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_a_call_loads_is_packed(call: str, tmp_path: Path) -> None:
    from awsllm.testing import server

    program = PROGRAM.format(call=call)
    (tmp_path / "app.py").write_text(program, encoding="utf-8")
    with server(reply=lambda request: "Hi") as aws:
        env = {**os.environ, **aws.env}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded
    assert loaded - closure(["app"], OWN | modules_in(tmp_path)).modules == set()
