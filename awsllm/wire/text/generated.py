"""What the formats that take and give texts share: the prompt, stop sequences, why an answer ended, what it used.

Stop sequences. Some servers leave the sequence at the end of the text, some cut it off, some cannot stop at all. So the
text is always cut here, at the first stop sequence that is complete, whole (``Stops.cut``) or as it streams
(``StopCutter``, which holds back whatever may become one). Those of the prompt's style end a turn; the caller's are a
reason of their own.

Usage is what the container counted. A count made here, of streamed tokens, is marked as estimated; otherwise a count
that is missing stays unknown.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, ContextWindowError, ServerError, UnsupportedError
from awsllm.types import (
    Citations,
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    InferenceConfig,
    JsonObject,
    JsonValue,
    Message,
    Reasoning,
    Text,
    Usage,
    Value,
)
from awsllm.wire.body import Settings
from awsllm.wire.endpoint.format import Format, ReplyContext
from awsllm.wire.openai import request as openai_request
from awsllm.wire.payloads import asked_for
from awsllm.wire.reading import MalformedError, optional, required, strings
from awsllm.wire.text import prompts

DEFAULT_MAX_TOKENS = 512
"""Sent where the caller sets no limit: the containers' own default, 20 to 100 tokens, cuts most answers short."""

FINISH_REASONS = {
    "length": "max_tokens",
    "eos_token": "end_turn",
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
}


# --- what is asked ---------------------------------------------------------------------------------------------------


def check(request: ConverseRequest, format: Format) -> None:
    """Raises ``UnsupportedError`` for what changes the answer and has no place in a text format."""
    if request.tools or request.tool_choice is not None:
        raise UnsupportedError(f"{format.title} knows no tools; containers that speak openai or cohere-chat do")
    check_form(request, format)


def check_form(request: ConverseRequest, format: Format) -> None:
    """``check`` for a format that has tools."""
    if request.guardrail_config is not None:
        raise UnsupportedError("a SageMaker endpoint has no guardrails; only bedrock: models do")
    if request.prompt_variables is not None:
        raise UnsupportedError("a SageMaker endpoint has no stored prompts; only bedrock: does")
    if request.output_config and request.output_config.json_schema and not format.json_schema:
        raise UnsupportedError(
            f"a schema for the answer cannot be sent to a container that speaks {format.title}; openai and tgi take one"
        )


def warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What no text format can honour of this request."""
    found = list(openai_request.warnings(request))
    if request.output_config and request.output_config.effort:
        found.append("effort: a container that takes texts has no such setting")
    if any(isinstance(block, Reasoning) for message in request.messages for block in message.content):
        found.append("thinking of earlier turns was left out: a prompt has no place for it")
    return tuple(found)


def limit_warnings(request: ConverseRequest) -> tuple[str, ...]:
    """That a limit was set which the caller did not ask for."""
    if request.inference_config.max_tokens is not None:
        return ()
    return (f"max_tokens: not set, so {DEFAULT_MAX_TOKENS} was sent; the container's own default is lower",)


def no_stop_warnings(request: ConverseRequest) -> tuple[str, ...]:
    if not request.inference_config.stop_sequences:
        return ()
    return ("stop_sequences: the container cannot stop at them; its answer is cut there when it has come",)


def embed_warnings(request: EmbedRequest) -> tuple[str, ...]:
    """What no container of this kind can honour. Raises ``UnsupportedError`` for another size of the vectors."""
    if request.dimensions is not None:
        raise UnsupportedError("dimensions: the container's vectors have one size; leave it out")
    found = [] if request.normalize is None else ["normalize: the container decides whether vectors are normalised"]
    return (*found, *(["input_type: the container makes no difference"] if request.input_type else []))


class Prompt(Value, frozen=True):
    """``stops`` are the caller's stop sequences, ``ends`` the style's."""

    text: str
    stops: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    @property
    def all_stops(self) -> tuple[str, ...]:
        return (*self.stops, *(stop for stop in self.ends if stop not in self.stops))


def prompt(request: ConverseRequest, settings: Settings) -> Prompt:
    """The conversation as one text in the deployment's style. Without one only a single user turn can be sent; the
    style ``plain`` joins turns with blank lines, for whoever wants that. Raises ``UnsupportedError``."""
    text, ends = prompts.render(settings.prompt, request.system, request.messages)
    return Prompt(text, request.inference_config.stop_sequences, ends)


def sampling(config: InferenceConfig) -> JsonObject:
    """Temperature and top_p as Hugging Face's servers take them: temperature 0 is ``do_sample`` false, ``top_p`` must
    be under 1 (TGI's validation), and sampling has to be asked for (LMI up to 0.31)."""
    if config.temperature == 0:
        return {"do_sample": False}
    members: JsonObject = {}
    if config.temperature is not None:
        members["temperature"] = config.temperature
    if config.top_p is not None and config.top_p < 1:
        members["top_p"] = config.top_p
    return {"do_sample": True, **members} if members or config.top_p is not None else {}


def read_sampling(parameters: JsonObject, *, limit: str, stop: str) -> InferenceConfig:
    """The inverse: ``limit`` and ``stop`` are the format's names of the two."""
    greedy = optional(parameters, "do_sample", bool) is False
    return InferenceConfig(
        max_tokens=optional(parameters, limit, int),
        temperature=0.0 if greedy else optional(parameters, "temperature", float),
        top_p=optional(parameters, "top_p", float),
        stop_sequences=strings(parameters, stop),
    )


def read_prompt(
    model: str, text: str, settings: Settings, config: InferenceConfig, extra: JsonObject | None = None
) -> ConverseRequest:
    """The conversation that a prompt makes. Stop sequences that belong to the style are not the caller's."""
    system, messages = prompts.parse(settings.prompt, text)
    style = prompts.STYLES.get(settings.prompt or "")
    ends = style.stop_sequences if style else ()
    own = tuple(stop for stop in config.stop_sequences if stop not in ends)
    config = InferenceConfig(config.max_tokens, config.temperature, config.top_p, own)
    return ConverseRequest(model=model, system=system, messages=messages, inference_config=config, extra=extra)


# --- where an answer ends --------------------------------------------------------------------------------------------


class Stops:
    """The sequences at which an answer ends, for one request."""

    def __init__(self, context: ReplyContext) -> None:
        request = asked_for(ConverseRequest, context)
        style = prompts.STYLES.get(context.settings.prompt or "")
        self._own = request.inference_config.stop_sequences
        self.all = tuple(stop for stop in (*self._own, *(style.stop_sequences if style else ())) if stop)

    def cut(self, text: str) -> tuple[str, str | None]:
        """The text before the first sequence that is complete, and that sequence; None where there is none."""
        found = [(at + len(stop), at, stop) for stop in self.all if (at := text.find(stop)) >= 0]
        if not found:
            return text, None
        _, at, stop = min(found)
        return text[:at], stop

    def reason(self, told: str | None, matched: str | None) -> str:
        """Why the answer ended: ``told`` is the server's word, ``matched`` what the text was cut at."""
        if matched is not None:
            return "stop_sequence" if matched in self._own else "end_turn"
        reason = FINISH_REASONS.get(told, told) if told else "end_turn"
        return "end_turn" if reason == "stop_sequence" and not self._own else reason


class StopCutter:
    """The same cut, on a text that comes in pieces."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._held = ""
        self.matched: str | None = None

    def push(self, piece: str) -> str:
        """What may be shown now."""
        if self.matched is not None:
            return ""
        text, self.matched = self._stops.cut(self._held + piece)
        keep = 0 if self.matched is not None else self._beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back and is no stop sequence, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop sequence."""
        longest = max((len(stop) for stop in self._stops.all), default=1) - 1
        sizes = range(min(longest, len(text)), 0, -1)
        return next((n for n in sizes if any(stop.startswith(text[-n:]) for stop in self._stops.all)), 0)


# --- what is answered ------------------------------------------------------------------------------------------------


class Generated(Value, frozen=True):
    """One generated text with what the server said of it. ``wire`` is the object it came in."""

    text: str
    finish_reason: str | None = None
    usage: Usage = Usage()
    wire: JsonObject | None = None


def read_generated(wire: JsonValue) -> Generated:
    """The first text of a reply in any of the shapes that the servers give it. Raises ``MalformedError``."""
    while isinstance(wire, list) and wire:
        wire = wire[0]
    if not isinstance(wire, dict):
        raise MalformedError("has no generated text")
    details = optional(wire, "details", dict) or {}
    text = strings(wire, "generated_texts")[:1] or (required(wire, "generated_text", str),)
    return Generated(text[0], read_finish(details), read_usage(details), wire)


def read_finish(details: JsonObject) -> str | None:
    """LMI's documentation also writes the member with a space."""
    return optional(details, "finish_reason", str) or optional(details, "finish reason", str)


def read_usage(details: JsonObject) -> Usage:
    """TGI tells the length of the input in streams (``input_length``), or by listing its tokens (``prefill``)."""
    prefill = optional(details, "prefill", list)
    tokens_in = optional(details, "input_length", int) or (len(prefill) if prefill else None)
    tokens_out = optional(details, "generated_tokens", int)
    known = tokens_in is not None and tokens_out is not None
    return Usage(tokens_in, tokens_out, (tokens_in or 0) + (tokens_out or 0) if known else None)


def response(found: Generated, context: ReplyContext) -> ConverseResponse:
    """The neutral value of a generated text. Raises ``ServerError`` where the container stopped with an error."""
    check_finish(found.finish_reason, context)
    stops = Stops(context)
    text, matched = stops.cut(found.text)
    message = Message("assistant", (Text(text),) if text else ())
    return ConverseResponse(
        message=message,
        stop_reason=stops.reason(found.finish_reason, matched),
        usage=found.usage,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=found.wire,
        messages=(message,),
    )


def check_finish(reason: str | None, context: ReplyContext) -> None:
    if reason == "error":
        message = "the container stopped generating with an error; its log says why"
        raise ServerError(message, code="error", request_id=context.request_id, retryable=False)


def answer_text(answer: ConverseResponse) -> str:
    """An answer as the text a container gives: thinking is text like any other. Raises ``UnsupportedError``."""
    return "".join(_written(block) for block in answer.message.content)


def _written(block: object) -> str:
    match block:
        case Text(text=text) | Reasoning(text=text):
            return text
        case Citations():
            return Message("assistant", (block,)).text
        case _:
            raise UnsupportedError(f"an answer that is a text cannot hold {type(block).__name__}")


def ended_text(answer: ConverseResponse, context: ReplyContext) -> str:
    """The answer as servers give it that leave the stop sequence at the end, where it is known which it was."""
    return answer_text(answer) + ended_by(answer.stop_reason, context)


def ended_by(reason: str | None, context: ReplyContext) -> str:
    stops = asked_for(ConverseRequest, context).inference_config.stop_sequences
    return stops[0] if reason == "stop_sequence" and len(stops) == 1 else ""


# --- errors and vectors ----------------------------------------------------------------------------------------------


def too_long(error: AwsllmError) -> str:
    """An error's message as containers write it: that the input is too long stands in words only."""
    return f"input is too long: {error.message}" if isinstance(error, ContextWindowError) else error.message


def embeddings(wire: JsonValue, context: ReplyContext, title: str) -> EmbedResponse:
    """A list of vectors, or one vector, as the neutral value. Raises ``ServerError`` for anything else."""
    texts = asked_for(EmbedRequest, context).texts
    vectors = [wire] if isinstance(wire, list) and wire and isinstance(wire[0], (int, float)) else wire
    if not isinstance(vectors, list) or not all(map(_is_vector, vectors)):
        raise ServerError(f"not vectors in {title}: {str(wire)[:200]}", request_id=context.request_id)
    if len(vectors) != len(texts):
        message = f"the container gave {len(vectors)} vectors for {len(texts)} texts"
        raise ServerError(message, request_id=context.request_id)
    return EmbedResponse(
        vectors=vectors,
        model=context.request.model,
        request_id=context.request_id,
        warnings=context.warnings,
        raw=wire,
    )


def _is_vector(value: JsonValue) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], (int, float))
