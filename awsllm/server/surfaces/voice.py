"""What stands in for ears and a voice, where there is no model that hears and speaks.

Speech is told from silence by its loudness, and the words in it are not understood; what the model says is silence as
long as the words would take. Both say so: see ``SYNTHETIC``. A script may give audio, which is then what is heard.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterator

from awsllm.types import Audio, Bytes, ContentBlock
from awsllm.types.speech import SAMPLE_BYTES

_LOUD = 500  # of 32767; a quiet room stays below
_WORDS_A_SECOND = 2.5  # as people speak English
_PIECE = 0.2  # seconds of one audioOutput
PAUSES = {"HIGH": 1.5, "MEDIUM": 1.75, "LOW": 2.0}
"""Seconds of silence that end the user's turn (nova2-userguide/sonic-turn-taking.html)."""
_SENTENCE = re.compile(r".+?(?:[.!?…]+(?=\s)|$)", re.DOTALL)


class Ear:
    """Listens to LPCM of ``rate`` samples a second; a turn has ended after ``pause`` seconds of silence, counted in
    samples and not by a clock."""

    def __init__(self, rate: int, pause: float) -> None:
        self._rate, self._pause = rate, pause
        self._spoken = 0.0  # seconds of the turn, pauses within it included
        self._silent = 0.0  # seconds since the last sound

    @property
    def hears_speech(self) -> bool:
        return self._spoken > 0

    def hear(self, data: bytes) -> bool:
        """Whether with ``data`` a turn has ended. Audio that came at once is looked at in pieces of a frame."""
        size = self._rate // 50 * SAMPLE_BYTES
        ended = False
        for at in range(0, len(data), size):
            ended = self._hear(data[at : at + size]) or ended
        return ended

    def _hear(self, data: bytes) -> bool:
        seconds = len(data) / SAMPLE_BYTES / self._rate
        if _is_loud(data):
            self._spoken += self._silent + seconds if self._spoken else seconds
            self._silent = 0.0
            return False
        self._silent += seconds
        return self._spoken > 0 and self._silent >= self._pause

    def end_turn(self) -> float:
        """The seconds of speech of the turn, which is over."""
        spoken, self._spoken, self._silent = self._spoken, 0.0, 0.0
        return spoken


def _is_loud(data: bytes) -> bool:
    samples = array("h")
    samples.frombytes(data[: len(data) // SAMPLE_BYTES * SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    return bool(samples) and (max(samples) > _LOUD or min(samples) < -_LOUD)


def sentences(text: str) -> list[str]:
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]


def silence(text: str, rate: int) -> bytes:
    """As long as it takes to say ``text``."""
    return bytes(SAMPLE_BYTES * round(rate * len(text.split()) / _WORDS_A_SECOND))


def pieces(audio: bytes, rate: int) -> Iterator[bytes]:
    size = SAMPLE_BYTES * round(rate * _PIECE)
    for at in range(0, len(audio), size):
        yield audio[at : at + size]


def scripted_audio(content: tuple[ContentBlock, ...]) -> bytes | None:
    """The audio of a scripted answer: LPCM as it is to be heard (``Audio("pcm", Bytes(…))``), or None."""
    found = [block.source.data for block in content if isinstance(block, Audio) and isinstance(block.source, Bytes)]
    return b"".join(found) if found else None
