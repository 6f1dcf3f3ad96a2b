"""Containers that embed: published bodies both ways, and replies that hold no vectors for the texts."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsllm.errors import ServerError, UnsupportedError
from awsllm.types import JsonValue, Usage
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Embed, Settings
from tests.support.bodies import PLAIN, payload, received

EXTRACT = Settings(task="feature-extraction")
EMBEDDING = Settings(task="embedding")
TEXTS = EmbedRequest(model="ep", texts=("a", "b"))
# body, settings, the request, what it becomes
REQUESTS: list[tuple[str, Settings, EmbedRequest, dict[str, Any]]] = [
    ("tei", PLAIN, TEXTS, {"inputs": ["a", "b"]}),
    ("tei", PLAIN, msgspec.structs.replace(TEXTS, normalize=False), {"inputs": ["a", "b"], "normalize": False}),
    ("tei", PLAIN, msgspec.structs.replace(TEXTS, extra={"truncate": True}), {"inputs": ["a", "b"], "truncate": True}),
    ("huggingface", EXTRACT, TEXTS, {"inputs": ["a", "b"]}),
    ("lmi", EMBEDDING, TEXTS, {"inputs": ["a", "b"]}),
    ("mms", PLAIN, TEXTS, {"text_inputs": ["a", "b"], "mode": "embedding"}),
]
SETTINGS = {"tei": PLAIN, "huggingface": EXTRACT, "lmi": EMBEDDING, "mms": PLAIN}
REPLIES = {"lmi": [[0.5, 1.0], [0.25, 2.0]], "mms": {"embedding": [[0.5, 1.0], [0.25, 2.0]]}}


def embed_of(name: str) -> Embed:
    embed = endpoint.get(name).embed
    assert embed is not None
    return embed


@pytest.mark.parametrize(("name", "settings", "request_", "wire"), REQUESTS)
def test_texts_become_the_published_body_and_back(
    name: str, settings: Settings, request_: EmbedRequest, wire: dict[str, Any]
) -> None:
    sent = embed_of(name).encode_request(request_, settings)
    assert sent.json() == wire
    assert endpoint.get(name).read("ep", sent, settings) == (request_, False)


@pytest.mark.parametrize("name", REPLIES)
def test_vectors_become_the_published_reply_and_back(name: str) -> None:
    embed, context = embed_of(name), Context(request=TEXTS, settings=SETTINGS[name])
    response = EmbedResponse(vectors=[[0.5, 1.0], [0.25, 2.0]], model="ep")
    reply = embed.encode_response(response, context)
    assert reply.json() == REPLIES[name]
    assert msgspec.structs.replace(embed.decode_response(reply, context), raw=None) == response
    with pytest.raises(ServerError, match="2 vectors for 1"):
        embed.decode_response(reply, Context(request=EmbedRequest(model="ep", texts=("a",))))
    with pytest.raises(ServerError, match="not vectors"):
        embed.decode_response(payload({"generated_text": "x"}), context)


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=25)
@given(
    vectors=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1),
)
def test_vectors_come_back_as_they_were(name: str, vectors: list[list[float]]) -> None:
    embed, request = embed_of(name), EmbedRequest(model="ep", texts=("t",) * len(vectors))
    context = received(endpoint.get(name), embed.encode_request(request, SETTINGS[name]), SETTINGS[name])
    sent = embed.encode_response(EmbedResponse(vectors=vectors), context)
    back = embed.decode_response(sent, Context(request=request, settings=SETTINGS[name]))
    assert back.vectors == vectors
    assert back.usage == Usage()


@pytest.mark.parametrize("name", ["tei", "huggingface", "lmi"])
@pytest.mark.parametrize(
    "reply",
    [[], [[1.0], [2.0]], [["x"]], [[]], {"embeddings": [[1.0], [2.0]]}, {"embeddings": 7}, [[[1.0], ["x"]]]],
)
def test_what_are_no_vectors_for_these_texts_is_a_server_error(name: str, reply: JsonValue) -> None:
    with pytest.raises(ServerError):
        embed_of(name).decode_response(payload(reply), Context(request=EmbedRequest(model="ep", texts=("a",))))


@pytest.mark.parametrize("name", SETTINGS)
def test_another_length_of_the_vectors_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="dimensions"):
        embed_of(name).encode_request(EmbedRequest(model="ep", texts=("a",), dimensions=2), SETTINGS[name])


def test_what_a_body_cannot_honour_is_named() -> None:
    request = EmbedRequest(model="ep", texts=("a",), normalize=True, input_type="search_query")
    named = {
        name: [warning.partition(":")[0] for warning in embed_of(name).warnings(request, PLAIN)] for name in SETTINGS
    }
    assert named == {
        "tei": ["input_type"],
        "huggingface": ["input_type"],
        "lmi": ["normalize", "input_type"],
        "mms": ["normalize", "input_type"],
    }
