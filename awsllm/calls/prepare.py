"""What a call is before it is made: the caller's words checked and turned into a request, and what remains to be done.

``prepare`` gives a ``Prepared``: the model's reference, one ``ConverseRequest`` and, where tools or a typed output are
wanted, the sans-I/O generator that says what to do next (``tools.loop``, ``tools.typed``). The other operations are one
request and no loop: their ``prepare_…`` gives the reference and the request. ``finish`` adds to any response what only
the client knows: the model's reference and the cost. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.calls import content
from awsllm.calls.checks import check_profile, check_request, fit_to_profile
from awsllm.calls.media import relabelled
from awsllm.calls.options import ConverseOptions, EmbedOptions, ImageOptions, RerankOptions, check_names
from awsllm.errors import AwsllmError, ValidationError
from awsllm.models.prices import Price, cost
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    CountTokensRequest,
    EmbedRequest,
    EndpointOptions,
    GuardrailConfig,
    ImageRequest,
    InferenceConfig,
    OutputConfig,
    PerformanceConfig,
    RerankRequest,
    ServiceTier,
)
from awsllm.wire.converse.rules import is_plain

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt
    from awsllm.tools.failures import ToolErrors
    from awsllm.tools.function import ToolFunction
    from awsllm.tools.loop import Loop

R = TypeVar("R")

MAX_TURNS = 10
_NO_INFERENCE_CONFIG = InferenceConfig()
_KNOBS = frozenset(("max_tokens", "temperature", "top_p"))


def finish(response: R, reference: Reference, prices: Mapping[str, Price]) -> R:
    """The response with the model's reference and, where it has a usage, the cost. What has neither (a count) stays
    what it is."""
    known: Any = response
    names, model = getattr(known, "__struct_fields__", ()), str(reference)
    members: dict[str, Any] = {"model": model} if "model" in names else {}
    if "cost" in names and "usage" in names:
        members["cost"] = cost(reference, known.usage, prices.get(model))
    return replace(known, **members) if members else response


# --- chat ------------------------------------------------------------------------------------------------------------


class Prepared(msgspec.Struct, frozen=True):
    """One call, ready to be made. ``loop`` is None on the plain path: one request, one response."""

    reference: Reference
    request: ConverseRequest
    loop: Callable[[], Loop] | None
    timeout: float | None
    prices: Mapping[str, Price]
    warnings: tuple[str, ...] = ()
    tool_errors: ToolErrors | None = None

    def finish(self, response: ConverseResponse) -> ConverseResponse:
        """``finish``, with turns that can be sent, and what the preparation has to say of the call."""
        model = str(self.reference)
        response = _sendable(response)
        return replace(
            response,
            model=model,
            cost=cost(self.reference, response.usage, self.prices.get(model)),
            warnings=self.warnings + response.warnings,
            tool_errors=self.tool_errors.kept if self.tool_errors else (),
        )


def prepare(model: str, messages: Prompt, options: ConverseOptions, prices: Mapping[str, Price]) -> Prepared:
    """Check and translate everything that can be before anything is sent."""
    check_names(options, ConverseOptions)
    reference = parse_reference(model)
    functions: Mapping[str, ToolFunction] = {}
    request = _request(reference, messages, options)
    if tools := options.get("tools"):
        specs, functions = content.tools(tools)
        request = replace(request, tools=specs, tool_choice=content.tool_choice(options.get("tool_choice")))
    elif options.get("tool_choice") is not None:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    check_profile(reference, request)
    request, notes = _mended(reference, request)
    check_request(request, reference.scheme, typed=options.get("output_type") is not None)
    request, warnings = fit_to_profile(reference, request)
    errors = None
    if functions:
        from awsllm.tools.failures import ToolErrors

        errors = ToolErrors(options.get("on_tool_error"))
        functions = errors.watch(functions)
    loop = _loop(reference, request, functions, options)
    return Prepared(reference, request, loop, options.get("timeout"), prices, notes + warnings, errors)


def _mended(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request with a conversation that can be sent, and what was changed of the caller's."""
    if is_plain(request.messages) and request.messages and request.messages[-1].role == "user":
        return request, ()
    from awsllm.wire.converse.history import Notes, mended

    notes = Notes()
    turns = mended(request.messages, notes, for_bedrock=reference.scheme == "bedrock")
    turns = relabelled(turns, notes)
    return (request if turns is request.messages else replace(request, messages=turns)), notes.lines()


def _sendable(response: ConverseResponse) -> ConverseResponse:
    if response.messages == (response.message,) and is_plain(response.messages):
        return response
    from awsllm.wire.converse.history import sendable_answer

    return sendable_answer(response)


def _request(reference: Reference, messages: Prompt, options: ConverseOptions) -> ConverseRequest:
    metadata, variables = options.get("request_metadata"), options.get("prompt_variables")
    performance, tier = options.get("performance_config"), options.get("service_tier")
    effort = options.get("effort")
    system, turns = content.leading_system(content.messages(messages))
    return ConverseRequest(
        model=reference.model,
        messages=turns,
        system=(*content.system(options.get("system")), *system),
        inference_config=_inference_config(options),
        guardrail_config=content.config(options.get("guardrail_config"), GuardrailConfig, "guardrailConfig"),
        extra=options.get("extra"),
        prompt_variables=dict(variables) if variables else None,
        additional_model_response_field_paths=tuple(options.get("additional_model_response_field_paths") or ()),
        request_metadata=dict(metadata) if metadata else None,
        performance_config=PerformanceConfig(performance)
        if isinstance(performance, str)
        else content.config(performance, PerformanceConfig, "performanceConfig"),
        service_tier=ServiceTier(tier) if isinstance(tier, str) else content.config(tier, ServiceTier, "serviceTier"),
        output_config=OutputConfig(effort=effort) if effort else None,
        endpoint=_endpoint(reference, options.get("endpoint")),
    )


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
        changes["stop_sequences"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return replace(config, **changes) if changes else config


def _loop(
    reference: Reference, request: ConverseRequest, functions: Mapping[str, ToolFunction], options: ConverseOptions
) -> Callable[[], Loop] | None:
    output_type, max_turns = options.get("output_type"), options.get("max_turns")
    max_turns = MAX_TURNS if max_turns is None else max_turns
    if max_turns < 1:
        raise ValidationError(f"max_turns is {max_turns}; it counts the model calls, so it is at least 1")
    if output_type is not None:
        from awsllm.tools.typed import output_spec, typed_loop

        spec = output_spec(output_type)
        capabilities = profile(reference.scheme, reference.model)
        return lambda: typed_loop(request, spec, capabilities, functions, max_turns)
    if functions:
        from awsllm.tools.loop import tool_loop

        return lambda: tool_loop(request, functions, max_turns)
    return None


def keep_turns(error: Exception, request: ConverseRequest, first: ConverseRequest) -> None:
    """Hand over the turns that a tool loop had finished when ``error`` struck: tools have run, answers were paid
    for."""
    done = request.messages[len(first.messages) :]
    if isinstance(error, AwsllmError) and done:
        error.messages = done


# --- the other operations --------------------------------------------------------------------------------------------


def prepare_count_tokens(
    model: str, messages: Prompt, options: ConverseOptions
) -> tuple[Reference, CountTokensRequest]:
    """Of ``converse`` with the same arguments, the tokens of the first request. A loop for a typed output sends one of
    its own."""
    call = prepare(model, messages, options, {})
    first = call.request if call.loop is None else next(call.loop())
    converse = first if isinstance(first, ConverseRequest) else call.request
    return call.reference, CountTokensRequest(model=call.reference.model, converse=converse)


def prepare_embed(
    model: str, texts: str | Sequence[str], dimensions: int | None, options: EmbedOptions
) -> tuple[Reference, EmbedRequest]:
    reference = parse_reference(model)
    items = (texts,) if isinstance(texts, str) else tuple(texts)
    if not items:
        raise ValidationError("nothing to embed: pass at least one text")
    _refuse_blank(items, "text", "embed")
    return reference, EmbedRequest(texts=items, dimensions=dimensions, **_members(reference, options, EmbedOptions))


def prepare_image(model: str, prompt: str, options: ImageOptions) -> tuple[Reference, ImageRequest]:
    reference = parse_reference(model)
    request = ImageRequest(prompt=prompt, **_members(reference, options, ImageOptions))
    if not prompt.strip():
        raise ValidationError("the prompt is blank: say what the image shows")
    for name in ("count", "width", "height", "steps"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise ValidationError(f"{name} is {value}; it is at least 1")
    return reference, request


def prepare_rerank(
    model: str, query: str, documents: Sequence[str], top_n: int | None, options: RerankOptions
) -> tuple[Reference, RerankRequest]:
    reference = parse_reference(model)
    if isinstance(documents, str) or not documents:
        raise ValidationError("nothing to rank: pass a list of at least one document")
    _refuse_blank((query,), "query", "rank for")
    _refuse_blank(documents, "document", "rank")
    if top_n is not None and top_n < 1:
        raise ValidationError(f"top_n is {top_n}; it is at least 1, or None for all")
    members = _members(reference, options, RerankOptions)
    return reference, RerankRequest(query=query, documents=tuple(documents), top_n=top_n, **members)


def _members(reference: Reference, options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The request's members among the options; ``timeout`` is the policy's. ``kind`` is the options' type."""
    check_names(options, kind)
    endpoint = _endpoint(reference, options.get("endpoint"))
    members = {name: value for name, value in options.items() if name not in ("timeout", "endpoint")}
    return {**members, "model": reference.model, "endpoint": endpoint}


def _refuse_blank(texts: Sequence[str], what: str, verb: str) -> None:
    for i, text in enumerate(texts):
        if not text.strip():
            raise ValidationError(f"{what} {i} to {verb} is blank: leave it out or write something")
