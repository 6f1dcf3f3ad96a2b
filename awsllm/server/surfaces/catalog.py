"""Which Bedrock model ids are answered, and as what.

One local model stands behind every chat model of a provider that Bedrock lists, and one behind the embedding models, so
that a program keeps its model ids. An id of no known provider is refused as Bedrock refuses it: a misspelt id is what a
test should find.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.opaque import opaque_kind
from awsllm.models.profiles import profile
from awsllm.wire import invoke
from awsllm.wire.body import Body


def check_chat_model(model: str) -> None:
    """Raise what Bedrock says to Converse with an id that is unknown, or known and not a chat model."""
    _check_known(model)
    can = profile("bedrock", model)
    if not can.converse or "converse" not in can.routes:
        raise _refused(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model."
        )


def invoke_body(model: str) -> Body:
    """The InvokeModel body that ``model`` takes; of those, the server answers the Titan text embeddings."""
    _check_known(model)
    try:
        return invoke.body_of(model)
    except UnsupportedError as error:
        raise _refused(
            f"InvokeModel is served here for Amazon Titan text embeddings, not for {model}. "
            "Use Converse or ConverseStream for chat models."
        ) from error


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
