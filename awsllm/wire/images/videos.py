"""What comes of a video model: files in S3, of which the description of the asynchronous invocation says the folder.

The service makes a folder of the invocation's id in the place that was asked for, and puts ``output.mp4`` there: Nova
Reel beside its shots (``shot_0001.mp4`` …), ``manifest.json`` and ``video-generation-status.json``. GetAsyncInvoke
tells the folder with the id; where it tells the place alone, the id is added. Sources, read 2026-11-26:
docs.aws.amazon.com/nova/latest/userguide/video-gen-access.html, …/bedrock/latest/userguide/model-parameters-luma.html.
"""

from __future__ import annotations

from awsllm.types import JsonObject, S3Location, Video
from awsllm.types.media import VideoResponse
from awsllm.wire.body import Context, Payload
from awsllm.wire.payloads import read_object, reply_of, write
from awsllm.wire.reading import optional, required

OUTPUT = "output.mp4"


class WrittenVideo:
    """The replies of every video codec: payloads are what GetAsyncInvoke says."""

    title: str

    def decode_response(self, payload: Payload, context: Context) -> VideoResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            folder = folder_of(wire)
        return VideoResponse(
            folder=folder,
            video=Video("mp4", S3Location(f"{folder}/{OUTPUT}")),
            model=context.request.model,
            request_id=context.request_id,
            warnings=context.warnings,
            raw=wire,
        )

    def encode_response(self, response: VideoResponse, context: Context) -> Payload:
        invocation = response.folder.rpartition("/")[2]
        output = {"s3OutputDataConfig": {"s3Uri": response.folder}}
        return write({"invocationArn": f"async-invoke/{invocation}", "outputDataConfig": output, "status": "Completed"})


def folder_of(description: JsonObject) -> str:
    """The ``s3://`` prefix with an invocation's files, without a slash at its end. Raises ``MalformedError``."""
    invocation = required(description, "invocationArn", str).rpartition("/")[2]
    place = required(description, "outputDataConfig", dict)
    uri = required(optional(place, "s3OutputDataConfig", dict) or {}, "s3Uri", str).rstrip("/")
    return uri if uri.rpartition("/")[2] == invocation else f"{uri}/{invocation}"
