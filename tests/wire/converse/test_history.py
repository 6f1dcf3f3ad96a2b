"""Turns that Bedrock takes: a caller's conversation mended, and a model's turn made such as can be sent back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.server.shapes import check
from awsllm.types import (
    Bytes,
    CachePoint,
    Citation,
    Citations,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    Document,
    Image,
    Json,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.converse import encode_request
from awsllm.wire.converse.history import NO_OUTPUT, Notes, ToolIds, mended, sendable, sendable_answer, with_tool_ids
from awsllm.wire.converse.rules import violations

NOW = ToolSpec("now", {"type": "object"})
NOTHING = Text(NO_OUTPUT)
BROKEN_OFF = (Text("no result: the tool call was broken off"),)


def use(id: str = "t1", name: str = "now", input: Any = None, type: str | None = None) -> ToolUse:
    return ToolUse(id, name, {} if input is None else input, type)


def result(id: str = "t1", *content: Any, status: str | None = None) -> ToolResult:
    return ToolResult(id, content or (Text("noon"),), status)


def talk(*turns: tuple[Any, ...]) -> tuple[Message, ...]:
    roles = ("user", "assistant") * len(turns)
    return tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=False))


def mend(turns: tuple[Message, ...], **options: Any) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    notes = Notes()
    return mended(turns, notes, **options), notes.lines()


HI, OK = (Text("Hi"),), (Text("Ok"),)
PDF = Document("a", Bytes(b"x"), "pdf")
PNG = Image("png", Bytes(b"\x89PNG\r\n\x1a\n"))
MENDED: dict[str, tuple[tuple[Message, ...], tuple[Message, ...], str]] = {
    "blank beside text": (talk((Text(" "), *HI)), talk(HI), "blank text was left out: messages[0].content[0]"),
    "blank beside a document": (talk((PDF, *HI, Text(""))), talk((PDF, *HI)), "messages[0].content[2]"),
    "silent assistant": (talk(HI, (), HI), talk(HI, (NOTHING,), HI), "without content was sent as '(no output)'"),
    "blank assistant": (talk(HI, (Text("\n"),), HI), talk(HI, (NOTHING,), HI), "messages[1]"),
    "thinking alone": (
        talk(HI, (Reasoning("hm", "s"),), HI),
        talk(HI, (Reasoning("hm", "s"), NOTHING), HI),
        "messages[1]",
    ),
    "blank result": (
        talk(HI, (use(),), (result("t1", Text(" \n")),)),
        talk(HI, (use(),), (result("t1", NOTHING),)),
        "a tool result without content was sent as '(no output)': messages[2]",
    ),
    "empty result": (
        talk(HI, (use(),), (ToolResult("t1", ()),)),
        talk(HI, (use(),), (result("t1", NOTHING),)),
        "messages[2]",
    ),
    "blank beside content in a result": (
        talk(HI, (use(),), (result("t1", Text(""), Text("noon")),)),
        talk(HI, (use(),), (result(),)),
        "messages[2] (in a tool result)",
    ),
    "JSON that is no object": (
        talk(HI, (use(),), (result("t1", Json([1])),)),
        talk(HI, (use(),), (result("t1", Json({"result": [1]})),)),
        "was put in one, as its member result: messages[2]",
    ),
    "foreign ids": (
        talk(HI, (use("call_1|fc_2"), use("x" * 70)), (result("x" * 70), result("call_1|fc_2"))),
        talk(HI, (use("call_1_fc_2"), use("x" * 64)), (result("x" * 64), result("call_1_fc_2"))),
        "ids of tool calls that Bedrock does not take, or that another call has, were changed: messages[1], messages",
    ),
    "empty ids": (
        talk(HI, (use(""),), (result(""),), (use(""),), (result(""),)),
        talk(HI, (use("tool_use"),), (result("tool_use"),), (use("tool_use_2"),), (result("tool_use_2"),)),
        "messages[1], messages[3]",
    ),
    "one id for two calls": (
        talk(HI, (use("a"), use("a")), (result("a", Text("1")), result("a", Text("2")))),
        talk(HI, (use("a"), use("a_2")), (result("a", Text("1")), result("a_2", Text("2")))),
        "messages[1]",
    ),
    "foreign name": (
        talk(HI, (use(name="functions.get now"),), (result(),)),
        talk(HI, (use(name="functions_get_now"),), (result(),)),
        "names of called tools that Bedrock does not take were changed: messages[1]",
    ),
    "arguments as text": (
        talk(HI, (use(input='{"a": 1}'),), (result(),)),
        talk(HI, (use(input={"a": 1}),), (result(),)),
        "were sent as the object that they stand for: messages[1]",
    ),
    "no result": (
        talk(HI, (use("a"), use("b")), (result("b"), *HI)),
        talk(HI, (use("a"), use("b")), (ToolResult("a", BROKEN_OFF, "error"), result("b"), *HI)),
        "a tool call without a result was given one that says so: messages[2]",
    ),
    "no call": (
        talk((result(),), OK, HI),
        talk((Text("Result of an earlier tool call: noon"),), OK, HI),
        "a tool result without its call was sent as text: messages[0]",
    ),
    "no call, and no text": (
        talk((result("t1", Json({"a": 1}), PNG, status="error"), *HI)),
        talk((Text("An earlier tool call failed:"), Text('{"a":1}'), PNG, *HI)),
        "messages[0]",
    ),
    "two equal results": (
        talk(HI, (use(),), (result(), result())),
        talk(HI, (use(),), (result(),)),
        "a second, equal result of a tool call was left out: messages[2]",
    ),
    "space at the end": (
        talk(HI, (Text("The answer: "),)),
        talk(HI, (Text("The answer:"),)),
        "white space at the end of the last turn was left out: messages[1]",
    ),
}


@pytest.mark.parametrize(("before", "after", "note"), MENDED.values(), ids=MENDED)
def test_what_keeps_its_meaning_is_mended_and_said(
    before: tuple[Message, ...], after: tuple[Message, ...], note: str
) -> None:
    found, notes = mend(before)
    assert found == after
    assert note in "\n".join(notes)
    assert not list(violations(ConverseRequest(model="m", messages=found, tools=(NOW,))))
    assert mend(found) == (found, ())


@pytest.mark.parametrize(
    ("turns", "rule"),
    [
        (talk(HI, (use("a"),), (result("b"),)), "tool-results"),  # whether they belong together is not to be guessed
        (talk(HI, (use("a"),)), "tool-results"),
        (talk(HI, (use(),), (result(), result("t1", Text("midnight")))), "tool-results"),
        (talk(HI, (use(input="{rubbish"),), (result(),)), "tool-input"),
        (talk(HI, (use(input=[1]),), (result(),)), "tool-input"),
        (talk((Text(" "),)), "blank-text"),
        (talk((PDF, Text(" "))), "text-beside-document"),
    ],
    ids=str,
)
def test_what_would_change_its_meaning_is_left_and_named(turns: tuple[Message, ...], rule: str) -> None:
    found, notes = mend(turns)
    assert found == turns or rule == "text-beside-document"
    assert next(violations(ConverseRequest(model="m", messages=found, tools=(NOW,)))).rule == rule
    assert notes == () or rule == "text-beside-document"


def test_what_is_fine_stays_the_same_object() -> None:
    turns = talk((*HI, PNG), (Reasoning("hm", "s"), use("a"), use("b")), (result("b"), result("a"), *HI), OK)
    found, notes = mend(turns)
    assert notes == ()
    assert all(one is other for one, other in zip(found, turns, strict=True))


def test_other_places_take_calls_as_they_are() -> None:
    turns = talk(HI, (use("call_1|fc_2"),), (Text(""), *HI))
    assert mend(turns, for_bedrock=False) == (
        talk(HI, (use("call_1|fc_2"),), HI),
        ("blank text was left out: messages[2].content[0]",),
    )


def test_the_services_own_calls_are_not_the_callers_to_answer() -> None:
    turns = talk(HI, (use("a", type="server_tool_use"), ToolResult("a", (Text("found"),), type="web"), *OK), HI)
    assert mend(turns) == (turns, ())


def test_a_conversation_that_grows_keeps_its_beginning() -> None:
    start = talk(HI, (use("a|b"),), (result("a|b"),), (use("a/b"),), (result("a/b"),))
    longer = (*start, *talk(HI, (use("a|b"),), (result("a|b"),))[1:])
    assert mend(longer)[0][: len(start)] == mend(start)[0]
    assert len({call.id for turn in mend(longer)[0] for call in turn.tool_uses}) == 3


def test_many_places_are_counted() -> None:
    turns = talk(*[(Text(""), *HI), OK] * 5)
    assert mend(turns)[1] == (
        "blank text was left out: messages[0].content[0], messages[2].content[0], messages[4].content[0] and 2 more",
    )


# --- a model's turn --------------------------------------------------------------------------------------------------

SOUND = Citations((Text("x"),), (Citation(title="a"),))


@pytest.mark.parametrize(
    ("content", "sent", "warning"),
    [
        ((), (NOTHING,), ""),
        ((Text(" "),), (NOTHING,), ""),
        ((Reasoning("hm"),), (Reasoning("hm"), NOTHING), ""),
        ((Reasoning("hm", "s"), Text(""), use()), (Reasoning("hm", "s"), use()), ""),
        ((use(name="functions.now"),), (use(name="functions_now"),), ""),
        ((use(name=" "),), (use(name="unnamed"),), ""),
        ((use(input='{"a":'),), (use(),), "the arguments of the tool call t1 are no JSON object"),
        ((use(input=[1]),), (use(),), "messages has {} in their place"),
        ((use(input='{"a": 1}'),), (use(input={"a": 1}),), ""),
        ((Text("x"), Unknown("hologram", 1)), (Text("x"),), "leaves out a block of the kind 'hologram'"),
        ((Text("x"), Image("png", Unknown("cloud"))), (Text("x"),), "leaves out a block of the kind 'Image'"),
        ((SOUND,), (SOUND,), ""),
    ],
    ids=str,
)
def test_a_models_turn_as_it_can_be_sent_back(
    content: tuple[ContentBlock, ...], sent: tuple[ContentBlock, ...], warning: str
) -> None:
    turn, warnings = sendable(Message("assistant", content))
    assert turn.content == sent
    assert warning in "".join(warnings)
    assert bool(warnings) == bool(warning)
    assert sendable(turn)[0] is turn


def test_each_call_has_an_id_of_its_own() -> None:
    ids = ToolIds(["t1"])
    turn = with_tool_ids(Message.assistant(use(), use(), use("a b")), ids)
    assert [call.id for call in turn.tool_uses] == ["t1_2", "t1_3", "a_b"]
    fine = Message.assistant(use("a"), use("b"))
    assert with_tool_ids(fine) is fine


def answer(*content: Any, stop: str | None = "end_turn") -> ConverseResponse:
    message = Message("assistant", content)
    return ConverseResponse(message=message, stop_reason=stop, messages=(message,))


def test_an_answer_tells_what_the_model_said_and_what_can_be_sent() -> None:
    response = sendable_answer(answer(Text(" ")))
    assert response.message == Message.assistant(" ")
    assert response.messages == (Message.assistant(NO_OUTPUT),)
    fine = answer(*OK)
    assert sendable_answer(fine) is fine


def test_a_call_that_was_cut_is_answered() -> None:
    response = sendable_answer(answer(Text("Let me see."), use(input='{"city": "Par'), stop="max_tokens"))
    turn, closing = response.messages
    assert turn.content == (Text("Let me see."), use())
    assert closing.content == (ToolResult("t1", (Text("not run: the answer ended with max_tokens"),), "error"),)
    assert response.message.tool_uses == (use(input='{"city": "Par'),)
    assert "are no JSON object" in response.warnings[0]


def test_a_thought_that_was_cut_is_not_sent_back() -> None:
    assert sendable_answer(answer(*OK, Reasoning("So I"), stop="max_tokens")).messages == (Message("assistant", OK),)
    signed = answer(*OK, Reasoning("So I", "signature"), stop="max_tokens")
    assert sendable_answer(signed) is signed
    unsigned = answer(Reasoning("Models of some families sign nothing."), *OK, stop="max_tokens")
    assert sendable_answer(unsigned) is unsigned


def test_a_call_for_the_caller_is_left_open_under_the_id_that_he_sees() -> None:
    response = sendable_answer(answer(use("a|b"), stop="tool_use"))
    assert [turn.role for turn in response.messages] == ["assistant"]
    assert response.tool_uses[0].id == response.messages[0].tool_uses[0].id == "a_b"


# --- whatever is handed over -----------------------------------------------------------------------------------------

ODD = st.sampled_from(["", " ", "a", "a b", "a|b", "é", "x" * 70, "call_1"])
TEXTS = st.builds(Text, ODD)
SAID = st.lists(
    st.one_of(
        TEXTS,
        st.just(CachePoint()),
        st.builds(ToolResult, ODD, st.lists(st.one_of(TEXTS, st.just(Json([1]))), max_size=2).map(tuple)),
    ),
    max_size=3,
)
ARGUMENTS = st.sampled_from([{}, {"a": 1}, None, "", '{"a": 1}', "{", [1], 3])
ANSWERED = st.lists(st.one_of(TEXTS, st.builds(Reasoning, ODD), st.builds(ToolUse, ODD, ODD, ARGUMENTS)), max_size=3)
ANSWERS = st.builds(lambda known, new: (*known, *new), ANSWERED, st.sampled_from([(), (Unknown("new"),)]))
STOPS = st.sampled_from(["end_turn", "tool_use", "max_tokens", "malformed_tool_use", "guardrail_intervened"])


def assert_bedrock_takes(turns: tuple[Message, ...]) -> None:
    request = ConverseRequest(model="m", messages=turns, tools=(NOW,))
    assert not list(violations(request))
    check("bedrock-runtime", "Converse", {**encode_request(request), "modelId": "m"})


@given(ANSWERS, STOPS)
def test_whatever_a_model_answers_can_be_sent_back(content: tuple[ContentBlock, ...], stop: str) -> None:
    turn, *closing = sendable_answer(answer(*content, stop=stop)).messages
    if closing or not turn.tool_uses:
        assert_bedrock_takes((Message.user("Hi"), turn, *(closing or [Message.user("And?")])))
    assert_bedrock_takes(mend((Message.user("Hi"), turn, Message.user("Never mind")))[0])


@given(st.lists(st.tuples(SAID, ANSWERED), min_size=1, max_size=3))
def test_whatever_a_caller_hands_over_is_mended_or_named(pairs: list[tuple[list[Any], list[Any]]]) -> None:
    found, _ = mend(talk(*(tuple(turn) for pair in pairs for turn in pair)))
    assert mend(found) == (found, ())
    request = ConverseRequest(model="m", messages=found, tools=(NOW,))
    if not list(violations(request)):
        assert_bedrock_takes(found)
