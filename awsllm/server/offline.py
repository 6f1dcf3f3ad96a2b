"""An AWS that is not there: the models' runtimes and the control planes of one account, whoever drives them.

``OfflineAws.plan`` turns a request to a region into ``Work``, as ``surfaces.routes.plan`` does for what needs no
account; None is for what moto answers. ``server.http`` drives it by HTTP, ``awsllm.testing.mock`` in-process, so that
what one answers the other does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import msgspec

from awsllm.backend import Backend
from awsllm.server.account import containers, dispatch
from awsllm.server.account.account import Account
from awsllm.server.account.bedrock.invocation_logs import logged
from awsllm.server.account.bedrock.resolve import family_of
from awsllm.server.account.invocations import invoke_async, invoke_router_async
from awsllm.server.account.knowledge.search import DocumentLike
from awsllm.server.account.refusals import no_endpoint
from awsllm.server.account.resources import deleted
from awsllm.server.account.sessions.runtime import SERVICE as SESSIONS
from awsllm.server.container import Container
from awsllm.server.permissions import Authorizer, Identities
from awsllm.server.resources import Resources, WithResources
from awsllm.server.surfaces import endpoint_chat, router, training_sessions
from awsllm.server.surfaces.async_invoke import answer as async_invoke
from awsllm.server.surfaces.async_invoke import is_async_invoke
from awsllm.server.surfaces.routes import find
from awsllm.server.work import Incoming, Models, Reply, Work
from awsllm.types import JsonObject, Request
from awsllm.wire.endpoint import named
from awsllm.wire.endpoint.detect import FORMAT_TAG

CONTROLS = ("bedrock", "bedrock-agent", "sagemaker", SESSIONS)
"""What the account's own tables answer, by botocore's names of the services: the control planes, and the runtime of
training sessions."""
_ENDPOINTS, _MODELS = "/endpoints/", "/model/"
_ASYNC = "/async-invocations"
_VARIANT = "x-amzn-sagemaker-target-variant"


class _Asked(msgspec.Struct, rename="pascal"):
    """What DescribeEndpoint or ListTags is asked about."""

    endpoint_name: str = ""
    resource_arn: str = ""


class OfflineAws:
    """One account and its runtimes. ``endpoints`` are names of SageMaker endpoints that answer though nobody made them;
    ``*`` is any, and then ``describes_any`` says whether the control plane knows them all. ``knowledge_bases`` and
    ``guardrails`` are there in every region."""

    def __init__(
        self,
        account: Account,
        models: Models,
        *,
        endpoints: Collection[str] = (),
        describes_any: bool = True,
        knowledge_bases: Mapping[str, Iterable[DocumentLike]] | None = None,
        guardrails: Mapping[str, Any] | None = None,
        identities: Identities | None = None,
    ) -> None:
        self.account = account
        self._permissions = None if identities is None else Authorizer(account, identities)
        self.changed: Callable[[], None] = lambda: None  # called after what may have changed something
        self._endpoints = frozenset([endpoints] if isinstance(endpoints, str) else endpoints)
        self._describes_any = describes_any
        self._made = functools.partial(Resources, models, knowledge_bases=knowledge_bases, guardrails=guardrails)
        self._made()  # what is no document or guardrail is told here
        self._resources: dict[str, Resources] = {}
        account.backend_in = self._backend_in

    def _backend_in(self, region: str) -> Backend | None:
        """What jobs of the account ask of knowledge bases there."""
        models = self.account.backend
        return None if models is None else WithResources(models, self.resources(region))

    def resources(self, region: str) -> Resources:
        """What answers in place of a model there: knowledge bases, guardrails, prompts."""
        if region not in self._resources:
            self.account.state(region)  # of which there is a bound
            self._resources[region] = self._made(region=self.account.region(region))
        return self._resources[region]

    @property
    def judges(self) -> bool:
        """Whether IAM is asked."""
        return self._permissions is not None

    def refusal(self, incoming: Incoming, region: str, *, modelled: bool = True) -> Reply | None:
        """The reply to what IAM does not let its caller do; None if it does, or is not asked (``identities``).
        ``modelled`` is whether a path may be one of the models' runtimes."""
        return None if self._permissions is None else self._permissions.refusal(incoming, region, modelled=modelled)

    def located(self, incoming: Incoming, region: str) -> Incoming:
        """The request with what the account knows of who answers it: the container of an endpoint, the model behind an
        ARN. Comes before ``plan``. May wait for the account. Raises the runtime's refusal."""
        if not incoming.path.startswith((_ENDPOINTS, _MODELS)) or (found := find(incoming)) is None:
            return incoming
        if incoming.path.startswith(_MODELS):
            return replace(incoming, family=family_of(self.account.region(region), found[1]))
        return replace(incoming, container=self._container(incoming, found[1], region))

    def plan(
        self,
        incoming: Incoming,
        region: str,
        service: str | None = None,
        seen: Callable[[Request[Any]], None] = lambda request: None,
    ) -> Work | None:
        """What a request to ``region`` asks for, or None for what is moto's. ``service`` is botocore's name of the one
        that it is for, where that is known. ``seen`` is given what an asynchronous invocation asks of its model. May
        wait for the account. Raises the refusal."""
        if service not in CONTROLS:
            work = self._invoked(incoming, region, seen)
            if work is not None or service is not None:
                return work
        within = self.account.region(region)
        if service in (None, SESSIONS) and training_sessions.samples(incoming):
            return training_sessions.answer(within, incoming)
        return self._named(incoming, region) or dispatch.handle(within, incoming, *([service] if service else []))

    def _invoked(self, incoming: Incoming, region: str, seen: Callable[[Request[Any]], None]) -> Work | None:
        within = self.account.region(region)
        if incoming.path.startswith(_ENDPOINTS) and incoming.path.endswith(_ASYNC):
            name = unquote(incoming.path.removeprefix(_ENDPOINTS).removesuffix(_ASYNC))
            reply = invoke_async(within, name, incoming)
            if reply is None and not within.elsewhere("endpoint", name):
                raise no_endpoint(name, self.account.account_id)
            return reply
        if router.is_async(incoming):
            return invoke_router_async(within, router.name_of(incoming), incoming)
        if is_async_invoke(incoming):
            return async_invoke(within, incoming, seen)
        found = find(incoming)
        if found is None:
            return None
        operation, label = found
        return logged(within, incoming, label, operation)

    # --- endpoints that only have a name -----------------------------------------------------------------------------

    def _container(self, incoming: Incoming, name: str, region: str) -> Container | None:
        """What answers; None for an endpoint that only has a name, or is moto's. Raises the runtime's refusal."""
        component, variant = map(incoming.headers.get, ("x-amzn-sagemaker-inference-component", _VARIANT))
        component = component or endpoint_chat.component(incoming)
        container = containers.find(self.account.region(region), name, component, variant)
        if container is None and not self._has_endpoint(name, region):
            raise no_endpoint(name, self.account.account_id)
        if container is None and name in self.account.formats:
            return Container(named(self.account.formats[name], "named by the test"), cuts=self.account.cuts)
        return container

    def _has_endpoint(self, name: str, region: str) -> bool:
        within = self.account.region(region)
        return (self._is_named(name) and not deleted(within, "endpoint", name)) or within.elsewhere("endpoint", name)

    def _is_named(self, name: str) -> bool:
        return "*" in self._endpoints or name in self._endpoints

    def _named(self, incoming: Incoming, region: str) -> Reply | None:
        """What the control plane says of an endpoint that was only named: that it speaks OpenAI's format, or the one
        that the account says. So whoever looks for the format need not try the endpoint out, which would use up a
        scripted reply."""
        operation = incoming.headers.get("x-amz-target", "").removeprefix("SageMaker.")
        if not self._endpoints or operation not in ("DescribeEndpoint", "ListTags"):
            return None
        try:
            asked = msgspec.json.decode(incoming.body, type=_Asked)
        except (ValueError, RecursionError):  # which the operation refuses
            return None
        name = asked.endpoint_name or asked.resource_arn.rpartition(":endpoint/")[2]
        within = self.account.region(region)
        if (
            not (name in self._endpoints or ("*" in self._endpoints and self._describes_any))
            or name in within.state.table("endpoint")
            or deleted(within, "endpoint", name)
            or within.elsewhere("endpoint", name)
        ):
            return None
        described: JsonObject = {
            "EndpointName": name,
            "EndpointArn": within.arn("endpoint", name.lower()),
            "EndpointConfigName": name,
            "EndpointStatus": "InService",
            **dict.fromkeys(("CreationTime", "LastModifiedTime"), 0.0),
        }
        spoken = self.account.formats.get(name, "openai").partition("/")[0]
        tags: JsonObject = {"Tags": [{"Key": FORMAT_TAG, "Value": spoken}]}
        wire = tags if operation == "ListTags" else described
        return Reply(200, {"Content-Type": "application/x-amz-json-1.1"}, msgspec.json.encode(wire))
