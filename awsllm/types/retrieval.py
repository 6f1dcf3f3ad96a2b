"""Values of knowledge bases: retrieval, answers made of what was retrieved, queries and prompts made better.

The vocabulary is that of ``bedrock-agent-runtime`` (service model of botocore 1.44). Words that the service enumerates
(``S3``, ``TEXT``, ``INTERVENED``) are kept as it writes them. ``model`` of a request is the knowledge base's id or ARN,
or, where there is none, the model that answers.
"""

from __future__ import annotations

import binascii
from typing import ClassVar, TypeAlias

import msgspec

from awsllm.errors import ValidationError
from awsllm.types import Bytes, GuardrailConfig, Image, JsonObject, JsonValue, Request, Streamed, Tagged, Unknown, Value

# --- metadata filters ------------------------------------------------------------------------------------------------


class Condition(Tagged, frozen=True, tag="condition"):
    """What the metadata attribute ``key`` must be. ``operator`` is the service's word (``greaterThan``); ``attribute``
    writes them readably."""

    operator: str
    key: str
    value: JsonValue

    def __and__(self, other: Filter) -> AllOf:
        return _all(self, other)

    def __or__(self, other: Filter) -> AnyOf:
        return _any(self, other)


class AllOf(Tagged, frozen=True, tag="all_of"):
    """Every one of ``filters``, at least two."""

    filters: tuple[Filter, ...]

    def __and__(self, other: Filter) -> AllOf:
        return _all(self, other)

    def __or__(self, other: Filter) -> AnyOf:
        return _any(self, other)


class AnyOf(Tagged, frozen=True, tag="any_of"):
    """At least one of ``filters``, of which there are two or more."""

    filters: tuple[Filter, ...]

    def __and__(self, other: Filter) -> AllOf:
        return _all(self, other)

    def __or__(self, other: Filter) -> AnyOf:
        return _any(self, other)


Filter: TypeAlias = Condition | AllOf | AnyOf


def _all(*filters: Filter) -> AllOf:
    _check_filters(filters)
    return AllOf(tuple(inner for one in filters for inner in (one.filters if isinstance(one, AllOf) else (one,))))


def _any(*filters: Filter) -> AnyOf:
    _check_filters(filters)
    return AnyOf(tuple(inner for one in filters for inner in (one.filters if isinstance(one, AnyOf) else (one,))))


def _check_filters(filters: tuple[Filter, ...]) -> None:
    for one in filters:
        if not isinstance(one, Condition | AllOf | AnyOf):
            raise ValidationError(
                f"a filter is joined with filters, not with a {type(one).__name__}: Python binds & and | before == and "
                "<, so write (attribute('a') == 1) & (attribute('b') > 2)"
            )


class Attribute:
    """A metadata attribute to be compared: ``attribute("year") >= 2020``. Made by ``attribute``."""

    __hash__ = None  # type: ignore[assignment]  # == is a condition, so there is no equality to hash by

    def __init__(self, key: str) -> None:
        self._key = key

    def __eq__(self, value: object) -> Condition:  # type: ignore[override]
        return Condition("equals", self._key, value)

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return Condition("notEquals", self._key, value)

    def __gt__(self, value: float) -> Condition:
        return Condition("greaterThan", self._key, value)

    def __ge__(self, value: float) -> Condition:
        return Condition("greaterThanOrEquals", self._key, value)

    def __lt__(self, value: float) -> Condition:
        return Condition("lessThan", self._key, value)

    def __le__(self, value: float) -> Condition:
        return Condition("lessThanOrEquals", self._key, value)

    def is_in(self, *values: JsonValue) -> Condition:
        """It is one of ``values``."""
        return Condition("in", self._key, list(values))

    def is_not_in(self, *values: JsonValue) -> Condition:
        """It is none of ``values``."""
        return Condition("notIn", self._key, list(values))

    def starts_with(self, text: str) -> Condition:
        """It begins so (OpenSearch Serverless only)."""
        return Condition("startsWith", self._key, text)

    def contains(self, text: str) -> Condition:
        """It is a text with this in it, or a list with a text that has."""
        return Condition("stringContains", self._key, text)

    def has_member(self, value: JsonValue) -> Condition:
        """It is a list with this member."""
        return Condition("listContains", self._key, value)


def attribute(key: str) -> Attribute:
    """A metadata attribute of the documents, for the filter of a retrieval.

    >>> (attribute("year") >= 2020) & attribute("genre").is_in("essay", "report")
    """
    return Attribute(key)


# --- how to retrieve -------------------------------------------------------------------------------------------------


class Reranking(Value, frozen=True, kw_only=True):
    """What is found is ordered once more by a reranker. ``include`` or ``exclude`` names the metadata that it reads;
    neither: all of it if ``metadata`` is set, else none."""

    model_arn: str
    number_of_results: int | None = None
    metadata: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    extra: JsonObject | None = None


class ImplicitFilter(Value, frozen=True, kw_only=True):
    """A model writes the filter, from the query and what is known of the metadata: each attribute is a dict of key,
    type (STRING, NUMBER, BOOLEAN, STRING_LIST) and description."""

    model_arn: str
    attributes: tuple[JsonObject, ...]


class RetrievalConfig(Value, frozen=True, kw_only=True):
    """How a knowledge base is searched. ``search_type`` is HYBRID or SEMANTIC. ``managed`` is for knowledge bases that
    the service searches by itself; ``reranking_type`` is then CUSTOM (``reranking``), MANAGED or NONE. ``extra`` goes
    into the same structure of the wire as it is."""

    number_of_results: int | None = None
    search_type: str | None = None
    filter: Filter | None = None
    implicit_filter: ImplicitFilter | None = None
    reranking: Reranking | None = None
    managed: bool = False
    reranking_type: str | None = None
    extra: JsonObject | None = None


class RetrieveRequest(Request["RetrieveResponse"], frozen=True, kw_only=True):
    """One search of a knowledge base, by text, image or both. ``user_id`` is whose documents are searched, where the
    data source has access control."""

    operation: ClassVar[str] = "retrieve"
    served_by: ClassVar[str] = "bedrock: knowledge bases"

    text: str | None = None
    image: Image | None = None
    config: RetrievalConfig = RetrievalConfig()
    guardrail_config: GuardrailConfig | None = None
    user_id: str | None = None
    next_token: str | None = None


# --- what was retrieved ----------------------------------------------------------------------------------------------


class RetrievedColumn(Value, frozen=True):
    """A cell of a row that was retrieved by SQL; ``type`` is the service's word (LONG, STRING …)."""

    name: str | None = None
    value: str | None = None
    type: str | None = None


class RetrievalLocation(Value, frozen=True):
    """Where a result is from. ``type`` is S3, WEB, CONFLUENCE, SALESFORCE, SHAREPOINT, CUSTOM, KENDRA, SQL, ONEDRIVE or
    GOOGLEDRIVE; ``uri`` its address there: a URI, a URL, the id of a custom document, the query of SQL."""

    type: str
    uri: str | None = None
    extra: JsonObject | None = None


class RetrievalResult(Value, frozen=True, kw_only=True):
    """One piece that was found. ``type`` is TEXT, IMAGE, ROW, AUDIO or VIDEO. ``text`` is the passage, the
    transcription of a sound, or the summary of a video, whose file is ``media_uri``. ``data_uri`` carries an image.
    ``source`` names the retriever, where there are several."""

    text: str = ""
    type: str | None = None
    score: float | None = None
    location: RetrievalLocation | None = None
    metadata: JsonObject = msgspec.field(default_factory=dict)
    data_uri: str | None = None
    row: tuple[RetrievedColumn, ...] = ()
    media_uri: str | None = None
    document_id: str | None = None
    source: str | None = None
    extra: JsonObject | None = None

    @property
    def uri(self) -> str | None:
        """Where it is from."""
        return self.location.uri if self.location else None

    @property
    def image(self) -> Image | None:
        """The image, of a result that is one."""
        head, comma, data = (self.data_uri or "").partition(",")
        if not comma or not head.startswith("data:image/"):
            return None
        format_ = head.removeprefix("data:image/").partition(";")[0]
        return Image(format_, Bytes(binascii.a2b_base64(data)))


class RetrieveResponse(Value, frozen=True, kw_only=True):
    """``results`` has the best first. ``next_token`` is there if there are more: pass it to the next call."""

    results: tuple[RetrievalResult, ...] = ()
    next_token: str | None = None
    guardrail_action: str | None = None
    request_id: str | None = None
    raw: JsonObject | None = None


class RetrievalCitation(Value, frozen=True, kw_only=True):
    """A part of an answer, ``text``, which stands at ``start`` to ``end`` (characters), and what it rests on."""

    text: str | None = None
    start: int | None = None
    end: int | None = None
    references: tuple[RetrievalResult, ...] = ()


# --- answers made of what was retrieved ------------------------------------------------------------------------------


class ExternalSource(Value, frozen=True, kw_only=True):
    """The document that an answer is made of in place of a knowledge base: in S3, or its bytes with their content type
    and a name."""

    uri: str | None = None
    data: bytes | None = None
    content_type: str | None = None
    identifier: str | None = None


class RetrieveAndGenerateRequest(Streamed["RetrieveAndGenerateResponse", "GenerationEvent"], frozen=True, kw_only=True):
    """An answer with citations, from a knowledge base (``model``) or, where that is empty, from ``sources``.
    ``generator`` is the model that writes it. ``orchestration`` is the wire's structure for how the query is made;
    ``inference_config`` the wire's ``textInferenceConfig``."""

    operation: ClassVar[str] = "retrieve_and_generate"
    served_by: ClassVar[str] = "bedrock: knowledge bases"

    text: str
    generator: str
    config: RetrievalConfig | None = None
    sources: tuple[ExternalSource, ...] = ()
    session_id: str | None = None
    kms_key_arn: str | None = None
    prompt_template: str | None = None
    guardrail_config: GuardrailConfig | None = None
    inference_config: JsonObject | None = None
    extra: JsonObject | None = None
    latency: str | None = None
    orchestration: JsonObject | None = None
    user_id: str | None = None


class RetrieveAndGenerateResponse(Value, frozen=True, kw_only=True):
    """``session_id`` continues the conversation in the next call. ``guardrail_action`` is INTERVENED or NONE."""

    text: str
    citations: tuple[RetrievalCitation, ...] = ()
    session_id: str | None = None
    guardrail_action: str | None = None
    request_id: str | None = None
    raw: JsonObject | None = None

    @property
    def references(self) -> tuple[RetrievalResult, ...]:
        """All that the answer rests on, each once, in the order of the citations."""
        found: list[RetrievalResult] = []
        for citation in self.citations:
            found.extend(reference for reference in citation.references if reference not in found)
        return tuple(found)


class SessionStart(Tagged, frozen=True, tag="session_start"):
    """What the head of a streamed reply says, before its first event."""

    session_id: str | None = None
    request_id: str | None = None
    content_type: str | None = None
    memory_id: str | None = None


class OutputText(Tagged, frozen=True, tag="output_text"):
    """A piece of the answer."""

    text: str


class OutputCitation(Tagged, frozen=True, tag="output_citation"):
    """A citation of what was written before it."""

    citation: RetrievalCitation


class OutputGuardrail(Tagged, frozen=True, tag="output_guardrail"):
    """What the guardrail did: INTERVENED or NONE."""

    action: str | None = None


GenerationEvent: TypeAlias = SessionStart | OutputText | OutputCitation | OutputGuardrail | Unknown


# --- agentic retrieval -----------------------------------------------------------------------------------------------


class Retriever(Value, frozen=True, kw_only=True):
    """A knowledge base that agentic retrieval may search; ``description`` tells the agent what it holds."""

    knowledge_base: str
    description: str | None = None
    filter: Filter | None = None
    number_of_results: int | None = None


class AgenticRetrieveRequest(Streamed["AgenticRetrieveResponse", "AgenticRetrieveEvent"], frozen=True, kw_only=True):
    """A retrieval that an agent plans: several searches of ``retrievers`` until it has what was asked for. ``messages``
    are role and text. ``generate`` asks for an answer, too. ``configuration`` is the wire's
    ``agenticRetrieveConfiguration``, ``extra`` further members of the request (memory, policy, instruction)."""

    operation: ClassVar[str] = "agentic_retrieve"
    served_by: ClassVar[str] = "bedrock: knowledge bases"

    messages: tuple[tuple[str, str], ...]
    retrievers: tuple[Retriever, ...]
    configuration: JsonObject = msgspec.field(default_factory=dict)
    generate: bool | None = None
    guardrail_config: GuardrailConfig | None = None
    user_id: str | None = None
    next_token: str | None = None
    extra: JsonObject | None = None


class AgenticTrace(Tagged, frozen=True, kw_only=True, tag="agentic_trace"):
    """A step of the agent. ``step`` is Planning, Retrieval, SpeculativeRetrieval, FullDocumentExpansion,
    SessionHistoryLoad or CodeExecution; ``status`` IN_PROGRESS, SUCCEEDED or FAILED; ``timestamp`` as the service
    counts it; ``attributes`` all that it tells of the step."""

    id: str
    timestamp: int
    step: str
    status: str
    message: str = ""
    results: tuple[RetrievalResult, ...] = ()
    attributes: JsonObject = msgspec.field(default_factory=dict)


class AgenticResult(Tagged, frozen=True, kw_only=True, tag="agentic_result"):
    """What was found in the end; ``answer`` and ``citations`` where an answer was asked for."""

    results: tuple[RetrievalResult, ...] = ()
    answer: str | None = None
    citations: tuple[RetrievalCitation, ...] = ()
    next_token: str | None = None


AgenticRetrieveEvent: TypeAlias = AgenticTrace | OutputText | AgenticResult | Unknown


class AgenticRetrieveResponse(Value, frozen=True, kw_only=True):
    """``text`` is the answer, empty where none was asked for."""

    results: tuple[RetrievalResult, ...] = ()
    text: str = ""
    citations: tuple[RetrievalCitation, ...] = ()
    traces: tuple[AgenticTrace, ...] = ()
    next_token: str | None = None


# --- queries and prompts made better ---------------------------------------------------------------------------------


class GenerateQueryRequest(Request["GenerateQueryResponse"], frozen=True, kw_only=True):
    """The SQL that a structured knowledge base (``model``, its ARN) would answer ``text`` by; it is not run."""

    operation: ClassVar[str] = "generate_query"
    served_by: ClassVar[str] = "bedrock: knowledge bases"

    text: str


class GeneratedQuery(Value, frozen=True):
    """``type`` is REDSHIFT_SQL."""

    sql: str
    type: str | None = None


class GenerateQueryResponse(Value, frozen=True, kw_only=True):
    queries: tuple[GeneratedQuery, ...] = ()
    request_id: str | None = None
    raw: JsonObject | None = None

    @property
    def sql(self) -> str | None:
        """The first query."""
        return self.queries[0].sql if self.queries else None


class OptimizePromptRequest(Streamed["OptimizePromptResponse", "OptimizePromptEvent"], frozen=True, kw_only=True):
    """``text`` rewritten for ``model``, with what was found wanting in it."""

    operation: ClassVar[str] = "optimize_prompt"
    served_by: ClassVar[str] = "bedrock: models"

    text: str


class PromptAnalysis(Tagged, frozen=True, tag="prompt_analysis"):
    """What is wanting in the prompt."""

    message: str


class OptimizedPrompt(Tagged, frozen=True, tag="optimized_prompt"):
    """The prompt, rewritten; as the service writes it, which is a JSON string at times."""

    text: str


OptimizePromptEvent: TypeAlias = PromptAnalysis | OptimizedPrompt | Unknown


class OptimizePromptResponse(Value, frozen=True, kw_only=True):
    text: str
    analysis: str = ""
