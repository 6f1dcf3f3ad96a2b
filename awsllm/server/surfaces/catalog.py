"""Which Bedrock model ids are answered, and as what.

One local model stands behind every chat model of a provider that Bedrock lists, and one behind the embedding models, so
that a program keeps its model ids. An id of no known provider is refused as Bedrock refuses it: a misspelt id is what a
test should find.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.opaque import opaque_kind
from awsllm.models.profiles import profile
from awsllm.types import JsonObject
from awsllm.wire import invoke
from awsllm.wire.body import Body, Settings


def check_chat_model(model: str) -> None:
    """Raise what Bedrock says to Converse with an id that is unknown, or known and not a chat model."""
    _check_known(model)
    can = profile("bedrock", model)
    if not can.converse or "converse" not in can.routes:
        raise _refused(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model."
        )


def check_speech_model(model: str) -> None:
    """Raise what Bedrock says to InvokeModelWithBidirectionalStream with an id that is unknown, or does not speak."""
    _check_known(model)
    can = profile("bedrock", model)
    if can.known and "bidirectional" not in can.routes:
        raise _refused("This action doesn't support the model that you provided.")


def invoke_body(model: str, wire: JsonObject) -> tuple[Body, Settings]:
    """The InvokeModel body that ``model`` takes, with its settings. What an opaque ARN takes is seen by ``wire``, the
    request."""
    _check_known(model)
    if opaque_kind(model) is not None:
        if found := invoke.body_like(wire):
            return found
        raise _refused("Malformed input request: it is in the format of no family of models that is served here.")
    try:
        return invoke.body_of(model), Settings(prompt=profile("bedrock", model).invoke_prompt)
    except UnsupportedError as error:
        raise _refused(f"{model} is not invoked by InvokeModel. Use the operation that it has.") from error


def _check_known(model: str) -> None:
    kind = opaque_kind(model)
    if kind == "prompt":
        raise _refused("Prompt resources are not served here: give a model and messages.")
    if kind is not None:  # whoever made it knows that it chats
        return
    if profile("bedrock", model).provider == "unknown":
        raise _refused("The provided model identifier is invalid.")


def _refused(message: str) -> ValidationError:
    return ValidationError(message, code="ValidationException", status=400)
