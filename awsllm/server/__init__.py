"""AWS's model-serving protocols over any backend: one address for every AWS SDK.

``work`` has the values, ``surfaces`` the routes and a protocol each, ``services`` whom a request was meant for that is
not served, ``shapes`` what AWS's models refuse, ``http`` the ASGI application with its limits, ``run`` the process.
Everything but the last two is free of I/O and serves ``awsllm.testing`` as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.server.http.app import create_app as create_app
    from awsllm.server.run import running as running
    from awsllm.server.run import serve as serve
    from awsllm.server.work import Models as Models

__all__ = ["Models", "create_app", "running", "serve"]

_HOMES = {"Models": "work", "create_app": "http.app", "running": "run", "serve": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
