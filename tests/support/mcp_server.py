"""An MCP server, written with the official SDK, for tests: over stdio, or with a port as argument over HTTP."""

from __future__ import annotations

import logging
import os
import sys

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

PNG = b"\x89PNG\r\n\x1a\n rest"
server = MCPServer("demo", log_level="CRITICAL")
begun = cancelled = 0


@server.tool()
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="list.all names", structured_output=False)
def names() -> str:
    return "Ann, Bob"


@server.tool(structured_output=False)
def picture() -> list[Image]:
    return [Image(data=PNG, format="png")]


@server.tool(structured_output=False)
def report() -> CallToolResult:
    blob = BlobResourceContents(uri="file:///tmp/q3_report.pdf", mime_type="application/pdf", blob="JVBERi0=")
    return CallToolResult(content=[TextContent(text="Here."), EmbeddedResource(resource=blob)])


@server.tool(structured_output=False)
def mixture() -> CallToolResult:
    return CallToolResult(
        content=[
            TextContent(text=" "),
            EmbeddedResource(
                resource=TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="A text.")
            ),
            EmbeddedResource(resource=BlobResourceContents(uri="file:///a.bin", blob="AAEC")),
            ResourceLink(name="plan", uri="file:///plan.md"),
            AudioContent(data="AAEC", mime_type="audio/wav"),
        ]
    )


@server.tool(structured_output=False)
def nothing() -> CallToolResult:
    return CallToolResult(content=[])


@server.tool()
def fail() -> str:
    raise ValueError("no such row")


@server.tool()
def variable(name: str) -> str:
    return os.environ.get(name, "unset")


@server.tool()
async def wait() -> str:
    global begun, cancelled
    begun += 1
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        cancelled += 1
        raise
    return "late"


@server.tool()
def waits() -> int:
    return begun


@server.tool()
def cancellations() -> int:
    return cancelled


@server.tool()
def die() -> str:
    os._exit(3)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
