"""How a model is made to think, and what becomes of the thoughts that a conversation holds.

``with_thinking`` turns the options ``thinking`` and ``effort`` into what the model's family reads: Claude has a budget
of tokens or thinks adaptively, Nova 2 and gpt-oss have an effort. What a model cannot do of it is a warning, and so is
what it refuses beside it (a temperature while Claude thinks).

``without_foreign`` leaves out of a conversation what the next model must not see: thoughts of another family's model
(``Reasoning.made_by``), and thoughts that lack their signature, where the model asks for one: those of a stream that
was broken off. Pure, on neutral values.

Sources: userguide/claude-messages-extended-thinking and -adaptive-thinking (a budget is 1,024 tokens at least and less
than max_tokens; no temperature, no top_p below 0.95); nova2-userguide/extended-thinking (at high effort neither
temperature, topP nor maxTokens); userguide/model-parameters-openai (reasoning_effort); read 2026-11-26.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.models.profiles import Profile
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, Message, OutputConfig, Reasoning, ToolResult

if TYPE_CHECKING:
    from awsllm.wire.converse.history import Notes

LEAST_BUDGET = 1024
_LEAST_TOP_P = 0.95
_FOREIGN = "thinking of another family's model was left out"
_LOST = "this turn is answered without thinking, for the thought before its tool calls is lost"
_UNSIGNED = "thinking without its signature, as a stream leaves it that was broken off, was left out"


# --- how to think ----------------------------------------------------------------------------------------------------


def with_thinking(
    request: ConverseRequest, can: Profile, thinking: object, effort: str | None
) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request that asks for it, and what of it cannot be honoured. ``thinking`` is None (as the model does by
    itself), a bool, a budget of tokens, or "adaptive"."""
    _check(thinking)
    warnings: list[str] = []
    if thinking is not None:
        request = _thinking(request, can, thinking, warnings)
    if effort:
        request = _effort(request, can, effort, warnings)
    return _fitting(request, can, warnings), tuple(warnings)


def for_local(request: ConverseRequest, thinking: Any) -> ConverseRequest:
    """The request as Claude is told: what of it the template of a local model can say, it says."""
    _check(thinking)
    if isinstance(thinking, int) and not isinstance(thinking, bool):
        return _extra(request, "thinking", {"type": "enabled", "budget_tokens": thinking})
    return _extra(request, "thinking", {"type": "enabled" if thinking else "disabled"})


def _check(thinking: object) -> None:
    if isinstance(thinking, bool) or thinking in (None, "adaptive"):
        return
    if not isinstance(thinking, int):
        raise ValidationError(
            f"thinking is {thinking!r:.40}; it is True, False, 'adaptive' or a budget in tokens; effort= says how much"
        )
    if thinking < LEAST_BUDGET:
        raise ValidationError(f"thinking is {thinking} tokens; a budget is at least {LEAST_BUDGET}, and False is none")


def _budget(request: ConverseRequest, tokens: int) -> ConverseRequest:
    limit = request.inference_config.max_tokens
    if limit is not None and limit <= tokens:
        raise ValidationError(
            f"a thinking budget of {tokens} leaves nothing of max_tokens={limit} for the answer: it counts into it"
        )
    return _extra(request, "thinking", {"type": "enabled", "budget_tokens": tokens})


def _thinking(request: ConverseRequest, can: Profile, thinking: Any, warnings: list[str]) -> ConverseRequest:
    ways, name = can.thinking, can.family
    if thinking is False:
        if can.thinking_always:
            warnings.append(f"thinking=False is not honoured: this model of the family {name} always thinks")
            return request
        if "none" in can.efforts:
            return _effort(request, can, "none", warnings)
        return _extra(request, "thinking", {"type": "disabled"}) if ways & {"budget", "adaptive"} else request
    if not ways:
        warnings.append(f"thinking is not honoured: this model of the family {name} does not think")
        return request
    if isinstance(thinking, int) and not isinstance(thinking, bool) and "budget" in ways:
        return _budget(request, thinking)
    if "adaptive" in ways:
        if thinking not in (True, "adaptive"):
            warnings.append(
                "the budget of thinking is not honoured: this model thinks adaptively; effort= says how much"
            )
        return request if can.thinking_always else _extra(request, "thinking", {"type": "adaptive"})
    if "budget" in ways:
        if thinking == "adaptive":
            warnings.append(f"thinking is not adaptive in this model: it has a budget of {LEAST_BUDGET} tokens")
        return _budget(request, LEAST_BUDGET)
    if thinking not in (True, "adaptive"):
        warnings.append("the budget of thinking is not honoured: this model has an effort; effort= says how much")
    config = request.output_config
    return request if config and config.effort else _effort(request, can, "medium", warnings)


def _effort(request: ConverseRequest, can: Profile, effort: str, warnings: list[str]) -> ConverseRequest:
    if can.known and can.thinking and "effort" not in can.thinking:
        way = "it thinks by a budget, as thinking=4096 gives it"
        warnings.append(f"effort {effort!r} is not honoured by this model of the family {can.family}: {way}")
        return request
    if can.efforts and effort not in can.efforts:
        warnings.append(f"effort {effort!r} is none of this model's, which are {', '.join(sorted(can.efforts))}")
    config = request.output_config or OutputConfig()
    return replace(request, output_config=replace(config, effort=effort))


def _extra(request: ConverseRequest, name: str, value: JsonObject) -> ConverseRequest:
    """What the caller's own ``extra`` says goes before it."""
    return replace(request, extra={name: value, **(request.extra or {})})


def _fitting(request: ConverseRequest, can: Profile, warnings: list[str]) -> ConverseRequest:
    """The request without what the family refuses of a model that thinks."""
    config, changes = request.inference_config, dict[str, Any]()
    if can.signed_thinking and can.thinks(request):
        if config.temperature not in (None, 1):
            changes["temperature"] = None
        if config.top_p is not None and config.top_p < _LEAST_TOP_P:
            changes["top_p"] = None
    elif can.family == "nova" and request.output_config and request.output_config.effort == "high":
        changes = {name: None for name in ("temperature", "top_p", "max_tokens") if getattr(config, name) is not None}
    if not changes:
        return request
    warnings.append(f"{' and '.join(changes)} cannot be set while this model thinks so, and was left out")
    return replace(request, inference_config=replace(config, **changes))


def for_converse(request: ConverseRequest, can: Profile) -> ConverseRequest:
    """The request with its effort where Converse has it of this family: in ``additionalModelRequestFields`` for those
    of whom that is documented, in ``outputConfig`` for the others. What goes by another door says it its own way."""
    config = request.output_config
    if config is None or config.effort is None or request.api is not None:
        return request
    if can.family not in _EFFORT_FIELDS or "effort" not in can.thinking:
        return request
    name, value = _EFFORT_FIELDS[can.family](config.effort)
    rest = replace(config, effort=None)
    return replace(_extra(request, name, value), output_config=None if rest == OutputConfig() else rest)


_EFFORT_FIELDS: dict[str, Any] = {
    "nova": lambda effort: ("reasoningConfig", {"type": "enabled", "maxReasoningEffort": effort}),
    "gpt-oss": lambda effort: ("reasoning_effort", effort),
}


# --- what was thought ------------------------------------------------------------------------------------------------


def signed_by(response: ConverseResponse, family: str | None) -> ConverseResponse:
    """The response whose thoughts say which family's model had them."""
    if family is None:
        return response
    message = _made_by(response.message, family)
    messages = tuple(_made_by(turn, family) for turn in response.messages)
    return replace(response, message=message, messages=messages)


def _made_by(message: Message, family: str) -> Message:
    if not any(isinstance(block, Reasoning) for block in message.content):
        return message
    return replace(
        message,
        content=tuple(
            replace(block, made_by=family) if isinstance(block, Reasoning) and block.made_by is None else block
            for block in message.content
        ),
    )


def without_foreign(messages: tuple[Message, ...], can: Profile, notes: Notes) -> tuple[Message, ...]:
    """The conversation without the thoughts that this model must not see. Of a model that no rule names nothing is
    known that it must not."""
    if not can.known:
        return messages
    turns: list[Message] = []
    for index, message in enumerate(messages):
        content = tuple(block for block in message.content if not _is_foreign(block, can, f"messages[{index}]", notes))
        turns.append(message if len(content) == len(message.content) else replace(message, content=content))
    return tuple(turns)


def without_lost_thought(request: ConverseRequest, can: Profile, notes: Notes) -> ConverseRequest:
    """The request without thinking by a budget where the thought before the calls that are answered is lost: Claude
    wants it there, and thinks again at the next question (adaptive thinking does not ask for it)."""
    thinking = (request.extra or {}).get("thinking")
    if not (can.signed_thinking and isinstance(thinking, dict) and thinking.get("type") == "enabled"):
        return request
    *_, asking, answering = (Message("user", ()), *request.messages)
    is_resumed = any(isinstance(block, ToolResult) for block in answering.content)
    if not is_resumed or (asking.content and isinstance(asking.content[0], Reasoning)):
        return request
    notes.add(_LOST, f"messages[{len(request.messages) - 2}]")
    rest = {name: value for name, value in (request.extra or {}).items() if name != "thinking"}
    return replace(request, extra=rest or None)


def _is_foreign(block: object, can: Profile, place: str, notes: Notes) -> bool:
    if not isinstance(block, Reasoning):
        return False
    if block.made_by is not None and block.made_by != can.family:
        notes.add(_FOREIGN, place)
        return True
    if can.signed_thinking and block.redacted is None and not block.signature:
        notes.add(_UNSIGNED, place)
        return True
    return False
