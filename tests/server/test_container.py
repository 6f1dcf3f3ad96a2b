"""A container's streams are cut anywhere, and nothing is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.server.container import Cutter
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import client, host, parts


@pytest.mark.parametrize("cuts", [(), (1,), (1, 3, 7, 64), (5000,)])
def test_parts_are_cut_anywhere(cuts: tuple[int, ...]) -> None:
    with mock_aws(reply="Grüße, 世界!", cuts=cuts, formats={"e": "tgi"}):
        host("e")
        found = parts(EndpointName="e", Body=json.dumps({"inputs": "Hello", "stream": True}))
    text = b"".join(found).decode()
    assert "Grüße, 世界!" in text
    if cuts:
        assert {len(part) for part in found[:-1]} <= set(cuts)


def test_an_endpoint_that_only_has_a_name_answers_by_the_body() -> None:
    """As TGI does from version 3 on; litellm's ``sagemaker/`` sends such bodies."""
    with mock_aws(reply="Hello.", endpoints="*"):
        runtime = client("sagemaker-runtime")
        told = {}
        for name, body in {
            "tgi": {"inputs": "Hi"},
            "openai": {"messages": [{"role": "user", "content": "Hi"}]},
        }.items():
            reply = runtime.invoke_endpoint(EndpointName="any", ContentType="application/json", Body=json.dumps(body))
            told[name] = json.loads(reply["Body"].read())
    assert told["tgi"][0]["generated_text"] == "Hello."
    assert told["openai"]["choices"][0]["message"]["content"] == "Hello."


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 20), max_size=4))
def test_a_cutter_loses_nothing(pieces: list[bytes], sizes: list[int]) -> None:
    cutter = Cutter(sizes)
    found = [part for piece in pieces for part in cutter.push(piece)]
    assert b"".join([*found, *cutter.rest()]) == b"".join(pieces)
    assert all(found)
