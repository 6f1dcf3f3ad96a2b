"""Stacks of awsllm's templates in moto, as whoever takes the templates makes them: text and parameters, no more."""

from __future__ import annotations

import io
import json
import zipfile

import boto3

from awsllm import infra
from awsllm.infra.template_text import write_json
from awsllm.infra.templates import Template
from tests.support.stacks import FilledIn

STACK = "stack"


def deploy(stack: FilledIn) -> dict[str, str]:
    """The outputs of the stack, made or changed."""
    as_written = [each for each in infra.list_templates() if each.document == stack.template]
    changed = Template(name="changed", path="", text=write_json(stack.template, indent=None), document=stack.template)
    template = as_written[0] if as_written else changed
    found = infra.deploy(template, stack=STACK, parameters=stack.given, region=stack.region)
    assert found is not None
    return found.outputs


def made(region: str = "us-east-1") -> dict[str, str]:
    """Type by logical name."""
    return {each.id: each.type for each in infra.status(STACK, region=region).resources}


def expected(stack: FilledIn) -> dict[str, str]:
    return {name: each["Type"] for name, each in stack.resources.items()}


def package() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("handler.py", "")
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="code")
    s3.put_bucket_versioning(Bucket="code", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="code", Key="awsllm.zip", Body=archive.getvalue())


def prepared(stack: FilledIn) -> FilledIn:
    """What the stack needs is there: its package, whose version moto gives itself, a network, a boundary."""
    given = dict(stack.given)
    if "CodeBucket" in given:
        package()
        given["CodeVersion"] = ""
    if "VpcId" in given:
        ec2 = boto3.client("ec2", "us-east-1")
        given["VpcId"] = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        given["SubnetIds"] = ec2.create_subnet(VpcId=given["VpcId"], CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        given["RouteTableIds"] = ec2.create_route_table(VpcId=given["VpcId"])["RouteTable"]["RouteTableId"]
    if "HostedZoneId" in given:
        zone = boto3.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
        given["HostedZoneId"] = zone.removeprefix("/hostedzone/")
    if "PermissionsBoundaryArn" in given:
        everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        boto3.client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(everything))
    if "SourceBucketName" in given:
        boto3.client("s3", "us-east-1").create_bucket(Bucket=given["SourceBucketName"])
    for role in filter(None, (given.get("RoleNames"), given.get("ReaderRoleNames"))):
        boto3.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    return FilledIn(stack.template, given)
