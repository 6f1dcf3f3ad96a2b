"""`awsllm limits` shows what calls keep to, and reads quotas."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

import awsllm
from awsllm.cli.app import app
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.policy.configuration import parse
from awsllm.testing import ScriptedBackend, mock_aws

MODEL = "bedrock:us.amazon.nova-lite-v1:0"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["limits", *words])
    if isinstance(result.exception, AwsllmError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_quotas_become_a_table_of_the_configuration() -> None:
    with mock_aws():
        text = run("quotas", "--region", "us-east-1")
        one = run("quotas", MODEL, "--region", "us-east-1", "--json")
        found = awsllm.limits_from_quotas(region="us-east-1")
    limits = parse(text).limits
    assert limits == dict(found.limits)
    assert limits[MODEL] == awsllm.Limits(requests_per_minute=2000, tokens_per_minute=4_000_000)
    assert limits["bedrock:global.anthropic.claude-haiku-4-5-20251001-v1:0"].tokens_per_minute == 5_000_000
    assert MODEL.replace("us.", "eu.") not in limits
    assert json.loads(one)["limits"][MODEL]["tokens_per_minute"] == 4_000_000
    assert any("1M Context Length" in name for name in found.unmapped)


def test_a_client_reads_the_quotas_of_what_it_calls() -> None:
    with mock_aws(reply="ok"):
        client = awsllm.Client(region="us-east-1", limits="quotas")
        assert client.converse(MODEL, "hi", max_tokens=10).text
        layers = client._layers
        assert layers is not None
        assert layers.limits is not None
        (state,) = layers.limits.state().values()
    assert {row["limit"]: row["most"] for row in state} == {
        "requests_per_minute": 2000,
        "tokens_per_minute": 4_000_000,
    }


def test_whoever_may_not_read_them_learns(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(*_: object) -> None:
        raise awsllm.AccessDeniedError("not you")

    client = awsllm.Client(backends={"bedrock": ScriptedBackend("ok")}, limits="quotas", region="us-east-1")
    with caplog.at_level(logging.WARNING, logger="awsllm"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("awsllm.policy.limiting.quotas.read_quotas", refuse)
        for _ in range(2):
            client.converse(MODEL, "hi", max_tokens=10)
    assert [record.getMessage() for record in caplog.records] == [
        "quotas are not known (AccessDeniedError); the limits of models are learned from what is refused"
    ]


def test_what_is_configured_and_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "limits.db"
    file = tmp_path / "awsllm.toml"
    file.write_text(
        f'[limits."{MODEL}"]\nrequests_per_minute = 10\ntokens_per_minute = 4000\nquota = "lite"\n'
        f"shared = '{place}'\n\n[limits.\"bedrock:*\"]\nshare = 0.5\n"
    )
    monkeypatch.setenv("AWSLLM_CONFIG", str(file))
    with awsllm.Client(backends={"bedrock": ScriptedBackend("ok")}, region="us-east-1") as client:
        client.converse(MODEL, "hi", max_tokens=10)
    shown = run("show")
    assert "4,000" in shown
    assert "this process" in shown
    document = json.loads(run("show", MODEL, "--json"))
    assert document[MODEL]["in_use"]["requests_per_minute"] == {"used": 1, "in_flight": 0}
    with pytest.raises(ConfigurationError, match="has no limits of"):
        run("show", "nobody")
    shown = CliRunner().invoke(app, ["config", "show"]).stdout
    assert "4,000" in shown
