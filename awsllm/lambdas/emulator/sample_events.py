"""An event of each kind of trigger, as AWS sends it, small and with values made for the moment.

Their shapes are those of the services' own documents: "Set up Lambda proxy integrations" and "WebSocket API" (API
Gateway), "Invoking function URLs", "Lambda functions as targets" (Elastic Load Balancing), "Using Lambda with Amazon
SQS" and "S3", "Amazon S3 event message structure" and "EventBridge", "Monitor job state changes" (Bedrock), "Wait for a
callback with the task token" (Step Functions), each read in November 2026.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from hashlib import md5

from awsllm.errors import ConfigurationError
from awsllm.types import JsonObject

_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_ADDRESS = "203.0.113.7"  # of the block that documents may use
_AGENT = "curl/8.5.0"


def sample(name: str, body: str | None = None, path: str = "/") -> JsonObject:
    """The event of that name; ``body`` is what its caller sent, a question unless it is given."""
    make = SAMPLES.get(name)
    if make is None:
        raise ConfigurationError(f"there is no event {name!r}; there are {', '.join(SAMPLES)}")
    return make(json.dumps({"message": "Say hello."}) if body is None else body, path)


def _rest(body: str, path: str) -> JsonObject:
    host, now = f"{_id()}.execute-api.{_REGION}.amazonaws.com", time.time()
    headers = _headers(host)
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {key: [value] for key, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": _ACCOUNT,
            "apiId": host.partition(".")[0],
            "domainName": host,
            "extendedRequestId": secrets.token_urlsafe(9),
            "httpMethod": "POST",
            "identity": {"sourceIp": _ADDRESS, "userAgent": _AGENT, "userArn": None},
            "path": f"/prod{path}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "requestTimeEpoch": int(now * 1000),
            "resourceId": _id(),
            "resourcePath": "/{proxy+}",
            "stage": "prod",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _http(body: str, path: str) -> JsonObject:
    return _format_2(f"{_id()}.execute-api.{_REGION}.amazonaws.com", _ACCOUNT, body, path)


def _url(body: str, path: str) -> JsonObject:
    return _format_2(f"{_id()}.lambda-url.{_REGION}.on.aws", "anonymous", body, path)


def _format_2(host: str, account: str, body: str, path: str) -> JsonObject:
    now = time.time()
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": _headers(host),
        "requestContext": {
            "accountId": account,
            "apiId": host.partition(".")[0],
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": _ADDRESS,
                "userAgent": _AGENT,
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _alb(body: str, path: str) -> JsonObject:
    group = f"arn:aws:elasticloadbalancing:{_REGION}:{_ACCOUNT}:targetgroup/chat/{secrets.token_hex(8)}"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": "POST",
        "path": path,
        "queryStringParameters": {},
        "headers": {**_headers(f"chat.{_REGION}.elb.amazonaws.com"), "x-forwarded-for": _ADDRESS},
        "body": body,
        "isBase64Encoded": False,
    }


def _alb_multi(body: str, path: str) -> JsonObject:
    event = _alb(body, path)
    headers, _ = event.pop("headers"), event.pop("queryStringParameters")
    lists = {key: [value] for key, value in headers.items()}
    return {**event, "multiValueHeaders": lists, "multiValueQueryStringParameters": {}}


def _websocket(body: str, path: str) -> JsonObject:
    now = int(time.time() * 1000)
    return {
        "requestContext": {
            "routeKey": "$default",
            "eventType": "MESSAGE",
            "messageDirection": "IN",
            "messageId": secrets.token_urlsafe(11),
            "connectionId": secrets.token_urlsafe(11),
            "connectedAt": now - 1000,
            "requestTimeEpoch": now,
            "requestId": secrets.token_urlsafe(11),
            "domainName": f"{_id()}.execute-api.{_REGION}.amazonaws.com",
            "stage": "prod",
            "apiId": _id(),
            "identity": {"sourceIp": _ADDRESS, "userAgent": _AGENT},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _sqs(body: str, path: str) -> JsonObject:
    now = str(int(time.time() * 1000))
    attributes = {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": now,
        "SenderId": _ACCOUNT,
        "ApproximateFirstReceiveTimestamp": now,
    }
    record = {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": secrets.token_urlsafe(24),
        "body": body,
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:work",
        "awsRegion": _REGION,
    }
    return {"Records": [record]}


def _s3(body: str, path: str) -> JsonObject:
    what = {
        "s3SchemaVersion": "1.0",
        "configurationId": "documents",
        "bucket": {"name": "documents", "ownerIdentity": {"principalId": "A1"}, "arn": "arn:aws:s3:::documents"},
        "object": {"key": "in/my+letter.txt", "size": 1024, "eTag": secrets.token_hex(16), "sequencer": "0055AED6DCD9"},
    }
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": _REGION,
        "eventTime": _now(),
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:A1"},
        "requestParameters": {"sourceIPAddress": _ADDRESS},
        "responseElements": {"x-amz-request-id": secrets.token_hex(8), "x-amz-id-2": secrets.token_hex(16)},
        "s3": what,
    }
    return {"Records": [record]}


def _s3_eventbridge(body: str, path: str) -> JsonObject:
    detail = {
        "version": "0",
        "bucket": {"name": "documents"},
        "object": {"key": "in/my letter.txt", "size": 1024, "etag": secrets.token_hex(16), "sequencer": "0055AED6DCD9"},
        "request-id": secrets.token_hex(8),
        "requester": _ACCOUNT,
        "source-ip-address": _ADDRESS,
        "reason": "PutObject",
    }
    return _eventbridge("aws.s3", "Object Created", "arn:aws:s3:::documents", detail)


def _batch(body: str, path: str) -> JsonObject:
    arn = f"arn:aws:bedrock:{_REGION}:{_ACCOUNT}:model-invocation-job/{secrets.token_hex(6)}"
    detail = {
        "version": "0.0",
        "accountId": _ACCOUNT,
        "batchJobName": "nightly",
        "batchJobArn": arn,
        "batchModelId": "amazon.nova-lite-v1:0",
        "status": "Completed",
        "failureMessage": "",
        "creationTime": time.strftime("%b %d, %Y, %I:%M:%S %p", time.gmtime()),
    }
    return _eventbridge("aws.bedrock", "Batch Inference Job State Change", arn, detail)


def _eventbridge(source: str, kind: str, resource: str, detail: JsonObject) -> JsonObject:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": source,
        "account": _ACCOUNT,
        "time": _now(),
        "region": _REGION,
        "resources": [resource],
        "detail": detail,
    }


def _step(body: str, path: str) -> JsonObject:
    """A state that waits for a task token hands it on as its parameters say."""
    return {"taskToken": secrets.token_urlsafe(48), "input": json.loads(body)}


def _headers(host: str) -> dict[str, str]:
    return {"accept": "*/*", "content-type": "application/json", "host": host, "user-agent": _AGENT}


def _id() -> str:
    return secrets.token_hex(5)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


SAMPLES: dict[str, Callable[[str, str], JsonObject]] = {
    "rest": _rest,
    "http": _http,
    "url": _url,
    "alb": _alb,
    "alb-multi": _alb_multi,
    "websocket": _websocket,
    "sqs": _sqs,
    "s3": _s3,
    "s3-eventbridge": _s3_eventbridge,
    "batch": _batch,
    "step": _step,
}
"""By what triggers a function: each takes the caller's body and path, which not all have."""
