"""Which Bedrock model ids are answered, and as what.

One local model stands behind every chat model of a provider that Bedrock lists, and one behind the embedding models, so
that a program keeps its model ids. An id of no known provider is refused as Bedrock refuses it: a misspelt id is what a
test should find.
"""

from __future__ import annotations

import re

from awsllm.errors import UnsupportedError
from awsllm.models.opaque import opaque_kind
from awsllm.models.profiles import profile
from awsllm.models.references import geography
from awsllm.server.account.refusals import invalid
from awsllm.server.mapping import Models
from awsllm.types import JsonObject
from awsllm.wire import invoke
from awsllm.wire.body import Body, Settings


def check_chat_model(model: str, family: str | None = None, models: Models | None = None) -> None:
    """Raise what Bedrock says to Converse with an id that is unknown, or known and not a chat model. ``family`` is what
    an account knows of an ARN; ``models`` are those that are known beside Bedrock's."""
    if _check_known(model, family, models):
        return
    if is_prompt(model):
        raise invalid("Prompt resources are not supported by this operation: give a model and messages.")
    can = profile("bedrock", model, family)
    if not can.converse or "converse" not in can.routes:
        raise invalid(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model."
        )


def is_prompt(model: str) -> bool:
    """Whether it is the ARN of a prompt, which the account knows."""
    return opaque_kind(model) == "prompt"


def check_prompt_request(wire: JsonObject) -> None:
    """Refuse what a conversation with a prompt has from the prompt alone (API reference, Converse): an empty value is
    refused as well."""
    if given := [name for name in _OF_THE_PROMPT if wire.get(name) is not None]:
        raise invalid(f"A request with a prompt resource cannot override {', '.join(given)}: set them in the prompt.")


_OF_THE_PROMPT = ("additionalModelRequestFields", "inferenceConfig", "system", "toolConfig")


def check_counted_model(model: str, family: str | None = None, models: Models | None = None) -> None:
    """Raise what Bedrock says to CountTokens with the id of an inference profile, which it does not take whatever model
    is behind: the model's own id is counted (pydantic/pydantic-ai 4001; a probe of the service in
    Boise-State-Development/agentcore-public-stack 430; read 2026-11-26)."""
    if geography(model) or _PROFILES.search(model):
        raise invalid("The provided model doesn't support counting tokens.")
    check_chat_model(model, family, models)


_PROFILES = re.compile(r"^arn:.*:(application-)?inference-profile/")


def check_speech_model(model: str, models: Models | None = None) -> None:
    """Raise what Bedrock says to InvokeModelWithBidirectionalStream with an id that is unknown, or does not speak; what
    ``models`` have speaks, as every model does here."""
    if _check_known(model, models=models):
        return
    can = profile("bedrock", model)
    if can.known and "bidirectional" not in can.routes:
        raise invalid("This action doesn't support the model that you provided.")


def invoke_body(
    model: str, wire: JsonObject, family: str | None = None, models: Models | None = None
) -> tuple[Body, Settings]:
    """The InvokeModel body that ``model`` takes, with its settings. What an opaque ARN takes is seen by ``wire``, the
    request, unless an account knows its ``family``; and so is what a name takes that ``models`` alone have."""
    alias = _check_known(model, family, models) and family is None and profile("bedrock", model).provider == "unknown"
    if is_prompt(model):
        raise invalid("Prompt resources are run by Converse and ConverseStream here, not by InvokeModel.")
    opaque = opaque_kind(model) is not None
    if alias or (opaque and (family is None or profile("bedrock", model, family).invoke_body is None)):
        if found := invoke.body_like(wire):
            return found
        raise invalid("Malformed input request: it is in the format of no family of models that is served here.")
    try:
        return invoke.body_of(model, family), Settings(prompt=profile("bedrock", model, family).invoke_prompt)
    except UnsupportedError as error:
        raise invalid(f"{model} is not invoked by InvokeModel. Use the operation that it has.") from error


def _check_known(model: str, family: str | None = None, models: Models | None = None) -> bool:
    """Whether ``models`` has it, so that whoever runs the server knows what it does. Raises the refusal of an id that
    nobody knows."""
    if models is not None and not is_prompt(model):
        if models.knows(model) or (family and models.knows(family)):
            return True
        if models.strict:
            raise invalid("The provided model identifier is invalid.")
    # Whoever made what an ARN names knows that it chats.
    if opaque_kind(model) is None and profile("bedrock", model).provider == "unknown":
        raise invalid("The provided model identifier is invalid.")
    return False
