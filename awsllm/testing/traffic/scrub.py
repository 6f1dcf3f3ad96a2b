"""Takes out of an exchange what must not reach the disk: keys, tokens, signatures, passwords, account ids."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from awsllm.policy.redaction import SCRUBBED
from awsllm.testing.traffic.exchange import RecordedExchange, RecordedRequest, RecordedResponse
from awsllm.testing.traffic.scrub_streams import scrub_chunks
from awsllm.testing.traffic.scrubber import Scrubber
from awsllm.testing.traffic.secret_names import is_secret, is_secret_parameter


def scrub_exchange(exchange: RecordedExchange, scrubber: Scrubber) -> RecordedExchange:
    """``exchange`` without secrets."""
    request, response = exchange.request, exchange.response
    return RecordedExchange(
        _request(request, scrubber), None if response is None else _response(response, scrubber, request.service)
    )


def secrets_of(headers: Mapping[str, str]) -> Iterator[str]:
    """What the headers of a request say of who signed it."""
    for name, value in headers.items():
        if is_secret(name):
            yield value
            yield value.rpartition(" ")[2]
            yield from re.findall(r"(?:Credential=|Signature=)([^/,\s]+)", value)


def _request(request: RecordedRequest, scrubber: Scrubber) -> RecordedRequest:
    return msgspec.structs.replace(
        request,
        path=scrubber.text(request.path),
        query={
            scrubber.text(name): [SCRUBBED if is_secret_parameter(name) else scrubber.text(value) for value in values]
            for name, values in request.query.items()
        },
        headers=_headers(request.headers, scrubber),
        body=_body(request.form, request.body, scrubber, request.service),
    )


def _response(response: RecordedResponse, scrubber: Scrubber, service: str) -> RecordedResponse:
    headers = _headers(response.headers, scrubber)
    body = _body(response.form, response.body, scrubber, service)
    if body != response.body:  # a sum over what was there would not hold
        headers = {name: each for name, each in headers.items() if not name.startswith("x-amz-checksum-")}
    return msgspec.structs.replace(response, headers=headers, body=body)


def _headers(headers: Mapping[str, str], scrubber: Scrubber) -> dict[str, str]:
    return {name: scrubber.text(value) for name, value in headers.items() if not is_secret(name)}


def _body(form: str, body: Any, scrubber: Scrubber, service: str) -> Any:
    match form:
        case "json":
            return _decrypted(scrubber.value(body)) if service == "kms" else scrubber.value(body)
        case "pairs":
            return {name: _pair(name, value, scrubber) for name, value in body.items()}
        case "text":
            return scrubber.text(body)
        case "base64":
            return _masked(body, scrubber)
        case "stream":
            return scrub_chunks(body, scrubber)
        case _:
            return body


def _decrypted(body: Any) -> Any:
    """KMS's keys and messages in the clear."""
    if not isinstance(body, dict):
        return body
    return {name: SCRUBBED if name in ("Plaintext", "PrivateKeyPlaintext") else each for name, each in body.items()}


def _pair(name: str, value: str, scrubber: Scrubber) -> str:
    return SCRUBBED if value and is_secret_parameter(name.rpartition(".")[2]) else scrubber.text(value)


def _masked(encoded: str, scrubber: Scrubber) -> str:
    data = base64.b64decode(encoded)
    masked = scrubber.data(data)
    return encoded if masked == data else base64.b64encode(masked).decode()
