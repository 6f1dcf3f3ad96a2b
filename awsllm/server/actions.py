"""Which rights the operations of AWS's services need, the models' runtimes apart (``permissions``).

Only what an operation has is looked at: a member that it does not know names nothing, or a caller could point to a
resource that is allowed while the operation works on another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

import msgspec
from botocore.model import OperationNotFoundError, Shape

from awsllm.aws.authorization import Right
from awsllm.aws.iam import Arns
from awsllm.server.account.account import Region
from awsllm.server.services import Service, path_style, reads_form
from awsllm.server.shapes import service_model
from awsllm.server.work import Incoming
from awsllm.types import JsonObject

_EVERYTHING = "*"  # the resource of what cannot be judged: whoever may do it to all things may


class Asked(NamedTuple):
    """A request as rights are told of it: the operation by botocore's name, and the members that it shows."""

    operation: str
    members: JsonObject
    incoming: Incoming
    region: Region

    @property
    def arns(self) -> Arns:
        return Arns(self.region.name, self.region.account.account_id)

    def text(self, *names: str) -> str | None:
        """The first of these members that is there as text."""
        return next((value for name in names if isinstance(value := self.members.get(name), str) and value), None)

    def objects(self, name: str) -> list[JsonObject]:
        """A member that is a list of objects."""
        value = self.members.get(name)
        return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# --- what a request shows --------------------------------------------------------------------------------------------


def members(incoming: Incoming, service: Service, operation: str) -> JsonObject:
    """The members of an operation's input by their names; of the query protocol, whose members may be deep, by their
    paths (``Tags.member.1.Key``)."""
    try:
        model = service_model(service.name).operation_model(operation)
    except OperationNotFoundError:
        return {}
    known: Mapping[str, Shape] = model.input_shape.members if model.input_shape else {}
    if service.protocol in ("query", "ec2") or reads_form(incoming):
        form = incoming.body.decode("latin-1") if reads_form(incoming) else ""
        shown: JsonObject = dict(parse_qsl(incoming.query) or parse_qsl(form))
        return {name: value for name, value in shown.items() if name.partition(".")[0] in known}
    shown = read_json(incoming.body)
    shown |= _labels(incoming, model.http["requestUri"]) if service.protocol.startswith("rest") else {}
    return {name: shown[spoken] for name, shape in known.items() if (spoken := _spoken(name, shape)) in shown}


def _spoken(name: str, shape: Shape) -> str:
    return str(shape.serialization.get("name", name))


def _labels(incoming: Incoming, template: str) -> dict[str, str]:
    """What a request's path says: ``/guardrails/{guardrailIdentifier}``."""
    names: list[str] = []
    written = ""
    for part in re.split(r"(\{[^}]*\})", template.partition("?")[0].rstrip("/")):
        if part.startswith("{"):
            names.append(part.strip("{+}"))
            written += "(.+)" if part.endswith("+}") else "([^/]+)"
        else:
            written += re.escape(part)
    found = re.fullmatch(written + "/?", incoming.path)
    return dict(zip(names, map(unquote, found.groups()), strict=True)) if found else {}


def read_json(body: bytes) -> JsonObject:
    """A body as an object, as lenient as moto reads it, which takes numbers that are none."""
    try:
        read = msgspec.json.decode(body) if body else {}
    except (ValueError, RecursionError):
        try:
            read = json.loads(body)
        except (ValueError, RecursionError):  # which the operation refuses
            return {}
    return read if isinstance(read, dict) else {}


# --- an operation of a service by default ----------------------------------------------------------------------------

_PREFIXES = {"monitoring": "cloudwatch"}
"""What IAM calls a service that signs by another name."""
# The members that name a resource, and what its ARN is made of them.
_RESOURCES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bedrock": (
        ("guardrailIdentifier", "guardrail/{}"),
        ("knowledgeBaseId", "knowledge-base/{}"),
        ("promptIdentifier", "prompt/{}"),
        ("agentId", "agent/{}"),
    ),
    "dynamodb": (("TableName", "table/{}"),),
    "iam": (("RoleName", "role/{}"), ("UserName", "user/{}"), ("GroupName", "group/{}"), ("PolicyArn", "{}")),
    "sqs": (("QueueName", "{}"),),
    "ssm": (("Name", "parameter/{}"), ("Path", "parameter/{}/*")),
    "kms": (("KeyId", "key/{}"),),
    "secretsmanager": (("SecretId", "secret:{}-awsllm"), ("Name", "secret:{}-awsllm")),
    "logs": (("logGroupName", "log-group:{}:log-stream:"),),
    "sagemaker": (
        ("TrainingJobName", "training-job/{}"),
        ("TransformJobName", "transform-job/{}"),
        ("TrainingSessionName", "training-session/{}"),
        ("trainingSessionName", "training-session/{}"),
        ("EndpointName", "endpoint/{}"),
        ("InferenceComponentName", "inference-component/{}"),
        ("EndpointConfigName", "endpoint-config/{}"),
        ("ModelName", "model/{}"),
        ("ModelPackageGroupName", "model-package-group/{}"),
        ("ModelPackageName", "model-package/{}"),
    ),
}
_ARNS = (
    "TopicArn",
    "TargetArn",
    "stateMachineArn",
    "executionArn",
    "SecretId",
    "KeyId",
    "ResourceArn",
    "resourceARN",
)


def named_in(signed_as: str, asked: Asked) -> Iterator[Right]:
    """An action of the operation's name, on the resource that its members name."""
    action = f"{_PREFIXES.get(signed_as, signed_as)}:{asked.operation}"
    found = asked.text(*_ARNS)
    if found and found.startswith("arn:"):
        yield Right(action, found)
        return
    for member, pattern in _RESOURCES.get(signed_as, ()):
        if (name := asked.text(member)) and not name.startswith("alias/"):  # an alias is not the key
            yield Right(action, name if name.startswith("arn:") else _arn(signed_as, asked, pattern, name))
            return
    yield Right(action)


def _arn(signed_as: str, asked: Asked, pattern: str, name: str) -> str:
    if signed_as == "iam":
        return asked.arns.iam(pattern.format(name))
    return asked.arns.of(signed_as, pattern.format(name.strip("/") if signed_as == "ssm" else name))


def _parameters(asked: Asked) -> Iterator[Right]:
    names = asked.members.get("Names")
    if not isinstance(names, list):
        yield from named_in("ssm", asked)
        return
    for name in map(str, names):
        resource = name if name.startswith("arn:") else _arn("ssm", asked, "parameter/{}", name)
        yield Right(f"ssm:{asked.operation}", resource)


def _secrets(asked: Asked) -> Iterator[Right]:
    yield from named_in("secretsmanager", asked)
    if asked.operation == "BatchGetSecretValue":
        names = asked.members.get("SecretIdList")
        for name in map(str, names) if isinstance(names, list) else [None]:
            arn = asked.arns.of("secretsmanager", f"secret:{name}-awsllm")
            yield Right("secretsmanager:GetSecretValue", _EVERYTHING if name is None else name if ":" in name else arn)


def _topics(asked: Asked) -> Iterator[Right]:
    batches = asked.operation == "PublishBatch"
    yield from named_in("sns", asked._replace(operation="Publish") if batches else asked)


# --- DynamoDB --------------------------------------------------------------------------------------------------------

_PARTIQL = ("ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction")
_STATEMENT = re.compile(
    r"""\s*(SELECT|INSERT|UPDATE|DELETE|EXISTS)\b.*?(?:\b(?:FROM|INTO)\s+|(?<=UPDATE)\s+)"""
    r"""("[^"]+"|[\w.-]+?)(?:\s*\.\s*("[^"]+"|[\w-]+))?(?=[\s({]|$)""",
    re.IGNORECASE | re.DOTALL,
)
_TRANSACTED = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "Get": "GetItem"}


def _table(asked: Asked, name: Any) -> str:
    return name if isinstance(name, str) and name.startswith("arn:") else asked.arns.of("dynamodb", f"table/{name}")


def _dynamodb(asked: Asked) -> Iterator[Right]:
    if asked.operation in _PARTIQL:
        listed = asked.objects("Statements" if asked.operation.startswith("Batch") else "TransactStatements")
        for text in [each.get("Statement") for each in listed] or [asked.members.get("Statement")]:
            yield _statement(asked, str(text))
    elif asked.operation.startswith("Transact"):
        for kind, item in [pair for each in asked.objects("TransactItems") for pair in each.items()]:
            table = item.get("TableName") if isinstance(item, dict) else None
            yield Right(f"dynamodb:{_TRANSACTED.get(kind, 'ConditionCheckItem')}", _table(asked, table))
    elif asked.operation in ("BatchGetItem", "BatchWriteItem"):
        tables = asked.members.get("RequestItems")
        for table in tables if isinstance(tables, dict) else ():
            yield Right(f"dynamodb:{asked.operation}", _table(asked, table))
    elif (index := asked.text("IndexName")) and (table := asked.text("TableName")):
        yield Right(f"dynamodb:{asked.operation}", f"{_table(asked, table)}/index/{index}")
    else:
        yield from named_in("dynamodb", asked)


def _statement(asked: Asked, text: str) -> Right:
    """PartiQL has actions of its own ("PartiQLSelect")."""
    found = _STATEMENT.match(text)
    if found is None:
        return Right("dynamodb:PartiQL?", _EVERYTHING)
    verb = "Select" if found[1].upper() == "EXISTS" else found[1].capitalize()
    table, index = (part and part.strip('"') for part in (found[2], found[3]))
    return Right(f"dynamodb:PartiQL{verb}", _table(asked, table) + (f"/index/{index}" if index else ""))


# --- queues, functions, buses, tokens --------------------------------------------------------------------------------

_SENT_IN_BATCHES = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
_FUNCTION = re.compile(r"(?:(?:arn:[^:]+:lambda:[^:]+:)?\d{12}:function:|function:)?([^:]+)(?::(.+))?")


def _sqs(asked: Asked) -> Iterator[Right]:
    action = f"sqs:{_SENT_IN_BATCHES.get(asked.operation, asked.operation)}"
    url = asked.text("QueueUrl")
    if url is None:
        yield from named_in("sqs", asked)
        return
    account, _, name = url.rstrip("/").rpartition("/")
    owner = account.rpartition("/")[2]
    arns = Arns(asked.region.name, owner if owner.isdigit() else asked.region.account.account_id)
    yield Right(action, arns.of("sqs", name))


def _lambda(asked: Asked) -> Iterator[Right]:
    action = "InvokeFunction" if asked.operation.startswith("Invoke") else asked.operation
    name = asked.text("FunctionName")
    found = _FUNCTION.fullmatch(name) if name else None
    if found is None:
        yield Right(f"lambda:{action}", None if name is None else _EVERYTHING)
        return
    qualifier = found[2] or dict(parse_qsl(asked.incoming.query)).get("Qualifier")
    arn = asked.arns.of("lambda", f"function:{found[1]}" + (f":{qualifier}" if qualifier else ""))
    yield Right(f"lambda:{action}", name if name and name.startswith("arn:") and not qualifier else arn)


def _events(asked: Asked) -> Iterator[Right]:
    if asked.operation != "PutEvents":
        yield from named_in("events", asked)
        return
    for bus in {str(each.get("EventBusName") or "default") for each in asked.objects("Entries")}:
        yield Right("events:PutEvents", bus if bus.startswith("arn:") else asked.arns.of("events", f"event-bus/{bus}"))


def _sts(asked: Asked) -> Iterator[Right]:
    if asked.operation == "GetCallerIdentity":  # which needs no right
        return
    if asked.operation in ("GetSessionToken", "GetFederationToken"):
        # moto's keys are nobody's then, and the account's own: who may do everything gets no more by them.
        yield Right("sts:*", _EVERYTHING)
        yield Right("*", _EVERYTHING)
        return
    role = asked.text("RoleArn")
    yield Right(f"sts:{asked.operation}", role)
    if any(name.startswith("Tags.member.") for name in asked.members):
        yield Right("sts:TagSession", role)


def _sagemaker(asked: Asked) -> Iterator[Right]:
    """Tags that come with what is made take the right to tag it (the developer guide's
    security_iam_id-based-policy-examples, grant-tagging-permissions)."""
    tagged = asked.operation.startswith("Create") and asked.members.get("Tags")
    for right in named_in("sagemaker", asked):
        yield right
        if tagged:
            yield Right("sagemaker:AddTags", right.resource)


def _connections(asked: Asked) -> Iterator[Right]:
    """Which API and stage, the address says, and that is not here."""
    yield Right("execute-api:ManageConnections")


# --- S3 --------------------------------------------------------------------------------------------------------------

_S3 = {
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "DeleteObjects": "DeleteObject",
    "SelectObjectContent": "GetObject",
    "ListObjectVersions": "ListBucketVersions",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    **{f"{verb}BucketLifecycleConfiguration": f"{verb}LifecycleConfiguration" for verb in ("Get", "Put")},
    **{f"{verb}BucketReplication": f"{verb}ReplicationConfiguration" for verb in ("Get", "Put")},
    **{f"{verb}BucketEncryption": f"{verb}EncryptionConfiguration" for verb in ("Get", "Put")},
    **{f"{verb}BucketAccelerateConfiguration": f"{verb}AccelerateConfiguration" for verb in ("Get", "Put")},
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
}
"""The actions that are not called as their operation is."""
_VERSIONED = ("GetObject", "DeleteObject", "GetObjectAcl", "PutObjectAcl", "GetObjectTagging", "PutObjectTagging")


def _s3(asked: Asked) -> Iterator[Right]:
    bucket, _, key = path_style(asked.incoming).removeprefix("/").partition("/")
    bucket, key = unquote(bucket), unquote(key)
    action = _S3.get(asked.operation, asked.operation)
    start = f"arn:{asked.arns.partition}:s3:::"
    query = dict(parse_qsl(asked.incoming.query))
    if not bucket:
        yield Right(f"s3:{action}", _EVERYTHING)
    elif asked.operation == "DeleteObjects":
        yield from (Right(f"s3:{action}{version}", f"{start}{bucket}/{key}") for key, version in _deleted(asked))
    elif _is_of_object(asked.operation):
        versioned = "Version" if "versionId" in query and action in _VERSIONED else ""
        yield Right(f"s3:{action}{versioned}", f"{start}{bucket}/{key or '*'}")
        yield from _beside(asked, f"{start}{bucket}/{key}")
    else:
        prefix = query.get("prefix")
        context = {"s3:prefix": prefix} if prefix is not None and action == "ListBucket" else {}
        yield Right(f"s3:{action}", f"{start}{bucket}", context)


def _is_of_object(operation: str) -> bool:
    shape = service_model("s3").operation_model(operation).input_shape
    return shape is not None and "Key" in shape.members


def _beside(asked: Asked, resource: str) -> Iterator[Right]:
    """What a written object takes with it: what it is copied of, who may read it, its tags."""
    headers = asked.incoming.headers
    if source := headers.get("x-amz-copy-source"):
        name, _, version = unquote(source).lstrip("/").partition("?")
        copied = f"arn:{asked.arns.partition}:s3:::{name}"
        yield Right("s3:GetObjectVersion" if version.startswith("versionId=") else "s3:GetObject", copied)
    if asked.operation in ("PutObject", "CopyObject", "CreateMultipartUpload"):
        if any(name == "x-amz-acl" or name.startswith("x-amz-grant-") for name in headers):
            yield Right("s3:PutObjectAcl", resource)
        if "x-amz-tagging" in headers:
            yield Right("s3:PutObjectTagging", resource)


def _deleted(asked: Asked) -> Iterator[tuple[str, str]]:
    """The keys that are deleted together, each with whether a version is meant."""
    try:
        found = [
            (
                next((each.text or "" for each in one.iter() if each.tag.endswith("Key")), ""),
                "Version" if any(each.tag.endswith("VersionId") and each.text for each in one.iter()) else "",
            )
            for one in ElementTree.fromstring(asked.incoming.body).iter()  # noqa: S314 - expat here bounds entities
            if one.tag.endswith("Object")
        ]
    except ElementTree.ParseError:
        found = []
    yield from found or [("*", "")]


SERVICES: Mapping[str, Callable[[Asked], Iterator[Right]]] = {
    "apigatewaymanagementapi": _connections,
    "dynamodb": _dynamodb,
    "events": _events,
    "lambda": _lambda,
    "s3": _s3,
    "secretsmanager": _secrets,
    "sns": _topics,
    "sqs": _sqs,
    "sagemaker": _sagemaker,
    "ssm": _parameters,
    "sts": _sts,
}

# --- roles that are handed over --------------------------------------------------------------------------------------

_TAKES_ROLES = {
    "application-autoscaling": "application-autoscaling.amazonaws.com",
    "bedrock": "bedrock.amazonaws.com",
    "bedrock-agent": "bedrock.amazonaws.com",
    "cloudformation": "cloudformation.amazonaws.com",
    "events": "events.amazonaws.com",
    "firehose": "firehose.amazonaws.com",
    "lambda": "lambda.amazonaws.com",
    "logs": "logs.amazonaws.com",
    "pipes": "pipes.amazonaws.com",
    "sagemaker": "sagemaker.amazonaws.com",
    "scheduler": "scheduler.amazonaws.com",
    "stepfunctions": "states.amazonaws.com",
}
"""Services that are handed roles, and what they are called where that is allowed."""
_ROLE_NAMES = frozenset(
    ("roleArn", "RoleArn", "RoleARN", "ExecutionRoleArn", "agentResourceRoleArn", "Role", "serviceRoleArn")
)


def passed(asked: Asked, service: str) -> Iterator[Right]:
    """To hand over the role that the service then works as, wherever in the request it stands."""
    if service in _TAKES_ROLES:
        for role in dict.fromkeys(_roles(asked.members)):
            yield Right("iam:PassRole", role, {"iam:PassedToService": _TAKES_ROLES[service]})


def _roles(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _roles(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and name.rpartition(".")[2] in _ROLE_NAMES and ":role/" in each:
                yield each
            else:
                yield from _roles(each)
