"""TwelveLabs' Pegasus 1.2 and 1.5: one video and what is asked of it, a text back, whole or streamed.

    {"inputPrompt", "mediaSource": {"base64String" | "s3Location": {"uri", "bucketOwner"}}, "temperature",
     "maxOutputTokens", "responseFormat": {"jsonSchema"}}
    {"message": "...", "finishReason": "stop" | "length"}

There is one turn and no system prompt: a system text is put before what is asked, which a warning says. Members of 1.5
alone (``analysis_mode``, segments) go into ``extra``. A stream gives pieces of ``message``, and ``finishReason`` at its
end. Sources, read 2026-11-26: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-pegasus.html,
…/model-parameters-pegasus-1-5.html; aws-samples/sample-amazon-bedrock-global-cris (the stream); litellm (jsonSchema).
"""

from __future__ import annotations

from base64 import b64encode

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.types import (
    Bytes,
    ContentBlock,
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonSchema,
    Message,
    OutputConfig,
    S3Location,
    Text,
    Video,
)
from awsllm.wire.body import Body, ChunkDecoder, ChunkEncoder, Context, Payload, Settings
from awsllm.wire.framing import encode_line
from awsllm.wire.images.errors import encode_error
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import blob, optional, required, structure, unknown_members, without_none
from awsllm.wire.text.blocks import block_text
from awsllm.wire.text.generated import Generated, generated_from, response_of, with_finish_reason
from awsllm.wire.text.pieces import PieceDecoder, PieceEncoder
from awsllm.wire.text.request import check_request, stop_warnings, text_warnings

_TITLE = "the format of TwelveLabs' Pegasus"
_KNOWN = frozenset(("inputPrompt", "mediaSource", "temperature", "maxOutputTokens", "responseFormat"))
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
_FINISH_REASONS = {"max_tokens": "length"}
_INLINE = 36 * 1000 * 1000
"""Characters of base64."""
_FORMATS = ((b"\x1aE\xdf\xa3", "webm"), (b"FLV", "flv"), (b"\x00\x00\x01\xba", "mpeg"))


class PegasusChat:
    streams = True

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        found = (*text_warnings(request), *stop_warnings(request))
        if request.inference_config.top_p is not None:
            found += (f"top_p: {_TITLE} has no such setting",)
        return (*found, "system: it was put before what is asked") if request.system else found

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        check_request(request, _TITLE, json_schema=True)
        video, prompt = _asked(request)
        config, output = request.inference_config, request.output_config
        schema = output.json_schema.schema if output and output.json_schema else None
        members = {
            "inputPrompt": prompt or None,
            "mediaSource": _encode_source(video),
            "temperature": config.temperature,
            "maxOutputTokens": config.max_tokens,
            "responseFormat": {"jsonSchema": schema} if schema is not None else None,
        }
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(_TITLE, context):
            required(wire, "message", str)
            return response_of(with_finish_reason(_decode(wire)), context)

    def stream_decoder(self, context: Context) -> ChunkDecoder:
        return PieceDecoder(
            lambda chunk: _decode(chunk) if chunk.keys() & {"message", "finishReason"} else None, context
        )

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        content: list[ContentBlock] = [structure(wire, "mediaSource", _decode_source)]
        if prompt := optional(wire, "inputPrompt", str):
            content.append(Text(prompt))
        schema = optional(optional(wire, "responseFormat", dict) or {}, "jsonSchema", dict)
        request = ConverseRequest(
            model=model,
            messages=(Message("user", tuple(content)),),
            inference_config=InferenceConfig(
                max_tokens=optional(wire, "maxOutputTokens", int), temperature=optional(wire, "temperature", float)
            ),
            output_config=OutputConfig(json_schema=JsonSchema(schema)) if schema is not None else None,
            extra=unknown_members(wire, _KNOWN),
        )
        return request, False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        whole = generated_from(response, context)
        return write({"message": whole.text, "finishReason": _finish(whole)})

    def stream_encoder(self, context: Context) -> ChunkEncoder:
        return PieceEncoder(
            lambda piece: encode_line({"message": piece}),
            lambda whole: encode_line({"finishReason": _finish(whole)}),
            lambda error: encode_line({"error": {"message": error.message, "code": encode_error(error)[0]}}),
            context,
        )


def _decode(wire: JsonObject) -> Generated:
    reason = optional(wire, "finishReason", str)
    return Generated(optional(wire, "message", str) or "", _STOP_REASONS.get(reason or "", reason), wire=wire)


def _finish(whole: Generated) -> str:
    return _FINISH_REASONS.get(whole.finish_reason or "", "stop")


def _asked(request: ConverseRequest) -> tuple[Video, str]:
    """The one video and the text beside it. Raises ``UnsupportedError`` for a conversation."""
    if len(request.messages) != 1:
        raise UnsupportedError(f"{_TITLE} has one turn: ask each time anew, with the video and all that matters")
    content = request.messages[0].content
    videos = [block for block in content if isinstance(block, Video)]
    if len(videos) != 1:
        raise ValidationError(f"{_TITLE} takes one video a call (awsllm.video), not {len(videos)}")
    texts = [block_text(block) for block in (*request.system, *content) if not isinstance(block, Video)]
    return videos[0], "\n\n".join(filter(None, texts))


def _encode_source(video: Video) -> JsonObject:
    match video.source:
        case S3Location(uri, owner):
            return {"s3Location": without_none({"uri": uri, "bucketOwner": owner})}
        case Bytes(data):
            text = b64encode(data).decode()
            if len(text) > _INLINE:
                raise ValidationError(f"the video has {len(data):,} bytes; put it into S3: awsllm.video('s3://…')")
            return {"base64String": text}
        case _:
            raise UnsupportedError("a video is bytes, or lies in S3")


def _decode_source(wire: JsonObject) -> Video:
    if "s3Location" in wire:
        location = structure(wire, "s3Location", lambda at: S3Location(required(at, "uri", str), at.get("bucketOwner")))
        return Video(location.uri.rpartition(".")[2].lower() if "." in location.uri else "mp4", location)
    data = blob(required(wire, "base64String", str), "base64String")
    return Video(next((form for mark, form in _FORMATS if data.startswith(mark)), "mp4"), Bytes(data))


_CHAT = PegasusChat()

BODIES: tuple[Body, ...] = (Body("pegasus", _TITLE, _CHAT.decode_request, encode_error, chat=_CHAT),)
