"""IAM in the offline AWS: what a role may do is what its policies say, by boto3 in-process and over HTTP."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.testing import mock_aws, server

REGION, ACCOUNT = "us-east-1", "123456789012"
NOVA = "amazon.nova-lite-v1:0"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def allow(action, resource="*", **condition):
    found = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**found, "Condition": condition} if condition else found


def assume(*statements, client=boto3.client, name="worker", **role):
    """A session as a role with these statements."""
    iam = client("iam", REGION)
    created = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), **role)["Role"]
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)
    keys = client("sts", REGION).assume_role(RoleArn=created["Arn"], RoleSessionName="run")["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)


def refused(call, *args, **members):
    with pytest.raises(ClientError) as caught:
        call(*args, **members)
    return caught.value.response["Error"]


def foundation(model=NOVA, region=REGION):
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


@mock_aws(reply=lambda request: "ok", iam=True)
def test_a_role_calls_the_models_of_its_policy_alone() -> None:
    runtime = assume(allow("bedrock:InvokeModel", foundation())).client("bedrock-runtime")
    assert runtime.converse(modelId=NOVA, messages=HELLO)["output"]["message"]["content"][0]["text"] == "ok"
    error = refused(runtime.converse, modelId="amazon.nova-pro-v1:0", messages=HELLO)
    assert error["Code"] == "AccessDeniedException"
    assert f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/run is not authorized" in error["Message"]
    assert f"bedrock:InvokeModel on resource: {foundation('amazon.nova-pro-v1:0')}" in error["Message"]
    streamed = refused(runtime.converse_stream, modelId=NOVA, messages=HELLO)
    assert "bedrock:InvokeModelWithResponseStream" in streamed["Message"]


@mock_aws(reply=lambda request: "ok", iam=True)
def test_credentials_of_nobody_are_the_account_itself() -> None:
    boto3.client("bedrock-runtime", REGION).converse(modelId=NOVA, messages=HELLO)
    boto3.client("s3", REGION).create_bucket(Bucket="mine")


@mock_aws(reply=lambda request: "ok")
def test_without_iam_a_role_may_do_everything() -> None:
    assume(allow("s3:*")).client("bedrock-runtime").converse(modelId=NOVA, messages=HELLO)


@mock_aws(reply=lambda request: "ok", iam=True)
def test_a_geographic_profile_needs_the_model_in_every_destination() -> None:
    profile = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:inference-profile/us.{NOVA}"
    through = {"StringEquals": {"bedrock:InferenceProfileArn": profile}}
    everywhere = [foundation(region=region) for region in ("us-east-1", "us-east-2", "us-west-2")]
    whole = assume(allow("bedrock:InvokeModel", profile), allow("bedrock:InvokeModel", everywhere, **through))
    runtime = whole.client("bedrock-runtime")
    runtime.converse(modelId=f"us.{NOVA}", messages=HELLO)
    assert "foundation-model" in refused(runtime.converse, modelId=NOVA, messages=HELLO)["Message"]  # not by itself
    some = assume(
        allow("bedrock:InvokeModel", profile), allow("bedrock:InvokeModel", everywhere[:2], **through), name="some"
    )
    error = refused(some.client("bedrock-runtime").converse, modelId=f"us.{NOVA}", messages=HELLO)
    assert foundation(region="us-west-2") in error["Message"]
    only = assume(allow("bedrock:InvokeModel", profile), name="only")
    assert (
        "foundation-model"
        in refused(only.client("bedrock-runtime").converse, modelId=f"us.{NOVA}", messages=HELLO)["Message"]
    )


@mock_aws(reply=lambda request: "ok", iam=True)
def test_a_global_profile_asks_for_a_region_that_is_not_specified() -> None:
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    profile = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:inference-profile/global.{model}"
    anywhere = {"StringEquals": {"aws:RequestedRegion": "unspecified", "bedrock:InferenceProfileArn": profile}}
    here = {"StringEquals": {"aws:RequestedRegion": REGION, "bedrock:InferenceProfileArn": profile}}
    statements = [
        allow("bedrock:InvokeModel", profile, StringEquals={"aws:RequestedRegion": REGION}),
        allow("bedrock:InvokeModel", foundation(model), **here),
        allow("bedrock:InvokeModel", f"arn:aws:bedrock:::foundation-model/{model}", **anywhere),
    ]
    assume(*statements).client("bedrock-runtime").converse(modelId=f"global.{model}", messages=HELLO)
    lacking = assume(*statements[:2], name="lacking").client("bedrock-runtime")
    assert "arn:aws:bedrock:::" in refused(lacking.converse, modelId=f"global.{model}", messages=HELLO)["Message"]


@mock_aws(reply=lambda request: "ok", iam=True)
def test_an_application_profile_is_used_through_its_arn() -> None:
    made = boto3.client("bedrock", REGION).create_inference_profile(
        inferenceProfileName="team", modelSource={"copyFrom": foundation()}
    )["inferenceProfileArn"]
    through = {"StringEquals": {"bedrock:InferenceProfileArn": made}}
    role = assume(allow("bedrock:InvokeModel", made), allow("bedrock:InvokeModel", foundation(), **through))
    role.client("bedrock-runtime").converse(modelId=made, messages=HELLO)
    refused(role.client("bedrock-runtime").converse, modelId=NOVA, messages=HELLO)


@mock_aws(reply=lambda request: "ok", iam=True)
def test_a_guardrail_can_be_demanded() -> None:
    made = boto3.client("bedrock", REGION).create_guardrail(
        name="g", blockedInputMessaging="no", blockedOutputsMessaging="no",
        wordPolicyConfig={"wordsConfig": [{"text": "badword"}]},
    )  # fmt: skip
    arn = made["guardrailArn"]
    demanded = {"StringEquals": {"bedrock:GuardrailIdentifier": arn}}
    role = assume(allow("bedrock:InvokeModel", foundation(), **demanded), allow("bedrock:ApplyGuardrail", arn))
    runtime = role.client("bedrock-runtime")
    config = {"guardrailIdentifier": made["guardrailId"], "guardrailVersion": "DRAFT"}
    runtime.converse(modelId=NOVA, messages=HELLO, guardrailConfig=config)
    assert "bedrock:InvokeModel" in refused(runtime.converse, modelId=NOVA, messages=HELLO)["Message"]


@mock_aws(iam=True, reply="ok")
def test_objects_and_buckets_of_s3() -> None:
    boto3.client("s3", REGION).create_bucket(Bucket="bkt")
    role = assume(
        allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::bkt/in/*"),
        allow("s3:ListBucket", "arn:aws:s3:::bkt", StringLike={"s3:prefix": "in/*"}),
    )
    s3 = role.client("s3")
    s3.put_object(Bucket="bkt", Key="in/ä b", Body=b"x")
    assert s3.get_object(Bucket="bkt", Key="in/ä b")["Body"].read() == b"x"
    assert s3.head_object(Bucket="bkt", Key="in/ä b")["ContentLength"] == 1
    assert s3.list_objects_v2(Bucket="bkt", Prefix="in/")["KeyCount"] == 1
    assert refused(s3.put_object, Bucket="bkt", Key="out/x", Body=b"x")["Code"] == "AccessDenied"
    assert "s3:DeleteObject" in refused(s3.delete_object, Bucket="bkt", Key="in/ä b")["Message"]
    assert "s3:ListBucket" in refused(s3.list_objects_v2, Bucket="bkt")["Message"]
    assert (
        "s3:GetObject"
        in refused(s3.copy_object, Bucket="bkt", Key="in/c", CopySource={"Bucket": "bkt", "Key": "secret"})["Message"]
    )


@mock_aws(iam=True, reply="ok")
def test_tables_and_queues() -> None:
    dynamodb = boto3.client("dynamodb", REGION)
    for name in ("one", "two"):
        dynamodb.create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )  # fmt: skip
    queue = boto3.client("sqs", REGION).create_queue(QueueName="work")["QueueUrl"]
    role = assume(
        allow(["dynamodb:PutItem", "dynamodb:GetItem"], f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/one"),
        allow("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:work"),
    )
    items = role.client("dynamodb")
    items.put_item(TableName="one", Item={"id": {"S": "a"}})
    error = refused(items.put_item, TableName="two", Item={"id": {"S": "a"}})
    assert (error["Code"], "table/two" in error["Message"]) == ("AccessDeniedException", True)
    both = [{"Put": {"TableName": name, "Item": {"id": {"S": "b"}}}} for name in ("one", "two")]
    assert "table/two" in refused(items.transact_write_items, TransactItems=both)["Message"]
    sqs = role.client("sqs")
    sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "x"}])
    assert "sqs:ReceiveMessage" in refused(sqs.receive_message, QueueUrl=queue)["Message"]


@mock_aws(iam=True, reply="ok")
def test_a_role_is_passed_on_to_the_service_that_it_may_be_passed_to() -> None:
    service = f"arn:aws:iam::{ACCOUNT}:role/batch"
    made = {
        "jobName": "j", "roleArn": service, "modelId": NOVA,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://b/in.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://b/out/"}},
    }  # fmt: skip
    passed = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    role = assume(allow("bedrock:CreateModelInvocationJob"), allow("iam:PassRole", service, **passed))
    error = refused(role.client("bedrock").create_model_invocation_job, **made)
    assert f"iam:PassRole on resource: {service}" in error["Message"]


@mock_aws(iam=True, reply="ok")
def test_a_boundary_and_an_explicit_denial() -> None:
    boundary = boto3.client("iam", REGION).create_policy(
        PolicyName="b", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:*")]})
    )["Policy"]["Arn"]
    within = assume(allow("*"), PermissionsBoundary=boundary)
    within.client("s3").list_buckets()
    refused(within.client("sqs").list_queues)
    denied = assume(allow("*"), {"Effect": "Deny", "Action": "sqs:*", "Resource": "*"}, name="denied")
    denied.client("s3").list_buckets()
    refused(denied.client("sqs").list_queues)
    assert denied.client("sts").get_caller_identity()["Arn"].endswith("assumed-role/denied/run")


@mock_aws(iam=True, reply="ok")
def test_users_groups_and_tags() -> None:
    iam = boto3.client("iam", REGION)
    iam.create_user(UserName="anna")
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(GroupName="readers", UserName="anna")
    own = {"Version": "2012-10-17", "Statement": [allow("s3:PutObject", "arn:aws:s3:::bkt/${aws:username}/*")]}
    iam.put_group_policy(GroupName="readers", PolicyName="own", PolicyDocument=json.dumps(own))
    key = iam.create_access_key(UserName="anna")["AccessKey"]
    boto3.client("s3", REGION).create_bucket(Bucket="bkt")
    s3 = boto3.client("s3", REGION, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    s3.put_object(Bucket="bkt", Key="anna/x", Body=b"x")
    refused(s3.put_object, Bucket="bkt", Key="otto/x", Body=b"x")
    tagged = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    red = assume(allow("sqs:ListQueues", **tagged), Tags=[{"Key": "team", "Value": "red"}], name="red")
    red.client("sqs").list_queues()
    refused(assume(allow("sqs:ListQueues", **tagged), name="blue").client("sqs").list_queues)


@mock_aws(iam=True, reply="ok", endpoints="chat")
def test_endpoints_of_sagemaker() -> None:
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/chat"
    runtime = assume(allow("sagemaker:InvokeEndpoint", arn)).client("sagemaker-runtime")
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}]}).encode()
    runtime.invoke_endpoint(EndpointName="chat", Body=body, ContentType="application/json")
    error = refused(
        runtime.invoke_endpoint_with_response_stream, EndpointName="chat", Body=body, ContentType="application/json"
    )
    assert "sagemaker:InvokeEndpointWithResponseStream" in error["Message"]


def test_over_http() -> None:
    with server(reply=lambda request: "ok", iam=True) as aws:

        def client(service, region):
            return boto3.client(
                service, region, endpoint_url=aws.url, aws_access_key_id="testing", aws_secret_access_key="testing"
            )

        session = assume(allow("bedrock:InvokeModel", foundation()), client=client)
        runtime = session.client("bedrock-runtime", endpoint_url=aws.url)
        runtime.converse(modelId=NOVA, messages=HELLO)
        assert (
            refused(runtime.converse, modelId="amazon.nova-pro-v1:0", messages=HELLO)["Code"] == "AccessDeniedException"
        )
        s3 = session.client("s3", endpoint_url=aws.url)
        assert refused(s3.create_bucket, Bucket="bkt")["Code"] == "AccessDenied"
        assert refused(session.client("sns", endpoint_url=aws.url).list_topics)["Code"] == "AccessDenied"
