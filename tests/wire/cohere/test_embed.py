"""Cohere's Embed, both ways."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm import errors
from awsllm.types import JsonValue, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.body import Context
from awsllm.wire.cohere.embed import CohereEmbed
from tests.support.bodies import PLAIN, payload

EMBED = CohereEmbed()
TEXTS = EmbedRequest(model="ep", texts=("a", "b"))


def test_texts_become_the_published_body_and_back() -> None:
    request = msgspec.structs.replace(TEXTS, input_type="search_query", extra={"truncate": "END"})
    sent = EMBED.encode_request(request, PLAIN)
    assert sent.json() == {"texts": ["a", "b"], "input_type": "search_query", "truncate": "END"}
    assert EMBED.decode_request("ep", sent, PLAIN) == request
    assert EMBED.encode_request(TEXTS, PLAIN).json()["input_type"] == "search_document"


@settings(max_examples=25)
@given(
    vectors=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
)
def test_vectors_come_back_as_they_were(vectors: list[list[float]]) -> None:
    for extra in (None, {"embedding_types": ["float", "int8"]}):
        request = EmbedRequest(model="ep", texts=("t",) * len(vectors), extra=extra)
        sent = EMBED.encode_response(EmbedResponse(vectors=vectors), Context(request=request))
        back = EMBED.decode_response(sent, Context(request=request))
        assert (back.vectors, back.usage) == (vectors, Usage())


def embed(reply: JsonValue) -> list[list[float]]:
    return EMBED.decode_response(payload(reply), Context(request=EmbedRequest(model="ep", texts=("a",)))).vectors


def test_vectors_by_type_are_read_floats_first() -> None:
    assert embed({"embeddings": {"int8": [[1]], "float": [[0.5]]}}) == [[0.5]]
    assert embed({"embeddings": {"int8": [[1]]}}) == [[1.0]]
    assert embed({"id": "1", "texts": ["a"], "embeddings": [[0.25]]}) == [[0.25]]


@pytest.mark.parametrize("reply", [[], [[1.0]], {"embeddings": [[1.0], [2.0]]}, {"embeddings": 7}, {"embeddings": {}}])
def test_what_are_no_vectors_for_these_texts_is_a_server_error(reply: JsonValue) -> None:
    with pytest.raises(errors.ServerError):
        embed(reply)


def test_what_it_cannot_honour() -> None:
    with pytest.raises(errors.UnsupportedError, match="dimensions"):
        EMBED.encode_request(msgspec.structs.replace(TEXTS, dimensions=2), PLAIN)
    request = msgspec.structs.replace(TEXTS, normalize=True, input_type="search_query")
    assert [text.partition(":")[0] for text in EMBED.warnings(request, PLAIN)] == ["normalize"]
