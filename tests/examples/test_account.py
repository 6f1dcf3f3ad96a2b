"""Examples that need more of AWS than a model: what they make, say and leave behind."""

from pathlib import Path
from typing import Any

import boto3
import pytest

import awsllm
from awsllm.testing import mock_aws
from tests.support.examples import Run, runner

ROLE = "arn:aws:iam::123456789012:role/knowledge-base"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return runner(monkeypatch, capfd)


def test_a_picture_is_made_and_looked_at(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with mock_aws(reply="A bicycle.") as aws:
        out = run("images", "a bicycle", "--output", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    requests: Any = aws.requests
    made, asked = requests
    assert made.prompt == "a bicycle"
    assert asked.messages[0].content[1].source.data == picture.read_bytes()
    assert out == f"{picture}: png, $0.04\nA bicycle.\n"


def test_citations_of_a_document_are_shown(run: Run) -> None:
    cited = awsllm.Citation(title="warranty", source_content=(awsllm.Text("It lasts 36 months."),))
    reply = awsllm.Citations(content=(awsllm.Text("36 months."),), citations=(cited,))
    with mock_aws(reply=reply) as aws:
        out = run("documents", "--model", "bedrock:us.anthropic.claude-haiku-4-5-20251001-v1:0")
    requests: Any = aws.requests
    [request] = requests
    assert request.messages[0].content[0].citations
    assert out == "36 months.\n  warranty: “It lasts 36 months.”\n"


def test_the_saving_of_a_cached_prompt_is_computed_from_what_was_used(run: Run) -> None:
    def counted(new: int, written: int, read: int) -> dict[str, object]:
        usage = {"inputTokens": new, "cacheWriteInputTokens": written, "cacheReadInputTokens": read, "outputTokens": 9}
        answer = {"role": "assistant", "content": [{"text": "It is so."}]}
        return {"output": {"message": answer}, "usage": {**usage, "totalTokens": new + written + read + 9}}

    with mock_aws(reply=[counted(10, 2000, 0), counted(11, 0, 2000), counted(12, 0, 2000)]) as aws:
        out = run("prompt_caching")
        price: Any = awsllm.Client().price("bedrock:us.anthropic.claude-sonnet-5-5")
    first: Any = aws.requests[0]
    assert any(isinstance(block, awsllm.CachePoint) for block in first.system)
    assert "[11 tokens new, 0 written, 2000 read]" in out
    paid = 33 * price.input + 27 * price.output + 2000 * price.cache_write + 4000 * price.cache_read
    plain = 6033 * price.input + 27 * price.output
    assert out.endswith(f"${paid / 1e6:.6f} instead of ${plain / 1e6:.6f}: {1 - paid / plain:.0%} saved\n")


def test_a_guardrail_masks_blocks_and_is_deleted(run: Run) -> None:
    with mock_aws(reply=["The Rhine.", "Write to ann@example.com about the order."]):
        out = run("guardrails").splitlines()
        assert boto3.client("bedrock").list_guardrails()["guardrails"] == []
    assert out[0].startswith("GUARDRAIL_INTERVENED: Write to {EMAIL} about the order.")
    assert out[1:] == [
        "> Name a river of Europe.",
        "The Rhine.  [end_turn]",
        "> When does the Falcon-9000 come out?",
        "I cannot talk about that.  [guardrail_intervened]",
        "Write to {EMAIL} about the order.",
    ]


def test_a_knowledge_base_answers_and_nothing_of_it_is_left(run: Run) -> None:
    with mock_aws(reply="Twelve months."):
        out = run("knowledge_base", "--role", ROLE, "How long is the warranty of batteries?")
        assert boto3.client("bedrock-agent").list_knowledge_bases()["knowledgeBaseSummaries"] == []
        assert boto3.client("s3vectors").list_vector_buckets()["vectorBuckets"] == []
    assert out.count("INDEXED") == 4
    assert "Twelve months. ['warranty.md']" in out


def test_a_stack_is_deployed_used_and_taken_down(run: Run) -> None:
    with mock_aws(reply="The Rhine."):
        out = run("infrastructure")
        assert boto3.client("s3").list_buckets()["Buckets"] == []
        run("infrastructure", "--keep", "--stack", "kept")
        [bucket] = boto3.client("s3").list_buckets()["Buckets"]
        [kept] = boto3.client("s3").list_objects_v2(Bucket=bucket["Name"])["Contents"]
    assert out.splitlines()[0] == "stack as awsllm-example in us-east-1: a new stack"
    assert "  + Transcripts  AWS::S3::Bucket\n  + MayAsk  AWS::IAM::ManagedPolicy\n" in out
    assert out.endswith("/first.txt: The Rhine.\nawsllm-example is gone\n")
    assert kept["Key"] == "first.txt"


def test_a_stack_does_not_outlive_a_failure(run: Run) -> None:
    with mock_aws(reply=awsllm.AccessDeniedError("not this model")):
        with pytest.raises(awsllm.AccessDeniedError):
            run("infrastructure")
        stacks = boto3.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])
        assert (stacks["StackSummaries"], boto3.client("s3").list_buckets()["Buckets"]) == ([], [])


def test_a_stack_of_somebody_else_is_left_alone(run: Run) -> None:
    with mock_aws(reply="The Rhine."):
        run("infrastructure", "--keep")
        before = boto3.client("s3").list_buckets()["Buckets"]
        with pytest.raises(SystemExit, match="already"):
            run("infrastructure")
        assert boto3.client("s3").list_buckets()["Buckets"] == before
        [stack] = boto3.client("cloudformation").describe_stacks(StackName="awsllm-example")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"


def test_a_knowledge_base_wants_a_role_of_the_account(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with mock_aws() as aws, pytest.raises(SystemExit):
        run("knowledge_base")
    assert "--role ARN is needed" in capfd.readouterr().err
    assert aws.requests == []
