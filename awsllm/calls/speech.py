"""A spoken conversation before it is opened: its options, checked and translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from awsllm.calls import content
from awsllm.calls.options import SpeechOptions, check_names, check_number
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.models.profiles import profile
from awsllm.models.references import Reference, parse_reference
from awsllm.types import InferenceConfig, Text
from awsllm.types.speech import RATES, SENSITIVITIES, SpeechSetup

if TYPE_CHECKING:
    from awsllm.calls.content import SystemPrompt
    from awsllm.tools.failures import ToolErrors
    from awsllm.tools.function import ToolFunction

_SONIC = "bedrock:amazon.nova-2-sonic-v1:0"


class PreparedSpeech(msgspec.Struct, frozen=True):
    """A session, ready to be opened. ``functions`` are those of its tools that can be run."""

    reference: Reference
    setup: SpeechSetup
    functions: Mapping[str, ToolFunction] = {}
    tool_errors: ToolErrors | None = None
    timeout: float | None = None


def prepare_speech(model: str, options: SpeechOptions) -> PreparedSpeech:
    """Check and translate everything that can be before anything is sent."""
    check_names(options, SpeechOptions)
    reference = _reference(model, options.get("family"))
    functions: Mapping[str, ToolFunction] = {}
    setup = _setup(reference, options)
    errors = None
    if tools := options.get("tools"):
        specs, functions = content.tools(tools)
        choice = content.tool_choice(options.get("tool_choice"))
        setup = msgspec.structs.replace(setup, tools=specs, tool_choice=choice)
    elif options.get("tool_choice") is not None:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    if functions:
        from awsllm.tools.failures import ToolErrors

        errors = ToolErrors(options.get("on_tool_error"))
        functions = errors.watch(functions)
    return PreparedSpeech(reference, setup, functions, errors, options.get("timeout"))


def _reference(model: str, family: str | None) -> Reference:
    reference = parse_reference(model)
    if reference.scheme != "bedrock":
        raise ConfigurationError(f"speech is Nova Sonic's, of bedrock: models ({_SONIC}); {reference} is none")
    can = profile(reference.scheme, reference.model, family)
    if can.known and "bidirectional" not in can.routes:
        raise UnsupportedError(f"{reference} does not speak; {_SONIC} does")
    return reference


def _setup(reference: Reference, options: SpeechOptions) -> SpeechSetup:
    for name in ("max_tokens", "temperature", "top_p", "timeout"):
        check_number(name, options.get(name), whole=name == "max_tokens")
    for name in ("input_rate", "output_rate"):
        if (rate := options.get(name, RATES[-1])) not in RATES:
            raise ValidationError(f"{name} is {rate!r}; Nova Sonic takes {', '.join(map(str, RATES))} samples a second")
    sensitivity = options.get("endpointing_sensitivity")
    if sensitivity is not None and sensitivity not in SENSITIVITIES:
        raise ValidationError(f"endpointing_sensitivity is {sensitivity!r}; it is one of {', '.join(SENSITIVITIES)}")
    members: dict[str, Any] = {
        name: options[name] for name in ("voice", "input_rate", "output_rate") if name in options
    }
    if not isinstance(members.get("voice", ""), str):
        raise ValidationError(f"voice is a name, not a {type(members['voice']).__name__}")
    history = options.get("messages")
    return SpeechSetup(
        model=reference.model,
        system="\n".join(_texts(options.get("system"))),
        messages=content.messages(history) if history is not None and history != [] and history != () else (),
        inference_config=InferenceConfig(
            max_tokens=options.get("max_tokens"), temperature=options.get("temperature"), top_p=options.get("top_p")
        ),
        endpointing_sensitivity=sensitivity,
        **members,
    )


def _texts(system: SystemPrompt | None) -> list[str]:
    texts = []
    for block in content.system(system):
        if not isinstance(block, Text):
            raise UnsupportedError(f"the system prompt of a spoken conversation is text, no {type(block).__name__}")
        texts.append(block.text)
    return texts
