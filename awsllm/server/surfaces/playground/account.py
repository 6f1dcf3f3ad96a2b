"""What the page can offer and show of an account: whom one can talk to, and what there is with its state.

To look at a record here is no look of its clock, as a list is none: what takes seconds ends by itself, what takes
looks of a program waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from awsllm.errors import AwsllmError
from awsllm.models.entries import entries
from awsllm.models.profiles import profile
from awsllm.server.account.account import Account, Region
from awsllm.server.account.dispatch import SERVICES
from awsllm.server.account.guardrails.records import GuardrailRecord, is_ready
from awsllm.server.account.resources import existing
from awsllm.server.work import Models
from awsllm.store.catalogue import MODELS
from awsllm.types import JsonObject

_HIDDEN = frozenset(("hub", "job-elsewhere", "deleted", "knowledge-base-document"))
"""Tables of what nobody made, of what is not there, and of what there are thousands of."""
_LOCAL = "local:"
_USUAL = "amazon.nova-lite-v1:0"
"""The model to begin with where none is this machine's own: it reads and writes most of what the page has."""
_PROVIDERS = {
    "ai21": "AI21 Labs",
    "deepseek": "DeepSeek",
    "minimax": "MiniMax",
    "moonshotai": "Moonshot AI",
    "nvidia": "NVIDIA",
    "openai": "OpenAI",
    "xai": "xAI",
    "zai": "Z.ai",
}
"""Makers that do not write themselves as their ids with a capital."""
_NAMES = ("name", "jobName", "modelName", "customModelName")
_REASONS = ("reason", "FailureReason", "failureMessage")
_LISTS = (
    *(("sagemaker", f"List{kind}") for kind in ("Endpoints", "InferenceComponents", "TrainingJobs", "TransformJobs")),
    *(("bedrock", f"List{kind}Jobs") for kind in ("ModelImport", "ModelCopy", "ModelCustomization", "ModelInvocation")),
    *(("bedrock", f"List{kind}s") for kind in ("CustomModelDeployment", "ProvisionedModelThroughput")),
    ("bedrock-agent", "ListKnowledgeBases"),
)
"""Operations that go through all of a kind, and end the changes whose time has come."""
_INSTANTS = ("created", "CreationTime", "creationTime", "createdAt", "submitTime")


# --- whom one can talk to --------------------------------------------------------------------------------------------


def models(answering: Models, account: Account | None) -> JsonObject:
    """Groups of models, the server's own first, the one to begin with, and the guardrails that may read along."""
    own = _own(answering)
    first = own[0]["id"] if own else _USUAL
    groups = [{"title": "This server", "models": own}, _endpoints(account), *_of_bedrock(datetime.now(UTC).date())]
    return {
        "groups": [group for group in groups if group["models"]],
        "preferred": first,
        "guardrails": _guardrails(account),
    }


def _own(answering: Models) -> list[JsonObject]:
    """The models that answer by the server's own settings: its default, the names in its table, its local models."""
    default = answering.chat if answering.chat is None or ":" in answering.chat else f"{_LOCAL}{answering.chat}"
    targets = answering.table.targets
    states = {f"{_LOCAL}{name}": "on this machine" for name in sorted(answering.own) if _chats(name)}
    named = {name: f"is {targets[name]}" for name in answering.table.aliases if _chats(targets[name].model)}
    first = {default: "answers by default"} if default else {}
    listed = {**first, **named, **{name: state for name, state in states.items() if name not in first}}
    return [{"id": name, "name": name.removeprefix(_LOCAL), "state": state} for name, state in listed.items()]


def _chats(name: str) -> bool:
    """Whether a model may be one that chats, as far as is known of local ones."""
    return name not in MODELS or MODELS[name].kind == "chat"


def _endpoints(account: Account | None) -> JsonObject:
    serving = (
        {"id": f"sagemaker:{record.name}", "name": record.name, "state": record.status}
        for record in _records(account, "endpoint")
        if record.serves
    )
    return {"title": "SageMaker endpoints", "models": list(serving)}


def _guardrails(account: Account | None) -> list[JsonObject]:
    tables = (
        [account.state(region).table("guardrail") for region in sorted(account.states)] if account is not None else []
    )
    records = (record for table in tables for record in list(table.values()))
    return [{"id": record.id, "name": record.name} for record in records]


@lru_cache(maxsize=1)
def _of_bedrock(today: date) -> tuple[JsonObject, ...]:
    """The chat models that Bedrock lists and that have not ended, by provider."""
    groups: dict[str, list[JsonObject]] = {}
    for entry in entries():
        can = profile("bedrock", entry.id)
        has_ended = entry.end_of_life is not None and entry.end_of_life <= today
        if has_ended or not ("text" in entry.output and can.converse and "converse" in can.routes):
            continue
        shown = {"id": entry.id, "name": entry.id.partition(".")[2], "images": "image" in entry.input}
        groups.setdefault(can.provider, []).append({**shown, "contextWindow": entry.context_window})
    named = ((_PROVIDERS.get(provider, provider.title()), listed) for provider, listed in groups.items())
    return tuple({"title": f"Bedrock: {name}", "models": listed} for name, listed in sorted(named, key=_first_folded))


def _first_folded(pair: tuple[str, Any]) -> str:
    return pair[0].casefold()


# --- what there is ---------------------------------------------------------------------------------------------------


def resources(account: Account | None) -> JsonObject:
    """All that the account has, by kind."""
    if account is None:
        return {"accountId": None, "groups": []}
    groups: dict[str, list[JsonObject]] = {}
    for region in sorted(account.states):
        _settle(account, region)
        for kind, table in sorted(account.state(region).tables.items()):
            if kind not in _HIDDEN:
                shown = (_shown(name, record, account.region(region)) for name, record in list(table.items()))
                groups.setdefault(_title(kind), []).extend(one for one in shown if one is not None)
    listed = [{"title": title, "resources": found} for title, found in groups.items() if found]
    return {"accountId": account.account_id, "groups": sorted(listed, key=lambda group: _order(group["title"]))}


def _settle(account: Account, name: str) -> None:
    """Let end whose time has come, unless the account is at work right now."""
    if not account.lock.acquire(blocking=False):
        return
    try:
        for service, operation in _LISTS:
            with contextlib.suppress(AwsllmError):
                SERVICES[service][operation](account.region(name), {})
    finally:
        account.lock.release()


def _records(account: Account | None, kind: str) -> Iterator[Any]:
    """Each region's, settled unless the account is at work right now."""
    if account is None:
        return
    for region in sorted(account.states):
        if account.lock.acquire(blocking=False):
            try:
                existing(account.region(region), kind)
            finally:
                account.lock.release()
        yield from list(account.state(region).table(kind).values())


def _title(kind: str) -> str:
    words = kind.replace("-", " ").replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith("s") else "s")


def _order(title: str) -> tuple[int, str]:
    """Endpoints and jobs first: they are what changes."""
    rank = 0 if title == "Endpoints" else 1 if "job" in title.lower() else 2
    return rank, title


def _shown(name: str, record: Any, region: Region) -> JsonObject | None:
    """Name, state and age of a record; None for what is neither made nor in a state, such as a caller's token."""
    members = _members(record)
    if isinstance(record, GuardrailRecord) and is_ready(region, list(record.versions.values())[-1]):
        members = {**members, "status": "READY"}  # which nobody writes down
    status = next((value for key, value in members.items() if key.lower().endswith("status") and value), None)
    created = next((members[key] for key in _INSTANTS if isinstance(members.get(key), (int, float))), None)
    if status is None and created is None:
        return None
    reason = next((members[key] for key in _REASONS if isinstance(members.get(key), str)), None)
    return {
        "name": next((members[key] for key in _NAMES if isinstance(members.get(key), str)), name),
        "status": status if isinstance(status, str) else None,
        "region": region.name,
        "created": created,
        "note": reason,
    }


def _members(record: Any) -> Mapping[str, Any]:
    """The members of a record, those of what Describe shows beside its own, and of its last version."""
    if isinstance(record, Mapping):
        return record
    names = getattr(record, "__dataclass_fields__", ()) or getattr(record, "__struct_fields__", ())
    own = {name: getattr(record, name) for name in (*names, *_NAMES[:1]) if hasattr(record, name)}
    shown, versions = own.get("shown"), own.get("versions")
    if isinstance(versions, Mapping) and versions:  # a guardrail: each of its versions is in a state
        own = {**_members(list(versions.values())[-1]), **own}
    return {**shown, **own} if isinstance(shown, Mapping) else own
