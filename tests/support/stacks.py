"""Templates as CloudFormation would fill them in: conditions decided, references followed, names made up.

It knows the functions that awsllm's templates use, and what ``Ref`` and ``Fn::GetAtt`` give for the types in them; what
it does not know raises. That a template is a valid one is for cfn-lint to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from awsllm.infra.template_text import read_document

ROOT = Path(__file__).parents[2] / "infra"
NAMES = sorted(path.parent.name for path in ROOT.glob("*/template.yaml"))
ACCOUNT = "123456789012"
_MADE = ("Resources", "Outputs")
_NOTHING = object()  # AWS::NoValue
_SUBSTITUTED = re.compile(r"\$\{([^!}][^}]*)\}")

_ARNS = {
    "AWS::ApiGateway::RestApi": "apigateway:{region}::/restapis/{name}",
    "AWS::CloudWatch::Alarm": "cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::IAM::ManagedPolicy": "iam::{account}:policy/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::KMS::Key": "kms:{region}:{account}:key/{name}",
    "AWS::Lambda::Alias": "lambda:{region}:{account}:function:{name}:live",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::SageMaker::Endpoint": "sagemaker:{region}:{account}:endpoint/{name}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}
"""What follows the partition, by type."""
_ATTRIBUTES = {
    ("AWS::Bedrock::ApplicationInferenceProfile", "InferenceProfileArn"): (
        "bedrock:{region}:{account}:application-inference-profile/{name}"
    ),
    ("AWS::Bedrock::Guardrail", "GuardrailArn"): "bedrock:{region}:{account}:guardrail/{name}",
    ("AWS::Bedrock::KnowledgeBase", "KnowledgeBaseArn"): "bedrock:{region}:{account}:knowledge-base/{name}",
    ("AWS::S3Vectors::Index", "IndexArn"): "s3vectors:{region}:{account}:bucket/vectors/index/{name}",
    ("AWS::S3Vectors::VectorBucket", "VectorBucketArn"): "s3vectors:{region}:{account}:bucket/{name}",
    ("AWS::SageMaker::InferenceComponent", "InferenceComponentArn"): (
        "sagemaker:{region}:{account}:inference-component/{name}"
    ),
}
"""ARNs with a name of their own."""
_REFERS_BY_ARN = {
    "AWS::IAM::ManagedPolicy",
    "AWS::Lambda::Alias",
    "AWS::SageMaker::Endpoint",
    "AWS::SageMaker::EndpointConfig",
    "AWS::SNS::Topic",
    "AWS::StepFunctions::StateMachine",
}
"""Types whose ``Ref`` is an ARN (the resource reference of CloudFormation, "Return values")."""


def text(name: str) -> str:
    """A template of awsllm's, as it is written."""
    return (ROOT / name / "template.yaml").read_text(encoding="utf-8")


@cache
def document(name: str) -> dict[str, Any]:
    """The same as a value, in long forms; not to be changed."""
    return read_document(text(name))


@dataclass(frozen=True)
class FilledIn:
    """A template with its parameters given. ``name`` is the stack's."""

    template: dict[str, Any]
    given: dict[str, str]
    name: str = "stack"
    region: str = "us-east-1"

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What ``Ref`` gives for each; numbers are texts to CloudFormation, lists are lists."""
        declared = self.template.get("Parameters", {})
        unknown = self.given.keys() - declared.keys()
        assert not unknown, f"no such parameters: {sorted(unknown)}"
        values = {name: str(self.given.get(name, each.get("Default", _NOTHING))) for name, each in declared.items()}
        missing = [name for name, value in values.items() if value == str(_NOTHING)]
        assert not missing, f"parameters without a value: {missing}"
        return {
            name: value.split(",") if declared[name]["Type"] == "CommaDelimitedList" else value
            for name, value in values.items()
        }

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """What would be made, filled in."""
        return {
            name: self.value(each) | {"Type": each["Type"]}
            for name, each in self.template["Resources"].items()
            if self._made(each)
        }

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return {
            name: self.value(each["Value"])
            for name, each in self.template.get("Outputs", {}).items()
            if self._made(each)
        }

    def environment(self, function: str = "Function") -> dict[str, str]:
        """The variables of a function."""
        return dict(self.resources[function]["Properties"]["Environment"]["Variables"])

    def policies(self, role: str = "Role") -> list[dict[str, Any]]:
        """The documents of a role's policies: its own, and those that name it."""
        found = [each["PolicyDocument"] for each in self.resources[role]["Properties"].get("Policies", [])]
        for resource in self.resources.values():
            properties = resource.get("Properties", {})
            if resource["Type"].startswith("AWS::IAM::") and self._physical(role) in properties.get("Roles", []):
                found.append(properties["PolicyDocument"])
        return found

    def decided(self) -> dict[str, Any]:
        """The template with its conditions decided; everything else is left to whoever deploys it."""
        kept = {
            key: {name: each for name, each in self.template.get(key, {}).items() if self._made(each)} for key in _MADE
        }
        kept = {key: {name: self._without(each) for name, each in found.items()} for key, found in kept.items()}
        return {"Parameters": self.template.get("Parameters", {}), **kept}

    def _without(self, given: Any) -> Any:
        """A value without ``Fn::If``, and without the conditions of resources and outputs."""
        if isinstance(given, list):
            return [each for each in map(self._without, given) if each is not _NOTHING]
        if not isinstance(given, dict):
            return given
        if "Fn::If" in given:
            name, yes, no = given["Fn::If"]
            return self._without(yes if self.condition(name) else no)
        if given == {"Ref": "AWS::NoValue"}:
            return _NOTHING
        members = ((key, self._without(each)) for key, each in given.items() if not _is_condition(key, each))
        return {key: each for key, each in members if each is not _NOTHING}

    def _made(self, each: dict[str, Any]) -> bool:
        return "Condition" not in each or self.condition(each["Condition"])

    def condition(self, name: str) -> bool:
        return bool(self.value(self.template["Conditions"][name]))

    # --- functions ---------------------------------------------------------------------------------------------------

    def value(self, given: Any) -> Any:
        """Anything of a template, filled in."""
        if isinstance(given, list):
            return [found for each in given if (found := self.value(each)) is not _NOTHING]
        if not isinstance(given, dict):
            return given
        if len(given) == 1:
            ((name, argument),) = given.items()
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if name == "Ref" or name.startswith("Fn::"):
                return self._function(name, argument)
        members = (
            (key, self.value(each))
            for key, each in given.items()
            if key != "DependsOn" and not _is_condition(key, each)
        )
        return {name: each for name, each in members if each is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._reference(argument)
            case "Fn::GetAtt":
                return self._attribute(*argument)
            case "Fn::Sub":
                return self._substituted(argument)
            case "Fn::If":
                return self.value(argument[1 if self.condition(argument[0]) else 2])
            case "Fn::Join":
                return argument[0].join(map(str, self.value(argument[1])))
            case "Fn::Split":
                return self.value(argument[1]).split(argument[0])
            case "Fn::Select":
                return self.value(argument[1])[int(self.value(argument[0]))]
            case "Fn::Equals":
                left, right = (str(self.value(each)) for each in argument)
                return left == right
            case "Fn::Not":
                return not self.value(argument[0])
            case "Fn::And":
                return all(map(self.value, argument))
            case "Fn::Or":
                return any(map(self.value, argument))
            case _:
                raise NotImplementedError(name)

    def _substituted(self, argument: Any) -> str:
        pattern, own = argument if isinstance(argument, list) else (argument, {})

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            if name in own:
                return str(self.value(own[name]))
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._reference(name))

        return _SUBSTITUTED.sub(filled, pattern).replace("${!", "${")

    def _reference(self, name: str) -> Any:
        if name in self.parameters:
            return self.parameters[name]
        if name.startswith("AWS::"):
            return self._pseudo(name)
        kind = self._type(name)
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{self.region}.amazonaws.com/{ACCOUNT}/{self._physical(name)}"
        return self._attribute(name, "Arn") if kind in _REFERS_BY_ARN else self._physical(name)

    def _pseudo(self, name: str) -> Any:
        return {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": _NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackName": self.name,
            "AWS::StackId": f"arn:aws:cloudformation:{self.region}:{ACCOUNT}:stack/{self.name}/0a1b2c3d",
            "AWS::URLSuffix": "amazonaws.com",
        }[name]

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self._type(name)
        arn = _ARNS.get(kind) if attribute == "Arn" else _ATTRIBUTES.get((kind, attribute))
        if arn is not None:
            return "arn:aws:" + arn.format(region=self.region, account=ACCOUNT, name=self._physical(name))
        if attribute.endswith("Name"):
            return self._physical(name)
        return f"<{name}.{attribute}>"

    def _type(self, name: str) -> str:
        each = self.template["Resources"][name]
        assert self._made(each), f"{name} is referred to, but not made"
        return str(each["Type"])

    def _physical(self, name: str) -> str:
        """Buckets have no capitals."""
        made = f"{self.name}-{name}"
        return made.lower() if self.template["Resources"][name]["Type"] == "AWS::S3::Bucket" else made


def _is_condition(key: str, value: Any) -> bool:
    """Of a resource or an output; a statement of IAM has a mapping there."""
    return key == "Condition" and isinstance(value, str)


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value, outermost first."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)


# --- what the tests give ----------------------------------------------------------------------------------------------

_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
_COMMON = {
    "KeyArn": _KEY,
    "AlarmTopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:alarms",
    "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
}
_CODE = {"CodeBucket": "code", "CodeKey": "awsllm.zip"}
MODEL = "amazon.nova-lite-v1:0"
PROFILE_ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.{MODEL}"
_PLAIN_MODEL = {"ModelId": MODEL, "ModelArns": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"}
_DESTINATIONS = ("us-east-1", "us-east-2", "us-west-2")
_PROFILE = {
    "ModelId": f"us.{MODEL}",
    "ModelArns": ",".join(f"arn:aws:bedrock:{each}::foundation-model/{MODEL}" for each in _DESTINATIONS),
    "ProfileArn": PROFILE_ARN,
}
_GUARDRAIL = {"GuardrailId": "gr1234567890", "GuardrailVersion": "3"}
_MODELS = {
    "GatewayModels": f"fast=bedrock:us.{MODEL}",
    "ModelArns": _PROFILE["ModelArns"],
}

_ENDPOINT = {
    "Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.36.0-lmi18.0.0-cu128",
    "ImageRepositoryArn": "arn:aws:ecr:us-east-1:763104351884:repository/djl-inference",
    "ModelDataUri": "s3://models/tiny/",
    "ModelDataBucketArn": "arn:aws:s3:::models",
    "ModelDataPrefix": "tiny/",
    "InstanceType": "ml.g4dn.xlarge",
}
_ROUTER = {
    "ApiId": "a1b2c3d4e5",
    "ApiName": "gateway",
    "CertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0a1b2c3d-0a1b",
    "DomainName": "models.example.com",
    "HostedZoneId": "Z0A1B2C3D4",
}
_TEAM = {
    "Team": "search",
    "CostCenter": "4711",
    "SourceArn": PROFILE_ARN,
    "ModelArns": _PROFILE["ModelArns"],
}

LEAST: dict[str, dict[str, str]] = {
    "batch": _CODE | _PLAIN_MODEL,
    "chat-api": _CODE | _PLAIN_MODEL,
    "documents": _CODE | _PLAIN_MODEL,
    "endpoint": {name: value for name, value in _ENDPOINT.items() if name != "InstanceType"},
    "gateway": _CODE | {"ModelArns": _MODELS["ModelArns"]},
    "guardrails": {"Name": "careful"},
    "knowledge-base": {},
    "logging": {},
    "monitoring": {},
    "profiles": _TEAM,
    "router": _ROUTER,
    "shared": {},
}
"""What a template cannot do without."""
MOST: dict[str, dict[str, str]] = {
    "batch": _CODE | _PROFILE | _COMMON | {"CodeVersion": "v1", "Metrics": "emf", "ReservedConcurrency": "5"},
    "chat-api": _CODE
    | _PROFILE
    | _GUARDRAIL
    | _COMMON
    | {
        "CallerArn": f"arn:aws:iam::{ACCOUNT}:role/caller",
        "CodeVersion": "v1",
        "CorsOrigins": "https://example.com",
        "FrontDoor": "both",
        "Metrics": "emf",
        "ProtectData": "true",
        "ReservedConcurrency": "5",
        "SnapStart": "true",
        "SystemPrompt": "Be brief.",
    },
    "documents": _CODE
    | _PROFILE
    | _GUARDRAIL
    | _COMMON
    | {
        "CodeVersion": "v1",
        "Labels": "invoice,letter",
        "Metrics": "emf",
        "ReservedConcurrency": "5",
        "Schema": '{"type":"object"}',
        "SourceBucketName": "inbox",
        "SourcePrefix": "in/",
        "Task": "classify",
    },
    "endpoint": _ENDPOINT
    | _COMMON
    | {
        "AcceptEula": "true",
        "AdapterUri": "s3://models/tiny/adapter.tar.gz",
        "MaxModelLength": "8192",
        "MinCopies": "1",
        "ModelDataKind": "archive",
        "ModelDataUri": "s3://models/tiny/model.tar.gz",
        "SecurityGroupIds": "sg-0a1b",
        "SubnetIds": "subnet-0a1b,subnet-2c3d",
        "TensorParallelDegree": "max",
    },
    "gateway": _CODE
    | _MODELS
    | _GUARDRAIL
    | _COMMON
    | {
        "Authorization": "AWS_IAM",
        "CallerArn": f"arn:aws:iam::{ACCOUNT}:role/caller",
        "CodeVersion": "v1",
        "FrontDoor": "both",
        "ProtectData": "true",
        "KillSwitch": "true",
        "ProfileArns": PROFILE_ARN,
        "ReservedConcurrency": "5",
    },
    "guardrails": {
        "DeniedTopic": "Advice on which securities to buy or sell.",
        "DeniedWord": "moonshot",
        "Enforcement": "account",
        "GroundingThreshold": "0.7",
        "KeyArn": _KEY,
        "Name": "careful",
    },
    "knowledge-base": {
        "KeyArn": _KEY,
        "PermissionsBoundaryArn": _COMMON["PermissionsBoundaryArn"],
        "SourceBucketName": "handbooks",
        "SourcePrefix": "public/",
        "SyncSchedule": "rate(1 day)",
    },
    "monitoring": {
        "AlarmTopicArn": _COMMON["AlarmTopicArn"],
        "DeadLetterQueueName": "documents-dead",
        "EndpointName": "tiny",
        "ModelId": f"us.{MODEL}",
        "MostDailyUsd": "25",
        "SecondModelId": "us.amazon.nova-pro-v1:0",
        "SecondTokensPerMinute": "100000",
        "ServiceName": "chat",
        "ThirdModelId": "us.amazon.nova-micro-v1:0",
        "ThirdTokensPerMinute": "400000",
        "TokensPerMinute": "200000",
    },
    "logging": _COMMON | {"Prompts": "true", "ReaderRoleNames": "analyst"},
    "profiles": _TEAM
    | {"AlarmTopicArn": _COMMON["AlarmTopicArn"], "DailyTokenAlarm": "1000000", "RoleNames": "search-task"},
    "router": _ROUTER | {"AlarmTopicArn": _COMMON["AlarmTopicArn"]},
    "shared": {
        "AlarmEmail": "ops@example.com",
        "BudgetTag": "team$search",
        "MonthlyBudgetUsd": "500",
        "RouteTableIds": "rtb-0a1b",
        "SubnetIds": "subnet-0a1b,subnet-2c3d",
        "VpcId": "vpc-0a1b",
    },
}
"""Everything that can be asked of it at once."""
CASES = [(name, most) for name in NAMES for most in (False, True)]


def filled(name: str, given: Mapping[str, str] | None = None, *, most: bool = False) -> FilledIn:
    """A template of awsllm's with what it needs, or with the most of it; ``given`` changes a parameter."""
    return FilledIn(document(name), (MOST if most else LEAST)[name] | dict(given or {}))
