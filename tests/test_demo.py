"""`awsllm demo` reports what happened: the same answer from three places, a valid tool call, a typed answer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from awsllm import Client
from awsllm.cli import demo

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_demo_reports_what_happened(tmp_path: Path) -> None:
    document = tmp_path / "rules.txt"
    document.write_text(
        "Guests may use the library on weekdays between nine and five, and are asked to leave their coats outside.\n\n"
        "A book may be kept for three weeks. Whoever keeps a book for longer pays ten cents for each further day.\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "awsllm.cli", "demo", "--document", str(document)]
    question = ["--question", "For how long may a book be kept?"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {"COLUMNS": "120"}
    run = subprocess.run([*command, *question], check=True, capture_output=True, text=True, env=env)
    out = run.stdout
    assert "A book may be kept for three weeks." in out.split("local:")[0]
    answers = re.findall(r"(?:local|bedrock|sagemaker): \S+ ─+\n(.+)\n", out)
    assert len(answers) == 3
    assert len(set(answers)) == 1
    rows = re.findall(r"^\s+(local|bedrock|sagemaker)\s+([\d.]+) s\s+(\d+)\s+(\d+)\s+(\d+)", out, re.MULTILINE)
    assert [row[0] for row in rows] == ["local", "bedrock", "sagemaker"]
    assert len({row[3] for row in rows}) == 1  # the same prompt everywhere
    assert len(re.findall(r"Ticket\(product='.+', severity='(?:low|medium|high)'\)", out)) == 2
    assert len(re.findall(r"the model calls +get_weather\(city='.+'\)\n", out)) == 1
    assert '"temperature": 21' in out
    [answer] = re.findall(r"the model answers +(.+)\n", out)
    assert not set("<>{}[]") & set(answer)
    assert run.stderr == ""


def test_the_readme_answers_the_question_of_the_demo() -> None:
    passages = demo.paragraphs(README)
    query, *vectors = Client().embed(f"local:{demo.EMBED}", [demo.QUESTION, *passages], normalize=True).vectors
    scores = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
    assert "get real answers from a real language model" in passages[scores.index(max(scores))]
