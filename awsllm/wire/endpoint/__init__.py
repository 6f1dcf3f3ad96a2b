"""What the containers of endpoints speak: their bodies by name, and the finding which of them one speaks.

Naming a body loads nothing; ``get`` imports its module when it is first asked for. The dialects that other services
speak too have rooms of their own (``openai``, ``cohere`` ...), those of containers alone stand here. ``detect`` finds
which one it is, ``errors`` reads what the service that carries the bytes says when something is wrong.
"""

from __future__ import annotations

from awsllm.errors import ConfigurationError
from awsllm.types import Value
from awsllm.wire.body import Body, Settings, load

BODIES: dict[str, str] = {
    "openai": "awsllm.wire.openai.body",
    "tgi": "awsllm.wire.endpoint.tgi",
    "lmi": "awsllm.wire.endpoint.lmi",
    "djl": "awsllm.wire.endpoint.djl",
    "dialogs": "awsllm.wire.endpoint.dialogs",
    "mms": "awsllm.wire.endpoint.mms",
    "mms-text": "awsllm.wire.endpoint.mms",
    "huggingface": "awsllm.wire.endpoint.huggingface",
    "tei": "awsllm.wire.endpoint.tei",
    "cohere-command": "awsllm.wire.cohere.command",
    "cohere-chat": "awsllm.wire.cohere.chat",
    "cohere-embed": "awsllm.wire.cohere.embed",
    "cohere-rerank": "awsllm.wire.cohere.rerank",
    "jurassic": "awsllm.wire.ai21.jurassic",
    "lighton": "awsllm.wire.endpoint.lighton",
    "lyra": "awsllm.wire.endpoint.lighton",
    "stable-diffusion": "awsllm.wire.images.stable_diffusion",
    "sdxl": "awsllm.wire.images.stable_diffusion",
    "jumpstart": "awsllm.wire.endpoint.tasks.jumpstart",
    "triton": "awsllm.wire.endpoint.tasks.triton",
}
"""A body's name to the module that has it in its ``BODIES``. A new family is a row."""


class Detected(Value, frozen=True, kw_only=True):
    """Which body a deployment speaks (``format`` is its name), and how that is known.

    ``source`` is caller, tags, document, image, environment or probe; ``evidence`` says in words what was seen."""

    format: str
    settings: Settings = Settings()
    source: str
    evidence: str


PREDICTS = ("jumpstart", "huggingface", "triton")
"""The bodies in which ``predict`` is spoken."""


def named(text: str, evidence: str) -> Detected:
    """What a caller says: a body's name, and behind a slash its prompt style or, of ``jumpstart``, its task."""
    name, _, rest = text.partition("/")
    settings = Settings(task=rest or None) if name == "jumpstart" else Settings(prompt=rest or None)
    return Detected(format=name, settings=settings, source="caller", evidence=evidence)


def get(name: str) -> Body:
    """The body of that name. Raises ``ConfigurationError`` naming the known ones."""
    if name not in BODIES:
        raise ConfigurationError(f"{name!r} is nothing that an endpoint speaks; known are {', '.join(BODIES)}")
    return load(BODIES[name], name)
