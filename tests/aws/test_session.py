"""Region, endpoint, credentials and signature, judged by boto3: what it would send, where, and signed how."""

from __future__ import annotations

import configparser
import datetime
import itertools
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlsplit

import boto3
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from awsllm.aws.call import HttpRequest, HttpResponse
from awsllm.aws.control import client as control_client
from awsllm.aws.endpoints import Endpoint, normalize_region
from awsllm.aws.session import AwsSession, Credentials, SessionConfig
from awsllm.aws.signing import Origin, SignedRequest, add_sigv4, sign, split_url
from awsllm.aws.tls import Route
from awsllm.errors import AccessDeniedError, ConfigurationError
from tests.support.boto3_requests import QUERY_ANSWER

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "bedrock-runtime": ("converse", {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "e", "Body": b"{}"}),
    "bedrock-agent-runtime": ("retrieve", {"knowledgeBaseId": "ABCDEFGHIJ", "retrievalQuery": {"text": "hi"}}),
    "sagemaker-inference-router-runtime": (
        "invoke_inference_router",
        {"InferenceRouterName": "r", "RoutingTargetName": "t", "Body": b"{}"},
    ),
    "dynamodb": ("get_item", {"TableName": "t", "Key": {"pk": {"S": "k"}}}),
    "sqs": ("list_queues", {}),
    "sts": ("get_caller_identity", {}),
    "ssm": ("get_parameter", {"Name": "n"}),
    "secretsmanager": ("get_secret_value", {"SecretId": "s"}),
    "stepfunctions": ("list_state_machines", {}),
}
PATHS = {
    "bedrock-runtime": "/model/m/converse",
    "sagemaker-runtime": "/endpoints/e/invocations",
    "bedrock-agent-runtime": "/knowledgebases/ABCDEFGHIJ/retrieve",
    "sagemaker-inference-router-runtime": "/inference-routers/r/invocations",
    **dict.fromkeys(("dynamodb", "sqs", "ssm", "sts", "secretsmanager", "stepfunctions"), "/"),
}
LOADER = Loader()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without AWS settings, and a home without files."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def write_config(home: Path, sections: dict[str, dict[str, str]], name: str = "config") -> None:
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    folder = home / ".aws"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        parser.write(file)


def boto3_session(profile: str | None = None, region: str | None = None) -> boto3.Session:
    """A session like any other, but that reading models and rules, which takes the time, is done once."""
    core = botocore.session.Session(profile=profile)
    core.register_component("data_loader", LOADER)
    return boto3.Session(botocore_session=core, region_name=region)


def boto3_request(service: str, session: Any = None, **options: Any) -> AWSPreparedRequest:
    """The request that boto3 would send, or BotoCoreError."""
    session = session or boto3_session(profile=options.pop("profile", None))
    client = session.client(service, **options)
    sent: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        raw = mock.Mock(stream=lambda: iter([QUERY_ANSWER if service == "sts" else b"{}"]))
        return AWSResponse(request.url, 200, {}, raw)

    client.meta.events.register("before-send", answer)
    operation, arguments = CALLS[service]
    getattr(client, operation)(**arguments)
    return sent[0]


def boto3_origin(service: str, **options: Any) -> tuple[str, str]:
    """Base URL and credential scope (region/service) as boto3 would use them; two empty strings where it refuses."""
    try:
        request = boto3_request(service, **options)
    except (BotoCoreError, ValueError):
        return "", ""
    path = PATHS[service]
    authorization = request.headers["Authorization"]
    authorization = authorization.decode() if isinstance(authorization, bytes) else authorization
    scope = authorization.split("Credential=")[1].split(",")[0].split("/") if "Credential=" in authorization else []
    return request.url.removesuffix(path), "/".join(scope[2:4])


def our_origin(service: str, **options: Any) -> tuple[str, str]:
    try:
        endpoint = AwsSession(**options).endpoint(service)
    except ConfigurationError:
        return "", ""
    return endpoint.url, f"{endpoint.region}/{endpoint.signing_name}"


# One region of each partition, then more of the commercial one, names that ask for FIPS, and unknown ones.
PARTITIONS = [
    "us-east-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1", "us-west-2-fips",
]  # fmt: skip
REGIONS = [
    *PARTITIONS, "eu-central-2", "ap-southeast-7", "mx-central-1", "il-central-1", "eu-isoe-west-1", "us-isof-south-1",
    "fips-us-east-1", "xx-nowhere-9", "us-newer-12",
]  # fmt: skip


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(("fips", "dual_stack"), list(itertools.product(["", "true"], repeat=2)))
def test_endpoints_equal_boto3s(service: str, fips: str, dual_stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fips:
        monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    if dual_stack:
        monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    for region in PARTITIONS if fips or dual_stack else REGIONS:
        expected = boto3_origin(service, region_name=region)
        assert expected != ("", "")
        assert our_origin(service, region=region) == expected, region
        assert our_origin(service, session=boto3_session(region=region)) == expected, region


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:8900"},
        {"AWS_ENDPOINT_URL": "https://gateway.example/base/"},
        {"AWS_ENDPOINT_URL": "https://[::1]:8443"},
        {"AWS_ENDPOINT_URL": "https://Example.COM:443"},
        {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://b"},
        {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": "http://c/"},
        {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://s", "AWS_ENDPOINT_URL_SFN": "http://f"},
        {"AWS_ENDPOINT_URL_BEDROCK": "http://for-the-control-plane"},
        {"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"},
        {"AWS_ENDPOINT_URL": "http://a", "AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_ENDPOINT_URL": "http://a", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_ENDPOINT_URL": "no-scheme.example"},
        {"AWS_ENDPOINT_URL": ""},
        {"AWS_USE_FIPS_ENDPOINT": "yes"},
        {"AWS_DEFAULT_REGION": "not a region"},
    ],
    ids=lambda value: ",".join(f"{k[4:]}={v}" for k, v in value.items()),
)
def test_environment_settings_equal_boto3s(
    service: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = boto3_origin(service)
    assert our_origin(service) == (expected[0].rstrip("/"), expected[1])
    assert AwsSession().botocore is None
    given = boto3_origin(service, endpoint_url="https://given.example")
    assert our_origin(service, endpoint_url="https://given.example") == given


PROFILES = {
    "default": {"region": "eu-north-1"},
    "profile plain": {"region": "us-west-2", "endpoint_url": "http://plain.example"},
    "profile fips": {"region": "us-gov-east-1", "use_fips_endpoint": "true"},
    "profile dual": {"region": "ap-south-1", "use_dualstack_endpoint": "true"},
    "profile services": {"region": "us-east-2", "services": "mine", "endpoint_url": "http://general.example"},
    "profile ignoring": {"region": "us-east-2", "endpoint_url": "http://x", "ignore_configured_endpoint_urls": "true"},
    "profile dangling": {"region": "us-east-2", "services": "missing"},
    "services mine": {"bedrock_runtime": "\n  endpoint_url = http://bedrock.example"},
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("profile", [None, *(name.split()[1] for name in PROFILES if name.startswith("profile"))])
@pytest.mark.parametrize("by_environment", [False, True])
def test_profiles_equal_boto3s(
    service: str, profile: str | None, by_environment: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(home, PROFILES)
    write_config(home, {name: {"aws_access_key_id": "A", "aws_secret_access_key": "S"} for name in (
        "default", *(name.split()[1] for name in PROFILES if name.startswith("profile")))}, "credentials")  # fmt: skip
    options = {"profile": profile} if profile else {}
    if by_environment and profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
        options = {}
    assert our_origin(service, **options) == boto3_origin(service, **options)


def test_a_sessions_default_config_counts() -> None:
    core = botocore.session.Session()
    core.set_default_client_config(
        Config(region_name="us-west-1", use_fips_endpoint=True, client_cert="cert.pem", proxies={"https": "p:1"})
    )
    session = boto3.Session(botocore_session=core)
    assert our_origin("bedrock-runtime", session=session) == boto3_origin("bedrock-runtime", session=session)
    config = AwsSession(session=session).config
    assert (config.client_cert, config.proxies) == ("cert.pem", {"https": "p:1"})


def test_region_order(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--region.*AWS_REGION"):
        _ = AwsSession().region
    monkeypatch.setenv("AWS_REGION", "eu-west-3")  # what boto3 does not read
    assert AwsSession().region == "eu-west-3"
    write_config(home, {"default": {"region": "eu-west-2"}})
    assert AwsSession().region == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert AwsSession().region == "eu-west-1"
    assert AwsSession(region="us-east-2").region == "us-east-2"


def test_environment_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AwsSession().credentials() == Credentials(*KEYS.values())
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert AwsSession().credentials().token == "token"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY"):
        AwsSession().credentials()


def test_no_credentials_names_the_ways_to_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match="aws configure"):
        AwsSession(region="us-east-1").credentials()


def test_an_unknown_profile_is_named(home: Path) -> None:
    write_config(home, PROFILES)
    with pytest.raises(ConfigurationError, match="nosuch"):
        AwsSession(profile="nosuch").credentials()
    with pytest.raises(ConfigurationError, match="either"):
        AwsSession(profile="plain", session=boto3.Session())


def test_a_named_profile_goes_before_environment_keys(home: Path) -> None:
    write_config(home, {"other": {"aws_access_key_id": "A", "aws_secret_access_key": "S"}}, "credentials")
    assert AwsSession(profile="other").credentials() == Credentials("A", "S")
    assert AwsSession().credentials().access_key == KEYS["AWS_ACCESS_KEY_ID"]


def test_keys_are_refreshed_and_a_loop_is_told_when() -> None:
    refreshed: list[int] = []
    lifetime = [datetime.timedelta(minutes=1), datetime.timedelta(hours=6)]

    def refresh() -> dict[str, Any]:
        refreshed.append(1)
        expiry = datetime.datetime.now(datetime.UTC) + lifetime.pop(0)
        return {"access_key": f"A{len(refreshed)}", "secret_key": "S", "token": "T", "expiry_time": expiry.isoformat()}

    core = botocore.session.Session()
    core._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    session = AwsSession(session=core, region="us-east-1")
    assert not session.is_ready("bedrock-runtime")
    session.endpoint("bedrock-runtime")
    assert not session.is_ready("bedrock-runtime")
    assert session.credentials().access_key == "A2"  # the first set was about to expire
    assert session.is_ready("bedrock-runtime")
    assert session.credentials().access_key == "A2"
    assert len(refreshed) == 2


def test_keys_that_cannot_be_renewed_say_so() -> None:
    core = botocore.session.Session()
    expired = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    core._credentials = RefreshableCredentials("A", "S", "T", expired, lambda: None, "sso")
    with pytest.raises(AccessDeniedError, match="log in again"):
        AwsSession(session=core).credentials()


def test_one_source_of_credentials_for_all_threads(home: Path) -> None:
    write_config(home, {"default": {"region": "us-east-1"}})
    session, seen = AwsSession(), []
    threads = [threading.Thread(target=lambda: seen.append(session.credentials())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [Credentials(*KEYS.values())] * 8


def test_bearer_as_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "secret-api-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    session = AwsSession()
    signed = sign(HttpRequest("bedrock-runtime", "POST", "/model/m/converse"), session)
    assert signed.headers["Authorization"] == _text(boto3_request("bedrock-runtime").headers["Authorization"])
    assert "X-Amz-Date" not in signed.headers
    assert session.endpoint("sagemaker-runtime").auth == "sigv4"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    if not botocore.__version__.startswith("1.43."):  # which sent the key in the clear
        assert boto3_origin("bedrock-runtime") == ("", "")
    with pytest.raises(ConfigurationError, match=r"https only.*unset AWS_BEARER_TOKEN_BEDROCK") as caught:
        sign(HttpRequest("bedrock-runtime", "POST", "/model/m/converse"), AwsSession())
    assert "secret-api-key" not in str(caught.value)


# --- bedrock-mantle, of which botocore has no model -------------------------------------------------------------------

MANTLE_REQUEST = HttpRequest(
    "bedrock-mantle", "POST", "/openai/v1/responses", {"Content-Type": "application/json"}, b"{}"
)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "us-gov-west-1"])
@pytest.mark.parametrize("dual_stack", ["", "true"])
def test_mantle_has_one_host_a_region(region: str, dual_stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    endpoint = AwsSession(region=region).endpoint("bedrock-mantle")
    assert (endpoint.url, endpoint.region) == (f"https://bedrock-mantle.{region}.api.aws", region)
    assert (endpoint.signing_name, endpoint.auth) == ("bedrock-mantle", "sigv4")


def test_mantle_has_no_fips_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    with pytest.raises(ConfigurationError, match="no FIPS endpoint"):
        AwsSession(region="us-east-1").endpoint("bedrock-mantle")


def test_a_call_of_mantle_is_signed_as_botocore_signs_it() -> None:
    session = AwsSession(region="us-east-1")
    signed = sign(MANTLE_REQUEST, session, clock=lambda: 0)
    headers = {name: value for name, value in signed.headers.items() if name not in ("Authorization", "User-Agent")}
    theirs = AWSRequest("POST", signed.url, headers, b"{}")
    theirs.context["timestamp"] = headers["X-Amz-Date"]
    keys = BotocoreCredentials(*KEYS.values())
    auth = SigV4Auth(keys, "bedrock-mantle", "us-east-1")
    text = auth.string_to_sign(theirs, auth.canonical_request(theirs))
    assert signed.headers["Authorization"].endswith(f"Signature={auth.signature(text, theirs)}")
    assert "/us-east-1/bedrock-mantle/aws4_request" in signed.headers["Authorization"]


def test_mantle_takes_the_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "k")
    signed = sign(MANTLE_REQUEST, AwsSession(region="us-east-1"))
    assert signed.headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"AWS_BEDROCK_BASE_URL": "https://h.example/openai/v1/"}, "https://h.example"),
        ({"AWS_BEDROCK_BASE_URL": "https://h.example/base/v1"}, "https://h.example/base"),
        ({"AWS_BEDROCK_BASE_URL": "https://h.example"}, "https://h.example"),
        ({"ANTHROPIC_BEDROCK_MANTLE_BASE_URL": "https://h.example/anthropic"}, "https://h.example"),
        (
            {"AWS_BEDROCK_BASE_URL": "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1"},
            "https://bedrock-mantle.us-east-1.api.aws",
        ),
        (
            {"AWS_ENDPOINT_URL_BEDROCK_MANTLE": "https://m.example", "AWS_BEDROCK_BASE_URL": "https://h.example"},
            "https://m.example",
        ),
        ({"AWS_ENDPOINT_URL": "https://all.example", "AWS_BEDROCK_BASE_URL": "https://h.example"}, "https://h.example"),
        ({"AWS_ENDPOINT_URL": "https://all.example"}, "https://all.example"),
        ({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://r.example"}, "https://bedrock-mantle.us-east-1.api.aws"),
    ],
)
def test_where_mantle_is_by_the_environment(
    environment: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_BEDROCK_MANTLE_BASE_URL", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert AwsSession(region="us-east-1").endpoint("bedrock-mantle").url == url
    assert AwsSession(region="us-east-1", endpoint_url="https://g.example").endpoint("bedrock-mantle").url == (
        "https://g.example"
    )
    runtime = environment.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME") or environment.get("AWS_ENDPOINT_URL")
    expected = runtime or "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert AwsSession(region="us-east-1").endpoint("bedrock-runtime").url == expected


def test_bearer_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "k")
    signed = sign(HttpRequest("bedrock-runtime", "POST", "/model/m/converse"), AwsSession(region="us-east-1"))
    assert signed.headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_ca_bundle(variable: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert AwsSession().config.verify is True
    monkeypatch.setenv(variable, "/bundle.pem")
    assert AwsSession().config.verify == "/bundle.pem"
    write_config(home, {"default": {"ca_bundle": "/other.pem"}})
    assert AwsSession().config.verify == ("/bundle.pem" if variable == "AWS_CA_BUNDLE" else "/other.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", " ")
    with pytest.raises(ConfigurationError, match="CA bundle"):
        _ = AwsSession().config


segment = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
header_value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
header_name = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,15}", fullmatch=True).filter(
    lambda name: (
        name.lower() not in ("host", "authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
    )
)


@given(
    segments=st.lists(st.sampled_from(["", ".", "..", "%3A", "~", "a b"]) | segment, max_size=6),
    query=st.sampled_from(["", "?b=2&a=1", "?a", "?a=%2F&a=1"]),
    headers=st.dictionaries(header_name, header_value, max_size=5),
    body=st.binary(max_size=50),
    token=st.none() | st.just("FwoGZXIvYXdzEXAMPLE//=="),
    base=st.sampled_from(["https://h.example", "http://127.0.0.1:8900", "https://[::1]:8443", "https://h.example:443"]),
)
def test_signatures_equal_botocores(
    segments: list[str], query: str, headers: dict[str, str], body: bytes, token: str | None, base: str
) -> None:
    target = "/" + "/".join(quote(segment, safe="") for segment in segments) + query
    headers = {name.lower(): value for name, value in headers.items()}
    theirs = AWSRequest("POST", f"{base}{target}", dict(headers), body)
    now = datetime.datetime(2026, 11, 23, 21, 41, 1, tzinfo=datetime.UTC)
    access, secret = KEYS.values()
    with mock.patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        SigV4Auth(BotocoreCredentials(access, secret, token), "bedrock", "eu-west-1").add_auth(theirs)
    origin, _ = split_url(base)
    ours = SignedRequest("POST", origin, target, {**headers, "Host": origin.authority}, body)
    endpoint = Endpoint("bedrock-runtime", base, "eu-west-1", "bedrock")
    add_sigv4(ours, Credentials(access, secret, token), endpoint, now.timestamp())
    added = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")
    assert {name: ours.headers.get(name) for name in added} == {name: theirs.headers[name] for name in added}


_NOT_SIGNED = ("authorization", "user-agent", "host")  # the last is there where awscrt signs


@pytest.mark.parametrize(
    "model",
    ["anthropic.claude-3-haiku-20240307-v1:0", "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.x:0", "m"],
)
def test_the_path_is_boto3s(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CALLS["bedrock-runtime"][1], "modelId", model)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    theirs = boto3_request("bedrock-runtime")
    path = urlsplit(theirs.url).path
    kept = {name: _text(value) for name, value in theirs.headers.items() if name.lower() not in _NOT_SIGNED}
    ours = SignedRequest("POST", split_url(theirs.url)[0], path, kept, theirs.body)
    ours.headers["Host"] = ours.origin.authority
    stamp = datetime.datetime.strptime(kept["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
    for name in (
        "Content-Length",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
    ):  # botocore adds them after it has signed
        ours.headers.pop(name)
    add_sigv4(ours, Credentials(*KEYS.values()), AwsSession().endpoint("bedrock-runtime"), stamp)
    assert ours.headers["Authorization"] == _text(theirs.headers["Authorization"])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_nothing_secret_in_a_repr() -> None:
    session = AwsSession(region="us-east-1")
    request = HttpRequest("bedrock-runtime", "POST", "/model/m/converse", {}, b"a private prompt")
    shown = f"{session!r} {session.credentials()!r} {sign(request, session)!r}"
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in shown
    assert "Signature" not in shown
    assert "private" not in shown


def test_the_environment_alone_loads_nothing_of_botocore() -> None:
    program = (
        "import sys\n"
        "from awsllm.aws.call import HttpRequest\n"
        "from awsllm.aws.http import HttpTransport\n"
        "from awsllm.aws.session import AwsSession\n"
        "from awsllm.aws.signing import sign\n"
        "session = AwsSession(region='us-east-1')\n"
        "HttpTransport(session)\n"
        "sign(HttpRequest('bedrock-runtime', 'POST', '/model/m/converse'), session)\n"
        "heavy = {'botocore', 'boto3', 'urllib3', 'asyncio', 'pydantic', 'tenacity'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_control_planes_use_the_same_session(monkeypatch: pytest.MonkeyPatch) -> None:
    session = AwsSession(region="eu-west-1", endpoint_url="http://127.0.0.1:8900")
    client = control_client("sagemaker", session)
    assert client.meta.region_name == "eu-west-1"
    assert client.meta.endpoint_url == "http://127.0.0.1:8900"
    assert control_client("sagemaker", session) is client
    given = boto3.Session(region_name="us-east-2")
    assert control_client("s3", AwsSession(session=given)).meta.region_name == "us-east-2"


@pytest.mark.parametrize(
    "value",
    [
        Credentials("AKIDEXAMPLE", "hunter2", "hunter2"),
        SessionConfig(profile_config={"aws_secret_access_key": "hunter2"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m/converse", {}, b"hunter2"),
        HttpResponse(200, {}, b"hunter2"),
        SignedRequest("POST", Origin("https", "h", 443), "/", {"Authorization": "hunter2"}, b"hunter2"),
        Route(Origin("https", "h", 443), ssl.create_default_context, ssl.create_default_context, "http://u:hunter2@p"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_traceback_of_rich_shows_no_secret(value: object) -> None:
    """Typer prints such tracebacks, and the locals of a frame with them."""
    assert "hunter2" not in pretty_repr(value)
    assert repr(value).partition("(")[0] == type(value).__name__


def test_what_is_no_region_is_named_and_not_repeated_at_length() -> None:
    with pytest.raises(ConfigurationError, match="is not a region name") as caught:
        normalize_region("no region" * 1000, fips=False, dual_stack=False)
    assert len(str(caught.value)) < 200
