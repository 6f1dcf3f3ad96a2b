"""Vercel's AI SDK."""

from __future__ import annotations

from tests.clients.conftest import Server
from tests.clients.programs import findings


def test_the_ai_sdk(server: Server) -> None:
    found = findings("vercel.mjs", server.url)
    for name in ("text", "stream"):
        assert isinstance(found[name], str), (name, found[name])
        assert server.said(found[name]), (name, found[name])
    for name in ("tool", "streamed tool", "object"):
        assert isinstance(found[name], str), (name, found[name])
    assert found["embeddings"] == [1024, 1024]
    if server.words:
        assert "sun over Oslo" in found["loop"]
