"""Which limits a model is under, and the limiters of a process: all its clients that call a model as the same caller
are behind one quota, so they share a limiter."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.limiting.limited import LimitedModel
from awsllm.policy.limiting.limiter import Limiter
from awsllm.policy.limiting.limits import Limits
from awsllm.policy.limiting.quotas import LazyQuotas
from awsllm.policy.limiting.shared import LimitStore, SharedQuota
from awsllm.policy.limiting.stores import limit_store

_MOST = 256
_MOST_MODELS = 4096  # of a client
_limiters: OrderedDict[Hashable, Limiter] = OrderedDict()
_all: weakref.WeakSet[Limiter] = weakref.WeakSet()  # those too that went and are still used
_lock = threading.Lock()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for limiter in list(_all):
        limiter.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _limiter(key: Hashable, limits: Limits, name: str) -> Limiter:
    """The one of this process, or a new one; the least recently made go first."""
    with _lock:
        found = _limiters.get(key)
        if found is None:
            found = _limiters[key] = Limiter(limits, name)
            _all.add(found)
            while len(_limiters) > _MOST:
                _limiters.popitem(last=False)
        return found


def quota_name(reference: Reference, region: str | None, limits: Limits) -> str:
    """By which name a quota is counted where processes share it."""
    return limits.quota or "/".join(part for part in (reference.role, region, reference.model) if part)


class LimitsCaller:
    """Who calls, as far as a client's limits are concerned."""

    def __init__(
        self, scope: Hashable, region: Callable[[], str | None], session: Callable[[Reference], Any], prices: Knowledge
    ) -> None:
        self.scope, self.region, self.session, self.prices = scope, region, session, prices

    def place(self, reference: Reference) -> str | None:
        if reference.scheme == "local" or reference.region is not None:
            return reference.region
        try:
            return self.region()
        except ConfigurationError:  # none is configured
            return None

    def family(self, reference: Reference) -> str | None:
        """Which model an ARN is, if that was learned."""
        found: str | None = self.prices.identified(str(reference), {"family": None}).get("family")
        return found


class ClientLimits:
    """Those of one client: ``rows`` by references, names of the configuration and patterns, the first that fits; of
    other models those of Service Quotas, if that is to be asked. ``named`` gives the references that a name stands
    for."""

    def __init__(
        self,
        rows: Mapping[str, Limits],
        named: Callable[[str], Sequence[str] | None],
        caller: LimitsCaller,
        *,
        asks_quotas: bool = False,
    ) -> None:
        self._caller = caller
        self._exact: dict[str, Limits] = {}
        self._patterns: list[tuple[str, Limits]] = []
        self._models: dict[Reference, LimitedModel | None] = {}
        self._stores: dict[str, LimitStore] = {}
        self._quotas = LazyQuotas(caller.session) if asks_quotas else None
        for name, limits in rows.items():
            self._add(name, limits, named)

    def _add(self, name: str, limits: Limits, named: Callable[[str], Sequence[str] | None]) -> None:
        if any(sign in name for sign in "*?["):
            self._patterns.append((name, limits))
            return
        references = [name] if ":" in name else named(name)
        if references is None:
            raise ConfigurationError(
                f"limits of {name!r}: that is no model reference (bedrock:…), no alias or group of the configuration, "
                "and no pattern (bedrock:*claude*)"
            )
        for reference in references:
            self._exact.setdefault(str(parse_reference(reference)), limits)

    def of(self, reference: Reference) -> LimitedModel | None:
        """The model with its limiter; None: it is under no limits. It is the same each time."""
        try:
            return self._models[reference]
        except KeyError:
            if len(self._models) >= _MOST_MODELS:  # whoever names models at will pays for it with what is known of them
                self._models.clear()
            found = self._models[reference] = self._made(reference)
            return found

    def _made(self, reference: Reference) -> LimitedModel | None:
        limits = self.limits_of(reference)
        asks = limits is None and self._quotas is not None and reference.scheme == "bedrock"
        if asks:
            limits = Limits()
        if limits is None:
            return None
        region = self._caller.place(reference)
        family = self._caller.family(reference)
        burndown = profile(reference.scheme, reference.model, family).burndown
        model = LimitedModel(reference, region, self._limiter_of(reference, region, limits), burndown)
        if asks:
            model.pending = lambda: self._look_up(model)
        self._share(model)
        return model

    def limits_of(self, reference: Reference) -> Limits | None:
        """What is said of a model; None: nothing."""
        texts = (str(reference), reference.anywhere)
        for text in texts:
            if text in self._exact:
                return self._exact[text]
        for pattern, limits in self._patterns:
            if any(fnmatchcase(text, pattern) for text in texts):
                return limits
        return None

    def _limiter_of(self, reference: Reference, region: str | None, limits: Limits) -> Limiter:
        name = limits.quota or f"{region}/{reference.model}" if region else limits.quota or reference.model
        key = (self._caller.scope, reference.scheme, reference.role, name, repr(limits))
        return _limiter(key, limits, limits.quota or str(reference))

    def _look_up(self, model: LimitedModel) -> None:
        """Put the model under the quotas that Service Quotas has of it."""
        model.pending = None
        reference = model.reference
        limits = None if self._quotas is None else self._quotas.limits(reference, reference.model)
        if limits is not None:
            model.limiter = self._limiter_of(reference, model.region, limits)

    def _share(self, model: LimitedModel) -> None:
        place = model.limiter.limits.shared
        if place is None:
            return
        if place not in self._stores:
            self._stores[place] = limit_store(place)
        reference = model.reference
        name = quota_name(reference, model.region, model.limiter.limits)
        model.shared = SharedQuota(self._stores[place], name, model.limiter)

    def state(self) -> dict[str, Any]:
        """What is in use of each model that was called, by reference."""
        return {str(reference): model.limiter.state() for reference, model in self._models.items() if model is not None}

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
