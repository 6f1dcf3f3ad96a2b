"""The core alone, in a new environment, holds all that it promises; a missing extra names its command."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CORE = """
import awsllm
for name in awsllm.__all__:
    getattr(awsllm, name)
import awsllm.backends.bedrock, awsllm.backends.sagemaker, awsllm.backends.local
import awsllm.aws.http, awsllm.aws.session, awsllm.store, awsllm.wire.converse

def fails(call, command):
    try:
        call()
    except awsllm.ConfigurationError as error:
        assert command in str(error), error
    else:
        raise SystemExit(f"nothing says {command}")

client = awsllm.Client(region="us-east-1", endpoint_url="http://127.0.0.1:9")
fails(lambda: client.converse("local:smollm2-135m-instruct", "Hello"), "pip install 'awsllm[local]'")

from awsllm.wire.text.blocks import block_text
try:
    block_text(awsllm.Document("d", awsllm.types.Bytes(b"%PDF-1.7"), "pdf"))
except awsllm.UnsupportedError as error:
    assert "pip install 'awsllm[local]'" in str(error), error
else:
    raise SystemExit("a PDF was read without pypdf")

import asyncio, os
os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
async def use():
    once = awsllm.Policy(max_attempts=1)
    async with awsllm.AsyncClient(region="us-east-1", endpoint_url="http://127.0.0.1:9", policy=once) as client:
        await client.converse("bedrock:us.amazon.nova-lite-v1:0", "Hello")
try:
    asyncio.run(use())
except awsllm.ConnectError:  # nobody is there, but all that it takes to ask
    pass
else:
    raise SystemExit("somebody answered")

from awsllm.server.surfaces.playground.page import page
from awsllm.server.work import Incoming
for name in ("", "main.js", "style.css"):
    assert page(Incoming("GET", f"/playground/{name}")).status == 200, name

from awsllm.cli import main
try:
    main()
except SystemExit as end:
    assert "pip install 'awsllm[cli]'" in str(end.code), end.code
"""


def test_tests_need_no_torch() -> None:
    """The extra for tests takes no other with it: scripts answer without models."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in extras["test"]}
    assert names == {"jsonpath-ng", "moto", "pytest", "regex"}


@pytest.mark.slow
def test_the_core_stands_alone(tmp_path: Path) -> None:
    home = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", ROOT], check=True, cwd=tmp_path)
    names = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True)
    installed = {line.split("==")[0].lower().replace("_", "-") for line in names.stdout.split()}
    assert not installed & {
        "torch",
        "numpy",
        "moto",
        "typer",
        "rich",
        "granian",
        "pypdf",
        "transformers",
        "sagemaker",
    }
    subprocess.run([python, "-c", CORE], check=True, cwd=tmp_path, env={"PATH": "", "HOME": str(tmp_path)})
