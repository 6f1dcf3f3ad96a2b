"""The same as it is written: server-sent events, with a first word before the model has begun.

awsllm lambda events url --body '{"message": "Why is the sky blue?"}' > event.json
awsllm lambda invoke event.json --handler examples.lambdas.stream.handler --stream
"""

from collections.abc import Iterator

from awsllm import StreamEvent
from awsllm.lambdas.stream import ChatTurn, answers, stream_handler


def respond(turn: ChatTurn) -> Iterator[str | StreamEvent]:
    if "bicycle" not in turn.text.lower():
        yield "This is a shop for bicycles, but let me see. "
    yield from answers(turn, system="You are a bicycle shop's assistant. Answer in two sentences.")


handler = stream_handler(respond=respond)
