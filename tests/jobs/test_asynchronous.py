"""Asynchronous inference: results polled from S3, in an offline account whose endpoint answers in its own format."""

import contextlib
import json
import socket
import threading
from functools import partial
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import IncompleteReadError, ReadTimeoutError

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    AccessDeniedError,
    AwsllmError,
    ConfigurationError,
    ConnectError,
    ModelTimeoutError,
    ServerError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs.asynchronous import MAX_INLINE, AsyncInference, invoke_async
from awsllm.jumpstart.deploy.resources import call
from awsllm.testing import mock_aws
from awsllm.testing.scripted import ScriptedBackend
from awsllm.types import ConverseRequest, ConverseResponse, EmbedRequest, Message, Text
from awsllm.wire.body import Settings
from awsllm.wire.endpoint import formats
from tests.support.offline_jobs import ROLE, Offline

OUT, FAILED = "s3://my-bucket/out", "s3://my-bucket/failed"


def answer(request: ConverseRequest) -> str:
    text = msgspec.to_builtins(request.messages[-1].content[0])["text"]
    if "boom" in text:
        raise ValidationError("the prompt must not be boom")
    return f"<{text}>"


def deployed(form: str = "openai", *, failures: bool = True, asynchronous: bool = True) -> Offline:
    offline = Offline(backend=ScriptedBackend(answer), formats={"ep": form})
    output = {"S3OutputPath": OUT, **({"S3FailurePath": FAILED} if failures else {})}
    deploy(offline.clients("sagemaker"), output if asynchronous else None)
    return offline


def deploy(sm: Any, output: dict[str, str] | None) -> None:
    sm.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    sm.create_endpoint_config(
        EndpointConfigName="c",
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
        ],
        **({"AsyncInferenceConfig": {"OutputConfig": output}} if output else {}),
    )
    sm.create_endpoint(EndpointName="ep", EndpointConfigName="c")


def ask(text: str = "Hello") -> ConverseRequest:
    return ConverseRequest(model="sagemaker:ep", messages=(Message("user", (Text(text),)),))


def inference(offline: Offline, **options: Any) -> AsyncInference:
    return AsyncInference("sagemaker:ep", offline.clients, pace=offline.pace, **options)


@pytest.mark.parametrize("form", ["openai", "tgi", "lmi"])
def test_a_neutral_request_in_each_format(form: str) -> None:
    offline = deployed(form)
    waiting = inference(offline, format=formats.get(form)).invoke(ask())
    assert waiting.output.startswith(OUT)
    reply = waiting.result()
    assert isinstance(reply, ConverseResponse)
    assert reply.text == "<Hello>"
    assert waiting.done()


def test_a_json_body_and_its_answer() -> None:
    offline = deployed()
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert inference(offline).invoke(body).result()["choices"][0]["message"]["content"] == "<Hi>"
    by_function = invoke_async("ep", json.dumps(body).encode(), offline.clients, pace=offline.pace)
    assert by_function.payload().json()["choices"][0]["message"]["content"] == "<Hi>"


def test_a_container_that_fails_is_an_error_of_its_own() -> None:
    waiting = inference(deployed(), format=formats.get("openai")).invoke(ask("boom"))
    with pytest.raises(AwsllmError, match="must not be boom"):
        waiting.result()
    with pytest.raises(AwsllmError, match="must not be boom"):  # again, without another look
        waiting.result()


@pytest.mark.parametrize("missing", [404, 403])
def test_what_is_not_there_yet(missing: int) -> None:
    offline = deployed()
    offline.objects.missing = missing
    waiting = inference(offline).resume(f"{OUT}/later.out", f"{FAILED}/later-error.out")
    assert not waiting.done()
    with pytest.raises(ModelTimeoutError) as caught:
        waiting.wait(timeout=3)
    assert ("s3:GetObject" in str(caught.value)) == (missing == 403)
    offline.objects.write(f"{OUT}/later.out", b'{"a": 1}')
    assert waiting.wait(timeout=3).result() == {"a": 1}


def test_a_failure_that_is_no_json() -> None:
    offline = deployed()
    offline.objects.write(f"{FAILED}/x", b"Received server error (500) from primary")
    with pytest.raises(ServerError, match=r"server error \(500\)"):
        inference(offline).resume(f"{OUT}/x", f"{FAILED}/x").result()
    offline.objects.write(f"{FAILED}/y", b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}')
    with pytest.raises(ValidationError, match="too long"):
        inference(offline).resume(f"{OUT}/y", f"{FAILED}/y").result()


def test_without_a_failure_path_only_time_tells() -> None:
    offline = deployed(failures=False)
    waiting = inference(offline, format=formats.get("openai")).invoke(ask("boom"))
    assert waiting.failure is None
    with pytest.raises(ModelTimeoutError):
        waiting.result(timeout=2)


def test_large_bodies_go_through_s3() -> None:
    offline = deployed()
    large = ask("x" * MAX_INLINE)
    form = formats.get("openai")
    with pytest.raises(ValidationError, match="upload="):
        inference(offline, format=form).invoke(large)
    uploading = inference(offline, format=form, upload="s3://my-bucket/in/")
    assert uploading.invoke(large).result().text.startswith("<xxx")
    uploaded = [uri for uri in offline.objects.objects if uri.startswith("s3://my-bucket/in/")]
    assert len(uploaded) == 1


def test_many_requests_in_order_and_a_failure_among_them() -> None:
    offline = deployed()
    many = inference(offline, format=formats.get("openai"))
    texts = ["a", "boom", "b", "c"]
    answers = list(many.map((ask(text) for text in texts), in_flight=2))
    assert [one.text if isinstance(one, ConverseResponse) else type(one) for one in answers] == [
        "<a>",
        ValidationError if isinstance(answers[1], ValidationError) else ServerError,
        "<b>",
        "<c>",
    ]


def test_what_is_refused_before_anything_is_sent() -> None:
    offline = deployed()
    with pytest.raises(ConfigurationError, match="format="):
        inference(offline).invoke(ask())
    with pytest.raises(ValidationError, match="no inference components"):
        AsyncInference("sagemaker:ep/component", offline.clients)
    with pytest.raises(ValidationError, match="no JSON value"):
        inference(offline).invoke({"a": object()})
    with pytest.raises(UnsupportedError):
        inference(offline, format=formats.get("tgi"), settings=Settings()).invoke(
            EmbedRequest(model="ep", texts=("a",))
        )
    with pytest.raises(ValidationError, match="no object in S3"):
        inference(offline).resume("https://example.com/x").done()


def test_the_service_s_own_refusals() -> None:
    with pytest.raises(AwsllmError, match="asynchronous"):
        inference(deployed(asynchronous=False)).invoke({})
    offline = deployed()
    with pytest.raises(AwsllmError, match="does not exist"):
        call(
            offline.clients, "sagemaker-runtime", "invoke_endpoint_async",
            EndpointName="ep", InputLocation="s3://my-bucket/none",
        )  # fmt: skip


def test_other_errors_of_s3_are_told() -> None:
    offline = deployed()
    waiting = inference(offline).resume(f"{OUT}/x")

    class Broken:
        def get_object(self, **_: Any) -> Any:
            raise AccessDeniedError("expired", status=401)

    offline._made["s3"] = Broken()
    with pytest.raises(AccessDeniedError, match="expired"):
        waiting.done()


def test_in_mock_aws() -> None:
    """Over moto's S3, where a missing object is what S3 says it is."""
    with mock_aws(reply=answer):
        session = AwsSession(session=boto3.Session("a", "b", region_name="us-east-1"))
        clients = partial(control.client, session=session)
        clients("s3").create_bucket(Bucket="my-bucket")
        deploy(clients("sagemaker"), {"S3OutputPath": OUT, "S3FailurePath": FAILED})
        calls = AsyncInference("ep", clients, format=formats.get("openai"), upload="s3://my-bucket/in")
        assert calls.invoke(ask()).result().text == "<Hello>"
        assert calls.invoke(ask("y" * MAX_INLINE)).result().text.startswith("<yyy")
        with pytest.raises(AwsllmError, match="must not be boom"):
            calls.invoke(ask("boom")).result()
        assert not calls.resume(f"{OUT}/none").done()
        with pytest.raises(AwsllmError, match="bucket does not exist"):  # waiting would never end
            calls.resume("s3://no-such-bucket/none").done()


def test_an_invocation_whose_answer_is_lost_is_not_sent_again() -> None:
    """Over a socket that never answers, with the client that JumpStart makes."""
    arrived: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listening.accept()
                    arrived.append(len(taken.recv(65536)))
                    taken.close()

        threading.Thread(target=take, daemon=True).start()
        session = AwsSession(
            session=boto3.Session("a", "b", region_name="us-east-1"),
            endpoint_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
        )
        with pytest.raises(AwsllmError):
            AsyncInference("ep", partial(control.client, session=session)).invoke({"a": 1})
    assert len(arrived) == 1


def test_a_throttled_invocation_is_sent_again() -> None:
    offline = deployed()
    runtime = offline.clients("sagemaker-runtime")
    refused = [ThrottlingError("slow down")] * 2

    class Busy:
        def invoke_endpoint_async(self, **asked: Any) -> Any:
            if refused:
                raise refused.pop()
            return runtime.invoke_endpoint_async(**asked)

    offline._made["sagemaker-runtime"] = Busy()
    assert inference(offline, format=formats.get("openai")).invoke(ask()).result().text == "<Hello>"


@pytest.mark.parametrize(
    "broken", [ReadTimeoutError(endpoint_url="s3"), IncompleteReadError(actual_bytes=1, expected_bytes=2)]
)
def test_an_answer_whose_reading_breaks_off_is_an_error_of_its_own(broken: Exception) -> None:
    offline = deployed()
    s3, left = offline.clients("s3"), [broken]

    class Body:
        def read(self) -> bytes:
            raise left.pop()

    class Breaking:
        def get_object(self, **asked: Any) -> Any:
            answer = s3.get_object(**asked)
            return {**answer, "Body": Body()} if left else answer

    offline._made["s3"] = Breaking()
    failed, fine = inference(offline, format=formats.get("openai")).map([ask("a"), ask("b")])
    assert isinstance(failed, ConnectError | ModelTimeoutError)
    assert f"{OUT}/" in failed.__notes__[0]
    assert not isinstance(fine, AwsllmError)
    assert fine.text == "<b>"
