"""AgenticRetrieveStream, both ways: an agent plans searches over several knowledge bases and streams what it does.

``result`` ends the stream and carries what was found; citations in it point to results by index and to the answer by
characters. Amazon Bedrock API reference: AgenticRetrieveStream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from awsllm.errors import UnsupportedError
from awsllm.types import GuardrailConfig, JsonObject, Unknown
from awsllm.types.retrieval import (
    AgenticResult,
    AgenticRetrieveEvent,
    AgenticRetrieveRequest,
    AgenticRetrieveResponse,
    AgenticTrace,
    OutputText,
    RetrievalCitation,
    RetrievalResult,
    Retriever,
)
from awsllm.wire.agents.events import text
from awsllm.wire.agents.retrieval import (
    decode_filter,
    decode_guardrail,
    decode_user,
    encode_filter,
    encode_guardrail,
    encode_user,
)
from awsllm.wire.reading import (
    json_object,
    optional,
    optional_structure,
    required,
    structure,
    structures,
    unknown_members,
    without_none,
)

LAST = "result"
"""Without this event the stream was cut."""


# --- requests --------------------------------------------------------------------------------------------------------


def encode_request(request: AgenticRetrieveRequest) -> JsonObject:
    guardrail = encode_guardrail(request.guardrail_config)
    members = {
        "messages": [{"role": role, "content": {"text": turn}} for role, turn in request.messages],
        "retrievers": [_encode_retriever(retriever) for retriever in request.retrievers],
        "agenticRetrieveConfiguration": request.configuration,
        "generateResponse": request.generate,
        "policyConfiguration": None if guardrail is None else {"bedrockGuardrailConfiguration": guardrail},
        "userContext": encode_user(request.user_id),
        "nextToken": request.next_token,
    }
    return without_none(members, request.extra)


def _encode_retriever(retriever: Retriever) -> JsonObject:
    overrides = {
        "filter": None if retriever.filter is None else encode_filter(retriever.filter),
        "maxNumberOfResults": retriever.number_of_results,
    }
    base = {
        "knowledgeBaseId": retriever.knowledge_base.rpartition("/")[2],  # of an ARN: here it is the id
        "retrievalOverrides": without_none(overrides) or None,
    }
    return without_none({"configuration": {"knowledgeBase": without_none(base)}, "description": retriever.description})


def decode_request(wire: JsonObject) -> AgenticRetrieveRequest:
    retrievers = structures(wire, "retrievers", _decode_retriever)
    return AgenticRetrieveRequest(
        model=retrievers[0].knowledge_base if retrievers else "",
        messages=structures(wire, "messages", _decode_message),
        retrievers=retrievers,
        configuration=required(wire, "agenticRetrieveConfiguration", dict),
        generate=optional(wire, "generateResponse", bool),
        guardrail_config=optional_structure(wire, "policyConfiguration", _decode_policy),
        user_id=optional_structure(wire, "userContext", decode_user),
        next_token=optional(wire, "nextToken", str),
        extra=unknown_members(wire, _REQUEST),
    )


_REQUEST = frozenset(
    (
        *("messages", "retrievers", "agenticRetrieveConfiguration", "generateResponse", "policyConfiguration"),
        *("userContext", "nextToken"),
    )
)


def _decode_message(wire: JsonObject) -> tuple[str, str]:
    return required(wire, "role", str), structure(wire, "content", lambda content: text(content, "text"))


def _decode_policy(wire: JsonObject) -> GuardrailConfig | None:
    return optional_structure(wire, "bedrockGuardrailConfiguration", decode_guardrail)


def _decode_retriever(wire: JsonObject) -> Retriever:
    configuration = required(wire, "configuration", dict)
    base = required(configuration, "knowledgeBase", dict)
    overrides = optional(base, "retrievalOverrides", dict) or {}
    return Retriever(
        knowledge_base=required(base, "knowledgeBaseId", str),
        description=optional(wire, "description", str),
        filter=optional_structure(overrides, "filter", decode_filter),
        number_of_results=optional(overrides, "maxNumberOfResults", int),
    )


# --- events ----------------------------------------------------------------------------------------------------------


def encode_event(event: AgenticRetrieveEvent) -> tuple[str, JsonObject]:
    """Event type and payload."""
    match event:
        case OutputText(piece):
            return "responseEvent", {"text": piece}
        case AgenticTrace():
            attributes = {**event.attributes, "step": event.step, "status": event.status, "message": event.message}
            if event.results:
                attributes["retrievalResponse"] = [_encode_item(result) for result in event.results]
            return "traceEvent", {"id": event.id, "timestamp": event.timestamp, "attributes": attributes}
        case AgenticResult():
            return LAST, _encode_result(event)
        case Unknown(tag):
            raise UnsupportedError(f"the event {tag!r} cannot be written")
        case _:
            assert_never(event)


def _encode_result(event: AgenticResult) -> JsonObject:
    members: JsonObject = {
        "results": [_encode_item(result) for result in event.results],
        "nextToken": event.next_token,
    }
    if event.answer is not None:
        citations = [_encode_citation(citation, event.results) for citation in event.citations]
        members["generatedResponse"] = {"answer": event.answer, "citations": citations}
    return without_none(members)


def _encode_citation(citation: RetrievalCitation, results: tuple[RetrievalResult, ...]) -> JsonObject:
    references = [{"resultIndex": results.index(one)} for one in citation.references if one in results]
    return {"startIndex": citation.start or 0, "endIndex": citation.end or 0, "references": references}


def _encode_item(result: RetrievalResult) -> JsonObject:
    content = {"mimeType": result.type or "text/plain", "text": result.text or None, "byteContent": result.data_uri}
    members = {
        "content": without_none(content),
        "metadata": result.metadata or None,
        "sourceRetriever": {"identifier": result.source or ""},
    }
    return without_none(members)


def _decode_trace(wire: JsonObject) -> AgenticTrace:
    attributes = required(wire, "attributes", dict)
    return AgenticTrace(
        id=required(wire, "id", str),
        timestamp=required(wire, "timestamp", int),
        step=required(attributes, "step", str),
        status=required(attributes, "status", str),
        message=text(attributes, "message"),
        results=structures(attributes, "retrievalResponse", _decode_item),
        attributes=unknown_members(attributes, _NAMED) or {},
    )


_NAMED = frozenset(("step", "status", "message", "retrievalResponse"))


def _decode_item(wire: JsonObject) -> RetrievalResult:
    """``byteContent`` is base64 here, of the content type that stands beside it; a result has it as a data URI."""
    content = optional(wire, "content", dict) or {}
    kind, data = optional(content, "mimeType", str), optional(content, "byteContent", str)
    if data is not None and not data.startswith("data:"):
        data = f"data:{kind or 'application/octet-stream'};base64,{data}"
    source = optional(wire, "sourceRetriever", dict) or {}
    return RetrievalResult(
        text=text(content, "text"),
        type=kind,
        data_uri=data,
        metadata=optional(wire, "metadata", dict) or {},
        source=optional(source, "identifier", str),
    )


def _decode_result(wire: JsonObject) -> AgenticResult:
    results = structures(wire, "results", _decode_item)
    generated = optional(wire, "generatedResponse", dict)
    answer = None if generated is None else text(generated, "answer")
    citations = structures(generated or {}, "citations", lambda one: _decode_citation(one, answer or "", results))
    return AgenticResult(
        results=results, answer=answer, citations=citations, next_token=optional(wire, "nextToken", str)
    )


def _decode_citation(wire: JsonObject, answer: str, results: tuple[RetrievalResult, ...]) -> RetrievalCitation:
    start, end = required(wire, "startIndex", int), required(wire, "endIndex", int)
    places = structures(wire, "references", lambda one: required(one, "resultIndex", int))
    references = tuple(results[place] for place in places if 0 <= place < len(results))
    return RetrievalCitation(text=answer[start:end], start=start, end=end, references=references)


EVENTS: Mapping[str, Callable[[JsonObject], AgenticRetrieveEvent]] = {
    "responseEvent": lambda wire: OutputText(text(json_object(wire), "text")),
    "traceEvent": _decode_trace,
    LAST: _decode_result,
}


def whole(events: Iterable[AgenticRetrieveEvent]) -> AgenticRetrieveResponse:
    """The response that the events make. The result's answer goes before the pieces that were streamed."""
    pieces: list[str] = []
    traces: list[AgenticTrace] = []
    result = AgenticResult()
    for event in events:
        match event:
            case OutputText(piece):
                pieces.append(piece)
            case AgenticTrace():
                traces.append(event)
            case AgenticResult():
                result = event
            case Unknown():
                pass
            case _:
                assert_never(event)
    return AgenticRetrieveResponse(
        results=result.results,
        text=result.answer if result.answer is not None else "".join(pieces),
        citations=result.citations,
        traces=tuple(traces),
        next_token=result.next_token,
    )
