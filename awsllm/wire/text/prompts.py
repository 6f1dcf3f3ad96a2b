"""How a conversation becomes one text, for bodies that take a text; and how such a text is read back.

A model was trained on conversations written in one certain way, its *style*. The style of a deployment is named by its
settings, or seen in an example of what it is sent (``detect_style``). With no style known only a single user turn can
be sent, as it is: a guess would cost quality without anybody noticing.

Whether the text begins with a token like ``<s>`` or ``<|begin_of_text|>`` is the body's affair: most servers add it
themselves, and two of them confuse a model, so only a body whose callers are told to write it asks for it (``begun``).
Marks between turns that are such tokens are always written, since no server adds those.

A style is a row: what stands before and after each role's text, what invites the answer, and at which texts the answer
is over though the model may go on. Sources are the public model cards and documentation named in each row.
"""

# ruff: noqa: RUF001  DeepSeek's marks have full-width bars

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.types import (
    Audio,
    ContentBlock,
    Image,
    Message,
    SystemContentBlock,
    Text,
    ToolResult,
    ToolUse,
    Value,
)
from awsllm.wire.text.blocks import blocks_text, named

_FIX = "name the model's prompt style (by the tag awsllm:prompt), or the format openai where it takes `messages`"
"""What to do where a conversation cannot be written as a text."""


class Style(Value, frozen=True, kw_only=True):
    """``user``, ``assistant`` and ``system`` are what stands before and after a text of that role. With
    ``system_in_user`` the system text goes inside the first user turn. ``opening`` invites the answer. ``mark`` is a
    pattern by which a text of the style is known. ``beginning`` is the token that the whole text begins with. Where the
    opening makes the model think first, ``thinking`` is the mark at which its thinking ends."""

    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str]
    system_in_user: bool = False
    opening: str = ""
    stop_sequences: tuple[str, ...] = ()
    beginning: str = ""
    thinking: str | None = None
    mark: str
    source: str


STYLES: Mapping[str, Style | None] = {
    "plain": None,  # the texts alone, with blank lines between: base models, and FLAN-T5 and its like
    "llama2": Style(
        user=("[INST] ", " [/INST]"),
        assistant=(" ", " </s><s>"),
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        system_in_user=True,
        beginning="<s>",
        mark=r"<<SYS>>",
        source="Meta, Llama 2 model card and prompt format, 2023",
    ),
    "mistral": Style(
        user=("[INST] ", " [/INST]"),
        assistant=(" ", "</s>"),
        system=("", "\n\n"),
        system_in_user=True,
        beginning="<s>",
        mark=r"\[INST\]",
        source="docs.mistral.ai, tokenization and templates, V1 (with the first user turn's system prompt), 2024",
    ),
    "llama3": Style(
        user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
        stop_sequences=("<|eot_id|>",),
        beginning="<|begin_of_text|>",
        mark=r"<\|start_header_id\|>",
        source="llama.com, model cards and prompt formats, Meta Llama 3, 2024",
    ),
    "llama4": Style(
        user=("<|header_start|>user<|header_end|>\n\n", "<|eot|>"),
        assistant=("<|header_start|>assistant<|header_end|>\n\n", "<|eot|>"),
        system=("<|header_start|>system<|header_end|>\n\n", "<|eot|>"),
        opening="<|header_start|>assistant<|header_end|>\n\n",
        stop_sequences=("<|eot|>",),
        beginning="<|begin_of_text|>",
        mark=r"<\|header_start\|>",
        source="llama.com, model cards and prompt formats, Llama 4, 2025",
    ),
    "chatml": Style(
        user=("<|im_start|>user\n", "<|im_end|>\n"),
        assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
        system=("<|im_start|>system\n", "<|im_end|>\n"),
        opening="<|im_start|>assistant\n",
        stop_sequences=("<|im_end|>",),
        mark=r"<\|im_start\|>",
        source="model cards of Qwen and SmolLM2; LMFlow, supported conversation templates, 2024",
    ),
    "gemma": Style(
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
        system=("", "\n\n"),
        system_in_user=True,
        opening="<start_of_turn>model\n",
        stop_sequences=("<end_of_turn>",),
        mark=r"<start_of_turn>",
        source="ai.google.dev, Gemma prompt structure, 2024-2025",
    ),
    "zephyr": Style(
        user=("<|user|>\n", "</s>\n"),
        assistant=("<|assistant|>\n", "</s>\n"),
        system=("<|system|>\n", "</s>\n"),
        opening="<|assistant|>\n",
        mark=r"<\|(user|assistant)\|>",
        source="model card of zephyr-7b-beta, 2023",
    ),
    "falcon": Style(
        user=("User: ", "\n"),
        assistant=("Assistant: ", "\n"),
        system=("System: ", "\n"),
        opening="Assistant:",
        stop_sequences=("\nUser:",),
        mark=r"(?s)(^|\n)User: .*\nAssistant:",
        source="model card of falcon-180B-chat, 2023",
    ),
    "alpaca": Style(
        user=("### Instruction:\n", "\n\n"),
        assistant=("### Response:\n", "\n\n"),
        system=("", "\n\n"),
        opening="### Response:\n",
        stop_sequences=("### Instruction:",),
        mark=r"### Instruction:\n",
        source="the Alpaca project's instruction format, 2023",
    ),
    "titan": Style(
        user=("User: ", "\n"),
        assistant=("Bot: ", "\n"),
        system=("", "\n\n"),
        opening="Bot:",
        stop_sequences=("User:",),  # the one sequence, beside bars, that the first versions allowed
        mark=r"(?s)(^|\n)User: .*\nBot:",
        source="docs.aws.amazon.com, Amazon Titan Text models, inputText in a conversational style, 2024",
    ),
    "deepseek": Style(
        user=("<｜User｜>", ""),
        assistant=("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        system=("", ""),
        opening="<｜Assistant｜><think>\n",
        beginning="<｜begin▁of▁sentence｜>",
        thinking="</think>",
        mark=r"<｜User｜>",
        source="docs.aws.amazon.com, DeepSeek-R1, 2025; the chat template of deepseek-ai/DeepSeek-R1, which leaves the "
        "thinking of earlier turns out",
    ),
}
"""Prompt styles by name."""


def detect_style(text: str) -> str | None:
    """The style in which a prompt is written; None where it shows none."""
    marked = ((name, style) for name, style in STYLES.items() if style is not None)
    return next((name for name, style in marked if re.search(style.mark, text)), None)


def _style(name: str) -> Style | None:
    if name not in STYLES:
        raise ConfigurationError(f"{name!r} is no prompt style; known are {', '.join(STYLES)}")
    return STYLES[name]


# --- render ----------------------------------------------------------------------------------------------------------


def render(
    style: str | None, system: Sequence[SystemContentBlock], messages: Sequence[Message], *, begun: bool = False
) -> tuple[str, tuple[str, ...]]:
    """The conversation as one text, and the texts at which its answer ends. An assistant turn at the end is left open,
    for the model to go on with. ``style`` None takes a single user turn. ``begun``: the text begins with the style's
    first token. Raises ``UnsupportedError`` where the conversation cannot be written."""
    system_text = text_of(system)
    turns = [(message.role, text_of(message.content)) for message in messages]
    if not turns:
        raise ValidationError("messages: a conversation needs at least one turn")
    if style is None:
        return _single(system_text, turns), ()
    row = _style(style)
    if row is None:
        return "\n\n".join(filter(None, (system_text, *(text for _, text in turns)))), ()
    return (row.beginning if begun else "") + _render(row, system_text, turns), row.stop_sequences


def _single(system: str, turns: Sequence[tuple[str, str]]) -> str:
    if system or len(turns) > 1 or turns[0][0] != "user":
        raise UnsupportedError(
            f"how this model wants a conversation as one text is not known, so only one user turn without a system "
            f"prompt can be sent; {_FIX}"
        )
    return turns[0][1]


def _render(style: Style, system: str, turns: Sequence[tuple[str, str]]) -> str:
    parts: list[str] = []
    if system and not style.system_in_user:
        parts += (style.system[0], system, style.system[1])
    for index, (role, text) in enumerate(turns):
        before, after = _around(style, role)
        inside = f"{style.system[0]}{system}{style.system[1]}" if _takes_system(style, system, turns, index) else ""
        is_open = role == "assistant" and index == len(turns) - 1
        parts += (before, inside, text, "" if is_open else after)
    if turns[-1][0] != "assistant":
        parts.append(style.opening)
    return "".join(parts)


def _takes_system(style: Style, system: str, turns: Sequence[tuple[str, str]], index: int) -> bool:
    if not (system and style.system_in_user):
        return False
    return index == next((at for at, (role, _) in enumerate(turns) if role == "user"), -1)


def _around(style: Style, role: str) -> tuple[str, str]:
    match role:
        case "user":
            return style.user
        case "assistant":
            return style.assistant
        case "system" if not style.system_in_user:
            return style.system
        case _:
            raise UnsupportedError(f"a turn with the role {role!r} cannot be written in this prompt style; {_FIX}")


def text_of(content: Sequence[ContentBlock]) -> str:
    """The text of a turn. Raises ``UnsupportedError`` for what is no text."""
    for block in content:
        if isinstance(block, (Image, Audio, ToolUse, ToolResult)):
            raise UnsupportedError(f"{named(block)} cannot be written as text; the format openai takes it")
    return blocks_text(content)


# --- parse -----------------------------------------------------------------------------------------------------------


def parse(style: str | None, text: str) -> tuple[tuple[SystemContentBlock, ...], tuple[Message, ...]]:
    """The conversation that a text in the style makes; a text that is not wholly in the style is one user turn. A
    prompt that its caller wrote by hand often has other line breaks around the marks: that is read, too."""
    row = None if style is None else _style(style)
    turns = None if row is None else _turns(row, text, loose=False)
    if row is not None and turns is None and row.beginning:
        turns = _turns(row, text, loose=True)
    if row is None or turns is None:
        return (), (Message.user(text),)
    system = "".join(content for role, content in turns if role == "system")
    messages = tuple(Message(role, (Text(content),)) for role, content in turns if role != "system")
    return ((Text(system),) if system else ()), messages


def _turns(style: Style, text: str, *, loose: bool) -> list[tuple[str, str]] | None:
    turns: list[tuple[str, str]] = []
    at = len(_BEGINNING.match(text)[0])  # type: ignore[index]
    end = len(text)
    if system := _unmarked_system(style, text[at:]):
        turns.append(("system", system))
        at += len(system) + len(style.system[1])
    while at < end:
        if loose:
            at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        found = _turn(style, loose).match(text, at)
        if found is None:
            break
        role = str(found.lastgroup)
        turns.append((role, found[role].strip() if loose else found[role]))
        at = found.end()
    rest = text[at:]
    if all(role == "system" for role, _ in turns) or not _closes(style, rest, turns):
        return None
    return _split_system(style, turns)


_SPACE = re.compile(r"\s*+")
_BEGINNING = re.compile(r"(?:\s*+(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>))?")


def _unmarked_system(style: Style, text: str) -> str:
    """The system text of a style that marks only its end: what stands before the first user turn."""
    before, after = style.system
    system, mark, _ = text.partition(style.user[0])
    if before or style.system_in_user or not mark or not system.endswith(after):
        return ""
    return system.removesuffix(after)


def _closes(style: Style, rest: str, turns: list[tuple[str, str]]) -> bool:
    """Whether what is left is the invitation to answer, or an open answer, which becomes the last turn."""
    if rest.strip() == style.opening.strip():
        return True
    before = style.assistant[0]
    if not rest.startswith(before):
        return False
    turns.append(("assistant", rest[len(before) :]))
    return True


@cache
def _turn(style: Style, loose: bool) -> re.Pattern[str]:
    """One turn at a place: it ends where its end is followed by the beginning of another, or by nothing. Whitespace is
    looked for only behind a mark that is there, so that no run of it is looked at from each of its places."""
    own = {"user": style.user, "assistant": style.assistant}
    if not style.system_in_user and style.system[0]:
        own["system"] = style.system
    space = r"\s*+" if loose else ""
    marks = {role: tuple(_mark(mark, loose) for mark in around) for role, around in own.items()}
    begins = "|".join(before for before, _ in marks.values())
    follows = rf"{begins}|{_mark(style.opening.rstrip(), loose)}\s*\Z|\Z"
    arms = (
        rf"{before}{space}(?P<{role}>.*?){after}(?={space if after else ''}(?:{follows}))"
        for role, (before, after) in marks.items()
    )
    return re.compile("|".join(arms), re.DOTALL)


def _mark(mark: str, loose: bool) -> str:
    return re.escape(mark.strip() if loose else mark)


def _split_system(style: Style, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The turns with the system text taken out of the first of them, where its ends are marked."""
    before, after = style.system
    role, content = turns[0]
    if not (style.system_in_user and before and role == "user" and content.startswith(before) and after in content):
        return turns
    system, _, rest = content[len(before) :].partition(after)
    return [("system", system), (role, rest), *turns[1:]]
