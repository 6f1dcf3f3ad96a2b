"""What may come next, guessed from what came before: an answer that quotes its prompt, or itself, goes on as that did.

The last three tokens are looked up among all that came before, and what followed them there is guessed to follow again.
A model that computes several tokens of an answer in one step exactly as one by one (``TokenModel.drafts``) computes the
guesses beside the next token; those that turn out right are tokens that took no step of their own, and nothing else is
changed by them. By the kernels in ``native``, SmolLM2-135M on two cores, a step with three guesses takes 1.2 times as
long; an answer that repeats a text took 17 steps for 48 tokens, a summary 22 for 64, a chat as many as it has tokens.
PyTorch's steps of several tokens differ from single ones in rounding, so there nothing is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRAM: Final = 3
_TRIALS: Final = 24  # guesses of one answer before it is judged whether they are worth it
_WORTH: Final = 8  # one of so many has to be right


class Lookup:
    """Guesses for one sequence. ``tokens`` is the sequence's own list, which grows."""

    def __init__(self, tokens: Sequence[int], most: int) -> None:
        self._tokens, self._most = tokens, most
        self._after: dict[tuple[int, ...], int] = {}  # where what follows the three tokens begins
        self._known = _GRAM
        self._guessed = self._right = 0

    def guess(self, room: int) -> list[int]:
        """At most so many tokens that may come next."""
        tokens, count = self._tokens, min(self._most, room)
        for place in range(self._known, len(tokens)):
            self._after[tuple(tokens[place - _GRAM : place])] = place
        self._known = max(self._known, len(tokens))
        if count < 1 or (self._guessed >= _TRIALS and self._right * _WORTH < self._guessed):
            return []
        found = self._after.get(tuple(tokens[-_GRAM:]))
        return [] if found is None else list(tokens[found : found + count])

    def judge(self, guessed: int, right: int) -> None:
        self._guessed += guessed
        self._right += right
