"""Sessions: what goes in and comes out, tools, interruptions, ends; as a program has them, in ``mock_aws``."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from awsllm import AsyncClient, Client
from awsllm.calls.speech import prepare_speech
from awsllm.errors import (
    AwsllmError,
    ConfigurationError,
    ModelNotFoundError,
    ModelTimeoutError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.speech.fold import SpeechFold
from awsllm.speech.session import AsyncSpeechSession
from awsllm.testing import mock_aws
from awsllm.types import Message, Text, ToolResult, ToolSpec, ToolUse
from awsllm.types.speech import Interruption, SpeechAudio, SpeechEvent, SpeechUsage, Transcript, TurnEnd
from awsllm.wire.sonic.inputs import AudioInput, InputEvent, TextInput

MODEL = "bedrock:amazon.nova-2-sonic-v1:0"
LOUD = b"\x00\x40\x00\xc0" * 8000  # a second
LONG = " ".join(["It was a dark and stormy night."] * 10)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def hold(replies: Any, scene: Callable[[AsyncSpeechSession], Awaitable[Any]], **options: Any) -> Any:
    """What ``scene`` returns of a session in ``mock_aws``, and the mock."""

    async def run() -> Any:
        async with AsyncClient(region="us-east-1") as client, client.speech(MODEL, **options) as session:
            return await asyncio.wait_for(scene(session), 30)

    with mock_aws(reply=replies) as aws:
        return asyncio.run(run()), aws


async def all_of(events: AsyncIterator[SpeechEvent]) -> list[SpeechEvent]:
    return [event async for event in events]


def of(kind: type, events: list[SpeechEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# --- conversations ---------------------------------------------------------------------------------------------------


def test_a_written_conversation() -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Hello")
        first = await all_of(session.turn())
        await session.send_text("And now?")
        second = await all_of(session.turn())
        return first, second, session.messages, session.usage

    (first, second, messages, usage), aws = hold(["Hi. You.", "Bye."], scene, system="Be brief.")
    assert [event.text for event in of(Transcript, first) if event.final] == ["Hello", "Hi.", "You."]
    assert (type(first[-1]), type(second[-1])) == (TurnEnd, TurnEnd)
    assert messages == (
        Message.user("Hello"),
        Message.assistant("Hi. You."),
        Message.user("And now?"),
        Message.assistant("Bye."),
    )
    assert (usage.input_tokens, usage.output_tokens) == (3 + 7, 3)
    assert aws.requests[0].system == (Text("Be brief."),)
    assert aws.requests[1].messages == messages[:3]


def test_a_spoken_conversation() -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_audio(LOUD)
        await session.send_silence(2)
        return await all_of(session.turn()), session.messages

    (events, messages), _ = hold("Hi.", scene, output_rate=8000)
    assert {event.rate for event in of(SpeechAudio, events)} == {8000}
    assert sum(event.seconds for event in of(SpeechAudio, events)) == pytest.approx(1 / 2.5)
    assert messages == (Message.user("(1.0 s of speech)"), Message.assistant("Hi."))


def test_an_interruption() -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Tell me a story")
        async for event in session.events():
            if isinstance(event, SpeechAudio):
                await session.send_audio(LOUD)
                await session.send_silence(2)
                break
        return await all_of(session.turn()), session.messages

    (events, messages), _ = hold([LONG, "Fine."], scene)
    assert of(Interruption, events) == [Interruption()]
    assert messages[-1] == Message.assistant("Fine.")
    assert not any(LONG in message.text for message in messages)


def test_a_session_goes_on_in_a_new_one() -> None:
    before = [Message.user("Hi"), Message.assistant("Hello.")]

    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Bye")
        await all_of(session.turn())

    _, aws = hold("Bye.", scene, messages=before)
    assert aws.requests[0].messages == (*before, Message.user("Bye"))


def test_the_end_waits_for_what_is_said() -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_audio(LOUD)
        await session.end()
        await session.end()
        events = await all_of(session.events())
        assert await all_of(session.events()) == []
        with pytest.raises(StreamError, match="not open"):
            await session.send_text("more")
        return events

    events, _ = hold("Hi. You.", scene)
    assert of(TurnEnd, events) == [TurnEnd()]


# --- tools -----------------------------------------------------------------------------------------------------------


async def slow_weather(city: str) -> str:
    """The weather in a city."""
    await asyncio.sleep(0.01)
    return weather(city)


@pytest.mark.parametrize("function", [weather, slow_weather])
def test_functions_run_while_the_conversation_goes_on(function: Any) -> None:
    use = ToolUse(id="t1", name=function.__name__, input={"city": "Bonn"})

    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Weather in Bonn?")
        return await all_of(session.turn()), session.messages

    (events, messages), aws = hold([use, "Sunny."], scene, tools=[function])
    result = ToolResult("t1", (Text("sunny in Bonn"),), "success")
    assert of(ToolUse, events) == [use]
    assert of(ToolResult, events) == [result]
    assert messages == (
        Message.user("Weather in Bonn?"),
        Message("assistant", (use,)),
        Message("user", (result,)),
        Message.assistant("Sunny."),
    )
    assert aws.requests[0].tools[0].name == function.__name__


def test_a_specification_is_answered_by_the_caller() -> None:
    use = ToolUse(id="t1", name="weather", input={"city": "Bonn"})

    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Weather?")
        async for event in session.events():
            if isinstance(event, ToolUse):
                await session.send_tool_result(event.id, "grey", status="success")
            if isinstance(event, TurnEnd):
                break
        return session.messages

    messages, aws = hold([use, "Grey."], scene, tools=[ToolSpec("weather", {"type": "object"}, "The weather.")])
    assert messages[2] == Message("user", (ToolResult("t1", (Text("grey"),), "success"),))
    assert aws.requests[1].messages[-1].content[0].tool_use_id == "t1"


def test_a_tool_that_fails_is_told_to_the_model_or_ends_the_session() -> None:
    def broken() -> str:
        """Fails."""
        raise LookupError("no such thing")

    use = ToolUse(id="t1", name="broken", input={})

    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Go")
        events = await all_of(session.turn())
        return events, session.tool_errors

    (events, errors), _ = hold([use, "Sorry."], scene, tools=[broken])
    assert of(ToolResult, events)[0].status == "error"
    assert [error.type for error in errors] == ["LookupError"]
    with pytest.raises(LookupError):
        hold([use, "Sorry."], scene, tools=[broken], on_tool_error="raise")


def test_a_tool_that_there_is_not_is_told_to_the_model() -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Go")
        return await all_of(session.turn())

    events, _ = hold([ToolUse(id="t1", name="wether", input={}), "Sorry."], scene, tools=[weather])
    assert "Did you mean 'weather'" in of(ToolResult, events)[0].content[0].text


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_refusal_is_raised_where_the_events_are_read() -> None:
    async def run() -> None:
        client = AsyncClient(region="us-east-1")
        async with client, client.speech("bedrock:nobody.no-such-model") as session:
            await all_of(session.events())

    with mock_aws(reply="Hi."), pytest.raises(ModelNotFoundError) as caught:
        asyncio.run(run())
    assert (caught.value.backend, caught.value.model) == ("bedrock", "nobody.no-such-model")


@pytest.mark.parametrize("error", [ThrottlingError("slow down", code="ThrottlingException"), LookupError("a test's")])
def test_what_ends_a_session_is_raised_by_all_that_follows(error: Exception) -> None:
    async def scene(session: AsyncSpeechSession) -> Any:
        await session.send_text("Go")
        for _ in range(2):
            with pytest.raises(type(error)):
                await all_of(session.events())
        with pytest.raises(type(error)):
            await session.send_text("Go on")

    hold(error, scene)


class Silent:
    """A connection on which nothing ever comes."""

    def __init__(self, error: AwsllmError | None = None) -> None:
        self.error, self.sent, self.closed = error, list[InputEvent](), 0

    async def send(self, events: Iterable[InputEvent]) -> None:
        self.sent += events

    async def receive(self) -> None:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()

    async def finish(self) -> None:
        """Nobody is told."""

    async def close(self) -> None:
        self.closed += 1


def session_over(connection: Silent, **options: Any) -> AsyncSpeechSession:
    async def connect() -> Silent:
        return connection

    return AsyncSpeechSession(prepare_speech(MODEL, options), connect)  # type: ignore[arg-type]


def test_leaving_waits_for_a_silent_service_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsllm.speech.session._GOODBYE", 0.01)
    connection = Silent()

    async def run() -> None:
        async with session_over(connection) as session:
            await session.send_audio(LOUD)
        await session.close()

    asyncio.run(run())
    assert connection.closed == 1
    assert sum(len(e.content) for e in connection.sent if isinstance(e, AudioInput)) == len(LOUD)
    assert [type(event).__name__ for event in connection.sent[-3:]] == ["InputEnd", "PromptEnd", "SessionEnd"]


def test_the_end_of_the_eight_minutes() -> None:
    async def run() -> None:
        async with session_over(Silent(ModelTimeoutError("Model has timed out"))) as session:
            await all_of(session.events())

    with pytest.raises(ModelTimeoutError):
        asyncio.run(run())


def test_what_cannot_be_said_is_refused_before_a_connection_is_made() -> None:
    async def enter() -> None:
        async def connect() -> Any:
            raise AssertionError("connected")

        async with AsyncSpeechSession(prepare_speech(MODEL, {"system": "\ud800"}), connect):
            pass

    with pytest.raises(ValidationError, match="JSON"):
        asyncio.run(enter())


def test_a_text_goes_whole_or_not_at_all() -> None:
    connection = Silent()

    async def run() -> None:
        async with session_over(connection) as session:
            with pytest.raises(ValidationError, match="whole samples"):
                await session.send_audio(b"\0")
            texts = ["a" * 1500, "b" * 1500]
            await asyncio.gather(*map(session.send_text, texts))
            said = [event.content[0] for event in connection.sent if isinstance(event, TextInput)]
            assert said in (list("aabb"), list("bbaa"))
            session._error = StreamError("enough")

    asyncio.run(run())


def test_a_session_is_entered_once_and_used_inside() -> None:
    async def run() -> None:
        session = session_over(Silent(StreamError("over")))
        with pytest.raises(StreamError, match="not open"):
            await session.send_text("early")
        async with session:
            with pytest.raises(StreamError, match="once"):
                await session.__aenter__()

    asyncio.run(run())


# --- without an event loop -------------------------------------------------------------------------------------------


def test_the_sync_twin() -> None:
    use = ToolUse(id="t1", name="weather", input={"city": "Bonn"})
    with mock_aws(reply=["Hi.", use, "Sunny.", "Bye."]), Client(region="us-east-1") as client:
        with client.speech(MODEL, tools=[weather]) as session:
            session.send_text("Hello")
            assert [e.text for e in session.turn() if isinstance(e, Transcript) and e.final] == ["Hello", "Hi."]
            session.send_audio(LOUD)
            session.send_silence(2)
            assert ToolResult("t1", (Text("sunny in Bonn"),), "success") in list(session.turn())
            session.send_text("Bye")
            session.end()
            assert list(session.events())[-1] == TurnEnd()
            assert session.messages[-1] == Message.assistant("Bye.")
            assert isinstance(session.usage, SpeechUsage)
            assert (session.warnings, session.tool_errors) == ((), ())
        session.close()
        with pytest.raises(StreamError, match="closed"):
            session.send_text("late")
    assert not [thread for thread in threading.enumerate() if thread.name == "awsllm-speech"]


def test_the_sync_twin_leaves_no_thread_when_it_cannot_begin() -> None:
    with Client(region="us-east-1", endpoint_url="http://127.0.0.1:9") as client:
        session = client.speech(MODEL)
        with pytest.raises(StreamError, match="not open"):
            session.send_text("early")
        with pytest.raises(ConfigurationError), session:
            pass
    assert not [thread for thread in threading.enumerate() if thread.name == "awsllm-speech"]


def test_both_sessions_have_the_same_methods() -> None:
    from awsllm.speech.sync import SpeechSession

    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(SpeechSession) == names(AsyncSpeechSession)


# --- before anything is sent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "error", "why"),
    [
        ("local:smollm2-135m-instruct", {}, ConfigurationError, "Nova Sonic"),
        ("bedrock:amazon.nova-lite-v1:0", {}, UnsupportedError, "does not speak"),
        (MODEL, {"input_rate": 44100}, ValidationError, "8000, 16000, 24000"),
        (MODEL, {"output_rate": "16000"}, ValidationError, "8000, 16000, 24000"),
        (MODEL, {"endpointing_sensitivity": "high"}, ValidationError, "HIGH, MEDIUM, LOW"),
        (MODEL, {"voice": 3}, ValidationError, "voice"),
        (MODEL, {"temperature": "hot"}, AwsllmError, "temperature"),
        (MODEL, {"tool_choice": "any"}, ValidationError, "needs tools"),
        (MODEL, {"stop_sequences": ["x"]}, AwsllmError, "stop_sequences"),
    ],
)
def test_bad_options(model: str, options: Any, error: type[AwsllmError], why: str) -> None:
    with pytest.raises(error, match=why):
        Client(region="us-east-1").speech(model, **options)


def test_the_fold_keeps_what_was_said() -> None:
    fold = SpeechFold()
    fold.write("Hello")
    said: list[SpeechEvent] = [
        Transcript("user", "Hello"),
        Transcript("assistant", "Once upon", final=False),
        Transcript("assistant", "Once "),
        Transcript("assistant", "upon a time."),
        Interruption(),
        Transcript("user", "Stop"),
        Transcript("user", "it."),
    ]
    for event in said:
        fold.push(event)
    assert fold.messages == (Message.user("Hello"), Message.assistant("Once upon a time."), Message.user("Stop it."))
