"""The forms that a line of training data may have, and what is wrong with one that has none.

    {"messages": [{"role": …, "content": …}, …]}               OpenAI's, or Bedrock's with "schemaVersion" and "system"
    {"prompt": …, "completion": …}                             texts, or lists of messages
    {"prompt": …, "chosen": …, "rejected": …}                  the same; without "prompt", two conversations
    {"text": …}  or  {"input": …}                              for pre-training
    {"prompt": …}, or messages that end with a question         for what a teacher answers, or a grader judges

What is said against a line names members and kinds of values, never a word of what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from awsllm.jobs.data.examples import TrainingExample
from awsllm.types import JsonObject

_ROLES = frozenset(("system", "user", "assistant", "tool"))
_KNOWN = frozenset(
    ("messages", "system", "tools", "schemaVersion", "prompt", "completion", "chosen", "rejected", "text", "input")
)
_KINDS: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "missing or null",
}
_SCHEMA = "bedrock-conversation-2024"
_FORMS = "messages, prompt and completion, prompt with chosen and rejected, text, or prompt"


class DataFault(Exception):
    """What is wrong with a line."""


def read_example(record: Any, line: int) -> TrainingExample:
    """Raises ``DataFault``."""
    if not isinstance(record, dict):
        raise DataFault(f"a line is a JSON object, not {_kind(record)}")
    extra = {name: value for name, value in record.items() if name not in _KNOWN}
    if "messages" in record:
        return _conversation(record, line, extra)
    if "chosen" in record or "rejected" in record:
        return _pair(record, line, extra)
    if "completion" in record:
        turns = _as_turns(record.get("prompt"), "user", "prompt") + _as_turns(
            record["completion"], "assistant", "completion"
        )
        chat, both = (
            _chat([*_system(record), *turns], record, line, extra),
            (record.get("prompt"), record["completion"]),
        )
        return msgspec.structs.replace(chat, completes=all(isinstance(one, str) for one in both))
    for member in ("text", "input"):
        if member in record:
            return TrainingExample(form="text", text=_text(record[member], member), extra=extra, line=line)
    if "prompt" in record:
        turns = [*_system(record), *_as_turns(record["prompt"], "user", "prompt")]
        return _chat(turns, record, line, extra)
    raise DataFault(f"it has none of the forms: {_FORMS}")


def _conversation(record: JsonObject, line: int, extra: JsonObject) -> TrainingExample:
    if record.get("schemaVersion", _SCHEMA) != _SCHEMA:
        raise DataFault(f"schemaVersion is not {_SCHEMA}")
    turns = _messages(record["messages"], "messages")
    if "candidates" in turns[-1]:  # the last turn of Nova's pairs
        chosen, rejected = _candidates(turns[-1]["candidates"])
        before = _checked([*_system(record), *turns[:-1]])
        return TrainingExample(
            form="preference", turns=before, chosen=chosen, rejected=rejected, extra=extra, line=line
        )
    return _chat([*_system(record), *turns], record, line, extra)


def _chat(turns: list[JsonObject], record: JsonObject, line: int, extra: JsonObject) -> TrainingExample:
    checked = _checked(turns)
    tools = record.get("tools") or ()
    if not isinstance(tools, list | tuple) or not all(isinstance(tool, dict) for tool in tools):
        raise DataFault("tools is not a list of objects")
    form: Any = "chat" if checked[-1]["role"] == "assistant" else "prompt"
    return TrainingExample(form=form, turns=checked, tools=tuple(tools), extra=extra, line=line)


def _pair(record: JsonObject, line: int, extra: JsonObject) -> TrainingExample:
    if missing := [name for name in ("chosen", "rejected") if name not in record]:
        raise DataFault(f"a pair has chosen and rejected: {missing[0]} is missing")
    chosen = _as_turns(record["chosen"], "assistant", "chosen")
    rejected = _as_turns(record["rejected"], "assistant", "rejected")
    if "prompt" in record:
        before = _as_turns(record["prompt"], "user", "prompt")
    else:
        before, chosen, rejected = chosen[:-1], chosen[-1:], rejected[-1:]
    if [len(chosen), len(rejected)] != [1, 1]:
        raise DataFault("chosen and rejected are one answer each")
    answers = [_content(turn[0], "an answer") for turn in (chosen, rejected)]
    if answers[0] == answers[1]:
        raise DataFault("chosen and rejected are the same")
    turns = _checked([*_system(record), *before])
    if turns[-1]["role"] == "assistant":
        raise DataFault("the prompt of a pair ends with a turn of the user")
    return TrainingExample(
        form="preference", turns=turns, chosen=answers[0], rejected=answers[1], extra=extra, line=line
    )


def _candidates(given: Any) -> tuple[str, str]:
    """A preferred answer and another, as SageMaker's recipes for Nova have them."""
    labels: dict[str, str] = {}
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict) and isinstance(label := one.get("preferenceLabel"), str):
            labels[label] = _content(one, "a candidate")
    if labels.keys() != {"preferred", "non-preferred"}:
        raise DataFault("candidates are two, with the preferenceLabel preferred and non-preferred")
    return labels["preferred"], labels["non-preferred"]


# --- turns -----------------------------------------------------------------------------------------------------------


def _system(record: JsonObject) -> list[JsonObject]:
    given = record.get("system")
    if given is None:
        return []
    return [{"role": "system", "content": _content({"content": given}, "system")}]


def _as_turns(given: Any, role: str, member: str) -> list[JsonObject]:
    """A text as one turn of ``role``; a list of messages as it is."""
    if isinstance(given, list):
        return _messages(given, member)
    return [{"role": role, "content": _text(given, member)}]


def _messages(given: Any, member: str) -> list[JsonObject]:
    if not isinstance(given, list) or not given:
        raise DataFault(f"{member} is not a list of messages, or has none")
    if odd := next((number for number, one in enumerate(given, 1) if not isinstance(one, dict)), None):
        raise DataFault(f"{member}: message {odd} is {_kind(given[odd - 1])}, not an object")
    return given


def _checked(turns: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """The turns as templates take them. Raises ``DataFault`` for an order that no template writes."""
    found = [_turn(turn, number) for number, turn in enumerate(turns, 1)]
    spoken = [turn for turn in found if turn["role"] != "system"]
    if not spoken or spoken[0]["role"] != "user":
        raise DataFault("a conversation begins with a turn of the user")
    if found[: len(found) - len(spoken)] != [turn for turn in found if turn["role"] == "system"]:
        raise DataFault("what is said by the system stands before the conversation")
    for number, (before, after) in enumerate(pairwise(spoken), 2):
        if before["role"] == after["role"] != "tool":
            raise DataFault(f"turns {number - 1} and {number} are both of the {after['role']}")
    return tuple(found)


def _turn(turn: JsonObject, number: int) -> JsonObject:
    role = "system" if turn.get("role") == "developer" else turn.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise DataFault(f"message {number} has no role of {', '.join(sorted(_ROLES))}")
    what = f"message {number}"
    kept = {name: turn[name] for name in ("tool_call_id", "name") if turn.get(name) is not None}
    if odd := next((name for name, value in kept.items() if not isinstance(value, str)), None):
        raise DataFault(f"{odd} of {what} is {_kind(kept[odd])}, not a text")
    if calls := turn.get("tool_calls"):
        if role != "assistant":
            raise DataFault(f"{what} has tool_calls, and is of the {role}: the assistant calls tools")
        kept["tool_calls"] = _calls(calls, what)
        if not turn.get("content"):
            return {"role": role, "content": "", **kept}
    return {"role": role, "content": _content(turn, what), **kept}


def _calls(given: Any, what: str) -> list[JsonObject]:
    """Calls as Chat Completions has them, which is what templates read; arguments may be text, as there, or an
    object."""
    if not isinstance(given, list):
        raise DataFault(f"tool_calls of {what} is {_kind(given)}, not a list")
    for number, call in enumerate(given, 1):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataFault(f"call {number} of {what} is not {{'function': {{'name': ..., 'arguments': ...}}}}")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments or "{}")
            except (ValueError, RecursionError):
                raise DataFault(f"the arguments of call {number} of {what} are not JSON") from None
        if not isinstance(arguments, dict):
            raise DataFault(f"the arguments of call {number} of {what} are {_kind(arguments)}, not an object")
    return given


def _content(turn: JsonObject, what: str) -> str:
    """The text of a turn: a text, or a list of parts that are texts."""
    given = turn.get("content")
    if isinstance(given, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in given]
        if not all(isinstance(part, str) for part in parts):
            raise DataFault(f"{what} has a part that is no text: {_untrained(given)}")
        given = "".join(map(str, parts))
    return _text(given, f"the content of {what}")


def _untrained(parts: list[Any]) -> str:
    """What of Converse's or another API's parts is not trained on, and how that of it which is stands here."""
    if any(
        isinstance(part, dict) and part.keys() & {"toolUse", "toolResult", "tool_use", "tool_result"} for part in parts
    ):
        return "calls of tools are written as Chat Completions has them, in tool_calls and turns of the tool"
    return "images and the like are not trained on"


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise DataFault(f"{what} is {_kind(given)}, not a text")
    if not given.strip():
        raise DataFault(f"{what} is empty")
    return given


def _kind(value: Any) -> str:
    return _KINDS.get(type(value)) or f"of the type {type(value).__name__}"
