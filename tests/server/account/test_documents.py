"""Hub documents: where they are read from, and which region they are for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from awsllm.errors import ConfigurationError
from awsllm.server.account import documents
from awsllm.testing import mock_aws
from tests.support.sagemaker_account import DOCUMENTS, GATED, document


def test_a_document_is_served_in_every_region() -> None:
    with mock_aws(reply="x", documents=DOCUMENTS):
        content = document(GATED, "eu-west-1")
    assert "jumpstart-private-cache-prod-eu-west-1" in content["HostingArtifactUri"]
    assert "us-east-1" not in json.dumps(content)


def test_a_file_that_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match="hub document"):
        documents.load([tmp_path])
    with pytest.raises(ConfigurationError, match="nowhere"):
        documents.load([tmp_path / "nowhere.json"])
