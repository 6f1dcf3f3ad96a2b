"""Knowledge bases that are evaluated: by jobs of Bedrock's over the offline AWS's own bases, and here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

import awsllm
from awsllm import KnowledgeBaseSource
from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.evaluation import bedrock
from awsllm.testing import MockAws, mock_aws
from awsllm.types import ConverseRequest
from tests.support.knowledge import ingested

LITE, JUDGE = "bedrock:amazon.nova-lite-v1:0", "bedrock:amazon.nova-micro-v1:0"
ROLE = "arn:aws:iam::123456789012:role/bedrock"
CALLER = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
FILES: dict[str, bytes | str] = {
    "towns.txt": "Merrow is the capital of Atlantia.",
    "fish.txt": "The herring is a fish of the sea.",
}
DATA: list[dict[str, Any]] = [
    {"prompt": "What is the capital of Atlantia?", "expected": "Merrow"},
    {"prompt": "What is a herring?", "expected": "a fish"},
]


def reply(request: ConverseRequest) -> str:
    """The judge finds good what speaks of Merrow; the model answers out of what was found."""
    asked = request.messages[-1].text
    if "micro" in request.model:
        shown = asked.rpartition("Passages that were found:")[2] if "Question: What is" in asked else asked
        points = "5 of 5 points" if "rubric" in asked else "5"
        return json.dumps({"reason": "So.", "verdict": points if "Merrow" in shown else points.replace("5", "1", 1)})
    return "Merrow, it says." if "Merrow is the capital" in asked and "Atlantia?" in asked else "A fish."


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CALLER.items():
            patch.setenv(name, value)
        with mock_aws(reply=reply):
            boto3.client("s3").create_bucket(Bucket="data")
            yield ingested(FILES)["knowledgeBaseId"]


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CALLER.items():
        monkeypatch.setenv(name, value)


def started(source: Any, metrics: Any, data: Any = DATA, **options: Any) -> bedrock.BedrockEvaluation:
    place: Any = {"output": "s3://data/out/", "role": ROLE, "evaluator": JUDGE}
    return awsllm.evaluate(source, data, metrics, where="bedrock", **{**place, **options})


def request_of(job: bedrock.BedrockEvaluation) -> Any:
    (one,) = job.jobs.values()
    return one.state().description


def test_what_is_found_is_judged(base: str) -> None:
    source = KnowledgeBaseSource(knowledge_base=base, number_of_results=1, name="base")
    job = started(source, ["Builtin.ContextRelevance>=0.5", "contains"])
    found = job.result()
    assert found.models == ("base",)
    assert [row.answers[0].answer.text for row in found.rows] == list(FILES.values())
    assert [score.value for score in found.scores("base", "Builtin.ContextRelevance").values()] == [1.0, 0.0]
    assert found.summary("base", "contains").passed.value == 1
    described = request_of(job)
    assert described["applicationType"] == "RagEvaluation"
    retrieve = {"vectorSearchConfiguration": {"numberOfResults": 1}}
    assert described["inferenceConfig"] == {
        "ragConfigs": [
            {
                "knowledgeBaseConfig": {
                    "retrieveConfig": {"knowledgeBaseId": base, "knowledgeBaseRetrievalConfiguration": retrieve}
                }
            }
        ]
    }
    dataset = described["evaluationConfig"]["automated"]["datasetMetricConfigs"][0]["dataset"]["datasetLocation"]
    key = dataset["s3Uri"].removeprefix("s3://data/")
    first = boto3.client("s3").get_object(Bucket="data", Key=key)["Body"].read().splitlines()[0]
    turn = {
        "prompt": {"content": [{"text": DATA[0]["prompt"]}]},
        "referenceResponses": [{"content": [{"text": "Merrow"}]}],
    }
    assert json.loads(first) == {"conversationTurns": [turn]}


def test_what_is_written_of_it_is_judged(base: str) -> None:
    source = KnowledgeBaseSource(knowledge_base=base, model=LITE)
    rubric = awsllm.judge(JUDGE, rubric="By this rubric: does it name the town?", name="names")
    job = started(source, ["Builtin.Correctness", rubric, "contains"], max_tokens=50)
    found = job.result()
    name = f"{base} and {LITE}"
    assert [row.answers[0].answer.text for row in found.rows] == ["Merrow, it says.", "A fish."]
    assert [score.value for score in found.scores(name, "names").values()] == [1.0, 0.0]
    assert set(found.scores(name, "Builtin.Correctness")) == {"1", "2"}
    (config,) = request_of(job)["inferenceConfig"]["ragConfigs"]
    generate = config["knowledgeBaseConfig"]["retrieveAndGenerateConfig"]["knowledgeBaseConfiguration"]
    assert generate["modelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
    assert generate["generationConfiguration"] == {"kbInferenceConfig": {"textInferenceConfig": {"maxTokens": 50}}}
    (listed,) = [
        one
        for one in boto3.client("bedrock").list_evaluation_jobs(applicationTypeEquals="RagEvaluation")["jobSummaries"]
        if one["jobName"] == request_of(job)["jobName"]
    ]
    assert listed["ragIdentifiers"] == [base]
    assert listed["inferenceConfigSummary"] == {"ragConfigSummary": {"bedrockKnowledgeBaseIdentifiers": [base]}}


def test_passages_are_judged_by_a_rubric(base: str) -> None:
    source = KnowledgeBaseSource(knowledge_base=base, number_of_results=1, name="base")
    rubric = awsllm.judge(JUDGE, rubric="By this rubric: does it name the town?", name="names")
    job = started(source, rubric)
    assert [score.value for score in job.result().scores("base", "names").values()] == [1.0, 0.0]
    custom = request_of(job)["evaluationConfig"]["automated"]["customMetricConfig"]["customMetrics"][0]
    assert "{{context}}" in custom["customMetricDefinition"]["instructions"]
    assert "{{prediction}}" not in custom["customMetricDefinition"]["instructions"]


def test_a_knowledge_base_is_evaluated_here(base: str) -> None:
    found = awsllm.evaluate(
        {
            "found": KnowledgeBaseSource(knowledge_base=base, number_of_results=1),
            "written": KnowledgeBaseSource(knowledge_base=base, model=LITE),
        },
        DATA,
        "contains",
    )
    assert [found.summary(name, "contains").passed.value for name in found.models] == [1.0, 1.0]


def test_what_bedrock_does_not_score_is_refused(base: str) -> None:
    passages, answers = KnowledgeBaseSource(knowledge_base=base), KnowledgeBaseSource(knowledge_base=base, model=LITE)
    with pytest.raises(
        ConfigurationError, match=r"Builtin.Correctness is not scored of passages of .*no model=; there"
    ):
        started(passages, "Builtin.Correctness")
    with pytest.raises(ConfigurationError, match=r"Builtin\.ContextCoverage is not scored of answers"):
        started(answers, "Builtin.ContextCoverage")
    with pytest.raises(ConfigurationError, match="ContextCoverage needs what is expected, and case 1 says nothing"):
        started(passages, "Builtin.ContextCoverage", [{"prompt": "Where?"}])
    with pytest.raises(ConfigurationError, match="give evaluator="):
        started(passages, "Builtin.ContextRelevance", evaluator=None)
    with pytest.raises(UnsupportedError, match="case 1 has a system prompt"):
        started(passages, "Builtin.ContextRelevance", [{"prompt": "Where?", "system": "Be brief."}])


def test_a_knowledge_base_that_is_not_there(base: str) -> None:
    job = started(KnowledgeBaseSource(knowledge_base="NOTTHERE12"), "Builtin.ContextRelevance")
    with pytest.raises(DeploymentError, match=r"The knowledge base NOTTHERE12 could not be asked: .*NOTTHERE12"):
        job.result()


def test_the_role_may_search_and_nothing_more(base: str) -> None:
    def plan(model: str | None) -> Any:
        source = KnowledgeBaseSource(knowledge_base=base, model=model)
        config = bedrock.evaluation_config(["Builtin.Refusal"], [], "amazon.nova-micro-v1:0", None, "s3://data/x.jsonl")
        options = {"role": ROLE, "output": "s3://data/out"}
        return bedrock.plan_evaluation(source, b"{}\n", config, region="us-east-1", options=options)

    def rights(made: Any) -> dict[str, Any]:
        return {action: one["Resource"] for one in made.role_permissions["Statement"] for action in one["Action"]}

    only = rights(plan(None))
    assert only["bedrock:Retrieve"] == [f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{base}"]
    assert "bedrock:RetrieveAndGenerate" not in only
    both = rights(plan("bedrock:us.amazon.nova-lite-v1:0"))
    assert both["bedrock:RetrieveAndGenerate"] == ["*"]
    assert any("inference-profile/us.amazon.nova-lite" in arn for arn in both["bedrock:InvokeModel"])
    assert not any("Retrieve" in action for one in plan(LITE).permissions["Statement"] for action in one["Action"])


# --- by boto3, against the offline account ---------------------------------------------------------------------------


def turns(*prompts: str) -> str:
    return json.dumps({"conversationTurns": [{"prompt": {"content": [{"text": prompt}]}} for prompt in prompts]})


def run_job(name: str, base: str, lines: str, metric: str, model: str | None = None) -> Any:
    boto3.client("s3").put_object(Bucket="data", Key=f"{name}.jsonl", Body=lines)
    search: Any = {"vectorSearchConfiguration": {"numberOfResults": 1}}
    config: Any = {"retrieveConfig": {"knowledgeBaseId": base, "knowledgeBaseRetrievalConfiguration": search}}
    if model is not None:
        written: Any = {"knowledgeBaseId": base, "modelArn": model}
        generate = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": written}
        config = {"retrieveAndGenerateConfig": generate}
    client = boto3.client("bedrock")
    dataset: Any = {"name": "d", "datasetLocation": {"s3Uri": f"s3://data/{name}.jsonl"}}
    arn = client.create_evaluation_job(
        jobName=name,
        roleArn=ROLE,
        applicationType="RagEvaluation",
        evaluationConfig={
            "automated": {
                "datasetMetricConfigs": [{"taskType": "General", "dataset": dataset, "metricNames": [metric]}],
                "evaluatorModelConfig": {"bedrockEvaluatorModels": [{"modelIdentifier": "amazon.nova-micro-v1:0"}]},
            }
        },
        inferenceConfig={"ragConfigs": [{"knowledgeBaseConfig": config}]},
        outputDataConfig={"s3Uri": "s3://data/raw/"},
    )["jobArn"]
    return client.get_evaluation_job(jobIdentifier=arn)


def test_a_conversation_of_several_turns(base: str) -> None:
    asked = turns("What is the capital of Atlantia?", "What is a herring?")
    found = run_job("turns", base, asked, "Builtin.Helpfulness", "amazon.nova-lite-v1:0")
    assert found["status"] == "Completed", found
    listed = boto3.client("s3").list_objects_v2(Bucket="data", Prefix="raw/turns/")["Contents"]
    (line,) = boto3.client("s3").get_object(Bucket="data", Key=listed[0]["Key"])["Body"].read().splitlines()
    both = json.loads(line)["conversationTurns"]
    assert [turn["output"]["text"] for turn in both] == ["Merrow, it says.", "A fish."]
    assert [turn["results"][0]["metricName"] for turn in both] == ["Builtin.Helpfulness"] * 2


@pytest.mark.parametrize(
    ("name", "lines", "metric", "model", "reason"),
    [
        ("none", "{}", "Builtin.ContextRelevance", None, "Line 1 of the dataset has no conversationTurns, 1 to 1"),
        ("bad", "{", "Builtin.ContextRelevance", None, "Line 1 of the dataset has no conversationTurns"),
        ("list", '{"conversationTurns": ["a"]}', "Builtin.ContextRelevance", None, "Line 1 of the dataset"),
        ("two", turns("a", "b"), "Builtin.ContextRelevance", None, "Line 1 of the dataset"),
        ("six", turns(*"abcdef"), "Builtin.Helpfulness", "amazon.nova-lite-v1:0", "1 to 5"),
        ("of-answers", turns("a"), "Builtin.Helpfulness", None, "is not valid for retrieve-only"),
        ("of-passages", turns("a"), "Builtin.ContextRelevance", "amazon.nova-lite-v1:0", "not valid for retrieve-and"),
    ],
)
def test_a_job_that_cannot_be_done_fails(
    base: str, name: str, lines: str, metric: str, model: str | None, reason: str
) -> None:
    found = run_job(name, base, lines, metric, model)
    assert found["status"] == "Failed"
    assert reason in found["failureMessages"][0]


def test_a_source_without_a_judge_is_refused(base: str) -> None:
    client = boto3.client("bedrock")
    dataset: Any = {"name": "d", "datasetLocation": {"s3Uri": "s3://data/x.jsonl"}}
    metrics = [{"taskType": "General", "dataset": dataset, "metricNames": ["Builtin.ContextRelevance"]}]
    search: Any = {"vectorSearchConfiguration": {}}
    config: Any = {"retrieveConfig": {"knowledgeBaseId": base, "knowledgeBaseRetrievalConfiguration": search}}
    with pytest.raises(client.exceptions.ValidationException, match="evaluatorModelConfig is required"):
        client.create_evaluation_job(
            jobName="nojudge",
            roleArn=ROLE,
            evaluationConfig={"automated": {"datasetMetricConfigs": metrics}},
            inferenceConfig={"ragConfigs": [{"knowledgeBaseConfig": config}]},
            outputDataConfig={"s3Uri": "s3://data/raw/"},
        )


@pytest.mark.parametrize(
    "line",
    ["{}", '{"conversationTurns": []}', '{"conversationTurns": [{"inputRecord": {"prompt": {"content": []}}}]}', "[1]"],
)
def test_a_result_in_another_form_is_told(line: str) -> None:
    with pytest.raises(ValidationError, match="not in the form that is known"):
        bedrock._line(line.encode())


def test_an_account_of_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bases that are given as documents are evaluated, too."""
    mock: MockAws = mock_aws(reply=reply, knowledge_bases={"KBGIVEN123": ["Merrow is the capital of Atlantia."]})
    with mock:
        boto3.client("s3").create_bucket(Bucket="data")
        source = KnowledgeBaseSource(knowledge_base="KBGIVEN123", name="given")
        found = started(source, "Builtin.ContextRelevance", DATA[:1]).result()
        assert [score.value for score in found.scores("given", "Builtin.ContextRelevance").values()] == [1.0]
