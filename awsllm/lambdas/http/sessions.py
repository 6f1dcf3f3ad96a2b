"""Conversations, kept in a DynamoDB table between invocations.

A conversation is one item, under the key ``id`` (a text): a digest of its owner, ``#``, and the session's own id. So a
session belongs to the caller whom the front door authenticated, and another's is not to be found, whoever knows its id.
Behind a door that authenticates nobody all callers are one, and the id alone keeps a session apart: it has 144 random
bits and is made here, never by a caller.

Turns are kept whole, thinking and media included, as compressed JSON in ``messages``. ``version`` counts them: who
saves says which version he has read, and of two turns that were answered at once only one is kept. ``expires`` is the
table's time-to-live attribute, set anew by each turn; DynamoDB deletes within days, so what has expired is not read
either. An item of DynamoDB has at most 400 KB (amazondynamodb/latest/developerguide/ServiceQuotas).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import zlib
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from awsllm.aws.dynamodb import CONDITION_FAILED, ItemTable
from awsllm.aws.rpc import RefusedError, Rpc
from awsllm.lambdas import settings
from awsllm.lambdas.http.conversation import KeptConversation
from awsllm.lambdas.http.failures import Refusal
from awsllm.types import Message

MAX_BYTES = 400 * 1024 - 1024
"""What a conversation may take in its item, beside the other attributes."""

_DAY = 86_400
_PATIENCE = 5.0  # seconds for the table: a call takes milliseconds, and the caller waits
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_NOT_FOUND = "there is no such session, or it is not yours, or it has expired: leave 'session' out to begin one"
_TOO_LONG = "this session is full: a conversation has at most 400 KB, compressed; begin another"


class Sessions:
    """The conversations of one table. Safe to share between threads."""

    def __init__(self, table: ItemTable, days: int, *, clock: Callable[[], float] = time.time) -> None:
        self._table, self._days, self._clock = table, days, clock

    @classmethod
    def of_environment(cls) -> Sessions | None:
        """Those of AWSLLM_SESSIONS_TABLE; None where none are kept."""
        name = settings.text("AWSLLM_SESSIONS_TABLE")
        if name is None:
            return None
        from awsllm.aws.session import AwsSession

        return cls(ItemTable(name, Rpc(AwsSession()), timeout=_PATIENCE), settings.whole("AWSLLM_SESSION_DAYS") or 30)

    def begin(self, owner: str | None) -> KeptConversation:
        """A new session. Nothing is written before it has a turn."""
        return KeptConversation(secrets.token_urlsafe(18), owner)

    def load(self, session: str, owner: str | None) -> KeptConversation:
        """The caller's session. Raises a ``Refusal`` (404) where there is none of that id that is his."""
        if not _ID.fullmatch(session):
            raise Refusal(404, _NOT_FOUND)
        item = self._table.get(_key(session, owner))
        if item is None or item.get("expires", 0) <= self._clock():
            raise Refusal(404, _NOT_FOUND)
        packed = item["messages"]
        return KeptConversation(session, owner, item["version"], _unpacked(packed), len(packed))

    def check_room(self, conversation: KeptConversation, messages: Sequence[Message]) -> None:
        """Raises a ``Refusal`` (413) where not even the question finds room: before a model is asked, and paid."""
        if conversation.size + len(_packed(messages)) > MAX_BYTES:
            raise Refusal(413, _TOO_LONG)

    def save(self, conversation: KeptConversation, messages: Sequence[Message]) -> KeptConversation:
        """Keep the conversation with ``messages`` added. Raises a ``Refusal``: 409 where it was saved meanwhile, 413
        where it has grown too long."""
        whole = (*conversation.messages, *messages)
        packed = _packed(whole)
        if len(packed) > MAX_BYTES:
            raise Refusal(413, _TOO_LONG)
        now, version = int(self._clock()), conversation.version + 1
        times = {"updated": now, "expires": now + self._days * _DAY}
        item = {**_key(conversation.id, conversation.owner), "version": version, "messages": packed, **times}
        try:
            if conversation.version == 0:
                self._table.put(item, condition="attribute_not_exists(id)")
            else:
                self._table.put(
                    item,
                    condition="#version = :version",
                    names={"#version": "version"},
                    values={":version": conversation.version},
                )
        except RefusedError as error:
            if error.code != CONDITION_FAILED:
                raise
            there = self._table.get(_key(conversation.id, conversation.owner)) or {}
            if (there.get("version"), there.get("messages")) == (version, packed):  # ours: its answer was lost
                return replace(conversation, version=version, messages=whole, size=len(packed))
            raise Refusal(409, "the session went on meanwhile: send one turn at a time") from error
        return replace(conversation, version=version, messages=whole, size=len(packed))

    def close(self) -> None:
        """Close idle connections."""
        self._table.close()

    def forget(self, session: str, owner: str | None) -> None:
        """Delete the caller's session, if there is one of that id that is his."""
        if _ID.fullmatch(session):
            self._table.delete(_key(session, owner))


def _key(session: str, owner: str | None) -> dict[str, str]:
    """Owners are digested: their names are of any length, and no business of who reads the table."""
    digest = hashlib.sha256((owner or "").encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return {"id": f"{digest}#{session}"}


def _packed(messages: Sequence[Message]) -> bytes:
    return zlib.compress(msgspec.json.encode(tuple(messages)))


def _unpacked(packed: bytes) -> tuple[Message, ...]:
    return msgspec.json.decode(zlib.decompress(packed), type=tuple[Message, ...])
