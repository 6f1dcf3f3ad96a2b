"""Text Embeddings Inference where it ranks; its vectors are in ``test_embeddings``."""

import msgspec
import pytest

from awsllm.errors import ServerError
from awsllm.types.reranking import RankedDocument, RerankRequest, RerankResponse
from awsllm.wire import endpoint
from awsllm.wire.body import Context
from awsllm.wire.endpoint.tei import TeiRerank
from tests.support.bodies import PLAIN, payload, received

RERANK = RerankRequest(model="ep", query="q", documents=("a", "b", "c"), top_n=2)
RANKED = (RankedDocument(2, 0.87, "c"), RankedDocument(0, 0.17, "a"))
CODEC = TeiRerank()


def test_documents_are_ranked() -> None:
    sent = CODEC.encode_request(RERANK, PLAIN)
    assert sent.json() == {"query": "q", "texts": ["a", "b", "c"]}
    assert endpoint.get("tei").read("ep", sent, PLAIN) == (msgspec.structs.replace(RERANK, top_n=None), False)
    wire = [{"index": 1, "score": 0.1}, {"index": 2, "score": 0.87}, {"index": 0, "score": 0.17}]
    assert CODEC.decode_response(payload(wire), Context(request=RERANK)).results == RANKED


def test_texts_are_repeated_where_that_is_asked_for() -> None:
    context = received(endpoint.get("tei"), payload({"query": "q", "texts": ["a", "b", "c"], "return_text": True}))
    back = CODEC.encode_response(RerankResponse(results=RANKED), context)
    assert back.json()[0] == {"index": 2, "score": 0.87, "text": "c"}


@pytest.mark.parametrize("reply", [{"results": []}, [{"index": 3, "score": 1.0}], [{"score": 1.0}]])
def test_what_is_no_ranking_of_these_documents_is_a_server_error(reply: object) -> None:
    with pytest.raises(ServerError):
        CODEC.decode_response(payload(reply), Context(request=RERANK))
