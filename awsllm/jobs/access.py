"""What the execution role of a training job needs of IAM: its channels, its output, its image, its log.

Resources are as narrow as the request tells. Who may be the role is no part of a permissions policy: ``role_trust``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.types import JsonObject

_KEY = ("Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey")
_NETWORK = (
    "CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
    "DeleteNetworkInterfacePermission", "DescribeNetworkInterfaces", "DescribeVpcs", "DescribeDhcpOptions",
    "DescribeSubnets", "DescribeSecurityGroups",
)  # fmt: skip


def role_permissions(request: JsonObject, arns: Arns, log_group: str) -> JsonObject:
    """The policy document, from CreateTrainingJob's request."""
    output = request["OutputDataConfig"]
    image = str(request.get("AlgorithmSpecification", {}).get("TrainingImage", ""))
    sources = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]]
    written = [output["S3OutputPath"], *filter(None, [request.get("CheckpointConfig", {}).get("S3Uri")])]
    return iam.policy(
        *moving(arns, sources, written),
        *_image(image, arns),
        *reporting(arns, log_group),
        *iam.use_key(output.get("KmsKeyId"), _KEY, arns),
        *([statement("Network", actions("ec2", *_NETWORK), "*")] if "VpcConfig" in request else []),
    )


def role_trust(arns: Arns) -> JsonObject:
    """Who may be an execution role: SageMaker, for whatever the account has in this region. A narrower one would keep
    the endpoint that serves a result from running with the same role."""
    return iam.trust("sagemaker", arns, "*")


def moving(arns: Arns, sources: Sequence[str], written: Sequence[str]) -> Iterator[JsonObject]:
    """To read under some ``s3://`` URIs and to write under others."""
    yield statement("Read", "s3:GetObject", [arns.objects(uri) for uri in sources])
    yield statement("List", "s3:ListBucket", [arns.bucket(uri) for uri in (*sources, *written)])
    yield statement("Write", actions("s3", "PutObject", "GetObject"), [arns.folder(uri) for uri in written])


def reporting(arns: Arns, log_group: str) -> Iterator[JsonObject]:
    """A job's log and its metrics."""
    metrics: JsonObject = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    logging = actions("logs", "CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents")
    yield statement("WriteLogs", logging, arns.log_group(log_group))
    yield statement("Metrics", "cloudwatch:PutMetricData", "*", metrics)


_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr[^.]*\.([a-z0-9-]+)\.[^/]+/([^:@]+)")


def _image(image: str, arns: Arns) -> Iterator[JsonObject]:
    """What pulling an image from ECR takes; nothing for an image that is elsewhere."""
    if found := _IMAGE.match(image):
        account, region, repository = found.groups()
        yield from pulling(Arns(region, account), repository)


def pulling(arns: Arns, repository: str) -> Iterator[JsonObject]:
    """What pulling an image takes; ``arns`` are those of the account that has the repository."""
    layers = actions("ecr", "BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")
    yield statement("ImageToken", "ecr:GetAuthorizationToken", "*")
    yield statement("Image", layers, arns.of("ecr", f"repository/{repository}"))
