"""Replies of the Messages API: published ones are read whole, and what the server writes is read back."""

from typing import Any

import pytest

from awsllm import errors
from awsllm.errors import AwsllmError, ServerError, UnsupportedError
from awsllm.types import (
    Bytes,
    CacheDetail,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseResponse,
    Image,
    Json,
    JsonObject,
    Message,
    Reasoning,
    SearchResultLocation,
    Text,
    ToolResult,
    ToolUse,
    Unknown,
    Usage,
)
from awsllm.wire import invoke
from awsllm.wire.anthropic.errors import encode_error
from awsllm.wire.body import Context
from awsllm.wire.server_errors import error_for_status, find_error
from tests.support.bodies import ask, payload

BODY = invoke.get("anthropic-messages")
CHAT = BODY.chat


def read(wire: JsonObject, **members: Any) -> ConverseResponse:
    return CHAT.decode_response(payload(wire), Context(request=ask(), **members))


def reply(*content: JsonObject, **members: Any) -> JsonObject:
    usage = {"input_tokens": 3, "output_tokens": 5}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return {**head, "stop_sequence": None, "content": list(content), "usage": usage, **members}


def answer(*blocks: ContentBlock, stop_reason: str | None = "end_turn", **members: Any) -> ConverseResponse:
    return ConverseResponse(message=Message("assistant", blocks), stop_reason=stop_reason, **members)


def test_a_published_reply_is_read_and_kept() -> None:
    """Anthropic's documentation of the Messages API, thinking and tool use."""
    wire = reply(
        {"type": "thinking", "thinking": "Let me see.", "signature": "WaUjzkypQ2mUEVM36O2TxuC06KN8xyfbJwyem2dw3URve"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"},
        {"type": "text", "text": "I'll check."},
        {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"location": "Paris"}},
        stop_reason="tool_use",
    )
    response = read(wire, request_id="r", warnings=("w",))
    assert response.message.content == (
        Reasoning("Let me see.", "WaUjzkypQ2mUEVM36O2TxuC06KN8xyfbJwyem2dw3URve"),
        Reasoning(redacted=b"EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"),
        Text("I'll check."),
        ToolUse("toolu_01", "get_weather", {"location": "Paris"}),
    )
    assert (response.stop_reason, response.usage, response.extra) == ("tool_use", Usage(3, 5, 8), None)
    assert (response.model, response.request_id, response.warnings, response.raw) == ("ep", "r", ("w",), wire)
    assert response.messages == (response.message,)


@pytest.mark.parametrize(
    "reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "newer"]
)
def test_stop_reasons_pass_through_both_ways(reason: str) -> None:
    assert read(reply(stop_reason=reason)).stop_reason == reason
    wire = CHAT.encode_response(answer(stop_reason=reason), Context(request=ask())).json()
    assert wire["stop_reason"] == reason


def test_reasons_of_converse_alone_are_written_as_a_refusal() -> None:
    for reason in ("content_filtered", "guardrail_intervened"):
        assert (
            CHAT.encode_response(answer(stop_reason=reason), Context(request=ask())).json()["stop_reason"] == "refusal"
        )


def test_what_a_reply_says_beside_its_message_is_kept_and_written() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": None}
    response = read(reply(stop_sequence="END", stop_details=details))
    assert response.extra == {"stop_sequence": "END", "stop_details": details}
    wire = CHAT.encode_response(response, Context(request=ask(), request_id="1")).json()
    assert (wire["stop_sequence"], wire["stop_details"], wire["id"]) == ("END", details, "msg_1")


def test_usage_counts_what_the_cache_held_once_and_back() -> None:
    """Published by Anthropic with prompt caching of two lifetimes and a web search."""
    wire = {
        "input_tokens": 2048,
        "cache_read_input_tokens": 1800,
        "cache_creation_input_tokens": 248,
        "output_tokens": 503,
        "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
    }
    usage = read(reply(usage=wire)).usage
    assert usage == Usage(
        2048,
        503,
        2048 + 503 + 1800 + 248,
        1800,
        248,
        (CacheDetail("5m", 148), CacheDetail("1h", 100)),
        extra={"server_tool_use": {"web_search_requests": 1}, "service_tier": "standard"},
    )
    assert CHAT.encode_response(answer(usage=usage), Context(request=ask())).json()["usage"] == wire


def test_counts_that_are_missing_stay_unknown() -> None:
    assert read(reply(usage=None)).usage == Usage()
    assert read(reply(usage={"output_tokens": 1})).usage == Usage(output_tokens=1)


def test_what_a_service_tool_gave_is_kept_as_it_came() -> None:
    found = [{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "Eq", "page_age": None}]
    wire = reply(
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": found, "caller": {"type": "direct"}},
        {"type": "mcp_tool_use", "id": "c", "name": "f", "input": {}, "server_name": "srv"},
        {"type": "mcp_tool_result", "tool_use_id": "c", "content": [], "is_error": False},
    )
    response = read(wire)
    assert response.message.content == (
        ToolUse("s", "web_search", {"query": "q"}, "server_tool_use"),
        ToolResult("s", (Json(found),), type="web_search_tool_result", extra={"caller": {"type": "direct"}}),
        ToolUse("c", "f", {}, "mcp_tool_use", extra={"server_name": "srv"}),
        ToolResult("c", (Json([]),), type="mcp_tool_result", extra={"is_error": False}),
    )
    assert CHAT.encode_response(response, Context(request=ask())).json()["content"] == wire["content"]


def test_a_block_that_cannot_be_read_is_kept_with_a_warning() -> None:
    broken, newer = {"type": "tool_use", "id": 7}, {"type": "compaction", "content": "…"}
    location = {"type": "newer_location", "cited_text": "c", "x": 1}
    cited = {"type": "text", "text": "t", "citations": [location]}
    response = read(reply({"type": "text", "text": "a"}, broken, newer, cited, usage={"input_tokens": "many"}))
    assert response.message.content == (
        Text("a"),
        Unknown("tool_use", broken),
        Unknown("compaction", newer),
        Citations((Text("t"),), (Citation(None, None, (Text("c"),), Unknown("newer_location", location)),)),
    )
    assert ["block" in text or "figure" in text for text in response.warnings] == [True, True]


def test_empty_texts_and_thoughts_say_nothing() -> None:
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    hidden = {"type": "thinking", "thinking": "", "signature": "sig"}
    assert read(reply({"type": "text", "text": ""}, empty, hidden)).message.content == (Reasoning("", "sig"),)


def test_an_answer_of_another_model_is_written_as_the_api_would() -> None:
    response = answer(
        Reasoning("unsigned"),
        CachePoint(),
        Citations((Text("c"),), (Citation("T", "S", (Text("p"),), SearchResultLocation(0, 0, 1)),)),
    )
    wire = CHAT.encode_response(response, Context(request=ask())).json()
    assert [block["type"] for block in wire["content"]] == ["thinking", "text"]
    assert wire["content"][0]["signature"] == ""
    assert wire["usage"] == {"input_tokens": 0, "output_tokens": 0}
    image = answer(ToolResult("t", (Image("png", Bytes(b"a")),), type="x_tool_result"))
    with pytest.raises(UnsupportedError):
        CHAT.encode_response(image, Context(request=ask()))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "retryable"),
    [
        ("invalid_request_error", errors.ValidationError, False),
        ("authentication_error", errors.AccessDeniedError, False),
        ("permission_error", errors.AccessDeniedError, False),
        ("billing_error", errors.AccessDeniedError, False),
        ("not_found_error", errors.ModelNotFoundError, False),
        ("request_too_large", errors.ValidationError, False),
        ("rate_limit_error", errors.ThrottlingError, True),
        ("overloaded_error", errors.ThrottlingError, True),
        ("timeout_error", errors.ModelTimeoutError, False),
        ("api_error", ServerError, False),
    ],
)
def test_an_error_of_the_api_is_typed(kind: str, error: type[AwsllmError], retryable: bool) -> None:
    """Anthropic's documentation of errors."""
    wire = {"type": "error", "error": {"type": kind, "message": "why"}, "request_id": "req_1"}
    found = find_error(wire)
    assert (type(found), found.message, found.retryable) == (error, "why", retryable)
    with pytest.raises(error, match="why"):
        read(wire)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 208310 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
    ],
)
def test_a_conversation_that_is_too_long_is_told_by_the_words(message: str) -> None:
    assert isinstance(error_for_status(400, message), errors.ContextWindowError)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.ValidationError("m"), 400, "invalid_request_error"),
        (errors.AccessDeniedError("m"), 403, "permission_error"),
        (errors.ModelNotFoundError("m"), 404, "not_found_error"),
        (errors.ThrottlingError("m"), 429, "rate_limit_error"),
        (errors.ModelNotReadyError("m"), 529, "overloaded_error"),
        (errors.ModelTimeoutError("m"), 504, "timeout_error"),
        (ServerError("m"), 500, "api_error"),
    ],
)
def test_an_error_is_written_in_the_words_of_the_api(error: AwsllmError, status: int, kind: str) -> None:
    wire = {"type": "error", "error": {"type": kind, "message": "m"}}
    assert encode_error(error) == (status, wire)
    assert BODY.encode_error(error)[1].json() == wire
