"""What is refused, or adapted, before anything is sent.

``check_request`` names what the service would refuse of a request and how to mend it: the rules of a conversation
(``wire.converse.rules``), and of the service model what callers get wrong most: roles, formats, bounds and names.
``fit_to_profile`` is the place where a model's profile is held against a request. A model that no rule names is sent
what the caller wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec.structs import replace

from awsllm.calls.media import FORMATS, IMAGE_FIX, sniff
from awsllm.errors import ValidationError
from awsllm.models.profiles import profile
from awsllm.models.references import Reference
from awsllm.types import (
    Bytes,
    ConverseRequest,
    Document,
    Image,
    InferenceConfig,
    SystemTool,
    Tool,
    ToolChoice,
    ToolResult,
    ToolSpec,
)
from awsllm.wire.converse.rules import Violation, violations

_ROLES = frozenset(("user", "assistant", "system"))
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# Containers and local models take calls without their tools or results.
_BEDROCK_ALONE = frozenset(("tool-config", "tool-results"))
# Left to others: some models of Bedrock's take neighbouring turns of one role, and each dialect's codec says what it
# has in place of an unknown block.
_NOT_OURS = frozenset(("alternating-turns", "known-block"))


def check_request(request: ConverseRequest, scheme: str = "bedrock", *, typed: bool = False) -> None:
    """``ValidationError`` for what the place that ``scheme`` names refuses of every model; the message says where and
    how to mend it. ``typed``: a typed output is wanted, which may add a tool of its own."""
    for number, message in enumerate(request.messages):
        if message.role not in _ROLES:
            raise ValidationError(f"messages[{number}].role is {message.role!r}; it is user, assistant or system")
        for index, block in enumerate(message.content):
            if isinstance(block, Image | Document | ToolResult):
                _check_media(block, f"messages[{number}].content[{index}]")
    _check_inference(request.inference_config)
    if request.tools or request.tool_choice:
        _check_tools(request.tools, request.tool_choice)
    for violation in violations(request):
        if _matters(violation, request, scheme, typed=typed):
            raise ValidationError(violation.fix)


def _matters(violation: Violation, request: ConverseRequest, scheme: str, *, typed: bool) -> bool:
    match violation.rule:
        case "first-turn":  # a managed prompt brings its own
            return bool(request.messages) or request.prompt_variables is None
        case rule if rule in _NOT_OURS:
            return False
        case "tool-config" if typed:
            return False
        case rule:
            return scheme == "bedrock" or rule not in _BEDROCK_ALONE


def _check_media(block: Image | Document | ToolResult, where: str) -> None:
    match block:
        case Image():
            _check_image(block, where)
        case Document(name=name, format=format, source=source):
            if format is not None and format not in FORMATS["document"]:
                known = ", ".join(sorted(FORMATS["document"]))
                raise ValidationError(f"{where} is of format {format!r}; known: {known}")
            if isinstance(source, Bytes) and not source.data:
                raise ValidationError(f"{where} ({name!r}) is an empty document")
        case ToolResult(content=content):
            for index, inner in enumerate(content):
                if isinstance(inner, Image | Document):
                    _check_media(inner, f"{where}.content[{index}]")


def _check_image(image: Image, where: str) -> None:
    if image.format not in FORMATS["image"]:
        raise ValidationError(f"{where} is an image of format {image.format!r}; {IMAGE_FIX}")
    if not isinstance(image.source, Bytes):
        return
    found = sniff(image.source.data, "image")
    if found is None:
        raise ValidationError(f"{where} holds bytes that are no image of a known format; {IMAGE_FIX}")
    if found != image.format:
        raise ValidationError(f"{where} says {image.format} and holds a {found} image: write format={found!r}")


def _check_inference(config: InferenceConfig) -> None:
    for name, value in (("temperature", config.temperature), ("top_p", config.top_p)):
        if value is not None and not 0 <= value <= 1:
            raise ValidationError(f"{name} is {value}; it is between 0 and 1")
    if config.max_tokens is not None and config.max_tokens < 1:
        raise ValidationError(f"max_tokens is {config.max_tokens}; it is at least 1")


def _check_tools(tools: Iterable[Tool], choice: ToolChoice | None) -> None:
    if choice is not None and not any(isinstance(tool, ToolSpec | SystemTool) for tool in tools):
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    for tool in tools:
        if not isinstance(tool, ToolSpec):
            continue
        if not _TOOL_NAME.fullmatch(tool.name):
            raise ValidationError(
                f"tool name {tool.name!r} is not taken: 1 to 64 letters, digits, '_', '-'; rename it: @tool(name=...)"
            )
        if tool.description is not None and not tool.description.strip():
            raise ValidationError(f"tool {tool.name!r} has a blank description: say what it does, or leave it out")


def fit_to_profile(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request as the model can take it, and the warnings that say what was changed.

    A tool cannot be forced on every model, nor while it thinks; then the choice is the model's."""
    choice = request.tool_choice
    if choice is None or choice.type == "auto":
        return request, ()
    can = profile(reference.scheme, reference.model)
    if choice.type in can.choices_for(request):
        return request, ()
    why = "while thinking" if choice.type in can.tool_choices else f"by models of the family {can.family}"
    warning = f"tool_choice {choice.type!r} is not taken {why}: the model was left to choose"
    return replace(request, tool_choice=None), (warning,)
