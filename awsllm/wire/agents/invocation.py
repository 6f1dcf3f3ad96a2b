"""InvokeAgent and InvokeInlineAgent, both ways: the requests, and the events that both stream.

Ids stand in the path and in the reply's head, everything else in JSON. Pieces of the answer and files are base64.
Amazon Bedrock API reference: InvokeAgent, InvokeInlineAgent.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

import msgspec

from awsllm.errors import UnsupportedError
from awsllm.types import JsonObject, Unknown
from awsllm.types.agents import (
    AgentEvent,
    AgentFile,
    AgentFiles,
    AgentInvocation,
    AgentParameter,
    AgentResponse,
    AgentResult,
    AgentSession,
    AgentText,
    AgentTrace,
    InvokeAgentRequest,
    InvokeInlineAgentRequest,
    ReturnControl,
)
from awsllm.types.retrieval import RetrievalCitation, SessionStart
from awsllm.wire.agents.events import text
from awsllm.wire.agents.retrieval import decode_citation, encode_citation
from awsllm.wire.reading import (
    blob,
    elements,
    objects,
    optional,
    optional_structure,
    required,
    string_map,
    structure,
    structures,
    unknown_members,
    variant,
    without_none,
)

SESSION = "x-amz-bedrock-agent-session-id"
MEMORY = "x-amz-bedrock-agent-memory-id"
CONTENT_TYPE = "x-amzn-bedrock-agent-content-type"
"""Headers of the reply, in lower case."""


# --- requests --------------------------------------------------------------------------------------------------------


def encode_request(request: InvokeAgentRequest) -> JsonObject:
    return without_none({**_encode_turn(request, "sessionState"), "memoryId": request.memory_id}, request.extra)


def encode_inline_request(request: InvokeInlineAgentRequest) -> JsonObject:
    described = {"foundationModel": request.model, "instruction": request.instruction}
    return without_none({**_encode_turn(request, "inlineSessionState"), **described}, request.extra)


def _encode_turn(request: InvokeAgentRequest | InvokeInlineAgentRequest, state: str) -> JsonObject:
    streaming = {"streamFinalResponse": request.stream_text, "applyGuardrailInterval": request.guardrail_interval}
    return {
        "inputText": request.text,
        "enableTrace": request.trace,
        "endSession": request.end_session,
        state: None if request.session is None else _encode_session(request.session),
        "streamingConfigurations": without_none(streaming) or None,
    }


def decode_request(agent: str, alias: str, session_id: str, wire: JsonObject) -> InvokeAgentRequest:
    turn = _decode_turn(wire, "sessionState")
    extra = unknown_members(wire, _TURN | {"sessionState", "memoryId"})
    memory = optional(wire, "memoryId", str)
    return InvokeAgentRequest(model=agent, alias=alias, session_id=session_id, memory_id=memory, extra=extra, **turn)


def decode_inline_request(session_id: str, wire: JsonObject) -> InvokeInlineAgentRequest:
    return InvokeInlineAgentRequest(
        model=required(wire, "foundationModel", str),
        instruction=required(wire, "instruction", str),
        session_id=session_id,
        extra=unknown_members(wire, _TURN | {"inlineSessionState", "foundationModel", "instruction"}),
        **_decode_turn(wire, "inlineSessionState"),
    )


_TURN = frozenset(("inputText", "enableTrace", "endSession", "streamingConfigurations"))


def _decode_turn(wire: JsonObject, state: str) -> dict[str, Any]:
    streaming = optional(wire, "streamingConfigurations", dict) or {}
    return {
        "text": optional(wire, "inputText", str),
        "trace": optional(wire, "enableTrace", bool),
        "end_session": optional(wire, "endSession", bool),
        "session": optional_structure(wire, state, _decode_session),
        "stream_text": optional(streaming, "streamFinalResponse", bool),
        "guardrail_interval": optional(streaming, "applyGuardrailInterval", int),
    }


def _encode_session(session: AgentSession) -> JsonObject:
    members = {
        "sessionAttributes": session.attributes,
        "promptSessionAttributes": session.prompt_attributes,
        "files": [_encode_input_file(file) for file in session.files] or None,
        "invocationId": session.invocation_id,
        "returnControlInvocationResults": [_encode_result(result) for result in session.results] or None,
    }
    return without_none(members, session.extra)


def _decode_session(wire: JsonObject) -> AgentSession:
    return AgentSession(
        attributes=string_map(wire, "sessionAttributes"),
        prompt_attributes=string_map(wire, "promptSessionAttributes"),
        files=structures(wire, "files", _decode_input_file),
        invocation_id=optional(wire, "invocationId", str),
        results=structures(wire, "returnControlInvocationResults", _decode_result),
        extra=unknown_members(wire, _SESSION),
    )


_SESSION = frozenset(
    (
        *("sessionAttributes", "promptSessionAttributes", "files", "invocationId"),
        "returnControlInvocationResults",
    )
)


def _encode_input_file(file: AgentFile) -> JsonObject:
    source: JsonObject = {"sourceType": "S3", "s3Location": {"uri": file.uri}}
    if file.uri is None:
        content = {"mediaType": file.media_type or "application/octet-stream", "data": file.data or b""}
        source = {"sourceType": "BYTE_CONTENT", "byteContent": content}
    return {"name": file.name, "source": source, "useCase": file.use_case}


def _decode_input_file(wire: JsonObject) -> AgentFile:
    source = required(wire, "source", dict)
    name, use_case = required(wire, "name", str), required(wire, "useCase", str)
    if source.get("s3Location") is not None:
        uri = structure(source, "s3Location", lambda value: required(value, "uri", str))
        return AgentFile(name=name, uri=uri, use_case=use_case)
    content = required(source, "byteContent", dict)
    data, kind = blob(content.get("data"), "data"), required(content, "mediaType", str)
    return AgentFile(name=name, data=data, media_type=kind, use_case=use_case)


# --- returned control ------------------------------------------------------------------------------------------------


def _encode_result(result: AgentResult) -> JsonObject:
    """``TEXT`` is the only kind of body that a function's result has; an API's is by content type."""
    invocation = result.invocation
    members: JsonObject = {
        "actionGroup": invocation.action_group,
        "agentId": invocation.agent_id,
        "confirmationState": result.confirmation,
        "responseState": result.state,
    }
    if invocation.function is not None:
        body = {result.content_type or "TEXT": {"body": result.text}}
        return {"functionResult": without_none({**members, "function": invocation.function, "responseBody": body})}
    members |= {
        "apiPath": invocation.api_path,
        "httpMethod": invocation.method,
        "httpStatusCode": result.http_status,
        "responseBody": {result.content_type or "application/json": {"body": result.text}},
    }
    return {"apiResult": without_none(members)}


def _decode_result(wire: JsonObject) -> AgentResult:
    tag, _ = variant(wire)
    return structure(wire, tag, _decode_given_result)


def _decode_given_result(wire: JsonObject) -> AgentResult:
    body = optional(wire, "responseBody", dict) or {}
    content_type = next(iter(body), None)
    invocation = AgentInvocation(
        action_group=required(wire, "actionGroup", str),
        function=optional(wire, "function", str),
        api_path=optional(wire, "apiPath", str),
        method=optional(wire, "httpMethod", str),
        agent_id=optional(wire, "agentId", str),
    )
    return AgentResult(
        invocation=invocation,
        text=structure(body, content_type, lambda value: text(value, "body")) if content_type else "",
        state=optional(wire, "responseState", str),
        confirmation=optional(wire, "confirmationState", str),
        http_status=optional(wire, "httpStatusCode", int),
        content_type=content_type,
    )


def _encode_invocation(invocation: AgentInvocation) -> JsonObject:
    members: JsonObject = {
        "actionGroup": invocation.action_group,
        "actionInvocationType": invocation.type,
        "agentId": invocation.agent_id,
        "collaboratorName": invocation.collaborator,
        "parameters": [_encode_parameter(one) for one in invocation.parameters] or None,
    }
    if invocation.function is not None:
        return {"functionInvocationInput": without_none({**members, "function": invocation.function})}
    content = {
        kind: {"properties": [_encode_parameter(one) for one in properties]}
        for kind, properties in invocation.body.items()
    }
    members |= {
        "apiPath": invocation.api_path,
        "httpMethod": invocation.method,
        "requestBody": {"content": content} if content else None,
    }
    return {"apiInvocationInput": without_none(members)}


def _encode_parameter(parameter: AgentParameter) -> JsonObject:
    return without_none({"name": parameter.name, "type": parameter.type, "value": parameter.value})


def _decode_invocation(wire: JsonObject) -> AgentInvocation:
    body = optional(optional(wire, "requestBody", dict) or {}, "content", dict) or {}
    return AgentInvocation(
        action_group=text(wire, "actionGroup"),
        function=optional(wire, "function", str),
        api_path=optional(wire, "apiPath", str),
        method=optional(wire, "httpMethod", str),
        parameters=structures(wire, "parameters", _decode_parameter),
        body={
            kind: structure(body, kind, lambda value: structures(value, "properties", _decode_parameter))
            for kind in body
        },
        type=optional(wire, "actionInvocationType", str),
        agent_id=optional(wire, "agentId", str),
        collaborator=optional(wire, "collaboratorName", str),
    )


def _decode_parameter(wire: JsonObject) -> AgentParameter:
    return AgentParameter(text(wire, "name"), optional(wire, "value", str), optional(wire, "type", str))


def _decode_return_control(wire: JsonObject) -> ReturnControl:
    """A variant of an invocation that this version does not know has no function and no path."""
    inputs = objects(wire, "invocationInputs")
    invocations = elements(
        list(inputs), "invocationInputs", lambda one: structure(one, variant(one)[0], _decode_invocation)
    )
    return ReturnControl(optional(wire, "invocationId", str), invocations)


# --- events ----------------------------------------------------------------------------------------------------------


def encode_event(event: AgentEvent) -> tuple[str, JsonObject] | None:
    """Event type and payload; None for what stands in the reply's head."""
    match event:
        case SessionStart():
            return None
        case AgentText(piece, citations):
            attribution = {"citations": [encode_citation(citation) for citation in citations]} if citations else None
            return "chunk", without_none({"bytes": piece.encode(), "attribution": attribution})
        case AgentFiles(files):
            return "files", {"files": [_encode_output_file(file) for file in files]}
        case AgentTrace(kind, detail, extra):
            return "trace", {"trace": {kind: detail}, **(extra or {})}
        case ReturnControl(invocation_id, invocations):
            members = {
                "invocationId": invocation_id,
                "invocationInputs": [_encode_invocation(invocation) for invocation in invocations],
            }
            return "returnControl", without_none(members)
        case Unknown(tag):
            raise UnsupportedError(f"the event {tag!r} cannot be written")
        case _:
            assert_never(event)


def _encode_output_file(file: AgentFile) -> JsonObject:
    return without_none({"name": file.name, "type": file.media_type, "bytes": file.data})


def _decode_output_file(wire: JsonObject) -> AgentFile:
    data = blob(wire["bytes"], "bytes") if wire.get("bytes") is not None else None
    return AgentFile(name=text(wire, "name"), data=data, media_type=optional(wire, "type", str))


def _decode_trace(wire: JsonObject) -> AgentTrace:
    trace = optional(wire, "trace", dict) or {}
    kind, detail = variant(trace) if trace else ("", {})
    known = detail if isinstance(detail, dict) else {"": detail}
    return AgentTrace(kind, known, unknown_members(wire, {"trace"}))


def events() -> Mapping[str, Callable[[JsonObject], AgentEvent]]:
    """The table of one stream's events: half a character at the end of a piece waits for the next."""
    read = getincrementaldecoder("utf-8")("replace").decode

    def decode_chunk(wire: JsonObject) -> AgentText:
        attribution = optional(wire, "attribution", dict) or {}
        data = blob(wire["bytes"], "bytes") if wire.get("bytes") is not None else b""
        return AgentText(read(data), structures(attribution, "citations", decode_citation))

    return {"chunk": decode_chunk, **_EVENTS}


_EVENTS: Mapping[str, Callable[[JsonObject], AgentEvent]] = {
    "files": lambda wire: AgentFiles(structures(wire, "files", _decode_output_file)),
    "trace": _decode_trace,
    "returnControl": _decode_return_control,
}


def whole(events: Iterable[AgentEvent]) -> AgentResponse:
    """The response that the events make."""
    pieces: list[str] = []
    citations: list[RetrievalCitation] = []
    files: list[AgentFile] = []
    traces: list[AgentTrace] = []
    members: dict[str, Any] = {}
    for event in events:
        match event:
            case SessionStart():
                members.update(msgspec.structs.asdict(event))
            case AgentText(piece, cited):
                pieces.append(piece)
                citations.extend(cited)
            case AgentFiles(made):
                files.extend(made)
            case AgentTrace():
                traces.append(event)
            case ReturnControl():
                members["return_control"] = event
            case Unknown():
                pass
            case _:
                assert_never(event)
    return AgentResponse(
        text="".join(pieces), citations=tuple(citations), files=tuple(files), traces=tuple(traces), **members
    )
