"""A session as the events that make it: how it opens, what is said in it, how it closes; and the setup read back from
them, for the server.

One prompt a session, one container of audio that stays open until the session closes. History is texts only, each piece
of at most 1 KB and all of it of at most 40 KB, the first turn the user's (nova2-userguide/sonic-chat-history.html).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    InferenceConfig,
    Json,
    JsonObject,
    Message,
    Text,
    Tool,
    ToolResult,
    ToolSpec,
)
from awsllm.types.speech import SpeechSetup
from awsllm.wire.converse.tools import decode_tool, encode_tool, encode_tool_choice
from awsllm.wire.sonic.inputs import (
    AudioFormat,
    AudioInput,
    InputEnd,
    InputEvent,
    InputStart,
    MediaType,
    PromptEnd,
    PromptStart,
    SessionEnd,
    SessionStart,
    SonicInference,
    TextInput,
    ToolConfiguration,
    ToolResultFormat,
    ToolResultInput,
    TurnDetection,
)

MAX_TEXT = 1000
"""Bytes of one ``textInput``."""
MAX_HISTORY = 40_000
"""Bytes of all turns before a session."""
_PLAIN, _JSON = MediaType(media_type="text/plain"), MediaType(media_type="application/json")
_LPCM = "audio/lpcm"


class SonicPrompt:
    """Makes the events of one session. ``warnings`` says what of the history was left out."""

    def __init__(self, setup: SpeechSetup) -> None:
        self.name = str(uuid.uuid4())
        self.warnings: list[str] = []
        self._setup = setup
        self._audio: str | None = None  # the open container

    def opening(self) -> Iterator[InputEvent]:
        setup = self._setup
        config, sensitivity = setup.inference_config, setup.endpointing_sensitivity
        if config.stop_sequences:
            raise UnsupportedError("Nova Sonic has no stop sequences: leave them out")
        yield SessionStart(
            inference_configuration=SonicInference(
                max_tokens=config.max_tokens, top_p=config.top_p, temperature=config.temperature
            ),
            turn_detection_configuration=msgspec.convert({"endpointingSensitivity": sensitivity}, TurnDetection)
            if sensitivity
            else None,
        )
        yield self._prompt_start()
        if setup.system:
            yield from self._text("SYSTEM", setup.system, interactive=False)
        for message in self._history(setup.messages):
            yield from self._text(message.role.upper(), message.text, interactive=False)

    def _prompt_start(self) -> PromptStart:
        setup = self._setup
        tools = None
        if setup.tools:
            choice = encode_tool_choice(setup.tool_choice) if setup.tool_choice else None
            tools = ToolConfiguration(tools=[_encode_tool(tool) for tool in setup.tools], tool_choice=choice)
        return PromptStart(
            prompt_name=self.name,
            text_output_configuration=_PLAIN,
            audio_output_configuration=msgspec.structs.replace(
                lpcm(setup.output_rate), audio_type="SPEECH", voice_id=setup.voice
            ),
            tool_use_output_configuration=_JSON if tools else None,
            tool_configuration=tools,
        )

    def _history(self, messages: Sequence[Message]) -> list[Message]:
        """The turns that the model can be told of: texts, the newest that are not too many, from a user's on."""
        spoken = [message for message in messages if message.text.strip() and message.role in ("user", "assistant")]
        if any(not isinstance(block, Text) for message in messages for block in message.content):
            self.warnings.append("of the turns before, only texts were sent: Nova Sonic takes no others")
        left, first = MAX_HISTORY, len(spoken)
        while first and (left := left - len(_utf8(spoken[first - 1].text))) >= 0:
            first -= 1
        while first < len(spoken) and spoken[first].role != "user":
            first += 1
        if first:
            self.warnings.append(
                f"the first {first} of the turns before were not sent: Nova Sonic takes {MAX_HISTORY // 1000} KB of "
                "them, the first of which is the user's"
            )
        return spoken[first:]

    def text(self, text: str) -> Iterator[InputEvent]:
        """What the user writes, to be answered now."""
        if not text.strip():
            raise ValidationError("the text is blank: write something")
        yield from self._text("USER", text, interactive=True)

    def _text(self, role: str, text: str, *, interactive: bool) -> Iterator[InputEvent]:
        name = str(uuid.uuid4())
        yield InputStart(
            prompt_name=self.name,
            content_name=name,
            type="TEXT",
            role=role,
            interactive=interactive,
            text_input_configuration=_PLAIN,
        )
        for piece in _pieces(text):
            yield TextInput(prompt_name=self.name, content_name=name, content=piece)
        yield InputEnd(prompt_name=self.name, content_name=name)

    def audio(self, data: bytes) -> Iterator[InputEvent]:
        """What the user says."""
        if self._audio is None:
            self._audio = str(uuid.uuid4())
            yield InputStart(
                prompt_name=self.name,
                content_name=self._audio,
                type="AUDIO",
                role="USER",
                interactive=True,
                audio_input_configuration=msgspec.structs.replace(lpcm(self._setup.input_rate), audio_type="SPEECH"),
            )
        yield AudioInput(prompt_name=self.name, content_name=self._audio, content=data)

    def tool_result(self, result: ToolResult) -> Iterator[InputEvent]:
        name = str(uuid.uuid4())
        yield InputStart(
            prompt_name=self.name,
            content_name=name,
            type="TOOL",
            role="TOOL",
            interactive=False,
            tool_result_input_configuration=ToolResultFormat(
                tool_use_id=result.tool_use_id, type="TEXT", text_input_configuration=_PLAIN
            ),
        )
        yield ToolResultInput(prompt_name=self.name, content_name=name, content=_encode_result(result))
        yield InputEnd(prompt_name=self.name, content_name=name)

    def closing(self) -> Iterator[InputEvent]:
        if self._audio is not None:
            yield InputEnd(prompt_name=self.name, content_name=self._audio)
            self._audio = None
        yield PromptEnd(prompt_name=self.name)
        yield SessionEnd()


def lpcm(rate: int) -> AudioFormat:
    """``rate`` is one of ``types.speech.RATES``."""
    members = {
        "mediaType": _LPCM,
        "sampleRateHertz": rate,
        "sampleSizeBits": 16,
        "channelCount": 1,
        "encoding": "base64",
    }
    return msgspec.convert(members, AudioFormat)


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of at most ``MAX_TEXT`` bytes, none of which ends within a character."""
    data = _utf8(text)
    while len(data) > MAX_TEXT:
        end = MAX_TEXT
        while data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[:end].decode()
        data = data[end:]
    yield data.decode()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as cause:
        raise ValidationError(f"the text cannot be written as JSON: {cause}") from cause


def _encode_tool(tool: Tool) -> JsonObject:
    """Converse's, but that the schema is a JSON text and there is no ``strict``."""
    if not isinstance(tool, ToolSpec):
        raise UnsupportedError(f"Nova Sonic takes tools with a specification only, no {type(tool).__name__}")
    wire: Any = encode_tool(msgspec.structs.replace(tool, strict=None))
    wire["toolSpec"]["inputSchema"] = {"json": msgspec.json.encode(tool.input_schema).decode()}
    return {"toolSpec": wire["toolSpec"]}


def _encode_result(result: ToolResult) -> str:
    """One JSON object, as the guide's examples are; an error says that it is one."""
    values: list[Any] = []
    for item in result.content:
        match item:
            case Text(text):
                values.append(text)
            case Json(value):
                values.append(value)
            case _:
                raise UnsupportedError(f"Nova Sonic takes texts and JSON as tool results, no {type(item).__name__}")
    value = values[0] if len(values) == 1 else values
    if result.status == "error":
        value = {"error": value}
    return msgspec.json.encode(value if isinstance(value, dict) else {"result": value}).decode()


# --- read back -------------------------------------------------------------------------------------------------------


def decode_tools(start: PromptStart) -> tuple[Tool, ...]:
    """Raises ``ValidationError``."""
    tools = start.tool_configuration.tools if start.tool_configuration else []
    return tuple(decode_tool(_with_schema(tool)) for tool in tools)


def _with_schema(wire: Any) -> JsonObject:
    try:
        spec = wire["toolSpec"]
        schema = msgspec.json.decode(spec["inputSchema"]["json"])
    except (KeyError, TypeError, ValueError, RecursionError) as cause:
        raise ValidationError(
            f"toolSpec.inputSchema.json is to be a JSON text: {cause!r}", code="ValidationException", status=400
        ) from cause
    return {"toolSpec": {**spec, "inputSchema": {"json": schema}}}


def decode_inference(start: SessionStart) -> InferenceConfig:
    given = start.inference_configuration
    return InferenceConfig(given.max_tokens, given.temperature, given.top_p)
