"""Which model a quota is of, by the names that Service Quotas has (awslabs/bedrock-usage-analyzer, quota-index.csv)."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from awsllm.models import catalogue
from awsllm.models.quotas import model_quota, quota_values, quotas_of, route_of, words_of_id, words_of_name

NAMES = """
anthropic.claude-fable-5-1: Anthropic Claude Fable 5.1
anthropic.claude-haiku-4-5-20251001-v1:0: Anthropic Claude Haiku 4.5
anthropic.claude-opus-4-5-20251101-v1:0: Anthropic Claude Opus 4.5
anthropic.claude-opus-4-6-v1: Anthropic Claude Opus 4.6 V1
anthropic.claude-opus-4-20250514-v1:0: Anthropic Claude Opus 4 V1
anthropic.claude-opus-5: Anthropic Claude Opus 5
anthropic.claude-opus-5-5: Anthropic Claude Opus 5.5
anthropic.claude-sonnet-4-20250514-v1:0: Anthropic Claude Sonnet 4 V1
anthropic.claude-sonnet-4-5-20250929-v1:0: Anthropic Claude Sonnet 4.5 V1
anthropic.claude-sonnet-4-6: Anthropic Claude Sonnet 4.6
anthropic.claude-3-5-sonnet-20240620-v1:0: Anthropic Claude 3.5 Sonnet
anthropic.claude-3-5-sonnet-20241022-v2:0: Anthropic Claude 3.5 Sonnet V2
anthropic.claude-3-7-sonnet-20250219-v1:0: Anthropic Claude 3.7 Sonnet V1
anthropic.claude-3-haiku-20240307-v1:0: Anthropic Claude 3 Haiku
amazon.nova-lite-v1:0: Amazon Nova Lite
amazon.nova-2-lite-v1:0: Amazon Nova 2 Lite
amazon.nova-premier-v1:0: Amazon Nova Premier V1
amazon.nova-2-multimodal-embeddings-v1:0: Amazon Nova 2 Multimodal Embeddings V1
amazon.rerank-v1:0: Amazon Rerank 1.0
amazon.titan-embed-text-v1: Amazon Titan Text Embeddings
amazon.titan-embed-text-v2:0: Amazon Titan Text Embeddings V2
amazon.titan-embed-image-v1: Amazon Titan Multimodal Embeddings G1
ai21.jamba-1-5-large-v1:0: AI21 Labs Jamba 1.5 Large
cohere.embed-english-v3: Cohere Embed English
cohere.embed-v4:0: Cohere Embed V4
cohere.rerank-v3-5:0: Cohere Rerank 3.5
deepseek.r1-v1:0: DeepSeek R1 V1
deepseek.v3-v1:0: DeepSeek V3 V1
deepseek.v3.2: DeepSeek V3.2
google.gemma-3-12b-it: Gemma 3 12B
minimax.minimax-m2.1: Minimax M2.1
mistral.devstral-2-123b: Mistral Devstral 2 123b
mistral.magistral-small-2509: Magistral Small 1.2
mistral.ministral-3-14b-instruct: Ministral 14B 3.0
mistral.mistral-large-3-675b-instruct: Mistral Large 3
mistral.mistral-large-2407-v1:0: Mistral Large 2407
mistral.mistral-large-2402-v1:0: Mistral AI Mistral Large
mistral.mistral-7b-instruct-v0:2: Mistral AI Mistral 7B Instruct
mistral.mixtral-8x7b-instruct-v0:1: Mistral AI Mixtral 8X7BB Instruct
mistral.mixtral-8x7b-instruct-v0:1: Mistral Mixtral 8x7b Instruct
mistral.mistral-small-2402-v1:0: Mistral AI Mistral Small
mistral.pixtral-large-2502-v1:0: Mistral Pixtral Large 25.02 V1
mistral.voxtral-mini-3b-2507: Voxtral Mini 1.0
moonshot.kimi-k2-thinking: Kimi K2 Thinking
moonshotai.kimi-k2.5: Moonshot AI Kimi K2.5
meta.llama3-1-70b-instruct-v1:0: Meta Llama 3.1 70B Instruct
meta.llama4-maverick-17b-instruct-v1:0: Meta Llama 4 Maverick V1
nvidia.nemotron-nano-9b-v2: NVIDIA Nemotron Nano 2
nvidia.nemotron-nano-3-30b: Nemotron Nano 3 30B
nvidia.nemotron-super-3-120b: NVIDIA Nemotron 3 Super 120B A12B
openai.gpt-oss-120b-1:0: OpenAI GPT OSS 120B
openai.gpt-5.6-luna: GPT-5.6 Luna
openai.gpt-6-sol: GPT-6 Sol
qwen.qwen3-235b-a22b-2507-v1:0: Qwen3 235B a22b 2507 V1
qwen.qwen3-coder-30b-a3b-v1:0: Qwen3 Coder 30B a3b V1
qwen.qwen3-32b-v1:0: Qwen3 32B V1
stability.stable-image-erase-object-v1:0: Stable Image Erase Object
stability.stable-image-search-replace-v1:0: Stable Image Search and Replace
stability.stable-conservative-upscale-v1:0: Stable Image Conservative Upscale
twelvelabs.pegasus-1-2-v1:0: Twelve Labs Pegasus
twelvelabs.marengo-embed-3-0-v1:0: TwelveLabs Marengo Embed 3.0
writer.palmyra-x5-v1:0: Writer AI Palmyra X5 V1
writer.palmyra-vision-7b: Writer Palmyra Vision 7B
xai.grok-4.6: Grok 4.6
zai.glm-4.7-flash: Z.ai GLM-4.7 Flash
""".strip().splitlines()
PAIRS = [tuple(line.rsplit(": ", 1)) for line in NAMES]


def spelling(model: str) -> str:
    """An id without what may be left out of it: bedrock-mantle names the same models so."""
    return re.sub(r"-1:0$|-instruct|-20\d{6}|-v\d(:\d)?$|:\d$", "", model.partition(".")[2])


ONE_QUOTA = {frozenset({"titan-embed-text", "titan-embed-g1-text-02"})}


@pytest.mark.parametrize(("model", "name"), PAIRS)
def test_a_name_is_that_of_its_model(model: str, name: str) -> None:
    assert words_of_name(name) in words_of_id(model)


def test_no_two_models_of_the_catalogue_have_one_name() -> None:
    by_words: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for model in catalogue.ids():
        for words in words_of_id(model):
            by_words[words].add(spelling(model))
    assert {frozenset(models) for models in by_words.values() if len(models) > 1} == ONE_QUOTA


@pytest.mark.parametrize(
    ("name", "route", "count"),
    [
        ("On-demand model inference requests per minute for Amazon Nova Lite", "on-demand", "requests_per_minute"),
        ("Cross-region model inference tokens per minute for Amazon Nova Lite", "cross-region", "tokens_per_minute"),
        ("Cross-Region InvokeModel tokens per minute for Amazon Nova Lite", "cross-region", "tokens_per_minute"),
        ("Global cross-region model inference tokens per day for Amazon Nova Lite", "global", "tokens_per_day"),
        ("Model invocation max tokens per day for Amazon Nova Lite", None, "tokens_per_day"),
    ],
)
def test_a_name_says_which_quota_it_is(name: str, route: str | None, count: str) -> None:
    quota = model_quota(name)
    assert quota is not None
    assert (quota.route, quota.count, quota.model) == (route, count, "Amazon Nova Lite")


@pytest.mark.parametrize(
    "name",
    [
        "Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4 V1 1M Context Length",
        "On-demand latency-optimized model inference tokens per minute for Amazon Nova Pro",
        "Cross-Model Max Tokens Per Day",
        "Bedrock Mantle input tokens per minute for Anthropic Claude Haiku 4.5",
        "(Model customization) Sum of on demand custom model deployment tokens per minute for Amazon Nova Lite",
    ],
)
def test_what_is_of_no_model_as_it_is_called_here_is_told(name: str) -> None:
    assert model_quota(name) is None
    values, unused = quota_values([(name, 5.0)])
    assert (values, unused) == ({}, (name,))


def test_a_profile_has_the_quotas_of_its_route() -> None:
    values, unused = quota_values(
        [
            ("On-demand model inference tokens per minute for Amazon Nova Lite", 2_000_000.0),
            ("Cross-region model inference tokens per minute for Amazon Nova Lite", 4_000_000.0),
            ("Cross-region model inference requests per minute for Amazon Nova Lite", 2000.0),
            ("Model invocation max tokens per day for Amazon Nova Lite (doubled for cross-region calls)", 1e9),
            ("Global cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.6", 0.0),
            ("Imported models per account", 3.0),
        ]
    )
    assert unused == ()
    assert quotas_of("amazon.nova-lite-v1:0", values) == {"tokens_per_minute": 2_000_000, "tokens_per_day": 10**9}
    assert quotas_of("us.amazon.nova-lite-v1:0", values) == {
        "requests_per_minute": 2000,
        "tokens_per_minute": 4_000_000,
        "tokens_per_day": 2 * 10**9,
    }
    assert quotas_of("global.anthropic.claude-sonnet-4-6", values) == {}
    assert route_of("global.anthropic.claude-sonnet-4-6") == "global"
