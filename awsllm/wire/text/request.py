"""Requests of bodies that take a text: what they can carry, the prompt, the knobs, and all of it read back.

A body that takes a text has no place for tools, pictures or a system prompt of its own. What changes the answer and
cannot be carried raises; what only tunes it is named by the warnings. Bodies call the same knobs by different names
(``ConfigNames``), or follow Hugging Face's servers (``encode_sampling``).
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.types import ConverseRequest, InferenceConfig, JsonObject, Reasoning, Value
from awsllm.wire.body import Settings
from awsllm.wire.openai import request as openai_request
from awsllm.wire.reading import optional, strings
from awsllm.wire.text import prompts

DEFAULT_MAX_TOKENS = 512
"""Sent where the caller sets no limit: the servers' own default, 20 to 100 tokens, cuts most answers short."""


# --- what a text can carry -------------------------------------------------------------------------------------------


def check_request(request: ConverseRequest, title: str, *, tools: bool = False, json_schema: bool = False) -> None:
    """Raises ``UnsupportedError`` for what changes the answer and has no place in the body called ``title``. ``tools``
    and ``json_schema`` say that it has one for tools, and for a schema of the answer."""
    if (request.tools or request.tool_choice is not None) and not tools:
        raise UnsupportedError(f"{title} knows no tools; a format that does is openai or cohere-chat")
    if request.guardrail_config is not None:
        raise UnsupportedError(f"a guardrail cannot be expressed in {title}")
    if request.prompt_variables is not None:
        raise UnsupportedError(f"prompt_variables: a stored prompt cannot be expressed in {title}")
    if request.output_config and request.output_config.json_schema and not json_schema:
        raise UnsupportedError(
            f"a schema for the answer cannot be expressed in {title}; of the formats openai and tgi take one"
        )


def check_single(members: JsonObject | None, name: str) -> None:
    """Raises ``UnsupportedError`` where ``name`` asks for more than one answer."""
    if (members or {}).get(name, 1) != 1:
        raise UnsupportedError(f"{name}: a response holds one answer; make several calls for several")


def text_warnings(request: ConverseRequest) -> tuple[str, ...]:
    """What no body that takes a text can honour of this request."""
    found = list(openai_request.warnings(request))
    if request.output_config and request.output_config.effort:
        found.append("effort: a body that takes a text has no such setting")
    if any(isinstance(block, Reasoning) for message in request.messages for block in message.content):
        found.append("thinking of earlier turns was left out: a prompt has no place for it")
    return tuple(found)


def limit_warnings(request: ConverseRequest) -> tuple[str, ...]:
    """That a limit was set which the caller did not ask for."""
    if request.inference_config.max_tokens is not None:
        return ()
    return (f"max_tokens: not set, so {DEFAULT_MAX_TOKENS} was sent; the server's own default is lower",)


def stop_warnings(request: ConverseRequest) -> tuple[str, ...]:
    """That the server knows no stop sequences."""
    if not request.inference_config.stop_sequences:
        return ()
    return ("stop_sequences: the server cannot stop at them; its answer is cut there when it has come",)


# --- the prompt ------------------------------------------------------------------------------------------------------


class Prompt(Value, frozen=True):
    """``stops`` are the sequences at which the answer ends: the caller's, then those of the prompt's style."""

    text: str
    stops: tuple[str, ...] = ()


def encode_prompt(request: ConverseRequest, settings: Settings, *, begun: bool = False) -> Prompt:
    """The conversation as one text in the deployment's style. Without one only a single user turn can be sent; the
    style ``plain`` joins turns with blank lines, for whoever wants that. ``begun``: the style's first token, which most
    servers add themselves, is written. Raises ``UnsupportedError``."""
    text, ends = prompts.render(settings.prompt, request.system, request.messages, begun=begun)
    return Prompt(text, tuple(dict.fromkeys((*request.inference_config.stop_sequences, *ends))))


def decode_prompt(
    model: str, text: str, settings: Settings, config: InferenceConfig, extra: JsonObject | None = None
) -> ConverseRequest:
    """The conversation that a prompt makes. Stop sequences that belong to the style are not the caller's."""
    system, messages = prompts.parse(settings.prompt, text)
    style = prompts.STYLES.get(settings.prompt or "")
    ends = style.stop_sequences if style else ()
    own = tuple(stop for stop in config.stop_sequences if stop not in ends)
    config = InferenceConfig(config.max_tokens, config.temperature, config.top_p, own)
    return ConverseRequest(model=model, system=system, messages=messages, inference_config=config, extra=extra)


# --- knobs -----------------------------------------------------------------------------------------------------------


def token_limit(config: InferenceConfig) -> int:
    return DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens


def encode_sampling(config: InferenceConfig) -> JsonObject:
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


def decode_sampling(parameters: JsonObject, *, limit: str, stop: str) -> InferenceConfig:
    """The inverse; ``limit`` and ``stop`` are the body's names of the limit and of the stop sequences."""
    greedy = optional(parameters, "do_sample", bool) is False
    return InferenceConfig(
        max_tokens=optional(parameters, limit, int),
        temperature=0.0 if greedy else optional(parameters, "temperature", float),
        top_p=optional(parameters, "top_p", float),
        stop_sequences=strings(parameters, stop),
    )


class ConfigNames(Value, frozen=True, kw_only=True):
    """What a body calls the members of ``InferenceConfig``. ``stop_sequences`` None: the body has no such member."""

    max_tokens: str
    temperature: str
    top_p: str
    stop_sequences: str | None

    def encode(self, config: InferenceConfig, stops: tuple[str, ...]) -> JsonObject:
        """The members that are set, and where the answer shall stop."""
        members: JsonObject = {
            self.max_tokens: config.max_tokens,
            self.temperature: config.temperature,
            self.top_p: config.top_p,
        }
        return members if self.stop_sequences is None else {**members, self.stop_sequences: list(stops) or None}

    def decode(self, wire: JsonObject) -> InferenceConfig:
        return InferenceConfig(
            max_tokens=optional(wire, self.max_tokens, int),
            temperature=optional(wire, self.temperature, float),
            top_p=optional(wire, self.top_p, float),
            stop_sequences=() if self.stop_sequences is None else strings(wire, self.stop_sequences),
        )

    @property
    def all(self) -> frozenset[str]:
        stop = () if self.stop_sequences is None else (self.stop_sequences,)
        return frozenset((self.max_tokens, self.temperature, self.top_p, *stop))
