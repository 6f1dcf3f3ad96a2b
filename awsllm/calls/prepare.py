"""What a call is before it is made: the caller's words checked and turned into a request, and what remains to be done.

``prepare`` gives a ``Prepared``: the model's reference, one ``ConverseRequest`` and, where tools or a typed output are
wanted, the sans-I/O generator that says what to do next (``tools.loop``, ``tools.typed``). The other operations are one
request and no loop: their ``prepare_…`` gives the reference and the request. ``finish`` adds to any response what only
the client knows: the model's reference, the cost, and what its caller must know of the model. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.calls import content
from awsllm.calls.checks import check_profile, check_request, fit_to_profile
from awsllm.calls.media import images, relabelled
from awsllm.calls.options import ConverseOptions, EmbedOptions, ImageOptions, RerankOptions, check_names, check_number
from awsllm.errors import AwsllmError, UnsupportedError, ValidationError
from awsllm.models.knowledge import Knowledge
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
    Request,
    RerankRequest,
    ServiceTier,
    Text,
)
from awsllm.wire.converse.rules import is_plain

if TYPE_CHECKING:
    from awsllm.calls.content import EmbedInput, Prompt
    from awsllm.tools.failures import ToolErrors
    from awsllm.tools.function import ToolFunction
    from awsllm.tools.loop import Loop

R = TypeVar("R")

MAX_TURNS = 10
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
    """One call, ready to be made. ``loop`` is None on the plain path: one request, one response."""

    reference: Reference
    request: ConverseRequest
    loop: Callable[[], Loop] | None
    timeout: float | None
    prices: Knowledge
    warnings: tuple[str, ...] = ()
    tool_errors: ToolErrors | None = None

    def finish(self, response: ConverseResponse) -> ConverseResponse:
        """``finish``, with turns that can be sent, and what the preparation has to say of the call."""
        response = _sendable(response)
        turns = sum(message.role == "assistant" for message in response.messages)
        return replace(
            response,
            model=str(self.reference),
            cost=self.prices.cost(self.reference, response, self.request, turns=turns),
            warnings=self.warnings + response.warnings + self.prices.warnings(self.reference, self.request.family),
            tool_errors=self.tool_errors.kept if self.tool_errors else (),
        )


def prepare(model: str, messages: Prompt, options: ConverseOptions, prices: Knowledge) -> Prepared:
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
    request, notes = _checked(reference, request, typed=options.get("output_type") is not None)
    errors = None
    if functions:
        from awsllm.tools.failures import ToolErrors

        errors = ToolErrors(options.get("on_tool_error"))
        functions = errors.watch(functions)
    loop = _loop(reference, request, functions, options)
    return Prepared(reference, request, loop, options.get("timeout"), prices, notes, errors)


def _checked(reference: Reference, request: ConverseRequest, *, typed: bool) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request as it can be sent, and what was changed of the caller's."""
    try:
        check_profile(reference, request)
        mended, notes = _mended(reference, request)
        check_request(mended, reference.scheme, typed=typed)
        fitting, warnings = fit_to_profile(reference, mended)
    except (AttributeError, TypeError) as error:  # constructors check nothing
        from awsllm.calls.wellformed import malformed

        if reason := malformed(request):
            raise reason from error
        raise
    return fitting, notes + warnings


def _mended(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request with a conversation that can be sent, and what was changed of the caller's."""
    if is_plain(request.messages) and request.messages and request.messages[-1].role == "user":
        return request, ()
    from awsllm.calls.wellformed import has_strays, malformed
    from awsllm.wire.converse.history import Notes, mended

    if has_strays(request.messages) and (reason := malformed(request)):
        raise reason
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
        family=options.get("family"),
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
        changes["stop_sequences"] = _texts("stop_sequences", stop)
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
    call = prepare(model, messages, options, Knowledge())
    first = call.request if call.loop is None else next(call.loop())
    converse = first if isinstance(first, ConverseRequest) else call.request
    request = CountTokensRequest(model=call.reference.model, family=converse.family, converse=converse)
    return call.reference, request


def prepare_embed(
    model: str, texts: EmbedInput, dimensions: int | None, options: EmbedOptions
) -> tuple[Reference, EmbedRequest]:
    """Inputs that are no more than a text each are the request's ``texts``; if one is more, all are ``inputs``. Raises
    ``UnsupportedError`` where such cannot be embedded."""
    reference = parse_reference(model)
    inputs = content.embed_inputs(texts)
    if not inputs or not all(inputs):
        raise ValidationError("nothing to embed: pass at least one text, image or the like, and no empty list")
    for index, blocks in enumerate(inputs):
        if any(isinstance(block, Text) and not block.text.strip() for block in blocks):
            raise ValidationError(f"text {index} to embed is blank: leave it out or write something")
    check_number("dimensions", dimensions, whole=True)
    plain = tuple(blocks[0].text for blocks in inputs if len(blocks) == 1 and isinstance(blocks[0], Text))
    members = members_of(reference, options, EmbedOptions)
    if len(plain) == len(inputs):
        return reference, EmbedRequest(texts=plain, dimensions=dimensions, **members)
    if reference.scheme != "bedrock" or not profile(reference.scheme, reference.model).images:
        from awsllm.wire.vectors import MEDIA_MODELS

        raise UnsupportedError(f"{reference} embeds texts only, each alone; media are embedded by {MEDIA_MODELS}")
    return reference, EmbedRequest(inputs=inputs, dimensions=dimensions, **members)


def prepare_image(model: str, prompt: str, options: ImageOptions) -> tuple[Reference, ImageRequest]:
    reference = parse_reference(model)
    members = members_of(reference, options, ImageOptions)
    members |= {"images": images(members.get("images") or ()), "colors": tuple(members.get("colors") or ())}
    _texts("the prompt", [prompt])
    request = ImageRequest(prompt=prompt, **members)
    if not prompt.strip():
        raise ValidationError("the prompt is blank: say what the image shows")
    check_number("strength", request.strength)
    for name in ("count", "width", "height", "steps"):
        value = getattr(request, name)
        check_number(name, value, whole=True)
        if value is not None and value < 1:
            raise ValidationError(f"{name} is {value}; it is at least 1")
    return reference, request


def prepare_rerank(
    model: str, query: str, documents: Sequence[str], top_n: int | None, options: RerankOptions
) -> tuple[Reference, RerankRequest]:
    reference = parse_reference(model)
    if isinstance(documents, str) or not documents:
        raise ValidationError("nothing to rank: pass a list of at least one document")
    _refuse_blank(_texts("the query", [query]), "query", "rank for")
    _refuse_blank(_texts("documents", documents), "document", "rank")
    check_number("top_n", top_n, whole=True)
    if top_n is not None and top_n < 1:
        raise ValidationError(f"top_n is {top_n}; it is at least 1, or None for all")
    members = members_of(reference, options, RerankOptions)
    return reference, RerankRequest(query=query, documents=tuple(documents), top_n=top_n, **members)


def members_of(reference: Reference, options: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The request's members among the options; ``timeout`` is the policy's. ``kind`` is the options' type."""
    check_names(options, kind)
    endpoint = _endpoint(reference, options.get("endpoint"))
    members = {name: value for name, value in options.items() if name not in ("timeout", "endpoint")}
    return {**members, "model": reference.model, "endpoint": endpoint}


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """A text or texts as texts; ``ValidationError`` for what is neither."""
    if isinstance(value, str):
        return (value,)
    texts = tuple(value) if isinstance(value, Iterable) else (value,)
    for text in texts:
        if not isinstance(text, str):
            raise ValidationError(f"{name}: a {type(text).__name__} is no text")
    return texts


def _refuse_blank(texts: Sequence[str], what: str, verb: str) -> None:
    for i, text in enumerate(texts):
        if not text.strip():
            raise ValidationError(f"{what} {i} to {verb} is blank: leave it out or write something")
