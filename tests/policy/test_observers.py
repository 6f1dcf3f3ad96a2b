"""Observers against scripted models: what they are told of calls, in which tree, and that they change none."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import ServerError, StreamError, ThrottlingError, ValidationError
from awsllm.policy import observers
from awsllm.policy.observers import Activity, Observation
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend

PRO, LITE = "bedrock:us.amazon.nova-pro-v1:0", "bedrock:us.amazon.nova-lite-v1:0"
throttled = ThrottlingError("slow down", code="ThrottlingException", status=429)


class Kept(Observation):
    """All that is told of one activity."""

    wants_events = True

    def __init__(self, recorder: Recorder, activity: Activity) -> None:
        self.recorder, self.activity = recorder, activity
        self.told: list[Any] = []
        self.inside = 0
        self.response: Any = None
        self.error: BaseException | None = None
        self.end: str | None = None

    def enter(self) -> Any:
        self.inside += 1
        return self

    def leave(self, token: Any) -> None:
        assert token is self
        self.inside -= 1

    def retrying(self, error: BaseException, wait: float) -> None:
        self.told.append(("retrying", type(error).__name__))

    def moved(self, model: str, error: BaseException | None) -> None:
        self.told.append(("moved", model, type(error).__name__))

    def waited(self, seconds: float, why: str) -> None:
        self.told.append(("waited", seconds, why))

    def first_event(self) -> None:
        self.told.append("first")

    def event(self, event: Any) -> None:
        self.told.append(type(event).__name__)

    def ended(self, response: Any) -> None:
        self.response, self.end = response, self._once("ended")

    def failed(self, error: BaseException) -> None:
        self.error, self.end = error, self._once("failed")

    def left(self, error: BaseException) -> None:
        self.error, self.end = error, self._once("left")

    def _once(self, end: str) -> str:
        assert self.end is None, "an activity ends once"
        return end

    @property
    def name(self) -> str:
        activity = self.activity
        return activity.name if activity.kind == "tool" else f"{activity.kind} {activity.operation}"


class Recorder:
    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.closed = False

    def began(self, activity: Activity) -> Observation:
        self.kept.append(Kept(self, activity))
        return self.kept[-1]

    def close(self) -> None:
        self.closed = True

    def tree(self, parent: Activity | None = None) -> list[Any]:
        """What ended how, and what was within it."""
        found = [one for one in self.kept if one.activity.parent is parent]
        assert all(one.inside == 0 for one in self.kept), "what is entered is left"
        return [(one.name, one.end, *self.tree(one.activity)) for one in found]


def policy(**options: Any) -> awsllm.Policy:
    async def at_once(_: float) -> None: ...

    return awsllm.Policy(sleep=lambda _: None, sleep_async=at_once, **options)


def ways(script: Any, *told: Any, **options: Any) -> dict[str, Callable[..., awsllm.ConverseResponse]]:
    """The four ways to ask, each of a client with these observers."""
    settings: dict[str, Any] = {"region": "us-east-1", "policy": policy(), "telemetry": list(told), **options}

    def stream(*args: Any, **more: Any) -> awsllm.ConverseResponse:
        with client.converse_stream(*args, **more) as events:
            return events.response

    async def awaited(streamed: bool, *args: Any, **more: Any) -> awsllm.ConverseResponse:
        backends = {"bedrock": AsyncScriptedBackend(ScriptedBackend(script))}
        async with awsllm.AsyncClient(backends=backends, **settings) as twin:
            if not streamed:
                return await twin.converse(*args, **more)
            async with twin.converse_stream(*args, **more) as events:
                return await events.response

    client = awsllm.Client(backends={"bedrock": ScriptedBackend(script)}, **settings)
    return {
        "converse": client.converse,
        "stream": stream,
        "async converse": lambda *args, **more: asyncio.run(awaited(False, *args, **more)),
        "async stream": lambda *args, **more: asyncio.run(awaited(True, *args, **more)),
    }


every_way = pytest.mark.parametrize("way", ["converse", "stream", "async converse", "async stream"])


@every_way
def test_a_call_is_told_of_with_its_response_and_what_it_cost(way: str) -> None:
    told = Recorder()
    response = ways("Hello there.", told, tags={"team": "a"})[way](PRO, "Hi", tags={"user": "u1"})
    assert told.tree() == [("call converse", "ended")]
    (one,) = told.kept
    assert one.response is response
    assert one.activity.cost == response.cost is not None
    assert one.activity.tags == {"team": "a", "user": "u1"}
    assert str(one.activity.reference) == PRO
    assert one.activity.request.messages[0].text == "Hi"
    assert one.activity.seconds > 0
    assert one.activity.streamed is ("stream" in way)
    assert (one.told[:2] == ["first", "MessageStart"]) is ("stream" in way)
    assert observers.CURRENT.get() is None


@every_way
def test_retries_are_told_as_they_happen(way: str) -> None:
    told = Recorder()
    response = ways([throttled, throttled, "Hello."], told)[way](PRO, "Hi")
    assert len(response.attempts) == 3
    assert told.tree() == [("call converse", "ended")]
    assert [x for x in told.kept[0].told if x[0] == "retrying"] == [("retrying", "ThrottlingError")] * 2
    assert told.kept[0].activity.retries == 2


@every_way
def test_an_error_is_told(way: str) -> None:
    told = Recorder()
    with pytest.raises(ValidationError):
        ways(ValidationError("no"), told)[way](PRO, "Hi")
    assert told.tree() == [("call converse", "failed")]
    assert isinstance(told.kept[0].error, ValidationError)


@every_way
def test_turns_and_tools_are_a_loops(way: str) -> None:
    told = Recorder()
    seen: list[str] = []

    def now(city: str) -> str:
        activity = observers.CURRENT.get()
        seen.append(f"{activity.kind} {activity.name}" if activity else "nowhere")
        return f"noon in {city}"

    async def fail(city: str) -> str:
        activity = observers.CURRENT.get()
        seen.append(f"{activity.kind} {activity.name}" if activity else "nowhere")
        raise RuntimeError(city)

    calls = [awsllm.ToolUse("1", "now", {"city": "Bonn"}), awsllm.ToolUse("2", "fail", {"city": "Ulm"})]
    response = ways([tuple(calls), "Noon."], told)[way](PRO, "When?", tools=[now, fail])
    (loop,) = told.tree()
    assert loop[:2] == ("loop converse", "ended")
    assert loop[2] == loop[-1] == ("call converse", "ended")
    assert sorted(loop[3:-1]) == [("fail", "ended"), ("now", "ended")]
    assert sorted(seen) == ["tool fail", "tool now"]
    tools = {one.name: one for one in told.kept if one.activity.kind == "tool"}
    assert tools["now"].activity.request is not None
    assert tools["now"].response.status == "success"
    assert type(tools["fail"].activity.error) is RuntimeError
    assert told.kept[0].response is response
    costs = [one.activity.cost or 0.0 for one in told.kept if one.activity.kind == "call"]
    assert sum(costs) == pytest.approx(response.cost)


@every_way
def test_a_group_is_told_of_with_its_members(way: str) -> None:
    def reply(request: Any) -> Any:
        return throttled if "pro" in request.model else "Hello."

    told = Recorder()
    response = ways(reply, told)[way]([PRO, LITE], "Hi", tags={"user": "u"})
    assert told.tree() == [("group converse", "ended", ("call converse", "failed"), ("call converse", "ended"))]
    group, _, last = told.kept
    assert ("moved", PRO, "ThrottlingError") in group.told
    assert group.response is response
    assert (group.activity.tags, last.activity.tags) == ({"user": "u"}, {"user": "u"})
    assert str(last.activity.reference) == LITE
    assert group.activity.name == f"{PRO}, {LITE}"


@pytest.mark.parametrize("way", ["stream", "async stream"])
def test_a_stream_that_breaks_has_failed(way: str) -> None:
    told = Recorder()
    with pytest.raises(StreamError):
        ways(Broken("Hello there you.", after=2), told, policy=policy(max_attempts=1))[way](PRO, "Hi")
    assert told.tree() == [("call converse", "failed")]
    assert isinstance(told.kept[0].error, ServerError)


@pytest.mark.parametrize("way", ["stream", "async stream"])
def test_a_stream_that_is_cut_has_failed(way: str) -> None:
    from awsllm.types import ContentBlockDelta, MessageStart, TextDelta

    told = Recorder()
    events = [MessageStart("assistant"), ContentBlockDelta(0, TextDelta("Hel"))]
    with pytest.raises(StreamError):
        ways(lambda _: iter(events), told)[way](PRO, "Hi")
    assert told.tree() == [("call converse", "failed")]


@pytest.mark.parametrize("how", ["closed", "collected", "never read"])
def test_a_reader_that_goes_has_left(how: str) -> None:
    told = Recorder()
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("a b c d")}, telemetry=told)
    stream = client.converse_stream(PRO, "Hi")
    if how != "never read":
        next(stream)
    assert observers.CURRENT.get() is None, "a stream's reader is not within it"
    if how == "closed":
        stream.close()
    del stream
    gc.collect()
    assert told.tree() == ([] if how == "never read" else [("call converse", "left")])


def test_a_cancelled_task_has_left() -> None:
    told = Recorder()
    begun = asyncio.Event()

    class Slow(AsyncScriptedBackend):
        async def ask(self, *_: Any, **__: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    async def cancelled() -> None:
        async with awsllm.AsyncClient(backends={"bedrock": Slow("")}, telemetry=told) as client:
            task = asyncio.create_task(client.converse(PRO, "Hi"))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    assert told.tree() == [("call converse", "left")]


def test_a_stream_that_is_read_elsewhere_is_where_it_was_asked_for() -> None:
    """A web framework reads a response's stream in a task of its own."""
    told = Recorder()
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend("Hi.")}, telemetry=told)
    assert client._observers is not None
    outer = client._observers.made("tool", "tool", None, None)
    with outer:
        stream = client.converse_stream(PRO, "Hi")
    thread = threading.Thread(target=lambda: list(stream))
    thread.start()
    thread.join()
    assert told.kept[1].activity.parent is outer


def test_other_operations_and_their_streams_are_calls() -> None:
    told = Recorder()
    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend()}, telemetry=told)
    client.embed("bedrock:amazon.titan-embed-text-v2:0", ["a", "b"])
    assert told.tree() == [("call embed", "ended")]
    assert told.kept[0].activity.cost is not None


def test_what_waits_tells_it() -> None:
    told = Recorder()

    def reply(_: Any) -> str:
        observers.waited(0.25, "limit")
        observers.waited(0.5, "limit")
        return "Hi."

    client = awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend(reply)}, telemetry=told)
    client.converse(PRO, "Hi")
    assert told.kept[0].told == [("waited", 0.25, "limit"), ("waited", 0.5, "limit")]
    assert told.kept[0].activity.waited_for == 0.75
    observers.waited(1.0)  # of no call: nobody is told
    observers.retrying(throttled, 1.0)


@every_way
def test_an_observer_that_raises_changes_nothing(way: str, caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Observation):
        wants_events = True

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("__") or name == "wants_events":
                return super().__getattribute__(name)

            def fail(*_: Any) -> None:
                raise RuntimeError("the prompt was: secret")

            return fail

    class Worse:
        def began(self, _: Activity) -> Observation:
            raise RuntimeError("secret")

        def close(self) -> None:
            raise RuntimeError("secret")

    class Wrong(Worse):
        def began(self, _: Activity) -> Observation:
            return Bad()

    observers._TOLD.clear()
    told = Recorder()
    with caplog.at_level(logging.WARNING):
        tell = ways([throttled, (awsllm.ToolUse("1", "_f", {}),), "Hello."], Worse(), Wrong(), told)[way]
        response = tell(PRO, "Hi", tools=[_f])
    assert response.text == "Hello."
    assert [one[1] for one in told.tree()] == ["ended"]
    lines = [record.getMessage() for record in caplog.records if "observer" in record.getMessage()]
    assert sorted(line.split("(")[1].split(")")[0] for line in lines) in (["Bad", "Worse"], ["Bad", "Worse", "Wrong"])
    assert "secret" not in caplog.text


def _f() -> str:
    """A tool."""
    return "x"


@every_way
def test_while_nobody_listens_nothing_is_told(way: str) -> None:
    class Asleep(Recorder):
        awake = False

        def listens(self) -> bool:
            return self.awake

    told = Asleep()
    script = [(awsllm.ToolUse("1", "_f", {}),), "Hello."]
    assert ways([*script, *script, "Hi."], told)[way](PRO, "Hi", tools=[_f]).text == "Hello."
    assert ways(lambda _: "Hi.", told)[way]([PRO, LITE], "Hi", tags={"a": "b"}).text == "Hi."
    assert ways(lambda _: "Hi.", told)[way](PRO, "Hi", tags={"a": "b"}).text == "Hi."
    assert not told.kept
    told.awake = True
    ways(script, told)[way](PRO, "Hi", tools=[_f])
    assert len(told.kept) == 4


def test_a_client_closes_what_it_made_and_nothing_that_was_given(tmp_path: Path) -> None:
    told = Recorder()
    (tmp_path / "awsllm.toml").write_text(f'[telemetry]\nforms = "log"\nfile = "{tmp_path / "calls.jsonl"}"\n')
    with awsllm.Client(region="us-east-1", telemetry=told) as client:
        given = client._observers
    assert given is not None
    assert not told.closed
    with awsllm.Client(region="us-east-1", configuration=tmp_path / "awsllm.toml") as client:
        (lines,) = client._observers.observers if client._observers else ()
        assert isinstance(lines, awsllm.LogLines)
        assert lines.listens()
    assert not lines.listens()


def test_nobody_is_told_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert awsllm.Client(region="us-east-1")._observers is None
    assert awsllm.Client(region="us-east-1", telemetry=False)._observers is None
    monkeypatch.setenv("AWSLLM_TELEMETRY", "off")
    assert awsllm.Client(region="us-east-1")._observers is None


@pytest.mark.parametrize("wrong", ["otlp", 3, [object()], "log,nothing"])
def test_what_is_no_form_is_refused(wrong: Any) -> None:
    with pytest.raises(awsllm.ConfigurationError, match="telemetry"):
        awsllm.Client(region="us-east-1", telemetry=wrong)
