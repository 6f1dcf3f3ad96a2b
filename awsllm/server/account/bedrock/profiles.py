"""Inference profiles: those of a geography, which every account has, and those that applications make to be told apart
in the bill."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from awsllm.models.catalogue import row
from awsllm.models.geographies import GLOBAL, REGIONS, geographies_at, geographies_of, profiled
from awsllm.models.references import geography, without_geography
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.foundation import foundation_arn, model_name, provider_name
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    BedrockRecord,
    all_of,
    bedrock_arn,
    find,
    forget,
    id_of,
    keep,
    once,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.bedrock.refusals import missing
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

PROFILES = "application-inference-profile"
_SYSTEM = "inference-profile"
_NOUN = "inference profile"
_MOST_MODELS = 5
"""That the service model lets a profile name."""
_MADE = 1_704_067_200.0
"""2024-01-01: when the service made its own profiles is not known here."""


# --- the geographies' ------------------------------------------------------------------------------------------------


def _systems(region: Region) -> Iterator[JsonObject]:
    here = geographies_at(region.name)
    for model in profiled():
        yield from (_system(region, f"{place}.{model}") for place in geographies_of(model) if place in here)


def _system(region: Region, identifier: str) -> JsonObject:
    model, place = without_geography(identifier), geography(identifier) or ""
    name = re.sub(r"[^0-9a-zA-Z]+", " ", f"{provider_name(model)} {model_name(model)}")
    name = f"{place.title() if place == GLOBAL else place.upper()} {name}"
    return {
        "inferenceProfileName": name[:64].strip(),
        "description": f"Routes requests to {name} in the regions of {place}."[:200],
        "createdAt": _MADE,
        "updatedAt": _MADE,
        "inferenceProfileArn": bedrock_arn(region, _SYSTEM, identifier),
        "models": [{"modelArn": arn} for arn in _destinations(region, place, model)],
        "inferenceProfileId": identifier,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def _destinations(region: Region, place: str, model: str) -> list[str]:
    """The model's ARNs where requests may go, the caller's region first; a global profile's is of no region."""
    here = foundation_arn(region, model)
    if place == GLOBAL:
        return [here, here.replace(f":{region.name}:", "::")]
    there = [foundation_arn(region.account.region(name), model) for name in REGIONS[place]]
    return list(dict.fromkeys([*([here] if here in there else []), *there]))[:_MOST_MODELS]


def _find_system(region: Region, identifier: str) -> JsonObject | None:
    name = id_of(identifier)
    offered = geographies_of(without_geography(name))
    place = geography(name)
    return _system(region, name) if place in offered and place in geographies_at(region.name) else None


# --- applications' ---------------------------------------------------------------------------------------------------


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, PROFILES, request["inferenceProfileName"], _NOUN)
    refuse_full(region, PROFILES, "inference-profiles", "inference profiles")
    models = _models(region, request["modelSource"]["copyFrom"])
    now = region.now()
    arn = bedrock_arn(region, PROFILES)
    record = BedrockRecord(arn, request["inferenceProfileName"], request, now, now, "ACTIVE", shown={"models": models})
    keep(region, PROFILES, record, request.get("tags"))
    return {"inferenceProfileArn": arn, "status": "ACTIVE"}


def _models(region: Region, source: str) -> list[JsonObject]:
    if f":{_SYSTEM}/" in source:
        found = _find_system(region, source)
        if found is None:
            raise missing(_NOUN, source)
        models: list[JsonObject] = found["models"]
        return models
    if source.split(":")[3] != region.name:
        raise invalid("The model in copyFrom must be in the region of the request.")
    if row(source) is None:
        raise missing("foundation model", source)
    return [{"modelArn": source}]


def _application(record: BedrockRecord) -> JsonObject:
    return {
        "inferenceProfileName": record.name,
        "description": record.request.get("description"),
        "createdAt": record.created,
        "updatedAt": record.modified,
        "inferenceProfileArn": record.arn,
        "models": record.shown["models"],
        "inferenceProfileId": id_of(record.arn),
        "status": record.status,
        "type": "APPLICATION",
    }


# --- both ------------------------------------------------------------------------------------------------------------


def _list(region: Region, request: JsonObject) -> JsonObject:
    """Of the geographies' unless those of applications are asked for, as the service's own default is."""
    if request.get("typeEquals") == "APPLICATION":
        rows = [_application(record) for record in all_of(region, PROFILES)]
    else:
        rows = list(_systems(region))[::-1]  # all of one time, so they come out by id
    return page(request, rows, "inferenceProfileSummaries", time="createdAt")


def _get(region: Region, request: JsonObject) -> JsonObject:
    identifier = request["inferenceProfileIdentifier"]
    if f":{PROFILES}/" not in identifier and (found := _find_system(region, identifier)):
        return found
    return _application(find(region, PROFILES, identifier, _NOUN))


def _delete(region: Region, request: JsonObject) -> JsonObject:
    identifier = request["inferenceProfileIdentifier"]
    if f":{PROFILES}/" not in identifier and _find_system(region, identifier):
        raise invalid("A system-defined inference profile cannot be deleted.")
    forget(region, PROFILES, find(region, PROFILES, identifier, _NOUN))
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateInferenceProfile": _create,
    "GetInferenceProfile": _get,
    "ListInferenceProfiles": _list,
    "DeleteInferenceProfile": _delete,
}
