"""Import jobs, and the models that they make of files in S3.

A job reads what a model must have there: ``config.json``, whose architecture decides how the model is spoken to,
weights as safetensors, a tokenizer. Where a local model answers for the account, the files are copied and loaded once,
and the imported model answers with its own weights; where a script or AWS answers, that does, and no weights are read.
An adapter is no model: it is merged into its base first.

The words for a file that is not there are Bedrock's as users report them
(huggingface.co/defog/llama-3-sqlcoder-8b/discussions/22, read 2026-11-27); the others are unproved.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from awsllm.backends.local import trial
from awsllm.errors import ConfigurationError
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.job_operations import all_jobs, begin_job, find_job, new_job, refuse_promised, times
from awsllm.server.account.bedrock.pages import page
from awsllm.server.account.bedrock.records import (
    BedrockRecord,
    all_of,
    bedrock_arn,
    find,
    forget,
    id_of,
    keep,
    once,
    read_tags,
    refuse_full,
    refuse_taken,
)
from awsllm.server.account.bedrock.tuning import TRAINED
from awsllm.server.account.jobs import JobFailure, JobRecord, Kind, check_stopped, objects
from awsllm.server.account.sessions import packages
from awsllm.types import ConverseRequest, JsonObject, Message, Text

MODELS = "imported-model"
_NOUN = "imported model"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_ADAPTER = "adapter_config.json"
_GGUF = "model.gguf"  # taken of what a training session merged here (``sessions.packages``); AWS takes none
_TAKEN = re.compile(r"[\w.-]+\.(safetensors|json|jinja|model|txt)")  # at the top of the prefix, no folders


@once
def _create(region: Region, request: JsonObject) -> JsonObject:
    refuse_taken(region, MODELS, request["importedModelName"], _NOUN)
    refuse_promised(IMPORT, region, "importedModelName", request["importedModelName"], _NOUN)
    read_tags(request.get("importedModelTags"))
    refuse_full(region, MODELS, "imported-models", "imported models")
    job = new_job(IMPORT, region, bedrock_arn(region, IMPORT.path), request)
    return begin_job(IMPORT, region, job, request.get("jobTags"))


def _import(region: Region, job: JobRecord) -> None:
    source = job.request["modelDataSource"]["s3DataSource"]["s3Uri"].rstrip("/") + "/"
    arn = bedrock_arn(region, MODELS)
    with region.account.lock:
        files = _files(region, source)
        architecture, instructed = _read(region, source, files)
        own = _answers_here(region, arn) or packages.merged_here(region, source)
    path = _copied(region, job, arn, files) if own else None
    with region.account.lock:
        shown = {
            "jobName": job.name,
            "jobArn": job.arn,
            "modelDataSource": job.request["modelDataSource"],
            "modelArchitecture": architecture,
            "modelKmsKeyArn": job.request.get("importedModelKmsKeyId"),
            "instructSupported": instructed,
        }
        name, now = job.request["importedModelName"], region.now()
        trained = {} if path is None else {TRAINED: str(path)}
        model = BedrockRecord(arn, name, trained, now, now, "Active", shown=shown)
        keep(region, MODELS, model, job.request.get("importedModelTags"))
        job.shown["importedModelArn"] = arn


def _files(region: Region, source: str) -> dict[str, str]:
    """The URIs of the objects under ``source``, by their names there."""
    files = {uri.removeprefix(source): uri for uri in objects(region).list(source)}
    if not files:
        raise JobFailure(f"No objects were found at {source}. Check the S3 URI and the role's access to it.")
    if not packages.merged_here(region, source):
        files.pop(_GGUF, None)
    return files


def _read(region: Region, source: str, files: Mapping[str, str]) -> tuple[str, bool]:
    """The architecture of the files under ``source``, and whether they have a chat template. Raises ``JobFailure``
    naming what is missing."""
    store = objects(region)
    if _GGUF in files:
        return _of_gguf(store.read(files[_GGUF]))
    if "config.json" not in files:
        merged = " An adapter is not imported: merge it into its base model first." if _ADAPTER in files else ""
        raise JobFailure(_expected(f"{source}config.json") + merged)
    config = _json(store.read(files["config.json"]), "config.json")
    if not any(name.endswith(".safetensors") for name in files):
        raise JobFailure(f"{_expected(f'{source}*.safetensors')} No weights in the safetensors format were found.")
    if not any(name in files for name in _TOKENIZERS):
        raise JobFailure(f"{_expected(f'{source}{_TOKENIZERS[0]}')} No tokenizer was found.")
    named = config.get("model_type")
    if not isinstance(named, str) or not named:
        raise JobFailure("config.json names no model_type, which says what the model's architecture is.")
    return named, "chat_template.jinja" in files or _has_template(files, store)


def _of_gguf(data: bytes) -> tuple[str, bool]:
    with TemporaryDirectory(prefix="awsllm-import-") as held:
        path = Path(held) / _GGUF
        path.write_bytes(data)
        return trial.of_gguf(path)


def _expected(uri: str) -> str:
    return (
        f"Amazon Bedrock could not find the expected file {uri}. Make sure the model is in Huggingface format and that "
        "the file exists."
    )


def _answers_here(region: Region, arn: str) -> bool:
    """Whether a local model would answer for it: then its own weights do. Else a script or AWS does."""
    asked = ConverseRequest(model=arn, messages=(Message("user", (Text("?"),)),))
    target = region.account.models.target(asked)
    return target is not None and not target.startswith(("bedrock:", "sagemaker:"))


def _copied(region: Region, job: JobRecord, arn: str, files: Mapping[str, str]) -> Path:
    """The model's files as a folder that loads. Raises ``JobFailure`` for what does not."""
    folder = _folder(region, arn)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, uri in files.items():
            if name == _GGUF or _TAKEN.fullmatch(name):
                check_stopped(region, job)
                with region.account.lock:
                    data = objects(region).read(uri)
                (folder / name).write_bytes(data)
        path = folder / _GGUF if (folder / _GGUF).is_file() else folder
        trial.load_once(path)
    except ConfigurationError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise JobFailure(f"The model's files cannot be loaded: {error.message}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path


def _folder(region: Region, arn: str) -> Path:
    return region.account.folder() / f"imported-{id_of(arn)}"


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
    record = find(region, MODELS, request["modelIdentifier"], _NOUN)
    forget(region, MODELS, record)
    if TRAINED in record.request:
        shutil.rmtree(_folder(region, record.arn), ignore_errors=True)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelImportJob": _create,
    "GetModelImportJob": _get_job,
    "ListModelImportJobs": _list_jobs,
    "GetImportedModel": _get,
    "ListImportedModels": _list,
    "DeleteImportedModel": _delete,
}
