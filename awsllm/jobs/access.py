"""What jobs need of IAM: of whoever starts a job, and of the role that it runs with; as policy documents.

Actions are named one by one and resources as narrowly as their requests tell. The execution role also needs to trust
``sagemaker.amazonaws.com``, which is no part of a permissions policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from awsllm.types import JsonObject, JsonValue

_TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"


def partition(region: str) -> str:
    """The partition of a region, as ARNs name it."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def job_permissions(request: JsonObject, region: str) -> JsonObject:
    """What starting, following and stopping a training job takes."""
    name, role = request["TrainingJobName"], str(request["RoleArn"])
    account, arn = role.split(":")[4], partition(region)
    actions = ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags", "ListTags")
    logs = f"arn:{arn}:logs:{region}:{account}:log-group:{_TRAINING_LOGS}"
    return policy(
        statement("Train", _of("sagemaker", *actions), f"arn:{arn}:sagemaker:{region}:{account}:training-job/{name}"),
        statement("ListJobs", "sagemaker:ListTrainingJobs", "*"),
        statement("Logs", _of("logs", "DescribeLogStreams", "GetLogEvents"), [logs, f"{logs}:log-stream:*"]),
        pass_role(role),
    )


def role_permissions(request: JsonObject, region: str) -> JsonObject:
    """What the execution role of a training job needs: its channels, its output, its image, its log."""
    arn, account = partition(region), str(request["RoleArn"]).split(":")[4]
    sources = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]]
    output = request["OutputDataConfig"]
    written = [output["S3OutputPath"], *filter(None, [request.get("CheckpointConfig", {}).get("S3Uri")])]
    keys = sorted({key for key in (output.get("KmsKeyId"), request["ResourceConfig"].get("VolumeKmsKeyId")) if key})
    return policy(
        statement("Read", "s3:GetObject", sorted({objects(uri, arn) for uri in sources})),
        statement("List", "s3:ListBucket", sorted({bucket(uri, arn) for uri in (*sources, *written)})),
        statement("Write", _of("s3", "PutObject", "GetObject"), sorted({objects(uri, arn) for uri in written})),
        *image_statements(str(request["AlgorithmSpecification"].get("TrainingImage", "")), arn),
        statement(
            "WriteLogs",
            _of("logs", "CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"),
            f"arn:{arn}:logs:{region}:{account}:log-group:{_TRAINING_LOGS}*",
        ),
        {
            **statement("Metrics", "cloudwatch:PutMetricData", "*"),
            "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
        },
        *_key_statements(keys, f"arn:{arn}:kms:{region}:{account}:key/"),
        *_network_statements(request),
    )


def policy(*statements: JsonObject) -> JsonObject:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(sid: str, action: JsonValue, resource: JsonValue) -> JsonObject:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def pass_role(role: str) -> JsonObject:
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    return {**statement("PassRole", "iam:PassRole", role), "Condition": condition}


def bucket(uri: str, arn: str) -> str:
    """The ARN of the bucket of an S3 URI; ``arn`` is the partition."""
    return f"arn:{arn}:s3:::{urlsplit(uri).netloc}"


def objects(uri: str, arn: str) -> str:
    """The ARN of everything under an S3 URI."""
    return f"{bucket(uri, arn)}/{urlsplit(uri).path.lstrip('/')}*"


_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr[^.]*\.([a-z0-9-]+)\.[^/]+/([^:@]+)")


def image_statements(image: str, arn: str) -> Iterator[JsonObject]:
    """What pulling an image from ECR takes; nothing for an image that is elsewhere."""
    if found := _IMAGE.match(image):
        account, region, repository = found.groups()
        yield statement("ImageToken", "ecr:GetAuthorizationToken", "*")
        actions = _of("ecr", "BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")
        yield statement("Image", actions, f"arn:{arn}:ecr:{region}:{account}:repository/{repository}")


def _key_statements(keys: list[str], prefix: str) -> Iterator[JsonObject]:
    if keys:
        named = [key if key.startswith("arn:") else prefix + key for key in keys]
        actions = _of("kms", "Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey")
        yield statement("Key", actions, named)
        yield {
            **statement("KeyGrant", "kms:CreateGrant", named),
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        }


def _network_statements(request: JsonObject) -> Iterator[JsonObject]:
    if "VpcConfig" in request:
        actions = (
            "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
            "DeleteNetworkInterfacePermission", "DescribeNetworkInterfaces", "DescribeVpcs", "DescribeDhcpOptions",
            "DescribeSubnets", "DescribeSecurityGroups",
        )  # fmt: skip
        yield statement("Network", _of("ec2", *actions), "*")


def _of(service: str, *actions: str) -> list[str]:
    return [f"{service}:{action}" for action in actions]
