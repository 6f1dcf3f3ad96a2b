"""A container of the caller's choosing as a document, so that it is planned, applied and torn down as JumpStart's are.

What JumpStart says of its models stands in hub documents; of any other container the caller says it: the image, and
where the model comes from. How a container is told its model is its family's own matter: a variable with the id on
Hugging Face's hub, or with the place where SageMaker puts files from S3.

Sources: docs of aws/deep-learning-containers (vLLM, SGLang, and the tests of llama.cpp), Hugging Face's of TGI, TEI and
its inference toolkit, DJL's of LMI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from awsllm.errors import ValidationError
from awsllm.jumpstart.hub.document import ModelDocument, read_content
from awsllm.jumpstart.plan.resolve import is_archive
from awsllm.types import JsonObject

SOURCE = "own"
"""The ``source`` of such a document."""
_FILES = "/opt/ml/model"  # where SageMaker puts a model's files
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class _Family(NamedTuple):
    """How containers whose repository matches ``image`` are told their model: the variable that takes an id on the hub,
    and the one that takes a directory; None where they look there by themselves, or want a file's name."""

    image: str
    hub: str
    files: str | None
    wants_file: bool = False


_FAMILIES = (
    _Family(r"vllm(?!.*neuron)", "SM_VLLM_MODEL", "SM_VLLM_MODEL"),
    _Family(r"sglang", "SM_SGLANG_MODEL_PATH", "SM_SGLANG_MODEL_PATH"),
    _Family(r"llama[-_.]?cpp", "LLAMA_ARG_HF_REPO", "SM_LLAMACPP_MODEL", wants_file=True),
    _Family(r"tgi", "HF_MODEL_ID", "HF_MODEL_ID"),
    _Family(r"^tei\b|text-embeddings-inference", "HF_MODEL_ID", "HF_MODEL_ID"),
    _Family(r"djl-inference", "HF_MODEL_ID", "HF_MODEL_ID"),
    _Family(r"huggingface-(pytorch|tensorflow)-inference", "HF_MODEL_ID", None),
)


def is_own(model: Any, options: Mapping[str, Any]) -> bool:
    """Whether a deployment is none of JumpStart's. Raises ``ValidationError`` where the image is missing for one."""
    if options.get("image") is not None:
        return True
    if model is None:
        raise ValidationError("nothing to deploy: give a JumpStart id, or image= and what it serves")
    if isinstance(model, str) and (model.startswith("s3://") or _HUB_ID.fullmatch(model)):
        raise ValidationError(
            f"{model} is no model of JumpStart's: say which container serves it with image=, such as "
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:server-sagemaker-cuda"
        )
    return False


def own_document(model: str | None, options: Mapping[str, Any], region: str) -> ModelDocument:
    """What hosts ``model`` (an id on Hugging Face's hub, an ``s3://`` archive or prefix, None: the image has it, or the
    environment says it) in the container ``options["image"]``. Raises ``ValidationError``."""
    image, env = options["image"], options.get("env") or {}
    repository, tag = _parts(image)
    family = next((each for each in _FAMILIES if re.search(each.image, repository)), None)
    content: JsonObject = {"HostingEcrUri": image}
    variables: dict[str, str] = {}
    if model is None:
        pass
    elif model.startswith("s3://"):
        content |= _artifact(model)
        variables = _files_variable(family, repository, env)
    elif _HUB_ID.fullmatch(model):
        variables = _hub_variable(family, repository, model, env)
        if options.get("enable_network_isolation"):
            raise ValidationError(f"{model} is fetched from Hugging Face's hub, which network isolation forbids")
    else:
        raise ValidationError(
            f"{model!r} is no model for an image: give ORG/NAME on Hugging Face's hub, or an s3:// URI"
        )
    content["InferenceEnvironmentVariables"] = [{"Name": name, "Default": value} for name, value in variables.items()]
    return read_content(content, model_id=model or repository, version=tag, region=region, source=SOURCE)


def _parts(image: Any) -> tuple[str, str]:
    """Repository, without registry, and tag of an image's URI."""
    if not isinstance(image, str) or not re.fullmatch(r"[^\s/]+(/[^\s/]+)+", image):
        raise ValidationError(f"image is {image!r}; it must be a whole URI: REGISTRY/REPOSITORY:TAG")
    repository, _, tag = image.rpartition("/")[2].partition(":")
    return repository.partition("@")[0].lower(), tag.partition("@")[0] or "latest"


def _artifact(uri: str) -> JsonObject:
    """One archive, or everything below a prefix, which ends in a slash."""
    archive = is_archive(uri)
    return {
        "HostingArtifactUri": uri if archive else uri.rstrip("/") + "/",
        "HostingArtifactS3DataType": "S3Object" if archive else "S3Prefix",
        "HostingArtifactCompressionType": "Gzip" if archive else "None",
    }


def _files_variable(family: _Family | None, repository: str, env: Mapping[str, str]) -> dict[str, str]:
    if family is None or family.files is None or family.files in env or family.hub in env:
        return {}
    if family.wants_file:
        raise ValidationError(
            f"{repository} wants the file that it serves: env={{{family.files!r}: '{_FILES}/NAME.gguf'}}"
        )
    return {family.files: _FILES}


def _hub_variable(family: _Family | None, repository: str, model: str, env: Mapping[str, str]) -> dict[str, str]:
    if model in env.values():
        return {}
    if family is None:
        raise ValidationError(
            f"nothing is known of how {repository} is told its model: say it in env=, such as "
            f"{{'HF_MODEL_ID': {model!r}}}"
        )
    return {} if family.hub in env else {family.hub: model}
