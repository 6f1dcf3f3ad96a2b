"""How families of models are told of tools, call them and think: a row a family, told by the chat template's own text.

A template comes with its model and was written by whoever trained it, so what it writes is what the model knows: no
name of a model stands here. A ``CallForm`` is how calls are written, one description for all that is done with them:
the text of a past call (``CallForm.text``), the grammar of a new one (``calls``), and reading it (``output``):

    Hermes        <tool_call> {"name": NAME, "arguments": {…}} </tool_call>   also Qwen 2.5 and 3, SmolLM3, Granite 4
    Qwen3-Coder   <tool_call> <function=NAME> <parameter=KEY> VALUE </parameter> </function> </tool_call>
    GLM 4.5, 4.7  <tool_call>NAME <arg_key>KEY</arg_key> <arg_value>VALUE</arg_value> </tool_call>
    Llama 3       {"name": NAME, "parameters": {…}}                           alone; <|python_tag|> may stand before it
    Granite 3     <|tool_call|>[{"name": NAME, "arguments": {…}}, …]          3.1 writes <tool_call>[…]
    Mistral       [TOOL_CALLS] [{"name": NAME, "arguments": {…}}, …]
    Mistral v11   [TOOL_CALLS]NAME[ARGS]{…}                                   each call with its own mark
    Phi-4-mini    <|tool_call|>[{"name": NAME, "arguments": {…}}, …]<|/tool_call|>
    DeepSeek      <calls begin><call begin>function<sep>NAME and the arguments in a fence of Markdown
    Gemma         <start_function_call>call:NAME{KEY:VALUE}<end_function_call>   texts between <escape>
    gpt-oss       <|channel|>commentary to=functions.NAME <|message|>{…}         ``channels``

A mark is one token of its own in some vocabularies and spelt letter by letter in others; ``Dialect.tokens`` finds out.

Sources, read 2026-11-27: docs.vllm.ai/en/latest/features/tool_calling and api/vllm/tool_parsers; the templates in
vllm-project/vllm ``examples`` and ggml-org/llama.cpp ``models/templates``; ai.google.dev/gemma/docs/functiongemma;
github.com/openai/harmony ``docs/format.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from awsllm.backends.local.arguments import CODECS
from awsllm.types import ToolUse
from awsllm.wire.text.blocks import json_text

if TYPE_CHECKING:
    from awsllm.engine.tokenizer import Tokenizer

Telling: TypeAlias = Literal["template", "member", "words", "plain"]
"""Who tells a model of its tools: its template, from its variable ``tools`` or from a ``member`` of the system turn;
the system prompt, in this package's ``words``; or ``plain`` words and examples, where it was not trained on any."""

Past: TypeAlias = Literal["object", "text", "words"]
"""How calls that were made go into the template: as ``tool_calls`` with their arguments as an ``object``, or as JSON
``text``, and what they gave as turns of the role ``tool``; or both in the words of the turns."""

ArgumentsStyle: TypeAlias = Literal["json", "parameters", "pairs", "escaped"]


class CallForm(NamedTuple):
    """How calls are written: ``opens first ITEM last closes``, and an item is ``before NAME between ARGUMENTS after``.

    Calls that are ``grouped`` share what opens and closes them, and have ``joint`` between their items; else each has
    its own, and ``joint`` stands between. ``opens`` is "" where a call has no mark and is an answer's beginning;
    ``also`` are other marks that may open one. ``quoted``: the name is a JSON string. ``skipped`` is a pattern of what
    may stand before ``between``.
    """

    opens: str
    before: str
    between: str
    after: str = ""
    closes: str = ""
    first: str = ""
    last: str = ""
    joint: str = "\n"
    grouped: bool = False
    quoted: bool = True
    arguments: ArgumentsStyle = "json"
    also: tuple[str, ...] = ()
    skipped: str = ""

    def head(self, name: str) -> str:
        """A call up to its arguments, without what opens it."""
        return f"{self.before}{json.dumps(name) if self.quoted else name}{self.between}"

    def text(self, calls: Sequence[ToolUse]) -> str:
        items = [f"{self.head(call.name)}{self._arguments(call)}{self.after}" for call in calls]
        if self.grouped:
            return f"{self.opens}{self.first}{self.joint.join(items)}{self.last}{self.closes}"
        return self.joint.join(f"{self.opens}{item}{self.closes}" for item in items)

    def _arguments(self, call: ToolUse) -> str:
        if self.arguments == "json" or not isinstance(call.input, dict):
            return json_text(call.input)
        return CODECS[self.arguments].write(call.input)

    @property
    def marks(self) -> tuple[str, ...]:
        """What opens a call in a text."""
        return (*filter(None, (self.opens,)), *self.also)

    @property
    def literals(self) -> str:
        """All that is written beside names and arguments."""
        texts = (*self.marks, self.first, self.before, self.between, self.after, self.last, self.closes, self.joint)
        return "\0".join((*texts, *(CODECS[self.arguments].marks if self.arguments != "json" else ())))


class Thoughts(NamedTuple):
    """The marks around what a model thinks before it answers; ``dropped`` are marks around the answer itself."""

    opens: str
    closes: str
    dropped: tuple[str, ...] = ()


class Dialect(NamedTuple):
    """``several``: an answer may hold several calls, unless a caller says otherwise; ``single``: it never can, and a
    past turn of several is told as several turns. ``thought_member``: what past thoughts are called in a turn.
    ``wordless``: a turn of nothing but calls has no content, as its template would write a turn of the content.
    ``channels``: an answer is written in channels (``channels``), and ``form`` is unused."""

    name: str
    form: CallForm
    telling: Telling = "template"
    past: Past = "words"
    several: bool = True
    single: bool = False
    thoughts: Thoughts | None = None
    thought_member: str = "reasoning_content"
    wordless: bool = False
    channels: bool = False

    def tokens(self, tokenizer: Tokenizer, *, tools: bool = True) -> dict[str, int]:
        """The marks of this dialect that are tokens of their own in a vocabulary, those of calls with ``tools``."""
        literals = HARMONY_MARKS if self.channels else self.form.literals if tools else ""
        if self.thoughts:
            literals = "\0".join((literals, self.thoughts.opens, self.thoughts.closes, *self.thoughts.dropped))
        added = tokenizer.hf.get_added_tokens_decoder().items()
        return {token.content: n for n, token in added if token.content.strip() and token.content in literals}


# --- the table -------------------------------------------------------------------------------------------------------

CALL, CALL_END = "<tool_call>", "</tool_call>"
HARMONY_MARKS = "\0".join(("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>"))

_TAGGED = CallForm(CALL, '\n{"name": ', ', "arguments": ', "}\n", CALL_END)
_OBJECT = CallForm("", '{"name": ', ', "arguments": ', "}", first="[", last="]", joint=", ", grouped=True)
_TAGS = CallForm(
    CALL, "\n<function=", ">\n", "</function>\n", CALL_END, quoted=False, arguments="parameters"
)  # fmt: skip
_DEEPSEEK = CallForm(
    "<\uff5ctool\u2581calls\u2581begin\uff5c>",
    "<\uff5ctool\u2581call\u2581begin\uff5c>function<\uff5ctool\u2581sep\uff5c>",
    "\n```json\n",
    "\n```<\uff5ctool\u2581call\u2581end\uff5c>",
    "<\uff5ctool\u2581calls\u2581end\uff5c>",
    grouped=True,
    quoted=False,
)

PLAIN = Dialect("plain", _TAGGED, "plain", several=False)
TOLD = Dialect("told", _TAGGED, "words")
HERMES = Dialect("hermes", _TAGGED)
CODER = Dialect("qwen3-coder", _TAGS)
GLM = Dialect("glm", CallForm(CALL, "", "", closes=CALL_END, quoted=False, arguments="pairs"))
LLAMA = Dialect(
    "llama", CallForm("", '{"name": ', ', "parameters": ', "}", also=("<|python_tag|>",)), several=False, single=True
)
GRANITE = Dialect("granite", _OBJECT._replace(opens="<|tool_call|>"))
GRANITE_TAGS = Dialect("granite-tags", _OBJECT._replace(opens=CALL))
MISTRAL = Dialect("mistral", _OBJECT._replace(opens="[TOOL_CALLS]", first=" ["))
MISTRAL_NAMED = Dialect(
    "mistral-named", CallForm("[TOOL_CALLS]", "", "[ARGS]", joint="", quoted=False, skipped=r"(?:\[CALL_ID\]\w*)?")
)
PHI = Dialect("phi-4", _OBJECT._replace(opens="<|tool_call|>", closes="<|/tool_call|>"), "member")
PHI_TEMPLATE = Dialect(
    "phi-4-template", CallForm("<|tool_call|>", '{"name": ', ', "arguments": ', "}", "<|/tool_call|>")
)
DEEPSEEK = Dialect("deepseek", _DEEPSEEK)
FUNCTION_GEMMA = Dialect(
    "functiongemma",
    CallForm(
        "<start_function_call>", "call:", "", "", "<end_function_call>", joint="", quoted=False, arguments="escaped"
    ),
)
GPT_OSS = Dialect("gpt-oss", CallForm("", "", ""), several=False, single=True, thought_member="thinking", channels=True)


class _Sign(NamedTuple):
    """A dialect, and what its templates say: all of ``says`` and nothing of ``never``."""

    dialect: Dialect
    says: tuple[str, ...]
    never: tuple[str, ...] = ()


# The first that fits: a template may say of one dialect what is all that another says.
_SIGNS = (
    _Sign(GPT_OSS, ("<|channel|>", "<|message|>")),
    _Sign(MISTRAL_NAMED, ("[TOOL_CALLS]", "[ARGS]")),
    _Sign(MISTRAL, ("[TOOL_CALLS]",)),
    _Sign(DEEPSEEK, (_DEEPSEEK.opens,)),
    _Sign(FUNCTION_GEMMA, ("<start_function_call>", "<escape>")),
    _Sign(GLM, (CALL, "<arg_key>", "<arg_value>")),
    _Sign(CODER, ("<function=", "<parameter=")),
    _Sign(PHI_TEMPLATE, ("<|tool|>", "<|tool_call|>", "<|/tool_call|>")),
    _Sign(GRANITE, ("<|tool_call|>",), ("</tool_call>",)),
    _Sign(GRANITE_TAGS, (CALL, "<|start_of_role|>"), (CALL_END,)),
    _Sign(HERMES, (CALL,)),
    _Sign(LLAMA, ('"parameters": ', "<|start_header_id|>")),
)
_PHI_TOOLS = re.compile(r"""\[['"]tools['"]\]""")  # of a turn

THINK = Thoughts("<think>", "</think>")
_THOUGHTS = (
    Thoughts("<think>", "</think>", ("<response>", "</response>")),
    THINK,
    Thoughts("[THINK]", "[/THINK]"),
    Thoughts("<|channel>thought\n", "<channel|>"),  # Gemma 4
    Thoughts("<seed:think>", "</seed:think>"),
)
_MEMBER = re.compile(r"""\bmessage(?:\.|\[['"])(reasoning_content|reasoning|thinking)\b""")


def recognise(source: str, variables: Collection[str]) -> Dialect:
    """The dialect of a chat template. ``variables``: the names that it reads."""
    dialect = _of_tools(source, variables)
    if dialect.channels:
        return dialect
    thoughts = next((style for style in _THOUGHTS if _thinks(source, style)), None)
    members = _MEMBER.findall(source)
    member = "reasoning_content" if not members or "reasoning_content" in members else members[0]
    return dialect._replace(thoughts=thoughts, thought_member=member)


def _of_tools(source: str, variables: Collection[str]) -> Dialect:
    if all(mark in source for mark in _SIGNS[0].says):  # an answer has channels, tools or none
        return GPT_OSS
    if "tools" not in variables:
        told_in_turn = "<|tool|>" in source and _PHI_TOOLS.search(source)
        return PHI if told_in_turn else PLAIN
    for dialect, says, never in _SIGNS:
        if all(mark in source for mark in says) and not any(mark in source for mark in never):
            return dialect
    return TOLD


def _thinks(source: str, style: Thoughts) -> bool:
    """Whether the template says any of the marks around thoughts, and all of those around an answer."""
    return (style.opens in source or style.closes in source) and all(mark in source for mark in style.dropped)


def special(text: str, tokens: Mapping[str, int]) -> list[str]:
    """A text cut at those marks in it that are tokens; they stand at odd places."""
    if not tokens:
        return [text]
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
