"""Families of models that call tools each in its own way: a template, its marks, and what models of it write."""

from __future__ import annotations

import json
from functools import cache
from typing import NamedTuple

from awsllm import types as t
from awsllm.backends.local.dialects import Dialect, recognise
from awsllm.engine.template import ChatTemplate
from tests.support import tool_templates

WEATHER = t.ToolSpec(
    "get_weather",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 99}},
        "required": ["city"],
    },
    "The weather in a city.",
)
LIGHT = t.ToolSpec(
    "set-light",
    {
        "type": "object",
        "properties": {
            "on": {"type": "boolean"},
            "mode": {"enum": ["warm", "cold", 3]},
            "where": {
                "type": "object",
                "properties": {"floor": {"type": "integer", "minimum": 0, "maximum": 9}, "room": {"const": "a b"}},
                "required": ["floor"],
            },
            "rooms": {"type": "array", "items": {"enum": ["x", "y"]}, "maxItems": 3},
        },
        "required": ["on", "where"],
    },
)
PARIS = t.ToolUse("id", "get_weather", {"city": "Paris", "days": 3})
KITCHEN = t.ToolUse("id", "set-light", {"on": True, "mode": "warm", "where": {"floor": 2}, "rooms": ["x", "y"]})


class Family(NamedTuple):
    """``marks`` may be tokens of their own; ``past`` is how the template takes calls. ``one`` and ``two`` are answers
    with one call and with both, as models of the family write them."""

    template: str
    marks: tuple[str, ...]
    past: str
    one: str
    two: str = ""

    @property
    def dialect(self) -> Dialect:
        return recognised(self.template)


@cache
def recognised(template: str) -> Dialect:
    return recognise(template, ChatTemplate(template).variables)


JSON_ONE = '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}'
JSON_TWO = (
    '{"name": "set-light", "arguments": {"on": true, "mode": "warm", "where": {"floor": 2}, "rooms": ["x", "y"]}}'
)
TAGGED = f"<tool_call>\n{JSON_ONE}\n</tool_call>"
THINK = ("<think>", "</think>")
FAMILIES = {
    "hermes": Family(
        tool_templates.QWEN3,
        ("<tool_call>", "</tool_call>", *THINK),
        "object",
        TAGGED,
        f"{TAGGED}\n<tool_call>\n{JSON_TWO}\n</tool_call>",
    ),
    "smollm3": Family(tool_templates.SMOLLM3, ("<tool_call>", "</tool_call>", *THINK), "words", TAGGED),
    "qwen3-coder": Family(
        tool_templates.QWEN3_CODER,
        ("<tool_call>", "</tool_call>"),
        "object",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=set-light>\n<parameter=on>\ntrue\n</parameter>\n"
        '<parameter=mode>\nwarm\n</parameter>\n<parameter=where>\n{"floor": 2}\n</parameter>\n<parameter=rooms>\n'
        '["x", "y"]\n</parameter>\n</function>\n</tool_call>',
    ),
    "glm": Family(
        tool_templates.GLM,
        ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", *THINK),
        "object",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>set-light\n<arg_key>on</arg_key>\n"
        "<arg_value>true</arg_value>\n<arg_key>mode</arg_key>\n<arg_value>warm</arg_value>\n"
        '<arg_key>where</arg_key>\n<arg_value>{"floor": 2}</arg_value>\n<arg_key>rooms</arg_key>\n'
        '<arg_value>["x", "y"]</arg_value>\n</tool_call>',
    ),
    "llama": Family(
        tool_templates.LLAMA, ("<|python_tag|>",), "object", JSON_ONE.replace("arguments", "parameters")
    ),
    "mistral": Family(
        tool_templates.MISTRAL, ("[TOOL_CALLS]",), "object",
        f"[TOOL_CALLS] [{JSON_ONE}]", f"[TOOL_CALLS] [{JSON_ONE}, {JSON_TWO}]",
    ),
    "mistral-named": Family(
        tool_templates.MISTRAL_NAMED,
        ("[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"),
        "object",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}',
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "days": 3}[TOOL_CALLS]set-light[ARGS]'
        + json.dumps(KITCHEN.input),
    ),
    "granite": Family(
        tool_templates.GRANITE, ("<|tool_call|>",), "object",
        f"<|tool_call|>[{JSON_ONE}]", f"<|tool_call|>[{JSON_ONE}, {JSON_TWO}]",
    ),
    "granite-tags": Family(
        tool_templates.GRANITE_TAGS, (), "object", f"<tool_call>[{JSON_ONE}]", f"<tool_call>[{JSON_ONE}, {JSON_TWO}]"
    ),
    "phi-4": Family(
        tool_templates.PHI, ("<|tool_call|>", "<|/tool_call|>"), "words",
        f"<|tool_call|>[{JSON_ONE}]<|/tool_call|>", f"<|tool_call|>[{JSON_ONE}, {JSON_TWO}]<|/tool_call|>",
    ),
    "phi-4-template": Family(
        tool_templates.PHI_TEMPLATE, ("<|tool_call|>", "<|/tool_call|>"), "object",
        f"<|tool_call|>{JSON_ONE}<|/tool_call|>",
        f"<|tool_call|>{JSON_ONE}<|/tool_call|>\n<|tool_call|>{JSON_TWO}<|/tool_call|>",
    ),
    "deepseek": Family(
        tool_templates.DEEPSEEK,
        (*(f"<｜tool▁{name}｜>" for name in ("calls▁begin", "call▁begin", "sep", "call▁end", "calls▁end")), *THINK),
        "text",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris", "days": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        '{"city": "Paris", "days": 3}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>set-light\n```json\n"
        + json.dumps(KITCHEN.input) + "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    "functiongemma": Family(
        tool_templates.FUNCTION_GEMMA,
        ("<start_function_call>", "<end_function_call>", "<escape>"),
        "object",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>"
        "<start_function_call>call:set-light{on:true,mode:<escape>warm<escape>,where:{floor:2},"
        "rooms:[<escape>x<escape>,<escape>y<escape>]}<end_function_call>",
    ),
    "gpt-oss": Family(
        tool_templates.GPT_OSS,
        ("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>"),
        "object",
        '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris", "days": 3}',
    ),
}  # fmt: skip
