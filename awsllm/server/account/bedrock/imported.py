"""Import jobs, and the models that they make of files in S3.

A job reads what a model must have there: ``config.json``, whose architecture decides how the model is spoken to,
weights as safetensors, a tokenizer. What answers is the model behind the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.job_operations import all_jobs, begin_job, find_job, new_job, times
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    BedrockRecord,
    all_of,
    bedrock_arn,
    find,
    forget,
    keep,
    once,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, objects
from awsllm.types import JsonObject

MODELS = "imported-model"
_NOUN = "imported model"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, MODELS, request["importedModelName"], _NOUN)
    refuse_full(region, MODELS, "imported-models", "imported models")
    job = new_job(IMPORT, region, bedrock_arn(region, IMPORT.path), request)
    return begin_job(IMPORT, region, job, request.get("jobTags"))


def _import(region: Region, job: JobRecord) -> None:
    source = job.request["modelDataSource"]["s3DataSource"]["s3Uri"].rstrip("/") + "/"
    with region.account.lock:
        architecture, instructed = _read(region, source)
        arn = bedrock_arn(region, MODELS)
        shown = {
            "jobName": job.name,
            "jobArn": job.arn,
            "modelDataSource": job.request["modelDataSource"],
            "modelArchitecture": architecture,
            "modelKmsKeyArn": job.request.get("importedModelKmsKeyId"),
            "instructSupported": instructed,
        }
        name, now = job.request["importedModelName"], region.now()
        model = BedrockRecord(arn, name, {}, now, now, "Active", shown=shown)
        keep(region, MODELS, model, job.request.get("importedModelTags"))
        job.shown["importedModelArn"] = arn


def _read(region: Region, source: str) -> tuple[str, bool]:
    """The architecture of the files under ``source``, and whether they have a chat template. Raises ``JobFailure``
    naming what is missing."""
    store = objects(region)
    files = {uri.removeprefix(source): uri for uri in store.list(source)}
    if not files:
        raise JobFailure(f"No objects were found at {source}. Check the S3 URI and the role's access to it.")
    config = _json(store.read(files["config.json"]), "config.json") if "config.json" in files else None
    if config is None:
        raise JobFailure(f"config.json was not found at {source}.")
    if not any(name.endswith(".safetensors") for name in files):
        raise JobFailure(f"No weights in the safetensors format were found at {source}.")
    if not any(name in files for name in _TOKENIZERS):
        raise JobFailure(f"No tokenizer ({' or '.join(_TOKENIZERS)}) was found at {source}.")
    named = config.get("model_type")
    if not isinstance(named, str) or not named:
        raise JobFailure("config.json names no model_type, which says what the model's architecture is.")
    return named, "chat_template.jinja" in files or _has_template(files, store)


def _has_template(files: Mapping[str, str], store: Any) -> bool:
    uri = files.get("tokenizer_config.json")
    return uri is not None and "chat_template" in _json(store.read(uri), "tokenizer_config.json")


def _json(data: bytes, name: str) -> JsonObject:
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise JobFailure(f"{name} is not a JSON object.")
    return found


IMPORT = Kind("model-import", "model-import-job", _import)


# --- what is shown ---------------------------------------------------------------------------------------------------


def _described_job(job: JobRecord) -> JsonObject:
    members = ("importedModelName", "roleArn", "modelDataSource", "vpcConfig")
    return {
        "jobArn": job.arn,
        "jobName": job.name,
        **{name: job.request.get(name) for name in members},
        "status": job.status,
        "failureMessage": job.reason,
        "importedModelKmsKeyArn": job.request.get("importedModelKmsKeyId"),
        **times(job),
        **job.shown,
    }


def _get_job(region: Region, request: JsonObject) -> JsonObject:
    return _described_job(find_job(IMPORT, region, request["jobIdentifier"]))


def _list_jobs(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_described_job, all_jobs(IMPORT, region))
    equal = {"statusEquals": "status", "nameContains": "jobName"}
    return page(request, rows, "modelImportJobSummaries", equal=equal)


def _described(record: BedrockRecord) -> JsonObject:
    return {"modelArn": record.arn, "modelName": record.name, "creationTime": record.created, **record.shown}


def _get(region: Region, request: JsonObject) -> JsonObject:
    return _described(find(region, MODELS, request["modelIdentifier"], _NOUN))


def _list(region: Region, request: JsonObject) -> JsonObject:
    rows = map(_described, all_of(region, MODELS))
    return page(request, rows, "modelSummaries", equal={"nameContains": "modelName"})


def _delete(region: Region, request: JsonObject) -> JsonObject:
    forget(region, MODELS, find(region, MODELS, request["modelIdentifier"], _NOUN))
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelImportJob": _create,
    "GetModelImportJob": _get_job,
    "ListModelImportJobs": _list_jobs,
    "GetImportedModel": _get,
    "ListImportedModels": _list,
    "DeleteImportedModel": _delete,
}
