"""What an instance costs an hour: a dated table that can be replaced.

The table, ``prices.json`` beside this file, holds on-demand prices of SageMaker real-time hosting, in US dollars. AWS
publishes them in its Price List, which asks for rights of its own and answers with megabytes; a table is there at once
and in a plan that makes no call. It is made of sheets, each with a source and a date; the first sheet that knows an
instance type in a region gives its price. What no sheet knows has no price rather than a guess.

Another table of the same form takes its place by ``AWSLLM_PRICES``, a file's path, or ``Prices.load``::

    {"sheets": [{"region": "eu-west-1", "as_of": "2026-11-01", "source": "our contract",
                 "per_hour": {"ml.g5.xlarge": 1.3}}]}
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.types import Value

VARIABLE = "AWSLLM_PRICES"


class Sheet(Value, frozen=True, kw_only=True):
    """Prices of one region from one source: US dollars an hour by instance type. ``as_of`` is the day on which they
    were read: YYYY-MM-DD, or as much of it as is known."""

    region: str
    as_of: str
    source: str
    per_hour: dict[str, float]


class Prices(Value, frozen=True, kw_only=True):
    """The table; ``prices.json`` unless another is given."""

    sheets: tuple[Sheet, ...]

    @classmethod
    def default(cls) -> Prices:
        """The table that ``AWSLLM_PRICES`` names, else the package's own."""
        return _load(os.environ.get(VARIABLE) or str(Path(__file__).with_name("prices.json")))

    @classmethod
    def load(cls, path: str | Path) -> Prices:
        """The table in a file; ``ConfigurationError`` where it is none."""
        return _load(str(Path(path).expanduser()))

    @property
    def as_of(self) -> str:
        """The day of the oldest sheet: no figure is older."""
        return min((sheet.as_of for sheet in self.sheets), default="")

    @property
    def source(self) -> str:
        return "; ".join(dict.fromkeys(sheet.source for sheet in self.sheets))

    def per_hour(self, instance_type: str, region: str) -> float | None:
        """US dollars for an hour of one instance; None where the table does not know."""
        sheet = self.sheet(instance_type, region)
        return sheet.per_hour[instance_type] if sheet is not None else None

    def sheet(self, instance_type: str, region: str) -> Sheet | None:
        """Where the price stands, with its own date and source."""
        known = (sheet for sheet in self.sheets if sheet.region == region and instance_type in sheet.per_hour)
        return next(known, None)


@functools.lru_cache(maxsize=4)
def _load(path: str) -> Prices:
    try:
        return msgspec.json.decode(Path(path).expanduser().read_bytes(), type=Prices)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(
            f"{path} is not a table of prices: {error}; it has the form "
            '{"sheets": [{"region", "as_of", "source", "per_hour": {INSTANCE_TYPE: DOLLARS}}]}'
        ) from error
