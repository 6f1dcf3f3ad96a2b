"""Cohere's Rerank, both ways."""

import pytest

from awsllm import errors
from awsllm.types import JsonValue, Usage
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire.body import Context
from awsllm.wire.cohere.rerank import CohereRerank
from tests.support.bodies import PLAIN, payload

RERANK = CohereRerank()
REQUEST = RerankRequest(model="ep", query="q", documents=("a", "b", "c"), top_n=2)
CONTEXT = Context(request=REQUEST)
RANKED = (RankedDocument(2, 0.87, "c"), RankedDocument(0, 0.17, "a"))


def test_documents_are_ranked() -> None:
    sent = RERANK.encode_request(REQUEST, PLAIN)
    assert sent.json() == {"api_version": 2, "query": "q", "documents": ["a", "b", "c"], "top_n": 2}
    assert RERANK.decode_request("ep", sent, PLAIN) == REQUEST
    older = {"query": "q", "documents": [{"text": "a"}, {"text": "b"}, {"text": "c"}], "top_n": 2}
    assert RERANK.decode_request("ep", payload(older), PLAIN) == REQUEST
    wire = {
        "id": "0edaa627",
        "results": [{"index": 2, "relevance_score": 0.87}, {"index": 0, "relevance_score": 0.17}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    response = RERANK.decode_response(payload(wire), CONTEXT)
    assert response.results == RANKED
    assert response.usage == Usage(extra={"billed_units": {"search_units": 1}})
    back = RERANK.encode_response(RerankResponse(results=RANKED), CONTEXT)
    assert RERANK.decode_response(back, CONTEXT).results == RANKED


@pytest.mark.parametrize(
    "reply", [{}, {"results": [{"index": 3, "relevance_score": 1.0}]}, {"results": [{"relevance_score": 1.0}]}]
)
def test_what_is_no_ranking_of_these_documents_is_a_server_error(reply: JsonValue) -> None:
    with pytest.raises(errors.ServerError):
        RERANK.decode_response(payload(reply), CONTEXT)


@pytest.mark.parametrize("documents", [[], ["a", 7], [{"title": "x"}]])
def test_documents_that_are_none(documents: JsonValue) -> None:
    with pytest.raises(errors.ValidationError, match="documents"):
        RERANK.decode_request("ep", payload({"query": "q", "documents": documents}), PLAIN)
