"""What a request asks of a local model's answer, and the grammar that keeps an answer to it, in any dialect. Pure.

With tools an answer is always decoded under a grammar: free text that may end in calls (auto), calls only (any), one
call of one tool (tool); so a call that was not cut off always satisfies its tool's schema. Schemas are closed, so that
no model invents members and goes on inventing. A model that thinks does so before any of it: always where its prompt
ends in the mark that opens a thought, never where the prompt has thought already, else as it likes (``Thinking``).

How many calls an answer may have is ``extra={"parallel_tool_calls": …}``: several by default where the model was
trained on that, one where it was not. A model that asks again for what it was just told must answer in text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias, assert_never

from awsllm.backends.local.arguments import CODECS, GrammarParts
from awsllm.backends.local.dialects import CALL, CallForm, Dialect, special
from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.schema.fit import loosen
from awsllm.tools.schema.tidy import close
from awsllm.tools.schema.walk import subschemas
from awsllm.types import (
    CachePoint,
    ConverseRequest,
    JsonObject,
    JsonSchema,
    SystemTool,
    ToolChoice,
    ToolResult,
    ToolSpec,
    Unknown,
)

Thinking: TypeAlias = Literal["open", "free", "closed"]
"""Whether an answer begins within a thought, may begin with one, or begins behind one."""

PARALLEL = "parallel_tool_calls"
_MAX_CALLS = 4  # in one answer; a small model may otherwise go on calling until its tokens run out
_ANY = r"/(.|\n)*/"
# One line in words: what a small model was told in braces or tags it otherwise repeats, and goes on repeating.
_SENTENCE = r"/[^<>{}\[\]\s][^<>{}\[\]\n]*/"
# Members of an object may come from elsewhere in the schema with these, so none of its parts can be closed alone.
_COMPOSED = frozenset(["$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "unevaluatedProperties"])


class GrammarTerms(NamedTuple):
    """What a grammar is written with: ``rule`` writes a schema as a rule, ``tokens`` are the marks that are tokens of
    their own, which no text matches."""

    rule: Callable[[JsonObject], str]
    tokens: Mapping[str, int] = {}

    def mark(self, text: str) -> str:
        """A literal as terms of Lark."""
        parts = enumerate(special(text, self.tokens))
        terms = (
            f"<[{self.tokens[part]}]>" if n % 2 else json.dumps(part, ensure_ascii=False) for n, part in parts if part
        )
        return " ".join(terms)


# --- what a request asks for -----------------------------------------------------------------------------------------


def specs(request: ConverseRequest) -> list[ToolSpec]:
    """The tools the model may call, without the cache points among them."""
    found: list[ToolSpec] = []
    for tool in request.tools:
        match tool:
            case ToolSpec():
                found.append(tool)
            case CachePoint():
                pass
            case SystemTool(name):
                raise UnsupportedError(f"local models have no system tool {name!r}; Bedrock runs those")
            case Unknown(tag):
                raise UnsupportedError(f"a tool of the kind {tag!r} is newer than this version of awsllm")
            case _:
                assert_never(tool)
    return found


def answer_schema(request: ConverseRequest) -> JsonSchema | None:
    return request.output_config.json_schema if request.output_config else None


def answers_from_results(request: ConverseRequest, dialect: Dialect) -> bool:
    """Whether the model is to answer now from what its calls gave: one that was not trained on tools makes no second
    call by its own choice, as it would make the same one again."""
    choice = request.tool_choice or ToolChoice("auto")
    last = request.messages[-1].content if request.messages else ()
    return dialect.telling == "plain" and choice.type == "auto" and any(isinstance(block, ToolResult) for block in last)


def chosen(tools: list[ToolSpec], choice: ToolChoice) -> list[ToolSpec]:
    """The tools that the choice leaves."""
    if choice.type in ("auto", "any"):
        return tools
    if choice.type != "tool":
        raise UnsupportedError(f"local models take the tool choices auto, any and tool, not {choice.type!r}")
    found = [tool for tool in tools if tool.name == choice.name]
    if not found:
        raise ValidationError(f"tool_choice names {choice.name!r}; the tools are {', '.join(t.name for t in tools)}")
    return found


def several(request: ConverseRequest, choice: ToolChoice, dialect: Dialect) -> bool:
    allowed = (request.extra or {}).get(PARALLEL, dialect.several)
    if not isinstance(allowed, bool):
        raise ValidationError(f"extra {PARALLEL!r} is {allowed!r}, not True or False")
    return allowed and choice.type != "tool" and not dialect.single


def goes_round(request: ConverseRequest) -> bool:
    """Whether the model asked twice in a row for what it had been told: a small one would go on until the caller
    stopped it, so it is made to answer."""
    calls = [[(use.name, use.input) for use in m.tool_uses] for m in request.messages if m.role == "assistant"]
    return len(calls) > 1 and bool(calls[-1]) and calls[-1] == calls[-2]


def closed(schema: JsonObject) -> JsonObject:
    """The schema with no members but those it names, where it says nothing of others."""
    composed = any(
        "allOf" in part or ("properties" in part and _COMPOSED & part.keys()) for _, part in subschemas(schema)
    )
    return schema if composed else close(schema)


def arguments_schema(tool: ToolSpec) -> JsonObject:
    """A tool whose schema says no more than that it takes an object takes no arguments."""
    schema = tool.input_schema if tool.strict else loosen(tool.input_schema)  # who runs it validates what is left
    says_nothing = not schema.keys() - {"type", "title", "description", "$schema"}
    return closed({"type": "object", **schema, **({"properties": {}} if says_nothing else {})})


# --- the grammar -----------------------------------------------------------------------------------------------------


def tool_grammar(
    request: ConverseRequest, terms: GrammarTerms, dialect: Dialect, thinking: Thinking = "free"
) -> str | None:
    """The grammar of an answer that may call tools, that tells what they gave, or that is JSON behind a thought, in
    llguidance's Lark; None where the answer is none of these."""
    tools, schema = specs(request), answer_schema(request)
    choice = request.tool_choice or ToolChoice("auto")
    if not tools and request.tool_choice is not None:
        raise ValidationError("tool_choice needs tools")
    lead, thoughts = _thought(terms, dialect, thinking)
    answer = f"answer: {terms.rule(closed(schema.schema))}\n" if schema else ""
    if answers_from_results(request, dialect) and not schema:
        return f"start: {lead}{_SENTENCE}\n{thoughts}"
    if not tools or answers_from_results(request, dialect):
        return f"start: {lead}answer\n{answer}{thoughts}" if schema and thoughts else None
    calls = _call_rules(chosen(tools, choice), terms, dialect.form, several(request, choice, dialect))
    if choice.type != "auto":
        return f"start: {lead}calls\n{calls}{thoughts}"
    if schema:
        return f"start: {lead}(answer | calls)\n{answer}{calls}{thoughts}"
    text, form = _text(dialect, terms), dialect.form
    if goes_round(request):
        return f"start: {lead}TEXT\n{text}{thoughts}"
    if form.opens and form.opens not in terms.tokens:
        head = f"head[lazy]: TEXT {terms.mark(form.opens)}\n"
        return f"start: {lead}(TEXT | head more_calls)\n{head}{text}{calls}{thoughts}"
    behind = "TEXT? calls" if form.opens else "calls"
    return f"start: {lead}(TEXT | {behind})\n{text}{calls}{thoughts}"


def _thought(terms: GrammarTerms, dialect: Dialect, thinking: Thinking) -> tuple[str, str]:
    """What precedes an answer, and the rules of it."""
    if dialect.thoughts is None or thinking == "closed":
        return "", ""
    opens, closes = terms.mark(dialect.thoughts.opens), terms.mark(dialect.thoughts.closes)
    first = "" if thinking == "open" else f"{opens} "
    rest = "thought_end" if dialect.thoughts.closes not in terms.tokens else f"{_ANY} {closes}"
    end = f"thought_end[lazy]: {_ANY} {closes}\n" if rest == "thought_end" else ""
    return f"thought{'' if thinking == 'open' else '?'} ", f"thought: {first}{rest} /\\n{{0,2}}/\n{end}"


def _text(dialect: Dialect, terms: GrammarTerms) -> str:
    """Free text beside calls never begins one of their marks, which a small model likes to repeat from its prompt; nor
    a thought."""
    marks = [*dialect.form.marks, *([dialect.thoughts.opens] if dialect.thoughts else [])]
    spelt = [re.escape(mark).replace("/", r"\/") for mark in marks if mark not in terms.tokens and mark != CALL]
    tags = [r"<\/?tool"] if CALL in dialect.form.marks else []
    forbidden = "|".join([*tags, *spelt])
    begins = r"/([^{\s](.|\n)*)?/" if not dialect.form.opens else _ANY
    return f"TEXT: {begins}" + (rf" & ~/(.|\n)*({forbidden})(.|\n)*/" if forbidden else "") + "\n"


def _call_rules(tools: list[ToolSpec], terms: GrammarTerms, form: CallForm, several: bool) -> str:
    """``calls`` begin with the mark that opens them; ``more_calls`` are those behind a ``head`` that has it."""
    opens = terms.mark(form.opens)
    names = "(" + " | ".join(f"call_{n}" for n in range(len(tools))) + ")"
    again = f"{{0,{_MAX_CALLS - 1}}}"
    if form.grouped:
        more = f" ({_loose(form.joint, terms, form)} {names}){again}" if several else ""
        rest = f"{_loose(form.first, terms, form)} {names}{more} {_loose(form.last + form.closes, terms, form)}"
        rules = [f"more_calls: {rest}"]
    else:
        more = f" ({_loose(form.joint, terms, form)} {opens} call){again}" if several and opens else ""
        rules = [f"more_calls: call{more}", f"call: {names} {terms.mark(form.closes)}"]
    rules.append(f"calls: {opens} more_calls")
    for n, tool in enumerate(tools):
        rules += _call_rule(n, tool, terms, form)
    return "\n".join(rules) + "\n"


def _call_rule(n: int, tool: ToolSpec, terms: GrammarTerms, form: CallForm) -> list[str]:
    head, after = _loose(form.head(tool.name), terms, form), _loose(form.after, terms, form)
    rule = f"call_{n}: {head} arguments_{n} {after}"
    schema = arguments_schema(tool)
    if form.arguments == "json":
        return [rule, f"arguments_{n}: {terms.rule(schema)}"]
    parts = GrammarParts(n, terms.rule, terms.mark, bool(tool.strict))
    return [rule, *CODECS[form.arguments].rules(parts, schema)]


def _loose(text: str, terms: GrammarTerms, form: CallForm) -> str:
    """A literal as terms; around JSON a new line may be left out, as a model was trained on either."""
    if not form.quoted:
        return terms.mark(text)
    core = text.strip("\n")
    before, after = (r"/\n?/" if text[edge] == "\n" else "" for edge in (slice(0, 1), slice(-1, None)))
    if not core:
        return before
    return " ".join(filter(None, (before, terms.mark(core), after)))
