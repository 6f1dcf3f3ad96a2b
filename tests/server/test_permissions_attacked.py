"""Ways around IAM that are none: whatever a request is made to look like, it is judged by what it does."""

import asyncio
import base64
import json

import boto3
import pytest
import requests
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

from awsllm import AccessDeniedError, AsyncClient
from awsllm.server.account.account import Account
from awsllm.server.http.auth import signers
from awsllm.server.permissions import rights
from awsllm.server.work import Incoming
from awsllm.testing import mock_aws, server
from tests.server.test_permissions import ACCOUNT, HELLO, NOVA, REGION, allow, assume, foundation, refused

SCOPE = "20260101/us-east-1/{}/aws4_request"
REGION_OF_ALL = Account(account_id=ACCOUNT).region(REGION)


def needs(method="POST", path="/", body=b"", query="", service="dynamodb", **headers):
    """(action, resource) of each right that a signed request needs."""
    signed = f"AWS4-HMAC-SHA256 Credential=AK/{SCOPE.format(service)}, SignedHeaders=host, Signature=0"
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    incoming = Incoming(method, path, {"authorization": signed, **named}, data, query=query)
    return [(right.action, right.resource) for right in rights(incoming, REGION_OF_ALL)]


def dynamodb(operation, body):
    return needs(body=body, x_amz_target=f"DynamoDB_20120810.{operation}")


def table(name):
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


@pytest.mark.parametrize("beside", [{"RequestItems": {}}, {"TransactItems": []}, {"TopicArn": table("one")}, {"x": 1}])
def test_members_that_an_operation_has_not_name_nothing(beside) -> None:
    body = {"TableName": "two", "Key": {"id": {"S": "a"}}, **beside}
    assert dynamodb("GetItem", body) == [("dynamodb:GetItem", table("two"))]


def test_numbers_that_are_none_hide_nothing() -> None:
    body = b'{"TableName": "two", "Key": {"id": {"S": "a"}}, "x": NaN}'
    assert dynamodb("GetItem", body) == [("dynamodb:GetItem", table("two"))]


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ('SELECT * FROM "two" WHERE id = 1', ("dynamodb:PartiQLSelect", table("two"))),
        ('select a,"from" from two.byname', ("dynamodb:PartiQLSelect", table("two/index/byname"))),
        ("INSERT INTO two VALUE {'id': 'FROM one'}", ("dynamodb:PartiQLInsert", table("two"))),
        ('UPDATE "two" SET a = 1', ("dynamodb:PartiQLUpdate", table("two"))),
        ('DELETE  FROM\n"two"', ("dynamodb:PartiQLDelete", table("two"))),
        ('EXISTS(SELECT * FROM "two" WHERE id = 1)', ("dynamodb:PartiQLSelect", table("two"))),
        ("two", ("dynamodb:PartiQL?", "*")),
    ],
)
def test_partiql(statement, wanted) -> None:
    assert dynamodb("ExecuteStatement", {"Statement": statement}) == [wanted]
    assert dynamodb("BatchExecuteStatement", {"Statements": [{"Statement": statement}]}) == [wanted]
    assert dynamodb("ExecuteTransaction", {"TransactStatements": [{"Statement": statement}]}) == [wanted]


def test_tables_by_their_arns() -> None:
    far = "arn:aws:dynamodb:us-east-1:999999999999:table/two"
    assert dynamodb("BatchGetItem", {"RequestItems": {far: {}, "one": {}}}) == [
        ("dynamodb:BatchGetItem", far),
        ("dynamodb:BatchGetItem", table("one")),
    ]
    assert dynamodb("TransactGetItems", {"TransactItems": [{"Get": {"TableName": far}}]}) == [("dynamodb:GetItem", far)]
    assert dynamodb("Query", {"TableName": "two", "IndexName": "i"}) == [("dynamodb:Query", table("two/index/i"))]


def test_an_action_that_is_named_twice_or_far_behind_is_not_judged_as_a_harmless_one() -> None:
    form = {"content_type": "application/x-www-form-urlencoded"}
    harmless = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert needs(body=harmless, service="sts", **form) == []
    everything = [("sts:?", "*")]
    assert needs(body=harmless, query="Action=AssumeRole", service="sts", **form) == everything
    assert needs(body=b"Action=AssumeRole&" + harmless, service="sts", **form) == everything
    assert needs(body=b"x=" + b"y" * 9000 + b"&Action=AssumeRole", service="sts", **form) == everything


def test_what_a_path_says_counts_for_who_answers_it() -> None:
    bucket = "arn:aws:s3:::model/x/converse"
    assert needs("PUT", "/model/x/converse", service="s3") == [("s3:PutObject", bucket)]
    assert needs("GET", "/bkt/@connections/secret", service="s3") == [
        ("s3:GetObject", "arn:aws:s3:::bkt/@connections/secret")
    ]
    assert needs(path=f"/model/{NOVA}/converse", service="s3") == [("bedrock:InvokeModel", foundation())]
    assert needs(path=f"/model/{NOVA}/converse", x_amz_target="DynamoDB_20120810.GetItem") == [
        ("bedrock:InvokeModel", foundation())
    ]
    assert needs("GET", "//bkt/secret", service="s3")[0][1] == "*"
    assert needs("GET", "/bk%74/secre%74", service="s3") == [("s3:GetObject", "arn:aws:s3:::bkt/secret")]
    assert needs("GET", "/nowhere", service="nothing") == [("?:?", "*")]


def test_objects_that_are_deleted_together_are_judged_one_by_one() -> None:
    body = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>in/a</Key></Object>'
    body += b"<Object><Key>keep/b</Key><VersionId>1</VersionId></Object></Delete>"
    assert needs("POST", "/bkt", body, "delete", "s3") == [
        ("s3:DeleteObject", "arn:aws:s3:::bkt/in/a"),
        ("s3:DeleteObjectVersion", "arn:aws:s3:::bkt/keep/b"),
    ]
    assert needs("POST", "/bkt", b"<", "delete", "s3") == [("s3:DeleteObject", "arn:aws:s3:::bkt/*")]


def test_objects_have_actions_of_their_own_for_versions_owners_and_tags() -> None:
    key = "arn:aws:s3:::bkt/k"
    assert needs("GET", "/bkt/k", query="acl", service="s3") == [("s3:GetObjectAcl", key)]
    assert needs("GET", "/bkt/k", query="versionId=1", service="s3") == [("s3:GetObjectVersion", key)]
    assert needs("PUT", "/bkt/k", service="s3", x_amz_acl="public-read", x_amz_tagging="a=b") == [
        ("s3:PutObject", key),
        ("s3:PutObjectAcl", key),
        ("s3:PutObjectTagging", key),
    ]
    assert needs("GET", "/", service="s3") == [("s3:ListAllMyBuckets", "*")]
    assert needs("DELETE", "/bkt", query="encryption", service="s3") == [
        ("s3:PutEncryptionConfiguration", "arn:aws:s3:::bkt")
    ]


@pytest.mark.parametrize(
    ("name", "query", "function"),
    [
        ("f", "", "f"),
        ("f%3A7", "", "f:7"),
        ("f", "Qualifier=live", "f:live"),
        (f"{ACCOUNT}%3Afunction%3Af", "", "f"),
        (f"arn%3Aaws%3Alambda%3A{REGION}%3A{ACCOUNT}%3Afunction%3Af", "", "f"),
    ],
)
def test_a_function_has_many_names(name, query, function) -> None:
    path = f"/2015-03-31/functions/{name}/invocations"
    assert needs(path=path, query=query, service="lambda") == [
        ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}")
    ]


def test_resources_that_paths_and_members_name() -> None:
    guardrail = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:guardrail/g1"
    assert needs("DELETE", "/guardrails/g1", service="bedrock") == [("bedrock:DeleteGuardrail", guardrail)]
    form = {"content_type": "application/x-www-form-urlencoded"}
    written = b"Action=PutRolePolicy&Version=2010-05-08&RoleName=admin&PolicyName=p&PolicyDocument={}"
    assert needs(body=written, service="iam", **form) == [("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/admin")]
    parameters = needs(body={"Names": ["/a", "b"]}, service="ssm", x_amz_target="AmazonSSM.GetParameters")
    assert [resource.rpartition(":")[2] for _, resource in parameters] == ["parameter/a", "parameter/b"]
    role = f"arn:aws:iam::{ACCOUNT}:role/r"
    logging = {"loggingConfig": {"cloudWatchConfig": {"logGroupName": "g", "roleArn": role}}}
    assert ("iam:PassRole", role) in needs("PUT", "/logging/modelinvocations", logging, service="bedrock")
    rag = {
        "input": {"text": "?"},
        "retrieveAndGenerateConfiguration": {
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB1", "modelArn": foundation()},
        },
    }
    assert needs(path="/retrieveAndGenerate", body=rag, service="bedrock") == [
        ("bedrock:RetrieveAndGenerate", None),
        ("bedrock:Retrieve", f"arn:aws:bedrock:{REGION}:{ACCOUNT}:knowledge-base/KB1"),
        ("bedrock:InvokeModel", foundation()),
    ]


def test_a_stream_of_another_dialect_is_one() -> None:
    path = "/openai/v1/chat/completions"
    assert needs(path=path, body={"model": NOVA, "stream": True}) == [
        ("bedrock:InvokeModelWithResponseStream", foundation())
    ]


def _bearer(query):
    token = base64.b64encode(b"bedrock.amazonaws.com/?Action=CallWithBearerToken&" + query).decode()
    return {"authorization": f"Bearer bedrock-api-key-{token}"}


@pytest.mark.parametrize(
    "incoming",
    [
        Incoming("GET", "/", {"authorization": f"AWS4-HMAC-SHA256 Credential=AK/{SCOPE}, Signature=0"}),
        Incoming("GET", "/", {"authorization": f"AWS4-ECDSA-P256-SHA256 Credential=AK/{SCOPE}, Signature=0"}),
        Incoming("GET", "/", {"authorization": "AWS AK:c2lnbmF0dXJl"}),
        Incoming("GET", "/", query=f"X-Amz-Credential=AK%2F{SCOPE}"),
        Incoming("GET", "/", query=f"x-amz-credential=AK/{SCOPE}"),
        Incoming("GET", "/", query="AWSAccessKeyId=AK&Signature=0&Expires=1"),
        Incoming("GET", "/", _bearer(b"X-Amz-Credential=AK%2F20260101")),
        Incoming("GET", "/", {"x-api-key": _bearer(b"X-Amz-Credential=AK%2F2026")["authorization"][7:]}),
        Incoming("POST", "/", {"content-type": "application/x-www-form-urlencoded"}, b"Action=X&AWSAccessKeyId=AK"),
        Incoming(
            "POST",
            "/bkt",
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="x-amz-credential"\r\n\r\nAK/2026/x\r\n--b--',
        ),
    ],
)
def test_a_caller_is_known_by_any_signature(incoming) -> None:
    assert list(signers(incoming)) == ["AK"]


def test_of_two_callers_neither_is_overlooked() -> None:
    signed = {"authorization": f"AWS4-HMAC-SHA256 Credential=ONE/{SCOPE}, Signature=0"}
    assert list(signers(Incoming("GET", "/", signed, query="AWSAccessKeyId=TWO"))) == ["ONE", "TWO"]


@mock_aws(reply=lambda request: "ok", iam=True)
def test_old_signatures_and_presigned_addresses() -> None:
    boto3.client("s3", REGION).create_bucket(Bucket="bkt")
    boto3.client("s3", REGION).put_object(Bucket="bkt", Key="k", Body=b"x")
    session = assume(allow("s3:ListBucket"))
    old = session.client("s3", config=Config(signature_version="s3"))
    assert refused(old.get_object, Bucket="bkt", Key="k")["Code"] == "AccessDenied"


@mock_aws(reply="Hi.", iam=True)
def test_a_spoken_conversation_is_judged() -> None:
    session = assume(allow("s3:*"))

    async def speak() -> None:
        client = AsyncClient(session=session)
        async with client, client.speech("bedrock:amazon.nova-sonic-v1:0") as talk:
            await anext(aiter(talk.events()))

    with pytest.raises(AccessDeniedError, match="InvokeModelWithBidirectionalStream"):
        asyncio.run(speak())


@mock_aws(reply=lambda request: "ok", iam=True)
def test_whoever_is_gone_may_do_nothing() -> None:
    iam, sts = boto3.client("iam", REGION), boto3.client("sts", REGION)
    role = assume(allow("*"))
    role.client("sqs").list_queues()
    iam.delete_role_policy(RoleName="worker", PolicyName="all")
    iam.delete_role(RoleName="worker")
    refused(role.client("sqs").list_queues)
    refused(role.client("bedrock-runtime").converse, modelId=NOVA, messages=HELLO)

    iam.create_user(UserName="anna")
    iam.put_user_policy(
        UserName="anna",
        PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow("*")]}),
    )
    key = iam.create_access_key(UserName="anna")["AccessKey"]
    anna = boto3.client("sqs", REGION, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key="x")
    anna.list_queues()
    iam.update_access_key(UserName="anna", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    refused(anna.list_queues)
    iam.delete_access_key(UserName="anna", AccessKeyId=key["AccessKeyId"])
    refused(anna.list_queues)

    keys = sts.assume_role(RoleArn="arn:aws:iam::999999999999:role/far", RoleSessionName="run")["Credentials"]
    far = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    refused(far.client("bedrock-runtime").converse, modelId=NOVA, messages=HELLO)


@mock_aws(reply=lambda request: "ok", iam=True)
def test_nobody_gets_more_by_another_token_and_less_by_a_session_policy() -> None:
    role = assume(allow(["sts:*", "bedrock:*"]))
    refused(role.client("sts").get_session_token)
    refused(role.client("sts").get_federation_token, Name="xx")
    narrow = json.dumps({"Version": "2012-10-17", "Statement": [allow("bedrock:ListGuardrails")]})
    arn = f"arn:aws:iam::{ACCOUNT}:role/worker"
    keys = role.client("sts").assume_role(RoleArn=arn, RoleSessionName="run", Policy=narrow)["Credentials"]
    less = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    less.client("bedrock").list_guardrails()
    refused(less.client("bedrock-runtime").converse, modelId=NOVA, messages=HELLO)


@mock_aws(reply=lambda request: "ok", iam=True)
def test_a_prompt_is_no_way_to_its_model() -> None:
    made = boto3.client("bedrock-agent", REGION).create_prompt(
        name="p",
        defaultVariant="v",
        variants=[
            {
                "name": "v",
                "modelId": NOVA,
                "templateType": "TEXT",
                "templateConfiguration": {"text": {"text": "Hello"}},
            }
        ],
    )["arn"]
    only = assume(allow(["bedrock:InvokeModel", "bedrock:RenderPrompt"], made)).client("bedrock-runtime")
    assert foundation() in refused(only.converse, modelId=made)["Message"]
    both = assume(allow("bedrock:RenderPrompt", made), allow("bedrock:InvokeModel", foundation()), name="both")
    both.client("bedrock-runtime").converse(modelId=made)


def test_over_http_bearers_presigned_addresses_and_sessions_are_judged() -> None:
    with server(reply=lambda request: "ok", iam=True) as aws:

        def client(service, region, **config):
            return boto3.client(
                service, region, endpoint_url=aws.url, aws_access_key_id="testing", aws_secret_access_key="testing"
            )

        session = assume(allow("s3:ListBucket"), client=client)
        client("s3", REGION).create_bucket(Bucket="bkt")
        client("s3", REGION).put_object(Bucket="bkt", Key="k", Body=b"x")
        s3 = session.client("s3", endpoint_url=aws.url)
        address = s3.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "k"})
        assert requests.get(address, timeout=30).status_code == 403
        form = s3.generate_presigned_post("bkt", "new")
        posted = requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=30)
        assert posted.status_code == 403
        request = AWSRequest("POST", "https://bedrock.amazonaws.com/", params={"Action": "CallWithBearerToken"})
        SigV4QueryAuth(session.get_credentials(), "bedrock", REGION, expires=600).add_auth(request)
        token = base64.b64encode(request.url.removeprefix("https://").encode()).decode()
        answer = requests.post(
            f"{aws.url}/model/{NOVA}/converse",
            data=json.dumps({"messages": HELLO}),
            headers={"Authorization": f"Bearer bedrock-api-key-{token}"},
            timeout=30,
        )
        assert (answer.status_code, "bedrock:CallWithBearerToken" in answer.text) == (403, True)
        with pytest.raises(ClientError):
            client("s3", REGION).head_object(Bucket="bkt", Key="new")
