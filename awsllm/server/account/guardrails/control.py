"""Bedrock's operations on guardrails: they are created, changed, versioned, listed and deleted.

How long what lasts: the transition ``guardrail`` (creating, changing, versioning); each GetGuardrail is a look. Tags
are the account's (``State.tags``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from awsllm.errors import ModelNotFoundError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.records import new_id, once, read_tags
from awsllm.server.account.bedrock.refusals import conflict, over_quota
from awsllm.server.account.guardrails.limits import MOST_GUARDRAILS, MOST_VERSIONS, check
from awsllm.server.account.guardrails.records import DRAFT, KIND, GuardrailRecord, GuardrailVersion, found, is_ready
from awsllm.server.account.pages import paged
from awsllm.types import JsonObject

_PAGE = 100  # rows without maxResults
_NOT_CONFIGURATION = ("clientRequestToken", "tags", "guardrailIdentifier")

# Of each policy: its member in a request and in a response, and those of its lists.
_SHOWN: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "topicPolicyConfig": ("topicPolicy", {"topicsConfig": "topics", "tierConfig": "tier"}),
    "contentPolicyConfig": ("contentPolicy", {"filtersConfig": "filters", "tierConfig": "tier"}),
    "wordPolicyConfig": ("wordPolicy", {"wordsConfig": "words", "managedWordListsConfig": "managedWordLists"}),
    "sensitiveInformationPolicyConfig": (
        "sensitiveInformationPolicy",
        {"piiEntitiesConfig": "piiEntities", "regexesConfig": "regexes"},
    ),
    "contextualGroundingPolicyConfig": (
        "contextualGroundingPolicy",
        {"filtersConfig": "filters", "tierConfig": "tier"},
    ),
}
_ACTIONS = {"inputEnabled": True, "outputEnabled": True}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "topics": {"inputAction": "BLOCK", "outputAction": "BLOCK", **_ACTIONS},
    "words": {"inputAction": "BLOCK", "outputAction": "BLOCK", **_ACTIONS},
    "managedWordLists": {"inputAction": "BLOCK", "outputAction": "BLOCK", **_ACTIONS},
}


# --- changing --------------------------------------------------------------------------------------------------------


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    config = _configuration(request)
    check(config)
    _refuse_name(region, config["name"])
    table = region.state.table(KIND)
    if len(table) >= MOST_GUARDRAILS:
        raise over_quota(f"An account has at most {MOST_GUARDRAILS} guardrails in a region.")
    tags = read_tags(request.get("tags"))
    new = new_id()
    arn = region.arn("guardrail", new, service="bedrock")
    draft = _version(region, config, "CREATING")
    region.begin(KIND)
    table[new] = GuardrailRecord(new, arn, {DRAFT: draft})
    region.state.tags[arn] = tags
    return {"guardrailId": new, "guardrailArn": arn, "version": DRAFT, "createdAt": draft.created}


def _update(region: Region, request: JsonObject) -> JsonObject:
    record = _settled(region, request)
    config = _configuration(request)
    check(config)
    if config["name"] != record.name:
        _refuse_name(region, config["name"])
    draft = _version(region, config, "UPDATING")
    draft.created = record.versions[DRAFT].created
    record.versions[DRAFT] = draft
    return {"guardrailId": record.id, "guardrailArn": record.arn, "version": DRAFT, "updatedAt": draft.updated}


@once
def _create_version(region: Region, request: JsonObject) -> JsonObject:
    record = _settled(region, request)
    if len(record.versions) > MOST_VERSIONS:
        raise over_quota(f"A guardrail has at most {MOST_VERSIONS} versions.")
    record.last += 1
    made = _version(region, record.versions[DRAFT].config, "VERSIONING")
    made.description = request.get("description")
    record.versions[str(record.last)] = made
    return {"guardrailId": record.id, "version": str(record.last)}


def _delete(region: Region, request: JsonObject) -> JsonObject:
    record, version = _settled(region, request), request.get("guardrailVersion")
    if version is None:
        del region.state.table(KIND)[record.id]
        region.state.tags.pop(record.arn, None)
    elif record.versions.pop(version, None) is None:
        raise _missing(request["guardrailIdentifier"], version)
    return {}


def _configuration(request: JsonObject) -> JsonObject:
    return {name: value for name, value in request.items() if name not in _NOT_CONFIGURATION}


def _version(region: Region, config: JsonObject, status: str) -> GuardrailVersion:
    now = region.now()
    return GuardrailVersion(config, now, now, status, region.wait("guardrail"))


def _refuse_name(region: Region, name: str) -> None:
    if any(record.name == name for record in region.state.table(KIND).values()):
        raise conflict("Another guardrail in your account already has this name.")


# --- showing ---------------------------------------------------------------------------------------------------------


def _get(region: Region, request: JsonObject) -> JsonObject:
    name, version = request["guardrailIdentifier"], request.get("guardrailVersion") or DRAFT
    record = _record(region, name)
    kept = record.versions.get(version)
    if kept is None:
        raise _missing(name, version)
    config, summary = kept.config, _summary(region, record, version)
    kept.wait.look(region.now())
    policies = {shown: _policy(config[name], lists) for name, (shown, lists) in _SHOWN.items() if config.get(name)}
    messages = {name: config.get(name) for name in ("blockedInputMessaging", "blockedOutputsMessaging")}
    return {
        **summary,
        "guardrailId": record.id,
        "guardrailArn": record.arn,
        "kmsKeyArn": _key(region, config.get("kmsKeyId")),
        **policies,
        **messages,
    }


def _list(region: Region, request: JsonObject) -> JsonObject:
    """The working drafts of all, or the versions of one."""
    named = request.get("guardrailIdentifier")
    if named:
        record = _record(region, named)
        rows = [_summary(region, record, version) for version in record.versions]
    else:
        records = sorted(region.state.table(KIND).values(), key=lambda one: -one.versions[DRAFT].created)
        rows = [_summary(region, record, DRAFT) for record in records]
    shown, more = paged(rows, request.get("nextToken"), request.get("maxResults", _PAGE))
    return {"guardrails": shown, **more}


def _summary(region: Region, record: GuardrailRecord, version: str) -> JsonObject:
    kept = record.versions[version]
    return {
        "id": record.id,
        "arn": record.arn,
        "name": kept.config["name"],
        "description": kept.description or kept.config.get("description"),
        "version": version,
        "status": "READY" if is_ready(region, kept) else kept.status,
        "createdAt": kept.created,
        "updatedAt": kept.updated,
        "crossRegionDetails": _profile(region, kept.config),
    }


def _policy(policy: JsonObject, lists: Mapping[str, str]) -> JsonObject:
    shown: JsonObject = {}
    for given, name in lists.items():
        value = policy.get(given)
        if isinstance(value, list):
            shown[name] = [{**_DEFAULTS.get(name, {}), **one} for one in value]
        elif value is not None:
            shown[name] = value
    return shown


def _profile(region: Region, config: JsonObject) -> JsonObject | None:
    named = (config.get("crossRegionConfig") or {}).get("guardrailProfileIdentifier")
    if named is None:
        return None
    profile = named.rpartition("/")[2]
    arn = region.arn("guardrail-profile", profile, service="bedrock")
    return {"guardrailProfileId": profile, "guardrailProfileArn": arn}


def _key(region: Region, key: str | None) -> str | None:
    if key is None or key.startswith("arn:"):
        return key
    alias = key.startswith("alias/")
    arn = region.arn("key", key, service="kms")
    return arn.replace(":key/alias/", ":alias/") if alias else arn


# --- finding ---------------------------------------------------------------------------------------------------------


def _record(region: Region, name: str) -> GuardrailRecord:
    record = found(region, name)
    if record is None:
        raise _missing(name)
    return record


def _settled(region: Region, request: JsonObject) -> GuardrailRecord:
    """The record, which may be changed."""
    record = _record(region, request["guardrailIdentifier"])
    for version, kept in record.versions.items():
        if not is_ready(region, kept):
            raise conflict(f"The guardrail {record.id} cannot be changed: version {version} is {kept.status}.")
    return record


def _missing(name: str, version: str | None = None) -> ModelNotFoundError:
    of = f" version {version}" if version else ""
    message = f"The guardrail {name[:200]}{of} was not found."
    return ModelNotFoundError(message, code="ResourceNotFoundException", status=404)


OPERATIONS: Mapping[str, Operation] = {
    "CreateGuardrail": _create,
    "GetGuardrail": _get,
    "ListGuardrails": _list,
    "UpdateGuardrail": _update,
    "DeleteGuardrail": _delete,
    "CreateGuardrailVersion": _create_version,
}
