"""A training session: the loop is the caller's, the weights stay where they are.

with client.training_session("local:smollm2-135m-instruct") as session:
    for batch in batches:
        session.forward_backward(batch)
        session.step(learning_rate=1e-4)
    print(session.sample("Hello", max_tokens=20)[0].text)
    model = session.save("tuned")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types.training import AdamSettings, SampledSequence, SampleSettings, TrainingDatum, TrainingPass

if TYPE_CHECKING:
    from awsllm.calls.content import Prompt

TrainingInput: TypeAlias = "TrainingDatum | Prompt | Mapping[str, Any]"
"""What a pass takes: a datum, or a conversation that ends in the assistant's turn, whose answers are learned."""


class SessionTokens(Protocol):
    """What turns texts of a session's model into tokens, and back."""

    def learned(self, conversation: Any) -> Iterable[TrainingDatum]: ...

    def prompt(self, messages: Any) -> tuple[int, ...]: ...

    def text(self, tokens: Sequence[int]) -> str: ...


class SessionPlace(Protocol):
    """Where a session computes. Every method waits until its operation is over, and raises why it failed."""

    @property
    def tokens(self) -> SessionTokens | None: ...

    def run(
        self, data: Sequence[TrainingDatum], loss: str, settings: Mapping[str, float], *, backward: bool
    ) -> TrainingPass: ...

    def step(self, adam: AdamSettings) -> Mapping[str, float]: ...

    def sample(self, prompt: Sequence[int], settings: SampleSettings) -> tuple[SampledSequence, ...]: ...

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]: ...

    def save(self, name: str | None) -> str: ...

    def save_state(self, name: str | None) -> str: ...

    def load_state(self, state: str, *, with_optimizer: bool) -> None: ...

    def close(self) -> None: ...


class TrainingSession:
    """One model with an adapter, in training. Used by one thread; closed by ``with``."""

    def __init__(self, place: SessionPlace) -> None:
        self._place = place

    def forward(
        self, batch: Iterable[TrainingInput], *, loss: str = "cross_entropy", **settings: float
    ) -> TrainingPass:
        """What the loss of a batch is. ``settings``: clip_low_threshold and clip_high_threshold, of ppo and cispo."""
        return self._place.run(self._data(batch), loss, settings, backward=False)

    def forward_backward(
        self, batch: Iterable[TrainingInput], *, loss: str = "cross_entropy", **settings: float
    ) -> TrainingPass:
        """The same, and its gradients are added to those that are there."""
        return self._place.run(self._data(batch), loss, settings, backward=True)

    def step(self, learning_rate: float = 1e-4, **adam: float) -> Mapping[str, float]:
        """Move along the gradients, and forget them. Options: see ``AdamSettings``. Gives the service's figures."""
        try:
            settings = AdamSettings(learning_rate=learning_rate, **adam)
        except TypeError as error:
            names = ", ".join(AdamSettings.__struct_fields__)
            raise ValidationError(f"a step's options are {names}, not {', '.join(adam)}") from error
        return self._place.step(settings)

    def sample(self, prompt: Sequence[int] | Prompt, **options: Any) -> tuple[SampledSequence, ...]:
        """What the weights as they are write behind a prompt: tokens, or a conversation. Options: see
        ``SampleSettings``."""
        try:
            settings = SampleSettings(**options)
        except TypeError as error:
            names = ", ".join(SampleSettings.__struct_fields__)
            raise ValidationError(f"a sample's options are {names}, not {', '.join(options)}") from error
        drawn = self._place.sample(self._prompt(prompt), settings)
        tokens = self._place.tokens
        return drawn if tokens is None else tuple(_with_text(each, tokens) for each in drawn)

    def logprobs(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """The log probability of each token but the first, behind those before it."""
        return self._place.logprobs(tokens)

    def tokens(self, messages: Prompt) -> tuple[int, ...]:
        """A conversation as the model's prompt."""
        return self._known().prompt(messages)

    def save(self, name: str | None = None) -> str:
        """Keep what was learned: a model of this machine by its reference, or the ARN of SageMaker's model package."""
        return self._place.save(name)

    def save_state(self, name: str | None = None) -> str:
        """Keep all that is needed to go on, the optimizer's memory too; what ``load_state`` takes."""
        return self._place.save_state(name)

    def load_state(self, state: str, *, with_optimizer: bool = True) -> None:
        """Go on from a state that was kept."""
        self._place.load_state(state, with_optimizer=with_optimizer)

    def close(self) -> None:
        """End it: what was not saved is gone. Whatever else ends the program leaves SageMaker's session running."""
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _data(self, batch: Iterable[TrainingInput]) -> list[TrainingDatum]:
        if isinstance(batch, (str, TrainingDatum, Mapping)):
            batch = [batch]
        found: list[TrainingDatum] = []
        for each in batch:
            if isinstance(each, TrainingDatum):
                found.append(each)
            else:
                found.extend(self._known().learned(each["messages"] if isinstance(each, Mapping) else each))
        return found

    def _prompt(self, prompt: Any) -> tuple[int, ...]:
        if not isinstance(prompt, str) and prompt and all(isinstance(each, int) for each in prompt):
            return tuple(prompt)
        return self._known().prompt(prompt)

    def _known(self) -> SessionTokens:
        if self._place.tokens is None:
            raise UnsupportedError(
                "this session has no tokenizer, so it takes tokens: give training_session(tokenizer=…), the model's "
                "folder, tokenizer.json or GGUF file"
            )
        return self._place.tokens


def _with_text(sequence: SampledSequence, tokens: SessionTokens) -> SampledSequence:
    from msgspec.structs import replace

    return replace(sequence, text=tokens.text(sequence.tokens))
