"""What a user says of the quotas that a client is behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.types import Value

_COUNTS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day")


class Limits(Value, frozen=True, kw_only=True):
    """The quotas of one model. What is None is not known, and learned from what the service refuses (``adaptive``).

    ``share`` is the part of them that this client may use, where others have the rest. ``weights`` say how much of a
    quota that is short each tenant gets beside the others, 1 where nothing is said. ``max_wait`` bounds, in seconds,
    how long a call waits that has no deadline. ``burndown`` is how many tokens of the quota one token of the answer
    takes; unset, what AWS says of the model. Models with the same ``quota`` use one together. ``shared`` is where it is
    counted for several processes: redis://…, dynamodb:TABLE, or a file's path.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    share: float = 1.0
    adaptive: bool = True
    weights: Mapping[str, float] = MappingProxyType({})
    max_wait: float = 600.0
    burndown: int | None = None
    quota: str | None = None
    shared: str | None = None

    def __post_init__(self) -> None:
        for name in (*_COUNTS, "burndown"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name} is {value!r:.40}; it is a whole number of at least 1")
        _check_number("share", self.share, most=1.0)
        _check_number("max_wait", self.max_wait, most=math.inf)
        for name in ("quota", "shared"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise ConfigurationError(f"{name} is {value!r:.40}; it is a text that is not empty")
        if "://" in (self.shared or "")[2:] and not str(self.shared).startswith(("redis://", "rediss://")):
            raise ConfigurationError(f"shared is {self.shared!r:.80}; it is redis://…, dynamodb:TABLE or a file's path")
        if not isinstance(self.weights, Mapping):
            raise ConfigurationError(f"weights are numbers by tenant, not a {type(self.weights).__name__}")
        for tenant, weight in self.weights.items():
            _check_number(f"weights[{tenant!r:.40}]", weight, most=math.inf)

    def count(self, name: str) -> int | None:
        """A quota's part that is this client's."""
        value: int | None = getattr(self, name)
        return value if value is None or self.share == 1.0 else max(1, int(value * self.share))


def _check_number(name: str, value: Any, *, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        bound = "" if math.isinf(most) else f" and at most {most:g}"
        raise ConfigurationError(f"{name} is {value!r:.40}; it is a number above 0{bound}")


def checked_limits(given: Any) -> tuple[dict[str, Limits], bool]:
    """``Client(limits=…)``: limits by models, and whether Service Quotas says those of the others (``"quotas"``)."""
    if given is None or given == "quotas":
        return {}, given is not None
    if isinstance(given, Limits):
        return {"*": given}, False
    if not isinstance(given, Mapping):
        raise ConfigurationError(f'limits are Limits by model, or "quotas", not a {type(given).__name__}')
    for name, limits in given.items():
        if not isinstance(name, str) or not isinstance(limits, Limits):
            raise ConfigurationError(f"the limits of {name!r:.80} are {limits!r:.40}; give awsllm.Limits(…)")
    return dict(given), False
