"""What Bedrock's control plane is asked: which model an ARN is, which models there are. botocore's stubber holds
requests and replies against the service model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

import awsllm
from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.backends.bedrock.models import list_models, resolve
from awsllm.models.references import parse_reference
from awsllm.testing import ScriptedBackend, mock_aws

HERE = "arn:aws:bedrock:us-east-1:123456789012:"
NOW = datetime(2026, 11, 26, tzinfo=UTC)
SONNET = "anthropic.claude-sonnet-4-6"
FOUNDATION = f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}"
PROFILE = f"{HERE}application-inference-profile/a1b2c3d4e5f6"
CUSTOM = f"{HERE}custom-model/amazon.nova-lite-v1:0:300k.abcdefghijkl/xyz123456789"
DEPLOYMENT = f"{HERE}custom-model-deployment/abcdefghijkl"
PROFILE_REPLY = {
    "inferenceProfileName": "mine",
    "inferenceProfileArn": PROFILE,
    "inferenceProfileId": "a1b2c3d4e5f6",
    "status": "ACTIVE",
    "type": "APPLICATION",
    "models": [{"modelArn": FOUNDATION}],
}


@pytest.fixture
def session() -> AwsSession:
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
    return AwsSession(session=boto3.Session(region_name="us-east-1", **keys))


@contextmanager
def replies(client: Any, *answers: tuple[str, dict[str, Any] | str]) -> Iterator[Stubber]:
    """``client`` gives these answers, an error's code or a reply by operation, and no others."""
    with Stubber(client) as stub:
        for operation, reply in answers:
            if isinstance(reply, str):
                stub.add_client_error(operation, reply, "no", 403 if "Denied" in reply else 400)
            else:
                stub.add_response(operation, reply)
        yield stub
        stub.assert_no_pending_responses()


def test_an_application_profile_is_its_model(session: AwsSession) -> None:
    with replies(control.brief("bedrock", session), ("get_inference_profile", PROFILE_REPLY)):
        assert resolve(session, PROFILE) == (SONNET, None)


def test_a_deployment_is_asked_about_in_two_steps(session: AwsSession) -> None:
    deployment = {
        "customModelDeploymentArn": DEPLOYMENT,
        "modelDeploymentName": "mine",
        "modelArn": CUSTOM,
        "createdAt": NOW,
        "status": "Active",
    }
    custom = {
        "modelArn": CUSTOM,
        "modelName": "mine",
        "creationTime": NOW,
        "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:300k",
    }
    answers = (("get_custom_model_deployment", deployment), ("get_custom_model", custom))
    with replies(control.brief("bedrock", session), *answers):
        assert resolve(session, DEPLOYMENT) == ("amazon.nova-lite-v1:0:300k", None)


def test_a_prompt_is_asked_of_its_own_service(session: AwsSession) -> None:
    reply = {
        "name": "p",
        "id": "ABCDEFGHIJ",
        "arn": f"{HERE}prompt/ABCDEFGHIJ",
        "version": "3",
        "createdAt": NOW,
        "updatedAt": NOW,
        "variants": [
            {
                "name": "v",
                "templateType": "TEXT",
                "templateConfiguration": {"text": {"text": "Say {{it}}"}},
                "modelId": "amazon.nova-lite-v1:0",
            }
        ],
        "defaultVariant": "v",
    }
    with replies(control.brief("bedrock-agent", session), ("get_prompt", reply)):
        assert resolve(session, f"{HERE}prompt/ABCDEFGHIJ:3") == ("amazon.nova-lite-v1:0", None)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "bedrock:GetInferenceProfile is not allowed"),
        ("ValidationException", "bedrock:GetInferenceProfile failed (RequestError)"),
    ],
)
def test_a_refusal_is_a_warning(session: AwsSession, code: str, says: str) -> None:
    with replies(control.brief("bedrock", session), ("get_inference_profile", code)):
        family, warning = resolve(session, PROFILE)
    assert family is None
    assert says in (warning or "")
    assert "family=" in (warning or "")


def test_an_arn_that_the_service_model_refuses_is_a_warning(session: AwsSession) -> None:
    family, warning = resolve(session, f"{HERE}imported-model/" + "x" * 3000)
    assert family is None
    assert warning


SUMMARY = {
    "modelArn": FOUNDATION,
    "modelId": SONNET,
    "modelName": "Claude Sonnet 4.6",
    "providerName": "Anthropic",
    "inputModalities": ["TEXT", "IMAGE"],
    "outputModalities": ["TEXT"],
    "responseStreamingSupported": True,
    "modelLifecycle": {"status": "ACTIVE"},
}
EMBEDDING = {
    **SUMMARY,
    "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/newcorp.embed-v1",
    "modelId": "newcorp.embed-v1",
    "modelName": "Embed",
    "outputModalities": ["EMBEDDING"],
    "responseStreamingSupported": False,
    "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": NOW},
}
SYSTEM = {
    **PROFILE_REPLY,
    "inferenceProfileName": "US Sonnet",
    "inferenceProfileArn": f"{HERE}inference-profile/us.{SONNET}",
    "inferenceProfileId": f"us.{SONNET}",
    "type": "SYSTEM_DEFINED",
}
CUSTOM_SUMMARY = {
    "modelArn": CUSTOM,
    "modelName": "mine",
    "creationTime": NOW,
    "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "baseModelName": "Nova Lite",
}
IMPORTED = {
    "modelArn": f"{HERE}imported-model/abcdefghijkl",
    "modelName": "qwen",
    "creationTime": NOW,
    "modelArchitecture": "qwen2",
}
PROVISIONED = {
    "provisionedModelName": "bought",
    "provisionedModelArn": f"{HERE}provisioned-model/abcdefghijkl",
    "modelArn": FOUNDATION,
    "desiredModelArn": FOUNDATION,
    "foundationModelArn": FOUNDATION,
    "modelUnits": 1,
    "desiredModelUnits": 1,
    "status": "InService",
    "creationTime": NOW,
    "lastModifiedTime": NOW,
}
LISTS: tuple[tuple[str, dict[str, Any] | str], ...] = (
    ("list_foundation_models", {"modelSummaries": [SUMMARY, EMBEDDING]}),
    ("list_inference_profiles", {"inferenceProfileSummaries": [SYSTEM], "nextToken": "more"}),
    ("list_inference_profiles", {"inferenceProfileSummaries": []}),
    ("list_inference_profiles", {"inferenceProfileSummaries": [PROFILE_REPLY]}),
    ("list_custom_models", {"modelSummaries": [CUSTOM_SUMMARY]}),
    ("list_custom_model_deployments", "AccessDeniedException"),
    ("list_imported_models", {"modelSummaries": [IMPORTED]}),
    ("list_provisioned_model_throughputs", {"provisionedModelSummaries": [PROVISIONED]}),
)


def test_everything_that_an_account_has_is_listed(session: AwsSession) -> None:
    with replies(control.client("bedrock", session), *LISTS):
        found = list_models(session, {})
    assert [(model.kind, model.reference) for model in found] == [
        ("foundation", f"bedrock:{SONNET}"),
        ("foundation", "bedrock:newcorp.embed-v1"),
        ("profile", f"bedrock:us.{SONNET}"),
        ("application_profile", f"bedrock:{PROFILE}"),
        ("custom", f"bedrock:{CUSTOM}"),
        ("imported", f"bedrock:{HERE}imported-model/abcdefghijkl"),
        ("provisioned", f"bedrock:{HERE}provisioned-model/abcdefghijkl"),
    ]
    assert found.warnings == (
        "models of the kind deployment are missing: bedrock:ListCustomModelDeployments is not allowed",
    )
    sonnet, embedding, system, application, custom, imported, provisioned = found
    assert (sonnet.provider, sonnet.streaming, sonnet.lifecycle, sonnet.region) == (
        "anthropic",
        True,
        "active",
        "us-east-1",
    )
    assert {"converse", "invoke"} <= set(sonnet.routes)
    assert (sonnet.input_modalities, sonnet.output_modalities) == (("text", "image"), ("text",))
    assert (embedding.output_modalities, embedding.lifecycle, embedding.end_of_life) == (
        ("embedding",),
        "legacy",
        "2026-11-26",
    )
    assert (system.base, application.base, custom.base) == (f"us.{SONNET}", SONNET, "amazon.nova-lite-v1:0")
    assert (imported.base, provisioned.base, provisioned.lifecycle) == ("qwen2", SONNET, "inservice")
    for model in found:
        assert parse_reference(model.reference).scheme == "bedrock"


@pytest.mark.parametrize("kind", [None, "foundation"])
def test_a_service_that_has_no_list_at_all_is_an_error(session: AwsSession, kind: Any) -> None:
    """As ``awsllm serve`` is: seven warnings and an empty list read as an account without models."""
    refused = [(operation, "UnknownOperationException") for operation, _ in (LISTS[0], *LISTS[2:3], *LISTS[3:])]
    filters: Any = {"kind": kind} if kind else {}
    stub = replies(control.client("bedrock", session), *refused[: 1 if kind else None])
    with stub, pytest.raises(awsllm.AwsllmError, match="UnknownOperationException"):
        list_models(session, filters)


def test_one_list_that_may_not_be_read_is_a_warning(session: AwsSession) -> None:
    with replies(control.client("bedrock", session), ("list_foundation_models", "AccessDeniedException")):
        found = list_models(session, {"kind": "foundation"})
    assert found.warnings == ("models of the kind foundation are missing: bedrock:ListFoundationModels is not allowed",)


def test_without_credentials_there_is_one_error() -> None:
    with pytest.raises(awsllm.ConfigurationError, match="no AWS credentials"):
        list_models(AwsSession(region="us-east-1"), {})


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"kind": "foundation", "provider": "Anthropic"}, [SONNET]),
        ({"kind": "foundation", "output": "embedding"}, ["newcorp.embed-v1"]),
        ({"kind": "foundation", "input": "image", "route": "converse"}, [SONNET]),
        ({"kind": "foundation", "name": "EMBED"}, ["newcorp.embed-v1"]),
    ],
)
def test_filters_leave_out_lists_and_models(session: AwsSession, filters: Any, ids: list[str]) -> None:
    with replies(control.client("bedrock", session), LISTS[0]):
        assert [model.id for model in list_models(session, filters)] == ids


@pytest.mark.parametrize(("filters", "says"), [({"kid": "x"}, "unknown filter 'kid'"), ({"kind": "x"}, "unknown kind")])
def test_a_misspelt_filter_is_refused(session: AwsSession, filters: Any, says: str) -> None:
    with pytest.raises(awsllm.ValidationError, match=says):
        list_models(session, filters)


def test_a_client_lists_what_the_offline_account_has() -> None:
    with mock_aws(reply="Hi."), awsllm.Client(region="us-east-1") as client:
        found = client.models()
        copied = {"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}"}
        bedrock = boto3.client("bedrock", "us-east-1")
        made = bedrock.create_inference_profile(inferenceProfileName="p", modelSource=copied)["inferenceProfileArn"]
        assert client.converse(f"bedrock:{made}", "Hello").warnings == ()
        (warning,) = client.converse(PROFILE, "Hello").warnings
        assert "ModelNotFoundError" in warning
    assert "models of the kind custom are missing" not in str(found.warnings)
    assert len({warning.split(" are missing")[0] for warning in found.warnings}) == len(found.warnings)


async def listed() -> int:
    async with awsllm.AsyncClient(region="us-east-1") as client:
        return len(await client.models(kind="custom"))


def test_the_async_client_lists_them_too() -> None:
    import asyncio

    with mock_aws(reply="Hi."):
        assert asyncio.run(listed()) == 0


# --- the client asks once, and never of a plain id -------------------------------------------------------------------


class Replies:
    """What the control plane says of each ARN, and how often it was asked."""

    def __init__(self, family: str | None, warning: str | None = None) -> None:
        self.answer = (family, warning)
        self.asked: list[str] = []

    def __call__(self, session: AwsSession, arn: str) -> tuple[str | None, str | None]:
        self.asked.append(arn)
        return self.answer


@pytest.fixture
def scripted() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        stack.enter_context(mock_aws(reply="Hi."))
        yield stack


def test_a_call_learns_which_model_an_arn_is(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    replies = Replies("global.anthropic.claude-sonnet-4-6")
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", replies)
    client = scripted.enter_context(awsllm.Client(region="us-east-1"))
    for _ in range(2):
        reply = client.converse(PROFILE, "Hello")
        assert reply.text == "Hi."
        assert reply.warnings == ()
        assert reply.cost is not None
    with client.converse_stream(PROFILE, "Hello") as stream:
        assert stream.response.cost is not None
    price = client.price(PROFILE)
    assert price
    assert price.input == 3.0
    assert replies.asked == [PROFILE]
    client.converse("bedrock:amazon.nova-lite-v1:0", "Hello")
    assert replies.asked == [PROFILE]


class Silence(Replies):
    """A control plane that answers when it is let."""

    def __init__(self) -> None:
        super().__init__("global.anthropic.claude-sonnet-4-6")
        self.released = threading.Event()

    def __call__(self, session: AwsSession, arn: str) -> tuple[str | None, str | None]:
        self.released.wait(30)
        return super().__call__(session, arn)


def test_a_timeout_holds_for_the_question_too(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    """A subnet with an endpoint for bedrock-runtime alone hears nothing of bedrock."""
    silence = Silence()
    monkeypatch.setattr("awsllm.client_settings.QUESTIONS_SHARE", 0.002)
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", silence)
    client = scripted.enter_context(awsllm.Client(region="us-east-1"))
    reply = client.converse(PROFILE, "Hello", timeout=60)
    assert (reply.text, silence.asked) == ("Hi.", [])  # answered while the question still waited
    assert "was not known in time" in reply.warnings[0]
    silence.released.set()
    monkeypatch.setattr("awsllm.client_settings.QUESTIONS_SHARE", 0.9)
    assert client.converse(PROFILE, "Hello", timeout=60).warnings == ()
    policy = awsllm.Policy(timeout=60)
    bounded = scripted.enter_context(awsllm.Client(region="us-east-1", policy=policy))
    assert bounded.price(PROFILE)  # which takes no timeout of its own
    assert silence.asked == [PROFILE, PROFILE]  # once a client: what was learned meanwhile is not asked for again


def test_the_async_clients_timeout_holds_too(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    import asyncio

    silence = Silence()
    monkeypatch.setattr("awsllm.client_settings.QUESTIONS_SHARE", 0.002)
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", silence)

    async def ask() -> None:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            reply = await client.converse(PROFILE, "Hello", timeout=60)
            assert (reply.text, silence.asked) == ("Hi.", [])
            silence.released.set()
            monkeypatch.setattr("awsllm.client_settings.QUESTIONS_SHARE", 0.9)
            assert (await client.converse(PROFILE, "Hello", timeout=60)).warnings == ()

    asyncio.run(ask())


def test_what_the_model_lacks_is_refused_behind_its_arn(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", Replies("amazon.titan-text-express-v1"))
    client = scripted.enter_context(awsllm.Client(region="us-east-1"))
    with pytest.raises(awsllm.UnsupportedError, match="takes no system prompt"):
        client.converse(PROFILE, "Hello", system="Be brief.")
    assert client.converse(PROFILE, "Hello", system="Be brief.", family="claude").text == "Hi."


def test_without_permission_a_call_goes_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, scripted: ExitStack
) -> None:
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", Replies(None, "not allowed"))
    client = scripted.enter_context(awsllm.Client(region="us-east-1"))
    reply = client.converse(PROFILE, "Hello", system="Be brief.")
    assert (reply.text, reply.warnings, reply.cost) == ("Hi.", ("not allowed",), None)


def test_the_async_client_asks_in_a_thread(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    import asyncio

    replies = Replies(SONNET)
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", replies)

    async def run() -> list[float | None]:
        async with awsllm.AsyncClient(region="us-east-1") as client:
            async with client.converse_stream(PROFILE, "Hello") as stream:
                events = [event async for event in stream]
                streamed = await stream.response
            assert events
            reply = await client.converse(PROFILE, "Hello")
            price = await client.price(PROFILE)
            return [streamed.cost, reply.cost, price.input if price else None]

    streamed, whole, rate = asyncio.run(run())
    assert streamed == whole
    assert whole is not None
    assert rate == 3.3
    assert replies.asked == [PROFILE]


def test_an_async_stream_that_is_never_read_asks_nothing(monkeypatch: pytest.MonkeyPatch, scripted: ExitStack) -> None:
    import asyncio

    replies = Replies(SONNET)
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", replies)

    async def run() -> None:
        async with awsllm.AsyncClient(region="us-east-1") as client, client.converse_stream(PROFILE, "Hello"):
            pass

    asyncio.run(run())
    assert replies.asked == []


def test_a_given_backend_is_not_asked_around(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = Replies(SONNET)
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", replies)
    client = awsllm.Client(backends={"bedrock": ScriptedBackend("Hi.")})
    assert client.converse(PROFILE, "Hello").text == "Hi."
    assert replies.asked == []
