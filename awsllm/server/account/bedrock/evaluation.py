"""Evaluation jobs: created, looked at, listed, stopped, deleted. ``evaluation_run`` says what one does.

A job is InProgress until it is Completed, Failed or Stopped; what of it is wrong is in ``failureMessages``. The
transition ``evaluation`` says how long it lasts.
"""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.models.opaque import opaque_kind
from awsllm.models.profiles import profile
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.evaluation_run import run
from awsllm.server.account.bedrock.job_operations import all_jobs, begin_job, find_job, new_job, stop_job
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.rag_run import base_of
from awsllm.server.account.bedrock.records import bedrock_arn, once
from awsllm.server.account.bedrock.refusals import missing
from awsllm.server.account.bedrock.resolve import family_of
from awsllm.server.account.jobs import JobRecord, Kind
from awsllm.server.account.refusals import invalid
from awsllm.types import JsonObject

EVALUATION = Kind("evaluation", "evaluation-job", run, working="InProgress")


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    models = request["inferenceConfig"].get("models", ())
    if "automated" in request["evaluationConfig"] and len(models) > 1:
        raise invalid("An automated model evaluation job supports a single model.")
    for one in models:
        if "bedrockModel" in one:
            _check_model(region, one["bedrockModel"]["modelIdentifier"])
    sources = request["inferenceConfig"].get("ragConfigs", ())
    if "automated" in request["evaluationConfig"] and len(sources) > 1:
        raise invalid("An automated RAG evaluation job supports a single RAG source.")
    for one in sources:
        _check_source(region, one)
    if sources and not evaluators(request["evaluationConfig"]):
        raise invalid("evaluatorModelConfig is required for RAG evaluation jobs.")
    for judge in evaluators(request["evaluationConfig"]):
        _check_model(region, judge)
    job = new_job(EVALUATION, region, bedrock_arn(region, EVALUATION.path), request)
    return begin_job(EVALUATION, region, job, request.get("jobTags"))


def _check_source(region: Region, source: JsonObject) -> None:
    """The model that writes must be one; a knowledge base that is missing fails the job."""
    generate = source.get("knowledgeBaseConfig", {}).get("retrieveAndGenerateConfig")
    if generate is None:
        return
    base = generate.get("knowledgeBaseConfiguration")
    if base is None:
        raise invalid("A RAG evaluation job needs a knowledgeBaseConfiguration.")
    if ":foundation-model/" not in base["modelArn"]:
        _check_model(region, base["modelArn"])


def _check_model(region: Region, model: str) -> None:
    if opaque_kind(model):
        if family_of(region, model) is None:
            raise missing("model", model)
    elif ":endpoint/" not in model and profile("bedrock", model).provider == "unknown":
        raise invalid("The provided model identifier is invalid.")


def evaluators(config: JsonObject) -> list[str]:
    """The models that judge: for metrics of the service's own, and for custom ones."""
    automated = config.get("automated", {})
    named = [automated.get("evaluatorModelConfig"), automated.get("customMetricConfig", {}).get("evaluatorModelConfig")]
    return [one["modelIdentifier"] for models in named if models for one in models["bedrockEvaluatorModels"]]


def _described(job: JobRecord) -> JsonObject:
    members = ("jobDescription", "roleArn", "customerEncryptionKeyId", "evaluationConfig", "inferenceConfig")
    return {
        **{name: job.request[name] for name in members if name in job.request},
        "outputDataConfig": job.request["outputDataConfig"],
        "applicationType": _application(job),
        **_shared(job),
        "lastModifiedTime": job.modified,
        **({"failureMessages": [job.reason]} if job.reason else {}),
    }


def _shared(job: JobRecord) -> JsonObject:
    """What is shown of a job alone and in a list."""
    return {
        "jobName": job.name,
        "jobArn": job.arn,
        "status": job.status,
        "creationTime": job.created,
        "jobType": "Automated" if "automated" in job.request["evaluationConfig"] else "Human",
    }


def _application(job: JobRecord) -> str:
    given = "RagEvaluation" if "ragConfigs" in job.request["inferenceConfig"] else "ModelEvaluation"
    return str(job.request.get("applicationType", given))


def _summary(job: JobRecord) -> JsonObject:
    config, models = job.request["evaluationConfig"], job.request["inferenceConfig"].get("models", ())
    datasets = next(iter(config.values()))["datasetMetricConfigs"]
    used = [one["bedrockModel"]["modelIdentifier"] for one in models if "bedrockModel" in one]
    given = [one["precomputedInferenceSource"] for one in models if "precomputedInferenceSource" in one]
    summary = {
        "bedrockModelIdentifiers": used,
        "precomputedInferenceSourceIdentifiers": [one["inferenceSourceIdentifier"] for one in given],
    }
    bases = [base_of(one) for one in job.request["inferenceConfig"].get("ragConfigs", ())]
    searched = {"ragConfigSummary": {"bedrockKnowledgeBaseIdentifiers": bases}} if any(bases) else {}
    return {
        **_shared(job),
        "evaluationTaskTypes": [one["taskType"] for one in datasets],
        "modelIdentifiers": used,
        **({"ragIdentifiers": bases} if any(bases) else {}),
        "evaluatorModelIdentifiers": evaluators(config)[:1],
        "inferenceConfigSummary": searched or {"modelConfigSummary": summary},
        "applicationType": _application(job),
    }


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find_job(EVALUATION, region, request["jobIdentifier"]))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_summary, all_jobs(EVALUATION, region))
    equal = {"statusEquals": "status", "nameContains": "jobName", "applicationTypeEquals": "applicationType"}
    listed = page(request, rows, "jobSummaries", equal=equal)
    return {name: value for name, value in listed.items() if value}  # the service has no empty list of them


def _stop(region: Region, request: JsonObject) -> JsonObject:
    return stop_job(EVALUATION, region, request["jobIdentifier"])


def _delete(region: Region, request: JsonObject) -> JsonObject:
    """Those that have ended go at once; of the others it is told why not."""
    table = region.state.table(EVALUATION.path)
    gone: list[JsonObject] = []
    errors: list[JsonObject] = []
    for arn in request["jobIdentifiers"]:
        job = table.get(arn)
        if job is None:
            errors.append({"jobIdentifier": arn, "code": "404", "message": "There is no such evaluation job."})
        elif job.ended is None:
            errors.append({"jobIdentifier": arn, "code": "409", "message": f"The job is {job.status}: stop it first."})
        else:
            del table[arn]
            region.state.tags.pop(arn, None)
            gone.append({"jobIdentifier": arn, "jobStatus": "Deleting"})
    return {"errors": errors, "evaluationJobs": gone}


OPERATIONS: Mapping[str, Operation] = {
    "CreateEvaluationJob": _create,
    "GetEvaluationJob": _get,
    "ListEvaluationJobs": _list,
    "StopEvaluationJob": _stop,
    "BatchDeleteEvaluationJob": _delete,
}
"""What this control plane has of evaluation; a job's tags are in ``tags``."""
