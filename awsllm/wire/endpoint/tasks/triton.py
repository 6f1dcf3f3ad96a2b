"""Triton, which serves any model: named tensors in, named tensors out.

SageMaker's image takes the body of ``/v2/models/…/infer`` on ``/invocations``: JSON, or with the binary extension JSON
followed by the bytes of the tensors in their order. How long the JSON is stands in the content type, both ways. A
tensor whose data are bytes goes, and makes the outputs come, in binary.

Source: triton-inference-server/server, docs/protocol/extension_binary_data.md and qa/L0_sagemaker.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from awsllm.errors import AwsllmError, ServerError, UnsupportedError, ValidationError
from awsllm.types import JsonObject, JsonValue
from awsllm.types.predict import Cell, PredictRequest, PredictResponse, Tensor, Tensors
from awsllm.wire.body import Body, Context, Payload, Settings, reads
from awsllm.wire.endpoint.tasks.jumpstart import response
from awsllm.wire.payloads import reply_of
from awsllm.wire.reading import JSON, MalformedError, elements, optional, required, unknown_members
from awsllm.wire.server_errors import find_error
from awsllm.wire.text.errors import encode_error

_TITLE = "Triton's inference protocol"
_BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
_SIZE = "binary_data_size"
# Bytes of one element, and struct's letter where it has one (BF16 has none).
_TYPES: dict[str, tuple[int, str]] = {
    "BOOL": (1, "?"),
    "UINT8": (1, "B"),
    "UINT16": (2, "H"),
    "UINT32": (4, "I"),
    "UINT64": (8, "Q"),
    "INT8": (1, "b"),
    "INT16": (2, "h"),
    "INT32": (4, "i"),
    "INT64": (8, "q"),
    "FP16": (2, "e"),
    "FP32": (4, "f"),
    "FP64": (8, "d"),
    "BF16": (2, ""),
}


class TritonPredict:
    def warnings(self, request: PredictRequest, settings: Settings) -> tuple[str, ...]:
        return ()

    def encode_request(self, request: PredictRequest, settings: Settings) -> Payload:
        if request.body is not None:
            return Payload(msgspec.json.encode(request.body), JSON)
        if not request.tensors:
            raise UnsupportedError("Triton takes tensors: pass a dict of their names to arrays, lists or Tensors")
        for tensor in request.tensors:
            _check(tensor)
        binary = any(isinstance(tensor.data, bytes) for tensor in request.tensors)
        parameters: JsonObject = {"binary_data_output": True} if binary else {}
        return _write("inputs", request.tensors, parameters | (request.extra or {}))

    def decode_response(self, payload: Payload, context: Context) -> PredictResponse:
        try:
            wire, rest = _split(payload)
        except ValidationError as cause:
            message = f"not a reply of {_TITLE}: {cause.message}"
            raise ServerError(message, request_id=context.request_id) from cause
        if error := find_error(wire, request_id=context.request_id):
            raise error
        with reply_of(_TITLE, context):
            result = Tensors(_read(wire, "outputs", rest))
        return response(result, "tensors", wire, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> PredictRequest:
        wire, rest = _split(payload)
        parameters = optional(wire, "parameters", dict) or {}
        extra = unknown_members(parameters, {"binary_data_output"})
        return PredictRequest(model=model, task="tensors", tensors=_read(wire, "inputs", rest), extra=extra)

    def encode_response(self, response: PredictResponse, context: Context) -> Payload:
        if not isinstance(response.result, Tensors):
            raise ServerError(f"Tensors are what Triton answers with, not a {type(response.result).__name__}")
        return _write("outputs", response.result.tensors, {}, {"model_name": context.request.model})


def _write(name: str, tensors: tuple[Tensor, ...], parameters: JsonObject, head: JsonObject | None = None) -> Payload:
    wire: JsonObject = {**(head or {}), name: [_describe(tensor) for tensor in tensors]}
    if parameters:
        wire["parameters"] = parameters
    text = msgspec.json.encode(wire)
    rest = b"".join(tensor.data for tensor in tensors if isinstance(tensor.data, bytes))
    binary = any(isinstance(tensor.data, bytes) for tensor in tensors)
    return Payload(text + rest, f"{_BINARY}{len(text)}" if binary else JSON)


def _describe(tensor: Tensor) -> JsonObject:
    wire: JsonObject = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    if isinstance(tensor.data, bytes):
        return {**wire, "parameters": {_SIZE: len(tensor.data)}}
    return {**wire, "data": list(tensor.data)}


def _check(tensor: Tensor) -> None:
    """Raises ``ValidationError`` for a tensor whose data are not as many as its shape says."""
    wanted = math.prod(tensor.shape)
    if tensor.datatype != "BYTES" and tensor.datatype not in _TYPES:
        raise ValidationError(f"{tensor.name}: Triton has no type {tensor.datatype}; it has {', '.join(_TYPES)}, BYTES")
    if not isinstance(tensor.data, bytes):
        found = len(tensor.data)
    elif tensor.datatype == "BYTES":
        return
    else:
        found = len(tensor.data) // _TYPES[tensor.datatype][0]
    if found != wanted:
        raise ValidationError(f"{tensor.name} has {found} values; the shape {list(tensor.shape)} wants {wanted}")


def _split(payload: Payload) -> tuple[JsonObject, bytes]:
    """The JSON, and what follows it."""
    size = re.search(r"json-header-size=(\d+)", payload.content_type)
    head = payload.body[: int(size[1])] if size else payload.body
    wire: JsonValue = Payload(head).json()
    if not isinstance(wire, dict):
        raise ValidationError("the body must be a JSON object")
    return wire, payload.body[int(size[1]) :] if size else b""


def _read(wire: JsonObject, name: str, rest: bytes) -> tuple[Tensor, ...]:
    place = 0

    def read(described: JsonObject) -> Tensor:
        nonlocal place
        size = optional(optional(described, "parameters", dict) or {}, _SIZE, int)
        shape = tuple(_whole(each) for each in required(described, "shape", list))
        kind = required(described, "datatype", str)
        data: tuple[Cell, ...] | bytes
        if size is None:
            data = tuple(_flat(required(described, "data", list)))
        else:
            data, place = rest[place : place + size], place + size
            if len(data) != size:
                raise MalformedError(f"is cut: {len(data)} of {size} bytes", "data")
        return Tensor(name=required(described, "name", str), shape=shape, datatype=kind, data=data)

    return elements(required(wire, name, list), name, read)


def _whole(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedError("must be whole numbers", "shape")
    return value


def _flat(values: list[Any]) -> Iterator[Cell]:
    """Triton takes and gives lists nested as the shape, or flat."""
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def unpack(tensor: Tensor) -> tuple[Cell | bytes, ...]:
    """The values of a tensor, whichever way they came. BF16, which Python has not, stays what it is: an error."""
    if not isinstance(tensor.data, bytes):
        return tensor.data
    if tensor.datatype == "BYTES":
        return tuple(_elements(tensor.data))
    size, letter = _TYPES.get(tensor.datatype, (1, ""))
    if not letter:
        raise UnsupportedError(f"{tensor.name} is {tensor.datatype}, which Python cannot read: take its bytes")
    return struct.unpack(f"<{len(tensor.data) // size}{letter}", tensor.data)


def _elements(data: bytes) -> Iterator[bytes]:
    """Each with its length before it."""
    place = 0
    while place + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, place)
        yield data[place + 4 : place + 4 + size]
        place += 4 + size


def _encode_error(error: AwsllmError) -> tuple[int, Payload]:
    return encode_error(error, lambda status, message: {"error": message})


_PREDICT = TritonPredict()
BODIES: tuple[Body, ...] = (Body("triton", _TITLE, reads(_PREDICT), _encode_error, predict=_PREDICT),)
