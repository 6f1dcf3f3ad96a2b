"""Clients with limits: calls that the service would throttle wait or are refused, in threads and on event loops."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import AsyncClient, Client, LimitExceededError, Limits, Policy, Text
from awsllm.errors import ConfigurationError, ThrottlingError, ValidationError
from awsllm.policy.configuration import parse
from awsllm.policy.limiting.estimating import ModelUsage, estimate
from awsllm.policy.limiting.windows import QuotaWindow
from awsllm.testing import AsyncScriptedBackend, ScriptedBackend
from awsllm.types import ConverseRequest, InferenceConfig, Message, Usage

MODEL = "bedrock:amazon.nova-lite-v1:0"
CLAUDE = "bedrock:us.anthropic.claude-sonnet-4-6"


def client_of(limits: Any, script: Any = "one two three", **options: Any) -> tuple[Client, ScriptedBackend]:
    backend = ScriptedBackend(script)
    return Client(backends={"bedrock": backend}, limits=limits, **options), backend


def limiter_of(client: Any, model: str = MODEL) -> Any:
    return client._layers.limits.of(awsllm.models.references.parse_reference(model)).limiter


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is a fifth of a second."""
    made = QuotaWindow.__init__
    monkeypatch.setattr(
        QuotaWindow, "__init__", lambda self, what, limit, period: made(self, what, limit, period / 300)
    )


# --- one call --------------------------------------------------------------------------------------------------------


def test_a_call_beyond_the_limit_is_refused_before_it_is_sent() -> None:
    client, backend = client_of({MODEL: Limits(requests_per_minute=2)})
    for _ in range(2):
        assert client.converse(MODEL, "hi", max_tokens=10).attempts == ()
    with pytest.raises(LimitExceededError) as caught:
        client.converse(MODEL, "hi", max_tokens=10, timeout=5)
    assert len(backend.requests) == 2
    assert (caught.value.limit, caught.value.backend) == ("requests_per_minute", "bedrock")
    assert caught.value.retry_after is not None
    assert [row["waiting"] for row in limiter_of(client).state()] == [0]
    assert "hi" not in str(caught.value).split()


def test_what_a_call_takes_is_settled_by_what_it_used() -> None:
    client, _ = client_of({MODEL: Limits(tokens_per_minute=10_000)})
    client.converse(MODEL, "hello there", max_tokens=500)
    state = {row["limit"]: row for row in limiter_of(client).state()}["tokens_per_minute"]
    assert (state["used"], state["in_flight"]) == (5, 0)  # two words in, three out
    list(client.converse_stream(MODEL, "hello there", max_tokens=500))
    assert limiter_of(client).state()[-1]["used"] == 10


def test_an_answer_burns_down_as_the_model_does() -> None:
    client, _ = client_of({CLAUDE: Limits(tokens_per_minute=10_000)})
    client.converse(CLAUDE, "hello there", max_tokens=500)
    assert limiter_of(client, CLAUDE).state()[-1]["used"] == 2 + 3 * 5
    own, _ = client_of({CLAUDE: Limits(tokens_per_minute=10_000, burndown=2)})
    own.converse(CLAUDE, "hello there", max_tokens=500)
    assert limiter_of(own, CLAUDE).state()[-1]["used"] == 2 + 3 * 2


def test_what_comes_from_the_prompt_cache_is_not_counted_in_the_end() -> None:
    usage = ModelUsage("amazon.nova-lite-v1:0", 5)
    spent = Usage(input_tokens=100, output_tokens=10, cache_read_input_tokens=5000, cache_write_input_tokens=30)
    assert usage.used(spent, 5000) == 100 + 30 + 10 * 5
    assert usage.used(Usage(), 5000) is None


def test_estimates_follow_what_a_model_counts() -> None:
    usage = ModelUsage("amazon.nova-lite-v1:0", 1)
    request = ConverseRequest(
        model="m", messages=(Message.user("word " * 400),), inference_config=InferenceConfig(max_tokens=100)
    )
    tokens, most = estimate(request, usage)
    assert (400 < tokens < 600, most) == (True, 100)
    for _ in range(20):
        usage.used(Usage(input_tokens=tokens * 2, output_tokens=10), tokens)
    charged, taken = usage.needs(tokens, most)
    assert charged == taken
    assert charged == pytest.approx(tokens * 2 + 100, rel=0.01)
    chinese = ConverseRequest(model="m", messages=(Message.user("你好世界" * 100),))
    assert estimate(chinese, usage)[0] >= 400


def test_a_large_burndown_takes_what_answers_are_likely_to_come_to() -> None:
    usage = ModelUsage("m", 5)
    assert usage.needs(100, 1000) == (1110, 5110)  # nothing is known yet
    for _ in range(40):
        usage.used(Usage(input_tokens=100, output_tokens=50), 100)
    charged, taken = usage.needs(100, 1000)
    assert charged == pytest.approx(1100, abs=15)
    assert charged <= taken <= 1500


def test_a_reservation_of_much_of_the_quota_is_told_of() -> None:
    client, _ = client_of({CLAUDE: Limits(tokens_per_minute=200_000)})
    (warning,) = client.converse(CLAUDE, "hi").warnings
    assert warning.startswith("max_tokens is not set: the call held 64,005 of the 200,000 tokens_per_minute")
    assert warning.endswith("set max_tokens=100")
    with client.converse_stream(CLAUDE, "hi") as stream:
        assert stream.response.warnings == (warning,)
    assert client.converse(CLAUDE, "hi", max_tokens=300).warnings == ()


def test_a_call_that_is_larger_than_the_quota_names_the_fix() -> None:
    client, backend = client_of({CLAUDE: Limits(tokens_per_minute=20_000)})
    with pytest.raises(LimitExceededError, match="set max_tokens to what the answer needs") as caught:
        client.converse(CLAUDE, "hi")
    assert caught.value.retry_after is None
    assert not backend.requests


def test_check_finds_what_takes_too_much_of_a_quota() -> None:
    client, _ = client_of({CLAUDE: Limits(tokens_per_minute=100_000)})
    found = {finding.rule: finding for finding in client.check(CLAUDE, "hi")}
    assert not found["limit"].is_error
    assert "takes about 64," in found["limit"].message
    assert "limit" not in {finding.rule for finding in client.check(CLAUDE, "hi", max_tokens=100)}
    small, _ = client_of({CLAUDE: Limits(tokens_per_minute=20_000)})
    assert [finding.rule for finding in small.check(CLAUDE, "hi") if finding.is_error] == ["limit"]


def test_a_failed_call_gives_back_what_it_did_not_use() -> None:
    client, _ = client_of({MODEL: Limits(tokens_per_minute=1000)}, ValidationError("no"))
    with pytest.raises(ValidationError):
        client.converse(MODEL, "hi", max_tokens=500)
    assert limiter_of(client).state()[-1]["used"] == 0


def test_a_throttle_that_comes_all_the_same_slows_the_limiter() -> None:
    refused = ThrottlingError("Too many tokens, please wait before trying again.", status=429)
    client, _ = client_of({MODEL: Limits(tokens_per_minute=1000)}, [refused, "ok"], policy=Policy(base_delay=0.0))
    response = client.converse(MODEL, "hi", max_tokens=5)
    assert [made.error for made in response.attempts] == ["ThrottlingError", None]
    limiter = limiter_of(client)
    assert limiter.throttles == 1
    assert limiter.state()[-1]["allowed"] < 1000


def test_a_stream_that_is_left_gives_back_what_it_holds() -> None:
    client, _ = client_of({MODEL: Limits(tokens_per_minute=1000)})
    with client.converse_stream(MODEL, "hi", max_tokens=100) as stream:
        next(iter(stream))
    assert limiter_of(client).state()[-1]["in_flight"] == 0


def test_a_kept_answer_takes_nothing() -> None:
    client, backend = client_of({MODEL: Limits(requests_per_minute=1)}, response_cache=awsllm.ResponseCache())
    for _ in range(3):
        assert client.converse(MODEL, "hi", max_tokens=10, temperature=0).text == "one two three"
    assert len(backend.requests) == 1


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_short")
def test_calls_wait_their_turn_and_say_so() -> None:
    client, backend = client_of({MODEL: Limits(requests_per_minute=5)})
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.converse(MODEL, "hi", max_tokens=10), range(12)))
    assert len(backend.requests) == 12
    waited = [answer.attempts[0].waited for answer in answers if answer.attempts]
    assert len(waited) == 7
    assert min(waited) > 0


@pytest.mark.usefixtures("_short")
def test_tasks_wait_too_and_one_that_is_cancelled_frees_its_place() -> None:
    asyncio.run(_tasks())


async def _tasks() -> None:
    client = AsyncClient(
        backends={"bedrock": AsyncScriptedBackend("ok")}, limits={MODEL: Limits(requests_per_minute=2, max_wait=30)}
    )
    await asyncio.gather(*(client.converse(MODEL, "hi", max_tokens=10) for _ in range(2)))
    limiter = limiter_of(client)
    limiter._paused = limiter.clock() + 3600
    tasks = [asyncio.create_task(client.converse(MODEL, "hi", max_tokens=10)) for _ in range(3)]
    limiter.limits = Limits(requests_per_minute=2, max_wait=7200)
    while limiter.state()[0]["waiting"] < 3:
        await asyncio.sleep(0)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert limiter.state()[0]["waiting"] == 2
    await asyncio.sleep(0.01)
    limiter._paused = 0.0
    with limiter._lock:
        limiter._let_in(limiter.clock() + 1)
    answers = await asyncio.gather(*tasks[1:])
    assert all(answer.attempts[0].waited > 0 for answer in answers)
    stream = client.converse_stream(MODEL, "hi", max_tokens=10)
    assert (await stream.response).text == "ok"


@pytest.mark.usefixtures("_short")
def test_threads_and_a_loop_share_one_limiter() -> None:
    limits = Limits(requests_per_minute=4)
    shared = Client(endpoint_url="http://127.0.0.1:9", region="us-east-1", limits={MODEL: limits})
    other = AsyncClient(endpoint_url="http://127.0.0.1:9", region="us-east-1", limits={MODEL: limits})
    elsewhere = Client(endpoint_url="http://127.0.0.1:9", region="us-west-2", limits={MODEL: limits})
    assert limiter_of(shared) is limiter_of(other)
    assert limiter_of(shared) is not limiter_of(elsewhere)


@pytest.mark.usefixtures("_short")
def test_a_tenant_is_an_option_of_a_call() -> None:
    client, _ = client_of({MODEL: Limits(requests_per_minute=1)})
    client.converse(MODEL, "hi", max_tokens=1)
    limiter = limiter_of(client)
    limiter._paused = limiter.clock() + 1e4
    limiter.limits = Limits(requests_per_minute=1, max_wait=1e6)
    threads = [
        threading.Thread(target=client.converse, args=(MODEL, "hi"), kwargs={"max_tokens": 1, "tenant": name})
        for name in ("a", "a", "b")
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while limiter.state()[0]["waiting"] < number:
            pass
    numbers = sorted(key[1] for key, _ in limiter._queue)
    assert numbers[0] == numbers[1] < numbers[2]  # the second of a's stands behind b's first
    limiter._paused = 0.0
    with limiter._lock:
        limiter._let_in(limiter.clock())
    for thread in threads:
        thread.join(30)
    assert limiter.state()[0]["waiting"] == 0
    with pytest.raises(ValidationError, match="tenant"):
        client.converse(MODEL, "hi", tenant=3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="priority"):
        client.converse(MODEL, "hi", priority="high")  # type: ignore[arg-type]


# --- which limits ----------------------------------------------------------------------------------------------------


def test_limits_are_found_by_reference_name_and_pattern() -> None:
    text = """
    [aliases]
    fast = "bedrock:amazon.nova-lite-v1:0"
    [groups.chat]
    models = ["bedrock:amazon.nova-pro-v1:0", "bedrock:us-west-2/amazon.nova-pro-v1:0"]
    [limits.fast]
    tokens_per_minute = 1000
    [limits.chat]
    requests_per_minute = 7
    [limits."bedrock:*claude*"]
    adaptive = true
    """
    client, _ = client_of({"bedrock:meta.*": Limits(tokens_per_minute=5)}, configuration=parse(text))

    layers: Any = client._layers

    def found(model: str) -> Any:
        of = layers.limits.of(awsllm.models.references.parse_reference(model))
        return None if of is None else of.limiter.limits

    assert found(MODEL).tokens_per_minute == 1000
    assert found("bedrock:us-west-2/amazon.nova-pro-v1:0").requests_per_minute == 7
    assert found(CLAUDE) == Limits()
    assert found("bedrock:meta.llama3-8b-instruct-v1:0").tokens_per_minute == 5
    assert found("bedrock:cohere.command-r-v1:0") is None
    assert layers.would_wait(awsllm.models.references.parse_reference(MODEL)) == 0.0


def test_models_with_one_quota_use_it_together() -> None:
    limits = Limits(requests_per_minute=1, quota="both")
    client, _ = client_of({MODEL: limits, CLAUDE: limits})
    client.converse(MODEL, "hi", max_tokens=1)
    with pytest.raises(LimitExceededError, match="both is at its limit"):
        client.converse(CLAUDE, "hi", max_tokens=1, timeout=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[limits.nobody]\ntokens_per_minute = 1", "line 1, limits.nobody: it is no reference"),
        (f'[limits."{MODEL}"]\ntokens_per_minut = 1', "line 2, .*did you mean 'tokens_per_minute'"),
        (f'[limits."{MODEL}"]\ntokens_per_minute = "x"', "line 2"),
        (f'[limits."{MODEL}"]\nshare = 3', "line 2, .*share is 3"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse(text)


@pytest.mark.parametrize("wrong", [3, {MODEL: 100}, {"nobody": Limits()}], ids=str)
def test_limits_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="limits"):
        client_of(wrong)


def test_a_group_moves_on_where_a_quota_is_spent() -> None:
    client, backend = client_of({MODEL: Limits(requests_per_minute=1)})
    models = [MODEL, "bedrock:amazon.nova-pro-v1:0"]
    client.converse(models, "hi", max_tokens=10)
    response = client.converse(models, "hi", max_tokens=10, timeout=20)
    assert response.model == "bedrock:amazon.nova-pro-v1:0"
    assert len(backend.requests) == 2


def test_a_budget_and_a_ledger_stand_beside_limits(tmp_path: Path) -> None:
    client, _ = client_of({MODEL: Limits(tokens_per_minute=1000)}, ledger=tmp_path / "usage.db", tags={"team": "a"})
    with client.budget(tokens=600) as budget:
        response = client.converse(MODEL, [Text("hi")], max_tokens=100)
    assert budget.spent_tokens == response.usage.total_tokens
    assert limiter_of(client).state()[-1]["used"] == budget.spent_tokens


@pytest.mark.parametrize("counts", [(-5, -100), (10**30, 10**30), (10**400, 0), (0, -(10**400))])
def test_a_service_that_miscounts_spoils_no_estimate(counts: tuple[int, int]) -> None:
    usage = ModelUsage("amazon.nova-lite-v1:0", burndown=1)
    used = usage.used(Usage(input_tokens=counts[0], output_tokens=counts[1]), 10)
    assert used is not None
    assert used >= 0
    for _ in range(50):
        usage.used(Usage(input_tokens=counts[0], output_tokens=counts[1]), 10)
    charged, _ = usage.needs(100, 50)
    assert 50 < charged < 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_is_not_held_up_by_its_parents_calls() -> None:
    limits = {MODEL: Limits(requests_per_minute=1000, tokens_per_minute=1_000, quota="forked", max_wait=0.1)}
    client, _ = client_of(limits)
    stream = iter(client.converse_stream(MODEL, "hi", max_tokens=900))
    next(stream)
    assert limiter_of(client).state()[1]["in_flight"] > 900
    child = os.fork()
    if not child:
        status = 1
        try:
            state = limiter_of(client).state()[1]["in_flight"]
            text = client.converse(MODEL, "hi", max_tokens=900).text
            status = 0 if (state, text) == (0, "one two three") else 1
        finally:
            os._exit(status)  # whatever happened: the child is no test run
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert limiter_of(client).state()[1]["in_flight"] > 900
    list(stream)
    assert limiter_of(client).state()[1]["in_flight"] == 0
