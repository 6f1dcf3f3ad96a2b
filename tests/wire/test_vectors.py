"""Vectors and rankings of a reply, held to the request they answer."""

import pytest

from awsllm.errors import ServerError, UnsupportedError, ValidationError
from awsllm.types import Bytes, Image, JsonValue, Text, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse, VectorSegment
from awsllm.types.reranking import RankedDocument, RerankRequest
from awsllm.wire.body import Context
from awsllm.wire.vectors import (
    check_dimensions,
    embed_response,
    embed_warnings,
    merge_embeddings,
    merged,
    read_texts,
    read_vectors,
    rerank_response,
    split_embedding,
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


# --- more than one payload carries -----------------------------------------------------------------------------------

PICTURE = Image("png", Bytes(b"x"))
MANY = EmbedRequest(model="m", inputs=((PICTURE,), (Text("a"), PICTURE), (Text("b"),)), dimensions=256)


class Limited:
    """What limits the payloads of a codec; nothing else of it is used."""

    def __init__(self, texts: int | None, inputs: int) -> None:
        self.max_texts, self.max_inputs = texts, inputs


def split(request: EmbedRequest, texts: int | None, inputs: int) -> list[EmbedRequest]:
    return split_embedding(request, Limited(texts, inputs))  # type: ignore[arg-type]


def test_texts_are_split_by_their_limit() -> None:
    request = EmbedRequest(model="m", texts=("a", "b", "c"), dimensions=4)
    assert [part.texts for part in split(request, 2, 0)] == [("a", "b"), ("c",)]
    assert split(request, None, 0) == [request]
    assert split(EmbedRequest(model="m"), None, 0) == []


def test_inputs_are_split_by_number_and_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [part.inputs for part in split(MANY, 1, 2)] == [MANY.inputs[:2], MANY.inputs[2:]]
    assert {part.dimensions for part in split(MANY, 1, 2)} == {256}
    monkeypatch.setattr("awsllm.wire.vectors.MAX_MEDIA", 1)
    assert [len(part.inputs) for part in split(MANY, 1, 96)] == [1, 2]


def test_media_where_there_are_none() -> None:
    with pytest.raises(UnsupportedError, match=r"texts only.*nova-2-multimodal-embeddings.*marengo-embed-3"):
        split(MANY, 1, 0)


def test_parts_become_one_response() -> None:
    parts = split(MANY, 1, 2)
    responses = [
        EmbedResponse(vectors=[[1.0], [2.0]], usage=Usage(3), request_id="r", warnings=("w",), raw={"n": 1}, model="x"),
        EmbedResponse(vectors=[[3.0]], usage=Usage(4), request_id="s", warnings=("w", "v"), raw={"n": 2}),
    ]
    whole = merge_embeddings(MANY, parts, responses)
    assert (whole.vectors, whole.segments) == ([[1.0], [2.0], [3.0]], ())
    assert whole.usage == Usage(input_tokens=7, total_tokens=7)
    assert (whole.model, whole.request_id, whole.warnings) == ("m", "r", ("w", "v"))
    assert whole.raw == [{"n": 1}, {"n": 2}]
    unknown = merge_embeddings(MANY, parts, [responses[0], EmbedResponse(vectors=[[3.0]])])
    assert unknown.usage == Usage()


def test_what_has_come_of_some_parts_says_of_which_inputs_it_is() -> None:
    parts = split(MANY, 1, 1)
    second = EmbedResponse(vectors=[[2.0]], usage=Usage(3), request_id="r", raw={"n": 2})
    partial = merge_embeddings(MANY, parts, [None, second, None])
    assert (partial.vectors, partial.segments) == ([[2.0]], (VectorSegment(input=1),))
    assert (partial.usage.input_tokens, partial.request_id, partial.raw) == (3, "r", [{"n": 2}])
    assert merge_embeddings(MANY, parts, [None] * len(parts)).vectors == []


def test_segments_count_the_whole_requests_inputs() -> None:
    parts = split(MANY, 1, 2)
    segments = (VectorSegment(kind="VIDEO"), VectorSegment(kind="AUDIO"))
    responses = [
        EmbedResponse(vectors=[[1.0], [2.0]]),
        EmbedResponse(vectors=[[3.0], [4.0]], segments=segments),
    ]
    assert merge_embeddings(MANY, parts, responses).segments == (
        VectorSegment(input=0),
        VectorSegment(input=1),
        VectorSegment(input=2, kind="VIDEO"),
        VectorSegment(input=2, kind="AUDIO"),
    )


def test_extra_reaches_into_objects() -> None:
    wire = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(wire, {"a": {"c": 4}, "d": {"e": 5}}) == {"a": {"b": 1, "c": 4}, "d": {"e": 5}}
    assert (merged(wire, None), wire["a"]) == (wire, {"b": 1, "c": 2})
