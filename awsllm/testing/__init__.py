"""For tests: scripted backends, AWS with models that answer, in-process or on a port, faults, pytest fixtures.

``mock_aws`` (``mock``) is moto's with real answers, ``server`` (``loopback``) the same on a port; ``ScriptedBackend``
and its twin (``scripted``) stand where a model would, ``local`` (``table``) where a real one shall answer; ``faults``
has what goes wrong with AWS, ``FaultProxy`` (``proxy``) what does on the way there, and ``failing`` (``forced``) makes
a client fail for one of its models; ``recording`` (``traffic``) keeps real traffic in a file and answers from it;
``plugin`` is the pytest plugin. Names are resolved when they are first used: importing this loads neither moto nor a
model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.testing.forced import failing as failing
    from awsllm.testing.loopback import AwsServer as AwsServer
    from awsllm.testing.loopback import server as server
    from awsllm.testing.mock import MockAws as MockAws
    from awsllm.testing.mock import mock_aws as mock_aws
    from awsllm.testing.proxy import FaultProxy as FaultProxy
    from awsllm.testing.scripted import AsyncScriptedBackend as AsyncScriptedBackend
    from awsllm.testing.scripted import Broken as Broken
    from awsllm.testing.scripted import ScriptedBackend as ScriptedBackend
    from awsllm.testing.table import local as local
    from awsllm.testing.traffic.exchange import RecordedExchange as RecordedExchange
    from awsllm.testing.traffic.matching import MissingRecordingError as MissingRecordingError
    from awsllm.testing.traffic.recording import Recording as Recording
    from awsllm.testing.traffic.recording import record as record
    from awsllm.testing.traffic.recording import recording as recording
    from awsllm.testing.traffic.recording import replay as replay

__all__ = [
    *("AsyncScriptedBackend", "AwsServer", "Broken", "FaultProxy", "MissingRecordingError", "MockAws"),
    *(
        "RecordedExchange",
        "Recording",
        "ScriptedBackend",
        "failing",
        "local",
        "mock_aws",
        "record",
        "recording",
        "replay",
        "server",
    ),
]

_HOMES = {
    "AsyncScriptedBackend": "scripted",
    "AwsServer": "loopback",
    "Broken": "scripted",
    "FaultProxy": "proxy",
    "MissingRecordingError": "traffic.matching",
    "MockAws": "mock",
    "RecordedExchange": "traffic.exchange",
    "Recording": "traffic.recording",
    "ScriptedBackend": "scripted",
    "failing": "forced",
    "local": "table",
    "mock_aws": "mock",
    "record": "traffic.recording",
    "recording": "traffic.recording",
    "replay": "traffic.recording",
    "server": "loopback",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
