"""Models by every kind of name: the cases M1 to M3."""

import json
from typing import Any

import pytest

import awsllm
from awsllm.testing import mock_aws
from tests.support.cases import PROFILE, answering, asking

HERE = "arn:aws:bedrock:us-east-1:123456789012:"
ARNS = [
    PROFILE,
    f"{HERE}imported-model/abcdefghijkl",
    f"{HERE}custom-model/amazon.nova-lite/xyz123456789",
    f"{HERE}custom-model-deployment/abcdefghijkl",
    f"{HERE}provisioned-model/abcdefghijkl",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine",
]


class Described:
    """The control plane's word on an ARN, and how often it was asked."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.arns: list[str] = []

    def __call__(self, session: Any, arn: str) -> tuple[str | None, str | None]:
        self.arns.append(arn)
        return self.family, None


@pytest.mark.parametrize("arn", ARNS, ids=lambda arn: arn.rpartition(":")[2].partition("/")[0])
def test_m1_a_bare_arn_is_a_model(arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ARN needs no scheme and no route of a provider; what is behind it is asked once for all its calls."""
    described = Described("anthropic.claude-sonnet-4-6")
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", described)
    with mock_aws(reply="Hi.", endpoints="*") as aws, awsllm.Client(region="us-east-1") as client:
        assert [client.converse(arn, "Hello").text for _ in range(3)] == ["Hi."] * 3
    assert aws.requests[-1].model == (arn if ":bedrock:" in arn else "mine")
    assert described.arns == ([arn] if ":bedrock:" in arn else [])


def test_m1_an_arn_is_called_in_its_own_region() -> None:
    """The region that the ARN names goes before the client's."""
    seen: list[str] = []
    with mock_aws(reply="Hi.") as aws, awsllm.Client(region="eu-west-1") as client:
        client.converse(PROFILE, "Hello", family="claude")
        client.converse(f"bedrock:{PROFILE}", "Hello", family="claude")
        seen = [request.model for request in aws.requests]
        assert {region for _, region, _ in client._backends._made} == {"us-east-1"}
    assert seen == [PROFILE, PROFILE]


@pytest.mark.parametrize(
    ("family", "member", "prompt"),
    [
        ("architecture:chat/llama", "messages", [{"role": "user", "content": "Hello"}]),
        ("architecture:mistral", "prompt", "<s>[INST] Hello [/INST]"),
        ("architecture:qwen2", "prompt", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_m2_an_imported_model_gets_the_template_of_its_architecture(
    family: str, member: str, prompt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body follows from what GetImportedModel says: its own template where it takes messages, else its family's."""
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", Described(family))
    answer = {
        "choices": [{"message": {"content": "Hi."}, "text": "Hi."}],
        "outputs": [{"text": "Hi."}],
        "generation": "",
    }
    with asking(answering(answer)) as (client, seen):
        client.converse(ARNS[1], "Hello", api="invoke", max_tokens=9)
    assert json.loads(seen[0].body)[member] == prompt


def test_m2_an_unknown_imported_model_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says what it is, InvokeModel is refused with the way to say it, and no prompt is made up."""
    monkeypatch.setattr("awsllm.backends.bedrock.models.resolve", lambda session, arn: (None, "not allowed"))
    with asking(answering()) as (client, seen), pytest.raises(awsllm.UnsupportedError, match="family="):
        client.converse(ARNS[1], "Hello", api="invoke", max_tokens=9)
    assert seen == []


def test_m3_a_model_that_no_table_knows_is_sent() -> None:
    """What came out yesterday is called with all that it is asked for: tools, images, a forced choice."""
    tool = awsllm.ToolSpec("f", {"type": "object", "properties": {}})
    with asking(answering()) as (client, seen):
        reply = client.converse("bedrock:newcorp.grand-9-v1:0", "Hello", system="s", tools=[tool], tool_choice="any")
    assert (reply.text, reply.warnings, reply.cost) == ("Hi.", (), None)
    assert seen[0].path == "/model/newcorp.grand-9-v1%3A0/converse"
    assert json.loads(seen[0].body)["toolConfig"]["toolChoice"] == {"any": {}}
