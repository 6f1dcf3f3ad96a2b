"""AI21's Jurassic-2: a prompt in, completions out, no stream. Jamba, its successor, speaks the OpenAI format.

Tokens are listed, not counted; where the container lists them their number is the usage.
Source: the public SageMaker client of AI21 before its version 3, of 2023.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError
from awsllm.types import ConverseRequest, ConverseResponse, EmbedRequest, JsonObject, JsonValue, Usage
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.payloads import asked_for, read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structure, structures, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text import pieces as plain
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.pieces import Names

_NAMES = Names(max_tokens="maxTokens", temperature="temperature", top_p="topP", stop_sequences="stopSequences")
_KNOWN = _NAMES.all | {"prompt", "numResults"}
_STOP_REASONS = {"endoftext": "end_turn", "length": "max_tokens", "stop": "stop_sequence"}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}


class Jurassic(Format):
    name = "jurassic"
    title = "the format of AI21's Jurassic"
    serves = frozenset(("converse",))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return text.warnings(request) if isinstance(request, ConverseRequest) else ()

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        if stream:
            raise self.unsupported("converse_stream")
        plain.check_single(request.extra, "numResults")
        text.check(request, self)
        prompt = text.prompt(request, settings)
        members = {"prompt": prompt.text, "numResults": 1, **_NAMES.encode(request.inference_config, prompt.all_stops)}
        return write(without_none(members, request.extra))

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return text.response(_decode(wire), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        plain.check_single(wire, "numResults")
        prompt, extra = required(wire, "prompt", str), plain.beyond(wire, _KNOWN)
        return text.read_prompt(model, prompt, settings, _NAMES.decode(wire), extra), False

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        piece = plain.told(response)
        prompt = text.prompt(asked_for(ConverseRequest, asked), asked.settings).text
        reason = _FINISH_REASONS.get(piece.finish_reason or "end_turn", "endoftext")
        completion = {"data": {"text": piece.text, "tokens": []}, "finishReason": {"reason": reason}}
        return write({"id": asked.request_id or 1, "prompt": _tokens(prompt), "completions": [completion]})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, lambda status, message: {"detail": message})


def _tokens(text: str) -> JsonObject:
    return {"text": text, "tokens": []}


def _decode(wire: JsonObject) -> Generated:
    completions = structures(wire, "completions", lambda completion: completion)
    if not completions:
        raise MalformedError("must hold an answer", "completions")
    data = structure(completions[0], "data", lambda data: data)
    finish = optional(completions[0], "finishReason", dict) or {}
    reason = finish.get("reason")
    return Generated(
        text=required(data, "text", str),
        finish_reason=_STOP_REASONS.get(reason, reason) if isinstance(reason, str) else None,
        usage=Usage(input_tokens=_count(wire.get("prompt")), output_tokens=_count(data)),
        wire=wire,
    )


def _count(text: JsonValue) -> int | None:
    """How many tokens a text lists; an empty list says nothing."""
    tokens = text.get("tokens") if isinstance(text, dict) else None
    return len(tokens) if isinstance(tokens, list) and tokens else None


FORMATS: tuple[Format, ...] = (Jurassic(),)
