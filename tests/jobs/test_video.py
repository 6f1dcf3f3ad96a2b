"""Videos as jobs, by the clients and against the offline account, which boto3 speaks to as well."""

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import awsllm
from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import (
    ConfigurationError,
    ModelTimeoutError,
    RequestError,
    ServerError,
    ThrottlingError,
    UnsupportedError,
    ValidationError,
)
from awsllm.jobs.video import AsyncVideoJob, AsyncVideos, VideoJob, Videos
from awsllm.jumpstart.deploy.progress import Progress
from awsllm.server.surfaces import async_invoke
from awsllm.server.work import Incoming
from awsllm.testing import MockAws, mock_aws
from awsllm.types import Image, S3Location
from awsllm.types.media import VideoRequest, VideoShot
from tests.support.pace import Time

REEL, RAY = "bedrock:amazon.nova-reel-v1:1", "bedrock:luma.ray-v2:0"
OUTPUT = "s3://films/made/"
KEY = "arn:aws:kms:us-east-1:123456789012:alias/key"


@pytest.fixture
def aws() -> Iterator[MockAws]:
    with mock_aws(reply="unused") as mock:
        client("s3").create_bucket(Bucket="films")
        yield mock


@functools.cache
def client(service: str) -> Any:
    """One for all tests: a client takes longer to make than a test to run. moto answers it while a mock is active."""
    return boto3.client(service, "us-east-1", aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="made-up")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def videos(time: Time, monkeypatch: pytest.MonkeyPatch) -> Videos:
    monkeypatch.setattr(control, "client", lambda service, session: client(service))
    return Videos(lambda region: AwsSession(region=region or "us-east-1"), time.pace(8))


def start(videos: Videos, model: str = REEL, prompt: str = "a cat", output: str = OUTPUT, **options: Any) -> VideoJob:
    return videos.start(model, prompt, output, options)  # type: ignore[arg-type]


def test_the_client_starts_waits_and_fetches(aws: MockAws, tmp_path: Path) -> None:
    with awsllm.Client(region="us-east-1") as ours:
        job = ours.generate_video(REEL, "a cat", output=OUTPUT, duration=12, tags={"team": "a"}, seed=3)
        found = job.result()
        path = job.download(tmp_path / "cat.mp4")
    assert found.uri == f"s3://films/made/{job.arn.rpartition('/')[2]}/output.mp4"
    assert found.model == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-reel-v1:1"
    assert path.read_bytes()[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == [path]
    names = [uri.removeprefix(f"{found.folder}/") for uri in job.files()]
    assert names == ["manifest.json", "output.mp4", "shot_0001.mp4", "shot_0002.mp4", "video-generation-status.json"]
    (request,) = aws.requests
    assert isinstance(request, VideoRequest)
    assert (request.prompt, request.duration, request.seed) == ("a cat", 12, 3)


def test_what_is_sent_is_what_the_service_model_takes(aws: MockAws, videos: Videos) -> None:
    start(videos, tags={"team": "a"}, kms=KEY, bucket_owner="123456789012", token="t", duration=6)
    (record,) = aws.plane.state("us-east-1").table("async-invoke").values()
    assert record.request == {
        "modelId": "amazon.nova-reel-v1:1",
        "clientRequestToken": "t",
        "modelInput": {
            "taskType": "TEXT_VIDEO",
            "textToVideoParams": {"text": "a cat"},
            "videoGenerationConfig": {"fps": 24, "dimension": "1280x720", "durationSeconds": 6},
        },
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": OUTPUT, "kmsKeyId": KEY, "bucketOwner": "123456789012"}},
        "tags": [{"key": "team", "value": "a"}],
    }


def test_each_new_state_is_reported_once(aws: MockAws, videos: Videos, time: Time) -> None:
    aws.plane.transitions["async-invoke"] = 3
    seen: list[Progress] = []
    job = start(videos, RAY, on_progress=seen.append)
    assert job.state().outcome is None
    job.wait()
    assert [(each.step, each.resource, each.state) for each in seen] == [
        ("invoke", job.arn, "in_progress"),
        ("invoke", job.arn, "completed"),
    ]
    assert time.slept == [1.0, 2.0]


def test_a_wait_that_is_given_up_says_that_it_goes_on(aws: MockAws, videos: Videos) -> None:
    aws.plane.transitions["async-invoke"] = 100
    job = start(videos)
    with pytest.raises(ModelTimeoutError, match=f"after 5 seconds asynchronous invocation {job.arn} goes on"):
        job.result(timeout=5)


def test_nothing_stops_one_and_that_is_said(aws: MockAws, videos: Videos) -> None:
    aws.plane.transitions["async-invoke"] = 1
    job = start(videos)
    with pytest.raises(UnsupportedError, match="there is no operation for it: it runs to its end and is paid for"):
        job.stop()
    job.wait()
    assert job.stop() is False


def test_a_failure_tells_the_service_s_reason(aws: MockAws, videos: Videos) -> None:
    aws.plane.fail("amazon.nova-reel-v1:1", "The output was blocked by a filter.")
    with pytest.raises(ServerError, match="failed: The output was blocked by a filter") as caught:
        start(videos).result()
    assert not caught.value.retryable
    assert start(videos).result().uri.endswith("output.mp4")


def test_a_token_is_one_video_and_another_request_conflicts(aws: MockAws, videos: Videos) -> None:
    first, again = (start(videos, token="cat-1") for _ in range(2))
    assert first.arn == again.arn
    assert start(videos).arn != start(videos).arn
    with pytest.raises(RequestError, match="used with another request") as caught:
        start(videos, prompt="a dog", token="cat-1")
    assert caught.value.code == "ConflictException"


def test_a_start_whose_answer_was_lost_says_how_it_is_no_second_one(aws: MockAws, videos: Videos) -> None:
    aws.plane.refuse("StartAsyncInvoke", "ServiceUnavailableException", "Busy.", times=9)
    with pytest.raises(ServerError) as caught:
        start(videos, token="t-1")
    assert caught.value.__notes__ == ["started again with token='t-1', it is no second one"]


def test_another_process_takes_it_up(aws: MockAws, videos: Videos) -> None:
    job = start(videos, token="t")
    for saved in (job.arn, job.to_json(), job.to_json().decode()):
        resumed = videos.resume(saved)
        assert (resumed.arn, resumed.result()) == (job.arn, job.result())
    assert videos.resume(job.to_json()).token == "t"
    with pytest.raises(ConfigurationError, match="there is no asynchronous invocation"):
        videos.resume("arn:aws:bedrock:us-east-1:123456789012:async-invoke/aaaaaaaaaaaa")


@pytest.mark.parametrize("saved", ["", "{}", b"[]", "arn:aws:s3:::b", '{"invocationArn": 1}'])
def test_what_is_no_invocation_is_not_taken_up(videos: Videos, saved: str | bytes) -> None:
    with pytest.raises(ValidationError, match="taken up by its ARN"):
        videos.resume(saved)


def test_the_account_s_invocations_are_listed_newest_first(aws: MockAws, videos: Videos) -> None:
    jobs = [start(videos, model, token=token) for model, token in ((REEL, "a"), (RAY, "b"), (REEL, "c"))]
    aws.plane.fail("luma.ray-v2:0", "no")
    listed = list(videos.list())
    assert [each.name for each in listed] == [job.arn for job in reversed(jobs)]
    assert [each.status for each in listed] == ["Completed", "Failed", "Completed"]
    assert [each.reason for each in listed] == [None, "no", None]
    assert all(each.created is not None and each.ended is not None for each in listed)
    assert [each.name for each in videos.list(status="Failed")] == [jobs[1].arn]
    assert [each.name for each in videos.list(contains="luma.ray")] == [jobs[1].arn]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"model": "sagemaker:ep"}, UnsupportedError, "generate_video is not possible with sagemaker: models"),
        ({"model": "bedrock:amazon.nova-canvas-v1:0"}, UnsupportedError, "generate_video is not possible with"),
        ({"output": "films/made"}, ValidationError, "is not an S3 URI"),
        ({"prompt": " "}, ValidationError, "the prompt is blank"),
        ({"durations": 6}, ValidationError, "did you mean 'duration'"),
        ({"prompt": "", "shots": [3]}, ValidationError, "a shot is a text"),
        ({"timeout": 5}, ValidationError, r"what starts a job has none; the job's wait\(timeout=...\) has"),
        ({"output": "s3://another-bucket/x"}, RequestError, "cannot write to the output location"),
    ],
)
def test_what_cannot_be_is_refused(
    aws: MockAws, videos: Videos, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        start(videos, **options)
    assert not aws.plane.state("us-east-1").table("async-invoke")


def test_shots_are_texts_pairs_and_values(aws: MockAws, videos: Videos) -> None:
    there = Image("png", S3Location("s3://films/a.png"))
    start(videos, prompt="", shots=["a", ("b", "s3://films/a.png"), VideoShot("c", there)])
    (request,) = aws.requests
    assert isinstance(request, VideoRequest)
    assert request.shots == (VideoShot("a"), VideoShot("b", there), VideoShot("c", there))


def test_a_warning_stays_with_the_job(aws: MockAws, videos: Videos) -> None:
    assert start(videos, RAY, seed=1).warnings == ("seed: Luma Ray has no such setting",)


# --- awaited ---------------------------------------------------------------------------------------------------------


def test_the_asynchronous_client_does_the_same(aws: MockAws, tmp_path: Path) -> None:
    async def run() -> None:
        async with awsllm.AsyncClient(region="us-east-1") as ours:
            job = await ours.generate_video(RAY, "a cat", output=OUTPUT)
            path = await job.download(tmp_path / "cat.mp4")
            assert path.read_bytes()[4:8] == b"ftyp"
            assert (await job.result()).uri in await job.files()
            assert (await ours.videos.resume(job.to_json())).arn == job.arn
            assert [each.name for each in await ours.videos.list()] == [job.arn]
            assert (await job.state()).outcome == "completed"
            assert not await job.stop()

    asyncio.run(run())


def test_waiting_for_it_is_awaited_and_given_up(aws: MockAws, time: Time) -> None:
    aws.plane.transitions["async-invoke"] = 2
    sessions = AsyncVideos(lambda region: AwsSession(region=region or "us-east-1"), time.pace(0))

    async def run() -> AsyncVideoJob:
        job = await sessions.start(REEL, "a cat", OUTPUT, {})
        with pytest.raises(ModelTimeoutError, match="goes on"):
            await job.wait(timeout=0)
        return await job.wait()

    assert asyncio.run(run()).job.done()


# --- boto3, which reads the service's model --------------------------------------------------------------------------


@pytest.fixture
def runtime(aws: MockAws) -> Any:
    return client("bedrock-runtime")


def begin(runtime: Any, **members: Any) -> str:
    sent = {
        "modelId": "luma.ray-v2:0",
        "modelInput": {"prompt": "a cat", "duration": "9s"},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://films"}},
        **members,
    }
    return str(runtime.start_async_invoke(**sent)["invocationArn"])


def test_boto3_reads_what_the_account_says(runtime: Any) -> None:
    arn = begin(runtime)
    found = runtime.get_async_invoke(invocationArn=arn)
    assert (found["status"], found["invocationArn"]) == ("Completed", arn)
    assert found["submitTime"] <= found["endTime"]
    uri = found["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    assert uri == f"s3://films/{arn.rpartition('/')[2]}"
    keys = [each["Key"] for each in client("s3").list_objects_v2(Bucket="films")["Contents"]]
    assert keys == [f"{arn.rpartition('/')[2]}/{name}" for name in ("manifest.json", "output.mp4")]


def test_boto3_lists_pages_in_both_orders(runtime: Any) -> None:
    arns = [begin(runtime) for _ in range(3)]
    pages = runtime.get_paginator("list_async_invokes")
    for order, wanted in (("Ascending", arns), ("Descending", arns[::-1])):
        found = pages.paginate(sortBy="SubmissionTime", sortOrder=order, PaginationConfig={"PageSize": 2})
        assert [[each["invocationArn"] for each in page["asyncInvokeSummaries"]] for page in found] == [
            wanted[:2],
            wanted[2:],
        ]
    first = runtime.get_async_invoke(invocationArn=arns[0])["submitTime"]
    assert runtime.list_async_invokes(submitTimeBefore=first)["asyncInvokeSummaries"] == []


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"modelId": "amazon.titan-embed-text-v2:0"}, "ValidationException", "extraneous key"),
        ({"modelId": "amazon.nova-canvas-v1:0"}, "ValidationException", "is required"),
        ({"modelInput": {"prompt": 1}}, "ValidationException", "prompt: must be a string"),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://X"}}},
            "ValidationException",
            "regular expression",
        ),
    ],
)
def test_boto3_is_told_what_is_wrong(runtime: Any, members: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        begin(runtime, **members)
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    "query", ["nextToken=x", f"nextToken={'9' * 5000}", f"maxResults={'9' * 5000}", "submitTimeAfter=today"]
)
def test_a_listing_that_makes_no_sense_is_the_callers_mistake(aws: MockAws, runtime: Any, query: str) -> None:
    begin(runtime)
    asked = Incoming("GET", "/async-invoke", {}, b"", query=query)
    assert async_invoke.answer(aws.plane.region("us-east-1"), asked, lambda request: None).status == 400


def test_a_refusal_of_the_test_s_is_answered(aws: MockAws, videos: Videos, runtime: Any) -> None:
    aws.plane.refuse("GetAsyncInvoke", "ThrottlingException", "slow down", times=9)
    with pytest.raises(ThrottlingError, match="slow down"):
        videos.resume(begin(runtime))
