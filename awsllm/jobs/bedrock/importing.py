"""Import: a model that was trained elsewhere, from its files, to one that Bedrock serves by the minute of its copies.

What is imported is a folder as Hugging Face's libraries keep one: ``config.json``, safetensors, a tokenizer. That is
all that docs.aws.amazon.com/bedrock/latest/userguide/model-customization-import-model names (read 2026-11-27), so GGUF
is not taken; nor are embedding models, weights of 200 GB and more, or a context of 128K tokens and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from awsllm.aws import iam
from awsllm.aws.iam import Arns, statement
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.jobs.bedrock import roles
from awsllm.jobs.bedrock.kinds import BedrockJobs
from awsllm.jobs.bedrock.uploads import check_region, place_of, put_files
from awsllm.jobs.job import JobPlan
from awsllm.jobs.sagemaker import check_s3
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.deploy.resources import Clients, seconds
from awsllm.jumpstart.plan.plan import Cost
from awsllm.types import JsonObject

_TAKEN = (".json", ".safetensors", ".jinja", ".model", ".txt")
_DIGEST = 16


def _read(described: JsonObject, found: Mapping[str, str]) -> FineTunedModel:
    arn = str(described["importedModelArn"])
    began, ended = seconds(described.get("creationTime")), seconds(described.get("endTime"))
    return FineTunedModel(
        name=str(described["importedModelName"]),
        base=described["modelDataSource"]["s3DataSource"]["s3Uri"],
        where="bedrock",
        reference=f"bedrock:{arn}",
        artifacts=arn,
        seconds=None if began is None or ended is None else ended - began,
    )


IMPORT = BedrockJobs("import job", "import", "ModelImportJob", _read, makes="imported-model")


class ImportPlan(JobPlan, frozen=True, kw_only=True):
    """``request`` is CreateModelImportJob's. ``files`` are what is put to S3 first."""

    role_permissions: JsonObject
    role_trust: JsonObject
    files: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The ``s3://`` prefix that is imported."""
        return str(self.request["modelDataSource"]["s3DataSource"]["s3Uri"])


def plan_import(
    model: str | Path, region: str, *, output: str | None = None, role: str | None = None, name: str | None = None
) -> ImportPlan:
    """``model`` is a folder, ``local:`` and a folder's path, or an ``s3://`` prefix; a folder's files go to S3 under
    ``output``. Raises ``ConfigurationError`` for what is no such folder."""
    text = str(model).removeprefix("local:")
    files = () if text.startswith("s3://") else _files(Path(text).expanduser())
    role = roles.bedrock_role(role)
    if files:
        if not output:
            raise ConfigurationError("the files of a model on this machine go to S3 first: give output='s3://…'")
        source = place_of(output, _digest(files), "")
    else:
        source = check_s3("model", text).rstrip("/") + "/"
    digest = names.digest([source, role], _DIGEST)
    token = names.client_token(digest, name)
    name = names.check(name or names.job_name(names.slug(Path(text.rstrip("/")).name, 40), digest, 1), "the name")
    arns = Arns(region, iam.account_of(role))
    tagged = [{"key": tags.PLAN_TAG, "value": digest}]
    request: JsonObject = {
        "jobName": name,
        "importedModelName": name,
        "roleArn": role,
        "modelDataSource": {"s3DataSource": {"s3Uri": source}},
        "clientRequestToken": token,
        "jobTags": tagged,
        "importedModelTags": tagged,
    }
    return ImportPlan(
        region=region,
        name=name,
        request=request,
        digest=digest,
        cost=Cost(per_hour=None, note="keeping it, by the month; calls, by the minute of the copies that answer"),
        permissions=iam.policy(*import_rights(arns, role, source, lies_here=bool(files))),
        role_permissions=roles.role_rights(arns, [source], []),
        role_trust=roles.trust(arns, "model-import-job"),
        files=tuple(map(str, files)),
    )


def import_rights(arns: Arns, role: str, source: str, *, lies_here: bool) -> Iterator[JsonObject]:
    """What the caller needs. Of files that go up from here also what one in parts takes, where something goes wrong
    half way."""
    yield from IMPORT.rights(arns, "*")
    yield roles.handing_over(role)
    yield from roles.uploading(arns, [source] if lies_here else [], source)
    if lies_here:
        yield statement("Parts", "s3:AbortMultipartUpload", arns.objects(source))


def _files(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        gguf = " (a GGUF file is not: train from a folder of safetensors)" if folder.is_file() else ""
        raise ConfigurationError(f"{folder} is no folder with config.json, safetensors and a tokenizer{gguf}")
    files = tuple(sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(_TAKEN)))
    missing = [
        what
        for what, is_there in (
            ("config.json", (folder / "config.json").is_file()),
            ("safetensors", any(path.suffix == ".safetensors" for path in files)),
            ("tokenizer.json or tokenizer.model", any(path.stem == "tokenizer" for path in files)),
        )
        if not is_there
    ]
    if missing:
        raise ValidationError(f"{folder} cannot be imported: it has no {missing[0]}")
    return files


def _digest(files: tuple[Path, ...]) -> str:
    """Of what the files hold."""
    hashed = sha256()
    for path in files:
        with path.open("rb") as file:
            hashed.update(path.name.encode() + b"\0")
            while block := file.read(1 << 20):
                hashed.update(block)
    return hashed.hexdigest()


def lay_files(clients: Clients, plan: ImportPlan) -> None:
    """Put the model's files where the plan says they are. Raises ``ConfigurationError`` for a bucket elsewhere."""
    check_region(clients, plan.source, plan.region)
    put_files(clients, plan.source, map(Path, plan.files))
