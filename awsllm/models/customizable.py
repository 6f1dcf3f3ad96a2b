"""Which foundation models Bedrock customises, in which ways, and what its jobs take. Data.

Source: docs.aws.amazon.com/bedrock/latest/userguide/custom-model-fine-tuning.html (its table of models), and of its
earlier version custom-model-supported.html what was continued in pre-training; read 2026-11-26. Prices have sources of
their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from awsllm.models.references import without_geography

_FINE_TUNED = (
    *("amazon.nova-2-lite-v1:0", "amazon.nova-canvas-v1:0", "amazon.nova-lite-v1:0", "amazon.nova-micro-v1:0"),
    *("amazon.nova-pro-v1:0", "amazon.titan-embed-image-v1", "amazon.titan-image-generator-v1"),
    *("amazon.titan-image-generator-v2:0", "amazon.titan-text-express-v1", "amazon.titan-text-lite-v1"),
    *("amazon.titan-text-premier-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
    *("meta.llama3-1-70b-instruct-v1:0", "meta.llama3-1-8b-instruct-v1:0", "meta.llama3-2-11b-instruct-v1:0"),
    *("meta.llama3-2-1b-instruct-v1:0", "meta.llama3-2-3b-instruct-v1:0", "meta.llama3-2-90b-instruct-v1:0"),
    "meta.llama3-3-70b-instruct-v1:0",
)
_PRE_TRAINED = ("amazon.titan-text-express-v1", "amazon.titan-text-lite-v1")


def customizations(model: str) -> tuple[str, ...]:
    """The service's words for the ways; none for a model that is taken as it is. A version and a window behind the id
    (``:0:300k``) name another of the same model."""
    name = without_geography(model)
    fine = ("FINE_TUNING",) if name.startswith(_FINE_TUNED) else ()
    return (*fine, *(("CONTINUED_PRE_TRAINING",) if name.startswith(_PRE_TRAINED) else ()))


# --- what a job of each model takes ----------------------------------------------------------------------------------


class Customizing(NamedTuple):
    """``form`` is the form of the data (``jobs.data.written``), ``bounds`` are those of the hyperparameters: least and
    most, by the service's names; none are known of a model that is not in the table. ``epochs`` and ``learning_rate``
    are the service's own, where none is given; 0 where that is not known, or a multiplier of it is given in its place.
    """

    form: Literal["conversation", "pairs", "anthropic"]
    bounds: Mapping[str, tuple[float, float]] = {}
    epochs: int = 2
    learning_rate: float = 0.0


_LLAMA = Customizing("pairs", {"epochCount": (1, 10), "batchSize": (1, 1), "learningRate": (5e-6, 0.1)}, 5, 1e-4)
_ROWS: tuple[tuple[str, Customizing], ...] = (
    ("amazon.nova-canvas-", Customizing(
        "pairs", {"batchSize": (8, 192), "stepCount": (10, 20_000), "learningRate": (1e-7, 1e-4)}, learning_rate=1e-5
    )),
    ("amazon.nova-2-", Customizing("conversation", learning_rate=1e-5)),
    ("amazon.nova-", Customizing(
        "conversation",
        {"epochCount": (1, 5), "learningRate": (1e-6, 1e-4), "learningRateWarmupSteps": (0, 100)},
        learning_rate=1e-5,
    )),
    ("anthropic.claude-3-", Customizing("anthropic", {
        "epochCount": (1, 10),
        "batchSize": (4, 256),
        "learningRateMultiplier": (0.1, 2),
        "earlyStoppingThreshold": (0, 0.1),
        "earlyStoppingPatience": (1, 10),
    })),
    ("amazon.titan-text-premier", Customizing("pairs", {
        "epochCount": (1, 5), "batchSize": (1, 1), "learningRate": (1e-7, 1e-5), "learningRateWarmupSteps": (0, 20),
    }, learning_rate=1e-6)),
    ("amazon.titan-text-", Customizing("pairs", {
        "epochCount": (1, 10), "batchSize": (1, 64), "learningRate": (0, 1), "learningRateWarmupSteps": (0, 250),
    }, 5, 1e-5)),
    ("amazon.titan-image-generator-v1", Customizing(
        "pairs", {"batchSize": (8, 192), "stepCount": (10, 40_000), "learningRate": (1e-7, 1)}, learning_rate=1e-5
    )),
    ("amazon.titan-embed-image-v1", Customizing(
        "pairs", {"epochCount": (1, 100), "batchSize": (256, 9_216), "learningRate": (5e-8, 1)}, learning_rate=5e-5
    )),
    ("meta.llama3-1-", _LLAMA),
    ("meta.llama3-2-", _LLAMA),
    ("", Customizing("pairs")),
)  # fmt: skip
"""By how ids begin; the first that fits. Source: docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp, all its
tables; read 2026-11-27. Nova 2's, Llama 3.3's and a new model's bounds are the service's to say."""
_FRACTIONS = frozenset(("learningRate", "learningRateMultiplier", "earlyStoppingThreshold", "evalPercentage"))
_CHOSEN = frozenset(("epochCount", "stepCount"))  # which the service chooses by "auto", of models of images


def customizing(model: str) -> Customizing:
    """What a customisation job of a foundation model takes."""
    name = without_geography(model)
    return next(row for start, row in _ROWS if name.startswith(start))


def hyperparameter_fault(name: str, given: object, bounds: Mapping[str, tuple[float, float]]) -> str | None:
    """What is wrong with a hyperparameter; nothing where no bounds are known."""
    if not bounds:
        return None
    if name not in bounds:
        return f"{name} is none of {', '.join(sorted(bounds))}"
    if name in _CHOSEN and str(given).lower() == "auto":
        return None
    try:
        value = float(str(given))
    except ValueError:
        return f"{name}={str(given)[:40]!r} is no number"
    least, most = bounds[name]
    if not least <= value <= most:  # nor is nan
        return f"{name}={value:g} is not from {least:g} to {most:g}"
    return None if name in _FRACTIONS or value.is_integer() else f"{name}={value:g} is no whole number"


# --- what training costs ---------------------------------------------------------------------------------------------


class TrainingPrice(NamedTuple):
    """US dollars: a million tokens that are learned, times the epochs, and a month of keeping the model. ``source`` was
    read on the day of ``read``."""

    per_million: float
    per_month: float | None
    source: str
    read: str


_TITAN = "aws.amazon.com/bedrock/pricing, US East (N. Virginia), as github.com/sungminna/GapS kept it in 2025"
_PRICES: tuple[tuple[str, TrainingPrice], ...] = (
    ("amazon.titan-text-lite-v1", TrainingPrice(0.4, 1.95, _TITAN, "2026-11-27")),
    ("amazon.titan-text-express-v1", TrainingPrice(8.0, 1.95, _TITAN, "2026-11-27")),
)
"""By how ids begin. AWS's page fills in its figures where it is shown, so that what was kept of it has few; the others
are unknown here, rather than a guess."""


def training_price(model: str) -> TrainingPrice | None:
    """What customising a foundation model costs; None where that is not known."""
    name = without_geography(model)
    return next((price for start, price in _PRICES if name.startswith(start)), None)
