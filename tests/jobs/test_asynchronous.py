"""Asynchronous inference: results polled from S3, in an offline account whose endpoint answers in its own format."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
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
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs.asynchronous import MAX_INLINE, AsyncInference, invoke_async
from awsllm.jumpstart.deploy.resources import call
from awsllm.types import ConverseRequest, ConverseResponse, Message, Text
from awsllm.types.embedding import EmbedRequest
from awsllm.wire import endpoint
from awsllm.wire.body import Settings
from tests.support.pace import Time
from tests.support.plans import ROLE
from tests.support.watched_aws import WatchedAws, error

OUT, FAILED = "s3://my-bucket/out", "s3://my-bucket/failed"


def answer(request: ConverseRequest) -> str:
    text = msgspec.to_builtins(request.messages[-1].content[0])["text"]
    if "boom" in text:
        raise ValidationError("the prompt must not be boom")
    return f"<{text}>"


Deployed = Callable[..., WatchedAws]


@pytest.fixture
def deployed(new_aws: Callable[..., WatchedAws]) -> Deployed:
    """An account with an asynchronous endpoint ``ep`` and a bucket, when called."""

    def enter(form: str = "openai", *, failures: bool = True, asynchronous: bool = True) -> WatchedAws:
        aws = new_aws(reply=answer, formats={"ep": form}, buckets=("my-bucket",))
        output = {"S3OutputPath": OUT, **({"S3FailurePath": FAILED} if failures else {})}
        deploy(aws.clients("sagemaker"), output if asynchronous else None)
        return aws

    return enter


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


def inference(aws: WatchedAws, **options: Any) -> AsyncInference:
    return AsyncInference("sagemaker:ep", aws.clients, pace=Time().pace(1), **options)


@pytest.mark.parametrize("form", ["openai", "tgi", "lmi"])
def test_a_neutral_request_in_each_format(deployed: Deployed, form: str) -> None:
    aws = deployed(form)
    waiting = inference(aws, format=endpoint.get(form)).invoke(ask())
    assert waiting.output.startswith(OUT)
    reply = waiting.result()
    assert isinstance(reply, ConverseResponse)
    assert reply.text == "<Hello>"
    assert waiting.done()


def test_a_json_body_and_its_answer(deployed: Deployed) -> None:
    aws = deployed()
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert inference(aws).invoke(body).result()["choices"][0]["message"]["content"] == "<Hi>"
    by_function = invoke_async("ep", json.dumps(body).encode(), aws.clients, pace=Time().pace(1))
    assert by_function.payload().json()["choices"][0]["message"]["content"] == "<Hi>"


def test_a_container_that_fails_is_an_error_of_its_own(deployed: Deployed) -> None:
    waiting = inference(deployed(), format=endpoint.get("openai")).invoke(ask("boom"))
    with pytest.raises(AwsllmError, match="must not be boom"):
        waiting.result()
    with pytest.raises(AwsllmError, match="must not be boom"):  # again, without another look
        waiting.result()


@pytest.mark.parametrize("missing", [404, 403])
def test_what_is_not_there_yet(deployed: Deployed, missing: int) -> None:
    aws = deployed()

    def hide(operation: str, request: dict[str, Any]) -> None:
        """What S3 says to who may not list the bucket."""
        if missing == 403 and operation == "GetObject" and not aws.objects.list(f"{OUT}/later"):
            raise error("AccessDenied", "Access Denied", operation, 403)

    aws.before = hide
    waiting = inference(aws).resume(f"{OUT}/later.out", f"{FAILED}/later-error.out")
    assert not waiting.done()
    with pytest.raises(ModelTimeoutError) as caught:
        waiting.wait(timeout=3)
    assert ("s3:GetObject" in str(caught.value)) == (missing == 403)
    aws.objects.write(f"{OUT}/later.out", b'{"a": 1}')
    assert waiting.wait(timeout=3).result() == {"a": 1}


def test_a_failure_that_is_no_json(deployed: Deployed) -> None:
    aws = deployed()
    aws.objects.write(f"{FAILED}/x", b"Received server error (500) from primary")
    with pytest.raises(ServerError, match=r"server error \(500\)"):
        inference(aws).resume(f"{OUT}/x", f"{FAILED}/x").result()
    aws.objects.write(f"{FAILED}/y", b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}')
    with pytest.raises(ValidationError, match="too long"):
        inference(aws).resume(f"{OUT}/y", f"{FAILED}/y").result()


def test_without_a_failure_path_only_time_tells(deployed: Deployed) -> None:
    aws = deployed(failures=False)
    waiting = inference(aws, format=endpoint.get("openai")).invoke(ask("boom"))
    assert waiting.failure is None
    with pytest.raises(ModelTimeoutError):
        waiting.result(timeout=2)


def test_large_bodies_go_through_s3(deployed: Deployed) -> None:
    aws = deployed()
    large = ask("x" * MAX_INLINE)
    form = endpoint.get("openai")
    with pytest.raises(ValidationError, match="upload="):
        inference(aws, format=form).invoke(large)
    uploading = inference(aws, format=form, upload="s3://my-bucket/in/")
    assert uploading.invoke(large).result().text.startswith("<xxx")
    uploaded = aws.objects.list("s3://my-bucket/in/")
    assert len(uploaded) == 1


def test_many_requests_in_order_and_a_failure_among_them(deployed: Deployed) -> None:
    aws = deployed()
    many = inference(aws, format=endpoint.get("openai"))
    texts = ["a", "boom", "b", "c"]
    answers = list(many.map((ask(text) for text in texts), in_flight=2))
    assert [one.text if isinstance(one, ConverseResponse) else type(one) for one in answers] == [
        "<a>",
        ValidationError if isinstance(answers[1], ValidationError) else ServerError,
        "<b>",
        "<c>",
    ]


def test_what_is_refused_before_anything_is_sent(deployed: Deployed) -> None:
    aws = deployed()
    with pytest.raises(ConfigurationError, match="format="):
        inference(aws).invoke(ask())
    with pytest.raises(ValidationError, match="no inference components"):
        AsyncInference("sagemaker:ep/component", aws.clients)
    with pytest.raises(ValidationError, match="no JSON value"):
        inference(aws).invoke({"a": object()})
    with pytest.raises(UnsupportedError):
        inference(aws, format=endpoint.get("tgi"), settings=Settings()).invoke(EmbedRequest(model="ep", texts=("a",)))
    with pytest.raises(ValidationError, match="no object in S3"):
        inference(aws).resume("https://example.com/x").done()


def test_the_service_s_own_refusals(deployed: Deployed) -> None:
    with pytest.raises(AwsllmError, match="asynchronous"):
        inference(deployed(asynchronous=False)).invoke({})
    aws = deployed()
    with pytest.raises(AwsllmError, match="does not exist"):
        call(
            aws.clients, "sagemaker-runtime", "invoke_endpoint_async",
            EndpointName="ep", InputLocation="s3://my-bucket/none",
        )  # fmt: skip


def test_other_errors_of_s3_are_told(deployed: Deployed) -> None:
    aws = deployed()
    waiting = inference(aws).resume(f"{OUT}/x")
    aws.refuse("GetObject", code="ExpiredToken", text="expired", status=401)
    with pytest.raises(AccessDeniedError, match="expired"):
        waiting.done()


def test_a_bucket_that_does_not_exist(deployed: Deployed) -> None:
    with pytest.raises(AwsllmError, match="bucket does not exist"):  # waiting would never end
        inference(deployed()).resume("s3://no-such-bucket/none").done()


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


def test_a_throttled_invocation_is_sent_again(deployed: Deployed) -> None:
    aws = deployed()
    refusals = iter(range(2))

    def busy(operation: str, request: dict[str, Any]) -> None:
        if operation == "InvokeEndpointAsync" and next(refusals, None) is not None:
            raise error("ThrottlingException", "slow down", operation)

    aws.before = busy
    assert inference(aws, format=endpoint.get("openai")).invoke(ask()).result().text == "<Hello>"
    assert aws.operations().count("InvokeEndpointAsync") == 3


@pytest.mark.parametrize(
    "broken", [ReadTimeoutError(endpoint_url="s3"), IncompleteReadError(actual_bytes=1, expected_bytes=2)]
)
def test_an_answer_whose_reading_breaks_off_is_an_error_of_its_own(deployed: Deployed, broken: Exception) -> None:
    aws, left = deployed(), [broken]

    class Body:
        def read(self) -> bytes:
            raise left.pop()

    def breaking(operation: str, response: dict[str, Any]) -> None:
        if operation == "GetObject" and left:
            response["Body"] = Body()

    aws.after = breaking
    failed, fine = inference(aws, format=endpoint.get("openai")).map([ask("a"), ask("b")])
    assert isinstance(failed, ConnectError | ModelTimeoutError)
    assert f"{OUT}/" in failed.__notes__[0]
    assert not isinstance(fine, AwsllmError)
    assert fine.text == "<b>"
