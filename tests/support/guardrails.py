"""Guardrails of an offline account as tests make them and ask of them, by boto3."""

from __future__ import annotations

from typing import Any

import boto3

NOVA = "us.amazon.nova-lite-v1:0"
MESSAGES = {"blockedInputMessaging": "Not in.", "blockedOutputsMessaging": "Not out."}
POLICIES: dict[str, Any] = {
    "wordPolicyConfig": {"wordsConfig": [{"text": "acme"}]},
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [
            {"type": "EMAIL", "action": "ANONYMIZE"},
            {"type": "US_SOCIAL_SECURITY_NUMBER", "action": "BLOCK"},
        ],
        "regexesConfig": [{"name": "ticket", "pattern": r"T-\d+", "action": "ANONYMIZE"}],
    },
}
GROUNDING = {"filtersConfig": [{"type": kind, "threshold": 0.7} for kind in ("GROUNDING", "RELEVANCE")]}
TAG = "amazon-bedrock-guardrails-{}_x1"


def bedrock() -> Any:
    return boto3.client("bedrock", "us-east-1")


def runtime() -> Any:
    return boto3.client("bedrock-runtime", "us-east-1")


def made(**policies: Any) -> str:
    created = bedrock().create_guardrail(name="g", **MESSAGES, **(policies or POLICIES))
    return str(created["guardrailId"])


def applied(guardrail: str, text: str, source: str = "OUTPUT", **options: Any) -> Any:
    content = options.pop("content", [{"text": {"text": text}}])
    return runtime().apply_guardrail(
        guardrailIdentifier=guardrail, guardrailVersion="DRAFT", source=source, content=content, **options
    )


def turn(*content: Any) -> Any:
    return [{"role": "user", "content": [{"text": one} if isinstance(one, str) else one for one in content]}]


def converse(guardrail: str, *content: Any, trace: str = "enabled", **options: Any) -> Any:
    config = {"guardrailIdentifier": guardrail, "guardrailVersion": "DRAFT", "trace": trace}
    return runtime().converse(modelId=NOVA, messages=turn(*content), guardrailConfig=config, **options)


def said(answer: Any) -> str:
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def qualified(text: str, *qualifiers: str) -> Any:
    return {"text": {"text": text, "qualifiers": list(qualifiers)}}


def tagged(kind: str, text: str) -> str:
    name = TAG.format(kind)
    return f"<{name}>{text}</{name}>"


SOURCE = qualified("Tokyo is the capital of Japan. London is the capital of the United Kingdom.", "grounding_source")
QUERY = qualified("What is the capital of Japan?", "query")
