"""``ModelError`` of sagemaker-runtime: the container's own error is inside."""

import json

import pytest

from awsllm import errors
from awsllm.wire import openai
from awsllm.wire.endpoint.errors import decode_error
from tests.support.spoiled import spoiled


def model_error(status: int, original: str) -> errors.AwsllmError:
    fields = {
        "Message": f"Received client error ({status}) from primary with message …",
        "OriginalStatusCode": status,
        "OriginalMessage": original,
        "LogStreamArn": "arn:log",
    }
    headers = {"x-amzn-errortype": "ModelError", "x-amzn-requestid": "r1"}
    return decode_error(424, headers, json.dumps(fields).encode())


WRITTEN = [
    errors.ContextWindowError("four words, no hint"),
    errors.AccessDeniedError("no"),
    errors.ModelNotFoundError("no"),
    errors.ValidationError("no"),
    errors.ThrottlingError("no"),
    errors.ModelNotReadyError("no"),
    errors.ModelTimeoutError("no"),
    errors.ServerError("no"),
]


@pytest.mark.parametrize("error", WRITTEN, ids=lambda error: type(error).__name__)
def test_errors_survive_our_own_server(error: errors.AwsllmError) -> None:
    status, wire = openai.encode_error(error)
    read = model_error(status, json.dumps(wire))
    assert type(read) is type(error)
    assert (read.message, read.status, read.code, read.request_id) == (error.message, status, "ModelError", "r1")
    assert read.retryable == (status in (429, 503))
    assert read.__notes__ == ["the container's log: arn:log"]


UNWRAPPED = [
    (400, '{"detail":[{"loc":["body"],"msg":"field required"}]}', errors.ValidationError, "field required"),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
        errors.ContextWindowError,
        "Input",
    ),
    (424, '{"error":"Input length 9 exceeds","code":424}', errors.ContextWindowError, "Input length"),
    (500, "<html>oops</html>", errors.ServerError, "<html>oops</html>"),
    (503, "", errors.ModelNotReadyError, "Received client error"),
]


@pytest.mark.parametrize(("status", "original", "kind", "message"), UNWRAPPED)
def test_model_error_is_unwrapped(status: int, original: str, kind: type[Exception], message: str) -> None:
    read = model_error(status, original)
    assert type(read) is kind
    assert read.message.startswith(message)
    assert read.status == status


def test_spoiled_model_errors() -> None:
    headers = {"x-amzn-errortype": "ModelError"}
    for fields in spoiled({"OriginalStatusCode": 400, "OriginalMessage": "{}", "Message": "m"}):
        assert isinstance(decode_error(424, headers, json.dumps(fields).encode()), errors.AwsllmError)
