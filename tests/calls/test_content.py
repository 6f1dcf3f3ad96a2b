"""What callers write, as neutral values."""

from __future__ import annotations

from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.calls import content
from awsllm.calls.checks import check_request
from awsllm.errors import ValidationError
from awsllm.tools.function import ToolFunction, tool
from awsllm.types import Bytes, CachePoint, Image, Message, Reasoning, SystemTool, Text, ToolChoice, ToolSpec, ToolUse
from awsllm.wire.converse import encode_request
from tests.support.requests import JPEG, PNG, assert_botocore_takes, request


@tool
def search(query: str) -> str:
    """Search."""
    return query


# --- messages --------------------------------------------------------------------------------------------------------

HELLO = Message.user("Hello")
BOTO3 = [
    {"role": "user", "content": [{"text": "Hello"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]},
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"toolUse": {"toolUseId": "t1", "name": "search", "input": {"query": "x"}}},
        ],
    },
    {
        "role": "user",
        "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}], "status": "success"}}],
    },
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Hello", (HELLO,)),
        (HELLO, (HELLO,)),
        (Text("Hello"), (HELLO,)),
        ([HELLO], (HELLO,)),
        ((HELLO, Message.assistant("Hi")), (HELLO, Message.assistant("Hi"))),
        (["a", Text("b")], (Message.user("a", "b"),)),
        (PNG, (Message.user(Image("png", Bytes(PNG))),)),
        (["look", PNG, bytearray(JPEG)], (Message.user("look", Image("png", Bytes(PNG)), Image("jpeg", Bytes(JPEG))),)),
        ({"role": "user", "content": [{"text": "Hello"}]}, (HELLO,)),
        ({"role": "user", "content": "Hello"}, (HELLO,)),
        ({"text": "Hello"}, (HELLO,)),
        ([{"text": "a"}, "b"], (Message.user("a", "b"),)),
        ([{"role": "system", "content": "Be brief."}, HELLO], (Message("system", (Text("Be brief."),)), HELLO)),
        ([HELLO, {"role": "assistant", "content": [{"text": "Hi"}]}], (HELLO, Message.assistant("Hi"))),
        ([HELLO, Message.user("Again")], (Message.user("Hello", "Again"),)),
        ([], (Message("user", ()),)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_conversation_is_read(value: Any, expected: tuple[Message, ...]) -> None:
    if value == []:
        assert content.messages(value) == ()
    else:
        assert content.messages(value) == expected


def test_boto3s_conversation_is_read_and_written_as_botocore_wants_it() -> None:
    messages = content.messages(BOTO3)  # type: ignore[arg-type]
    assert messages[1].content == (
        Reasoning(text="hm", signature="s"),
        ToolUse(id="t1", name="search", input={"query": "x"}),
    )
    made = request(*messages, system=content.system([{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]))
    specs, _ = content.tools([{"toolSpec": {"name": "search", "inputSchema": {"json": {"type": "object"}}}}])
    made = msgspec.structs.replace(made, tools=specs, tool_choice=content.tool_choice({"auto": {}}))
    check_request(made)
    assert_botocore_takes(made)
    assert encode_request(made)["messages"] == BOTO3


def test_what_to_dict_gave_is_read() -> None:
    turns = (Message.user("hi"), Message("assistant", (ToolUse("1", "f", {"kind": "x"}),)))
    assert content.messages([turn.to_dict() for turn in turns]) == turns


@given(
    st.lists(
        st.sampled_from(
            [HELLO, "text", Text("block"), PNG, {"role": "user", "content": [{"text": "d"}]}, {"text": "b"}]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_read_can_be_sent(value: list[Any]) -> None:
    try:
        messages = content.messages(value)
    except ValidationError as error:
        assert "messages mixes turns" in error.message  # noqa: PT017
        return
    made = request(*messages)
    check_request(made)
    assert_botocore_takes(made)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ([HELLO, "stray"], "write Message.user(...)"),
        ([HELLO, 3], "mixes turns with a bare int"),
        ([3], "a int is no content"),
        (3, "a int is no content"),
        (None, "a NoneType is no content"),
        ({"role": "user"}, "content: is required"),
        ({"role": "user", "content": [{"text": 3}]}, "content.0.text"),
        ({"role": "user", "content": [{"image": {}}]}, "content.0.image"),
        (b"no medium", "9 bytes: of an unknown format; an image is png, jpeg, gif or webp: convert it"),
    ],
    ids=str,
)
def test_what_is_no_conversation_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        content.messages(value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("Be brief.", (Text("Be brief."),)),
        (Text("Be brief."), (Text("Be brief."),)),
        ({"text": "Be brief."}, (Text("Be brief."),)),
        (["a", {"text": "b"}, CachePoint()], (Text("a"), Text("b"), CachePoint())),
    ],
    ids=str,
)
def test_a_system_prompt_is_read(value: Any, expected: tuple[Any, ...]) -> None:
    assert content.system(value) == expected


@pytest.mark.parametrize("value", [3, [3], Image("png", Bytes(PNG))], ids=str)
def test_what_is_no_system_prompt_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="is no system prompt"):
        content.system(value)


# --- tools -----------------------------------------------------------------------------------------------------------


class Lookup(pydantic.BaseModel):
    """Look it up."""

    key: str


def plain(a: int) -> int:
    return a


class Desk:
    @tool
    def find(self, a: int) -> int:
        return a


def test_tools_of_every_shape() -> None:
    dict_tool = {"toolSpec": {"name": "d", "inputSchema": {"json": {"type": "object"}}}}
    spec = ToolSpec(name="s", input_schema={"type": "object"})
    specs, functions = content.tools(
        [search, plain, spec, dict_tool, Lookup, SystemTool("nova_grounding"), Desk().find]
    )
    assert [getattr(s, "name", None) for s in specs] == [
        *("search", "plain", "s", "d", "Lookup", "nova_grounding", "find")
    ]
    assert list(functions) == ["search", "plain", "find"]
    assert all(isinstance(f, ToolFunction) for f in functions.values())
    made = request(tools=specs)
    check_request(made)
    assert_botocore_takes(made)


def test_one_tool_needs_no_list() -> None:
    assert content.tools(search) == ((search.spec,), {"search": search})


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (["search"], "'search' is not a function"),
        ([3], "3 is not a function"),
        ([int], "the class int is no tool"),
        ([Desk.find], "is a method without its object: pass object.find"),
        ([{"toolSpec": {"name": "x"}}], "inputSchema"),
        ([{"name": "x"}], "tool is not what Converse takes: 'name' is unknown"),
        ([lambda a: a], "a lambda has no name"),
    ],
)
def test_what_is_no_tool_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        content.tools(value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("any", ToolChoice("any")),
        ("search", ToolChoice("tool", "search")),
        (search, ToolChoice("tool", "search")),
        (plain, ToolChoice("tool", "plain")),
        (search.spec, ToolChoice("tool", "search")),
        (ToolChoice("any"), ToolChoice("any")),
        ({"any": {}}, ToolChoice("any")),
        ({"tool": {"name": "search"}}, ToolChoice("tool", "search")),
    ],
)
def test_a_tool_choice_is_read(value: Any, expected: ToolChoice | None) -> None:
    assert content.tool_choice(value) == expected


@pytest.mark.parametrize(
    ("value", "hint"), [("required", "'any'"), ("none", "leave tools out"), (3, "3 is not a function")]
)
def test_what_is_no_tool_choice_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        content.tool_choice(value)


@pytest.mark.parametrize("metadata", [{"a": "\ud800"}, {"\ud800": "a"}, {"a": "b\r\nX-Header: c"}, {"a": 1}, {1: "a"}])
def test_metadata_is_what_a_header_carries(metadata: Any) -> None:
    with pytest.raises(ValidationError, match="names and texts that can be printed") as caught:
        content.metadata(metadata)
    assert "X-Header" not in str(caught.value)


def test_a_dict_that_is_no_block_is_described_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="an object with txt") as caught:
        content.system([{"txt": "a secret"}])
    assert "secret" not in str(caught.value)
