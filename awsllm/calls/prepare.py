"""What a call is before it is made: the caller's words checked and turned into a request, and what remains to be done.

``prepare`` gives a ``Prepared``: the model's reference, one ``ConverseRequest`` and, where tools or a typed output are
wanted, the sans-I/O generator that says what to do next (``tools.loop``, ``tools.typed``). The other operations are one
request and no loop: their ``prepare_…`` gives the reference and the request, and is loaded with the first of its calls.
``finish`` adds to any response what only the client knows: the model's reference, the cost, and what its caller must
know of the model. ``Sending`` is one request of a conversation on its way. Nothing here does I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.calls import content
from awsllm.calls.checks import check_profile, check_request, fit_to_profile
from awsllm.calls.media import relabelled
from awsllm.calls.options import ConverseOptions, check_names, check_number
from awsllm.errors import AwsllmError, RequestError, UnsupportedError, ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.types import (
    AttemptMade,
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    EndpointOptions,
    GuardrailConfig,
    InferenceConfig,
    Message,
    OutputConfig,
    PerformanceConfig,
    Reasoning,
    Request,
    ServiceTier,
    ToolSpec,
)
from awsllm.wire.converse.rules import is_plain

if TYPE_CHECKING:
    from awsllm.calls.caching import AutoCache
    from awsllm.calls.content import Prompt
    from awsllm.calls.repair import Fix
    from awsllm.policy.observers import Activity
    from awsllm.policy.tags import CallMarks
    from awsllm.tools.failures import ToolErrors
    from awsllm.tools.function import ToolFunction
    from awsllm.tools.loop import Loop
    from awsllm.tools.partial import PartialOutput

R = TypeVar("R")

MAX_TURNS = 10
DOORS = ("auto", "converse", "invoke", "openai")
OPENAI_ROUTES = frozenset(("openai_chat", "openai_responses", "mantle_chat", "mantle_responses", "mantle_messages"))
_MARKS = frozenset(("tags", "response_cache", "tenant", "priority"))
_NOT_SENT = _MARKS | {"timeout", "endpoint"}
_NO_INFERENCE_CONFIG = InferenceConfig()
_KNOBS = frozenset(("max_tokens", "temperature", "top_p"))


def finish(response: R, reference: Reference, prices: Knowledge, request: Request[Any] | None = None) -> R:
    """The response with the model's reference, the cost, and the warnings that its model calls for. What has none of
    these (a count) stays what it is. ``request`` is what it answers."""
    known: Any = response
    names = getattr(known, "__struct_fields__", ())
    members: dict[str, Any] = {"model": str(reference)} if "model" in names else {}
    if "cost" in names:
        members["cost"] = prices.cost(reference, known, request)
    if "warnings" in names:
        members["warnings"] = (*known.warnings, *prices.warnings(reference, request.family if request else None))
    return replace(known, **members) if members else response


# --- chat ------------------------------------------------------------------------------------------------------------


class Prepared(msgspec.Struct, frozen=True):
    """One call, ready to be made. ``loop`` is None on the plain path: one request, one response. ``told`` is what
    observers are told of a loop's turns and tools by; None without observers."""

    reference: Reference
    request: ConverseRequest
    loop: Callable[[], Loop] | None
    timeout: float | None
    prices: Knowledge
    warnings: tuple[str, ...] = ()
    tool_errors: ToolErrors | None = None
    cache: AutoCache | None = None
    repair: bool = True
    partial_output: PartialOutput | None = None
    marks: CallMarks | None = None
    answers: list[ConverseResponse] | None = None  # those of a loop's turns, as they come
    told: Activity | None = None
    resume: bool = False

    @property
    def made_by(self) -> str | None:
        """The family of the model, whose thoughts are its own; None where it is not known."""
        can = profile(self.reference.scheme, self.reference.model, self.request.family)
        return can.family if can.known else None

    def finish(self, response: ConverseResponse) -> ConverseResponse:
        """``finish``, with turns that can be sent, and what the preparation has to say of the call."""
        response = self._sendable(response)
        turns = sum(message.role == "assistant" for message in response.messages)
        return replace(
            response,
            model=str(self.reference),
            cost=self.prices.cost(self.reference, response, self.request, turns=turns),
            warnings=self.warnings + response.warnings + self.prices.warnings(self.reference, self.request.family),
            tool_errors=self.tool_errors.kept if self.tool_errors else (),
        )

    def _sendable(self, response: ConverseResponse) -> ConverseResponse:
        if response.messages == (response.message,) and is_plain(response.messages):
            return response
        from awsllm.wire.converse.history import sendable_answer

        response = sendable_answer(response)
        if not _has_thoughts((response.message, *response.messages)):
            return response
        from awsllm.calls.thinking import signed_by

        return signed_by(response, self.made_by)


def prepare(model: str, messages: Prompt, options: ConverseOptions, prices: Knowledge) -> Prepared:
    """Check and translate everything that can be before anything is sent."""
    reference, request, functions = translated(model, messages, options)
    asks_to_think = "thinking" in options or "effort" in options
    request, thoughts = thoughtful(reference, request, options) if asks_to_think else (request, ())
    request, notes = _checked(reference, request, typed=options.get("output_type") is not None)
    caches = "cache" in options or "cache_ttl" in options
    cache, cached = cache_choice(reference, options) if caches else (None, ())
    errors = None
    if functions:
        from awsllm.tools.failures import ToolErrors

        errors = ToolErrors(options.get("on_tool_error"))
        functions = errors.watch(functions)
        if approve := options.get("approve"):
            from awsllm.tools.approval import guarded

            functions = guarded(functions, approve)
    loop = _loop(reference, request, functions, options)
    notes = thoughts + notes + cached
    return Prepared(
        reference,
        request,
        loop,
        options.get("timeout"),
        prices,
        notes,
        errors,
        cache,
        options.get("repair", True),
        _partial_output(reference, request, options.get("output_type")),
        marks_of(options),
        None if loop is None else [],
    )


def marks_of(options: Mapping[str, Any]) -> CallMarks | None:
    """What a call says of itself to those who count and keep; most say nothing."""
    if _MARKS.isdisjoint(options):
        return None
    from awsllm.policy.tags import call_marks

    return call_marks(options)


def _partial_output(reference: Reference, request: ConverseRequest, output_type: Any) -> PartialOutput | None:
    if output_type is None:
        return None
    from awsllm.tools.partial import PartialOutput

    return PartialOutput(output_type, request, profile(reference.scheme, reference.model, request.family))


def translated(
    model: str, messages: Prompt, options: ConverseOptions
) -> tuple[Reference, ConverseRequest, Mapping[str, ToolFunction]]:
    """The caller's words as a request, and the functions among his tools."""
    check_names(options, ConverseOptions)
    reference = parse_reference(model)
    functions: Mapping[str, ToolFunction] = {}
    request = _request(reference, messages, options)
    if tools := options.get("tools"):
        specs, functions = content.tools(tools)
        request = replace(request, tools=specs, tool_choice=content.tool_choice(options.get("tool_choice")))
    elif options.get("tool_choice") is not None:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    return reference, request, functions


def thoughtful(
    reference: Reference, request: ConverseRequest, options: ConverseOptions
) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request that asks for the thinking wanted, and what of it cannot be."""
    thinking, effort = options.get("thinking"), options.get("effort")
    if thinking is None and not effort:
        return request, ()
    if reference.scheme != "bedrock":
        request = replace(request, output_config=OutputConfig(effort=effort)) if effort else request
        if reference.scheme == "local" and thinking is not None:
            from awsllm.calls.thinking import for_local

            return for_local(request, thinking), ()
        why = f"thinking is not honoured by {reference.scheme}: models: say it in extra=, in the model's own words"
        return request, () if thinking is None else (why,)
    from awsllm.calls.thinking import for_converse, with_thinking

    can = profile(reference.scheme, reference.model, request.family)
    request, warnings = with_thinking(request, can, thinking, effort)
    return for_converse(request, can), warnings


def cache_choice(reference: Reference, options: ConverseOptions) -> tuple[AutoCache | None, tuple[str, ...]]:
    if options.get("cache") is None and options.get("cache_ttl") is None:
        return None, ()
    from awsllm.calls.caching import auto_cache

    return auto_cache(reference, options.get("family"), options.get("cache"), options.get("cache_ttl"))


def _checked(reference: Reference, request: ConverseRequest, *, typed: bool) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request as it can be sent, and what was changed of the caller's."""
    try:
        check_profile(reference, request)
        mended, notes = mended_request(reference, request)
        check_request(mended, reference.scheme, typed=typed)
        fitting, warnings = fit_to_profile(reference, mended)
        if reference.scheme == "bedrock" and any(isinstance(tool, ToolSpec) and tool.strict for tool in request.tools):
            from awsllm.calls.strict import fit_strict_tools

            fitting, unheld = fit_strict_tools(fitting)
            warnings += unheld
    except (AttributeError, TypeError) as error:  # constructors check nothing
        from awsllm.calls.wellformed import malformed

        if reason := malformed(request):
            raise reason from error
        raise
    return fitting, notes + warnings


def _has_thoughts(turns: Iterable[Message]) -> bool:
    return any(isinstance(block, Reasoning) for turn in turns for block in turn.content)


def mended_request(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request with a conversation that can be sent, and what was changed of the caller's."""
    if is_plain(request.messages) and request.messages and request.messages[-1].role == "user":
        return request, ()
    from awsllm.calls.wellformed import has_strays, malformed
    from awsllm.wire.converse.foreign import without_responses
    from awsllm.wire.converse.history import Notes, mended

    if has_strays(request.messages) and (reason := malformed(request)):
        raise reason
    notes, turns = Notes(), request.messages
    if reference.scheme == "bedrock" and request.api != "openai":
        turns = without_responses(turns, notes)
    if _has_thoughts(turns):
        from awsllm.calls.thinking import without_foreign

        turns = without_foreign(turns, profile(reference.scheme, reference.model, request.family), notes)
    turns = mended(turns, notes, for_bedrock=reference.scheme == "bedrock")
    turns = relabelled(turns, notes)
    request = request if turns is request.messages else replace(request, messages=turns)
    if request.extra and "thinking" in request.extra:
        from awsllm.calls.thinking import without_lost_thought

        can = profile(reference.scheme, reference.model, request.family)
        request = without_lost_thought(request, can, notes)
    return request, notes.lines()


def _request(reference: Reference, messages: Prompt, options: ConverseOptions) -> ConverseRequest:
    metadata, variables = options.get("request_metadata"), options.get("prompt_variables")
    performance, tier = options.get("performance_config"), options.get("service_tier")
    system, turns = content.leading_system(content.messages(messages))
    return ConverseRequest(
        model=reference.model,
        family=options.get("family"),
        messages=turns,
        system=(*content.system(options.get("system")), *system),
        inference_config=_inference_config(options),
        guardrail_config=content.config(options.get("guardrail_config"), GuardrailConfig, "guardrailConfig"),
        extra=options.get("extra"),
        prompt_variables=dict(variables) if variables else None,
        additional_model_response_field_paths=tuple(options.get("additional_model_response_field_paths") or ()),
        request_metadata=content.metadata(metadata) if metadata else None,
        performance_config=PerformanceConfig(performance)
        if isinstance(performance, str)
        else content.config(performance, PerformanceConfig, "performanceConfig"),
        service_tier=ServiceTier(tier) if isinstance(tier, str) else content.config(tier, ServiceTier, "serviceTier"),
        endpoint=_endpoint(reference, options.get("endpoint")),
        api=_door(reference, options),
    )


def _door(reference: Reference, options: ConverseOptions) -> str | None:
    """``ConverseRequest.api``: what the caller names, or the first door that the model has."""
    api = options.get("api")
    if reference.scheme != "bedrock":
        if api in (None, "auto"):
            return None
        raise ValidationError(f"api={api!r} names a door of bedrock: models; {reference} has one, so leave api out")
    if api is not None and api not in DOORS:
        raise ValidationError(f"api={api!r} is none of {', '.join(map(repr, DOORS))}")
    if api in ("invoke", "openai"):
        return api
    can = profile("bedrock", reference.model, options.get("family"))
    if "converse" in can.routes and not can.needs_geography:  # nearly all
        return None
    routes = can.routes_of(reference.model)
    if "converse" in routes:
        return None
    if api == "converse" and routes:
        raise UnsupportedError(f"{reference} has no Converse: leave api out, or take {can.doors_of(reference.model)}")
    if not OPENAI_ROUTES.isdisjoint(routes):
        return "openai"
    return "invoke" if "invoke" in routes and api != "converse" else None


def _endpoint(reference: Reference, value: EndpointOptions | Mapping[str, Any] | None) -> EndpointOptions | None:
    if value is None:
        return None
    if reference.scheme != "sagemaker":
        raise ValidationError(f"endpoint= says how a sagemaker: endpoint is called; {reference} is none")
    return content.endpoint_options(value)


def _inference_config(options: ConverseOptions) -> InferenceConfig:
    given = content.config(options.get("inference_config"), InferenceConfig, "inferenceConfig")
    config = given or _NO_INFERENCE_CONFIG
    changes: dict[str, Any] = {name: value for name, value in options.items() if name in _KNOBS}
    if stop := options.get("stop_sequences"):
        changes["stop_sequences"] = texts_of("stop_sequences", stop)
    return replace(config, **changes) if changes else config


def _loop(
    reference: Reference, request: ConverseRequest, functions: Mapping[str, ToolFunction], options: ConverseOptions
) -> Callable[[], Loop] | None:
    output_type, max_turns = options.get("output_type"), options.get("max_turns")
    max_turns = MAX_TURNS if max_turns is None else max_turns
    check_number("max_turns", max_turns, whole=True)
    if max_turns < 1:
        raise ValidationError(f"max_turns is {max_turns}; it counts the model calls, so it is at least 1")
    if output_type is not None:
        from awsllm.tools.typed import output_spec, typed_loop

        spec = output_spec(output_type)
        capabilities = profile(reference.scheme, reference.model, request.family)
        if request.api == "openai":  # where every route takes a schema
            capabilities = replace(capabilities, native_json_schema=True)
        elif request.api == "invoke" and capabilities.invoke_prompt:  # a prompt has no place for a forced tool
            capabilities = replace(capabilities, native_json_schema=False, tool_choices=frozenset())
        return lambda: typed_loop(request, spec, capabilities, functions, max_turns)
    if functions:
        from awsllm.tools.loop import tool_loop

        return lambda: tool_loop(request, functions, max_turns)
    return None


def keep_turns(error: Exception, request: ConverseRequest, call: Prepared) -> None:
    """Hand over the turns that a tool loop had finished when ``error`` struck: tools have run, answers were paid
    for."""
    if not isinstance(error, AwsllmError):
        return
    error.messages = request.messages[len(call.request.messages) :]
    error.usage = error.cost = None
    if call.answers:
        from awsllm.tools.loop import add_usage

        error.usage = add_usage([answer.usage for answer in call.answers])
        known = replace(call.answers[-1], usage=error.usage)
        turns = 1 + len(call.answers)  # more than one: a sum, and none of a cache
        error.cost = call.prices.cost(call.reference, known, call.request, turns=turns)


def add_answer(call: Prepared, answer: ConverseResponse) -> ConverseResponse:
    """A turn of the call's loop has been answered."""
    if call.answers is not None:
        call.answers.append(answer)
    return answer


# --- a request on its way --------------------------------------------------------------------------------------------

_FIXES_A_MODEL = 8


class Repairs:
    """What one client has found its models to refuse, by reference. Safe to share between threads: tuples are replaced,
    and a fix that is lost to another thread's is found again."""

    def __init__(self) -> None:
        self._fixes: dict[str, tuple[Fix, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._fixes)

    def of(self, model: str) -> tuple[Fix, ...]:
        return self._fixes.get(model, ())

    def add(self, model: str, fix: Fix) -> None:
        known = tuple(other for other in self.of(model) if other.action != fix.action or other.argument != fix.argument)
        self._fixes[model] = (*known, fix)[-_FIXES_A_MODEL:]


class Sending:
    """One request of ``call``, made ready just before it is sent: cache points go where this turn of the conversation
    wants them, what the model refused before is not asked of it again, and what it refuses now is repaired once
    (``calls.repair``) and told in the response's warnings. What does that is loaded when it is needed.

    ``given`` is the request as the loop made it, ``request`` what is sent."""

    __slots__ = ("_call", "_repairs", "given", "made", "notes", "request")

    def __init__(self, call: Prepared, request: ConverseRequest, repairs: Repairs) -> None:
        self._call = call
        self._repairs = repairs
        self.given = self.request = request
        self.notes: tuple[str, ...] = ()
        self.made: tuple[AttemptMade, ...] = ()
        if call.cache is not None:
            from awsllm.calls.caching import with_cache_points

            self.request = with_cache_points(request, call.cache)
        if call.repair and repairs and (fixes := repairs.of(str(call.reference))):
            self._apply(fixes)

    def mend(self, error: AwsllmError) -> bool:
        """Whether ``request`` is another one now, such as the error asks for."""
        if not self._call.repair or not isinstance(error, RequestError) or self._call.reference.scheme != "bedrock":
            return False
        from awsllm.calls.repair import find_fix

        fix = find_fix(error)
        if fix is None or not self._apply((fix,)):
            return False
        from awsllm import log

        log.logger("calls").info("%s refused a request; it is repaired: %s", self._call.reference, fix.action)
        if not fix.once:
            self._repairs.add(str(self._call.reference), fix)
        return True

    def _apply(self, fixes: tuple[Fix, ...]) -> bool:
        from awsllm.calls.repair import fixed

        self.request, notes = fixed(self.request, fixes)
        self.notes += notes
        return bool(notes)

    def tried(self, error: AwsllmError | None, started: float) -> None:
        """One attempt of several has ended (``policy.attempts.Tries``)."""
        reference, kind = self._call.reference, None if error is None else error.code or type(error).__name__
        made = AttemptMade(
            model=str(reference),
            region=reference.region,
            started=started,
            seconds=max(0.0, time.time() - started),
            error=kind,
            waited=0.0 if error is None else error.waited,
        )
        self.made = (*self.made, made)

    def noted(self, response: ConverseResponse) -> ConverseResponse:
        """The response, with what was done to its request, and how often it was sent."""
        if not (self.notes or self.made):
            return response
        made = self.made
        if made and response.attempts:  # the last one waited
            made = (*made[:-1], replace(made[-1], waited=response.attempts[-1].waited))
        return replace(response, warnings=(*self.notes, *response.warnings), attempts=made or response.attempts)


# --- the other operations --------------------------------------------------------------------------------------------


def prepare_count_tokens(
    model: str, messages: Prompt, options: ConverseOptions
) -> tuple[Reference, CountTokensRequest]:
    """Of ``converse`` with the same arguments, the tokens of the first request. A loop for a typed output sends one of
    its own."""
    call = prepare(model, messages, options, Knowledge())
    first = call.request if call.loop is None else next(call.loop())
    converse = first if isinstance(first, ConverseRequest) else call.request
    if call.cache is not None:
        from awsllm.calls.caching import with_cache_points

        converse = with_cache_points(converse, call.cache)
    request = CountTokensRequest(model=call.reference.model, family=converse.family, converse=converse)
    return call.reference, request


def members_of(reference: Reference, options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The request's members among the options; ``timeout`` is the policy's. ``kind`` is the options' type."""
    check_names(options, kind)
    endpoint = _endpoint(reference, options.get("endpoint"))
    members = {name: value for name, value in options.items() if name not in _NOT_SENT}
    return {**members, "model": reference.model, "endpoint": endpoint}


def texts_of(name: str, value: Any) -> tuple[str, ...]:
    """A text or texts as texts; ``ValidationError`` for what is neither."""
    if isinstance(value, str):
        return (value,)
    texts = tuple(value) if isinstance(value, Iterable) else (value,)
    for text in texts:
        if not isinstance(text, str):
            raise ValidationError(f"{name}: a {type(text).__name__} is no text")
    return texts
