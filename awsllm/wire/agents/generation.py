"""RetrieveAndGenerate and RetrieveAndGenerateStream, both ways.

The parts of a stream are pieces of the answer (``output``), citations of what was written so far, and what the
guardrail did; the session's id stands in the reply's head. Amazon Bedrock API reference: RetrieveAndGenerate,
RetrieveAndGenerateStream. A citation event carries its members twice, once under ``citation``, which is deprecated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, Unknown
from awsllm.types.retrieval import (
    ExternalSource,
    GenerationEvent,
    OutputCitation,
    OutputGuardrail,
    OutputText,
    RetrievalCitation,
    RetrieveAndGenerateRequest,
    RetrieveAndGenerateResponse,
    SessionStart,
)
from awsllm.wire.agents.events import text
from awsllm.wire.agents.retrieval import (
    decode_citation,
    decode_config,
    decode_guardrail,
    decode_user,
    encode_citation,
    encode_config,
    encode_guardrail,
    encode_user,
)
from awsllm.wire.reading import (
    MalformedError,
    blob,
    json_object,
    optional,
    optional_structure,
    required,
    structure,
    structures,
    without_none,
)

SESSION = "x-amzn-bedrock-knowledge-base-session-id"
"""The header with the session's id of a stream, in lower case."""


# --- requests --------------------------------------------------------------------------------------------------------


def encode_request(request: RetrieveAndGenerateRequest) -> JsonObject:
    members = {
        "input": {"text": request.text},
        "retrieveAndGenerateConfiguration": _encode_sources(request) if request.sources else _encode_base(request),
        "sessionId": request.session_id,
        "sessionConfiguration": {"kmsKeyArn": request.kms_key_arn} if request.kms_key_arn else None,
        "userContext": encode_user(request.user_id),
    }
    return without_none(members)


def _encode_base(request: RetrieveAndGenerateRequest) -> JsonObject:
    members = {
        "knowledgeBaseId": request.model.rpartition("/")[2],  # of an ARN: here it is the id
        "modelArn": request.generator,
        "retrievalConfiguration": None if request.config is None else encode_config(request.config),
        "generationConfiguration": _encode_generation(request),
        "orchestrationConfiguration": request.orchestration,
    }
    return {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": without_none(members)}


def _encode_sources(request: RetrieveAndGenerateRequest) -> JsonObject:
    members = {
        "modelArn": request.generator,
        "sources": [_encode_source(source) for source in request.sources],
        "generationConfiguration": _encode_generation(request),
    }
    return {"type": "EXTERNAL_SOURCES", "externalSourcesConfiguration": without_none(members)}


def _encode_generation(request: RetrieveAndGenerateRequest) -> JsonObject | None:
    inference, template = request.inference_config, request.prompt_template
    members = {
        "promptTemplate": None if template is None else {"textPromptTemplate": template},
        "guardrailConfiguration": encode_guardrail(request.guardrail_config),
        "inferenceConfig": {"textInferenceConfig": inference} if inference else None,
        "additionalModelRequestFields": request.extra,
        "performanceConfig": {"latency": request.latency} if request.latency else None,
    }
    return without_none(members) or None


def _encode_source(source: ExternalSource) -> JsonObject:
    if source.uri is not None:
        return {"sourceType": "S3", "s3Location": {"uri": source.uri}}
    content = {"identifier": source.identifier, "contentType": source.content_type, "data": source.data}
    return {"sourceType": "BYTE_CONTENT", "byteContent": content}


def decode_request(wire: JsonObject) -> RetrieveAndGenerateRequest:
    members: dict[str, Any] = {
        "text": structure(wire, "input", lambda value: required(value, "text", str)),
        "session_id": optional(wire, "sessionId", str),
        "kms_key_arn": optional_structure(
            wire, "sessionConfiguration", lambda value: optional(value, "kmsKeyArn", str)
        ),
        "user_id": optional_structure(wire, "userContext", decode_user),
    }
    how = required(wire, "retrieveAndGenerateConfiguration", dict)
    decode = _CONFIGURATIONS.get(required(how, "type", str))
    if decode is None:
        raise MalformedError(f"must be one of {', '.join(_CONFIGURATIONS)}", "retrieveAndGenerateConfiguration.type")
    return RetrieveAndGenerateRequest(**members, **decode(how))


def _decode_base(wire: JsonObject) -> dict[str, Any]:
    base = required(wire, "knowledgeBaseConfiguration", dict)
    return {
        "model": required(base, "knowledgeBaseId", str),
        "generator": required(base, "modelArn", str),
        "config": optional_structure(base, "retrievalConfiguration", decode_config),
        "orchestration": optional(base, "orchestrationConfiguration", dict),
        **_decode_generation(base),
    }


def _decode_sources(wire: JsonObject) -> dict[str, Any]:
    external = required(wire, "externalSourcesConfiguration", dict)
    return {
        "model": "",
        "generator": required(external, "modelArn", str),
        "sources": structures(external, "sources", _decode_source),
        **_decode_generation(external),
    }


_CONFIGURATIONS: Mapping[str, Callable[[JsonObject], dict[str, Any]]] = {
    "KNOWLEDGE_BASE": _decode_base,
    "EXTERNAL_SOURCES": _decode_sources,
}


def _decode_generation(wire: JsonObject) -> dict[str, Any]:
    how = optional(wire, "generationConfiguration", dict) or {}
    inference = optional(how, "inferenceConfig", dict) or {}
    return {
        "prompt_template": optional_structure(
            how, "promptTemplate", lambda value: optional(value, "textPromptTemplate", str)
        ),
        "guardrail_config": optional_structure(how, "guardrailConfiguration", decode_guardrail),
        "inference_config": optional(inference, "textInferenceConfig", dict),
        "extra": optional(how, "additionalModelRequestFields", dict),
        "latency": optional_structure(how, "performanceConfig", lambda value: optional(value, "latency", str)),
    }


def _decode_source(wire: JsonObject) -> ExternalSource:
    if wire.get("sourceType") == "S3":
        return ExternalSource(uri=structure(wire, "s3Location", lambda value: required(value, "uri", str)))
    return structure(wire, "byteContent", _decode_content)


def _decode_content(wire: JsonObject) -> ExternalSource:
    return ExternalSource(
        data=blob(wire.get("data"), "data"),
        content_type=required(wire, "contentType", str),
        identifier=required(wire, "identifier", str),
    )


# --- whole answers ---------------------------------------------------------------------------------------------------


def encode_response(response: RetrieveAndGenerateResponse) -> JsonObject:
    members = {
        "sessionId": response.session_id or "",
        "output": {"text": response.text},
        "citations": [encode_citation(citation) for citation in response.citations],
        "guardrailAction": response.guardrail_action,
    }
    return without_none(members)


def decode_response(wire: JsonObject, *, request_id: str | None = None) -> RetrieveAndGenerateResponse:
    wire = json_object(wire)
    return RetrieveAndGenerateResponse(
        text=structure(wire, "output", lambda output: required(output, "text", str)),
        citations=structures(wire, "citations", decode_citation),
        session_id=optional(wire, "sessionId", str),
        guardrail_action=optional(wire, "guardrailAction", str),
        request_id=request_id,
        raw=wire,
    )


# --- streams ---------------------------------------------------------------------------------------------------------


def encode_event(event: GenerationEvent) -> tuple[str, JsonObject] | None:
    """Event type and payload; None for what stands in the reply's head."""
    match event:
        case SessionStart():
            return None
        case OutputText(piece):
            return "output", {"text": piece}
        case OutputCitation(citation):
            wire = encode_citation(citation)
            return "citation", {"citation": wire, **wire}
        case OutputGuardrail(action):
            return "guardrail", without_none({"action": action})
        case Unknown(tag):
            raise UnsupportedError(f"the event {tag!r} cannot be written")
        case _:
            assert_never(event)


def _decode_citation_event(wire: JsonObject) -> OutputCitation:
    newer = "generatedResponsePart" in wire or "retrievedReferences" in wire
    return OutputCitation(decode_citation(wire) if newer else structure(wire, "citation", decode_citation))


EVENTS: Mapping[str, Callable[[JsonObject], GenerationEvent]] = {
    "output": lambda wire: OutputText(text(wire, "text")),
    "citation": _decode_citation_event,
    "guardrail": lambda wire: OutputGuardrail(optional(wire, "action", str)),
}


def whole(events: Iterable[GenerationEvent]) -> RetrieveAndGenerateResponse:
    """The response that the events make."""
    pieces: list[str] = []
    citations: list[RetrievalCitation] = []
    members: dict[str, Any] = {}
    for event in events:
        match event:
            case SessionStart():
                members.update(session_id=event.session_id, request_id=event.request_id)
            case OutputText(piece):
                pieces.append(piece)
            case OutputCitation(citation):
                citations.append(citation)
            case OutputGuardrail(action):
                members["guardrail_action"] = action
            case Unknown():
                pass
            case _:
                assert_never(event)
    return RetrieveAndGenerateResponse(text="".join(pieces), citations=tuple(citations), **members)


def played(response: RetrieveAndGenerateResponse) -> Iterable[GenerationEvent]:
    """The events that make the response: ``whole``'s inverse."""
    yield SessionStart(response.session_id, response.request_id)
    yield OutputText(response.text)
    for citation in response.citations:
        yield OutputCitation(citation)
    if response.guardrail_action is not None:
        yield OutputGuardrail(response.guardrail_action)
