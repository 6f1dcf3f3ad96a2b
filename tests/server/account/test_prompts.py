"""Prompts as boto3 sees them: drafts, versions, pages, tags; and conversations that name one."""

from __future__ import annotations

from typing import Any

import pytest

import awsllm
from awsllm.testing import ScriptedBackend, mock_aws
from awsllm.types import ConverseRequest, Message, Text, ToolSpec
from tests.support.knowledge import agent
from tests.support.sagemaker_account import client, refusal

NOVA = "amazon.nova-lite-v1:0"
UNKNOWN = "AAAAAAAAAA"
TEXT: dict[str, Any] = {
    "name": "main",
    "templateType": "TEXT",
    "templateConfiguration": {
        "text": {"text": "Tell {{who}} about {{ what }}.", "inputVariables": [{"name": "who"}, {"name": "what"}]}
    },
    "modelId": NOVA,
    "inferenceConfiguration": {"text": {"maxTokens": 9, "temperature": 0.5, "topP": 0.25, "stopSequences": ["end"]}},
    "additionalModelRequestFields": {"topK": 3},
}
CHAT: dict[str, Any] = {
    "name": "main",
    "templateType": "CHAT",
    "templateConfiguration": {
        "chat": {
            "system": [{"text": "You are {{who}}."}],
            "messages": [
                {"role": "user", "content": [{"text": "Hello."}]},
                {"role": "assistant", "content": [{"text": "Hello, {{what}}."}]},
                {"role": "user", "content": [{"text": "Go on, {{what}}."}, {"cachePoint": {"type": "default"}}]},
            ],
            "toolConfiguration": {
                "tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}],
                "toolChoice": {"any": {}},
            },
        }
    },
    "modelId": NOVA,
}
VALUES: dict[str, Any] = {"who": {"text": "Ann"}, "what": {"text": "cats"}}


def create(variant: dict[str, Any] = TEXT, name: str = "p", **members: Any) -> Any:
    return agent().create_prompt(name=name, variants=[variant], defaultVariant="main", **members)


def run(arn: str, **members: Any) -> Any:
    return client("bedrock-runtime").converse(modelId=arn, **members)


def test_a_prompt_is_made_read_changed_and_deleted() -> None:
    now = [10.0]
    with mock_aws(reply="x", clock=lambda: now[0]):
        made = create(description="About.", clientToken="t" * 40)
        assert (made["version"], made["name"], made["description"], made["variants"]) == (
            "DRAFT",
            "p",
            "About.",
            [TEXT],
        )
        assert made["arn"] == f"arn:aws:bedrock:us-east-1:123456789012:prompt/{made['id']}"
        assert create(clientToken="t" * 40)["id"] == made["id"]
        assert refusal(create) == ("ConflictException", "Prompt with name p already exists.")
        assert agent().get_prompt(promptIdentifier=made["arn"])["variants"] == [TEXT]
        now[0] = 20.0
        changed = agent().update_prompt(promptIdentifier=made["id"], name="q", variants=[CHAT], defaultVariant="main")
        assert (changed["createdAt"].timestamp(), changed["updatedAt"].timestamp()) == (10.0, 20.0)
        got = agent().get_prompt(promptIdentifier=made["id"])
        assert (got["name"], got["variants"], "description" in got) == ("q", [CHAT], False)
        brief = agent().get_prompt(promptIdentifier=made["id"], includedData="METADATA_ONLY")
        assert (brief["name"], "variants" in brief) == ("q", False)
        assert agent().delete_prompt(promptIdentifier=made["id"])["id"] == made["id"]
        code, message = refusal(agent().get_prompt, promptIdentifier=made["id"])
        assert code == "ResourceNotFoundException"
        assert message.startswith("Failed to retrieve resource because it doesn't exist.")


def test_versions_do_not_change() -> None:
    with mock_aws(reply="x"):
        made = create(description="About.")
        ids = {"promptIdentifier": made["id"]}
        first = agent().create_prompt_version(**ids, clientToken="t" * 40)
        assert agent().create_prompt_version(**ids, clientToken="t" * 40)["version"] == "1"
        assert (first["version"], first["arn"], first["description"]) == ("1", f"{made['arn']}:1", "About.")
        agent().update_prompt(**ids, name="q", variants=[CHAT], defaultVariant="main")
        second = agent().create_prompt_version(**ids, description="Second.")
        assert (second["version"], second["description"], second["variants"]) == ("2", "Second.", [CHAT])
        for named in ({**ids, "promptVersion": "1"}, {"promptIdentifier": first["arn"]}):
            assert agent().get_prompt(**named)["variants"] == [TEXT]
        listed = agent().list_prompts(promptIdentifier=made["id"])["promptSummaries"]
        assert [one["version"] for one in listed] == ["DRAFT", "1", "2"]
        assert agent().delete_prompt(**ids, promptVersion="1")["version"] == "1"
        assert refusal(agent().get_prompt, **ids, promptVersion="1")[0] == "ResourceNotFoundException"
        assert agent().create_prompt_version(**ids)["version"] == "3"
        assert refusal(agent().create_prompt_version, promptIdentifier=UNKNOWN)[0] == "ResourceNotFoundException"


def test_pages_and_tags() -> None:
    with mock_aws(reply="x"):
        names = [f"p{number}" for number in range(12)]
        made = [create(name=name, tags={"name": name}) for name in names]
        pages = list(agent().get_paginator("list_prompts").paginate())
        assert [[one["name"] for one in page["promptSummaries"]] for page in pages] == [names[:10], names[10:]]
        arn = made[0]["arn"]
        agent().tag_resource(resourceArn=arn, tags={"b": "c"})
        assert agent().list_tags_for_resource(resourceArn=arn)["tags"] == {"name": "p0", "b": "c"}
        version = agent().create_prompt_version(promptIdentifier=made[0]["id"], tags={"v": "1"})
        assert agent().list_tags_for_resource(resourceArn=version["arn"])["tags"] == {"v": "1"}
        agent().delete_prompt(promptIdentifier=made[0]["id"])
        for gone in (arn, version["arn"]):
            assert refusal(agent().list_tags_for_resource, resourceArn=gone)[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"defaultVariant": "other"}, "none of the prompt's variants"),
        ({"variants": [{**TEXT, "templateType": "CHAT"}]}, "does not match the templateType CHAT"),
        ({"variants": [TEXT, TEXT]}, "length less than or equal to 1"),
        ({"name": "no spaces"}, "regular expression"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused(request_: Any, words: str) -> None:
    with mock_aws(reply="x"):
        given = {"name": "p", "variants": [TEXT], "defaultVariant": "main", **request_}
        code, message = refusal(agent().create_prompt, **given)
    assert (code, words in message) == ("ValidationException", True)


# --- conversations ---------------------------------------------------------------------------------------------------


def test_a_text_is_filled_and_run() -> None:
    backend = ScriptedBackend("Cats purr.")
    with mock_aws(reply=backend) as aws:
        arn = create()["arn"]
        response = run(arn, promptVariables=VALUES)
        assert response["output"]["message"]["content"] == [{"text": "Cats purr."}]
        assert aws.requests[0].model == arn
    asked = backend.requests[0]
    assert isinstance(asked, ConverseRequest)
    assert asked.model == NOVA
    assert asked.messages == (Message.user("Tell Ann about cats."),)
    config = asked.inference_config
    assert (config.max_tokens, config.temperature, config.top_p, config.stop_sequences) == (9, 0.5, 0.25, ("end",))
    assert (asked.extra, asked.prompt_variables) == ({"topK": 3}, None)


def test_a_chat_is_filled_and_goes_on() -> None:
    backend = ScriptedBackend("Yes.")
    with mock_aws(reply=backend):
        prompt = create(CHAT)
        version = agent().create_prompt_version(promptIdentifier=prompt["id"])
        more: list[Any] = [
            {"role": "assistant", "content": [{"text": "I did."}]},
            {"role": "user", "content": [{"text": "{{who}}?"}]},
        ]
        run(version["arn"], promptVariables=VALUES, messages=more)
    asked = backend.requests[0]
    assert isinstance(asked, ConverseRequest)
    assert asked.system == (Text("You are Ann."),)
    texts = ["".join(block.text for block in message.content if isinstance(block, Text)) for message in asked.messages]
    assert texts == ["Hello.", "Hello, cats.", "Go on, cats.", "I did.", "{{who}}?"]
    assert [tool.name for tool in asked.tools if isinstance(tool, ToolSpec)] == ["look"]
    assert asked.tool_choice is not None


def test_streams_and_both_clients_run_a_prompt() -> None:
    with mock_aws(reply="Cats purr."), awsllm.Client(region="us-east-1") as ours:
        arn = create()["arn"]
        events = list(client("bedrock-runtime").converse_stream(modelId=arn, promptVariables=VALUES)["stream"])
        parts = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
        assert "".join(parts) == "Cats purr."
        response = ours.converse(f"bedrock:{arn}", [], prompt_variables={"who": "Ann", "what": "cats"})
        assert response.text == "Cats purr."


def test_a_value_that_looks_like_a_variable_is_none() -> None:
    backend = ScriptedBackend("x")
    with mock_aws(reply=backend):
        run(create()["arn"], promptVariables={"who": {"text": "{{what}}"}, "what": {"text": "\\1 {{who}}"}})
    assert backend.requests[0].messages == (Message.user("Tell {{what}} about \\1 {{who}}."),)  # type: ignore[attr-defined]


def test_a_guardrail_reads_along_with_a_prompt() -> None:
    policy = {"wordPolicyConfig": {"wordsConfig": [{"text": "cats"}]}, "blockedInputMessaging": "No."}
    with mock_aws(reply="x", guardrails={"gr1": policy}):
        guarded = {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT"}
        response = run(create()["arn"], promptVariables=VALUES, guardrailConfig=guarded)
    assert (response["stopReason"], response["output"]["message"]["content"][0]["text"]) == (
        "guardrail_intervened",
        "No.",
    )


@pytest.mark.parametrize(
    "member",
    [
        {"system": []},
        {"inferenceConfig": {}},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]}},
        {"additionalModelRequestFields": {"topK": 1}},
    ],
)
def test_what_the_prompt_says_is_not_said_again(member: dict[str, Any]) -> None:
    """Empty values are refused, too (langchain-ai/langchainjs issue 9310)."""
    with mock_aws(reply="x"):
        code, message = refusal(run, arn=create()["arn"], promptVariables=VALUES, **member)
    assert code == "ValidationException"
    assert next(iter(member)) in message


def test_prompts_that_cannot_be_run_are_refused() -> None:
    without_model = {name: value for name, value in TEXT.items() if name != "modelId"}
    assistant: list[Any] = [{"role": "user", "content": [{"text": "Twice."}]}]
    with mock_aws(reply="x"):
        arn = create()["arn"]
        for missing, values in ((["who", "what"], {}), (["what"], {"who": {"text": "Ann"}})):
            code, message = refusal(run, arn=arn, promptVariables=values)
            assert code == "ValidationException"
            assert message == f"The prompt variables {', '.join(missing)} are missing in promptVariables."
        for unknown in (f"{arn}:7", arn[:-10] + UNKNOWN, arn.replace("us-east-1", "eu-west-1")):
            assert refusal(run, arn=unknown, promptVariables=VALUES)[0] == "ResourceNotFoundException"
        bare = create(without_model, "bare")["arn"]
        assert "names no model" in refusal(run, arn=bare, promptVariables=VALUES)[1]
        empty = agent().create_prompt(name="empty")["arn"]
        assert "no variant" in refusal(run, arn=empty)[1]
        blank: list[Any] = [{"role": "user", "content": [{"text": " "}]}]
        assert "is blank" in refusal(run, arn=arn, promptVariables=VALUES, messages=blank)[1]
        body = {"modelId": arn, "body": b"{}"}
        assert "run by Converse" in refusal(client("bedrock-runtime").invoke_model, **body)[1]
        tokens = {"modelId": arn, "input": {"converse": {"messages": assistant}}}
        assert refusal(client("bedrock-runtime").count_tokens, **tokens)[0] == "ValidationException"


def test_agents_of_moto_have_their_tags() -> None:
    """AWS's pattern of what can have tags has ``/d`` where ``\\d`` is meant: as it stands it would refuse every ARN."""
    with mock_aws(reply="x"):
        made = agent().create_agent(
            agentName="a", agentResourceRoleArn="arn:aws:iam::123456789012:role/a", tags={"b": "c"}
        )
        assert agent().list_tags_for_resource(resourceArn=made["agent"]["agentArn"])["tags"] == {"b": "c"}


def test_a_prompt_is_no_model_of_a_prompt() -> None:
    with mock_aws(reply="x") as aws:
        arn = create({**TEXT, "modelId": create(name="inner")["arn"]})["arn"]
        assert refusal(run, arn=arn, promptVariables=VALUES)[0] == "ValidationException"
        assert len(aws.requests) <= 1
