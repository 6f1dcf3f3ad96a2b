"""``Client.jumpstart`` from end to end: what a user writes, in an AWS that is mocked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.policy.configuration import parse
from awsllm.testing import mock_aws
from awsllm.types import ConverseRequest, Message
from tests.support.data import DATA

DOCUMENTS = DATA / "jumpstart"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
GATED, OPEN = "example-gated-lmi-chat", "example-open-tgi-instruct"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> awsllm.Client:
    monkeypatch.setenv("AWSLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return awsllm.Client(region="us-east-1")


def endpoints() -> list[str]:
    found = boto3.client("sagemaker", region_name="us-east-1").list_endpoints()["Endpoints"]
    return [endpoint["EndpointName"] for endpoint in found]


def test_the_examples_are_there_without_documents(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        assert GATED in [model.model_id for model in client.jumpstart.search()]


def test_a_model_is_deployed_for_the_length_of_a_block(client: awsllm.Client) -> None:
    with mock_aws(reply="Grüße aus dem Container."):
        with client.jumpstart.deployed(GATED, accept_eula=True, role=ROLE) as model:
            assert model.converse("Hi").text == "Grüße aus dem Container."
            with model.converse_stream("Hi") as stream:
                assert "".join(stream.text_stream) == "Grüße aus dem Container."
            assert endpoints() == [model.endpoint]
        assert endpoints() == []


def test_a_deployed_model_is_invoked_with_a_body_of_its_own(client: awsllm.Client) -> None:
    with mock_aws(reply="Bonjour."):
        model = client.jumpstart.deploy(OPEN, role=ROLE)
        answer = model.invoke({"inputs": "Hello", "parameters": {"max_new_tokens": 5}})
        assert answer.json() == [{"generated_text": "Bonjour."}]
        assert answer.content_type == "application/json"
        with pytest.raises(awsllm.AwsllmError, match="inputs"):  # in the container's words
            model.invoke({"text": "Hello"})


def test_a_block_that_fails_leaves_nothing(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        with pytest.raises(ZeroDivisionError), client.jumpstart.deployed(OPEN, role=ROLE):
            1 / 0  # noqa: B018
        assert endpoints() == []


def test_acceptance_is_never_remembered(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        model = client.jumpstart.deploy(GATED, accept_eula=True, role=ROLE)
        client.jumpstart.endpoints.delete(model.endpoint)
        with pytest.raises(awsllm.EulaNotAcceptedError) as refused:
            client.jumpstart.deploy(GATED, role=ROLE)
        assert refused.value.url is not None
        assert refused.value.url.startswith("https://")
        assert endpoints() == []


def test_a_changed_plan_updates_the_endpoint(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        model = client.jumpstart.deploy(OPEN, role=ROLE, name="chat")
        plan = client.jumpstart.plan(OPEN, role=ROLE, name="chat", env={"MAX_INPUT_LENGTH": "2048"})
        changes = plan.diff(client.jumpstart.endpoints.existing("chat"))
        assert any(change.after == "2048" for change in changes)
        client.jumpstart.apply(plan)
        assert plan.diff(client.jumpstart.endpoints.existing("chat")) == () or all(
            change.action in ("keep", "delete") for change in plan.diff(client.jumpstart.endpoints.existing("chat"))
        )
        assert model.converse("Hi").text == "Hi"
        client.jumpstart.endpoints.delete("chat")
        sagemaker = boto3.client("sagemaker", region_name="us-east-1")
        assert sagemaker.list_models()["Models"] == []
        assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


def test_answers_come_through_s3(client: awsllm.Client) -> None:
    with mock_aws(reply="Through S3."):
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="answers")
        model = client.jumpstart.deploy(OPEN, role=ROLE, async_={"output": "s3://answers/out/"})
        calls = client.jumpstart.asynchronous(model.endpoint)
        request = ConverseRequest(model=model.endpoint, messages=(Message.user("Hi"),))
        assert calls.invoke(request).result(timeout=30).text == "Through S3."
        toml = f'[aliases]\nlater = "sagemaker:{model.endpoint}"\n'
        with awsllm.Client(region="us-east-1", configuration=parse(toml)) as named:
            again = named.jumpstart.asynchronous("later").invoke(request)
            assert again.result(timeout=30).text == "Through S3."


def test_a_tuned_model_is_deployed(client: awsllm.Client) -> None:
    with mock_aws(reply="Tuned.", documents=DOCUMENTS):
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="data")
        s3.put_object(Bucket="data", Key="train/lines.jsonl", Body=b'{"instruction": "a", "response": "b"}\n')
        tuned = client.jumpstart.fine_tune(
            "example-finetune-llm", data="s3://data/train/", output="s3://data/out/", role=ROLE, accept_eula=True
        )
        assert tuned.model_data.startswith("s3://data/out/")
        model = client.jumpstart.deploy(
            "example-finetune-llm", model_data=tuned.model_data, role=ROLE, accept_eula=True
        )
        assert model.converse("Hi").text == "Tuned."


def test_any_openai_client_can_be_pointed_at_an_endpoint(
    client: awsllm.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    route = client.sagemaker_openai("chat/copy")
    assert route.base_url.endswith("/endpoints/chat/inference-components/copy/openai/v1")
    assert route.api_key.startswith("sagemaker-api-key-")
    assert route.api_key not in repr(route)


def test_a_plan_stays_in_its_region(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        plan = client.jumpstart.plan(OPEN, role=ROLE)
        with pytest.raises(awsllm.ValidationError, match="plan again"):
            awsllm.Client(region="eu-west-1").jumpstart.apply(plan)


def test_without_a_region_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with mock_aws(reply="Hi"):
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        with pytest.raises(awsllm.ConfigurationError, match="region"):
            awsllm.Client().jumpstart.endpoints.list()


def test_a_deployed_model_is_a_reference(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"), client.jumpstart.deployed(OPEN, role=ROLE) as model:
        assert client.converse(model, "Hi").text == "Hi"  # type: ignore[arg-type]


async def _ask() -> str:
    async with awsllm.AsyncClient(region="us-east-1") as client:
        model = client.jumpstart.deploy(OPEN, role=ROLE)
        return str((await model.converse("Hi")).text)


def test_an_async_client_awaits_what_it_deployed(client: awsllm.Client) -> None:
    import asyncio

    with mock_aws(reply="Hi"):
        assert asyncio.run(_ask()) == "Hi"


def test_s3_works_with_credentials_of_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from awsllm.aws import control
    from awsllm.aws.session import AwsSession

    keys = tmp_path / "credentials"
    keys.write_text("[p]\naws_access_key_id=x\naws_secret_access_key=y\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    session = AwsSession(region="us-east-1", profile="p")
    assert control.client("sagemaker", session) is control.client("sagemaker", session)
    assert hasattr(control.client("s3", session), "upload_file")


def test_a_plan_that_was_edited_is_refused(client: awsllm.Client) -> None:
    from awsllm.jumpstart.plan.plan import Plan

    with mock_aws(reply="Hi"):
        saved = client.jumpstart.plan(OPEN, role=ROLE, ttl=60).to_json()
    assert Plan.from_json(saved).to_json() == saved
    with pytest.raises(awsllm.ValidationError, match="changed after it was made"):
        Plan.from_json(saved.replace(b"ml.g5.2xlarge", b"ml.p5.48xlarge"))


def test_an_asynchronous_failure_is_told_without_waiting(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="answers")
        model = client.jumpstart.deploy(OPEN, role=ROLE, async_="s3://answers/out/")
        waiting = client.jumpstart.asynchronous(model.endpoint).invoke({"bad": 1})
        with pytest.raises(awsllm.AwsllmError) as failed:
            waiting.result(timeout=30)
        assert not isinstance(failed.value, awsllm.ModelTimeoutError)


def test_what_a_changed_plan_no_longer_has_is_removed(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        client.jumpstart.deploy(OPEN, role=ROLE, name="chat", autoscaling={"min": 1, "max": 4})
        client.jumpstart.deploy(OPEN, role=ROLE, name="chat")
        assert client.jumpstart.endpoints.describe("chat").autoscaling == ()
        assert client.converse("sagemaker:chat", "Hi").text == "Hi"


@pytest.mark.parametrize(
    "options",
    [{"variants": 2}, {"variants": {"a": 1}}, {"role": "sagemaker"}, {"role": "arn:aws:iam::123456789012:user/x"}],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_the_plan(client: awsllm.Client, options: dict[str, Any]) -> None:
    with mock_aws(reply="Hi"), pytest.raises(awsllm.ValidationError):
        client.jumpstart.plan(OPEN, **{"role": ROLE, **options})


def test_an_endpoint_is_named_as_calls_name_it(client: awsllm.Client) -> None:
    with mock_aws(reply="Hi"):
        model = client.jumpstart.deploy(OPEN, role=ROLE, components=True)
        assert client.jumpstart.endpoints.describe(model.reference).summary.name == model.endpoint
        assert client.jumpstart.endpoints.delete(str(model)).deleted
        assert endpoints() == []
