"""What a call is before it is made: the caller's words checked and turned into a request, and what remains to be done.

``prepare`` gives a ``Prepared``: the model's reference, one ``ConverseRequest`` and, where tools or a typed output are
wanted, the sans-I/O generator that says what to do next (``tools.tool_loop``, ``typed.typed_loop``).
``Prepared.finish`` adds to the answer what only the client knows: the model's reference and the cost. Nothing here
does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import msgspec

from awsllm.calls import content as coerce
from awsllm.errors import AwsllmError, ValidationError
from awsllm.models.profiles import Reference, parse_reference, profile
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    EndpointOptions,
    GuardrailConfig,
    ImageRequest,
    ImageResponse,
    InferenceConfig,
    OutputConfig,
    PerformanceConfig,
    RerankRequest,
    RerankResponse,
    ServiceTier,
    Usage,
    Value,
)

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt, SystemPrompt, ToolChoiceLike, ToolLike
    from awsllm.tools.loop import RunTools, ToolFunction
    from awsllm.types import JsonObject, ToolResult


class Price(Value, frozen=True):
    """What a model costs, in US dollars a million tokens. None is unknown, and so is then the cost of a call that has
    such tokens."""

    input: float
    output: float = 0.0
    cache_read: float | None = None
    cache_write: float | None = None


class ConverseOptions(TypedDict, total=False):
    """What ``converse`` and ``converse_stream`` take beside the model and the messages.

    ``tools`` takes Python functions, which the client runs for the model until it answers or ``max_turns`` model calls
    are made (1: one plain step), and specifications, which it hands over without running anything. ``output_type`` is a
    pydantic model, dataclass, TypedDict, other type or JSON schema; the validated object is ``response.output``.
    ``timeout`` is in seconds for the whole call, retries and tools included; only ``AsyncClient`` can break off a tool
    that runs. ``extra`` reaches the provider untouched. ``endpoint`` says how a ``sagemaker:`` endpoint is called
    (``EndpointOptions``, or its members as a dict). The other names are those of Bedrock's Converse.
    """

    system: SystemPrompt | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: Sequence[str] | None
    inference_config: InferenceConfig | Mapping[str, Any] | None
    tools: Sequence[ToolLike] | None
    tool_choice: ToolChoiceLike | None
    max_turns: int | None
    output_type: Any
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    extra: JsonObject | None
    prompt_variables: Mapping[str, str] | None
    additional_model_response_field_paths: Sequence[str] | None
    request_metadata: Mapping[str, str] | None
    performance_config: PerformanceConfig | Mapping[str, Any] | str | None
    service_tier: ServiceTier | Mapping[str, Any] | str | None
    effort: str | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


Answer: TypeAlias = "ConverseResponse | tuple[ToolResult, ...]"
Loop: TypeAlias = Generator["ConverseRequest | RunTools", Answer, ConverseResponse]

_OPTIONS = frozenset(ConverseOptions.__annotations__)
_NO_INFERENCE_CONFIG = InferenceConfig()
_KNOBS = frozenset(("max_tokens", "temperature", "top_p"))
_EXTRA = frozenset(
    ("top_k", "seed", "thinking", "reasoning_effort", "frequency_penalty", "presence_penalty", "logprobs")
)
MAX_TURNS = 10


class Prepared(msgspec.Struct, frozen=True):
    """One call, ready to be made. ``loop`` is None on the plain path: one request, one answer."""

    reference: Reference
    request: ConverseRequest
    loop: Callable[[], Loop] | None
    timeout: float | None
    price: Price | None
    warnings: tuple[str, ...] = ()

    @property
    def first(self) -> ConverseRequest:
        """The first request that is sent: a loop for a typed output asks for it in a way of its own."""
        step = self.request if self.loop is None else next(self.loop())
        return step if isinstance(step, ConverseRequest) else self.request

    def finish(self, response: ConverseResponse) -> ConverseResponse:
        """The response with the model's reference and the cost."""
        return msgspec.structs.replace(
            response,
            model=str(self.reference),
            cost=response_cost(self.reference, response.usage, self.price),
            messages=response.messages or (response.message,),
            warnings=self.warnings + response.warnings,
        )


def prepare(model: str, messages: Prompt, options: ConverseOptions, prices: Mapping[str, Price]) -> Prepared:
    """Check and translate everything that can be before anything is sent."""
    if not options.keys() <= _OPTIONS:
        raise _unknown_option(options.keys() - _OPTIONS)
    reference = parse_reference(model)
    functions: Mapping[str, ToolFunction] = {}
    request = _request(reference, messages, options)
    if tools := options.get("tools"):
        specs, functions = coerce.tools(tools)
        choice = coerce.tool_choice(options.get("tool_choice"))
        request = msgspec.structs.replace(request, tools=specs, tool_choice=choice)
    elif options.get("tool_choice") is not None:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    coerce.check_request(request)
    request, warnings = _possible_choice(reference, request)
    loop = _loop(reference, request, functions, options)
    return Prepared(reference, request, loop, options.get("timeout"), prices.get(str(reference)), warnings)


def _possible_choice(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """A tool cannot be forced on every model, nor while it thinks; then the choice is the model's, and a warning says
    so. A model that no rule names is asked as the caller wants it."""
    choice = request.tool_choice
    if choice is None or choice.type == "auto":
        return request, ()
    can = profile(reference.scheme, reference.model)
    if choice.type in can.choices_for(request):
        return request, ()
    why = "while thinking" if choice.type in can.tool_choices else f"by models of the family {can.family}"
    warning = f"tool_choice {choice.type!r} is not taken {why}: the model was left to choose"
    return msgspec.structs.replace(request, tool_choice=None), (warning,)


def _request(reference: Reference, messages: Prompt, options: ConverseOptions) -> ConverseRequest:
    metadata, variables = options.get("request_metadata"), options.get("prompt_variables")
    performance, tier = options.get("performance_config"), options.get("service_tier")
    effort = options.get("effort")
    system, turns = coerce.leading_system(coerce.messages(messages))
    return ConverseRequest(
        model=reference.model,
        messages=turns,
        system=(*coerce.system(options.get("system")), *system),
        inference_config=_inference_config(options),
        guardrail_config=coerce.config(options.get("guardrail_config"), GuardrailConfig, "guardrailConfig"),
        extra=options.get("extra"),
        prompt_variables=dict(variables) if variables else None,
        additional_model_response_field_paths=tuple(options.get("additional_model_response_field_paths") or ()),
        request_metadata=dict(metadata) if metadata else None,
        performance_config=PerformanceConfig(performance)
        if isinstance(performance, str)
        else coerce.config(performance, PerformanceConfig, "performanceConfig"),
        service_tier=ServiceTier(tier) if isinstance(tier, str) else coerce.config(tier, ServiceTier, "serviceTier"),
        output_config=OutputConfig(effort=effort) if effort else None,
        endpoint=_endpoint(reference, options.get("endpoint")),
    )


def _endpoint(reference: Reference, value: EndpointOptions | Mapping[str, Any] | None) -> EndpointOptions | None:
    if value is None:
        return None
    if reference.scheme != "sagemaker":
        raise ValidationError(f"endpoint= says how a sagemaker: endpoint is called; {reference} is none")
    return coerce.endpoint_options(value)


def _inference_config(options: ConverseOptions) -> InferenceConfig:
    given = coerce.config(options.get("inference_config"), InferenceConfig, "inferenceConfig")
    config = given or _NO_INFERENCE_CONFIG
    changes: dict[str, Any] = {name: value for name, value in options.items() if name in _KNOBS}
    if stop := options.get("stop_sequences"):
        changes["stop_sequences"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return msgspec.structs.replace(config, **changes) if changes else config


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


def _unknown_option(names: set[str], known: frozenset[str] = _OPTIONS) -> ValidationError:
    name = min(names)
    if name in _EXTRA:
        return ValidationError(f"unknown option {name!r}: what only some models know goes into extra={{{name!r}: ...}}")
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "pass what only the provider knows in extra={...}"
    return ValidationError(f"unknown option {name!r}: {hint}")


def response_cost(reference: Reference, usage: Usage, price: Price | None) -> float | None:
    """US dollars, None when a price or a count that matters is unknown. A local model costs nothing."""
    if price is None:
        return 0.0 if reference.scheme == "local" else None
    pairs = [
        (usage.input_tokens, price.input),
        (usage.output_tokens or 0, price.output),
        (usage.cache_read_input_tokens or 0, price.cache_read),
        (usage.cache_write_input_tokens or 0, price.cache_write),
    ]
    total = 0.0
    for tokens, rate in pairs:
        if tokens is None or (tokens and rate is None):
            return None
        total += tokens * (rate or 0.0)
    return total / 1_000_000


# --- embeddings, images, rankings ------------------------------------------------------------------------------------


class EmbedOptions(TypedDict, total=False):
    """``normalize`` asks for unit vectors. ``input_type`` says what the texts are for, where a model distinguishes:
    search_document, search_query, classification or clustering. ``extra`` reaches the provider untouched. ``endpoint``
    says how a ``sagemaker:`` endpoint is called. ``timeout`` is in seconds."""

    normalize: bool | None
    input_type: str | None
    extra: JsonObject | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


class ImageOptions(TypedDict, total=False):
    """``count`` is how many images to make, ``width`` and ``height`` are in pixels, ``steps`` are denoising steps,
    ``guidance_scale`` says how closely the prompt is followed. The rest is as in ``EmbedOptions``."""

    negative_prompt: str | None
    count: int
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    seed: int | None
    extra: JsonObject | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


class RerankOptions(TypedDict, total=False):
    """As in ``EmbedOptions``."""

    extra: JsonObject | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


def _members(reference: Reference, options: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The request's members among the options; ``timeout`` is the policy's. ``kind`` is the options' type."""
    known = frozenset(kind.__annotations__)
    if not options.keys() <= known:
        raise _unknown_option(options.keys() - known, known)
    endpoint = _endpoint(reference, options.get("endpoint"))
    members = {name: value for name, value in options.items() if name not in ("timeout", "endpoint")}
    return {**members, "model": reference.model, "endpoint": endpoint}


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


def _refuse_blank(texts: Sequence[str], what: str, verb: str) -> None:
    for i, text in enumerate(texts):
        if not text.strip():
            raise ValidationError(f"{what} {i} to {verb} is blank: leave it out or write something")


def finish_embed(response: EmbedResponse, reference: Reference, prices: Mapping[str, Price]) -> EmbedResponse:
    cost = response_cost(reference, response.usage, prices.get(str(reference)))
    return msgspec.structs.replace(response, model=str(reference), cost=cost)


def finish_image(response: ImageResponse, reference: Reference) -> ImageResponse:
    """``cost`` stays unknown: prices are by the token, and images have none."""
    return msgspec.structs.replace(response, model=str(reference))


def finish_rerank(response: RerankResponse, reference: Reference, prices: Mapping[str, Price]) -> RerankResponse:
    cost = response_cost(reference, response.usage, prices.get(str(reference)))
    return msgspec.structs.replace(response, model=str(reference), cost=cost)


def keep_turns(error: Exception, request: ConverseRequest, first: ConverseRequest) -> None:
    """Hand over the turns that a tool loop had finished when ``error`` struck: tools have run, answers were paid
    for."""
    done = request.messages[len(first.messages) :]
    if isinstance(error, AwsllmError) and done:
        error.messages = done
