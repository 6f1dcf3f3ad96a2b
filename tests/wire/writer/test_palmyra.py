"""Palmyra where it is not OpenAI's: a limit that must be sent, and a text as an object."""

from __future__ import annotations

from awsllm.types import InferenceConfig, Message
from awsllm.wire import invoke
from awsllm.wire.body import Chat
from tests.support.bodies import PLAIN, ask, payload


def palmyra() -> Chat:
    chat = invoke.get("writer").chat
    assert chat is not None
    return chat


def test_a_limit_is_always_sent() -> None:
    """docs.aws.amazon.com, Writer Palmyra X5: max_tokens is 16 where it is not set."""
    wire = palmyra().encode_request(ask(), PLAIN).json()
    assert wire == {"max_tokens": 512, "messages": [{"role": "user", "content": "Hi"}]}
    assert any("max_tokens" in warning for warning in palmyra().warnings(ask(), PLAIN))
    own = ask(inference_config=InferenceConfig(max_tokens=7))
    assert palmyra().warnings(own, PLAIN) == ()
    assert palmyra().encode_request(own, PLAIN).body == b'{"max_tokens":7,"messages":[{"role":"user","content":"Hi"}]}'


def test_the_published_request_is_read() -> None:
    wire = {"messages": [{"role": "user", "content": {"text": "Explain quantum computing in simple terms"}}]}
    request, streams = palmyra().decode_request("ep", payload(wire), PLAIN)
    assert request.messages == (Message.user("Explain quantum computing in simple terms"),)
    assert not streams
