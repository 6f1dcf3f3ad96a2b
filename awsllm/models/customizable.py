"""Which foundation models Bedrock customises, in which ways, and what its jobs take. Data.

Source: docs.aws.amazon.com/bedrock/latest/userguide/custom-model-fine-tuning.html (its table of models), and of its
earlier version custom-model-supported.html what was continued in pre-training; read 2026-11-26.
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
    """``form`` is the form of the data (``jobs.data.written``), ``bounds`` are those of the hyperparameters that are
    known: least and most, by the service's names. ``epochs`` and ``learning_rate`` are the service's own, where none is
    given; 0 where that is not known, or a multiplier of it is given in its place."""

    form: Literal["conversation", "pairs", "anthropic"]
    bounds: Mapping[str, tuple[float, float]] = {}
    epochs: int = 2
    learning_rate: float = 0.0


_ROWS: tuple[tuple[str, Customizing], ...] = (
    (
        "amazon.nova-",
        Customizing(
            "conversation",
            {"epochCount": (1, 5), "learningRate": (1e-6, 1e-4), "learningRateWarmupSteps": (0, 100)},
            learning_rate=1e-5,
        ),
    ),
    (
        "anthropic.claude-3-",
        Customizing(
            "anthropic",
            {
                "epochCount": (1, 10),
                "batchSize": (4, 256),
                "learningRateMultiplier": (0.1, 2),
                "earlyStoppingThreshold": (0, 0.1),
                "earlyStoppingPatience": (1, 10),
            },
        ),
    ),
    (
        "amazon.titan-text-premier",
        Customizing(
            "pairs",
            {
                "epochCount": (1, 5),
                "batchSize": (1, 1),
                "learningRate": (1e-7, 1e-5),
                "learningRateWarmupSteps": (0, 20),
            },
            learning_rate=1e-6,
        ),
    ),
    (
        "meta.llama3-1-",
        Customizing("pairs", {"epochCount": (1, 10), "batchSize": (1, 1), "learningRate": (5e-6, 0.1)}, 5, 1e-4),
    ),
    ("", Customizing("pairs")),
)
"""By how ids begin; the first that fits. Source: docs.aws.amazon.com/bedrock/latest/userguide, cm-hp-nova-mm,
cm-hp-anth-claude-3, cm-hp-titan-text, cm-hp-meta-llama31; read 2026-11-27. A new model's bounds are the service's to
say."""


def customizing(model: str) -> Customizing:
    """What a customisation job of a foundation model takes."""
    name = without_geography(model)
    return next(row for start, row in _ROWS if name.startswith(start))
