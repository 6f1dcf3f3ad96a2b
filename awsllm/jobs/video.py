"""Videos of Bedrock's models as jobs: Nova Reel, Luma Ray.

    job = client.generate_video("bedrock:amazon.nova-reel-v1:1", "a cat on a roof", output="s3://bucket/videos/")
    job.download("cat.mp4")

``job.result()`` waits and says where the video is, ``job.download`` fetches it through the client's S3. Another process
takes a job up by its ARN or what ``to_json`` gave: ``client.videos.resume(…)``; ``client.videos.list()`` shows what
there is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.calls.media_requests import prepare_video
from awsllm.calls.options import VideoOptions
from awsllm.jobs.invocation import (
    AsyncInvocationJob,
    InvocationJob,
    Invocations,
    Output,
    arn_of,
    start_invocation,
)
from awsllm.jobs.job import JobSummary
from awsllm.jumpstart.deploy.progress import Listener, Pace
from awsllm.jumpstart.deploy.resources import Clients
from awsllm.models.references import Reference
from awsllm.types import JsonObject
from awsllm.types.media import VideoRequest, VideoResponse
from awsllm.wire import invoke
from awsllm.wire.body import Context, Payload, Settings

Sessions = Callable[[str | None], AwsSession]
"""The session of a region; None: the client's own."""


class VideoJob(InvocationJob[VideoResponse]):
    """A video that is being made, or is made."""

    def download(self, path: str | os.PathLike[str], timeout: float | None = None) -> Path:
        """The video as a file, once it is made. Waits for it."""
        return self.fetch(self.result(timeout).uri, path)


class AsyncVideoJob(AsyncInvocationJob[VideoResponse]):
    """The same, awaited."""

    async def download(self, path: str | os.PathLike[str], timeout: float | None = None) -> Path:
        """See ``VideoJob.download``."""
        return await self.fetch((await self.result(timeout)).uri, path)


def _read(family: str | None, description: JsonObject) -> VideoResponse:
    """By the body of the model that the description names."""
    model = str(description["modelArn"])
    codec = invoke.body_of(model, family).codec(VideoRequest)
    context = Context(request=VideoRequest(model=model), request_id=str(description["invocationArn"]))
    return codec.decode_response(Payload(msgspec.json.encode(description)), context)


def _kind(family: str | None) -> Invocations[VideoResponse]:
    return Invocations(partial(_read, family))


def video_invocations() -> Invocations[VideoResponse]:
    """The kind of job, of models whose ARN tells their family."""
    return _kind(None)


class Videos:
    """The videos of one client. ``pace`` says how waiting passes time."""

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        self._sessions, self._pace = sessions, pace

    def start(self, model: str, prompt: str, output: str, options: VideoOptions) -> VideoJob:
        """Raises what of the request cannot be, before anything is sent."""
        reference, request = prepare_video(model, prompt, options)
        codec = invoke.body_of(reference.model, request.family).codec(VideoRequest)
        settings = Settings()
        sent: JsonObject = {
            "modelId": reference.model,
            "modelInput": codec.encode_request(request, settings).json(),
        }
        if tags := options.get("tags"):
            sent["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        where = Output(uri=output, kms=options.get("kms"), bucket_owner=options.get("bucket_owner"))
        clients = self._clients(reference)
        make = self._maker(clients, options.get("on_progress"), request.family)
        job = start_invocation(make, clients, sent, where, token=options.get("token"))
        job.warnings = codec.warnings(request, settings)
        return job

    def resume(self, saved: str | bytes, *, on_progress: Listener | None = None, family: str | None = None) -> VideoJob:
        """A video that any process started, by its ARN or by what ``to_json`` gave. ``family`` is that of a model whose
        ARN does not tell it. Raises ``ConfigurationError`` where there is none."""
        arn, token = arn_of(saved)
        job = self._maker(self._clients_in(arn.split(":")[3]), on_progress, family)(arn)
        job.token = token
        job.state()
        return job

    def list(self, *, status: str | None = None, contains: str | None = None) -> Iterator[JobSummary]:
        """The account's asynchronous invocations in the client's region, the newest first, those of other models too:
        those in ``status`` (InProgress, Completed, Failed), with ``contains`` in an ARN or the token."""
        return _kind(None).list(self._clients_in(None), status=status, contains=contains)

    def _maker(self, clients: Clients, on_progress: Listener | None, family: str | None) -> Callable[[str], VideoJob]:
        return lambda arn: VideoJob(_kind(family), clients, arn, on_progress, self._pace)

    def _clients(self, reference: Reference) -> Clients:
        return self._clients_in(reference.region)

    def _clients_in(self, region: str | None) -> Clients:
        session = self._sessions(region)
        return lambda service: control.client(service, session)


class AsyncVideos:
    """The same, awaited."""

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        self.sync = Videos(sessions, pace)

    async def start(self, model: str, prompt: str, output: str, options: VideoOptions) -> AsyncVideoJob:
        return AsyncVideoJob(await asyncio.to_thread(self.sync.start, model, prompt, output, options))

    async def resume(
        self, saved: str | bytes, *, on_progress: Listener | None = None, family: str | None = None
    ) -> AsyncVideoJob:
        """See ``Videos.resume``."""
        resume = partial(self.sync.resume, saved, on_progress=on_progress, family=family)
        return AsyncVideoJob(await asyncio.to_thread(resume))

    async def list(self, **options: Any) -> list[JobSummary]:
        """See ``Videos.list``; all at once."""
        return await asyncio.to_thread(lambda: list(self.sync.list(**options)))
