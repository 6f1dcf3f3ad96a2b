"""Training by hand: gradients of what one is given, a step when one says so, samples of the weights as they are.

The operations and their words are those of SageMaker's training sessions ("Core operations", Developer Guide, and the
API reference of SageMaker Training Session). Targets are shifted already: the target at a place is the token that shall
follow it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from awsllm.engine import described
from awsllm.engine.train import lora
from awsllm.engine.train.decoder import Batch, TrainableDecoder
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.train.lora import Lora
from awsllm.engine.weights import read_safetensors

LossName = Literal["cross_entropy", "importance_sampling", "ppo", "cispo"]
LOSSES: Final = ("cross_entropy", "importance_sampling", "ppo", "cispo")
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "cross_entropy": ("target_tokens", "weights"),
    **dict.fromkeys(LOSSES[1:], ("target_tokens", "weights", "advantages", "logprobs")),
}
KNOWN: Final = frozenset(("target_tokens", "weights", "advantages", "logprobs", "ref_log_prob", "temperature"))
_CLIP: Final = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
_BOUNDS: Final = {"clip_low_threshold": (0.0, 1.0), "clip_high_threshold": (1.0, 10.0)}
_STATE, _WEIGHTS, _MOMENTS = "state.json", "weights.safetensors", "moments.safetensors"


@dataclass(frozen=True, slots=True)
class LossExample:
    """Tokens that the model reads, and what the loss is made of: a number for each of them, by name."""

    tokens: Sequence[int]
    inputs: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamStep:
    """One step. ``clip``: the largest norm of the gradient; 0 leaves it."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 0.0


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass came to: the log probability of each target, by example, and sums over all of them."""

    logprobs: Sequence[Sequence[float]]
    metrics: Mapping[str, float]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDrawing:
    """How tokens are drawn. ``ends``: tokens that end an answer, and are its last."""

    most: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    ends: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class DrawnTokens:
    tokens: Sequence[int]
    logprobs: Sequence[float]
    stopped: bool


class LoraSession:
    """A decoder with an adapter, in training. Not safe for use by several threads at once."""

    def __init__(self, decoder: TrainableDecoder, adapter: Lora, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.decoder, self.adapter = decoder, adapter
        lora.add(decoder, adapter)
        self._trained = {name: each for name, each in decoder.named_parameters() if each.requires_grad}
        self._optimizer = torch.optim.AdamW(list(self._trained.values()), lr=0.0)
        self.steps = 0

    # --- gradients ---------------------------------------------------------------------------------------------------

    def forward(
        self, examples: Sequence[LossExample], loss: str, settings: Mapping[str, float] | None = None
    ) -> PassResult:
        """What the loss is, and nothing more."""
        self.decoder.eval()
        with torch.no_grad():
            return self._pass(examples, loss, settings or {}, backward=False)

    def forward_backward(
        self, examples: Sequence[LossExample], loss: str, settings: Mapping[str, float] | None = None
    ) -> PassResult:
        """Add the gradients of the loss to those that are there."""
        self.decoder.train()
        return self._pass(examples, loss, settings or {}, backward=True)

    def _pass(
        self, examples: Sequence[LossExample], loss: str, settings: Mapping[str, float], *, backward: bool
    ) -> PassResult:
        check(examples, loss, settings)
        found, total, weight = [], 0.0, 0.0
        for example in examples:  # alone, so that memory is that of the longest
            logprobs = self._logprobs(example)
            value = _LOSSES[loss](logprobs, _tensors(example, logprobs), {**_CLIP, **settings})
            if backward:
                value.backward()  # type: ignore[no-untyped-call]
            found.append(logprobs.detach().tolist())
            total, weight = total + value.item(), weight + math.fsum(example.inputs["weights"])
        metrics = {"loss:sum": total, "loss:mean": total / weight if weight else 0.0}
        return PassResult(found, metrics, sum(len(example.tokens) for example in examples))

    def _logprobs(self, example: LossExample) -> Tensor:
        """Of each target behind the tokens up to its place, (T,)."""
        x = self.decoder(self._batch(example.tokens))[0]
        targets = torch.tensor([int(token) for token in example.inputs["target_tokens"]], device=x.device)
        logits = self.decoder.logits(x)
        if (temperature := example.inputs.get("temperature")) is not None:
            logits = logits / torch.tensor(temperature, device=x.device)[:, None]
        chosen: Tensor = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return chosen

    def _batch(self, tokens: Sequence[int]) -> Batch:
        laid = torch.tensor([list(tokens)])
        return Batch(laid, laid, torch.arange(laid.shape[1])[None]).to(self.decoder.device)

    # --- steps -------------------------------------------------------------------------------------------------------

    def step(self, adam: AdamStep) -> Mapping[str, float]:
        """Move along the gradients, and forget them. Raises ``ValueError`` where there are none."""
        if all(parameter.grad is None for parameter in self._trained.values()):
            raise ValueError("there are no gradients: a step follows on forward_backward")
        norm = float(nn.utils.clip_grad_norm_(list(self._trained.values()), adam.clip or math.inf))
        [group] = self._optimizer.param_groups
        group["lr"], group["betas"] = adam.learning_rate, (adam.beta1, adam.beta2)
        group["eps"], group["weight_decay"] = adam.epsilon, adam.weight_decay
        if math.isfinite(norm):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(norm):
            raise ArithmeticError("the gradients are no numbers any more; the step was not made")
        self.steps += 1
        return {"gradient_norm": norm}

    # --- samples -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logprobs(self, tokens: Sequence[int]) -> Sequence[float]:
        """The log probability of each token but the first, behind those before it."""
        self.decoder.eval()
        x = self.decoder(self._batch(tokens))[0, :-1]
        following = torch.tensor(list(tokens[1:]), device=x.device)
        found: list[float] = self.decoder.logits(x).log_softmax(-1).gather(1, following[:, None])[:, 0].tolist()
        return found

    def sample(self, prompt: Sequence[int], drawing: TokenDrawing) -> DrawnTokens:
        """Tokens that the model writes behind the prompt."""
        tokens: list[int] = []
        logprobs: list[float] = []
        for token, logprob in self._draw(prompt, drawing):
            tokens.append(token)
            logprobs.append(logprob)
            if token in drawing.ends:
                return DrawnTokens(tokens, logprobs, True)
        return DrawnTokens(tokens, logprobs, False)

    def _draw(self, prompt: Sequence[int], drawing: TokenDrawing) -> Iterator[tuple[int, float]]:
        self.decoder.eval()
        generator = torch.Generator().manual_seed(drawing.seed) if drawing.seed is not None else None
        held = list(prompt)
        for _ in range(drawing.most):
            with torch.no_grad():
                logits = self.decoder.logits(self.decoder(self._batch(held))[0, -1:])[0].cpu()
            token = _drawn(logits, drawing, generator)
            held.append(token)
            yield token, float(logits.log_softmax(-1)[token])

    # --- state -------------------------------------------------------------------------------------------------------

    def save_state(self, folder: Path) -> None:
        """Everything that is needed to go on."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / _WEIGHTS, self._trained)
        write_tensors(folder / _MOMENTS, dict(self._moments()))
        write_json(folder / _STATE, {"version": 1, "step": self.steps})

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._trained.items():
            state = self._optimizer.state[parameter]
            for key in ("exp_avg", "exp_avg_sq"):
                if key in state:
                    yield f"{name}:{key}", state[key]

    def load_state(self, folder: Path, *, with_optimizer: bool = True) -> None:
        """Go on from what ``save_state`` wrote. Raises ``WeightsError`` where that is another adapter's."""
        lora.fill(self.decoder, {name: each.float() for name, each in read_safetensors(folder / _WEIGHTS).items()})
        self._optimizer.state.clear()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps = 0
        if not with_optimizer:
            return
        steps: Any = described.read_object(folder / _STATE).get("step")
        moments = {name: each.float() for name, each in read_safetensors(folder / _MOMENTS).items()}
        self.steps = int(steps)
        for name, parameter in self._trained.items():
            held = {key: moments.get(f"{name}:{key}") for key in ("exp_avg", "exp_avg_sq")}
            if all(value is not None for value in held.values()):
                kept = {key: value.clone() for key, value in held.items() if value is not None}
                self._optimizer.state[parameter] = {"step": torch.tensor(float(self.steps)), **kept}

    def save_adapter(self, folder: Path, *, base: str) -> None:
        """What was learned, as peft keeps it."""
        lora.save(folder, self.decoder, self.adapter, base=base)


# --- losses ----------------------------------------------------------------------------------------------------------


def check(examples: Sequence[LossExample], loss: str, settings: Mapping[str, float]) -> None:
    """Raises ``ValueError`` that names the example and what it lacks."""
    if loss not in NEEDED:
        raise ValueError(f"there is no loss {loss!r}: there are {', '.join(LOSSES)}")
    if not examples:
        raise ValueError("there is nothing to compute: give one example at least")
    for name, value in settings.items():
        if name not in _BOUNDS:
            raise ValueError(f"a loss has no setting {name!r}: there are {', '.join(_BOUNDS)}")
        low, high = _BOUNDS[name]
        if not low <= value <= high:
            raise ValueError(f"{name} is {value!r}; it is a number from {low:g} to {high:g}")
    for number, example in enumerate(examples):
        _check_example(example, loss, f"example {number}")


def _check_example(example: LossExample, loss: str, where: str) -> None:
    if not example.tokens:
        raise ValueError(f"{where} has no tokens")
    if lacking := [name for name in NEEDED[loss] if name not in example.inputs]:
        raise ValueError(f"{where} lacks {', '.join(lacking)}, which {loss} needs")
    if unknown := example.inputs.keys() - KNOWN:
        raise ValueError(f"{where} has {min(unknown)!r}, which no loss reads: there are {', '.join(sorted(KNOWN))}")
    for name, values in example.inputs.items():
        if len(values) != len(example.tokens):
            raise ValueError(f"{where} has {len(values)} {name} for {len(example.tokens)} tokens")


def _tensors(example: LossExample, like: Tensor) -> dict[str, Tensor]:
    names = ("weights", "advantages", "logprobs")
    found = {name: example.inputs[name] for name in names if name in example.inputs}
    return {name: torch.tensor(values, dtype=torch.float32, device=like.device) for name, values in found.items()}


def _cross_entropy(logprobs: Tensor, given: Mapping[str, Tensor], _: Mapping[str, float]) -> Tensor:
    return -(logprobs * given["weights"]).sum()


def _importance_sampling(logprobs: Tensor, given: Mapping[str, Tensor], _: Mapping[str, float]) -> Tensor:
    ratio = (logprobs - given["logprobs"]).exp()
    return -(ratio * given["advantages"] * given["weights"]).sum()


def _ppo(logprobs: Tensor, given: Mapping[str, Tensor], clip: Mapping[str, float]) -> Tensor:
    """https://arxiv.org/abs/1707.06347"""
    ratio = (logprobs - given["logprobs"]).exp()
    clipped = ratio.clamp(clip["clip_low_threshold"], clip["clip_high_threshold"])
    return -(torch.minimum(ratio * given["advantages"], clipped * given["advantages"]) * given["weights"]).sum()


def _cispo(logprobs: Tensor, given: Mapping[str, Tensor], clip: Mapping[str, float]) -> Tensor:
    """https://arxiv.org/abs/2506.13585: the ratio is clipped and no gradient goes through it."""
    ratio = (logprobs - given["logprobs"]).exp().detach()
    clipped = ratio.clamp(clip["clip_low_threshold"], clip["clip_high_threshold"])
    return -(clipped * given["advantages"] * logprobs * given["weights"]).sum()


_LOSSES: Final = {
    "cross_entropy": _cross_entropy,
    "importance_sampling": _importance_sampling,
    "ppo": _ppo,
    "cispo": _cispo,
}


def _drawn(logits: Tensor, drawing: TokenDrawing, generator: torch.Generator | None) -> int:
    if drawing.temperature == 0:
        return int(logits.argmax())
    shares = (logits / drawing.temperature).softmax(-1)
    ordered, places = shares.sort(descending=True)
    if drawing.top_k:
        ordered[drawing.top_k :] = 0
    ordered[ordered.cumsum(-1) - ordered >= drawing.top_p] = 0  # the token that crosses top_p stays
    return int(places[torch.multinomial(ordered, 1, generator=generator)])
