"""The two operations of training sessions that are answered at once: a body for the model as its session has it.

The body goes to the model and back as it is; it is OpenAI's chat format, and a stream is server-sent events (botocore's
service model of ``sagemakertrainingsessionruntime``). The weights are those of the package that a header names; without
it those that the session last saved, or the base's.
"""

from __future__ import annotations

import re
import shutil
import uuid
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import msgspec

from awsllm.errors import AwsllmError, RequestError, ThrottlingError, ValidationError
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure
from awsllm.server.account.refusals import invalid
from awsllm.server.account.sessions import packages
from awsllm.server.account.sessions.records import TrainingSessionRecord
from awsllm.server.account.sessions.runtime import SERVICE, working
from awsllm.server.container import PLAIN
from awsllm.server.shapes import check
from awsllm.server.surfaces import sagemaker
from awsllm.server.work import Incoming, Reply, Work
from awsllm.wire.reading import JSON

_PATH = re.compile(r"/training-sessions/([^/]+)/(sample|sample-with-response-stream)")
_NAMES = {"sample": "SampleTrainingSession", "sample-with-response-stream": "SampleTrainingSessionWithResponseStream"}
_PACKAGE = "x-amzn-sagemaker-model-package"


def samples(incoming: Incoming) -> bool:
    """Whether it is one of them, and not a call of S3 whose bucket has that name."""
    return incoming.method == "POST" and not incoming.query and _PATH.fullmatch(incoming.path) is not None


def answer(region: Region, incoming: Incoming) -> Work:
    """What is asked of the model. May wait for the account, and for weights to be merged. Raises the refusal."""
    found = _PATH.fullmatch(incoming.path)
    name, operation = (unquote(found[1]), _NAMES[found[2]]) if found else ("", _NAMES["sample"])
    package = incoming.headers.get(_PACKAGE)
    check(
        SERVICE,
        operation,
        {"trainingSessionName": name, "body": "", **({"modelPackageArn": package} if package else {})},
    )
    with region.account.lock:
        if refusal := region.account.take_refusal(operation):
            raise refusal
        record = working(region, name)
        record.used = region.now()
        region.account.performed(operation, {"trainingSessionName": name, "modelPackageArn": package})
    if package:
        packages.check_arn(package)
    path = _weights(region, record, package or record.sampling)
    called = f"training-session/{record.name}/{sha256(str(path).encode()).hexdigest()[:12]}"
    region.account.models.trained[called] = str(path)
    return sagemaker.invoked(PLAIN, "InvokeEndpoint", called, incoming)


def _weights(region: Region, record: TrainingSessionRecord, package: str | None) -> Path:
    """A model's file or folder with the weights of a package; the base's without."""
    base = Path(record.base)
    if package is None:
        return base
    target = region.account.folder() / f"session-{sha256(f'{base} {package}'.encode()).hexdigest()[:24]}"
    target = target.with_name(f"{target.name}.gguf") if base.is_file() else target
    if target.exists():
        return target
    from awsllm.jobs.sessions import local

    part = target.with_name(f"{uuid.uuid4().hex}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with packages.fetched(region, package) as adapter:
            local.merge(base, adapter, part)
        with region.account.lock:
            if not target.exists():  # another may have been faster
                part.rename(target)
    except JobFailure as failure:
        raise invalid(str(failure)) from failure
    except ValidationError as error:
        raise invalid(f"The model package {package} has no weights of this session's model.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
    return target


def failure(error: AwsllmError) -> Reply:
    """A refusal in the runtime's words."""
    match error:
        case ThrottlingError():
            status, code = 429, "ThrottlingException"
        case RequestError():
            status, code = error.status or 400, error.code or "ValidationException"
        case _:
            status, code = 500, "InternalServerException"
    headers = {"Content-Type": JSON, "x-amzn-ErrorType": code}
    return Reply(status, headers, msgspec.json.encode({"message": error.message}))
