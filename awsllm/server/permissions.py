"""Who may do what: the IAM of an offline account, where it is asked to judge (``iam=True``, ``awsllm serve --iam``).

Whoever signs as a user or an assumed role of the account may do what their policies allow, and is refused the rest as
AWS refuses it. Other credentials, such as those that tests make up, are the account's own and may do everything: with
them a test lays out what a role then works on.

Which rights a request needs is told from its operation, as AWS's Service Authorization Reference lists them
(docs.aws.amazon.com/service-authorization, read 2026-11-26): for most an action of the operation's name on the resource
that it names, for those that differ a row below. Where the resource is not known, the action alone is judged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from awsllm.aws.authorization import Policies, Right
from awsllm.aws.iam import Arns
from awsllm.errors import AccessDeniedError, AwsllmError
from awsllm.models.references import geography
from awsllm.server.account.account import Account, Region
from awsllm.server.account.bedrock import profiles
from awsllm.server.account.prompts import model_of
from awsllm.server.actions import SERVICES, Asked, members, named_in, passed, read_json
from awsllm.server.bedrock_actions import bedrock_rights
from awsllm.server.http.auth import signers
from awsllm.server.services import meant, protocol, reads_form
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.surfaces.elsewhere import refusal
from awsllm.server.surfaces.routes import failure, find, is_speech
from awsllm.server.work import Incoming, Reply
from awsllm.types import JsonObject


class Identity(NamedTuple):
    """A user or an assumed role. ``context`` are the condition keys that it brings (``aws:PrincipalTag/…``)."""

    arn: str
    policies: Policies
    context: Mapping[str, str]


Identities: TypeAlias = Callable[[str], Identity | None]
"""Given the id of an access key, whose it is; None for one of nobody in the account."""


class Authorizer:
    """Judges requests to ``account``. Safe to share between threads."""

    def __init__(self, account: Account, identities: Identities) -> None:
        self._account, self._identities = account, identities
        self._seen: dict[str, Identity] = {}  # by key: one that was somebody's is not the account's own afterwards

    def refusal(self, incoming: Incoming, region: str, *, modelled: bool = True) -> Reply | None:
        """The reply to a request that its caller may not make; None if it may. ``modelled`` is whether a path may be
        one of the models' runtimes. A request that names several callers must be allowed to each."""
        callers = [who for key in signers(incoming) if (who := self._who(key)) is not None]
        if not callers:
            return None
        needed = list(rights(incoming, self._account.region(region), modelled=modelled))
        for caller in callers:
            for right in needed:
                if not caller.policies.allow(_within(right, caller, region)):
                    return _refused(incoming, caller, right)
        return None

    def _who(self, key: str) -> Identity | None:
        found = self._identities(key)
        if found is None:
            before = self._seen.get(key)
            return None if before is None else Identity(before.arn, Policies([]), {})
        self._seen[key] = found
        return found


def _within(right: Right, identity: Identity, region: str) -> Right:
    context = {"aws:RequestedRegion": region, "aws:PrincipalArn": identity.arn, **identity.context, **right.context}
    return Right(right.action, right.resource, context)


def _refused(incoming: Incoming, identity: Identity, right: Right) -> Reply:
    """In AWS's words."""
    on = f" on resource: {right.resource}" if right.resource else ""
    message = (
        f"User: {identity.arn} is not authorized to perform: {right.action}{on} because no identity-based policy "
        f"allows the {right.action} action"
    )
    spoken = protocol(incoming)
    if spoken in ("query", "ec2", "rest-xml"):
        return refusal(incoming, 403, "AccessDenied", message)
    if incoming.path.startswith(_RUNTIMES):
        return failure(incoming, AccessDeniedError(message, code="AccessDeniedException", status=403))
    return refusal(incoming, 400 if spoken == "json" else 403, "AccessDeniedException", message)


# --- which rights a request needs ------------------------------------------------------------------------------------

_MODEL, _ENDPOINT = "/model/", "/endpoints/"
_RUNTIMES = (_MODEL, _ENDPOINT, *openai.PREFIXES, *anthropic.PREFIXES)
_UNKNOWN = "*"  # the resource of what cannot be judged: whoever may do it to all things may


def rights(incoming: Incoming, region: Region, *, modelled: bool = True) -> Iterator[Right]:
    """What a request needs. What cannot be told needs the right to everything."""
    if modelled and incoming.path.startswith(_RUNTIMES) and _is_answered(incoming):
        yield from _of_runtime(incoming, region)
        return
    service, named = meant(incoming)
    if service is None or named is None or _asks_twice(incoming):
        yield Right(f"{'?' if service is None else service.signed_as}:?", _UNKNOWN)
    else:
        asked = Asked(named, members(incoming, service, named), incoming, region)
        yield from _SERVICES.get(service.name, functools.partial(named_in, service.signed_as))(asked)
        yield from passed(asked, service.name)


def _is_answered(incoming: Incoming) -> bool:
    """Whether a runtime answers, and not a bucket that is called as its paths begin."""
    is_async = incoming.path.startswith(_ENDPOINT) and incoming.path.endswith("/async-invocations")
    return is_async or find(incoming) is not None or is_speech(incoming)


def _asks_twice(incoming: Incoming) -> bool:
    """Whether a request of the query protocol names more than one action, in its address and in its form."""
    places = [incoming.query] + ([incoming.body.decode("latin-1")] if reads_form(incoming) else [])
    return sum(part.partition("=")[0] == "Action" for place in places for part in place.split("&")) > 1


def _of_runtime(incoming: Incoming, region: Region) -> Iterator[Right]:
    if incoming.headers.get("authorization", "")[:7].lower() == "bearer " or "x-api-key" in incoming.headers:
        service = "sagemaker" if incoming.path.startswith(_ENDPOINT) else "bedrock"
        yield Right(f"{service}:CallWithBearerToken", _UNKNOWN)
    if incoming.path.startswith(_MODEL):
        label, _, operation = incoming.path.removeprefix(_MODEL).rpartition("/")
        yield from _invocation(Asked(operation, read_json(incoming.body), incoming, region), unquote(label))
    elif incoming.path.startswith(_ENDPOINT):
        yield from _endpoint(incoming, region)
    else:
        body = read_json(incoming.body)
        if isinstance(model := body.get("model"), str):
            operation = _STREAMS[0] if body.get("stream") is True else ""
            yield from _invocation(Asked(operation, {}, incoming, region), model)


# --- models ----------------------------------------------------------------------------------------------------------

_STREAMS = ("converse-stream", "invoke-with-response-stream")
_INVOCATIONS = {
    "count-tokens": "bedrock:CountTokens",
    "invoke-with-bidirectional-stream": "bedrock:InvokeModelWithBidirectionalStream",
    **dict.fromkeys(_STREAMS, "bedrock:InvokeModelWithResponseStream"),
}
"""Converse has no action of its own (``operations.md``)."""
_GUARDRAIL = "x-amzn-bedrock-guardrailidentifier"


def _invocation(asked: Asked, model: str) -> Iterator[Right]:
    action = _INVOCATIONS.get(asked.operation, "bedrock:InvokeModel")
    config = asked.members.get("guardrailConfig")
    config = config if isinstance(config, dict) else {}
    headers = asked.incoming.headers
    name = config.get("guardrailIdentifier") or headers.get(_GUARDRAIL)
    if not isinstance(name, str):
        yield from _models(action, model, asked.region)
        return
    arn = name if name.startswith("arn:") else asked.arns.of("bedrock", f"guardrail/{name}")
    version = config.get("guardrailVersion") or headers.get("x-amzn-bedrock-guardrailversion")
    versioned = f"{arn}:{version}" if str(version).isdigit() else arn
    yield from _models(action, model, asked.region, {"bedrock:GuardrailIdentifier": versioned})
    yield Right("bedrock:ApplyGuardrail", arn)


def _models(action: str, model: str, region: Region, context: Mapping[str, str] | None = None) -> Iterator[Right]:
    """To call a model. One that an inference profile stands for is called through it: the profile, and the model
    wherever the profile may send the request."""
    context, arns = context or {}, Arns(region.name, region.account.account_id)
    if ":prompt/" in model:
        yield Right("bedrock:RenderPrompt", model, context)
        behind = model_of(region, model)
        yield from () if behind is None else _models(action, behind, region, context)
        return
    if geography(model) is not None or f":{profiles.PROFILES}/" in model or ":inference-profile/" in model:
        profile = _profile(model, region)
        arn = profile["inferenceProfileArn"]
        yield Right(action, arn, context)
        for each in profile["models"]:
            there = each["modelArn"].split(":")[3] or "unspecified"
            through = {"bedrock:InferenceProfileArn": arn, "aws:RequestedRegion": there}
            yield Right(action, each["modelArn"], {**context, **through})
        return
    name = f"foundation-model/{model}"
    foundation = f"arn:{arns.partition}:bedrock:{region.name}::{name}"
    yield Right(action, model if model.startswith("arn:") else foundation, context)


def _profile(model: str, region: Region) -> JsonObject:
    try:
        found = profiles.OPERATIONS["GetInferenceProfile"](region, {"inferenceProfileIdentifier": model})
    except AwsllmError:
        found = None
    arn = model if model.startswith("arn:") else Arns(region.name, region.account.account_id).of("bedrock", model)
    return found or {"inferenceProfileArn": arn, "models": []}


def _endpoint(incoming: Incoming, region: Region) -> Iterator[Right]:
    name, _, operation = incoming.path.removeprefix(_ENDPOINT).partition("/")
    actions = {
        "invocations": "InvokeEndpoint",
        "invocations-response-stream": "InvokeEndpointWithResponseStream",
        "async-invocations": "InvokeEndpointAsync",
    }
    action = f"sagemaker:{actions.get(operation, 'InvokeEndpoint')}"
    arns = Arns(region.name, region.account.account_id)
    yield Right(action, arns.of("sagemaker", f"endpoint/{unquote(name).lower()}"))
    component = incoming.headers.get("x-amzn-sagemaker-inference-component")
    if component:
        yield Right(action, arns.of("sagemaker", f"inference-component/{component.lower()}"))


def _agents(asked: Asked) -> Iterator[Right]:
    """Knowledge bases and agents at work, with the models and the bases that a request names wherever in it."""
    path = [unquote(part) for part in asked.incoming.path.split("/")]
    match asked.operation:
        case "Retrieve" | "AgenticRetrieveStream":
            yield Right("bedrock:Retrieve", asked.arns.of("bedrock", f"knowledge-base/{path[2]}"))
        case "InvokeAgent" if len(path) > 4:
            yield Right("bedrock:InvokeAgent", asked.arns.of("bedrock", f"agent-alias/{path[2]}/{path[4]}"))
        case "RetrieveAndGenerateStream":
            yield Right("bedrock:RetrieveAndGenerate")
        case _:
            yield Right(f"bedrock:{asked.operation}")
    for name, value in _texts_within(asked.members):
        if name == "knowledgeBaseId":
            yield Right("bedrock:Retrieve", asked.arns.of("bedrock", f"knowledge-base/{value}"))
        elif name in ("modelArn", "foundationModel"):
            yield from _models("bedrock:InvokeModel", value, asked.region)


def _texts_within(value: Any) -> Iterator[tuple[str, str]]:
    """Each text with the name of the member that it is, however deep."""
    if isinstance(value, list):
        for each in value:
            yield from _texts_within(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str):
                yield name, each
            else:
                yield from _texts_within(each)


def _runtime(asked: Asked) -> Iterator[Right]:
    """Of Bedrock's runtime, what is no call of a model by its path."""
    path = asked.incoming.path.split("/")
    if asked.operation == "ApplyGuardrail" and len(path) > 2:
        name = unquote(path[2])
        yield Right(
            "bedrock:ApplyGuardrail",
            name if name.startswith("arn:") else asked.arns.of("bedrock", f"guardrail/{name}"),
        )
    elif asked.operation == "StartAsyncInvoke" and (model := asked.text("modelId")):
        yield from _models("bedrock:InvokeModel", model, asked.region)
    else:
        yield Right(f"bedrock:{asked.operation}")


_SERVICES: Mapping[str, Callable[[Asked], Iterator[Right]]] = {
    **SERVICES,
    "bedrock": bedrock_rights,
    "bedrock-runtime": _runtime,
    "bedrock-agent-runtime": _agents,
}
