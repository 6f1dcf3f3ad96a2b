"""What knowledge bases, agents and guardrails cannot be asked is named before anything is sent, with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.calls.knowledge import foundation_model_arn
from awsllm.types.agents import AgentFile, AgentInvocation, ReturnControl
from awsllm.types.retrieval import AllOf, AnyOf, Condition, ExternalSource, Reranking

KB = "ABCDEFGHIJ"
NOVA = "bedrock:amazon.nova-lite-v1:0"
INSTRUCTION = "You are an agent that tells the weather of cities."
WAITING = ReturnControl("i-1", (AgentInvocation(action_group="weather", function="forecast"),))
KB_ARN = f"arn:aws:bedrock:us-east-1:123456789012:knowledge-base/{KB}"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.retrieve("my-base", "x"), r"10 letters and digits.*list_knowledge_bases"),
        (lambda c: c.retrieve(7, "x"), "named by its id or ARN"),
        (lambda c: c.retrieve(KB, " "), "the query is blank"),
        (lambda c: c.retrieve(KB, ["a", "b"]), "one text, one image, or one of each"),
        (lambda c: c.retrieve(KB, {"a": 1}), "not a dict"),
        (lambda c: c.retrieve(KB, "x", number_of_results=101), "1 to 100"),
        (lambda c: c.retrieve(KB, "x", number_of_results="5"), "it is an int"),
        (lambda c: c.retrieve(KB, "x", search_type="fuzzy"), "'hybrid' or 'semantic'"),
        (lambda c: c.retrieve(KB, "x", search_type="hybrid", managed=True), "chooses by itself"),
        (lambda c: c.retrieve(KB, "x", rerank="managed"), "are for managed=True"),
        (lambda c: c.retrieve(KB, "x", filter=awsllm.attribute("year")), "an attribute with no condition"),
        (lambda c: c.retrieve(KB, "x", filter="year > 1"), "made of awsllm.attribute"),
        (lambda c: c.retrieve(KB, "x", filter={"equal": {"key": "a", "value": 1}}), "equal: is no condition"),
        (lambda c: c.retrieve(KB, "x", filter={"andAll": [{"equals": {"key": "a"}}]}), "at least two filters"),
        (lambda c: c.retrieve(KB, "x", filter=Condition("like", "a", 1)), "like: is no condition"),
        (lambda c: c.retrieve(KB, "x", implicit_filter={"attributes": []}), "implicit_filter is a ImplicitFilter"),
        (lambda c: c.retrieve(KB, "x", guardrail_config={"guardrailVersion": "1"}), "names no guardrail"),
        (lambda c: c.retrieve(KB, "x", numbr_of_results=1), "did you mean 'number_of_results'"),
        (lambda c: c.retrieve_and_generate(NOVA, "x"), "a knowledge_base or of sources"),
        (lambda c: c.retrieve_and_generate(NOVA, "x", knowledge_base=KB, sources="s3://b/k"), "give one of them"),
        (lambda c: c.retrieve_and_generate(NOVA, " ", knowledge_base=KB), "not blank"),
        (lambda c: c.retrieve_and_generate(NOVA, "x", sources="https://x.example"), "write s3://BUCKET/KEY"),
        (lambda c: c.retrieve_and_generate(NOVA, "x", sources=["s3://bucket/a", "s3://bucket/b"]), "one document"),
        (lambda c: c.retrieve_and_generate(NOVA, "x", sources=ExternalSource(data=b"x")), "content_type"),
        (lambda c: c.retrieve_and_generate(NOVA, "x", sources=Path("/no/such/file")), "cannot be read"),
        (
            lambda c: c.retrieve_and_generate(NOVA, "x", sources="s3://bucket/a", number_of_results=3),
            "number_of_results is of a search",
        ),
        (lambda c: c.retrieve_and_generate("local:smollm2", "x", knowledge_base=KB), "no model of bedrock"),
        (lambda c: c.agentic_retrieve_stream([], "x"), "no knowledge base to search"),
        (lambda c: c.generate_query(KB, "x"), "takes a knowledge base's ARN"),
        (lambda c: c.generate_query(KB_ARN, ""), "not blank"),
        (lambda c: c.optimize_prompt("sagemaker:ep", "x"), "is for bedrock: models"),
        (lambda c: c.rerank(NOVA, "x", ["a"], api="agent"), "'invoke' or 'agents'"),
        (lambda c: c.rerank("local:all-minilm-l6-v2", "x", ["a"], api="agents"), "the doors of bedrock"),
        (lambda c: c.rerank("bedrock:amazon.rerank-v1:0", "x", ["a"] * 1001, api="agents"), "takes 1,000"),
        (lambda c: c.invoke_agent("AGENT12345", "x"), "AGENT/ALIAS"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345"), "nothing to say"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345", "x", session_id="a b"), "2 to 100 letters"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345", results=["x"]), "pass return_control"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345", return_control=WAITING), "0 results for the 1 invocations"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345", "x", attributes={"a": 1}), "takes texts alone"),
        (lambda c: c.invoke_agent("AGENT12345/ALIAS12345", "x", files=["a.csv"]), "an AgentFile or a pathlib.Path"),
        (lambda c: c.invoke_inline_agent(NOVA, "x", instruction="short"), "40 characters at least; it has 5"),
        (lambda c: c.invoke_inline_agent("local:x", "x", instruction=INSTRUCTION), "a bedrock: model"),
        (lambda c: c.apply_guardrail("My Guardrail", "x"), r"small letters and digits.*list_guardrails"),
        (lambda c: c.apply_guardrail("gr1", "x", version="v1"), "'DRAFT' or a number"),
        (lambda c: c.apply_guardrail("gr1", "x", source="both"), "'INPUT' or 'OUTPUT'"),
        (lambda c: c.apply_guardrail("gr1", []), "nothing to judge"),
        (lambda c: c.apply_guardrail("gr1", b"GIF89a" + b"\0" * 20), "png and jpeg"),
        (lambda c: c.apply_guardrail("gr1", [7]), "a int cannot be judged"),
        (lambda c: c.apply_guardrail("gr1", {"txt": {}}), "content is not what the service takes"),
        (lambda c: c.guardrail_checks("x"), "say what to look for: content_filter=True"),
        (lambda c: c.guardrail_checks("x", prompt_attack="MAGIC"), "it can for JAILBREAK"),
        (lambda c: c.guardrail_checks(b"\x89PNG\r\n\x1a\n" + b"\0" * 20, content_filter=True), "judges texts alone"),
    ],
)
def test_what_cannot_be_asked_is_named(call: Any, words: str) -> None:
    with awsllm.Client(region="us-east-1") as client, pytest.raises(awsllm.AwsllmError, match=words):
        call(client)


def test_filters_are_joined_flat_and_only_with_filters() -> None:
    a, b, c = (awsllm.attribute(name) == 1 for name in "abc")
    assert a & b & c == AllOf((a, b, c))
    assert a | b | c == AnyOf((a, b, c))
    assert (a | b) & c == AllOf((AnyOf((a, b)), c))
    with pytest.raises(awsllm.ValidationError, match="Python binds & and"):
        a & True  # type: ignore[operator]


@pytest.mark.parametrize(
    ("model", "region", "arn"),
    [
        (NOVA, "eu-west-1", "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0"),
        (
            "amazon.nova-lite-v1:0",
            "us-gov-west-1",
            "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/amazon.nova-lite-v1:0",
        ),
        ("bedrock:us.amazon.nova-lite-v1:0", "us-east-1", "us.amazon.nova-lite-v1:0"),
        (
            KB_ARN.replace("knowledge-base", "custom-model"),
            "us-east-1",
            KB_ARN.replace("knowledge-base", "custom-model"),
        ),
        (NOVA, None, "amazon.nova-lite-v1:0"),
    ],
)
def test_the_service_is_told_arns(model: str, region: str | None, arn: str) -> None:
    assert foundation_model_arn(model, lambda: region) == arn


def test_a_knowledge_base_s_arn_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from awsllm.calls.knowledge import prepare_retrieve

    def nowhere() -> str:
        raise AssertionError("the ARN says where")

    arn = KB_ARN.replace("us-east-1", "eu-west-1")
    rerank = Reranking(model_arn="cohere.rerank-v3-5:0", number_of_results=3)
    reference, request = prepare_retrieve(arn, "x", {"rerank": rerank, "managed": True}, nowhere)
    assert reference.region == "eu-west-1"
    assert request.config.reranking is not None
    assert request.config.reranking.model_arn.startswith("arn:aws:bedrock:eu-west-1::foundation-model/cohere")
    assert request.config.reranking_type == "CUSTOM"


def test_a_query_is_a_text_an_image_or_both(tmp_path: Path) -> None:
    from awsllm.calls.knowledge import prepare_retrieve

    data = b"\x89PNG\r\n\x1a\n" + bytes(20)
    path = tmp_path / "cat.png"
    path.write_bytes(data)
    for query in (path, data, awsllm.image(path)):
        _, request = prepare_retrieve(KB, ["a cat", query], {}, lambda: None)
        assert request.text == "a cat"
        assert request.image == awsllm.Image("png", awsllm.Bytes(data))
    _, request = prepare_retrieve(KB, path, {"search_type": "hybrid", "user_id": "kim"}, lambda: None)
    assert (request.text, request.config.search_type, request.user_id) == (None, "HYBRID", "kim")


def test_files_go_to_an_agent_by_their_paths(tmp_path: Path) -> None:
    from awsllm.calls.agents import prepare_agent

    path = tmp_path / "data.csv"
    path.write_bytes(b"1,2")
    arn = "arn:aws:bedrock:eu-west-1:123456789012:agent-alias/AGENT12345/ALIAS12345"
    reference, request = prepare_agent(arn, "sum it up", {"files": [path]})
    assert (reference.model, reference.region, request.alias) == ("AGENT12345", "eu-west-1", "ALIAS12345")
    assert request.session is not None
    assert request.session.files == (AgentFile(name="data.csv", data=b"1,2", media_type="text/csv"),)
