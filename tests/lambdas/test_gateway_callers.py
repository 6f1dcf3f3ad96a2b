"""On whose behalf models are called: what their metadata says, and whose connections are kept."""

from __future__ import annotations

from typing import Any

import pytest

from awsllm.client_settings import Backends
from awsllm.lambdas.gateway_callers import KEY_TAG, NAME_TAG, REQUEST_TAG, Callers, marked
from awsllm.policy.keys import create
from awsllm.server.places import BlockingPlaces
from awsllm.types import ConverseRequest, Message
from awsllm.types.embedding import EmbedRequest

REQUEST = ConverseRequest(model="m", messages=(Message.user("Hi"),), request_metadata={"theirs": "1"})


def test_metadata_says_who_calls_in_signs_that_bedrock_takes() -> None:
    key, _ = create(name="Søren's\nteam " + "x" * 300)
    found = marked(REQUEST, "bedrock:m", key, "id-1").request_metadata
    assert found is not None
    assert (found["theirs"], found[KEY_TAG], found[REQUEST_TAG]) == ("1", key.id, "id-1")
    assert found[NAME_TAG].startswith("S-ren-s-team xxx")
    assert len(found[NAME_TAG]) == 256


def test_a_caller_cannot_pass_for_another_nor_crowd_out_who_he_is() -> None:
    key, _ = create(name="Ann")
    theirs = {KEY_TAG: "another", **{str(number): "x" for number in range(16)}}
    request = ConverseRequest(model="m", messages=(), request_metadata=theirs)
    found = marked(request, "bedrock:m", key, "id-1").request_metadata
    assert found is not None
    assert (found[KEY_TAG], len(found)) == (key.id, 16)


@pytest.mark.parametrize("request_", [REQUEST, EmbedRequest(model="m", texts=("a",))])
def test_what_bedrock_does_not_log_is_left_as_it_is(request_: Any) -> None:
    key, _ = create()
    assert marked(request_, "sagemaker:m", key, "id-1") is request_
    if isinstance(request_, EmbedRequest):
        assert marked(request_, "bedrock:m", key, "id-1") is request_


def test_places_are_made_once_a_key_and_those_of_the_last_keys_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsllm.lambdas.gateway_callers._MOST", 2)
    backends: Backends[Any] = Backends(lambda reference: None, None)
    callers = Callers(lambda _: BlockingPlaces(backends))
    keys = [create()[0] for _ in range(3)]
    first, second, third = map(callers.places, keys)
    assert callers.places(keys[2]) is third
    assert callers.places(keys[1]) is second
    assert callers.places(keys[0]) is not first
