"""The local models in memory: which, how large, how busy; and letting one go. An ``Extension``.

    GET    /_awsllm/models         {"models": [{"name", "kind", "size", "room", "in_flight", "since", "used"}]}
    DELETE /_awsllm/models/NAME

``size`` and ``room`` are bytes: of the model's files, and what conversations with it may take at most.

Whoever runs the server may ask: from this machine, with the server's API key where it has one, or with the admin token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from awsllm.errors import AwsllmError, ModelNotFoundError
from awsllm.server.admin import TOKEN, check_token
from awsllm.server.http.auth import check_body, check_head
from awsllm.server.surfaces import openai
from awsllm.server.work import Incoming, Reply, Work

if TYPE_CHECKING:
    from awsllm.backends.local.backend import LocalBackend
    from awsllm.backends.local.residents import Residents

PATH = "/_awsllm/models"


class MemoryRoute:
    """``local`` is None where no local models answer. ``api_key`` and ``token`` are the server's, None where it has
    none."""

    def __init__(self, local: LocalBackend | None, api_key: str | None, token: str | None = None) -> None:
        self._residents = local.residents if local is not None else None
        self._api_key, self._token = api_key, token

    def takes(self, head: Incoming) -> bool:
        return head.path == PATH or head.path.startswith(f"{PATH}/")

    def admit(self, head: Incoming) -> None:
        if self._token is not None and TOKEN in head.headers:
            check_token(self._token, head)
        elif not check_head(self._api_key, head):
            check_body(self._api_key, head)  # neither request has a body

    def plan(self, incoming: Incoming) -> Work:
        if self._residents is None:
            raise ModelNotFoundError("No local models answer at this server (a script does, or a backend of its own).")
        if incoming.method == "GET" and incoming.path == PATH:
            return _reply({"models": _listed(self._residents)})
        name = unquote(incoming.path.removeprefix(PATH).removeprefix("/")).removeprefix("local:")
        if incoming.method == "DELETE" and self._residents.unload(name):
            return _reply({"unloaded": name})
        raise ModelNotFoundError(f"No model {name[:100]!r} is in memory; awsllm ps (GET {PATH}) lists those that are.")

    def failure(self, error: AwsllmError) -> Reply:
        return openai.failure(error)


def _listed(residents: Residents[Any]) -> list[dict[str, object]]:
    return [
        {
            "name": one.name,
            "kind": "loading" if one.model is None else type(one.model).__name__.removesuffix("Model").lower(),
            "size": one.size.files + one.size.beside,
            "room": one.size.conversations,
            "in_flight": one.in_flight,
            "since": one.since,
            "used": one.used,
        }
        for one in residents.held()
    ]


def _reply(wire: object) -> Reply:
    return Reply(200, {"Content-Type": "application/json", "Cache-Control": "no-store"}, msgspec.json.encode(wire))
