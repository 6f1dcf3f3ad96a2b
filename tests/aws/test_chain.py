"""Configuration and credentials that are broken, each as botocore meets it: a typed error names the place and the fix,
and shows nothing secret; neither do the variables that an error carries along."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

import awsllm
from awsllm.aws import control
from awsllm.aws.call import Call, HttpRequest, HttpResponse, StreamCall
from awsllm.aws.http import HttpTransport
from awsllm.aws.session import AwsSession, Credentials
from awsllm.aws.signing import sign
from awsllm.backend import Attempt
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ModelTimeoutError,
    ThrottlingError,
    ValidationError,
)
from awsllm.jumpstart.hub.catalogue import Catalogue
from tests.support.loopback import Received, Response, serving

KEYS = "[default]\nregion = us-east-1\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hunter2\n"
REQUEST = HttpRequest("bedrock-runtime", "POST", "/model/m/converse")
MODEL = "bedrock:amazon.nova-lite-v1:0"
ONCE = awsllm.Policy(max_attempts=1)
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


def converse(kind: str = "sync", url: str = "http://127.0.0.1:9", text: str = "Hi", **options: Any) -> str:
    """One call as a user makes it."""
    if kind == "sync":
        with awsllm.Client(endpoint_url=url, policy=ONCE) as client:
            return client.converse(MODEL, text, **options).text

    async def within() -> str:
        async with awsllm.AsyncClient(endpoint_url=url, policy=ONCE) as client:
            return (await client.converse(MODEL, text, **options)).text

    return asyncio.run(within())


# --- files -----------------------------------------------------------------------------------------------------------

BROKEN_FILES = {
    "a byte order mark": (b"\xef\xbb\xbf" + KEYS.encode(), "byte order mark"),
    "UTF-16": (KEYS.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (KEYS.encode("utf-16-le"), "UTF-16"),
    "Latin-1": (b"# caf\xe9\n" + KEYS.encode(), "not UTF-8"),
    "no section": (b"aws_secret_access_key = hunter2\n", "line 1 is wrong"),
    "no value": (KEYS.encode() + b"hunter2\n", "line 5 is wrong"),
    "a name twice": (KEYS.encode() + b"region = hunter2\n", "line 5 is wrong"),
    "a nested line": (KEYS.encode() + b"s3 =\n  hunter2\n", "a line is wrong"),
}


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (name, variable)
        for name in BROKEN_FILES
        for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
        if (name, variable) != ("a nested line", "AWS_SHARED_CREDENTIALS_FILE")  # where botocore reads none
    ],
)
def test_a_broken_file_is_named_with_the_fix(
    name: str, variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, fix = BROKEN_FILES[name]
    (home / "broken").write_bytes(content)
    monkeypatch.setenv(variable, str(home / "broken"))
    for act in (converse, lambda: AwsSession().config, lambda: control.client("sagemaker")):
        with pytest.raises(ConfigurationError, match=fix) as caught:
            act()
        assert str(home / "broken") in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_a_file_with_line_ends_of_windows_is_read(home: Path) -> None:
    (home / ".aws" / "credentials").write_bytes(KEYS.replace("\n", "\r\n").encode())
    assert AwsSession().credentials() == Credentials("AKIDEXAMPLE", "hunter2")


# --- the chain -------------------------------------------------------------------------------------------------------

ANSWER = '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "hunter2", "Expiration": "%s"}'
PROCESSES = {
    "no JSON": ("echo hunter2", "not JSON"),
    "nothing": ("true", "not JSON"),
    "no object": ("echo '[]'", "expected form"),
    "no text": ('echo \'{"Version": 1, "AccessKeyId": 1, "SecretAccessKey": 2}\'', "expected form"),
    "no UTF-8": ("printf '\\377'", "utf-8"),
    "no keys": ("echo '{\"Version\": 1}'", "AccessKeyId"),
    "another version": ("echo '{\"Version\": 2}'", "version '2'"),
    "no date": (f"echo '{ANSWER % 'soon'}'", "Expiration|date|format"),
    "a failure": ("sh -c 'echo sign in first >&2; exit 1'", "sign in first"),
    "no program": ("/no/such/program --password x", "/no/such/program"),
    "an open quote": ("echo '", "quotation"),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_credential_process_that_fails(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, words = PROCESSES[name]
    (home / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    with pytest.raises(ConfigurationError, match=words) as caught:
        converse()
    assert "hunter2" not in str(caught.value)
    if name != "no text":  # botocore takes numbers for keys, and fails later
        assert f"credential_process of the profile ({home / 'config'})" in str(caught.value)
        assert "run its command by hand" in str(caught.value)


def test_a_credential_process_that_gives_stale_keys(home: Path) -> None:
    stale = ANSWER % "2001-01-01T00:00:00Z"
    (home / ".aws" / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = echo '{stale}'\n")
    with pytest.raises(AccessDeniedError, match=r"credential_process.*have expired"):
        AwsSession().credentials()


def test_a_web_identity_without_its_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/r")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(ConfigurationError, match=r"web_identity_token_file.*mounted") as caught:
        AwsSession().credentials()
    assert str(home / "token") in str(caught.value)
    with pytest.raises(ConfigurationError, match="web_identity_token_file"), control.translated():
        control.client("sagemaker").list_endpoints()


SSO = "[default]\nregion = us-east-1\nsso_account_id = 111122223333\nsso_role_name = r\n"
START = "https://example.awsapps.com/start"
LEGACY = f"{SSO}sso_start_url = {START}\nsso_region = us-east-1\n"
SHARED = f"{SSO}sso_session = s\n[sso-session s]\nsso_start_url = {START}\nsso_region = us-east-1\n"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"7", b"{}", b'{"accessToken": "t"}', b"\xff\xfe"])
@pytest.mark.parametrize(("config", "key"), [(LEGACY, START), (SHARED, "s")], ids=["legacy", "session"])
def test_a_broken_sso_cache(config: str, key: str, content: bytes | None, home: Path) -> None:
    (home / ".aws" / "config").write_text(config)
    if content is not None:
        cache = home / ".aws" / "sso" / "cache"
        cache.mkdir(parents=True)
        (cache / f"{hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()}.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="aws sso login"):
        AwsSession().credentials()


def test_a_container_whose_role_is_set_wrongly(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/role")
    with pytest.raises(ConfigurationError, match="AWS_CONTAINER_CREDENTIALS"):
        AwsSession().credentials()
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/role")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(home / "token"))
    with pytest.raises(ConfigurationError, match="AWS_CONTAINER_AUTHORIZATION_TOKEN") as caught:
        AwsSession().credentials()
    assert str(home / "token") in str(caught.value)


def test_an_error_of_somebody_elses_is_not_the_chains() -> None:
    def fail() -> None:
        with control.translated():
            raise FileNotFoundError("mine")

    with pytest.raises(FileNotFoundError, match="mine"):
        fail()


@pytest.mark.parametrize(
    "act",
    [
        lambda: converse(),
        lambda: control.client("sagemaker"),
        lambda: Catalogue(AwsSession()).search("llama"),
        lambda: Catalogue(AwsSession()).get("x"),
        lambda: awsllm.Client().jumpstart.search("llama"),
        lambda: awsllm.Client().jumpstart.plan("x"),
        lambda: awsllm.Client().sagemaker_openai("e"),
    ],
)
def test_a_missing_region_is_one_error_everywhere(act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "B")
    with pytest.raises(ConfigurationError, match="no AWS region; pass region="):
        act()


# --- what a key may hold ---------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_SESSION_TOKEN": "hunter3",
    "AWS_BEARER_TOKEN_BEDROCK": "hunter4",
}
AROUND = ["{}\n", "{}\r\n", " {}\t", "\ufeff{}", "{}\x00", "\n{}\n"]
INSIDE = ["{}\r\nX-Injected: yes", "{}\nx", "x\x00{}", "{}\u2028x", "ключ{}", "caf\xe9{}", "{}\x7fx"]


def set_keys(monkeypatch: pytest.MonkeyPatch, variable: str, form: str) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in ENVIRONMENT.items():
        if name != "AWS_BEARER_TOKEN_BEDROCK" or variable == name:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", {**os.environ, variable: form.format(ENVIRONMENT[variable])})  # NUL included


@pytest.mark.parametrize("variable", ENVIRONMENT)
@pytest.mark.parametrize("form", AROUND)
def test_what_surrounds_a_key_is_stripped(variable: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, variable, form)
    session = AwsSession(endpoint_url="https://h")
    assert session.credentials() == Credentials("AKIDEXAMPLE", "hunter2", "hunter3")
    assert not [value for value in sign(REQUEST, session).headers.values() if not value.isprintable()]
    if variable == "AWS_BEARER_TOKEN_BEDROCK":
        assert session.bearer_token() == "hunter4"
    elif "\x00" not in form:  # boto3, too
        keys = session.boto3().get_credentials()
        assert (keys.access_key, keys.secret_key, keys.token) == ("AKIDEXAMPLE", "hunter2", "hunter3")


@pytest.mark.parametrize("variable", ENVIRONMENT)
@pytest.mark.parametrize("form", INSIDE)
def test_what_stands_inside_a_key_is_refused_without_showing_it(
    variable: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(monkeypatch, variable, form)
    with pytest.raises(ConfigurationError, match="copy it again") as caught:
        sign(REQUEST, AwsSession(endpoint_url="https://h"))
    shown = str(caught.value) + variables_of(caught.value)
    assert "hunter" not in shown
    assert "AKIDEXAMPLE\\r" not in shown


def test_keys_of_a_profile_too(home: Path) -> None:
    core = Session()
    core.set_credentials("AKIDEXAMPLE", "hunter2", "tok\r\nX-Injected: yes")
    with pytest.raises(ConfigurationError, match="AWS token has a line break"):
        AwsSession(region="us-east-1", session=core).credentials()
    core.set_credentials(" AKIDEXAMPLE\n", "hunter2\n", "tok\n")
    assert AwsSession(session=core).credentials() == Credentials("AKIDEXAMPLE", "hunter2", "tok")
    core.set_credentials("\n", "hunter2")
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        AwsSession(session=core).credentials()


@pytest.mark.parametrize(
    ("bearer", "says"),
    [("", "or for Bedrock's models set AWS_BEARER_TOKEN_BEDROCK$"), ("key", "takes no API key")],
)
def test_an_api_key_is_not_advised_to_who_has_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, bearer: str, says: str
) -> None:
    """Knowledge bases and agents (bedrock-agent-runtime) take keys alone, by botocore's service model."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", bearer)
    with awsllm.Client(region="us-east-1") as client, pytest.raises(ConfigurationError, match=says):
        client.retrieve("KBID123456", "How?")


def test_boto3s_requests_have_no_header_of_two_lines() -> None:
    """http.client refuses it too, but quotes the token."""
    given = boto3.Session("AKIDEXAMPLE", "hunter2", "hunter3\r\nX-Injected: yes", "us-east-1")
    client = control.client("sagemaker", AwsSession(session=given, endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(ConfigurationError, match="X-Amz-Security-Token") as caught:
        client.list_endpoints()
    assert "hunter3" not in str(caught.value)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"X-A\r\nX-B": "c"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"": "c"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"X A": "c"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"X:A": "c"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"X-\u0436": "c"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m", {"X-A": "b\nc"}),
        HttpRequest("bedrock-runtime", "POST", "/model/m HTTP/1.1\r\nX-B: c"),
        HttpRequest("bedrock-runtime", "POST", "/model/ж"),
        HttpRequest("bedrock-runtime", "POST", "/model/m m"),
        HttpRequest("bedrock-runtime", "POST", "/model/\x7f"),
        HttpRequest("bedrock-runtime", "POST", "model/m"),
        HttpRequest("bedrock-runtime", "POST / HTTP/1.1\r\nX-B: c", "/model/m"),
    ],
)
def test_what_is_no_line_of_a_head_is_refused(request_: HttpRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, "AWS_ACCESS_KEY_ID", "{}")
    with pytest.raises(ValidationError, match=r"header|path"):
        sign(request_, AwsSession())


@BOTH
@pytest.mark.parametrize(
    "url",
    ["http://h:99999", "http://h:x", "http://[::1", "http://h/caf\xe9", "http://h/\u0436", "http://h /", "http://h:0"],
)
def test_an_endpoint_url_that_cannot_be_called(kind: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, "AWS_ACCESS_KEY_ID", "{}")
    with pytest.raises(ConfigurationError, match="invalid endpoint URL"):
        converse(kind, url)
    with pytest.raises(ConfigurationError) as caught:
        converse(kind, url.replace("//", "//user:hunter2@"))
    assert "hunter2" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("proxy", ["http://user:hunter2@h:x", "http://user:hunter2@h:99999", "http://[::1", "http://"])
def test_a_proxy_that_cannot_be_called(kind: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, "AWS_ACCESS_KEY_ID", "{}")
    monkeypatch.setattr(os, "environ", {**os.environ, "HTTP_PROXY": proxy, "http_proxy": proxy})
    with pytest.raises(ConfigurationError, match="invalid proxy for http") as caught:
        converse(kind, "http://model.example")
    assert "hunter2" not in str(caught.value)


# --- what an error carries along -------------------------------------------------------------------------------------


def frames(error: BaseException | None) -> Iterator[FrameType]:
    """Those of an error and of all that stands behind it, as what reports errors walks them."""
    while error is not None:
        step = error.__traceback__
        while step is not None:
            yield step.tb_frame
            step = step.tb_next
        error = error.__cause__ or error.__context__


def variables_of(error: BaseException) -> str:
    """The variables of every frame outside the tests and ``client.py``, whose arguments are its caller's too."""
    return "\n".join(
        f"{frame.f_code.co_qualname}: {dict(frame.f_locals)!r}"
        for frame in frames(error)
        if frame.f_code.co_filename not in (__file__, awsllm.client.__file__, awsllm.async_client.__file__)
    )


def refuse(_: Received) -> Response:
    return Response(b'{"message": "no"}', status=400)


def break_off(_: Received) -> Response:
    return Response(b'{"a private', length=1000)


def vanish(_: Received) -> Response:
    raise ConnectionError


@BOTH
@pytest.mark.parametrize("respond", [refuse, break_off, vanish])
@pytest.mark.parametrize("streaming", [False, True])
def test_no_variable_of_an_errors_frames_tells_a_secret(
    respond: Callable[[Received], Response], streaming: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(monkeypatch, "AWS_ACCESS_KEY_ID", "{}")

    def read(url: str) -> None:
        with awsllm.Client(endpoint_url=url, policy=ONCE) as client:
            list(client.converse_stream(MODEL, "a private prompt"))

    async def read_async(url: str) -> None:
        client = awsllm.AsyncClient(endpoint_url=url, policy=ONCE)
        async with client, client.converse_stream(MODEL, "a private prompt") as stream:
            _ = [event async for event in stream]

    with serving(respond) as url, pytest.raises(AwsllmError) as caught:
        if not streaming:
            converse(kind, url, "a private prompt")
        elif kind == "sync":
            read(url)
        else:
            asyncio.run(read_async(url))
    shown = variables_of(caught.value)
    for secret in ("a private", "hunter2", "hunter3", "Signature="):
        assert secret not in shown
    assert "HttpRequest" not in shown or "bytes)" in shown


def test_no_variable_of_botocores_frames_tells_a_secret(home: Path) -> None:
    process = 'echo \'{"Version": 2, "SecretAccessKey": "hunter2"}\''
    (home / ".aws" / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {process}\n")
    with pytest.raises(ConfigurationError) as caught:
        AwsSession().credentials()
    assert "hunter2" not in variables_of(caught.value)


def test_nothing_private_in_a_repr() -> None:
    request = HttpRequest("bedrock-runtime", "POST", "/model/m", {"X-Key": "private"}, b"private")
    response = HttpResponse(200, {"x": "private", "content-type": "text/plain"}, b"private")
    asked = awsllm.ConverseRequest(model="m", messages=(awsllm.Message.user("private"),))
    values = [request, response, asked, Call(request, bool, ValueError), StreamCall(request, repr, ValueError)]  # type: ignore[arg-type]
    assert "private" not in repr(values)
    assert repr(asked) == "ConverseRequest(model='m', …)"


# --- deadlines -------------------------------------------------------------------------------------------------------


@BOTH
def test_the_deadline_holds_while_credentials_are_looked_up(
    kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that would never end; each further call waits for the same one."""
    (home / "run.py").write_text(
        f"import pathlib, time\npathlib.Path({str(home / 'begun')!r}).open('a').write('x')\ntime.sleep(600)\n"
    )
    command = f"{sys.executable} {home / 'run.py'}"
    (home / ".aws" / "config").write_text(f"[default]\nregion = us-east-1\ncredential_process = {command}\n")
    children: list[Any] = []
    from botocore.credentials import ProcessProvider

    begin = ProcessProvider.__init__.__defaults__[0]
    before = threading.active_count()

    def popen(*arguments: Any, **options: Any) -> Any:
        children.append(begin(*arguments, **options))
        return children[-1]

    monkeypatch.setattr(ProcessProvider.__init__, "__defaults__", (popen,))
    try:
        with pytest.raises(ModelTimeoutError, match="deadline"):
            converse(kind, timeout=0.4)
        assert threading.active_count() == before + 1
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_threads_do_not_pile_up_behind_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch, "AWS_ACCESS_KEY_ID", "{}")
    go, asked = threading.Event(), []

    def slow(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        go.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    transport = HttpTransport(AwsSession(endpoint_url="http://pile.test"))
    call: Call[Any] = Call(REQUEST, bool, ValueError)  # type: ignore[arg-type]
    try:
        for _ in range(5):
            with pytest.raises(ModelTimeoutError):
                transport.send(call, Attempt(deadline=time.monotonic() + 0.02))
        assert asked == ["pile.test"]
    finally:
        go.set()


def test_throttling_names_the_operation_that_was_throttled() -> None:
    """AWS says no more than "Rate exceeded"; what a call is refused names the action itself."""
    throttled = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
    with pytest.raises(ThrottlingError, match=r"^DescribeEndpoint: Rate exceeded"), control.translated():
        raise ClientError(throttled, "DescribeEndpoint")
    denied = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized to perform: sagemaker:ListTags"}}
    with pytest.raises(AccessDeniedError, match=r"^not authorized"), control.translated():
        raise ClientError(denied, "ListTags")
