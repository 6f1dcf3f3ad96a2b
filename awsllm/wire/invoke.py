"""InvokeModel bodies by name, loaded when they are asked for. Which of them a model takes stands in its rule
(``models.profiles``)."""

from __future__ import annotations

from awsllm.errors import ConfigurationError, UnsupportedError
from awsllm.models.profiles import profile
from awsllm.wire.body import Body, load

BODIES: dict[str, str] = {
    "titan-embed-text-v1": "awsllm.wire.amazon.titan",
    "titan-embed-text-v2": "awsllm.wire.amazon.titan",
}
"""A body's name to the module that has it in its ``BODIES``. A new family is a row."""


def get(name: str) -> Body:
    """The body of that name. Raises ``ConfigurationError`` naming the known ones."""
    if name not in BODIES:
        raise ConfigurationError(f"{name!r} is no InvokeModel body; known are {', '.join(BODIES)}")
    return load(BODIES[name], name)


def body_of(model: str) -> Body:
    """The body that ``model`` takes. Raises ``UnsupportedError`` naming the known ones."""
    name = profile("bedrock", model).invoke_body
    if name is None:
        raise UnsupportedError(f"no InvokeModel body is known for {model!r}; known are {', '.join(BODIES)}")
    return get(name)
