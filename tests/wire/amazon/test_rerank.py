"""Amazon Rerank's body, both ways."""

from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context
from tests.support.bodies import PLAIN, payload

BODY = invoke.get("amazon-rerank")
assert BODY.rerank is not None
RERANK = BODY.rerank
REQUEST = RerankRequest(model="amazon.rerank-v1:0", query="q", documents=("a", "b", "c"), top_n=2)


def test_the_request_is_cohere_s_without_its_version() -> None:
    sent = RERANK.encode_request(REQUEST, PLAIN)
    assert sent.json() == {"query": "q", "documents": ["a", "b", "c"]}
    read = RERANK.decode_request(REQUEST.model, payload({**sent.json(), "top_n": 2}), PLAIN)
    assert read == REQUEST


def test_the_best_are_taken_of_the_reply() -> None:
    wire = {"results": [{"index": i, "relevance_score": score} for i, score in enumerate((0.1, 0.9, 0.5))]}
    response = RERANK.decode_response(payload(wire), Context(request=REQUEST))
    assert response.results == (RankedDocument(1, 0.9, "b"), RankedDocument(2, 0.5, "c"))
    sent = RERANK.encode_response(RerankResponse(results=(RankedDocument(1, 0.9),)), Context(request=REQUEST))
    assert sent.json()["results"] == [{"index": 1, "relevance_score": 0.9}]


def test_cohere_s_has_a_version() -> None:
    cohere = invoke.get("cohere-rerank").rerank
    assert cohere is not None
    assert cohere.encode_request(REQUEST, PLAIN).json() == {
        "api_version": 2,
        "query": "q",
        "documents": ["a", "b", "c"],
        "top_n": 2,
    }
