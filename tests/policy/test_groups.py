"""Calls of groups of models against scripted ones: who is asked, in which order, how often, and what of it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    CircuitOpenError,
    ConfigurationError,
    ConnectError,
    ContextWindowError,
    ModelNotReadyError,
    ModelTimeoutError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.models.references import parse_reference
from awsllm.policy.groups import MOVES, RULES, rule_of
from awsllm.policy.limiting.windows import QuotaWindow
from awsllm.testing import Broken, ScriptedBackend

Answer = Callable[..., awsllm.ConverseResponse]


def lost() -> ServerError:
    """The connection was lost once the request was sent."""
    error = ServerError("the connection was closed before the answer was complete")
    error.may_have_run = True
    return error


class Models:
    """Models behind one backend by their names, each with a script; ``asked`` counts the calls."""

    def __init__(self, **scripts: Any) -> None:
        self._replies = {name: iter(one) if isinstance(one, list) else one for name, one in scripts.items()}
        self.backend = ScriptedBackend(self._reply)

    def _reply(self, request: Any) -> Any:
        script = self._replies[request.model]
        reply = next(script) if isinstance(script, Iterator) else script
        return reply(request) if callable(reply) else reply

    @property
    def asked(self) -> list[str]:
        return [request.model for request in self.backend.requests]

    def client(self, **options: Any) -> awsllm.Client:
        policy = options.pop("policy", awsllm.Policy(max_attempts=1))
        backends = {"bedrock": self.backend}
        return awsllm.Client(region="us-east-1", policy=policy, backends=backends, **options)

    def ways(self, **options: Any) -> dict[str, Answer]:
        """The four ways to ask a group, as functions that return the response."""
        from awsllm.testing import AsyncScriptedBackend

        client = self.client(**options)
        more_options = {name: value for name, value in options.items() if name != "policy"}

        def stream(*args: Any, **more: Any) -> awsllm.ConverseResponse:
            with client.converse_stream(*args, **more) as events:
                return events.response

        async def awaited(streamed: bool, *args: Any, **more: Any) -> awsllm.ConverseResponse:
            backends = {"bedrock": AsyncScriptedBackend(self.backend)}
            policy = options.get("policy", awsllm.Policy(max_attempts=1))
            async with awsllm.AsyncClient(
                region="us-east-1", backends=backends, **{"policy": policy, **more_options}
            ) as twin:
                if not streamed:
                    return await twin.converse(*args, **more)
                async with twin.converse_stream(*args, **more) as events:
                    return await events.response

        return {
            "converse": client.converse,
            "stream": stream,
            "async converse": lambda *args, **more: asyncio.run(awaited(False, *args, **more)),
            "async stream": lambda *args, **more: asyncio.run(awaited(True, *args, **more)),
        }


WAYS = ["converse", "stream", "async converse", "async stream"]
every_way = pytest.mark.parametrize("way", WAYS)
throttled = ThrottlingError("slow down", code="ThrottlingException", status=429)
AB = ["bedrock:a", "bedrock:b"]


@every_way
def test_the_first_that_can_answer_does_and_the_others_are_told_of(way: str) -> None:
    models = Models(a=throttled, b=ServerError("down", status=503), c="Hello.")
    response = models.ways()[way]([*AB, "bedrock:eu-west-1/c"], "Hi")
    assert models.asked == ["a", "b", "c"]
    assert (response.text, response.model) == ("Hello.", "bedrock:eu-west-1/c")
    told = [(made.model, made.region, made.error) for made in response.attempts]
    assert told == [
        ("bedrock:a", None, "ThrottlingException"),
        ("bedrock:b", None, "ServerError"),
        ("bedrock:eu-west-1/c", "eu-west-1", None),
    ]
    assert all(made.started > 1e9 and made.seconds >= 0 for made in response.attempts)
    assert "after bedrock:a (ThrottlingException), bedrock:b (ServerError)" in response.warnings[0]


@every_way
def test_an_untroubled_call_asks_one_and_warns_of_nothing(way: str) -> None:
    models = Models(a="Hello.", b="Never.")
    response = models.ways()[way](AB, "Hi")
    assert (models.asked, response.warnings, len(response.attempts)) == (["a"], (), 1)


@every_way
@pytest.mark.parametrize("error", [ValidationError("no"), AccessDeniedError("no"), ModelTimeoutError("late"), lost()])
def test_what_no_rule_names_ends_the_call(way: str, error: AwsllmError) -> None:
    """A request that is wrong is wrong everywhere; a generation that may have run is not paid for twice."""
    models = Models(a=error, b="Never.")
    with pytest.raises(type(error)) as caught:
        models.ways()[way](AB, "Hi")
    assert models.asked == ["a"]
    assert [made.model for made in caught.value.attempts] == ["bedrock:a"]


@every_way
@pytest.mark.parametrize("error", [lost(), ServerError("down", status=503)])
def test_what_no_rule_names_is_not_tried_again_either(way: str, error: AwsllmError) -> None:
    """Not by the policy, which would try a single model again."""
    models = Models(a=error, b="Never.")
    with pytest.raises(ServerError):
        models.ways(policy=awsllm.Policy(max_attempts=3, base_delay=0))[way](awsllm.Group(AB, on="throttling"), "Hi")
    assert models.asked == ["a"]


@every_way
@pytest.mark.parametrize("error", [ModelTimeoutError("late"), lost()])
def test_a_second_payment_is_made_where_the_caller_allows_it(way: str, error: AwsllmError) -> None:
    models = Models(a=error, b="Hello.")
    assert models.ways()[way](awsllm.Group(AB, on=(*MOVES, "timeout")), "Hi").text == "Hello."
    assert models.asked == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (throttled, "throttling"),
        (ModelNotReadyError("loading"), "not_ready"),
        (ServerError("down", status=500), "server_error"),
        (lost(), "timeout"),
        (ModelTimeoutError("late"), "timeout"),
        (ConnectError("nobody there"), "connect"),
        (ContextWindowError("too long"), "context_window"),
        (UnsupportedError("no images"), "unsupported"),
        (AccessDeniedError("no"), "access_denied"),
        (StreamError("cut"), "timeout"),
        (ValidationError("wrong"), None),
        (ConfigurationError("no region"), None),
    ],
)
def test_each_error_falls_under_a_rule(error: AwsllmError, rule: str | None) -> None:
    assert rule_of(error) == rule
    assert rule in (*RULES, "unsupported", None)


@every_way
def test_a_model_that_cannot_take_the_request_is_passed_over_unasked(way: str) -> None:
    """By its profile: Nova Micro reads no images."""
    import base64

    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    names = {"amazon.nova-micro-v1:0": "Never.", "amazon.nova-lite-v1:0": "A dot."}
    models = Models(**names)
    group = [f"bedrock:{name}" for name in names]
    response = models.ways()[way](group, [awsllm.Message.user("What is it?", awsllm.Image("png", awsllm.Bytes(png)))])
    assert models.asked == ["amazon.nova-lite-v1:0"]
    assert [made.error for made in response.attempts] == ["unsupported", None]
    assert response.warnings[0].startswith("bedrock:amazon.nova-micro-v1:0 was passed over: ")
    with pytest.raises(UnsupportedError, match="image"):
        models.ways()[way](group[:1], [awsllm.Message.user("?", awsllm.Image("png", awsllm.Bytes(png)))])


@every_way
def test_when_all_fail_there_are_rounds_as_the_policy_has_attempts(way: str) -> None:
    models = Models(a=throttled, b=ServerError("down", status=503))
    policy = awsllm.Policy(max_attempts=3, base_delay=0)
    with pytest.raises(AwsllmError) as caught:
        models.ways(policy=policy)[way](AB, "Hi")
    assert models.asked == ["a", "b"] * 3
    assert [made.model for made in caught.value.attempts] == AB * 3


def test_what_waiting_does_not_mend_is_not_asked_again() -> None:
    models = Models(a=ContextWindowError("too long"), b=[throttled, "Hello."])
    policy = awsllm.Policy(max_attempts=3, base_delay=0)
    assert models.client(policy=policy).converse(AB, "Hi").text == "Hello."
    assert models.asked == ["a", "b", "b"]


def test_of_the_errors_that_pass_the_one_that_asks_for_the_shortest_wait_is_waited_for() -> None:
    slept: list[float] = []
    long = ThrottlingError("no", retry_after=30)
    short = ThrottlingError("no", retry_after=2)
    models = Models(a=[long, "Hello."], b=[short])
    policy = awsllm.Policy(max_attempts=2, base_delay=0, sleep=slept.append)
    assert models.client(policy=policy).converse(AB, "Hi").text == "Hello."
    assert slept == [2.0]


def test_one_caller_may_allow_what_is_withheld_to_be_asked_of_another() -> None:
    withheld = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "content_filtered"}
    models = Models(a=withheld, b="Hello.")
    assert models.client().converse(AB, "Hi").stop_reason == "content_filtered"
    response = models.client().converse(awsllm.Group(AB, on="content_filtered"), "Hi")
    assert (response.text, [made.error for made in response.attempts]) == ("Hello.", ["content_filtered", None])


@pytest.mark.parametrize(("streamed", "options"), [(False, {}), (False, {"timeout": 20}), (True, {})])
def test_what_a_call_waited_for_limits_stands_with_its_attempt(
    monkeypatch: pytest.MonkeyPatch, options: Any, *, streamed: bool
) -> None:
    made = QuotaWindow.__init__
    quick = lambda self, what, limit, period: made(self, what, limit, period / 300)  # noqa: E731 -- a minute is 0.2 s
    monkeypatch.setattr(QuotaWindow, "__init__", quick)
    limits = {"bedrock:a": awsllm.Limits(requests_per_minute=1)}
    client, models = Models(a="Hello.").client(limits=limits), ["bedrock:a"]

    def attempts() -> tuple[awsllm.AttemptMade, ...]:
        if not streamed:
            return client.converse(models, "Hi", **options).attempts
        with client.converse_stream(models, "Hi") as stream:
            return stream.response.attempts

    first, second = attempts()[-1], attempts()[-1]
    assert (first.model, first.waited) == ("bedrock:a", 0.0)
    assert (second.model, second.error) == ("bedrock:a", None)
    assert second.waited > 0.01


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stream", "async stream"])
def test_a_stream_that_has_shown_something_never_moves(way: str) -> None:
    models = Models(a=Broken("one two three four", after=2), b="Never.")
    with pytest.raises(StreamError) as caught:
        models.ways()[way](awsllm.Group(AB, on=tuple(RULES)), "Hi")
    assert models.asked == ["a"]
    assert caught.value.partial is not None
    assert caught.value.partial.text == "one"
    assert [made.model for made in caught.value.attempts] == ["bedrock:a"]


@pytest.mark.parametrize("way", ["stream", "async stream"])
def test_a_stream_that_has_shown_nothing_does(way: str) -> None:
    """The service said that a message begins, and then that it failed."""
    models = Models(a=Broken("one two", after=1, error=throttled), b="Hello.")
    response = models.ways()[way](AB, "Hi")
    assert (models.asked, response.text) == (["a", "b"], "Hello.")


def test_what_a_stream_used_that_had_begun_is_unknown(tmp_path: Path) -> None:
    """A message had begun when the service throttled it: the call moves on, for nothing was shown, but who counts what
    calls use must count that it may have run."""
    lite, pro = "bedrock:amazon.nova-lite-v1:0", "bedrock:amazon.nova-pro-v1:0"
    models = Models(**{lite[8:]: Broken("one two", after=1, error=throttled), pro[8:]: "Hi"})
    ledger = awsllm.UsageLedger(tmp_path / "usage.db")
    client = models.client(limits={lite: awsllm.Limits(tokens_per_minute=10_000)}, ledger=ledger)
    with client.budget(tokens=100_000) as budget, client.converse_stream([lite, pro], "Hi", max_tokens=1000) as stream:
        response = stream.response
    assert [(made.error, made.cost is None) for made in response.attempts] == [
        ("ThrottlingException", True),
        (None, False),
    ]
    assert budget.spent_tokens > 1000
    assert {row.model: row.counts.failed for row in ledger.rows()} == {lite: 1, pro: 0}
    (state,) = client._layers.limits.of(parse_reference(lite)).limiter.state()
    assert state["used"] > 1000
    ledger.close()


@pytest.mark.parametrize("way", ["stream", "async stream"])
def test_a_cut_that_has_shown_nothing_may_have_run(way: str) -> None:
    models = Models(a=Broken("one two", after=1, error=lost()), b="Hello.")
    with pytest.raises(StreamError):
        models.ways()[way](AB, "Hi")
    assert models.asked == ["a"]


def test_a_stream_that_is_left_early_is_closed() -> None:
    models = Models(a="one two three four")
    group = awsllm.Group(["bedrock:a"], concurrency=1)
    client = models.client()
    for _ in range(3):  # each gives its place back
        with client.converse_stream(group, "Hi") as stream:
            next(stream)
    assert models.backend.cancelled.is_set()
    assert client.circuits()[0].state == "closed"


# --- tools -----------------------------------------------------------------------------------------------------------


@every_way
def test_tools_that_have_run_do_not_run_again(way: str) -> None:
    ran: list[str] = []

    @awsllm.tool
    def weather(city: str) -> str:
        """The weather in a city."""
        ran.append(city)
        return "sunny"

    call = awsllm.ToolUse("t1", "weather", {"city": "Oslo"})
    streamed = "stream" in way
    models = Models(a=[call, throttled], b=[lambda request: f"{len(request.messages)} turns: sunny"])
    ask = models.ways()[way]
    if streamed:  # the first turn was shown: nothing moves
        with pytest.raises(StreamError):
            ask(AB, "Weather?", tools=[weather])
        assert models.asked == ["a", "a"]
    else:
        response = ask(AB, "Weather?", tools=[weather])
        assert response.text == "3 turns: sunny"
        assert [turn.role for turn in response.messages] == ["assistant", "user", "assistant"]
        assert models.asked == ["a", "a", "b"]
    assert ran == ["Oslo"]


@every_way
def test_turns_that_a_failed_model_answered_are_counted(way: str) -> None:
    """Of the response, of its attempts, and of a budget."""
    prices = {model: awsllm.Price(input=1e6, output=1e6) for model in AB}

    @awsllm.tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "sunny"

    call = awsllm.ToolUse("t1", "weather", {"city": "Oslo"})
    alone = Models(a=[call, "sunny now"]).client(prices=prices).converse("bedrock:a", "Weather?", tools=[weather])
    if "stream" in way:  # what was shown does not move: the error tells
        models = Models(a=[call, throttled])
        with pytest.raises(StreamError) as caught:
            models.client(prices=prices).converse_stream(AB, "Weather?", tools=[weather]).response  # noqa: B018
        assert caught.value.usage is not None
        assert caught.value.cost
        return
    models = Models(a=[call, throttled], b="sunny now")
    client = models.client(prices=prices)

    def awaited() -> awsllm.ConverseResponse:
        return models.ways(prices=prices)[way](AB, "Weather?", tools=[weather])

    with client.budget(usd=1e6) as budget:
        response = client.converse(AB, "Weather?", tools=[weather], max_tokens=50) if way == "converse" else awaited()
    assert response.usage.total_tokens == alone.usage.total_tokens
    assert response.cost == pytest.approx(alone.cost)
    assert response.cost == pytest.approx(sum(made.cost or 0.0 for made in response.attempts))
    assert all(made.cost for made in response.attempts)
    if way == "converse":
        assert budget.spent_usd == pytest.approx(response.cost)


def test_where_all_fail_the_error_says_what_was_used() -> None:
    @awsllm.tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "sunny"

    call = awsllm.ToolUse("t1", "weather", {"city": "Oslo"})
    one = Models(a=[call, throttled])
    with pytest.raises(ThrottlingError) as alone:
        one.client().converse(["bedrock:a"], "Weather?", tools=[weather])
    assert alone.value.usage is not None
    used = alone.value.usage.output_tokens or 0
    assert used > 0
    models = Models(a=[call, throttled], b=[call, throttled])
    with pytest.raises(ThrottlingError) as caught:
        models.client().converse(AB, "Weather?", tools=[weather])
    assert len(caught.value.messages) == 4
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 2 * used


# --- weights and conversations ---------------------------------------------------------------------------------------


def test_weights_decide_who_is_asked_first() -> None:
    models = Models(a="A", b="B")
    client = models.client()
    from random import Random

    client._settings.routes._draw = Random(7).random
    for _ in range(2000):
        client.converse({"bedrock:a": 3, "bedrock:b": 1}, "Hi")
    share = Counter(models.asked)["a"] / 2000
    assert 0.72 < share < 0.78


def test_a_conversation_stays_where_its_cache_is_warm() -> None:
    models = Models(a=[throttled, "Never."], b="B")
    client = models.client()
    group = awsllm.Group(AB)
    first = client.converse(group, "Tell me of Oslo")
    turns = [awsllm.Message.user("Tell me of Oslo"), first.message, awsllm.Message.user("More")]
    assert client.converse(group, turns).text == "B"
    assert models.asked == ["a", "b", "b"]
    assert client.converse(group, "Another conversation").text == "Never."


def test_a_conversation_comes_home_after_a_while() -> None:
    models = Models(a=[throttled, "A"], b="B")
    client = models.client()
    now = [0.0]
    client._settings.routes.clock = lambda: now[0]
    group = awsllm.Group(AB, sticky=300)
    first = client.converse(group, "Tell me of Oslo")
    now[0] = 301
    turns = [awsllm.Message.user("Tell me of Oslo"), first.message, awsllm.Message.user("More")]
    assert client.converse(group, turns).text == "A"


# --- where answers may be made ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "region", "allowed"),
    [
        ("amazon.nova-lite-v1:0", "eu-west-1", True),
        ("amazon.nova-lite-v1:0", "us-east-1", False),
        ("amazon.nova-lite-v1:0", None, False),
        ("eu.amazon.nova-lite-v1:0", "eu-west-1", True),
        ("us.amazon.nova-lite-v1:0", "eu-west-1", False),
        ("global.anthropic.claude-sonnet-4-6", "eu-west-1", False),
        ("arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/x", "eu-west-1", False),
    ],
)
def test_residency(model: str, region: str | None, allowed: bool) -> None:
    """A profile of a geography answers anywhere in it; where an opaque one goes is not known."""
    assert awsllm.Group(["bedrock:m"], regions="eu-*").allows(region, model) is allowed


def test_what_may_answer_elsewhere_is_not_asked() -> None:
    models = Models(**{"a": "A", "eu.amazon.nova-lite-v1:0": "B"})
    group = awsllm.Group(["bedrock:a", "bedrock:eu-west-1/eu.amazon.nova-lite-v1:0"], regions=("eu-*",))
    assert models.client().converse(group, "Hi").text == "B"
    with pytest.raises(ConfigurationError, match="none of the group's models answers in eu"):
        models.client().converse(awsllm.Group(["bedrock:a"], regions="eu-*"), "Hi")


# --- breakers and limits ---------------------------------------------------------------------------------------------


def test_a_model_that_fails_is_left_alone_and_tried_again_later() -> None:
    down = ServerError("down", status=503)
    models = Models(a=[*[down] * 5, "A", "A"], b="B")
    client = models.client()
    now = [0.0]
    client._settings.routes.clock = lambda: now[0]
    group = awsllm.Group(AB, breaker=awsllm.Breaker(minimum=5, open_for=30), sticky=0)
    for _ in range(20):
        assert client.converse(group, "Hi").text == "B"
    assert Counter(models.asked) == {"a": 5, "b": 20}
    assert [circuit.state for circuit in client.circuits()] == ["open", "closed"]
    assert client.converse(group, "Hi").attempts[0].error == "circuit_open"
    now[0] = 31
    assert client.converse(group, "Hi").text == "A"
    assert [circuit.state for circuit in client.circuits()] == ["closed", "closed"]


def test_throttling_opens_no_circuit() -> None:
    models = Models(a=throttled, b="B")
    client = models.client()
    for _ in range(50):
        client.converse(AB, "Hi")
    assert Counter(models.asked) == {"a": 50, "b": 50}


def test_nobody_is_asked_where_all_circuits_are_open() -> None:
    models = Models(a=ServerError("down", status=503))
    client = models.client()
    for _ in range(5):
        with pytest.raises(ServerError):
            client.converse(["bedrock:a"], "Hi")
    with pytest.raises(CircuitOpenError) as caught:
        client.converse(["bedrock:a"], "Hi")
    assert len(models.asked) == 5
    assert 0 < (caught.value.retry_after or 0) <= 30


def test_a_busy_model_is_passed_over() -> None:
    models = Models(a=lambda _: inner(), b="B")
    client = models.client()
    group = awsllm.Group(AB, concurrency=1)

    def inner() -> str:
        return "A, while " + client.converse(group, "Inner").text

    assert client.converse(group, "Outer").text == "A, while B"
    assert client.converse(awsllm.Group(AB, concurrency=1), "Inner").text.startswith("A")


def test_where_all_are_busy_a_call_waits_until_its_deadline() -> None:
    slept: list[float] = []
    models = Models(a=lambda _: inner())
    client = models.client(policy=awsllm.Policy(max_attempts=1, sleep=slept.append))
    group = awsllm.Group(["bedrock:a"], concurrency=1)

    def inner() -> str:
        with pytest.raises(ModelTimeoutError, match="busy"):
            client.converse(group, "Inner", timeout=0.05)
        return "A"

    assert client.converse(group, "Outer").text == "A"
    assert slept


def test_a_model_whose_limit_is_used_up_is_passed_over() -> None:
    models = Models(a="A", b="B")
    limits = {"bedrock:a": awsllm.Limits(requests_per_minute=1)}
    client = models.client(limits=limits)
    assert client.converse(AB, "Hi", max_tokens=5).text == "A"
    response = client.converse(AB, "Hi", max_tokens=5)
    assert response.text == "B"
    assert [made.error for made in response.attempts] == ["busy", None]
    with pytest.raises(ThrottlingError):  # where nobody else can answer, its limiter says when
        client.converse(["bedrock:a"], "Hi", max_tokens=5, timeout=0.5)


def test_where_all_limits_are_used_up_the_first_that_is_free_is_waited_for() -> None:
    models = Models(a="A", b="B")
    client = models.client()
    waits = {"a": 5.0, "b": 2.0}
    client._settings.routes.waits = lambda reference: waits[reference.model]
    assert client.converse(AB, "Hi").text == "B"
    waits["a"] = 0.0
    assert client.converse(AB, "Hi").text == "A"


# --- what is no group ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: awsllm.Group([]), "at least one"),
        (lambda: awsllm.Group(["bedrock:a"], on="validation"), "is no rule"),
        (lambda: awsllm.Group({"bedrock:a": 0}), "weight"),
        (lambda: awsllm.Group(["bedrock:a"], concurrency=0), "concurrency"),
        (lambda: awsllm.Group(["bedrock:a"], sticky=-1), "sticky"),
        (lambda: awsllm.Group([7]), "no model"),  # type: ignore[list-item]
        (lambda: awsllm.Breaker(failures=2), "share"),
    ],
)
def test_what_is_no_group_is_said(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()


def test_what_takes_one_model_takes_no_group_of_several() -> None:
    client = Models(a="A").client()
    with pytest.raises(ConfigurationError, match="this takes one model"):
        client.price(AB)  # type: ignore[arg-type]
    assert client.price(["bedrock:a"]) is None  # type: ignore[arg-type]


def test_options_of_one_member_are_its_own() -> None:
    models = Models(a=throttled, b="B")
    group = awsllm.Group([awsllm.GroupMember("bedrock:a"), awsllm.GroupMember("bedrock:b", options={"max_tokens": 7})])
    models.client().converse(group, "Hi", max_tokens=50)
    asked: list[Any] = models.backend.requests
    assert [request.inference_config.max_tokens for request in asked] == [50, 7]


@pytest.mark.parametrize("wrong", ["bedrock:us-west-2/", "bedrock:us-west-2/arn:aws:bedrock:us-east-1:1:x/y"])
def test_a_region_stands_before_an_id(wrong: str) -> None:
    from awsllm.models.references import parse_reference

    found = parse_reference("bedrock:us-west-2/amazon.nova-lite-v1:0")
    assert (found.region, found.model) == ("us-west-2", "amazon.nova-lite-v1:0")
    assert parse_reference(str(found)) == found
    with pytest.raises(ConfigurationError, match="REGION/MODEL_ID"):
        parse_reference(wrong)


def test_budgets_hold_over_groups() -> None:
    """One that is asked for after the group's first call, too."""
    models = Models(a="one two three")
    client = models.client(prices={"bedrock:a": awsllm.Price(input=1e6, output=1e6)})
    group = awsllm.Group(["bedrock:a"])
    client.converse(group, "Hi", max_tokens=3)
    with client.budget(usd=0.5), pytest.raises(awsllm.BudgetExceededError):
        client.converse(group, "Hi", max_tokens=3)
    assert models.asked == ["a"]
