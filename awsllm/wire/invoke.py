"""InvokeModel bodies: every family has its own, one file a family. Which model takes which is said in ``models``."""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.models.profiles import profile
from awsllm.wire.amazon import titan

_EMBEDDERS = {"titan-embed-text-v1": titan.V1, "titan-embed-text-v2": titan.V2}


def embedder(model: str) -> titan.Titan:
    """The body that an embedding model takes; ``UnsupportedError`` names those that are known."""
    body = _EMBEDDERS.get(profile("bedrock", model).invoke_body or "")
    if body is None:
        known = ", ".join(f"amazon.{name}" for name in _EMBEDDERS)
        raise UnsupportedError(f"no embedding body is known for {model!r}; these Bedrock models embed: {known}")
    return body
