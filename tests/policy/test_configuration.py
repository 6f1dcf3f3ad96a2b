"""``awsllm.toml``: what it means, where it is found, and how it is told what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import awsllm
from awsllm.cli.app import app
from awsllm.errors import ConfigurationError
from awsllm.lambdas.settings import configured_names
from awsllm.policy import configuration
from awsllm.policy.configuration import TomlTable, line_of, parse, read
from awsllm.policy.configuration_file import find_configuration, logged_by_configuration
from awsllm.testing import ScriptedBackend
from tests.support.command_line import Run, runner

FILE = """\
# names for what we use
[aliases]
fast = "bedrock:us.amazon.nova-lite-v1:0"
deep = "bedrock:us-west-2/us.anthropic.claude-sonnet-4-6"

[groups.chat]
models = ["deep", "fast", {model = "local:smollm2-135m-instruct", options = {max_tokens = 99}}]
on = ["throttling", "server_error"]
breaker = {minimum = 3}

[groups.spread]
models = {fast = 3, "bedrock:eu-west-1/eu.amazon.nova-lite-v1:0" = 1}
regions = "*"
breaker = false
concurrency = "adaptive"

[policy]
max_attempts = 4
timeout = 60

[prices."bedrock:us.amazon.nova-lite-v1:0"]
input = 1.0
output = 2.0
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "awsllm.toml").write_text(FILE, encoding="utf-8")
    return tmp_path / "awsllm.toml"


def test_what_it_says(path: Path) -> None:
    found = read(path)
    chat, spread = found.groups["chat"], found.groups["spread"]
    assert [str(member.reference) for member in chat.members] == [
        "bedrock:us-west-2/us.anthropic.claude-sonnet-4-6",
        "bedrock:us.amazon.nova-lite-v1:0",
        "local:smollm2-135m-instruct",
    ]
    assert chat.on == ("throttling", "server_error")
    assert chat.breaker == awsllm.Breaker(minimum=3)
    assert chat.members[2].options == {"max_tokens": 99}
    assert spread.weighted
    assert [member.weight for member in spread.members] == [3, 1]
    assert (spread.breaker, spread.concurrency) == (None, "adaptive")
    assert found.policy == awsllm.Policy(max_attempts=4, timeout=60)


def test_a_client_calls_by_its_names(path: Path) -> None:
    backend = ScriptedBackend(lambda request: request.model)
    with awsllm.Client(region="us-east-1", configuration=path, backends={"bedrock": backend}) as client:
        assert client.converse("fast", "Hi").model == "bedrock:us.amazon.nova-lite-v1:0"
        assert client.converse("chat", "Hi").text == "us.anthropic.claude-sonnet-4-6"
        assert client.converse(["fast", "deep"], "Hi").text == "us.amazon.nova-lite-v1:0"
        assert client.count_tokens("fast", "one two") > 0
        assert len(client.embed("fast", ["a"]).vectors) == 1
        assert client.price("fast") == awsllm.Price(input=1.0, output=2.0)
        assert client._policy.max_attempts == 4
        assert client.converse("bedrock:us-west-2/us.amazon.nova-lite-v1:0", "Hi").cost == 3e-6
        with pytest.raises(ConfigurationError, match=r"no name of .*: there are fast, deep, chat, spread"):
            client.converse("slow", "Hi")
        with pytest.raises(ConfigurationError, match="vectors of two models"):
            client.embed("chat", ["a"])


def test_what_the_caller_gives_goes_before_it(path: Path) -> None:
    prices = {"bedrock:us.amazon.nova-lite-v1:0": awsllm.Price(input=5)}
    client = awsllm.Client(configuration=path, policy=awsllm.Policy(max_attempts=1), prices=prices)
    assert client.price("fast") == awsllm.Price(input=5)
    assert client._policy.max_attempts == 1
    made = awsllm.Configuration(aliases={"a": "local:x"})
    assert awsllm.Client(configuration=made).price("a") is None
    with pytest.raises(ConfigurationError, match="configuration is a int"):
        awsllm.Client(configuration=7)  # type: ignore[arg-type]


def test_where_it_is_found(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_configuration() is None  # AWSLLM_CONFIG is empty
    monkeypatch.delenv("AWSLLM_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "home"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert find_configuration() is None
    users = tmp_path / "home" / "awsllm" / "awsllm.toml"
    users.parent.mkdir(parents=True)
    users.write_text(FILE, encoding="utf-8")
    assert find_configuration() == str(users)
    monkeypatch.chdir(tmp_path)
    assert find_configuration() == "awsllm.toml"
    assert awsllm.Client()._policy.max_attempts == 4
    monkeypatch.setenv("AWSLLM_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read"):
        awsllm.Client()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[aliases\n", "line 1: this is not TOML"),
        ("\n[aliasses]\n", "line 2, aliasses: there is no such key: did you mean 'aliases'?"),
        ('[aliases]\nfast = "nova"\n', "line 2, aliases.fast: 'nova' is not a model reference"),
        ('[aliases]\n"a:b" = "local:x"\n', "line 2, aliases.a:b: a name has no colon"),
        ("[groups.g]\n\nmodels = []\n", "line 3, groups.g.models: it is a list"),
        ('[groups.g]\nmodels = ["fats"]\n[aliases]\nfast = "local:x"', "line 2, .*did you mean 'fast'"),
        ('[groups.g]\nmodels = ["local:x"]\non = ["retry"]\n', "line 3, groups.g.on: on='retry' is no rule"),
        ('[groups.g]\nmodels = ["local:x"]\nstiky = 1\n', "line 3, groups.g.stiky: .*did you mean 'sticky'"),
        ('[groups.g]\nmodels = ["local:x"]\nbreaker = {minimum = 0}\n', "line 3, groups.g.breaker"),
        ('[groups.g]\nmodels = [{model = "local:x", weight = -1}]\n', "line 2, groups.g.models: the weight"),
        ("[policy]\nmax_attempts = 0\n", "line 2, policy.max_attempts: max_attempts counts"),
        ("[policy]\nclock = 0\n", "line 2, policy.clock: there is no such key"),
        ('[prices."local:x"]\ninput = "a"\n', "line 2, prices.local:x.input"),
        ("policy = 1\n", "line 1, policy: it is a table"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_key(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        parse(text, "some.toml")
    assert caught.value.message.startswith("some.toml, line ")


def test_a_further_table_is_a_row(path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    rows = {
        "when": TomlTable("awsllm.policy.breakers:Breaker"),
        "each": TomlTable("awsllm.policy.breakers:Breaker", each="reference"),
        "tags": TomlTable("awsllm.policy.tags:checked_tags"),
    }
    monkeypatch.setattr(configuration, "TABLES", rows)
    path.write_text('[when]\nminimum = 3\n[each."local:x"]\nwindow = 9\n[tags]\nteam = "search"\n', encoding="utf-8")
    found = read(path)
    assert found.tables["when"] == awsllm.Breaker(minimum=3)
    assert found.tables["each"] == {"local:x": awsllm.Breaker(window=9)}
    assert awsllm.Client(configuration=path)._layer()._tags == {"team": "search"}  # as the option of that name
    assert awsllm.Client(configuration=path, tags={"a": "b"})._layer()._tags == {"a": "b"}
    shown = run("config", "show", str(path)).out
    assert "[when]\nminimum = 3\n" in shown
    assert "local:x = Breaker(window=9" in shown
    assert '"minimum": 3' in run("config", "show", str(path), "--json").out
    for text, told in (
        ("[when]\nmany = 1\n", "line 2, when.many: there is no such key"),
        ("[when]\n\nminimum = 0\n", "line 3, when.minimum"),
        ("[each.x]\nwindow = 9\n", "line 1, each.x: 'x' is not a model reference"),
        ("[tags]\nteam = 1\n", "line 2, tags.team: tag 'team'"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            parse(text)


def test_lines() -> None:
    assert line_of(FILE, ("groups", "spread", "breaker")) == 14
    assert line_of(FILE, ("prices", "bedrock:us.amazon.nova-lite-v1:0", "output")) == 23
    assert line_of('a.b = 1\n[x."y z"]\n q=2', ("x", "y z", "q")) == 3
    assert line_of("", ("nothing",)) == 1


def test_the_command_shows_and_checks(path: Path, run: Run) -> None:
    shown = run("config", "show", str(path))
    assert "bedrock:us-west-2/us.anthropic.claude-sonnet-4-6" in shown.out
    checked = run("config", "check", str(path))
    assert "2 aliases, 2 groups, 1 price, policy" in checked.out
    path.write_text("[aliases]\nx = 1\n", encoding="utf-8")
    wrong = run("config", "check", str(path))
    assert wrong.code == 1
    assert "line 2, aliases.x" in wrong.err


def test_what_cannot_be_meant_is_warned_of(path: Path, run: Run) -> None:
    path.write_text(
        '[groups.g]\nmodels = ["bedrock:us.amazon.nova-lite-v1:0", "bedrock:amazon.nova-lite-v1:0", "bedrock:x.y"]\n'
        'regions = ["eu-*"]\non = ["timeout"]\n',
        encoding="utf-8",
    )
    told = run("config", "check", str(path)).err
    assert "bedrock:us.amazon.nova-lite-v1:0 is never asked" in told
    assert "bedrock:amazon.nova-lite-v1:0 names no region" in told
    assert "nothing is known of bedrock:x.y" in told
    assert "paid for twice" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[log]\npath = "calls.db"\n', "line 1, log: .*a stranger's"),
        ('[telemetry]\nforms = "log"\nfile = "x"\n', "line 1, telemetry"),
        ('[profiles."team=search"]\n"bedrock:a.b" = "arn"\n', "line 1, profiles"),
        (
            '[groups.g]\nmodels = ["local:x", {model = "local:x", role = "arn:aws:iam::1:role/r"}]\n',
            "line 2, groups.g.models",
        ),
        ('[limits."bedrock:x"]\nshared = "redis://elsewhere"\n', "line 2, limits.bedrock:x.shared"),
    ],
)
def test_a_strangers_file_sends_nothing_elsewhere(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that was cloned may have an awsllm.toml, and whoever runs `awsllm` in it did not choose that."""
    monkeypatch.delenv("AWSLLM_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "awsllm.toml").write_text(text, encoding="utf-8")
    for look in (awsllm.Client, awsllm.AsyncClient, logged_by_configuration, configured_names):
        with pytest.raises(ConfigurationError, match=told):
            look()
    result = CliRunner().invoke(app, ["config", "check"])
    assert isinstance(result.exception, ConfigurationError) or result.exit_code


def test_a_strangers_file_has_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWSLLM_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "awsllm.toml").write_text(FILE, encoding="utf-8")
    assert awsllm.Client()._policy.max_attempts == 4


@pytest.mark.parametrize("variable", ["AWSLLM_CONFIG", "LAMBDA_TASK_ROOT"])
def test_a_file_that_is_named_or_packaged_says_all(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWSLLM_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "awsllm.toml").write_text('[log]\npath = "calls.db"\n', encoding="utf-8")
    monkeypatch.setenv(variable, "awsllm.toml" if variable == "AWSLLM_CONFIG" else str(tmp_path))
    assert logged_by_configuration().path == "calls.db"
    with awsllm.Client(configuration="awsllm.toml") as client:
        assert client._observers is not None
