"""Training, batch transform and asynchronous invocations: they run, over objects that are really there.

    training       reads every channel; at its end writes ``S3OutputPath/NAME/output/model.tar.gz``, or the same files
                   under ``output/model/`` without compression: the hyperparameters and what was read. No weights are
                   trained here, and no metric is made up: metrics are those whose expression matches the job's log.
    transform      answers each record of each object through the model's container, writes ``KEY.out``; one record
                   that fails fails the job, and writes nothing for its object
    asynchronous   answers at once into the endpoint's output path, or its failure path

A job is InProgress for as long as its transition lasts (``training``, ``transform``); what it does happens when that
ends. Channels in JumpStart's own buckets are not read: there are no such objects here. ``ControlPlane.fail`` works for
jobs as it does for endpoints.
"""

from __future__ import annotations

import io
import re
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

import msgspec
from msgspec.structs import replace

from awsllm.errors import AwsllmError, ServerError, ValidationError
from awsllm.server.account import containers
from awsllm.server.account.plane import (
    Answerer,
    ControlPlane,
    ObjectStore,
    Wait,
    could_not_find,
    invalid,
    listed,
    refused,
    tags_of,
)
from awsllm.server.account.rules import check_licence
from awsllm.server.shapes import check
from awsllm.server.work import Incoming, Reply
from awsllm.types import ConverseRequest, EmbedRequest, ImageRequest, JsonObject, RerankRequest
from awsllm.wire.body import Payload
from awsllm.wire.endpoint.format import ReplyContext

_PUBLIC_BUCKETS = re.compile(r"s3://(jumpstart-|sagemaker-sd-models-)")
_ELSEWHERE = "job-elsewhere"  # transform jobs of models that were made elsewhere, which are left alone with them
_MAX_INLINE = 128_000  # bytes, ``BodyBlob`` of InvokeEndpointAsync


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of job is named on the wire. ``stages`` are its secondary statuses while it is in progress."""

    noun: str
    member: str
    path: str
    group: str
    run: Callable[[ControlPlane, str, Job], None]
    stages: tuple[str, ...] = ()


@dataclass(slots=True)
class Job:
    """``shown`` is what Describe tells beside the request. ``wait`` is None once the job has ended."""

    kind: Kind
    name: str
    arn: str
    request: JsonObject
    created: float
    wait: Wait | None
    lasts: int
    status: str = "InProgress"
    secondary: str = ""
    reason: str | None = None
    ended: float | None = None
    shown: JsonObject = field(default_factory=dict)


# --- what both kinds share -------------------------------------------------------------------------------------------


def _create(kind: Kind, plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    name = request[f"{kind.member}Name"]
    arn = plane.arn(region, kind.path, name)
    if name in plane.state(region).table(kind.path):
        message = f"Job name must be unique within an AWS account and region, and a job with this name exists ({arn})"
        raise refused("ResourceInUse", message)
    wait = plane.wait(kind.noun)
    job = Job(kind, name, arn, request, plane.clock(), wait, wait.looks)
    plane.state(region).table(kind.path)[name] = job
    plane.state(region).tags[arn] = tags_of(request)
    _settle(plane, region, job, look=False)
    return {f"{kind.member}Arn": arn}


def _find(kind: Kind, plane: ControlPlane, region: str, request: JsonObject) -> Job | None:
    """The job, or None for one that was left to others (``_ELSEWHERE``)."""
    name = request[f"{kind.member}Name"]
    job: Job | None = plane.state(region).table(kind.path).get(name)
    if job is None and name not in plane.state(region).table(_ELSEWHERE):
        raise could_not_find(f"{kind.noun} job", plane.arn(region, kind.path, name))
    return job


def _settle(plane: ControlPlane, region: str, job: Job, *, look: bool) -> None:
    """End the job if its time has come. A look counts; a listing is none."""
    if job.wait is None:
        return
    if (not look and job.wait.looks > 0) or not job.wait.look(plane.clock()):
        job.secondary = _stage(job)
        return
    job.wait = None
    if job.status == "Stopping":
        _end(plane, job, "Stopped")
        return
    job.reason = plane.failure(job.name) or _run(plane, region, job)
    if job.reason:
        _log(plane, region, job, f"Error: {job.reason}")
    _end(plane, job, "Failed" if job.reason else "Completed")


def _run(plane: ControlPlane, region: str, job: Job) -> str | None:
    """Do what the job is for. Returns why it failed, if it did."""
    try:
        job.kind.run(plane, region, job)
    except _Failed as failure:
        return str(failure)
    return None


class _Failed(Exception):
    """Why a job fails, as its FailureReason says it."""


def _stage(job: Job) -> str:
    """Which of its stages a job has come to: they share its looks evenly."""
    if not job.kind.stages or job.wait is None:
        return ""
    if job.status == "Stopping":
        return "Stopping"
    seen = job.lasts - job.wait.looks
    return job.kind.stages[min(seen * len(job.kind.stages) // (job.lasts + 1), len(job.kind.stages) - 1)]


def _end(plane: ControlPlane, job: Job, status: str) -> None:
    job.status, job.secondary, job.ended = status, status if job.kind.stages else "", plane.clock()


def _describe(kind: Kind, plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    job = _find(kind, plane, region, request)
    if job is None:
        return None
    _settle(plane, region, job, look=True)
    asked = {member: value for member, value in job.request.items() if member != "Tags"}
    told = {
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "SecondaryStatus": job.secondary,
        "FailureReason": job.reason,
        "CreationTime": job.created,
        f"{kind.member.removesuffix('Job')}StartTime": job.created,
        f"{kind.member.removesuffix('Job')}EndTime": job.ended,
    }
    return {**asked, **{member: value for member, value in told.items() if value}, **job.shown}


def _stop(kind: Kind, plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    job = _find(kind, plane, region, request)
    if job is None:
        return None
    _settle(plane, region, job, look=False)
    if job.status != "InProgress":
        raise invalid(f"The request was rejected because the {kind.noun} job is in status {job.status}.")
    job.status, job.wait = "Stopping", Wait(looks=min(1, job.lasts))
    _settle(plane, region, job, look=False)
    return {}


def _list(kind: Kind, plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    jobs: list[Job] = list(plane.state(region).table(kind.path).values())
    for job in jobs:
        _settle(plane, region, job, look=False)
    name, status = f"{kind.member}Name", f"{kind.member}Status"
    page, more = listed(request, [_row(kind, job) for job in jobs], name=name, status=status)
    return {f"{kind.member}Summaries": page, **more}


def _row(kind: Kind, job: Job) -> JsonObject:
    return {
        f"{kind.member}Name": job.name,
        f"{kind.member}Arn": job.arn,
        f"{kind.member}Status": job.status,
        "CreationTime": job.created,
        "LastModifiedTime": job.ended or job.created,
        **({f"{kind.member.removesuffix('Job')}EndTime": job.ended} if job.ended else {}),
    }


def _log(plane: ControlPlane, region: str, job: Job, *lines: str) -> None:
    plane.neighbours.log(region, job.kind.group, f"{job.name}/algo-1-{int(job.created)}", lines)


def _objects(plane: ControlPlane) -> ObjectStore:
    if plane.objects is None:
        raise _Failed("InternalServerError: there is no S3 beside this control plane")
    return plane.objects


def _read(plane: ControlPlane, uri: str) -> dict[str, bytes]:
    """The objects at or under a URI, by their own; placeholders of folders left out."""
    objects = _objects(plane)
    return {one: objects.read(one) for one in objects.list(uri) if not one.endswith("/")}


def _write(plane: ControlPlane, uri: str, data: bytes) -> None:
    try:
        _objects(plane).write(uri, data)
    except KeyError:
        raise _Failed(f"ClientError: cannot write {uri}: the bucket does not exist") from None


# --- training --------------------------------------------------------------------------------------------------------


def _create_training(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject:
    for channel in request.get("InputDataConfig") or ():
        if source := channel["DataSource"].get("S3DataSource"):
            check_licence(plane, region, source)
    if "TrainingImage" not in request["AlgorithmSpecification"]:
        raise invalid("AlgorithmSpecification has no TrainingImage.")
    return _create(TRAINING, plane, region, request)


def _train(plane: ControlPlane, region: str, job: Job) -> None:
    channels = {channel["ChannelName"]: _channel(plane, channel) for channel in job.request.get("InputDataConfig", ())}
    lines = list(_training_log(job, channels))
    _log(plane, region, job, *lines)
    files = {
        "hyperparameters.json": _json(job.request.get("HyperParameters") or {}),
        "training.json": _json({"job": job.name, "channels": channels}),
    }
    job.shown |= {
        "ModelArtifacts": {"S3ModelArtifacts": _write_artifacts(plane, job, files)},
        "FinalMetricDataList": list(_metrics(job, lines, plane.clock())),
        "TrainingTimeInSeconds": max(1, int(plane.clock() - job.created)),
        "BillableTimeInSeconds": max(1, int(plane.clock() - job.created)),
    }


def _channel(plane: ControlPlane, channel: JsonObject) -> JsonObject:
    """What one channel holds. Raises what AWS says of a channel without data."""
    uri = str((channel["DataSource"].get("S3DataSource") or {}).get("S3Uri", ""))
    if _PUBLIC_BUCKETS.match(uri):
        return {"S3Uri": uri, "Read": False}
    found = _read(plane, uri)
    name = channel["ChannelName"]
    if not found:
        raise _Failed(
            f"ClientError: Data download failed: No objects were found at {uri} for channel {name}. Please ensure that "
            "the bucket exists, that the prefix is right and that the role can list it."
        )
    if not any(found.values()):
        raise _Failed(f"AlgorithmError: the channel {name} has no data: every object under {uri} is empty")
    records = sum(len(data.splitlines()) for data in found.values())
    return {"S3Uri": uri, "Read": True, "Objects": len(found), "Bytes": sum(map(len, found.values())), "Lines": records}


def _training_log(job: Job, channels: Mapping[str, JsonObject]) -> Iterator[str]:
    yield f"Training image {job.request['AlgorithmSpecification']['TrainingImage']}"
    for name, value in sorted((job.request.get("HyperParameters") or {}).items()):
        yield f"hyperparameter {name}={value}"
    for name, told in channels.items():
        yield f"channel {name}: {told['Lines']} lines, {told['Bytes']} bytes" if told["Read"] else f"channel {name}"
    yield "Training finished; nothing was learnt: this is an offline control plane"


def _metrics(job: Job, lines: list[str], now: float) -> Iterator[JsonObject]:
    for metric in job.request["AlgorithmSpecification"].get("MetricDefinitions") or ():
        values = [found[1] for line in lines if (found := re.search(metric["Regex"], line)) and found.groups()]
        if values:
            yield {"MetricName": metric["Name"], "Value": float(values[-1]), "Timestamp": now}


def _write_artifacts(plane: ControlPlane, job: Job, files: Mapping[str, bytes]) -> str:
    """Where the artifact is: an archive, or a prefix."""
    output = job.request["OutputDataConfig"]
    base = f"{output['S3OutputPath'].rstrip('/')}/{job.name}/output"
    if output.get("CompressionType") == "NONE":
        for name, data in files.items():
            _write(plane, f"{base}/model/{name}", data)
        return f"{base}/model/"
    _write(plane, f"{base}/model.tar.gz", _archive(files))
    return f"{base}/model.tar.gz"


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _json(value: JsonObject) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value))


# --- transform -------------------------------------------------------------------------------------------------------


def _create_transform(plane: ControlPlane, region: str, request: JsonObject) -> JsonObject | None:
    name = request["ModelName"]
    model = plane.state(region).table("model").get(name)
    if model is None:
        if plane.neighbours.knows(region, "model", name):
            plane.state(region).table(_ELSEWHERE)[request["TransformJobName"]] = request
            return None
        raise could_not_find("model", plane.arn(region, "model", name))
    for container in [*model.get("Containers", ()), *filter(None, [model.get("PrimaryContainer")])]:
        if "ModelDataSource" in container:
            raise invalid("ModelDataSource is not supported with batch transform: use ModelDataUrl.")
    return _create(TRANSFORM, plane, region, request)


def _transform(plane: ControlPlane, region: str, job: Job) -> None:
    asked = job.request["TransformInput"]
    uri = asked["DataSource"]["S3DataSource"]["S3Uri"]
    found = _read(plane, uri)
    if not found:
        raise _Failed(f"ClientError: No objects were found at {uri}")
    container = containers.of_model(plane, region, job.request["ModelName"])
    failures = 0
    for source, data in found.items():
        try:
            answered = [_answer_record(plane, job, container, record) for record in _records(asked, data)]
        except AwsllmError as error:
            failures += 1
            _log(plane, region, job, f"{source}: {error.message}")
            continue
        output = job.request["TransformOutput"]
        glue = b"\n" if output.get("AssembleWith") == "Line" else b""
        target = f"{output['S3OutputPath'].rstrip('/')}/{_beneath(uri, source)}.out"
        _write(plane, target, b"".join(one + glue for one in answered))
    if failures:
        raise _Failed(
            f"AlgorithmError: {failures} of {len(found)} input objects failed. See job logs for more information"
        )


def _records(asked: JsonObject, data: bytes) -> list[bytes]:
    if asked.get("SplitType") == "Line":
        return [line for line in data.splitlines() if line.strip()]
    return [data]


def _beneath(prefix: str, uri: str) -> str:
    """The key of an object below the prefix that was read; its name where the object itself was."""
    relative = uri.removeprefix(prefix).lstrip("/") if uri != prefix else ""
    return relative if relative and (prefix.endswith("/") or uri[len(prefix)] == "/") else uri.rpartition("/")[2]


def _answer_record(plane: ControlPlane, job: Job, container: containers.Container, record: bytes) -> bytes:
    asked, told = job.request["TransformInput"], job.request["TransformOutput"]
    payload = Payload(record, asked.get("ContentType", "application/json"), told.get("Accept", "application/json"))
    return invoke(plane, container, job.request["ModelName"], payload).body


# --- the model behind a container ------------------------------------------------------------------------------------


def invoke(plane: ControlPlane, container: containers.Container, name: str, payload: Payload) -> Payload:
    """What a container answers to one payload, whole. Raises awsllm's errors."""
    if plane.backend is None:
        raise ServerError("no model answers behind this control plane")
    backend, form = plane.backend, container.format
    asked, _ = form.decode_request(name, payload, container.settings)
    context = ReplyContext(request=asked, settings=container.settings)
    match asked:
        case ConverseRequest():
            request = replace(asked, model=plane.models.chat or name)
            return form.encode_converse_response(backend.converse(request), context)
        case EmbedRequest():
            wanted = replace(asked, model=plane.models.embed or name)
            return form.encode_embed_response(backend.embed(wanted), context)
        case ImageRequest():
            return form.encode_image_response(backend.generate_image(asked), context)
        case RerankRequest():
            return form.encode_rerank_response(backend.rerank(asked), context)
        case _:
            assert_never(asked)


# --- asynchronous ----------------------------------------------------------------------------------------------------


def invoke_async(plane: ControlPlane, region: str, endpoint: str, incoming: Incoming) -> Reply | None:
    """InvokeEndpointAsync: a 202 that names two places in S3, one of which holds the answer by then. None for an
    endpoint that was made elsewhere. Raises the runtime's refusal."""
    headers = incoming.headers
    found = plane.container(endpoint, None, region)
    if found is None:
        return None
    config = plane.state(region).table("endpoint")[endpoint].active["config"].get("AsyncInferenceConfig")
    if config is None:
        raise _runtime(f"Endpoint {endpoint} does not have asynchronous inference configured.")
    check("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": endpoint})
    job_id = headers.get("x-amzn-sagemaker-inference-id") or secrets.token_hex(16)
    places = _places(config["OutputConfig"], headers, job_id)
    payload = Payload(
        _async_input(plane, incoming),
        headers.get("x-amzn-sagemaker-content-type", "application/json"),
        headers.get("x-amzn-sagemaker-accept", "application/json"),
        headers.get("x-amzn-sagemaker-custom-attributes"),
    )
    _answer_async(plane, found, endpoint, payload, places)
    told = {
        "Content-Type": "application/json",
        "X-Amzn-SageMaker-OutputLocation": places[0],
        **({"X-Amzn-SageMaker-FailureLocation": places[1]} if places[1] else {}),
    }
    return Reply(202, told, msgspec.json.encode({"InferenceId": job_id}))


def _runtime(message: str) -> ValidationError:
    return ValidationError(message, code="ValidationError", status=400)


def _places(output: JsonObject, headers: Mapping[str, str], job_id: str) -> tuple[str, str]:
    """Where the answer goes, and where a failure does ("" without a failure path)."""
    extension = headers.get("x-amzn-sagemaker-s3outputpathextension", "").strip("/")
    name = headers.get("x-amzn-sagemaker-filename") or f"{job_id}.out"
    folder = f"{extension}/" if extension else ""
    failures = output.get("S3FailurePath", "").rstrip("/")
    answer = f"{output['S3OutputPath'].rstrip('/')}/{folder}{name}"
    return answer, f"{failures}/{folder}{name.removesuffix('.out')}-error.out" if failures else ""


def _async_input(plane: ControlPlane, incoming: Incoming) -> bytes:
    location = incoming.headers.get("x-amzn-sagemaker-inputlocation")
    if bool(location) == bool(incoming.body):
        raise _runtime("Provide either InputLocation or Body, and not both.")
    if not location:
        if len(incoming.body) > _MAX_INLINE:
            raise _runtime(f"Body has more than {_MAX_INLINE} bytes.")
        return incoming.body
    try:
        return _objects(plane).read(location)
    except KeyError:
        raise _runtime(f"Error reading input from S3: {location} does not exist.") from None


def _answer_async(
    plane: ControlPlane, container: containers.Container, endpoint: str, payload: Payload, places: tuple[str, str]
) -> None:
    answer, failed = places
    try:
        _write(plane, answer, invoke(plane, container, endpoint, payload).body)
    except _Failed as failure:  # nowhere to tell it but here
        raise _runtime(str(failure)) from None
    except AwsllmError as error:
        status, original = container.format.encode_error(error)
        side = "client" if status < 500 else "server"
        text = f'Received {side} error ({status}) from primary with message "{original.body.decode()}"'
        if failed:
            _write(plane, failed, text.encode())


# --- tables ----------------------------------------------------------------------------------------------------------

TRAINING = Kind(
    "training", "TrainingJob", "training-job", "/aws/sagemaker/TrainingJobs", _train,
    ("Starting", "Downloading", "Training", "Uploading"),
)  # fmt: skip
TRANSFORM = Kind("transform", "TransformJob", "transform-job", "/aws/sagemaker/TransformJobs", _transform)


def _of(kind: Kind, answer: Callable[[Kind, ControlPlane, str, JsonObject], JsonObject | None]) -> Answerer:
    return lambda plane, region, request: answer(kind, plane, region, request)


OPERATIONS: Mapping[str, Answerer] = {
    "CreateTrainingJob": _create_training,
    "DescribeTrainingJob": _of(TRAINING, _describe),
    "StopTrainingJob": _of(TRAINING, _stop),
    "ListTrainingJobs": _of(TRAINING, _list),
    "CreateTransformJob": _create_transform,
    "DescribeTransformJob": _of(TRANSFORM, _describe),
    "StopTransformJob": _of(TRANSFORM, _stop),
    "ListTransformJobs": _of(TRANSFORM, _list),
}
