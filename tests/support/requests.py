"""Requests to check, and botocore as the judge of them."""

from __future__ import annotations

from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import validate_parameters

from awsllm.types import ConverseRequest, Message
from awsllm.wire.converse import encode_request

PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff\xe0 rest"
PDF = b"%PDF-1.7 rest"
RUNTIME = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"), "bedrock-runtime")


def request(*messages: Message, **members: Any) -> ConverseRequest:
    return ConverseRequest(model="m", messages=messages or (Message.user("Hello"),), **members)


def assert_botocore_takes(value: ConverseRequest) -> None:
    validate_parameters({"modelId": "m", **encode_request(value)}, RUNTIME.operation_model("Converse").input_shape)
