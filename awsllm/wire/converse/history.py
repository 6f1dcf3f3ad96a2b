"""Turns made such as Bedrock takes, where that leaves their meaning what it is.

Pure, on neutral values, and beside ``rules``, which says what Bedrock takes. There are two uses:

- ``sendable`` and ``with_tool_ids``: a model's turn as it can be sent back. Models call tools by names that no tool may
  have, write arguments that are no JSON object, and answer nothing at all; the service takes none of that back. The
  tool loop builds its requests of such turns, and ``ConverseResponse.messages`` holds nothing else.
- ``mended``: a conversation that a caller hands over, with a note of what was changed. Histories come from files, from
  other providers (whose tool-use ids may be longer and of other characters), and from loops that were broken off. What
  cannot be mended stays, and breaks a rule by name.

Values are never edited: what is not changed is the same object, and what is changed is a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from awsllm.errors import UnsupportedError
from awsllm.types import (
    SERVER_TOOL_USE,
    CachePoint,
    ContentBlock,
    ConverseResponse,
    Json,
    JsonObject,
    JsonValue,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolResultContent,
    ToolUse,
    Unknown,
)
from awsllm.wire.converse.blocks import encode_block
from awsllm.wire.converse.rules import (
    clean_tool_name,
    clean_tool_use_id,
    has_content,
    is_blank,
    is_tool_name,
    is_tool_use_id,
    own_calls,
    own_results,
)

NO_OUTPUT = "(no output)"
"""What stands where there is nothing and the service wants something."""

UNFINISHED = frozenset(
    (
        *("max_tokens", "model_context_window_exceeded", "guardrail_intervened", "content_filtered"),
        *("malformed_model_output", "malformed_tool_use"),
    )
)
"""Stop reasons after which a call's arguments may be cut, or were taken back: such calls are not run."""

_NOTHING = Text(NO_OUTPUT)


Turns: TypeAlias = tuple[Message, ...]


def as_object(value: JsonValue) -> JsonObject | None:
    """Arguments as the object that they are, or that their text holds; None where there is none."""
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if not isinstance(value, str):
        return None
    try:
        held = msgspec.json.decode(value) if value.strip() else {}
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


class ToolIds:
    """Ids for the tool uses of a conversation, such as the service takes and each of them once. What is made of an id
    depends on those before it only, so that a conversation that grows keeps its beginning, cached or not."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def of(self, id: str) -> str:
        """The id itself if the service takes it and no other use has it, else one near to it."""
        wanted = id if is_tool_use_id(id) else clean_tool_use_id(id)
        free, n = wanted, 2
        while free in self._taken:
            free, n = f"{wanted[:59]}_{n}", n + 1
        self._taken.add(free)
        return free


# --- a model's turn --------------------------------------------------------------------------------------------------


def with_tool_ids(message: Message, ids: ToolIds | None = None) -> Message:
    """The turn with ids of its calls that the service takes, each once in the turn, or in what ``ids`` has seen."""
    if not (calls := own_calls(message)):
        return message
    ids = ids or ToolIds()
    named = [ids.of(call.id) for call in calls]
    if named == [call.id for call in calls]:
        return message
    left = iter(named)
    own = set(map(id, calls))
    return _with_content(
        message, (replace(block, id=next(left)) if id(block) in own else block for block in message.content)
    )


def sendable(message: Message, stop_reason: str | None = None) -> tuple[Message, tuple[str, ...]]:
    """A model's turn as it can be sent back, and what was left out of it. Blank texts go without a word, as some models
    leave such beside their calls. Thinking and its signatures stay untouched, but for a thought that was cut before its
    signature came: it is not taken back."""
    warnings: list[str] = []
    content: list[ContentBlock] = []
    blocks = message.content[:-1] if stop_reason in UNFINISHED and _is_unsigned(message) else message.content
    for block in blocks:
        kept = _sendable_block(block, warnings)
        if kept is not None:
            content.append(kept)
    if _says_nothing(content):
        content.append(_NOTHING)
    return _with_content(message, content), tuple(warnings)


def _is_unsigned(message: Message) -> bool:
    """Whether the turn ends with a thought without a signature."""
    last = message.content[-1] if message.content else None
    return isinstance(last, Reasoning) and last.signature is None and last.redacted is None


def _says_nothing(content: Iterable[ContentBlock]) -> bool:
    """Thinking alone is no turn: the service wants something behind it."""
    return all(isinstance(block, (Reasoning, CachePoint)) for block in content)


def _sendable_block(block: ContentBlock, warnings: list[str]) -> ContentBlock | None:
    match block:
        case Text():
            return None if is_blank(block) else block
        case ToolUse():
            return _sendable_call(block, warnings)
        case Reasoning():
            return block
        case _:
            try:
                encode_block(block)
            except UnsupportedError as error:
                kind = block.tag if isinstance(block, Unknown) else type(block).__name__
                warnings.append(f"messages leaves out a block of the kind {kind!r}: {error.message}")
                return None
            return block


def _sendable_call(call: ToolUse, warnings: list[str]) -> ToolUse:
    arguments = as_object(call.input)
    if arguments is None:
        warnings.append(
            f"the arguments of the tool call {call.id} are no JSON object: messages has {{}} in their place"
        )
    name = call.name if is_tool_name(call.name) else clean_tool_name(call.name)
    if arguments is call.input and name == call.name:
        return call
    return replace(call, input=arguments or {}, name=name)


def _with_content(message: Message, content: Iterable[ContentBlock]) -> Message:
    blocks = tuple(content)
    same = len(blocks) == len(message.content) and all(map(_is, blocks, message.content))
    return message if same else replace(message, content=blocks)


def _is(one: object, other: object) -> bool:
    return one is other


def sendable_answer(response: ConverseResponse) -> ConverseResponse:
    """The response with ``messages`` that can be sent as they are: turns as ``sendable`` makes them, and results for
    calls that were cut, saying so. Ids are the same in ``message``, by which a caller answers calls of his own."""
    message = with_tool_ids(response.message)
    warnings: list[str] = []
    turns: list[Message] = []
    for turn in response.messages or (message,):
        if turn.role == "assistant":
            turn, more = sendable(with_tool_ids(turn), response.stop_reason)
            warnings += more
        turns.append(turn)
    if response.stop_reason in UNFINISHED and turns[-1].role == "assistant" and own_calls(turns[-1]):
        turns.append(unanswered(turns[-1], f"not run: the answer ended with {response.stop_reason}"))
    if not warnings and message is response.message and _same(turns, response.messages):
        return response
    known = response.warnings
    new = (warning for warning in warnings if warning not in known)
    return replace(response, message=message, messages=tuple(turns), warnings=(*known, *new))


def _same(turns: list[Message], messages: tuple[Message, ...]) -> bool:
    return len(turns) == len(messages) and all(map(_is, turns, messages))


def unanswered(message: Message, why: str) -> Message:
    """The turn that answers the calls of a turn with the word that there are no results."""
    return Message("user", tuple(_no_result(call.id, why) for call in own_calls(message)))


def _no_result(id: str, why: str) -> ToolResult:
    return ToolResult(tool_use_id=id, content=(Text(why),), status="error")


# --- a caller's conversation -----------------------------------------------------------------------------------------


class Notes:
    """What was changed, and where: a line a kind, however often."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, what: str, place: str) -> None:
        self._places.setdefault(what, []).append(place)

    def lines(self) -> tuple[str, ...]:
        return tuple(f"{what}: {_listed(places)}" for what, places in self._places.items())


def _listed(places: list[str]) -> str:
    more = len(places) - 3
    return ", ".join(places[:3]) + (f" and {more} more" if more > 0 else "")


_BLANK = "blank text was left out"
_EMPTY = f"an assistant turn without content was sent as {NO_OUTPUT!r}"
_IDS = "ids of tool calls that Bedrock does not take, or that another call has, were changed"
_NAMES = "names of called tools that Bedrock does not take were changed"
_INPUTS = "arguments of tool calls that were no JSON object were sent as the object that they stand for"
_RESULTS = f"a tool result without content was sent as {NO_OUTPUT!r}"
_VALUES = "JSON in a tool result that is no object was put in one, as its member result"
_NO_RESULT = "a tool call without a result was given one that says so"
_NO_CALL = "a tool result without its call was sent as text"
_TWICE = "a second, equal result of a tool call was left out"
_SPACE = "white space at the end of the last turn was left out"
_MISSING = "no result: the tool call was broken off"


def mended(messages: Turns, notes: Notes, *, for_bedrock: bool = True) -> Turns:
    """The conversation with what Bedrock takes no longer in it, and ``notes`` of it. What other places take as it is
    (calls without results, foreign ids) is left to them."""
    kinds = {type(block) for message in messages for block in message.content}
    if for_bedrock and (ToolUse in kinds or ToolResult in kinds):
        messages = _with_plain_results(_with_calls(messages, notes), notes)
        messages = _with_pairs(messages, notes)
    messages = _without_blanks(messages, notes)
    return _without_last_space(messages, notes) if for_bedrock else messages


def _without_blanks(messages: Turns, notes: Notes) -> Turns:
    return tuple(
        _filled(message, f"messages[{index}]", notes)
        if message.role == "assistant"
        else _without_blank(message, f"messages[{index}]", notes)
        for index, message in enumerate(messages)
    )


def _without_blank(message: Message, place: str, notes: Notes) -> Message:
    """A user's turn without the blank texts beside its content."""
    if message.role != "user" or not any(map(is_blank, message.content)) or not has_content(message):
        return message
    for index, block in enumerate(message.content):
        if is_blank(block):
            notes.add(_BLANK, f"{place}.content[{index}]")
    return _with_content(message, (block for block in message.content if not is_blank(block)))


def _filled(message: Message, place: str, notes: Notes) -> Message:
    """An assistant's turn without blank texts (some models leave such beside their calls: no word of it), and with the
    word for nothing where it says nothing."""
    content = [block for block in message.content if not is_blank(block)]
    if _says_nothing(content):
        notes.add(_EMPTY, place)
        content.append(_NOTHING)
    return _with_content(message, content)


def _with_calls(messages: Turns, notes: Notes) -> Turns:
    """Calls with ids, names and arguments that Bedrock takes, and their results with the same ids."""
    ids = ToolIds()
    renamed: dict[str, deque[str]] = {}
    turns: list[Message] = []
    for index, message in enumerate(messages):
        if message.role == "system":
            turns.append(message)
            continue
        place = f"messages[{index}]"
        answered = _with_content(message, (_with_new_id(block, renamed) for block in message.content))
        identified = with_tool_ids(answered, ids)
        renamed = {}
        for before, after in zip(own_calls(answered), own_calls(identified), strict=True):
            renamed.setdefault(before.id, deque()).append(after.id)
            if before.id != after.id:
                notes.add(_IDS, place)
        turns.append(_with_content(identified, (_mended_call(block, place, notes) for block in identified.content)))
    return tuple(turns)


def _with_new_id(block: ContentBlock, renamed: dict[str, deque[str]]) -> ContentBlock:
    """A result with the id that its call has got. Where several calls had one id, results are taken in their order."""
    if not isinstance(block, ToolResult) or block.type is not None or block.tool_use_id not in renamed:
        return block
    ids = renamed[block.tool_use_id]
    new = ids.popleft() if len(ids) > 1 else ids[0]
    return block if new == block.tool_use_id else replace(block, tool_use_id=new)


def _mended_call(block: ContentBlock, place: str, notes: Notes) -> ContentBlock:
    if not isinstance(block, ToolUse) or block.type == SERVER_TOOL_USE:
        return block
    if not is_tool_name(block.name):
        notes.add(_NAMES, place)
        block = replace(block, name=clean_tool_name(block.name))
    arguments = as_object(block.input)
    if arguments is None or arguments is block.input:
        return block
    notes.add(_INPUTS, place)
    return replace(block, input=arguments)


def _with_plain_results(messages: Turns, notes: Notes) -> Turns:
    """Results without blank texts, with something in them, and with objects for JSON."""
    return tuple(
        _with_content(message, (_plain_result(block, f"messages[{index}]", notes) for block in message.content))
        for index, message in enumerate(messages)
    )


def _plain_result(block: ContentBlock, place: str, notes: Notes) -> ContentBlock:
    if not isinstance(block, ToolResult) or block.type is not None:
        return block
    content: list[ToolResultContent] = []
    for item in block.content:
        if isinstance(item, Json) and not isinstance(item.value, dict):
            notes.add(_VALUES, place)
            content.append(Json({"result": item.value}))
        elif not is_blank(item):
            content.append(item)
    if not content:
        notes.add(_RESULTS, place)
        content.append(_NOTHING)
    elif len(content) < len(block.content):
        notes.add(_BLANK, f"{place} (in a tool result)")
    same = len(content) == len(block.content) and all(map(_is, content, block.content))
    return block if same else replace(block, content=tuple(content))


def _with_pairs(messages: Turns, notes: Notes) -> Turns:
    """Each call with its result in the next turn. A conversation that ends with calls is left so: their results are the
    caller's to give."""
    open_calls: list[str] = []
    turns: list[Message] = []
    for index, message in enumerate(messages):
        if message.role == "user":
            message = _paired(message, open_calls, f"messages[{index}]", notes)
        if message.role != "system":
            open_calls = [call.id for call in own_calls(message)]
        turns.append(message)
    return tuple(turns)


def _paired(message: Message, calls: list[str], place: str, notes: Notes) -> Message:
    """The turn behind the ``calls``. Where calls lack results and results lack calls, they may belong together: which
    to which is not to be guessed, and the rules name them."""
    given = [result.tool_use_id for result in own_results(message)]
    missing = [call for call in calls if call not in given]
    stray = [result for result in given if result not in calls]
    if (missing and stray) or given == calls:
        return message
    content: list[ContentBlock] = [_no_result(call, _MISSING) for call in missing]
    if missing:
        notes.add(_NO_RESULT, place)
    known: dict[str, ContentBlock] = {}
    for block in message.content:
        if not isinstance(block, ToolResult) or block.type is not None:
            content.append(block)
        elif block.tool_use_id in stray:
            notes.add(_NO_CALL, place)
            content += _as_content(block)
        elif known.setdefault(block.tool_use_id, block) is not block and known[block.tool_use_id] == block:
            notes.add(_TWICE, place)
        else:
            content.append(block)
    return _with_content(message, content)


def _as_content(result: ToolResult) -> Iterator[ContentBlock]:
    """What a result says, as content of the user's turn."""
    lead = "An earlier tool call failed:" if result.status == "error" else "Result of an earlier tool call:"
    first, *rest = result.content
    if isinstance(first, Text):
        yield Text(f"{lead} {first.text}")
    else:
        yield Text(lead)
        rest = [first, *rest]
    for item in rest:
        yield Text(msgspec.json.encode(item.value).decode()) if isinstance(item, Json) else item


def _without_last_space(messages: Turns, notes: Notes) -> Turns:
    """A last turn that is the assistant's, to be continued, does not end with white space (langchain-aws 599)."""
    if not messages or messages[-1].role != "assistant" or not messages[-1].content:
        return messages
    *before, last = messages[-1].content
    if not isinstance(last, Text) or last.text == last.text.rstrip():
        return messages
    notes.add(_SPACE, f"messages[{len(messages) - 1}]")
    return (*messages[:-1], replace(messages[-1], content=(*before, replace(last, text=last.text.rstrip()))))
