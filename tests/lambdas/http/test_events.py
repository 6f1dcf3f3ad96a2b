"""Each front door's event is read, and answered in that door's shape. Powertools' own event classes read the same."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import (
    ALBEvent,
    APIGatewayProxyEvent,
    APIGatewayProxyEventV2,
    LambdaFunctionUrlEvent,
)
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import UnsupportedError
from awsllm.lambdas.http.events import FrontReply, FrontRequest, UnknownEventError, json_reply, read, write
from tests.support.lambdas import event

BODY = {"message": "Say hello."}
DOORS = [("rest", "rest"), ("http", "http"), ("url", "url"), ("alb", "alb"), ("alb_multi", "alb")]
SUB = "8f1c2d3e-0000-4000-8000-000000000001"
ROLE = "arn:aws:sts::111122223333:assumed-role/App/ann"


@pytest.mark.parametrize(("name", "door"), DOORS)
def test_a_request_is_the_same_through_each_door(name: str, door: str) -> None:
    front = read(event(name))
    assert (front.door, front.method, front.path) == (door, "POST", "/chat")
    assert json.loads(front.body) == BODY
    assert front.query["q"] == ("a b",)
    assert front.query["tag"] == (("b",) if name == "alb" else ("a", "b"))  # a single-value door keeps the last
    assert front.headers["content-type"] == "application/json"
    assert front.headers["x-trace"].replace(" ", "") == ("two" if name == "alb" else "one,two")
    assert front.cookies == {"theme": "dark", "id": "7"}
    assert front.source_ip == "203.0.113.9"  # behind a load balancer: what it saw, not what the client claims
    assert front.request_id


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("rest", None),
        ("rest_iam", ROLE),
        ("rest_cognito", SUB),
        ("rest_lambda_authorizer", "user|a1b2c3d4"),
        ("http", None),
        ("http_jwt", SUB),
        ("http_iam", ROLE),
        ("http_lambda_authorizer", "user|a1b2c3d4"),
        ("url", None),
        ("url_iam", "arn:aws:iam::111122223333:user/ann"),
        ("alb", None),  # its x-amzn-oidc-identity may be the client's own word
    ],
)
def test_the_caller_is_whom_the_door_authenticated(name: str, caller: str | None) -> None:
    assert read(event(name)).caller == caller


def test_a_person_of_an_identity_pool_is_more_than_the_role_of_all() -> None:
    rest, http = event("rest_iam"), event("http_iam")
    rest["requestContext"]["identity"]["cognitoIdentityId"] = "us-east-1:ann"
    http["requestContext"]["authorizer"]["iam"]["cognitoIdentity"] = {"amr": [], "identityId": "us-east-1:ann"}
    assert read(rest).caller == read(http).caller == "us-east-1:ann"


@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("rest", APIGatewayProxyEvent),
        ("http", APIGatewayProxyEventV2),
        ("url", LambdaFunctionUrlEvent),
        ("alb", ALBEvent),
    ],
)
def test_powertools_reads_the_same(name: str, judge: Any) -> None:
    front, theirs = read(event(name)), judge(event(name))
    assert (front.method, front.path) == (theirs.http_method, theirs.path)
    assert json.loads(front.body) == theirs.json_body
    assert front.headers["content-type"] == theirs.headers["Content-Type"]


def test_a_stage_is_no_part_of_the_path() -> None:
    assert read(event("http", rawPath="/prod")).path == "/"
    assert read(event("http", rawPath="/production")).path == "/production"
    assert read(event("http", rawPath="/chat")).path == "/chat"  # by a custom domain name


def test_a_query_value_may_be_empty_or_hold_an_equals_sign() -> None:
    front = read(event("http", rawQueryString="empty=&next=a%3Db%3D&plus=a+b"))
    assert front.query == {"empty": ("",), "next": ("a=b=",), "plus": ("a b",)}


def test_a_console_test_without_headers_is_read() -> None:
    bare = event("rest", headers=None, multiValueHeaders=None, queryStringParameters=None, body=None)
    del bare["multiValueQueryStringParameters"]
    front = read(bare)
    assert (front.headers, front.query, front.body) == ({}, {}, b"")


def test_a_repr_tells_no_prompt() -> None:
    front = read(event("rest"))
    assert "hello" not in repr(front)
    assert "secret" not in repr(FrontReply(200, {}, b"secret"))


@pytest.mark.parametrize(
    "stray",
    [
        None,
        [],
        "text",
        {},
        {"version": "2.0"},
        {"version": "2.0", "requestContext": {"http": {}}},
        {"httpMethod": "GET"},
        {"httpMethod": 1, "path": "/"},
        {"requestContext": {"connectionId": "abc", "routeKey": "$connect"}},
    ],
)
def test_an_event_of_no_door_is_told(stray: Any) -> None:
    with pytest.raises(UnknownEventError):
        read(stray)


def test_other_sources_are_no_doors() -> None:
    for name in ("sqs", "websocket_connect", "websocket_disconnect", "websocket_message"):
        with pytest.raises(UnknownEventError, match="trigger"):
            read(event(name))


def test_what_is_no_base64_is_told() -> None:
    with pytest.raises(UnknownEventError, match="base64"):
        read(event("rest", body="%%%", isBase64Encoded=True))


def test_half_a_surrogate_pair_is_a_body_like_any() -> None:
    assert read(event("rest", body="\ud83d")).body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = (
    *("version", "requestContext", "http", "httpMethod", "path", "rawPath", "headers", "multiValueHeaders", "body"),
    *("isBase64Encoded", "cookies", "rawQueryString", "queryStringParameters", "multiValueQueryStringParameters"),
)


@given(JSON | st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=8))
def test_any_json_is_read_or_told(value: Any) -> None:
    with contextlib.suppress(UnknownEventError):
        assert isinstance(read(value), FrontRequest)


@given(st.sampled_from([name for name, _ in DOORS]), st.data())
def test_a_spoiled_event_is_read_or_told(name: str, data: st.DataObject) -> None:
    """Members at any depth replaced by anything at all."""
    spoiled = event(name)
    around = spoiled["requestContext"]
    for where in (spoiled, around, around.get("http"), around.get("identity")):
        if isinstance(where, dict) and where:
            for member in data.draw(st.lists(st.sampled_from(sorted(where)), max_size=3)):
                where[member] = data.draw(JSON)
    try:
        front = read(spoiled)
    except UnknownEventError:
        return
    assert isinstance(write(front, json_reply(200, {})), dict)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rest", {"headers": {"a": "b", "content-type": "application/json"}}),
        ("http", {"headers": {"a": "b", "content-type": "application/json"}}),
        ("url", {"headers": {"a": "b", "content-type": "application/json"}}),
        (
            "alb",
            {"headers": {"a": "b", "content-type": "application/json"}, "statusDescription": "429 Too Many Requests"},
        ),
        (
            "alb_multi",
            {
                "multiValueHeaders": {"a": ["b"], "content-type": ["application/json"]},
                "statusDescription": "429 Too Many Requests",
            },
        ),
    ],
)
def test_a_reply_has_its_doors_shape(name: str, expected: dict[str, Any]) -> None:
    reply = FrontReply(429, {"a": "b", "content-type": "application/json"}, '{"x":"é"}'.encode())
    written = write(read(event(name)), reply)
    assert written == {"statusCode": 429, "body": '{"x":"é"}', "isBase64Encoded": False, **expected}


def test_cookies_go_where_each_door_takes_them() -> None:
    reply = FrontReply(200, {}, b"", ("a=1; Secure", "b=2"))
    assert write(read(event("rest")), reply)["multiValueHeaders"] == {"set-cookie": ["a=1; Secure", "b=2"]}
    assert write(read(event("http")), reply)["cookies"] == ["a=1; Secure", "b=2"]
    assert write(read(event("alb_multi")), reply)["multiValueHeaders"]["set-cookie"] == ["a=1; Secure", "b=2"]
    assert write(read(event("alb")), FrontReply(200, {}, b"", ("a=1",)))["headers"] == {"set-cookie": "a=1"}
    with pytest.raises(UnsupportedError, match="multi_value_headers"):
        write(read(event("alb")), reply)


def test_bytes_that_are_no_text_travel_as_base64() -> None:
    written = write(read(event("url")), FrontReply(200, {"content-type": "image/png"}, b"\x89PNG\xff"))
    assert written["isBase64Encoded"] is True
    assert base64.b64decode(written["body"]) == b"\x89PNG\xff"
    broken = write(read(event("url")), FrontReply(200, {"content-type": "text/plain"}, b"\xff"))
    assert base64.b64decode(broken["body"]) == b"\xff"


def test_head_is_answered_without_a_body() -> None:
    written = write(read(event("rest", httpMethod="HEAD")), FrontReply(200, {"content-type": "image/png"}, b"\xff"))
    assert (written["body"], written["isBase64Encoded"]) == ("", False)
