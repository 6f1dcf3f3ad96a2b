"""What is refused, or adapted, before anything is sent.

``check_request`` names what the service would refuse of a request and how to mend it: the rules of a conversation
(``wire.converse.rules``), and of the service model what callers get wrong most: roles, formats, bounds and names.
``check_profile`` and ``fit_to_profile`` are the place where a model's profile is held against a request: what the model
cannot do is refused, what it can do in another way is adapted. A model that no rule names is sent what the caller
wrote. ``check_as_service`` holds both against a request as the service does: the server's half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import UnionType

from msgspec.structs import replace

from awsllm.calls.media import FORMATS, IMAGE_FIX, sniff
from awsllm.calls.options import check_number
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.models.profiles import Profile, profile
from awsllm.models.references import Reference
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ConverseRequest,
    Document,
    Image,
    InferenceConfig,
    SystemTool,
    Tool,
    ToolChoice,
    ToolResult,
    ToolSpec,
    ToolUse,
    Video,
)
from awsllm.wire.converse.rules import Violation, check_conversation, documents, is_tool_name, refusal, violations

_WITH_MEDIA = (Image, Document, ToolResult)  # a tuple: to make a union takes longer than to ask for its types
_ROLES = frozenset(("user", "assistant", "system"))
# Containers and local models take calls without their tools or results, arguments that are no object, and turns of any
# order.
_BEDROCK_ALONE = frozenset(
    ("alternating-turns", "distinct-tool-uses", "result-json", "tool-config", "tool-input", "tool-results")
)
# Each dialect's codec says what it has in place of an unknown block.
_NOT_OURS = frozenset(("known-block",))


def check_request(request: ConverseRequest, scheme: str = "bedrock", *, typed: bool = False) -> None:
    """``ValidationError`` for what the place that ``scheme`` names refuses of every model; the message says where and
    how to mend it. ``typed``: a typed output is wanted, which may add a tool of its own."""
    for number, message in enumerate(request.messages):
        if message.role not in _ROLES:
            raise ValidationError(f"messages[{number}].role is {message.role!r}; it is user, assistant or system")
        for index, block in enumerate(message.content):
            if isinstance(block, _WITH_MEDIA):
                _check_media(block, f"messages[{number}].content[{index}]")
    _check_inference(request.inference_config)
    if request.tools or request.tool_choice:
        _check_tools(request.tools, request.tool_choice)
    for violation in violations(request):
        if matters(violation, request, scheme, typed=typed):
            raise ValidationError(violation.fix)


def check_as_service(request: ConverseRequest) -> None:
    """Raise what Bedrock answers to the request where it breaks a rule, or asks for what its model cannot do."""
    can = profile("bedrock", request.model, request.family)
    check_conversation(request, _waived(can))
    for lack in lacks(can, request):
        raise refusal(lack)


def _waived(can: Profile) -> tuple[str, ...]:
    """The rules that the service does not hold this model's callers to."""
    waived = (("alternating-turns", can.neighbouring_turns), ("first-turn", can.assistant_first))
    return tuple(rule for rule, is_waived in waived if is_waived)


def matters(violation: Violation, request: ConverseRequest, scheme: str, *, typed: bool) -> bool:
    can = profile(scheme, request.model, request.family)
    match violation.rule:
        case rule if scheme == "bedrock" and rule in _waived(can):
            return False
        case "alternating-turns" if not can.known:
            return False
        case "no-turn":  # a managed prompt brings its own
            return bool(request.messages) or request.prompt_variables is None
        case rule if rule in _NOT_OURS:
            return False
        case "tool-config" if typed or request.api == "openai":  # whose routes take calls without their tools
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


def _check_inference(config: InferenceConfig) -> None:
    for name, value in (("temperature", config.temperature), ("top_p", config.top_p)):
        check_number(name, value)
        if value is not None and not 0 <= value <= 1:
            raise ValidationError(f"{name} is {value}; it is between 0 and 1")
    check_number("max_tokens", config.max_tokens, whole=True)
    if config.max_tokens is not None and config.max_tokens < 1:
        raise ValidationError(f"max_tokens is {config.max_tokens}; it is at least 1")


def _check_tools(tools: Iterable[Tool], choice: ToolChoice | None) -> None:
    if choice is not None and not any(isinstance(tool, ToolSpec | SystemTool) for tool in tools):
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    for tool in tools:
        if not isinstance(tool, ToolSpec):
            continue
        if not is_tool_name(tool.name):
            raise ValidationError(
                f"tool name {tool.name!r} is not taken: 1 to 64 letters, digits, '_', '-'; rename it: @tool(name=...)"
            )
        if tool.description is not None and not tool.description.strip():
            raise ValidationError(f"tool {tool.name!r} has a blank description: say what it does, or leave it out")


# --- what the model can do -------------------------------------------------------------------------------------------


def check_profile(reference: Reference, request: ConverseRequest) -> None:
    """``UnsupportedError`` for what the model is known not to do: chat at all, system prompts, tools, media,
    documents."""
    can = profile(reference.scheme, reference.model, request.family)
    if not can.converse:
        raise UnsupportedError(
            f"{reference} is no chat model; converse needs one, and embed, rerank and the like theirs"
        )
    for lack in lacks(can, request):
        raise UnsupportedError(f"{reference} {lack.fix}")


def lacks(can: Profile, request: ConverseRequest) -> Iterator[Violation]:
    """What the request asks for and the model has not. The service's words were seen in Mintplex-Labs/anything-llm 2486
    (system), langchain-ai/langchain-aws 447 (tools) and anomalyco/opencode 49443 (images; those on documents, video and
    audio follow them)."""
    if not can.system_prompt and (request.system or any(message.role == "system" for message in request.messages)):
        yield Violation(
            "system-prompt",
            "system",
            "This model doesn't support system messages. "
            "Try again without a system message or use a model that supports system messages.",
            "takes no system prompt: say it in the first user turn, or choose another model",
        )
    if not can.tool_choices and (request.tools or _first(request, ToolUse | ToolResult)):
        yield Violation(
            "tools",
            "toolConfig",
            "This model doesn't support tool use.",
            "has no tools: leave tools, calls and their results out, or choose another model",
        )
    if not can.images and (path := _first(request, Image)):
        yield Violation(
            "images",
            path,
            "This model doesn't support the image field for user messages. Remove image and try again.",
            f"reads no images, and {path} is one: leave it out, or choose another model",
        )
    if not can.documents and next(documents(request.messages), None):
        yield Violation(
            "documents",
            "messages",
            "This model doesn't support the document field for user messages. Remove document and try again.",
            "reads no documents: pass their text, or choose another model",
        )
    if can.known and _has_points(request):
        yield from _cache_lacks(can, request)
    for kind, reads, name in ((Video, can.video, "video"), (Audio, can.audio, "audio")):
        if not reads and (path := _first(request, kind)):
            yield Violation(
                name,
                path,
                f"This model doesn't support the {name} field for user messages. Remove {name} and try again.",
                f"reads no {name}, and {path} is {name}: leave it out, or choose another model",
            )


def _cache_lacks(can: Profile, request: ConverseRequest) -> Iterator[Violation]:
    """Cache points where the model takes none, or more than it takes. The words on many are Anthropic's, the others
    those of strands-agents/harness-sdk 1807 and earendil-works/pi 2053."""
    from awsllm.calls.caching import cache_points

    places = [place for place, _ in cache_points(request)]
    if not can.cache_points:
        yield Violation(
            "cache-points",
            places[0],
            "You invoked an unsupported model or your request did not allow prompt caching. "
            "See the documentation for more information.",
            f"takes no cache points, and there is one in {places[0]}: leave them out, or use cache='auto'",
        )
        return
    for place in places:
        if place not in can.cache_points:
            yield Violation(
                "cache-place",
                place,
                f"Malformed input request: #/{place}: extraneous key [cachePoint] is not permitted, "
                "please reformat your input and try again.",
                f"takes cache points in {' and '.join(sorted(can.cache_points))} alone, and there is one in {place}",
            )
    if len(places) > can.cache_limit:
        yield Violation(
            "cache-limit",
            "messages",
            f"A maximum of {can.cache_limit} blocks with cache_control may be provided. Found {len(places)}.",
            f"takes {can.cache_limit} cache points, and there are {len(places)}: leave the first of the turns without",
        )


def _has_points(request: ConverseRequest) -> bool:
    """Loops, since every call comes through here and most have none."""
    for blocks in (request.system, request.tools):
        for block in blocks:
            if type(block) is CachePoint:
                return True
    for message in request.messages:
        for part in message.content:
            if type(part) is CachePoint:
                return True
    return False


def _first(request: ConverseRequest, kind: type | UnionType) -> str | None:
    """Where the first block of a kind stands, those in tool results too."""
    for number, message in enumerate(request.messages):
        for index, block in enumerate(message.content):
            inner = block.content if isinstance(block, ToolResult) else ()
            if isinstance(block, kind) or any(isinstance(item, kind) for item in inner):
                return f"messages[{number}].content[{index}]"
    return None


def fit_to_profile(reference: Reference, request: ConverseRequest) -> tuple[ConverseRequest, tuple[str, ...]]:
    """The request as the model can take it, and the warnings that say what was changed.

    A tool cannot be forced on every model, nor while it thinks; then the choice is the model's."""
    choice = request.tool_choice
    if choice is None or choice.type == "auto":
        return request, ()
    can = profile(reference.scheme, reference.model, request.family)
    if choice.type in can.choices_for(request):
        return request, ()
    why = "while thinking" if choice.type in can.tool_choices else f"by models of the family {can.family}"
    warning = f"tool_choice {choice.type!r} is not taken {why}: the model was left to choose"
    return replace(request, tool_choice=None), (warning,)
