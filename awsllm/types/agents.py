"""Values of Bedrock's agents: what they are asked, what they stream, and what is handed back to them.

The vocabulary is that of ``bedrock-agent-runtime`` (service model of botocore 1.44). Agents are closed to new customers
since 2026-07-30. What is deep and changes often (traces, the configuration of an inline agent) is kept as the service
writes it; what a program acts upon is typed.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from awsllm.types import JsonObject, JsonValue, Streamed, Tagged, Unknown, Value
from awsllm.types.retrieval import RetrievalCitation, SessionStart


class AgentFile(Value, frozen=True, kw_only=True):
    """A file that goes to an agent or comes from it. ``uri`` is S3's, in place of ``data``; ``use_case`` is
    CODE_INTERPRETER or CHAT, of a file that is sent."""

    name: str
    data: bytes | None = None
    media_type: str | None = None
    uri: str | None = None
    use_case: str = "CODE_INTERPRETER"


class AgentParameter(Value, frozen=True):
    """An argument as the agent gives it: a text, with the type that the action's schema says."""

    name: str
    value: str | None = None
    type: str | None = None


class AgentInvocation(Value, frozen=True, kw_only=True):
    """What an agent wants to be done: a function (``function``) or an operation of an API (``api_path`` and ``method``)
    of an action group. ``type`` is RESULT, USER_CONFIRMATION or USER_CONFIRMATION_AND_RESULT. ``body`` has an
    operation's properties by content type."""

    action_group: str
    function: str | None = None
    api_path: str | None = None
    method: str | None = None
    parameters: tuple[AgentParameter, ...] = ()
    body: dict[str, tuple[AgentParameter, ...]] = msgspec.field(default_factory=dict)
    type: str | None = None
    agent_id: str | None = None
    collaborator: str | None = None

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """The arguments as Python values, as far as their types say what they are; a text that is none of its type
        stays one."""
        given = (*self.parameters, *(each for properties in self.body.values() for each in properties))
        return {each.name: _typed(each) for each in given}

    def result(self, value: JsonValue, *, state: str | None = None, confirmation: str | None = None) -> AgentResult:
        """What came of it, to be sent back: a text, or any other value as JSON. ``state`` is FAILURE or REPROMPT,
        ``confirmation`` CONFIRM or DENY."""
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return AgentResult(invocation=self, text=text, state=state, confirmation=confirmation)


def _typed(parameter: AgentParameter) -> JsonValue:
    """The service writes numbers, booleans and arrays as texts."""
    if parameter.value is None or parameter.type in (None, "string"):
        return parameter.value
    try:
        return msgspec.json.decode(parameter.value)
    except ValueError:
        return parameter.value


class AgentResult(Value, frozen=True, kw_only=True):
    """What came of an ``AgentInvocation``, whose ``result`` makes it. ``content_type`` is the key of its body:
    ``TEXT`` of a function, a content type of an API (``application/json``)."""

    invocation: AgentInvocation
    text: str
    state: str | None = None
    confirmation: str | None = None
    http_status: int | None = None
    content_type: str | None = None


class AgentSession(Value, frozen=True, kw_only=True):
    """The state of a session. ``results`` answer the returned control ``invocation_id``. ``extra`` are further members
    of the wire's structure (knowledge base configurations, conversation history)."""

    attributes: dict[str, str] | None = None
    prompt_attributes: dict[str, str] | None = None
    files: tuple[AgentFile, ...] = ()
    invocation_id: str | None = None
    results: tuple[AgentResult, ...] = ()
    extra: JsonObject | None = None


class _AgentRequest(Streamed["AgentResponse", "AgentEvent"], frozen=True, kw_only=True):
    """``text`` is None where the results of a returned control are all that is said. ``extra`` are further members of
    the request."""

    served_by: ClassVar[str] = "bedrock: agents"

    session_id: str
    text: str | None = None
    trace: bool | None = None
    end_session: bool | None = None
    session: AgentSession | None = None
    stream_text: bool | None = None
    guardrail_interval: int | None = None
    extra: JsonObject | None = None


class InvokeAgentRequest(_AgentRequest, frozen=True, kw_only=True):
    """One turn of an agent: ``model`` is its id, ``alias`` the id of one of its aliases. ``source_arn`` is what acts
    for whom."""

    operation: ClassVar[str] = "invoke_agent"

    alias: str
    memory_id: str | None = None
    source_arn: str | None = None


class InvokeInlineAgentRequest(_AgentRequest, frozen=True, kw_only=True):
    """One turn of an agent that is described in the call: ``model`` is the model that it thinks with, ``instruction``
    who it is. Action groups, knowledge bases, collaborators and the like are the wire's members, in ``extra``."""

    operation: ClassVar[str] = "invoke_inline_agent"

    instruction: str


class AgentText(Tagged, frozen=True, tag="agent_text"):
    """A piece of the answer, with citations of it."""

    text: str
    citations: tuple[RetrievalCitation, ...] = ()


class AgentFiles(Tagged, frozen=True, tag="agent_files"):
    """Files that the agent has made."""

    files: tuple[AgentFile, ...]


class AgentTrace(Tagged, frozen=True, tag="agent_trace"):
    """A step of the agent. ``type`` says of which kind (``orchestrationTrace``, ``guardrailTrace`` …), ``detail`` is
    that, as the service writes it; ``extra`` is the rest (``agentId``, ``eventTime``, ``callerChain`` …)."""

    type: str
    detail: JsonObject
    extra: JsonObject | None = None


class ReturnControl(Tagged, frozen=True, tag="return_control"):
    """The agent waits for what it wants to be done: answer with each invocation's ``result`` in the next call of the
    same session (``return_control=``, ``results=``)."""

    invocation_id: str | None
    invocations: tuple[AgentInvocation, ...]


AgentEvent: TypeAlias = SessionStart | AgentText | AgentFiles | AgentTrace | ReturnControl | Unknown


class AgentResponse(Value, frozen=True, kw_only=True):
    """One turn of an agent. ``return_control`` is set where it waits for the caller instead of answering."""

    text: str = ""
    citations: tuple[RetrievalCitation, ...] = ()
    files: tuple[AgentFile, ...] = ()
    traces: tuple[AgentTrace, ...] = ()
    return_control: ReturnControl | None = None
    session_id: str | None = None
    memory_id: str | None = None
    content_type: str | None = None
    request_id: str | None = None
