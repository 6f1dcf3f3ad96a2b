"""What is not served, said in the protocol that was spoken: a client of any service of AWS reads a code and a message.

A program is told which operation it asked for, of which service, and what of the service would be answered.
The forms are those that botocore's parsers read, the codes AWS's own for an operation that does not exist. S3's refusal
is a 501: a program that asks whether a bucket exists takes a 404 for a no.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from xml.sax.saxutils import escape

import msgspec

from awsllm.errors import AwsllmError
from awsllm.server.services import meant, protocol
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.work import Incoming, Reply
from awsllm.wire.errors import encode_error

SERVED = {
    "bedrock-runtime": "Converse, ConverseStream, CountTokens, InvokeModel, InvokeModelWithResponseStream, "
    "InvokeModelWithBidirectionalStream, StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes, ApplyGuardrail, "
    "InvokeGuardrailChecks, and the /openai/v1 and /anthropic/v1 routes",
    "bedrock-agent-runtime": "Retrieve, RetrieveAndGenerate, RetrieveAndGenerateStream, AgenticRetrieveStream, Rerank, "
    "GenerateQuery, OptimizePrompt, InvokeAgent and InvokeInlineAgent",
    "sagemaker-runtime": "InvokeEndpoint, InvokeEndpointWithResponseStream and InvokeEndpointAsync",
}
"""What is served of the runtimes."""
_OTHERS = "Of this service is served what moto has of it, and of Bedrock and SageMaker what awsllm has."


def unserved(incoming: Incoming) -> Reply:
    """The refusal of a request that no operation here is meant by."""
    if vendor := next((surface for surface in (anthropic, openai) if surface.is_meant(incoming)), None):
        refusal: Reply = vendor.unserved(incoming)
        return refusal
    form = _FORMS[protocol(incoming)]
    service, operation = meant(incoming)
    what = operation or f"{incoming.method} {incoming.path[:200]}"
    named = f"{what} of {service.full_name} ({service.name})" if service else what
    served = SERVED.get(service.name) if service else None
    told = f"Served of it are {served}." if served else _OTHERS
    return form.write(incoming, form.status, form.code, f"{named} is not served here. {told}")


def failure(incoming: Incoming, error: AwsllmError) -> Reply:
    """Another refusal of such a request, with the codes of Bedrock."""
    status, code, body = encode_error(error)
    return refusal(incoming, status, code, body["message"])


def refusal(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    """A refusal with exactly this code, in the protocol that was spoken."""
    return _FORMS[protocol(incoming)].write(incoming, status, code, message)


def unsigned(incoming: Incoming, error: AwsllmError) -> Reply:
    """The refusal of a signature, which every service of AWS writes with the same codes."""
    code = error.code or "AccessDeniedException"
    return _FORMS[protocol(incoming)].write(incoming, error.status or 403, code, error.message)


# --- forms -----------------------------------------------------------------------------------------------------------


def _json(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    content_type = incoming.headers.get("content-type", "application/x-amz-json-1.1")
    return Reply(status, {"Content-Type": content_type}, msgspec.json.encode({"__type": code, "message": message}))


def _rest_json(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": code}
    return Reply(status, headers, msgspec.json.encode({"message": message, "__type": code}))


def _query(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    inner = f"<Error><Type>Sender</Type>{_code_and_message(code, message)}</Error>"
    return _xml(status, f"<ErrorResponse>{inner}</ErrorResponse>")


def _ec2(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    return _xml(status, f"<Response><Errors><Error>{_code_and_message(code, message)}</Error></Errors></Response>")


def _rest_xml(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    """The form of S3, which the others' clients read too."""
    return _xml(status, f"<Error>{_code_and_message(code, message)}</Error>")


def _cbor(incoming: Incoming, status: int, code: str, message: str) -> Reply:
    members = [("__type", code), ("message", message)]
    body = bytes([0xA0 | len(members)]) + b"".join(_cbor_text(text) for member in members for text in member)
    return Reply(status, {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}, body)


def _code_and_message(code: str, message: str) -> str:
    return f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"


def _xml(status: int, document: str) -> Reply:
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + document
    return Reply(status, {"Content-Type": "text/xml"}, text.encode())


def _cbor_text(text: str) -> bytes:
    """A CBOR text string (RFC 8949, major type 3) with its length in one or two bytes."""
    data = text.encode()
    return (bytes([0x78, len(data)]) if len(data) < 256 else b"\x79" + len(data).to_bytes(2, "big")) + data


class _Form(NamedTuple):
    """How a protocol writes a refusal, and what it says of an operation that it does not know."""

    write: Callable[[Incoming, int, str, str], Reply]
    status: int
    code: str


_FORMS = {
    "json": _Form(_json, 400, "UnknownOperationException"),
    "rest-json": _Form(_rest_json, 404, "UnknownOperationException"),
    "smithy-rpc-v2-cbor": _Form(_cbor, 400, "UnknownOperationException"),
    "query": _Form(_query, 400, "InvalidAction"),
    "ec2": _Form(_ec2, 400, "InvalidAction"),
    "rest-xml": _Form(_rest_xml, 501, "NotImplemented"),
}
