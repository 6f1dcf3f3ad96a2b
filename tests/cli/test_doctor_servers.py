"""What `awsllm doctor` says of servers on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from awsllm.cli.doctor import Check, _servers
from awsllm.server.instance import Instance, registered

URL = "http://127.0.0.1:8912"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path))


def test_none_runs() -> None:
    assert list(_servers()) == [Check("awsllm serve", "info", "no server runs here")]


def test_one_runs_and_is_pointed_at_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with registered(Instance(url=URL, pid=1, key_needed=True)):
        (check,) = _servers()
        assert (check.status, check.detail) == ("info", f"{URL} (process 1, with an API key)")
        assert check.fix == f'eval "$(awsllm env --url {URL})" points clients at it'
        monkeypatch.setenv("AWS_ENDPOINT_URL", URL + "/")
        (check,) = _servers()
        assert (check.status, check.fix) == ("ok", None)
        assert "AWS_ENDPOINT_URL points at" in check.detail


def test_the_environment_points_at_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)  # another emulator's
        assert [check.status for check in _servers()] == ["info"]
    (check,) = _servers()
    assert (check.status, check.detail) == ("warning", f"nobody listens at {url}")
    assert check.fix is not None
    assert "awsllm serve" in check.fix


def test_other_machines_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://vpce.example.com")
    assert [check.status for check in _servers()] == ["info"]
