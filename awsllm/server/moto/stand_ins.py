"""What stands in a stack for a resource that moto's CloudFormation does not make.

moto skips such a type, and then fails at whatever refers to it: an output, a policy, another resource. A stand-in has
the name, the ids and the attributes that the resource would have, so that the rest of the stack is made; behind it is
nothing, which the log says (moto's warning in its place would fail the stack of a test whose warnings are errors).
Versions, aliases and URLs of functions are made, by moto's Lambda, which has them.

What ``Ref`` and ``Fn::GetAtt`` give is in CloudFormation's reference ("Return values" of each type); types that are not
in the tables have what most have: ``Ref`` gives the name, an attribute that is a property its value, ``…Arn`` an ARN,
``…Id`` an id, ``…Url`` an address.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from awsllm.types import JsonObject

_log = logging.getLogger(__name__)
_BY_ARN = {
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Bedrock::Agent",
    "AWS::Bedrock::ApplicationInferenceProfile",
    "AWS::Bedrock::Guardrail",
    "AWS::S3Vectors::Index",
    "AWS::S3Vectors::VectorBucket",
    "AWS::SNS::Subscription",
    "AWS::SageMaker::InferenceComponent",
    "AWS::SecretsManager::RotationSchedule",
}
"""Types whose ``Ref`` is an ARN."""
_BY_ID = {
    "AWS::Athena::NamedQuery",
    "AWS::Bedrock::KnowledgeBase",
    "AWS::CloudFront::Distribution",
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
}
"""Types whose ``Ref`` is an id that AWS makes."""
_BY_PARTS = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "{ResourceId}|{ScalableDimension}|{ServiceNamespace}",
    "AWS::ApiGateway::Stage": "{StageName}",
    "AWS::ApiGateway::DomainName": "{DomainName}",
    "AWS::Bedrock::DataSource": "{KnowledgeBaseId}|{id}",
    "AWS::Bedrock::GuardrailVersion": "{GuardrailIdentifier}|1",
    "AWS::S3::BucketPolicy": "{Bucket}",
}
"""Types whose ``Ref`` is made of properties."""
_ARNS = {
    "AWS::CloudWatch::Alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::Cognito::UserPool": "cognito-idp:{region}:{account}:userpool/{id}",
    "AWS::Bedrock::ApplicationInferenceProfile": "bedrock:{region}:{account}:application-inference-profile/{id}",
    "AWS::Bedrock::Guardrail": "bedrock:{region}:{account}:guardrail/{id}",
    "AWS::Bedrock::KnowledgeBase": "bedrock:{region}:{account}:knowledge-base/{id}",
    "AWS::S3Vectors::Index": "s3vectors:{region}:{account}:bucket/{VectorBucketName}/index/{name}",
    "AWS::S3Vectors::VectorBucket": "s3vectors:{region}:{account}:bucket/{name}",
    "AWS::SNS::Subscription": "{TopicArn}:{id}",
    "AWS::Scheduler::Schedule": "scheduler:{region}:{account}:schedule/default/{name}",
}
"""ARNs that are not ``SERVICE:REGION:ACCOUNT:KIND/NAME``; what follows the partition, save where a whole ARN begins."""
_VALUES = {
    ("AWS::ApiGateway::DomainName", "DistributionHostedZoneId"): "Z2FDTNDATAQYW2",
    ("AWS::ApiGateway::DomainName", "RegionalHostedZoneId"): "Z1UJRXOUMOOFQ8",
    ("AWS::ApiGateway::DomainName", "RegionalDomainName"): "d-{id}.execute-api.{region}.amazonaws.com",
}
_CAPITALS = {"AWS::Bedrock::KnowledgeBase", "AWS::Bedrock::DataSource", "AWS::CloudFront::Distribution"}
"""Types whose ids are in capital letters."""
_TIME = "2026-01-01T00:00:00Z"


class StandIn:
    """In the place of a resource. It has what moto's own classes of resources have."""

    cf_resource_type = logical_resource_id = ""

    def __init__(self, kind: str, name: str, properties: JsonObject, fields: Mapping[str, str]) -> None:
        self.kind, self.name, self.properties = kind, name, properties
        named = {key: value for key, value in properties.items() if isinstance(value, str)}
        self._fields = _Fields(named, name=name, **fields)

    @property
    def physical_resource_id(self) -> str:
        if self.kind in _BY_ARN:
            return self._arn()
        if self.kind in _BY_ID:
            return self._fields["id"]
        return _BY_PARTS.get(self.kind, "{name}").format_map(self._fields)

    def get_cfn_attribute(self, attribute: str) -> Any:
        if (self.kind, attribute) in _VALUES:
            return _VALUES[self.kind, attribute].format_map(self._fields)
        found: Any = self.properties
        for part in attribute.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return found
        return _guessed(attribute, self._fields) or (self._arn() if attribute.endswith("Arn") else self.name)

    def _arn(self) -> str:
        _, service, last = [*self.kind.split("::"), "", ""][:3]
        kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", last).lower()
        pattern = _ARNS.get(self.kind, f"{service.lower()}:{{region}}:{{account}}:{kind}/{{name}}")
        made = pattern.format_map(self._fields)
        return made if made.startswith("arn:") else f"arn:{self._fields['partition']}:{made}"

    def is_created(self) -> bool:
        return True

    def delete(self, *_: Any) -> None:
        """There is nothing."""

    # --- as moto's CloudFormation makes resources --------------------------------------------------------------------

    @classmethod
    def has_cfn_attr(cls, attribute: str) -> bool:
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **known: Any
    ) -> StandIn:
        kind, properties = cloudformation_json["Type"], cloudformation_json.get("Properties") or {}
        _log.info("%s %s stands in a stack with nothing behind it", kind, resource_name)
        whole = f"{known.get('StackId', '')} {known.get('LogicalId', resource_name)}"
        fields = _fields(account_id, region_name, whole)
        if kind in _CAPITALS:
            fields["id"] = fields["id"].upper()
        return cls(kind, _name(kind, properties) or resource_name, properties, fields)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> StandIn:
        """The same resource with other properties; it keeps its ids."""
        properties = cloudformation_json.get("Properties") or {}
        if not isinstance(original_resource, StandIn):  # it was not there before
            return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)
        known = {key: original_resource._fields[key] for key in ("id", "region", "account", "partition")}
        name = _name(original_resource.kind, properties) or original_resource.name
        return cls(original_resource.kind, name, properties, known)

    @classmethod
    def delete_from_cloudformation_json(cls, *_: Any) -> None:
        """There is nothing."""


class _FunctionAlias(StandIn):
    """An alias of a function, made by moto's Lambda."""

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **known: Any
    ) -> StandIn:
        from moto.awslambda.utils import get_backend

        given = cloudformation_json["Properties"]
        version, about = given.get("FunctionVersion"), given.get("Description", "")
        functions = get_backend(account_id, region_name)
        made = functions.create_alias(given["Name"], given["FunctionName"], version, about, given.get("RoutingConfig"))
        return cls(
            "AWS::Lambda::Alias", given["Name"], {**given, "AliasArn": made.arn}, _fields(account_id, region_name)
        )

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> StandIn:
        original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    @property
    def physical_resource_id(self) -> str:
        return str(self.properties["AliasArn"])

    def delete(self, *where: Any) -> None:
        from moto.awslambda.exceptions import UnknownFunctionException
        from moto.awslambda.utils import get_backend

        with suppress(UnknownFunctionException):  # it went first, and its aliases with it
            get_backend(*where).delete_alias(self.properties["Name"], self.properties["FunctionName"])


class _FunctionUrl(StandIn):
    """The URL of a function, made by moto's Lambda; nothing listens at it."""

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **known: Any
    ) -> StandIn:
        from moto.awslambda.utils import get_backend

        given = cloudformation_json["Properties"]
        made = get_backend(account_id, region_name).create_function_url_config(given["TargetFunctionArn"], given)
        made.url = f"{made.url.rstrip('/')}/"  # as AWS ends it
        seen = {"FunctionArn": made.function.function_arn, "FunctionUrl": made.url}
        return cls("AWS::Lambda::Url", resource_name, {**given, **seen}, _fields(account_id, region_name))

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> StandIn:
        from moto.awslambda.utils import get_backend

        given = cloudformation_json["Properties"]
        kept = {name: original_resource.properties[name] for name in ("FunctionArn", "FunctionUrl")}
        functions = get_backend(account_id, region_name)
        functions.update_function_url_config(kept["FunctionArn"], given)
        return cls(original_resource.kind, original_resource.name, {**given, **kept}, _fields(account_id, region_name))

    @property
    def physical_resource_id(self) -> str:
        return str(self.properties["FunctionArn"])

    def delete(self, *where: Any) -> None:
        from moto.awslambda.exceptions import UnknownFunctionException
        from moto.awslambda.utils import get_backend

        with suppress(UnknownFunctionException):
            get_backend(*where).delete_function_url_config(self.properties["FunctionArn"])


class _FunctionVersion(StandIn):
    """A version of a function, published by moto's Lambda, whose own class has neither a name nor attributes."""

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **known: Any
    ) -> StandIn:
        from moto.awslambda.utils import get_backend

        given = cloudformation_json["Properties"]
        made: Any = get_backend(account_id, region_name).publish_version(
            given["FunctionName"], given.get("Description", "")
        )
        seen = {"FunctionArn": made.function_arn, "Version": str(made.version)}
        return cls("AWS::Lambda::Version", resource_name, {**given, **seen}, _fields(account_id, region_name))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource: Any, *_: Any, **__: Any) -> StandIn:
        """Versions never change."""
        found: StandIn = original_resource
        return found

    @property
    def physical_resource_id(self) -> str:
        return str(self.properties["FunctionArn"])


MADE: Mapping[str, type[StandIn]] = {
    "AWS::Lambda::Alias": _FunctionAlias,
    "AWS::Lambda::Url": _FunctionUrl,
    "AWS::Lambda::Version": _FunctionVersion,
}
"""What stands in for something that is there."""


def _fields(account: str, region: str, of: str = "") -> dict[str, str]:
    from moto.utilities.utils import get_partition

    known = {"region": region, "account": account, "partition": get_partition(region)}
    return {"id": hashlib.sha256(of.encode()).hexdigest()[:10], **known}


class _Fields(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key.lower()


def _name(kind: str, properties: JsonObject) -> str | None:
    last = kind.rsplit("::", 1)[-1]
    for member in (f"{last}Name", "Name"):
        if isinstance(properties.get(member), str):
            return str(properties[member])
    return None


def _guessed(attribute: str, fields: Mapping[str, str]) -> str | None:
    """An attribute's value by the end of its name; None where that says nothing."""
    address = f"{fields['id']}.{fields['region']}.amazonaws.com"
    ends = {
        ("Url", "URL", "Uri"): f"https://{address}/",
        ("DomainName", "Endpoint", "Address", "DNSName"): address,
        ("Id", "Identifier"): fields["id"],
        ("Version",): "1",
        ("Port",): "443",
        ("At", "Time"): _TIME,
        ("Status",): "ACTIVE",
    }
    return next((value for end, value in ends.items() if attribute.endswith(end)), None)
