"""Which requests are equal: nothing that could change an answer is left out of a key, and nothing else is in it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from awsllm.policy.answers import keys
from awsllm.policy.answers.keys import is_cacheable, is_deterministic, request_key, split_question
from awsllm.types import (
    Bytes,
    CachePoint,
    ConverseRequest,
    CountTokensRequest,
    Document,
    EndpointOptions,
    GuardrailConfig,
    Image,
    InferenceConfig,
    Json,
    Message,
    PerformanceConfig,
    S3Location,
    ServiceTier,
    SystemTool,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
)
from awsllm.types.embedding import EmbedRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
REQUEST = ConverseRequest(
    model="m",
    system=(Text("be brief"),),
    messages=(Message.user("hi", Image("png", Bytes(b"picture"))),),
    inference_config=InferenceConfig(max_tokens=10, temperature=0.0),
    tools=(ToolSpec("t", SCHEMA),),
    extra={"x": 1, "y": {"z": 2.5}},
    endpoint=EndpointOptions(variant="v"),
)


def changed(**members: Any) -> ConverseRequest:
    return replace(REQUEST, **members)


def key(request: Any) -> bytes:
    return request_key(request, "scope")


SAME = {
    "the order of a dict": changed(extra={"y": {"z": 2.5}, "x": 1}),
    "the order of a schema": changed(tools=(ToolSpec("t", dict(reversed(SCHEMA.items()))),)),
    "a whole number": changed(
        inference_config=InferenceConfig(max_tokens=10, temperature=0), extra={"x": 1.0, "y": {"z": 2.5}}
    ),
    "metadata": changed(request_metadata={"team": "a"}),
    "a tier": changed(service_tier=ServiceTier("flex")),
    "latency": changed(performance_config=PerformanceConfig("optimized")),
    "cache points": changed(
        system=(Text("be brief"), CachePoint()),
        messages=(Message.user("hi", Image("png", Bytes(b"picture")), CachePoint()),),
        tools=(ToolSpec("t", SCHEMA), CachePoint()),
    ),
    "a name of the call": changed(endpoint=EndpointOptions(variant="v", inference_id="i", prefix_aware_id="p")),
}
OTHER = {
    "model": changed(model="n"),
    "family": changed(family="claude"),
    "system": changed(system=(Text("be long"),)),
    "text": changed(messages=(Message.user("ho", Image("png", Bytes(b"picture"))),)),
    "pieces": changed(messages=(Message.user("h", "i", Image("png", Bytes(b"picture"))),)),
    "bytes": changed(messages=(Message.user("hi", Image("png", Bytes(b"picturf"))),)),
    "format": changed(messages=(Message.user("hi", Image("jpeg", Bytes(b"picture"))),)),
    "max_tokens": changed(inference_config=InferenceConfig(max_tokens=11, temperature=0.0)),
    "temperature": changed(inference_config=InferenceConfig(max_tokens=10, temperature=0.1)),
    "tools": changed(tools=()),
    "schema": changed(tools=(ToolSpec("t", {"type": "object"}),)),
    "extra": changed(extra={"x": 2, "y": {"z": 2.5}}),
    "guardrail": changed(guardrail_config=GuardrailConfig("g", "1")),
    "variant": changed(endpoint=EndpointOptions(variant="w")),
    "attributes": changed(endpoint=EndpointOptions(variant="v", custom_attributes="c")),
    "door": changed(api="invoke"),
    "variables": changed(prompt_variables={"a": "b"}),
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_no_answer_changes_no_key(name: str) -> None:
    assert msgspec.json.encode(SAME[name]) != msgspec.json.encode(REQUEST)
    assert key(SAME[name]) == key(REQUEST)


def test_what_could_change_an_answer_changes_the_key() -> None:
    keys = {name: key(request) for name, request in OTHER.items()}
    assert len({*keys.values(), key(REQUEST)}) == len(OTHER) + 1


def test_a_key_is_of_one_scope_and_one_kind_of_request() -> None:
    assert request_key(REQUEST, "a") != request_key(REQUEST, "b")
    assert key(EmbedRequest(model="m", texts=("a",))) != key(EmbedRequest(model="m", texts=("b",)))
    assert key(EmbedRequest(model="m", texts=("a",))) == key(
        EmbedRequest(model="m", texts=("a",), request_metadata={"team": "a"})
    )


def turns(first: str, second: str, result: str | None = None) -> ConverseRequest:
    uses = (ToolUse(first, "t", {"a": 1}), ToolUse(second, "t", {"a": 2}))
    results = (ToolResult(result or first, (Text("one"),)), ToolResult(second, (Json({"id": "two"}),)))
    return changed(messages=(Message.user("hi"), Message("assistant", uses), Message("user", results)))


def test_ids_of_tool_uses_are_numbered() -> None:
    assert key(turns("x1", "x2")) == key(turns("y7", "y3"))
    assert key(turns("x1", "x2")) != key(turns("x1", "x2", result="x2"))  # which result is whose is no name


def test_ids_elsewhere_are_values() -> None:
    def answer(id: str) -> ConverseRequest:
        return changed(messages=(Message("user", (ToolResult("x", (Json({"kind": "row", "id": id}),)),)),))

    assert key(answer("1")) != key(answer("2"))


def test_what_is_random_or_changes_by_itself_is_not_deterministic() -> None:
    assert is_deterministic(REQUEST)
    assert is_deterministic(EmbedRequest(model="m", texts=("a",)))
    assert not is_deterministic(changed(inference_config=InferenceConfig()))
    assert not is_deterministic(changed(inference_config=InferenceConfig(temperature=0.5)))
    assert not is_deterministic(changed(tools=(SystemTool("nova_grounding"),)))
    document = Document("d", S3Location("s3://b/k"), "pdf")
    assert not is_deterministic(changed(messages=(Message.user("hi", document),)))


def test_what_a_session_knows_is_no_part_of_a_request() -> None:
    assert is_cacheable(REQUEST)
    assert not is_cacheable(changed(endpoint=EndpointOptions(session_id="s")))
    assert not is_cacheable(CountTokensRequest(model="m", converse=REQUEST))


def test_a_question_is_the_words_of_the_last_turn() -> None:
    plain = changed(tools=(), messages=(Message.user("a"), Message.assistant("b"), Message.user("c", "d")))
    found = split_question(plain)
    assert found is not None
    rest, question = found
    assert question == "cd"
    other = split_question(replace(plain, messages=(*plain.messages[:2], Message.user("e"))))
    assert other is not None
    assert key(rest) == key(other[0])
    assert split_question(REQUEST) is None  # it has tools
    assert split_question(changed(tools=())) is None  # and an image
    assert split_question(changed(tools=(), messages=(Message.user("a"), Message.assistant("b")))) is None


@pytest.mark.parametrize("api", [None, "invoke"])
@pytest.mark.parametrize("temperature", [None, 0, 0.5])
@pytest.mark.parametrize("metadata", [None, {"team": "search"}])
def test_a_conversation_of_text_has_the_key_of_its_canonical_form(
    monkeypatch: pytest.MonkeyPatch, api: str | None, temperature: float | None, metadata: dict[str, str] | None
) -> None:
    """It is written in one go: a file of answers that was made otherwise is read by it, and the reverse."""
    request = ConverseRequest(
        model="m",
        family="f",
        system=(Text("be brief"),),
        messages=(Message.user("hé", "you"), Message.assistant("yes"), Message.user("x")),
        inference_config=InferenceConfig(max_tokens=10, temperature=temperature, top_p=0.9, stop_sequences=("b", "a")),
        prompt_variables={"z": "1", "a": "2"},
        request_metadata=metadata,
        api=api,
    )
    quick = request_key(request, "s")
    monkeypatch.setattr(keys, "_has_one_way", lambda _: False)
    assert request_key(request, "s") == quick
