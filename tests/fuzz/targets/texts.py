"""What models write, and people: calls of tools in each dialect, prompts, references, half JSON, patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from awsllm.aws.wildcards import fill, matches_arn, matches_text
from awsllm.backends.local import dialects
from awsllm.backends.local.channels import ChannelReader
from awsllm.backends.local.output import AnswerReading, OutputReader
from awsllm.errors import AwsllmError
from awsllm.models.references import parse_reference
from awsllm.tools.docstrings import parse_docstring
from awsllm.tools.partial import partial_json
from awsllm.tools.schema.patterns import matches
from awsllm.tools.typed import json_values
from awsllm.types import ToolUse
from awsllm.wire.text import prompts
from awsllm.wire.text.thinking import ThinkingSplitter
from tests.fuzz.harness import Target

_REFUSALS = (AwsllmError,)
_CALL = ToolUse("t1", "weather", {"city": "Oslo", "days": 3, "deep": {"a": [1, "x<y", None]}})
_SCHEMAS = {"weather": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}
_CHANNELS = (
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
    '<|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
)
_DOCSTRING = """Get the weather.

Args:
    city (str): Where.
    days: How many,
        at most 9.

Returns:
    Text.
"""


def targets() -> Iterator[Target]:
    for dialect in _dialects():
        yield Target(f"dialect-{dialect.name}", _written(dialect), _answer_reader(dialect), ())
    yield Target("channels", lambda: [_CHANNELS.encode()], _read_channels, ())
    yield Target("prompts", _prompts, _read_prompt, _REFUSALS)
    yield Target("thoughts", lambda: [b"<think>hm</think>Hello"], _split, ())
    yield Target("half-json", lambda: [b'{"a": [1, "x\\u00e9", tru'], lambda data: partial_json(_text(data)), ())
    yield Target("json-in-text", lambda: [b'Sure: {"a": 1} and [2]'], lambda data: list(json_values(_text(data))), ())
    yield Target("reference", _references, lambda data: parse_reference(_text(data)), _REFUSALS)
    yield Target("docstring", lambda: [_DOCSTRING.encode()], lambda data: parse_docstring(_text(data)), ())
    yield Target("pattern", lambda: [b"^(a|b)+c{2,3}$", b"(?<n>x)\\p{L}"], _match, (ValueError,))
    yield Target("wildcard", lambda: [b"arn:aws:s3:::b/*/c?", b"*a*b*c*"], _match_wildcard, ())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _dialects() -> list[dialects.Dialect]:
    return [value for value in vars(dialects).values() if isinstance(value, dialects.Dialect) and not value.channels]


def _written(dialect: dialects.Dialect) -> Callable[[], list[bytes]]:
    text = dialect.form.text([_CALL])
    return lambda: [text.encode(), f"Let me see. {text}".encode(), f"<think>hm</think>{text}{text}".encode()]


def _answer_reader(dialect: dialects.Dialect) -> Callable[[bytes], Any]:
    def read(data: bytes) -> None:
        text = _text(data)
        reader = OutputReader(("STOP",), tools=True, reading=AnswerReading(dialect, schemas=_SCHEMAS))
        for start in range(0, len(text), 7):
            reader.push(text[start : start + 7])
        reader.finish()

    return read


def _read_channels(data: bytes) -> None:
    text = _text(data)
    reader = ChannelReader(("STOP",), tools=True)
    for start in range(0, len(text), 7):
        reader.push(text[start : start + 7])
    reader.finish(cut=len(data) % 2 == 0)


def _prompts() -> list[bytes]:
    asked = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    return [
        prompts._render(style, "Be brief.", asked).encode() for style in map(prompts._style, prompts.STYLES) if style
    ]


def _read_prompt(data: bytes) -> None:
    text = _text(data)
    prompts.parse(prompts.detect_style(text), text)
    for style in prompts.STYLES:
        prompts.parse(style, text)


def _split(data: bytes) -> None:
    splitter = ThinkingSplitter("<think>", "</think>")
    for character in _text(data):
        list(splitter.push(character))
    list(splitter.rest())


def _references() -> list[bytes]:
    return [
        b"bedrock:us.anthropic.claude-sonnet-4-6",
        b"bedrock:us-west-2/amazon.nova-lite-v1:0",
        b"sagemaker:my-endpoint/component",
        b"local:smollm2-135m-instruct",
        b"arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc",
    ]


def _match(data: bytes) -> None:
    matches(_text(data), "abababcc é x")


def _match_wildcard(data: bytes) -> None:
    pattern, _, text = _text(data).partition("\n")
    if (filled := fill(pattern, lambda name: ["x"])) is not None:
        matches_text(filled, text or pattern)
        matches_arn(filled, text or pattern)
