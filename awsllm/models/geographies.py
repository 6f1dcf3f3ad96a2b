"""Cross-region inference: which geographies a model has a profile in, and the regions of each.

Data, for the offline account. Profiles are those that litellm's table lists
(github.com/BerriAI/litellm 1.110.2, MIT, read 2026-11-26). Regions are those of AWS's tables of destinations
(docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html; the CDK's
``CrossRegionInferenceProfileRegion``, read 2026-11-26); which of them a model really goes to differs by model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

GLOBAL = "global"
REGIONS: Mapping[str, tuple[str, ...]] = {
    "us": ("us-east-1", "us-east-2", "us-west-2"),
    "us-gov": ("us-gov-east-1", "us-gov-west-1"),
    "eu": ("eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"),
    "apac": ("ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2"),
    "jp": ("ap-northeast-1", "ap-northeast-3"),
    "au": ("ap-southeast-2", "ap-southeast-4"),
    "in": ("ap-south-1", "ap-south-2"),
}
"""Where the requests of a geography's profile go."""

_SOURCES: tuple[tuple[str, str], ...] = (
    ("us-gov-", "us-gov"),
    ("us-", "us"),
    ("ca-", "us"),
    ("eu-", "eu"),
    ("ap-", "apac"),
)
"""The geography of the regions that begin so, the first that fits."""
_PROFILES: Mapping[str, tuple[str, ...]] = {
    "apac au eu global jp us": (
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "anthropic.claude-opus-4-7",
        "anthropic.claude-sonnet-4-6",
    ),
    "apac au eu global jp us us-gov": (
        "anthropic.claude-haiku-5-5",
        "anthropic.claude-opus-4-8",
        "anthropic.claude-opus-5",
        "anthropic.claude-opus-5-5",
        "anthropic.claude-sonnet-5",
        "anthropic.claude-sonnet-5-5",
    ),
    "apac au eu global us": ("anthropic.claude-fable-5",),
    "apac au us": ("anthropic.claude-mythos-preview",),
    "apac eu global jp us": ("amazon.nova-2-lite-v1:0",),
    "apac eu global us": ("anthropic.claude-sonnet-4-20250514-v1:0",),
    "apac eu us": (
        "amazon.nova-2-pro-preview-20251202-v1:0",
        "amazon.nova-lite-v1:0",
        "amazon.nova-micro-v1:0",
        "amazon.nova-pro-v1:0",
    ),
    "au eu global jp us us-gov": ("anthropic.claude-sonnet-4-5-20250929-v1:0",),
    "au eu global us": ("anthropic.claude-opus-4-6-v1",),
    "eu global us": (
        "anthropic.claude-opus-4-5-20251101-v1:0",
        "twelvelabs.pegasus-1-2-v1:0",
    ),
    "eu global us us-gov": ("anthropic.claude-fable-5-1",),
    "eu us": (
        "anthropic.claude-3-5-haiku-20241022-v1:0",
        "anthropic.claude-3-5-sonnet-20240620-v1:0",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "anthropic.claude-3-7-sonnet-20250219-v1:0",
        "anthropic.claude-3-opus-20240229-v1:0",
        "anthropic.claude-opus-4-1-20250805-v1:0",
        "anthropic.claude-opus-4-20250514-v1:0",
        "deepseek.v3.2",
        "meta.llama3-2-1b-instruct-v1:0",
        "meta.llama3-2-3b-instruct-v1:0",
        "mistral.pixtral-large-2502-v1:0",
        "twelvelabs.marengo-embed-2-7-v1:0",
        "twelvelabs.marengo-embed-3-0-v1:0",
    ),
    "global in us": (
        "moonshotai.kimi-k3",
        "moonshotai.kimi-k3.1",
    ),
    "global us": (
        "anthropic.claude-mythos-5-1",
        "cohere.embed-v4:0",
        "openai.gpt-5.4",
        "openai.gpt-5.5",
        "openai.gpt-5.6-luna",
        "openai.gpt-5.6-sol",
        "openai.gpt-5.6-terra",
        "openai.gpt-6-astra",
        "openai.gpt-6-luna",
        "openai.gpt-6-sol",
        "openai.gpt-6.1-sol",
        "openai.gpt-6.1-terra",
        "twelvelabs.pegasus-1-5-v1:0",
        "zai.glm-5.3",
    ),
    "global us us-gov": (
        "xai.grok-4.6",
        "xai.grok-4.7",
    ),
    "us": (
        "amazon.nova-canvas-v1:0",
        "anthropic.claude-mythos-5",
        "deepseek.r1-v1:0",
        "meta.llama3-1-405b-instruct-v1:0",
        "meta.llama3-1-70b-instruct-v1:0",
        "meta.llama3-1-8b-instruct-v1:0",
        "meta.llama3-2-11b-instruct-v1:0",
        "meta.llama3-2-90b-instruct-v1:0",
        "meta.llama3-3-70b-instruct-v1:0",
        "meta.llama4-maverick-17b-instruct-v1:0",
        "meta.llama4-scout-17b-instruct-v1:0",
        "stability.stable-conservative-upscale-v1:0",
        "stability.stable-creative-upscale-v1:0",
        "stability.stable-fast-upscale-v1:0",
        "stability.stable-image-control-sketch-v1:0",
        "stability.stable-image-control-structure-v1:0",
        "stability.stable-image-erase-object-v1:0",
        "stability.stable-image-inpaint-v1:0",
        "stability.stable-image-remove-background-v1:0",
        "stability.stable-image-search-recolor-v1:0",
        "stability.stable-image-search-replace-v1:0",
        "stability.stable-image-style-guide-v1:0",
        "stability.stable-outpaint-v1:0",
        "stability.stable-style-transfer-v1:0",
        "writer.palmyra-x4-v1:0",
        "writer.palmyra-x5-v1:0",
    ),
    "us-gov": (
        "nvidia.nemotron-nano-12b-v2",
        "nvidia.nemotron-nano-3-30b",
        "nvidia.nemotron-nano-9b-v2",
        "nvidia.nemotron-super-3-120b",
        "openai.gpt-oss-120b-1:0",
        "openai.gpt-oss-20b-1:0",
    ),
}
"""Models by the geographies that they have profiles in."""


def geographies_at(region: str) -> tuple[str, ...]:
    """The geographies whose profiles a caller in ``region`` has."""
    widest = next((name for prefix, name in _SOURCES if region.startswith(prefix)), None)
    within = [name for name in ("jp", "au", "in") if region in REGIONS[name]]
    everywhere = [] if region.startswith(("us-gov-", "cn-")) else [GLOBAL]
    return (*([widest] if widest else []), *within, *everywhere)


def geographies_of(model: str) -> tuple[str, ...]:
    """The geographies that a foundation model has profiles in."""
    return _of_models().get(model, ())


def profiled() -> tuple[str, ...]:
    """The foundation models that have a profile anywhere."""
    return tuple(sorted(_of_models()))


@cache
def _of_models() -> dict[str, tuple[str, ...]]:
    return {model: tuple(names.split()) for names, models in _PROFILES.items() for model in models}
