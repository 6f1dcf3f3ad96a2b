"""A second attempt beside one that is late: at most five in a hundred calls, both told, the loser cut off at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.aws.failures import Limits
from awsllm.aws.pool import _dial
from awsllm.aws.signing import Origin
from awsllm.backend import Attempt, Stop
from awsllm.errors import AwsllmError, ConfigurationError, ServerError, ThrottlingError
from awsllm.policy.hedging import Hedging
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from tests.aws.test_http import FaultServer, raw, reply

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
AT_ONCE = awsllm.Policy(max_attempts=1, hedge=awsllm.Hedge(after=0.005, share=1.0))


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


class Late:
    """A model whose first ``late`` requests wait until the test is over; the others answer."""

    def __init__(self, late: int = 1, end: AwsllmError | None = None) -> None:
        self.late, self.end = late, end
        self.asked = 0
        self.over = threading.Event()
        self.over_async: asyncio.Event | None = None
        self.cancelled = 0

    def ask(self, request: Any, attempt: Attempt) -> Any:
        self.asked += 1
        if self.asked <= self.late:
            if attempt.stop is not None:
                attempt.stop.watch(self.over.set)
            assert self.over.wait(20)
            raise self.end or ServerError("cut off")
        return ScriptedBackend("Hello.").ask(request)

    def stream(self, request: Any, attempt: Attempt) -> Any:
        yield from awsllm.replay(self.ask(request, attempt))

    def close(self) -> None:
        """Nothing to free."""


class AsyncLate(Late):
    async def ask(self, request: Any, attempt: Attempt) -> Any:
        self.asked += 1
        if self.asked <= self.late:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return ScriptedBackend("Hello.").ask(request)

    async def stream(self, request: Any, attempt: Attempt) -> Any:
        for event in awsllm.replay(await self.ask(request, attempt)):
            yield event

    async def close(self) -> None:  # type: ignore[override]
        """Nothing to free."""


def call(backend: Any, *, streamed: bool, policy: awsllm.Policy = AT_ONCE, **options: Any) -> Any:
    model = options.pop("model", MODEL)

    async def ask() -> Any:
        backends = {"bedrock": backend}
        async with awsllm.AsyncClient(region="us-east-1", policy=policy, backends=backends, **options) as client:
            if not streamed:
                return await client.converse(model, "Hi")
            async with client.converse_stream(model, "Hi") as stream:
                return await stream.response

    if isinstance(backend, AsyncLate | AsyncScriptedBackend):
        return asyncio.run(ask())
    backends = {"bedrock": backend}
    with awsllm.Client(region="us-east-1", policy=policy, backends=backends, **options) as client:
        return client.converse_stream(model, "Hi").response if streamed else client.converse(model, "Hi")


ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
kinds = pytest.mark.parametrize("kind", [Late, AsyncLate], ids=["sync", "async"])


@ways
@kinds
def test_the_second_answers_where_the_first_is_late(kind: type[Late], streamed: bool, tmp_path: Path) -> None:
    backend = kind()
    ledger = awsllm.UsageLedger(tmp_path / "usage.sqlite")
    response = call(backend, streamed=streamed, ledger=ledger)
    assert response.text == "Hello."
    assert [made.error for made in response.attempts] == ["hedged", None]
    assert backend.asked == 2
    assert backend.cancelled == 1 if kind is AsyncLate else backend.over.wait(20)
    for _ in range(2000):  # the loser's thread writes when it is done
        counts = [row.counts for row in ledger.rows()]
        if sum(count.failed for count in counts):
            break
        threading.Event().wait(0.01)
    ledger.close()
    assert [(count.calls, count.failed) for count in counts] == [(1, 1)]


OTHER = "bedrock:us.amazon.nova-pro-v1:0"


@kinds
def test_in_a_group_another_member_is_asked(kind: type[Late]) -> None:
    backend = kind()
    response = call(backend, streamed=False, model=awsllm.Group([MODEL, OTHER]))
    assert response.text == "Hello."
    assert response.model == OTHER
    assert backend.asked == 2
    assert [(made.model, made.error) for made in response.attempts] == [(MODEL, "hedged"), (OTHER, None)]
    assert backend.over.is_set() or backend.cancelled == 1  # the loser was cut off


@kinds
def test_in_a_group_of_which_nobody_else_may_be_asked_the_same_is(kind: type[Late]) -> None:
    backend, group = kind(), awsllm.Group([MODEL, OTHER], concurrency=1)
    client = awsllm.AsyncClient if kind is AsyncLate else awsllm.Client
    one: Any = client(region="us-east-1", policy=AT_ONCE, backends={"bedrock": backend})
    places = one._routes.places(group)
    assert places[1].concurrency.enter()  # the other is busy
    answer = one.converse(group, "Hi")
    response = asyncio.run(answer) if kind is AsyncLate else answer
    assert [(made.model, made.error) for made in response.attempts] == [(MODEL, "hedged"), (MODEL, None)]
    assert [place.concurrency.in_flight for place in places] == [0, 1]


class LateFailure(AsyncLate):
    async def ask(self, request: Any, attempt: Attempt) -> Any:
        await asyncio.sleep(0.1)
        raise ThrottlingError("no", status=429)


@pytest.mark.parametrize("kind", [Late, LateFailure], ids=["sync", "async"])
def test_where_both_members_of_a_group_fail_both_are_told(kind: type[Late]) -> None:
    backend = kind(late=2, end=ThrottlingError("no", status=429))
    threading.Timer(0.2, backend.over.set).start()
    with pytest.raises(ThrottlingError) as caught:
        call(backend, streamed=False, model=awsllm.Group([MODEL, OTHER]))
    told = {(made.model, made.error) for made in caught.value.attempts}
    assert told == {(MODEL, "ThrottlingError"), (OTHER, "ThrottlingError")}


@kinds
def test_a_stream_of_a_group_is_hedged_with_its_member(kind: type[Late]) -> None:
    backend = kind()
    response = call(backend, streamed=True, model=awsllm.Group([MODEL, OTHER]))
    assert response.text == "Hello."
    assert backend.asked == 2
    assert [(made.model, made.error) for made in response.attempts] == [(MODEL, "hedged"), (MODEL, None)]


@ways
@kinds
def test_who_answers_in_time_is_asked_once(kind: type[Late], streamed: bool) -> None:
    backend = kind(late=0)
    policy = awsllm.Policy(hedge=awsllm.Hedge(after=20.0, share=1.0))
    response = call(backend, streamed=streamed, policy=policy)
    assert (response.text, response.attempts, backend.asked) == ("Hello.", (), 1)


@ways
@pytest.mark.parametrize("kind", [ScriptedBackend, AsyncScriptedBackend], ids=["sync", "async"])
def test_an_error_is_no_reason_for_a_second(kind: Any, streamed: bool) -> None:
    backend = kind(ThrottlingError("slow"))
    with pytest.raises(ThrottlingError):
        call(
            backend, streamed=streamed, policy=awsllm.Policy(max_attempts=1, hedge=awsllm.Hedge(after=20.0, share=1.0))
        )
    assert len(backend.requests) == 1


@ways
def test_where_both_fail_the_first_error_is_told(streamed: bool) -> None:
    backend = Late(late=2)
    timer = threading.Timer(0.1, backend.over.set)
    timer.start()
    with pytest.raises(ServerError):
        call(backend, streamed=streamed)
    timer.join()
    assert backend.asked == 2


def test_at_most_the_share_is_hedged_counted_exactly() -> None:
    hedging = Hedging(awsllm.Hedge(after=0.1, share=0.05))
    hedged = []
    for number in range(1, 2001):
        if hedging.begin(("a", False)) is not None and hedging.take():
            hedged.append(number)
        assert hedging.hedged <= 0.05 * hedging.calls
    assert len(hedged) == 100
    assert hedged[0] == 20


def test_at_most_the_share_is_hedged_among_threads() -> None:
    """All are late at once."""
    hedging = Hedging(awsllm.Hedge(after=0.1, share=0.05))
    for _ in range(500):
        hedging.begin(("a", False))
    taken: list[bool] = []
    threads = [threading.Thread(target=lambda: taken.extend(hedging.take() for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 25


def test_late_is_what_this_client_has_seen_of_the_model() -> None:
    hedging = Hedging(awsllm.Hedge(after="p95", share=1.0, minimum=20))
    model = ("a", True)
    for seconds in range(1, 20):
        assert hedging.begin(model) is None
        hedging.answered(model, float(seconds))
    hedging.answered(model, 20.0)
    assert hedging.begin(model) == 20.0
    assert hedging.begin(("a", False)) is hedging.begin(("b", True)) is None
    for _ in range(200):
        hedging.answered(model, 1.0)
    assert hedging.begin(model) == 1.0


def test_where_nothing_may_be_hedged_there_are_no_threads() -> None:
    threads: list[str] = []

    def answer(request: Any) -> str:
        threads.append(threading.current_thread().name)
        return "Hello."

    policy = awsllm.Policy(hedge=awsllm.Hedge())
    with awsllm.Client(region="us-east-1", policy=policy, backends={"bedrock": ScriptedBackend(answer)}) as client:
        for _ in range(19):
            client.converse(MODEL, "Hi")
        assert set(threads) == {threading.main_thread().name}
        for _ in range(20):
            client.converse(MODEL, "Hi")
        assert "awsllm-hedge" in threads
    off = awsllm.Policy()
    with awsllm.Client(region="us-east-1", policy=off, backends={"bedrock": ScriptedBackend()}) as client:
        client.converse(MODEL, "Hi")
    assert "_hedging" not in vars(off)


def test_what_is_no_chat_is_never_doubled() -> None:
    class Slow(ScriptedBackend):
        def ask(self, request: Any, attempt: Any = None) -> Any:
            threads.append(threading.current_thread().name)
            return super().ask(request)

    threads: list[str] = []
    with awsllm.Client(region="us-east-1", policy=AT_ONCE, backends={"bedrock": Slow(), "local": Slow()}) as client:
        client.embed("bedrock:amazon.titan-embed-text-v2:0", ["Hi"])
        client.generate_image("bedrock:amazon.nova-canvas-v1:0", "a house")
        client.converse("local:smollm2-135m-instruct", "Hi")
    assert set(threads) == {threading.main_thread().name}


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_the_losers_connection_is_closed_at_once(awaited: bool) -> None:
    answer = (
        b'{"output":{"message":{"role":"assistant","content":[{"text":"Hello."}]}},"stopReason":"end_turn","usage":{}}'
    )
    with FaultServer(raw(b"", "stall"), reply(answer)) as server:
        if awaited:

            async def ask() -> Any:
                async with awsllm.AsyncClient(region="us-east-1", endpoint_url=server.url, policy=AT_ONCE) as client:
                    response = await client.converse(MODEL, "Hi")
                    assert await asyncio.to_thread(server.hung_up.wait, 10)  # while the client is open
                    return response

            response = asyncio.run(ask())
        else:
            with awsllm.Client(region="us-east-1", endpoint_url=server.url, policy=AT_ONCE) as client:
                response = client.converse(MODEL, "Hi")
                assert server.hung_up.wait(10)
        assert response.text == "Hello."
        assert (server.connections, len(server.requests)) == (2, 2)


def test_cancelling_ends_both() -> None:
    backend = AsyncLate(late=2)

    async def ask() -> None:
        client = awsllm.AsyncClient(region="us-east-1", policy=AT_ONCE, backends={"bedrock": backend})
        task = asyncio.ensure_future(client.converse(MODEL, "Hi"))
        while backend.asked < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.cancelled == 2
        await client.close()

    asyncio.run(ask())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not wake who connects")
def test_a_loser_that_is_still_connecting_ends_at_once() -> None:
    stop, errors = Stop(), []
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # whoever comes after these is not let in
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())

        def dial() -> None:
            with pytest.raises(OSError) as caught:
                _dial(Origin("http", "127.0.0.1", full.getsockname()[1]), Limits(60.0, 60.0, Attempt(stop=stop)))
            errors.append(caught.value)

        thread = threading.Thread(target=dial)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        stop.now()
        thread.join(20)
    assert len(errors) == 1
    assert not isinstance(errors[0], TimeoutError)


def test_a_stop_may_come_before_what_it_stops() -> None:
    ended: list[bool] = []
    stop = Stop()
    stop.now()
    stop.watch(lambda: ended.append(True))
    assert ended == [True]


def test_a_configuration_may_ask_for_it(tmp_path: Path) -> None:
    file = tmp_path / "awsllm.toml"
    file.write_text('[policy]\nhedge = {after = "p90", share = 0.02}\n')
    with awsllm.Client(region="us-east-1", configuration=file) as client:
        assert client._policy.hedge == awsllm.Hedge(after="p90", share=0.02)
    file.write_text("[policy]\nhedge = {late = 3}\n")
    with pytest.raises(ConfigurationError, match="hedge"):
        awsllm.Client(region="us-east-1", configuration=file)


@pytest.mark.parametrize(
    "wrong", [{"after": "late"}, {"after": "p100"}, {"after": 0}, {"after": 1e12}, {"share": 2}, {"minimum": 0}]
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        awsllm.Hedge(**wrong)
    with pytest.raises(ConfigurationError):
        awsllm.Policy(hedge=0.05)  # type: ignore[arg-type]


def test_a_process_without_threads_makes_its_calls_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name == "awsllm-hedge":
            started.append(thread)
            if len(started) != 2:  # the second call has one thread, and no other
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    slow = threading.Event()

    def reply(request: Any) -> str:
        slow.wait(0.05)
        return "Hi"

    policy = awsllm.Policy(hedge=awsllm.Hedge(after=0.001, share=1.0))
    with awsllm.Client("us-east-1", backends={"bedrock": ScriptedBackend(reply)}, policy=policy) as client:
        for _ in range(2):
            assert client.converse("bedrock:m", "Hi", max_tokens=10).text == "Hi"
    assert len(started) == 3


def test_latencies_of_models_without_end_are_not_kept() -> None:
    hedging = Hedging(awsllm.Hedge())
    for number in range(3000):
        hedging.answered((f"model {number}", False), 1.0)
    assert len(hedging._models) == 1000
