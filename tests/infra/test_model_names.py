"""Names of ``awsllm.toml`` where rights are derived: all that may be called behind a name may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from awsllm import infra
from awsllm.errors import ConfigurationError
from awsllm.infra import model_names

ROLE = "arn:aws:iam::444455556666:role/models"
FILE = f"""
[aliases]
fast = "bedrock:amazon.nova-lite-v1:0"
[groups.chat]
models = [
    "fast",
    "bedrock:us-west-2/amazon.nova-pro-v1:0",
    {{model = "bedrock:amazon.nova-micro-v1:0", role = "{ROLE}"}},
]
[groups.plain]
models = ["fast", "bedrock:us-west-2/amazon.nova-pro-v1:0"]
"""


@pytest.fixture(autouse=True)
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "awsllm.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("AWSLLM_CONFIG", str(tmp_path / "awsllm.toml"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_a_policy_has_every_member_where_it_is_called() -> None:
    text = str(infra.policy("chat", account="111122223333", offline=True).policy)
    assert "us-east-1::foundation-model/amazon.nova-lite-v1:0" in text
    assert "us-west-2::foundation-model/amazon.nova-pro-v1:0" in text
    assert "us-east-1::foundation-model/amazon.nova-pro-v1:0" not in text
    assert "nova-micro" not in text  # which is the role's to have
    assert "sts:AssumeRole" in text
    assert ROLE in text


def test_a_template_takes_the_members_of_a_group() -> None:
    assert model_names.references(("plain",)) == (
        "bedrock:amazon.nova-lite-v1:0",
        "bedrock:us-west-2/amazon.nova-pro-v1:0",
    )
    found = model_names.configuration_of(("plain",))
    assert found is not None
    assert (found.path or "").endswith("awsllm.toml")
    assert model_names.configuration_of(("bedrock:amazon.nova-lite-v1:0",)) is None
    with pytest.raises(ConfigurationError, match="called as a role"):
        model_names.references(("chat",))
