"""Copy jobs: a custom model of another region of the account, to be used in this one."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock import custom
from awsllm.server.account.bedrock.job_operations import all_jobs, begin_job, find_job, new_job, refuse_promised, times
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import BedrockRecord, bedrock_arn, find, once, read_tags, refuse_taken
from awsllm.server.account.bedrock.tuning import TRAINED
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    source = _source(region, request["sourceModelArn"])
    refuse_taken(region, custom.MODELS, request["targetModelName"], custom.NOUN)
    refuse_promised(COPY, region, "targetModelName", request["targetModelName"], custom.NOUN)
    read_tags(request.get("targetModelTags"))
    job = new_job(COPY, region, bedrock_arn(region, COPY.path), request)
    job.shown = {
        "targetModelArn": custom.model_arn(region, source.shown["baseModelArn"]),
        "sourceModelName": source.name,
        "sourceAccountId": region.account.account_id,
    }
    return begin_job(COPY, region, job, None)


def _source(region: Region, arn: str) -> BedrockRecord:
    there = arn.split(":")[3]
    if there == region.name:
        raise invalid("The source model is in the region of the request: a model is copied to another region.")
    record: BedrockRecord = find(region.account.region(there), custom.MODELS, arn, custom.NOUN, look=False)
    if record.status != "Active" or "baseModelArn" not in record.shown:
        raise invalid(f"The custom model {record.name!r} cannot be copied.")
    return record


def _copy(region: Region, job: JobRecord) -> None:
    with region.account.lock:
        there = region.account.region(job.request["sourceModelArn"].split(":")[3])
        source = there.state.table(custom.MODELS).get(job.request["sourceModelArn"])
        if source is None:
            raise JobFailure("The source model was deleted before it was copied.")
        base = source.shown["baseModelArn"].replace(f":{there.name}:", f":{region.name}:")
        shown = {**source.shown, "baseModelArn": base, "modelArn": job.shown["targetModelArn"]}
        request = {"modelKmsKeyArn": job.request.get("modelKmsKeyId"), TRAINED: source.request.get(TRAINED)}
        custom.make_model(region, job.request["targetModelName"], request, shown, job.request.get("targetModelTags"))


COPY = Kind("model-copy", "model-copy-job", _copy)


def _described(job: JobRecord) -> JsonObject:
    return {
        "jobArn": job.arn,
        "status": job.status,
        **times(job),
        "targetModelName": job.request["targetModelName"],
        "sourceModelArn": job.request["sourceModelArn"],
        "targetModelKmsKeyArn": job.request.get("modelKmsKeyId"),
        "targetModelTags": job.request.get("targetModelTags"),
        "failureMessage": job.reason,
        **job.shown,
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find_job(COPY, region, request["jobArn"]))


def _list(region: Region, request: JsonObject) -> JsonObject:
    equal = {
        "statusEquals": "status",
        "sourceAccountEquals": "sourceAccountId",
        "sourceModelArnEquals": "sourceModelArn",
        "targetModelNameContains": "targetModelName",
    }
    return page(request, map(_described, all_jobs(COPY, region)), "modelCopyJobSummaries", equal=equal)


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelCopyJob": _create,
    "GetModelCopyJob": _get,
    "ListModelCopyJobs": _list,
}
