"""Copies: a custom model of one region, to be used in another."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.aws import iam
from awsllm.aws.iam import Arns
from awsllm.errors import ValidationError
from awsllm.jobs.bedrock.kinds import BedrockJobs
from awsllm.jobs.job import JobPlan
from awsllm.jobs.tuned import FineTunedModel
from awsllm.jumpstart import names, tags
from awsllm.jumpstart.plan.plan import Cost
from awsllm.types import JsonObject

_DIGEST = 16


def _read(described: JsonObject, found: Mapping[str, str]) -> FineTunedModel:
    return FineTunedModel(
        name=str(described["targetModelName"]),
        base=str(described["sourceModelArn"]),
        where="bedrock",
        artifacts=str(described["targetModelArn"]),
        serve="deploy it in its region",
    )


COPY = BedrockJobs("copy job", "copy", "ModelCopyJob", _read, found_by="targetModelName")


def plan_copy(model: str, region: str, *, name: str | None = None, kms: str | None = None) -> JobPlan:
    """``model`` is a custom model's ARN in another region; ``region`` is where it is to be. Raises
    ``ValidationError``."""
    arn = model.removeprefix("bedrock:")
    if ":custom-model/" not in arn or iam.region_of(arn) == region:
        raise ValidationError(f"a custom model of another region than {region} is copied, by its ARN: not {model!r}")
    digest = names.digest([arn, region, kms], _DIGEST)
    token = names.client_token(digest, name)
    name = names.check(name or f"copy-{digest}", "the copy's name")
    request: JsonObject = {
        "sourceModelArn": arn,
        "targetModelName": name,
        "clientRequestToken": token,
        "targetModelTags": [{"key": tags.PLAN_TAG, "value": digest}],
        **({"modelKmsKeyId": kms} if kms else {}),
    }
    arns = Arns(region, iam.account_of(arn))
    return JobPlan(
        region=region,
        name=name,
        request=request,
        digest=digest,
        cost=Cost(per_hour=None, note="keeping a second one, by the month"),
        permissions=iam.policy(*COPY.rights(arns, arn)),
    )
