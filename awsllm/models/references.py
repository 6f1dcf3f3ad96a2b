"""Model references: where a model runs and what that place calls it.

``bedrock:[REGION/]ID``, ``sagemaker:ENDPOINT[/COMPONENT]``, ``sagemaker:router/ROUTER/TARGET``, ``local:NAME``. A bare
ARN is understood by its service. Anything else is an error that suggests what was meant.
"""

from __future__ import annotations

import re
from functools import lru_cache

from awsllm.errors import ConfigurationError
from awsllm.types import Value

SCHEMES = ("bedrock", "sagemaker", "local")
CHAT_MODEL = "local:smollm2-135m-instruct"
EMBED_MODEL = "local:all-minilm-l6-v2"
"""What answers in the command, a server and tests where no model is named."""

# Names the local store ships with, known here only to suggest the right scheme.
_LOCAL_HINTS = (
    *("smollm", "all-minilm", "qwen3-", "gemma-3-", "llama-3.2-", "phi-4-", "granite-3", "bge-", "gte-"),
    *("multilingual-e5", "ms-marco", "hf/", "jumpstart/"),
)

# Providers whose ids Bedrock lists as PROVIDER.MODEL (ListFoundationModels, read 2026-11).
_PROVIDERS = frozenset(
    (
        *("ai21", "amazon", "anthropic", "cohere", "deepseek", "google", "luma", "meta", "minimax", "mistral"),
        *("moonshot", "moonshotai", "nvidia", "openai", "qwen", "stability", "twelvelabs", "writer", "xai", "zai"),
    )
)
# Geographies of cross-region inference profiles (userguide/inference-profiles-support, read 2026-11).
_GEOGRAPHIES = frozenset(("us", "eu", "apac", "us-gov", "jp", "au", "ca", "in", "sa", "global"))


ENDPOINT_NAME = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
"""A pattern: the name of a SageMaker endpoint or component (botocore's service model)."""

REGION_NAME = "[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}"
"""A pattern: the name of an AWS region."""


class Reference(Value, frozen=True):
    """Where a model runs and what that place calls it.

    ``model`` is a Bedrock id or ARN, ENDPOINT or ENDPOINT/COMPONENT, or a local name or path. ``region`` is the one
    that is named, by an ARN or before an id, ``role`` the ARN of a role as which it is called; None: the client's own.
    ``session_tags`` are those of the role's session.
    """

    scheme: str
    model: str
    region: str | None = None
    role: str | None = None
    session_tags: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if self.region and self.scheme == "bedrock" and not self.model.startswith("arn:"):
            return f"bedrock:{self.region}/{self.model}"
        return f"{self.scheme}:{self.model}"

    @property
    def anywhere(self) -> str:
        """The same without a region before the id."""
        return f"{self.scheme}:{self.model}"

    @property
    def component(self) -> str | None:
        """The inference component of a SageMaker endpoint, None for the endpoint as a whole."""
        return (self.model.partition("/")[2] or None) if self.scheme == "sagemaker" else None


def parse_reference(text: str) -> Reference:
    """Read a model reference; ``ConfigurationError`` with a suggestion when it is none."""
    text = getattr(text, "reference", text)  # a deployed model is its own reference
    if isinstance(text, Reference):
        return text
    if not isinstance(text, str) or not text.strip():  # callers are not all typed
        raise ConfigurationError(f"a model reference is a text such as {_FORMS}, not {text!r}")
    return _parse(text.strip())


@lru_cache(maxsize=256)  # a program names few models, and names them in every call
def _parse(text: str) -> Reference:
    if not text.isprintable():  # half a surrogate pair, which no URL carries, or the line of another header
        raise ConfigurationError(f"{text!r} is not a model reference: it has characters that cannot be printed")
    if text.startswith("arn:"):
        return _parse_arn(text)
    scheme, colon, model = text.partition(":")
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{text!r} is not a model reference: {_suggestion(text, scheme, bool(colon))}")
    model = model.strip()
    if not model.strip("/"):
        raise ConfigurationError(f"{text!r} names no model; write {_FORMS}")
    if scheme == "sagemaker":
        return _parse_endpoint(text, model)
    region, slash, rest = model.partition("/")
    if slash and scheme == "bedrock" and re.fullmatch(REGION_NAME, region):
        if not rest.strip("/") or rest.startswith("arn:"):
            raise ConfigurationError(f"{text!r}: write bedrock:REGION/MODEL_ID; an ARN names its region itself")
        return Reference(scheme, rest, region=region)
    return Reference(scheme, model, region=_arn_region(model))


_FORMS = "bedrock:MODEL_ID, sagemaker:ENDPOINT or local:NAME"


def _parse_endpoint(text: str, model: str) -> Reference:
    if model.startswith("arn:"):
        return _parse_arn(model)
    endpoint, slash, component = model.partition("/")
    if endpoint == "router" and component.count("/") == 1:  # an inference router's target
        return Reference("sagemaker", model)
    if not endpoint or (slash and not component) or "/" in component:
        raise ConfigurationError(
            f"{text!r} is not an endpoint: write sagemaker:ENDPOINT or sagemaker:ENDPOINT/COMPONENT"
        )
    return Reference("sagemaker", model)


def _parse_arn(arn: str) -> Reference:
    """``arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE``; the resource may hold colons and slashes."""
    parts = arn.split(":", 5)
    service, resource = (parts[2], parts[5]) if len(parts) == 6 else ("", "")
    kind, _, name = resource.partition("/")
    if service == "bedrock" and name:
        return Reference("bedrock", arn, region=parts[3] or None)
    if service == "sagemaker" and kind == "endpoint" and name:
        return Reference("sagemaker", name, region=parts[3] or None)
    if service == "sagemaker" and kind == "inference-component" and name:
        hint = f"an inference component is reached through its endpoint: write sagemaker:ENDPOINT/{name}"
        raise ConfigurationError(f"{arn!r} does not name the endpoint; {hint}")
    raise ConfigurationError(f"{arn!r} is not the ARN of a Bedrock model or of a SageMaker endpoint")


def _arn_region(model: str) -> str | None:
    parts = model.split(":", 5)
    return (parts[3] or None) if parts[0] == "arn" and len(parts) == 6 else None


def _suggestion(text: str, head: str, has_colon: bool) -> str:
    lowered = text.lower()
    if is_bedrock_id(lowered):
        return f"did you mean 'bedrock:{text}'?"
    if lowered.startswith(_LOCAL_HINTS) or lowered.endswith(".gguf"):
        return f"did you mean 'local:{text}'?"
    if not has_colon:
        return f"say where it runs: {_FORMS}"
    from difflib import get_close_matches

    near = get_close_matches(head.strip().lower(), SCHEMES, n=1)
    if near:
        return f"did you mean '{near[0]}:{text.partition(':')[2].strip()}'?"
    return f"unknown scheme {head!r}; known are {_FORMS}"


def is_bedrock_id(text: str) -> bool:
    """Whether ``text`` looks like an id that Bedrock lists, with or without a geography before it."""
    provider, dot, model = without_geography(text).partition(".")
    return bool(dot and model) and provider in _PROVIDERS


def geography(model: str) -> str | None:
    """The geography of a cross-region inference profile ("us" of ``us.amazon.…``), None for any other text."""
    head, dot, _ = model.partition(".")
    return head if dot and head in _GEOGRAPHIES else None


def without_geography(model: str) -> str:
    """The id of the model behind a cross-region inference profile (``us.amazon.…``); any other text as it is."""
    head, _, rest = model.partition(".")
    return rest if head in _GEOGRAPHIES and "." in rest else model


def foundation_model(model: str, family: str | None = None) -> str:
    """The id of the foundation model behind a profile of a geography, the ARN of one, or an ARN of which ``family``
    says what it is; where nothing says it, ``model`` as it is. For what takes no profile."""
    if not model.startswith("arn:"):
        return without_geography(model)
    kind, _, name = model.split(":", 5)[-1].partition("/")
    if kind == "inference-profile":
        return without_geography(name)
    return without_geography(family) if family and is_bedrock_id(family) else model
