"""What comes of a fine-tuning, wherever it ran."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from awsllm.errors import ConfigurationError
from awsllm.types import Value

Where: TypeAlias = Literal["local", "bedrock", "sagemaker"]


class FineTunedModel(Value, frozen=True, kw_only=True):
    """A model that was trained. ``reference`` is what calls take; it is None where nothing serves the model yet, and
    then ``model`` raises what to do. ``artifacts`` is where its files are: a folder, an ``s3://`` URI, or the ARN of a
    custom model. ``adapter`` is a folder in peft's form, where that is what was trained."""

    name: str
    base: str
    where: Where
    reference: str | None = None
    artifacts: str | None = None
    adapter: str | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    seconds: float | None = None
    serve: str = ""
    """How to have it served, where it is not."""

    @property
    def model(self) -> str:
        """The reference that ``converse`` takes. Raises ``ConfigurationError`` where nothing serves the model."""
        if self.reference is None:
            raise ConfigurationError(f"nothing serves {self.name} yet: {self.serve}")
        return self.reference
