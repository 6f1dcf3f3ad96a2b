"""The options of each operation.

The text of an option stands once, in the docstring of its ``TypedDict``, and ``documented`` shows it in the docstring
of every method that takes it. Annotations are values here, not texts as in the other modules: a ``TypedDict`` compiles
each text, and there are enough of them to be felt in a cold start.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from awsllm.errors import AwsllmError, ValidationError
from awsllm.types import (
    EndpointOptions,
    GuardrailConfig,
    InferenceConfig,
    JsonObject,
    PerformanceConfig,
    ServiceTier,
)

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt, SystemPrompt, ToolChoiceLike, ToolLike
    from awsllm.calls.media import ImageLike
    from awsllm.tools.approval import Approve
    from awsllm.tools.failures import OnToolError
    from awsllm.types.agents import ReturnControl
    from awsllm.types.media import VideoShot
    from awsllm.types.retrieval import Filter, ImplicitFilter, Reranking

F = TypeVar("F", bound=Callable[..., Any])

_NUMBERS = (int, float)
# What callers of other libraries look for among the options.
_EXTRA = frozenset(("top_k", "seed", "reasoning_effort", "frequency_penalty", "presence_penalty", "logprobs"))


class CallOptions(TypedDict, total=False):
    """The options of every call.

    extra: a dict that reaches the provider untouched, for what only some models know.
    family: which model an ARN of the account's own is, where it shall not be asked (application profiles, imported and
        custom models, provisioned throughput, prompts, routers): a family's name ("claude") or a foundation model's id.
    endpoint: how a sagemaker: endpoint is called: an EndpointOptions, or its members as a dict.
    timeout: seconds for the whole call, retries and tools included. Only AsyncClient can break off a tool that runs.
    tags: names and texts by which the ledger counts the call, beside the client's; of Bedrock they are metadata too.
    response_cache: False neither looks for a kept answer nor keeps this one; True does both at any temperature. None,
        the default, does what the client's response_cache says.
    tenant: whose call it is: where a quota of limits= is short, each tenant gets a part of it, however many calls wait.
    priority: 0 by default; of the calls that wait for a quota those of a higher one go first.
    """

    extra: JsonObject | None
    family: str | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None
    tags: Mapping[str, str] | None
    response_cache: bool | None
    tenant: str | None
    priority: int | None


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
    thinking: True or "adaptive" (as much as it wants), a budget in tokens, or False, where the model lets one say so;
        None is the model's own default. What it cannot honour is a warning.
    cache: "auto" places cache points by the rules of the model's family: behind tools, system prompt and the last
        turns. None, the default, leaves them to you: CachePoint() among content, system and tools.
    cache_ttl: how long what cache="auto" places is kept: "5m", the default, or "1h" where the model has it.
    approve: a function that is asked before one of your functions runs. It is given the ToolUse, and returns True, or
        what the model reads instead of a result: False ("refused") or the reason as text. It may be asynchronous.
    repair: whether a request that the model refuses for a known reason is changed and sent once more, and later ones
        before they are sent; the response's warnings tell of it. True by default.
    api: by which door of Bedrock the model is called: "converse", "invoke" (InvokeModel, in the model's own body) or
        "openai" (the OpenAI-shaped routes). "auto", the default, takes the first of converse, openai and invoke that
        the model has.
    """

    system: "SystemPrompt | None"
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: str | Sequence[str] | None
    inference_config: InferenceConfig | Mapping[str, Any] | None
    tools: "Sequence[ToolLike] | None"
    tool_choice: "ToolChoiceLike | None"
    max_turns: int | None
    on_tool_error: "OnToolError | None"
    output_type: Any
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    prompt_variables: Mapping[str, str] | None
    additional_model_response_field_paths: Sequence[str] | None
    request_metadata: Mapping[str, str] | None
    performance_config: PerformanceConfig | Mapping[str, Any] | str | None
    service_tier: ServiceTier | Mapping[str, Any] | str | None
    effort: str | None
    thinking: bool | int | str | None
    cache: str | None
    cache_ttl: str | None
    approve: "Approve | None"
    repair: bool
    api: str | None


class ConverseStreamOptions(ConverseOptions, total=False):
    """The options of ``converse_stream``.

    resume: whether a stream that breaks after its first event is continued from where it was, where the model can do
        that; the answer so far is paid for as input then. False by default.
    """

    resume: bool


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
    images: "Sequence[ImageLike]"
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
    mask: "ImageLike | None"
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

    images: "Sequence[ImageLike]"
    shots: "Sequence[str | tuple[str, ImageLike] | VideoShot]"
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


class SpeechOptions(TypedDict, total=False):
    """The options of ``speech``.

    system: the system prompt: a text, a block, or a list of them.
    messages: turns before the session, as of an earlier one's ``messages``. Texts only, 40 KB at most.
    tools: Python functions, which the session runs for the model while it goes on, and specifications, whose calls are
        answered with ``send_tool_result``.
    tool_choice: "auto", "any", or the one tool that must be used.
    on_tool_error: what the model reads of a function that raises; as in ``converse``.
    voice: whose voice speaks, "matthew" by default. Each speaks its languages (AWS lists them).
    input_rate: samples a second of the audio that is sent: 8000, 16000 (the default) or 24000.
    output_rate: samples a second of the audio that comes: 8000, 16000 or 24000 (the default).
    max_tokens: the most tokens of an answer.
    temperature: 0 to 1, how freely the model chooses its words; None is the model's own default.
    top_p: 0 to 1, the share of likely words it chooses from; None is the model's own default.
    endpointing_sensitivity: how soon a pause ends the user's turn: "HIGH" (1.5 s), "MEDIUM" or "LOW" (2 s). Nova 2
        Sonic and later.
    family: which model an ARN of the account's own is.
    timeout: seconds for connecting.
    """

    system: "SystemPrompt | None"
    messages: "Prompt | None"
    tools: "Sequence[ToolLike] | None"
    tool_choice: "ToolChoiceLike | None"
    on_tool_error: "OnToolError | None"
    voice: str
    input_rate: int
    output_rate: int
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    endpointing_sensitivity: str | None
    family: str | None
    timeout: float | None


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


class PredictOptions(TypedDict, total=False):
    """The options of ``predict``.

    labels: the labels to choose from (zero-shot classification).
    multi_label: whether several of them may hold, where the container knows that.
    count: how many objects or guesses to give at most, where the container knows that.
    horizon: how many values of a series to foretell.
    quantiles: at which levels, such as 0.1, 0.5 and 0.9.
    frequency: how far the values of a series are apart, in pandas' words (such as "D").
    language: that of the speech.
    extra: what only some containers know; it goes where their parameters go.
    endpoint: how the endpoint is called: an EndpointOptions, or its members as a dict.
    timeout: seconds for the whole call, retries included.
    """

    labels: Sequence[str]
    multi_label: bool | None
    count: int | None
    horizon: int | None
    quantiles: Sequence[float]
    frequency: str | None
    language: str | None
    extra: JsonObject | None
    endpoint: EndpointOptions | Mapping[str, Any] | None
    timeout: float | None


class RouterOptions(TypedDict, total=False):
    """The options of ``invoke_inference_router``; all but the last are headers.

    content_type: of the body, application/json by default.
    accept: what may come back, application/json by default.
    inference_id: the caller's name of the call.
    prefix_aware_id: what prefix-aware routing keeps together.
    custom_attributes: what the container is handed as it is, at most 1,024 ASCII characters.
    timeout: seconds for the whole call, retries included.
    """

    content_type: str
    accept: str
    inference_id: str | None
    prefix_aware_id: str | None
    custom_attributes: str | None
    timeout: float | None


class RouterAsyncOptions(TypedDict, total=False):
    """The options of ``invoke_inference_router_async``.

    content_type: of the object in S3, application/json by default.
    accept: what the answer may be.
    inference_id: the caller's name of the call; without one the service gives it one.
    custom_attributes: what the container is handed as it is, at most 1,024 ASCII characters.
    output_extension: what is added to the target's output path.
    filename: the name of the answer's object there.
    ttl: how many seconds the request may wait for a destination, 60 to 21,600.
    invocation_timeout: how many seconds a destination may take, at most 3,600.
    timeout: seconds for this call, which only hands the work in.
    """

    content_type: str
    accept: str | None
    inference_id: str | None
    custom_attributes: str | None
    output_extension: str | None
    filename: str | None
    ttl: int | None
    invocation_timeout: int | None
    timeout: float | None


class RerankOptions(CallOptions, total=False):
    """The options of ``rerank``.

    api: "invoke" (the default) or "agents", the door of Bedrock: InvokeModel, or the Rerank of knowledge bases, which
        takes up to 1,000 documents.
    """

    api: str | None


class KnowledgeOptions(TypedDict, total=False):
    """How a knowledge base is searched.

    number_of_results: how many pieces to find, 1 to 100.
    search_type: "hybrid" or "semantic"; None leaves it to the service.
    filter: which documents count: conditions on their metadata, as ``(attribute("year") >= 2020) & …`` (see
        awsllm.attribute), or the service's dict.
    implicit_filter: an ImplicitFilter, or its members as a dict: a model writes the filter.
    rerank: the reranker, a model's id or ARN, or a Reranking; of a managed search also "managed" or "none".
    managed: the knowledge base is one that the service searches by itself.
    guardrail_config: the guardrail that reads along: a GuardrailConfig or Converse's dict.
    user_id: whose documents are searched, where the data source has access control.
    timeout: seconds for the whole call, retries included.
    """

    number_of_results: int | None
    search_type: str | None
    filter: "Filter | Mapping[str, Any] | None"
    implicit_filter: "ImplicitFilter | Mapping[str, Any] | None"
    rerank: "str | Reranking | None"
    managed: bool
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    user_id: str | None
    timeout: float | None


class RetrieveOptions(KnowledgeOptions, total=False):
    """How a knowledge base is searched.

    next_token: that of a response before, for what comes after it.
    """

    next_token: str | None


class GenerateOptions(KnowledgeOptions, total=False):
    """How an answer is made of what a knowledge base or a document has.

    knowledge_base: its id or ARN.
    sources: in place of a knowledge base, the document: an s3:// address, a pathlib.Path, or an ExternalSource.
    session_id: that of a response before, to go on with its conversation.
    prompt_template: the prompt that the model is given, with $search_results$ in it.
    max_tokens: the most tokens of the answer.
    temperature: 0 to 1, how freely the model chooses its words.
    top_p: 0 to 1, the share of likely words it chooses from.
    stop_sequences: a text, or texts, at which the answer ends.
    latency: "standard" or "optimized".
    orchestration: the service's orchestrationConfiguration: how the query is made of the question.
    kms_key_arn: the key that the session is encrypted with.
    extra: a dict that reaches the model untouched.
    """

    knowledge_base: str | None
    sources: Any
    session_id: str | None
    prompt_template: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop_sequences: str | Sequence[str] | None
    latency: str | None
    orchestration: JsonObject | None
    kms_key_arn: str | None
    extra: JsonObject | None


class AgenticOptions(TypedDict, total=False):
    """How an agent searches knowledge bases.

    model: the model that plans; None is the service's own.
    rerank: a reranker's id or ARN, "managed" or "none".
    max_iterations: how often it may search again.
    generate: whether to answer, too.
    guardrail_config: the guardrail that reads along: a GuardrailConfig or Converse's dict.
    user_id: whose documents are searched, where the data source has access control.
    next_token: that of a response before, for what comes after it.
    extra: further members of the request, as the service names them (memoryConfiguration …).
    timeout: seconds for the whole call, retries included.
    """

    model: str | None
    rerank: str | None
    max_iterations: int | None
    generate: bool | None
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None
    user_id: str | None
    next_token: str | None
    extra: JsonObject | None
    timeout: float | None


class TurnOptions(TypedDict, total=False):
    """One turn of an agent.

    session_id: that of a response before, to go on with its conversation; a new one by default.
    trace: whether the agent tells its steps.
    end_session: whether the conversation ends with this turn.
    attributes: the session's attributes, texts by name.
    prompt_attributes: the prompt's, for this turn alone.
    files: AgentFile values, or paths of files for the code interpreter.
    return_control: the response's, when what it wanted is done; ``results`` then has one for each of its invocations:
        what ``invocation.result(…)`` makes, or plain texts and values.
    results: see return_control.
    stream_text: whether the answer comes in pieces.
    guardrail_interval: after how many characters of a streamed answer the agent's guardrail is applied.
    session_extra: further members of the session's state, as the service names them.
    extra: further members of the request, as the service names them.
    timeout: seconds for the whole call, retries included.
    """

    session_id: str | None
    trace: bool | None
    end_session: bool | None
    attributes: Mapping[str, str] | None
    prompt_attributes: Mapping[str, str] | None
    files: Sequence[Any] | None
    return_control: "ReturnControl | None"
    results: Sequence[Any] | None
    stream_text: bool | None
    guardrail_interval: int | None
    session_extra: JsonObject | None
    extra: JsonObject | None
    timeout: float | None


class AgentOptions(TurnOptions, total=False):
    """One turn of an agent.

    alias: the id of the agent's alias, where the agent is not named as AGENT/ALIAS.
    memory_id: which of the agent's memories it remembers by.
    source_arn: the ARN of what calls.
    """

    alias: str | None
    memory_id: str | None
    source_arn: str | None


class InlineAgentOptions(TurnOptions, total=False):
    """One turn of an agent that is described in the call; the descriptions are as the service takes them.

    instruction: who the agent is and what it does; 40 characters at least.
    action_groups: what it can do.
    knowledge_bases: what it can look up.
    guardrail_config: its guardrail: a GuardrailConfig or Converse's dict.
    """

    instruction: str
    action_groups: Sequence[Mapping[str, Any]] | None
    knowledge_bases: Sequence[Mapping[str, Any]] | None
    guardrail_config: GuardrailConfig | Mapping[str, Any] | None


class GuardrailOptions(TypedDict, total=False):
    """How a guardrail is applied.

    version: "DRAFT" (the default) or a number.
    source: "INPUT" (the default), what a user wrote, or "OUTPUT", what a model did.
    full: whether the response lists what was looked for and not found, too.
    timeout: seconds for the whole call, retries included.
    """

    version: str | int | None
    source: str
    full: bool
    timeout: float | None


class ChecksOptions(TypedDict, total=False):
    """What to look for, by its names in the service, or True for all of it.

    content_filter: VIOLENCE, HATE, SEXUAL, MISCONDUCT, INSULTS.
    prompt_attack: JAILBREAK, PROMPT_INJECTION, PROMPT_LEAKAGE.
    sensitive_information: EMAIL, PHONE, NAME and the like.
    timeout: seconds for the whole call, retries included.
    """

    content_filter: bool | str | Sequence[str]
    prompt_attack: bool | str | Sequence[str]
    sensitive_information: bool | str | Sequence[str]
    timeout: float | None


class GuardOptions(TypedDict, total=False):
    """How a stream is guarded.

    version: "DRAFT" (the default) or a number.
    window: how many characters are judged at a time, 1,000 by default, which is a unit that is billed.
    overlap: how many characters at the end of a window wait to be judged with the next: what is no longer than this is
        never cut in two. 100 by default.
    observe: only watch: nothing waits, nothing is changed.
    """

    version: str | int | None
    window: int
    overlap: int
    observe: bool


def check_number(name: str, value: Any, *, whole: bool = False, kind: type[AwsllmError] = ValidationError) -> None:
    """An error of ``kind`` for what is no number: digits from a form, a query or the environment are a text."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int if whole else _NUMBERS)):
        raise kind(f"{name} is {value!r:.40}; it is an int" + ("" if whole else " or a float"))


def check_names(options: Mapping[str, Any], kind: type) -> None:
    """``ValidationError`` for an option that ``kind``, a ``TypedDict``, does not have, with what may be meant; and for
    a ``timeout``, which all have but what starts a job, that is no number."""
    if "timeout" in options:
        check_number("timeout", options["timeout"])
    known = kind.__annotations__.keys()
    if options.keys() <= known:
        return
    name = min(options.keys() - known)
    if name == "timeout":
        raise ValidationError("unknown option 'timeout': what starts a job has none; the job's wait(timeout=...) has")
    if name in _EXTRA:
        raise ValidationError(f"unknown option {name!r}: what only some models know goes into extra={{{name!r}: ...}}")
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "pass what only the provider knows in extra={...}"
    raise ValidationError(f"unknown option {name!r}: {hint}")


class TrainingSessionOptions(TypedDict, total=False):
    """What a training session is made with.

    rank: of the adapter that is trained.
    alpha: what the adapter gives is multiplied by alpha / rank.
    seed: of a session on this machine: what its random numbers follow from.
    tokenizer: of SageMaker's: the model's folder, tokenizer.json or GGUF file, so that it takes more than tokens.
    session: the name of a training session of SageMaker that runs already; it goes on when this handle is closed.
    role: of SageMaker's: the ARN of the role that it runs as.
    output: an s3:// prefix for what is saved.
    name: how a new session is called.
    group: the ARN of the model package group in which what is saved is registered.
    accept_eula: that the base model's licence is accepted.
    tags: of a new session.
    """

    rank: int
    alpha: int
    seed: int
    tokenizer: str | os.PathLike[str] | None
    session: str | None
    role: str
    output: str
    name: str
    group: str | None
    accept_eula: bool
    tags: Mapping[str, str]


def documented(options: type) -> Callable[[F], F]:
    """Decorator: appends what each of ``options``, a ``TypedDict``, means to the docstring of the method that takes
    them, where ``help`` shows it."""

    def document(method: F) -> F:
        if method.__doc__ is not None:  # it is None under -OO
            method.__doc__ = f"{_cleaned(method.__doc__)}\n\nOptions:\n\n{_texts(options)}"
        return method

    return document


def _cleaned(docstring: str) -> str:
    """As ``inspect.cleandoc`` has it, whose module takes a tenth of a cold start to import."""
    first, _, rest = docstring.partition("\n")
    return f"{first.lstrip()}\n{dedent(rest)}".strip()


@cache
def _texts(options: type) -> str:
    """What follows the first paragraph of the docstring, and of those of the options that it extends."""
    names = options.__annotations__.keys()
    kinds = [kind for kind in _KINDS if kind is not options and names >= kind.__annotations__.keys()]
    return "\n".join(filter(None, (_cleaned(kind.__doc__ or "").partition("\n\n")[2] for kind in (options, *kinds))))


# What other options extend: a ``TypedDict`` does not tell.
_KINDS = (CallOptions, ConverseOptions, KnowledgeOptions, TurnOptions)
