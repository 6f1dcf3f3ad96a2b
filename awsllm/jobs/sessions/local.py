"""A training session on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from awsllm.engine.train import decoder, lora
from awsllm.engine.train.export import export
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.session import AdamStep, DrawnTokens, LoraSession, LossExample, PassResult, TokenDrawing
from awsllm.errors import ConfigurationError, ServerError, ValidationError
from awsllm.jobs.sessions.tokens import ModelTokens
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass


class LocalSession:
    """A ``SessionPlace`` over a model's file or folder. Names under which it saves are folders."""

    def __init__(self, base: Path, adapter: Lora, *, seed: int = 0) -> None:
        with _refusals():
            self._session = LoraSession(decoder.load(base), adapter, seed)
        self.tokens = ModelTokens.of(base)
        self._base = base

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
            found.append(self._told(self._session.sample(prompt, drawing), settings.stop))
        return tuple(found)

    def _told(self, drawn: DrawnTokens, stops: tuple[str, ...]) -> SampledSequence:
        """With the text up to the first of the stops, where one was written."""
        count, stopped = len(drawn.tokens), drawn.stopped
        for place in range(1, len(drawn.tokens) + 1) if stops else ():
            if any(stop in self.tokens.text(drawn.tokens[:place]) for stop in stops):
                count, stopped = place, True
                break
        return SampledSequence(
            tokens=tuple(drawn.tokens[:count]),
            logprobs=tuple(drawn.logprobs[:count]),
            stop_reason="stop" if stopped else "length",
        )

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]:
        return tuple(self._session.logprobs(tokens))

    def save(self, name: str | None) -> str:
        folder = _folder(name)
        with _refusals():
            self._session.save_adapter(folder / "adapter", base=str(self._base.absolute()))
            merged = export(self._base, lora.merged(self._session.decoder), folder / "model")
        return f"local:{merged.absolute()}"

    def save_state(self, name: str | None) -> str:
        folder = _folder(name)
        self._session.save_state(folder)
        return str(folder.absolute())

    def load_state(self, state: str, *, with_optimizer: bool) -> None:
        if not (Path(state) / "state.json").is_file():
            raise ConfigurationError(f"{state} is no state that save_state wrote")
        with _refusals():
            self._session.load_state(Path(state), with_optimizer=with_optimizer)

    def close(self) -> None:
        """There is nothing that must be ended: memory goes with it."""


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
    except ValueError as error:
        raise ValidationError(str(error)) from error
    except (ArithmeticError, RuntimeError, MemoryError) as error:
        raise ServerError(f"the session failed: {error}") from error
