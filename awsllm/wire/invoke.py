"""InvokeModel bodies by name, loaded when they are asked for. Which of them a model takes stands in its rule
(``models.profiles``)."""

from __future__ import annotations

from awsllm.errors import ConfigurationError, UnsupportedError
from awsllm.models.profiles import profile
from awsllm.types import JsonObject
from awsllm.wire.body import Body, Settings, load

BODIES: dict[str, str] = {
    "anthropic-messages": "awsllm.wire.anthropic.body",
    "anthropic-text": "awsllm.wire.anthropic.text",
    "titan-embed-text-v1": "awsllm.wire.amazon.titan",
    "titan-embed-text-v2": "awsllm.wire.amazon.titan",
    "titan-image": "awsllm.wire.amazon.images",
    "nova-canvas": "awsllm.wire.amazon.images",
    "nova-reel": "awsllm.wire.amazon.reel",
    "luma-ray": "awsllm.wire.luma.ray",
    "pegasus": "awsllm.wire.twelvelabs.pegasus",
    "stability-sdxl": "awsllm.wire.stability.sdxl",
    "stability-core": "awsllm.wire.stability.core",
    "stability-edit": "awsllm.wire.stability.edit",
    "titan-text": "awsllm.wire.amazon.titan_text",
    "llama": "awsllm.wire.meta.llama",
    "mistral-text": "awsllm.wire.mistral.text",
    "deepseek-text": "awsllm.wire.deepseek.text",
    "mistral-chat": "awsllm.wire.mistral.chat",
    "openai-chat": "awsllm.wire.openai.native",
    "openai-gpt": "awsllm.wire.openai.native",
    "openai-completion": "awsllm.wire.openai.completion",
    "writer": "awsllm.wire.writer.palmyra",
    "cohere-command": "awsllm.wire.cohere.command",
    "cohere-chat": "awsllm.wire.cohere.native",
    "jurassic": "awsllm.wire.ai21.jurassic",
    "jamba": "awsllm.wire.ai21.jamba",
    "titan-embed-image": "awsllm.wire.amazon.multimodal",
    "nova": "awsllm.wire.amazon.nova",
    "nova-embed": "awsllm.wire.amazon.nova_embed",
    "amazon-rerank": "awsllm.wire.amazon.rerank",
    "cohere-embed": "awsllm.wire.cohere.embed_images",
    "cohere-embed-v4": "awsllm.wire.cohere.embed_images",
    "cohere-rerank": "awsllm.wire.cohere.rerank",
    "marengo": "awsllm.wire.twelvelabs.marengo",
    "marengo-3": "awsllm.wire.twelvelabs.marengo",
}
"""A body's name to the module that has it in its ``BODIES``. A new family is a row."""


def get(name: str) -> Body:
    """The body of that name. Raises ``ConfigurationError`` naming the known ones."""
    if name not in BODIES:
        raise ConfigurationError(f"{name!r} is no InvokeModel body; known are {', '.join(BODIES)}")
    return load(BODIES[name], name)


def body_of(model: str, family: str | None = None) -> Body:
    """The body that ``model`` takes, of the ``family`` that ``profile`` takes. Raises ``UnsupportedError`` naming the
    way out."""
    can = profile("bedrock", model, family)
    name = can.invoke_body
    if name is None or name not in BODIES:
        hint = f"the model's doors are {can.doors_of(model)}"
        if "bidirectional" in can.routes:
            hint = "it is spoken with: client.speech"
        if not can.known:
            hint = "say with family= which model it is, or call invoke_model with a body of your own"
        raise UnsupportedError(f"no InvokeModel body is known for {model!r}: {hint}")
    return get(name)


_TELLING: tuple[tuple[frozenset[str], str], ...] = (  # the first whose members are all there
    (frozenset(("anthropic_version", "messages")), "anthropic-messages"),
    (frozenset(("prompt", "max_tokens_to_sample")), "anthropic-text"),
    (frozenset(("messages", "schemaVersion")), "nova"),
    (frozenset(("messages", "inferenceConfig")), "nova"),
    (frozenset(("inputText", "textGenerationConfig")), "titan-text"),
    (frozenset(("inputImage",)), "titan-embed-image"),
    (frozenset(("inputText", "embeddingConfig")), "titan-embed-image"),
    (frozenset(("inputText",)), "titan-embed-text-v2"),
    (frozenset(("taskType", "singleEmbeddingParams")), "nova-embed"),
    (frozenset(("taskType",)), "nova-canvas"),
    (frozenset(("text_prompts",)), "stability-sdxl"),
    (frozenset(("query", "documents")), "cohere-rerank"),
    (frozenset(("texts", "input_type")), "cohere-embed"),
    (frozenset(("inputs", "input_type")), "cohere-embed-v4"),
    (frozenset(("message",)), "cohere-chat"),
    (frozenset(("inputPrompt", "mediaSource")), "pegasus"),
    (frozenset(("prompt", "maxTokens")), "jurassic"),
    (frozenset(("prompt", "max_gen_len")), "llama"),
    (frozenset(("prompt", "max_tokens")), "mistral-text"),
    (frozenset(("messages",)), "openai-chat"),
    (frozenset(("prompt",)), "llama"),
)


def body_like(wire: JsonObject) -> tuple[Body, Settings] | None:
    """The body that a request's members show, and the style of its prompt, for a model whose id says nothing (an opaque
    ARN); None where they show none."""
    members = wire.keys()
    name = next((name for telling, name in _TELLING if telling <= members), None)
    if name is None:
        return None
    from awsllm.wire.text.prompts import detect_style  # the server's alone

    prompt = wire.get("prompt", wire.get("inputText"))
    style = detect_style(prompt) if isinstance(prompt, str) else None
    return get("deepseek-text" if style == "deepseek" else name), Settings(prompt=style)
