"""Typed output: an answer that is a validated object.

``output_spec`` reads a type (or a JSON schema) into what is asked of the model and how its answer is checked. How it is
asked depends on what the model can do (its ``Profile``), best first:

    native      ``outputConfig.textFormat``: the service decodes under the schema; the answer is JSON text
    forced      a tool whose arguments are the answer, which the model must call (or, with other tools, one of them all)
    offered     the same tool and a word that it is to be called: models that cannot be forced, or that think
    prompted    the schema in the prompt: models without tools

In every way the answer is validated here, since only some of them bind the model. An answer that does not fit goes back
once, with what is wrong; after that ``OutputValidationError`` is raised, with the last response. Bedrock wants objects
at the root, so that anything else travels as ``{"value": …}``.

``typed_loop`` is driven as ``tools.loop.tool_loop`` is, and runs the same loop inside.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from awsllm import log
from awsllm.errors import OutputValidationError, ValidationError
from awsllm.models.profiles import Profile
from awsllm.tools.function import ToolFunction, error_list
from awsllm.tools.loop import Loop, add_usage, runnable_calls, tool_loop
from awsllm.tools.schema.fit import Misfit, fit, loosen
from awsllm.tools.schema.judge import check_schema, violations
from awsllm.tools.schema.tidy import close, tidy
from awsllm.tools.schema.types import portable, type_schema
from awsllm.tools.schema.walk import pointed
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    JsonObject,
    JsonSchema,
    JsonValue,
    Message,
    OutputConfig,
    Text,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
)

DEFAULT_NAME = "final_answer"


class InvalidOutput(ValueError):
    """The answer does not fit; the message lists why, for the model to read."""


class OutputSpec(msgspec.Struct, frozen=True):
    """What is asked for. ``schema`` is of type object; with ``wrapped`` the answer is its member ``value``.
    ``validate`` turns the answer's JSON value into the object, or raises ``InvalidOutput``."""

    name: str
    schema: JsonObject
    validate: Callable[[JsonValue], Any]
    description: str | None = None
    wrapped: bool = False


def output_spec(output_type: Any) -> OutputSpec:
    """Read a pydantic model, dataclass, TypedDict or any other type that JSON can carry, or a JSON schema as a dict.

    A type gives an instance of it; a schema gives the JSON value, checked against it. ``UnsupportedError`` names what
    cannot be expressed.
    """
    if isinstance(output_type, OutputSpec):
        return output_type
    if isinstance(output_type, Mapping):
        return _schema_spec(dict(output_type))
    if inspect.isroutine(output_type) or isinstance(output_type, str | bytes | list | tuple | set):
        raise ValidationError(f"output_type is a type or a JSON schema, not {output_type!r:.80}")
    try:
        return _cached_type_spec(output_type)
    except TypeError:  # a type that cannot be hashed, such as Annotated with a list in it
        return _type_spec(output_type)


def _schema_spec(schema: JsonObject) -> OutputSpec:
    """The model is given the schema tidied and closed, as a type's is; what the caller wrote judges its answer."""
    check_schema(schema)

    def validate(value: JsonValue) -> JsonValue:
        errors = list(violations(value, schema, schema))
        if errors:
            raise InvalidOutput("; ".join(errors))
        return value

    return _spec(_tool_name(schema.get("title") or DEFAULT_NAME), close(tidy(schema)), validate)


def _type_spec(output_type: Any) -> OutputSpec:
    import pydantic

    schema = _unreferenced(type_schema(output_type, "output_type"))
    adapter = pydantic.TypeAdapter[Any](portable(output_type))

    def validate(value: JsonValue) -> Any:
        try:
            # As JSON: strict models take texts for dates there.
            return adapter.validate_json(msgspec.json.encode(value))
        except pydantic.ValidationError as error:
            raise InvalidOutput(error_list(error)) from error
        except (UnicodeEncodeError, RecursionError) as error:  # half a surrogate pair; brackets without end
            raise InvalidOutput(f"it cannot be written as JSON: {error}") from error

    name = output_type.__name__ if isinstance(output_type, type) and schema.get("type") == "object" else DEFAULT_NAME
    return _spec(_tool_name(name), schema, validate)


_cached_type_spec = functools.lru_cache(maxsize=128)(_type_spec)


def _unreferenced(schema: JsonObject) -> JsonObject:
    """A type that contains itself is a reference to its definition, which may well be an object."""
    reference = schema.get("$ref")
    return schema if reference is None else {**pointed(reference, schema), "$defs": schema["$defs"]}


def _spec(name: str, schema: JsonObject, validate: Callable[[JsonValue], Any]) -> OutputSpec:
    description = schema.get("description")
    if schema.get("type") == "object":
        return OutputSpec(name, schema, validate, description)
    definitions: JsonObject = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "$schema")}
    wrapper: JsonObject = {
        "type": "object",
        "properties": {"value": inner},
        "required": ["value"],
        "additionalProperties": False,
        **definitions,
    }
    return OutputSpec(name, wrapper, validate, description, wrapped=True)


def _tool_name(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", text).strip("_")[:64] or DEFAULT_NAME


# --- how it is asked -------------------------------------------------------------------------------------------------


class TypedRequest(msgspec.Struct, frozen=True):
    """How the answer is asked for. ``request`` does it; ``tool`` is the name of the tool that carries the answer, None
    where text does. ``then`` is the tool choice after the first turn. ``warning`` says why the best way was not
    taken."""

    request: ConverseRequest
    tool: str | None = None
    then: ToolChoice | None = None
    warning: str | None = None


def typed_request(request: ConverseRequest, spec: OutputSpec, profile: Profile) -> TypedRequest:
    """Ask in the best way that the model has."""
    warning = None
    if profile.native_json_schema:
        try:
            schema = fit(spec.schema) if profile.strict_subset else loosen(spec.schema)
        except Misfit as misfit:
            warning = f"structured output was asked for by a tool, since the schema is beyond the service: {misfit}"
        else:
            return TypedRequest(_native(request, spec, schema))
    if not profile.tool_choices:
        return TypedRequest(_instructed(request, profile, _PROMPT.format(_json(spec.schema))), warning=warning)
    name = _free_name(spec.name, request)
    offered = replace(request, tools=(*request.tools, _answer_tool(spec, name)))
    choice = _forced(name, request, profile)
    if choice is None:
        return TypedRequest(_instructed(offered, profile, _OFFER.format(name)), name, warning=warning)
    first = request.tool_choice or choice
    return TypedRequest(replace(offered, tool_choice=first), name, then=choice, warning=warning)


_OFFER = "When you have the answer, give it by calling the tool {} once. Do not write the answer as text."
_PROMPT = "Answer with one JSON value and nothing else. It must satisfy this JSON schema:\n{}"


def _json(value: JsonValue) -> str:
    return msgspec.json.encode(value).decode()


def _native(request: ConverseRequest, spec: OutputSpec, schema: JsonObject) -> ConverseRequest:
    config = request.output_config or OutputConfig()
    answer = JsonSchema(schema=schema, name=spec.name, description=spec.description)
    return replace(request, output_config=replace(config, json_schema=answer))


def _answer_tool(spec: OutputSpec, name: str) -> ToolSpec:
    description = spec.description or "Gives the final answer."
    return ToolSpec(name=name, input_schema=spec.schema, description=description)


def _free_name(name: str, request: ConverseRequest) -> str:
    taken = {tool.name for tool in request.tools if isinstance(tool, ToolSpec)}
    return name if name not in taken else f"{name[:57]}_answer"


def _forced(name: str, request: ConverseRequest, profile: Profile) -> ToolChoice | None:
    """The choice that leaves no way but the answer (or, where there are other tools, one of them), if there is one."""
    choices = profile.choices_for(request)
    if "tool" in choices and not request.tools:
        return ToolChoice("tool", name)
    return ToolChoice("any") if "any" in choices else None


def _instructed(request: ConverseRequest, profile: Profile, instruction: str) -> ConverseRequest:
    """The request with an instruction: in the system prompt, or with the last user turn of models that have none."""
    if profile.system_prompt:
        return replace(request, system=(*request.system, Text(instruction)))
    *before, last = request.messages
    if last.role != "user":
        return replace(request, messages=(*request.messages, Message.user(instruction)))
    return replace(request, messages=(*before, replace(last, content=(*last.content, Text(instruction)))))


# --- the loop --------------------------------------------------------------------------------------------------------


def typed_loop(
    request: ConverseRequest,
    spec: OutputSpec,
    profile: Profile,
    functions: Mapping[str, ToolFunction],
    max_turns: int,
) -> Loop:
    """Run tools until the model answers, validate the answer, and let it mend the answer once.

    The last response has the object in ``output``. Where the model calls a tool that the caller keeps to himself, its
    reply is returned as it is, without output. The repair round comes on top of ``max_turns``.
    """
    typed = typed_request(request, spec, profile)
    response = yield from tool_loop(typed.request, functions, max_turns, then=typed.then)
    if _is_callers_turn(response, typed, functions, max_turns):
        return _warned(response, typed)
    try:
        return _answered(response, typed, _read(response, spec, typed))
    except InvalidOutput as error:
        first, message = response, str(error)
    _give_up_if_cut(first, typed)
    log.logger("tools").info("the answer does not fit %s; it is asked for again", spec.name)
    turn = _objection(first, typed, message)
    again = replace(
        typed.request,
        messages=(*typed.request.messages, *first.messages, turn),
        tool_choice=typed.then,
    )
    response = combine(first, turn, (yield from tool_loop(again, functions, max_turns, then=typed.then)))
    try:
        return _answered(response, typed, _read(response, spec, typed))
    except InvalidOutput as error:
        raise _failure(
            f"the answer does not fit {spec.name}, nor did it at first ({message}): {error}", response, typed
        ) from error


def _is_callers_turn(
    response: ConverseResponse, typed: TypedRequest, functions: Mapping[str, ToolFunction], max_turns: int
) -> bool:
    """Whether the model wants a tool that the caller runs himself: one without a function, or any in the plain form."""
    names = {call.name for call in runnable_calls(response)}
    if not names or typed.tool in names:
        return False
    declared = {tool.name for tool in typed.request.tools if isinstance(tool, ToolSpec)}
    return max_turns == 1 or bool(names & (declared - functions.keys()))


def _give_up_if_cut(response: ConverseResponse, typed: TypedRequest) -> None:
    """Asking again mends nothing when the answer was cut, filtered, or tools went on and on."""
    reason = response.stop_reason
    if reason not in (None, "end_turn", "tool_use", "stop_sequence", "malformed_model_output", "malformed_tool_use"):
        hint = "; raise max_tokens" if reason == "max_tokens" else ""
        raise _failure(f"there is no whole answer: the model stopped with {reason}{hint}", response, typed)
    if runnable_calls(response) and not _answer_call(response, typed):
        raise _failure(f"there is no answer: {response.warnings[-1]}", response, typed)


def _objection(response: ConverseResponse, typed: TypedRequest, message: str) -> Message:
    """The turn that says what is wrong, as the result of the call that carried the answer, or as text."""
    text = f"The answer does not fit: {message}. Give the whole answer again, corrected."
    call = _answer_call(response, typed)
    if call is None:
        hint = f" Call the tool {typed.tool}." if typed.tool else ""
        return Message.user(text + hint)
    return _results(response, call, text, "error")


def _results(response: ConverseResponse, answer: ToolUse, text: str, status: str) -> Message:
    """A result for each call of the turn, as the service wants it: the answer's, and that the others were not run."""
    return Message(
        "user",
        tuple(
            ToolResult(tool_use_id=call.id, content=(Text(text),), status=status)
            if call is answer
            else ToolResult(tool_use_id=call.id, content=(Text("not run: the answer had been given"),), status="error")
            for call in response.tool_uses
            if call.type != "server_tool_use"
        ),
    )


def _answered(response: ConverseResponse, typed: TypedRequest, output: Any) -> ConverseResponse:
    """The response with its object. A call that carried the answer gets its result: the conversation can go on."""
    call = _answer_call(response, typed)
    closing = () if call is None else (_results(response, call, "accepted", "success"),)
    return replace(_warned(response, typed), output=output, messages=(*response.messages, *closing))


def _warned(response: ConverseResponse, typed: TypedRequest) -> ConverseResponse:
    return replace(response, warnings=(typed.warning, *response.warnings)) if typed.warning else response


def _failure(message: str, response: ConverseResponse, typed: TypedRequest) -> OutputValidationError:
    error = OutputValidationError(message)
    error.response = _warned(response, typed)
    return error


def combine(first: ConverseResponse, turn: Message, second: ConverseResponse) -> ConverseResponse:
    """Two loops with a turn between them, as one response."""
    latencies = (first.latency_ms, second.latency_ms)
    return replace(
        second,
        usage=add_usage([first.usage, second.usage]),
        latency_ms=None if None in latencies else sum(n for n in latencies if n is not None),
        messages=(*first.messages, turn, *second.messages),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
    )


# --- reading an answer -----------------------------------------------------------------------------------------------


def _answer_call(response: ConverseResponse, typed: TypedRequest) -> ToolUse | None:
    return next((call for call in response.tool_uses if typed.tool is not None and call.name == typed.tool), None)


def _read(response: ConverseResponse, spec: OutputSpec, typed: TypedRequest) -> Any:
    """The validated object of a response: of the call that carries it, else of the text."""
    if response.stop_reason == "max_tokens":
        raise InvalidOutput("it was cut at max_tokens")
    call = _answer_call(response, typed)
    if call is not None:
        return _validated(spec, call.input)
    errors: list[InvalidOutput] = []
    for value in json_values(response.text):
        try:
            return _validated(spec, value)
        except InvalidOutput as error:
            errors.append(error)
    raise errors[0] if errors else InvalidOutput("it is not JSON" if response.text.strip() else "it is empty")


def _validated(spec: OutputSpec, value: JsonValue) -> Any:
    if not spec.wrapped:
        return spec.validate(value)
    if isinstance(value, dict) and "value" in value:
        return spec.validate(value["value"])
    try:
        return spec.validate(value)  # the object around it was asked for in vain: what counts is what is in it
    except InvalidOutput:
        raise InvalidOutput('value: is missing; the answer is an object {"value": ...}') from None


_OPENING = re.compile(r"[{\[]")


def json_values(text: str) -> Iterator[JsonValue]:
    """The JSON values in an answer: the whole text, else each object or list that stands in it (models put prose, a
    code fence or their thoughts around it)."""
    import json

    try:
        yield msgspec.json.decode(text)
        return
    except (msgspec.DecodeError, RecursionError):
        pass
    decoder, position = json.JSONDecoder(), 0
    while opening := _OPENING.search(text, position):
        try:
            value, position = decoder.raw_decode(text, opening.start())
        except json.JSONDecodeError as error:  # what it had read until there is part of something broken: no answer
            position = max(opening.end(), error.pos)
        except RecursionError:  # brackets without end: no answer, and looking on would take a time squared
            return
        else:
            yield value
