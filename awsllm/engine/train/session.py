"""Training by hand: gradients of what one is given, a step when one says so, samples of the weights as they are.

The operations and their words are those of SageMaker's training sessions ("Core operations", Developer Guide, and the
API reference of SageMaker Training Session). Targets are shifted already: the target at a place is the token that shall
follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from awsllm.engine import described
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.train import lora
from awsllm.engine.train.decoder import Batch, DecoderPast, TrainableDecoder
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
_LARGEST: Final = 3.4e38  # a float's
_COLDEST: Final = 1e-6
_STATE, _WEIGHTS, _MOMENTS = "state.json", "weights.safetensors", "moments.safetensors"


class PassEndedError(RuntimeError):
    """It was closed by another thread, or before."""


class NoNumberError(ArithmeticError):
    """What was computed is no number; the weights and gradients are what they were, or the gradients are gone."""


@dataclass(frozen=True, slots=True)
class LossExample:
    """Tokens that the model reads, and what the loss is made of: a number for each of them, by name."""

    tokens: Sequence[int]
    inputs: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamStep:
    """One step. ``clip``: the largest norm of the gradient; 0 leaves it. ``plus``: how much faster than A the matrices
    B learn (LoRA+, https://arxiv.org/abs/2402.12354)."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 0.0
    plus: float = 1.0


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
        matrices = [
            [each for name, each in self._trained.items() if ("lora_B" in name) == late] for late in (False, True)
        ]
        self._optimizer = torch.optim.AdamW([{"params": each} for each in matrices], lr=0.0)
        self.steps = 0
        self._closed = False

    def close(self) -> None:
        """Have whatever is computed now, on another thread, come to an end; nothing is computed after it."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise PassEndedError("the session was closed")

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
        for number, example in enumerate(examples):
            self._check_tokens(example.tokens, f"example {number}")
            self._check_tokens(example.inputs["target_tokens"], f"example {number}'s target_tokens")
        found, total, weight = [], 0.0, 0.0
        with self._whole_or_not_at_all():
            for number, example in enumerate(examples):  # alone, so that memory is that of the longest
                self._check_open()
                logprobs = self._logprobs(example)
                value = _LOSSES[loss](logprobs, _tensors(example, logprobs), {**_CLIP, **settings})
                if not bool(value.isfinite() & logprobs.isfinite().all()):
                    raise NoNumberError(f"the loss of example {number} is no number; no gradients were added")
                if backward:
                    value.backward()  # type: ignore[no-untyped-call]
                found.append(logprobs.detach().tolist())
                total, weight = total + value.item(), weight + math.fsum(example.inputs["weights"])
        metrics = {"loss:sum": total, "loss:mean": total / weight if weight else 0.0}
        return PassResult(found, metrics, sum(len(example.tokens) for example in examples))

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """A pass that fails amid its examples adds none of their gradients."""
        held = [None if each.grad is None else each.grad.clone() for each in self._trained.values()]
        try:
            yield
        except BaseException:
            for parameter, grad in zip(self._trained.values(), held, strict=True):
                parameter.grad = grad
            raise

    def _check_tokens(self, tokens: Sequence[float], where: str) -> None:
        """Raises ``ModelError`` for what this model cannot read."""
        config = self.decoder.config
        if not tokens:
            raise ModelError(f"{where} has no tokens")
        if len(tokens) > config.context:
            raise ModelError(f"{where} has {len(tokens)} tokens; the model reads {config.context}")
        odd = next((each for each in tokens if not 0 <= each < config.vocab_size or each != int(each)), None)
        if odd is not None:
            raise ModelError(f"{where} has the token {odd!r}; the model knows 0 to {config.vocab_size - 1}")

    def _logprobs(self, example: LossExample) -> Tensor:
        """Of each target behind the tokens up to its place, (T,)."""
        x = self.decoder(self._batch(example.tokens))[0]
        targets = torch.tensor([int(token) for token in example.inputs["target_tokens"]], device=x.device)
        logits = self.decoder.logits(x)
        if (temperature := example.inputs.get("temperature")) is not None:
            logits = logits / torch.tensor(temperature, device=x.device)[:, None]
        chosen: Tensor = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        return chosen

    def _batch(self, tokens: Sequence[int], known: int = 0) -> Batch:
        """``known`` of the tokens are in a past."""
        laid = torch.tensor([list(tokens[known:])])
        return Batch(laid, laid, torch.arange(known, len(tokens))[None]).to(self.decoder.device)

    # --- steps -------------------------------------------------------------------------------------------------------

    def step(self, adam: AdamStep) -> Mapping[str, float]:
        """Move along the gradients, and forget them. Raises ``ModelError`` where there are none."""
        if all(parameter.grad is None for parameter in self._trained.values()):
            raise ModelError("there are no gradients: a step follows on forward_backward")
        norm = float(nn.utils.clip_grad_norm_(list(self._trained.values()), adam.clip or math.inf))
        for group, faster in zip(self._optimizer.param_groups, (1.0, adam.plus), strict=True):
            group["lr"], group["betas"] = adam.learning_rate * faster, (adam.beta1, adam.beta2)
            group["eps"], group["weight_decay"] = adam.epsilon, adam.weight_decay
        if math.isfinite(norm):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(norm):
            raise NoNumberError("the gradients are no numbers any more; the step was not made")
        self.steps += 1
        return {"gradient_norm": norm}

    # --- samples -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def logprobs(self, tokens: Sequence[int]) -> Sequence[float]:
        """The log probability of each token but the first, behind those before it."""
        self._check_tokens(tokens, "the prompt")
        self.decoder.eval()
        x = self.decoder(self._batch(tokens))[0, :-1]
        following = torch.tensor(list(tokens[1:]), device=x.device)
        found: list[float] = self.decoder.logits(x).log_softmax(-1).gather(1, following[:, None])[:, 0].tolist()
        return found

    @torch.no_grad()
    def likeliest(self, tokens: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
        """For each token but the first: the ``count`` that were likeliest in its place, and how likely."""
        self._check_tokens(tokens, "the prompt")
        self.decoder.eval()
        logprobs = self.decoder.logits(self.decoder(self._batch(tokens))[0, :-1]).log_softmax(-1)
        found = logprobs.topk(min(count, logprobs.shape[-1]), -1)
        rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [list(zip(places, values, strict=True)) for places, values in rows]

    @contextmanager
    def lent(self, folder: Path | None) -> Iterator[None]:
        """Compute with what lies in the folder of an adapter or a state, within the block; None: with the base alone.
        Raises ``WeightsError``."""
        held = {name: each.detach().clone() for name, each in self._trained.items()}
        empty = {name: torch.zeros_like(each) for name, each in held.items()}
        lora.fill(self.decoder, empty if folder is None else self._learned(folder))
        try:
            yield
        finally:
            lora.fill(self.decoder, held)

    def sample(
        self, prompt: Sequence[int], drawing: TokenDrawing, is_over: Callable[[Sequence[int]], bool] | None = None
    ) -> DrawnTokens:
        """Tokens that the model writes behind the prompt. ``is_over`` is asked behind each of them."""
        tokens: list[int] = []
        logprobs: list[float] = []
        for token, logprob in self._draw(prompt, drawing):
            tokens.append(token)
            logprobs.append(logprob)
            if token in drawing.ends or (is_over is not None and is_over(tokens)):
                return DrawnTokens(tokens, logprobs, True)
        return DrawnTokens(tokens, logprobs, False)

    def _draw(self, prompt: Sequence[int], drawing: TokenDrawing) -> Iterator[tuple[int, float]]:
        self._check_tokens(prompt, "the prompt")
        self.decoder.eval()
        generator = torch.Generator().manual_seed(drawing.seed) if drawing.seed is not None else None
        held, past = list(prompt), DecoderPast(self.decoder.config)
        for _ in range(min(drawing.most, self.decoder.config.context - len(held))):
            self._check_open()
            past.make_way(len(held))
            with torch.no_grad():
                x = self.decoder(self._batch(held, past.count), past)
                logits = self.decoder.logits(x[0, -1:])[0].cpu()
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
        """Go on from what ``save_state`` wrote, or with an adapter's weights, beside which there is no more. Raises
        ``WeightsError`` where that is another adapter's."""
        learned, steps, moments = self._learned(folder), 0, dict[str, Tensor]()
        if with_optimizer and (folder / _STATE).is_file():
            steps, moments = self._remembered(folder)
        lora.fill(self.decoder, learned)
        self._optimizer.state.clear()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps = steps
        for name, parameter in self._trained.items():
            held = {key: moments.get(f"{name}:{key}") for key in ("exp_avg", "exp_avg_sq")}
            if all(value is not None for value in held.values()):
                kept = {key: value.clone() for key, value in held.items() if value is not None}
                self._optimizer.state[parameter] = {"step": torch.tensor(float(self.steps)), **kept}

    def save_adapter(self, folder: Path, *, base: str) -> None:
        """What was learned, as peft keeps it."""
        lora.save(folder, self.decoder, self.adapter, base=base)

    def _learned(self, folder: Path) -> dict[str, Tensor]:
        """The adapters' weights in the folder of a state or of an adapter."""
        if not (folder / _WEIGHTS).is_file():
            return lora.as_parameters(self.decoder, self.adapter, lora.read_tensors(folder))
        found = {name: each.float() for name, each in read_safetensors(folder / _WEIGHTS).items()}
        if broken := next((name for name, value in found.items() if not bool(value.isfinite().all())), None):
            raise WeightsError(f"the state's {broken!r:.100} holds what is no number")
        return found

    def _remembered(self, folder: Path) -> tuple[int, dict[str, Tensor]]:
        """A state's steps and moments. Raises ``WeightsError`` for such as would spoil the weights at the next step."""
        steps: Any = described.read_object(folder / _STATE).get("step")
        if type(steps) is not int or not 0 <= steps < 1 << 53:
            raise WeightsError("the state does not say how many steps it has made")
        moments = {name: each.float() for name, each in read_safetensors(folder / _MOMENTS).items()}
        for name, value in moments.items():
            of, _, kind = name.rpartition(":")
            parameter = self._trained.get(of)
            if parameter is None or parameter.shape != value.shape:
                raise WeightsError(f"the state's {name!r:.100} is another adapter's")
            if not bool(value.isfinite().all()) or (kind == "exp_avg_sq" and bool((value < 0).any())):
                raise WeightsError(f"the state's {name!r:.100} holds what is no moment")
        return steps, moments


# --- losses ----------------------------------------------------------------------------------------------------------


def check(examples: Sequence[LossExample], loss: str, settings: Mapping[str, float]) -> None:
    """Raises ``ModelError`` that names the example and what it lacks."""
    if loss not in NEEDED:
        raise ModelError(f"there is no loss {loss!r}: there are {', '.join(LOSSES)}")
    if not examples:
        raise ModelError("there is nothing to compute: give one example at least")
    for name, value in settings.items():
        if name not in _BOUNDS:
            raise ModelError(f"a loss has no setting {name!r}: there are {', '.join(_BOUNDS)}")
        low, high = _BOUNDS[name]
        if not low <= value <= high:
            raise ModelError(f"{name} is {value!r}; it is a number from {low:g} to {high:g}")
    for number, example in enumerate(examples):
        _check_example(example, loss, f"example {number}")


def _check_example(example: LossExample, loss: str, where: str) -> None:
    if not example.tokens:
        raise ModelError(f"{where} has no tokens")
    if lacking := [name for name in NEEDED[loss] if name not in example.inputs]:
        raise ModelError(f"{where} lacks {', '.join(lacking)}, which {loss} needs")
    if unknown := example.inputs.keys() - KNOWN:
        raise ModelError(f"{where} has {min(unknown)!r}, which no loss reads: there are {', '.join(sorted(KNOWN))}")
    for name, values in example.inputs.items():
        if len(values) != len(example.tokens):
            raise ModelError(f"{where} has {len(values)} {name} for {len(example.tokens)} tokens")
        low = _COLDEST if name == "temperature" else -_LARGEST
        if odd := [value for value in values if not low <= value <= _LARGEST]:
            raise ModelError(f"{where} has {odd[0]!r:.40} among its {name}; they are numbers from {low:g} up")


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
