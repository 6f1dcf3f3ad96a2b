"""The guardrails of an offline account as its runtimes apply them: ApplyGuardrail, InvokeGuardrailChecks, and what
reads along with a conversation.

Those that were only named (``guardrails=``) are there in every region and in every version; those that were created are
found by region, id and version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from awsllm.errors import ModelNotFoundError
from awsllm.server.account.account import Region
from awsllm.server.account.guardrails import records
from awsllm.server.account.guardrails.apply import apply
from awsllm.server.account.guardrails.filters import severities
from awsllm.server.account.guardrails.guardrail import Guardrail
from awsllm.server.account.guardrails.inline import GuardedConversation, GuardedEvents
from awsllm.server.account.guardrails.judge import UNIT
from awsllm.server.account.guardrails.meaning import Meaning, Steps
from awsllm.server.account.guardrails.private import private_spans
from awsllm.types import ConverseRequest, ConverseResponse, Text
from awsllm.types.guardrails import (
    ApplyGuardrailRequest,
    GuardrailChecksRequest,
    GuardrailChecksResponse,
    GuardrailResponse,
    SensitiveSpan,
)

_MOST_SPANS = 1000  # of a response to InvokeGuardrailChecks


class Guarding:
    """``encoder`` is what the models behind know the encoder by, if there is one."""

    def __init__(self, named: Mapping[str, Any] | None, encoder: str | None, region: Region | None = None) -> None:
        self._named = None if named is None else {name: Guardrail.of(name, one) for name, one in named.items()}
        self._region = region
        self._meaning = Meaning(encoder)

    @property
    def exists(self) -> bool:
        """Whether there can be guardrails at all; if not, a script may answer in their place."""
        return self._named is not None or (self._region is not None and self._region.has_begun(records.KIND))

    def guardrail(self, name: str, version: str) -> Guardrail:
        """By id or ARN. Raises AWS's refusal of one that is not there."""
        known = self._named or {}
        named = known.get(name) or known.get(name.rpartition("/")[2])
        if named is not None:
            return named
        found = records.version_in(self._region, name, version) if self._region is not None else None
        if found is None:
            raise ModelNotFoundError(
                "The guardrail identifier or version provided in the request does not exist.",
                code="ValidationException",
                status=400,
            )
        return found

    def apply(self, request: ApplyGuardrailRequest) -> Steps[GuardrailResponse]:
        return (yield from apply(self.guardrail(request.model, request.version), request, self._meaning))

    def conversation(self, request: ConverseRequest) -> GuardedConversation | None:
        """The conversation under its guardrail; None where it has none."""
        config = request.guardrail_config
        if config is None or not config.guardrail_identifier or not self.exists:
            return None
        guardrail = self.guardrail(config.guardrail_identifier, config.guardrail_version or "DRAFT")
        return GuardedConversation(request, guardrail, self._meaning)

    def answer(self, request: ConverseRequest) -> Steps[ConverseResponse]:
        """The answer to a conversation that has a guardrail."""
        conversation = self.conversation(request)
        assert conversation is not None  # noqa: S101
        asked = yield from conversation.begin()
        if asked is None:
            return conversation.refused()
        return (yield from conversation.judge((yield asked)))

    def events(self, request: ConverseRequest) -> GuardedEvents | None:
        """The stream of a conversation that has a guardrail; None where it has none."""
        conversation = self.conversation(request)
        return None if conversation is None else GuardedEvents(conversation)

    def checks(self, request: GuardrailChecksRequest) -> Steps[GuardrailChecksResponse]:
        """Severities of what each check looks for, the highest of any text, and where private things stand."""
        content = dict.fromkeys(request.content_filter, 0.0)
        attacks = dict.fromkeys(request.prompt_attack, 0.0)
        spans: list[SensitiveSpan] = []
        for m, message in enumerate(request.messages):
            texts = [block.text for block in message.content if isinstance(block, Text)]
            for c, text in enumerate(texts):
                found = yield from severities(self._meaning, text, (*content, *attacks))
                for scores in (content, attacks):
                    scores.update({name: max(score, found[name]) for name, score in scores.items()})
                for kind, start, end in private_spans(text, request.sensitive_information):
                    place = {"message_index": m, "content_index": c}
                    spans.append(SensitiveSpan(type=kind, confidence=1.0, start=start, end=end, **place))
        units = sum(math.ceil(len(message.text) / UNIT) for message in request.messages)
        made = {
            "contentFilter": request.content_filter,
            "promptAttack": request.prompt_attack,
            "sensitiveInformation": request.sensitive_information,
        }
        return GuardrailChecksResponse(
            content_filter=content,
            prompt_attack=attacks,
            sensitive_information=tuple(spans[:_MOST_SPANS]),
            truncated=len(spans) > _MOST_SPANS,
            text_units={name: units for name, wanted in made.items() if wanted},
        )
