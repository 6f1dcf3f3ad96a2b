"""All that is known here of moto's insides, in one place that checks itself.

moto answers botocore through one object, ``botocore_stubber``, registered for the event ``before-send`` of every
session made after its import. While at least one responder is installed, that object's ``__call__`` asks the innermost
first, and what it does not answer goes on to moto. Besides that, moto's list of scalable dimensions gets the one of
inference components for as long, and its scalable targets get tags. Nothing else of moto is changed, so clients that
moto answers are answered here too, whenever they were made, and a nested or foreign ``mock_aws`` changes nothing.

``Services`` and ``Objects`` read and write moto's backends: what an offline account asks of its neighbours.

``check`` compares what is used with what is there and names moto's version where it differs.
"""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from importlib.metadata import version
from typing import Any, TypeAlias

from awsllm.errors import ConfigurationError
from awsllm.jumpstart.plan.scaling import DIMENSIONS
from awsllm.server.account.neighbours import Neighbours
from awsllm.types import JsonObject

Responder: TypeAlias = Callable[[Any], Any]
"""Given botocore's AWSPreparedRequest, returns an AWSResponse, or None to leave the request to moto."""

SUPPORTED = "moto>=5.2.5,<5.3"

_lock = threading.Lock()
_responders: list[Responder] = []
# Set by the first install and kept: a call on another thread may be on its way through ``_call`` during an uninstall.
_original: Callable[..., Any] | None = None
_dimensions: Any = None  # moto's own enumeration, while another stands in its place
_replaced: dict[
    str, Any
] = {}  # moto's own methods of scalable targets, None where it has none, while others stand there


def check() -> None:
    """Raise ``ConfigurationError`` if moto is missing, works outside this process, or is not as this module knows
    it."""
    try:
        from moto import settings
    except ImportError as error:
        raise ConfigurationError("mock_aws needs moto: pip install 'awsllm[test]'") from error
    if settings.TEST_SERVER_MODE or settings.is_test_proxy_mode():
        raise ConfigurationError("awsllm's mock_aws answers in-process: unset TEST_SERVER_MODE and TEST_PROXY_MODE")
    moved = [what for what, holds in _expectations().items() if not holds]
    if moved:
        raise _unknown(*moved)


def _unknown(*moved: str) -> ConfigurationError:
    return ConfigurationError(
        f"moto {version('moto')} is not as awsllm.testing knows it ({', '.join(moved)}): install {SUPPORTED!r}"
    )


def _expectations() -> dict[str, bool]:
    from botocore.handlers import BUILTIN_HANDLERS
    from moto.core import models
    from moto.core.botocore_stubber import BotocoreStubber

    stubber = getattr(models, "botocore_stubber", None)
    scaling, scaling_responses = _autoscaling()
    answering = getattr(scaling_responses, "ApplicationAutoScalingResponse", None)
    dimensions = getattr(scaling, "ScalableDimensionValueSet", None)
    parameters = list(inspect.signature(_original or BotocoreStubber.__call__).parameters)
    return {
        "moto.core.models.botocore_stubber": isinstance(stubber, BotocoreStubber),
        "BotocoreStubber.enabled": isinstance(getattr(stubber, "enabled", None), bool),
        "BotocoreStubber.__call__": parameters[:3] == ["self", "event_name", "request"],
        "botocore.handlers.BUILTIN_HANDLERS": ("before-send", stubber) in BUILTIN_HANDLERS,
        "moto.applicationautoscaling.models.ScalableDimensionValueSet": isinstance(dimensions, type)
        and issubclass(dimensions, Enum)
        and getattr(scaling_responses, "ScalableDimensionValueSet", None) is dimensions,
        "ApplicationAutoScalingResponse.register_scalable_target": callable(
            getattr(answering, "register_scalable_target", None)
        ),
        "MockAWS._decorate_class": callable(getattr(models.MockAWS, "_decorate_class", None)),
    }


def install(responder: Responder) -> None:
    """Ask ``responder`` before moto, and before those that are installed already."""
    global _original
    from moto.core.botocore_stubber import BotocoreStubber

    with _lock:
        _responders.append(responder)
        if _original is None:
            _original = BotocoreStubber.__call__
        if len(_responders) == 1:
            BotocoreStubber.__call__ = _call  # type: ignore[method-assign,assignment]
            _allow_components()
            _complete_targets()


def uninstall(responder: Responder) -> None:
    """Undo ``install``; with the last responder, moto is as it was."""
    from moto.core.botocore_stubber import BotocoreStubber

    with _lock:
        _responders.remove(responder)
        if not _responders and _original is not None:
            BotocoreStubber.__call__ = _original  # type: ignore[method-assign]
            _forbid_components()
            _restore_targets()


def _allow_components() -> None:
    """moto's list of what can be scaled ends before inference components. An enumeration with members cannot be
    extended, so the two modules that read it get another."""
    global _dimensions
    models, responses = _autoscaling()
    _dimensions = models.ScalableDimensionValueSet
    named = {member.name: member.value for member in _dimensions if member.value != COMPONENT_DIMENSION}
    named["SAGEMAKER_COMPONENT_COPIES"] = COMPONENT_DIMENSION
    extended = Enum("ScalableDimensionValueSet", named)  # type: ignore[misc]
    models.ScalableDimensionValueSet = responses.ScalableDimensionValueSet = extended


def _forbid_components() -> None:
    models, responses = _autoscaling()
    models.ScalableDimensionValueSet = responses.ScalableDimensionValueSet = _dimensions


# What moto leaves out: the tags of a scalable target, which live on moto's record of it, and that its policies and
# scheduled actions go with it.


def _list_tags(response: Any) -> str:
    return json.dumps({"Tags": _tags(response)})


def _tag(response: Any) -> str:
    _tags(response).update(json.loads(response.body)["Tags"])
    return "{}"


def _untag(response: Any) -> str:
    tags = _tags(response)
    for key in json.loads(response.body)["TagKeys"]:
        tags.pop(key, None)
    return "{}"


def _register_with_tags(response: Any) -> str:
    """Tags are taken when a target is made, and not when it is registered again."""
    before = {target.arn for target in _targets(response)}
    answer: str = _replaced["register_scalable_target"](response)
    for target in _targets(response):
        if target.arn not in before:
            target.tags = dict(json.loads(response.body).get("Tags") or {})
    return answer


def _deregister_with_parts(response: Any) -> str:
    answer: str = _replaced["deregister_scalable_target"](response)
    backend, request = response.applicationautoscaling_backend, json.loads(response.body)
    key = (request["ServiceNamespace"], request["ResourceId"], request["ScalableDimension"])
    for policy in [each for each in backend.policies.values() if _key(each) == key]:
        backend.delete_scaling_policy(policy.policy_name, *key)
    backend.scheduled_actions = [each for each in backend.scheduled_actions if _key(each) != key]
    return answer


def _key(part: Any) -> tuple[str, str, str]:
    return part.service_namespace, part.resource_id, part.scalable_dimension


def _targets(response: Any) -> list[Any]:
    kinds = response.applicationautoscaling_backend.targets.values()
    return [target for targets in kinds for target in targets.values()]


def _tags(response: Any) -> dict[str, str]:
    arn = json.loads(response.body)["ResourceARN"]
    for target in _targets(response):
        if target.arn == arn:
            found: dict[str, str] = vars(target).setdefault("tags", {})
            return found
    from moto.core.exceptions import JsonRESTError

    raise JsonRESTError("ResourceNotFoundException", f"No scalable target found for ARN {arn}")


_ADDED = {
    "list_tags_for_resource": _list_tags,
    "tag_resource": _tag,
    "untag_resource": _untag,
    "register_scalable_target": _register_with_tags,
    "deregister_scalable_target": _deregister_with_parts,
}


def _complete_targets() -> None:
    answering = _autoscaling()[1].ApplicationAutoScalingResponse
    _replaced.update({name: vars(answering).get(name) for name in _ADDED})
    for name, method in _ADDED.items():
        setattr(answering, name, method)


def _restore_targets() -> None:
    answering = _autoscaling()[1].ApplicationAutoScalingResponse
    for name, method in _replaced.items():
        if method is None:
            delattr(answering, name)
        else:
            setattr(answering, name, method)


def _autoscaling() -> tuple[Any, Any]:
    from moto.applicationautoscaling import models, responses

    return models, responses


def _call(stubber: Any, event_name: str, request: Any, **kwargs: Any) -> Any:
    original, responders = _original, tuple(reversed(_responders))
    if stubber.enabled:
        for responder in responders:
            response = responder(request)
            if response is not None:
                return response
    return original(stubber, event_name, request, **kwargs) if original is not None else None


def passed_through(service: str, url: str) -> bool:
    """Whether moto's configuration sends these calls to the real AWS. ``service`` is moto's name of it."""
    from moto.core.config import passthrough_service, passthrough_url

    return bool(passthrough_service(service) or passthrough_url(url.partition("?")[0]))


def _sagemaker(region: str, attribute: str) -> Any:
    """moto's own SageMaker resources of one kind, by name. Its backends are loaded with their services, so they are
    checked here and not by ``check``."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.sagemaker.models import sagemaker_backends

    records = getattr(sagemaker_backends[DEFAULT_ACCOUNT_ID][region], attribute, None)
    if not isinstance(records, Mapping):
        raise _unknown(f"SageMakerModelBackend.{attribute}")
    return records


class Services(Neighbours):
    """moto's services beside the account: logs, alarms and scaling policies, and its own SageMaker resources
    (those that CloudFormation makes)."""

    def log(self, region: str, group: str, stream: str, lines: Sequence[str]) -> None:
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.logs.models import logs_backends

        logs = logs_backends[DEFAULT_ACCOUNT_ID][region]
        logs.ensure_log_group(group)
        if stream not in logs.groups[group].streams:
            logs.create_log_stream(group, stream)
        now = int(time.time() * 1000)
        logs.put_log_events(group, stream, [{"timestamp": now, "message": line} for line in lines])

    def wake(self, region: str, component: str) -> int:
        from moto.applicationautoscaling.models import applicationautoscaling_backends
        from moto.cloudwatch.models import cloudwatch_backends
        from moto.core.models import DEFAULT_ACCOUNT_ID

        alarms = cloudwatch_backends[DEFAULT_ACCOUNT_ID][region].alarms.values()
        actions = {action for alarm in alarms if _watches(alarm, component) for action in alarm.alarm_actions}
        scaling = applicationautoscaling_backends[DEFAULT_ACCOUNT_ID][region]
        steps = [
            step.get("ScalingAdjustment", 0)
            for policy in scaling.policies.values()
            if policy.policy_arn in actions and policy.step_scaling_policy_configuration
            for step in policy.step_scaling_policy_configuration.get("StepAdjustments", ())
        ]
        target = scaling.targets.get(COMPONENT_DIMENSION, {}).get(f"inference-component/{component}")
        most = target.max_capacity if target else 0
        return min(max(steps, default=0), most or 0)

    def knows(self, region: str, kind: str, name: str) -> bool:
        return kind in _KINDS and name in _sagemaker(region, _KINDS[kind][0])

    def summaries(self, region: str, kind: str) -> list[JsonObject]:
        if kind not in _KINDS:
            return []
        attribute, members = _KINDS[kind]
        return [
            {member: _plain(getattr(record, name)) for member, name in members.items()}
            for record in _sagemaker(region, attribute).values()
        ]


COMPONENT_DIMENSION = DIMENSIONS["component"]
_CREATED = {"CreationTime": "creation_time"}
# Kind to moto's attribute, and the members of a summary to the attributes of moto's records.
_KINDS: Mapping[str, tuple[str, dict[str, str]]] = {
    "model": ("_models", {"ModelName": "model_name", "ModelArn": "arn", **_CREATED}),
    "endpoint-config": (
        "endpoint_configs",
        {"EndpointConfigName": "endpoint_config_name", "EndpointConfigArn": "endpoint_config_arn", **_CREATED},
    ),
    "endpoint": (
        "endpoints",
        {
            "EndpointName": "endpoint_name",
            "EndpointArn": "arn",
            "LastModifiedTime": "last_modified_time",
            "EndpointStatus": "endpoint_status",
            **_CREATED,
        },
    ),
}


def _watches(alarm: Any, component: str) -> bool:
    dimensions = {dimension.name: dimension.value for dimension in alarm.dimensions}
    return (
        alarm.metric_name == "NoCapacityInvocationFailures"
        and alarm.actions_enabled
        and dimensions.get("InferenceComponentName") == component
    )


def _plain(value: Any) -> Any:
    """moto keeps times in UTC and without saying so."""
    return value.replace(tzinfo=UTC).timestamp() if isinstance(value, datetime) else value


class Objects:
    """moto's S3, as jobs need it."""

    def read(self, uri: str) -> bytes:
        bucket, key = _place(uri)
        found = _s3().get_object(bucket, key) if bucket in _s3().buckets else None
        if found is None:
            raise KeyError(uri)
        return bytes(found.value)

    def write(self, uri: str, data: bytes) -> None:
        """Raises ``KeyError`` for a bucket that does not exist."""
        bucket, key = _place(uri)
        if bucket not in _s3().buckets:
            raise KeyError(uri)
        _s3().put_object(bucket, key, data)

    def list(self, uri: str) -> Sequence[str]:
        bucket, prefix = _place(uri)
        if bucket not in _s3().buckets:
            return []
        return [f"s3://{bucket}/{key}" for key in sorted(_s3().buckets[bucket].keys) if key.startswith(prefix)]


def _s3() -> Any:
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def mock(config: Any) -> Any:
    """moto's own ``mock_aws``."""
    from moto import mock_aws

    return mock_aws(config=config)


def decorate_class(mock: Any, cls: type) -> type:
    """Decorate a class's test methods as moto's own decorator does. ``mock`` is called with each method and the keyword
    arguments ``reset`` and ``remove_data``."""
    from moto.core.models import MockAWS

    decorated: type = MockAWS._decorate_class(mock, cls)
    return decorated
