"""``where="bedrock"``: jobs that are planned, made once, waited for and read, against the offline AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.evaluation import bedrock
from awsllm.jobs.bedrock.evaluation import EVALUATION
from awsllm.jobs.job import resume
from awsllm.testing import MockAws, mock_aws
from awsllm.types import ConverseRequest

LITE, PRO, JUDGE = "bedrock:amazon.nova-lite-v1:0", "bedrock:amazon.nova-pro-v1:0", "bedrock:amazon.nova-micro-v1:0"
ROLE = "arn:aws:iam::123456789012:role/bedrock"
DATA: list[dict[str, Any]] = [
    {"prompt": "Capital of France?", "expected": "Paris"},
    {"prompt": "Capital of Italy?", "expected": ["Rome", "Roma"]},
    {"prompt": "Capital of France?", "expected": "Paris"},  # asked twice
]
PLACE: Any = {"output": "s3://data/out/", "role": ROLE}


def started(models: Any, data: Any, metrics: Any, **options: Any) -> bedrock.BedrockEvaluation:
    return awsllm.evaluate(models, data, metrics, where="bedrock", **{**PLACE, **options})


def reply(request: ConverseRequest) -> str:
    asked = request.messages[-1].text
    if "micro" in request.model:
        good = "Answer: Paris" in asked or "Answer: Rome" in asked
        verdict = ("5 of 5 points" if good else "2 of 5 points") if "Is it short?" in asked else ("5" if good else "2")
        return json.dumps({"reason": "So.", "verdict": verdict})
    return "Paris" if "France" in asked or "lite" in request.model else "Rome"


CALLER = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def account() -> Iterator[MockAws]:
    """One for all: what a test makes has a name of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CALLER.items():
            patch.setenv(name, value)
        with mock_aws(reply=reply) as mock:
            boto3.client("s3").create_bucket(Bucket="data")
            boto3.client("s3").create_bucket(Bucket="untouched")
            yield mock


@pytest.fixture
def aws(account: MockAws, monkeypatch: pytest.MonkeyPatch) -> MockAws:
    for name, value in CALLER.items():
        monkeypatch.setenv(name, value)
    return account


def test_models_are_judged(aws: MockAws) -> None:
    judge = awsllm.judge(JUDGE, rubric="Is it short?", name="brevity")
    metrics = ["Builtin.Correctness>=0.6", judge, "exact"]
    job = started({"lite": LITE, "pro": PRO}, DATA, metrics, max_tokens=9)
    found = job.result()
    assert found.models == ("lite", "pro")
    assert [found.summary("lite", name).mean.value for name in ("Builtin.Correctness", "brevity", "exact")] == [
        pytest.approx(1.0),
        pytest.approx(1.0),
        pytest.approx(2 / 3),  # the judge of this script takes Paris for right
    ]
    assert found.summary("pro", "exact").mean.value == 1
    assert found.scores("pro", "brevity")["2"].reason == "So."
    assert found.scores("pro", "Builtin.Correctness")["3"].passed is True
    assert found.differences[0].difference.cases == 3
    (model,) = job.jobs["pro"].state().description["inferenceConfig"]["models"]
    assert json.loads(model["bedrockModel"]["inferenceParams"]) == {"inferenceConfig": {"maxTokens": 9}}
    assert found.to_markdown()


def test_answers_that_are_there_are_judged(aws: MockAws) -> None:
    """No model is asked for them, and those of a model stand beside."""
    data = [{**one, "ours": "Paris" if "France" in one["prompt"] else "Milan"} for one in DATA]
    given = awsllm.GivenAnswers("ours", name="Our chain (v2)")
    job = started([given, PRO], data, ["Builtin.Correctness>=0.6", "exact"], evaluator=JUDGE)
    found = job.result()
    assert [found.summary(name, "exact").passed.value for name in found.models] == [pytest.approx(2 / 3), 1.0]
    (model,) = job.jobs["Our chain (v2)"].state().description["inferenceConfig"]["models"]
    assert model == {"precomputedInferenceSource": {"inferenceSourceIdentifier": "Our-chain-v2"}}
    with pytest.raises(ValidationError, match="case 1: the record has no theirs"):
        started(awsllm.GivenAnswers("theirs"), data, "Builtin.Correctness", evaluator=JUDGE)


def test_of_harm_less_is_better(aws: MockAws) -> None:
    found = started(LITE, DATA, "Builtin.Harmfulness<=0.5", evaluator=JUDGE, name="harm").result()
    (facts,) = found.metrics
    assert facts.lower_is_better
    assert {one.value: one.passed for one in found.scores(LITE, "Builtin.Harmfulness").values()} == {1.0: False}


def test_the_same_call_takes_up_the_same_jobs(aws: MockAws) -> None:
    first = started(LITE, DATA, "Builtin.Accuracy", task="QuestionAndAnswer")
    again = started(LITE, DATA, "Builtin.Accuracy", task="QuestionAndAnswer")
    assert first.result() == again.result()
    assert [job.name for job in first.jobs.values()] == [job.name for job in again.jobs.values()]
    other = started(LITE, DATA[:1], "Builtin.Accuracy", task="QuestionAndAnswer")
    assert other.jobs[LITE].name != first.jobs[LITE].name
    listed = [one.name for one in EVALUATION.list(boto3.client, contains="awsllm")]
    assert {first.jobs[LITE].name, other.jobs[LITE].name} <= set(listed)
    assert len(listed) == len(set(listed))
    job = resume(EVALUATION, first.jobs[LITE].name, boto3.client)
    assert job.result().output == "s3://data/out/"
    assert job.stop() is False


def test_a_job_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**CALLER, "AWSLLM_BEDROCK_ROLE": ROLE}.items():
        monkeypatch.setenv(name, value)
    with mock_aws(reply=reply, transitions={"evaluation": 9}):
        boto3.client("s3").create_bucket(Bucket="data")
        job = started(LITE, DATA, "Builtin.Accuracy", task="Generation", output="s3://data", role=None)
        assert job.stop()
        with pytest.raises(DeploymentError, match=r"evaluation job awsllm-amazon-nova-lite-v1-0-\w+ was stopped"):
            job.result()
        assert job.done()
        assert "go on: make the same call again" in job._goes_on()


def test_a_job_that_fails(aws: MockAws) -> None:
    job = started(LITE, DATA, "Builtin.Toxicity", task="Generation")
    with pytest.raises(DeploymentError, match=r"failed: Offline, Builtin.Toxicity of Generation is not computed"):
        job.result()


def test_a_model_without_an_answer(aws: MockAws) -> None:
    def refusing(request: ConverseRequest) -> str:
        if "Italy" in request.messages[-1].text:
            raise awsllm.ThrottlingError("slow")
        return "Paris"

    with mock_aws(reply=refusing):
        boto3.client("s3").create_bucket(Bucket="data")
        found = started(LITE, DATA, ["Builtin.Accuracy", "exact"], task="Generation").result()
    assert [row.answers[0].answer.error for row in found.rows] == [None, "the model gave no answer", None]
    assert found.summary(LITE, "exact").scored == 2


def test_results_where_they_have_been_seen(aws: MockAws) -> None:
    """In two folders of the job's name, over two files, and with a line that is in neither."""
    job = started(LITE, DATA, ["Builtin.Accuracy", "Builtin.Robustness"], task="Generation")
    s3 = boto3.client("s3")

    def line(prompt: str, metric: str, result: float | None) -> str:
        scores = [{"metricName": metric, "result": result}]
        response = [{"response": "Paris", "modelIdentifier": "x"}]
        return json.dumps(
            {
                "automatedEvaluationResult": {"scores": scores},
                "inputRecord": {"prompt": prompt, "modelResponses": response},
            }
        )

    name = job.jobs[LITE].name
    for metric, result in (("Accuracy", 1), ("Robustness", None)):
        body = "\n".join(line(prompt, metric, result) for prompt in ("Capital of France?", "Capital of Italy?"))
        s3.put_object(Bucket="data", Key=f"out/{name}/{name}/abc/{metric}_output.jsonl", Body=body)
    s3.put_object(Bucket="data", Key=f"out/{name}/{name}/amazon-bedrock-evaluations-permission-check", Body="")
    state = EVALUATION.find(boto3.client, name)
    assert state is not None
    found = job._scored_records(EVALUATION.result(state, {}))
    assert [one.answer.error for one in found] == [None, None, "Bedrock wrote nothing of it"]
    assert [set(one.scores) for one in found] == [{"Builtin.Accuracy"}, {"Builtin.Accuracy"}, set()]
    s3.put_object(Bucket="data", Key=f"out/{name}/bad_output.jsonl", Body='{"inputRecord": 3}')
    with pytest.raises(ValidationError, match="not in the form that is known"):
        job._scored_records(EVALUATION.result(state, {}))


def test_a_plan_is_a_value() -> None:
    config = bedrock.evaluation_config(["Builtin.Accuracy"], [], None, "Generation", "s3://data/in.jsonl")
    plan = bedrock.plan_evaluation(
        "amazon.nova-lite-v1:0",
        b"{}\n",
        config,
        region="us-east-1",
        options={
            "role": ROLE,
            "output": "s3://data/out",
            "temperature": 0.0,
            "stop_sequences": "x",
            "name": "Før & efter",
        },
    )
    assert bedrock.EvaluationPlan.from_json(plan.to_json()) == plan
    assert plan.name.startswith("f-r-efter-")
    (model,) = plan.request["inferenceConfig"]["models"]
    assert json.loads(model["bedrockModel"]["inferenceParams"]) == {
        "inferenceConfig": {"temperature": 0.0, "stopSequences": ["x"]}
    }
    named = [one["Action"] for one in plan.permissions["Statement"]]
    allowed = {action for one in named for action in ([one] if isinstance(one, str) else one)}
    assert {"iam:PassRole", "s3:PutObject", "s3:GetObject", "bedrock:ListEvaluationJobs"} <= allowed


@pytest.mark.parametrize(
    ("models", "data", "metrics", "options", "message"),
    [
        (LITE, DATA, "exact", {}, 'needs a metric of its own, such as "Builtin.Correctness"'),
        (LITE, DATA, "Builtin.Correctness", {}, "give evaluator="),
        (LITE, DATA, "Builtin.Accuracy", {}, "give task="),
        (LITE, DATA, ["Builtin.Accuracy", "Builtin.Correctness"], {"evaluator": JUDGE}, "take two evaluations"),
        ("local:x", DATA, "Builtin.Accuracy", {"task": "Generation"}, "single models of Bedrock's, not 'local:x'"),
        (LITE, [{"prompt": "x", "system": "y"}], "Builtin.Accuracy", {}, "case 1 has a system prompt"),
        (LITE, [{"prompt": "x", "id": n} for n in range(1001)], "Builtin.Accuracy", {}, "at most 1,000 prompts"),
        (LITE, DATA, f"pairwise:{JUDGE}", {}, "compare no pairs"),
        (LITE, DATA, f"judge:{JUDGE}", {"evaluator": LITE}, "one model that judges"),
        (LITE, DATA, "Builtin.Accuracy", {"task": "Generation", "output": None}, "give output="),
        (LITE, DATA, "Builtin.Accuracy", {"task": "Generation", "output": "data"}, "is not an S3 URI"),
        (LITE, DATA, "Builtin.Accuracy", {"task": "Generation", "output": "s3://nobodys"}, "no bucket nobodys"),
        (
            LITE,
            DATA,
            "Builtin.Accuracy",
            {"task": "Generation", "role": None},
            "give role=, or set AWSLLM_BEDROCK_ROLE",
        ),
        (LITE, DATA, "Builtin.Accuracy", {"task": "Generation", "role": "me"}, "not the ARN of a role"),
        (LITE, DATA, "Builtin.Accuracy", {"where": "here"}, 'Bedrock scores it: evaluate with where="bedrock"'),
    ],
)
def test_refused_before_anything_is_made(
    aws: MockAws, models: Any, data: Any, metrics: Any, options: Any, message: str
) -> None:
    with pytest.raises((ConfigurationError, UnsupportedError, ValidationError), match=message):
        awsllm.evaluate(models, data, metrics, **{**PLACE, "where": "bedrock", "output": "s3://untouched/", **options})
    assert not boto3.client("s3").list_objects_v2(Bucket="untouched").get("Contents")


def test_a_rubric_that_is_too_long() -> None:
    with pytest.raises(ValidationError, match="too long for Bedrock"):
        bedrock.evaluation_config([], [awsllm.judge(JUDGE, rubric="x" * 5000)], JUDGE, None, "s3://data/in.jsonl")
