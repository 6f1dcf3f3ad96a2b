"""Service Quotas of Bedrock, which moto does not list: some of a new account's in us-east-1
(docs.aws.amazon.com/general/latest/gr/bedrock.html, as others quote it, 2025-06 to 2026-10); and of batch jobs those
that the account was given (``Account.quotas``), for whoever cuts records into jobs by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from awsllm.models.quotas import words_of_id, words_of_name

if TYPE_CHECKING:
    from awsllm.server.account.account import Account

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
_OF_BATCHES = {
    "batch-records-min": "Minimum number of records per batch inference job",
    "batch-records-per-file": "Records per input file per batch inference job",
    "batch-records-per-job": "Records per batch inference job",
}
_standing: list[Account] = []


def stand(account: Account) -> None:
    """Tell its quotas, until it leaves: of several accounts those of the last."""
    _standing.append(account)


def leave(account: Account) -> None:
    _standing.remove(account)


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
                for name, code, value in (*_ROWS, *_of_batches())
            ]
        }
    )


def _of_batches() -> Iterator[tuple[str, str, float]]:
    """What the account was given for its batch jobs, of each model, as Service Quotas has it."""
    from awsllm.models.catalogue import rows
    from awsllm.server.account.bedrock.foundation import model_name, provider_name

    given = _standing[-1].quotas if _standing else {}
    models = [json.loads(line)["id"] for line in rows().splitlines()] if given.keys() & _OF_BATCHES.keys() else []
    for kind in sorted(_OF_BATCHES.keys() & given.keys()):
        for number, model in enumerate(models):
            words, name = words_of_id(model), f"{provider_name(model)} {model_name(model)}"
            label = name if words_of_name(name) in words else " ".join(min(words))
            yield f"{_OF_BATCHES[kind]} for {label}", f"L-{kind}-{number}".upper(), float(given[kind])
