"""Errors that model servers report with status 200, in each of their ways."""

import pytest

from awsllm import errors
from awsllm.wire.server_errors import find_error

REPORTED = {
    "vLLM": ({"error": {"message": "bad", "type": "BadRequestError", "code": 400}}, errors.ValidationError, 400),
    "older vLLM": (
        {"object": "error", "message": "gone", "type": "NotFoundError", "code": 404},
        errors.ModelNotFoundError,
        404,
    ),
    "TGI overloaded": ({"error": "Model is overloaded", "error_type": "overloaded"}, errors.ThrottlingError, 429),
    "TGI validation": (
        {"error": "`temperature` must be positive", "error_type": "validation"},
        errors.ValidationError,
        422,
    ),
    "TGI generation": ({"error": "oom", "error_type": "generation"}, errors.ServerError, 424),
    "LMI": ({"error": "oom", "code": 424}, errors.ServerError, 424),
    "words only": ({"error": {"message": "boom"}}, errors.ServerError, 500),
    "too long": (
        {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": 400}},
        errors.ContextWindowError,
        400,
    ),
    "too long, by code": (
        {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
        errors.ContextWindowError,
        400,
    ),
}


@pytest.mark.parametrize(("wire", "kind", "status"), REPORTED.values(), ids=REPORTED)
def test_an_error_with_status_200(wire: dict[str, object], kind: type[Exception], status: int) -> None:
    found = find_error(wire, request_id="r")
    assert type(found) is kind
    assert (found.status, found.request_id) == (status, "r")
