"""For tests: scripted backends, AWS in-process with models that answer, a pytest fixture.

``mock_aws`` (``mock``) is moto's with real answers; ``ScriptedBackend`` and its twin (``scripted``) stand where a
model would; ``plugin`` is the pytest plugin. Names are resolved when they are first used: importing this loads
neither moto nor a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.testing.mock import MockAws as MockAws
    from awsllm.testing.mock import mock_aws as mock_aws
    from awsllm.testing.scripted import AsyncScriptedBackend as AsyncScriptedBackend
    from awsllm.testing.scripted import Broken as Broken
    from awsllm.testing.scripted import ScriptedBackend as ScriptedBackend

__all__ = ["AsyncScriptedBackend", "Broken", "MockAws", "ScriptedBackend", "mock_aws"]

_HOMES = {
    "AsyncScriptedBackend": "scripted",
    "Broken": "scripted",
    "MockAws": "mock",
    "ScriptedBackend": "scripted",
    "mock_aws": "mock",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
