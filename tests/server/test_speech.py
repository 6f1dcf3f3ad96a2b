"""Spoken conversations that the server holds: order, turns, tools, interruptions, refusals. AWS's own clients, and
recorded events, are the judges."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from awsllm.aws.event_signing import DIGEST, EventSigner
from awsllm.errors import AccessDeniedError, ModelTimeoutError, ServerError, ThrottlingError, ValidationError
from awsllm.server import running
from awsllm.server.http.duplex import SpeechExchange
from awsllm.server.surfaces.speech import Conversation, Envelopes, failure_frame
from awsllm.server.surfaces.voice import Ear, sentences, silence
from awsllm.server.work import Incoming
from awsllm.testing import AsyncScriptedBackend
from awsllm.testing.scripted import respond
from awsllm.types import Audio, Bytes, ConverseRequest, ConverseResponse, Json, Text, ToolResult, ToolSpec, ToolUse
from awsllm.types.speech import (
    Interruption,
    SpeechAudio,
    SpeechEvent,
    SpeechSetup,
    SpeechUsage,
    Transcript,
    TurnEnd,
)
from awsllm.wire.eventstream import FrameDecoder
from awsllm.wire.model_stream import ModelStreamDecoder, encode_part
from awsllm.wire.sonic.inputs import InputEvent, PromptStart, SessionEnd, decode_input, encode_input
from awsllm.wire.sonic.prompt import SonicPrompt
from awsllm.wire.sonic.reader import SpeechReader
from tests.wire.test_sonic import INPUTS

MODEL = "amazon.nova-2-sonic-v1:0"
LOUD, SILENT = b"\x00\x40\x00\xc0" * 4000, bytes(16000)  # half a second each
LONG = " ".join(["It was a dark and stormy night."] * 10)
KEY = "a-key-of-this-server"
Reply = Any


class Talk:
    """A conversation whose client is the test."""

    def __init__(self, replies: list[Reply], **limits: float) -> None:
        self.requests: list[ConverseRequest] = []
        self.replies = replies
        self.sent = bytearray()
        self._inputs: asyncio.Queue[InputEvent | None] = asyncio.Queue()
        self._outputs: asyncio.Queue[SpeechEvent] = asyncio.Queue()
        self._reader = SpeechReader(24000)
        self.running = asyncio.ensure_future(Conversation(MODEL, self._ask, self._take, **limits).run(self._events()))

    async def _ask(self, request: ConverseRequest) -> ConverseResponse:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return respond(reply, request)

    async def _take(self, data: bytes) -> None:
        self.sent += data
        for event in self._reader.feed(data):
            self._outputs.put_nowait(event)

    async def _events(self) -> AsyncIterator[InputEvent]:
        while (event := await self._inputs.get()) is not None:
            yield event

    def say(self, events: Iterable[InputEvent]) -> None:
        for event in events:
            self._inputs.put_nowait(event)

    async def until(self, kind: type) -> list[SpeechEvent]:
        """What is said, up to an event of ``kind``."""
        events = [await asyncio.wait_for(self._outputs.get(), 30)]
        while not isinstance(events[-1], kind):
            events.append(await asyncio.wait_for(self._outputs.get(), 30))
        return events

    async def rest(self) -> list[SpeechEvent]:
        await asyncio.wait_for(self.running, 30)
        return [self._outputs.get_nowait() for _ in range(self._outputs.qsize())]


def talk(replies: list[Reply], scene: Callable[[Talk, SonicPrompt], Any], setup: SpeechSetup | None = None) -> Talk:
    """Hold a conversation, opened with ``setup``; ``scene`` is what its client does."""

    async def hold() -> Talk:
        prompt = SonicPrompt(setup or SpeechSetup(model=MODEL))
        conversation = Talk(replies)
        conversation.say(prompt.opening())
        await scene(conversation, prompt)
        return conversation

    return asyncio.run(hold())


def of(kind: type, events: list[SpeechEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def names(data: bytearray) -> list[str]:
    """The events of a response by their names on the wire."""
    return [next(iter(json.loads(part)["event"])) for part in ModelStreamDecoder().feed(bytes(data))]


# --- turns -----------------------------------------------------------------------------------------------------------


def test_a_text_is_answered_in_the_order_of_the_guide() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.text("Hello"), *prompt.closing()])
        events = await it.rest()
        assert of(Transcript, events)[0] == Transcript("user", "Hello")
        assert [event.text for event in of(Transcript, events) if event.role == "assistant"] == ["Hi."] * 2
        assert of(SpeechUsage, events) == [SpeechUsage(0, 1, 0, 1)]

    it = talk(["Hi."], scene)
    block = ["contentStart", "textOutput", "contentEnd"]
    voice = ["contentStart", "audioOutput", "audioOutput", "contentEnd"]
    assert names(it.sent) == ["completionStart", *block, "usageEvent", *block, *voice, *block, "completionEnd"]


def test_what_is_made_up_says_so_and_is_as_long_as_the_words_would_take() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.audio(LOUD), *prompt.audio(SILENT * 4)])
        events = await it.until(TurnEnd)
        user, *answer = of(Transcript, events)
        assert user.text == "(0.5 s of speech)"
        assert "not known" in user.synthetic
        assert all(MODEL in event.synthetic for event in answer)
        pieces = of(SpeechAudio, events)
        assert sum(event.seconds for event in pieces) == pytest.approx(4 / 2.5)
        assert {event.synthetic for event in pieces} == {"silence, as long as the words would take"}
        assert not any(event.data.strip(b"\0") for event in pieces)
        it.running.cancel()

    it = talk(["One two three four"], scene)
    assert it.requests[0].messages[-1].text == "(0.5 s of speech)"


def test_audio_of_a_script_is_heard_as_it_is() -> None:
    audio = Audio(format="pcm", source=Bytes(b"\x01\x02" * 6000))

    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.text("Hello"), *prompt.closing()])
        pieces = of(SpeechAudio, await it.rest())
        assert b"".join(event.data for event in pieces) == b"\x01\x02" * 6000
        assert {event.synthetic for event in pieces} == {"audio of a script"}

    talk([(Text("Hi. You."), audio)], scene)


def test_the_setup_reaches_the_model() -> None:
    from awsllm.types import InferenceConfig, Message, ToolChoice

    spec = ToolSpec("weather", {"type": "object"}, "The weather.")
    setup = SpeechSetup(
        model=MODEL,
        system="Be brief.",
        messages=(Message.user("Hi"), Message.assistant("Hello.")),
        tools=(spec,),
        tool_choice=ToolChoice("any"),
        inference_config=InferenceConfig(100, 0.5, 0.9),
    )

    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.text("Bonn?"))
        await it.until(TurnEnd)
        it.say([*prompt.text("And?"), *prompt.closing()])
        await it.rest()

    first, second = talk(["Sunny.", "Bye."], scene, setup).requests
    assert (first.system, first.tools, first.inference_config) == (
        (Text("Be brief."),),
        (spec,),
        setup.inference_config,
    )
    assert first.messages == (*setup.messages, Message.user("Bonn?"))
    assert (first.tool_choice, second.tool_choice) == (ToolChoice("any"), None)
    assert second.messages == (*first.messages, Message.assistant("Sunny."), Message.user("And?"))


def test_a_tool_is_used_and_the_user_may_speak_meanwhile() -> None:
    uses = [ToolUse(id=f"t{n}", name="weather", input={"city": city}) for n, city in enumerate(("Bonn", "Ulm"))]

    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.text("Weather?"))
        await it.until(ToolUse)
        assert await it.until(ToolUse) == [uses[1]]
        it.say(prompt.text("Please."))
        it.say(prompt.tool_result(ToolResult("t0", (Json({"sky": "blue"}),))))
        it.say(prompt.tool_result(ToolResult("t1", (Text("grey"),))))
        await it.until(TurnEnd)
        it.running.cancel()

    second = talk([uses, "Blue and grey."], scene).requests[1]
    assert second.messages[1].content == tuple(uses)
    assert second.messages[2].content == (
        ToolResult("t0", (Json({"sky": "blue"}),)),
        ToolResult("t1", (Json({"result": "grey"}),)),
        Text("Please."),
    )


# --- interruption ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["voice", "text"])
def test_whoever_speaks_interrupts(how: str) -> None:
    """What was planned and not said is not in the conversation."""

    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.text("Tell me a story"))
        await it.until(SpeechAudio)
        it.say([*prompt.audio(LOUD), *prompt.audio(SILENT * 4)] if how == "voice" else prompt.text("Stop"))
        events = await it.until(Interruption)
        assert not of(TurnEnd, events)
        after = await it.until(TurnEnd)
        assert "Fine." in [event.text for event in of(Transcript, after)]
        it.running.cancel()

    story, next_one = talk([LONG, "Fine."], scene).requests
    assert len(next_one.messages) in (1, 3)  # whether the first sentence had been said
    assert len(next_one.messages[0].text) < len(LONG)
    assert story.messages[0].text in next_one.messages[0].text


def test_audio_comes_before_it_is_to_be_heard_but_not_all_of_it() -> None:
    """Else there would be nothing left to interrupt."""

    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.text("Tell me a story"))
        await it.until(SpeechAudio)
        for _ in range(100):
            await asyncio.sleep(0)
        sent = of(SpeechAudio, list(SpeechReader(24000).feed(bytes(it.sent))))
        assert sum(event.seconds for event in sent) < 20
        it.running.cancel()

    talk([LONG], scene)


def test_silence_interrupts_nobody() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.text("Hello"), *prompt.audio(SILENT), *prompt.closing()])
        assert not of(Interruption, await it.rest())

    talk(["Hi."], scene)


def test_what_was_begun_is_said_when_the_client_has_ended() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.audio(LOUD), *prompt.closing()])
        events = await it.rest()
        assert of(TurnEnd, events) == [TurnEnd()]
        assert of(Transcript, events)[-1].text == sentences(LONG)[-1]

    talk([LONG], scene)


# --- refusals --------------------------------------------------------------------------------------------------------


def event(name: str, **changes: Any) -> InputEvent:
    return decode_input(json.dumps({"event": {name: {**INPUTS[name], **changes}}}).encode())


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([event("promptStart")], "sessionStart"),
        ([event("sessionStart")] * 2, "one sessionStart"),
        ([event("sessionStart"), event("promptStart"), event("promptStart")], "one promptStart"),
        ([event("sessionStart"), event("contentStart")], "promptName"),
        ([event("sessionStart"), event("promptStart"), event("contentStart", promptName="other")], "promptName"),
        ([event("sessionStart"), event("promptStart"), event("textInput")], "contentName"),
        ([event("sessionStart"), event("promptStart"), event("contentEnd")], "contentName"),
        (
            [
                event("sessionStart"),
                event("promptStart"),
                event("contentStart", audioInputConfiguration=None),
                event("audioInput"),
            ],
            "audioInputConfiguration",
        ),
        (
            [
                event("sessionStart"),
                event("promptStart"),
                event("contentStart", type="VIDEO"),
                event("contentEnd"),
            ],
            "VIDEO",
        ),
    ],
)
def test_events_out_of_order_are_refused(events: list[InputEvent], why: str) -> None:
    async def hold() -> None:
        it = Talk([])
        it.say(events)
        await asyncio.wait_for(it.running, 30)

    with pytest.raises(ValidationError, match=why):
        asyncio.run(hold())


def test_a_result_of_no_tool_use_is_refused() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.tool_result(ToolResult("t9", (Text("x"),))))
        with pytest.raises(ValidationError, match="toolUseId"):
            await it.rest()

    talk([], scene)


@pytest.mark.parametrize(
    "tool", [{}, {"toolSpec": {}}, {"toolSpec": {"name": "n", "inputSchema": {"json": {}}}}, {"toolSpec": 1}]
)
def test_a_tool_that_is_none_is_refused(tool: Any) -> None:
    prompt = event("promptStart", toolConfiguration={"tools": [tool]})
    assert isinstance(prompt, PromptStart)

    async def hold() -> None:
        it = Talk([])
        it.say([event("sessionStart"), prompt])
        await asyncio.wait_for(it.running, 30)

    with pytest.raises(ValidationError):
        asyncio.run(hold())


def test_an_error_of_the_model_ends_the_session() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say(prompt.text("Hello"))
        with pytest.raises(ThrottlingError):
            await it.rest()

    talk([ThrottlingError("slow down", code="ThrottlingException")], scene)


def test_a_session_has_its_time() -> None:
    async def hold() -> None:
        it = Talk([], session=0.01)
        await asyncio.wait_for(it.running, 30)

    with pytest.raises(ModelTimeoutError, match="timed out") as caught:
        asyncio.run(hold())
    with pytest.raises(ModelTimeoutError):
        list(SpeechReader(24000).feed(failure_frame(caught.value)))


# --- envelopes -------------------------------------------------------------------------------------------------------


def signed_head(signature: str = "ab" * 32) -> Incoming:
    credential = "Credential=AKID/20261126/us-east-1/bedrock/aws4_request"
    authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature={signature}"
    return Incoming("POST", "/model/m/x", {"authorization": authorization, "x-amz-content-sha256": DIGEST})


def test_signed_envelopes_open_in_every_cut() -> None:
    signer = EventSigner(KEY, "us-east-1", "bedrock", "ab" * 32)
    said = [event("textInput"), SessionEnd()]
    data = b"".join(signer.sign(encode_part(encode_input(one))) for one in said) + signer.sign(b"")
    for step in (1, 10, len(data)):
        envelopes = Envelopes(signed_head(), KEY)
        opened = [one for at in range(0, len(data), step) for one in envelopes.feed(data[at : at + step])]
        assert opened == said


def test_a_bearer_needs_no_envelopes() -> None:
    head = Incoming("POST", "/model/m/x", {"authorization": f"Bearer {KEY}"})
    assert list(Envelopes(head, KEY).feed(encode_part(encode_input(SessionEnd())))) == [SessionEnd()]


def test_a_signature_that_is_none_is_refused() -> None:
    frame = encode_part(encode_input(SessionEnd()))
    wrong = EventSigner("another", "us-east-1", "bedrock", "ab" * 32).sign(frame)
    out_of_order = EventSigner(KEY, "us-east-1", "bedrock", "cd" * 32).sign(frame)
    for data in (frame, wrong, out_of_order):
        with pytest.raises(AccessDeniedError):
            list(Envelopes(signed_head(), KEY).feed(data))
    assert list(Envelopes(signed_head(), None).feed(wrong)) == [SessionEnd()]


@pytest.mark.parametrize("data", [b"x" * 40, encode_part(b"{}"), encode_part(b"\xff")])
def test_bytes_that_are_no_events_are_refused(data: bytes) -> None:
    with pytest.raises(ValidationError, match="Malformed input event"):
        list(Envelopes(Incoming("POST", "/model/m/x"), None).feed(data))


# --- ears ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 640, 1024, 100_000])
def test_a_turn_ends_after_a_pause_of_samples(step: int) -> None:
    ear = Ear(16000, 1.5)
    parts = (SILENT, LOUD, SILENT, LOUD, SILENT * 2, SILENT)
    ended = [any([ear.hear(part[at : at + step]) for at in range(0, len(part), step)]) for part in parts]  # noqa: C419
    assert ended == [False] * 5 + [True]
    assert ear.end_turn() == pytest.approx(1.5, abs=0.05)
    assert not ear.hears_speech


def test_sentences() -> None:
    assert sentences("One. Two?  Three\nfour") == ["One.", "Two?", "Three\nfour"]
    assert sentences(" ") == []
    assert len(silence("a b c d e", 8000)) == 2 * 8000 * 2


# --- over a connection -----------------------------------------------------------------------------------------------


def test_who_leaves_stops_the_model() -> None:
    """Wherever the session is: here all of it has been said, and the answer is still being made."""
    stopped = asyncio.Event()

    async def slow(request: ConverseRequest) -> ConverseResponse:
        messages.put_nowait({"type": "http.disconnect"})
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    async def keep(data: bytes) -> None:
        """Nobody reads it."""

    async def hold() -> bool:
        prompt = SonicPrompt(SpeechSetup(model=MODEL))
        said = [*prompt.opening(), *prompt.text("Hello"), *prompt.closing()]
        body = b"".join(encode_part(encode_input(one)) for one in said)
        messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        head = Incoming("POST", f"/model/{MODEL}/invoke-with-bidirectional-stream")
        return await asyncio.wait_for(SpeechExchange(head, None, slow).run(messages.get, keep), 30)

    messages: asyncio.Queue[Any] = asyncio.Queue()
    assert asyncio.run(hold()) is False
    assert stopped.is_set()


@pytest.mark.parametrize("error", [ThrottlingError("slow down", code="ThrottlingException"), LookupError("a secret")])
def test_what_fails_ends_the_stream_with_an_exception(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the server without its details."""

    async def hold() -> bytes:
        async def fail(request: ConverseRequest) -> ConverseResponse:
            raise error

        async def keep(data: bytes) -> None:
            sent.append(data)

        prompt = SonicPrompt(SpeechSetup(model=MODEL))
        body = b"".join(encode_part(encode_input(one)) for one in (*prompt.opening(), *prompt.text("Hello")))
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body, "more_body": True})
        head = Incoming("POST", f"/model/{MODEL}/invoke-with-bidirectional-stream")
        assert await asyncio.wait_for(SpeechExchange(head, None, fail).run(messages.get, keep), 30)
        return b"".join(sent)

    sent: list[bytes] = []
    data = asyncio.run(hold())
    with pytest.raises(ThrottlingError if isinstance(error, ThrottlingError) else ServerError) as caught:
        list(SpeechReader(24000).feed(data))
    assert "secret" not in caught.value.message


# --- clients of AWS --------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_speak_is_refused_before_anything_is_said() -> None:
    """By HTTP/1.1, which can ask, too."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    with running(AsyncScriptedBackend()) as url:
        for model in ("amazon.nova-lite-v1:0", "no.such-model"):
            path = f"{url}/model/{model}/invoke-with-bidirectional-stream"
            with pytest.raises(HTTPError) as caught:
                urlopen(Request(path, data=b"", method="POST"), timeout=30)
            with caught.value as error:
                assert error.code == 400
                assert error.headers["x-amzn-ErrorType"].startswith("ValidationException:")


def test_a_name_of_the_table_speaks_and_strictly_no_other() -> None:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    table: dict[str, Any] = {
        "models": {"my-voice": "local:smollm2-135m-instruct"},
        "mapped_only": True,
        "account": False,
    }
    with running(AsyncScriptedBackend(), **table) as url:

        def opened(model: str) -> int:
            path = f"{url}/model/{model}/invoke-with-bidirectional-stream"
            try:
                with urlopen(Request(path, data=b"", method="POST"), timeout=30) as reply:
                    reply.read()
                    return int(reply.status)
            except HTTPError as error:
                with error:
                    return error.code

        assert (opened("my-voice"), opened(MODEL)) == (200, 400)


@pytest.mark.parametrize("digest", [None, "UNSIGNED-PAYLOAD", "0" * 64])
def test_a_signature_for_another_body_opens_nothing(digest: str | None) -> None:
    """Nobody would verify it: there is no whole body, and the events are not signed."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    now = datetime.now(UTC)
    scope = f"AKID/{now:%Y%m%d}/us-east-1/bedrock/aws4_request"
    headers = {
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}",
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        **({"x-amz-content-sha256": digest} if digest else {}),
    }
    prompt = SonicPrompt(SpeechSetup(model=MODEL))
    data = b"".join(encode_part(encode_input(one)) for one in (*prompt.opening(), *prompt.closing()))
    backend = AsyncScriptedBackend()
    with running(backend, api_key=KEY) as url:
        path = f"{url}/model/{MODEL}/invoke-with-bidirectional-stream"
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(path, data=data, headers=headers, method="POST"), timeout=30)
        with caught.value as error:
            assert error.code == 403
    assert not backend.requests


def test_whoever_interrupts_stops_no_tool() -> None:
    """A use that the client were not told of would be waited for without end."""
    uses = [ToolUse(id=f"t{n}", name="weather", input={}) for n in range(2)]

    class Interrupted(Talk):
        prompt: SonicPrompt

        async def _take(self, data: bytes) -> None:
            await super()._take(data)
            if "toolUse" in names(bytearray(data)):
                self.say(self.prompt.text("Quick!"))
                await asyncio.sleep(0.01)

    async def hold() -> list[SpeechEvent]:
        it = Interrupted([uses])
        prompt = it.prompt = SonicPrompt(SpeechSetup(model=MODEL))
        it.say([*prompt.opening(), *prompt.text("Weather?")])
        found = [*await it.until(ToolUse), *await it.until(ToolUse)]
        it.running.cancel()
        return found

    assert of(ToolUse, asyncio.run(hold())) == uses


def test_frames_have_the_headers_of_the_service() -> None:
    async def scene(it: Talk, prompt: SonicPrompt) -> None:
        it.say([*prompt.text("Hello"), *prompt.closing()])
        await it.rest()

    for frame in FrameDecoder().feed(bytes(talk(["Hi."], scene).sent)):
        assert dict(frame.headers) == {
            ":event-type": "chunk",
            ":content-type": "application/json",
            ":message-type": "event",
        }
