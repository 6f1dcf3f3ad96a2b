"""A training session on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from awsllm.engine import weights
from awsllm.engine.model import configure
from awsllm.engine.train import decoder, lora, memory
from awsllm.engine.train.export import export
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.recipe import TrainingRecipe
from awsllm.engine.train.session import AdamStep, LoraSession, LossExample, PassResult, TokenDrawing
from awsllm.errors import ConfigurationError, ServerError, ValidationError, is_own, reason_of
from awsllm.jobs.sessions.tokens import ModelTokens
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass

_LOADING = Lock()
"""One looks for memory, and takes it, before the next looks."""


class LocalSession:
    """A ``SessionPlace`` over a model's file or folder. Names under which it saves are folders."""

    def __init__(self, base: Path, adapter: Lora, *, seed: int = 0) -> None:
        with _refusals(), _LOADING:
            _check_memory(base, adapter)
            self._session = LoraSession(decoder.load(base), adapter, seed)
        self.tokens = ModelTokens.of(base)
        self._base = base

    @classmethod
    def start(cls, base: Path, *, rank: int = 16, alpha: float = 32, seed: int = 0) -> LocalSession:
        """Raises ``ValidationError`` for an adapter that there cannot be."""
        with _refusals():
            adapter = Lora(rank=rank, alpha=alpha)
        return cls(base, adapter, seed=seed)

    def run(
        self, data: Sequence[TrainingDatum], loss: str, settings: Mapping[str, float], *, backward: bool
    ) -> TrainingPass:
        examples = [LossExample(datum.tokens, datum.loss_inputs) for datum in data]
        compute = self._session.forward_backward if backward else self._session.forward
        with _refusals():
            found: PassResult = compute(examples, loss, settings)
        logprobs = tuple(tuple(each) for each in found.logprobs)
        return TrainingPass(logprobs=logprobs, metrics=found.metrics, tokens=found.tokens)

    def step(self, adam: AdamSettings) -> Mapping[str, float]:
        with _refusals():
            return self._session.step(
                AdamStep(
                    learning_rate=adam.learning_rate,
                    beta1=adam.beta1,
                    beta2=adam.beta2,
                    epsilon=adam.epsilon,
                    weight_decay=adam.weight_decay,
                    clip=adam.clip,
                    plus=adam.plus,
                )
            )

    def sample(self, prompt: Sequence[int], settings: SampleSettings) -> tuple[SampledSequence, ...]:
        found = []
        for number in range(settings.count):
            drawing = TokenDrawing(
                most=settings.max_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=settings.top_k,
                seed=None if settings.seed is None else settings.seed + number,
                ends=self.tokens.ends,
            )
            with _refusals():
                drawn = self._session.sample(prompt, drawing, self._is_over(settings.stop))
            found.append(
                SampledSequence(
                    tokens=tuple(drawn.tokens),
                    logprobs=tuple(drawn.logprobs),
                    stop_reason="stop" if drawn.stopped else "length",
                )
            )
        return tuple(found)

    def _is_over(self, stops: tuple[str, ...]) -> Callable[[Sequence[int]], bool] | None:
        """Whether one of the stops was written; nothing is drawn behind it."""
        if not stops:
            return None
        return lambda tokens: any(stop in self.tokens.text(tokens) for stop in stops)

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]:
        with _refusals():
            return tuple(self._session.logprobs(tokens))

    def likeliest(self, tokens: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
        """For each token but the first: the likeliest in its place."""
        with _refusals():
            return self._session.likeliest(tokens, count)

    @contextmanager
    def lent(self, folder: Path | None) -> Iterator[None]:
        """Compute with what was saved in a folder, within the block; None: with the base alone."""
        with _refusals(), self._session.lent(folder):
            yield

    def save(self, name: str | None) -> str:
        folder = _folder(name)
        self.save_adapter(folder / "adapter")
        return f"local:{self.save_merged(folder / 'model').absolute()}"

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        """``base`` is how the model beneath is called; None: by its path."""
        with _refusals():
            self._session.save_adapter(folder, base=base or str(self._base.absolute()))

    def save_merged(self, target: Path) -> Path:
        """Base and adapter in one, in the base's format: the folder ``target``, or a file beside it."""
        with _refusals():
            return export(self._base, lora.merged(self._session.decoder), target)

    def save_state(self, name: str | None) -> str:
        folder = _folder(name)
        self._session.save_state(folder)
        return str(folder.absolute())

    def load_state(self, state: str, *, with_optimizer: bool) -> None:
        if not any((Path(state) / name).is_file() for name in ("state.json", lora.WEIGHTS)):
            raise ConfigurationError(f"{state} is no state that save_state wrote")
        with _refusals():
            self._session.load_state(Path(state), with_optimizer=with_optimizer)

    def close(self) -> None:
        """What another thread computes ends; memory goes with the session."""
        self._session.close()


def _check_memory(base: Path, adapter: Lora) -> None:
    """Raises ``ConfigurationError`` where there is none left for the weights: a process that takes what there is not is
    killed with all that it does."""
    config, _ = configure(weights.read(base))
    needed = memory.estimate(config, TrainingRecipe(samples="-", base=str(base), lora=adapter), 0).total
    free = memory.free_memory("cpu")
    if free is not None and needed > free:
        raise ConfigurationError(
            f"a training session with {base.name} takes {needed / 1e9:.2f} GB of memory, and {free / 1e9:.2f} GB is "
            "free: close another session, or take a smaller model"
        )


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Write base and adapter in one, in the base's format. Raises ``ValidationError`` for another model's adapter."""
    with _refusals():
        lora.merge_files(base, adapter, target)


def _folder(name: str | None) -> Path:
    if not name:
        raise ValidationError("a session on this machine saves to a folder: name one")
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _refusals() -> Iterator[None]:
    """What the engine refuses, as the caller's fault; what it cannot compute, as its own."""
    try:
        yield
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        if isinstance(error, ValueError) and is_own(error):
            raise ValidationError(str(error)) from error
        raise ServerError(f"the session failed: {reason_of(error)}") from error
