"""Callers with keys: who they are, which models they may call, and how much of them.

``Gate`` is what a server with ``--keys`` asks at three times: at a request's head, who calls; before a model is called,
whether the key may; when all is over, how much it was. Whoever has the server's API key, if there is one, is not
counted.

A key with a limit or a list of models calls models, and nothing else: what the account's control planes do (a batch
job, an endpoint) could not be counted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from awsllm.backend import UNLIMITED, AsyncBackend, Attempt
from awsllm.errors import AwsllmError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Use, cost
from awsllm.models.references import SCHEMES, Reference, parse_reference
from awsllm.policy.keys import Key, Keys
from awsllm.policy.usage import Grant, KeyUsage, Level, Spent
from awsllm.policy.watched import Watched
from awsllm.server.account.refusals import denied
from awsllm.server.exchanges import Exchange
from awsllm.server.http.auth import check_head, signer
from awsllm.server.http.signatures import UnauthenticatedError
from awsllm.server.mapping import bedrock_id
from awsllm.server.metrics import usage_of
from awsllm.server.retrieval import generator_id
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.surfaces.routes import find
from awsllm.server.work import Incoming, Models, Reply, Work
from awsllm.types import (
    ContentBlockDelta,
    ConverseRequest,
    CountTokensRequest,
    ReasoningDelta,
    Request,
    Streamed,
    TextDelta,
    ToolUseDelta,
    Usage,
)
from awsllm.types.retrieval import RetrieveAndGenerateRequest

E = TypeVar("E")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_CHARACTERS = 4  # of a token, where none are counted
_ANSWER = 512  # tokens that an answer is thought to have where the request does not say
_USAGE = "/usage"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: ``secret`` is what the request must show or be signed with, ``key`` is whose it is."""

    secret: str
    key: Key | None = None


class Gate:
    """``api_key`` is the server's own; ``region`` that in which AWS's models are priced. Safe to share between
    threads."""

    def __init__(self, api_key: str, keys: Watched[Keys], usage: KeyUsage, models: Models, region: str) -> None:
        self._api_key, self._keys, self._models = api_key, keys, models
        self.usage = usage
        self._counting = ThreadPoolExecutor(1, "awsllm-usage")
        self._knowledge = Knowledge({}, lambda: region)

    def close(self) -> None:
        """Once nothing is answered any more: what was used until then is counted first."""
        self._counting.shutdown()
        self.usage.close()

    # --- who calls ---------------------------------------------------------------------------------------------------

    def caller(self, head: Incoming) -> Caller:
        """Whom a request is from by its own word, which ``http.auth`` then checks against the secret. Raises
        ``UnauthenticatedError`` for a key that has ended."""
        keys, authorization = self._keys.value, head.headers.get("authorization", "")
        scheme, _, shown = authorization.partition(" ")
        secret: str | None = shown.strip() if scheme.lower() == "bearer" else head.headers.get("x-api-key", "")
        key = keys.shown(secret) if secret else None
        if key is None and (named := signer(head)):
            key = keys.signing(named)
            secret = key.secret if key is not None else None
        if key is None or secret is None:
            return Caller(self._api_key)
        if not key.is_valid(self.usage.now()):
            raise UnauthenticatedError(
                f"The key {key.id} has expired or was revoked.", code="AccessDeniedException", status=403
            )
        return Caller(secret, key)

    def check(self, key: Key, incoming: Incoming) -> None:
        """Raise ``AccessDeniedError`` for what a limited key is not for. Comes before the request is planned."""
        if key.is_limited and find(incoming) is None:
            raise denied(f"The key {key.id} is for calls of models alone.")

    def admit(self, key: Key, work: Work, incoming: Incoming) -> Grant | None:
        """What the call takes of the key's limits; None where no model is called. May wait for the database. Raises
        ``AccessDeniedError`` and ``ThrottlingError``."""
        if isinstance(work, Reply):
            return None
        request = _called(work.request)
        for one in (work.request, request) if work.request.model else (request,):
            names = [name for name in (one.model, one.family) if name is not None]
            if not any(map(key.allows, names)):
                raise denied(f"The key {key.id} may not call the model {one.model[:200]!r}.")
        if key.monthly_dollars is not None and self._unpriced(request):
            raise denied(
                f"No price is known for {request.model[:200]!r}, and the key {key.id} has a budget in dollars."
            )
        answer = getattr(getattr(request, "inference_config", None), "max_tokens", None) or _ANSWER
        return self.usage.admit(key, request.model, len(incoming.body) // _CHARACTERS + answer)

    def settle(self, grant: Grant, seen: Exchange) -> None:
        """Count what was used, in a moment: no tokens, if the call failed before it was answered."""
        self._counting.submit(self._settle, grant, seen)

    def _settle(self, grant: Grant, seen: Exchange) -> None:
        try:
            self.usage.settle(grant, self._spent(seen))
        except Exception:  # on a thread that nobody waits for
            _log.exception("a call of the key %s could not be counted", grant.key.id)

    # --- how much it was ---------------------------------------------------------------------------------------------

    def _spent(self, seen: Exchange) -> Spent:
        begun = seen.response is not None or seen.events
        if not begun and (seen.error is not None or seen.status):  # refused; else its caller left while it was computed
            return Spent(cost=0.0)
        if isinstance(seen.request, CountTokensRequest):
            return Spent(cost=0.0)
        used = usage_of(seen) or _sum(seen.within) or (Usage() if seen.response is not None else _estimated(seen))
        cached = (used.cache_read_input_tokens or 0) + (used.cache_write_input_tokens or 0)
        price = self._cost(seen, used)
        return Spent(input=used.input_tokens or 0, output=used.output_tokens or 0, cached=cached, cost=price)

    def _cost(self, seen: Exchange, used: Usage) -> float | None:
        if seen.request is None:
            return 0.0
        request = _called(seen.request)
        reference = self._reference(request)
        if reference.scheme == "local":
            return 0.0
        if seen.response is not None and request is seen.request:
            return self._knowledge.cost(reference, seen.response, request)
        tier = getattr(request, "service_tier", None)
        return cost(Use(usage=used, tier=tier.type if tier else None), self._knowledge.price(reference))

    def _unpriced(self, request: Request[Any]) -> bool:
        reference = self._reference(request)
        return reference.scheme != "local" and self._knowledge.price(reference) is None

    def _reference(self, request: Request[Any]) -> Reference:
        """What answers; a backend of another kind is priced as if it were Bedrock."""
        target = self._models.target(request) or request.model
        scheme = target.partition(":")[0]
        return parse_reference(target) if scheme in SCHEMES else Reference("bedrock", bedrock_id(target))


class Metered:
    """An ``AsyncBackend`` that notes what its models use for an exchange whose own answer has no tokens: what a
    knowledge base makes of its passages, what an agent says."""

    def __init__(self, inner: AsyncBackend, seen: Exchange) -> None:
        self._inner, self._seen = inner, seen

    async def ask(self, request: Request[R], attempt: Attempt = UNLIMITED) -> R:
        response = await self._inner.ask(request, attempt)
        usage = getattr(response, "usage", None)
        if isinstance(usage, Usage):
            self._seen.within.append(usage)
        return response

    def stream(self, request: Streamed[R, E], attempt: Attempt = UNLIMITED) -> AsyncIterator[E]:
        return self._inner.stream(request, attempt)

    async def close(self) -> None:
        await self._inner.close()


def _called(request: Request[Any]) -> Request[Any]:
    """The call of a model that a request comes to, by which it is priced: of an answer from a knowledge base, that of
    the model that writes it."""
    if isinstance(request, RetrieveAndGenerateRequest):
        return ConverseRequest(model=generator_id(request.generator), messages=())
    return request


def _sum(usages: Sequence[Usage]) -> Usage | None:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens")
    totals: dict[str, Any] = {name: sum(getattr(usage, name) or 0 for usage in usages) for name in names}
    return Usage(**totals) if usages else None


def _estimated(seen: Exchange) -> Usage:
    """What a stream used that was not read to its end, which alone would tell it."""
    deltas = [event.delta for event in seen.events if isinstance(event, ContentBlockDelta)]
    written = sum(
        len(delta.input if isinstance(delta, ToolUseDelta) else delta.text or "")
        for delta in deltas
        if isinstance(delta, (TextDelta, ToolUseDelta, ReasoningDelta))
    )
    read = math.ceil(len(seen.incoming.body) / _CHARACTERS)
    return Usage(input_tokens=read, output_tokens=math.ceil(written / _CHARACTERS))


# --- what a reply tells of it ----------------------------------------------------------------------------------------


def headers_of(grant: Grant, path: str) -> dict[str, str]:
    """What is left of the limits, in the words of the protocol that was spoken; AWS's has none."""
    if path.startswith(openai.PREFIXES):
        form, until = "x-ratelimit-{part}-{what}", _duration
    elif path.startswith(anthropic.PREFIXES):
        form, until = "anthropic-ratelimit-{what}-{part}", _instant
    else:
        return {}
    found: dict[str, str] = {}
    for what, level in (("requests", grant.requests), ("tokens", grant.tokens)):
        if level is not None:
            parts = {"limit": str(level.limit), "remaining": str(level.remaining), "reset": until(level)}
            found |= {form.format(part=part, what=what): value for part, value in parts.items()}
    return found


def _duration(level: Level) -> str:
    """As OpenAI writes it: ``6m0s``, ``1s``, ``12ms``."""
    if level.reset < 1:
        return f"{math.ceil(level.reset * 1000)}ms"
    minutes, rest = divmod(math.ceil(level.reset), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _instant(level: Level) -> str:
    return datetime.fromtimestamp(math.ceil(datetime.now(UTC).timestamp() + level.reset), UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )


class UsageRoute:
    """``GET /usage``: what the key that asks has used. An ``Extension``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def takes(self, head: Incoming) -> bool:
        """A bucket of S3 may have the name, too; its clients sign."""
        signed = head.headers.get("authorization", "").startswith("AWS4")
        return head.path == _USAGE and head.method == "GET" and not signed

    def admit(self, head: Incoming) -> None:
        check_head(self._gate.caller(head).secret, head)

    def plan(self, incoming: Incoming) -> Work:
        key = self._gate.caller(incoming).key
        rows = self._gate.usage.rows(key.id if key else None)
        wire: dict[str, Any] = {"usage": rows}
        if key is not None:
            tokens, dollars = self._gate.usage.month(key.id)
            names = ("requests_per_minute", "tokens_per_minute", "monthly_tokens", "monthly_dollars", "models")
            limits: Mapping[str, Any] = {name: getattr(key, name) for name in names}
            wire = {"key": key.id, "month": {"tokens": tokens, "dollars": dollars}, "limits": limits, **wire}
        return Reply(200, {"Content-Type": "application/json", "Cache-Control": "no-store"}, msgspec.json.encode(wire))

    def failure(self, error: AwsllmError) -> Reply:
        return openai.failure(error)
