"""How an offline account answers what is asked of its knowledge bases: Retrieve, RetrieveAndGenerate and its stream,
AgenticRetrieveStream.

A knowledge base is one that was given as documents (``knowledge_bases=`` of ``mock_aws``), or one that the account of
this region has made and ingested. Every operation is a generator of the requests to be asked of the models behind,
which returns the response or, of a stream, its events.

A session of RetrieveAndGenerate has what was asked and answered; it ends after 24 hours (re:Post, "reuse a knowledge
base session"). Its id is the service's to make: one that it did not make is refused.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from msgspec.structs import replace

from awsllm.server.account.account import Region
from awsllm.server.account.bedrock_agent import missing
from awsllm.server.account.knowledge.filters import operators
from awsllm.server.account.knowledge.reading import UnreadableError, read_parts, suffix_of
from awsllm.server.account.knowledge.records import (
    BASES,
    DOCUMENTS,
    ChunkRecord,
    DocumentRecord,
    KnowledgeBaseRecord,
    decode_vector,
    find_base,
)
from awsllm.server.account.knowledge.search import DEFAULT_RESULTS, SOURCE_ID, KnowledgeBase, Piece, Ranked
from awsllm.server.account.knowledge.sidecar import Sidecar
from awsllm.server.account.refusals import invalid
from awsllm.server.account.state import kept
from awsllm.server.citations import FORMAT, cite
from awsllm.server.mapping import generator_id
from awsllm.server.work import Models
from awsllm.types import ConverseRequest, GuardrailConfig, GuardText, InferenceConfig, JsonObject, Message, Request
from awsllm.types.embedding import EmbedRequest
from awsllm.types.guardrails import ApplyGuardrailRequest, GuardrailResponse
from awsllm.types.reranking import RerankRequest
from awsllm.types.retrieval import (
    AgenticResult,
    AgenticRetrieveRequest,
    AgenticTrace,
    AllOf,
    Condition,
    ExternalSource,
    Filter,
    ImplicitFilter,
    OutputText,
    Reranking,
    RetrievalCitation,
    RetrievalConfig,
    RetrievalLocation,
    RetrievalResult,
    RetrieveAndGenerateRequest,
    RetrieveAndGenerateResponse,
    RetrieveRequest,
    RetrieveResponse,
)

Steps: TypeAlias = Generator[Request[Any], Any, Any]
Found: TypeAlias = Generator[Request[Any], Any, list[RetrievalResult]]

_MANAGED = "managed"  # the model of AgenticRetrieveStream where the service chooses it
SESSIONS = "knowledge-base-session"
"""The table."""
SESSION_SECONDS = 24 * 3600.0

_PROMPT = (
    "Answer the question from these search results, and from nothing else.\n\n$search_results$\n\nQuestion: $query$"
)
_BY_VECTORS_ALONE = ("PINECONE", "REDIS_ENTERPRISE_CLOUD", "NEPTUNE_ANALYTICS", "S3_VECTORS")
_WORDS = re.compile(r"\w+")


_fresh: deque[str] = deque(maxlen=1024)


def new_session() -> str:
    """The id of a session that is to begin. A reply's head names it before the request is answered, so the surface
    makes it, and what answers must tell it from one that the caller made up."""
    made = str(uuid.uuid4())
    _fresh.append(made)
    return made


def _is_fresh(session: str) -> bool:
    """Whether it is one that has just been made, and has not begun."""
    with suppress(ValueError):
        _fresh.remove(session)
        return True
    return False


@kept
@dataclass(slots=True)
class SessionRecord:
    """``turns`` are the role and the text of each."""

    id: str
    started: float
    turns: list[tuple[str, str]] = field(default_factory=list)


class Retrieval:
    """``bases`` are the knowledge bases that were given as documents; ``guard`` says how a guardrail judges."""

    def __init__(
        self,
        models: Models,
        bases: Mapping[str, KnowledgeBase] | None,
        region: Region | None,
        guard: Callable[[ApplyGuardrailRequest], Steps],
    ) -> None:
        self._models, self._bases, self._region, self._guard = models, bases, region, guard
        self._made: dict[str, tuple[int, KnowledgeBase]] = {}
        self._own_sessions: dict[str, SessionRecord] = {}  # without an account

    @property
    def is_empty(self) -> bool:
        """Whether there is no knowledge base at all, and none was meant to be: a script may answer."""
        return self._bases is None and not (self._region and self._region.has_begun(BASES))

    # --- the operations ---

    def retrieve(self, request: RetrieveRequest) -> Steps:
        base = self._base(request.model)
        if request.text is None:
            raise invalid("Offline, a knowledge base is searched by text.")
        start = _start(request.next_token)
        action = None
        if request.guardrail_config is not None:
            judged = yield from self._judged(request.guardrail_config, "INPUT", request.text)
            action = _action(judged)
            if judged.intervened and not judged.masked:
                return RetrieveResponse(guardrail_action=action)
        count = request.config.number_of_results or DEFAULT_RESULTS
        if request.config.reranking is not None:  # what is ordered anew is one page
            found = yield from self._reranked(base, request.text, request.config)
            return RetrieveResponse(results=tuple(found), guardrail_action=action)
        ranked = yield from self._ranked(base, request.text, request.config, start + count + 1)
        page = [base.result(*one) for one in ranked[start : start + count]]
        token = str(start + count) if len(ranked) > start + count else None
        return RetrieveResponse(results=tuple(page), next_token=token, guardrail_action=action)

    def generate(self, request: RetrieveAndGenerateRequest) -> Steps:
        _check_templates(request)
        session = self._session(request.session_id)
        config = request.guardrail_config
        if config is not None:
            judged = yield from self._judged(config, "INPUT", request.text)
            if judged.intervened and not judged.masked:
                return RetrieveAndGenerateResponse(
                    text=judged.outputs[0], session_id=session.id, guardrail_action="INTERVENED"
                )
        found = yield from self._passages(request, session)
        answer = yield self._question(request, session, found)
        text, citations, action = yield from self._let_out(answer.text, found, request.text, config)
        session.turns += [("user", request.text), ("assistant", text)]
        return RetrieveAndGenerateResponse(
            text=text, citations=citations, session_id=session.id, guardrail_action=action
        )

    def agentic(self, request: AgenticRetrieveRequest) -> Steps:
        """One search of each retriever, whatever the configuration says of iterations."""
        question, config = request.messages[-1][1], request.guardrail_config
        if config is not None:
            judged = yield from self._judged(config, "INPUT", question)
            if judged.intervened and not judged.masked:
                return [AgenticResult(answer=judged.outputs[0] if request.generate else None)]
        events: list[Any] = [self._trace("Planning", f"Search for: {question}")]
        found: list[RetrievalResult] = []
        for retriever in request.retrievers:
            base = self._base(retriever.knowledge_base)
            count = retriever.number_of_results or DEFAULT_RESULTS
            ranked = yield from self._ranked(base, question, RetrievalConfig(filter=retriever.filter), count)
            results = [base.result(*one) for one in ranked]
            results = [replace(one, source=base.id) for one in results]
            events.append(self._trace("Retrieval", f"Retrieved from {base.id}", tuple(results)))
            found += results
        if not request.generate:
            return [*events, AgenticResult(results=tuple(found))]
        turns = [_turn(role, text) for role, text in request.messages[:-1]]
        prompt = _filled(_PROMPT, {"search_results": _numbered(found), "query": question})
        answer = yield ConverseRequest(model=self._models.chat or _MANAGED, messages=(*turns, Message.user(prompt)))
        text, citations, _ = yield from self._let_out(answer.text, found, question, config)
        result = AgenticResult(results=tuple(found), answer=text, citations=citations)
        return [*events, OutputText(text), result]

    def _trace(self, step: str, message: str, results: tuple[RetrievalResult, ...] = ()) -> AgenticTrace:
        now = int(self._now() * 1000)
        return AgenticTrace(
            id=str(uuid.uuid4()), timestamp=now, step=step, status="SUCCEEDED", message=message, results=results
        )

    # --- knowledge bases ---

    def _base(self, name: str) -> KnowledgeBase:
        """By its id or its ARN. Raises the refusal if there is none."""
        short = name.rpartition("/")[2]
        known = self._bases or {}
        given = known.get(name) or known.get(short)
        if given is not None:
            return given
        if self._region is None:
            raise missing(f"Knowledge Base with id {short} does not exist")
        return self._searchable(self._region, _record(self._region, short))

    def _searchable(self, region: Region, base: KnowledgeBaseRecord) -> KnowledgeBase:
        if base.status in ("CREATING", "DELETING", "FAILED"):
            raise invalid(f"Knowledge Base with id {base.id} is not ready: it is in the status {base.status}.")
        kind = base.shown["knowledgeBaseConfiguration"]["type"]
        if kind not in ("VECTOR", "MANAGED"):
            raise invalid(f"Offline, knowledge bases of the type {kind} are not searched.")
        current = base.revision  # of before it is loaded: what changes meanwhile is loaded the next time
        revision, made = self._made.get(base.id, (-1, None))
        if made is None or revision != current:
            made = _load(region, base)
            self._made = {name: one for name, one in self._made.items() if name in region.state.table(BASES)}
            self._made[base.id] = (current, made)
        return made

    def _ranked(
        self, base: KnowledgeBase, text: str, config: RetrievalConfig, most: int
    ) -> Generator[Request[Any], Any, Ranked]:
        """What the filter lets pass, the best first."""
        wanted_metadata = _filter(base, text, config)
        _check_store(base, config, wanted_metadata)
        if self._models.embed is None or not base.pieces or not (base.embedded or base.is_given):
            return base.ranked(base.by_words(text), wanted_metadata, most)
        wanted = (text, *(() if base.embedded else (piece.text for piece in base.pieces)))
        embedded = yield EmbedRequest(model=self._models.embed, texts=wanted)
        query, *vectors = embedded.vectors
        if not base.embedded:
            base.set_vectors(vectors)
        if len(query) != base.size:  # of another model than the one that answers now
            return base.ranked(base.by_words(text), wanted_metadata, most)
        by_both = config.search_type == "HYBRID"
        return base.ranked(base.by_both(text, query) if by_both else base.by_vector(query), wanted_metadata, most)

    def _reranked(self, base: KnowledgeBase, text: str, config: RetrievalConfig) -> Found:
        """As many as are wanted, ordered once more where that is wanted."""
        ranked = yield from self._ranked(base, text, config, config.number_of_results or DEFAULT_RESULTS)
        found = [base.result(*one) for one in ranked]
        how = config.reranking
        if how is None or not found:
            return found
        model = self._models.embed or how.model_arn.rpartition("/")[2]
        documents = tuple(_reranked_text(result, how) for result in found)
        wanted = min(how.number_of_results or len(found), len(found))
        answer = yield RerankRequest(model=model, query=text, documents=documents, top_n=wanted)
        return [replace(found[rank.index], score=rank.score) for rank in answer.results]

    # --- answers ---

    def _passages(self, request: RetrieveAndGenerateRequest, session: SessionRecord) -> Found:
        if request.sources:
            return [self._given(source) for source in request.sources]
        base, config = self._base(request.model), request.config or RetrievalConfig()
        found: list[RetrievalResult] = []
        queries = yield from self._queries(request, session)
        for query in queries:
            results = yield from self._reranked(base, query, config)
            found += [one for one in results if one not in found]
        return found

    def _queries(
        self, request: RetrieveAndGenerateRequest, session: SessionRecord
    ) -> Generator[Request[Any], Any, list[str]]:
        """What is searched for: the question, or what a model makes of it and of what was said before."""
        how = request.orchestration or {}
        template = (how.get("promptTemplate") or {}).get("textPromptTemplate")
        query = request.text
        if template is not None:
            values = {
                "query": request.text,
                "conversation_history": _told(session),
                "output_format_instructions": "Write the query to search for, and nothing else.",
                "current_time": self._time(),
            }
            inference = (how.get("inferenceConfig") or {}).get("textInferenceConfig")
            extra = how.get("additionalModelRequestFields")
            messages = (Message.user(_filled(template, values)),)
            answer = yield self._asked(request.generator, messages, inference, extra)
            query = answer.text.strip() or query
        elif session.turns:
            query = "\n".join([*(text for role, text in session.turns[-2:] if role == "user"), query])
        if (how.get("queryTransformationConfiguration") or {}).get("type") == "QUERY_DECOMPOSITION":
            return [part.strip() for part in re.findall(r"[^?]+\??", query) if part.strip()] or [query]
        return [query]

    def _question(
        self, request: RetrieveAndGenerateRequest, session: SessionRecord, found: Sequence[RetrievalResult]
    ) -> ConverseRequest:
        template = request.prompt_template or _PROMPT
        values = {
            "search_results": _numbered(found),
            "query": request.text,
            "conversation_history": _told(session),
            "output_format_instructions": FORMAT,
            "current_time": self._time(),
        }
        prompt = _filled(template, values)
        if "$query$" not in template:
            prompt = f"{prompt}\n\n{request.text}"
        turns = [_turn(role, text) for role, text in session.turns]
        messages = (*turns, Message.user(prompt))
        return self._asked(request.generator, messages, request.inference_config, request.extra)

    def _asked(
        self, generator: str, messages: tuple[Message, ...], inference: JsonObject | None, extra: JsonObject | None
    ) -> ConverseRequest:
        """What the generator is asked, by the name of whatever answers its id. Raises the refusal of an id that is not
        to be answered."""
        how, model = inference or {}, generator_id(generator)
        if self._models.refuses(model):
            raise invalid("The provided model identifier is invalid.")
        request = ConverseRequest(
            model=model,
            messages=messages,
            extra=extra,
            inference_config=InferenceConfig(
                max_tokens=how.get("maxTokens"),
                temperature=how.get("temperature"),
                top_p=how.get("topP"),
                stop_sequences=tuple(how.get("stopSequences") or ()),
            ),
        )
        return self._models.rename(request)

    def _given(self, source: ExternalSource) -> RetrievalResult:
        """A document that the caller brings, or has in S3."""
        if source.uri is not None:
            suffix, data = suffix_of(source.uri), self._object(source.uri)
            location = RetrievalLocation("S3", source.uri)
        else:
            name = source.identifier or ""
            suffix = suffix_of("", source.content_type) or suffix_of(name)
            data, location = source.data or b"", RetrievalLocation("CUSTOM", name)
        try:
            text = "\n".join(part.text for part in read_parts(suffix, data, Sidecar()))
        except UnreadableError as error:
            raise invalid(f"The document {location.uri} cannot be read: {error}.") from None
        return RetrievalResult(text=text, type="TEXT", location=location)

    def _object(self, uri: str) -> bytes:
        store = self._region.account.objects if self._region else None
        if store is None:
            raise invalid(f"Offline, the object {uri} cannot be read: give the document's bytes.")
        try:
            return store.read(uri)
        except KeyError:
            raise invalid(f"The specified S3 object does not exist: {uri}") from None

    # --- guardrails ---

    def _judged(
        self,
        config: GuardrailConfig,
        source: str,
        text: str,
        found: Sequence[RetrievalResult] = (),
        query: str | None = None,
    ) -> Generator[Request[Any], Any, GuardrailResponse]:
        """An answer is judged with what it rests on (contextual grounding)."""
        beside = [GuardText(result.text, ("grounding_source",)) for result in found]
        beside += [GuardText(query, ("query",))] if query is not None else []
        content = (*beside, GuardText(text, ("guard_content",) if beside else ()))
        name, version = config.guardrail_identifier or "", config.guardrail_version or "DRAFT"
        request = ApplyGuardrailRequest(model=name, version=version, content=content, source=source)
        judged: GuardrailResponse = yield from self._guard(request)
        return judged

    def _let_out(
        self, answer: str, found: Sequence[RetrievalResult], question: str, config: GuardrailConfig | None
    ) -> Generator[Request[Any], Any, tuple[str, tuple[RetrievalCitation, ...], str | None]]:
        """An answer with its citations, as the guardrail lets it out, and what the guardrail did."""
        text, citations = cite(answer, found)
        if config is None:
            return text, citations, None
        judged = yield from self._judged(config, "OUTPUT", text, found, question)
        if judged.intervened:
            text = judged.outputs[-1]
            citations = cite(text, found)[1] if judged.masked else ()
        return text, citations, _action(judged)

    # --- sessions ---

    def _session(self, id: str | None) -> SessionRecord:
        now, sessions = self._now(), self._region.state.table(SESSIONS) if self._region else self._own_sessions
        for old in [one for one in list(sessions.values()) if now - one.started >= SESSION_SECONDS]:
            sessions.pop(old.id, None)
        if id is None or _is_fresh(id):
            session = SessionRecord(id or str(uuid.uuid4()), now)
            sessions[session.id] = session
            return session
        known: SessionRecord | None = sessions.get(id)
        if known is None:
            raise invalid(f"Session with Id {id} is not valid. Please check and try again.")
        return known

    def _now(self) -> float:
        return self._region.now() if self._region else time.time()

    def _time(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")


def _action(judged: GuardrailResponse) -> str:
    return "INTERVENED" if judged.intervened else "NONE"


def _start(token: str | None) -> int:
    if token is not None and not (token.isdecimal() and len(token) < 10):
        raise invalid("The nextToken is not valid.")
    return int(token or 0)


# --- prompts ---------------------------------------------------------------------------------------------------------


def _check_templates(request: RetrieveAndGenerateRequest) -> None:
    """What a prompt must hold (botocore's models of GenerationConfiguration and OrchestrationConfiguration)."""
    orchestration = ((request.orchestration or {}).get("promptTemplate") or {}).get("textPromptTemplate")
    needed = (
        (request.prompt_template, ("$search_results$",), "generation"),
        (orchestration, ("$conversation_history$", "$output_format_instructions$"), "orchestration"),
    )
    for template, variables, kind in needed:
        for variable in variables:
            if template is not None and variable not in template:
                raise invalid(f"The {kind} prompt template must include the variable {variable}.")


def _filled(template: str, values: Mapping[str, str]) -> str:
    """The template with values for its placeholders, in one pass: a value that looks like one is none."""
    return re.sub(r"\$(\w+)\$", lambda found: values.get(found[1], found[0]), template)


def _numbered(found: Sequence[RetrievalResult]) -> str:
    return "\n\n".join(f"[{number}] {result.text}" for number, result in enumerate(found, 1))


def _turn(role: str, text: str) -> Message:
    return Message.user(text) if role == "user" else Message.assistant(text)


def _told(session: SessionRecord) -> str:
    return "\n".join(f"{role}: {text}" for role, text in session.turns)


def _reranked_text(result: RetrievalResult, how: Reranking) -> str:
    """What the reranker reads: the text, with the metadata that it is to see."""
    if not (how.metadata or how.include or how.exclude):
        return result.text
    names = how.include or [name for name in result.metadata if name not in how.exclude]
    return "\n".join([*(f"{name}: {result.metadata[name]}" for name in names if name in result.metadata), result.text])


# --- what limits a search --------------------------------------------------------------------------------------------


def _check_store(base: KnowledgeBase, config: RetrievalConfig, filter: Filter | None) -> None:
    """What the vector store cannot do (API reference: KnowledgeBaseVectorSearchConfiguration, RetrievalFilter)."""
    if base.store in _BY_VECTORS_ALONE and config.search_type == "HYBRID":
        raise invalid(f"HYBRID search type is not supported for a vector store of the type {base.store}.")
    limited = base.store not in (None, "OPENSEARCH_SERVERLESS")
    if limited and filter is not None and "startsWith" in operators(filter):
        raise invalid(f"The filter startsWith is not supported for a vector store of the type {base.store}.")


def _filter(base: KnowledgeBase, text: str, config: RetrievalConfig) -> Filter | None:
    """The filter that was given, and the one that the question implies."""
    implied = [] if config.implicit_filter is None else _implied(base, text, config.implicit_filter)
    filters = [one for one in (config.filter, *implied) if one is not None]
    return filters[0] if len(filters) == 1 else AllOf(tuple(filters)) if filters else None


def _implied(base: KnowledgeBase, text: str, how: ImplicitFilter) -> list[Filter]:
    """A model writes this filter at the service. Here an attribute must be what the question says of it: one of its
    values that stands in the question."""
    said = set(_WORDS.findall(text.lower()))
    filters: list[Filter] = []
    for attribute in how.attributes:
        key = str(attribute.get("key"))
        values = [piece.metadata.get(key) for piece in base.pieces if key in piece.metadata]
        members = [member for value in values for member in (value if isinstance(value, list) else [value])]
        meant = [one for one in dict.fromkeys(members) if set(_WORDS.findall(str(one).lower())) <= said]
        if meant and attribute.get("type") == "STRING_LIST":
            filters += [Condition("listContains", key, meant[0])]
        elif meant:
            filters.append(Condition("in", key, meant))
    return filters


# --- what an account has ingested ------------------------------------------------------------------------------------


def _record(region: Region, name: str) -> KnowledgeBaseRecord:
    """A base of the account, settled unless the account is busy: what answers here does not wait for it, or a job that
    waits for this thread's event loop would never end."""
    lock = region.account.lock
    if lock.acquire(blocking=False):
        try:
            return find_base(region, name)
        finally:
            lock.release()
    base: KnowledgeBaseRecord | None = region.state.table(BASES).get(name)
    if base is None:
        raise missing(f"Knowledge Base with id {name} does not exist")
    return base


def _load(region: Region, base: KnowledgeBaseRecord) -> KnowledgeBase:
    documents: list[DocumentRecord] = [
        one for one in list(region.state.table(DOCUMENTS).values()) if one.base == base.id and one.status == "INDEXED"
    ]
    chunks = [chunk for document in documents for chunk in document.chunks]
    pieces = [piece for document in documents for piece in _pieces(document)]
    embedded = bool(chunks) and all(chunk.vector for chunk in chunks)
    storage = base.shown.get("storageConfiguration") or {}
    made = KnowledgeBase(base.id, pieces, store=storage.get("type"), is_given=False)
    if embedded:
        made.set_vectors([decode_vector(chunk.vector) for chunk in chunks])
    return made


def _pieces(document: DocumentRecord) -> list[Piece]:
    shared = {**document.attributes, SOURCE_ID: document.source}
    return [_piece(document, shared, chunk) for chunk in document.chunks]


def _piece(document: DocumentRecord, shared: JsonObject, chunk: ChunkRecord) -> Piece:
    parent = None if chunk.parent is None else (f"{document.key} {chunk.parent}", document.parents[chunk.parent])
    kind = document.identifier["dataSourceType"]
    return Piece(chunk.text, document.address, shared, kind, parent, chunk.attributes or None, chunk.id)
