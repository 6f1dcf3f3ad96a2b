"""The pages of lists."""

from __future__ import annotations

from awsllm.testing import mock_aws
from tests.support.sagemaker_account import ROLE, VLLM, client, refusal


def test_lists_come_in_pages() -> None:
    with mock_aws(reply="x"):
        sagemaker = client("sagemaker")
        names = [f"m{number:02}" for number in range(23)]
        for name in names:
            sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=VLLM)
        pages = list(sagemaker.get_paginator("list_models").paginate(SortBy="Name", SortOrder="Ascending"))
        assert [len(page["Models"]) for page in pages] == [10, 10, 3]
        assert [model["ModelName"] for page in pages for model in page["Models"]] == names
        assert len(sagemaker.list_models(NameContains="M1", MaxResults=100)["Models"]) == 10
        assert refusal(sagemaker.list_models, NextToken="nonsense")[0] == "ValidationException"
        assert refusal(sagemaker.list_models, NextToken="from-" + "9" * 5000)[0] == "ValidationException"
