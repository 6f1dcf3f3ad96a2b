"""Hugging Face's own containers, which serve one pipeline of transformers: its task says what goes in and comes out.

A body is ``inputs`` with the pipeline's ``parameters`` and, seldom, ``options``. Generating tasks answer with a list of
objects whose member is named for the task; ``feature-extraction`` answers with the vectors of all tokens, and a text's
vector is their mean. Pipelines tell neither usage nor why they stopped, and older ones know no stop sequences: an
answer is cut at the first of them here.

Source: transformers' pipelines and the SageMaker Hugging Face inference toolkit, of 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from awsllm.errors import AwsllmError, ServerError, UnsupportedError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
)
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.endpoint.tei import check_dimensions, check_vectors, decode_texts, embedded, knob_warnings
from awsllm.wire.payloads import asked_for, read_body, read_reply, write
from awsllm.wire.reading import optional, required, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text import pieces as plain
from awsllm.wire.text.generated import Generated

_GENERATE = "text-generation"
_EXTRACT = "feature-extraction"
_MEMBERS: Mapping[str, str] = {  # a generating task to the member of its answer
    _GENERATE: "generated_text",
    "text2text-generation": "generated_text",
    "summarization": "summary_text",
    "translation": "translation_text",
}
_KNOWN = frozenset(("max_new_tokens", "temperature", "top_p", "do_sample"))
_POOLED = (
    "vectors are the mean of all token vectors; a container that pads texts of unlike length counts the padding in: "
    "send one text a call there"
)


def _task(settings: Settings) -> str:
    """The task without the languages: translation_en_to_de is a translation. Unknown, it generates text."""
    task = settings.task or _GENERATE
    return "translation" if task.startswith("translation") else task


class HuggingFace(Format):
    name = "huggingface"
    title = "the format of Hugging Face pipelines"
    serves = frozenset(("converse", "embed"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        if isinstance(request, ConverseRequest):
            return (*text.warnings(request), *text.no_stop_warnings(request))
        found = knob_warnings(request, normalizes=True, has_input_type=False)
        return (*found, _POOLED) if len(request.texts) > 1 else found

    # --- text --------------------------------------------------------------------------------------------------------

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        if stream:
            raise self.unsupported("converse_stream")
        self._member(settings)
        extra = dict(request.extra or {})
        plain.check_single(extra, "num_return_sequences")
        text.check(request, self)
        options = extra.pop("options", None)
        parameters = without_none(_encode_parameters(request.inference_config, _task(settings)), extra)
        return write(
            without_none(
                {"inputs": text.prompt(request, settings).text, "parameters": parameters or None, "options": options}
            )
        )

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_reply(payload, context)
        answer = wire
        while isinstance(answer, list) and answer:
            answer = answer[0]
        members = set(_MEMBERS.values()).intersection(answer) if isinstance(answer, dict) else set()
        found = answer[members.pop()] if members else None
        if not isinstance(found, str):
            raise ServerError(f"not an answer of {self.title}: {str(wire)[:200]}", request_id=context.request_id)
        return text.response(Generated(found, wire=wire if isinstance(wire, dict) else {"reply": wire}), context)

    def _member(self, settings: Settings) -> str:
        """The member that holds the answer. Raises ``UnsupportedError`` for a task that does not generate text."""
        member = _MEMBERS.get(_task(settings))
        if member is None:
            raise UnsupportedError(f"a container for {settings.task} does not converse; one for {_GENERATE} does")
        return member

    # --- vectors -----------------------------------------------------------------------------------------------------

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, self.title)
        if settings.task in _MEMBERS:
            raise UnsupportedError(f"a container for {settings.task} does not embed; one for {_EXTRACT} does")
        return write(without_none({"inputs": list(request.texts)}, request.extra))

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        wire = read_reply(payload, context)
        request = asked_for(EmbedRequest, context)
        vectors = check_vectors(list(map(_pool, wire)) if isinstance(wire, list) else wire, self.title, context)
        return embedded(list(map(_unit, vectors)) if request.normalize else vectors, context, wire)

    # --- container half ----------------------------------------------------------------------------------------------

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        if _task(settings) == _EXTRACT:
            return EmbedRequest(model=model, texts=decode_texts(wire, "inputs")), False
        self._member(settings)
        parameters = optional(wire, "parameters", dict) or {}
        plain.check_single(parameters, "num_return_sequences")
        config, extra = _decode_parameters(parameters), plain.beyond(parameters, _KNOWN)
        return text.read_prompt(model, required(wire, "inputs", str), settings, config, extra), False

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        """The prompt stands before the answer unless ``return_full_text`` forbids that, as in the pipeline."""
        answer = text.answer_text(response)
        request = asked_for(ConverseRequest, asked)
        if _task(asked.settings) == _GENERATE and (request.extra or {}).get("return_full_text") is not False:
            answer = text.prompt(request, asked.settings).text + answer
        return write([{self._member(asked.settings): answer}])

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        """Each text as if it had one token."""
        return write([[vector] for vector in response.vectors])

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        kind = "InternalServerException"
        return plain.failed(error, lambda status, message: {"code": status, "type": kind, "message": message})


def _encode_parameters(config: InferenceConfig, task: str) -> JsonObject:
    """Temperature 0 is no sampling: a pipeline refuses it as a temperature."""
    samples = bool(config.temperature) or (config.temperature is None and config.top_p is not None)
    return {
        "max_new_tokens": config.max_tokens,
        "do_sample": None if config.temperature is None and config.top_p is None else samples,
        "temperature": config.temperature or None,
        "top_p": config.top_p if samples else None,
        "return_full_text": False if task == _GENERATE else None,
    }


def _decode_parameters(wire: JsonObject) -> InferenceConfig:
    greedy = optional(wire, "do_sample", bool) is False
    return InferenceConfig(
        max_tokens=optional(wire, "max_new_tokens", int),
        temperature=0.0 if greedy else optional(wire, "temperature", float),
        top_p=optional(wire, "top_p", float),
    )


def _pool(value: JsonValue) -> JsonValue:
    """What stands for one text as one vector: the mean of its token vectors (T, H), which may be in a list of their
    own. A vector stays as it is, and so does what is none."""
    while _depth(value) > 2 and len(value) == 1:
        value = value[0]
    if _depth(value) != 2:
        return value
    try:
        return [sum(numbers) / len(value) for numbers in zip(*value, strict=True)]
    except (TypeError, ValueError):
        return value


def _depth(value: JsonValue) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def _unit(vector: list[float]) -> list[float]:
    length = sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


FORMATS: tuple[Format, ...] = (HuggingFace(),)
