"""The error table against botocore's models, and what real answers that are errors look like."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from awsllm import errors
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ContextWindowError,
    ModelNotFoundError,
    ModelNotReadyError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    StreamError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.wire.errors import (
    AGENTS,
    BEDROCK,
    COMMON,
    SAGEMAKER,
    decode_error,
    encode_error,
    encode_exception,
    error_for,
)

ROWS = [*BEDROCK, *AGENTS, *SAGEMAKER, *COMMON]


def shapes(service):
    return ServiceModel(Loader().load_service_model(service, "service-2")).error_shapes


def status_of(shape):
    return shape.metadata.get("error", {}).get("httpStatusCode")


def test_the_table_has_every_error_of_knowledge_bases_and_agents():
    """Two have another status there than in bedrock-runtime; the one that comes is the one that counts."""
    known = {row.code: row.status for row in (*BEDROCK, *AGENTS)}
    differ = {shape.name for shape in shapes("bedrock-agent-runtime") if known[shape.name] != status_of(shape)}
    assert differ == {"ConflictException", "ModelNotReadyException"}
    assert {row.code for row in AGENTS} <= {shape.name for shape in shapes("bedrock-agent-runtime")}


@pytest.mark.parametrize(("service", "rows"), [("bedrock-runtime", BEDROCK), ("sagemaker-runtime", SAGEMAKER)])
def test_the_table_has_every_error_of_the_model_with_its_status(service, rows):
    known = {row.code: row.status for row in (*rows, *BEDROCK)}
    for shape in shapes(service):
        assert shape.name in known
        assert status_of(shape) in (known[shape.name], None)  # None: inside a stream only


def test_no_row_of_the_two_services_is_invented():
    names = {shape.name for service in ("bedrock-runtime", "sagemaker-runtime") for shape in shapes(service)}
    assert {row.code for row in (*BEDROCK, *SAGEMAKER)} <= names


def test_codes_are_unique_in_folded_case():
    assert len({row.code.lower() for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_codes_are_found_in_any_case(row):
    for code in (row.code, row.code[0].lower() + row.code[1:], row.code.upper()):
        error = error_for(code, "because", request_id="r")
        assert type(error) is row.error
        assert (error.code, error.status, error.request_id) == (row.code, row.status, "r")
        assert "because" in error.message


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("ThrottlingException", True),
        ("InternalServerException", True),
        ("ServiceUnavailableException", True),
        ("InternalFailure", True),
        ("ModelNotReadyException", True),
        ("ModelErrorException", False),
        ("ModelError", False),
        ("ModelTimeoutException", False),
        ("ServiceQuotaExceededException", False),
        ("ValidationException", False),
        ("AccessDeniedException", False),
        ("ExpiredTokenException", False),
    ],
)
def test_what_is_worth_another_attempt(code, retryable):
    assert error_for(code, "").retryable is retryable


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (301, ConfigurationError, False),
        (400, ValidationError, False),
        (401, AccessDeniedError, False),
        (403, AccessDeniedError, False),
        (404, ModelNotFoundError, False),
        (405, RequestError, False),
        (408, ModelTimeoutError, False),
        (413, ValidationError, False),
        (429, ThrottlingError, True),
        (500, ServerError, True),
        (502, ServerError, True),
        (504, ServerError, True),
    ],
)
def test_an_unknown_code_is_judged_by_its_status(status, kind, retryable):
    error = decode_error(status, {"x-amzn-errortype": "TomorrowException"}, b'{"message":"m"}')
    assert type(error) is kind
    assert (error.code, error.status, error.retryable) == ("TomorrowException", status, retryable)
    assert type(decode_error(status, {}, b"")) is kind


COLON = "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-amzn-errortype": COLON}, {"message": "m"}),
        ({"x-amzn-errortype": "com.amazon#ValidationException"}, {"Message": "m"}),
        ({}, {"code": "ValidationException", "message": "m"}),
        ({}, {"Code": "ValidationException", "message": "m"}),
        ({}, {"__type": "com.amazon.coral#ValidationException", "message": "m"}),
        ({"x-amzn-errortype": "ValidationException"}, {"__type": "Other", "message": "m"}),
    ],
)
def test_the_code_is_found_where_botocore_finds_it(headers, body):
    text = msgspec.json.encode(body)
    error = decode_error(400, {**headers, "x-amzn-requestid": "r"}, text)
    parsed = create_parser("rest-json").parse({"body": text, "headers": headers, "status_code": 400}, None)
    assert error.code == parsed["Error"]["Code"] == "ValidationException"
    assert error.message == parsed["Error"]["Message"] == "m"
    assert error.request_id == "r"


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081",
        "The request exceeds the model's context window",
    ],
)
def test_too_long_a_conversation(message):
    assert type(error_for("ValidationException", message)) is ContextWindowError


def test_throttling_that_speaks_of_tokens_is_throttling():
    error = error_for("ThrottlingException", "Too many tokens, please wait before trying again.")
    assert type(error) is ThrottlingError


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "The provided model identifier is invalid."),
        ("ValidationError", "Endpoint my-endpoint of account 123456789012 not found."),
        ("ResourceNotFoundException", "Could not resolve the foundation model from the model identifier: x"),
    ],
)
def test_a_model_that_is_not_there(code, message):
    assert type(error_for(code, message)) is ModelNotFoundError


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("ExpiredTokenException", "The security token included in the request is expired", "aws sso login"),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", "access key"),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier", "clock"),
        ("MissingAuthenticationToken", "Missing Authentication Token", "no credentials"),
        ("AccessDeniedException", "You don't have access to the model with the specified model ID.", "request access"),
        (
            "ValidationException",
            "Invocation of model ID anthropic.x with on-demand throughput isn\u2019t supported. Retry your request "
            "with the ID or ARN of an inference profile that contains this model.",
            "inference profile in place of the model",
        ),
        ("AccessDeniedException", "The security token has expired", "aws sso login"),
    ],
)
def test_the_message_names_the_fix(code, message, hint):
    error = error_for(code, message)
    assert message.rstrip(".") in error.message
    assert hint in error.message


@pytest.mark.parametrize("status", [302, 400, 403, 404])
def test_a_page_in_place_of_an_error(status):
    page = b"<!DOCTYPE html><html><head><title>\n 403  Forbidden </title></head><body><h1>Blocked</h1></body>"
    error = decode_error(status, {"content-type": "text/html; charset=utf-8", "server": "squid"}, page)
    assert isinstance(error, ConfigurationError)
    assert "<" not in error.message
    for word in (str(status), "'403 Forbidden'", "squid", "proxy", "endpoint URL"):
        assert word in error.message


@pytest.mark.parametrize(("status", "kind"), [(408, ModelTimeoutError), (429, ThrottlingError), (502, ServerError)])
def test_a_page_that_may_go_away(status, kind):
    error = decode_error(status, {}, b"<html>Bad gateway</html>")
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b"", "empty body"),
        (b"\xff\xfe", "HTTP 503"),
        (b"[1,2]", "[1,2]"),
        (b'{"message":5}', "no message"),
        (b"[" * 100_000, "HTTP 503"),
    ],
)
def test_a_body_that_is_no_error_object(body, expected):
    error = decode_error(503, {}, body)
    assert type(error) is ServerError
    assert expected in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"x-amz-retry-after": "250"}, 0.25),
        ({"x-amz-retry-after": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 1 Jan 2030 00:00:00 +99999999999999999999"}, None),
        ({"retry-after": "Mon, 1 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 99 Foo 2030 99:99:99 -9999"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
    ],
)
def test_when_to_try_again(headers, seconds):
    assert decode_error(429, headers, b"{}").retry_after == seconds


def test_when_to_try_again_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    seconds = decode_error(503, {"retry-after": date}, b"{}").retry_after
    assert seconds is not None
    assert 3000 < seconds <= 3600


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (ValidationError("m"), 400, "ValidationException"),
        (UnsupportedError("m"), 400, "ValidationException"),
        (ContextWindowError("m"), 400, "ValidationException"),
        (AccessDeniedError("m"), 403, "AccessDeniedException"),
        (ModelNotFoundError("m"), 404, "ResourceNotFoundException"),
        (ThrottlingError("m"), 429, "ThrottlingException"),
        (ModelNotReadyError("m"), 429, "ModelNotReadyException"),
        (ModelTimeoutError("m"), 408, "ModelTimeoutException"),
        (ConnectError("m"), 503, "ServiceUnavailableException"),
        (ServerError("m"), 500, "InternalServerException"),
        (ServerError("m", code="ModelErrorException"), 424, "ModelErrorException"),
        (ServerError("m", code="ModelError"), 500, "InternalServerException"),
        (StreamError("m"), 424, "ModelStreamErrorException"),
        (ConfigurationError("m"), 500, "InternalServerException"),
        (AwsllmError("m"), 500, "InternalServerException"),
    ],
)
def test_an_error_as_bedrock_writes_it(error, status, name):
    found_status, found_name, body = encode_error(error)
    assert (found_status, found_name) == (status, name)
    assert body["message"].endswith("m")


@pytest.mark.parametrize(
    "kind",
    [
        *(ValidationError, AccessDeniedError, ModelNotFoundError, ContextWindowError, ThrottlingError),
        *(ModelNotReadyError, ModelTimeoutError, ServerError),
    ],
)
def test_an_error_survives_the_wire(kind):
    status, name, body = encode_error(kind("it went wrong"))
    error = decode_error(status, {"x-amzn-errortype": name}, msgspec.json.encode(body))
    assert type(error) is kind
    assert "it went wrong" in error.message


def test_every_error_is_written_with_a_modelled_type():
    names = {shape.name for shape in shapes("bedrock-runtime")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AwsllmError)]
    assert all(encode_error(kind("m"))[1] in names for kind in kinds)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ThrottlingError("m"), "throttlingException"),
        (ModelNotReadyError("m"), "throttlingException"),
        (ModelTimeoutError("m"), "modelStreamErrorException"),
        (StreamError("m"), "modelStreamErrorException"),
        (ServerError("m"), "internalServerException"),
        (ServerError("m", code="ServiceUnavailableException"), "serviceUnavailableException"),
        (AccessDeniedError("m"), "validationException"),
        (ValidationError("m"), "validationException"),
    ],
)
def test_an_exception_inside_a_stream_has_one_of_the_five_names(error, name):
    stream = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).shape_for("ConverseStreamOutput")
    assert encode_exception(error) == (name, {"message": "m"})
    assert name in stream.members


@given(
    st.integers(300, 599),
    st.dictionaries(
        st.sampled_from(["content-type", "x-amzn-errortype", "retry-after", "server"]), st.text(max_size=30)
    ),
    st.binary(max_size=60),
)
def test_any_answer_gives_a_typed_error(status, headers, body):
    assert isinstance(decode_error(status, headers, body), AwsllmError)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/html"}, b"<title" * 1_000_000),
        ({}, b'{"message": "%s"}' % (b"model id " * 1_000_000)),
        ({}, b'{"message": "%s"}' % (b"endpoint " * 1_000_000)),
    ],
    ids=["a page", "a sentence", "another"],
)
def test_a_long_error_takes_no_time_to_read(headers: dict[str, str], body: bytes) -> None:
    """The processor's time; a search that takes the square of the page's length would take hours."""
    began = time.thread_time()
    assert decode_error(502, headers, body).status == 502
    assert time.thread_time() - began < 10
