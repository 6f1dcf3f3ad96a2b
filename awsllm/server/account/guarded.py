"""A conversation that a guardrail of the offline account reads along with (``guardrailConfig``).

Of the input the texts of all messages are judged, or, where there are blocks of ``guardContent``, those alone; of the
answer its texts. Results and arguments of tools are not (user guide, "Include a guardrail with the Converse API"). What
is blocked is replaced by the guardrail's message, what is masked by marks; either way the answer ends with
guardrail_intervened. What would be masked in the input goes to the model as it is.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from awsllm.server.account.guardrails import Guardrail
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    GuardContent,
    GuardrailConfig,
    GuardText,
    JsonObject,
    JsonValue,
    Message,
    Request,
    Text,
    Usage,
)
from awsllm.types.guardrails import ApplyGuardrailRequest, GuardrailResponse
from awsllm.wire.guardrails import encode_assessment

INTERVENED = "guardrail_intervened"
_NOTHING = Usage(input_tokens=0, output_tokens=0, total_tokens=0)  # the model was not asked


def guarded(
    request: ConverseRequest, config: GuardrailConfig, guardrail: Guardrail
) -> Generator[Request[Any], Any, ConverseResponse]:
    """The answer; what is yielded is for the model behind."""
    name = config.guardrail_identifier or ""
    into = _judged(guardrail, config, _input(request), "INPUT")
    if _blocks(into):
        return ConverseResponse(
            message=Message.assistant(into.text),
            stop_reason=INTERVENED,
            usage=_NOTHING,
            trace=_trace(config, {"inputAssessment": {name: _wire(into)}}),
            model=request.model,
        )
    answer: ConverseResponse = yield replace(request, guardrail_config=None)
    texts = tuple(block for block in answer.message.content if isinstance(block, Text))
    out = _judged(guardrail, config, tuple(GuardText(text.text) for text in texts), "OUTPUT")
    found = {"inputAssessment": {name: _wire(into)}, "outputAssessments": {name: [_wire(out)]}}
    answer = replace(answer, trace=_trace(config, found))
    if not out.intervened:
        return answer
    message = Message.assistant(out.text) if _blocks(out) else _masked(answer.message, out)
    return replace(answer, message=message, messages=(), stop_reason=INTERVENED)


def _judged(
    guardrail: Guardrail, config: GuardrailConfig, content: tuple[GuardText, ...], source: str
) -> GuardrailResponse:
    name, version = config.guardrail_identifier or "", config.guardrail_version or "DRAFT"
    return guardrail.judge(ApplyGuardrailRequest(model=name, version=version, content=content, source=source))


def _input(request: ConverseRequest) -> tuple[GuardText, ...]:
    blocks = [*request.system, *(block for message in request.messages for block in message.content)]
    chosen = [block.content for block in blocks if isinstance(block, GuardContent)]
    if chosen:
        return tuple(content for content in chosen if isinstance(content, GuardText))
    return tuple(
        GuardText(block.text) for message in request.messages for block in message.content if isinstance(block, Text)
    )


def _blocks(judged: GuardrailResponse) -> bool:
    return judged.intervened and not judged.masked


def _masked(message: Message, judged: GuardrailResponse) -> Message:
    """The message with the judged texts, which came in the order of its own."""
    texts = iter(judged.outputs)
    return replace(
        message,
        content=tuple(
            replace(block, text=next(texts)) if isinstance(block, Text) else block for block in message.content
        ),
    )


def _wire(judged: GuardrailResponse) -> JsonObject:
    return encode_assessment(judged.assessments[0])


def _trace(config: GuardrailConfig, found: JsonObject) -> JsonValue:
    return {"guardrail": found} if config.trace in ("enabled", "enabled_full") else None
