"""Values of training sessions: what a model is trained on by hand, and what it answers.

Names and bounds are those of SageMaker's training sessions (API reference of SageMaker Training Session).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from awsllm.types import Value

LOSS_METRIC = "actor/pg_loss"
"""The metric of a pass that is its loss in SageMaker's sessions, whichever loss it is (sagemaker-train 1.27, PyPI)."""
LossName: TypeAlias = Literal["cross_entropy", "importance_sampling", "ppo", "cispo"]


class TrainingDatum(Value, frozen=True, kw_only=True):
    """Tokens that the model reads, and what the loss is made of, a number for each token by name: ``target_tokens``
    (the token that shall follow), ``weights``, and for reinforcement ``advantages`` and ``logprobs`` of who wrote them.
    """

    tokens: tuple[int, ...]
    loss_inputs: Mapping[str, tuple[float, ...]]


class TrainingPass(Value, frozen=True, kw_only=True):
    """What a pass came to: the log probability of each target, by datum; ``metrics`` are sums and means over all."""

    logprobs: tuple[tuple[float, ...], ...]
    metrics: Mapping[str, float]
    tokens: int = 0

    @property
    def loss(self) -> float | None:
        """The mean over the weights, or what SageMaker's sessions call the loss, or the sum."""
        known = (self.metrics.get(name) for name in ("loss:mean", LOSS_METRIC, "loss:sum"))
        return next((value for value in known if value is not None), None)


class AdamSettings(Value, frozen=True, kw_only=True):
    """One step of the optimizer. ``clip``: the largest norm of the gradient; 0 leaves it. ``plus``: how much faster
    than A the adapters' matrices B learn (LoRA+)."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    plus: float = 1.0


class SampledSequence(Value, frozen=True, kw_only=True):
    """Tokens that the model wrote. ``stop_reason`` is ``stop`` or ``length``; ``text`` is known where the session has
    the model's tokenizer."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    stop_reason: str = "length"
    text: str | None = None


class SampleSettings(Value, frozen=True, kw_only=True):
    """How sequences are drawn: ``count`` of them."""

    count: int = 1
    max_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
