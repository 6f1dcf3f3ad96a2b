"""An MCP server over Lambda: Streamable HTTP in its stateless form, one JSON answer a request.

Tools are Python functions (``awsllm.tools`` reads their signatures), and ``ask_model``, where a model is named: a
question for it. Nothing is remembered between requests and nothing streams, so any front door will do.

Both eras of the protocol are spoken (modelcontextprotocol.io/specification; the official SDK, mcp 2.3, is the judge):

    up to 2025-11-25   ``initialize`` first, whose answer gives out no session; then tools/list, tools/call, ping
    2026-07-28         no handshake: ``server/discover``, and each request says its version and capabilities in
                       ``params._meta``; the headers mcp-method and mcp-name repeat what the body says

A notification is acknowledged (202) and a batch refused, as since 2025-06-18. GET and DELETE belong to streams and
sessions, which there are none of: 405. A browser's page may call where AWSLLM_CORS_ORIGINS names its origin: the
specification has servers refuse any other. Who may call at all is the front door's to say.
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from awsllm._version import __version__
from awsllm.errors import ConfigurationError
from awsllm.lambdas import settings
from awsllm.lambdas.context import Handler, LambdaContext, seconds_left
from awsllm.lambdas.http.events import FrontReply, FrontRequest, json_reply
from awsllm.lambdas.http.failures import Refusal, explain
from awsllm.lambdas.http.handler import FrontLimits, health, http_handler
from awsllm.lambdas.logs import log, of_error, of_response
from awsllm.lambdas.snapstart import take_part
from awsllm.types import (
    Bytes,
    Document,
    Image,
    Json,
    JsonObject,
    JsonValue,
    Text,
    ToolResult,
    ToolResultContent,
    ToolSpec,
    ToolUse,
    Value,
)
from awsllm.wire.formats import DOCUMENT_TYPES

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN_VERSIONS = ("2026-07-28",)

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS, _INTERNAL = -32700, -32600, -32601, -32602, -32603
_HEADER_MISMATCH, _UNSUPPORTED_VERSION = -32020, -32022
_VERSION, _CAPABILITIES = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"
_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
_TTL_MS = 300_000  # for which a client may keep the list of tools: they change with a deployment alone
_BAD_REQUEST = (_PARSE_ERROR, _INVALID_REQUEST, _INVALID_PARAMS, _HEADER_MISMATCH, _UNSUPPORTED_VERSION)

ASK_MODEL = ToolSpec(
    name="ask_model",
    description="Ask a language model, which knows nothing of this conversation but what the prompt tells it.",
    input_schema={
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "description": "The question, with all that is needed to answer it."},
            "max_tokens": {"type": "integer", "minimum": 1, "description": "The most tokens of the answer."},
        },
        "required": ["prompt"],
        "additionalProperties": False,
    },
)


def mcp_handler(
    model: str | None = None,
    *,
    tools: Sequence[Callable[..., Any]] = (),
    client: Any = None,
    name: str = "awsllm",
    instructions: str | None = None,
) -> Handler:
    """A handler that serves ``tools`` over MCP, and ``ask_model`` where ``model`` or AWSLLM_MODEL names one.
    ``instructions`` say how to use them, for the client's system prompt."""
    named = model or settings.text("AWSLLM_MODEL")
    if not (named or tools):
        raise ConfigurationError("an MCP server has tools: give mcp_handler functions, or a model by AWSLLM_MODEL")
    ask = None
    if named:
        reference, options = settings.model(named), settings.call_options()
        settings.check_options(reference, options)
        ask = _Ask(settings.given_client(client), reference, options)
        take_part(ask.client)
    server = _Server(_Tools(tools, ask), FrontLimits.of_environment(), name, instructions)
    return http_handler(server.reply, server.limits)


class _RpcError(Exception):
    """An error of JSON-RPC."""

    def __init__(self, code: int, message: str, data: JsonValue = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


# --- the protocol ----------------------------------------------------------------------------------------------------


class _Server:
    def __init__(self, tools: _Tools, limits: FrontLimits, name: str, instructions: str | None) -> None:
        self.limits = limits
        self._tools = tools
        self._info = {"name": name, "version": __version__}
        self._instructions = {} if instructions is None else {"instructions": instructions}

    def reply(self, front: FrontRequest, context: LambdaContext) -> FrontReply:
        if well := health(front):
            return well
        if "origin" in front.headers and not self.limits.cors(front):
            raise Refusal(403, "pages of this origin may not call")
        if front.method != "POST":
            raise Refusal(405, "send JSON-RPC by POST: there are no streams and no sessions", headers={"allow": "POST"})
        if not _takes_json(front.headers.get("accept", "*/*")):
            raise Refusal(406, "accept application/json: answers are nothing else")
        request: JsonObject = {}
        try:
            request = _decoded(front.body)
            modern = _is_modern(front, request)
            if "id" not in request:
                return FrontReply(202)
            _check_request(front, request, modern=modern)
            result = self._answer(request["method"], _object(request, "params"), context, modern=modern)
        except _RpcError as error:
            return _failed(
                request.get("id"), error, modern=front.headers.get("mcp-protocol-version") in MODERN_VERSIONS
            )
        except Exception as error:
            log("ERROR", "failed", context, **of_error(error))
            return _failed(request.get("id"), _RpcError(_INTERNAL, explain(error).message), modern=False)
        return json_reply(200, {"jsonrpc": "2.0", "id": request["id"], "result": result})

    def _answer(self, method: str, params: JsonObject, context: LambdaContext, *, modern: bool) -> JsonObject:
        match method:
            case "initialize" if not modern:
                asked = params.get("protocolVersion")
                version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]
                return {"protocolVersion": version, "serverInfo": self._info, **self._offer()}
            case "ping" if not modern:
                return {}
            case "server/discover" if modern:
                return self._modern({"supportedVersions": list(MODERN_VERSIONS), **self._offer()}, cached=True)
            case "tools/list":
                listed = {"tools": self._tools.listed}
                return self._modern(listed, cached=True) if modern else listed
            case "tools/call":
                called = self._tools.call(params, context)
                return self._modern(called) if modern else called
        raise _RpcError(_NO_METHOD, "this server has tools: there is no such method")

    def _offer(self) -> JsonObject:
        return {"capabilities": {"tools": {}}, **self._instructions}

    def _modern(self, result: JsonObject, *, cached: bool = False) -> JsonObject:
        """A result with what each has since 2026-07-28."""
        keeping = {"ttlMs": _TTL_MS, "cacheScope": "private"} if cached else {}
        return {**result, "resultType": "complete", **keeping, "_meta": {_SERVER_INFO: self._info}}


def _takes_json(accept: str) -> bool:
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
    return bool(kinds & {"application/json", "application/*", "*/*"})


def _decoded(body: bytes) -> JsonObject:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise _RpcError(_PARSE_ERROR, "the body is not JSON") from error
    if isinstance(found, list):
        raise _RpcError(_INVALID_REQUEST, "a batch is not taken, as since 2025-06-18: send one message a request")
    if not isinstance(found, dict):
        raise _RpcError(_INVALID_REQUEST, "the body is one JSON-RPC request or notification")
    return found


def _is_modern(front: FrontRequest, request: JsonObject) -> bool:
    """Whether the message is of the era without a handshake. Raises for a version of neither."""
    version = front.headers.get("mcp-protocol-version")
    if version is None:  # by the specification of that era, a client that says none may speak 2025-03-26
        return _VERSION in _meta(request)
    if version in HANDSHAKE_VERSIONS:
        return False
    if version not in MODERN_VERSIONS and "id" not in request:
        raise _unsupported(version)
    return True


def _check_request(front: FrontRequest, request: JsonObject, *, modern: bool) -> None:
    number, method = request["id"], request.get("method")
    is_id = isinstance(number, str) or (isinstance(number, int) and not isinstance(number, bool))
    if not (request.get("jsonrpc") == "2.0" and is_id and isinstance(method, str)):
        if not is_id:
            request["id"] = None
        raise _RpcError(
            _INVALID_REQUEST, "the body is one JSON-RPC 2.0 request with a method, and a text or number as id"
        )
    params = _object(request, "params")
    if not modern:
        return
    meta = _meta(request)
    if missing := [name for name in (_VERSION, _CAPABILITIES) if name not in meta]:
        raise _RpcError(_INVALID_PARAMS, f"params._meta lacks {' and '.join(missing)}")
    for header, said in (
        ("mcp-protocol-version", meta[_VERSION]),
        ("mcp-method", method),
        *((("mcp-name", params.get("name")),) if method == "tools/call" and "name" in params else ()),
    ):
        if _header(front, header) != said:
            raise _RpcError(_HEADER_MISMATCH, f"the header {header} does not say what the body says")
    if meta[_VERSION] not in MODERN_VERSIONS:
        raise _unsupported(meta[_VERSION])


def _unsupported(version: Any) -> _RpcError:
    data = {"supported": list(MODERN_VERSIONS), "requested": version}
    return _RpcError(_UNSUPPORTED_VERSION, "this version of the protocol is not spoken here", data)


def _header(front: FrontRequest, name: str) -> str | None:
    """A header's text; what no header can carry comes as ``=?base64?…?=``."""
    value = front.headers.get(name)
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return b64decode(value[9:-2], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _meta(request: JsonObject) -> JsonObject:
    params = request.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _object(holder: JsonObject, name: str) -> JsonObject:
    found = holder.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _RpcError(_INVALID_PARAMS, f"{name} is an object")
    return found


def _failed(number: Any, error: _RpcError, *, modern: bool) -> FrontReply:
    """An error's reply. The status says it too for what is malformed, and since 2026-07-28 for a method that there is
    not."""
    body: JsonObject = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    status = 400 if error.code in _BAD_REQUEST else 404 if error.code == _NO_METHOD and modern else 200
    return json_reply(status, {"jsonrpc": "2.0", "id": number, "error": body})


# --- the tools -------------------------------------------------------------------------------------------------------


class _Ask(Value, frozen=True):
    """``ask_model``: the client and model that answer, and the options of every call."""

    client: Any
    model: str
    options: Any

    def call(self, arguments: JsonObject, context: LambdaContext) -> ToolResult:
        allowed: int = self.options["max_tokens"]
        prompt, wanted = arguments.get("prompt"), arguments.get("max_tokens", allowed)
        if not isinstance(prompt, str) or not prompt.strip():
            return _told("ask_model takes a 'prompt', a text", failed=True)
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
            return _told("'max_tokens' is a whole number above zero", failed=True)
        options = {**self.options, "max_tokens": min(wanted, allowed)}
        began = time.monotonic()
        try:
            response = self.client.converse(self.model, prompt, **options, timeout=seconds_left(context))
        except Exception as error:
            log("ERROR", "the model could not be asked", context, **of_error(error))
            return _told(explain(error).message, failed=True)
        log("INFO", "answered", context, **of_response(response, time.monotonic() - began))
        return _told(response.text)


class _Tools:
    """What there is to call: functions, and the model."""

    def __init__(self, given: Sequence[Callable[..., Any]], ask: _Ask | None) -> None:
        self._ask = ask
        self._functions: Any = {}
        if given:
            from awsllm.tools.failures import ToolErrors
            from awsllm.tools.function import function_tool

            made = [function_tool(function) for function in given]
            # What an exception says may be for nobody outside: a client reads its type, the log has the rest.
            self._functions = ToolErrors("type").watch({tool.spec.name: tool for tool in made})
        specs = [tool.spec for tool in self._functions.values()] + ([ASK_MODEL] if ask else [])
        names = [spec.name for spec in specs]
        if len(set(names)) < max(len(names), len(given) + (ask is not None)):
            raise ConfigurationError("two tools have one name: give function_tool(fn, name=...) another")
        self.listed = [_listed(spec) for spec in specs]

    def call(self, params: JsonObject, context: LambdaContext) -> JsonObject:
        name, arguments = params.get("name"), _object(params, "arguments")
        if self._ask is not None and name == ASK_MODEL.name:
            return _called(self._ask.call(arguments, context))
        if not isinstance(name, str) or name not in self._functions:
            raise _RpcError(
                _INVALID_PARAMS, f"there is no such tool; there are {', '.join(t['name'] for t in self.listed)}"
            )
        seconds_left(context)
        from awsllm.tools.loop import RunTools, run_tools

        (result,) = run_tools(RunTools((ToolUse("call", name, arguments),), self._functions))
        return _called(result)


def _told(text: str, *, failed: bool = False) -> ToolResult:
    return ToolResult(tool_use_id="", content=(Text(text),), status="error" if failed else "success")


def _listed(spec: ToolSpec) -> JsonObject:
    described = {} if spec.description is None else {"description": spec.description}
    return {"name": spec.name, "inputSchema": spec.input_schema, **described}


def _called(result: ToolResult) -> JsonObject:
    """A tool's result as MCP has it: JSON twice, as a value and as text, for clients that read only one of them."""
    content = [_content(block) for block in result.content]
    values = [block.value for block in result.content if isinstance(block, Json)]
    structured = {"structuredContent": values[0]} if len(values) == 1 else {}
    return {"content": content, **structured, "isError": result.status == "error"}


def _content(block: ToolResultContent) -> JsonObject:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Json(value):
            return {"type": "text", "text": msgspec.json.encode(value).decode("utf-8")}
        case Image(format, Bytes(data)):
            return {"type": "image", "data": b64encode(data).decode("ascii"), "mimeType": f"image/{format}"}
        case Document(name, Bytes(data), format):
            blob = b64encode(data).decode("ascii")
            kind = DOCUMENT_TYPES.get(format or "", "application/octet-stream")
            resource = {"uri": f"file:///{name.replace(' ', '_')}.{format}", "mimeType": kind, "blob": blob}
            return {"type": "resource", "resource": resource}
    return {"type": "text", "text": f"(a {type(block).__name__}, which cannot be handed over)"}


def __getattr__(name: str) -> Any:
    """``handler``, made of the environment when Lambda looks for it: it has ``ask_model`` alone."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["handler"] = made = mcp_handler()
    return made
