"""What is told of a call in every form: the model's name, how many tokens, which error. None of it is content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awsllm.errors import AwsllmError
from awsllm.types import Usage

if TYPE_CHECKING:
    from awsllm.models.references import Reference
    from awsllm.policy.observers import Activity

_NOT_ASKED = ("unsupported", "circuit_open", "busy")
_NAMED_ARNS = ("foundation-model", "inference-profile", "default-prompt-router")


def model_name(reference: Reference, family: str | None) -> str:
    """The model's name where it is counted. An ARN that tells no model (an application's profile, an imported model) is
    never a name, since there may be any number of them: the model behind it is, or if nobody knows it, its kind. Of a
    local file it is the file's name."""
    model = reference.model
    if model.startswith("arn:"):
        kind, _, name = model.split(":", 5)[-1].partition("/")
        return name if kind in _NAMED_ARNS and name else family or kind
    if reference.scheme == "local" and ("/" in model or "\\" in model):
        return model.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return model


def error_type(error: BaseException) -> str:
    """The service's code, or the error's class. Never its text."""
    return (error.code if isinstance(error, AwsllmError) else None) or type(error).__name__


def input_tokens(usage: Usage) -> int | None:
    """All that was read, from the prompt cache too: Bedrock counts that apart."""
    if usage.input_tokens is None:
        return None
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)


def usage_of(activity: Activity, response: Any) -> Usage | None:
    """What a call has used, as far as is known; None of one that a cache answered. Of a stream that ended early it is
    what had come of it."""
    source = activity.metadata if response is None else response
    if source is None or getattr(source, "from_cache", None) is not None:
        return None
    usage = getattr(source, "usage", None)
    return usage if isinstance(usage, Usage) else None


def attempts_of(activity: Activity, response: Any) -> int:
    """How often somebody was asked: not counted are waits, and models that were passed over."""
    made = getattr(response, "attempts", None) or ()
    return max(1 + activity.retries, sum(not one.waited and one.error not in _NOT_ASKED for one in made))


def told_of(activity: Activity, response: Any, error: BaseException | None) -> dict[str, Any]:
    """One call in plain members, as a log has it; what is not known is left out. Each of a program's calls comes here,
    so it adds only what there is."""
    reference = activity.reference
    told: dict[str, Any] = {
        "id": activity.id,
        "operation": activity.operation,
        "model": None if reference is None else str(reference),
        "seconds": round(activity.seconds, 6),
        "attempts": attempts_of(activity, response if error is None else error),
    }
    if activity.parent is not None:
        told["parent"] = activity.parent.id
    if reference is not None and reference.region is not None:
        told["region"] = reference.region
    if activity.streamed:
        told["stream"] = True
    if activity.first is not None:
        told["first_event_seconds"] = round(activity.first - activity.started, 6)
    if activity.waited_for:
        told["waited_seconds"] = round(activity.waited_for, 6)
    if activity.cost is not None:
        told["cost_usd"] = activity.cost
    if activity.tenant is not None:
        told["tenant"] = activity.tenant
    if activity.tags:
        told["tags"] = activity.tags
    _add_usage(told, usage_of(activity, response))
    if error is None:
        _add_response(told, response)
    else:
        _add_error(told, error)
    return told


def _add_usage(told: dict[str, Any], usage: Usage | None) -> None:
    if usage is None:
        return
    if (count := input_tokens(usage)) is not None:
        told["input_tokens"] = count
    if usage.output_tokens is not None:
        told["output_tokens"] = usage.output_tokens
    if usage.cache_read_input_tokens is not None:
        told["cache_read_tokens"] = usage.cache_read_input_tokens
    if usage.cache_write_input_tokens is not None:
        told["cache_write_tokens"] = usage.cache_write_input_tokens


def _add_response(told: dict[str, Any], response: Any) -> None:
    if (reason := getattr(response, "stop_reason", None)) is not None:
        told["stop_reason"] = reason
    if (request_id := getattr(response, "request_id", None)) is not None:
        told["request_id"] = request_id
    if (hit := getattr(response, "from_cache", None)) is not None:
        told["cache"] = hit.kind


def _add_error(told: dict[str, Any], error: BaseException) -> None:
    if not isinstance(error, Exception):
        told["left"] = type(error).__name__
        return
    told["error"] = error_type(error)
    for name in ("status", "request_id"):
        if (value := getattr(error, name, None)) is not None:
            told[name] = value
