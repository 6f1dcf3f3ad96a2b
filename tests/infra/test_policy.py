"""Least privilege from the models named: the documents that were simulated, and what a caller then may and may not."""

import json
from typing import Any

import pytest

from awsllm import infra
from awsllm.aws.authorization import Policies, Right
from awsllm.aws.iam import Arns, policy
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.infra.model_arns import Ask, ModelArnFinder
from awsllm.infra.permissions import Permissions, Uses, derive
from awsllm.models.opaque import Question
from awsllm.testing import mock_aws
from tests.support.command_line import Run, runner
from tests.support.scripted_aws import mocked_session

ACCOUNT, REGION = "111122223333", "us-east-1"
ARNS = Arns(REGION, ACCOUNT)
NOVA = "amazon.nova-lite-v1:0"
BOTH = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
OWN = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:"
PROFILE = f"{OWN}inference-profile/us.{NOVA}"
APPLICATION = f"{OWN}application-inference-profile/abc123"
PROMPT = f"{OWN}prompt/PROMPT1234:3"


def foundation(region: str, model: str = NOVA) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def derived(*models: str, ask: Ask | None = None, behind: dict[str, str] | None = None, **uses: Any) -> Permissions:
    reaching = ModelArnFinder(ARNS, ask, behind)
    return derive([reach for model in models for reach in reaching.of(model)], Uses(**uses), ARNS)


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Actions and resources as lists, statements by their Sid: how IAM reads them."""

    def listed(value: Any) -> list[str]:
        return sorted([value] if isinstance(value, str) else value)

    return {
        s["Sid"]: {**s, "Action": listed(s["Action"]), "Resource": listed(s["Resource"])} for s in document["Statement"]
    }


def through(arn: str, **more: str) -> dict[str, Any]:
    return {"StringEquals": {**more, "bedrock:InferenceProfileArn": arn}}


# --- the documents of operations 2.5 ---------------------------------------------------------------------------------


def statement(sid: str, action: Any, resource: Any, condition: Any = None) -> dict[str, Any]:
    made = {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}
    return {**made, "Condition": condition} if condition else made


GLOBAL = f"{OWN}inference-profile/global.vendor.model"
HERE = {"aws:RequestedRegion": REGION}
DOCUMENTS: list[tuple[str, tuple[str, ...], dict[str, Any], list[dict[str, Any]]]] = [
    ("a", (f"bedrock:{NOVA}",), {"stream": True}, [statement("Invoke", BOTH, foundation(REGION))]),
    (
        "b",
        (f"bedrock:us.{NOVA}",),
        {"stream": True},
        [
            statement("Profile", BOTH, PROFILE),
            statement(
                "ModelThroughProfile",
                BOTH,
                [foundation(region) for region in ("us-east-1", "us-east-2", "us-west-2")],
                through(PROFILE),
            ),
        ],
    ),
    (
        "c",
        ("bedrock:global.vendor.model",),
        {"stream": True},
        [
            statement("GlobalProfile", BOTH, GLOBAL, {"StringEquals": HERE}),
            statement("ModelInSourceRegion", BOTH, foundation(REGION, "vendor.model"), through(GLOBAL, **HERE)),
            statement(
                "ModelAnywhere",
                BOTH,
                "arn:aws:bedrock:::foundation-model/vendor.model",
                through(GLOBAL, **{"aws:RequestedRegion": "unspecified"}),
            ),
        ],
    ),
    (
        "e",
        ("sagemaker:awsllm-prod-*",),
        {"stream": True},
        [
            statement(
                "InvokeEndpoint",
                ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"],
                f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/awsllm-prod-*",
            )
        ],
    ),
]


@pytest.mark.parametrize(("models", "uses", "expected"), [d[1:] for d in DOCUMENTS], ids=[d[0] for d in DOCUMENTS])
def test_the_documents_that_were_simulated(models: tuple[str, ...], uses: Any, expected: list[dict[str, Any]]) -> None:
    assert plain(derived(*models, **uses).policy) == plain({"Statement": expected})


def test_an_applications_profile_is_as_that_of_its_model_and_may_be_read() -> None:
    found = plain(derived(APPLICATION, behind={APPLICATION: f"us.{NOVA}"}).policy)
    assert found["Profile"]["Resource"] == [APPLICATION]
    assert found["ModelThroughProfile"]["Condition"] == through(APPLICATION)
    assert found["ReadProfile"]["Action"] == ["bedrock:GetInferenceProfile"]
    assert found["ReadProfile"]["Resource"] == [APPLICATION]


def test_batch_jobs_need_three_documents() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/awsllm-batch"
    places: Any = {"batch_input": "s3://in", "batch_output": "s3://out"}
    found = derived(f"bedrock:{NOVA}", batch=True, batch_role=role, **places)
    jobs = f"{OWN}model-invocation-job/*"
    caller = plain(found.policy)
    del caller["Invoke"]
    passed = {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    follow = ["bedrock:GetModelInvocationJob", "bedrock:StopModelInvocationJob", "bedrock:ListTagsForResource"]
    assert caller == plain(
        policy(
            statement("Create", "bedrock:CreateModelInvocationJob", [foundation(REGION), jobs]),
            statement("Follow", follow, jobs),
            statement("List", "bedrock:ListModelInvocationJobs", "*"),
            statement("PassServiceRole", "iam:PassRole", role, passed),
            statement("Tag", "bedrock:TagResource", jobs),
            statement("Quotas", "servicequotas:ListServiceQuotas", "*"),
            statement(
                "JobFiles",
                ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                ["arn:aws:s3:::in/*", "arn:aws:s3:::out/*"],
            ),
            statement("ListJobFiles", "s3:ListBucket", ["arn:aws:s3:::in", "arn:aws:s3:::out"]),
        )
    )
    mine = {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}
    assert plain(found.role_policy) == plain(
        policy(
            statement("Input", ["s3:GetObject", "s3:ListBucket"], ["arn:aws:s3:::in", "arn:aws:s3:::in/*"], mine),
            statement("Output", "s3:PutObject", "arn:aws:s3:::out/*", mine),
        )
    )
    assert found.trust is not None
    (trusted,) = found.trust["Statement"]
    assert trusted["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trusted["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
    assert trusted["Condition"]["ArnEquals"] == {"aws:SourceArn": jobs}


def test_a_batch_of_a_profile_lets_the_service_role_through_it() -> None:
    found = derived(f"bedrock:us.{NOVA}", batch=True, batch_input="s3://in/q.jsonl", batch_output="s3://out/a")
    role = plain(found.role_policy)
    assert role["Profile"]["Action"] == ["bedrock:InvokeModel"]
    assert role["ModelThroughProfile"]["Condition"] == through(PROFILE)
    assert role["Input"]["Resource"] == ["arn:aws:s3:::in", "arn:aws:s3:::in/q.jsonl*"]
    assert role["Output"]["Resource"] == ["arn:aws:s3:::out/a/*"]
    assert any("batch_role=" in note for note in found.notes)


# --- what a caller then may, and may not -----------------------------------------------------------------------------


def may(document: dict[str, Any], action: str, resource: str, **context: str) -> bool:
    named = {key.replace("__", ":"): value for key, value in context.items()}
    return Policies([document]).allow(Right(action, resource, named))


def test_a_whole_answer_gives_no_right_to_stream() -> None:
    document = derived(f"bedrock:{NOVA}").policy
    assert may(document, BOTH[0], foundation(REGION))
    assert not may(document, BOTH[1], foundation(REGION))
    assert not may(document, BOTH[0], foundation("us-west-2"))
    assert not may(document, BOTH[0], foundation(REGION, "amazon.nova-pro-v1:0"))


def test_a_profiles_models_are_reached_through_it_alone() -> None:
    document = derived(f"bedrock:us.{NOVA}").policy
    assert may(document, BOTH[0], PROFILE)
    for region in ("us-east-1", "us-east-2", "us-west-2"):
        assert may(document, BOTH[0], foundation(region), bedrock__InferenceProfileArn=PROFILE)
        assert not may(document, BOTH[0], foundation(region))
    assert not may(document, BOTH[0], foundation("eu-west-1"), bedrock__InferenceProfileArn=PROFILE)
    other = PROFILE.replace("us.", "global.")
    assert not may(document, BOTH[0], foundation(REGION), bedrock__InferenceProfileArn=other)


def test_a_global_profile_is_for_the_region_that_is_called() -> None:
    model = "anthropic.claude-sonnet-5"
    document = derived(f"bedrock:global.{model}").policy
    profile = f"{OWN}inference-profile/global.{model}"
    unplaced = f"arn:aws:bedrock:::foundation-model/{model}"
    anywhere = {"aws__RequestedRegion": "unspecified", "bedrock__InferenceProfileArn": profile}
    here = {"aws__RequestedRegion": REGION, "bedrock__InferenceProfileArn": profile}
    assert may(document, BOTH[0], profile, aws__RequestedRegion=REGION)
    assert may(document, BOTH[0], foundation(REGION, model), **here)
    assert may(document, BOTH[0], unplaced, **anywhere)
    assert not may(document, BOTH[0], profile, aws__RequestedRegion="eu-west-1")
    assert not may(document, BOTH[0], unplaced, aws__RequestedRegion="unspecified")
    assert not may(document, BOTH[0], foundation("eu-west-1", model), **here)


def test_endpoints_and_their_components() -> None:
    document = derived("sagemaker:Chat-EU/Part").policy
    where = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"
    assert may(document, "sagemaker:InvokeEndpoint", f"{where}endpoint/chat-eu")
    assert may(document, "sagemaker:InvokeEndpoint", f"{where}inference-component/part")
    assert not may(document, "sagemaker:InvokeEndpoint", f"{where}endpoint/chat-us")
    assert not may(document, "sagemaker:InvokeEndpointWithResponseStream", f"{where}endpoint/chat-eu")


def test_an_asynchronous_endpoint_answers_into_s3() -> None:
    document = derived("sagemaker:slow", async_output="s3://answers/slow").policy
    where = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/slow"
    assert may(document, "sagemaker:InvokeEndpointAsync", where)
    assert not may(document, "sagemaker:InvokeEndpoint", where)
    assert may(document, "s3:GetObject", "arn:aws:s3:::answers/slow/x")
    assert not may(document, "s3:GetObject", "arn:aws:s3:::answers/fast/x")
    assert not may(document, "s3:PutObject", "arn:aws:s3:::answers/slow/x")


def test_an_asynchronous_invocation_writes_with_the_callers_rights() -> None:
    document = derived("bedrock:amazon.nova-reel-v1:1", async_output="s3://videos").policy
    assert may(document, BOTH[0], f"{OWN}async-invoke/1")
    assert may(document, "bedrock:GetAsyncInvoke", f"{OWN}async-invoke/1")
    assert may(document, "s3:PutObject", "arn:aws:s3:::videos/1/output.mp4")


ELSE: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("bedrock:us." + NOVA, {"count_tokens": True}, "bedrock:CountTokens", foundation(REGION), foundation("us-west-2")),
    ("bedrock:" + NOVA, {"rerank": True}, "bedrock:Rerank", "*", ""),
    ("bedrock:" + NOVA, {"bearer": True}, "bedrock:CallWithBearerToken", "*", ""),
    (
        "bedrock:" + NOVA,
        {"mantle": True},
        "bedrock-mantle:CreateInference",
        f"arn:aws:bedrock-mantle:{REGION}:{ACCOUNT}:project/default",
        f"arn:aws:bedrock-mantle:{REGION}:{ACCOUNT}:project/other",
    ),
    (
        "bedrock:" + NOVA,
        {"guardrails": ("gr1",)},
        "bedrock:ApplyGuardrail",
        f"{OWN}guardrail/gr1",
        f"{OWN}guardrail/gr2",
    ),
    (
        "bedrock:" + NOVA,
        {"guardrails": ("gr1",), "guardrail_profile": "us.guardrail.v1:0"},
        "bedrock:ApplyGuardrail",
        f"arn:aws:bedrock:us-west-2:{ACCOUNT}:guardrail-profile/us.guardrail.v1:0",
        f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:guardrail-profile/us.guardrail.v1:0",
    ),
    (
        "bedrock:" + NOVA,
        {"knowledge_bases": ("KB12345678",)},
        "bedrock:Retrieve",
        f"{OWN}knowledge-base/KB12345678",
        f"{OWN}knowledge-base/OTHER",
    ),
    ("bedrock:" + NOVA, {"generate": True}, "bedrock:RetrieveAndGenerate", "*", ""),
    (f"{OWN}imported-model/abc", {}, BOTH[0], f"{OWN}imported-model/abc", f"{OWN}imported-model/abd"),
    (f"{OWN}provisioned-model/p1", {}, BOTH[0], f"{OWN}provisioned-model/p1", f"{OWN}provisioned-model/p2"),
    (f"{OWN}custom-model-deployment/d1", {}, BOTH[0], f"{OWN}custom-model-deployment/d1", f"{OWN}custom-model/d1"),
]


@pytest.mark.parametrize(("model", "uses", "action", "allowed", "denied"), ELSE)
def test_what_is_called_beside(model: str, uses: dict[str, Any], action: str, allowed: str, denied: str) -> None:
    document = derived(model, **uses).policy
    assert may(document, action, allowed)
    assert not denied or not may(document, action, denied)
    bare = derived(model).policy
    assert not uses or not may(bare, action, allowed)


def test_a_marketplace_endpoint_is_called_by_bedrock_with_the_callers_rights() -> None:
    endpoint = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/market"
    document = derived(f"bedrock:{endpoint}").policy
    assert may(document, BOTH[0], f"{OWN}marketplace/model-endpoint/all-access")
    assert may(document, "sagemaker:InvokeEndpoint", endpoint, aws__CalledViaLast="bedrock.amazonaws.com")
    assert not may(document, "sagemaker:InvokeEndpoint", endpoint)


# --- what only Bedrock knows -----------------------------------------------------------------------------------------


def test_destinations_are_asked_for() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> dict[str, Any]:
        asked.append(question)
        return {"models": [{"modelArn": foundation("us-east-1")}, {"modelArn": foundation("us-west-1")}]}

    found = derived(f"bedrock:us.{NOVA}", ask=ask)
    assert plain(found.policy)["ModelThroughProfile"]["Resource"] == [foundation("us-east-1"), foundation("us-west-1")]
    assert asked[0].parameters == {"inferenceProfileIdentifier": f"us.{NOVA}"}
    assert not any("table" in note for note in found.notes)


def test_without_an_answer_the_table_serves_and_says_so() -> None:
    found = derived(f"bedrock:us.{NOVA}", ask=lambda question: None)
    assert any("Bedrock was not asked" in note for note in found.notes)
    assert len(plain(found.policy)["ModelThroughProfile"]["Resource"]) == 3


def test_a_prompt_is_rendered_and_its_model_called() -> None:
    reply = {"variants": [{"name": "v", "modelId": NOVA}]}
    found = plain(derived(PROMPT, ask=lambda question: reply if question.operation == "get_prompt" else None).policy)
    assert found["Prompt"]["Action"] == ["bedrock:RenderPrompt"]
    assert found["Prompt"]["Resource"] == [PROMPT]
    assert found["Invoke"]["Resource"] == [foundation(REGION)]


def test_a_router_reaches_each_of_its_models() -> None:
    router = f"{OWN}default-prompt-router/amazon.nova:1"
    profiles = [f"{OWN}inference-profile/us.{NOVA}", f"{OWN}inference-profile/us.amazon.nova-pro-v1:0"]
    reply = {"models": [{"modelArn": arn} for arn in profiles], "fallbackModel": {"modelArn": profiles[1]}}
    ask: Ask = lambda question: reply if question.operation == "get_prompt_router" else None  # noqa: E731
    found = plain(derived(router, ask=ask).policy)
    assert found["InvokeOwn"]["Resource"] == [router]
    assert found["Profile"]["Resource"] == sorted(profiles)
    assert {
        s["Condition"]["StringEquals"]["bedrock:InferenceProfileArn"] for sid, s in found.items() if "Model" in sid
    } == {*profiles}


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        ("local:smollm2", ValidationError, "needs no permission"),
        ("sagemaker:router/r/t", ValidationError, "no action for inference routers"),
        (f"{OWN}custom-model/c1", ValidationError, "name the ARN of its deployment"),
        (APPLICATION, ConfigurationError, "--behind"),
        (PROMPT, ConfigurationError, "behind="),
        ("bedrock:sa.amazon.nova-lite-v1:0", ConfigurationError, "let Bedrock be asked"),
        (f"{OWN}automated-reasoning-policy/x", ConfigurationError, "does not know what calling"),
    ],
)
def test_what_cannot_be_derived_is_told(model: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        derived(model)


@pytest.mark.parametrize(
    ("uses", "match"),
    [
        ({"guardrails": ("x*",)}, "not the id of a guardrail"),
        ({"knowledge_bases": ("../x",)}, "not the id of a knowledge-base"),
        ({"async_output": "videos"}, "s3:// URI"),
        ({"batch": True, "batch_input": "s3://in", "batch_output": "out"}, "batch_output= is an s3://"),
        ({"guardrail_profile": "us.guardrail.v1:0"}, "needs the guardrail"),
        ({"guardrails": ("g",), "guardrail_profile": "moon.guardrail.v1:0"}, "no guardrail profile"),
        ({"batch": True, "batch_role": "me", "batch_input": "s3://i", "batch_output": "s3://o"}, "ARN of a role"),
    ],
)
def test_bad_uses_are_refused(uses: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        derived(f"bedrock:{NOVA}", **uses)


def test_nothing_named_is_nothing_derived() -> None:
    with pytest.raises(ValidationError, match="name what is called"):
        derived()


def test_equal_statements_are_one_and_names_stay_apart() -> None:
    models = (
        f"bedrock:{NOVA}",
        "bedrock:amazon.nova-pro-v1:0",
        f"bedrock:us.{NOVA}",
        "bedrock:us.amazon.nova-pro-v1:0",
    )
    found = derived(*models).policy["Statement"]
    assert [each["Sid"] for each in found] == ["Invoke", "Profile", "ModelThroughProfile", "ModelThroughProfile2"]
    assert found[0]["Resource"] == [foundation(REGION), foundation(REGION, "amazon.nova-pro-v1:0")]


def test_denied_regions_and_first_calls_are_noted() -> None:
    notes = derived("bedrock:eu.anthropic.claude-sonnet-5", "bedrock:global.anthropic.claude-sonnet-5").notes
    assert any("eu-central-1" in note and "service control policy" in note for note in notes)
    assert any("'unspecified'" in note for note in notes)
    assert any("aws-marketplace:Subscribe" in note for note in notes)


# --- against the service's own list of actions and resources ---------------------------------------------------------


def every_document() -> dict[str, dict[str, Any]]:
    """One of each kind."""
    behind = {APPLICATION: f"us.{NOVA}", PROMPT: NOVA}
    named = ("bedrock:global.anthropic.claude-sonnet-5", f"bedrock:us.{NOVA}", f"bedrock:{NOVA}", APPLICATION, PROMPT)
    own = [f"{OWN}{kind}/x1" for kind in ("imported-model", "custom-model-deployment", "provisioned-model")]
    market = f"bedrock:arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/market"
    uses: Any = dict.fromkeys(("stream", "count_tokens", "rerank", "generate", "bearer", "mantle"), True)
    beside: Any = {"guardrails": ("gr1",), "guardrail_profile": "us.guardrail.v1:0", "knowledge_bases": ("KB1",)}
    batch: Any = {"batch": True, "batch_input": "s3://in", "batch_output": "s3://out"}
    models = derived(*named, *own, market, behind=behind, **uses, **beside, **batch)
    later = derived("sagemaker:slow", f"bedrock:{NOVA}", async_output="s3://answers")
    return {
        "Models": models.policy,
        "Later": later.policy,
        "Endpoint": derived("sagemaker:e/c", stream=True).policy,
        "Role": models.role_policy,
    }


def test_cfn_lint_knows_every_action_and_condition() -> None:
    """It has the service reference's actions (W3037), resources of actions and the grammar of policies."""
    from cfnlint.api import ManualArgs, lint

    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            name: {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
            for name, document in every_document().items()
        },
    }
    found = lint(json.dumps(template, indent=1), None, None, ManualArgs(regions=[REGION], include_checks=["I"]))
    # I3042 is about partitions in ARNs, which are exact here
    assert [f"{match.rule.id} {match.message}" for match in found if match.rule.id != "I3042"] == []


def test_cfn_lint_would_notice_a_made_up_action() -> None:
    from cfnlint.api import ManualArgs, lint

    document = policy(statement("X", "bedrock:Converse", "*"))
    made = {"Resources": {"P": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}}}
    found = lint(json.dumps(made), None, None, ManualArgs(regions=[REGION]))
    assert any(match.rule.id == "W3037" for match in found)


STARS = {
    "bedrock:Rerank",
    "bedrock:RetrieveAndGenerate",
    "bedrock:CallWithBearerToken",
    "bedrock:ListModelInvocationJobs",
    "servicequotas:ListServiceQuotas",
}


def test_no_action_is_a_pattern_and_every_resource_is_exact() -> None:
    """Where IAM knows no resource of an action, and there alone, it is ``*``."""
    for document in every_document().values():
        for each in document["Statement"]:
            assert not [action for action in each["Action"] if "*" in action]
            if "*" in each["Resource"]:
                assert set(each["Action"]) <= STARS


# --- as a caller uses it ---------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return runner(monkeypatch, capsys)


def test_the_account_and_what_it_has_are_looked_up() -> None:
    """The caller's account, a geography's destinations, and what an application's profile is of."""
    with mock_aws(reply="hi"):
        session = mocked_session()
        source = {"copyFrom": foundation(REGION)}
        made = session.client("bedrock").create_inference_profile(inferenceProfileName="team", modelSource=source)
        found = infra.policy(f"bedrock:us.{NOVA}", made["inferenceProfileArn"], session=session)
    statements = plain(found.policy)
    own = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{NOVA}"
    assert statements["Profile"]["Resource"] == sorted([own, made["inferenceProfileArn"]])
    assert statements["ModelThroughProfile"]["Condition"] == through(own)
    assert statements["ModelThroughProfile2"]["Resource"] == [foundation(REGION)]
    assert not any("account is not known" in note or "was not asked" in note for note in found.notes)


def test_offline_the_account_is_open_and_that_is_said(run: Run) -> None:
    result = run("infra", "policy", f"bedrock:{NOVA}", f"bedrock:us.{NOVA}", "--offline")
    assert result.code == 0
    assert json.loads(result.out)["Statement"][1]["Resource"] == [PROFILE.replace(ACCOUNT, "*")]
    assert "give --account for exact ones" in result.err


def test_the_command_line_has_every_use(run: Run) -> None:
    words = ["infra", "policy", f"bedrock:{NOVA}", "--offline", "--account", ACCOUNT, "--stream", "--endpoint", "chat"]
    words += ["--guardrail", "gr1", "--knowledge-base", "KB1", "--generate", "--rerank", "--count-tokens", "--bearer"]
    result = run(*words)
    assert sorted(plain(json.loads(result.out))) == sorted(
        (
            "BearerToken",
            "CountTokens",
            "Guardrail",
            "Invoke",
            "InvokeEndpoint",
            "Rerank",
            "Retrieve",
            "RetrieveAndGenerate",
        )
    )


def test_batch_documents_are_printed_one_by_one(run: Run) -> None:
    words = ["infra", "policy", f"bedrock:{NOVA}", "--offline", "--account", ACCOUNT, "--batch"]
    words += ["--batch-input", "s3://in", "--batch-output", "s3://out"]
    trust = json.loads(run(*words, "--document", "trust").out)
    assert trust["Statement"][0]["Action"] == "sts:AssumeRole"
    role = json.loads(run(*words, "--document", "role").out)
    assert [each["Sid"] for each in role["Statement"]] == ["Input", "Output"]
    assert run("infra", "policy", f"bedrock:{NOVA}", "--offline", "--document", "role").code == 2


def test_yaml_and_reasons(run: Run) -> None:
    import yaml

    words = ["infra", "policy", f"bedrock:us.{NOVA}", "--offline", "--account", ACCOUNT]
    assert yaml.safe_load(run(*words, "--yaml").out) == json.loads(run(*words).out)
    told = run(*words, "--explain").out
    assert "ModelThroughProfile: the model in every region" in told
    assert f"if        bedrock:InferenceProfileArn StringEquals {PROFILE}" in told
    assert "https://docs.aws.amazon.com/" in told


def test_what_stands_behind_an_arn_can_be_said(run: Run) -> None:
    words = ["infra", "policy", APPLICATION, "--offline"]
    assert "--behind ARN=MODEL" in run(*words).err
    found = json.loads(run(*words, "--behind", f"{APPLICATION}=us.{NOVA}").out)
    assert plain(found)["ModelThroughProfile"]["Condition"] == through(APPLICATION)
    assert run(*words, "--behind", "nonsense").code == 2
