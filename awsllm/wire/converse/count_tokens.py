"""CountTokens, both directions: the conversation of a Converse request in, a number out."""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.types import ConverseRequest, CountTokensRequest, JsonObject
from awsllm.wire.converse.requests import decode_conversation, encode_conversation
from awsllm.wire.converse.responses import unreadable
from awsllm.wire.reading import MalformedError, json_object, required, structure, variant


def encode_count_tokens(request: CountTokensRequest) -> JsonObject:
    """The body of CountTokens, which takes what makes up the prompt and nothing else of the request."""
    return {"input": {"converse": encode_conversation(request.converse)}}


def decode_count_tokens_request(model: str, wire: JsonObject) -> CountTokensRequest:
    """Raises ``UnsupportedError`` for ``input.invokeModel``: a native body is not Converse's to read."""
    converse = structure(json_object(wire), "input", lambda value: _decode_input(model, value))
    return CountTokensRequest(model=model, converse=converse)


def _decode_input(model: str, wire: JsonObject) -> ConverseRequest:
    tag, _ = variant(wire)
    if tag != "converse":
        raise UnsupportedError(f"tokens are counted of a converse input only, not of {tag!r}")
    return structure(wire, "converse", lambda value: ConverseRequest(model=model, **decode_conversation(value)))


def encode_count_tokens_response(tokens: int) -> JsonObject:
    return {"inputTokens": tokens}


def decode_count_tokens(wire: JsonObject) -> int:
    """The number of input tokens. Raises ``ServerError`` where the reply is malformed."""
    try:
        return required(json_object(wire), "inputTokens", int)
    except MalformedError as error:
        raise unreadable(error, None) from error
