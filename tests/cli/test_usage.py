"""`awsllm usage` shows a ledger."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from awsllm import UsageLedger
from awsllm.cli.app import app
from awsllm.cli.log_text import dollars
from awsllm.errors import ConfigurationError
from awsllm.policy.usage_ledger import LedgerCounts

NOON = datetime(2025, 11, 30, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    now = [NOON]
    path = tmp_path / "usage.db"
    with closing(UsageLedger(path, clock=lambda: now[0])) as opened:
        opened.count("bedrock:m", {"team": "a"}, LedgerCounts(calls=2, input=1000, output=50, cost=0.25))
        opened.count("bedrock:m", {"team": "=b"}, LedgerCounts(calls=1, failed=1, input=10, unpriced=1))
        now[0] += 86_400
        opened.count("bedrock:n", {}, LedgerCounts(calls=1, hits=3, input=100, cache_read=900, cost=1.0, saved=0.5))
    return str(path)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["usage", *words])
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_table_has_sums_and_their_total(ledger: str) -> None:
    _, shown, beside = run("--ledger", ledger)
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["DAY", "MODEL", "CALLS", "HITS", "INPUT", "OUTPUT", "COST"]
    assert lines[1][:6] == ["2025-11-30", "bedrock:m", "3", "0", "1,010", "50"]
    assert "$0.2500 and 1 of unknown cost" in shown
    assert lines[2] == ["2025-12-01", "bedrock:n", "1", "3", "1,000", "0", "$1.0000"]
    assert lines[3][:4] == ["TOTAL", "4", "3", "2,010"]
    assert "Kept answers saved $0.5000." in beside
    assert "1 calls failed after they may have run" in beside


def test_json_and_csv_have_every_count(ledger: str) -> None:
    _, text, _ = run("--ledger", ledger, "--json", "--by", "tag:team")
    found = {row["tag:team"]: row for row in json.loads(text)}
    assert (found["a"]["calls"], found["a"]["cost"], found["-"]["cache_read"]) == (2, 0.25, 900)
    _, text, _ = run("--ledger", ledger, "--csv", "--by", "tag:team,model")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["tag:team"] for row in rows] == ["-", "'=b", "a"]  # nothing that a spreadsheet would run
    assert rows[2]["input"] == "1000"


def test_days_and_tags_choose(ledger: str) -> None:
    _, text, _ = run("--ledger", ledger, "--json", "--since", "2025-12-01")
    assert [row["model"] for row in json.loads(text)] == ["bedrock:n"]
    _, text, _ = run("--ledger", ledger, "--json", "--until", "2025-11-30", "--tag", "team=a")
    assert [row["calls"] for row in json.loads(text)] == [2]
    _, text, _ = run("--ledger", ledger, "--json", "--days", "1")
    assert json.loads(text) == []


def test_bars_are_as_long_as_what_they_show(ledger: str) -> None:
    _, shown, _ = run("--ledger", ledger, "--by", "day", "--plot", "cost")
    first, second = shown.splitlines()
    assert "2025-11-30" in first
    assert first.endswith("$0.2500")
    assert second.count("█") == pytest.approx(4 * first.count("█"), abs=4)
    _, shown, _ = run("--ledger", ledger, "--by", "model", "--plot", "tokens")
    assert [line.split()[-1] for line in shown.splitlines()] == ["1,060", "1,000"]
    assert "Nothing was used." in run("--ledger", ledger, "--days", "1", "--plot", "cost")[2]


def test_what_there_is_not_is_told(ledger: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"it is what awsllm\.Client"):
        run("--ledger", str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    assert run("--ledger", ledger, "--by", "week")[0] == 2
    assert run("--ledger", ledger, "--plot", "weight")[0] == 2
    assert run("--ledger", ledger, "--tag", "team")[0] == 2


def test_a_cost_is_not_shown_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    with closing(UsageLedger(path)) as opened:
        opened.count("bedrock:m", {}, LedgerCounts(calls=1, input=10, output=5, cost=0.000012))
    assert "$0.000012" in run("--ledger", str(path))[1]
    assert "$0.000012" in run("--ledger", str(path), "--plot", "cost")[1]
    assert dollars(3e-7) == "<$0.000001"
