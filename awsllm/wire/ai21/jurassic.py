"""AI21's Jurassic-2: a prompt in, completions out, no stream. Jamba, its successor, speaks the OpenAI format.

Tokens are listed, not counted; where the server lists them their number is the usage. One answer is what it gives
without being asked for more.
Sources: the public SageMaker client of AI21 before its version 3, of 2023; docs.aws.amazon.com, AI21 Labs Jurassic-2
models, 2024; a recorded call of j2-mid in DataDog/dd-trace-py, 2024.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError
from awsllm.types import ConverseRequest, ConverseResponse, JsonObject, JsonValue, Usage
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.payloads import read_body, read_object, reply_of, write
from awsllm.wire.reading import (
    MalformedError,
    objects,
    optional,
    required,
    unknown_members,
    without_none,
)
from awsllm.wire.text.errors import encode_error
from awsllm.wire.text.generated import Generated, Unstreamed, generated_from, response_of
from awsllm.wire.text.request import (
    ConfigNames,
    check_request,
    check_single,
    decode_prompt,
    encode_prompt,
    text_warnings,
)

_NAMES = ConfigNames(max_tokens="maxTokens", temperature="temperature", top_p="topP", stop_sequences="stopSequences")
_KNOWN = _NAMES.all | {"prompt", "numResults"}
_STOP_REASONS = {"endoftext": "end_turn", "length": "max_tokens", "stop": "stop_sequence"}
_FINISH_REASONS = {reason: finish for finish, reason in _STOP_REASONS.items()}


class JurassicChat(Unstreamed):
    title = "the format of AI21's Jurassic"

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return text_warnings(request)

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        check_single(request.extra, "numResults")
        check_request(request, self.title)
        prompt = encode_prompt(request, settings)
        members = {"prompt": prompt.text, **_NAMES.encode(request.inference_config, prompt.stops)}
        return write(without_none(members, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return response_of(_decode(wire), context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        check_single(wire, "numResults")
        prompt, extra = required(wire, "prompt", str), unknown_members(wire, _KNOWN)
        return decode_prompt(model, prompt, settings, _NAMES.decode(wire), extra), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        generated = generated_from(response, context)
        prompt = encode_prompt(context.request_as(ConverseRequest), context.settings).text
        reason = _FINISH_REASONS.get(generated.finish_reason or "end_turn", "endoftext")
        completion = {"data": _without_tokens(generated.text), "finishReason": {"reason": reason}}
        return write({"id": context.request_id or 1, "prompt": _without_tokens(prompt), "completions": [completion]})


def _without_tokens(text: str) -> JsonObject:
    return {"text": text, "tokens": []}


def _decode(wire: JsonObject) -> Generated:
    completions = objects(wire, "completions")
    if not completions:
        raise MalformedError("must hold an answer", "completions")
    data = required(completions[0], "data", dict)
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


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return encode_error(error, lambda status, message: {"detail": message})


_CHAT = JurassicChat()

BODIES: tuple[Body, ...] = (Body("jurassic", _CHAT.title, _CHAT.decode_request, _encode_error, chat=_CHAT),)
