"""Triton's protocol: the examples of its documentation of binary tensors, and JSON."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from awsllm.errors import AwsllmError, ServerError, UnsupportedError, ValidationError
from awsllm.types.predict import PredictRequest, PredictResponse, Tensor, Tensors
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint.tasks.triton import TritonPredict, unpack

CODEC = TritonPredict()
BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="


def ask(*tensors: Tensor, **members: Any) -> PredictRequest:
    return PredictRequest(model="ep", task="tensors", tensors=tensors, **members)


def test_numbers_go_as_json() -> None:
    request = ask(Tensor(name="INPUT0", shape=(1, 2), datatype="FP32", data=(1.0, 2.0)), extra={"priority": 1})
    sent = CODEC.encode_request(request, Settings())
    assert sent.content_type == "application/json"
    assert sent.json() == {
        "inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}],
        "parameters": {"priority": 1},
    }
    assert endpoint.get("triton").read("ep", sent, Settings()) == (request, False)


def test_bytes_go_behind_the_json_as_the_documentation_shows() -> None:
    """https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md"""
    first = Tensor(name="input0", shape=(2, 2), datatype="UINT32", data=struct.pack("<4I", 1, 2, 3, 4))
    second = Tensor(name="input1", shape=(3,), datatype="BOOL", data=b"\1\0\1")
    sent = CODEC.encode_request(ask(first, second), Settings())
    size = int(sent.content_type.removeprefix(BINARY))
    assert msgspec.json.decode(sent.body[:size]) == {
        "inputs": [
            {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "parameters": {"binary_data_size": 16}},
            {"name": "input1", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}},
        ],
        "parameters": {"binary_data_output": True},
    }
    assert len(sent.body) == size + 19
    back, _ = endpoint.get("triton").read("ep", sent, Settings())
    assert back == ask(first, second)
    assert unpack(first) == (1, 2, 3, 4)
    assert unpack(second) == (True, False, True)


def test_replies_both_ways() -> None:
    plain = b'{"model_name":"m","outputs":[{"name":"o","shape":[2,1],"datatype":"FP32","data":[[0.5],[1.5]]}]}'
    context = Context(request=ask())
    response = CODEC.decode_response(Payload(plain), context)
    assert response.result == Tensors((Tensor(name="o", shape=(2, 1), datatype="FP32", data=(0.5, 1.5)),))
    assert isinstance(response.result, Tensors)
    assert response.result["o"].data == (0.5, 1.5)
    data = struct.pack("<6f", *range(6))
    binary = Tensors((Tensor(name="output0", shape=(3, 2), datatype="FP32", data=data),))
    written = CODEC.encode_response(PredictResponse(result=binary), context)
    assert written.content_type.startswith(BINARY)
    assert CODEC.decode_response(written, context).result == binary


def test_texts_have_their_lengths_before_them() -> None:
    data = struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)
    assert unpack(Tensor(name="t", shape=(2,), datatype="BYTES", data=data)) == (b"ab", b"")
    assert unpack(Tensor(name="t", shape=(1,), datatype="BYTES", data=("ab",))) == ("ab",)
    with pytest.raises(UnsupportedError, match="BF16"):
        unpack(Tensor(name="t", shape=(1,), datatype="BF16", data=b"\0\0"))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor(name="x", shape=(2,), datatype="FP32", data=(1.0,)), "x has 1 values; the shape .2. wants 2"),
        (Tensor(name="x", shape=(2,), datatype="FP32", data=b"\0" * 4), "x has 1 values"),
        (Tensor(name="x", shape=(1,), datatype="FLOAT", data=(1.0,)), "no type FLOAT"),
    ],
)
def test_a_tensor_that_is_none_is_not_sent(tensor: Tensor, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CODEC.encode_request(ask(tensor), Settings())


def test_no_tensors_at_all() -> None:
    with pytest.raises(UnsupportedError, match="a dict of their names"):
        CODEC.encode_request(PredictRequest(model="ep", texts=("a",)), Settings())


@pytest.mark.parametrize(
    "reply",
    [
        Payload(b"[]"),
        Payload(b"{}"),
        Payload(b'{"outputs": [{"name": "o", "shape": [1], "datatype": "FP32"}]}'),
        Payload(b'{"outputs": [{"name": "o", "shape": ["a"], "datatype": "FP32", "data": []}]}'),
        Payload(b"not JSON", BINARY + "3"),
        Payload(
            b'{"outputs":[{"name":"o","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}\0',
            BINARY + "92",
        ),
    ],
)
def test_what_is_no_reply_is_a_server_error(reply: Payload) -> None:
    with pytest.raises(ServerError):
        CODEC.decode_response(reply, Context(request=ask()))


def test_the_server_s_own_error_is_raised() -> None:
    with pytest.raises(AwsllmError, match="expected 2 inputs"):
        CODEC.decode_response(Payload(b'{"error": "expected 2 inputs but got 1"}'), Context(request=ask()))
