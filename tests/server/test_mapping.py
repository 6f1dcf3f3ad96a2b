"""The table of models: read, looked up, and as callers of each protocol see it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.models.references import Reference
from awsllm.server import running
from awsllm.server.mapping import Models, Table, entry_of, read_table
from awsllm.testing import AsyncScriptedBackend
from awsllm.types import ConverseRequest, Message
from awsllm.types.embedding import EmbedRequest
from awsllm.types.retrieval import RetrieveRequest

HAIKU = "us.anthropic.claude-3-haiku-20240307-v1:0"
OPAQUE = "arn:aws:bedrock:eu-west-1:210987654321:application-inference-profile/abc123"
TABLE = Table.of(
    {
        "anthropic.*": "local:smollm2-135m-instruct",
        "us.amazon.nova-pro*": "bedrock:us.amazon.nova-pro-v1:0",
        "amazon.titan-embed-*": "bedrock:*",
        "my-alias": "sagemaker:my-endpoint/part",
    }
)


def chat(model: str) -> ConverseRequest:
    return ConverseRequest(model=model, messages=(Message.user("Hi"),))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (HAIKU, "local:smollm2-135m-instruct"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{HAIKU}", "local:smollm2-135m-instruct"),
        ("us.amazon.nova-pro-v1:0", "bedrock:us.amazon.nova-pro-v1:0"),
        ("eu.amazon.nova-pro-v1:0", None),
        ("amazon.titan-embed-text-v2:0", "bedrock:amazon.titan-embed-text-v2:0"),
        (
            "arn:aws:bedrock:eu-west-1::foundation-model/amazon.titan-embed-text-v2:0",
            "bedrock:amazon.titan-embed-text-v2:0",
        ),
        ("my-alias", "sagemaker:my-endpoint/part"),
        ("my-alias2", None),
    ],
)
def test_what_answers(model: str, target: str | None) -> None:
    found = TABLE.find(model)
    assert (str(found) if found else None) == target


def test_an_account_of_another_is_called_only_where_the_table_has_its_arn() -> None:
    assert Table.of({"*": "bedrock:*"}).find(OPAQUE) is None
    both = Table.of({"*": "bedrock:*", "arn:aws:bedrock:eu-west-1:*": "bedrock:*"})
    assert both.find(OPAQUE) == Reference("bedrock", OPAQUE, "eu-west-1")
    assert Table.of({"*": "local:x"}).find(OPAQUE) == Reference("local", "x")


@pytest.mark.parametrize(
    ("model", "called"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-3-haiku-20240307-v1:0"),
        ("eu.anthropic.claude-3-haiku-20240307-v1:0", "us.anthropic.claude-3-haiku-20240307-v1:0"),
        ("claude-3-haiku-20240307", "us.anthropic.claude-3-haiku-20240307-v1:0"),
        ("claude-opus-4-1", "us.anthropic.claude-opus-4-1-20250805-v1:0"),
        ("gpt-oss-20b", "us.openai.gpt-oss-20b-1:0"),
        ("gpt-99", "us.gpt-99"),
    ],
)
def test_the_model_that_a_caller_names_in_a_geography(model: str, called: str) -> None:
    assert Table.of({"*": "bedrock:us.*"}).find(model) == Reference("bedrock", called)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a": "smollm2-135m-instruct"}, "the target of 'a'.*did you mean 'local:"),
        ({"a": "local:*"}, "name one model"),
        ({"a": "bedrock:anthropic.*"}, "name one model"),
        ({"a": "sagemaker:us.*"}, "name one model"),
        ({" ": "local:x"}, "no pattern"),
        ({"a": 3}, "the target of 'a'"),
    ],
)
def test_a_wrong_entry_is_named(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Table.of(entries)


def test_entries_of_the_command_line() -> None:
    assert entry_of(" anthropic.* = local:a=b ") == ("anthropic.*", "local:a=b")
    for text in ("anthropic.*", "=local:x", "a="):
        with pytest.raises(ConfigurationError, match="PATTERN=REFERENCE"):
            entry_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strict = 1", "strict is true or false"),
        ("models = 1", "table of PATTERN"),
        ("[modelz]", "modelz"),
        ("[models", "no TOML"),
        ('[models]\na = "x"', "serve.toml: the target of 'a'"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_table(path, {})


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('strict = true\n[models]\na = "local:x"\nb = "local:y"\n')
    table = read_table(path, {"a": "local:z"})
    assert {name: str(to) for name, to in table.targets.items()} == {"a": "local:z", "b": "local:y"}
    assert table.strict


def test_a_request_is_renamed_by_the_table_and_then_by_its_kind() -> None:
    models = Models("local:chat", "local:embed", table=TABLE, own=("other",), routed=True)
    embed = EmbedRequest(model="cohere.embed-english-v3", texts=("a",))
    named = [models.rename(request).model for request in (chat(HAIKU), chat("meta.llama3-8b"), embed, chat("other"))]
    assert named == ["local:smollm2-135m-instruct", "local:chat", "local:embed", "local:other"]
    base = RetrieveRequest(model="KB12345678", text="x")
    assert Models("local:chat", table=Table.of({"*": "local:x"}), routed=True).rename(base) is base
    assert models.remote(EmbedRequest(model="amazon.titan-embed-text-v2:0", texts=("a",)))
    assert not models.remote(embed)


def test_a_caller_writes_no_reference_himself() -> None:
    with pytest.raises(ModelNotFoundError):
        Models(table=TABLE, routed=True).rename(chat("sagemaker:somebodys-endpoint"))
    assert Models().rename(chat("local:x")).model == "local:x"  # a script's own


# --- as callers see it -----------------------------------------------------------------------------------------------

OTHER = AsyncScriptedBackend("the script")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(
        OTHER, models={"my-alias": "local:smollm2-135m-instruct", "gpt-4o": "local:smollm2-135m-instruct"}
    ) as at:
        yield at


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    models = dict.fromkeys(("my-*", "amazon.nova-lite*"), "local:smollm2-135m-instruct")
    with running(OTHER, models=models, mapped_only=True) as at:
        yield at


def call(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def asked(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


def converse(url: str, model: str) -> str:
    client = boto3.client(
        "bedrock-runtime", "us-east-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b"
    )
    reply = client.converse(
        modelId=model, messages=[{"role": "user", "content": [{"text": "Hi"}]}], inferenceConfig={"maxTokens": 3}
    )
    return str(reply["output"]["message"]["content"][0]["text"])


def test_an_alias_is_answered_in_every_protocol(url: str) -> None:
    assert converse(url, "my-alias") != "the script"
    for path in ("/v1/chat/completions", "/v1/messages"):
        status, wire = call(url, path, asked("my-alias"))
        assert (status, wire["model"]) == (200, "my-alias")
        assert "the script" not in str(wire)
    assert "the script" not in str(call(url, "/v1/chat/completions", asked("gpt-4o"))[1])
    assert converse(url, HAIKU) == "the script"


def test_an_arn_of_the_account_is_meant_by_its_model(strict: str) -> None:
    control = boto3.client(
        "bedrock", "us-east-1", endpoint_url=strict, aws_access_key_id="a", aws_secret_access_key="b"
    )
    source = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
    made = control.create_inference_profile(inferenceProfileName="mine", modelSource={"copyFrom": source})
    assert converse(strict, made["inferenceProfileArn"]) != "the script"
    source = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"
    made = control.create_inference_profile(inferenceProfileName="other", modelSource={"copyFrom": source})
    with pytest.raises(ClientError, match="model identifier is invalid"):
        converse(strict, made["inferenceProfileArn"])


def test_an_alias_takes_the_body_that_it_is_sent(url: str) -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
    status, wire = call(url, "/model/my-alias/invoke", body)
    assert (status, wire["type"], wire["role"]) == (200, "message", "assistant")


def test_another_id_is_refused_as_before(url: str) -> None:
    with pytest.raises(ClientError, match="model identifier is invalid"):
        converse(url, "my-aliaz")
    status, wire = call(url, "/v1/chat/completions", asked("my-aliaz"))
    assert (status, wire["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_name_longer_than_any_is_not_looked_up(url: str, path: str) -> None:
    assert call(url, path, asked("anthropic." + "x" * 3000))[0] == 404


def test_what_is_mapped_is_listed_first(url: str) -> None:
    listed = [one["id"] for one in call(url, "/v1/models")[1]["data"]]
    assert listed[:3] == ["my-alias", "gpt-4o", "smollm2-135m-instruct"]
    assert "anthropic.claude-3-haiku-20240307-v1:0" in listed
    assert call(url, "/v1/models/my-alias")[1]["owned_by"] == "awsllm"


def test_strictly_nothing_else_is_answered(strict: str) -> None:
    assert call(strict, "/v1/chat/completions", asked("my-alias"))[0] == 200
    assert call(strict, "/v1/chat/completions", asked("gpt-4o"))[0] == 404
    assert call(strict, "/v1/messages", asked("claude-3-haiku-20240307"))[0] == 400
    with pytest.raises(ClientError, match="model identifier is invalid"):
        converse(strict, HAIKU)
    listed = [one["id"] for one in call(strict, "/v1/models")[1]["data"]]
    assert set(listed) == {"smollm2-135m-instruct", "amazon.nova-lite-v1:0"}


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    from awsllm.server.assembly import Settings, assemble

    path = tmp_path / "serve.toml"
    path.write_text('[models]\na = "local:smollm2-135m-instruct"\n')
    assembly = assemble(Settings(backend=OTHER, config=path, account=False))
    models = assembly.models
    assert models.rename(chat("a")).model == "local:smollm2-135m-instruct"
    known = "local:all-minilm-l6-v2"
    for text, target in (
        (f'[models]\na = "{known}"\n', known),
        ("broken", known),
        ('[models]\na = "local:nosuch"\n', known),
    ):
        path.with_suffix(".new").write_text(text)
        os.replace(path.with_suffix(".new"), path)
        assembly.reload()
        assert models.rename(chat("a")).model == target


def test_a_local_model_that_nobody_knows_is_refused_at_the_start(tmp_path: Path) -> None:
    from awsllm.server.assembly import Settings, assemble

    path = tmp_path / "serve.toml"
    path.write_text('[models]\nx = "local:smollm2-135m"\n')
    for chosen in ({"models": {"x": "local:smollm2-135m"}}, {"config": path}):
        with pytest.raises(ConfigurationError, match=r"the target of 'x'.*did you mean 'smollm2-135m-instruct'"):
            assemble(Settings(backend=OTHER, account=False, **chosen))
