"""Llama 2 as JumpStart first served it (versions 1 and 2): a list of dialogs in, a list of generations out.

    CustomAttributes: accept_eula=true
    {"inputs": [[{"role", "content"}, …]], "parameters": {"max_new_tokens", "top_p", "temperature"}}
    [{"generation": {"role": "assistant", "content"}}]
    base models: {"inputs": text, "parameters": …} -> [{"generation": text}]          (``Settings.task`` is set)

The licence is accepted in every call. Turns alternate strictly, the user's first, behind at most one system turn.
There is no stream, no usage, no stop sequence. (Public samples of 2023.)
"""

from __future__ import annotations

import msgspec

from awsllm.errors import EulaNotAcceptedError, UnsupportedError, ValidationError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
    Message,
    Text,
)
from awsllm.wire.body import Body, Context, Payload, Settings
from awsllm.wire.endpoint.djl import encode_error
from awsllm.wire.payloads import read_body, write
from awsllm.wire.reading import MalformedError, elements, optional, required, unknown_members, without_none
from awsllm.wire.text.generated import (
    Generated,
    Unstreamed,
    decode_generated,
    first_of,
    read_generated,
    response_text,
)
from awsllm.wire.text.prompts import text_of
from awsllm.wire.text.request import (
    check_request,
    decode_prompt,
    encode_prompt,
    limit_warnings,
    stop_warnings,
    text_warnings,
    token_limit,
)

ACCEPTED = "accept_eula=true"
_PARAMETERS = frozenset(("max_new_tokens", "temperature", "top_p"))


class DialogsChat(Unstreamed):
    title = "Llama 2's dialogs"

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *limit_warnings(request), *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        check_request(request, self.title)
        _check_licence(request)
        config = request.inference_config
        parameters = {"max_new_tokens": token_limit(config), "temperature": config.temperature, "top_p": config.top_p}
        inputs = encode_prompt(request, settings).text if settings.task else [_encode_dialog(request)]
        body = {"inputs": inputs, "parameters": without_none(parameters, request.extra)}
        return Payload(msgspec.json.encode(body), attributes=ACCEPTED)

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, self.title, _read_generation)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        if ACCEPTED not in (payload.attributes or "").replace(" ", "").split(","):
            raise EulaNotAcceptedError(f"the custom attribute {ACCEPTED} is needed in every call")
        wire = read_body(payload)
        parameters = optional(wire, "parameters", dict) or {}
        config = InferenceConfig(
            optional(parameters, "max_new_tokens", int),
            optional(parameters, "temperature", float),
            optional(parameters, "top_p", float),
        )
        request = _decode_inputs(model, wire, settings, config)
        extra = unknown_members(parameters, _PARAMETERS)
        return msgspec.structs.replace(request, inference_config=config, extra=extra), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        text = response_text(response, context)
        return write([{"generation": text if context.settings.task else {"role": "assistant", "content": text}}])


def _check_licence(request: ConverseRequest) -> None:
    endpoint = request.endpoint
    given = (endpoint.custom_attributes or "") if endpoint else ""
    if not (endpoint and (endpoint.accept_eula or ACCEPTED in given)):
        raise EulaNotAcceptedError(
            "this model wants its licence accepted in every call: read it, then pass endpoint={'accept_eula': True}"
        )


def _encode_dialog(request: ConverseRequest) -> list[JsonObject]:
    system = text_of(request.system)
    dialog: list[JsonObject] = [{"role": "system", "content": system}] if system else []
    for index, message in enumerate(request.messages):
        if message.role != ("user", "assistant")[index % 2]:
            raise ValidationError(
                f"messages.{index}: this model wants user and assistant turns to alternate, the user's first"
            )
        dialog.append({"role": message.role, "content": text_of(message.content)})
    if len(request.messages) % 2 == 0:
        raise ValidationError("messages: this model wants the last turn to be the user's")
    return dialog


def _decode_inputs(model: str, wire: JsonObject, settings: Settings, config: InferenceConfig) -> ConverseRequest:
    inputs = wire.get("inputs")
    if isinstance(inputs, str):
        return decode_prompt(model, inputs, settings, config)
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[0], list):
        raise MalformedError("must be a text or a list of dialogs", "inputs")
    if len(inputs) > 1:
        raise UnsupportedError("inputs: one dialog a call")
    turns = elements(inputs[0], "inputs.0", _decode_turn)
    system = tuple(block for turn in turns[:1] if turn.role == "system" for block in turn.content)
    messages = turns[1:] if system else turns
    if [turn.role for turn in messages] != [("user", "assistant")[i % 2] for i in range(len(messages))]:
        raise MalformedError("user and assistant turns must alternate, the user's first", "inputs.0")
    texts = tuple(block for block in system if isinstance(block, Text))
    return ConverseRequest(model=model, system=texts, messages=messages)


def _decode_turn(wire: JsonObject) -> Message:
    return Message(required(wire, "role", str), (Text(required(wire, "content", str)),))


def _read_generation(wire: JsonValue) -> Generated:
    wire = first_of(wire)
    if not isinstance(wire, dict):
        raise MalformedError("has no generation")
    generation = wire.get("generation")
    if generation is None:  # from version 3 on
        return read_generated(wire)
    if isinstance(generation, str):
        return Generated(generation, wire=wire)
    return Generated(required(required(wire, "generation", dict), "content", str), wire=wire)


_CHAT = DialogsChat()

BODIES: tuple[Body, ...] = (Body("dialogs", _CHAT.title, _CHAT.decode_request, encode_error, chat=_CHAT),)
