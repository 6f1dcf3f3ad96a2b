"""What the execution role of a training job needs of IAM: its channels, its output, its image, its log.

Resources are as narrow as the request tells. The role also needs to trust ``sagemaker.amazonaws.com``, which is no part
of a permissions policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    sources = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]]
    written = [output["S3OutputPath"], *filter(None, [request.get("CheckpointConfig", {}).get("S3Uri")])]
    metrics: JsonObject = {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
    logging = actions("logs", "CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents")
    return iam.policy(
        statement("Read", "s3:GetObject", [arns.objects(uri) for uri in sources]),
        statement("List", "s3:ListBucket", [arns.bucket(uri) for uri in (*sources, *written)]),
        statement("Write", actions("s3", "PutObject", "GetObject"), [arns.folder(uri) for uri in written]),
        *_image(str(request["AlgorithmSpecification"].get("TrainingImage", "")), arns),
        statement("WriteLogs", logging, arns.log_group(log_group)),
        statement("Metrics", "cloudwatch:PutMetricData", "*", metrics),
        *iam.use_key(output.get("KmsKeyId"), _KEY, arns),
        *([statement("Network", actions("ec2", *_NETWORK), "*")] if "VpcConfig" in request else []),
    )


_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr[^.]*\.([a-z0-9-]+)\.[^/]+/([^:@]+)")


def _image(image: str, arns: Arns) -> Iterator[JsonObject]:
    """What pulling an image from ECR takes; nothing for an image that is elsewhere."""
    if found := _IMAGE.match(image):
        account, region, repository = found.groups()
        pulling = actions("ecr", "BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")
        yield statement("ImageToken", "ecr:GetAuthorizationToken", "*")
        yield statement("Image", pulling, Arns(region, account).of("ecr", f"repository/{repository}"))
