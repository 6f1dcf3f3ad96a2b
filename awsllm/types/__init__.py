"""Neutral values: messages, content blocks, tools, requests, responses and stream events.

The vocabulary is Bedrock's Converse API (bedrock-runtime, service model of botocore 1.44) in Python case, so whoever
knows Converse knows these names. Every value is a frozen ``msgspec.Struct``: make a changed one with
``msgspec.structs.replace``. Sequences are tuples. ``to_dict`` makes plain JSON of any of them and ``from_dict`` loads
it back equal, binary content and thinking signatures included, as ``msgspec.json.encode`` and
``msgspec.json.decode(data, type=...)`` do; the member ``kind`` tells the variants of a union apart. In pydantic models
and FastAPI they are validated, written and described as such dicts.

This module holds what chat needs, and what every operation is made of. The values of operations beside it stand in the
modules of this package (``types.embedding``, ``types.media`` …), which are loaded when they are used.

Unions are open for reading: a variant newer than this version arrives as ``Unknown(tag, value)``, and a member newer
than this version of a known block is kept in that block's ``extra``. Enumerations are plain strings for the same
reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import msgspec

from awsllm.errors import ValidationError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

JsonValue: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]

R = TypeVar("R")
E = TypeVar("E")


class Value(msgspec.Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """Base of all neutral values: immutable, compared by content. They can be members of pydantic models."""

    def to_dict(self) -> JsonObject:
        """The value as plain JSON: dicts, lists, texts and numbers, binary content in base64. What is at its default is
        left out."""
        plain: JsonObject = msgspec.json.decode(msgspec.json.encode(self, enc_hook=_jsonable))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The value that ``to_dict`` gave, equal to what it was; a typed ``output`` stays the JSON it was made of.
        ``ValidationError`` says where ``data`` is something else."""
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise ValidationError(f"not the dict of a {cls.__name__}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """What copies and other processes make the value of. Mappings that nobody can change go as dicts: they stand
        for no value by themselves."""
        reduced: Any = super().__reduce__()  # msgspec's
        make, given = reduced
        if make is type(self):
            return make, tuple(map(_unlocked, given))
        kind, members = given  # of one with members by name alone
        return make, (kind, {name: _unlocked(value) for name, value in members.items()})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from awsllm.pydantic_schema import core_schema_of

        return core_schema_of(cls, handler)


def _unlocked(value: Any) -> Any:
    return dict(value) if isinstance(value, MappingProxyType) else value


def _jsonable(value: Any) -> Any:
    """What is no value of awsllm's: a typed output."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, serialize_as_any=True)


class Tagged(Value, frozen=True, tag_field="kind"):
    """Base of the variants of a union."""


class Block(Tagged, frozen=True, kw_only=True):
    """Base of content blocks. ``extra`` holds members this version does not know; they are sent back as they came."""

    extra: JsonObject | None = None


class Unknown(Tagged, frozen=True, tag="unknown"):
    """A union variant newer than this version: readable, not writable."""

    tag: str
    value: JsonValue = None


# --- where bytes come from -------------------------------------------------------------------------------------------


class Bytes(Tagged, frozen=True, tag="bytes"):
    """Content carried in the request itself; base64 on the wire, raw here."""

    data: bytes


class S3Location(Tagged, frozen=True, tag="s3_location"):
    """Content the service reads from S3: ``s3://bucket/key``."""

    uri: str
    bucket_owner: str | None = None


class DocumentText(Tagged, frozen=True, tag="document_text"):
    """A document given as one text."""

    text: str


class DocumentContent(Tagged, frozen=True, tag="document_content"):
    """A document given as chunks of text, which citations can point to by index."""

    chunks: tuple[str, ...]


MediaSource: TypeAlias = Bytes | S3Location | Unknown
DocumentSource: TypeAlias = Bytes | S3Location | DocumentText | DocumentContent | Unknown


# --- content blocks --------------------------------------------------------------------------------------------------


class Text(Block, frozen=True, tag="text"):
    text: str


class Json(Block, frozen=True, tag="json"):
    """A JSON value inside a tool result."""

    value: JsonValue


class Image(Block, frozen=True, tag="image"):
    """``format`` is png, jpeg, gif or webp. ``error`` is set by a model that failed to make the image."""

    format: str
    source: MediaSource
    error: str | None = None


class Document(Block, frozen=True, tag="document"):
    """``format`` is pdf, csv, doc, docx, xls, xlsx, html, txt or md. ``name`` is unique in a request and neutral: the
    model sees it. ``citations`` asks for citations."""

    name: str
    source: DocumentSource
    format: str | None = None
    context: str | None = None
    citations: bool | None = None


class Video(Block, frozen=True, tag="video"):
    """``format`` is mkv, mov, mp4, webm, flv, mpeg, mpg, wmv or three_gp."""

    format: str
    source: MediaSource


class Audio(Block, frozen=True, tag="audio"):
    """``format`` is mp3, wav, flac, ogg and more. ``error`` is set by a model that failed to make the audio."""

    format: str
    source: MediaSource
    error: str | None = None


SERVER_TOOL_USE = "server_tool_use"
"""The type of tool uses that the service itself answers."""


class ToolUse(Block, frozen=True, tag="tool_use"):
    """The model asks for a tool. ``type`` is ``server_tool_use`` where the service itself runs it."""

    id: str
    name: str
    input: JsonValue
    type: str | None = None


class SearchResult(Block, frozen=True, tag="search_result"):
    """A passage to be cited: where it is from, its title, its texts."""

    source: str
    title: str
    content: tuple[str, ...]
    citations: bool | None = None


ToolResultContent: TypeAlias = Text | Json | Image | Document | Video | SearchResult | Unknown


class ToolResult(Block, frozen=True, tag="tool_result"):
    """What a tool answered. ``status`` is success or error."""

    tool_use_id: str
    content: tuple[ToolResultContent, ...]
    status: str | None = None
    type: str | None = None


class Reasoning(Block, frozen=True, tag="reasoning"):
    """Thinking. ``signature`` and ``redacted`` are opaque and must be sent back unchanged in the next turn. A block
    with ``redacted`` has no text. ``made_by`` is awsllm's own and not sent: the family of the model that thought it,
    for other families' models must not see it."""

    text: str = ""
    signature: str | None = None
    redacted: bytes | None = None
    made_by: str | None = None


class CachePoint(Block, frozen=True, tag="cache_point"):
    """What stands before this point may be served from the prompt cache. ``ttl`` is 5m or 1h."""

    type: str = "default"
    ttl: str | None = None


class GuardText(Tagged, frozen=True, tag="guard_text"):
    """``qualifiers`` are grounding_source, query or guard_content."""

    text: str
    qualifiers: tuple[str, ...] = ()


class GuardImage(Tagged, frozen=True, tag="guard_image"):
    """``format`` is png or jpeg."""

    format: str
    source: Bytes | Unknown


class GuardContent(Block, frozen=True, tag="guard_content"):
    """Content that the guardrail evaluates; with one such block, only such blocks are evaluated."""

    content: GuardText | GuardImage | Unknown


class WebLocation(Tagged, frozen=True, tag="web"):
    url: str | None = None
    domain: str | None = None


class DocumentLocation(Tagged, frozen=True, tag="document"):
    """Half-open range in document ``index`` of the request; ``unit`` is char, page or chunk."""

    unit: str
    index: int | None = None
    start: int | None = None
    end: int | None = None


class SearchResultLocation(Tagged, frozen=True, tag="search_result"):
    index: int | None = None
    start: int | None = None
    end: int | None = None


CitationLocation: TypeAlias = WebLocation | DocumentLocation | SearchResultLocation | Unknown


class Citation(Value, frozen=True):
    """What a passage of the answer rests on. ``extra`` holds members this version does not know."""

    title: str | None = None
    source: str | None = None
    source_content: tuple[Text | Unknown, ...] = ()
    location: CitationLocation | None = None
    extra: JsonObject | None = None


class Citations(Block, frozen=True, tag="citations"):
    """Generated text with the sources it rests on."""

    content: tuple[Text | Unknown, ...] = ()
    citations: tuple[Citation, ...] = ()


class ToolReference(Value, frozen=True):
    type: str | None = None
    name: str | None = None
    server_name: str | None = None


class ToolAddition(Block, frozen=True, tag="tool_addition"):
    """A tool that becomes available from this point of the conversation on."""

    tool: ToolReference


class ToolRemoval(Block, frozen=True, tag="tool_removal"):
    """A tool that ceases to be available from this point of the conversation on."""

    tool: ToolReference


ContentBlock: TypeAlias = (
    Text
    | Image
    | Document
    | Video
    | Audio
    | ToolUse
    | ToolResult
    | Reasoning
    | CachePoint
    | GuardContent
    | Citations
    | SearchResult
    | ToolAddition
    | ToolRemoval
    | Unknown
)
SystemContentBlock: TypeAlias = Text | GuardContent | CachePoint | Unknown


class Message(Value, frozen=True):
    """One turn. ``role`` is user, assistant or (newer models) system."""

    role: str
    content: tuple[ContentBlock, ...]

    @classmethod
    def user(cls, *content: str | ContentBlock) -> Message:
        """A user turn; strings become ``Text``. ``awsllm.image`` and ``awsllm.document`` make blocks of files."""
        return cls("user", tuple(map(_block, content)))

    @classmethod
    def assistant(cls, *content: str | ContentBlock) -> Message:
        """An assistant turn; strings become ``Text``."""
        return cls("assistant", tuple(map(_block, content)))

    @property
    def text(self) -> str:
        """The text of the turn without thinking: its Text and Citations blocks, joined."""
        return "".join(_texts(self.content))

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return tuple(block for block in self.content if isinstance(block, ToolUse))


def _block(content: str | ContentBlock) -> ContentBlock:
    if isinstance(content, str):
        return Text(content)
    if not isinstance(content, Block | Unknown):
        raise ValidationError(
            f"a message is made of strings and content blocks, one argument each, not of a {type(content).__name__}; "
            "awsllm.image(...) and awsllm.document(...) make blocks of paths and bytes"
        )
    return content


def _texts(content: Sequence[ContentBlock]) -> list[str]:
    parts: list[str] = []
    for block in content:
        if isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, Citations):
            parts.extend(c.text for c in block.content if isinstance(c, Text))
    return parts


# --- requests --------------------------------------------------------------------------------------------------------


class Request(Value, Generic[R], frozen=True, kw_only=True):
    """One operation, asked of one place; its type says which, and R is what answers it. A subclass is all that an
    operation is to ``policy``, the server and ``mock_aws``, which pass any request through.

    ``model`` is who is asked, as its backend knows it (no scheme): a model, an endpoint. ``family`` says which model
    that is where the name does not (an ARN of the account's own). ``operation`` is the client's method, ``served_by``
    says in words which places have it; what is ``free`` is on no bill.
    """

    operation: ClassVar[str]
    served_by: ClassVar[str] = "bedrock:, sagemaker: and local: models"
    free: ClassVar[bool] = False

    model: str
    family: str | None = None

    def __repr__(self) -> str:
        """Without its content: a traceback with the variables of its frames must not tell a prompt."""
        return f"{type(self).__name__}(model={self.model!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("model", self.model)]


class Streamed(Request[R], Generic[R, E], frozen=True, kw_only=True):
    """A request whose answer can also come as events of type E; folded, they are the R."""


class InferenceConfig(Value, frozen=True):
    """``temperature`` and ``top_p`` are 0 to 1. Unset means the model's own default. Always set ``max_tokens``: Bedrock
    reserves it from the quota."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()


class ToolSpec(Tagged, frozen=True, tag="tool_spec"):
    """A tool the model may ask for. ``input_schema`` is a JSON schema of type object. ``strict`` asks the service to
    hold the arguments to it."""

    name: str
    input_schema: JsonObject
    description: str | None = None
    strict: bool | None = None


class SystemTool(Tagged, frozen=True, tag="system_tool"):
    """A tool that the service runs."""

    name: str


Tool: TypeAlias = ToolSpec | SystemTool | CachePoint | Unknown


class ToolChoice(Value, frozen=True):
    """``type`` is auto, any (some tool must be used) or tool (the one named must be used)."""

    type: str
    name: str | None = None


class GuardrailConfig(Value, frozen=True):
    """``trace`` is enabled, disabled or enabled_full; ``stream_processing_mode`` is sync or async."""

    guardrail_identifier: str | None = None
    guardrail_version: str | None = None
    trace: str | None = None
    stream_processing_mode: str | None = None


class JsonSchema(Value, frozen=True):
    """A JSON schema the answer must satisfy."""

    schema: JsonObject
    name: str | None = None
    description: str | None = None


class OutputConfig(Value, frozen=True):
    """``json_schema`` is the wire's ``textFormat.structure.jsonSchema``."""

    json_schema: JsonSchema | None = None
    effort: str | None = None


class PerformanceConfig(Value, frozen=True):
    """``latency`` is standard or optimized."""

    latency: str | None = None


class ServiceTier(Value, frozen=True):
    """``type`` is priority, default, flex or reserved."""

    type: str


class EndpointOptions(Value, frozen=True, kw_only=True):
    """How a SageMaker endpoint is called; each member but the last two is a header of InvokeEndpoint.

    ``variant`` is the production variant (by default the weights decide), ``target_model`` the archive of a multi-model
    endpoint, ``target_container`` the host name in a multi-container one, ``session_id`` a stateful session,
    ``inference_id`` the caller's name of the call in data capture, ``prefix_aware_id`` what prefix-aware routing keeps
    together. ``custom_attributes`` reach the container as they are (at most 1,024 ASCII characters). ``accept_eula``
    accepts the licence where the container asks for that in every call (Llama 2, versions 1 and 2). ``format`` names
    what the container speaks, where it shall not be found out (``wire.endpoint.BODIES``).
    """

    variant: str | None = None
    target_model: str | None = None
    target_container: str | None = None
    session_id: str | None = None
    inference_id: str | None = None
    prefix_aware_id: str | None = None
    custom_attributes: str | None = None
    accept_eula: bool = False
    format: str | None = None


class ConverseRequest(Streamed["ConverseResponse", "StreamEvent"], frozen=True, kw_only=True):
    """One call of a chat model. ``extra`` reaches the provider untouched (the wire's
    ``additionalModelRequestFields``). ``api`` is the door of Bedrock that the request goes through: None is Converse,
    ``invoke`` the model's own body, ``openai`` the OpenAI-shaped routes."""

    operation: ClassVar[str] = "converse"

    messages: tuple[Message, ...] = ()
    system: tuple[SystemContentBlock, ...] = ()
    inference_config: InferenceConfig = InferenceConfig()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    guardrail_config: GuardrailConfig | None = None
    extra: JsonObject | None = None
    prompt_variables: dict[str, str] | None = None
    additional_model_response_field_paths: tuple[str, ...] = ()
    request_metadata: dict[str, str] | None = None
    performance_config: PerformanceConfig | None = None
    service_tier: ServiceTier | None = None
    output_config: OutputConfig | None = None
    endpoint: EndpointOptions | None = None
    api: str | None = None


class CountTokensRequest(Request[int], frozen=True, kw_only=True):
    """How many input tokens ``converse`` would use. ``model`` is that of ``converse``, too."""

    operation: ClassVar[str] = "count_tokens"
    served_by: ClassVar[str] = "bedrock: and local: models"
    free: ClassVar[bool] = True

    converse: ConverseRequest


# --- responses -------------------------------------------------------------------------------------------------------


class CacheDetail(Value, frozen=True):
    ttl: str
    input_tokens: int


class Usage(Value, frozen=True):
    """Token counts; None is unknown, never 0. As on Bedrock, ``input_tokens`` leaves out what the prompt cache read or
    wrote. ``estimated`` marks counts that are not the model's own."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: tuple[CacheDetail, ...] = ()
    estimated: bool = False
    extra: JsonObject | None = None

    def _repr_html_(self) -> str:
        from awsllm.notebook import table

        return table(_counts(self), caption="estimated tokens" if self.estimated else "tokens")


def _counts(usage: Usage) -> list[tuple[str, str]]:
    """What is known, by a name to be read."""
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "total_tokens")
    titles = ("in", "out", "read from the cache", "written to the cache", "total")
    counts = ((title, getattr(usage, name)) for title, name in zip(titles, names, strict=True))
    return [(title, f"{count:,}") for title, count in counts if count is not None]


class CacheHit(Value, frozen=True, kw_only=True):
    """That an answer was kept, or an equal call's: ``kind`` is exact, semantic (one to a question that means the same,
    by ``similarity``) or shared (the call was made once for several). ``age`` is in seconds; ``saved`` and
    ``saved_cost`` (US dollars, None when unknown) are what the answer took when it was made."""

    kind: str
    age: float = 0.0
    saved: Usage = Usage()
    saved_cost: float | None = None
    similarity: float | None = None


class ToolError(Value, frozen=True, kw_only=True):
    """What a tool raised while ``converse`` ran it: the exception's type, message and traceback, as text."""

    tool_use_id: str
    name: str
    type: str
    message: str
    traceback: str


class AttemptMade(Value, frozen=True, kw_only=True):
    """One try of a call that took several, or that a group of models answered: who was asked, when (seconds since
    1970), for how long, and what became of it. ``error`` is the service's code or the error's name, and None for the
    one that answered; of a model that was passed over without being asked it is unsupported, circuit_open or busy.
    ``cost`` is in US dollars, None when unknown. ``waited`` are the seconds before it, for limits of the client's
    own."""

    model: str
    region: str | None = None
    started: float = 0.0
    seconds: float = 0.0
    error: str | None = None
    cost: float | None = None
    waited: float = 0.0


class ConverseResponse(Value, frozen=True, kw_only=True):
    """What a chat model answered.

    ``stop_reason`` is end_turn, tool_use, max_tokens, stop_sequence, guardrail_intervened, content_filtered,
    malformed_model_output, malformed_tool_use, model_context_window_exceeded, or newer; None where the answer was cut.
    ``extra`` is the wire's ``additionalModelResponseFields`` and ``trace`` its trace, both as they came. ``cost`` is in
    US dollars, None when unknown. ``warnings`` name tuning knobs that could not be honoured, what was changed of a
    conversation so that it can be sent, and what of an answer could not be read. ``raw`` is the provider's reply.
    ``message`` is what the model answered; ``messages`` is all that the call adds to the conversation, such as it can
    be sent: one turn, or with a tool loop every assistant and tool-result turn. ``output`` is the typed output where
    ``output_type`` was given, ``tool_errors`` what tools raised. ``attempts`` are the tries that it took, where the
    first was not the only one, had to wait, or a group was asked. ``from_cache`` is set where a cache answered: then
    nothing was used; of a tool loop it is the last answer's.
    """

    message: Message
    stop_reason: str | None
    usage: Usage = Usage()
    latency_ms: int | None = None
    extra: JsonValue = None
    trace: JsonValue = None
    performance_config: PerformanceConfig | None = None
    service_tier: ServiceTier | None = None
    model: str | None = None
    request_id: str | None = None
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    raw: JsonObject | None = None
    messages: tuple[Message, ...] = ()
    output: Any = None
    tool_errors: tuple[ToolError, ...] = ()
    attempts: tuple[AttemptMade, ...] = ()
    from_cache: CacheHit | None = None

    @property
    def text(self) -> str:
        """The answer's text without thinking."""
        return self.message.text

    @property
    def tool_uses(self) -> tuple[ToolUse, ...]:
        return self.message.tool_uses

    def _repr_html_(self) -> str:
        from awsllm.notebook import table

        tokens = ", ".join(f"{count} {title}" for title, count in _counts(self.usage))
        rows = [
            ("answer", self.text),
            *(("tool use", f"{use.name} {use.input}") for use in self.tool_uses),
            ("stop reason", self.stop_reason),
            ("tokens", f"{tokens} (estimated)" if tokens and self.usage.estimated else tokens),
            ("cost", "unknown" if self.cost is None else f"${self.cost:.6f}"),
            *(("warning", warning) for warning in self.warnings),
        ]
        return table(rows, caption=self.model or "")


# --- stream events ---------------------------------------------------------------------------------------------------


class ToolUseStart(Tagged, frozen=True, tag="tool_use_start"):
    """``extra`` becomes that of the block."""

    id: str
    name: str
    type: str | None = None
    extra: JsonObject | None = None


class ToolResultStart(Tagged, frozen=True, tag="tool_result_start"):
    """``extra`` becomes that of the block."""

    tool_use_id: str
    type: str | None = None
    status: str | None = None
    extra: JsonObject | None = None


class ImageStart(Tagged, frozen=True, tag="image_start"):
    format: str


BlockStart: TypeAlias = ToolUseStart | ToolResultStart | ImageStart | Unknown


class TextDelta(Tagged, frozen=True, tag="text_delta"):
    text: str


class ToolUseDelta(Tagged, frozen=True, tag="tool_use_delta"):
    """A fragment of the arguments' JSON text."""

    input: str


class ToolResultDelta(Tagged, frozen=True, tag="tool_result_delta"):
    """A part of a tool result. The service sends text and JSON; of the functions that ``converse_stream`` runs it is
    the whole content."""

    content: tuple[ToolResultContent, ...]


class ReasoningDelta(Tagged, frozen=True, tag="reasoning_delta"):
    """One of the three members is set."""

    text: str | None = None
    signature: str | None = None
    redacted: bytes | None = None


class CitationDelta(Tagged, frozen=True, tag="citation_delta"):
    citation: Citation


class ImageDelta(Tagged, frozen=True, tag="image_delta"):
    source: MediaSource | None = None
    error: str | None = None


BlockDelta: TypeAlias = (
    TextDelta | ToolUseDelta | ToolResultDelta | ReasoningDelta | CitationDelta | ImageDelta | Unknown
)


class MessageStart(Tagged, frozen=True, tag="message_start"):
    """A message begins. One of the user's holds the results of the tools that ran for the answer before it; it has no
    ``MessageStop``. ``request_id`` is what the service calls the request; it stands in the reply's head, which comes
    first."""

    role: str
    request_id: str | None = None


class ContentBlockStart(Tagged, frozen=True, tag="content_block_start"):
    """Sent for tool uses, server tools' results and images only; text and thinking begin with their first delta."""

    index: int
    start: BlockStart


class ContentBlockDelta(Tagged, frozen=True, tag="content_block_delta"):
    index: int
    delta: BlockDelta


class ContentBlockStop(Tagged, frozen=True, tag="content_block_stop"):
    index: int


class MessageStop(Tagged, frozen=True, tag="message_stop"):
    """Without this event the stream was cut."""

    stop_reason: str
    extra: JsonValue = None


class Metadata(Tagged, frozen=True, tag="metadata"):
    """The last event: what the call used. ``warnings``, ``from_cache`` and ``attempts`` are awsllm's own
    (see ``ConverseResponse``)."""

    usage: Usage = Usage()
    latency_ms: int | None = None
    trace: JsonValue = None
    performance_config: PerformanceConfig | None = None
    service_tier: ServiceTier | None = None
    warnings: tuple[str, ...] = ()
    from_cache: CacheHit | None = None
    attempts: tuple[AttemptMade, ...] = ()


StreamEvent: TypeAlias = (
    MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageStop | Metadata | Unknown
)
