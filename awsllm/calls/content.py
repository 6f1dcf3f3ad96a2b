"""What callers write, turned into neutral values, and the checks that need no service.

``messages``, ``system``, ``tools`` and ``tool_choice`` each take the shapes a caller may have: plain Python, neutral
values, or the dicts that boto3 takes. Media comes as bytes or files; the first bytes decide the format of an image,
since the service compares them with what it is told. ``check_request`` names what Bedrock's Converse would refuse and
how to mend it, before anything is sent: every rule there holds for all models of Converse. What only some models
refuse is left to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar, get_args

from awsllm.errors import AwsllmError, ValidationError
from awsllm.types import (
    Audio,
    Bytes,
    CachePoint,
    ContentBlock,
    ConverseRequest,
    Document,
    DocumentSource,
    EndpointOptions,
    Image,
    InferenceConfig,
    JsonObject,
    MediaSource,
    Message,
    S3Location,
    SystemContentBlock,
    SystemTool,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolSpec,
    Unknown,
    Video,
)

if TYPE_CHECKING:
    from awsllm.tools.loop import ToolFunction

FilePath: TypeAlias = os.PathLike[str]
Piece: TypeAlias = str | ContentBlock | FilePath | bytes | Mapping[str, Any]
Prompt: TypeAlias = Piece | Message | Sequence[Piece | Message]
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
    since the service wants them to alternate. Blank texts beside other blocks of an assistant's turn are left out: some
    models leave such beside their calls, and the service takes none back. Pieces are texts, blocks, paths of files,
    bytes of an image (or of another medium that its first bytes tell), or boto3's block dicts.
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
    message = value if isinstance(value, Message) else _turn_of_dict(value, f"messages[{index}]")
    return _without_blanks(message) if message.role == "assistant" else message


def _turn_of_dict(value: Mapping[str, Any], where: str) -> Message:
    _check_members(value, ("role", "content"), where)
    content = value.get("content")
    if isinstance(content, str):
        return Message(str(value["role"]), (Text(content),))
    from awsllm.wire.converse import decode_message

    return _decoded(decode_message, value, where)


def _without_blanks(message: Message) -> Message:
    content = tuple(block for block in message.content if not (isinstance(block, Text) and not block.text.strip()))
    return message if len(content) in (0, len(message.content)) else Message(message.role, content)


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


def config(value: Any, kind: type[T], member: str) -> T | None:
    """One of the request's configurations: None, a value of ``kind``, or boto3's dict of the request's ``member``."""
    if value is None or isinstance(value, kind):
        return value
    name = re.sub(r"(?=[A-Z])", "_", member).lower()
    if not isinstance(value, Mapping):
        raise ValidationError(f"{name} is a {kind.__name__} or Converse's dict, not a {type(value).__name__}")
    from awsllm.wire.converse import decode_request, encode_request

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
    import msgspec

    try:
        return msgspec.convert(dict(value), EndpointOptions)
    except msgspec.ValidationError as error:
        raise ValidationError(f"endpoint is not what SageMaker takes: {error}") from error


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
    if isinstance(value, Mapping):
        from awsllm.wire.converse import decode_block

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
        from awsllm.wire.converse import decode_system_block

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
        raise ValidationError(f"{where} is not what Converse takes: {reason} in {value!r:.200}") from error
    if isinstance(decoded, Unknown):
        raise ValidationError(f"{where} is not what Converse takes: {decoded.tag!r} is unknown in {value!r:.200}")
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


# --- media -----------------------------------------------------------------------------------------------------------

# Bedrock's formats by file suffix (ImageFormat, DocumentFormat, VideoFormat and AudioFormat of bedrock-runtime).
# Containers that hold either are taken for video.
_SUFFIXES: dict[str, tuple[str, str]] = {
    **{s: ("image", f) for s, f in {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "webp": "webp"}.items()},
    **{s: ("document", s) for s in ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md")},
    "htm": ("document", "html"),
    "markdown": ("document", "md"),
    **{s: ("video", s) for s in ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv")},
    "3gp": ("video", "three_gp"),
    **{s: ("audio", s) for s in ("mp3", "opus", "wav", "aac", "flac", "ogg", "mka", "m4a", "mpga", "pcm")},
}
# How a file of a format begins: what stands at which offset.
_MAGIC: tuple[tuple[tuple[tuple[int, bytes], ...], str, str], ...] = (
    (((0, b"\x89PNG\r\n\x1a\n"),), "image", "png"),
    (((0, b"\xff\xd8\xff"),), "image", "jpeg"),
    (((0, b"GIF87a"),), "image", "gif"),
    (((0, b"GIF89a"),), "image", "gif"),
    (((0, b"RIFF"), (8, b"WEBP")), "image", "webp"),
    (((0, b"%PDF-"),), "document", "pdf"),
    (((0, b"RIFF"), (8, b"WAVE")), "audio", "wav"),
    (((0, b"fLaC"),), "audio", "flac"),
    (((0, b"OggS"),), "audio", "ogg"),
    (((0, b"ID3"),), "audio", "mp3"),
    (((4, b"ftypM4A"),), "audio", "m4a"),
    (((4, b"ftypqt"),), "video", "mov"),
    (((4, b"ftyp"),), "video", "mp4"),
    (((0, b"FLV\x01"),), "video", "flv"),
)
_OTHER_IMAGES = frozenset(("bmp", "tif", "tiff", "svg", "heic", "heif", "avif", "ico", "jp2", "jxl", "psd"))
FORMATS: dict[str, frozenset[str]] = {
    kind: frozenset(f for k, f in _SUFFIXES.values() if k == kind) for kind in ("image", "document", "video", "audio")
}
FORMATS["audio"] |= {"mp4", "mkv", "webm", "mpeg", "x-aac"}
_IMAGE_FIX = "an image is png, jpeg, gif or webp: convert it"


def media(source: FilePath | bytes | bytearray | memoryview) -> Image | Document | Video | Audio:
    """A file, or bytes that begin as a known format does, as the block of its kind."""
    path = os.fspath(source) if isinstance(source, os.PathLike) else None
    data = bytes(source) if not isinstance(source, os.PathLike) else _read(source)
    kind, form = _kind(path, data)
    if kind == "image":
        return Image(form, Bytes(data))
    if kind == "document":
        return Document(document_name(path), Bytes(data), form)
    return Video(form, Bytes(data)) if kind == "video" else Audio(form, Bytes(data))


def image(source: str | FilePath | bytes, *, format: str | None = None) -> Image:
    """An image from a file, an ``s3://`` address or bytes. ``format`` counts in S3 only: bytes tell their own."""
    location, data, suffix = _source(source)
    known = format or _SUFFIXES.get(suffix, ("", suffix))[1] if data is None else _sniff(data, "image")
    if known not in FORMATS["image"]:
        raise ValidationError(f"{_name_of(source)} is not an image of a known format; {_IMAGE_FIX}")
    return Image(known, location)


def document(
    source: str | FilePath | bytes,
    *,
    name: str | None = None,
    format: str | None = None,
    context: str | None = None,
    citations: bool | None = None,
) -> Document:
    """A document from a file, an ``s3://`` address or bytes. ``name`` is cleaned to what the service allows."""
    location, data, suffix = _source(source)
    form = format or _document_format(suffix, data)
    if form not in FORMATS["document"]:
        known = ", ".join(sorted(FORMATS["document"]))
        raise ValidationError(f"{_name_of(source)} is not a document of a known format; pass format=, one of {known}")
    given = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else None)
    return Document(document_name(given), location, form, context, citations)


def video(source: str | FilePath | bytes, *, format: str | None = None) -> Video:
    """A video from a file, an ``s3://`` address or bytes."""
    location, data, suffix = _source(source)
    return Video(_format_of("video", source, format or _sniff(data, "video"), suffix), location)


def audio(source: str | FilePath | bytes, *, format: str | None = None) -> Audio:
    """A sound from a file, an ``s3://`` address or bytes."""
    location, data, suffix = _source(source)
    return Audio(_format_of("audio", source, format or _sniff(data, "audio"), suffix), location)


def document_name(text: str | None) -> str:
    """A name the service takes: ASCII letters, digits, single spaces, hyphens, parentheses and square brackets; at most
    200. Of a path, the last part without suffix."""
    stem = re.split(r"[/\\]", text or "")[-1]
    stem = stem.rsplit(".", 1)[0] if stem.rsplit(".", 1)[-1].lower() in _SUFFIXES else stem
    return " ".join(re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", stem).split())[:200].strip() or "document"


def document_named(document: Document, taken: set[str]) -> Document:
    """The document under its own name or, that being taken, its name and a number."""
    name, n = document.name, 2
    while name in taken:
        name, n = f"{document.name[:190]} ({n})", n + 1
    return document if name == document.name else _replace(document, name=name)


def _replace(value: T, **changes: Any) -> T:
    from msgspec.structs import replace

    return replace(value, **changes)  # type: ignore[type-var]


def _kind(path: str | None, data: bytes) -> tuple[str, str]:
    """Kind and format by the first bytes, or the suffix; a file that is plain text is a txt document."""
    suffix = _suffix(path or "")
    by_name = _SUFFIXES.get(suffix)
    found = _sniff_any(data)
    if by_name and by_name[0] != "image":
        return by_name
    if found:
        return found
    if by_name or suffix in _OTHER_IMAGES or path is None:
        raise ValidationError(f"{path or f'{len(data)} bytes'}: of an unknown format; {_IMAGE_FIX}")
    if _is_text(data):
        return "document", "txt"
    raise ValidationError(f"{path} is of an unknown kind: use awsllm.document(path, format=...) or its like")


def _document_format(suffix: str, data: bytes | None) -> str | None:
    kind, form = _SUFFIXES.get(suffix, ("", ""))
    if kind == "document":
        return form
    return _sniff(data, "document") or ("txt" if data is not None and _is_text(data) else None)


def _format_of(kind: str, source: Any, format: str | None, suffix: str) -> str:
    known = format or _SUFFIXES.get(suffix, ("", suffix))[1]
    if known not in FORMATS[kind]:
        raise ValidationError(f"{_name_of(source)} is no {kind} of a known format; pass format=")
    return known


def _source(source: str | FilePath | bytes) -> tuple[Bytes | S3Location, bytes | None, str]:
    """Where the content is, its bytes where they are at hand, and the suffix of its name."""
    if isinstance(source, bytes | bytearray | memoryview):
        return Bytes(bytes(source)), bytes(source), ""
    path = os.fspath(source)
    if path.startswith("s3://"):
        return S3Location(path), None, _suffix(path)
    data = _read(path)
    return Bytes(data), data, _suffix(path)


def _read(path: str | FilePath) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ValidationError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    if not data:
        raise ValidationError(f"{os.fspath(path)!r} is empty")
    return data


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lstrip(".").lower()


def _sniff_any(data: bytes) -> tuple[str, str] | None:
    for marks, kind, form in _MAGIC:
        if all(data.startswith(mark, offset) for offset, mark in marks):
            return kind, form
    return None


def _sniff(data: bytes | None, kind: str) -> str | None:
    found = _sniff_any(data) if data is not None else None
    return found[1] if found and found[0] == kind else None


def _is_text(data: bytes) -> bool:
    try:
        return "\x00" not in data.decode()
    except UnicodeDecodeError:
        return False


def _name_of(source: Any) -> str:
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else f"{len(source)} bytes"


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
        if isinstance(spec, ToolSpec) and any(isinstance(s, ToolSpec) and s.name == spec.name for s in specs):
            raise ValidationError(f"two tools are named {spec.name!r}: rename one with @tool(name=...)")
        specs.append(spec)
        if function is not None:
            functions[function.spec.name] = function
    return tuple(specs), functions


def _tool(item: Any) -> tuple[Tool, ToolFunction | None]:
    if isinstance(item, _TOOLS):
        spec: Tool = item
        return spec, None
    if isinstance(item, Mapping):
        from awsllm.wire.converse import decode_tool

        if isinstance(inner := item.get("toolSpec"), Mapping):
            _check_members(inner, ("name", "description", "inputSchema", "strict"), "toolSpec")
        return _decoded(decode_tool, item, "tool"), None
    from awsllm.tools.loop import ToolFunction, function_tool, model_tool

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
            from awsllm.wire.converse import decode_tool_choice

            return _decoded(decode_tool_choice, value, "tool_choice")
        case _:
            spec, _ = _tool(value)
            return ToolChoice("tool", getattr(spec, "name", None))


# --- checks ----------------------------------------------------------------------------------------------------------

_TOOL_NAME = r"[a-zA-Z0-9_-]{1,64}"
_DOCUMENT_NAME = r"(?!.*\s\s)[A-Za-z0-9\s()\[\]-]{1,200}"
_ROLES = frozenset(("user", "assistant", "system"))


def check_request(request: ConverseRequest) -> None:
    """``ValidationError`` for what Converse refuses of every model; the message says where and how to mend it."""
    if not request.messages and request.prompt_variables is None:
        raise ValidationError("no messages: pass what the user says (a managed prompt takes prompt_variables={...})")
    if request.messages and request.messages[0].role == "assistant":
        raise ValidationError("messages[0] is the assistant's: a conversation begins with a user turn")
    names: set[str] = set()
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]", names)
    for index, block in enumerate(request.system):
        if isinstance(block, Text) and not block.text.strip():
            raise ValidationError(f"system[{index}] has no text: leave system out or write something")
    _check_inference(request.inference_config)
    if request.tools or request.tool_choice:
        _check_tools(request.tools, request.tool_choice)


def _check_message(message: Message, where: str, names: set[str]) -> None:
    if message.role not in _ROLES:
        raise ValidationError(f"{where}.role is {message.role!r}; it is user, assistant or system")
    if not message.content:
        raise ValidationError(f"{where} is empty: give it some content or leave the turn out")
    has_document = False
    for index, block in enumerate(message.content):
        _check_block(block, f"{where}.content[{index}]", names)
        has_document = has_document or isinstance(block, Document)
    if has_document and message.role == "user" and not any(isinstance(b, Text) for b in message.content):
        raise ValidationError(
            f"{where} has a document and no text: say beside it, in the same turn, what to do with it"
        )


def _check_block(block: ContentBlock, where: str, names: set[str]) -> None:
    match block:
        case Text(text=text):
            if not text.strip():
                raise ValidationError(f"{where} is blank text: leave the block out or write something")
        case Image(format=format, source=source):
            _check_image(format, source, where)
        case Document():
            _check_document(block, where, names)
        case ToolResult(content=content):
            for index, inner in enumerate(content):
                if isinstance(inner, Image | Document):
                    _check_block(inner, f"{where}.content[{index}]", names)
        case _:
            pass


def _check_image(format: str, source: MediaSource, where: str) -> None:
    if format not in FORMATS["image"]:
        raise ValidationError(f"{where} is an image of format {format!r}; {_IMAGE_FIX}")
    if not isinstance(source, Bytes):
        return
    found = _sniff(source.data, "image")
    if found is None:
        raise ValidationError(f"{where} holds bytes that are no image of a known format; {_IMAGE_FIX}")
    if found != format:
        raise ValidationError(f"{where} says {format} and holds a {found} image: write format={found!r}")


def _check_document(document: Document, where: str, names: set[str]) -> None:
    if not re.fullmatch(_DOCUMENT_NAME, document.name):
        raise ValidationError(
            f"{where} has the name {document.name!r}; letters, digits, single spaces, hyphens, parentheses and square "
            f"brackets are allowed: {document_name(document.name)!r} would do"
        )
    if document.name in names:
        raise ValidationError(f"{where} is the second document named {document.name!r}: names differ within a request")
    names.add(document.name)
    if document.format is not None and document.format not in FORMATS["document"]:
        raise ValidationError(
            f"{where} is of format {document.format!r}; known: {', '.join(sorted(FORMATS['document']))}"
        )
    if _is_empty(document.source):
        raise ValidationError(f"{where} ({document.name!r}) is an empty document")


def _is_empty(source: DocumentSource) -> bool:
    return isinstance(source, Bytes) and not source.data


def _check_inference(config: InferenceConfig) -> None:
    for name, value in (("temperature", config.temperature), ("top_p", config.top_p)):
        if value is not None and not 0 <= value <= 1:
            raise ValidationError(f"{name} is {value}; it is between 0 and 1")
    if config.max_tokens is not None and config.max_tokens < 1:
        raise ValidationError(f"max_tokens is {config.max_tokens}; it is at least 1")


def _check_tools(tools: Iterable[Tool], choice: ToolChoice | None) -> None:
    names = list(_tool_names(tools))
    if choice is not None and not names:
        raise ValidationError("tool_choice needs tools: pass tools=[...] or leave tool_choice out")
    if choice is not None and choice.type == "tool" and choice.name not in names:
        from difflib import get_close_matches

        near = get_close_matches(choice.name or "", names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise ValidationError(f"tool_choice names {choice.name!r}, which is none of the tools; {hint}")


def _tool_names(tools: Iterable[Tool]) -> Iterator[str]:
    for tool in tools:
        match tool:
            case ToolSpec():
                _check_spec(tool)
                yield tool.name
            case SystemTool(name=name):
                yield name
            case CachePoint() | Unknown():
                pass


def _check_spec(spec: ToolSpec) -> None:
    if not re.fullmatch(_TOOL_NAME, spec.name):
        raise ValidationError(
            f"tool name {spec.name!r} is not taken: 1 to 64 letters, digits, '_', '-'; rename it: @tool(name=...)"
        )
    schema: Any = spec.input_schema
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValidationError(f"the input schema of tool {spec.name!r} is not a JSON schema of type object")
    if spec.description is not None and not spec.description.strip():
        raise ValidationError(f"tool {spec.name!r} has a blank description: say what it does, or leave it out")
