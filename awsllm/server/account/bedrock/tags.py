"""Tags of what Bedrock's control plane has made, by ARN; those of ARNs that the account does not hold are left to
others."""

from __future__ import annotations

from collections.abc import Mapping

from awsllm.server.account.account import Operation, Region
from awsllm.server.account.bedrock.records import read_tags
from awsllm.server.account.bedrock.refusals import missing, too_many_tags
from awsllm.server.account.tags import Tagging

_OURS = (
    *(
        "custom-model",
        "custom-model-deployment",
        "imported-model",
        "provisioned-model",
        "application-inference-profile",
    ),
    *(
        "model-invocation-job",
        "model-customization-job",
        "model-import-job",
        "model-copy-job",
        "prompt-router",
        "evaluation-job",
    ),
)


def _find(region: Region, arn: str) -> dict[str, str] | None:
    found = region.state.tags.get(arn)
    if found is None and arn.split(":", 5)[-1].partition("/")[0] in _OURS:
        raise missing("resource", arn)
    return found


_BEDROCK = Tagging(
    arn="resourceARN",
    keys="tagKeys",
    read=lambda request: read_tags(request["tags"]),
    show=lambda tags: {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    too_many=too_many_tags,
    find=_find,
)

OPERATIONS: Mapping[str, Operation] = {
    "ListTagsForResource": _BEDROCK.list,
    "TagResource": _BEDROCK.add,
    "UntagResource": _BEDROCK.remove,
}
