"""Agents before they are asked: who is meant, the session's state, the results of what an agent wanted done."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from uuid import uuid4

from awsllm.calls import content
from awsllm.calls.options import AgentOptions, InlineAgentOptions, TurnOptions, check_names, check_number
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.models.references import Reference, parse_reference
from awsllm.types import GuardrailConfig, JsonObject
from awsllm.types.agents import (
    AgentFile,
    AgentResult,
    AgentSession,
    InvokeAgentRequest,
    InvokeInlineAgentRequest,
    ReturnControl,
)

_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):\d{12}:agent-alias/([0-9a-zA-Z]{10})/([0-9a-zA-Z]{10})")
_ID = re.compile(r"[0-9a-zA-Z]{1,10}")
_SESSION = re.compile(r"[0-9a-zA-Z._:-]{2,100}")
_INSTRUCTION = 40  # characters at least (service model, Instruction)


def prepare_agent(agent: str, text: str | None, options: AgentOptions) -> tuple[Reference, InvokeAgentRequest]:
    check_names(options, AgentOptions)
    reference, alias = _agent(agent, options.get("alias"))
    return reference, InvokeAgentRequest(
        model=reference.model,
        alias=alias,
        memory_id=options.get("memory_id"),
        source_arn=options.get("source_arn"),
        **_turn(text, options),
    )


def _agent(name: str, alias: str | None) -> tuple[Reference, str]:
    if not isinstance(name, str):
        raise ConfigurationError(f"an agent is named AGENT/ALIAS or by its alias's ARN, not by a {type(name).__name__}")
    if found := _ARN.fullmatch(name.strip()):
        return Reference("bedrock", found[2], region=found[1]), found[3]
    agent, _, named = name.strip().removeprefix("bedrock:").partition("/")
    known = alias or named
    if not _ID.fullmatch(agent) or not known or not _ID.fullmatch(known):
        raise ConfigurationError(
            f"{name!r} is not an agent with an alias: write AGENT/ALIAS (ids of 10 letters and digits; the working "
            "draft's alias is TSTALIASID), or give the ARN of the alias"
        )
    return Reference("bedrock", agent), known


def prepare_inline_agent(
    model: str, text: str | None, options: InlineAgentOptions
) -> tuple[Reference, InvokeInlineAgentRequest]:
    check_names(options, InlineAgentOptions)
    reference = parse_reference(model)
    if reference.scheme != "bedrock":
        raise ConfigurationError(f"an inline agent thinks with a bedrock: model; {reference} is none")
    instruction = options.get("instruction") or ""
    if len(instruction) < _INSTRUCTION:
        raise ValidationError(
            f"instruction says who the agent is and what it does, in {_INSTRUCTION} characters at least; "
            f"it has {len(instruction)}"
        )
    turn = _turn(text, options)
    described = {
        "actionGroups": [dict(group) for group in options.get("action_groups") or ()] or None,
        "knowledgeBases": [dict(base) for base in options.get("knowledge_bases") or ()] or None,
        "guardrailConfiguration": _guardrail(options.get("guardrail_config")),
    }
    extra = {name: value for name, value in described.items() if value is not None} | (turn.pop("extra") or {})
    return reference, InvokeInlineAgentRequest(
        model=reference.model, instruction=instruction, extra=extra or None, **turn
    )


def _guardrail(value: Any) -> JsonObject | None:
    config = content.config(value, GuardrailConfig, "guardrailConfig")
    if config is None:
        return None
    version = config.guardrail_version or "DRAFT"
    return {"guardrailIdentifier": config.guardrail_identifier or "", "guardrailVersion": version}


# --- what every turn has ---------------------------------------------------------------------------------------------


def _turn(text: str | None, options: TurnOptions) -> dict[str, Any]:
    session_id = options.get("session_id") or str(uuid4())
    if not _SESSION.fullmatch(session_id):
        raise ValidationError(f"session_id {session_id!r:.120} may hold 2 to 100 letters, digits and ._:-")
    interval = options.get("guardrail_interval")
    check_number("guardrail_interval", interval, whole=True)
    session = _session(options)
    if text is None and session is None and not options.get("end_session"):
        raise ValidationError("nothing to say: give the agent a text, or the results of what it wanted done")
    return {
        "session_id": session_id,
        "text": text,
        "trace": options.get("trace"),
        "end_session": options.get("end_session"),
        "session": session,
        "stream_text": options.get("stream_text"),
        "guardrail_interval": interval,
        "extra": options.get("extra"),
    }


def _session(options: TurnOptions) -> AgentSession | None:
    control, results = options.get("return_control"), options.get("results")
    session = AgentSession(
        attributes=_texts("attributes", options.get("attributes")),
        prompt_attributes=_texts("prompt_attributes", options.get("prompt_attributes")),
        files=tuple(_file(file) for file in options.get("files") or ()),
        invocation_id=control.invocation_id if isinstance(control, ReturnControl) else None,
        results=_results(control, results),
        extra=options.get("session_extra"),
    )
    return None if session == AgentSession() else session


def _texts(name: str, value: Mapping[str, str] | None) -> dict[str, str] | None:
    for key, text in (value or {}).items():
        if not isinstance(text, str):
            raise ValidationError(f"{name}: {key!r} is a {type(text).__name__}; the service takes texts alone")
    return dict(value) if value else None


def _results(control: Any, results: Sequence[Any] | None) -> tuple[AgentResult, ...]:
    """A result for each invocation of the returned control: made already, or the value that it shall have."""
    if control is None and not results:
        return ()
    if not isinstance(control, ReturnControl):
        raise ValidationError("results answer a returned control: pass return_control=response.return_control, too")
    given, wanted = tuple(results or ()), control.invocations
    if len(given) != len(wanted):
        raise ValidationError(f"{len(given)} results for the {len(wanted)} invocations that the agent waits for")
    return tuple(
        result if isinstance(result, AgentResult) else invocation.result(result)
        for invocation, result in zip(wanted, given, strict=True)
    )


def _file(value: Any) -> AgentFile:
    if isinstance(value, AgentFile):
        return value
    if not isinstance(value, os.PathLike):
        raise ValidationError(f"a file is an AgentFile or a pathlib.Path, not a {type(value).__name__}")
    path = Path(value)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValidationError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
    return AgentFile(name=path.name, data=data, media_type=guess_type(path.name)[0] or "text/plain")
