"""Which model is behind what an account has made: asked of the account as a client asks the control plane
(``models.opaque``)."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.errors import ModelNotReadyError, ValidationError
from awsllm.models import opaque
from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock import custom, imported, profiles, provisioned, routers
from awsllm.server.account.bedrock.records import BedrockRecord, settle
from awsllm.server.account.bedrock.tuning import TRAINED

_TABLES = (profiles.PROFILES, custom.MODELS, custom.DEPLOYMENTS, imported.MODELS, provisioned.PROVISIONED)
_OPERATIONS: Mapping[str, Operation] = {
    "get_inference_profile": profiles.OPERATIONS["GetInferenceProfile"],
    "get_custom_model": custom.OPERATIONS["GetCustomModel"],
    "get_custom_model_deployment": custom.OPERATIONS["GetCustomModelDeployment"],
    "get_imported_model": imported.OPERATIONS["GetImportedModel"],
    "get_provisioned_model_throughput": provisioned.OPERATIONS["GetProvisionedModelThroughput"],
    "get_prompt_router": routers.OPERATIONS["GetPromptRouter"],
}
_READY = frozenset(("ACTIVE", "AVAILABLE", "Active", "InService", "Updating"))


def family_of(region: Region, model: str) -> str | None:
    """What ``models.profiles.profile`` takes as the family of a model: None for an id, which says it itself, and for an
    ARN that the account does not know, which is refused where it is to be strict (``Account.strict_models``). An
    invocation is a look. Raises the runtime's refusal of what is not ready."""
    if opaque.opaque_kind(model) is None:
        return None
    with region.account.lock:
        arn: str | None = model
        family = None
        region.account.models.trained.pop(model, None)
        while arn is not None:
            record = _record(region, arn)
            if record is None:
                return None
            settle(region, record, look=True)
            _check_ready(record)
            if path := record.request.get(TRAINED):
                region.account.models.trained[model] = path
            question = opaque.question(arn)
            reply = _OPERATIONS[question.operation](region, dict(question.parameters)) or {}
            family, arn = opaque.read(arn, reply)
        return family


def _record(region: Region, arn: str) -> BedrockRecord | None:
    for table in (*_TABLES, routers.ROUTERS):
        found: BedrockRecord | None = region.state.table(table).get(arn)
        if found is not None:
            return found
    if region.account.strict_models and opaque.opaque_kind(arn) in (*_TABLES, routers.ROUTERS):
        raise ValidationError("The provided model identifier is invalid.", code="ValidationException", status=400)
    return None


def _check_ready(record: BedrockRecord) -> None:
    if record.status not in _READY:
        raise ModelNotReadyError(
            f"The model {record.name!r} is {record.status}: it is not ready for inference.",
            code="ModelNotReadyException",
            status=429,
        )
