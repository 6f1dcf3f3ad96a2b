"""What the scheduler asks of a model that chooses tokens where its logits are, so that these need not be moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from awsllm.engine.interface import TokenModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from awsllm.engine.generate import Sampling
    from awsllm.engine.interface import Chunk, Words


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """How the token after a chunk is chosen: what ``generate.sample`` is given, and ``number``, a random one from 0 to
    1 that decides. ``mask``: what a grammar allows; ``without``: a token that is not taken unless no other is possible.

    A token is the one that the number falls on among those that ``generate`` draws from, laid side by side in the order
    of their ids. With ``top_p`` that may be another than ``generate.sample``, which may use several numbers, finds with
    the same seed.
    """

    sampling: Sampling
    number: float = 0.0
    mask: Words | None = None
    without: int | None = None


class ChoosingModel(TokenModel, Protocol):
    """``engine.device_model.DeviceModel`` is one."""

    def forbid(self, tokens: Iterable[int], /) -> None:
        """Never choose these."""
        ...

    def choose(
        self, chunks: Sequence[Chunk], choices: Callable[[], Sequence[TokenChoice | None]], /
    ) -> Sequence[int | None]:
        """Append the chunks to their caches, and choose the token after each that has a choice; None where it has
        none, or no token is possible. ``choices`` is called once, while the device computes."""
        ...
