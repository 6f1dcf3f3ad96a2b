"""Whose calls these are on AWS's bill: sessions with tags, and profiles made for a tag."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from typer.testing import CliRunner

from awsllm import AsyncClient, Client, UsageLedger, infra
from awsllm.aws.http import HttpTransport
from awsllm.cli.app import app
from awsllm.errors import ConfigurationError, ModelNotFoundError, ValidationError
from awsllm.models.references import parse_reference
from awsllm.policy import attribution
from awsllm.policy.attribution import Attribution, checked_profiles
from awsllm.policy.configuration import parse
from awsllm.testing import ScriptedBackend, mock_aws

NOVA = "bedrock:amazon.nova-lite-v1:0"
TITAN = "bedrock:amazon.titan-embed-text-v2:0"
ROLE = "arn:aws:iam::123456789012:role/callers"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"


@pytest.fixture
def assumed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The tags of each session that is opened."""
    opened: list[dict[str, str]] = []
    send = HttpTransport.send

    def sent(self: Any, call: Any, *rest: Any) -> Any:
        if call.request.service == "sts":
            form = {name: values[0] for name, values in parse_qs(call.request.body.decode()).items()}
            assert (form["Action"], form["RoleArn"]) == ("AssumeRole", ROLE)
            keys = [name for name in form if name.endswith(".Key")]
            opened.append({form[key]: form.get(key[:-3] + "Value", "") for key in keys})
        return send(self, call, *rest)

    monkeypatch.setattr(HttpTransport, "send", sent)
    return opened


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each request to a model called it."""
    models: list[str] = []

    def watched(name: str) -> Any:
        real = getattr(HttpTransport, name)

        def sent(self: Any, call: Any, *rest: Any) -> Any:
            if call.request.path.startswith("/model/"):
                models.append(unquote(call.request.path.split("/")[2]))
            return real(self, call, *rest)

        return sent

    for name in ("send", "stream"):
        monkeypatch.setattr(HttpTransport, name, watched(name))
    return models


def test_a_call_is_made_in_a_session_with_its_tags(assumed: list[dict[str, str]]) -> None:
    with (
        mock_aws(reply="x"),
        Client(region="us-east-1", role=ROLE, session_tags=("team", "stage"), tags={"stage": "prod"}) as client,
    ):
        for team in ("search", "ads", "search"):
            client.converse(NOVA, "hi", tags={"team": team, "job": "7"})
        client.converse_stream(NOVA, "hi", tags={"team": "ads"}).response  # noqa: B018
        client.converse(NOVA, "hi")
        client.embed(TITAN, ["hi"])
    assert assumed == [
        {"team": "search", "stage": "prod"},
        {"team": "ads", "stage": "prod"},
        {"stage": "prod"},
    ]


def test_sessions_may_all_have_the_same_tags_and_be_awaited(assumed: list[dict[str, str]]) -> None:
    async def ask() -> None:
        async with AsyncClient(region="us-east-1", role=ROLE, session_tags={"team": "search"}) as client:
            await client.converse(NOVA, "hi")
            await client.converse(NOVA, "hi", tags={"team": "ads"})

    with mock_aws(reply="x"):
        asyncio.run(ask())
    assert assumed == [{"team": "search"}]


def test_a_role_is_called_as_without_tags(assumed: list[dict[str, str]]) -> None:
    with mock_aws(reply="x"), Client(region="us-east-1", role=ROLE) as client:
        client.converse(NOVA, "hi")
        client.converse(NOVA, "hi")
    assert assumed == [{}]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"session_tags": ("team",)}, "give role="),
        ({"session_tags": "team", "role": ROLE}, "names of tags"),
        ({"session_tags": {"a": "x$"}, "role": ROLE}, "STS takes"),
        ({"session_tags": {"a": "x" * 257}, "role": ROLE}, "STS takes"),
        ({"session_tags": {"aws:a": "x"}, "role": ROLE}, "does not begin with aws:"),
        ({"session_tags": ("", "a"), "role": ROLE}, "is not empty"),
        ({"session_tags": ("Team", "team"), "role": ROLE}, "case of their names"),
        ({"session_tags": dict.fromkeys(map(str, range(51)), "x"), "role": ROLE}, "50 at most"),
        ({"role": "callers"}, "ARN of a role"),
        ({"profiles": ["x"]}, "a mapping"),
        ({"profiles": {"team": {}}}, "by tag"),
        ({"profiles": {"team=a": {NOVA: "arn:aws:bedrock:us-east-1:1:provisioned-model/x"}}}, "profile's ARN"),
        ({"profiles": {"team=a": {"local:x": PROFILE}}}, "no model of Bedrock's"),
    ],
)
def test_what_cannot_be_meant_is_told_at_once(options: dict[str, Any], what: str) -> None:
    with pytest.raises((ConfigurationError, ValidationError), match=what):
        Client(backends={"bedrock": ScriptedBackend("x")}, **options)


def test_a_client_has_so_many_sessions_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution, "MOST_SESSIONS", 2)
    kept = Attribution(("job",), None, has_role=True)
    reference = parse_reference(NOVA)
    for job in ("1", "2", "1"):
        assert kept.of(reference, {"job": job})[0].session_tags == (("job", job),)
    with pytest.raises(ConfigurationError, match="name fewer"):
        kept.of(reference, {"job": "3"})
    with pytest.raises(ValidationError, match="STS takes"):
        kept.of(reference, {"job": "a,b"})


# --- profiles --------------------------------------------------------------------------------------------------------


def test_calls_of_a_tag_go_through_its_profile_and_are_otherwise_the_models(tmp_path: Path, called: list[str]) -> None:
    with mock_aws(reply="one two three"), closing(UsageLedger(tmp_path / "usage.db")) as ledger:
        made = infra.create_profile(NOVA, {"team": "search"}, region="us-east-1")
        profiles = infra.profiles_by_tag(infra.list_profiles(region="us-east-1"))
        assert profiles == {"team=search": {NOVA: made.arn}}
        with Client(region="us-east-1", profiles=profiles, ledger=ledger) as client:
            plain = client.converse(NOVA, "hi", max_tokens=50)
            through = client.converse(NOVA, "hi", max_tokens=50, tags={"team": "search", "job": "1"})
            streamed = client.converse_stream(NOVA, "hi", tags={"team": "search"}).response
            client.converse(NOVA, "hi", tags={"team": "ads"})
            with client.budget(usd=1.0) as budget:
                client.converse(NOVA, "hi", max_tokens=50, tags={"team": "search"})
        assert called == ["amazon.nova-lite-v1:0", made.arn, made.arn, "amazon.nova-lite-v1:0", made.arn]
        assert budget.spent_usd == pytest.approx(plain.cost or 0)
        for one in (through, streamed):
            assert (one.model, one.text, one.cost, one.warnings) == (NOVA, plain.text, plain.cost, plain.warnings)
        assert {row.model for row in ledger.rows()} == {NOVA}
        deleted = infra.delete_profile(made.name, region="us-east-1")
        assert deleted.arn == made.arn
        assert infra.list_profiles(region="us-east-1") == ()
        with pytest.raises(ModelNotFoundError):
            infra.delete_profile(made.name, region="us-east-1")


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_profile_is_made_once_and_of_what_can_have_one() -> None:
    with mock_aws(reply="x"):
        first = infra.create_profile(f"bedrock:us.{NOVA[8:]}", {"team": "search", "cost": "a b"}, region="us-east-1")
        again = infra.create_profile(f"bedrock:us.{NOVA[8:]}", {"team": "search", "cost": "a b"}, region="us-east-1")
        assert again == first
        assert first.name == "team-search-cost-a-b-us-amazon-nova-lite-v1-0"
        other = infra.create_profile(NOVA, {"team": "search"}, name="mine", region="us-east-1")
        assert [each.name for each in infra.list_profiles({"cost": "a b"}, region="us-east-1")] == [first.name]
        for model, tags, what in (
            (NOVA, {}, "give one"),
            (NOVA, {"awsllm:model": "x"}, "reserved"),
            (f"bedrock:{other.arn}", {"a": "b"}, "made of a foundation model"),
        ):
            with pytest.raises(ValidationError, match=what):
                infra.create_profile(model, tags, region="us-east-1")


def test_the_configuration_may_name_them() -> None:
    text = f'[profiles."team=search"]\n"{NOVA}" = "{PROFILE}"\n'
    found = parse(text)
    backend = ScriptedBackend("x")
    with Client(backends={"bedrock": backend}, configuration=found) as client:
        client.converse(NOVA, "hi", tags={"team": "search"})
        client.converse(NOVA, "hi")
    assert [(request.model, request.family) for request in backend.requests] == [
        (PROFILE, "amazon.nova-lite-v1:0"),
        ("amazon.nova-lite-v1:0", None),
    ]
    with pytest.raises(ConfigurationError, match=r"line 1, profiles.team: .*'team=search'"):
        parse(f'[profiles.team]\n"{NOVA}" = "{PROFILE}"\n')
    assert checked_profiles({}) == {}


def test_the_command_makes_lists_and_deletes_them() -> None:
    with mock_aws(reply="x"):
        made = run("profiles", "create", "-m", NOVA, "-m", TITAN, "-t", "team=search", "--region", "us-east-1")
        assert made.exit_code == 0
        assert set(parse(made.stdout).tables["profiles"]["team=search"]) == {NOVA, TITAN}
        shown = run("profiles", "list", "-t", "team=search", "--region", "us-east-1").stdout
        assert "team-search-amazon-nova-lite-v1-0" in shown
        assert parse(run("profiles", "list", "--toml", "--region", "us-east-1").stdout) == parse(made.stdout)
        gone = run("profiles", "delete", "team-search-amazon-nova-lite-v1-0", "--yes", "--region", "us-east-1")
        assert gone.stdout.startswith("deleted team-search")
        assert "nova" not in run("profiles", "list", "--region", "us-east-1").stdout
        assert run("profiles", "create", "-m", NOVA, "-m", TITAN, "-t", "a=b", "--name", "x").exit_code == 2
