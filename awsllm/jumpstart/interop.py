"""To and from the SageMaker Python SDK (version 3), for programs that use both.

Reading its values needs no import of it: whoever holds one has imported it already. Handing an ``Endpoint`` back does,
and takes the seconds that its import takes. Shapes: ``sagemaker.core.jumpstart.configs.JumpStartConfig`` and the
public fields of ``sagemaker.serve.model_builder.ModelBuilder``, 3.27.
"""

from __future__ import annotations

from typing import Any

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.types import JsonObject

# The SDK's field, and the plan's option.
_CONFIG = (
    ("model_version", "version"),
    ("hub_name", "hub"),
    ("inference_config_name", "config"),
)
_BUILDER = (
    ("instance_type", "instance_type"),
    ("role_arn", "role"),
    ("env_vars", "env"),
)


def read_model(model: Any) -> tuple[str, JsonObject]:
    """The model id and the options of ``plan`` that a ``JumpStartConfig`` or ``ModelBuilder`` stands for."""
    if hasattr(model, "inference_config_name"):
        return _read_config(model)
    if hasattr(model, "schema_builder") and hasattr(model, "model"):
        return _read_builder(model)
    raise ValidationError(
        f"a model is a JumpStart id, a JumpStartConfig or a ModelBuilder, not a {type(model).__name__}"
    )


def _read_config(config: Any) -> tuple[str, JsonObject]:
    options = {option: value for field, option in _CONFIG if (value := getattr(config, field, None)) is not None}
    if getattr(config, "accept_eula", None):
        options["accept_eula"] = True
    return getattr(config, "hub_content_name", None) or config.model_id, options


def _read_builder(builder: Any) -> tuple[str, JsonObject]:
    """Only what JumpStart deploys: a builder around a model object of its own is refused."""
    if not isinstance(builder.model, str):
        raise ValidationError("only a ModelBuilder of a JumpStart model can be read: one whose model is its id")
    options = {option: value for field, option in _BUILDER if (value := getattr(builder, field, None))}
    for field, option in (("model_version", "version"), ("hub_name", "hub"), ("config_name", "config")):
        if value := getattr(builder, field, None):
            options[option] = value
    if getattr(builder, "accept_eula", None):
        options["accept_eula"] = True
    network = getattr(builder, "network", None)
    if vpc := getattr(network, "vpc_config", None):
        options["vpc"] = {"subnets": _member(vpc, "Subnets"), "security_groups": _member(vpc, "SecurityGroupIds")}
    compute = getattr(builder, "compute", None)
    if (kind := getattr(compute, "instance_type", None)) and isinstance(kind, str):
        options["instance_type"] = kind
    if isinstance(count := getattr(compute, "instance_count", None), int):
        options["instance_count"] = count
    return builder.model, options


def _member(value: Any, name: str) -> tuple[str, ...]:
    found = value.get(name) if isinstance(value, dict) else getattr(value, _SNAKE[name], None)
    return tuple(found or ())


_SNAKE = {"Subnets": "subnets", "SecurityGroupIds": "security_group_ids"}


def to_endpoint(name: str, region: str) -> Any:
    """The endpoint as the SDK's own resource, read from AWS with boto3's default credentials."""
    try:
        from sagemaker.core.resources import Endpoint
    except ImportError as error:
        raise ConfigurationError("this needs the SageMaker SDK: pip install 'awsllm[sagemaker]'") from error
    return Endpoint.get(endpoint_name=name, region=region)
