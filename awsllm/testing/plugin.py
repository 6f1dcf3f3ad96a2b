"""The pytest plugin: one fixture. Loaded by every pytest run where awsllm is installed, so it imports next to
nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from awsllm.testing.mock import MockAws


@pytest.fixture(name="mock_aws")
def _mock_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MockAws]]:
    """``awsllm.testing.mock_aws``, entered for the rest of the test when called: ``aws = mock_aws(reply="Hi")``. Until
    it is called the test is as one that is decorated with a bare ``@mock_aws``: nothing reaches AWS. Where the
    environment names no region, it is us-east-1. Real credentials are out of the test's reach."""
    from awsllm.testing.mock import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    if not os.environ.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with ExitStack() as stack, ExitStack() as bare:
        bare.enter_context(mock_aws())

        def enter(**options: Any) -> MockAws:
            mock: MockAws = mock_aws(**options)
            bare.close()  # left first: moto's configuration is undone by the mock that is left last, which brought none
            return stack.enter_context(mock)

        yield enter
