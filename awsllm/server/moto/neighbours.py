"""What an offline account asks of the services beside it, of moto's: S3, logs, alarms, scaling policies, and the
SageMaker resources that moto made itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from awsllm.server.account.neighbours import Neighbours
from awsllm.server.moto.buckets import s3
from awsllm.server.moto.scaling import COMPONENT_DIMENSION
from awsllm.server.moto.stubber import unknown
from awsllm.types import JsonObject


def _sagemaker(region: str, attribute: str) -> Any:
    """moto's own SageMaker resources of one kind, by name. Its backends are loaded with their services, so they are
    checked here and not by ``check``."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.sagemaker.models import sagemaker_backends

    records = getattr(sagemaker_backends[DEFAULT_ACCOUNT_ID][region], attribute, None)
    if not isinstance(records, Mapping):
        raise unknown(f"SageMakerModelBackend.{attribute}")
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

    def tell(self, region: str, event: JsonObject) -> None:
        from moto.core.models import DEFAULT_ACCOUNT_ID
        from moto.events.models import events_backends

        with suppress(Exception):  # a target that is gone: events are delivered as well as can be
            events_backends[DEFAULT_ACCOUNT_ID][region].put_events([event])

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

    def invoke(self, region: str, function: str, payload: bytes) -> bytes | None:
        from moto.awslambda.utils import get_backend
        from moto.core.models import DEFAULT_ACCOUNT_ID

        try:
            found = get_backend(DEFAULT_ACCOUNT_ID, region).invoke(function, None, payload.decode(), {}, {})
        except Exception:  # no such function, no Docker to run it, or what it raises itself
            return None
        return found.encode() if isinstance(found, str) else found

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
        found = s3().get_object(bucket, key) if bucket in s3().buckets else None
        if found is None:
            raise KeyError(uri)
        return bytes(found.value)

    def write(self, uri: str, data: bytes) -> None:
        """Raises ``KeyError`` for a bucket that does not exist."""
        bucket, key = _place(uri)
        if bucket not in s3().buckets:
            raise KeyError(uri)
        s3().put_object(bucket, key, data)

    def has_bucket(self, bucket: str) -> bool:
        return bucket in s3().buckets

    def list(self, uri: str) -> Sequence[str]:
        bucket, prefix = _place(uri)
        if bucket not in s3().buckets:
            return []
        return [f"s3://{bucket}/{key}" for key in sorted(s3().buckets[bucket].keys) if key.startswith(prefix)]


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
