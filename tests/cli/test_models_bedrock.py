"""`awsllm models bedrock`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from awsllm.cli.app import app
from awsllm.models.listing import AccountModel, AccountModels

NOVA = AccountModel(
    reference="bedrock:us.amazon.nova-lite-v1:0",
    id="us.amazon.nova-lite-v1:0",
    arn=None,
    name="Nova Lite",
    kind="profile",
    region="us-east-1",
    input_modalities=("text", "image"),
    output_modalities=("text",),
    lifecycle="active",
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []

    def models(self: Any, region: str | None = None, **filters: Any) -> AccountModels:
        seen.append(filters)
        return AccountModels((NOVA,), ("models of the kind custom are missing: not allowed",))

    monkeypatch.setattr("awsllm.client.Client.models", models)
    return seen


def test_the_models_of_an_account_are_shown(asked: list[Any]) -> None:
    result = CliRunner().invoke(app, ["models", "bedrock", "--kind", "profile", "--name", "nova"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [NOVA.reference, "profile", "text,image", "text", "active", "-"]
    assert "models of the kind custom are missing" in result.stderr
    assert asked == [{"kind": "profile", "name": "nova"}]


def test_they_can_be_read_by_a_program(asked: list[Any]) -> None:
    result = CliRunner().invoke(app, ["models", "bedrock", "--json"])
    (model,) = json.loads(result.stdout)
    assert (model["reference"], model["input_modalities"]) == (NOVA.reference, ["text", "image"])
    assert asked == [{}]
