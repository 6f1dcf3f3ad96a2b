"""Foundation models as the catalogue knows them, in every region; agreements and use cases, which let a model be used.

The list is as of the account's clock: a model whose end was announced and has passed is not on it, and can still be
asked for. Names are made of ids, which is all the catalogue has. Modalities and inference types are written as the
service writes them, which is more than its model's enumerations hold (VIDEO, SPEECH, INFERENCE_PROFILE).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from awsllm.models.catalogue import lifecycle, row, rows
from awsllm.models.customizable import customizations
from awsllm.models.profiles import profile
from awsllm.models.references import geography
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.refusals import missing
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

_NOUN = "foundation model"
_AGREEMENTS, _USE_CASE = "bedrock-agreement", "bedrock-use-case"
_PROVIDERS = {
    "ai21": "AI21 Labs",
    "deepseek": "DeepSeek",
    "luma": "Luma AI",
    "meta": "Meta",
    "minimax": "MiniMax",
    "mistral": "Mistral AI",
    "moonshot": "Moonshot AI",
    "moonshotai": "Moonshot AI",
    "nvidia": "NVIDIA",
    "openai": "OpenAI",
    "stability": "Stability AI",
    "twelvelabs": "TwelveLabs",
    "xai": "xAI",
    "zai": "Z.AI",
}
"""Providers whose names are not their ids'."""
_CAPITALS = frozenset(("gpt", "glm", "oss", "sd3", "tg1"))


def foundation_arn(region: Region, model: str) -> str:
    return region.arn("foundation-model", model, owner="", service="bedrock")


def foundation(identifier: str) -> JsonObject:
    """The catalogue's row of an id or ARN. Raises Bedrock's refusal of one that is unknown, or a profile's."""
    found = row(identifier)
    if found is None or geography(identifier.rpartition("/")[2]):
        raise missing(_NOUN, identifier)
    return found


def model_name(model: str) -> str:
    """``Claude Sonnet 4.5`` of ``anthropic.claude-sonnet-4-5-20250929-v1:0``."""
    name = model.partition(".")[2].replace("llama", "llama-")
    name = re.sub(r"(-v?\d+)?(:\d+\w?)*$", "", name) if ":" in name else re.sub(r"-v\d+$", "", name)
    name = re.sub(r"(?<=\d)-(?=\d(?:-|$))", ".", re.sub(r"-20\d{6}", "", name))
    return " ".join(map(_capital, name.split("-")))


def _capital(word: str) -> str:
    return word.upper() if word in _CAPITALS or re.fullmatch(r"[\d.]+[bekx]", word) else word[:1].upper() + word[1:]


def provider_name(model: str) -> str:
    provider = model.partition(".")[0]
    return _PROVIDERS.get(provider, provider.capitalize())


# --- the list --------------------------------------------------------------------------------------------------------


def _details(region: Region, found: JsonObject) -> JsonObject:
    model = found["id"]
    can = profile("bedrock", model)
    custom = customizations(model)
    inference = "INFERENCE_PROFILE" if can.needs_geography else "ON_DEMAND"
    return {
        "modelArn": foundation_arn(region, model),
        "modelId": model,
        "modelName": model_name(model),
        "providerName": provider_name(model),
        "inputModalities": [word.upper() for word in found["input"]],
        "outputModalities": [word.upper() for word in found["output"]],
        "responseStreamingSupported": "invoke_stream" in can.routes,
        "customizationsSupported": list(custom),
        "inferenceTypesSupported": [inference, *(["PROVISIONED"] if custom else [])],
        "modelLifecycle": _lifecycle(region, found),
    }


def _lifecycle(region: Region, found: JsonObject) -> JsonObject:
    is_active = lifecycle(found, _today(region)) == "active"
    days = {"legacyTime": found.get("legacy"), "endOfLifeTime": found.get("end_of_life")}
    times = {name: _midnight(day) for name, day in days.items() if day}
    return {"status": "ACTIVE" if is_active else "LEGACY", **times}


def _today(region: Region) -> str:
    return datetime.fromtimestamp(region.now(), UTC).date().isoformat()


def _midnight(day: str) -> float:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp()


def _current(region: Region) -> Iterator[JsonObject]:
    today = _today(region)
    for line in rows().splitlines():
        found: JsonObject = msgspec.json.decode(line)
        if lifecycle(found, today) != "end_of_life":
            yield _details(region, found)


def _list(region: Region, request: JsonObject) -> JsonObject:
    wanted = {
        "byCustomizationType": "customizationsSupported",
        "byOutputModality": "outputModalities",
        "byInferenceType": "inferenceTypesSupported",
    }
    provider = str(request.get("byProvider", "")).lower()
    found = [
        model
        for model in _current(region)
        if provider in (model["providerName"].lower(), "")
        and all(request[name] in model[member] for name, member in wanted.items() if name in request)
    ]
    return {"modelSummaries": found}


def _get(region: Region, request: JsonObject) -> JsonObject:
    return {"modelDetails": _details(region, foundation(request["modelIdentifier"]))}


# --- access ----------------------------------------------------------------------------------------------------------


def _availability(region: Region, request: JsonObject) -> JsonObject:
    model = foundation(request["modelId"])["id"]
    agreed = region.state.table(_AGREEMENTS).get(model, True)
    return {
        "modelId": request["modelId"],
        "agreementAvailability": {"status": "AVAILABLE" if agreed else "NOT_AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE" if agreed else "NOT_AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }


def _offers(region: Region, request: JsonObject) -> JsonObject:
    """One offer a model, at the prices that the catalogue has of it."""
    found = foundation(request["modelId"])
    rates = found.get("prices", {}).get("", {})
    card = [
        {"dimension": f"{name}_tokens", "price": str(rates[name]), "description": f"{name} tokens", "unit": "1M tokens"}
        for name in ("input", "output")
        if name in rates
    ]
    offer = {
        "offerId": f"offer-{found['id']}",
        "offerToken": _offer_token(found["id"]),
        "termDetails": {
            "usageBasedPricingTerm": {"rateCard": card},
            "legalTerm": {"url": "https://aws.amazon.com/legal/bedrock/third-party-models/"},
            "supportTerm": {"refundPolicyDescription": "no refunds: this is an offline account"},
        },
    }
    return {"modelId": request["modelId"], "offers": [offer]}


def _offer_token(model: str) -> str:
    return f"offline-offer-of-{model}"


def _agree(region: Region, request: JsonObject) -> JsonObject:
    model = foundation(request["modelId"])["id"]
    if request["offerToken"] != _offer_token(model):
        raise invalid("The offer token is not of an offer of this model: ListFoundationModelAgreementOffers has it.")
    region.state.table(_AGREEMENTS)[model] = True
    return {"modelId": request["modelId"]}


def _disagree(region: Region, request: JsonObject) -> JsonObject:
    region.state.table(_AGREEMENTS)[foundation(request["modelId"])["id"]] = False
    return {}


def _put_use_case(region: Region, request: JsonObject) -> JsonObject:
    region.state.table(_USE_CASE)["form"] = request["formData"]
    return {}


def _get_use_case(region: Region, request: JsonObject) -> JsonObject:
    form: Any = region.state.table(_USE_CASE).get("form")
    if form is None:
        raise missing("use case", "of this account")
    return {"formData": form}


OPERATIONS: Mapping[str, Operation] = {
    "ListFoundationModels": _list,
    "GetFoundationModel": _get,
    "GetFoundationModelAvailability": _availability,
    "ListFoundationModelAgreementOffers": _offers,
    "CreateFoundationModelAgreement": _agree,
    "DeleteFoundationModelAgreement": _disagree,
    "PutUseCaseForModelAccess": _put_use_case,
    "GetUseCaseForModelAccess": _get_use_case,
}
