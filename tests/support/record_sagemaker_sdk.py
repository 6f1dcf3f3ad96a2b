"""What the SageMaker Python SDK itself sends to deploy a JumpStart model, recorded without AWS.

    python tests/support/record_sagemaker_sdk.py

needs `pip install sagemaker` and writes ``tests/data/sagemaker_sdk``.

Every AWS call of botocore is answered here, in this process: the manifest and the model's specification from the hub
documents of the tests, everything else with as little as the SDK is content with. What it asks SageMaker to create is
what ``test_sagemaker_sdk.py`` holds awsllm's plans against.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data"
RECORDS = DATA / "sagemaker_sdk"
REGION, ACCOUNT = "us-east-1", "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
NEEDS = {"num_accelerators": 1, "memory": 24576, "copies": 1}
CASES = (
    "example-open-tgi-instruct",
    "example-gated-lmi-chat",
    "example-gated-lmi-chat+components",
    "example-open-gated-draft",
    "example-cohere-command+package",
)


def main() -> None:
    """Record one case (in a process of its own: the SDK keeps what it has read), or all."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else RECORDS
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record(sys.argv[1]), indent=1, sort_keys=True)
        (folder / f"{sys.argv[1]}.json").write_text(text + "\n", encoding="utf-8")
        return
    import subprocess

    for case in CASES:
        subprocess.run([sys.executable, __file__, case], check=True)


def load(model_id: str) -> dict[str, Any]:
    description = json.loads((DATA / "jumpstart" / f"{model_id}.json").read_text(encoding="utf-8"))
    document: dict[str, Any] = description["HubContentDocument"]
    return document


def record(case: str) -> list[dict[str, Any]]:
    """The Create calls of one deployment, in order."""
    model_id, _, mode = case.partition("+")
    document = load(model_id)
    aws = FakeAws(model_id, document)
    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION=REGION, AWS_REGION=REGION)
    import botocore.client

    botocore.client.BaseClient._make_api_call = lambda client, operation, request: aws.answer(
        client.meta.service_model.service_name, operation, request
    )
    if mode == "package":
        return _package(model_id, document["DefaultInferenceInstanceType"])
    _deploy(model_id, document, components=mode == "components")
    return aws.created


def _package(model_id: str, instance_type: str) -> list[dict[str, Any]]:
    """What the SDK finds for a Marketplace model. Its ModelBuilder does not get as far (3.27): it looks for the id
    among the open-weights models only."""
    from sagemaker.core.jumpstart.artifacts import _retrieve_model_package_arn
    from sagemaker.core.jumpstart.enums import JumpStartModelType, JumpStartScriptScope

    name = _retrieve_model_package_arn(
        model_id=model_id,
        model_version="1.0.0",
        instance_type=instance_type,
        region=REGION,
        scope=JumpStartScriptScope.INFERENCE,
        model_type=JumpStartModelType.PROPRIETARY,
    )
    return [{"operation": "CreateModel", "request": {"PrimaryContainer": {"ModelPackageName": name}}}]


def _deploy(model_id: str, document: dict[str, Any], *, components: bool) -> None:
    import boto3
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.inference_config import ResourceRequirements
    from sagemaker.core.jumpstart.configs import JumpStartConfig
    from sagemaker.serve.model_builder import ModelBuilder

    session = Session(boto_session=boto3.Session(region_name=REGION), default_bucket=f"sagemaker-{REGION}-{ACCOUNT}")
    config = JumpStartConfig(model_id=model_id, accept_eula=True if document.get("GatedBucket") else None)
    builder = ModelBuilder.from_jumpstart_config(config, role_arn=ROLE, sagemaker_session=session)
    builder.build()
    builder.deploy(
        endpoint_name="e",
        wait=False,
        **(
            {"inference_config": ResourceRequirements(requests=NEEDS), "inference_component_name": "e"}
            if components
            else {}
        ),
    )


class FakeAws:
    """Answers every call; ``created`` has what SageMaker was asked to create."""

    def __init__(self, model_id: str, document: dict[str, Any]) -> None:
        self.model_id, self.document = model_id, document
        self.created: list[dict[str, Any]] = []

    def answer(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if service == "sagemaker":
            return self._sagemaker(operation, request)
        if operation == "GetObject":
            body = json.dumps(self._object(request["Key"])).encode()
            return {"Body": io.BytesIO(body), "ContentType": "application/json", "ETag": "x"}
        return _CANNED.get(operation, {})

    def _sagemaker(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation.startswith("Create"):
            self.created.append({"operation": operation, "request": request})
        kind = re.sub("^(Create|Describe)", "", operation)
        made = [call["request"] for call in self.created if call["operation"] == f"Create{kind}"]
        if operation.startswith("DescribeEndpoint") and not made:
            raise _not_found(operation)
        now = datetime.now(UTC)
        arns = {f"{name}Arn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{name.lower()}/x" for name in (kind, "Endpoint")}
        status = {"EndpointStatus": "InService", "InferenceComponentStatus": "InService", "EndpointConfigName": "e"}
        return {**status, "EndpointName": "e", "VariantName": "AllTraffic", **(made[-1] if made else {}), **arns,
                "CreationTime": now, "LastModifiedTime": now}  # fmt: skip

    def _object(self, key: str) -> Any:
        is_package = "PROPRIETARY" in self.document.get("ModelTypes", ())
        entry = {"model_id": self.model_id, "version": "1.0.0", "min_version": "2.0.0", "spec_key": "spec.json"}
        if key in ("models_manifest.json", "proprietary-sdk-manifest.json"):
            other = {**entry, "model_id": "example-other"}  # an empty manifest is an IndexError in the SDK
            return [entry if key.startswith("proprietary") == is_package else other]
        return spec(self.document, self.model_id) if key == "spec.json" else {}


def _not_found(operation: str) -> Exception:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": "ValidationException", "Message": "Could not find it."}}, operation)


_TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
_CANNED: dict[str, dict[str, Any]] = {
    "GetCallerIdentity": {"Account": ACCOUNT, "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s", "UserId": "u"},
    "GetRole": {"Role": {"Arn": ROLE, "RoleName": "r", "AssumeRolePolicyDocument": {"Statement": [_TRUST]}}},
    "SimulatePrincipalPolicy": {"EvaluationResults": []},
    "ListBuckets": {"Buckets": [{"Name": f"sagemaker-{REGION}-{ACCOUNT}"}]},
    "FilterLogEvents": {"events": []},
    "HeadObject": {"ETag": "x", "ContentLength": 2},
}


# --- the hub's form of a document to the S3 cache's ------------------------------------------------------------------

_KEYS = {
    "HostingEulaUri": "hosting_eula_key",
    "HostingArtifactUri": "hosting_prepacked_artifact_key",
    "HostingScriptUri": "hosting_script_key",
}
_TIMES = ("ModelDataDownloadTimeout", "ContainerStartupHealthCheckTimeout", "InferenceAmiVersion")
_SAME = (
    *("ModelTypes", "Url", "MinSdkVersion", "GatedBucket", "ResourceNameBase", "InferenceEnableNetworkIsolation"),
    *("HostingArtifactS3DataType", "HostingArtifactCompressionType", "InferenceVolumeSize", "ModelSubscriptionLink"),
    *("DefaultInferenceInstanceType", "SupportedInferenceInstanceTypes", "DynamicContainerDeploymentSupported"),
    *("HostingResourceRequirements", "InferenceEnvironmentVariables"),
)
_REQUIRED = {
    **dict.fromkeys(("training_supported", "incremental_training_supported", "hosting_use_script_uri"), False),
    **dict.fromkeys(("inference_vulnerable", "training_vulnerable", "deprecated"), False),
    **{name: [] for name in ("inference_vulnerabilities", "training_vulnerabilities", "inference_dependencies",
                             "training_dependencies", "metrics")},
    "hosting_ecr_specs": {"framework": "huggingface", "framework_version": "2.0.0", "py_version": "py310"},
}  # fmt: skip


def spec(document: dict[str, Any], model_id: str) -> dict[str, Any]:
    """The specification that the S3 cache would hold for ``document``: snake case, keys, regional aliases."""
    found = {_snake(name): _deep(document[name]) for name in _SAME if name in document}
    found |= {key: _key(document[name]) for name, key in _KEYS.items() if name in document}
    found["hosting_artifact_key"] = found.get("hosting_prepacked_artifact_key", "")
    found["deploy_kwargs"] = {_snake(name): document[name] for name in _TIMES if name in document}
    found["hosting_instance_type_variants"] = _variants(_with_images(document))
    sources = document.get("HostingAdditionalDataSources", {})
    found["hosting_additional_data_sources"] = {kind: [_source(item) for item in of] for kind, of in sources.items()}
    if package := document.get("HostingModelPackageArn"):
        found["hosting_model_package_arns"] = {REGION: package}
    return {**_REQUIRED, **found, "model_id": model_id, "version": "1.0.0", "model_kwargs": {}}


def _source(item: dict[str, Any]) -> dict[str, Any]:
    wire = _deep(item)
    wire["s3_data_source"]["s3_uri"] = _key(item["S3DataSource"]["S3Uri"])
    if uri := item.get("HostingEulaUri"):
        wire["hosting_eula_key"] = _key(uri)
    return dict(wire)


def _with_images(document: dict[str, Any]) -> dict[str, Any]:
    """The cache's form has an image in the variants alone: the document's own goes to every family that has none."""
    variants = dict(document.get("HostingInstanceTypeVariants", {}).get("Variants", {}))
    families = {kind.split(".")[1] for kind in document.get("SupportedInferenceInstanceTypes", ())}
    for family in sorted(families if "HostingEcrUri" in document else ()):
        properties = variants.get(family, {}).get("Properties", {})
        variants[family] = {"Properties": {"ImageUri": document["HostingEcrUri"], **properties}}
    return {"Variants": variants}


def _variants(wire: dict[str, Any]) -> dict[str, Any]:
    aliases: dict[str, str] = {}
    variants: dict[str, Any] = {}
    for name, variant in wire.get("Variants", {}).items():
        properties, regional = dict(variant["Properties"]), {}
        for member, key in (("ImageUri", "image_uri"), ("ModelPackageArn", "model_package_arn")):
            if value := properties.pop(member, None):
                alias = f"{name.replace('.', '_')}_{key}"
                aliases[alias], regional[key] = value, f"${alias}"
        env = properties.pop("EnvironmentVariables", None)
        plain = _deep(properties) | ({"environment_variables": env} if env else {})
        variants[name] = {"regional_properties": regional, "properties": plain}
    return {"regional_aliases": {REGION: aliases}, "variants": variants}


def _key(uri: str) -> str:
    return uri.split("/", 3)[3] if uri.startswith("s3://") else uri


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(name): _deep(item) for name, item in value.items()}
    return [_deep(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
