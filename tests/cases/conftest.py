"""What every case gets: keys that mean nothing, and a region in no test but those that give one."""

import pytest


@pytest.fixture(autouse=True)
def keys(clean_aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
