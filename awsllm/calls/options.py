"""The options of each operation.

The text of an option stands once, in the docstring of its ``TypedDict``, and ``documented`` shows it in the docstring
of every method that takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from awsllm.errors import ValidationError

if TYPE_CHECKING:
    from awsllm.calls.content import SystemPrompt, ToolChoiceLike, ToolLike
    from awsllm.tools.failures import OnToolError
    from awsllm.types import (
        EndpointOptions,
        GuardrailConfig,
        InferenceConfig,
        JsonObject,
        PerformanceConfig,
        ServiceTier,
    )

F = TypeVar("F", bound=Callable[..., Any])

# What callers of other libraries look for among the options.
_EXTRA = frozenset(
    ("top_k", "seed", "thinking", "reasoning_effort", "frequency_penalty", "presence_penalty", "logprobs")
)


class CallOptions(TypedDict, total=False):
    """The options of every call.

    extra: a dict that reaches the provider untouched, for what only some models know.
    endpoint: how a sagemaker: endpoint is called: an EndpointOptions, or its members as a dict.
    timeout: seconds for the whole call, retries and tools included. Only AsyncClient can break off a tool that runs.
    """

    extra: JsonObject | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


class ConverseOptions(CallOptions, total=False):
    """The options of ``converse``, ``converse_stream`` and ``count_tokens``.

    system: the system prompt: a text, a block, or a list of them.
    max_tokens: the most tokens of the answer. Set it: Bedrock reserves it from the quota.
    temperature: 0 to 1, how freely the model chooses its words; None is the model's own default.
    top_p: 0 to 1, the share of likely words it chooses from; None is the model's own default.
    stop_sequences: a text, or texts, at which the answer ends.
    inference_config: the four above in one, as an InferenceConfig or Converse's dict. What they say goes before it.
    tools: Python functions, which the client runs for the model until it answers, and specifications (ToolSpec, boto3's
        dicts, pydantic models), which it hands over without running anything.
    tool_choice: "auto", "any" (some tool must be used), or the one tool that must: its name, function or specification.
    max_turns: the most model calls while tools run, 10 by default; 1 is one plain step.
    on_tool_error: what the model reads of a function that raises: "message" (the exception's type and message, the
        default), "type" (its type alone), nothing ("raise": it ends the call), or what a function returns that is given
        the ToolUse and the exception. All of it is logged, and kept in response.tool_errors.
    output_type: what the answer shall be: a pydantic model, dataclass, TypedDict, other type or JSON schema. The
        validated object is response.output.
    guardrail_config: the guardrail that reads along: a GuardrailConfig or Converse's dict.
    prompt_variables: values for the variables of a managed prompt (a model reference that is a prompt's ARN), by name.
    additional_model_response_field_paths: JSON pointers into the provider's reply; what they name is response.extra.
    request_metadata: names and texts that go into the invocation log.
    performance_config: "standard" or "optimized" latency, a PerformanceConfig, or Converse's dict.
    service_tier: "priority", "default", "flex" or "reserved", a ServiceTier, or Converse's dict.
    effort: how much work a model that thinks puts into the answer, in its own words (such as "low" or "high").
    """

    system: SystemPrompt | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: str | Sequence[str] | None
    inference_config: InferenceConfig | Mapping[str, Any] | None
    tools: Sequence[ToolLike] | None
    tool_choice: ToolChoiceLike | None
    max_turns: int | None
    on_tool_error: OnToolError | None
    output_type: Any
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    prompt_variables: Mapping[str, str] | None
    additional_model_response_field_paths: Sequence[str] | None
    request_metadata: Mapping[str, str] | None
    performance_config: PerformanceConfig | Mapping[str, Any] | str | None
    service_tier: ServiceTier | Mapping[str, Any] | str | None
    effort: str | None


class EmbedOptions(CallOptions, total=False):
    """The options of ``embed``.

    normalize: whether the vectors shall have length 1; None is the model's own default.
    input_type: what the texts are for, where a model distinguishes: search_document, search_query, classification or
        clustering.
    """

    normalize: bool | None
    input_type: str | None


class ImageOptions(CallOptions, total=False):
    """The options of ``generate_image``.

    negative_prompt: what the images shall not show.
    count: how many images to make, 1 by default.
    width: in pixels.
    height: in pixels.
    steps: how many denoising steps to make.
    guidance_scale: how closely the prompt is followed.
    seed: the number that the noise is made of; the same seed gives the same image.
    """

    negative_prompt: str | None
    count: int
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    seed: int | None


class RerankOptions(CallOptions, total=False):
    """The options of ``rerank``: those of every call."""


def check_names(options: Mapping[str, Any], kind: type) -> None:
    """``ValidationError`` for an option that ``kind``, a ``TypedDict``, does not have, with what may be meant."""
    known = kind.__annotations__.keys()
    if options.keys() <= known:
        return
    name = min(options.keys() - known)
    if name in _EXTRA:
        raise ValidationError(f"unknown option {name!r}: what only some models know goes into extra={{{name!r}: ...}}")
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "pass what only the provider knows in extra={...}"
    raise ValidationError(f"unknown option {name!r}: {hint}")


def documented(options: type) -> Callable[[F], F]:
    """Decorator: appends what each of ``options``, a ``TypedDict``, means to the docstring of the method that takes
    them, where ``help`` shows it."""

    def document(method: F) -> F:
        if method.__doc__ is not None:  # it is None under -OO
            method.__doc__ = f"{cleandoc(method.__doc__)}\n\nOptions:\n\n{_texts(options)}"
        return method

    return document


@cache
def _texts(options: type) -> str:
    """What follows the first paragraph of the docstring, and of that of the options of every call, if it has those."""
    kinds = (
        [options, CallOptions] if options.__annotations__.keys() >= CallOptions.__annotations__.keys() else [options]
    )
    return "\n".join(filter(None, (cleandoc(kind.__doc__ or "").partition("\n\n")[2] for kind in kinds)))
