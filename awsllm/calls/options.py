"""The options of each operation.

The text of an option stands once, in the docstring of its ``TypedDict``, and ``documented`` shows it in the docstring
of every method that takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from awsllm.errors import AwsllmError, ValidationError

if TYPE_CHECKING:
    from awsllm.calls.content import SystemPrompt, ToolChoiceLike, ToolLike
    from awsllm.calls.media import ImageLike
    from awsllm.tools.failures import OnToolError
    from awsllm.types import (
        EndpointOptions,
        GuardrailConfig,
        InferenceConfig,
        JsonObject,
        PerformanceConfig,
        ServiceTier,
    )
    from awsllm.types.media import VideoShot

F = TypeVar("F", bound=Callable[..., Any])

_NUMBERS = (int, float)
# What callers of other libraries look for among the options.
_EXTRA = frozenset(
    ("top_k", "seed", "thinking", "reasoning_effort", "frequency_penalty", "presence_penalty", "logprobs")
)


class CallOptions(TypedDict, total=False):
    """The options of every call.

    extra: a dict that reaches the provider untouched, for what only some models know.
    family: which model an ARN of the account's own is, where it shall not be asked (application profiles, imported and
        custom models, provisioned throughput, prompts, routers): a family's name ("claude") or a foundation model's id.
    endpoint: how a sagemaker: endpoint is called: an EndpointOptions, or its members as a dict.
    timeout: seconds for the whole call, retries and tools included. Only AsyncClient can break off a tool that runs.
    """

    extra: JsonObject | None
    family: str | None
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
    aspect_ratio: such as "16:9", for models that choose the pixels themselves.
    style: a style that the model knows by name.
    quality: a quality that the model knows by name, such as "premium".
    images: what the result shall be like: paths, bytes or Images. What a model makes of one is its own: it begins from
        it, or keeps to its layout.
    strength: 0 to 1, how much images count, in the model's own sense.
    colors: those that the result shall have, such as "#ff8800".
    steps: how many denoising steps to make.
    guidance_scale: how closely the prompt is followed.
    seed: the number that the noise is made of; the same seed gives the same image.
    output_format: "png", "jpeg" or "webp", where the model lets one choose.
    """

    negative_prompt: str | None
    count: int
    width: int | None
    height: int | None
    aspect_ratio: str | None
    style: str | None
    quality: str | None
    images: Sequence[ImageLike]
    strength: float | None
    colors: Sequence[str]
    steps: int | None
    guidance_scale: float | None
    seed: int | None
    output_format: str | None


class EditOptions(CallOptions, total=False):
    """The options of ``edit_image``.

    task: what to do: inpaint, outpaint, variation, remove_background, try_on, upscale, erase, search_replace,
        search_recolor, sketch, structure, style or style_transfer (awsllm.types.media.ImageEditRequest says what each
        is). Unset: what the model does, if that is one thing; inpaint with a mask; else variation.
    prompt: what the result shall show.
    negative_prompt: what it shall not show.
    mask: an image of the same size that says where: a path, bytes or an Image. Amazon's models change what is black,
        Stability's what is white.
    mask_prompt: what is meant, in words, instead of a mask.
    search_prompt: what to replace or recolour.
    left: how many pixels to add there (outpaint).
    right: the same.
    up: the same.
    down: the same.
    strength: 0 to 1, in the model's own sense.
    count: how many images to make, 1 by default.
    width: in pixels.
    height: in pixels.
    aspect_ratio: such as "16:9".
    quality: a quality that the model knows by name.
    guidance_scale: how closely the prompt is followed.
    steps: how many denoising steps to make.
    seed: the number that the noise is made of.
    style: a style that the model knows by name.
    output_format: "png", "jpeg" or "webp", where the model lets one choose.
    """

    task: str
    prompt: str | None
    negative_prompt: str | None
    mask: ImageLike | None
    mask_prompt: str | None
    search_prompt: str | None
    left: int | None
    right: int | None
    up: int | None
    down: int | None
    strength: float | None
    count: int
    width: int | None
    height: int | None
    aspect_ratio: str | None
    quality: str | None
    guidance_scale: float | None
    steps: int | None
    seed: int | None
    style: str | None
    output_format: str | None


class VideoOptions(TypedDict, total=False):
    """The options of ``generate_video``.

    images: the first frame and, where the model takes one, the last: paths, bytes, s3:// addresses or Images.
    shots: what each shot shows, instead of a prompt: texts, pairs of a text and an image, or VideoShots.
    duration: in seconds.
    resolution: as the model names it, such as "720p".
    aspect_ratio: such as "16:9".
    loop: whether the end shall lead into the beginning.
    seed: the number that the noise is made of.
    extra: a dict that is merged into what the model is sent.
    token: names this video. Starting one with the token and the request of another gives that other, so that a program
        that broke down in between does not pay twice. Unset: a new one each time.
    tags: names and texts that the invocation is tagged with.
    kms: the ARN of the key that what is written is encrypted with.
    bucket_owner: the account that owns the bucket, where that is another's.
    family: which model an ARN of the account's own is, where it shall not be asked: a foundation model's id.
    on_progress: hears of each new state, as a Progress.
    """

    images: Sequence[ImageLike]
    shots: Sequence[str | tuple[str, ImageLike] | VideoShot]
    duration: int | None
    resolution: str | None
    aspect_ratio: str | None
    loop: bool | None
    seed: int | None
    extra: JsonObject | None
    token: str | None
    tags: Mapping[str, str] | None
    kms: str | None
    bucket_owner: str | None
    family: str | None
    on_progress: Callable[[Any], None] | None


class InvokeModelOptions(TypedDict, total=False):
    """The options of ``invoke_model``; all but the last are headers.

    content_type: of the body, application/json by default.
    accept: what may come back, application/json by default.
    guardrail_config: the guardrail that reads along: a GuardrailConfig or Converse's dict.
    latency: "standard" or "optimized".
    service_tier: "priority", "default", "flex" or "reserved".
    request_metadata: names and texts that go into the invocation log.
    timeout: seconds for the whole call, retries included.
    """

    content_type: str
    accept: str
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    latency: str | None
    service_tier: str | None
    request_metadata: Mapping[str, str] | None
    timeout: float | None


class InvokeEndpointOptions(TypedDict, total=False):
    """The options of ``invoke_endpoint``.

    content_type: of the body, application/json by default.
    accept: what may come back, anything by default.
    endpoint: how the endpoint is called: an EndpointOptions, or its members as a dict.
    timeout: seconds for the whole call, retries included.
    """

    content_type: str
    accept: str
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


class RerankOptions(CallOptions, total=False):
    """The options of ``rerank``: those of every call."""


def check_number(name: str, value: Any, *, whole: bool = False, kind: type[AwsllmError] = ValidationError) -> None:
    """An error of ``kind`` for what is no number: digits from a form, a query or the environment are a text."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int if whole else _NUMBERS)):
        raise kind(f"{name} is {value!r:.40}; it is an int" + ("" if whole else " or a float"))


def check_names(options: Mapping[str, Any], kind: type) -> None:
    """``ValidationError`` for an option that ``kind``, a ``TypedDict``, does not have, with what may be meant; and for
    a ``timeout``, which all have, that is no number."""
    if "timeout" in options:
        check_number("timeout", options["timeout"])
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
