"""What a call is before it is made, and what the client adds to its response."""

from __future__ import annotations

import dataclasses

import pytest

from awsllm.calls.prepare import finish, prepare, prepare_count_tokens
from awsllm.errors import ValidationError
from awsllm.models.prices import Price
from awsllm.models.references import parse_reference
from awsllm.types import (
    ConverseResponse,
    CountTokensRequest,
    EmbedResponse,
    ImageResponse,
    Message,
    RerankResponse,
    ToolChoice,
    Usage,
)

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
REFERENCE = parse_reference(MODEL)
PRICES = {MODEL: Price(input=2.0, output=4.0)}
USAGE = Usage(input_tokens=500_000, output_tokens=250_000)


@pytest.mark.parametrize(
    ("response", "cost"),
    [
        (ConverseResponse(message=Message.assistant("Hi"), stop_reason="end_turn", usage=USAGE), 2.0),
        (EmbedResponse(vectors=[], usage=USAGE), 2.0),
        (RerankResponse(results=(), usage=Usage(input_tokens=1)), 0.000002),
        (RerankResponse(results=()), None),
        (ImageResponse(images=()), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_response_gets_its_model_and_cost(
    response: ConverseResponse | EmbedResponse | RerankResponse | ImageResponse, cost: float | None
) -> None:
    finished = finish(response, REFERENCE, PRICES)
    assert finished.model == MODEL
    assert finished.cost == cost


def test_what_has_no_model_stays_what_it_is() -> None:
    assert finish(7, REFERENCE, PRICES) == 7


@dataclasses.dataclass
class Point:
    x: int


def test_counting_asks_for_what_would_be_sent_first() -> None:
    plain = prepare(MODEL, "Hello", {"system": "Be brief."}, {})
    reference, request = prepare_count_tokens(MODEL, "Hello", {"system": "Be brief."})
    assert reference == REFERENCE
    assert request == CountTokensRequest(model=REFERENCE.model, converse=plain.request)
    _, typed = prepare_count_tokens(MODEL, "Hello", {"output_type": Point})
    assert [getattr(tool, "name", None) for tool in typed.converse.tools] == ["Point"]
    assert typed.converse.tool_choice == ToolChoice("tool", "Point")
    with pytest.raises(ValidationError, match="did you mean 'system'"):
        prepare_count_tokens(MODEL, "Hello", {"sistem": "Be brief."})  # type: ignore[typeddict-unknown-key]
