"""The loop that runs tools for a model.

``tool_loop`` does no I/O. It is a generator that says what to do next, and is driven by whoever can do it:

    yields a ConverseRequest     -> the driver sends it (streamed or not) and sends back the ConverseResponse
    yields RunTools(calls, ...)  -> the driver runs them (``run_tools``, ``run_tools_async``) and sends back the results
    returns the last response    -> usage summed over the turns, ``messages`` all turns that the loop added

Results of parallel calls go back in one user turn, in the order of the calls. What the model does wrong (an unknown
tool, arguments that do not validate) and what a function raises go back as error results, so that the model can mend
it. A forced tool choice counts for the first turn only: kept, it would force a tool for ever. What the loop adds keeps
to the rules of a conversation (``wire.converse.rules``): the model's turns are made such as can be sent back
(``wire.converse.history``), each call has an id of its own and a result, documents get names that differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias, cast, get_args

import msgspec
from msgspec.structs import replace

from awsllm.errors import ModelTimeoutError
from awsllm.tools.approval import refusal, refusal_async
from awsllm.tools.failures import text_for_model
from awsllm.tools.function import BadArguments, ToolFunction
from awsllm.types import (
    CacheDetail,
    ConverseRequest,
    ConverseResponse,
    Document,
    Json,
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
from awsllm.wire.converse.history import (
    NO_OUTPUT,
    UNFINISHED,
    ToolIds,
    as_object,
    sendable,
    unanswered,
    with_tool_ids,
)
from awsllm.wire.converse.rules import (
    clean_document_name,
    document_named,
    documents,
    is_blank,
    is_document_name,
    own_calls,
)

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
    if isinstance(value, Json) and not isinstance(value.value, dict):
        return (replace(value, value={"result": value.value}),)
    if isinstance(value, _RESULT_BLOCKS):
        block: ToolResultContent = value
        return (Text(NO_OUTPUT) if is_blank(block) else block,)
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
    return ToolResult(tool_use_id=call.id, content=(Text(message if message.strip() else NO_OUTPUT),), status="error")


def _result(call: ToolUse, value: Any) -> ToolResult:
    if isinstance(value, ToolResult):  # a tool that says itself whether it succeeded
        return replace(value, tool_use_id=call.id)
    try:
        content = tuple(map(_as_sent, result_content(value)))
        for item in content:
            if isinstance(item, Document) and not is_document_name(item.name):
                fix = clean_document_name(item.name)
                return _failure(call, f"{call.name} returned a document with the name {item.name!r}: {fix!r} would do")
        return ToolResult(tool_use_id=call.id, content=content, status="success")
    except Exception as error:
        return _failure(call, f"{call.name} returned a {type(value).__name__}, which cannot be handed over: {error}")


def _as_sent(block: ToolResultContent) -> ToolResultContent:
    """A block as it will be read back: JSON has no NaN. Raises where it cannot be written."""
    if isinstance(block, Text | Json):
        plain = msgspec.json.decode(msgspec.json.encode(block))
        return replace(block, value=plain["value"]) if isinstance(block, Json) else block
    return block


def _raised(call: ToolUse, functions: Mapping[str, ToolFunction], error: Exception) -> ToolResult:
    """The result of a call that failed. Arguments that do not fit are the model's own mistake, which it is told."""
    from awsllm.policy import observers

    if isinstance(error, BadArguments):
        return _failure(call, str(error))
    observers.raised(error)
    return _failure(call, text_for_model(call, error, functions[call.name].on_error))


def _begin(call: ToolUse, functions: Mapping[str, ToolFunction]) -> Any:
    """Call the function; what it returns may be awaitable. A ``ToolResult`` says that it could not be called."""
    function = functions.get(call.name)
    if function is None:
        near = get_close_matches(call.name, functions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return _failure(call, f"There is no tool {call.name!r}.{hint} Known tools: {', '.join(sorted(functions))}.")
    arguments = as_object(call.input)
    if arguments is None:
        message = f"The arguments of {call.name} are no JSON object: {call.input!r:.200}. Call it again with one."
        return _failure(call, message)
    try:
        return function.call(arguments)
    except Exception as error:
        return _raised(call, functions, error)


# --- running the calls of a turn -------------------------------------------------------------------------------------


class RunTools(msgspec.Struct, frozen=True):
    """What the driver of a loop is to do next: run ``calls``, and send back their results in this order. ``watch``
    gives what a call that is made is told to (``policy.observers.Activity``)."""

    calls: tuple[ToolUse, ...]
    functions: Mapping[str, ToolFunction]
    watch: Callable[[ToolUse], Any] | None = None


MAX_THREADS = 8


def run_tools(step: RunTools) -> tuple[ToolResult, ...]:
    """Run the calls, several at once in threads; async functions get an event loop of their own. Whatever is no
    ``Exception`` (Ctrl-C) is raised, and calls that have not begun do not."""
    if not _is_guarded(step):
        return _run_all(step)
    refusals = [refusal(call, tool) if (tool := _to_approve(call, step)) else None for call in step.calls]
    return _with_refusals(refusals, _run_all(_allowed(step, refusals)))


def _run_all(step: RunTools) -> tuple[ToolResult, ...]:
    if not step.calls:
        return ()
    if len(step.calls) == 1 and not _is_async(step):
        return (_run(step.calls[0], step),)
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    pool = ThreadPoolExecutor(min(MAX_THREADS, len(step.calls)), thread_name_prefix="awsllm-tool")
    try:
        futures = [pool.submit(copy_context().run, _run, call, step) for call in step.calls]
        return tuple(future.result() for future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _is_guarded(step: RunTools) -> bool:
    return any(function.approve for function in step.functions.values())


def _to_approve(call: ToolUse, step: RunTools) -> ToolFunction | None:
    """The function of a call that can be made and must be allowed."""
    function = step.functions.get(call.name)
    return function if function is not None and function.approve and as_object(call.input) is not None else None


def _allowed(step: RunTools, refusals: Sequence[ToolResult | None]) -> RunTools:
    return replace(step, calls=tuple(call for call, no in zip(step.calls, refusals, strict=True) if no is None))


def _with_refusals(refusals: Sequence[ToolResult | None], results: tuple[ToolResult, ...]) -> tuple[ToolResult, ...]:
    left = iter(results)
    return tuple(next(left) if no is None else no for no in refusals)


def _is_async(step: RunTools) -> bool:
    """Whether a function is a coroutine function: such a one needs a thread without an event loop."""
    functions = (step.functions.get(call.name) for call in step.calls)
    return any(f is not None and _is_coroutine_function(f.function) for f in functions)


def _is_coroutine_function(function: Any) -> bool:
    """Objects with an asynchronous ``__call__`` are such functions, too."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _run(call: ToolUse, step: RunTools) -> ToolResult:
    if step.watch is None:
        return _run_untold(call, step.functions)
    with step.watch(call) as told:
        result: ToolResult = told.ended(_run_untold(call, step.functions))
        return result


def _run_untold(call: ToolUse, functions: Mapping[str, ToolFunction]) -> ToolResult:
    value = _begin(call, functions)
    if inspect.isawaitable(value):
        import asyncio

        return asyncio.run(_finish(call, value, functions))
    return _result(call, value)


async def _finish(call: ToolUse, value: Any, functions: Mapping[str, ToolFunction]) -> ToolResult:
    import asyncio

    try:
        return _result(call, await value)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failure(call, "CancelledError: something that the tool waited for was cancelled")
    except Exception as error:
        return _raised(call, functions, error)


async def run_tools_async(step: RunTools, timeout: float | None = None) -> tuple[ToolResult, ...]:
    """Run the calls at once: async functions on this loop, others in threads, so that they do not stop it.

    ``ModelTimeoutError`` after ``timeout`` seconds: coroutines are cancelled then, a thread's result is not waited for.
    """
    import asyncio

    refusals: list[ToolResult | None] = [None] * len(step.calls)
    try:
        async with asyncio.timeout(timeout):
            if _is_guarded(step):
                for index, call in enumerate(step.calls):  # one after the other: a person may be asked
                    if tool := _to_approve(call, step):
                        refusals[index] = await refusal_async(call, tool)
            async with asyncio.TaskGroup() as group:
                calls = _allowed(step, refusals).calls
                tasks = [group.create_task(_run_async(call, step)) for call in calls]
        return _with_refusals(refusals, tuple(task.result() for task in tasks))
    except ExceptionGroup as errors:  # on_tool_error="raise": the others have been cancelled
        raise errors.exceptions[0] from errors.exceptions[0].__cause__
    except TimeoutError as error:
        names = ", ".join(sorted({call.name for call in step.calls}))
        raise ModelTimeoutError(f"the deadline passed while tools ran: {names}") from error


async def _run_async(call: ToolUse, step: RunTools) -> ToolResult:
    if step.watch is None:
        return await _run_untold_async(call, step.functions)
    with step.watch(call) as told:
        result: ToolResult = told.ended(await _run_untold_async(call, step.functions))
        return result


async def _run_untold_async(call: ToolUse, functions: Mapping[str, ToolFunction]) -> ToolResult:
    import asyncio

    function = functions.get(call.name)
    if function is not None and _is_coroutine_function(function.function):
        value = _begin(call, functions)
    else:
        value = await asyncio.to_thread(_begin, call, functions)
    return await _finish(call, value, functions) if inspect.isawaitable(value) else _result(call, value)


# --- the loop --------------------------------------------------------------------------------------------------------

LoopInput: TypeAlias = ConverseResponse | tuple[ToolResult, ...]
Loop: TypeAlias = Generator[ConverseRequest | RunTools, LoopInput, ConverseResponse]


def tool_loop(
    request: ConverseRequest, functions: Mapping[str, ToolFunction], max_turns: int, *, then: ToolChoice | None = None
) -> Loop:
    """Run tools for the model until it answers (see the top of this file).

    It ends early, returning the reply as it is, when the model calls a tool that the caller keeps to himself (one in
    ``request.tools`` without a function) and after ``max_turns`` model calls. ``then`` is the tool choice after the
    first turn.
    """
    tally = Tally(request)
    kept = {tool.name for tool in request.tools if isinstance(tool, ToolSpec)} - functions.keys()
    while True:
        response = tally.add(cast("ConverseResponse", (yield request)))
        calls = runnable_calls(response)
        if not calls or any(call.name in kept for call in calls):
            return tally.finish()
        if tally.turns >= max_turns:
            return tally.finish(tally.give_up(max_turns) if max_turns > 1 else None)
        results = cast("tuple[ToolResult, ...]", (yield RunTools(calls, functions)))
        turn = Message("user", _with_distinct_documents(results, request.messages))
        tally.messages.append(turn)
        # What was forced once is not forced again.
        request = replace(request, messages=(*request.messages, *tally.messages[-2:]), tool_choice=then)


def runnable_calls(response: ConverseResponse) -> tuple[ToolUse, ...]:
    """The calls that are the client's to run: neither the service's own, nor ones that were cut."""
    if response.stop_reason is None or response.stop_reason in UNFINISHED:
        return ()
    return own_calls(response.message)


def _with_distinct_documents(results: tuple[ToolResult, ...], before: tuple[Message, ...]) -> tuple[ToolResult, ...]:
    """The results with documents renamed where the conversation has one of that name: a tool knows nothing of it."""
    if not any(isinstance(block, Document) for result in results for block in result.content):
        return results
    taken = {document.name for _, document in documents(before)}

    def distinct(block: ToolResultContent) -> ToolResultContent:
        if isinstance(block, Document):
            block = document_named(block, taken)
            taken.add(block.name)
        return block

    return tuple(replace(result, content=tuple(map(distinct, result.content))) for result in results)


class Tally:
    """What the turns of a loop add up to."""

    def __init__(self, request: ConverseRequest) -> None:
        self._ids = ToolIds(call.id for message in request.messages for call in message.tool_uses)
        self.turns = 0
        self.messages: list[Message] = []
        self.warnings: list[str] = []
        self._usages: list[Usage] = []
        self._latencies: list[int | None] = []
        self._last = ConverseResponse(message=Message("assistant", ()), stop_reason=None)

    def add(self, response: ConverseResponse) -> ConverseResponse:
        """The response, each of its calls with an id that no other call of the conversation has. Its turn is taken down
        as it can be sent back."""
        message = with_tool_ids(response.message, self._ids)
        response = response if message is response.message else replace(response, message=message)
        turn, left_out = sendable(message, response.stop_reason)
        self.turns += 1
        self.messages.append(turn)
        self.warnings.extend(w for w in (*response.warnings, *left_out) if w not in self.warnings)
        self._usages.append(response.usage)
        self._latencies.append(response.latency_ms)
        self._last = response
        return response

    def give_up(self, max_turns: int) -> str:
        """Answer the calls of the last turn, which will not be run, and say so."""
        wanted = ", ".join(sorted({call.name for call in runnable_calls(self._last)}))
        why = f"stopped after {max_turns} model calls (max_turns)"
        self.messages.append(unanswered(self.messages[-1], f"not run: {why}"))
        return f"{why} while the model still wanted: {wanted}"

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
