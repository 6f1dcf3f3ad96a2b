"""An account of moto's in which functions run; no variable of whoever runs the tests configures them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from awsllm.aws.session import AwsSession
from awsllm.lambdas.settings import VARIABLES
from awsllm.testing import mock_aws

# What Lambda's environment says; moto refuses no key.
ENVIRONMENT = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
_MODULES = ("sqs", "documents", "stepfunctions", "eventbridge", "callbacks")


@pytest.fixture(autouse=True)
def clean_handler_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)


@pytest.fixture(scope="module")
def account() -> Iterator[AwsSession]:
    """One account, and one session in it, for all tests of a module: each takes longer to make than most tests."""
    with mock_aws(reply="unused"):
        yield AwsSession()


@pytest.fixture
def in_aws(account: AwsSession, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in _MODULES:
        monkeypatch.setattr(importlib.import_module(f"awsllm.lambdas.{name}"), "AwsSession", lambda: account)
