"""bedrock-agent-runtime, spoken by the server: knowledge bases, agents, prompts, and the Rerank among them.

The paths of operations end without a slash where the control plane's (``PrepareAgent``, ``CreateAgent``) end with one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, ServerError
from awsllm.server.retrieval import new_session
from awsllm.server.shapes import check
from awsllm.server.surfaces.limits import read_json
from awsllm.server.work import Ask, Incoming, Reply, Stream, Work
from awsllm.types import JsonObject, Unknown
from awsllm.types.retrieval import GenerateQueryResponse, RetrieveAndGenerateRequest, SessionStart
from awsllm.wire.agents import agentic, generation, invocation, prompts, retrieval
from awsllm.wire.agents.events import encode_failure
from awsllm.wire.eventstream import EVENT_STREAM, encode_event_frame

E = TypeVar("E")
Operation: TypeAlias = Callable[[str, Incoming], Work]

SERVICE = "bedrock-agent-runtime"
PREFIXES = (
    *("/knowledgebases/", "/retrieveAndGenerate", "/agenticRetrieveStream", "/generateQuery", "/optimize-prompt"),
    *("/rerank", "/agents/"),
)
_JSON = {"Content-Type": "application/json"}
_STREAM = {"Content-Type": EVENT_STREAM}
_RETRIEVE = re.compile(r"/knowledgebases/([^/]+)/retrieve")
_AGENT = re.compile(r"/agents/([^/]+)/agentAliases/([^/]+)/sessions/([^/]+)/text")
_INLINE_AGENT = re.compile(r"/agents/([^/]+)")


def find(incoming: Incoming) -> tuple[Operation, str] | None:
    """The operation that the path means, and the knowledge base, agent or session it names."""
    if whole := _WHOLE.get(incoming.path):
        return whole, ""
    for pattern, operation in _LABELLED:
        if found := pattern.fullmatch(incoming.path):
            return operation, unquote(found[1])
    return None


def _read(incoming: Incoming, operation: str, **labels: str) -> JsonObject:
    wire = read_json(incoming.body)
    check(SERVICE, operation, {**wire, **labels})
    return wire


def _reply(wire: JsonObject) -> Reply:
    return Reply(200, _JSON, msgspec.json.encode(wire))


# --- knowledge bases -------------------------------------------------------------------------------------------------


def _retrieve(base: str, incoming: Incoming) -> Work:
    request = retrieval.decode_retrieve(base, _read(incoming, "Retrieve", knowledgeBaseId=base))
    return Ask(request, lambda response: _reply(retrieval.encode_response(response)))


def _generate(_: str, incoming: Incoming) -> Work:
    request = _in_session(generation.decode_request(_read(incoming, "RetrieveAndGenerate")))
    return Ask(
        request, lambda response: _reply({**generation.encode_response(response), "sessionId": request.session_id})
    )


def _generate_stream(_: str, incoming: Incoming) -> Work:
    request = _in_session(generation.decode_request(_read(incoming, "RetrieveAndGenerateStream")))
    headers = {**_STREAM, generation.SESSION: request.session_id or ""}
    return Stream(request, headers, AgentFrames(generation.encode_event))


def _in_session(request: RetrieveAndGenerateRequest) -> RetrieveAndGenerateRequest:
    return replace(request, session_id=request.session_id or new_session())


def _agentic(_: str, incoming: Incoming) -> Work:
    request = agentic.decode_request(_read(incoming, "AgenticRetrieveStream"))
    return Stream(request, _STREAM, AgentFrames(agentic.encode_event))


def _query(_: str, incoming: Incoming) -> Work:
    request = prompts.decode_query(_read(incoming, "GenerateQuery"))

    def encode(response: GenerateQueryResponse) -> Reply:
        return _reply(prompts.encode_queries(response))

    return Ask(request, encode)


def _optimize(_: str, incoming: Incoming) -> Work:
    request = prompts.decode_optimize(_read(incoming, "OptimizePrompt"))
    return Stream(request, _STREAM, AgentFrames(prompts.encode_event))


def _rerank(_: str, incoming: Incoming) -> Work:
    request = prompts.decode_rerank(_read(incoming, "Rerank"))
    request = replace(request, model=request.model.rpartition("/")[2])  # models are known by their ids here
    return Ask(request, lambda response: _reply(prompts.encode_ranking(response)))


# --- agents ----------------------------------------------------------------------------------------------------------


def _agent(agent: str, incoming: Incoming) -> Work:
    found = _AGENT.fullmatch(incoming.path)
    alias, session = (unquote(part) for part in found.groups()[1:]) if found else ("", "")
    wire = _read(incoming, "InvokeAgent", agentId=agent, agentAliasId=alias, sessionId=session)
    request = invocation.decode_request(agent, alias, session, wire)
    request = replace(request, source_arn=incoming.headers.get("x-amz-source-arn"))
    memory = {invocation.MEMORY: request.memory_id} if request.memory_id else {}
    return Stream(request, {**_session(session), **memory}, AgentFrames(invocation.encode_event))


def _inline_agent(session: str, incoming: Incoming) -> Work:
    wire = _read(incoming, "InvokeInlineAgent", sessionId=session)
    request = invocation.decode_inline_request(session, wire)
    return Stream(request, _session(session), AgentFrames(invocation.encode_event))


def _session(session: str) -> Mapping[str, str]:
    return {**_STREAM, invocation.SESSION: session, invocation.CONTENT_TYPE: "application/json"}


class AgentFrames(Generic[E]):
    """A stream's events as frames; what stands in the reply's head is none."""

    def __init__(self, encode: Callable[[E], tuple[str, Any] | None]) -> None:
        self._encode = encode

    def event(self, event: E) -> bytes:
        if isinstance(event, Unknown | SessionStart):
            return b""
        encoded = self._encode(event)
        return b"" if encoded is None else encode_event_frame(encoded[0], msgspec.json.encode(encoded[1]))

    def end(self) -> bytes:
        return b""

    def failure(self, error: Exception) -> bytes:
        return encode_failure(error if isinstance(error, AwsllmError) else ServerError("internal failure"))


_WHOLE: Mapping[str, Operation] = {
    "/retrieveAndGenerate": _generate,
    "/retrieveAndGenerateStream": _generate_stream,
    "/agenticRetrieveStream": _agentic,
    "/generateQuery": _query,
    "/optimize-prompt": _optimize,
    "/rerank": _rerank,
}
_LABELLED: tuple[tuple[re.Pattern[str], Operation], ...] = (
    (_RETRIEVE, _retrieve),
    (_AGENT, _agent),
    (_INLINE_AGENT, _inline_agent),
)
