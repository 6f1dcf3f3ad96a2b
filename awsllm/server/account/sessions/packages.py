"""What sessions save: files in S3, and a model package for each, of which botocore's DescribeModelPackage tells.

    PATH/SESSION/VERSION/checkpoints/hf/           adapter_config.json, adapter_model.safetensors
                                    /hf_merged/    the whole model, if ``mergeWeights`` was asked for
                                    /state/        of ``saveState``: the adapter and the optimizer

``hf``, ``hf_merged`` and what the package says (``IsCheckpoint``, ``BaseModel``) are as AWS's SDK has them
(sagemaker-train 1.27, ``training_session``, and sagemaker-serve, ``BedrockModelBuilder``); ``state`` is made up. A
merged model is in the format of the model that stands for the base: safetensors, or GGUF, which AWS would not write,
and import jobs take here alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from awsllm.errors import ValidationError
from awsllm.server.account.account import Region
from awsllm.server.account.jobs import JobFailure, objects, write
from awsllm.server.account.packages import PACKAGES, container, keep, lies_at, new_version
from awsllm.server.account.sessions.records import TrainingSessionRecord
from awsllm.types import JsonObject

if TYPE_CHECKING:
    from awsllm.jobs.sessions.local import LocalSession

GROUP: Final = "sagemaker-default"
"""Where packages are registered without a group: the name that sagemaker-train 1.27 gives."""
ARN: Final = re.compile(r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/[\w-]{1,63}/[0-9]{1,9}")
_FILE = re.compile(r"\w[\w.-]*")
_ADAPTER, _MERGED, _STATE = "hf", "hf_merged", "state"


def save(
    region: Region, record: TrainingSessionRecord, place: LocalSession, config: JsonObject, *, checkpoint: bool
) -> str:
    """Write what was learned to S3. Returns the package's ARN. Raises ``JobFailure``."""
    base = record.request["ModelConfig"]["BaseModelArn"]
    with TemporaryDirectory(prefix="awsllm-session-") as held:
        folder = Path(held)
        if checkpoint:
            place.save_state(str(folder / _STATE))
        place.save_adapter(folder / _ADAPTER, base=base)
        if config.get("mergeWeights"):
            (folder / _MERGED).mkdir()
            made = place.save_merged(folder / _MERGED / "model")
            if made.is_dir():  # its files are what lies there
                for each in made.iterdir():
                    each.rename(folder / _MERGED / each.name)
                made.rmdir()
        with region.account.lock:
            package = _new(region, record, config.get("description"), checkpoint=checkpoint)
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                write(region, f"{_uri(package)}checkpoints/{each.relative_to(folder).as_posix()}", each.read_bytes())
    with region.account.lock:
        return keep(region, package)


def _new(region: Region, record: TrainingSessionRecord, description: str | None, *, checkpoint: bool) -> JsonObject:
    """The next version of the session's group, as it is described."""
    group = str(record.request.get("ModelPackageGroupArn") or GROUP)
    path = record.request["OutputConfig"]["S3Location"]["Path"].rstrip("/")
    package = new_version(region, group, record.request["ModelConfig"]["BaseModelArn"])
    uri = f"{path}/{record.name}/{package['ModelPackageVersion']}/"
    lies_at(package, uri)
    if checkpoint:
        container(package)["IsCheckpoint"] = True
    return {**package, **({"ModelPackageDescription": description} if description else {})}


def _uri(package: JsonObject) -> str:
    """Where it lies, with a slash at the end; empty where that is no prefix."""
    source = (container(package).get("ModelDataSource") or {}).get("S3DataSource") or {}
    return str(source.get("S3Uri") or "")


def check_arn(arn: str) -> None:
    """Raises the refusal of what is no ARN of a version."""
    if ARN.fullmatch(arn) is None:
        raise ValidationError(
            "modelPackageArn must be a valid SageMaker model package ARN in the format "
            "arn:aws:sagemaker:REGION:ACCOUNT:model-package/PACKAGE_NAME/VERSION.",
            code="ValidationException",
            status=400,
        )


@contextmanager
def fetched(region: Region, arn: str, *, state: bool = False) -> Iterator[Path]:
    """The folder of a package's adapter, or of its state where it has one and that is wanted. Raises ``JobFailure``."""
    with region.account.lock:
        package: JsonObject | None = region.state.table(PACKAGES).get(arn)
        if package is None:
            raise JobFailure(f"The model package {arn} does not exist.")
        kind = _STATE if state and container(package).get("IsCheckpoint") else _ADAPTER
        prefix = f"{_uri(package)}checkpoints/{kind}/"
        files = {uri.removeprefix(prefix): objects(region).read(uri) for uri in objects(region).list(prefix)}
    if not files:
        raise JobFailure(f"No objects were found at {prefix}.")
    with TemporaryDirectory(prefix="awsllm-session-") as held:
        for name, data in files.items():
            if _FILE.fullmatch(name):  # no folders, nor the empty objects by which consoles show them
                (Path(held) / name).write_bytes(data)
        yield Path(held)


def merged_here(region: Region, source: str) -> bool:
    """Whether what lies at an S3 prefix is a merged model that a session saved."""
    packages: list[JsonObject] = list(region.state.table(PACKAGES).values())
    return any(source.rstrip("/") == f"{_uri(one)}checkpoints/{_MERGED}" for one in packages)
