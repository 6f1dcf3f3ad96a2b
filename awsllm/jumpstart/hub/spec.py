"""The S3 cache's form of a document brought into the hub's.

The S3 cache says ``snake_case``, S3 keys whose bucket is implied, and images and packages as aliases that a table
resolves for each region. Most members change only their case; the tables below hold those that change more. A member
that no table names is kept under its ``PascalCase`` name with its value untouched, so nothing is dropped.

Buckets: ``jumpstart-cache-prod-REGION`` for what is public, ``jumpstart-private-cache-prod-REGION`` for the weights of
gated models; the environment overrides that the SageMaker SDK honours are honoured here. Training artifacts follow the
same rule as hosting artifacts; scripts, licences and example data are public.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from awsllm.aws.iam import dns_suffix
from awsllm.jumpstart.hub.members import is_true
from awsllm.types import JsonObject, JsonValue, Value

CONTENT_BUCKET = "jumpstart-cache-prod-"
"""Followed by the region: what is public."""
GATED_BUCKET = "jumpstart-private-cache-prod-"
"""Followed by the region: weights behind a licence."""


class Buckets(Value, frozen=True, kw_only=True):
    """Where JumpStart keeps its objects: ``content`` is public, ``gated`` holds weights behind a licence."""

    content: str
    gated: str

    @classmethod
    def of(cls, region: str) -> Buckets:
        """Those of a region; ``AWS_JUMPSTART_CONTENT_BUCKET_OVERRIDE`` and ``..._GATED_CONTENT_...`` go first."""
        return cls(
            content=os.environ.get("AWS_JUMPSTART_CONTENT_BUCKET_OVERRIDE") or CONTENT_BUCKET + region,
            gated=os.environ.get("AWS_JUMPSTART_GATED_CONTENT_BUCKET_OVERRIDE") or GATED_BUCKET + region,
        )


def to_hub_form(spec: JsonObject, *, region: str, buckets: Buckets | None = None) -> JsonObject:
    """The hub document that says what this one says. Missing members stay missing, nulls are left out."""
    content = _Translation(region, buckets or Buckets.of(region), spec).members(spec)
    return {"HostingUseScriptUri": True, **content}  # where the document does not say (SageMaker SDK 3.27)


def https_url(uri: JsonValue, region: str) -> str | None:
    """``s3://BUCKET/KEY`` as the address of a public object; an address stays one; None for what is neither."""
    if not isinstance(uri, str) or not uri:
        return None
    if not uri.startswith("s3://"):
        return uri if uri.startswith(("https://", "http://")) else None
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"https://{bucket}.s3.{region}.{dns_suffix(region)}/{key}"


def pascal(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


# --- what changes more than its case ---------------------------------------------------------------------------------

_IDENTITY = ("model_id", "version")  # the document is about them; the hub's form does not repeat them
_RENAMED = {
    "predictor_specs": "SageMakerSdkPredictorSpecifications",
    "metrics": "TrainingMetrics",
    "max_run": "MaxRuntimeInSeconds",
    "deprecate_warn_message": "DeprecateWarnMessage",
}
_KEYS = {  # members that hold a key in the public bucket
    "hosting_script_key": "HostingScriptUri",
    "hosting_eula_key": "HostingEulaUri",
    "training_script_key": "TrainingScriptUri",
    "training_prepacked_script_key": "TrainingPrepackedScriptUri",
    "default_training_dataset_key": "DefaultTrainingDatasetUri",
}
_ARTIFACTS = {  # and in the bucket of the weights
    "training_artifact_key": "TrainingArtifactUri",
    "artifact_key": "ArtifactUri",
    "prepacked_artifact_key": "PrepackedArtifactUri",
    "gated_model_key_env_var_value": "GatedModelEnvVarUri",
}
_HOSTING_ARTIFACTS = ("hosting_artifact_key", "hosting_prepacked_artifact_key", "hosting_artifact_uri")
OTHER_PACKAGES = "HostingModelPackageArns"
"""Packages by region, kept where none is this region's."""
OTHER_TRAINING_PACKAGES = "TrainingModelPackageArtifactUris"
"""The weights of packages, likewise."""
_KWARGS = ("model_kwargs", "deploy_kwargs", "estimator_kwargs", "fit_kwargs")
_BY_REGION = {
    "hosting_model_package_arns": "HostingModelPackageArn",
    "training_model_package_artifact_uris": "TrainingModelPackageArtifactUri",
}
_UPPER = ("model_types", "capabilities")


class _Translation:
    """One document's: its region, its buckets, and which of them holds its weights."""

    def __init__(self, region: str, buckets: Buckets, spec: JsonObject) -> None:
        self._region = region
        self._buckets = buckets
        self._weights = buckets.gated if is_true(spec.get("gated_bucket")) else buckets.content
        self._packed = _key(spec, "hosting_prepacked_artifact_key")
        self._nested: dict[str, Callable[[JsonValue], JsonValue]] = {
            "predictor_specs": cased,
            "hosting_ecr_specs": cased,
            "training_ecr_specs": cased,
            "hosting_resource_requirements": cased,
            "inference_environment_variables": cased_each,
            "hyperparameters": cased_each,
            "default_payloads": _by_name(_payload),
            "inference_configs": _by_name(_config),
            "training_configs": _by_name(_config),
            "inference_config_rankings": _by_name(cased),
            "training_config_rankings": _by_name(cased),
            "inference_config_components": _by_name(self._component),
            "training_config_components": _by_name(self._component),
            "hosting_instance_type_variants": self._variants,
            "training_instance_type_variants": self._variants,
            "hosting_additional_data_sources": _by_name(self._data_sources),
        }

    def members(self, spec: JsonObject) -> JsonObject:
        content: JsonObject = {}
        for name, value in spec.items():
            if value is not None and name not in _IDENTITY and name not in _HOSTING_ARTIFACTS:
                content.update(self._member(name, value))
        return {**content, **self._hosting_artifact(spec)}

    def _member(self, name: str, value: JsonValue) -> JsonObject:
        if name in _KWARGS:
            return self.members(_object(value))
        if name in _BY_REGION:
            found = _object(value).get(self._region)
            # Where there is none, the regions that have one are kept: the model is not for this one.
            return {_BY_REGION[name]: found} if found else {pascal(name): value} if value else {}
        return {self._name(name): self._value(name, value)}

    def _name(self, name: str) -> str:
        return _RENAMED.get(name) or _KEYS.get(name) or _ARTIFACTS.get(name) or pascal(name)

    def _value(self, name: str, value: JsonValue) -> JsonValue:
        if name in self._nested:
            return self._nested[name](value)
        if name in _KEYS:
            return _uri(self._buckets.content, value)
        if name in _ARTIFACTS:
            return _uri(self._weights, value)
        if name in _UPPER and isinstance(value, list):
            return [item.upper() if isinstance(item, str) else item for item in value]
        return value

    def _hosting_artifact(self, spec: JsonObject) -> JsonObject:
        """Of the document or of one of its components. The packed artifact goes first in any case, also over the plain
        one of a component; a key that ends in a slash is a prefix of plain objects, any other a compressed archive."""
        own = _key(spec, "hosting_prepacked_artifact_key")
        plain = _key(spec, "hosting_artifact_uri") or _key(spec, "hosting_artifact_key")
        packed = own or (self._packed if plain else None)
        key = packed or plain
        if key is None:
            return {}
        kind = ("S3Prefix", "None") if str(key).endswith("/") else ("S3Object", "Gzip")
        uri = _uri(self._weights, key)
        return {
            "HostingArtifactUri": uri,
            "HostingArtifactS3DataType": kind[0],
            "HostingArtifactCompressionType": kind[1],
            **({"HostingPrepackedArtifactUri": uri} if packed else {}),
        }

    def _component(self, component: JsonValue) -> JsonValue:
        return self.members(component) if isinstance(component, dict) else component

    def _variants(self, variants: JsonValue) -> JsonValue:
        """``{regional_aliases: {REGION: {ALIAS: URI}}, variants: {TYPE: {properties, regional_properties}}}``."""
        if not isinstance(variants, dict):
            return variants
        regional = _object(variants.get("regional_aliases")) or _object(variants.get("aliases"))
        aliases = _object(regional.get(self._region))
        rows = _object(variants.get("variants"))
        return {
            "Aliases": {},  # all are resolved
            "Variants": {name: {"Properties": self._properties(row, aliases)} for name, row in rows.items()},
        }

    def _properties(self, row: JsonValue, aliases: Mapping[str, JsonValue]) -> JsonObject:
        found: JsonObject = {}
        for name, value in _object(_object(row).get("regional_properties")).items():
            known = aliases.get(value.removeprefix("$")) if isinstance(value, str) else None
            if known is not None:  # else there is no such image or package in this region
                found[pascal(name)] = known
        for name, value in _object(_object(row).get("properties")).items():
            found.update(self._property(name, value))
        return found

    def _property(self, name: str, value: JsonValue) -> JsonObject:
        """Environment variables are the container's names, and the hub keeps this list of hyperparameters in lower
        case: both stay as they are."""
        if name in ("environment_variables", "hyperparameters", "metrics"):
            return {pascal(name): value}
        if name == "resource_requirements":
            return {pascal(name): cased(value)}
        return self._member(name, value)

    def _data_sources(self, sources: JsonValue) -> JsonValue:
        return [self._data_source(source) for source in sources] if isinstance(sources, list) else sources

    def _data_source(self, source: JsonValue) -> JsonValue:
        """A draft model lies in the gated bucket where JumpStart itself provides it as gated, in the public one for
        its other classes, else among the models that SageMaker keeps for others."""
        if not isinstance(source, dict):
            return source
        provider = _object(cased(source.get("provider")))
        bucket = f"sagemaker-sd-models-prod-{self._region}"
        if provider.get("Name") == "JumpStart":
            bucket = self._buckets.gated if provider.get("Classification") == "gated" else self._buckets.content
        content: JsonObject = {}
        for name, value in source.items():
            if name == "s3_data_source" and isinstance(value, dict):
                content["S3DataSource"] = {**cased(value), "S3Uri": _uri(bucket, value.get("s3_uri"))}
            elif name == "provider":
                content["Provider"] = cased(value)
            elif value is not None:
                content.update(self._member(name, value))
        return content


def _key(spec: JsonObject, name: str) -> Any:
    """An artifact's key; what is none of text is kept for whoever plans, to be named then."""
    return spec.get(name) or None


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def cased(value: JsonValue) -> JsonValue:
    """The object with its own names in Pascal case; what they hold stays as it is."""
    return {pascal(name): item for name, item in value.items()} if isinstance(value, dict) else value


def cased_each(values: JsonValue) -> JsonValue:
    return [cased(value) for value in values] if isinstance(values, list) else values


def _by_name(translate: Callable[[JsonValue], JsonValue]) -> Callable[[JsonValue], JsonValue]:
    """For an object whose names are the document's own."""

    def each(value: JsonValue) -> JsonValue:
        return {name: translate(item) for name, item in value.items()} if isinstance(value, dict) else value

    return each


def _payload(payload: JsonValue) -> JsonValue:
    return cased(payload)  # Body and OutputKeys hold the container's names


def _config(config: JsonValue) -> JsonValue:
    found = cased(config)
    if isinstance(found, dict) and isinstance(found.get("BenchmarkMetrics"), dict):
        found = {**found, "BenchmarkMetrics": {at: cased_each(rows) for at, rows in found["BenchmarkMetrics"].items()}}
    return found


def _uri(bucket: str, key: JsonValue) -> JsonValue:
    return f"s3://{bucket}/{key}" if isinstance(key, str) and key and not key.startswith("s3://") else key
