"""Text becomes events whatever its cuts; nothing is dropped, nothing leaks; requests become readable chats."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm import types as t
from awsllm.backends.local.calls import GrammarTerms, tool_grammar
from awsllm.backends.local.dialects import HERMES, TOLD
from awsllm.backends.local.output import OutputReader, new_tool_id
from awsllm.backends.local.prompt import chat
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.stream import fold

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "s": "} \\" ]"}}\n</tool_call>'
ADD = t.ToolUse("id", "add", {"a": 1, "s": '} " ]'})


def read(pieces: list[str], stops: tuple[str, ...] = (), *, tools: bool = False) -> tuple[t.Message, OutputReader]:
    reader = OutputReader(stops, tools=tools, new_id=lambda: "id")
    events: list[t.StreamEvent] = [t.MessageStart("assistant")]
    for piece in pieces:
        events += reader.push(piece)
    events += reader.finish()
    opened = {e.index for e in events if isinstance(e, t.ContentBlockDelta)}
    closed = [e.index for e in events if isinstance(e, t.ContentBlockStop)]
    assert sorted(opened) == closed == list(range(len(closed)))
    return fold([*events, t.MessageStop("end_turn")]).message, reader


def cuts(text: str, positions: list[int]) -> list[str]:
    edges = [0, *sorted(n % (len(text) + 1) for n in positions), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


CASES: list[tuple[str, tuple[str, ...], bool, tuple[Any, ...], str | None]] = [
    ("plain text", (), False, ("plain text",), None),
    ("", (), False, (), None),
    ("  \n kept", (), True, ("  \n kept",), None),
    ("one END two", ("END",), False, ("one ",), "END"),
    ("one EN two", ("END",), False, ("one EN two",), None),
    ("ends in EN", ("END",), False, ("ends in EN",), None),
    ("aab", ("ab", "aab"), False, (), "aab"),
    ("xENDEND", ("ENDEND", "END"), False, ("x",), "END"),
    ("abcd", ("abcd", "bc"), False, ("a",), "bc"),
    (CALL, (), False, (CALL,), None),
    (CALL, (), True, (ADD,), None),
    (f"Let me see.\n{CALL}", (), True, ("Let me see.\n", ADD), None),
    (f"{CALL}\n{CALL}", (), True, (ADD, ADD), None),
    (f"{CALL} then text", (), True, (ADD, " then text"), None),
    (f"{CALL}!STOP{CALL}", ("STOP",), True, (ADD, "!"), "STOP"),
    ('<tool_call>{"name":"f","arguments":{}}</tool_call>', (), True, (t.ToolUse("id", "f", {}),), None),
    ("<tool_call>what?</tool_call>", (), True, ("<tool_call>what?</tool_call>",), None),
    ("<tool_call>never closed", (), True, ("<tool_call>never closed",), None),
    ('<tool_call>{"name": "\\q", "arguments": {}}', (), True, ('<tool_call>{"name": "\\q", "arguments": {}}',), None),
    ('<tool_call>{"name": "f", "arguments": 3}', (), True, ('<tool_call>{"name": "f", "arguments": 3}',), None),
    ("half a tag <tool_c", (), True, ("half a tag <tool_c",), None),
    ("<tool_call>x " + CALL, (), True, ("<tool_call>x ", ADD), None),
    (CALL.replace("add", "STOP"), ("STOP",), True, (t.ToolUse("id", "STOP", ADD.input),), None),
]


@given(case=st.sampled_from(CASES), positions=st.lists(st.integers(0, 200), max_size=12))
def test_the_cuts_do_not_matter(case: Any, positions: list[int]) -> None:
    text, stops, tools, expected, stopped = case
    message, reader = read(cuts(text, positions), stops, tools=tools)
    assert message.content == tuple(t.Text(e) if isinstance(e, str) else e for e in expected)
    assert reader.stopped == stopped
    assert reader.calls == sum(isinstance(e, t.ToolUse) for e in expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0][:20])
def test_character_by_character(case: Any) -> None:
    text, stops, tools, expected, _ = case
    message, _ = read(list(text), stops, tools=tools)
    assert message.content == tuple(t.Text(e) if isinstance(e, str) else e for e in expected)


def test_text_is_given_as_it_comes_and_a_call_once_it_is_whole() -> None:
    reader = OutputReader(("###",), tools=True, new_id=lambda: "id")
    assert reader.push("Hello #") == [t.ContentBlockDelta(0, t.TextDelta("Hello "))]
    assert reader.push("1") == [t.ContentBlockDelta(0, t.TextDelta("#1"))]
    assert reader.push('<tool_call>{"name": "f", "arguments": ') == []
    assert reader.push('{"a":') == []
    start = t.ContentBlockStart(1, t.ToolUseStart("id", "f"))
    pieces = [t.ContentBlockDelta(1, t.ToolUseDelta(piece)) for piece in ('{"a":', " 1}")]
    assert reader.push(" 1}") == [t.ContentBlockStop(0), start, *pieces, t.ContentBlockStop(1)]
    assert reader.call_closed


@pytest.mark.parametrize("before", ["", "Let me see.\n"])
def test_nothing_is_given_of_a_call_that_was_cut(before: str) -> None:
    text = before + CALL
    for length in range(len(before) + 1, text.index("}}") + 1):
        reader = OutputReader((), tools=True)
        events = [t.MessageStart("assistant"), *reader.push(text[:length]), *reader.finish(cut=True)]
        message = fold([*events, t.MessageStop("max_tokens")]).message
        assert message.content == ((t.Text(before),) if before else ())
        assert not reader.calls
        assert not reader.call_closed


def test_a_cut_behind_the_arguments_leaves_the_call_whole() -> None:
    for length in range(CALL.index("}}") + 1, len(CALL)):
        reader = OutputReader((), tools=True, new_id=lambda: "id")
        events = [t.MessageStart("assistant"), *reader.push(CALL[:length]), *reader.finish(cut=True)]
        assert fold([*events, t.MessageStop("tool_use")]).message.content == (ADD,)
        assert reader.call_closed


def test_a_call_that_ends_early_uncut_is_text_after_all() -> None:
    half = CALL[: CALL.index("1")]
    message, reader = read([half], tools=True)
    assert message.content == (t.Text(half),)
    assert reader.calls == 0


def test_ids_are_shaped_as_bedrocks() -> None:
    assert new_tool_id().startswith("tooluse_")
    assert len(new_tool_id()) == len("tooluse_") + 22
    assert new_tool_id() != new_tool_id()


# --- requests to chats -----------------------------------------------------------------------------------------------


def told(*content: t.ContentBlock, role: str = "user", **options: Any) -> list[dict[str, Any]]:
    request = t.ConverseRequest(model="m", messages=(t.Message(role, content),), **options)
    return chat(request, TOLD).messages


SPEC = t.ToolSpec("add", {"type": "object", "properties": {"a": {"type": "integer"}}}, "Adds.")


def test_system_prompts_and_turns_keep_their_order() -> None:
    request = t.ConverseRequest(
        model="m",
        system=(t.Text("Be brief."), t.CachePoint(), t.Text("Be kind.")),
        messages=(t.Message.user("a", "b"), t.Message.assistant("c"), t.Message.user("d")),
    )
    assert chat(request, TOLD).messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (t.Document("notes", t.DocumentText("one\ntwo")), "one\ntwo"),
        (t.Document("notes", t.DocumentContent(("one", "two"))), "one\n\ntwo"),
        (t.Document("notes", t.Bytes("käse".encode()), "md"), "käse"),
        (t.Document("notes", t.Bytes(b"\xef\xbb\xbfa,b"), "csv"), "a,b"),
    ],
)
def test_text_documents_stand_in_the_turn_under_their_name(document: t.Document, expected: str) -> None:
    [turn] = told(document, t.Text("Summarise."))
    assert turn["content"] == f'<document name="notes">\n{expected}\n</document>\n\nSummarise.'


@pytest.mark.parametrize(
    ("block", "named"),
    [
        (t.Image("png", t.Bytes(b"")), "an image.*bedrock:"),
        (t.Video("mp4", t.Bytes(b"")), "a video.*bedrock:"),
        (t.Audio("mp3", t.Bytes(b"")), "an audio.*bedrock:"),
        (t.GuardContent(t.GuardImage("png", t.Bytes(b""))), "guarded content"),
        (t.Document("d", t.Bytes(b"PK"), "docx"), "is docx; .*csv, html, md, txt"),
        (t.Document("d", t.Bytes(b"x")), "no stated format"),
        (t.Document("d", t.S3Location("s3://b/k"), "txt"), "s3://b/k"),
        (t.ToolResult("i", (t.Image("png", t.Bytes(b"")),)), "an image"),
        (t.ToolAddition(t.ToolReference()), "add or remove tools"),
        (t.Unknown("hologram"), "hologram"),
    ],
)
def test_what_a_text_model_cannot_read_is_refused_by_name(block: Any, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        told(t.Text("x"), block)


def test_bytes_that_are_not_text_are_the_callers_mistake() -> None:
    with pytest.raises(ValidationError, match="not UTF-8"):
        told(t.Document("d", t.Bytes(b"\xff\xfe\x00"), "txt"))


@pytest.mark.parametrize("messages", [(), (t.Message("user", ()),)])
def test_nothing_said_is_the_callers_mistake(messages: tuple[t.Message, ...]) -> None:
    with pytest.raises(ValidationError, match="message"):
        chat(t.ConverseRequest(model="m", messages=messages), TOLD)


def test_tools_their_calls_and_results_are_told_in_one_style() -> None:
    [system, turn] = told(t.Text("Sum?"), system=(t.Text("Be brief."),), tools=(SPEC, t.CachePoint()))
    assert system["content"].startswith("Be brief.\n\n")
    described = system["content"].split("<tools>\n")[1].split("\n</tools>")[0]
    assert json.loads(described)["function"] == {
        "name": "add",
        "description": "Adds.",
        "parameters": SPEC.input_schema,
    }
    [turn] = told(t.Text("See."), ADD, role="assistant")
    assert turn["content"] == f"See.\n\n{CALL}"
    results = (t.ToolResult("1", (t.Json({"sum": 3}),)), t.ToolResult("2", (t.Text("no"),), status="error"))
    [turn] = told(*results)
    assert turn["content"] == 'Result: {"sum": 3}\n\nResult: Error: no'
    request = t.ConverseRequest(model="m", messages=(t.Message("user", results),))
    assert chat(request, HERMES).messages[0]["content"] == (
        '<tool_response>\n{"sum": 3}\n</tool_response>\n\n<tool_response>\nError: no\n</tool_response>'
    )


def test_a_model_that_asks_again_for_what_it_was_told_must_answer() -> None:
    asked = t.Message("assistant", (ADD,))
    result = t.Message("user", (t.ToolResult(ADD.id, (t.Json({"sum": 3}),)),))

    def grammar(*turns: t.Message) -> str | None:
        request = t.ConverseRequest(model="m", messages=(t.Message.user("Sum?"), *turns), tools=(SPEC,))
        return tool_grammar(request, GrammarTerms(lambda schema: "%json {}"), TOLD)

    assert "<tool_call>" in (grammar(asked, result) or "")
    assert "<tool_call>" not in (grammar(asked, result, asked, result) or "")


def test_a_template_that_describes_tools_is_left_to_do_so() -> None:
    request = t.ConverseRequest(model="m", messages=(t.Message.user("x"),), tools=(SPEC,))
    messages, tools = chat(request, HERMES)
    assert [message["role"] for message in messages] == ["user"]
    assert tools is not None
    assert tools[0]["function"]["name"] == "add"


def test_system_tools_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="search"):
        told(t.Text("x"), tools=(t.SystemTool("search"),))
