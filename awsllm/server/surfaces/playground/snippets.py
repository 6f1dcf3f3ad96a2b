"""The Python that makes a call: with awsllm, and with boto3. Values to text; nothing is run, nothing is read.

What a caller attached has no name on the wire, so its code reads files that are named here (``image-1.png``); a
document's file is named as the document is.

JSON's texts are Python's too, which is how any text is written: whatever a prompt holds stays inside its quotes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import msgspec
from msgspec.structs import replace

from awsllm.models.references import Reference, parse_reference
from awsllm.types import (
    Bytes,
    ConverseRequest,
    Document,
    Image,
    JsonObject,
    Message,
    Text,
    ToolResult,
    ToolUse,
)
from awsllm.wire import body as bodies
from awsllm.wire.body import Chat, Settings
from awsllm.wire.converse import encode_request
from awsllm.wire.converse.blocks import encode_message

_WIDTH = 100
_REGION = "us-east-1"
_KEY = "AWSLLM_API_KEY"
_Argument: TypeAlias = tuple[str | None, Any]


class Code(str):
    """Text that is Python already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SnippetServer:
    """Where the code's calls go: the server at ``url``, or AWS without one. ``locked``: the server wants a key."""

    url: str | None = None
    locked: bool = False


def snippets(reference: Reference, request: ConverseRequest, target: SnippetServer) -> JsonObject:
    """The code by the library that it uses."""
    files = _Files()
    request = files.named(request)
    return {
        "awsllm": _with_awsllm(reference, request, target),
        "boto3": _with_boto3(reference, request, target),
        "files": list(files.names),
    }


# --- awsllm ----------------------------------------------------------------------------------------------------------


def _with_awsllm(reference: Reference, request: ConverseRequest, target: SnippetServer) -> str:
    config, wire, schema = request.inference_config, encode_request(request, stream=True), _schema(request)
    system, tools = wire.get("system"), wire.get("toolConfig", {})
    options: dict[str, Any] = {
        "system": system[0]["text"] if system and len(system) == 1 and "text" in system[0] else system,
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop_sequences": list(config.stop_sequences) or None,
        "tools": tools.get("tools"),
        "tool_choice": _choice(tools.get("toolChoice")),
        "output_type": schema,
        "effort": wire.get("outputConfig", {}).get("effort"),
        **{option: wire.get(member) for option, member in _PASSED_ON.items()},
    }
    arguments: list[_Argument] = [(None, str(reference)), (None, _turns(request.messages))]
    arguments += [(name, value) for name, value in options.items() if value is not None]
    if schema is not None:
        lines = [f"response = {_call('client.converse', arguments)}", "print(response.output)"]
    else:
        lines = [f"stream = {_call('client.converse_stream', arguments)}", "for text in stream.text_stream:"]
        lines += ['    print(text, end="", flush=True)', "response = stream.response"]
    if request.tools:
        lines += ["for use in response.message.tool_uses:", "    print(use.id, use.name, use.input)"]
    return "\n".join((*_awsllm_client(reference, target), *lines, "print(response.usage)")) + "\n"


_PASSED_ON = {
    "guardrail_config": "guardrailConfig",
    "prompt_variables": "promptVariables",
    "additional_model_response_field_paths": "additionalModelResponseFieldPaths",
    "request_metadata": "requestMetadata",
    "performance_config": "performanceConfig",
    "service_tier": "serviceTier",
    "extra": "additionalModelRequestFields",
}
"""Options that take what Converse takes, by its name."""


def _awsllm_client(reference: Reference, target: SnippetServer) -> list[str]:
    if reference.scheme == "local":
        return ["import awsllm", "", "client = awsllm.Client()"]
    if target.url is None:
        return ["import awsllm", "", f'client = awsllm.Client(region="{_REGION}")']
    session = _call("boto3.Session", _credentials(target))
    client = _call("awsllm.Client", [("session", Code("session")), ("endpoint_url", target.url)])
    standard = ["import os", ""] if target.locked else []
    return [*standard, "import awsllm", "import boto3", "", f"session = {session}", f"client = {client}"]


def _turns(messages: tuple[Message, ...]) -> Any:
    """A text where that is all; else the turns."""
    if len(messages) == 1 and messages[0].role == "user":
        match messages[0].content:
            case (Text(text),):
                return text
    return [_turn(message) for message in messages]


def _turn(message: Message) -> Any:
    """As a ``Message``, or in the shape of the wire where a block is of a kind that is seldom written."""
    blocks = [_block(block) for block in message.content]
    if message.role not in ("user", "assistant") or None in blocks:
        return encode_message(message)
    return Code(_call(f"awsllm.Message.{message.role}", [(None, block) for block in blocks]))


def _block(block: Any) -> Any:
    match block:
        case Text(text):
            return text
        case Image(_, Bytes(file)):
            return Code(f"awsllm.image({_literal(file.decode())})")
        case Document(_, Bytes(file)):
            return Code(f"awsllm.document({_literal(file.decode())})")
        case ToolUse(id, name, input, None):
            return Code(_call("awsllm.ToolUse", [(None, id), (None, name), (None, input)]))
        case ToolResult(id, (Text(text),), status, None):
            content = Code(f"(awsllm.Text({_literal(text)}),)")
            return Code(
                _call("awsllm.ToolResult", [(None, id), (None, content), *([(None, status)] if status else [])])
            )
        case _:
            return None


def _choice(wire: JsonObject | None) -> str | None:
    """Converse's tool choice in awsllm's words."""
    if not wire:
        return None
    return str(wire["tool"]["name"]) if "tool" in wire else next(iter(wire))


# --- boto3 -----------------------------------------------------------------------------------------------------------


def _with_boto3(reference: Reference, request: ConverseRequest, target: SnippetServer) -> str:
    if reference.scheme == "sagemaker":
        return _invoking(reference, request, target)
    model = str(reference) if reference.scheme == "local" else reference.model
    arguments: list[_Argument] = [("modelId", model), *encode_request(request, stream=True).items()]
    lines = [f"response = {_call('client.converse_stream', arguments)}", *_READ_STREAM]
    if reference.scheme == "local" and target.url is None:
        lines = ["# AWS has no local models: give the client the endpoint_url of `awsllm serve`.", *lines]
    return _program([], "bedrock-runtime", target, lines)


_READ_STREAM = """\
for event in response["stream"]:
    if "contentBlockStart" in event:
        print(event["contentBlockStart"]["start"])
    elif "contentBlockDelta" in event:
        delta = event["contentBlockDelta"]["delta"]
        print(delta.get("text") or delta.get("toolUse", {}).get("input", ""), end="", flush=True)
    elif "metadata" in event:
        print(event["metadata"]["usage"])""".splitlines()


def _invoking(reference: Reference, request: ConverseRequest, target: SnippetServer) -> str:
    """An endpoint whose container speaks OpenAI's format, as most do."""
    if any(isinstance(block, Document) for message in request.messages for block in message.content):
        return "# A container takes no documents; awsllm makes text of them.\n"
    chat = cast("Chat", bodies.load("awsllm.wire.openai.body", "openai").chat)
    body = _with_files(msgspec.json.decode(chat.encode_request(request, Settings()).body))
    members: list[_Argument] = [("EndpointName", reference.model.partition("/")[0])]
    members += [("InferenceComponentName", reference.component)] if reference.component else []
    members += [("ContentType", "application/json"), ("Body", Code("json.dumps(body)"))]
    lines = [
        f"body = {_literal(body)}",
        f"response = {_call('client.invoke_endpoint', members)}",
        'print(json.load(response["Body"])["choices"][0]["message"])',
    ]
    return _program(["json", *["base64"] * ("base64." in lines[0])], "sagemaker-runtime", target, lines)


def _with_files(body: Any) -> Any:
    """The body of a request with what reads a file in place of its name, which stands where its bytes are to be."""
    match body:
        case dict():
            return {name: _with_files(value) for name, value in body.items()}
        case list():
            return [_with_files(value) for value in body]
        case str() if found := re.fullmatch(r"(data:[a-z]+/[a-z]+;base64,)([A-Za-z0-9+/=]+)", body):
            read = _file(base64.b64decode(found[2]))
            return Code(f"{_literal(found[1])} + base64.b64encode({read}).decode()")
        case _:
            return body


def _program(modules: list[str], service: str, target: SnippetServer, lines: list[str]) -> str:
    """``lines`` after the imports and the client."""
    modules = [*modules, *["os"] * target.locked]
    imports = [f"import {module}" for module in sorted(modules)]
    imports += ["from pathlib import Path"] if any("Path(" in line for line in lines) else []
    arguments: list[_Argument] = [(None, service), ("region_name", _REGION)]
    if target.url is not None:
        arguments = [(None, service), ("endpoint_url", target.url), *_credentials(target)]
    client = f"client = {_call('boto3.client', arguments)}"
    return "\n".join([*imports, *[""] * bool(imports), "import boto3", "", client, *lines]) + "\n"


def _credentials(target: SnippetServer) -> list[_Argument]:
    """What a server without a key takes is any; else the key is the secret."""
    secret = Code(f'os.environ["{_KEY}"]') if target.locked else "any"
    return [("region_name", _REGION), ("aws_access_key_id", "any"), ("aws_secret_access_key", secret)]


# --- how Python writes it --------------------------------------------------------------------------------------------


def _schema(request: ConverseRequest) -> JsonObject | None:
    config = request.output_config
    return config.json_schema.schema if config and config.json_schema else None


class _Files:
    """Gives each attachment the name of a file. Until the code is written the name stands in place of the bytes."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def named(self, request: ConverseRequest) -> ConverseRequest:
        turns = (replace(turn, content=tuple(map(self._block, turn.content))) for turn in request.messages)
        return replace(request, messages=tuple(turns))

    def _block(self, block: Any) -> Any:
        if not (isinstance(block, Image | Document) and isinstance(block.source, Bytes)):
            return block
        stem = block.name.replace("/", "-") if isinstance(block, Document) else f"image-{len(self.names) + 1}"
        name = f"{stem}.{block.format}" if block.format else stem
        self.names.append(name)
        return replace(block, source=Bytes(name.encode()))


def _file(data: bytes) -> str:
    return f"Path({_literal(data.decode())}).read_bytes()"


def _call(function: str, arguments: Sequence[_Argument]) -> str:
    """A call on one line if it fits, else a line an argument."""
    written = [(f"{name}=" if name else "") + _literal(value) for name, value in arguments]
    line = f"{function}({', '.join(written)})"
    return line if _fits(line) else f"{function}(\n{_indented(written)}\n)"


def _literal(value: Any) -> str:
    match value:
        case Code():
            return str(value)
        case bytes():
            return _file(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case dict():
            pairs = [f"{_literal(name)}: {_literal(item)}" for name, item in value.items()]
            return _bracketed("{", pairs, "}")
        case list() | tuple():
            return _bracketed("[", [_literal(item) for item in value], "]")
        case _:
            return repr(value)


def _bracketed(left: str, items: list[str], right: str) -> str:
    line = f"{left}{', '.join(items)}{right}"
    return line if _fits(line) else f"{left}\n{_indented(items)}\n{right}"


def _fits(line: str) -> bool:
    return len(line) <= _WIDTH - 20 and "\n" not in line


def _indented(items: list[str]) -> str:
    """One item a line. JSON's texts have no line breaks, so every line here is Python's own."""
    lines = "\n".join(f"{item}," for item in items)
    return "\n".join(f"    {line}" for line in lines.split("\n"))


def reference_of(model: str) -> Reference:
    """What a model is called with: a reference as it is; an id without a scheme is Bedrock's."""
    has_scheme = model.startswith(("bedrock:", "sagemaker:", "local:", "arn:"))
    return parse_reference(model if has_scheme else f"bedrock:{model}")
