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
from typing import Any, cast

from awsllm.errors import AwsllmError, UnsupportedError
from awsllm.types import ConverseRequest, ConverseResponse, InferenceConfig, JsonObject, JsonValue, Request
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Body, Codec, Context, Payload, Settings
from awsllm.wire.payloads import read_body, read_reply, write
from awsllm.wire.reading import MalformedError, optional, required, unknown_members, without_none
from awsllm.wire.text.errors import encode_error
from awsllm.wire.text.generated import Generated, Unstreamed, decode_generated, first_of, response_text
from awsllm.wire.text.request import (
    check_request,
    check_single,
    decode_prompt,
    encode_prompt,
    stop_warnings,
    text_warnings,
)
from awsllm.wire.vectors import check_dimensions, embed_response, embed_warnings, pool, read_texts, read_vectors

_TITLE = "the format of Hugging Face pipelines"
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
    "vectors are the mean of all token vectors; a server that pads texts of unlike length counts the padding in: send "
    "one text a call there"
)


def _task(settings: Settings) -> str:
    """The task without the languages: translation_en_to_de is a translation. Unknown, it generates text."""
    task = settings.task or _GENERATE
    return "translation" if task.startswith("translation") else task


def _member(settings: Settings) -> str:
    """The member that holds the answer. Raises ``UnsupportedError`` for a task that does not generate text."""
    member = _MEMBERS.get(_task(settings))
    if member is None:
        raise UnsupportedError(f"a pipeline for {settings.task} does not converse; one for {_GENERATE} does")
    return member


# --- text ------------------------------------------------------------------------------------------------------------


class PipelineChat(Unstreamed):
    title = _TITLE

    def warnings(self, request: ConverseRequest, settings: Settings) -> tuple[str, ...]:
        return (*text_warnings(request), *stop_warnings(request))

    def encode_request(self, request: ConverseRequest, settings: Settings, *, stream: bool = False) -> Payload:
        if stream:
            raise self.no_stream()
        _member(settings)
        extra = dict(request.extra or {})
        check_single(extra, "num_return_sequences")
        check_request(request, self.title)
        options = extra.pop("options", None)
        parameters = without_none(_encode_parameters(request.inference_config, _task(settings)), extra)
        members = {"inputs": encode_prompt(request, settings).text, "parameters": parameters or None}
        return write(without_none({**members, "options": options}))

    def decode_response(self, payload: Payload, context: Context) -> ConverseResponse:
        return decode_generated(payload, context, self.title, _read_answer)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[ConverseRequest, bool]:
        wire = read_body(payload)
        _member(settings)
        parameters = optional(wire, "parameters", dict) or {}
        check_single(parameters, "num_return_sequences")
        config, extra = _decode_parameters(parameters), unknown_members(parameters, _KNOWN)
        return decode_prompt(model, required(wire, "inputs", str), settings, config, extra), False

    def encode_response(self, response: ConverseResponse, context: Context) -> Payload:
        """The prompt stands before the answer unless ``return_full_text`` forbids that, as in the pipeline."""
        text = response_text(response, context)
        request = context.request_as(ConverseRequest)
        if _task(context.settings) == _GENERATE and (request.extra or {}).get("return_full_text") is not False:
            text = encode_prompt(request, context.settings).text + text
        return write([{_member(context.settings): text}])


def _read_answer(wire: JsonValue) -> Generated:
    answer = first_of(wire)
    found = [answer[name] for name in _MEMBERS.values() if name in answer] if isinstance(answer, dict) else []
    if not found or not isinstance(found[0], str):
        raise MalformedError("has no generated text")
    return Generated(found[0], wire=wire if isinstance(wire, dict) else {"reply": wire})


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


# --- vectors ---------------------------------------------------------------------------------------------------------


class PipelineEmbed:
    max_texts = None
    max_inputs = 0

    def warnings(self, request: EmbedRequest, settings: Settings) -> tuple[str, ...]:
        found = embed_warnings(request, normalizes=True)
        return (*found, _POOLED) if len(request.texts) > 1 else found

    def encode_request(self, request: EmbedRequest, settings: Settings) -> Payload:
        check_dimensions(request, _TITLE)
        if settings.task in _MEMBERS:
            raise UnsupportedError(f"a pipeline for {settings.task} does not embed; one for {_EXTRACT} does")
        return write(without_none({"inputs": list(request.texts)}, request.extra))

    def decode_response(self, payload: Payload, context: Context) -> EmbedResponse:
        wire = read_reply(payload, context)
        pooled = list(map(pool, wire)) if isinstance(wire, list) else wire
        vectors = read_vectors(pooled, context, _TITLE)
        if context.request_as(EmbedRequest).normalize:
            vectors = list(map(_unit, vectors))
        return embed_response(vectors, context, wire)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> EmbedRequest:
        return EmbedRequest(model=model, texts=read_texts(read_body(payload), "inputs"))

    def encode_response(self, response: EmbedResponse, context: Context) -> Payload:
        """Each text as if it had one token."""
        return write([[vector] for vector in response.vectors])


def _unit(vector: list[float]) -> list[float]:
    length = sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


# --- the body --------------------------------------------------------------------------------------------------------

_CHAT, _EMBED = PipelineChat(), PipelineEmbed()


class _LatePredict:
    """The codec of the other pipelines, loaded when one of its methods is first asked for: chat does not pay for it."""

    def __getattr__(self, name: str) -> Any:
        from awsllm.wire.endpoint.tasks.pipelines import PipelinePredict

        return getattr(PipelinePredict(), name)


_PREDICT: Codec[Any, Any] = cast("Codec[Any, Any]", _LatePredict())


def _read(model: str, payload: Payload, settings: Settings) -> tuple[Request[Any], bool]:
    if _is_other(settings.task):
        return _PREDICT.decode_request(model, payload, settings), False
    if _task(settings) == _EXTRACT:
        return _EMBED.decode_request(model, payload, settings), False
    return _CHAT.decode_request(model, payload, settings)


def _is_other(task: str | None) -> bool:
    """Whether a pipeline of this task is no chat's and no embedding's to answer."""
    if task is None or _task(Settings(task=task)) in (*_MEMBERS, _EXTRACT):
        return False
    from awsllm.wire.endpoint.tasks.pipelines import answers

    return answers(task)


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    kind = "InternalServerException"
    return encode_error(error, lambda status, message: {"code": status, "type": kind, "message": message})


BODIES: tuple[Body, ...] = (
    Body("huggingface", _TITLE, _read, _encode_error, chat=_CHAT, embed=_EMBED, predict=_PREDICT),
)
