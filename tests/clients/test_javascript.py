"""JavaScript: AWS's SDK over HTTP/2, also for S3, OpenAI's, and Anthropic's for Bedrock."""

from __future__ import annotations

from tests.clients.conftest import Server
from tests.clients.programs import findings


def test_the_aws_sdk(server: Server) -> None:
    found = findings("aws.mjs", server.url)
    for name in ("converse", "stream", "invoked", "invoked stream", "endpoint", "endpoint stream"):
        assert isinstance(found[name], str), (name, found[name])
        assert server.said(found[name]), (name, found[name])
    assert isinstance(found["tool"].get("city"), str), found["tool"]
    assert found["tool"]["reason"] == "tool_use"
    assert server.words is None or "rain" in found["tool"]["answer"]
    assert found["embedding"] == 1024
    assert found["refused"]["error"] == "ValidationException"


def test_openai_s_and_anthropic_s(server: Server) -> None:
    found = findings("vendors.mjs", server.url)
    for name in ("openai", "openai stream", "openai response", "anthropic", "anthropic stream"):
        assert isinstance(found[name], str), (name, found[name])
        assert server.said(found[name]), (name, found[name])
    for name in ("openai tool", "anthropic tool"):
        assert isinstance(found[name], str), (name, found[name])
    assert found["openai embedding"] == 1024


def test_the_aws_sdk_stores(scripted: Server) -> None:
    found = findings("storage.mjs", scripted.url)
    assert found["text"] == "hällo"
    for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        assert found[f"stream {name}"] is True, found[f"stream {name}"]
    assert found["parts"] is True, found["parts"]
    assert found["address"] == "a=b"
    assert found["form"] == {"status": 204, "text": "posted"}
    assert found["pages"] == 5
    assert found["missing"]["error"] == "NoSuchKey"
