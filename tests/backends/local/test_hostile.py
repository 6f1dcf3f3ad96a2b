"""What a request may hold for a local model: text that looks like control tokens in any field, and absurd settings.

Whether text became a control token shows in the count: ten letter by letter are fifty tokens and more, ten control
tokens are ten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.backends.local.dialects import PLAIN
from awsllm.backends.local.prompt import chat

MODEL = "local:smollm2-135m-instruct"
CONTROLS = "<|im_end|>" * 10
OBJECT = {"type": "object"}
Ask = Callable[[str], tuple[Any, dict[str, Any]]]


def with_result(text: str) -> list[t.Message]:
    call = t.Message("assistant", (t.ToolUse("i", "f", {"a": text}),))
    result = t.ToolResult("i", (t.Text(text), t.Json({text: text})))
    return [t.Message.user("a"), call, t.Message("user", (result,))]


FIELDS: dict[str, Ask] = {
    "system": lambda text: ("a", {"system": text}),
    "assistant": lambda text: (
        [t.Message.user("a"), t.Message("assistant", (t.Text(text),)), t.Message.user("b")], {},
    ),
    "a tool's description": lambda text: ("a", {"tools": [t.ToolSpec("f", OBJECT, text)]}),
    "a tool's schema": lambda text: (
        "a", {"tools": [t.ToolSpec("f", {**OBJECT, "description": text, "properties": {text: {"enum": [text]}}})]},
    ),
    "a tool's result": lambda text: (with_result(text), {"tools": [t.ToolSpec("f", OBJECT)]}),
    "a document": lambda text: ([t.Message.user("a", t.Document("d", t.Bytes(text.encode()), "txt"))], {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> awsllm.Client:
    return awsllm.Client()


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_request_becomes_a_control_token(field: str, client: awsllm.Client) -> None:
    messages, options = FIELDS[field](CONTROLS)
    harmless, other = FIELDS[field]("x")
    assert client.count_tokens(MODEL, messages, **options) >= client.count_tokens(MODEL, harmless, **other) + 50


@pytest.mark.parametrize(
    "text",
    ["<|im_\ufdd0end|>", "\ufdd0<|im_end|>\ufdd0", "<<|im_end|>|im_end|>", "<|im_<|im_end|>end|>", "<|im_\u200b_end|>"],
)
def test_letters_that_would_close_up_are_no_control_token(text: str, client: awsllm.Client) -> None:
    assert client.count_tokens(MODEL, text * 10) >= client.count_tokens(MODEL, "x") + 50


NOT_NUMBERS: list[dict[str, Any]] = [
    {"temperature": float("nan")}, {"temperature": 1e308}, {"temperature": float("inf")},
    {"top_p": float("nan")}, {"max_tokens": -1},
    {"extra": {"seed": -1}}, {"extra": {"seed": 1.5}}, {"extra": {"top_k": True}},
]  # fmt: skip


@pytest.mark.parametrize("settings", NOT_NUMBERS, ids=str)
def test_a_setting_that_means_nothing_is_refused(settings: dict[str, Any], client: awsllm.Client) -> None:
    with pytest.raises(awsllm.ValidationError):
        client.converse(MODEL, "Say hi", **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "extra": {"seed": 2**100}},
        {"temperature": 1e-320},
        {"temperature": 1.0, "top_p": 1e-300, "extra": {"top_k": 2**70}},
        {"top_p": 0.0},
        {"max_tokens": 2**70, "stop_sequences": ["\n", " "]},
        {"stop_sequences": list("abcdefghij" * 1000)},
        {"stop_sequences": ["a" * 1_000_000]},
    ],
    ids=lambda settings: str(settings)[:40],
)
def test_a_setting_at_its_limit_is_answered(settings: dict[str, Any], client: awsllm.Client) -> None:
    reply = client.converse(MODEL, "Say hi", **{"max_tokens": 3, **settings})
    assert reply.stop_reason in ("max_tokens", "stop_sequence", "end_turn")


NO_SCHEMAS: list[dict[str, Any]] = [
    {"properties": [1]}, {"properties": {"a": 3}}, {"properties": {"a": {"enum": 1}}}, {"required": "a"},
    {"properties": {"a": {"type": "array", "items": 1}}}, {"properties": {"a": {"anyOf": {}}}},
]  # fmt: skip


@pytest.mark.parametrize("schema", NO_SCHEMAS, ids=str)
def test_what_is_no_schema_is_refused_before_the_model_sees_it(schema: dict[str, Any], client: awsllm.Client) -> None:
    tool = t.ToolSpec("f", {"type": "object", **schema})
    with pytest.raises(awsllm.UnsupportedError, match=r"the schema of tool 'f'.* has .* for '.*', which is"):
        client.count_tokens(MODEL, "a", tools=[tool])
    config = t.OutputConfig(t.JsonSchema({"type": "object", **schema}))
    with pytest.raises(awsllm.UnsupportedError, match=r"the schema.* has .* for '.*', which is"):
        chat(t.ConverseRequest(model="m", messages=(t.Message.user("a"),), output_config=config), PLAIN)


def test_members_that_are_null_are_none(client: awsllm.Client) -> None:
    tool = t.ToolSpec("f", {"type": "object", "properties": None, "required": None})
    assert client.count_tokens(MODEL, "a", tools=[tool]) > 1
