"""The playground: a page at ``/`` to talk to the models that the server answers for, and what the page asks.

    GET  /playground/api/models    whom one can talk to
    POST /playground/api/converse  Converse's request, with ``model`` and maybe ``outputSchema``; answered by
                                   ConverseStream's events as server-sent events, then ``done`` or ``error``
    POST /playground/api/code      the same request as Python
    GET  /playground/api/calls     what was answered (?after=NEXT: since then; ?id=ID: all of one call)
    GET  /playground/api/account   what the offline account has, and its states

What fails before the first event has its own status and is JSON: ``{"code", "message"}``. The page is the one that a
browser may call these from; with an API key it shows that as a bearer token.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from awsllm.errors import AwsllmError, RequestError
from awsllm.server.account.account import Account
from awsllm.server.account.refusals import UnauthenticatedError
from awsllm.server.http.auth import check_head
from awsllm.server.surfaces.playground import account, conversations
from awsllm.server.surfaces.playground.calls import Calls
from awsllm.server.surfaces.playground.page import API, PREFIX, as_json, is_page, page
from awsllm.server.work import Incoming, Models, Reply, Work


@dataclass(frozen=True, slots=True)
class Playground:
    """An extension of the server (``http.app.Extension``)."""

    models: Models
    api_key: str | None
    calls: Calls
    account: Account | None

    def takes(self, head: Incoming) -> bool:
        return head.path.startswith(PREFIX) or is_page(head)

    def admit(self, head: Incoming) -> None:
        """The page is for anyone, what it asks is not. A signature would be one of the body, and no page has one."""
        if not is_page(head) and not check_head(self.api_key, head):
            raise UnauthenticatedError("The playground is shown the API key as a bearer token.")

    def plan(self, incoming: Incoming) -> Work:
        if is_page(incoming):
            return page(incoming)
        match incoming.method, incoming.path.removeprefix(API):
            case "POST", "converse":
                return conversations.converse(incoming)
            case "POST", "code":
                return conversations.code(incoming)
            case "GET", "models":
                return as_json(account.models(self.models, self.account))
            case "GET", "account":
                return as_json(account.resources(self.account))
            case "GET", "calls":
                return self._calls(dict(parse_qsl(incoming.query)))
            case _:
                raise RequestError("the playground has no such operation", code="ResourceNotFoundException", status=404)

    def _calls(self, query: dict[str, str]) -> Reply:
        if "id" not in query:
            return as_json(self.calls.after(_number(query.get("after", "0"))))
        found = self.calls.one(_number(query["id"]))
        if found is None:
            raise RequestError("this call is no longer kept", code="ResourceNotFoundException", status=404)
        return as_json(found)

    def failure(self, error: AwsllmError) -> Reply:
        """A wrong key is a 401, at which the page asks for the right one."""
        status, wire = conversations.told(error)
        return as_json(wire, 401 if isinstance(error, UnauthenticatedError) else status)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RequestError("a call's number is digits", code="ValidationException", status=400)
    return int(text)
