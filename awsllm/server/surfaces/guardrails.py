"""Guardrails of bedrock-runtime, spoken by the server: ApplyGuardrail and InvokeGuardrailChecks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote

import msgspec

from awsllm.server.shapes import check
from awsllm.server.surfaces.bedrock import SERVICE
from awsllm.server.surfaces.limits import read_json
from awsllm.server.work import Ask, Incoming, Reply, Work
from awsllm.wire import guardrails

Operation: TypeAlias = Callable[[str, Incoming], Work]

PREFIXES = ("/guardrail/", "/guardrail-checks/")
_JSON = {"Content-Type": "application/json"}
_APPLY = re.compile(r"/guardrail/([^/]+)/version/([^/]+)/apply")


def find(incoming: Incoming) -> tuple[Operation, str] | None:
    """The operation that the path means, and the guardrail it names."""
    if found := _APPLY.fullmatch(incoming.path):
        return _apply, unquote(found[1])
    return (_checks, "") if incoming.path == "/guardrail-checks/invoke" else None


def _apply(guardrail: str, incoming: Incoming) -> Work:
    wire = read_json(incoming.body)
    version = unquote(incoming.path.split("/")[4])
    check(SERVICE, "ApplyGuardrail", {**wire, "guardrailIdentifier": guardrail, "guardrailVersion": version})
    request = guardrails.decode_apply(guardrail, version, wire)
    return Ask(request, lambda response: _reply(guardrails.encode_response(response)))


def _checks(_: str, incoming: Incoming) -> Work:
    wire = read_json(incoming.body)
    check(SERVICE, "InvokeGuardrailChecks", wire)
    return Ask(guardrails.decode_checks(wire), lambda response: _reply(guardrails.encode_checks_response(response)))


def _reply(wire: object) -> Reply:
    return Reply(200, _JSON, msgspec.json.encode(wire))
