"""What a client takes beside where and how to call AWS, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from awsllm.calls.options import check_number
from awsllm.errors import ConfigurationError
from awsllm.models.prices import Price
from awsllm.models.references import SCHEMES
from awsllm.policy.attempts import Policy

if TYPE_CHECKING:
    from pathlib import Path

    from awsllm.backends.local.encoders import EncoderPrecision
    from awsllm.policy.answers.semantic import SemanticCache
    from awsllm.policy.answers.stores import ResponseCache
    from awsllm.policy.call_log.call_log import CallLog
    from awsllm.policy.configuration import Configuration
    from awsllm.policy.limiting.limits import Limits
    from awsllm.policy.observers import Observer
    from awsllm.policy.redaction import Redaction, TextHook
    from awsllm.policy.shared_routes import RoutesStore
    from awsllm.policy.usage_ledger import UsageLedger
    from awsllm.store import Store


class ClientOptions(TypedDict, total=False):
    """What a client takes beside where and how to call AWS.

    prices: a Price for each model reference that shall not be paid by the shipped table, or is not in it.
    store: where the local models are kept.
    device: what computes the local models: "cpu", "cuda", "cuda:1", "mps" or "auto". Unless it is given, the variable
        AWSLLM_DEVICE says it, else it is the CPU.
    backends: what replaces a scheme's backend, by "bedrock", "sagemaker" or "local". Who gives one closes it.
    configuration: names of models, groups, prices and a policy: the path of an awsllm.toml, or a Configuration. Without
        it, that is AWSLLM_CONFIG, ./awsllm.toml or the one in the user's configuration folder, if there is any.
    formats: what SageMaker containers speak, by ENDPOINT/COMPONENT, ENDPOINT or "*". What is not said is found out at
        an endpoint's first call, which needs up to five requests more.
    encoder_precision: what local models compute in that make embeddings or rerank: "float32", or "bfloat16", which
        takes about half the time on processors that have it, for vectors that differ a little.
    connect_timeout: seconds for reaching the service.
    read_timeout: seconds of the longest silence.
    max_connections: how many connections are kept open at most.
    response_cache: answers that are kept and given to equal requests: a ResponseCache, or a file's path.
    semantic_cache: the same for questions that mean the same: a SemanticCache.
    ledger: an SQLite file in which it is counted what calls used; `awsllm usage` shows it.
    tags: names and texts by which that is told apart; of Bedrock's requests they are metadata too.
    role: the ARN of a role that calls are made as; references may name others.
    session_tags: what AWS's bill tells the role's calls apart by: tags of its sessions, or the names of those of a
        call's tags that its session has; a session is opened for each set of their values.
    profiles: application inference profiles by tag and model, as `awsllm profiles` lists them: calls with the tag
        "team=search" of a model go through the ARN that stands there for both.
    telemetry: who is told what happens to calls: "otel" (OpenTelemetry), "log" (a line of JSON a call), "emf"
        (CloudWatch's metrics, in Lambda), an Observer, or a list of these; False or "off": nobody. Without it, that is
        what AWSLLM_TELEMETRY says, with commas between several, and then the configuration's [telemetry].
    log: where each call is kept whole, for `awsllm log`: the path of an SQLite file, True for the user's own, a
        CallLog, or False. Without it, that is what AWSLLM_LOG says, and then the configuration's [log].
    redact: what is taken out of content before it leaves for a log or a span: names of patterns ("email", "phone",
        "card" …), a function from text to text, a Redaction, or True for all patterns. Models are sent none of it.
    limits: the quotas that calls keep to: Limits by model reference, by a name of the configuration (of a group: each
        of its members'), or by a pattern (such as "bedrock:*claude*", for each model that it fits); one Limits is for
        each model there is. "quotas": those that Service Quotas has of the models that are called.
    shared: where processes tell each other how the models of groups do, and where conversations are at home: a file's
        path, for those of one machine, or redis://….
    """

    prices: Mapping[str, Price]
    store: Store | None
    device: str
    backends: Mapping[str, Any]
    configuration: Configuration | str | os.PathLike[str] | None
    formats: Mapping[str, str]
    encoder_precision: EncoderPrecision
    connect_timeout: float
    read_timeout: float
    max_connections: int
    response_cache: ResponseCache | str | Path | None
    semantic_cache: SemanticCache | None
    ledger: UsageLedger | str | Path | None
    tags: Mapping[str, str] | None
    role: str | None
    session_tags: Mapping[str, str] | Sequence[str] | None
    profiles: Mapping[str, Mapping[str, str]] | None
    telemetry: str | Observer | Sequence[str | Observer] | bool | None
    log: CallLog | str | Path | bool | None
    redact: Redaction | str | TextHook | Sequence[str | TextHook] | bool | None
    limits: Mapping[str, Limits] | Limits | Literal["quotas"] | None
    shared: str | Path | RoutesStore | None


# What boto3 calls them.
_RENAMED = {"region_name": "region", "profile_name": "profile", "boto3_session": "session", "config": "policy"}

TRANSPORT_OPTIONS = ("connect_timeout", "read_timeout", "max_connections")
"""Those that are for each connection."""


def check_options(options: ClientOptions) -> None:
    """``ConfigurationError`` for an option that there is not, or that is not what it is to be."""
    if unknown := options.keys() - ClientOptions.__annotations__.keys():
        name = min(unknown)
        hint = f": here it is {_RENAMED[name]!r}" if name in _RENAMED else ""
        raise ConfigurationError(f"unknown client option {name!r}{hint}")
    for name in TRANSPORT_OPTIONS:
        check_number(name, options.get(name), whole=name == "max_connections", kind=ConfigurationError)
    for name in ("prices", "formats", "backends"):
        if not isinstance(options.get(name) or {}, Mapping):
            raise ConfigurationError(f"{name} is a mapping, not a {type(options.get(name)).__name__}")
    for model, price in (options.get("prices") or {}).items():
        if not isinstance(price, Price):
            raise ConfigurationError(f"the price of {model} is {price!r:.40}; give awsllm.Price(input=…, output=…)")
    for scheme in options.get("backends") or {}:
        if scheme not in SCHEMES:
            raise unknown_scheme(scheme)
    if (role := options.get("role")) is not None:
        from awsllm.aws.iam import check_role

        check_role(role)
    if (redact := options.get("redact")) is not None:  # where nothing is told content, too: a wrong name is no guard
        from awsllm.policy.redaction import checked_redaction

        checked_redaction(redact)
    _check_local(options)


def _check_local(options: ClientOptions) -> None:
    if (device := options.get("device")) is not None:
        from awsllm.backends.local.device import wanted

        wanted(device)
    if (precision := options.get("encoder_precision")) is not None:
        from awsllm.backends.local.encoders import check_precision

        check_precision(precision)


def checked_policy(given: Policy | None) -> Policy:
    if given is not None and not isinstance(given, Policy):
        raise ConfigurationError(f"policy is a {type(given).__name__}; give awsllm.Policy(max_attempts=…)")
    return given or Policy()


def unknown_scheme(scheme: str) -> ConfigurationError:
    return ConfigurationError(f"no backend for {scheme!r}: there are bedrock, sagemaker and local")
