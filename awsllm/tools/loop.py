"""Functions as tools, and the loop that runs them for a model.

``function_tool`` reads a function's signature and docstring into a JSON schema, and makes of it a ``ToolFunction`` that
validates what the model sends before the function sees it. pydantic does both; it is loaded when the first function is
read.

``tool_loop`` does no I/O. It is a generator that says what to do next, and is driven by whoever can do it:

    yields a ConverseRequest     -> the driver sends it (streamed or not) and sends back the ConverseResponse
    yields RunTools(calls, ...)  -> the driver runs them (``run_tools``, ``run_tools_async``) and sends back the results
    returns the last response    -> usage summed over the turns, ``messages`` all turns that the loop added

Results of parallel calls go back in one user turn, in the order of the calls. What the model does wrong (an unknown
tool, arguments that do not validate) and what a function raises go back as error results, so that the model can mend
it. A forced tool choice counts for the first turn only: kept, it would force a tool for ever.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast, get_args, get_type_hints, overload

import msgspec
from msgspec.structs import replace

from awsllm.errors import ModelTimeoutError, UnsupportedError, ValidationError
from awsllm.tools.docstrings import parse_docstring
from awsllm.tools.schema.types import close, portable, schema_generator, tidy, type_schema
from awsllm.types import (
    CacheDetail,
    ConverseRequest,
    ConverseResponse,
    Json,
    JsonObject,
    JsonValue,
    Message,
    Text,
    ToolChoice,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
    Usage,
)

if TYPE_CHECKING:
    from pydantic import BaseModel


class ToolFunction(msgspec.Struct, frozen=True):
    """A tool that can be run. ``call`` is given the arguments as the model sent them and returns the result, or an
    awaitable of it. Called itself, it is the plain function."""

    spec: ToolSpec
    call: Callable[[JsonValue], Any]
    function: Callable[..., Any] | None = None
    unbound: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.function or self.call)(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> ToolFunction:
        """A method's tool, reached through an instance, is the tool of the bound method."""
        if instance is None or self.function is None:
            return self
        bound = self.function.__get__(instance, owner)
        return function_tool(bound, name=self.spec.name, description=self.spec.description, strict=self.spec.strict)


@overload
def tool(function: Callable[..., Any], /) -> ToolFunction: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, strict: bool | None = None
) -> Callable[[Callable[..., Any]], ToolFunction]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> ToolFunction | Callable[[Callable[..., Any]], ToolFunction]:
    """Decorator: makes a function a tool; bare, or ``@tool(name=…)`` with what its signature does not say."""
    if function is not None:
        return function_tool(function)
    return functools.partial(function_tool, name=name, description=description, strict=strict)


def function_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> ToolFunction:
    """The tool that runs ``function``.

    ``ValidationError`` for a signature that named arguments cannot fill, ``UnsupportedError`` for a type that JSON
    cannot carry; each names the parameter. ``name`` and ``description`` default to the function's own.
    """
    if isinstance(function, ToolFunction):
        return function
    if not callable(function):
        raise ValidationError(f"{function!r} is not a function: tools are functions, ToolSpec values or boto3's dicts")
    name = name or _name(function)
    summary, documented = parse_docstring(inspect.getdoc(function) if not _is_instance(function) else None)
    parameters = _parameters(function, name)
    unbound = bool(parameters) and _is_self(parameters[0])
    parameters = parameters[1:] if unbound else parameters
    model = _arguments_model(name, parameters)
    schema = _describe(_model_schema(model), documented)
    spec = ToolSpec(name=name, input_schema=schema, description=description or summary, strict=strict)
    return ToolFunction(spec, functools.partial(_call, function, model, parameters), function, unbound)


def model_tool(model: type) -> ToolSpec:
    """A specification whose arguments are a pydantic model, dataclass or TypedDict; the caller reads them himself."""
    import dataclasses

    if not (hasattr(model, "model_json_schema") or dataclasses.is_dataclass(model) or hasattr(model, "__total__")):
        raise ValidationError(f"the class {model.__name__} is no tool: pass a function, a method, or a pydantic model")
    schema = type_schema(model, f"tool {model.__name__}")
    description, _ = parse_docstring(model.__doc__ if not dataclasses.is_dataclass(model) else None)
    return ToolSpec(
        name=model.__name__, input_schema=schema, description=schema.pop("description", None) or description
    )


# --- from a signature to a schema ------------------------------------------------------------------------------------


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise ValidationError("a lambda has no name to call it by: use def, or function_tool(fn, name=...)")
    return name


def _is_instance(function: Any) -> bool:
    """Whether it is an object with ``__call__`` or a partial, whose docstring is its class's."""
    return not (inspect.isroutine(function) or inspect.isclass(function))


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        signature, hints = inspect.signature(function), _hints(function)
    except NameError as error:
        raise ValidationError(f"tool {name!r}: {error}; its annotations must name types of the module") from error
    except (TypeError, ValueError) as error:
        raise ValidationError(f"tool {name!r} has no signature to read: wrap it in a function with one") from error
    parameters = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]
    for index, parameter in enumerate(parameters):
        if not (index == 0 and _is_self(parameter)):
            _check_parameter(parameter, name)
    return parameters


def _hints(function: Any) -> dict[str, Any]:
    """The annotations of a function, of what a partial fills, or of an object's ``__call__``, with names resolved."""
    while isinstance(function, functools.partial):
        function = function.func
    target = type(function).__call__ if _is_instance(function) else function
    return {name: portable(hint) for name, hint in get_type_hints(target, include_extras=True).items()}


def _is_self(parameter: inspect.Parameter) -> bool:
    return parameter.name in ("self", "cls") and parameter.annotation is parameter.empty


def _check_parameter(parameter: inspect.Parameter, name: str) -> None:
    where = f"tool {name!r}, parameter {parameter.name!r}"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ValidationError(
            f"{where}: a model cannot fill '{parameter}'; name each argument, or take one list or dict"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ValidationError(f"{where} is positional only, and a model names its arguments: remove the '/'")
    if parameter.annotation is parameter.empty:
        raise ValidationError(f"{where} has no annotation: write its type, as in '{parameter.name}: str'")


def _arguments_model(name: str, parameters: Sequence[inspect.Parameter]) -> type[BaseModel]:
    """A model with one field a parameter. Fields have names of their own, since pydantic reserves some; the parameter's
    name is the alias, which is what schema and errors show."""
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    fields: dict[str, Any] = {f"argument_{i}": (_annotation(p), _field(p)) for i, p in enumerate(parameters)}
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid", use_attribute_docstrings=False), **fields)
    except PydanticUserError as error:
        raise _inexpressible(name, parameters, error) from error


def _annotation(parameter: inspect.Parameter) -> Any:
    """The annotation, with the ``Field(...)`` that a parameter may have for its default."""
    return Annotated[parameter.annotation, parameter.default] if _is_field(parameter.default) else parameter.annotation


def _field(parameter: inspect.Parameter) -> Any:
    from pydantic import Field

    if parameter.default is parameter.empty or _is_field(parameter.default):
        return Field(alias=parameter.name)
    return Field(default=parameter.default, alias=parameter.name)


def _inexpressible(name: str, parameters: Sequence[inspect.Parameter], error: Exception) -> UnsupportedError:
    """Which parameter it was, found by trying each alone."""
    for parameter in parameters:
        try:
            type_schema(parameter.annotation, name)
        except UnsupportedError as cause:
            return UnsupportedError(f"tool {name!r}, parameter {parameter.name!r}: {cause.message}")
    return UnsupportedError(f"tool {name!r}: {error}")


def _model_schema(model: type[BaseModel]) -> JsonObject:
    from pydantic.errors import PydanticUserError

    try:
        schema = model.model_json_schema(by_alias=True, schema_generator=schema_generator())
    except PydanticUserError as error:
        fields = model.model_fields.values()
        parameters = [
            inspect.Parameter(f.alias or "", inspect.Parameter.KEYWORD_ONLY, annotation=f.annotation) for f in fields
        ]
        raise _inexpressible(model.__name__, parameters, error) from error
    return {"properties": {}, **close(tidy(schema))}


def _describe(schema: JsonObject, documented: Mapping[str, str]) -> JsonObject:
    """The schema with the docstring's words on parameters that have no description of their own."""
    properties = {
        name: ({**part, "description": documented[name]} if name in documented and "description" not in part else part)
        for name, part in schema["properties"].items()
    }
    return schema | {"properties": properties}


# --- running one call ------------------------------------------------------------------------------------------------


class BadArguments(ValueError):
    """The model's arguments do not validate; the message lists why, for the model to read."""


def _call(
    function: Callable[..., Any], model: type[BaseModel], parameters: Sequence[inspect.Parameter], arguments: JsonValue
) -> Any:
    """Validate and call. Arguments that the model left out are left to the function's own defaults."""
    import pydantic

    try:
        # As JSON: strict models take texts for dates there.
        values = model.model_validate_json(msgspec.json.encode(arguments if arguments is not None else {}))
    except pydantic.ValidationError as error:
        raise BadArguments(f"invalid arguments: {error_list(error)}") from error
    given = values.model_fields_set
    python_default = [p.default is not p.empty and not _is_field(p.default) for p in parameters]
    named = [(f"argument_{i}", p.name, python_default[i]) for i, p in enumerate(parameters)]
    return function(**{name: getattr(values, field) for field, name, own in named if field in given or not own})


def _is_field(default: Any) -> bool:
    from pydantic.fields import FieldInfo

    return isinstance(default, FieldInfo)


def error_list(error: Any) -> str:
    """pydantic's errors as ``where: what``, for a model to read; without its links and inputs' types."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'the value'}: {item['msg']}" for item in items)


NO_OUTPUT = "(no output)"
_RESULT_BLOCKS = get_args(ToolResultContent)


def result_content(value: Any) -> tuple[ToolResultContent, ...]:
    """What a function returned, as the content of a tool result.

    Text stays text; blocks, alone or in a list, stay what they are. All else is made JSON, and what is no object is put
    in one under ``result``: the service refuses any other JSON value here (ValidationException "Provide a json object
    for the field", aws-sdk-js-v3 issue 7330).
    """
    if value is None or value == "":
        return (Text(NO_OUTPUT),)
    if isinstance(value, str):
        return (Text(value if value.strip() else NO_OUTPUT),)
    if isinstance(value, _RESULT_BLOCKS):
        block: ToolResultContent = value
        return (block,)
    if isinstance(value, list | tuple) and any(isinstance(item, _RESULT_BLOCKS) for item in value):
        return tuple(block for item in value for block in result_content(item))
    plain = _plain(value)
    return (Json(plain if isinstance(plain, dict) else {"result": plain}),)


def _plain(value: Any) -> JsonValue:
    from pydantic_core import to_jsonable_python

    if isinstance(value, bytes | bytearray):
        raise TypeError("return bytes in a block that says what they are: Image, Document or Video")
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    return to_jsonable_python(value, serialize_as_any=True)


def _failure(call: ToolUse, message: str) -> ToolResult:
    return ToolResult(tool_use_id=call.id, content=(Text(message),), status="error")


def _result(call: ToolUse, value: Any) -> ToolResult:
    try:
        content = result_content(value)
        msgspec.json.encode([item for item in content if isinstance(item, Text | Json)])  # it will have to be
        return ToolResult(tool_use_id=call.id, content=content, status="success")
    except Exception as error:
        return _failure(call, f"{call.name} returned a {type(value).__name__}, which cannot be handed over: {error}")


def _begin(call: ToolUse, functions: Mapping[str, ToolFunction]) -> Any:
    """Call the function; what it returns may be awaitable. A ``ToolResult`` says that it could not be called."""
    function = functions.get(call.name)
    if function is None:
        near = get_close_matches(call.name, functions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return _failure(call, f"There is no tool {call.name!r}.{hint} Known tools: {', '.join(sorted(functions))}.")
    try:
        return function.call(call.input)
    except Exception as error:
        return _failure(call, describe_error(error))


def describe_error(error: Exception) -> str:
    """What the model is told of an exception: its type and message, never the traceback."""
    if isinstance(error, BadArguments):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


# --- running the calls of a turn -------------------------------------------------------------------------------------


class RunTools(msgspec.Struct, frozen=True):
    """What the driver of a loop is to do next: run ``calls``, and send back their results in this order."""

    calls: tuple[ToolUse, ...]
    functions: Mapping[str, ToolFunction]


MAX_THREADS = 8


def run_tools(step: RunTools) -> tuple[ToolResult, ...]:
    """Run the calls, several at once in threads; async functions get an event loop of their own. Whatever is no
    ``Exception`` (Ctrl-C) is raised, and calls that have not begun do not."""
    if len(step.calls) == 1 and not _is_async(step):
        return (_run(step.calls[0], step.functions),)
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    pool = ThreadPoolExecutor(min(MAX_THREADS, len(step.calls)), thread_name_prefix="awsllm-tool")
    try:
        futures = [pool.submit(copy_context().run, _run, call, step.functions) for call in step.calls]
        return tuple(future.result() for future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_async(step: RunTools) -> bool:
    """Whether a function is a coroutine function: such a one needs a thread without an event loop."""
    functions = (step.functions.get(call.name) for call in step.calls)
    return any(f is not None and _is_coroutine_function(f.function) for f in functions)


def _is_coroutine_function(function: Any) -> bool:
    """Objects with an asynchronous ``__call__`` are such functions, too."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _run(call: ToolUse, functions: Mapping[str, ToolFunction]) -> ToolResult:
    value = _begin(call, functions)
    if isinstance(value, ToolResult):
        return value
    if inspect.isawaitable(value):
        import asyncio

        return asyncio.run(_finish(call, value))
    return _result(call, value)


async def _finish(call: ToolUse, value: Any) -> ToolResult:
    import asyncio

    try:
        return _result(call, await value)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failure(call, "CancelledError: something that the tool waited for was cancelled")
    except Exception as error:
        return _failure(call, describe_error(error))


async def run_tools_async(step: RunTools, timeout: float | None = None) -> tuple[ToolResult, ...]:
    """Run the calls at once: async functions on this loop, others in threads, so that they do not stop it.

    ``ModelTimeoutError`` after ``timeout`` seconds: coroutines are cancelled then, a thread's result is not waited for.
    """
    import asyncio

    try:
        async with asyncio.timeout(timeout):
            return tuple(await asyncio.gather(*(_run_async(call, step.functions) for call in step.calls)))
    except TimeoutError as error:
        names = ", ".join(sorted({call.name for call in step.calls}))
        raise ModelTimeoutError(f"the deadline passed while tools ran: {names}") from error


async def _run_async(call: ToolUse, functions: Mapping[str, ToolFunction]) -> ToolResult:
    import asyncio

    function = functions.get(call.name)
    if function is not None and _is_coroutine_function(function.function):
        value = _begin(call, functions)
    else:
        value = await asyncio.to_thread(_begin, call, functions)
    if isinstance(value, ToolResult):
        return value
    return await _finish(call, value) if inspect.isawaitable(value) else _result(call, value)


# --- the loop --------------------------------------------------------------------------------------------------------

ToolLoop: TypeAlias = Generator[ConverseRequest | RunTools, ConverseResponse | tuple[ToolResult, ...], ConverseResponse]

# After these the arguments may be cut or were taken back: such calls are not run.
_UNFINISHED = frozenset(
    (
        *("max_tokens", "model_context_window_exceeded", "guardrail_intervened", "content_filtered"),
        *("malformed_model_output", "malformed_tool_use"),
    )
)


def tool_loop(
    request: ConverseRequest, functions: Mapping[str, ToolFunction], max_turns: int, *, then: ToolChoice | None = None
) -> ToolLoop:
    """Run tools for the model until it answers (see the top of this file).

    It ends early, returning the reply as it is, when the model calls a tool that the caller keeps to himself (one in
    ``request.tools`` without a function) and after ``max_turns`` model calls. ``then`` is the tool choice after the
    first turn.
    """
    tally = Tally()
    kept = {tool.name for tool in request.tools if isinstance(tool, ToolSpec)} - functions.keys()
    while True:
        response = cast("ConverseResponse", (yield request))
        tally.add(response)
        calls = runnable_calls(response)
        if not calls or any(call.name in kept for call in calls):
            return tally.finish()
        if tally.turns >= max_turns:
            return tally.finish(_out_of_turns(calls, max_turns) if max_turns > 1 else None)
        results = cast("tuple[ToolResult, ...]", (yield RunTools(calls, functions)))
        turn = Message("user", results)
        tally.messages.append(turn)
        request = next_request(request, response, turn, then)


def runnable_calls(response: ConverseResponse) -> tuple[ToolUse, ...]:
    """The calls that are the client's to run: neither the service's own, nor ones that were cut."""
    if response.stop_reason is None or response.stop_reason in _UNFINISHED:
        return ()
    return tuple(call for call in response.tool_uses if call.type != "server_tool_use")


def next_request(
    request: ConverseRequest, response: ConverseResponse, turn: Message, choice: ToolChoice | None
) -> ConverseRequest:
    """The conversation so far, with another tool choice: what was forced once is not forced again."""
    return replace(request, messages=(*request.messages, sendable(response.message), turn), tool_choice=choice)


def sendable(message: Message) -> Message:
    """The model's turn as it can be sent back: some models leave blank texts beside their calls, which the service
    refuses. Thinking and its signatures stay untouched; a turn that is blank throughout stays what it is."""
    content = tuple(block for block in message.content if not (isinstance(block, Text) and not block.text.strip()))
    return message if len(content) in (0, len(message.content)) else Message(message.role, content)


def _out_of_turns(calls: Sequence[ToolUse], max_turns: int) -> str:
    wanted = ", ".join(sorted({call.name for call in calls}))
    return f"stopped after {max_turns} model calls (max_turns) while the model still wanted: {wanted}"


class Tally:
    """What the turns of a loop add up to."""

    def __init__(self) -> None:
        self.turns = 0
        self.messages: list[Message] = []
        self.warnings: list[str] = []
        self._usages: list[Usage] = []
        self._latencies: list[int | None] = []
        self._last = ConverseResponse(message=Message("assistant", ()), stop_reason=None)

    def add(self, response: ConverseResponse) -> None:
        self.turns += 1
        self.messages.append(sendable(response.message))
        self.warnings.extend(w for w in response.warnings if w not in self.warnings)
        self._usages.append(response.usage)
        self._latencies.append(response.latency_ms)
        self._last = response

    def finish(self, warning: str | None = None, **changes: Any) -> ConverseResponse:
        """The last response, with what all of them used and added."""
        return replace(
            self._last,
            usage=add_usage(self._usages),
            latency_ms=_sum_known(self._latencies),
            messages=tuple(self.messages),
            warnings=(*self.warnings, *([warning] if warning else [])),
            **changes,
        )


def add_usage(usages: Sequence[Usage]) -> Usage:
    """The sum. A count that one turn does not know is unknown; a cache counter that is absent was not used."""
    if len(usages) == 1:
        return usages[0]
    details: dict[str, int] = {}
    for detail in (d for usage in usages for d in usage.cache_details):
        details[detail.ttl] = details.get(detail.ttl, 0) + detail.input_tokens
    return Usage(
        input_tokens=_sum_known([u.input_tokens for u in usages]),
        output_tokens=_sum_known([u.output_tokens for u in usages]),
        total_tokens=_sum_known([u.total_tokens for u in usages]),
        cache_read_input_tokens=_sum_present([u.cache_read_input_tokens for u in usages]),
        cache_write_input_tokens=_sum_present([u.cache_write_input_tokens for u in usages]),
        cache_details=tuple(CacheDetail(ttl, tokens) for ttl, tokens in details.items()),
        estimated=any(u.estimated for u in usages),
        extra=usages[-1].extra,
    )


def _sum_known(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _sum_present(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
