"""A conversation that ends with the model's own turn: it goes on with it, on the real default model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import awsllm
from awsllm.backends.local.backend import LocalBackend
from awsllm.backends.local.prompt import ended_by, is_left_open
from awsllm.errors import ServerError
from awsllm.types import ContentBlockDelta, ConverseRequest, Message, Text, TextDelta, ToolUse

MODEL = "local:smollm2-135m-instruct"
QUESTION = "Name three fruits."
KNOBS: dict[str, Any] = {"max_tokens": 30, "temperature": 0}


class Cutting:
    """A local backend whose first stream breaks after as many events."""

    def __init__(self, backend: LocalBackend, after: int) -> None:
        self.backend, self.after = backend, after
        self.requests: list[ConverseRequest] = []

    def stream(self, request: Any, attempt: Any) -> Iterator[Any]:
        self.requests.append(request)
        for number, event in enumerate(self.backend.stream(request, attempt)):
            if len(self.requests) == 1 and number == self.after:
                raise ServerError("the stream broke")
            yield event

    def close(self) -> None:
        """Its giver closes the backend."""


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    with awsllm.Client() as client, client.converse_stream(MODEL, QUESTION, **KNOBS) as stream:
        deltas = [event.delta for event in stream if isinstance(event, ContentBlockDelta)]
        pieces = [delta.text for delta in deltas if isinstance(delta, TextDelta)]
        whole = stream.response.text
        for count in range(2, len(pieces), 3):
            said = "".join(pieces[:count]).rstrip()
            rest = client.converse(MODEL, [Message.user(QUESTION), Message.assistant(said)], **KNOBS)
            assert (said + rest.text).startswith(whole)
            assert rest.message.role == "assistant"


@pytest.mark.parametrize("after", [2, 5, 9])
def test_a_stream_that_breaks_is_continued(after: int) -> None:
    backend = LocalBackend()
    try:
        with awsllm.Client() as client:
            whole = client.converse(MODEL, QUESTION, **KNOBS).text
        cutting = Cutting(backend, after)
        policy = awsllm.Policy(base_delay=0)
        with awsllm.Client(policy=policy, backends={"local": cutting}) as client:
            response = client.converse_stream(MODEL, QUESTION, resume=True, **KNOBS).response
    finally:
        backend.close()
    assert len(cutting.requests) == 2
    assert response.text.startswith(whole)
    assert response.usage.estimated


def test_what_is_left_open() -> None:
    def request(*turns: Message) -> ConverseRequest:
        return ConverseRequest(model="m", messages=turns)

    open_one = request(Message.user("Hi"), Message("assistant", (Text("a"), Text("b"))))
    assert is_left_open(open_one)
    assert ended_by(open_one, "#").messages[-1].content == (Text("a"), Text("b#"))
    assert not is_left_open(request(Message.user("Hi")))
    assert not is_left_open(request(Message("assistant", (Text("a"), ToolUse("1", "f", {})))))
    assert not is_left_open(request())
