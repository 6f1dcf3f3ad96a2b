"""Service Quotas of Bedrock, which moto does not list: some of a new account's in us-east-1
(docs.aws.amazon.com/general/latest/gr/bedrock.html, as others quote it, 2025-06 to 2026-10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_ROWS = (
    ("On-demand model inference requests per minute for Amazon Nova Lite", "L-E386A278", 1000.0),
    ("On-demand model inference tokens per minute for Amazon Nova Lite", "L-70423BF8", 2_000_000.0),
    ("Cross-region model inference requests per minute for Amazon Nova Lite", "L-89F8391A", 2000.0),
    ("Cross-region model inference tokens per minute for Amazon Nova Lite", "L-7C42E72A", 4_000_000.0),
    ("Cross-region model inference requests per minute for Amazon Nova Pro", "L-ED46B8C5", 200.0),
    ("Cross-region model inference tokens per minute for Amazon Nova Pro", "L-C0326783", 800_000.0),
    ("Cross-region model inference requests per minute for Anthropic Claude Sonnet 4.6", "L-00FF3314", 10_000.0),
    ("Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4.6", "L-15B8E632", 6_000_000.0),
    ("Global cross-region model inference tokens per minute for Anthropic Claude Haiku 4.5", "L-9A11C666", 5_000_000.0),
    ("Cross-region model inference tokens per minute for Anthropic Claude Sonnet 4 V1 1M Context Length", "L-1M", 1e6),
)


def additions() -> Iterator[tuple[Any, str, Any]]:
    from moto.servicequotas.responses import ServiceQuotasResponse

    yield ServiceQuotasResponse, "list_service_quotas", _list


def _list(response: Any) -> str:
    asked = json.loads(response.body or "{}")
    if asked.get("ServiceCode") != "bedrock":
        return json.dumps({"Quotas": []})
    arn = f"arn:aws:servicequotas:{response.region}:{response.current_account}:bedrock"
    return json.dumps(
        {
            "Quotas": [
                {
                    "ServiceCode": "bedrock",
                    "ServiceName": "Amazon Bedrock",
                    "QuotaArn": f"{arn}/{code}",
                    "QuotaCode": code,
                    "QuotaName": name,
                    "Value": value,
                    "Unit": "None",
                    "Adjustable": True,
                    "GlobalQuota": False,
                }
                for name, code, value in _ROWS
            ]
        }
    )
