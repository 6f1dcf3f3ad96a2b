"""Functions as tools: their schemas, the validation of arguments, results, and the loop that runs them."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import enum
import functools
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.loop import (
    NO_OUTPUT,
    RunTools,
    ToolFunction,
    add_usage,
    function_tool,
    model_tool,
    parse_docstring,
    result_content,
    run_tools,
    run_tools_async,
    tool,
    tool_loop,
)
from awsllm.types import (
    Bytes,
    CacheDetail,
    ConverseRequest,
    ConverseResponse,
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


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Place(pydantic.BaseModel):
    name: str = pydantic.Field(description="as on the map")
    at: Point


class Window(TypedDict, total=False):
    start: datetime.date


class Node(pydantic.BaseModel):
    children: list[Node] = []


@tool
def weather(
    city: str, unit: Unit = Unit.CELSIUS, days: Annotated[int, pydantic.Field(ge=1, le=7)] = 1
) -> dict[str, Any]:
    """The weather of a city.

    Measured, not guessed.

    Args:
        city: Its name,
            in English.
        days (int): How many days ahead.

    Returns:
        city: not a parameter
    """
    return {"city": city, "unit": unit, "days": days}


def call(name: str, id: str = "t1", type: str | None = None, /, **arguments: Any) -> ToolUse:
    return ToolUse(id=id, name=name, input=arguments, type=type)


def run(function: Callable[..., Any], arguments: Any) -> ToolResult:
    made = function_tool(function)
    use = ToolUse(id="t1", name=made.spec.name, input=arguments)
    (result,) = run_tools(RunTools((use,), {made.spec.name: made}))
    return result


def text_of(result: ToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, Text)
    return block.text


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_a_signature_becomes_a_schema() -> None:
    assert weather.spec == ToolSpec(
        name="weather",
        description="The weather of a city.\n\nMeasured, not guessed.",
        input_schema={
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name, in English."},
                "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                "days": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 7,
                    "default": 1,
                    "description": "How many days ahead.",
                },
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    )


def test_a_decorated_function_is_still_a_function() -> None:
    assert weather("Oslo")["days"] == 1


def test_names_that_pydantic_reserves_are_taken() -> None:
    def odd(schema: str, model_config: int, copy: bool, _private: str, self_: str = "s") -> list[Any]:
        return [schema, model_config, copy, _private, self_]

    assert list(function_tool(odd).spec.input_schema["properties"]) == [
        *("schema", "model_config", "copy", "_private", "self_")
    ]
    arguments = {"schema": "a", "model_config": 2, "copy": True, "_private": "p"}
    assert run(odd, arguments).content == (Json(value={"result": ["a", 2, True, "p", "s"]}),)


def test_nested_types_arrive_as_objects() -> None:
    def visit(
        place: Place, window: Window, mode: Literal["walk", "ride"] = "walk", via: list[Point] | None = None
    ) -> str:
        assert isinstance(place, Place)
        assert isinstance(place.at, Point)
        assert via is not None
        assert via[0] == Point(1.0, 2.0)
        return f"{place.name} {window['start'].isoformat()} {mode}"

    schema = function_tool(visit).spec.input_schema
    assert "$defs" not in schema
    assert schema["properties"]["place"]["properties"]["name"] == {"type": "string", "description": "as on the map"}
    place = {"name": "Oslo", "at": {"x": 1}}
    result = run(visit, {"place": place, "window": {"start": "2026-01-02"}, "via": [{"x": 1, "y": 2}]})
    assert result == ToolResult(tool_use_id="t1", content=(Text("Oslo 2026-01-02 walk"),), status="success")


def test_a_recursive_type_keeps_its_reference() -> None:
    def count(tree: Node) -> str:
        return str(len(tree.children))

    schema = function_tool(count).spec.input_schema
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Node"}
    assert list(schema["$defs"]) == ["Node"]
    assert text_of(run(count, {"tree": {"children": [{"children": []}, {}]}})) == "2"


def test_defaults_stay_the_functions_own() -> None:
    marker = object()

    def f(a: int, b: Any = marker, c: int = pydantic.Field(7, description="lucky")) -> str:
        assert b is marker
        return f"{a} {c}"

    schema = function_tool(f).spec.input_schema
    assert schema["properties"]["c"] == {"type": "integer", "default": 7, "description": "lucky"}
    assert schema["required"] == ["a"]
    assert text_of(run(f, {"a": 1})) == "1 7"


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def now() -> str:
        return "noon"

    assert function_tool(now).spec.input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert text_of(run(now, {})) == "noon"
    assert text_of(run(now, None)) == "noon"


class Desk:
    def __init__(self, city: str) -> None:
        self.city = city

    @tool(name="desk_weather", description="Weather here.")
    def weather(self, days: int) -> str:
        return f"{self.city} {days}"

    def plain(self, days: int) -> str:
        return f"{self.city}! {days}"

    def __call__(self, days: int) -> str:
        return f"{self.city}? {days}"


def test_methods_lose_their_self() -> None:
    desk = Desk("Oslo")
    assert desk.weather.spec.name == "desk_weather"
    assert list(desk.weather.spec.input_schema["properties"]) == ["days"]
    assert desk.weather(2) == "Oslo 2"
    assert Desk.weather.unbound
    assert not desk.weather.unbound
    assert text_of(run(desk.plain, {"days": 3})) == "Oslo! 3"
    assert text_of(run(desk.weather, {"days": 4})) == "Oslo 4"
    assert text_of(run(desk, {"days": 5})) == "Oslo? 5"


def test_a_partial_is_called_by_its_functions_name() -> None:
    def send(to: str, text: str) -> str:
        """Send."""
        return f"{to}: {text}"

    made = function_tool(functools.partial(send, "Ann"))
    assert made.spec.name == "send"
    assert list(made.spec.input_schema["properties"]) == ["text"]


@pytest.mark.parametrize(
    ("source", "kind", "hint"),
    [
        ("def f(*rest: int) -> None: ...", ValidationError, "parameter 'rest': a model cannot fill '*rest: int'"),
        ("def f(**rest: int) -> None: ...", ValidationError, "parameter 'rest': a model cannot fill '**rest: int'"),
        ("def f(a: int, /) -> None: ...", ValidationError, "parameter 'a' is positional only"),
        ("def f(a) -> None: ...", ValidationError, "write its type, as in 'a: str'"),
        ("def f(a: 'Missing') -> None: ...", ValidationError, "name 'Missing' is not defined"),
        ("def f(ok: int, a: object.__class__) -> None: ...", UnsupportedError, "parameter 'a'"),
        ("import threading\ndef f(a: threading.Lock) -> None: ...", UnsupportedError, "parameter 'a'"),
        ("from collections.abc import Callable\ndef f(ok: int, a: Callable) -> None: ...", UnsupportedError, "'a'"),
        ("f = lambda a: a", ValidationError, "a lambda has no name"),
        ("f = 'text'", ValidationError, "'text' is not a function"),
        ("f = 3", ValidationError, "3 is not a function"),
    ],
)
def test_what_is_no_tool_says_why(source: str, kind: type[Exception], hint: str) -> None:
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102
    with pytest.raises(kind) as caught:
        function_tool(scope["f"])
    assert hint in str(caught.value)


def test_a_model_is_a_specification() -> None:
    class Search(pydantic.BaseModel):
        """Look something up."""

        query: str

    spec = model_tool(Search)
    assert (spec.name, spec.description) == ("Search", "Look something up.")
    assert spec.input_schema["properties"] == {"query": {"type": "string"}}
    assert model_tool(Point).description is None
    with pytest.raises(ValidationError, match="is no tool"):
        model_tool(int)


# --- docstrings ------------------------------------------------------------------------------------------------------

GOOGLE = """Find it.

    Args:
        query (str): What to
            look for.
        limit: At most.

    Raises:
        ValueError: never
    """
NUMPY = """Find it.

    Parameters
    ----------
    query : str
        What to
        look for.
    limit
        At most.

    Returns
    -------
    other : str
        Not a parameter.
    """
SPHINX = """Find it.

    :param str query: What to
        look for.
    :param limit: At most.
    :returns: nothing
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_ways_to_document_parameters(text: str) -> None:
    assert parse_docstring(text) == ("Find it.", {"query": "What to look for.", "limit": "At most."})


@given(st.text())
def test_no_docstring_breaks_the_reader(text: str) -> None:
    parse_docstring(text)


def test_a_missing_docstring_says_nothing() -> None:
    assert parse_docstring(None) == (None, {})


# --- arguments and results -------------------------------------------------------------------------------------------


def test_bad_arguments_are_listed_for_the_model() -> None:
    result = run(weather, {"citty": "Oslo", "days": 9})
    assert result.status == "error"
    message = text_of(result)
    assert "city: Field required" in message
    assert "days: Input should be less than or equal to 7" in message
    assert "citty: Extra inputs are not permitted" in message
    assert "http" not in message


@pytest.mark.parametrize("arguments", ["not an object", [1], 3])
def test_arguments_that_are_no_object_are_an_error_result(arguments: Any) -> None:
    assert run(weather, arguments).status == "error"


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


def drive(
    loop: Generator[Any, Any, ConverseResponse], replies: Iterable[ConverseResponse]
) -> tuple[ConverseResponse, list[ConverseRequest]]:
    """What a client does, with scripted answers for I/O."""
    sent: list[ConverseRequest] = []
    script = iter(replies)
    try:
        step = next(loop)
        while True:
            if isinstance(step, RunTools):
                step = loop.send(run_tools(step))
            else:
                sent.append(step)
                step = loop.send(next(script))
    except StopIteration as end:
        assert next(script, None) is None, "the loop ended before the script did"
        return end.value, sent


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


def test_one_turn_is_the_plain_form() -> None:
    answer = reply(call("weather", city="Oslo"))
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 1), [answer])
    assert response == msgspec.structs.replace(answer, messages=(answer.message,))


def test_a_turn_that_is_blank_throughout_stays_as_it_came() -> None:
    response, _ = drive(tool_loop(REQUEST, FUNCTIONS, 2), [reply(" ")])
    assert response.messages == (Message.assistant(" "),)


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
