"""Values of spoken conversations: what one is opened with, and what comes out of it.

Facts: Amazon Nova user guides, "Speech-to-speech" (docs.aws.amazon.com/nova/latest/userguide/speech.html and
nova2-userguide/sonic-*.html, read 2026-11-26).
"""

from __future__ import annotations

from typing import TypeAlias

from awsllm.types import (
    InferenceConfig,
    Message,
    Tagged,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Unknown,
    Value,
)

RATES = (8000, 16000, 24000)
"""Samples a second that Nova Sonic hears and speaks; each is 16 bits, little endian, of one channel."""
SAMPLE_BYTES = 2
SENSITIVITIES = ("HIGH", "MEDIUM", "LOW")
"""How soon a pause ends the user's turn: after 1.5, 1.75 or 2 seconds."""


class SpeechSetup(Value, frozen=True, kw_only=True):
    """What a spoken conversation is opened with. ``system`` is its system prompt, ``messages`` are turns before it, as
    text. Rates are in samples a second. ``endpointing_sensitivity`` is one of ``SENSITIVITIES``; None is the model's
    own."""

    model: str
    system: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    voice: str = "matthew"
    input_rate: int = 16000
    output_rate: int = 24000
    inference_config: InferenceConfig = InferenceConfig()
    endpointing_sensitivity: str | None = None

    def __repr__(self) -> str:
        """Without its content, which are prompts."""
        return f"SpeechSetup(model={self.model!r}, …)"


class Transcript(Tagged, frozen=True, tag="transcript"):
    """Words as text: what the user was heard to say, or what the model says. ``final`` is false for what the model is
    about to say: an interruption may cut it. ``synthetic`` is None for a model's own words; a server without one says
    there what it made up."""

    role: str
    text: str
    final: bool = True
    synthetic: str | None = None


class SpeechAudio(Tagged, frozen=True, tag="speech_audio"):
    """A piece of the model's voice: LPCM of 16 bits, little endian, one channel, ``rate`` samples a second. Pieces come
    faster than they are to be played. ``synthetic`` is as in ``Transcript``."""

    data: bytes
    rate: int
    synthetic: str | None = None

    @property
    def seconds(self) -> float:
        return len(self.data) / SAMPLE_BYTES / self.rate

    def __repr__(self) -> str:
        known = f", synthetic={self.synthetic!r}" if self.synthetic else ""
        return f"SpeechAudio({self.seconds:.3f} s, rate={self.rate}{known})"


class Interruption(Tagged, frozen=True, tag="interruption"):
    """The user began to speak while the model did: throw away what has not been played."""


class TurnEnd(Tagged, frozen=True, tag="turn_end"):
    """The model has said all that it had to say: it listens."""


class SpeechUsage(Tagged, frozen=True, tag="speech_usage"):
    """The tokens of the whole session until now; speech and text are priced apart."""

    input_speech_tokens: int = 0
    input_text_tokens: int = 0
    output_speech_tokens: int = 0
    output_text_tokens: int = 0

    @property
    def input_tokens(self) -> int:
        return self.input_speech_tokens + self.input_text_tokens

    @property
    def output_tokens(self) -> int:
        return self.output_speech_tokens + self.output_text_tokens


SpeechEvent: TypeAlias = (
    Transcript | SpeechAudio | ToolUse | ToolResult | Interruption | TurnEnd | SpeechUsage | Unknown
)
"""What comes out of a session. A ``ToolResult`` is what a function answered, as it was sent to the model."""
