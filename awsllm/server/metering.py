"""What callers' keys may, and how much each call was: one path for the server's ``gate`` and the Lambda gateway.

A ``Meter`` is asked three times of a call: who shows this secret, may this key ask for that, and how much was it. It
does no more than that, so that it loads neither an account nor botocore.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, ServerError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Use, cost
from awsllm.models.references import SCHEMES, Reference, parse_reference
from awsllm.policy.keys import Key, KeyStore
from awsllm.policy.limits import Grant, Level, Spent, StoppedError, UsageStore
from awsllm.server.account.refusals import UnauthenticatedError, denied
from awsllm.server.exchanges import Exchange, usage_of
from awsllm.server.mapping import bedrock_id, generator_id
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.work import Incoming, Models, Reply, Work
from awsllm.types import (
    ContentBlockDelta,
    ConverseRequest,
    CountTokensRequest,
    ReasoningDelta,
    Request,
    TextDelta,
    ToolUseDelta,
    Usage,
)

_CHARACTERS = 4  # of a token, where none are counted
_ANSWER = 512  # tokens that an answer is thought to have where the request does not say


class Meter:
    """``region`` is that in which AWS's models are priced. Safe to share between threads. May wait for where keys and
    their use are kept; where that cannot be reached, nobody is let in."""

    def __init__(self, keys: KeyStore, usage: UsageStore, models: Models, region: str) -> None:
        self.keys, self.usage, self._models = keys, usage, models
        self._knowledge = Knowledge({}, lambda: region)

    def shown(self, headers: Mapping[str, str]) -> tuple[Key | None, str]:
        """The key whose secret the headers show, and that secret. Raises ``UnauthenticatedError`` for a key that has
        ended."""
        secret = secret_of(headers)
        with _reached():
            key = self.keys.shown(secret) if secret else None
        return (None if key is None else self.valid(key)), secret

    def signing(self, id: str) -> Key | None:
        """The key with this id, by which a signature can be verified. Raises as ``shown`` does."""
        with _reached():
            key = self.keys.signing(id)
        return None if key is None else self.valid(key)

    def valid(self, key: Key) -> Key:
        """The key, if it has not ended; else ``UnauthenticatedError``."""
        if not key.is_valid(self.usage.now()):
            raise UnauthenticatedError(
                f"The key {key.id} has expired or was revoked.", code="AccessDeniedException", status=403
            )
        return key

    def check_running(self, key: Key) -> None:
        """Raise ``StoppedError`` where whoever runs this has stopped everybody, or this key."""
        with _reached():
            everybody = self.keys.stopped
        if everybody or key.stopped:
            raise stopped(f"Calls of the key {key.id} are" if not everybody else "All calls are")

    def admit(self, key: Key, work: Work, incoming: Incoming) -> Grant | None:
        """What the call takes of the key's limits; None where no model is called. Raises ``AccessDeniedError`` and
        ``ThrottlingError``."""
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
        with _reached():
            return self.usage.admit(key, request.model, len(incoming.body) // _CHARACTERS + answer)

    def settle(self, grant: Grant, seen: Exchange) -> Spent:
        """Count what was used: no tokens, if the call failed before it was answered."""
        spent = self._spent(seen)
        self.usage.settle(grant, spent)
        return spent

    def told(self, key: Key | None) -> Reply:
        """What a key has used, and what it may; None: what all have."""
        with _reached():
            wire: dict[str, Any] = {"usage": self.usage.rows(key.id if key else None)}
            if key is not None:
                tokens, dollars = self.usage.month(key.id)
                names = ("requests_per_minute", "tokens_per_minute", "monthly_tokens", "monthly_dollars", "models")
                limits = {name: getattr(key, name) for name in names}
                wire = {"key": key.id, "month": {"tokens": tokens, "dollars": dollars}, "limits": limits, **wire}
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return Reply(200, headers, msgspec.json.encode(wire))

    def close(self) -> None:
        """Once nothing is counted any more."""
        self.usage.close()
        self.keys.close()

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
        made = getattr(seen.response, "attempts", ())  # by which a group tells who of it answered
        answered = [parse_reference(made[-1].model)] if made else self._references(request)
        costs = [self._cost_of(reference, request, seen, used) for reference in answered]
        known = [cost for cost in costs if cost is not None]
        return max(known) if known else None

    def _cost_of(self, reference: Reference, request: Request[Any], seen: Exchange, used: Usage) -> float | None:
        if reference.scheme == "local":
            return 0.0
        if seen.response is not None and request is seen.request:
            return self._knowledge.cost(reference, seen.response, request)
        tier = getattr(request, "service_tier", None)
        return cost(Use(usage=used, tier=tier.type if tier else None), self._knowledge.price(reference))

    def _unpriced(self, request: Request[Any]) -> bool:
        return any(
            reference.scheme != "local" and self._knowledge.price(reference) is None
            for reference in self._references(request)
        )

    def _references(self, request: Request[Any]) -> list[Reference]:
        """What may answer: of a group any member, of which the dearest is counted where nothing tells who did. A
        backend of another kind is priced as if it were Bedrock."""
        return [
            parse_reference(target) if target.partition(":")[0] in SCHEMES else Reference("bedrock", bedrock_id(target))
            for target in self._models.answering(request) or (request.model,)
        ]


def secret_of(headers: Mapping[str, str]) -> str:
    """What a request shows as its key: a bearer token, or ``x-api-key``. Empty where it shows none."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def stopped(what: str) -> StoppedError:
    """``what`` is whose calls are stopped, with its verb."""
    message = f"{what} stopped by whoever runs this gateway. Nothing is wrong with the request; try again later."
    return StoppedError(message, code="ServiceUnavailableException", status=503)


@contextmanager
def _reached() -> Iterator[None]:
    """Where keys and their use are kept concerns whoever runs this, and no caller."""
    try:
        yield
    except AwsllmError as error:
        if error.backend is None:
            raise
        raise ServerError(
            "Keys and limits cannot be looked up at the moment. Try again.",
            code="ServiceUnavailableException",
            status=503,
        ) from error


def _called(request: Request[Any]) -> Request[Any]:
    """The call of a model that a request comes to, by which it is priced: of an answer from a knowledge base, that of
    the model that writes it."""
    if type(request).operation != "retrieve_and_generate":
        return request
    generator: Any = getattr(request, "generator", "")
    return ConverseRequest(model=generator_id(generator), messages=())


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
