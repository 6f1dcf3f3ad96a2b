"""The limits that Service Quotas knows of an account's Bedrock models, read when they are asked for.

Needs ``servicequotas:ListServiceQuotas`` and boto3. An account has hundreds of quotas; they come in pages of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import ConfigurationError
from awsllm.models import catalogue
from awsllm.models.geographies import geographies_at, geographies_of
from awsllm.models.quotas import Words, quota_values, quotas_of, words_of_id
from awsllm.models.references import Reference, parse_reference
from awsllm.policy.limiting.limits import Limits
from awsllm.types import Value

_SERVICE = "bedrock"


class QuotaLimits(Value, frozen=True, kw_only=True):
    """What Service Quotas says. ``limits`` are by model reference, ``unmapped`` the names of quotas of which it is not
    known which model they are of, or how it is called."""

    region: str
    limits: Mapping[str, Limits]
    unmapped: tuple[str, ...] = ()


class AccountQuotas:
    """The quotas of one account in one region."""

    def __init__(self, region: str, quotas: Iterable[tuple[str, float]]) -> None:
        self.region = region
        self._values, self._unused = quota_values(quotas)

    def limits(self, model: str) -> Limits | None:
        """Those of a Bedrock id; None where there is none."""
        found = quotas_of(model, self._values)
        return msgspec.convert(found, Limits) if found else None

    def all(self) -> QuotaLimits:
        """Those of all models that are known, under each id that can be called from the region."""
        limits: dict[str, Limits] = {}
        seen: set[Words] = set()
        places = geographies_at(self.region)
        for model in catalogue.ids():
            seen |= words_of_id(model)
            for name in (model, *(f"{place}.{model}" for place in places if place in geographies_of(model))):
                if found := self.limits(name):
                    limits[f"bedrock:{name}"] = found
        unknown = {words for _, _, words in self._values} - seen
        names = [f"{' '.join(words)} (no such model is known)" for words in sorted(unknown)]
        return QuotaLimits(region=self.region, limits=limits, unmapped=(*self._unused, *names))


def read_quotas(session: AwsSession) -> AccountQuotas:
    """Ask Service Quotas. Raises awsllm's errors, ``AccessDeniedError`` for whoever may not."""
    region = session.region
    if region is None:
        raise ConfigurationError("quotas are of a region, and none is configured: give region=…")
    with control.translated():
        pages = control.client("service-quotas", session).get_paginator("list_service_quotas")
        found = [quota for page in pages.paginate(ServiceCode=_SERVICE) for quota in page.get("Quotas", ())]
    return AccountQuotas(region, [(str(quota.get("QuotaName", "")), float(quota.get("Value", 0))) for quota in found])


def limits_from_quotas(
    models: Iterable[str] = (), *, region: str | None = None, profile: str | None = None, session: Any = None
) -> QuotaLimits:
    """The limits of ``models`` (references; by default all that are known) as Service Quotas has them, for
    ``Client(limits=…)``. ``region``, ``profile`` and ``session`` are as of a client."""
    wanted = [parse_reference(model) for model in models]
    account = read_quotas(AwsSession(region=region, profile=profile, session=session))
    found = account.all()
    if not wanted:
        return found
    limits = {str(one): own for one in wanted if (own := account.limits(_id(one))) is not None}
    return QuotaLimits(region=found.region, limits=limits, unmapped=found.unmapped)


def _id(reference: Reference) -> str:
    model = reference.model
    return model.rpartition("/")[2] if model.startswith("arn:") else model


class LazyQuotas:
    """The quotas of a client's regions, each read when a model there is first called; whoever may not read them learns
    what the service refuses, and the log says so once."""

    def __init__(self, session: Callable[[Reference], AwsSession]) -> None:
        self._session = session
        self._kept: dict[tuple[str | None, str | None], AccountQuotas | None] = {}

    def limits(self, reference: Reference, model: str) -> Limits | None:
        key = (reference.region, reference.role)
        if key not in self._kept:
            try:
                self._kept[key] = read_quotas(self._session(reference))
            except Exception as error:
                from awsllm import log

                self._kept[key] = None
                text = "quotas are not known (%s); the limits of models are learned from what is refused"
                log.logger("policy").warning(text, type(error).__name__)
        account = self._kept[key]
        return None if account is None else account.limits(model)
