"""A guardrail over a stream: what is released when, what is replaced, how it ends. The guardrail is the offline
account's, whose words and addresses are computed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import awsllm
from awsllm.calls.guard import AsyncGuardedStream, Guard, GuardedStream, Windows
from awsllm.stream import AsyncConverseStream, ConverseStream
from awsllm.testing import Broken, mock_aws
from awsllm.types import (
    Citation,
    CitationDelta,
    ContentBlockDelta,
    ContentBlockStop,
    MessageStart,
    MessageStop,
    Metadata,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolUse,
    Usage,
)
from awsllm.types.guardrails import GuardrailAssessment, GuardrailFinding, GuardrailResponse

MODEL = "bedrock:amazon.nova-lite-v1:0"
GUARDRAILS: dict[str, dict[str, Any]] = {
    "gr1": {
        "blockedOutputsMessaging": "Not this.",
        "wordPolicyConfig": {"wordsConfig": [{"text": "forbidden word"}]},
        "sensitiveInformationPolicyConfig": {"piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}]},
    }
}
CLEAN = "one two three four five six seven eight nine ten eleven twelve"


def streamed(reply: Any, **options: Any) -> GuardedStream:
    """A guarded stream, read to its end."""
    with mock_aws(reply=reply, guardrails=GUARDRAILS), awsllm.Client(region="us-east-1") as client:
        stream = client.guard(client.converse_stream(MODEL, "Go"), "gr1", **options)
        list(stream)
        return stream


@pytest.mark.parametrize("size", [{}, {"window": 20, "overlap": 5}, {"window": 7, "overlap": 0}])
def test_what_passes_is_what_the_model_said(size: dict[str, int]) -> None:
    response = streamed(CLEAN, **size).response
    assert response.text == CLEAN
    assert response.stop_reason == "end_turn"
    assert response.model == MODEL
    assert response.usage.output_tokens == 12
    assert response.cost is not None


def test_masked_text_takes_the_place_of_what_was_said() -> None:
    stream = streamed("Write to ann@example.com or to bob@example.com today.", window=30, overlap=20)
    assert stream.response.text == "Write to {EMAIL} or to {EMAIL} today."
    assert stream.response.stop_reason == "end_turn"
    assert stream.response.trace["guardrail"]["actionReason"] == "Guardrail masked."
    assert stream.response.usage.output_tokens == 7
    assert any(check.masked for check in stream.checks)


def test_blocked_text_ends_the_answer_with_the_message_of_the_guardrail() -> None:
    stream = streamed(f"{CLEAN} forbidden word {CLEAN}", window=40, overlap=20)
    response = stream.response
    assert response.text.startswith("one two three")
    assert response.text.endswith("Not this.")
    assert "forbidden" not in response.text
    assert response.stop_reason == "guardrail_intervened"
    assert response.usage == Usage()
    findings = response.trace["guardrail"]["outputAssessments"]["gr1"]
    assert findings[0]["wordPolicy"]["customWords"][0]["match"] == "forbidden word"


@pytest.mark.parametrize("before", range(0, 30, 2))
def test_what_is_no_longer_than_the_overlap_is_never_cut_in_two(before: int) -> None:
    """Wherever the windows' ends fall."""
    response = streamed("x" * before + " forbidden word and more of it", window=20, overlap=15).response
    assert response.stop_reason == "guardrail_intervened"
    assert "forbidden" not in response.text


def test_the_source_is_closed_where_the_answer_is_blocked() -> None:
    closed = threading.Event()

    def events() -> Iterator[StreamEvent]:
        try:
            yield MessageStart("assistant")
            while True:
                yield ContentBlockDelta(0, TextDelta("forbidden word "))
        finally:
            closed.set()

    def judge(text: str) -> GuardrailResponse:
        return blocked("Not this.")

    stream = GuardedStream(ConverseStream(events()), Guard("gr1", 20, 5), judge)
    assert stream.response.text == "Not this."
    assert closed.is_set()


def test_what_an_observer_sees_is_only_told() -> None:
    said = f"{CLEAN} forbidden word, ann@example.com"
    stream = streamed(said, window=30, overlap=20, observe=True)
    assert stream.response.text == said
    assert stream.response.stop_reason == "end_turn"
    assert [check.action for check in stream.checks].count("GUARDRAIL_INTERVENED") >= 1
    assert {finding.policy for check in stream.checks for finding in check.findings} == {
        "word",
        "sensitive_information",
    }


def test_an_observer_that_cannot_judge_is_a_warning() -> None:
    def judge(text: str) -> GuardrailResponse:
        raise awsllm.ThrottlingError("slow down")

    stream = GuardedStream(ConverseStream(plain("hello")), Windows(10, 2), judge)
    assert stream.response.text == "hello"
    assert stream.response.warnings == (
        "the guardrail could not judge a part of the answer: ThrottlingError, slow down",
    )


def test_a_guard_that_cannot_judge_lets_nothing_pass() -> None:
    def judge(text: str) -> GuardrailResponse:
        raise awsllm.ThrottlingError("slow down")

    stream = GuardedStream(ConverseStream(plain("hello")), Guard("gr1"), judge)
    with pytest.raises(awsllm.StreamError, match="slow down"):
        stream.response  # noqa: B018
    assert stream.partial.text == ""


@pytest.mark.parametrize("observe", [False, True])
def test_text_waits_for_its_window_and_does_not_wait_for_an_observer(observe: bool) -> None:
    order: list[str] = []
    seen = threading.Event()

    def judge(text: str) -> GuardrailResponse:
        if observe:
            seen.wait(10)  # not before the caller has the text
        order.append("judged")
        return GuardrailResponse(action="NONE")

    state = Windows(5, 1) if observe else Guard("gr1", 5, 1)
    stream = GuardedStream(ConverseStream(plain("a text of some length")), state, judge)
    for event in stream:
        if isinstance(event, ContentBlockDelta):
            order.append("read")
            seen.set()
    assert order[:2] == (["read", "judged"] if observe else ["judged", "read"])


def test_citations_follow_the_text_that_they_are_of() -> None:
    cited = ContentBlockDelta(0, CitationDelta(Citation(title="A")))
    events = [*plain("hello")[:2], cited, *plain("")[2:]]
    stream = GuardedStream(ConverseStream(events), Guard("gr1"), lambda text: GuardrailResponse(action="NONE"))
    assert [type(event.delta) for event in stream if isinstance(event, ContentBlockDelta)] == [TextDelta, CitationDelta]
    assert stream.response.text == "hello"


def test_a_guarded_stream_that_is_left_closes_its_source() -> None:
    closed = threading.Event()

    def events() -> Iterator[StreamEvent]:
        try:
            yield MessageStart("assistant")
            while True:
                yield ContentBlockDelta(0, TextDelta("word "))
        finally:
            closed.set()

    for state in (Guard("gr1", 20, 5), Windows(20, 5)):
        closed.clear()
        judge = lambda text: GuardrailResponse(action="NONE")  # noqa: E731
        with GuardedStream(ConverseStream(events()), state, judge) as stream:
            next(stream)
            next(stream)
        assert closed.is_set()


def test_a_tool_loop_is_guarded_through() -> None:
    def look(word: str) -> str:
        """Look a word up."""
        return "a thing"

    replies = [ToolUse("t1", "look", {"word": "x"}), "Write to ann@example.com."]
    with mock_aws(reply=replies, guardrails=GUARDRAILS), awsllm.Client(region="us-east-1") as client:
        stream = client.guard(client.converse_stream(MODEL, "Go", tools=[look]), "gr1")
        response = stream.response
    assert response.text == "Write to {EMAIL}."
    assert [message.role for message in response.messages] == ["assistant", "user", "assistant"]
    assert response.messages[-1].text == "Write to {EMAIL}."


def test_thinking_and_tools_pass_in_their_order() -> None:
    reply = ("I look it up. ", ToolUse("t1", "look", {"word": "forbidden word"}))
    response = streamed(reply, window=10, overlap=3).response
    assert response.tool_uses[0].input == {"word": "forbidden word"}
    assert response.stop_reason == "tool_use"
    guard = Guard("gr1")
    thought = ContentBlockDelta(0, ReasoningDelta(text="forbidden word"))
    assert run(guard, thought) == [thought]


def test_a_stream_that_breaks_keeps_what_was_released() -> None:
    with mock_aws(reply=Broken(CLEAN, after=8), guardrails=GUARDRAILS), awsllm.Client(region="us-east-1") as client:
        stream = client.guard(client.converse_stream(MODEL, "Go"), "gr1", window=5, overlap=1)
        with pytest.raises(awsllm.StreamError, match="broke"):
            list(stream)
        assert CLEAN.startswith(stream.partial.text)
        assert stream.partial.text


def test_each_character_is_judged_and_no_judgement_is_wasted() -> None:
    guard = Guard("gr1", window=10, overlap=4)
    judged: list[str] = []
    events: list[StreamEvent] = []
    for piece in ("abcdefgh", "ijkl", "", "mnopqrstuvwxyz"):
        events += run(guard, ContentBlockDelta(0, TextDelta(piece)), judged)
    events += run(guard, ContentBlockStop(0), judged)
    deltas = [event.delta for event in events if isinstance(event, ContentBlockDelta)]
    released = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert released == "abcdefghijklmnopqrstuvwxyz"
    assert judged == ["abcdefghijkl", "ijklmnopqrstuvwxyz"]


async def events_of(text: str) -> AsyncIterator[StreamEvent]:
    for event in plain(text):
        yield event


@pytest.mark.parametrize("observe", [False, True])
def test_the_asynchronous_twin_does_the_same(observe: bool) -> None:
    async def judge(text: str) -> GuardrailResponse:
        await asyncio.sleep(0)
        return blocked("Not this.") if "forbidden" in text else GuardrailResponse(action="NONE")

    async def respond(text: str) -> tuple[awsllm.ConverseResponse, int]:
        state = Windows(20, 10) if observe else Guard("gr1", 20, 10)
        async with AsyncGuardedStream(AsyncConverseStream(events_of(text)), state, judge) as stream:
            return await stream.response, len(stream.checks)

    response, checks = asyncio.run(respond(CLEAN))
    assert (response.text, response.stop_reason) == (CLEAN, "end_turn")
    assert checks == (6 if observe else 1)  # the whole text came at once: a guard judges as much as there is
    response, _ = asyncio.run(respond("that is forbidden to say"))
    assert response.text == ("that is forbidden to say" if observe else "Not this.")
    assert response.stop_reason == ("end_turn" if observe else "guardrail_intervened")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window is 0"),
        ({"window": 10, "overlap": 10}, "less than window"),
        ({"window": "10"}, "window is '10'"),
        ({"windw": 10}, "did you mean 'window'"),
        ({"version": "latest"}, "'DRAFT' or a number"),
    ],
)
def test_what_makes_no_guard_is_named(options: dict[str, Any], words: str) -> None:
    with awsllm.Client(region="us-east-1") as client, pytest.raises(awsllm.AwsllmError, match=words):
        client.guard(ConverseStream(()), "gr1", **options)


def blocked(message: str) -> GuardrailResponse:
    finding = GuardrailFinding(policy="word", match="x", action="BLOCKED")
    return GuardrailResponse(
        action="GUARDRAIL_INTERVENED", outputs=(message,), assessments=(GuardrailAssessment(findings=(finding,)),)
    )


def plain(text: str) -> list[StreamEvent]:
    return [
        MessageStart("assistant"),
        ContentBlockDelta(0, TextDelta(text)),
        ContentBlockStop(0),
        MessageStop("end_turn"),
        Metadata(),
    ]


def run(guard: Guard, event: StreamEvent, judged: list[str] | None = None) -> list[StreamEvent]:
    """What is released where everything passes."""
    steps = guard.push(event)
    try:
        text = next(steps)
        while True:
            if judged is not None:
                judged.append(text)
            text = steps.send(GuardrailResponse(action="NONE"))
    except StopIteration as done:
        released: list[StreamEvent] = done.value
        return released
