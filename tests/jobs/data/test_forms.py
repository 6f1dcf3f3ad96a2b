"""Every form of training data, and what is said of each line that has none: where it stands and why, and no word of
it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.data.statistics import statistics
from awsllm.jobs.data.training import TrainingData, TrainingDataError, read_training_data
from awsllm.jobs.data.written import bedrock_lines, jumpstart_lines, local_lines, read_local

USER, ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
CHAT = {"messages": [USER, ANSWER]}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


def lines(*records: Any) -> bytes:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records).encode()


def read(*records: Any) -> TrainingData:
    return read_training_data(lines(*records))


@pytest.mark.parametrize(
    ("record", "form", "roles"),
    [
        (CHAT, "chat", "user assistant"),
        ({"system": "Be kind.", **CHAT}, "chat", "system user assistant"),
        ({"messages": [{"role": "developer", "content": "x"}, USER, ANSWER]}, "chat", "system user assistant"),
        ({"prompt": "a", "completion": "b"}, "chat", "user assistant"),
        ({"prompt": [USER], "completion": [ANSWER]}, "chat", "user assistant"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", "user"),
        ({"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No"}]}, "preference", "user"),
        ({"text": "words"}, "text", ""),
        ({"input": "words"}, "text", ""),
        ({"prompt": "a"}, "prompt", "user"),
        ({"messages": [USER]}, "prompt", "user"),
    ],
)
def test_forms(record: dict[str, Any], form: str, roles: str) -> None:
    data = read(record)
    assert data.form == form
    assert [turn["role"] for turn in data.examples[0].turns] == roles.split()


def test_bedrock_s_form_and_back() -> None:
    record = {
        "schemaVersion": "bedrock-conversation-2024",
        "system": [{"text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
            {"role": "assistant", "content": [{"text": "c"}]},
        ],
    }
    data = read(record)
    assert [turn["content"] for turn in data.examples[0].turns] == ["Be kind.", "ab", "c"]
    again = json.loads(bedrock_lines(data, "conversation"))
    assert again == {**record, "messages": [{"role": "user", "content": [{"text": "ab"}]}, record["messages"][1]]}
    assert json.loads(bedrock_lines(data, "anthropic"))["system"] == "Be kind."
    assert json.loads(bedrock_lines(read(CHAT), "pairs")) == {"prompt": "Hello", "completion": "Hi"}
    assert json.loads(jumpstart_lines(data)) == {"prompt": "Be kind.\n\nab", "completion": "c"}


def test_pairs_of_nova_s_recipes() -> None:
    candidates = [
        {"content": [{"text": "good"}], "preferenceLabel": "preferred"},
        {"content": [{"text": "bad"}], "preferenceLabel": "non-preferred"},
    ]
    data = read({"messages": [USER, {"role": "assistant", "candidates": candidates}]})
    assert (data.examples[0].chosen, data.examples[0].rejected) == ("good", "bad")
    with pytest.raises(TrainingDataError, match="line 1: candidates are two"):
        read({"messages": [USER, {"role": "assistant", "candidates": candidates[:1]}]})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a list"),
        ({"other": "secret"}, "none of the forms"),
        ({"messages": []}, "is not a list of messages, or has none"),
        ({"messages": ["secret"]}, "message 1 is a text"),
        ({"messages": [{"role": "pirate", "content": "secret"}]}, "has no role of"),
        ({"messages": [ANSWER]}, "begins with a turn of the user"),
        ({"messages": [USER, USER]}, "turns 1 and 2 are both of the user"),
        ({"messages": [USER, {"role": "assistant", "content": "  "}]}, "the content of message 2 is empty"),
        ({"messages": [USER, {"role": "assistant", "content": 7}]}, "the content of message 2 is a number"),
        ({"messages": [USER, {"role": "assistant", "content": [{"image": "secret"}]}]}, "no text: images"),
        ({"messages": [USER, ANSWER, {"role": "system", "content": "secret"}]}, "stands before the conversation"),
        ({"schemaVersion": "secret", **CHAT}, "schemaVersion is not"),
        ({"prompt": "secret", "completion": ""}, "completion is empty"),
        ({"completion": "secret"}, "prompt is missing or null"),
        ({"prompt": "a", "chosen": "secret"}, "rejected is missing"),
        ({"prompt": "a", "chosen": "secret", "rejected": "secret"}, "are the same"),
        ({"text": None}, "text is missing or null"),
        ({"tools": "secret", **CHAT}, "tools is not a list"),
    ],
)
def test_a_bad_line_is_named_and_not_repeated(line: Any, said: str) -> None:
    with pytest.raises(TrainingDataError, match="line 3: ") as caught:
        read(CHAT, "", line)
    assert said in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.faults[0][0] == 3


def test_the_first_faults_are_told_and_the_others_counted() -> None:
    with pytest.raises(TrainingDataError) as caught:
        read(*["{"] * 12)
    assert [line for line, _ in caught.value.faults] == [1, 2, 3, 4, 5]
    assert caught.value.more == 7
    assert caught.value.message.endswith("; and 7 more")


def test_forms_are_not_mixed_and_nothing_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="line 2: it is of texts, where line 1 is of conversations"):
        read(CHAT, {"text": "a"})
    with pytest.raises(ValidationError, match="is empty"):
        read("")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_training_data(tmp_path / "no.jsonl")
    with pytest.raises(ValidationError, match="not a int"):
        read_training_data(7)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="this takes texts; the data has conversations"):
        read(CHAT).check_form("text", what="this")


def test_files_bytes_and_values_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(CHAT, CHAT) + b"\r\n")
    found = [read_training_data(one) for one in (path, str(path), path.read_bytes(), [CHAT, CHAT])]
    assert len({one.digest for one in found}) == 1
    assert read(CHAT).digest != found[0].digest
    assert read_local(local_lines(found[0])) == found[0].examples


def test_statistics() -> None:
    data = read(CHAT, {"prompt": "Hello", "completion": "Hi"}, {"prompt": "a" * 60, "completion": "b" * 60})
    found = statistics(data)
    assert (found.examples, found.turns, found.tokens, found.estimated) == (3, 6, 2 + 2 + 20, True)
    assert (found.longest, found.longest_line) == (20, 3)
    assert found.duplicates == (2,)
    assert found.preview[0] == "user: Hello\nassistant: Hi"
    assert "1 say what an earlier one says (line 2)" in found.text()
    assert statistics(data, lambda example: 7).tokens == 21


def test_what_is_held_out() -> None:
    data = read_training_data([{"text": str(n)} for n in range(10)])
    rest, held = data.split(0.2)
    assert held is not None
    assert [one.text for one in held.examples] == ["4", "9"]
    assert len(rest) == 8
    assert data.split(0)[1] is None
    with pytest.raises(ValidationError, match="cannot be held out"):
        data.split(1.5)


def test_what_a_place_cannot_take() -> None:
    called = {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}
    with pytest.raises(UnsupportedError, match="line 2: calls of tools"):
        bedrock_lines(read(CHAT, called), "conversation")
    with pytest.raises(UnsupportedError, match="line 1: pairs of answers"):
        bedrock_lines(read({"prompt": "a", "chosen": "b", "rejected": "c"}), "conversation")
    with pytest.raises(UnsupportedError, match="one question and its answer"):
        jumpstart_lines(read({"messages": [USER, ANSWER, USER, ANSWER]}))


@given(st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_json_is_read_or_refused(value: Any) -> None:
    pair = {"prompt": value, "completion": value}
    for record in (value, {"messages": value}, pair, {"chosen": value, "rejected": 1}):
        try:
            read(json.dumps(record))
        except ValidationError:
            continue


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{"role": ["user"], "content": "x"}, ANSWER]}, "message 1 has no role"),
        ({"messages": [USER, {"candidates": [{"preferenceLabel": {}, "content": "x"}] * 2}]}, "candidates are two"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": "x"}]}, "tool_calls of message 2 is a text"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [1]}]}, "call 1 of message 2 is not"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": []}]}, "content of message 2 is missing"),
        ({"messages": [{**USER, "tool_calls": [CALL]}, ANSWER]}, "is of the user: the assistant calls tools"),
        ({"messages": [{**USER, "name": 5}, ANSWER]}, "name of message 1 is a number"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "w", "arguments": "{"}}]}]},
            "the arguments of call 1 of message 2 are not JSON",
        ),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "w", "arguments": [1]}}]}]},
            "arguments of call 1 of message 2 are a list",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"toolUse": {"name": "w", "input": {}}}]}]},
            "calls of tools are written as Chat Completions has them",
        ),
    ],
)
def test_values_of_another_kind_are_faults_of_their_line(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(TrainingDataError, match=f"line 1: .*{reason}"):
        read(record)


@pytest.mark.parametrize("value", [object(), {5: "x"}])
def test_values_of_a_program_that_are_not_json(value: Any) -> None:
    with pytest.raises(TrainingDataError, match="line 1: it has a value that is not JSON"):
        read_training_data([{**CHAT, "note": value}])


def test_bytes_are_no_text() -> None:
    with pytest.raises(TrainingDataError, match="content of message 1 is of the type bytes"):
        read_training_data([{"messages": [{"role": "user", "content": b"x"}, ANSWER]}])


@pytest.mark.parametrize(
    ("begins", "kind"),
    [(b"PAR1\x00", "a Parquet file"), (b"\x1f\x8b\x08", "a gzip file"), (b"\xff\xfe{\x00", "a text in UTF-16")],
)
def test_files_of_another_kind(begins: bytes, kind: str) -> None:
    with pytest.raises(TrainingDataError, match=f"line 1: this is {kind}"):
        read_training_data(begins)
    with pytest.raises(TrainingDataError, match="line 2: it is not UTF-8"):
        read_training_data(lines(CHAT) + b'\n{"text": "caf\xe9"}')


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x.jsonl", "a\0b", "", "https://example.com/x.jsonl"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the training data '.*' (cannot be read|are no file)"):
        read_training_data(name)


@pytest.mark.parametrize("share", [-0.1, 0.51, 1, 1e-300, 0.2])
def test_a_share_that_holds_out_nothing(share: float) -> None:
    data = read(CHAT, CHAT)
    with pytest.raises(ValidationError, match=r"evaluate=.* (cannot be held out|holds out none)"):
        data.split(share)
