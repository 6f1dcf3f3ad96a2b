"""What Service Quotas calls Bedrock's quotas, and which model each is of.

A name ends in the model's as people write it ("Anthropic Claude 3.5 Sonnet V2"), and nothing else says which it is. So
names and ids are brought to one form: their words without providers, dates and first versions, in any order. Names
that do not come to their id in this way stand in ``_NAMED``. Names: github.com/awslabs/bedrock-usage-analyzer,
metadata/quota-index.csv (read 2026-11-27); what the kinds mean:
docs.aws.amazon.com/bedrock/latest/userguide/quotas-runtime.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from awsllm.models.references import geography, without_geography
from awsllm.types import Value

ON_DEMAND, CROSS_REGION, GLOBAL = "on-demand", "cross-region", "global"
_MINUTELY = re.compile(
    r"(on-demand|cross-region|global cross-region) (?:model inference|invokemodel) (requests|tokens) per (minute|day) "
    r"for (.+)",
    re.IGNORECASE,
)
_DAILY = re.compile(
    r"model invocation max tokens per day for (.+?)( \(doubled for cross-region calls\))?", re.IGNORECASE
)
_OF_INFERENCE = re.compile(r"(requests|tokens) per (minute|day)\b", re.IGNORECASE)
_VARIANTS = ("1m context length", "long context")
"""Ends of names that are of calls with a header of their own."""

# Words that one of the two leaves out.
_NOISE = frozenset(
    (
        *("ai", "labs", "anthropic", "amazon", "meta", "cohere", "mistral", "openai", "moonshot", "nvidia", "z"),
        *("twelve", "twelvelabs", "stability", "writer", "instruct", "it", "v", "and", "0"),
    )
)
_NAMED: Mapping[str, tuple[str, ...]] = {
    "Amazon Rerank 1.0": ("amazon.rerank-v1:0",),
    "Amazon Titan Multimodal Embeddings G1": ("amazon.titan-embed-image-v1",),
    "Amazon Titan Text Embeddings": ("amazon.titan-embed-text-v1", "amazon.titan-embed-g1-text-02"),
    "Amazon Titan Text Embeddings V2": ("amazon.titan-embed-text-v2:0",),
    "Cohere Embed English": ("cohere.embed-english-v3",),
    "Cohere Embed Multilingual": ("cohere.embed-multilingual-v3",),
    "Magistral Small 1.2": ("mistral.magistral-small-2509",),
    "Meta Llama 4 Maverick V1": ("meta.llama4-maverick-17b-instruct-v1:0",),
    "Meta Llama 4 Scout V1": ("meta.llama4-scout-17b-instruct-v1:0",),
    "Mistral AI Mixtral 8X7BB Instruct": ("mistral.mixtral-8x7b-instruct-v0:1",),
    "Mistral Large": ("mistral.mistral-large-2402-v1:0",),
    "Mistral Large 3": ("mistral.mistral-large-3-675b-instruct",),
    "Mistral Pixtral Large 25.02 V1": ("mistral.pixtral-large-2502-v1:0",),
    "Mistral Small": ("mistral.mistral-small-2402-v1:0",),
    "NVIDIA Nemotron 3 Super 120B A12B": ("nvidia.nemotron-super-3-120b",),
    "NVIDIA Nemotron Nano 2": ("nvidia.nemotron-nano-9b-v2",),
    "Stable Image Conservative Upscale": ("stability.stable-conservative-upscale-v1:0",),
    "Stable Image Creative Upscale": ("stability.stable-creative-upscale-v1:0",),
    "Stable Image Fast Upscale": ("stability.stable-fast-upscale-v1:0",),
    "Twelve Labs Marengo": ("twelvelabs.marengo-embed-2-7-v1:0",),
    "Twelve Labs Pegasus": ("twelvelabs.pegasus-1-2-v1:0",),
    "Voxtral Mini 1.0": ("mistral.voxtral-mini-3b-2507",),
    "Voxtral Small 1.0": ("mistral.voxtral-small-24b-2507",),
}
Words = tuple[str, ...]


class ModelQuota(Value, frozen=True):
    """A quota of one model. ``route`` is on-demand, cross-region or global, None for all of them; ``count`` is
    requests_per_minute, tokens_per_minute or tokens_per_day. ``doubled``: calls across regions have twice as much."""

    route: str | None
    count: str
    model: str
    doubled: bool = False


def is_of_inference(name: str) -> bool:
    """Whether a quota bounds how often or how much a model is called."""
    return _OF_INFERENCE.search(name) is not None


def model_quota(name: str) -> ModelQuota | None:
    """What a quota's name says; None for one that is of no single model, or of a special way to call it."""
    if name.lower().endswith(_VARIANTS):
        return None
    if match := _MINUTELY.fullmatch(name.strip()):
        kind, what, period, model = match.groups()
        route = GLOBAL if kind.lower().startswith("global") else kind.lower()
        if (what.lower(), period.lower()) == ("requests", "day"):
            return None
        return ModelQuota(route, f"{what.lower()}_per_{period.lower()}", model)
    if match := _DAILY.fullmatch(name.strip()):
        return ModelQuota(None, "tokens_per_day", match[1], doubled=match[2] is not None)
    return None


def route_of(model: str) -> str:
    """Which quotas a Bedrock id is under."""
    place = geography(model)
    return ON_DEMAND if place is None else GLOBAL if place == "global" else CROSS_REGION


@lru_cache(maxsize=1024)
def words_of_name(model: str) -> Words:
    """The form of a name as quotas have it."""
    text = re.sub(r"\bai21\b", "", model.lower())
    return _words(re.sub(r"\bv1$", "", text.strip()))


@lru_cache(maxsize=1024)
def words_of_id(model: str) -> frozenset[Words]:
    """The forms that names of this model may have; ``model`` is a foundation model's id or a geography's profile."""
    foundation = without_geography(model.lower())
    provider, _, name = foundation.partition(".")
    name = re.sub(r"-1:0$|:\d+$", "", name)  # of ``gpt-oss-120b-1:0``, and of ``…-v2:0``
    name = re.sub(r"-20\d{6}\b", "", name)
    name = re.sub(r"[-.]?\bv[01]$", "", name)
    if not re.search(r"[a-z]{2}", name):  # deepseek.r1
        name = f"{provider} {name}"
    own = {_words(name), _words(f"{provider} {name}")}
    return frozenset(own | {words_of_name(label) for label, ids in _NAMED.items() if foundation in ids})


def _words(text: str) -> Words:
    return tuple(sorted(word for word in re.findall(r"[a-z]+|\d+", text) if word not in _NOISE))


def quota_values(quotas: Iterable[tuple[str, float]]) -> tuple[dict[tuple[str, str, Words], int], tuple[str, ...]]:
    """The quotas of models by route, count and the words of the model; and the names of inference that say nothing that
    can be used. A quota of 0 is one that the account does not have."""
    found: dict[tuple[str, str, Words], int] = {}
    unused: list[str] = []
    for name, value in quotas:
        if not is_of_inference(name):
            continue
        quota = model_quota(name)
        if quota is None:
            unused.append(name)
            continue
        words = words_of_name(quota.model)
        for route in (ON_DEMAND, CROSS_REGION) if quota.route is None else (quota.route,):
            factor = 2 if quota.doubled and route == CROSS_REGION else 1
            found[route, quota.count, words] = int(value) * factor
    return found, tuple(unused)


def quotas_of(model: str, values: Mapping[tuple[str, str, Words], int]) -> dict[str, int]:
    """The quotas of a Bedrock id by count."""
    route, names = route_of(model), words_of_id(model)
    found: dict[str, int] = {}
    for count in ("requests_per_minute", "tokens_per_minute", "tokens_per_day"):
        for words in names:
            if value := values.get((route, count, words)):
                found[count] = value
    return found
