"""A budget refuses before it overspends: whoever calls, at once or one after the other, and whatever goes wrong."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import awsllm
from awsllm import AsyncClient, CallBudget, Client, Message, Price
from awsllm.errors import (
    AwsllmError,
    BudgetExceededError,
    ConfigurationError,
    ConnectError,
    ModelTimeoutError,
    ServerError,
    ThrottlingError,
    ValidationError,
)
from awsllm.policy import budgets_redis
from awsllm.policy.budgets import Budgets, Reserved
from awsllm.policy.estimates import most_used
from awsllm.testing import AsyncScriptedBackend, Broken, ScriptedBackend
from awsllm.types import (
    Bytes,
    CachePoint,
    ConverseRequest,
    ConverseResponse,
    Document,
    Image,
    InferenceConfig,
    S3Location,
    ServiceTier,
    Text,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.types.media import ImageRequest

MODEL = "bedrock:amazon.nova-lite-v1:0"
PRICE = Price(input=1.0, output=10.0, cache_write=1.25, flex_input=0.5, flex_output=5.0)
A_MILLIONTH = 1e-6


def client_of(script: Any = "one two three", **options: Any) -> tuple[Client, ScriptedBackend]:
    backend = ScriptedBackend(script)
    return Client(backends={"bedrock": backend}, prices={MODEL: PRICE}, **options), backend


def answer(tokens_in: int, tokens_out: int) -> ConverseResponse:
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=tokens_in + tokens_out)
    return ConverseResponse(message=Message.assistant("ok"), stop_reason="end_turn", usage=usage)


# --- one call --------------------------------------------------------------------------------------------------------


def test_a_call_that_might_overspend_is_not_sent() -> None:
    client, backend = client_of()
    with client.budget(usd=0.01) as budget, pytest.raises(BudgetExceededError) as caught:
        client.converse(MODEL, "hi", max_tokens=1000)  # $0.01 for the answer alone
    assert not backend.requests
    assert (caught.value.unit, caught.value.left) == ("usd", 0.01)
    assert caught.value.wanted is not None
    assert caught.value.wanted > 0.01
    assert "does not fit into what is left of $0.010000" in str(caught.value)
    assert caught.value.backend == "bedrock"
    assert not caught.value.retryable
    assert (budget.spent_usd, budget.calls) == (0.0, 0)


def test_what_was_not_used_is_given_back() -> None:
    client, _ = client_of(answer(7, 3))
    with client.budget(usd=0.01) as budget:
        for _ in range(9):
            client.converse(MODEL, "hi", max_tokens=900)
    assert budget.spent_usd == pytest.approx(9 * 37 * A_MILLIONTH, abs=1e-12)
    assert budget.left_usd == pytest.approx(0.01 - 9 * 37 * A_MILLIONTH, abs=1e-12)
    assert (budget.spent_tokens, budget.calls) == (90, 9)


def test_tokens_may_be_bounded_too() -> None:
    client, backend = client_of(answer(7, 3))
    with client.budget(tokens=200) as budget:
        client.converse(MODEL, "hi", max_tokens=100)
        with pytest.raises(BudgetExceededError, match="tokens does not fit into what is left of 200: 190"):
            client.converse(MODEL, "hi", max_tokens=189)
    assert (budget.spent_tokens, budget.left_tokens, budget.left_usd) == (10, 190, None)
    assert len(backend.requests) == 1


def test_a_tool_loop_is_stopped_between_its_turns() -> None:
    def look() -> str:
        """Looks."""
        return "nothing"

    script: list[ToolUse | str] = [ToolUse("a", "look", {}), ToolUse("b", "look", {}), "never"]
    replies = [
        ConverseResponse(
            message=Message.assistant(use),
            stop_reason="tool_use",
            usage=Usage(input_tokens=100, output_tokens=500, total_tokens=600),
        )
        for use in script
    ]
    client, backend = client_of(replies)
    with client.budget(tokens=3000), pytest.raises(BudgetExceededError) as caught:
        client.converse(MODEL, "go", tools=[look], max_tokens=1000)
    assert len(backend.requests) == 2
    assert len(caught.value.messages) == 4  # what was paid for is handed over


def test_local_models_cost_nothing() -> None:
    backend = ScriptedBackend("hello")
    client = Client(backends={"local": backend})
    with client.budget(usd=0.0):
        assert client.converse("local:any", "hi").text == "hello"


# --- what a failed call may have used --------------------------------------------------------------------------------

UNUSED = [
    ValidationError("bad"),
    ThrottlingError("slow", status=429),
    ConnectError("no route"),
    ServerError("down", status=503),
]
MAYBE = [ModelTimeoutError("late"), ServerError("reset"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", UNUSED, ids=lambda error: type(error).__name__)
def test_a_refused_call_is_given_back_whole(error: AwsllmError) -> None:
    client, _ = client_of(error, policy=awsllm.Policy(max_attempts=1))
    with client.budget(usd=1.0, tokens=5000) as budget, pytest.raises(type(error)):
        client.converse(MODEL, "hi", max_tokens=1000)
    assert (budget.spent_usd, budget.left_usd, budget.left_tokens) == (0.0, 1.0, 5000)


@pytest.mark.parametrize("error", MAYBE, ids=lambda error: type(error).__name__)
def test_a_call_that_may_have_run_is_taken_as_paid(error: BaseException) -> None:
    client, _ = client_of(error, policy=awsllm.Policy(max_attempts=1))
    with client.budget(usd=1.0) as budget, pytest.raises(type(error)):
        client.converse(MODEL, "hi", max_tokens=1000)
    assert budget.spent_usd >= 0.01
    assert budget.left_usd == pytest.approx(1.0 - budget.spent_usd)


def test_streams_are_settled_at_their_end() -> None:
    client, _ = client_of(["one two three", Broken("one two three", after=2), "one two three"])
    with client.budget(usd=1.0) as budget:
        client.converse_stream(MODEL, "hi", max_tokens=1000).response  # noqa: B018
        whole = budget.spent_usd
        assert whole == pytest.approx(31 * A_MILLIONTH, abs=1e-12)
        with pytest.raises(awsllm.StreamError):
            client.converse_stream(MODEL, "hi", max_tokens=1000).response  # noqa: B018
        broken = budget.spent_usd - whole
        assert broken >= 0.01
        with client.converse_stream(MODEL, "hi", max_tokens=1000) as stream:
            next(stream)
        assert budget.spent_usd - whole == pytest.approx(2 * broken)
        assert budget.left_usd == pytest.approx(1.0 - budget.spent_usd)


def test_each_attempt_is_reserved_and_given_back() -> None:
    client, backend = client_of(
        [ThrottlingError("slow", status=429)] * 2 + ["one two three"], policy=awsllm.Policy(base_delay=0)
    )
    with client.budget(tokens=1100) as budget:
        client.converse(MODEL, "hi", max_tokens=1000)
    assert len(backend.requests) == 3
    assert (budget.calls, budget.spent_tokens) == (3, 4)


# --- what nobody knows -----------------------------------------------------------------------------------------------


def test_a_call_of_unknown_price_is_refused_or_warned_of() -> None:
    backend = ScriptedBackend("hello")
    client = Client(backends={"bedrock": backend, "sagemaker": backend})
    with client.budget(usd=1.0), pytest.raises(BudgetExceededError, match="no known price"):
        client.converse("sagemaker:mine", "hi", max_tokens=10)
    assert not backend.requests
    with client.budget(usd=1.0, unknown="warn") as budget:
        response = client.converse("sagemaker:mine", "hi", max_tokens=10)
        stream = client.converse_stream("sagemaker:mine", "hi", max_tokens=10)
        assert any("could not count" in warning for warning in stream.response.warnings)
    assert any("could not count" in warning for warning in response.warnings)
    assert (budget.uncounted_calls, budget.spent_usd) == (2, 0.0)


def test_a_call_without_an_end_needs_max_tokens() -> None:
    backend = ScriptedBackend("hello")
    client = Client(backends={"bedrock": backend}, prices={"bedrock:mine": PRICE})
    with client.budget(tokens=1000), pytest.raises(BudgetExceededError, match="set max_tokens"):
        client.converse("bedrock:mine", "hi")
    with client.budget(tokens=1000):
        client.converse("bedrock:mine", "hi", max_tokens=100)


def test_what_was_used_beyond_the_estimate_is_counted() -> None:
    client, _ = client_of(answer(5000, 10))
    with client.budget(tokens=1000) as budget:
        client.converse(MODEL, "hi", max_tokens=10)
        assert (budget.spent_tokens, budget.left_tokens) == (5010, 0)
        with pytest.raises(BudgetExceededError):
            client.converse(MODEL, "hi", max_tokens=1)


def request_of(**members: Any) -> ConverseRequest:
    config = members.pop("inference_config", InferenceConfig(max_tokens=100))
    return ConverseRequest(model="amazon.nova-lite-v1:0", inference_config=config, **members)


def tokens_of(*content: Any, **members: Any) -> int | None:
    return most_used(request_of(messages=(Message.user(*content),), **members), PRICE, is_local=False).tokens


def test_an_estimate_is_of_all_that_is_sent() -> None:
    least = tokens_of("hi")
    assert least is not None
    assert 100 < least < 150
    for more in (
        tokens_of("hi" * 1000),
        tokens_of("hi", Image("png", Bytes(b"x"))),
        tokens_of("hi", Document("d", Bytes(bytes(5000)), "pdf")),
        tokens_of("hi", system=(Text("be brief " * 200),)),
        tokens_of("hi", tools=(ToolSpec("t", {"type": "object"}),)),
        tokens_of("hi", inference_config=InferenceConfig(max_tokens=2000)),
        tokens_of("hi", inference_config=InferenceConfig()),  # the longest that the model gives
    ):
        assert more is not None
        assert more > least + 500
    assert tokens_of("hi", Document("d", S3Location("s3://b/k"), "pdf")) is None
    assert tokens_of("x" * 10_000_000) == 300_000 + 100  # no prompt is longer than the window


def test_an_estimate_is_in_the_rates_of_the_request() -> None:
    def usd(**members: Any) -> float:
        request = request_of(messages=(Message.user("x" * 2000),), **members)
        found = most_used(request, PRICE, is_local=False).usd
        assert found is not None
        return found

    assert usd(service_tier=ServiceTier("flex")) == pytest.approx(usd() / 2)
    cached = most_used(request_of(messages=(Message.user("x" * 2000, CachePoint()),)), PRICE, is_local=False)
    assert cached.tokens is not None
    assert cached.usd == pytest.approx(((cached.tokens - 100) * 1.25 + 100 * 10.0) * A_MILLIONTH)
    assert most_used(request_of(service_tier=ServiceTier("reserved")), PRICE, is_local=False).usd is None
    images = ImageRequest(model="m", prompt="a", count=3)
    assert most_used(images, Price(image=0.04), is_local=False).usd == pytest.approx(0.12)


# --- within each other, across threads, tasks and processes ----------------------------------------------------------


def test_a_call_is_under_every_budget_round_it() -> None:
    client, backend = client_of(answer(10, 10))
    with client.budget(tokens=10_000) as outer:
        with client.budget(tokens=500) as inner, pytest.raises(BudgetExceededError):
            for _ in range(100):
                client.converse(MODEL, "hi", max_tokens=100)
        used = inner.spent_tokens
        assert 300 < used <= 500
        assert outer.spent_tokens == used
        assert outer.left_tokens == 10_000 - used  # what the inner one refused is given back to the outer
        client.converse(MODEL, "hi", max_tokens=100)
        assert (outer.spent_tokens, inner.spent_tokens) == (used + 20, used)
    client.converse(MODEL, "hi", max_tokens=100)
    assert outer.spent_tokens == used + 20
    assert len(backend.requests) == used // 20 + 2


def test_a_budget_is_of_its_client() -> None:
    client, _ = client_of()
    other, _ = client_of()
    with client.budget(tokens=0):
        assert other.converse(MODEL, "hi", max_tokens=10).text == "one two three"


def test_threads_together_never_overspend() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def reply(request: Any) -> ConverseResponse:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.001)
        with lock:
            now[0] -= 1
        return answer(10, 90)

    client, backend = client_of(reply)

    def call(_: int) -> bool:
        try:
            client.converse(MODEL, "hi", max_tokens=90)
        except BudgetExceededError:
            return False
        return True

    with client.budget(tokens=3000) as budget, ThreadPoolExecutor(16) as pool:
        made = list(pool.map(call, range(200)))
    assert sum(made) == len(backend.requests)
    assert budget.spent_tokens == 100 * sum(made)
    assert 2000 < budget.spent_tokens <= 3000
    assert budget.left_tokens == 3000 - budget.spent_tokens


def test_threads_that_serve_others_can_be_left_out() -> None:
    client, _ = client_of()

    def call() -> str:
        return client.converse(MODEL, "hi", max_tokens=10).text

    def own() -> int:
        with client.budget(tokens=1000) as mine:
            call()
        return mine.spent_tokens

    with ThreadPoolExecutor(1) as pool:
        with client.budget(tokens=0), pytest.raises(BudgetExceededError):
            pool.submit(call).result(10)
        with client.budget(tokens=0, threads=False):
            assert pool.submit(call).result(10) == "one two three"
            with pytest.raises(BudgetExceededError):
                call()
        with client.budget(tokens=0):
            assert pool.submit(own).result(10) == 4  # a thread's own budget is the one it is under
        assert pool.submit(call).result(10) == "one two three"


def test_tasks_are_under_the_budget_that_they_began_in() -> None:
    async def run() -> None:
        backend = AsyncScriptedBackend(answer(10, 10))
        async with AsyncClient(backends={"bedrock": backend}, prices={MODEL: PRICE}) as client:

            async def call() -> int:
                try:
                    await client.converse(MODEL, "hi", max_tokens=100)
                except BudgetExceededError:
                    return 0
                return 1

            async def streamed() -> int:
                async with client.converse_stream(MODEL, "hi", max_tokens=100) as stream:
                    return (await stream.response).usage.output_tokens or 0

            free = asyncio.create_task(call())
            with client.budget(tokens=400) as budget:
                beside = await asyncio.gather(*(asyncio.create_task(call()) for _ in range(30)))
                assert await streamed() if budget.left_tokens and budget.left_tokens > 150 else True
            assert budget.spent_tokens == 20 * budget.calls
            assert 1 <= sum(beside) < 30
            assert await free == 1
            assert await call() == 1  # nothing is left of it outside

    asyncio.run(run())


def test_a_cancelled_task_is_taken_as_paid() -> None:
    async def run() -> float:
        class Slow(AsyncScriptedBackend):
            async def ask(self, request: Any, attempt: Any = awsllm.Policy) -> Any:
                await asyncio.sleep(60)

        async with AsyncClient(backends={"bedrock": Slow("x")}, prices={MODEL: PRICE}) as client:
            with client.budget(usd=1.0) as budget:
                task = asyncio.create_task(client.converse(MODEL, "hi", max_tokens=1000))
                while not budget.calls:
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            return budget.spent_usd

    assert asyncio.run(run()) >= 0.01


PROGRAM = """
import sys
from awsllm import Client, Price
from awsllm.errors import BudgetExceededError
from awsllm.testing import ScriptedBackend
model = "bedrock:amazon.nova-lite-v1:0"
client = Client(backends={"bedrock": ScriptedBackend("one two three")}, prices={model: Price(input=1.0, output=10.0)})
made = 0
with client.budget(tokens=600, file=sys.argv[1], name="nightly"):
    try:
        while made < 100:
            client.converse(model, "hi", max_tokens=100)
            made += 1
    except BudgetExceededError:
        pass
print(made)
"""


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "budgets.db"
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    made = [int(process.communicate(timeout=60)[0]) for process in running]
    client, _ = client_of()
    budget = client.budget(tokens=600, file=path, name="nightly")
    assert budget.spent_tokens == 4 * sum(made)
    assert 400 < budget.spent_tokens <= 600
    with budget, pytest.raises(BudgetExceededError):
        client.converse(MODEL, "hi", max_tokens=300)
    assert client.budget(tokens=600, file=path, name="another").spent_tokens == 0


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Redis that all budgets of the test find."""
    fakeredis = pytest.importorskip("fakeredis")
    pytest.importorskip("lupa")  # what runs its scripts
    server = fakeredis.FakeServer()
    monkeypatch.setattr(budgets_redis, "redis_at", lambda url: fakeredis.FakeRedis(server=server))
    return server


def test_machines_share_a_redis(redis: Any) -> None:
    client, _ = client_of(answer(100, 50))
    budget = client.budget(usd=1.0, tokens=600, file="redis://r", name="nightly")
    with budget:
        client.converse(MODEL, "hi", max_tokens=100)
    again = client.budget(usd=1.0, tokens=600, file="redis://r", name="nightly")
    assert (again.spent_tokens, again.left_tokens, again.calls) == (150, 450, 1)
    assert again.spent_usd == budget.spent_usd > 0
    with again, pytest.raises(BudgetExceededError, match="450"):
        client.converse(MODEL, "hi", max_tokens=440)
    with again, ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> int:
            try:
                client.converse(MODEL, "hi", max_tokens=100)
            except BudgetExceededError:
                return 0
            return 1

        made = sum(pool.map(ask, range(40)))
    assert 1 <= made <= 3
    assert again.spent_tokens == 150 * (made + 1) <= 600
    assert client.budget(tokens=600, file="redis://r", name="another").spent_tokens == 0
    with (
        client.budget(usd=9.5e6, file="redis://r", name="rich"),
        pytest.raises(ConfigurationError, match="nine million"),
    ):
        client.converse(MODEL, "hi", max_tokens=1)


def test_tasks_ask_a_redis_in_a_thread(redis: Any) -> None:
    backend = AsyncScriptedBackend("one two")

    async def run() -> None:
        async with AsyncClient(backends={"bedrock": backend}) as client:
            budget = client.budget(tokens=1000, file="redis://r", name="tasks")
            with budget:
                await client.converse(MODEL, "hi", max_tokens=50)
                async with client.converse_stream(MODEL, "hi", max_tokens=50) as stream:
                    await stream.response
                with pytest.raises(BudgetExceededError):
                    await client.converse(MODEL, "hi", max_tokens=1000)
                asking = asyncio.create_task(client.converse(MODEL, "hi", max_tokens=50))
                await asyncio.sleep(0)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            assert budget.spent_tokens == 6
            assert budget.left_tokens == 994

    asyncio.run(run())


def test_a_redis_that_does_not_answer_lets_no_call_through(redis: Any) -> None:
    client, backend = client_of()
    with client.budget(tokens=1000, file="redis://r", name="down"):
        redis.connected = False
        with pytest.raises(ConnectError, match="the budget's Redis does not answer: ConnectionError"):
            client.converse(MODEL, "hi", max_tokens=50)
    assert not backend.requests


# --- the arithmetic --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.01), st.floats(0, 1)), max_size=40), st.integers(0, 2**32))
def test_refunds_are_exact(calls: list[tuple[float, float]], seed: int) -> None:
    """Whatever the order in which calls end, nothing is left reserved and the limit is never passed."""
    budget = CallBudget(Budgets(), 0.05, None, {})
    held, spent, chance = [], 0.0, random.Random(seed)
    for usd, share in calls:
        try:
            held.append((budget.reserve(Reserved(usd, 1)), usd * share))
        except BudgetExceededError:
            assert budget.left_usd is not None
            assert usd > budget.left_usd - 1e-11
        if held and chance.random() < 0.5:
            one, used = held.pop(chance.randrange(len(held)))
            assert one is not None
            one.settle(used, 1)
            spent += used
    for one, used in held:
        assert one is not None
        one.settle(used, 1)
        spent += used
    assert budget.spent_usd == pytest.approx(spent, abs=1e-9)
    assert budget.spent_usd <= 0.05
    assert budget._purse.read().usd_reserved == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"usd": -1},
        {"usd": "1"},
        {"tokens": 1.5},
        {"usd": True},
        {"usd": 1, "unknown": "ignore"},
        {"usd": 1, "x": 2},
    ],
)
def test_a_budget_has_limits_that_are_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Client(backends={"bedrock": ScriptedBackend("x")}).budget(**options)


@pytest.mark.parametrize("counts", [(-(10**9), -(10**9)), (10**30, 5), (10**400, 5), (5, -1)])
def test_a_service_that_miscounts_neither_fills_a_budget_nor_breaks_a_ledger(
    counts: tuple[int, int], tmp_path: Path
) -> None:
    """What cannot be is not known: the budget keeps what the call had reserved."""
    wrong, right = (
        ConverseResponse(
            message=Message("assistant", (Text("Hi"),)),
            stop_reason="end_turn",
            usage=Usage(input_tokens=given, output_tokens=out),
        )
        for given, out in (counts, (5, 5))
    )
    ledger = awsllm.UsageLedger(tmp_path / "usage.db")
    client, _ = client_of([wrong, right], ledger=ledger)
    with client.budget(usd=1.00, tokens=1000) as budget:
        assert client.converse(MODEL, "Hi", max_tokens=20).cost is None
        held = budget.spent_usd
        assert 0.0 < held < 0.01
        client.converse(MODEL, "Hi", max_tokens=20)
    assert budget.spent_usd == pytest.approx(held + 5 * A_MILLIONTH + 50 * A_MILLIONTH)
    assert budget.calls == 2
    (row,) = ledger.rows()
    assert (row.counts.calls, row.counts.unpriced) == (2, 1)
    assert 0 <= row.counts.output <= 10
    ledger.close()


def test_a_closed_client_has_let_go_of_the_backends_that_it_called() -> None:
    client, _ = client_of(tags={"team": "a"})
    client.converse(MODEL, "hi", max_tokens=10)
    layers = client._layers
    assert layers is not None
    assert layers._placed
    client.close()
    assert not layers._placed


def test_a_budget_that_another_thread_opens_holds_for_a_model_that_was_called_without_one() -> None:
    """What is kept of a call for the next one is not kept where other budgets hold."""
    client, backend = client_of(tags={"team": "a"})
    client.converse(MODEL, "hi", max_tokens=10)
    opened, over = threading.Event(), threading.Event()

    def hold() -> None:
        with client.budget(tokens=0):
            opened.set()
            over.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    assert opened.wait(10)
    with pytest.raises(BudgetExceededError):
        client.converse(MODEL, "hi", max_tokens=10)
    over.set()
    other.join(10)
    assert client.converse(MODEL, "hi", max_tokens=10).text == "one two three"
    assert len(backend.requests) == 2
