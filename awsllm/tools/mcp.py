"""Tools of MCP servers, beside functions.

``mcp_tools`` starts or reaches a server through the official SDK (``pip install 'awsllm[mcp]'``) and gives its tools as
``ToolFunction``: the loop treats them as it treats functions. The session lives in a thread with an event loop of its
own, since the SDK wants it opened and closed in one task, and calls come from any thread or loop; a call that is
cancelled is cancelled at the server too.

What goes to the model is made such as Bedrock takes it: names of letters, digits, ``_`` and ``-``; schemas without
references; results as text, JSON, images and documents. A tool that fails, a server that does not answer in time or
has died is an error result, which the model reads.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from awsllm import log
from awsllm.errors import ConfigurationError, ConnectError
from awsllm.tools.function import ToolFunction
from awsllm.tools.schema.tidy import tidy
from awsllm.types import Bytes, Document, Image, Json, JsonValue, Text, ToolResult, ToolResultContent, ToolSpec
from awsllm.wire.converse.history import NO_OUTPUT
from awsllm.wire.converse.rules import clean_document_name, clean_tool_name, document_named, is_blank
from awsllm.wire.formats import DOCUMENT_TYPES

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

# A URL, a command line, a command and its arguments, or what else the SDK's Client takes (a server in this process).
McpServer: TypeAlias = "str | Sequence[str] | Any"

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {kind: name for name, kind in DOCUMENT_TYPES.items()}


def mcp_tools(
    server: McpServer,
    *,
    prefix: str = "",
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = 60.0,
) -> McpTools:
    """The tools of an MCP server, for as long as the context is open: ``with`` or ``async with`` it.

    >>> with awsllm.mcp_tools("uvx mcp-server-git", prefix="git_") as tools:
    ...     client.converse(model, "What changed last week?", tools=[*tools, today])

    ``server`` is a URL (streamable HTTP), or a command line or list of arguments that is started and spoken to over
    stdio. ``prefix`` goes before the names of its tools, ``env`` adds to the few variables that a started server gets,
    ``headers`` go with every HTTP request. ``timeout`` is in seconds, for each call.
    """
    if not server:
        raise ConfigurationError("the MCP server is a URL, or a command with its arguments; this is empty")
    return McpTools(server, prefix, env, headers, timeout)


class McpTools:
    """See ``mcp_tools``."""

    def __init__(
        self,
        server: McpServer,
        prefix: str,
        env: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        timeout: float | None,
    ) -> None:
        self._server = server
        self._prefix = prefix
        self._env = dict(env) if env else None
        self._headers = dict(headers) if headers else None
        self._timeout = timeout
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._client: Any = None

    def __enter__(self) -> tuple[ToolFunction, ...]:
        try:
            from anyio.from_thread import start_blocking_portal
            from mcp import Client
        except ImportError as error:
            raise ConfigurationError(f"tools of MCP servers need {error.name}: pip install 'awsllm[mcp]'") from error
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            try:
                tools = stack.enter_context(self._portal.wrap_async_context_manager(self._session(Client)))
            except Exception as error:
                raise self._unreachable(error) from error
            self._stack = stack.pop_all()
        return tools

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        except Exception as error:  # a server that has died cannot be parted from in form
            log.logger("tools").info("the MCP server %s did not close: %s", self._name, _leaf(error))

    async def __aenter__(self) -> tuple[ToolFunction, ...]:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.__exit__)

    @property
    def _name(self) -> str:
        """The server in messages: without the query of a URL and the arguments of a command, which may be secrets."""
        if isinstance(self._server, str):
            return self._server.partition("?")[0] if _is_url(self._server) else self._server.partition(" ")[0]
        return str(self._server[0]) if isinstance(self._server, Sequence) and self._server else "in this process"

    def _unreachable(self, error: Exception) -> ConfigurationError | ConnectError:
        cause = _leaf(error)
        if isinstance(cause, FileNotFoundError | PermissionError):
            return ConfigurationError(f"the MCP server {self._name} cannot be started: {cause.strerror}")
        return ConnectError(f"the MCP server {self._name} does not answer: {type(cause).__name__}: {cause}")

    # --- in the thread of the session ---

    @asynccontextmanager
    async def _session(self, client: Any) -> AsyncIterator[tuple[ToolFunction, ...]]:
        async with AsyncExitStack() as stack:
            target = await self._target(stack)
            self._client = await stack.enter_async_context(client(target, read_timeout_seconds=self._timeout))
            page = await self._client.list_tools()
            found = list(page.tools)
            while page.next_cursor:
                page = await self._client.list_tools(cursor=page.next_cursor)
                found += page.tools
            yield self._functions(found)

    async def _target(self, stack: AsyncExitStack) -> Any:
        """What the SDK's ``Client`` is given."""
        server = self._server
        if isinstance(server, str) and _is_url(server):
            if not self._headers:
                return server
            from httpx2 import AsyncClient, Timeout  # what the SDK is built on
            from mcp.client.streamable_http import streamable_http_client

            limits = Timeout(30.0, read=300.0)  # the SDK's own: a stream may be silent for long
            http = await stack.enter_async_context(AsyncClient(headers=self._headers, timeout=limits))
            return streamable_http_client(server, http_client=http)
        if isinstance(server, str):
            server = shlex.split(server)
        if not isinstance(server, Sequence):
            return server
        from mcp import StdioServerParameters
        from mcp.client.stdio import get_default_environment

        command, *arguments = map(os.fspath, server)
        environment = {**get_default_environment(), **self._env} if self._env else None
        return StdioServerParameters(command=command, args=arguments, env=environment)

    def _functions(self, found: list[Any]) -> tuple[ToolFunction, ...]:
        taken: set[str] = set()
        functions = []
        for tool in found:
            wanted = clean_tool_name(f"{self._prefix}{tool.name}")
            name, n = wanted, 2
            while name in taken:
                name, n = f"{wanted[:60]}_{n}", n + 1
            taken.add(name)
            description = (tool.description or tool.title or "").strip() or None
            spec = ToolSpec(name=name, input_schema=_schema(tool.input_schema), description=description)
            functions.append(self._function(spec, tool.name))
        return tuple(functions)

    def _function(self, spec: ToolSpec, name: str) -> ToolFunction:
        """The tool ``name`` of the server, under the name that the model knows."""

        async def call(arguments: JsonValue) -> ToolResult:
            portal = self._portal
            if portal is None:
                raise RuntimeError("the MCP server's context has been left")
            return _result(await asyncio.wrap_future(portal.start_task_soon(self._call, name, arguments)))

        return ToolFunction(spec, call, call)

    async def _call(self, name: str, arguments: JsonValue) -> Any:
        return await self._client.call_tool(name, arguments)


def _is_url(server: str) -> bool:
    return server.startswith(("http://", "https://"))


def _leaf(error: BaseException) -> BaseException:
    """What lies behind the groups in which task groups raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of type object, as the service wants it; servers leave that out of tools without parameters."""
    return {"properties": {}, **tidy(dict(schema)), "type": "object"}


# --- results ---------------------------------------------------------------------------------------------------------


def _result(given: Any) -> ToolResult:
    """What a server answered, as what the model reads. What is structured is JSON, and its own text is left out."""
    structured = given.structured_content
    items: list[ToolResultContent] = [] if structured is None else [Json(_as_object(structured))]
    names: set[str] = set()
    for part in given.content:
        if part.type == "text" and structured is not None:
            continue  # "a tool that returns structured content SHOULD also return the serialized JSON in a TextContent"
        item = _content(part)
        if isinstance(item, Document):
            item = document_named(item, names)
            names.add(item.name)
        if not is_blank(item):
            items.append(item)
    status = "error" if given.is_error else "success"
    return ToolResult(tool_use_id="", content=tuple(items) or (Text(NO_OUTPUT),), status=status)


def _as_object(value: JsonValue) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"result": value}


def _content(part: Any) -> ToolResultContent:
    match part.type:
        case "text":
            return Text(part.text)
        case "image" | "audio":
            return _media(part.mime_type, b64decode(part.data), part.type)
        case "resource" if hasattr(part.resource, "text"):
            return Text(part.resource.text)
        case "resource":
            return _media(part.resource.mime_type or "", b64decode(part.resource.blob), str(part.resource.uri))
        case "resource_link":
            return Text(f"{part.title or part.name}: {part.uri}")
        case kind:
            return Text(f"(content of the kind {kind}, which cannot be handed over)")


def _media(mime_type: str, data: bytes, name: str) -> ToolResultContent:
    """An image or a document of its bytes; of anything else, a word that it was there."""
    kind = mime_type.partition(";")[0].strip().lower()
    if kind in _IMAGES:
        return Image(_IMAGES[kind], Bytes(data))
    if kind in _DOCUMENTS:
        stem = name.rpartition("/")[2].rpartition(".")[0] or name
        return Document(clean_document_name(stem), Bytes(data), _DOCUMENTS[kind])
    return Text(f"({len(data)} bytes of {kind or 'an unknown kind'}, which cannot be handed over)")
