"""What callers write, turned into neutral values.

``messages``, ``system``, ``tools`` and ``tool_choice`` each take the shapes a caller may have: plain Python, neutral
values, or the dicts that boto3 takes; ``config`` and ``endpoint_options`` do so for a request's configurations. Files
and bytes are read by ``calls.media``. Whether the whole can be sent, ``calls.checks`` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar, get_args

import msgspec

from awsllm.calls.media import FilePath, media
from awsllm.errors import AwsllmError, ValidationError
from awsllm.types import (
    ContentBlock,
    Document,
    EndpointOptions,
    JsonObject,
    Message,
    SystemContentBlock,
    Text,
    Tool,
    ToolChoice,
    ToolSpec,
    Unknown,
)
from awsllm.wire.converse import (
    decode_block,
    decode_message,
    decode_request,
    decode_system_block,
    decode_tool,
    decode_tool_choice,
    encode_request,
)
from awsllm.wire.converse.rules import document_named
from awsllm.wire.reading import shape_of

if TYPE_CHECKING:
    from awsllm.tools.function import ToolFunction

Piece: TypeAlias = str | ContentBlock | FilePath | bytes | Mapping[str, Any]
Prompt: TypeAlias = Piece | Message | Sequence[Piece | Message]
EmbedInput: TypeAlias = Piece | Iterable[Piece | Sequence[Piece]]
SystemPrompt: TypeAlias = str | SystemContentBlock | Mapping[str, Any] | Sequence[Any]
ToolLike: TypeAlias = "Tool | ToolFunction | Callable[..., Any] | Mapping[str, Any]"
ToolChoiceLike: TypeAlias = "str | ToolChoice | ToolSpec | ToolFunction | Callable[..., Any] | Mapping[str, Any]"

_CONTENT_BLOCKS = get_args(ContentBlock)
_SYSTEM_BLOCKS = get_args(SystemContentBlock)
_TOOLS = get_args(Tool)
T = TypeVar("T")


# --- messages and system prompts -------------------------------------------------------------------------------------


def messages(value: Prompt) -> tuple[Message, ...]:
    """A conversation from a text, one message or block, a list of turns, or a list of pieces that make one user turn.

    Turns are ``Message`` values or boto3's dicts, mixed as they come; neighbours of the same role become one turn,
    since the service wants them to alternate. Pieces are texts, blocks, paths of files, bytes of an image (or of
    another medium that its first bytes tell), or boto3's block dicts.
    """
    if isinstance(value, str):
        return (Message("user", (Text(value),)),)
    if _is_turn(value):
        return (_turn(value, 0),)
    if not _is_list(value):
        return (Message("user", _pieces([value])),)
    items = list(value)
    turns = [_is_turn(item) for item in items]
    if all(turns):
        return _joined([_turn(item, i) for i, item in enumerate(items)])
    if any(turns):
        stray = items[turns.index(False)]
        raise ValidationError(
            f"messages mixes turns with a bare {type(stray).__name__}: write Message.user(...) around the user's words"
        )
    return (Message("user", _pieces(items)),)


def _joined(turns: Sequence[Message]) -> tuple[Message, ...]:
    joined: list[Message] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Message(turn.role, joined[-1].content + turn.content)
        else:
            joined.append(turn)
    return tuple(joined)


def system(value: SystemPrompt | None) -> tuple[SystemContentBlock, ...]:
    """A system prompt from a text, blocks or boto3's dicts, alone or in a list."""
    if value is None:
        return ()
    return tuple(_system_block(item) for item in (value if _is_list(value) else [value]))


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _is_turn(value: object) -> bool:
    return isinstance(value, Message) or (isinstance(value, Mapping) and "role" in value)


def _turn(value: Any, index: int) -> Message:
    return value if isinstance(value, Message) else _turn_of_dict(value, f"messages[{index}]")


def _turn_of_dict(value: Mapping[str, Any], where: str) -> Message:
    _check_members(value, ("role", "content"), where)
    content = value.get("content")
    if isinstance(content, str):
        return Message(str(value["role"]), (Text(content),))
    if _is_list(content) and any(isinstance(block, Mapping) and "kind" in block for block in content):
        return Message.from_dict(value)  # as to_dict wrote it
    for block in content if _is_list(content) else ():
        _refuse_typed_part(block)
    return _decoded(decode_message, value, where)


def _refuse_typed_part(value: Any) -> None:
    if isinstance(value, Mapping) and "type" in value:
        raise ValidationError(
            "a part with a 'type' is how other APIs write content: here it is a text, {'text': ...} as boto3 has it, "
            "or a block such as awsllm.image(...)"
        )


def _check_members(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """What a codec would pass over is named: a caller's word is not dropped in silence."""
    stray = sorted(str(name) for name in value.keys() - set(known) if value[name] not in (None, []))
    if stray:
        raise ValidationError(f"{where} has the member {stray[0]!r}, which Converse does not know there")


def leading_system(turns: tuple[Message, ...]) -> tuple[tuple[SystemContentBlock, ...], tuple[Message, ...]]:
    """The system turns that a conversation begins with, as other chat APIs write them, as blocks of a system prompt;
    and the turns after them."""
    blocks: list[SystemContentBlock] = []
    for index, turn in enumerate(turns):
        if turn.role != "system":
            return tuple(blocks), turns[index:]
        blocks += [_system_block(block) for block in turn.content]
    return tuple(blocks), ()


def metadata(value: Mapping[str, str]) -> dict[str, str]:
    """Names and texts for the invocation log. Raises ``ValidationError`` for what neither a header nor JSON carries."""
    parts: tuple[Any, ...] = (*value, *value.values())  # callers are not all typed
    for part in parts:
        if not isinstance(part, str) or not part.isprintable():
            raise ValidationError(f"request_metadata is names and texts that can be printed, not {shape_of(part)}")
    return dict(value)


def config(value: Any, kind: type[T], member: str) -> T | None:
    """One of the request's configurations: None, a value of ``kind``, or boto3's dict of the request's ``member``."""
    if value is None or isinstance(value, kind):
        return value
    name = re.sub(r"(?=[A-Z])", "_", member).lower()
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} is a {kind.__name__} or Converse's dict, not a {type(value).__name__}")
    request = _decoded(lambda wire: decode_request("", {member: wire}), value, name)
    _check_members(value, encode_request(request, stream=True).get(member, ()), name)
    decoded: T = getattr(request, name)
    return decoded


def endpoint_options(value: Any) -> EndpointOptions:
    """How an endpoint is called: a value, or its members as a dict."""
    if isinstance(value, EndpointOptions):
        return value
    if not isinstance(value, Mapping):
        raise ValidationError(f"endpoint is an EndpointOptions or a dict of its members, not a {type(value).__name__}")
    if stray := sorted(map(str, value.keys() - set(EndpointOptions.__struct_fields__))):
        known = ", ".join(EndpointOptions.__struct_fields__)
        raise ValidationError(f"endpoint has the member {stray[0]!r}, which EndpointOptions has not: it has {known}")
    try:
        return msgspec.convert(dict(value), EndpointOptions)
    except msgspec.ValidationError as error:
        raise ValidationError(f"endpoint is not what SageMaker takes: {error}") from error


def embed_inputs(value: EmbedInput) -> tuple[tuple[ContentBlock, ...], ...]:
    """What is to be embedded: a text or another piece, or any number of such, each of which may be a list of pieces
    that belong together."""
    single = isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike, Mapping, *_CONTENT_BLOCKS))
    items: list[Any] = [value] if single or not isinstance(value, Iterable) else list(value)
    return tuple(_pieces(item) if _is_list(item) else (_piece(item),) for item in items)


def _pieces(items: Sequence[Any]) -> tuple[ContentBlock, ...]:
    """Blocks of one turn. Documents named after files get names that differ."""
    taken = {item.name for item in items if isinstance(item, Document)}
    blocks: list[ContentBlock] = []
    for item in items:
        block = _piece(item)
        if isinstance(block, Document) and block is not item:
            block = document_named(block, taken)
            taken.add(block.name)
        blocks.append(block)
    return tuple(blocks)


def _piece(value: Any) -> ContentBlock:
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, _CONTENT_BLOCKS):
        block: ContentBlock = value
        return block
    if isinstance(value, os.PathLike | bytes | bytearray | memoryview):
        return media(value)
    if isinstance(value, Mapping) and "content" in value:
        raise ValidationError("a turn needs a role: write {'role': 'user', 'content': ...} or Message.user(...)")
    if isinstance(value, Mapping):
        _refuse_typed_part(value)
        return _decoded(decode_block, value, "content block")
    raise ValidationError(
        f"a {type(value).__name__} is no content: pass text, a content block, a pathlib.Path, or the bytes of an image"
    )


def _system_block(value: Any) -> SystemContentBlock:
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, _SYSTEM_BLOCKS):
        block: SystemContentBlock = value
        return block
    if isinstance(value, Mapping):
        return _decoded(decode_system_block, value, "system")
    raise ValidationError(f"a {type(value).__name__} is no system prompt: pass text, or Text, CachePoint, GuardContent")


def _decoded(decode: Callable[[JsonObject], T], value: Mapping[str, Any], where: str) -> T:
    """What a codec makes of a boto3-shaped dict; what it trips over is the caller's mistake."""
    _refuse_text_as_bytes(value, where)
    try:
        decoded = decode(dict(value))
    except AwsllmError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise ValidationError(f"{where} is not what Converse takes: {reason} in {shape_of(value)}") from error
    if isinstance(decoded, Unknown):
        raise ValidationError(f"{where} is not what Converse takes: {decoded.tag!r} is unknown in {shape_of(value)}")
    return decoded


def _refuse_text_as_bytes(value: Any, where: str) -> None:
    """Text where bytes belong is UTF-8 to boto3 and base64 to JSON: whoever wrote it meant one of them."""
    if isinstance(value, Mapping):
        if isinstance(value.get("bytes"), str):
            raise ValidationError(f"{where}: 'bytes' is a text; pass bytes, by .encode() or base64.b64decode()")
        for part in value.values():
            _refuse_text_as_bytes(part, where)
    elif isinstance(value, list | tuple):
        for part in value:
            _refuse_text_as_bytes(part, where)


# --- tools -----------------------------------------------------------------------------------------------------------


def tools(value: Any) -> tuple[tuple[Tool, ...], dict[str, ToolFunction]]:
    """Specifications to send, and of them the functions that can be run, by name.

    Takes functions, ``ToolFunction``, ``ToolSpec`` and the other tool values, boto3's dicts, and pydantic models (a
    specification only: the caller reads the arguments).
    """
    specs: list[Tool] = []
    functions: dict[str, ToolFunction] = {}
    for item in value if _is_list(value) else [value]:
        spec, function = _tool(item)
        specs.append(spec)
        if function is not None:
            functions[function.spec.name] = function
    return tuple(specs), functions


def _tool(item: Any) -> tuple[Tool, ToolFunction | None]:
    if isinstance(item, _TOOLS):
        spec: Tool = item
        return spec, None
    if isinstance(item, Mapping):
        if isinstance(inner := item.get("toolSpec"), Mapping):
            _check_members(inner, ("name", "description", "inputSchema", "strict"), "toolSpec")
        return _decoded(decode_tool, item, "tool"), None
    from awsllm.tools.function import ToolFunction, function_tool, model_tool

    if isinstance(item, ToolFunction) and item.unbound:
        raise ValidationError(f"tool {item.spec.name!r} is a method without its object: pass object.{item.spec.name}")
    if isinstance(item, ToolFunction):
        return item.spec, item
    if isinstance(item, type):
        return model_tool(item), None
    function = function_tool(item)
    return function.spec, function


def tool_choice(value: ToolChoiceLike | None) -> ToolChoice | None:
    """``auto``, ``any``, or one tool by its name, function or specification."""
    match value:
        case None | ToolChoice():
            return value
        case "auto" | "any":
            return ToolChoice(value)
        case "required":
            raise ValidationError("tool_choice 'required' is called 'any' here, as on Bedrock")
        case "none":
            raise ValidationError("there is no tool_choice 'none': leave tools out")
        case str():
            return ToolChoice("tool", value)
        case ToolSpec(name=name):
            return ToolChoice("tool", name)
        case Mapping():
            return _decoded(decode_tool_choice, value, "tool_choice")
        case _:
            spec, _ = _tool(value)
            return ToolChoice("tool", getattr(spec, "name", None))
