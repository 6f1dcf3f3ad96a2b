"""A stream that breaks is continued where the model can: cut at every event, nothing shown twice, nothing lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm import types as t
from awsllm.errors import AwsllmError, ServerError, StreamError, ThrottlingError, UnsupportedError
from awsllm.stream import fold, replay
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend

MODEL = "bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OTHER = "bedrock:us.amazon.nova-pro-v1:0"
UNABLE = "bedrock:us.anthropic.claude-sonnet-4-6"
PIECES = ("Hel", "lo", " ", "wor", "ld.", " \n", "\n", "Bye", " now", ".")
TEXT = "".join(PIECES)
POLICY = awsllm.Policy(base_delay=0, max_attempts=4, retries_a_second=1000)
GROUP = awsllm.Group([MODEL, OTHER], breaker=None)
MOVING = awsllm.Group([MODEL, OTHER], on=("server_error", "timeout"), breaker=None)


class Model:
    """One that says ``TEXT``, from where its own last turn ends; streams break after as many events as are given."""

    def __init__(self, *cuts: int, error: type[AwsllmError] = ServerError) -> None:
        self.cuts, self.error = list(cuts), error
        self.requests: list[t.ConverseRequest] = []

    def __call__(self, request: t.ConverseRequest) -> Iterator[Any]:
        self.requests.append(request)
        last = request.messages[-1]
        said = last.text if last.role == "assistant" else ""
        assert TEXT.startswith(said)
        assert said == said.rstrip()
        cut = self.cuts.pop(0) if self.cuts else None
        return self.events(TEXT[len(said) :], cut)

    def events(self, text: str, cut: int | None) -> Iterator[Any]:
        for number, event in enumerate(answer(text)):
            if number == cut:
                raise self.error("the scripted stream broke")
            yield event


def answer(text: str) -> list[Any]:
    pieces = [piece for piece in PIECES if piece] if text == TEXT else [text[n : n + 2] for n in range(0, len(text), 2)]
    deltas = [t.ContentBlockDelta(0, t.TextDelta(piece)) for piece in pieces]
    usage = t.Usage(100, 10, 110)
    return [t.MessageStart("assistant"), *deltas, t.ContentBlockStop(0), t.MessageStop("end_turn"), t.Metadata(usage)]


WHOLE = len(answer(TEXT))


class Seen:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.response: Any = None


def ask(way: str, model: Any, to: Any, **options: Any) -> Seen:
    """The stream of one call, read to its end."""
    seen = Seen()
    policy = options.pop("policy", POLICY)

    async def read() -> None:
        backends = {"bedrock": AsyncScriptedBackend(model)}
        client = awsllm.AsyncClient(region="us-east-1", policy=policy, backends=backends)
        async with client, client.converse_stream(to, "Hi", resume=True, **options) as stream:
            async for event in stream:
                seen.events.append(event)
            seen.response = await stream.response

    if way == "async":
        asyncio.run(read())
        return seen
    backends = {"bedrock": ScriptedBackend(model)}
    with (
        awsllm.Client(region="us-east-1", policy=policy, backends=backends) as client,
        client.converse_stream(to, "Hi", resume=True, **options) as stream,
    ):
        for event in stream:
            seen.events.append(event)
        seen.response = stream.response
    return seen


def text_of(events: list[Any]) -> str:
    deltas = [event.delta for event in events if isinstance(event, t.ContentBlockDelta)]
    return "".join(delta.text for delta in deltas if isinstance(delta, t.TextDelta))


both = pytest.mark.parametrize("way", ["sync", "async"])


@both
@pytest.mark.parametrize("to", [MODEL, GROUP, MOVING], ids=["model", "group", "moving"])
@pytest.mark.parametrize("cut", range(1, WHOLE))
def test_a_cut_at_every_event(cut: int, to: Any, way: str) -> None:
    model = Model(cut)
    seen = ask(way, model, to, max_tokens=50)
    response = seen.response
    assert text_of(seen.events) == response.text == TEXT
    if cut == 1 and to is not MODEL:  # nothing was shown, so that the call moves on as ever
        return
    kinds = [type(event) for event in seen.events]
    assert kinds.count(t.MessageStart) == kinds.count(t.MessageStop) == 1
    stops = [event.index for event in seen.events if isinstance(event, t.ContentBlockStop)]
    assert stops == sorted(set(stops)) == list(range(len(response.message.content)))
    assert response.stop_reason == "end_turn"
    assert any("stream broke" in warning for warning in response.warnings)
    if cut == WHOLE - 1:  # the model had said why it stopped: nothing is sent for what it used
        assert len(model.requests) == 1
        assert response.usage.input_tokens is None
        return
    assert len(model.requests) == 2
    assert [made.error for made in response.attempts] == ["ServerError" if to is MODEL else "StreamError", None]
    assert [made.model for made in response.attempts] == [MODEL, MODEL]
    usage = response.usage
    assert usage.estimated
    written = usage.output_tokens - 10
    assert usage.input_tokens == 100 + 100 - written
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert model.requests[1].inference_config.max_tokens == 50 - written
    assert response.cost is not None


@both
def test_two_cuts_in_one_answer(way: str) -> None:
    model = Model(4, 3)
    response = ask(way, model, MODEL).response
    assert response.text == TEXT
    assert [made.error for made in response.attempts] == ["ServerError", "ServerError", None]
    assert len(response.message.content) == 1
    assert model.requests[2].inference_config.max_tokens is None


@both
def test_another_of_a_group_goes_on_where_its_rules_allow_that(way: str) -> None:
    """The first breaks off at once when it is asked again. That its answer was lost is the rule ``timeout``."""
    for group, models in ((MOVING, [MODEL, MODEL, OTHER]), (GROUP, None)):
        model = Model(4, 0, error=StreamError)
        if models is None:
            with pytest.raises(StreamError) as caught:
                ask(way, model, group)
            assert caught.value.partial is not None
            assert TEXT.startswith(caught.value.partial.text)
            assert {made.model for made in caught.value.attempts} == {MODEL}
            continue
        response = ask(way, model, group).response
        assert response.text == TEXT
        assert [made.model for made in response.attempts] == models
        assert model.requests[-1].model == OTHER.removeprefix("bedrock:")
        assert response.usage.estimated
        assert response.cost is not None


@both
def test_who_cannot_go_on_is_refused_before_anything_is_sent(way: str) -> None:
    thinking = {"thinking": 2000, "max_tokens": 4000}
    cases: list[tuple[Any, dict[str, Any]]] = [
        (UNABLE, {}),
        ("bedrock:meta.llama3-8b-instruct-v1:0", {}),
        ("sagemaker:endpoint", {}),
        ("bedrock:arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abc", {}),
        (MODEL, thinking),
        (MODEL, {"output_type": int}),
        ([UNABLE, "bedrock:openai.gpt-oss-20b-1:0"], {}),
    ]
    for to, options in cases:
        model = Model()
        with pytest.raises(UnsupportedError, match="resume"):
            ask(way, model, to, **options)
        assert not model.requests


@both
def test_of_a_group_only_those_are_asked_that_can_go_on(way: str) -> None:
    response = ask(way, Model(3), awsllm.Group([UNABLE, MODEL])).response
    assert response.text == TEXT
    assert [made.error for made in response.attempts] == ["unsupported", "StreamError", None]
    assert any("passed over" in warning for warning in response.warnings)


@both
def test_an_untroubled_stream_is_what_it_is(way: str) -> None:
    seen = ask(way, Model(), MODEL)
    assert seen.events == answer(TEXT)
    assert seen.response.attempts == ()
    assert not any("broke" in warning for warning in seen.response.warnings)
    assert not seen.response.usage.estimated


def breaking(*events: Any) -> Any:
    def script(request: t.ConverseRequest) -> Iterator[Any]:
        yield t.MessageStart("assistant")
        yield from events
        raise ServerError("the scripted stream broke")

    return script


@both
@pytest.mark.parametrize(
    "events",
    [
        [t.ContentBlockStart(0, t.ToolUseStart("1", "f")), t.ContentBlockDelta(0, t.ToolUseDelta('{"a'))],
        [t.ContentBlockStart(0, t.ToolUseStart("1", "f")), t.ContentBlockStop(0)],
        [t.ContentBlockDelta(0, t.ReasoningDelta("Hm"))],
        [t.ContentBlockDelta(0, t.TextDelta("So")), t.ContentBlockDelta(0, t.CitationDelta(t.Citation()))],
    ],
    ids=["half a call", "a call", "half a thought", "cited"],
)
@pytest.mark.parametrize("to", [MODEL, GROUP], ids=["model", "group"])
def test_only_text_is_gone_on_with(events: list[Any], to: Any, way: str) -> None:
    requests: list[Any] = []

    def script(request: t.ConverseRequest) -> Iterator[Any]:
        requests.append(request)
        return breaking(*events)(request)

    with pytest.raises(StreamError) as caught:
        ask(way, script, to)
    assert len(requests) == 1
    assert any("only text" in note for note in caught.value.__notes__)
    assert caught.value.partial is not None


@both
def test_a_call_behind_continued_text_is_a_block_of_its_own(way: str) -> None:
    def script(request: t.ConverseRequest) -> Iterator[Any]:
        if request.messages[-1].role == "user":
            return breaking(t.ContentBlockDelta(0, t.TextDelta("Let me look.")))(request)
        use = t.Message("assistant", (t.ToolUse("1", "look", {}),))
        return replay(t.ConverseResponse(message=use, stop_reason="tool_use", usage=t.Usage(1, 1, 2)))

    tool = t.ToolSpec("look", {"type": "object"})
    response = ask(way, script, MODEL, tools=[tool]).response
    assert [type(block) for block in response.message.content] == [t.Text, t.ToolUse]
    assert response.stop_reason == "tool_use"


@both
@pytest.mark.parametrize("to", [GROUP, MOVING], ids=["group", "moving"])
@pytest.mark.parametrize("cut", ["before", "after", "nowhere"])
def test_a_group_s_stream_that_breaks_around_a_tool(cut: str, to: Any, way: str) -> None:
    """Before a tool was called the answer is continued; once one has run, it is not, and nothing runs twice."""
    ran: list[str] = []
    requests: list[t.ConverseRequest] = []

    @awsllm.tool
    def look(where: str) -> str:
        """What is there."""
        ran.append(where)
        return "a fox"

    def script(request: t.ConverseRequest) -> Iterator[Any]:
        requests.append(request)
        if any(isinstance(block, t.ToolResult) for turn in request.messages for block in turn.content):
            return Model().events(TEXT, 3 if cut == "after" else None)
        if cut == "before" and request.messages[-1].role == "user":
            return breaking(t.ContentBlockDelta(0, t.TextDelta("Let me look.")))(request)
        use = t.Message("assistant", (t.ToolUse("1", "look", {"where": "outside"}),))
        return iter(list(replay(t.ConverseResponse(message=use, stop_reason="tool_use", usage=t.Usage(1, 1, 2)))))

    if cut == "before":
        seen = ask(way, script, to, tools=[look])
        response = seen.response
        assert response.text == TEXT
        assert [turn.role for turn in response.messages] == ["assistant", "user", "assistant"]
        assert [type(block) for block in response.messages[0].content] == [t.Text, t.ToolUse]
        assert [event.role for event in seen.events if isinstance(event, t.MessageStart)] == [
            *("assistant", "user", "assistant")
        ]
        assert response.usage.input_tokens == 101  # what was cut had what stands before it: 1, less the 3 that it wrote
        assert len(requests) == 3
    elif cut == "nowhere":
        seen = ask(way, script, to, tools=[look])
        assert fold(seen.events).messages == seen.response.messages
        assert seen.response.usage == t.Usage(101, 11, 112)
    else:
        with pytest.raises(StreamError) as caught:
            ask(way, script, to, tools=[look])
        assert any("only text" in note for note in caught.value.__notes__)
        assert len(requests) == 2
    assert ran == ["outside"]


@both
@pytest.mark.parametrize("to", [MODEL, GROUP], ids=["model", "group"])
def test_attempts_and_retries_bound_it(to: Any, way: str) -> None:
    cuts = [2] * 9
    model = Model(*cuts)
    with pytest.raises(StreamError) as caught:
        ask(way, model, to, policy=awsllm.Policy(base_delay=0, max_attempts=3))
    assert len(model.requests) == 3
    assert len(caught.value.attempts) == 3
    spent = Model(*cuts)
    with pytest.raises(StreamError):
        ask(way, spent, to, policy=awsllm.Policy(base_delay=0, max_attempts=9, retry_share=0, retries_a_second=0.1))
    assert len(spent.requests) == 2


@both
@pytest.mark.parametrize("to", [MODEL, GROUP], ids=["model", "group"])
def test_the_deadline_bounds_it(to: Any, way: str) -> None:
    """On a clock on which every request takes four seconds."""
    passed = [0.0]

    def script(request: t.ConverseRequest) -> Iterator[Any]:
        passed[0] += 4
        return Model(2)(request) if request.messages[-1].role == "user" else Model(3)(request)

    model: list[Any] = []

    def counted(request: t.ConverseRequest) -> Iterator[Any]:
        model.append(request)
        return script(request)

    policy = awsllm.Policy(base_delay=0, max_attempts=9, clock=lambda: time.monotonic() + passed[0])
    with pytest.raises(StreamError):
        ask(way, counted, to, policy=policy, timeout=10)
    assert len(model) == 3


@both
def test_a_refusal_of_the_continuation_is_retried_as_any_call(way: str) -> None:
    model = Model(4, 0, error=ThrottlingError)
    response = ask(way, model, MODEL).response
    assert response.text == TEXT
    assert [made.error for made in response.attempts] == ["ThrottlingError", "ThrottlingError", None]


@both
def test_what_waiting_does_not_mend_is_not_sent_again(way: str) -> None:
    model = Model(4, error=awsllm.ValidationError)
    with pytest.raises(StreamError):
        ask(way, model, MODEL)
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("shown", "comes", "joined"),
    [
        ("Hello ", " world", "Hello world"),
        ("Hello \n", " \nworld", "Hello \nworld"),
        ("Hello", " world", "Hello world"),
        ("Hello ", "world", "Hello world"),
        ("Hello\n", "\n\nworld", "Hello\n\nworld"),
        ("Hello\n\n", "\nworld", "Hello\n\nworld"),
        ("Hello\n", " world", "Hello\nworld"),
        (" ", " world", " world"),
        ("Hello ", "  ", "Hello  "),
    ],
)
def test_white_space_at_the_cut(shown: str, comes: str, joined: str) -> None:
    def script(request: t.ConverseRequest) -> Iterator[Any]:
        if request.messages[-1].role == "user" and not requests:
            requests.append(request)
            return breaking(t.ContentBlockDelta(0, t.TextDelta(shown)))(request)
        requests.append(request)
        return iter(
            [
                t.MessageStart("assistant"),
                *(t.ContentBlockDelta(0, t.TextDelta(character)) for character in comes),
                t.ContentBlockStop(0),
                t.MessageStop("end_turn"),
            ]
        )

    requests: list[Any] = []
    assert ask("sync", script, MODEL).response.text == joined
    sent = requests[1].messages[-1]
    assert sent.text == (shown.rstrip() or "Hi")
