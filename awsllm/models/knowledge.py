"""What a client knows of its models beside their profiles: which one an opaque ARN is, what calls cost, when one ends.

The one thing here that does I/O is ``learn``, through what it is given for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar, cast

from awsllm.errors import ConfigurationError
from awsllm.models import catalogue
from awsllm.models.prices import Price, Use, cost, plain_cost
from awsllm.models.references import Reference, parse_reference
from awsllm.types import ConverseResponse, Request

if TYPE_CHECKING:
    from awsllm.types.reranking import RerankRequest

Options = TypeVar("Options", bound=Mapping[str, Any])

# After so many seconds an ARN whose model could not be found out is asked about anew.
_ASK_AGAIN = 300.0
# What a reranker's request covers (aws.amazon.com/bedrock/pricing, Rerank): 100 documents of 500 tokens, the query's
# among them; a longer one counts as several. Tokens are not known before the call: four characters are taken as one.
_DOCUMENTS_A_QUERY = 100
_CHARACTERS_A_DOCUMENT = 2000


class Knowledge:
    """One client's.

    ``prices`` are the caller's own, by reference, and go before the shipped ones. ``region`` says where
    calls go whose reference does not, ``ask`` asks the control plane which model an opaque ARN is: for its family, or
    None and a warning that says why. Safe to share between threads.
    """

    def __init__(
        self,
        prices: Mapping[str, Price] | None = None,
        region: Callable[[], str | None] | None = None,
        ask: Callable[[Reference], tuple[str | None, str | None]] | None = None,
    ) -> None:
        self._prices = dict(prices or {})
        self._region = region or (lambda: None)
        self._ask = ask
        self._asking: dict[str, threading.Lock] = {}
        self._learned: dict[str, tuple[str | None, str | None, float]] = {}
        self._found: dict[tuple[Reference, str | None], Price | None] = {}

    # --- which model an ARN is ---

    def needs_asking(self, model: str, options: Mapping[str, Any]) -> bool:
        """Whether only the control plane can say which model this is."""
        name = _opaque(model)
        if name is None or self._ask is None or options.get("family"):
            return False
        found = self._learned.get(name)
        return found is None or (found[0] is None and time.monotonic() > found[2])

    def learn(self, model: str) -> None:
        """Ask which model an ARN is, and keep the answer."""
        reference = parse_reference(model)
        # Many threads may begin with the same ARN; who asks about another does not wait for an answer that hangs.
        with self._asking.setdefault(reference.model, threading.Lock()):
            if self._ask is not None and self.needs_asking(model, {}):
                self._learned[reference.model] = (*self._ask(reference), time.monotonic() + _ASK_AGAIN)

    def gave_up(self, model: str) -> None:
        """What a caller is warned of whose timeout the answer outlasted; the next call asks again, or has it then."""
        name = parse_reference(model).model
        warning = f"which model {name} is was not known in time; it was called without knowing what it can do"
        self._learned.setdefault(name, (None, f"{warning}: say it with family=", time.monotonic()))

    def identified(self, model: str, options: Options) -> Options:
        """A call's options with the family that was learned of an ARN, unless the caller gives one."""
        name = _opaque(model)
        found = self._learned.get(name) if name else None
        if found is None or found[0] is None or options.get("family"):
            return options
        return cast("Options", {**options, "family": found[0]})

    # --- what a response gets from it ---

    def warnings(self, reference: Reference, family: str | None) -> tuple[str, ...]:
        """What a caller of a Bedrock model must know: that its ARN could not be looked up, that it comes to its end."""
        if reference.scheme != "bedrock":
            return ()
        model = reference.model
        unknown = self._learned[model][1] if not family and model in self._learned else None
        ending = catalogue.lifecycle_warning(family or model, _date(int(time.time()) // _DAY))
        return tuple(warning for warning in (unknown, ending) if warning)

    def price(self, reference: Reference, family: str | None = None) -> Price | None:
        """What calls of a model cost: the caller's price of it, else the shipped one."""
        try:
            return self._found[reference, family]
        except KeyError:  # one look a model: a program names few, and each of its answers is priced
            found = self._found[reference, family] = self._look_up(reference, family)
            return found

    def _look_up(self, reference: Reference, family: str | None) -> Price | None:
        if own := self._prices.get(str(reference)) or self._prices.get(reference.anywhere):
            return own
        model = reference.model
        if reference.scheme != "bedrock":
            return None
        if _opaque(model):
            from awsllm.models.opaque import priced_as_its_model

            if not family or not priced_as_its_model(model):
                return None
            model = family
        region = reference.region
        if region is None and catalogue.is_priced_by_region(model):
            with suppress(ConfigurationError):  # none is configured
                region = self._region()
        return catalogue.price(model, region)

    def cost(
        self, reference: Reference, response: Any, request: Request[Any] | None, *, turns: int = 1
    ) -> float | None:
        """US dollars, None when a price or a count that matters is unknown; a local model costs nothing, nor does what
        a cache answered. ``turns`` is how many answers the response's usage may be the sum of."""
        price = self.price(reference, None if request is None else request.family)
        return cost_at(price, response, request, turns=turns, is_local=reference.scheme == "local")


def cost_at(
    price: Price | None, response: Any, request: Request[Any] | None, *, turns: int = 1, is_local: bool = False
) -> float | None:
    """``Knowledge.cost`` of a model at its price."""
    if type(response) is ConverseResponse:
        if turns == 1 and response.from_cache is not None:
            return 0.0
        if price is None:
            return 0.0 if is_local else None
        usage = response.usage
        if usage.output_tokens is None:
            return None
        if (
            turns == 1
            and response.service_tier is None
            and response.performance_config is None
            and getattr(request, "service_tier", None) is None
            and getattr(request, "performance_config", None) is None
        ):  # nothing of how the answer was served has rates of its own, as of most
            return plain_cost(usage, price)
    elif turns == 1 and getattr(response, "from_cache", None) is not None:
        return 0.0
    elif price is None:
        return 0.0 if is_local else None
    return cost(_use(response, request, price, summed=turns > 1), price)


_DAY = 86_400


@lru_cache(maxsize=2)
def _date(day: int) -> str:
    """A day since 1970, as ISO writes it."""
    return time.strftime("%Y-%m-%d", time.gmtime(day * _DAY))


def _opaque(model: Any) -> str | None:
    """The ARN of a Bedrock model that does not say which it is; plain ids, the common case, pay one look."""
    if isinstance(model, str) and "arn:" not in model:
        return None
    from awsllm.models.opaque import opaque_kind

    reference = parse_reference(model)
    return reference.model if reference.scheme == "bedrock" and opaque_kind(reference.model) else None


def _use(response: Any, request: Request[Any] | None, price: Price, *, summed: bool) -> Use:
    usage = getattr(response, "usage", None)
    if isinstance(response, ConverseResponse):
        tier = response.service_tier or getattr(request, "service_tier", None)
        performance = response.performance_config or getattr(request, "performance_config", None)
        return Use(
            usage=usage,
            tier=tier.type if tier else None,
            latency=performance.latency if performance else None,
            summed=summed,
        )
    from awsllm.types.media import ImageResponse  # what is not chat is loaded when there is some
    from awsllm.types.reranking import RerankRequest

    if isinstance(response, ImageResponse):
        return Use(images=sum(image.error is None for image in response.images))
    if isinstance(request, RerankRequest) and price.query is not None:
        return Use(queries=rerank_queries(request))
    return Use(usage=usage)


def rerank_queries(request: RerankRequest) -> int:
    """How many requests a reranker is paid for."""
    chunks = sum(
        max(1, ceil((len(request.query) + len(document)) / _CHARACTERS_A_DOCUMENT)) for document in request.documents
    )
    return ceil(chunks / _DOCUMENTS_A_QUERY)
