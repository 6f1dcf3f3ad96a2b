"""What a call is before it is made, and what the client adds to its response."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from awsllm.calls.media_requests import prepare_image
from awsllm.calls.prepare import (
    finish,
    prepare,
    prepare_count_tokens,
)
from awsllm.calls.vectors import prepare_embed, prepare_rerank
from awsllm.errors import ValidationError
from awsllm.models.knowledge import Knowledge
from awsllm.models.prices import Price
from awsllm.models.references import parse_reference
from awsllm.types import ConverseResponse, CountTokensRequest, InferenceConfig, Message, ToolChoice, Usage
from awsllm.types.embedding import EmbedResponse
from awsllm.types.media import ImageResponse
from awsllm.types.reranking import RerankResponse

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
REFERENCE = parse_reference(MODEL)
PRICES = Knowledge({MODEL: Price(input=2.0, output=4.0)})
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
    plain = prepare(MODEL, "Hello", {"system": "Be brief."}, Knowledge())
    reference, request = prepare_count_tokens(MODEL, "Hello", {"system": "Be brief."})
    assert reference == REFERENCE
    assert request == CountTokensRequest(model=REFERENCE.model, converse=plain.request)
    _, typed = prepare_count_tokens(MODEL, "Hello", {"output_type": Point})
    assert [getattr(tool, "name", None) for tool in typed.converse.tools] == ["Point"]
    assert typed.converse.tool_choice == ToolChoice("tool", "Point")
    with pytest.raises(ValidationError, match="did you mean 'system'"):
        prepare_count_tokens(MODEL, "Hello", {"sistem": "Be brief."})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"max_tokens": "5"}, r"max_tokens is '5'; it is an int"),
        ({"max_tokens": 5.0}, r"max_tokens is 5\.0; it is an int"),
        ({"max_tokens": True}, r"max_tokens is True; it is an int"),
        ({"temperature": "0.5"}, r"temperature is '0\.5'; it is an int or a float"),
        ({"inference_config": InferenceConfig(top_p="1")}, r"top_p is '1'; it is an int or a float"),  # type: ignore[arg-type]
        ({"timeout": "5"}, r"timeout is '5'; it is an int or a float"),
        ({"max_turns": "5"}, r"max_turns is '5'; it is an int"),
        ({"stop_sequences": 5}, r"stop_sequences: a int is no text"),
        ({"stop_sequences": ["END", None]}, r"stop_sequences: a NoneType is no text"),
    ],
)
def test_an_option_of_the_wrong_type_is_named(options: Any, hint: str) -> None:
    """As a form, a query or the environment gives them: texts."""
    with pytest.raises(ValidationError, match=f"^{hint}$"):
        prepare(MODEL, "Hello", options, Knowledge())


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: prepare_embed(MODEL, 5, None, {}), "a int is no content: pass text, .*"),  # type: ignore[arg-type]
        (lambda: prepare_embed(MODEL, ["a", None], None, {}), "a NoneType is no content: pass text, .*"),  # type: ignore[list-item]
        (lambda: prepare_embed(MODEL, "a", "256", {}), "dimensions is '256'; it is an int"),  # type: ignore[arg-type]
        (lambda: prepare_image(MODEL, b"a", {}), "prompt: a bytes is no text"),  # type: ignore[arg-type]
        (lambda: prepare_image(MODEL, "a", {"count": "2"}), "count is '2'; it is an int"),  # type: ignore[typeddict-item]
        (lambda: prepare_rerank(MODEL, 5, ["a"], None, {}), "the query: a int is no text"),  # type: ignore[arg-type]
        (lambda: prepare_rerank(MODEL, "a", [{"text": "a"}], None, {}), "documents: a dict is no text"),  # type: ignore[list-item]
        (lambda: prepare_rerank(MODEL, "a", ["a"], "1", {}), "top_n is '1'; it is an int"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_text_and_no_number_is_named_in_the_other_operations(call: Callable[[], Any], hint: str) -> None:
    with pytest.raises(ValidationError, match=f"^{hint}$"):
        call()


def test_parts_of_other_apis_are_told_what_they_are_here() -> None:
    part = {"type": "text", "text": "Hi"}
    for messages in ([{"role": "user", "content": [part]}], [part], part):
        with pytest.raises(ValidationError, match="a part with a 'type' is how other APIs write content"):
            prepare(MODEL, messages, {}, Knowledge())


def test_a_turn_without_a_role_is_told_so() -> None:
    for messages in ({"content": "Hi"}, [{"content": [{"text": "Hi"}]}]):
        with pytest.raises(ValidationError, match="a turn needs a role"):
            prepare(MODEL, messages, {}, Knowledge())
