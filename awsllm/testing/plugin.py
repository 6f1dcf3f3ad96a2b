"""The pytest plugin: three fixtures, and a marker for one of them. Loaded by every pytest run where awsllm is
installed, so it imports next to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from awsllm.testing.loopback import AwsServer
    from awsllm.testing.mock import MockAws
    from awsllm.testing.traffic.recording import Recording


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


@pytest.fixture(name="aws_server")
def _aws_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AwsServer]]:
    """``awsllm.testing.server``, entered for the rest of the test when called: ``aws = aws_server(reply="Hi")``. This
    process's environment then points at the server, so programs that the test starts find it, and so do clients that it
    makes itself. A call that the script has no reply for fails the test."""
    from awsllm.testing.loopback import server

    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def enter(**options: Any) -> AwsServer:
            entered = stack.enter_context(server(**options))
            for name, value in entered.env.items():
                monkeypatch.setenv(name, value)
            return entered

        yield enter


# --- recordings ------------------------------------------------------------------------------------------------------

_MARKER = "aws_recording"
_MODES = ("none", "once", "new", "all")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("awsllm").addoption(
        "--awsllm-record",
        choices=_MODES,
        help=f"how tests marked {_MARKER} record their traffic with AWS; 'none', the default unless a marker says "
        "otherwise, answers from the files alone",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(path, *, mode, **options): the test's traffic with AWS comes from a file of its own; see "
        "awsllm.testing.recording",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and item.get_closest_marker(_MARKER) and _MARKER not in item.fixturenames:
        item.fixturenames.insert(0, _MARKER)  # before what sets up the test and may call AWS


@pytest.fixture(name=_MARKER)
def _recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """``awsllm.testing.recording``, entered for the test. The file is ``recordings/MODULE/TEST.yaml`` beside the test's
    own, unless the marker of the same name gives a path, from there. ``--awsllm-record`` decides the mode, then the
    marker; without either nothing is sent."""
    from awsllm.testing.traffic.recording import Recording

    marker = request.node.get_closest_marker(_MARKER)
    options = dict(marker.kwargs) if marker else {}
    path = options.pop("path", None) or (marker.args[0] if marker and marker.args else _file(request.node))
    mode = request.config.getoption("--awsllm-record") or options.pop("mode", None) or "none"
    options.pop("mode", None)
    with Recording(request.path.parent / path, mode, options) as recording:  # type: ignore[arg-type]
        yield recording
        if request.session.exitstatus == pytest.ExitCode.INTERRUPTED:
            recording.discard()


def _file(node: pytest.Item) -> Path:
    """Of one test alone, so that workers of pytest-xdist never write the same. A name that no file can have ends in a
    number of its own."""
    name = ".".join(node.nodeid.split("::")[1:])
    plain = re.sub(r"[^\w.=,\[\] -]", "_", name)[:120].strip()
    if plain != name:
        plain += f"-{crc32(name.encode()):08x}"
    return Path("recordings") / node.path.stem / f"{plain}.yaml"
