"""What functions give back, running them, and the loop that does."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import threading
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.tools.function import ToolFunction, function_tool, tool
from awsllm.tools.loop import RunTools, add_usage, result_content, run_tools, run_tools_async, tool_loop
from awsllm.types import (
    Bytes,
    CacheDetail,
    ConverseRequest,
    ConverseResponse,
    Document,
    Image,
    Json,
    Message,
    Reasoning,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Usage,
)
from awsllm.wire.converse.history import NO_OUTPUT
from awsllm.wire.converse.rules import documents, violations
from tests.support.tools import Place, Point, Unit, call, drive, run, text_of, weather

# --- results ---------------------------------------------------------------------------------------------------------


def test_an_exception_becomes_its_message() -> None:
    def fail(a: int) -> None:
        raise KeyError("no such row")

    result = run(fail, {"a": 1})
    assert (result.status, text_of(result)) == ("error", "KeyError: 'no such row'")


def test_a_pydantic_error_inside_the_function_is_not_taken_for_bad_arguments() -> None:
    def fail(a: int) -> None:
        Place.model_validate({})

    assert text_of(run(fail, {"a": 1})).startswith("ValidationError: ")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interrupt_is_not_swallowed(interrupt: type[BaseException]) -> None:
    def stop(a: int) -> None:
        raise interrupt

    with pytest.raises(interrupt):
        run(stop, {"a": 1})


def test_an_unknown_tool_is_told_the_known_ones() -> None:
    (result,) = run_tools(RunTools((call("wether"),), {"weather": weather}))
    assert result.status == "error"
    assert text_of(result) == "There is no tool 'wether'. Did you mean 'weather'? Known tools: weather."


class Row(NamedTuple):
    id: int


class Struct(msgspec.Struct):
    when: datetime.date


IMAGE = Image("png", Bytes(b"\x89PNG\r\n\x1a\n"))


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("sunny", (Text("sunny"),)),
        (None, (Text(NO_OUTPUT),)),
        ("  ", (Text(NO_OUTPUT),)),
        ({"a": 1}, (Json(value={"a": 1}),)),
        ([1, 2], (Json(value={"result": [1, 2]}),)),
        (3.5, (Json(value={"result": 3.5}),)),
        (True, (Json(value={"result": True}),)),
        (Unit.CELSIUS, (Json(value={"result": "c"}),)),
        (Point(1.0), (Json(value={"x": 1.0, "y": 0.0}),)),
        (Place(name="n", at=Point(1.0)), (Json(value={"name": "n", "at": {"x": 1.0, "y": 0.0}}),)),
        (Struct(datetime.date(2026, 1, 2)), (Json(value={"when": "2026-01-02"}),)),
        ({"at": datetime.date(2026, 1, 2), "who": {"b"}}, (Json(value={"at": "2026-01-02", "who": ["b"]}),)),
        (Row(1), (Json(value={"result": [1]}),)),
        (IMAGE, (IMAGE,)),
        ([IMAGE, "caption", {"a": 1}], (IMAGE, Text("caption"), Json(value={"a": 1}))),
    ],
    ids=repr,
)
def test_what_a_function_returns_becomes_content(value: Any, content: tuple[Any, ...]) -> None:
    assert result_content(value) == content


@pytest.mark.parametrize("value", [object(), b"\x89PNG", threading.Lock()], ids=["object", "bytes", "lock"])
def test_what_json_cannot_carry_is_an_error_result(value: object) -> None:
    def f() -> Any:
        return value

    result = run(f, {})
    assert result.status == "error"
    assert "which cannot be handed over" in text_of(result)


# --- running several -------------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@tool
def meet(name: str) -> str:
    """Two such calls finish only if they run at once."""
    barrier.wait(timeout=10)
    return f"{name} {variable.get()}"


@tool
async def later(name: str) -> str:
    await asyncio.sleep(0)
    if name == "bad":
        raise RuntimeError("no")
    return name


barrier = threading.Barrier(2)
TWO = RunTools((call("meet", "1", name="a"), call("meet", "2", name="b")), {"meet": meet})
MIXED = RunTools(
    (
        call("later", "1", name="x"),
        call("weather", "2", city="Oslo"),
        call("later", "3", name="bad"),
        call("later", "4"),
    ),
    {"later": later, "weather": weather},
)


def test_calls_run_at_once_and_answer_in_order() -> None:
    token = variable.set("set")
    try:
        results = run_tools(TWO)
    finally:
        variable.reset(token)
    assert [(r.tool_use_id, text_of(r)) for r in results] == [("1", "a set"), ("2", "b set")]


def test_async_runs_plain_functions_in_threads() -> None:
    async def main() -> tuple[ToolResult, ...]:
        variable.set("inside")
        return await run_tools_async(TWO)

    assert [text_of(r) for r in asyncio.run(main())] == ["a inside", "b inside"]


def check_mixed(results: tuple[ToolResult, ...]) -> None:
    assert [r.tool_use_id for r in results] == ["1", "2", "3", "4"]
    assert [r.status for r in results] == ["success", "success", "error", "error"]
    assert text_of(results[2]) == "RuntimeError: no"


def test_async_functions_run_in_both_clients() -> None:
    check_mixed(run_tools(MIXED))
    check_mixed(asyncio.run(run_tools_async(MIXED)))


def test_async_functions_run_in_a_sync_client_inside_a_running_loop() -> None:
    async def main() -> tuple[ToolResult, ...]:
        return run_tools(RunTools((call("later", name="x"),), {"later": later}))

    (result,) = asyncio.run(main())
    assert text_of(result) == "x"


class Booking(pydantic.BaseModel, strict=True):
    day: datetime.date


def test_strict_models_are_read_as_json() -> None:
    def book(booking: Booking) -> str:
        return booking.day.isoformat()

    (result,) = run_tools(RunTools((call("book", booking={"day": "2026-02-03"}),), {"book": function_tool(book)}))
    assert text_of(result) == "2026-02-03"


@pytest.mark.parametrize("value", ["half a pair: \ud800", {"deep": ["\udfff"]}])
def test_results_that_no_request_can_carry_are_told(value: Any) -> None:
    (result,) = run_tools(RunTools((call("get"),), {"get": function_tool(lambda: value, name="get")}))
    assert result.status == "error"
    assert "surrogates" in text_of(result)


def test_what_a_tool_waits_for_may_be_cancelled_without_cancelling_the_caller() -> None:
    async def wait() -> str:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task
        return "never"

    step = RunTools((call("wait"),), {"wait": function_tool(wait)})
    for (result,) in (run_tools(step), asyncio.run(run_tools_async(step))):
        assert result.status == "error"
        assert "CancelledError" in text_of(result)


def test_an_object_with_an_async_call_is_an_async_function() -> None:
    class Doubling:
        async def __call__(self, n: int) -> str:
            await asyncio.sleep(0)
            return str(2 * n)

    step = RunTools((call("double", n=4),), {"double": function_tool(Doubling(), name="double")})

    async def main() -> tuple[ToolResult, ...]:
        return (*run_tools(step), *await run_tools_async(step))

    assert [text_of(result) for result in (*run_tools(step), *asyncio.run(main()))] == ["8", "8", "8"]


# --- the loop --------------------------------------------------------------------------------------------------------

REQUEST = ConverseRequest(model="m", messages=(Message.user("Weather?"),), tools=(weather.spec,))
FUNCTIONS = {"weather": weather}


def reply(
    *blocks: Any, stop: str | None = None, usage: Usage | None = None, warnings: tuple[str, ...] = ()
) -> ConverseResponse:
    calls = any(isinstance(block, ToolUse) for block in blocks)
    return ConverseResponse(
        message=Message.assistant(*blocks),
        stop_reason=stop or ("tool_use" if calls else "end_turn"),
        usage=usage or Usage(input_tokens=10, output_tokens=2, total_tokens=12),
        latency_ms=5,
        warnings=warnings,
    )


def test_without_calls_the_loop_is_one_request() -> None:
    answer = reply("Sunny.")
    response, sent = drive(tool_loop(REQUEST, FUNCTIONS, 10), [answer])
    assert sent == [REQUEST]
    assert response == msgspec.structs.replace(answer, messages=(answer.message,))


def test_parallel_results_go_back_in_one_user_turn() -> None:
    thinking = Reasoning(text="hm", signature="sig", extra={"new": 1})
    first = reply(
        thinking, Text(" "), call("weather", "b", city="Oslo"), call("weather", "a", city="Bergen"), warnings=("w",)
    )
    last = reply("Rain.", warnings=("w", "v"))
    response, sent = drive(tool_loop(REQUEST, FUNCTIONS, 10), [first, last])
    assistant, results = sent[1].messages[1:]
    assert assistant.content == (thinking, *first.tool_uses)
    assert results.role == "user"
    assert [r.tool_use_id for r in results.content if isinstance(r, ToolResult)] == ["b", "a"]
    assert response.messages == (assistant, results, last.message)
    assert response.text == "Rain."
    assert response.usage == Usage(input_tokens=20, output_tokens=4, total_tokens=24)
    assert response.latency_ms == 10
    assert response.warnings == ("w", "v")


@pytest.mark.parametrize("choice", [ToolChoice("any"), ToolChoice("tool", "weather")])
def test_a_forced_choice_counts_once(choice: ToolChoice) -> None:
    request = msgspec.structs.replace(REQUEST, tool_choice=choice)
    _, sent = drive(tool_loop(request, FUNCTIONS, 10), [reply(call("weather", city="Oslo")), reply("Rain.")])
    assert [r.tool_choice for r in sent] == [choice, None]


def test_errors_go_back_so_that_the_model_can_mend_them() -> None:
    script = [reply(call("weather")), reply(call("nonesuch")), reply(call("weather", city="Oslo")), reply("Rain.")]
    response, sent = drive(tool_loop(REQUEST, FUNCTIONS, 10), script)
    results = [block for message in sent[-1].messages for block in message.content if isinstance(block, ToolResult)]
    assert [r.status for r in results] == ["error", "error", "success"]
    assert response.text == "Rain."


@pytest.mark.parametrize("stop", ["max_tokens", "guardrail_intervened", "malformed_tool_use", "content_filtered"])
def test_a_call_that_was_cut_is_not_run(stop: str) -> None:
    answer = reply(call("weather", city="Oslo"), stop=stop)
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 10), [answer])
    assert response.message == answer.message


def test_a_call_is_run_whatever_else_the_model_says_of_its_stop() -> None:
    response, _ = drive(
        tool_loop(REQUEST, FUNCTIONS, 10), [reply(call("weather", city="Oslo"), stop="end_turn"), reply("Rain.")]
    )
    assert response.text == "Rain."


def test_the_callers_own_tools_are_left_to_the_caller() -> None:
    own = ToolSpec(name="own", input_schema={"type": "object"})
    request = msgspec.structs.replace(REQUEST, tools=(weather.spec, own))
    answer = reply(call("weather", "1", city="Oslo"), call("own", "2"))
    response, _ = drive(tool_loop(request, FUNCTIONS, 10), [answer])
    assert response.message == answer.message
    assert response.warnings == ()


def test_the_services_own_calls_are_left_to_the_service() -> None:
    answer = reply(call("web_search", "t1", "server_tool_use"), "Found.", stop="end_turn")
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 10), [answer])
    assert response.message == answer.message


def test_the_loop_stops_after_max_turns_and_says_so() -> None:
    script = [reply(call("weather", city="Oslo")) for _ in range(3)]
    response, sent = drive(tool_loop(REQUEST, FUNCTIONS, 3), script)
    assert len(sent) == 3
    assert response.warnings == ("stopped after 3 model calls (max_turns) while the model still wanted: weather",)
    assert response.usage.total_tokens == 36


def test_the_calls_of_the_last_turn_are_answered_when_the_loop_gives_up() -> None:
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 2), [reply(call("weather", city="Oslo")) for _ in range(2)])
    (last,) = response.messages[-1].content
    assert isinstance(last, ToolResult)
    assert last.tool_use_id == response.tool_uses[0].id
    assert text_of(last) == "not run: stopped after 2 model calls (max_turns)"
    assert not list(violations(msgspec.structs.replace(REQUEST, messages=REQUEST.messages + response.messages)))


def test_what_bedrock_takes_no_longer_does_not_go_into_the_next_request() -> None:
    first = reply(
        *(call("weather", "a|b", city="Oslo"), call("weather", "a|b", city="Bergen")),
        *(call("functions.get weather", ""), ToolUse("c", "weather", '{"city": "Os'), ToolUse("d", "weather", [1])),
        ToolUse("e", "weather", '{"city": "Rome"}'),
    )
    response, sent = drive(tool_loop(REQUEST, FUNCTIONS, 10), [first, reply("Rain.")])
    assert not list(violations(sent[1]))
    turn, results = sent[1].messages[1:]
    assert [(use.id, use.name) for use in turn.tool_uses] == [
        *(("a_b", "weather"), ("a_b_2", "weather"), ("tool_use", "functions_get_weather")),
        *(("c", "weather"), ("d", "weather"), ("e", "weather")),
    ]
    assert [use.input for use in turn.tool_uses[2:]] == [{}, {}, {}, {"city": "Rome"}]
    answered = [result for result in results.content if isinstance(result, ToolResult)]
    assert [(result.tool_use_id, result.status) for result in answered] == [
        *(("a_b", "success"), ("a_b_2", "success"), ("tool_use", "error")),
        *(("c", "error"), ("d", "error"), ("e", "success")),
    ]
    assert text_of(answered[2]).startswith("There is no tool 'functions.get weather'")
    assert text_of(answered[3]).startswith('The arguments of weather are no JSON object: \'{"city": "Os\'.')
    assert response.messages == (turn, results, Message.assistant("Rain."))


def test_rubbish_never_reaches_a_function_that_takes_anything() -> None:
    seen: list[Any] = []
    made = ToolFunction(ToolSpec(name="raw", input_schema={"type": "object"}), call=seen.append)
    (result,) = run_tools(RunTools((ToolUse("1", "raw", "{rubbish"),), {"raw": made}))
    assert (result.status, seen) == ("error", [])


def test_ids_of_a_conversation_stay_apart() -> None:
    script = [reply(call("weather", "x", city="Oslo")), reply(call("weather", "x", city="Bergen")), reply("Rain.")]
    before = (
        Message.user("Hi"),
        Message.assistant(call("weather", "x", city="Rome")),
        Message.user(ToolResult("x", ())),
    )
    request = msgspec.structs.replace(REQUEST, messages=(*before, Message.assistant("Ok"), Message.user("Weather?")))
    _, sent = drive(tool_loop(request, FUNCTIONS, 10), script)
    assert [use.id for turn in sent[-1].messages for use in turn.tool_uses] == ["x", "x_2", "x_3"]


@pytest.mark.parametrize(
    ("value", "content"),
    [(Text(" "), Text(NO_OUTPUT)), (Json([1]), Json({"result": [1]})), ([Text("")], Text(NO_OUTPUT))],
)
def test_blocks_of_a_tool_are_made_such_as_the_service_takes(value: Any, content: Any) -> None:
    assert result_content(value) == (content,)


def test_one_turn_is_the_plain_form() -> None:
    answer = reply(call("weather", city="Oslo"))
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 1), [answer])
    assert response == msgspec.structs.replace(answer, messages=(answer.message,))


def test_a_turn_that_says_nothing_can_be_sent_all_the_same() -> None:
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 2), [reply(" ")])
    assert response.message == Message.assistant(" ")
    assert response.messages == (Message.assistant(NO_OUTPUT),)


@tool
def fetch(name: str) -> list[Any]:
    """A document."""
    return [Document(name, Bytes(b"x"), "txt"), "as asked"]


CALLS = st.builds(
    lambda name, made: msgspec.structs.replace(made, id=name),
    st.uuids().map(str),
    st.sampled_from(
        [
            *(call("weather", city="Oslo"), call("weather"), call("nonesuch"), call("fetch", name="report")),
            *(
                call("fetch", name="report (2)"),
                call("fetch", name="report.pdf"),
                ToolUse("", "weather", "no object"),
            ),
        ]
    ),
)
TURNS = st.tuples(
    st.lists(st.sampled_from([Text(""), Text(" \n"), Text("hm"), Reasoning("hm", "sig")]), max_size=2),
    st.lists(CALLS, min_size=1, max_size=3),
).map(lambda parts: reply(*parts[0], *parts[1]))


@given(st.lists(TURNS, max_size=4))
def test_what_the_loop_builds_keeps_to_the_rules_of_a_conversation(turns: list[ConverseResponse]) -> None:
    functions = {"weather": weather, "fetch": fetch}
    request = ConverseRequest(
        model="m",
        messages=(Message.user("Weather?", Document("report", Bytes(b"x"), "txt")),),
        tools=(weather.spec, fetch.spec),
    )
    _, sent = drive(tool_loop(request, functions, 10), [*turns, reply("Rain.")])
    assert len(sent) == len(turns) + 1
    for made in sent:
        assert not list(violations(made))


def test_documents_of_tools_get_names_that_differ() -> None:
    request = msgspec.structs.replace(REQUEST, tools=(fetch.spec,))
    two = reply(call("fetch", "1", name="report"), call("fetch", "2", name="report"))
    bad = reply(call("fetch", "3", name="report.pdf"))
    _, sent = drive(tool_loop(request, {"fetch": fetch}, 10), [two, bad, reply("Rain.")])
    assert [document.name for _, document in documents(sent[-1].messages)] == ["report", "report (2)"]
    (result,) = sent[-1].messages[-1].content
    assert isinstance(result, ToolResult)
    assert result.status == "error"
    assert text_of(result) == "fetch returned a document with the name 'report.pdf': 'report pdf' would do"


def test_a_tool_can_be_made_by_hand() -> None:
    made = ToolFunction(ToolSpec(name="raw", input_schema={"type": "object"}), call=lambda arguments: arguments)
    (result,) = run_tools(RunTools((call("raw", a=1),), {"raw": made}))
    assert result.content == (Json(value={"a": 1}),)


def test_usage_adds_up_without_inventing_counts() -> None:
    first = Usage(1, 2, 3, cache_read_input_tokens=4, cache_details=(CacheDetail("5m", 4),))
    second = Usage(10, None, 30, cache_write_input_tokens=5, cache_details=(CacheDetail("5m", 1), CacheDetail("1h", 2)))
    assert add_usage([first, second]) == Usage(
        input_tokens=11,
        output_tokens=None,
        total_tokens=33,
        cache_read_input_tokens=4,
        cache_write_input_tokens=5,
        cache_details=(CacheDetail("5m", 5), CacheDetail("1h", 2)),
    )
