"""Retrieve, and what other operations have of it: how to search, what was found, citations. Both ways.

Amazon Bedrock API reference: Retrieve, KnowledgeBaseRetrievalConfiguration, RetrievalFilter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from awsllm.errors import UnsupportedError
from awsllm.types import Bytes, GuardrailConfig, Image, JsonObject
from awsllm.types.retrieval import (
    AllOf,
    AnyOf,
    Condition,
    Filter,
    ImplicitFilter,
    Reranking,
    RetrievalCitation,
    RetrievalConfig,
    RetrievalLocation,
    RetrievalResult,
    RetrievedColumn,
    RetrieveRequest,
    RetrieveResponse,
)
from awsllm.wire.agents.events import text
from awsllm.wire.reading import (
    MalformedError,
    blob,
    elements,
    json_object,
    objects,
    optional,
    optional_structure,
    present,
    required,
    structure,
    structures,
    unknown_members,
    variant,
    without_none,
)

_RERANKING = "BEDROCK_RERANKING_MODEL"
OPERATORS = frozenset(
    (
        *("equals", "notEquals", "greaterThan", "greaterThanOrEquals", "lessThan", "lessThanOrEquals"),
        *("in", "notIn", "startsWith", "stringContains", "listContains"),
    )
)
"""What a condition of a filter may be."""


# --- filters ---------------------------------------------------------------------------------------------------------


def encode_filter(filter: Filter) -> JsonObject:
    match filter:
        case Condition(operator, key, value):
            return {operator: {"key": key, "value": value}}
        case AllOf(filters):
            return {"andAll": [encode_filter(one) for one in filters]}
        case AnyOf(filters):
            return {"orAll": [encode_filter(one) for one in filters]}
        case _:
            assert_never(filter)


def decode_filter(wire: JsonObject) -> Filter:
    name, value = variant(wire)
    if name in ("andAll", "orAll"):
        if not isinstance(value, list) or len(value) < 2:
            raise MalformedError("must be a list of at least two filters", name)
        inner = elements(value, name, decode_filter)
        return AllOf(inner) if name == "andAll" else AnyOf(inner)
    if name not in OPERATORS:
        raise MalformedError(f"is no condition; there are {', '.join(sorted(OPERATORS))}, andAll and orAll", name)
    return structure(wire, name, lambda one: Condition(name, required(one, "key", str), present(one, "value")))


# --- how to search ---------------------------------------------------------------------------------------------------


def encode_config(config: RetrievalConfig) -> JsonObject | None:
    """None where the service's own defaults are meant."""
    members = {
        "numberOfResults": config.number_of_results,
        "overrideSearchType": config.search_type,
        "filter": None if config.filter is None else encode_filter(config.filter),
        "implicitFilterConfiguration": _encode_implicit(config.implicit_filter),
        "rerankingConfiguration": _encode_reranking(config.reranking),
        "rerankingModelType": config.reranking_type,
    }
    wire = without_none(members, config.extra)
    if config.managed:
        return {"managedSearchConfiguration": wire}
    return {"vectorSearchConfiguration": wire} if wire else None


def decode_config(wire: JsonObject) -> RetrievalConfig:
    managed = wire.get("managedSearchConfiguration") is not None
    name = "managedSearchConfiguration" if managed else "vectorSearchConfiguration"
    found = optional_structure(wire, name, lambda inner: _decode_search(inner, managed=managed))
    return RetrievalConfig() if found is None else found


def _decode_search(wire: JsonObject, *, managed: bool) -> RetrievalConfig:
    return RetrievalConfig(
        number_of_results=optional(wire, "numberOfResults", int),
        search_type=optional(wire, "overrideSearchType", str),
        filter=optional_structure(wire, "filter", decode_filter),
        implicit_filter=optional_structure(wire, "implicitFilterConfiguration", _decode_implicit),
        reranking=optional_structure(wire, "rerankingConfiguration", _decode_reranking),
        managed=managed,
        reranking_type=optional(wire, "rerankingModelType", str),
        extra=unknown_members(wire, _SEARCH),
    )


_SEARCH = frozenset(
    (
        *("numberOfResults", "overrideSearchType", "filter", "implicitFilterConfiguration", "rerankingConfiguration"),
        "rerankingModelType",
    )
)


def _encode_implicit(implicit: ImplicitFilter | None) -> JsonObject | None:
    if implicit is None:
        return None
    return {"metadataAttributes": [dict(one) for one in implicit.attributes], "modelArn": implicit.model_arn}


def _decode_implicit(wire: JsonObject) -> ImplicitFilter:
    return ImplicitFilter(model_arn=required(wire, "modelArn", str), attributes=objects(wire, "metadataAttributes"))


def _encode_reranking(reranking: Reranking | None) -> JsonObject | None:
    if reranking is None:
        return None
    model = without_none({"modelArn": reranking.model_arn, "additionalModelRequestFields": reranking.extra})
    members = {
        "modelConfiguration": model,
        "numberOfRerankedResults": reranking.number_of_results,
        "metadataConfiguration": _encode_reranked_metadata(reranking),
    }
    return {"type": _RERANKING, "bedrockRerankingConfiguration": without_none(members)}


def _encode_reranked_metadata(reranking: Reranking) -> JsonObject | None:
    name, fields = (
        ("fieldsToInclude", reranking.include) if reranking.include else ("fieldsToExclude", reranking.exclude)
    )
    if fields:
        selected = {name: [{"fieldName": field} for field in fields]}
        return {"selectionMode": "SELECTIVE", "selectiveModeConfiguration": selected}
    return {"selectionMode": "ALL"} if reranking.metadata else None


def _decode_reranking(wire: JsonObject) -> Reranking:
    return structure(wire, "bedrockRerankingConfiguration", _decode_bedrock_reranking)


def _decode_bedrock_reranking(wire: JsonObject) -> Reranking:
    model = required(wire, "modelConfiguration", dict)
    metadata = optional(wire, "metadataConfiguration", dict) or {}
    selected = optional(metadata, "selectiveModeConfiguration", dict) or {}
    return Reranking(
        model_arn=required(model, "modelArn", str),
        number_of_results=optional(wire, "numberOfRerankedResults", int),
        metadata=metadata.get("selectionMode") == "ALL",
        include=_field_names(selected, "fieldsToInclude"),
        exclude=_field_names(selected, "fieldsToExclude"),
        extra=optional(model, "additionalModelRequestFields", dict),
    )


def _field_names(wire: JsonObject, name: str) -> tuple[str, ...]:
    return structures(wire, name, lambda field: required(field, "fieldName", str))


def encode_guardrail(config: GuardrailConfig | None) -> JsonObject | None:
    if config is None:
        return None
    identifier = (config.guardrail_identifier or "").rpartition("/")[2]  # of an ARN: here it is the id
    return {"guardrailId": identifier, "guardrailVersion": config.guardrail_version or "DRAFT"}


def decode_guardrail(wire: JsonObject) -> GuardrailConfig:
    return GuardrailConfig(required(wire, "guardrailId", str), required(wire, "guardrailVersion", str))


def encode_user(user_id: str | None) -> JsonObject | None:
    return None if user_id is None else {"userId": user_id}


def decode_user(wire: JsonObject) -> str:
    return required(wire, "userId", str)


# --- requests --------------------------------------------------------------------------------------------------------


def encode_retrieve(request: RetrieveRequest) -> JsonObject:
    query: JsonObject = {} if request.text is None else {"text": request.text}
    if request.image is not None:
        # The kind of a query stands there only where an image does: older knowledge bases know texts alone.
        query = {**query, "type": "IMAGE", "image": _encode_image(request.image)}
    members = {
        "retrievalQuery": query,
        "retrievalConfiguration": encode_config(request.config),
        "guardrailConfiguration": encode_guardrail(request.guardrail_config),
        "userContext": encode_user(request.user_id),
        "nextToken": request.next_token,
    }
    return without_none(members)


def _encode_image(image: Image) -> JsonObject:
    if not isinstance(image.source, Bytes):
        raise UnsupportedError("a query's image is sent as bytes: read the object from S3 first")
    return {"format": image.format, "inlineContent": image.source.data}


def decode_retrieve(knowledge_base: str, wire: JsonObject) -> RetrieveRequest:
    query = required(wire, "retrievalQuery", dict)
    return RetrieveRequest(
        model=knowledge_base,
        text=optional(query, "text", str),
        image=optional_structure(query, "image", _decode_image),
        config=optional_structure(wire, "retrievalConfiguration", decode_config) or RetrievalConfig(),
        guardrail_config=optional_structure(wire, "guardrailConfiguration", decode_guardrail),
        user_id=optional_structure(wire, "userContext", decode_user),
        next_token=optional(wire, "nextToken", str),
    )


def _decode_image(wire: JsonObject) -> Image:
    return Image(required(wire, "format", str), Bytes(blob(wire.get("inlineContent"), "inlineContent")))


# --- what was found --------------------------------------------------------------------------------------------------

# The member of a location that stands for its kind, and the one in it that is an address.
_PLACES: Mapping[str, tuple[str, str]] = {
    "S3": ("s3Location", "uri"),
    "WEB": ("webLocation", "url"),
    "CONFLUENCE": ("confluenceLocation", "url"),
    "SALESFORCE": ("salesforceLocation", "url"),
    "SHAREPOINT": ("sharePointLocation", "url"),
    "CUSTOM": ("customDocumentLocation", "id"),
    "KENDRA": ("kendraDocumentLocation", "uri"),
    "SQL": ("sqlLocation", "query"),
    "ONEDRIVE": ("oneDriveLocation", "url"),
    "GOOGLEDRIVE": ("googleDriveLocation", "url"),
}


def encode_location(location: RetrievalLocation) -> JsonObject:
    wire: JsonObject = {"type": location.type, **(location.extra or {})}
    if location.uri is not None and location.type in _PLACES:
        place, address = _PLACES[location.type]
        wire[place] = {address: location.uri}
    return wire


def decode_location(wire: JsonObject) -> RetrievalLocation:
    kind = required(wire, "type", str)
    place, address = _PLACES.get(kind, ("", ""))
    uri = optional_structure(wire, place, lambda inner: optional(inner, address, str)) if place else None
    return RetrievalLocation(kind, uri, unknown_members(wire, {"type", place}))


def encode_result(result: RetrievalResult) -> JsonObject:
    members = {
        "content": _encode_content(result),
        "location": None if result.location is None else encode_location(result.location),
        "score": result.score,
        "metadata": result.metadata or None,
        "documentId": result.document_id,
    }
    return without_none(members, result.extra)


def _encode_content(result: RetrievalResult) -> JsonObject:
    match result.type:
        case "AUDIO":
            spoken = without_none({"s3Uri": result.media_uri, "transcription": result.text or None})
            return {"type": "AUDIO", "audio": spoken}
        case "VIDEO":
            return {"type": "VIDEO", "video": without_none({"s3Uri": result.media_uri, "summary": result.text or None})}
        case _:
            members = {
                "type": result.type,
                "text": result.text or None,
                "byteContent": result.data_uri,
                "row": [_encode_column(column) for column in result.row] or None,
            }
            return without_none(members)


def _encode_column(column: RetrievedColumn) -> JsonObject:
    return without_none({"columnName": column.name, "columnValue": column.value, "type": column.type})


def decode_result(wire: JsonObject) -> RetrievalResult:
    content = optional(wire, "content", dict) or {}
    audio, video = optional(content, "audio", dict) or {}, optional(content, "video", dict) or {}
    return RetrievalResult(
        text=text(content, "text") or text(audio, "transcription") or text(video, "summary"),
        type=optional(content, "type", str),
        score=optional(wire, "score", float),
        location=optional_structure(wire, "location", decode_location),
        metadata=optional(wire, "metadata", dict) or {},
        data_uri=optional(content, "byteContent", str),
        row=structures(content, "row", _decode_column),
        media_uri=optional(audio, "s3Uri", str) or optional(video, "s3Uri", str),
        document_id=optional(wire, "documentId", str),
        extra=unknown_members(wire, _RESULT),
    )


_RESULT = frozenset(("content", "location", "score", "metadata", "documentId"))


def _decode_column(wire: JsonObject) -> RetrievedColumn:
    return RetrievedColumn(
        optional(wire, "columnName", str), optional(wire, "columnValue", str), optional(wire, "type", str)
    )


def encode_response(response: RetrieveResponse) -> JsonObject:
    members = {
        "retrievalResults": [encode_result(result) for result in response.results],
        "nextToken": response.next_token,
        "guardrailAction": response.guardrail_action,
    }
    return without_none(members)


def decode_response(wire: JsonObject, *, request_id: str | None = None) -> RetrieveResponse:
    wire = json_object(wire)
    return RetrieveResponse(
        results=structures(wire, "retrievalResults", decode_result),
        next_token=optional(wire, "nextToken", str),
        guardrail_action=optional(wire, "guardrailAction", str),
        request_id=request_id,
        raw=wire,
    )


# --- citations -------------------------------------------------------------------------------------------------------


def encode_citation(citation: RetrievalCitation) -> JsonObject:
    span = without_none({"start": citation.start, "end": citation.end}) or None
    part = without_none({"text": citation.text, "span": span})
    return {
        "generatedResponsePart": {"textResponsePart": part},
        "retrievedReferences": [_reference(encode_result(reference)) for reference in citation.references],
    }


def _reference(wire: JsonObject) -> JsonObject:
    """A citation's reference has no more than these of a result's members."""
    return {name: value for name, value in wire.items() if name in ("content", "location", "metadata")}


def decode_citation(wire: JsonObject) -> RetrievalCitation:
    part = optional(wire, "generatedResponsePart", dict) or {}
    written = optional(part, "textResponsePart", dict) or {}
    span = optional(written, "span", dict) or {}
    return RetrievalCitation(
        text=optional(written, "text", str),
        start=optional(span, "start", int),
        end=optional(span, "end", int),
        references=structures(wire, "retrievedReferences", decode_result),
    )
