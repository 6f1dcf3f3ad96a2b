"""Calls of inference routers before they are made."""

from __future__ import annotations

import re
from typing import Any

from awsllm.calls.options import RouterAsyncOptions, RouterOptions, check_names, check_number
from awsllm.calls.raw import RawBody, raw_bytes
from awsllm.errors import ValidationError
from awsllm.models.references import Reference
from awsllm.types.router import RouterAsyncRequest, RouterRequest
from awsllm.wire.reading import JSON

_NAME = "[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}"
_ROUTER = re.compile(
    rf"(?:arn:[^:]*:sagemaker:(?P<region>[^:]*):[^:]*:inference-router/|sagemaker:router/|router/)?(?P<name>{_NAME})"
)


def prepare_router(router: str, body: RawBody, target: str, options: RouterOptions) -> tuple[Reference, RouterRequest]:
    check_names(options, RouterOptions)
    reference = _reference(router)
    given = {name: value for name, value in options.items() if name != "timeout" and value is not None}
    members: dict[str, Any] = {"content_type": JSON, "accept": JSON, **given}
    return reference, RouterRequest(model=reference.model, target=_target(target), body=raw_bytes(body), **members)


def prepare_router_async(
    router: str, location: str, target: str, options: RouterAsyncOptions
) -> tuple[Reference, RouterAsyncRequest]:
    check_names(options, RouterAsyncOptions)
    reference = _reference(router)
    if not re.fullmatch(r"(https|s3)://[^/]+/.+", location):
        raise ValidationError(f"{location!r} is no object in S3: write s3://BUCKET/KEY")
    for name, least, most in (("ttl", 60, 21_600), ("invocation_timeout", 1, 3_600)):
        value = options.get(name)
        check_number(name, value, whole=True)
        if value is not None and not least <= value <= most:  # type: ignore[operator]
            raise ValidationError(f"{name} is {value}; it must be from {least} to {most} seconds")
    members: dict[str, Any] = {
        name: value for name, value in options.items() if name != "timeout" and value is not None
    }
    return reference, RouterAsyncRequest(model=reference.model, target=_target(target), input=location, **members)


def _reference(router: Any) -> Reference:
    found = _ROUTER.fullmatch(router) if isinstance(router, str) else None
    if found is None:
        raise ValidationError(f"{router!r} is no inference router: give its name or its ARN")
    return Reference("sagemaker", f"router/{found['name']}", region=found["region"] or None)


def _target(target: Any) -> str:
    if not isinstance(target, str) or not re.fullmatch(_NAME, target):
        raise ValidationError(f"target is {target!r}; it must be the name of one of the router's routing targets")
    return target
