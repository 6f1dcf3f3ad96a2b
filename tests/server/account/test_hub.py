"""JumpStart's hubs: what they list and describe; private ones."""

from __future__ import annotations

import json
from typing import Any

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import DOCUMENTS, GATED, PUBLIC, client, refusal


def test_the_hub_lists_the_newest_version_of_each() -> None:
    given = [
        {"HubContentName": "m", "HubContentVersion": v, "HubContentDocument": {"Url": v}} for v in ("1.9.0", "1.10.0")
    ]
    with mock_aws(reply="x", documents=given):
        sagemaker = client("sagemaker")
        (summary,) = sagemaker.list_hub_contents(**PUBLIC)["HubContentSummaries"]
        assert summary["HubContentVersion"] == "1.10.0"
        versions = sagemaker.list_hub_content_versions(**PUBLIC, HubContentName="m")["HubContentSummaries"]
        assert [one["HubContentVersion"] for one in versions] == ["1.10.0", "1.9.0"]
        old = sagemaker.describe_hub_content(**PUBLIC, HubContentName="m", HubContentVersion="1.9.0")
        assert json.loads(old["HubContentDocument"]) == {"Url": "1.9.0"}
        assert refusal(sagemaker.describe_hub_content, **PUBLIC, HubContentName="x")[0] == "ResourceNotFound"


def test_the_hub_comes_in_pages() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        sagemaker, names = client("sagemaker"), list[str]()
        token: dict[str, str] = {}
        while True:
            page = sagemaker.list_hub_contents(**PUBLIC, MaxResults=4, **token)
            names += [one["HubContentName"] for one in page["HubContentSummaries"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
    assert sorted(names) == sorted(path.stem for path in DOCUMENTS.glob("*.json"))


def test_a_private_hub_refers_to_the_public_one() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        sagemaker = client("sagemaker")
        sagemaker.create_hub(HubName="ours", HubDescription="x")
        public = f"arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/{GATED}"
        arn = sagemaker.create_hub_content_reference(HubName="ours", SageMakerPublicHubContentArn=public)
        assert f":hub-content/ours/ModelReference/{GATED}/" in arn["HubContentArn"]
        content: Any = {"HubName": "ours", "HubContentType": "ModelReference"}
        described = sagemaker.describe_hub_content(**content, HubContentName=GATED)
        assert described["SageMakerPublicHubContentArn"] == public
        assert len(sagemaker.list_hub_contents(**content)["HubContentSummaries"]) == 1
        assert refusal(sagemaker.delete_hub, HubName="ours")[0] == "ResourceInUse"
        sagemaker.delete_hub_content_reference(**content, HubContentName=GATED)
        sagemaker.delete_hub(HubName="ours")
        assert [one["HubName"] for one in sagemaker.list_hubs()["HubSummaries"]] == ["SageMakerPublicHub"]
