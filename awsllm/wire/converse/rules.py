"""What Bedrock accepts as a conversation: one set of rules, for whoever checks or builds one.

Pure, on neutral values, and beyond what the service model says of types, lengths and enumerations: turns, blank texts,
documents, tools and their results. A broken rule is a ``Violation``, worded for both sides: ``message`` is what the
service answers (the server says it), ``fix`` what a caller in Python does about it (``calls.checks`` says it before
anything is sent). The tool loop builds its requests so that none of these rules break.

The words are the real service's where its replies are known: most were seen through the SDKs until 2026-11, those on
documents in vercel/ai 20365, maximhq/bifrost 7003, BerriAI/litellm 36499 and strands-agents/harness-sdk 3019, that on
schemas in aaif-goose/goose 5064, that on JSON in sigoden/aichat 1542. The words on tool names and ids, tool choices and
unknown blocks are awsllm's.

Some models are held to fewer rules than others, by the service itself: a profile says which (``models.profiles``), and
whoever asks leaves those out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from awsllm.errors import ValidationError
from awsllm.types import (
    SERVER_TOOL_USE,
    CachePoint,
    ConverseRequest,
    Document,
    Json,
    Message,
    SystemTool,
    Text,
    ToolResult,
    ToolSpec,
    ToolUse,
    Unknown,
)
from awsllm.wire.reading import shape_of

# Patterns are compiled where they are first needed: most calls have neither documents nor tools.
# The service takes underscores though its message leaves them out, and of white space the plain one only, tabs and
# ideographic spaces not (aws-samples/generative-ai-use-cases 1671, vercel/ai 20366; read 2026-11-26).
_DOCUMENT_NAME = r"(?:[A-Za-z0-9_()\[\]-]| (?! )){1,200}"
_WITH_DOCUMENTS = frozenset((Document, ToolResult))
_OF_TOOLS = frozenset((ToolUse, ToolResult))
# botocore's service model: ToolName and ToolUseId.
_NO_TOOL_NAME = r"[^a-zA-Z0-9_-]+"
_NO_TOOL_USE_ID = r"[^a-zA-Z0-9_.:-]+"
_LONGEST_NAME = 64


class Violation(msgspec.Struct, frozen=True):
    """A rule that a request breaks, and where: ``path`` is the service's (``messages.0.content.1``)."""

    rule: str
    path: str
    message: str
    fix: str


def violations(request: ConverseRequest) -> Iterator[Violation]:
    """Every rule that ``request`` breaks, in the order in which the service looks."""
    kinds = {type(block) for message in request.messages for block in message.content}
    yield from _turns(request.messages)
    for index, block in enumerate(request.system):
        if is_blank(block):
            path = f"system.{index}"
            fix = f"{_python(path)} has no text: leave system out or write something"
            yield Violation("blank-text", path, _BLANK.format("SystemContentBlock", path), fix)
    for index, message in enumerate(request.messages):
        yield from _content(message, index)
    if kinds & _WITH_DOCUMENTS:
        yield from _documents(request.messages)
    if request.tools or request.tool_choice or kinds & _OF_TOOLS:
        yield from _tools(request)
    if kinds & _OF_TOOLS:
        yield from _tool_results(request)


def check_conversation(request: ConverseRequest, waived: Collection[str] = ()) -> None:
    """Raise what the service answers at the first rule that ``request`` breaks, of those that are not ``waived``."""
    for violation in violations(request):
        if violation.rule not in waived:
            raise refusal(violation)


def refusal(violation: Violation) -> ValidationError:
    """What the service answers."""
    return ValidationError(violation.message, code="ValidationException", status=400)


def _python(path: str) -> str:
    """A path of the service as a caller in Python writes it: ``messages[0].content[1]``."""
    return re.sub(r"\.(\d+)", r"[\1]", path.replace(".toolResult", ""))


# --- turns and their content -----------------------------------------------------------------------------------------

_USER_BEGINS = (
    "A conversation must start with a user message. Try again with a conversation that starts with a user message."
)
_BLANK = "The text field in the {} object at {} is blank. Add text to the text field, and try again."


def _turns(messages: tuple[Message, ...]) -> Iterator[Violation]:
    """The user begins, and the roles alternate; system turns do not count."""
    before, role = -1, ""
    for index, message in enumerate(messages):
        if message.role == "system":
            continue
        if not role and message.role != "user":
            fix = f"messages[{index}] is the {message.role}'s: a conversation begins with a user turn"
            yield Violation("first-turn", "messages", _USER_BEGINS, fix)
        if message.role == role:
            yield Violation(
                "alternating-turns",
                f"messages.{index}",
                "A conversation must alternate between user and assistant roles. "
                "Make sure the conversation alternates between user and assistant roles and try again.",
                f"messages[{before}] and messages[{index}] are both the {role}'s: make one turn of them",
            )
        before, role = index, message.role
    if not role:
        fix = "no messages: pass what the user says (a managed prompt takes prompt_variables={...})"
        yield Violation("no-turn", "messages", _USER_BEGINS, fix)


def _content(message: Message, number: int) -> Iterator[Violation]:
    if not message.content:
        path = f"messages.{number}"
        yield Violation(
            "empty-turn",
            path,
            f"The content field in the Message object at {path} is empty. "
            "Add a ContentBlock object to the content field and try again.",
            f"{_python(path)} is empty: give it some content or leave the turn out",
        )
    blanks_pass = message.role == "user" and has_content(message)
    for index, block in enumerate(message.content):
        if is_blank(block):
            if blanks_pass:
                continue
            path = f"messages.{number}.content.{index}"
            fix = f"{_python(path)} is blank text: leave the block out or write something"
            yield Violation("blank-text", path, _BLANK.format("ContentBlock", path), fix)
        elif isinstance(block, Unknown):
            path = f"messages.{number}.content.{index}"
            yield Violation(
                "known-block",
                path,
                f"The ContentBlock object at {path} has the unknown type {block.tag}.",
                f"{_python(path)} is of the kind {block.tag!r}, which cannot be sent: leave it out",
            )


def is_blank(block: object) -> bool:
    return isinstance(block, Text) and not block.text.strip()


def is_plain(messages: tuple[Message, ...]) -> bool:
    """Whether the turns are texts and nothing else, as most are: there is nothing to mend but space at the end."""
    for message in messages:
        for block in message.content:
            if type(block) is not Text or not block.text or block.text.isspace():
                return False
        if not message.content:
            return False
    return True


def has_content(message: Message) -> bool:
    """Whether the turn holds anything beside blank texts and cache points. Blank texts beside it are answered in a
    user's turn, and refused in an assistant's (recorded replies of the service, read 2026-11)."""
    return any(not isinstance(block, CachePoint) and not is_blank(block) for block in message.content)


# --- documents -------------------------------------------------------------------------------------------------------


def documents(messages: Iterable[Message]) -> Iterator[tuple[str, Document]]:
    """The documents of a conversation with their paths, those in tool results too."""
    for number, message in enumerate(messages):
        for index, block in enumerate(message.content):
            if isinstance(block, Document):
                yield f"messages.{number}.content.{index}", block
            elif isinstance(block, ToolResult):
                for inner, part in enumerate(block.content):
                    if isinstance(part, Document):
                        yield f"messages.{number}.content.{index}.toolResult.content.{inner}", part


def _documents(messages: tuple[Message, ...]) -> Iterator[Violation]:
    names: set[str] = set()
    for path, document in documents(messages):
        if not is_document_name(document.name):
            yield Violation(
                "document-name",
                path,
                "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, "
                "parentheses, and square brackets. The name can't contain more than one consecutive whitespace "
                "character. Check that the file name conforms to these restrictions and retry your request.",
                f"{_python(path)} has the name {document.name!r}; letters, digits, '_', single spaces, hyphens, "
                f"parentheses and square brackets are allowed: {clean_document_name(document.name)!r} would do",
            )
        if document.name in names:
            yield Violation(
                "distinct-documents",
                path,
                "Messages can't contain duplicate document names. Rename the document and retry your request.",
                f"{_python(path)} is the second document named {document.name!r}: names differ within a request",
            )
        names.add(document.name)
    for index, message in enumerate(messages if names else ()):
        kinds = [type(block) for block in message.content]
        if Document in kinds and Text not in kinds:
            yield Violation(
                "text-beside-document",
                f"messages.{index}",
                "A text block must be included when using documents. Add a text block and retry your request.",
                f"messages[{index}] has a document and no text: say beside it, in the same turn, what to do with it",
            )


def is_document_name(text: str) -> bool:
    """Whether the service takes ``text`` as the name of a document."""
    return re.fullmatch(_DOCUMENT_NAME, text) is not None


def clean_document_name(text: str) -> str:
    """The name nearest to ``text`` of documented characters: ASCII letters, digits, single spaces, hyphens, parentheses
    and square brackets; at most 200."""
    return " ".join(re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", text).split())[:200].strip() or "document"


def document_named(document: Document, taken: set[str]) -> Document:
    """The document under its own name or, that being taken, its name and a number."""
    name, n = document.name, 2
    while name in taken:
        name, n = f"{document.name[:190]} ({n})", n + 1
    return document if name == document.name else replace(document, name=name)


# --- tools -----------------------------------------------------------------------------------------------------------


def _tools(request: ConverseRequest) -> Iterator[Violation]:
    """What is wrong with the tools themselves, with the choice among them, or with calls that no tool stands behind."""
    if not request.tools:
        for path in _calls_and_results(request.messages):
            yield Violation(
                "tool-config",
                path,
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
                f"{_python(path)} is a tool call or its result, and there are no tools: pass tools=[...] here, too",
            )
            break
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        if isinstance(tool, ToolSpec):
            path = f"toolConfig.tools.{index}.toolSpec"
            schema: object = tool.input_schema
            if not isinstance(schema, dict) or schema.get("type") != "object":
                yield Violation(
                    "tool-schema",
                    path,
                    f"The value at {path}.inputSchema.json.type must be one of the following: object.",
                    f"the input schema of tool {tool.name!r} is not a JSON schema of type object",
                )
            if tool.name in names:
                yield Violation(
                    "distinct-tools",
                    path,
                    "The toolConfig.tools field has duplicate tool names. Give each tool a name of its own.",
                    f"two tools are named {tool.name!r}: rename one with @tool(name=...)",
                )
            names.add(tool.name)
    choice = request.tool_choice
    known = [tool.name for tool in request.tools if isinstance(tool, ToolSpec | SystemTool)]
    if choice is not None and choice.type == "tool" and choice.name not in known:
        yield Violation(
            "tool-choice",
            "toolConfig.toolChoice",
            f"The toolChoice field names the tool {choice.name}, which toolConfig.tools does not define.",
            f"tool_choice names {choice.name!r}, which is none of the tools; {_near(choice.name or '', known)}",
        )


def _near(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _calls_and_results(messages: tuple[Message, ...]) -> Iterator[str]:
    for number, message in enumerate(messages):
        for index, block in enumerate(message.content):
            if isinstance(block, ToolUse | ToolResult):
                yield f"messages.{number}.content.{index}"


def is_tool_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and re.search(_NO_TOOL_NAME, text) is None


def clean_tool_name(text: str) -> str:
    """The name nearest to ``text`` that a tool may have."""
    return re.sub(_NO_TOOL_NAME, "_", text.strip())[:_LONGEST_NAME] or "unnamed"


def is_tool_use_id(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and re.search(_NO_TOOL_USE_ID, text) is None


def clean_tool_use_id(text: str) -> str:
    """The id nearest to ``text`` that a tool use may have."""
    return re.sub(_NO_TOOL_USE_ID, "_", text)[:_LONGEST_NAME] or "tool_use"


def own_calls(message: Message) -> tuple[ToolUse, ...]:
    """The calls of a turn that the caller answers. The service's own tools answer themselves."""
    return tuple(call for call in message.tool_uses if call.type != SERVER_TOOL_USE)


def own_results(message: Message) -> tuple[ToolResult, ...]:
    """The results in a turn that are the caller's."""
    return tuple(block for block in message.content if isinstance(block, ToolResult) and block.type is None)


def _tool_results(request: ConverseRequest) -> Iterator[Violation]:
    """Each tool use is answered in the next turn, and nothing else is."""
    open_calls: list[str] = []
    for index, message in enumerate(request.messages):
        if message.role == "system":
            continue
        yield from _json_objects(message, index)
        given = [result.tool_use_id for result in own_results(message)]
        if open_calls or given:
            yield from _answers(open_calls, given, message.role, f"messages.{index}")
        open_calls = [call.id for call in own_calls(message)]
        if twice := ", ".join(sorted({call for call in open_calls if open_calls.count(call) > 1})):
            yield Violation(
                "distinct-tool-uses",
                f"messages.{index}",
                f"The toolUse blocks at messages.{index}.content contain duplicate Ids: {twice}",
                f"messages[{index}] has two tool calls with the id {twice}: give each its own",
            )
    if open_calls:
        yield from _answers(open_calls, [], "user", f"messages.{len(request.messages)}")


_NO_OBJECT = "The format of the value at {} is invalid. Provide a json object for the field and try again."


def _json_objects(message: Message, number: int) -> Iterator[Violation]:
    """What is JSON in a turn is an object: the arguments of calls, and results."""
    for index, block in enumerate(message.content):
        path = f"messages.{number}.content.{index}"
        if isinstance(block, ToolUse) and not isinstance(block.input, dict):
            fix = f"the arguments of the tool call {_python(path)} are no JSON object but {shape_of(block.input)}"
            yield Violation("tool-input", path, _NO_OBJECT.format(f"{path}.toolUse.input"), fix)
        elif isinstance(block, ToolResult):
            for inner, part in enumerate(block.content):
                if isinstance(part, Json) and not isinstance(part.value, dict):
                    place = f"{path}.toolResult.content.{inner}"
                    fix = f"{_python(place)} is JSON and no object: put it in one"
                    yield Violation("result-json", place, _NO_OBJECT.format(f"{place}.json"), fix)


def _answers(calls: list[str], given: list[str], role: str, path: str) -> Iterator[Violation]:
    """What is wrong with the results ``given`` in the turn after the one that made the ``calls``."""
    where = _python(path)
    if missing := ", ".join(call for call in calls if call not in given):
        yield Violation(
            "tool-results",
            path,
            f"Expected toolResult blocks at {path}.content for the following Ids: {missing}",
            f"{where} lacks results of the tool calls {missing} of the turn before: add a ToolResult for each",
        )
    if role == "user" and len(given) > len(calls):
        yield Violation(
            "tool-results",
            path,
            f"The number of toolResult blocks at {path}.content exceeds the number of toolUse blocks of previous turn.",
            f"{where} has {len(given)} tool results, and the turn before makes {len(calls)} calls: leave out the rest",
        )
    stray = ", ".join(call for call in given if call not in calls)
    if role == "user" and stray:
        yield Violation(
            "tool-results",
            path,
            f"The toolResult blocks at {path}.content contain unexpected toolUse Ids: {stray}",
            f"{where} has results of the tool calls {stray}, which the turn before does not make: leave them out",
        )
