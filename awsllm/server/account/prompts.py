"""Prompts: a working draft and its numbered versions, which do not change, and the conversation that one stands for.

API reference, Converse: a prompt's ARN in place of a model's id, with ``promptVariables``; messages are added behind
the prompt's own; what the prompt says of system, tools, inference and additional fields cannot be said again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from awsllm.errors import AwsllmError
from awsllm.models.opaque import opaque_kind
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock_agent import MISSING, SERVICE, conflict, made_before, missing, new_id, page, shown
from awsllm.server.account.refusals import invalid
from awsllm.server.account.state import kept
from awsllm.types import ConverseRequest, JsonObject
from awsllm.wire.converse import decode_request

PROMPTS = "prompt"
"""The table."""
DRAFT = "DRAFT"

_VARIABLE = re.compile(r"\{\{\s*([0-9a-zA-Z_-]+)\s*\}\}")
_TEMPLATES = {"TEXT": "text", "CHAT": "chat"}
_LISTED = 10  # summaries in a page, at most (botocore's model of PromptSummaries)


@dataclass(slots=True)
class PromptVersion:
    """``shown`` is what Get shows beside the members here."""

    arn: str
    version: str
    shown: JsonObject
    created: float
    modified: float
    token: str | None = None


@kept
@dataclass(slots=True)
class PromptRecord:
    """The draft, and the versions by their numbers."""

    id: str
    draft: PromptVersion
    versions: dict[str, PromptVersion] = field(default_factory=dict)
    made: int = 0

    @property
    def token(self) -> str | None:
        return self.draft.token


# --- operations ------------------------------------------------------------------------------------------------------


def _create(region: Region, request: JsonObject) -> JsonObject:
    if (before := made_before(_all(region), request)) is not None:
        return _shown(before.id, before.draft)
    _check(request)
    _check_name(region, request["name"])
    made, now = new_id(), region.now()
    arn = region.arn(PROMPTS, made, service=SERVICE)
    draft = PromptVersion(arn, DRAFT, shown(request), now, now, request.get("clientToken"))
    region.state.table(PROMPTS)[made] = PromptRecord(made, draft)
    region.state.tags[arn] = dict(request.get("tags") or {})
    return _shown(made, draft)


def _get(region: Region, request: JsonObject) -> JsonObject:
    prompt, version = find_prompt(region, request["promptIdentifier"], request.get("promptVersion"))
    found = _shown(prompt.id, version)
    if request.get("includedData") == "METADATA_ONLY":
        return {name: value for name, value in found.items() if name not in ("variants", "defaultVariant")}
    return found


def _list(region: Region, request: JsonObject) -> JsonObject:
    identifier = request.get("promptIdentifier")
    if identifier is None:
        rows = [_shown(prompt.id, prompt.draft) for prompt in _all(region)]
    else:
        prompt, _ = find_prompt(region, identifier, None)
        rows = [_shown(prompt.id, version) for version in (prompt.draft, *prompt.versions.values())]
    summaries, more = page(request, rows, most=_LISTED)
    return {"promptSummaries": summaries, **more}


def _update(region: Region, request: JsonObject) -> JsonObject:
    prompt, _ = find_prompt(region, request["promptIdentifier"], DRAFT)
    _check(request)
    if request["name"] != prompt.draft.shown["name"]:
        _check_name(region, request["name"])
    prompt.draft.shown = {name: value for name, value in shown(request).items() if name != "promptIdentifier"}
    prompt.draft.modified = region.now()
    return _shown(prompt.id, prompt.draft)


def _delete(region: Region, request: JsonObject) -> JsonObject:
    number = request.get("promptVersion")
    prompt, version = find_prompt(region, request["promptIdentifier"], number)
    if version.version != DRAFT:
        del prompt.versions[version.version]
        region.state.tags.pop(version.arn, None)
        return {"id": prompt.id, "version": version.version}
    del region.state.table(PROMPTS)[prompt.id]
    for one in (prompt.draft, *prompt.versions.values()):
        region.state.tags.pop(one.arn, None)
    return {"id": prompt.id}


def _create_version(region: Region, request: JsonObject) -> JsonObject:
    prompt, _ = find_prompt(region, request["promptIdentifier"], DRAFT)
    if (before := made_before(prompt.versions.values(), request)) is not None:
        return _shown(prompt.id, before)
    prompt.made += 1
    number, now = str(prompt.made), region.now()
    described = {"description": request["description"]} if request.get("description") else {}
    content = {**prompt.draft.shown, **described}
    version = PromptVersion(f"{prompt.draft.arn}:{number}", number, content, now, now, request.get("clientToken"))
    prompt.versions[number] = version
    region.state.tags[version.arn] = dict(request.get("tags") or {})
    return _shown(prompt.id, version)


def _all(region: Region) -> list[PromptRecord]:
    return list(region.state.table(PROMPTS).values())


def _check(request: JsonObject) -> None:
    variants = request.get("variants") or []
    default = request.get("defaultVariant")
    if default is not None and all(variant["name"] != default for variant in variants):
        raise invalid(f"The default variant {default} is none of the prompt's variants.")
    for variant in variants:
        if _TEMPLATES[variant["templateType"]] not in variant["templateConfiguration"]:
            raise invalid(f"templateConfiguration does not match the templateType {variant['templateType']}.")
        if variant.get("modelId") is not None and variant.get("genAiResource") is not None:
            raise invalid("A variant has a modelId or a genAiResource, not both.")


def _check_name(region: Region, name: str) -> None:
    if any(prompt.draft.shown["name"] == name for prompt in _all(region)):
        raise conflict(f"Prompt with name {name} already exists.")


def _shown(id: str, version: PromptVersion) -> JsonObject:
    return {
        **version.shown,
        "id": id,
        "arn": version.arn,
        "version": version.version,
        "createdAt": version.created,
        "updatedAt": version.modified,
    }


def find_prompt(region: Region, identifier: str, version: str | None) -> tuple[PromptRecord, PromptVersion]:
    """``identifier`` is an id or an ARN, which may end in a version. Raises the refusal if there is none."""
    name, _, within = identifier.rpartition("/")[2].partition(":")
    prompt: PromptRecord | None = region.state.table(PROMPTS).get(name)
    if prompt is None or (identifier.startswith("arn:") and identifier.split(":")[3] != region.name):
        raise missing(MISSING)
    number = version or within or DRAFT
    found = prompt.draft if number == DRAFT else prompt.versions.get(number)
    if found is None:
        raise missing(MISSING)
    return prompt, found


OPERATIONS: Mapping[str, Operation] = {
    "CreatePrompt": _create,
    "GetPrompt": _get,
    "ListPrompts": _list,
    "UpdatePrompt": _update,
    "DeletePrompt": _delete,
    "CreatePromptVersion": _create_version,
}


# --- the conversation that one stands for ----------------------------------------------------------------------------


def model_of(region: Region, identifier: str) -> str | None:
    """The model that a prompt asks; None where there is no such prompt."""
    try:
        _, version = find_prompt(region, identifier, None)
        return str(_default_variant(version)["modelId"])
    except (AwsllmError, KeyError):
        return None


def conversation(region: Region, request: ConverseRequest) -> ConverseRequest:
    """``request``, whose model is a prompt's ARN, as one of the prompt's own model. Raises the refusal."""
    _, version = find_prompt(region, request.model, None)
    variant = _default_variant(version)
    template = variant["templateConfiguration"]
    variables = request.prompt_variables or {}
    if lacking := [name for name in dict.fromkeys(_names(template)) if name not in variables]:
        raise invalid(f"The prompt variables {', '.join(lacking)} are missing in promptVariables.")
    written = decode_request(variant["modelId"], _filled(_wire(variant, template), variables))
    return replace(
        request,
        model=written.model,
        messages=(*written.messages, *request.messages),
        system=written.system,
        tools=written.tools,
        tool_choice=written.tool_choice,
        inference_config=written.inference_config,
        extra=written.extra,
        prompt_variables=None,
    )


def _default_variant(version: PromptVersion) -> JsonObject:
    variants = version.shown.get("variants") or []
    default = version.shown.get("defaultVariant")
    variant: JsonObject | None = next((one for one in variants if default in (None, one["name"])), None)
    if variant is None:
        raise invalid("The prompt has no variant to run.")
    if variant.get("modelId") is None or opaque_kind(variant["modelId"]) == "prompt":
        raise invalid("The prompt's variant names no model to run it with.")
    return variant


def _wire(variant: JsonObject, template: JsonObject) -> JsonObject:
    """The variant as Converse's members."""
    text, chat = template.get("text"), template.get("chat") or {}
    messages = chat.get("messages") or []
    if text is not None:
        content = [{"text": text["text"]}, *([{"cachePoint": text["cachePoint"]}] if text.get("cachePoint") else [])]
        messages = [{"role": "user", "content": content}]
    return {
        "messages": messages,
        "system": chat.get("system"),
        "toolConfig": chat.get("toolConfiguration"),
        "inferenceConfig": (variant.get("inferenceConfiguration") or {}).get("text"),
        "additionalModelRequestFields": variant.get("additionalModelRequestFields"),
    }


def _names(template: JsonObject) -> Iterator[str]:
    for text in _texts(template):
        yield from _VARIABLE.findall(text)


def _texts(template: JsonObject) -> Iterator[str]:
    """What may hold variables: the template of a text, the texts of a chat's system and messages."""
    if "text" in template:
        yield template["text"]["text"]
        return
    chat = template["chat"]
    blocks = [*(chat.get("system") or ()), *(block for message in chat["messages"] for block in message["content"])]
    yield from (block["text"] for block in blocks if "text" in block)


def _filled(wire: JsonObject, variables: Mapping[str, str]) -> JsonObject:
    """The texts of messages and system with values in place of the variables."""

    def fill(block: Any) -> Any:
        if "text" not in block:
            return block
        return {"text": _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), block["text"])}

    messages = [{**message, "content": [fill(block) for block in message["content"]]} for message in wire["messages"]]
    return {**wire, "messages": messages, "system": [fill(block) for block in wire["system"] or ()] or None}
