"""Vectors and rankings of a reply, held to the request they answer."""

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import EmbedRequest, JsonValue, RankedDocument, RerankRequest, Usage
from awsllm.wire.body import Context
from awsllm.wire.vectors import (
    check_dimensions,
    embed_response,
    embed_warnings,
    read_texts,
    read_vectors,
    rerank_response,
)

ONE = Context(request=EmbedRequest(model="ep", texts=("a",)), request_id="r", warnings=("w",))
TWO = Context(request=EmbedRequest(model="ep", texts=("a", "b")), request_id="r")
RERANK = Context(request=RerankRequest(model="ep", query="q", documents=("a", "b", "c"), top_n=2), request_id="r")


def test_vectors_are_lists_of_floats() -> None:
    assert read_vectors([[1, 0.5], [2, 3]], TWO, "x") == [[1.0, 0.5], [2.0, 3.0]]
    assert all(type(number) is float for number in read_vectors([[1, 2]], ONE, "x")[0])


def test_one_vector_alone_answers_one_text() -> None:
    assert read_vectors([0.5, 1], ONE, "x") == [[0.5, 1.0]]
    with pytest.raises(ServerError, match="1 vectors for 2 texts"):
        read_vectors([0.5, 1], TWO, "x")


@pytest.mark.parametrize(
    "value", [None, 7, "x", {}, ["x"], [["1"]], [[True]], [[]], [[1.0, None]], [[10**400]], [[[1]]]]
)
def test_what_are_no_vectors(value: JsonValue) -> None:
    with pytest.raises(ServerError, match="not vectors of the format of X") as caught:
        read_vectors(value, ONE, "the format of X")
    assert (caught.value.request_id, caught.value.code) == ("r", None)


@pytest.mark.parametrize("value", [[], [[1.0], [2.0]]])
def test_as_many_vectors_as_texts(value: JsonValue) -> None:
    with pytest.raises(ServerError, match=f"the reply has {len(value)} vectors for 1 texts"):
        read_vectors(value, ONE, "x")


def test_a_response_carries_what_the_context_knows() -> None:
    response = embed_response([[1.0]], ONE, {"raw": 1}, Usage(input_tokens=2))
    assert (response.vectors, response.usage, response.raw) == ([[1.0]], Usage(input_tokens=2), {"raw": 1})
    assert (response.model, response.request_id, response.warnings) == ("ep", "r", ("w",))
    assert embed_response([[1.0]], ONE, None).usage == Usage()


def test_the_best_documents_come_first() -> None:
    response = rerank_response([(1, 0.1), (2, 0.9), (0, 0.5)], RERANK, [])
    assert response.results == (RankedDocument(2, 0.9, "c"), RankedDocument(0, 0.5, "a"))
    for index in (3, -1):
        with pytest.raises(ServerError, match="not sent"):
            rerank_response([(index, 0.5)], RERANK, [])


def test_knobs_that_are_missing() -> None:
    request = EmbedRequest(model="ep", texts=("a",), dimensions=2, normalize=True, input_type="search_query")
    names = [text.partition(":")[0] for text in embed_warnings(request)]
    assert names == ["normalize", "input_type"]
    assert embed_warnings(request, normalizes=True, has_input_type=True) == ()
    with pytest.raises(UnsupportedError, match="dimensions: the format of X"):
        check_dimensions(request, "the format of X")


def test_texts_of_a_request() -> None:
    assert read_texts({"inputs": "a"}, "inputs") == ("a",)
    assert read_texts({"inputs": ["a", "b"]}, "inputs") == ("a", "b")
    values: tuple[JsonValue, ...] = (None, [], [""], "", [7], {})
    for value in values:
        with pytest.raises(ValidationError, match="inputs"):
            read_texts({"inputs": value}, "inputs")
