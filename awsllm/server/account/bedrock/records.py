"""What the account's Bedrock resources share: identities, names, tags, client tokens, and how they become ready.

A record is a value that can be kept: plain data, times as seconds. What is found has been looked at: a change that is
due has ended. A change that fails (``Account.fail`` with the resource's name) leaves it in ``Failed``.
"""

from __future__ import annotations

import functools
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.refusals import conflict, missing, over_quota, too_many_tags
from awsllm.server.account.state import Wait, kept
from awsllm.server.account.tags import MOST_TAGS
from awsllm.types import JsonObject

_ID = string.ascii_lowercase + string.digits
_TOKENS, _MOST_TOKENS = "bedrock-client-token", 1000


@kept
@dataclass(slots=True)
class BedrockRecord:
    """A resource. ``request`` is what it was made from; ``shown`` what is shown of it beside that, and ``change`` what
    joins this when it is ``ready``, the status that follows ``wait``."""

    arn: str
    name: str
    request: JsonObject
    created: float
    modified: float
    status: str
    ready: str = ""
    wait: Wait | None = None
    reason: str | None = None
    shown: JsonObject = field(default_factory=dict)
    change: JsonObject = field(default_factory=dict)


def new_id() -> str:
    return "".join(secrets.choice(_ID) for _ in range(12))


def bedrock_arn(region: Region, kind: str, name: str | None = None) -> str:
    """The ARN of something of the account, with a new id or a ``name`` of its own."""
    return region.arn(kind, new_id() if name is None else name, service="bedrock")


def id_of(arn: str) -> str:
    return arn.rpartition("/")[2]


# --- keeping and finding ---------------------------------------------------------------------------------------------


def keep(region: Region, table: str, record: BedrockRecord, tags: Iterable[JsonObject] | None) -> None:
    region.state.tags[record.arn] = read_tags(tags)
    region.state.table(table)[record.arn] = record
    settle(region, record, look=False)


def find(region: Region, table: str, identifier: str, noun: str, *, look: bool = True) -> Any:
    """The record of that ARN, id or name. Raises Bedrock's refusal if there is none."""
    found = named(region, table, identifier)
    if found is None:
        raise missing(noun, identifier)
    settle(region, found, look=look)
    return found


def named(region: Region, table: str, identifier: str) -> Any:
    """The record or job of that ARN, id or name, as it is; None if there is none."""
    records = region.state.table(table)
    if identifier in records:
        return records[identifier]
    return next((one for arn, one in records.items() if identifier in (id_of(arn), one.name)), None)


def all_of(region: Region, table: str) -> list[Any]:
    records = list(region.state.table(table).values())
    for record in records:
        settle(region, record, look=False)
    return records


def refuse_taken(region: Region, table: str, name: str, noun: str) -> None:
    if any(record.name == name for record in region.state.table(table).values()):
        raise conflict(f"A {noun} with the name {name!r} already exists in this account and region.")


def refuse_full(region: Region, table: str, quota: str, noun: str) -> None:
    """Refuse one more than the account's quota of that name allows, if it has one."""
    most = region.account.quotas.get(quota)
    if most is not None and len(region.state.table(table)) >= most:
        raise over_quota(f"The account's quota of {most} for {noun} is exceeded.")


def forget(region: Region, table: str, record: BedrockRecord) -> None:
    region.state.table(table).pop(record.arn, None)
    region.state.tags.pop(record.arn, None)


def settle(region: Region, record: BedrockRecord, *, look: bool) -> None:
    """End the record's change if its time has come. A look counts, a list is none."""
    wait = record.wait
    if wait is None or (not look and wait.looks > 0) or not wait.look(region.now()):
        return
    record.wait, record.modified = None, region.now()
    record.reason = region.account.take_failure(record.name) or record.reason
    if record.reason is None:
        record.shown |= record.change
    record.status, record.change = ("Failed" if record.reason else record.ready), {}


# --- tags and tokens -------------------------------------------------------------------------------------------------


def read_tags(tags: Iterable[JsonObject] | None) -> dict[str, str]:
    found = {tag["key"]: tag["value"] for tag in tags or ()}
    if len(found) > MOST_TAGS:
        raise too_many_tags(MOST_TAGS)
    return found


def once(operation: Operation) -> Operation:
    """An operation that makes something: asked again with its client token, it gives what it gave."""

    @functools.wraps(operation)
    def perform(region: Region, request: JsonObject) -> JsonObject | None:
        token = request.get("clientRequestToken")
        if token is None:
            return operation(region, request)
        # Of the operation alone: each module calls its own ``_create``.
        key, asked = f"{operation.__module__}.{operation.__name__}/{token}", region.state.table(_TOKENS)
        if key in asked:
            if asked[key]["request"] != request:
                raise conflict("The client request token was used with another request.")
            before: JsonObject = asked[key]["response"]
            return before
        response = operation(region, request)
        if len(asked) >= _MOST_TOKENS:
            asked.pop(next(iter(asked)))
        asked[key] = {"request": request, "response": response}
        return response

    return perform
