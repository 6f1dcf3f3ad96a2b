"""Datasets: what is read as a case, and how what is none is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.evaluation.cases import EvaluationCase, read_cases


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"question": "2+2?", "answer": 4}\n\n{"prompt": "x", "expected": ["a", "b"], "id": "z"}\n'),
        ("a.json", '[{"input": "2+2?", "completion": 4}, {"prompt": "x", "referenceResponse": ["a", "b"], "id": "z"}]'),
    ],
)
def test_json(tmp_path: Path, name: str, content: str) -> None:
    first, second = read_cases(written(tmp_path, name, content))
    assert (first.id, first.prompt, first.alternatives) == ("1", "2+2?", ("4",))
    assert (second.id, second.prompt, second.alternatives) == ("z", "x", ("a", "b"))


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_columns(tmp_path: Path, name: str, comma: str) -> None:
    rows = [["\ufefftext", "to", "said"], ['"one, ""two""\nlines"', "French", "un"], ["{to}", "German", ""]]
    path = written(tmp_path, name, "\r\n".join(comma.join(row) for row in rows))
    first, second = read_cases(path, prompt="To {to}: {text} {", expected="said")
    assert (first.prompt, first.expected) == ('To French: one, "two"\nlines {', "un")
    assert second.prompt == "To German: {to} {"  # what a column says is no template
    assert first.columns == {"text": 'one, "two"\nlines', "to": "French", "said": "un"}


def test_a_template_of_what_is_expected() -> None:
    (case,) = read_cases([{"q": "x", "a": 1, "b": {"c": 2}}], prompt="{q}", expected="{a} and {b}")
    assert case.expected == '1 and {"c":2}'


def test_conversations() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"text": "Hello"}]},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Farewell"},
    ]
    whole, short, pictured = read_cases(
        [
            {"messages": turns},
            {"messages": turns[1:2], "system": "S", "expected": "e"},
            {"messages": [{"role": "user", "content": [{"text": "see"}, {"image": {}}]}]},
        ]
    )
    assert (whole.prompt, whole.system, whole.expected) == ("Bye", "Be brief.", "Farewell")
    assert [turn["content"] for turn in whole.messages] == [[{"text": "Hi"}], [{"text": "Hello"}], [{"text": "Bye"}]]
    assert (short.prompt, short.system, short.messages, short.expected) == ("Hi", "S", (), "e")
    assert (pictured.prompt, len(pictured.messages)) == ("see", 1)


def test_the_key_is_what_is_asked() -> None:
    one, same, other = (EvaluationCase(id=i, prompt="p", expected=e) for i, e in [("1", "a"), ("2", "a"), ("1", "b")])
    assert one.key == same.key != other.key


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "x"}\n{"prompt"\n[1]\n', r"a.jsonl, line 2: is no JSON .*; line 3: is no object$"),
        ("\n".join(['{"x": 1}'] * 7), r"line 1: has no prompt, .* of \{x\}; .*; and 2 more$"),
        ("[" * 100_000, "line 1: is (nested too deep|no JSON)"),
        ("", "there is no case"),
        ('{"prompt": "x", "id": 1}\n{"prompt": "y", "id": "1"}', "two cases have the id '1'"),
        ('{"prompt": "x", "system": 3}', "line 1: its system is no text"),
        ('{"messages": []}', "no list of turns"),
        ('{"messages": [{"role": "tool", "content": "x"}]}', "has a role"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "ask nothing"),
    ],
)
def test_bad_records(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read_cases(written(tmp_path, "a.jsonl", content))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_cases(tmp_path / "none.jsonl")
    with pytest.raises(ValidationError, match=r"is .jsonl, .json, .csv or .tsv"):
        read_cases(written(tmp_path, "a.parquet", "PAR1"))
    (tmp_path / "b.csv").write_bytes(b"prompt\n\xff")
    with pytest.raises(ValidationError, match="not UTF-8"):
        read_cases(tmp_path / "b.csv")
    with pytest.raises(ValidationError, match="line 2: has other columns"):
        read_cases(written(tmp_path, "c.csv", "prompt,b\nx\n"))
    with pytest.raises(ValidationError, match=r"record 1: has no column 'y'; it has \{x\}"):
        read_cases([{"x": 1}], prompt="{y}")
    with pytest.raises(ValidationError, match="holds what is no JSON"):
        read_cases([{"prompt": "x", "other": object()}])
    with pytest.raises(ValidationError, match="is no list"):
        read_cases(written(tmp_path, "d.json", "{}"))
