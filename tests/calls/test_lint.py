"""``client.check`` says at once, offline, what Bedrock would refuse and what would surprise."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.calls.lint import Finding
from awsllm.calls.prepare import prepare
from awsllm.models.knowledge import Knowledge
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

CLAUDE = "bedrock:us.anthropic.claude-sonnet-4-6"
NOVA = "bedrock:us.amazon.nova-pro-v1:0"
LLAMA = "bedrock:us.meta.llama3-3-70b-instruct-v1:0"
ENDED = "bedrock:ai21.jamba-1-5-large-v1:0"  # its last day is in the past
POINT = t.CachePoint()


def png(width: int, height: int, size: int = 33) -> bytes:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\0\0\0\0\0\0\0"
    return head.ljust(size, b"\0")


def image(width: int = 10, height: int = 10, size: int = 33) -> t.Image:
    return t.Image("png", t.Bytes(png(width, height, size)))


def document(name: str, size: int = 9) -> t.Document:
    return t.Document(name, t.Bytes(b"x" * size), "txt")


def check(model: str, messages: Any = "Hello", **options: Any) -> tuple[Finding, ...]:
    backend = ScriptedBackend([])  # a call would be one too many
    found = awsllm.Client(backends={"bedrock": backend, "local": backend}).check(model, messages, **options)
    assert backend.requests == []
    return found


def tool(**members: Any) -> t.ToolSpec:
    return t.ToolSpec(**{"name": "look", "input_schema": {"type": "object", "properties": {}}, **members})


def test_a_call_that_is_in_order_has_none() -> None:
    assert check(NOVA, ["What is this?", image()], max_tokens=500, system="Be brief.", tools=[tool()]) == ()


# What is wrong, where it stands, and a part of what mends it.
BIG = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(25)}, "additionalProperties": False}
UNIONS = {
    "type": "object",
    "properties": {f"p{n}": {"type": ["string", "null"]} for n in range(17)},
    "required": [f"p{n}" for n in range(17)],
    "additionalProperties": False,
}
BOUND = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("model", "messages", "options", "rule", "where", "fix"),
    [
        (NOVA, ["Look.", *[image()] * 21], {}, "images-count", "messages[0]", "21 images, and 20 are taken"),
        (NOVA, ["Look.", image(size=3_750_001)], {}, "image-size", "messages[0].content[1]", "make it smaller"),
        (NOVA, ["Look.", image(8001, 5)], {}, "image-sides", "messages[0].content[1]", "8001 by 5 pixels.*scale it"),
        (NOVA, ["Read.", *[document(f"d{n}") for n in range(6)]], {}, "documents-count", "messages[0]", "leave some"),
        (NOVA, ["Read.", document("d", 4_500_001)], {}, "document-size", "messages[0].content[1]", "from S3"),
        (NOVA, ["Read.", document("a.b")], {}, "document-name", "messages[0].content[1]", "'a b' would do"),
        (NOVA, "Hello", {"tools": [tool(name="a b")]}, "request", "", "rename it"),
        (NOVA, "Hello", {"tools": [tool(), tool()]}, "distinct-tools", "tools[1].toolSpec", "rename one"),
        (NOVA, "Hello", {"tools": [tool(), POINT]}, "cache-place", "tools", "in messages and system alone"),
        (CLAUDE, ["a", *[POINT] * 5], {}, "cache-limit", "messages", "takes 4 cache points, and there are 5"),
        (NOVA, "Hello", {"system": ["a", t.CachePoint(ttl="1h")]}, "cache-ttl", "system", "five minutes alone"),
        (CLAUDE, "Hello", {"tools": [tool(strict=True, input_schema=BIG)]}, "strict-schema", "tools look", "25 opt"),
        (CLAUDE, "Hello", {"tools": [tool(strict=True, input_schema=UNIONS)]}, "strict-schema", "tools look", "17 un"),
        (CLAUDE, "Hello", {"tools": [tool(strict=True, input_schema=BOUND)]}, "strict-schema", "tools look", "minimum"),
        (CLAUDE, "Hello", {"tools": [tool(strict=True)]}, "strict-schema", "tools look", "additionalProperties: false"),
        (NOVA, "Hello", {"max_tokens": 10_001}, "max-tokens", "max_tokens", "10,000 at most: lower it"),
        (NOVA, "Hello", {"request_metadata": {"a": "x" * 257}}, "metadata", "request_metadata", "256 characters"),
        (LLAMA, ["Look.", image()], {}, "images", "messages[0].content[1]", "reads no images"),
        (NOVA, [t.Message.assistant("Hi"), t.Message.user("Hi")], {}, "first-turn", "messages", "a user turn"),
        (NOVA, "Hello", {"temprature": 1}, "request", "", "did you mean 'temperature'"),
        (NOVA, [t.Message.user("Hi"), t.Message.assistant(image()), t.Message.user("?")], {}, "media-role",
         "messages[1].content[0]", "stand in user turns"),
    ],
)  # fmt: skip
def test_an_error_names_place_and_fix(
    model: str, messages: Any, options: dict[str, Any], rule: str, where: str, fix: str
) -> None:
    import re

    found = [finding for finding in check(model, messages, **options) if finding.rule == rule]
    assert [finding.where for finding in found] == [where]
    assert re.search(fix, found[0].message), found[0].message
    assert found[0].is_error


@pytest.mark.parametrize(
    ("model", "messages", "options", "rule", "words"),
    [
        (NOVA, "Hello", {}, "quota", "max_tokens is not set: the longest .* 10,000 tokens, is taken from the quota"),
        (CLAUDE, "Hello", {"max_tokens": 40_000}, "quota", "set what is needed"),
        (ENDED, "Hello", {}, "lifecycle", "ended on 2026-11-26"),
        ("bedrock:new.model-v9:0", "Hello", {}, "unknown-model", "family=… says it"),
        (CLAUDE, ["Short.", POINT], {}, "cache-minimum", "it needs 1024"),
        (CLAUDE, "Hello", {"thinking": 2048, "temperature": 0.1}, "option", "temperature cannot be set"),
        (LLAMA, "Hello", {"cache": "auto"}, "option", "take no cache points"),
        (
            CLAUDE,
            [t.Message.user("Hi"), t.Message.assistant(""), t.Message.user("?")],
            {},
            "changed",
            "without content",
        ),
        (CLAUDE, "Hi", {"tools": [tool()], "tool_choice": "any", "thinking": 2048}, "changed", "while thinking"),
    ],
)
def test_a_surprise_is_a_warning(model: str, messages: Any, options: dict[str, Any], rule: str, words: str) -> None:
    import re

    found = [finding for finding in check(model, messages, **options) if finding.rule == rule]
    assert len(found) == 1
    assert re.search(words, found[0].message), found[0].message
    assert not found[0].is_error


def test_all_of_it_is_said_at_once_errors_first() -> None:
    found = check(NOVA, ["a", image(9000, 1), document("a.b"), POINT], tools=[tool(), tool(), POINT])
    assert [finding.is_error for finding in found] == sorted((finding.is_error for finding in found), reverse=True)
    assert {"image-sides", "document-name", "distinct-tools", "cache-place", "quota"} <= {x.rule for x in found}


def test_what_converse_raises_is_found() -> None:
    """Whatever stops ``converse`` before it sends is an error here."""
    for options in ({"tool_choice": "any"}, {"max_tokens": 0}, {"temperature": 3}, {"system": " "}, {"thinking": 1}):
        with pytest.raises(awsllm.RequestError):
            prepare(NOVA, "Hello", options, Knowledge())  # type: ignore[arg-type]
        assert any(finding.is_error for finding in check(NOVA, "Hello", **options))


def test_other_places_have_none_of_bedrocks_limits() -> None:
    assert check("local:smollm2-135m-instruct", ["a", document("a", 5_000_000)]) == ()


def test_the_async_client_need_not_be_awaited() -> None:
    client = awsllm.AsyncClient(backends={"bedrock": AsyncScriptedBackend([])})
    assert client.check(NOVA, "Hello", max_tokens=0) == check(NOVA, "Hello", max_tokens=0)
