"""Reinforcement, offline: a function judges what a local model writes, and the model comes to write what is judged
well; through SageMaker's serverless customisation and Bedrock's customisation jobs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from awsllm.engine.train.lora import Lora
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.local.planning import LocalTraining
from awsllm.jobs.sessions.local import LocalSession
from awsllm.server.account.jobs import JobRecord
from awsllm.server.account.reinforcement import Game, reinforce
from awsllm.testing import mock_aws
from awsllm.types.training import SampleSettings
from tests.server.account.test_trained_jobs import serverless
from tests.support import tiny_chat
from tests.support.bedrock_account import ROLE, bedrock, get, keys, put
from tests.support.sagemaker_account import DOCUMENTS, client

LLAMA = "meta.llama3-1-8b-instruct-v1:0"
ONE_STEP = LocalTraining(steps=1, rows=1, learning_rate=0.01)
JUDGE = "arn:aws:lambda:us-east-1:123456789012:function:judge"
EVALUATOR = "arn:aws:sagemaker:us-east-1:123456789012:hub-content/mine/JsonDoc/judge/1.0.0"
ASKED: Any = [
    {"prompt": [{"role": "user", "content": f"Where? {n}"}], "reward_model": {"ground_truth": "a", "style": "rule"}}
    for n in range(2)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


@pytest.fixture
def aws(tiny: str) -> Iterator[Any]:
    with mock_aws(models={"*": tiny}, documents=DOCUMENTS, quotas={"customization-steps": 10}) as mock:
        yield mock


def judge(samples: Any, context: Any) -> Any:
    """Better is what has more of the letter."""
    scored = []
    for sample in samples:
        text = sample["messages"][-1]["content"]
        letter = sample["reference_answer"]
        scored.append({"id": sample["id"], "aggregate_reward_score": text.count(letter) / max(1, len(text))})
    return scored


def over_http(samples: Any, context: Any) -> Any:
    return {"statusCode": 200, "body": json.dumps(judge(samples, context))}


def test_what_is_judged_well_becomes_likelier(aws: Any, tiny: str) -> None:
    """One step, of one answer that is good and others that are not: drawn again by the seed, and looked at before and
    after."""
    base = Path(tiny.removeprefix("local:"))
    good: list[str] = []

    def first(samples: Any, context: Any) -> Any:
        good.append(samples[0]["messages"][-1]["content"])
        return [{"id": one["id"], "aggregate_reward_score": float(one is samples[0])} for one in samples]

    aws.plane.functions["judge"] = first
    job = JobRecord("job", "arn/job", {}, 0.0, None, 0)
    game = Game(base, read_training_data([{"prompt": "Where?"}]), JUDGE, ONE_STEP, longest=4)
    steps: list[Any] = []
    made = reinforce(aws.plane.region("us-east-1"), job, game, steps.extend)
    assert steps[0]["reward"] == pytest.approx(1 / 8)
    before, after = (LocalSession(path, Lora(rank=1, alpha=1.0)) for path in (base, Path(made.model)))
    prompt = before.tokens.prompt("Where?")
    drawn = before.sample(prompt, SampleSettings(count=8, max_tokens=4, seed=1000))
    assert before.tokens.text(drawn[0].tokens) == good[0]
    likelihoods = [
        [sum(session.logprobs((*prompt, *one.tokens))[len(prompt) - 1 :]) for one in drawn]
        for session in (before, after)
    ]
    gains = [new - old for old, new in zip(*likelihoods, strict=True)]
    assert gains[0] > 0.05
    assert gains[0] == max(gains)


def test_the_reward_climbs(aws: Any, tmp_path: Path) -> None:
    """A model comes to say what it rarely said, for its judge likes it."""
    base = Path(tiny_chat.write(tmp_path / "base", decided=8.0).removeprefix("local:"))

    aws.plane.functions["judge"] = judge
    game = Game(base, read_training_data(ASKED[:1]), JUDGE, replace(ONE_STEP, steps=24), answers=16, longest=8)
    steps: list[Any] = []

    def told(so_far: Any) -> None:
        steps[:] = so_far

    reinforce(aws.plane.region("us-east-1"), JobRecord("job", "arn/job", {}, 0.0, None, 0), game, told)
    rewards = [step["reward"] for step in steps]
    assert statistics.fmean(rewards[-5:]) > 3 * statistics.fmean(rewards[:5])


def test_equal_answers_teach_nothing(aws: Any, tiny: str) -> None:
    base = Path(tiny.removeprefix("local:"))
    aws.plane.functions["judge"] = lambda samples, context: over_http(
        [{**one, "reference_answer": "\n\n\n"} for one in samples], context
    )
    game = Game(base, read_training_data([{"prompt": "Where?"}]), JUDGE, ONE_STEP, answers=2, longest=2)
    steps: list[Any] = []
    reinforce(aws.plane.region("us-east-1"), JobRecord("job", "arn/job", {}, 0.0, None, 0), game, steps.extend)
    assert steps == [{"number": 1, "of": 1, "loss": 0.0, "reward": 0.0, "epoch": 0}]


def test_a_serverless_customisation_is_judged(aws: Any) -> None:
    aws.plane.functions["judge"] = over_http
    told = {"max_epochs": "4", "max_response_length": "3"}
    found = serverless(
        "job", put("train.jsonl", *ASKED), "RLVR", config={"EvaluatorArn": EVALUATOR}, HyperParameters=told
    )
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert [one["MetricName"] for one in found["FinalMetricDataList"]] == ["train_loss", "reward"]
    assert "out/job/output/model/checkpoints/hf_merged/config.json" in keys("out/job/output/model/")


def customise(source: str, **members: Any) -> Any:
    grader = {"graderConfig": {"lambdaGrader": {"lambdaArn": JUDGE}}, **members}
    job = bedrock().create_model_customization_job(
        jobName="job",
        customModelName="model",
        roleArn=ROLE,
        baseModelIdentifier=LLAMA,
        customizationType="REINFORCEMENT_FINE_TUNING",
        trainingDataConfig={"s3Uri": source},
        outputDataConfig={"s3Uri": "s3://data/out"},
        customizationConfig={"rftConfig": grader},
    )["jobArn"]
    return bedrock().get_model_customization_job(jobIdentifier=job)


def test_bedrock_s_reinforcement_asks_its_grader(aws: Any) -> None:
    seen: list[Any] = []

    def noted(samples: Any, context: Any) -> Any:
        seen.extend(samples)
        return judge(samples, context)

    aws.plane.functions[JUDGE] = noted
    asked = [{"messages": [{"role": "user", "content": "Where?"}], "reference_answer": "a", "mine": 1}] * 4
    found = customise(
        put("train.jsonl", *asked),
        hyperParameters={"epochCount": 2, "trainingSamplePerPrompt": 3, "inferenceMaxTokens": 4},
    )
    assert found["status"] == "Completed", found.get("failureMessage")
    assert len(seen) == 2 * 4 * 3  # epochs, questions, answers
    assert seen[0]["mine"] == 1
    assert [turn["role"] for turn in seen[0]["messages"]] == ["user", "assistant"]
    assert "trainingLoss" in found["trainingMetrics"]
    [metrics] = [key for key in keys("out") if key.endswith("step_wise_training_metrics.csv")]
    assert len(get(metrics).splitlines()) == 3
    assert aws.plane.state("us-east-1").table("custom-model")[found["outputModelArn"]].request["trained"]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "does not exist, or cannot be invoked"),
        (lambda samples, context: 1 / 0, "failed: ZeroDivisionError"),
        (lambda samples, context: "good", "no list of scores"),
        (lambda samples, context: [{"id": "0-0"}], "no aggregate_reward_score"),
        (lambda samples, context: {"statusCode": 500, "body": "a secret"}, "another status than 200"),
        (lambda samples, context: {"statusCode": 200, "body": "a secret"}, "no JSON"),
    ],
)
def test_a_judge_that_does_not_judge_fails_the_job(aws: Any, function: Any, said: str) -> None:
    if function is not None:
        aws.plane.functions["judge"] = function
    found = customise(put("train.jsonl", {"prompt": "Where?"}))
    assert found["status"] == "Failed"
    assert said in found["failureMessage"]
    assert "secret" not in found["failureMessage"]


def test_a_lambda_function_of_moto_s_judges(tiny: str) -> None:
    """Without Docker moto answers what it was told to."""
    scored = [{"id": f"0-{answer}", "aggregate_reward_score": answer} for answer in range(8)]
    config: Any = {"lambda": {"use_docker": False}}
    with mock_aws(models={"*": tiny}, documents=DOCUMENTS, quotas={"customization-steps": 1}, config=config):
        role = client("iam").create_role(RoleName="f", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        client("lambda").create_function(
            FunctionName="judge", Runtime="python3.12", Role=role, Handler="a.b", Code={"ZipFile": b"PK"}
        )
        from moto.moto_api._internal.models import moto_api_backend

        moto_api_backend.set_lambda_simple_result(json.dumps(scored), "123456789012", "us-east-1")
        found = customise(put("train.jsonl", {"prompt": "Where?"}))
        assert found["status"] == "Completed", found.get("failureMessage")
