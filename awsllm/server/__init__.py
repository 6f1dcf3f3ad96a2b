"""AWS's model-serving protocols over any backend: one address for every AWS SDK.

``work`` has the values, ``surfaces`` the routes and a protocol each, ``services`` whom a request was meant for that is
not served, ``shapes`` what AWS's models refuse; ``offline`` is an AWS with an ``account``, whose other services are
moto's (``moto``). All of that is free of network and serves ``awsllm.testing`` as well.

``assembly`` puts a server together: which models answer (``mapping``, ``places``), who may call (``gate``), what is
seen of it (``exchanges``), and the routes of its own (``admin``, ``metrics``, ``memory``, the playground). ``http`` is
the ASGI application with its limits, ``run`` the process, ``workers`` several of them.
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
