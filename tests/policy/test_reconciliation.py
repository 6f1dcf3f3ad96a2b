"""A ledger is compared with what Bedrock's invocation log has, request by request where their ids were kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

from awsllm import Client, UsageLedger, infra
from awsllm.cli.app import app
from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.testing import mock_aws

NOVA = "bedrock:amazon.nova-lite-v1:0"
TITAN = "bedrock:amazon.titan-embed-text-v2:0"
FOLDER = "AWSLogs/123456789012/BedrockModelInvocationLogs"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An account that logs into a bucket and a log group; the folder of a ledger."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWSLLM_CONFIG", "")
    with mock_aws(reply="one two three"):
        boto3.client("s3", "us-east-1").create_bucket(Bucket="invocations")
        boto3.client("logs", "us-east-1").create_log_group(logGroupName="group")
        boto3.client("bedrock", "us-east-1").put_model_invocation_logging_configuration(
            loggingConfig={
                "s3Config": {"bucketName": "invocations"},
                "cloudWatchConfig": {"logGroupName": "group", "roleArn": "arn:aws:iam::123456789012:role/logs"},
            }
        )
        yield tmp_path


def run(*words: str) -> Any:
    result = CliRunner().invoke(app, ["usage", "reconcile", *words])
    if isinstance(result.exception, AwsllmError):
        raise result.exception
    return result


def found(folder: Path, *words: str) -> Any:
    result = run("--ledger", str(folder / "usage.db"), "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def use(folder: Path, **options: Any) -> list[str | None]:
    """Some calls that a ledger counts; their ids."""
    with (
        closing(UsageLedger(folder / "usage.db", request_ids=options.pop("request_ids", True))) as ledger,
        Client(region="us-east-1", ledger=ledger, tags={"team": "search"}, **options) as client,
    ):
        first = client.converse(NOVA, "hi", max_tokens=50)
        second = client.converse_stream(NOVA, "hi", tags={"team": "ads"}).response
        third = client.embed(TITAN, ["some words"])
        return [first.request_id, second.request_id, third.request_id]


def call_past_the_ledger() -> str:
    reply = boto3.client("bedrock-runtime", "us-east-1").converse(
        modelId="amazon.nova-lite-v1:0", messages=[{"role": "user", "content": [{"text": "hi"}]}]
    )
    return str(reply["ResponseMetadata"]["RequestId"])


def objects() -> list[str]:
    listed = boto3.client("s3", "us-east-1").list_objects_v2(Bucket="invocations")["Contents"]
    return [each["Key"] for each in listed if each["Key"].endswith(".json.gz")]


@pytest.mark.parametrize("place", ["s3://invocations", f"s3://invocations/{FOLDER}", "cloudwatch:group"])
def test_what_is_the_same_on_both_sides_is_so(account: Path, place: str) -> None:
    use(account)
    same = found(account, "--logs", place)
    assert (same["matched"], same["only_aws"]["calls"], same["only_ledger"]["calls"]) == (3, 0, 0)
    assert all(row["aws"] == row["ledger"] for row in same["rows"])
    assert {row["key"][1] for row in same["rows"]} == {NOVA[8:], TITAN[8:]}
    assert same["notes"] == []
    by_team = found(account, "--logs", place, "--by", "tag:team")["rows"]
    counts = {row["key"][0]: (row["aws"]["calls"], row["ledger"]["calls"]) for row in by_team}
    assert counts == {"search": (2, 2), "ads": (1, 1)}


def test_what_only_one_side_has_is_told(account: Path) -> None:
    first, *_ = use(account)
    unknown = call_past_the_ledger()
    s3 = boto3.client("s3", "us-east-1")
    for key in objects():
        record = json.loads(gzip.decompress(s3.get_object(Bucket="invocations", Key=key)["Body"].read()))
        if record["requestId"] == first:
            s3.delete_object(Bucket="invocations", Key=key)
        elif record["operation"] == "ConverseStream":
            record["output"]["outputTokenCount"] += 100
            s3.put_object(Bucket="invocations", Key=key, Body=gzip.compress(json.dumps(record).encode()))
    told = found(account, "--logs", "s3://invocations")
    assert told["only_aws"]["ids"] == [unknown]
    assert told["only_aws"]["output"] == 3
    assert told["only_ledger"]["ids"] == [first]
    assert (told["differing"]["calls"], told["differing"]["output"]) == (1, 100)
    assert told["matched"] == 2
    shown = run("--ledger", str(account / "usage.db"), "--logs", "s3://invocations").stdout
    assert "differs" in shown
    assert "AWS alone has 1 requests: 1 tokens in, 3 out, $" in shown
    assert f"({unknown})" in shown


def test_without_ids_sums_are_compared_and_that_is_said(account: Path) -> None:
    use(account, request_ids=False)
    call_past_the_ledger()
    told = found(account, "--logs", "s3://invocations", "--by", "model")
    (nova,) = (row for row in told["rows"] if row["key"] == [NOVA[8:]])
    assert (nova["aws"]["calls"], nova["ledger"]["calls"]) == (3, 2)
    assert not told["by_id"]
    assert "kept no ids" in told["notes"][0]


def test_calls_through_a_profile_are_their_models(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = infra.create_profile(NOVA, {"team": "search"}, region="us-east-1")
    use(account, profiles=infra.profiles_by_tag([made]))
    assert "ARNs" in found(account, "--logs", "s3://invocations")["notes"][0]
    (account / "awsllm.toml").write_text(f'[profiles."team=search"]\n"{NOVA}" = "{made.arn}"\n')
    monkeypatch.setenv("AWSLLM_CONFIG", str(account / "awsllm.toml"))
    same = found(account, "--logs", "s3://invocations")
    assert same["notes"] == []
    assert all(row["aws"] == row["ledger"] for row in same["rows"])


def test_files_are_read_and_what_is_no_record_is_passed_over(account: Path) -> None:
    use(account)
    s3, folder = boto3.client("s3", "us-east-1"), account / "logs"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "large_input.json.gz").write_bytes(gzip.compress(b"no record"))
    for number, key in enumerate(objects()):
        packed = s3.get_object(Bucket="invocations", Key=key)["Body"].read()
        (folder / f"{number}.json.gz").write_bytes(packed)
        (folder / f"{number}.jsonl").write_bytes(gzip.decompress(packed) + b"\n{}\nnot JSON\n")
    refused = json.loads(gzip.decompress(packed)) | {"requestId": "r", "errorCode": "ThrottlingException"}
    (folder / "refused.json").write_text(json.dumps(refused))
    told = found(account, "--logs", str(folder))
    assert (told["matched"], told["repeated"], told["refused"]) == (3, 3, 1)
    assert told["notes"] == ["6 lines are no records of invocations and were passed over"]
    assert found(account, "--logs", str(folder / "0.jsonl"))["matched"] == 1
    assert found(account, "--logs", str(folder), "--until", "2001-01-01")["rows"] == []
    (folder / "cut.json.gz").write_bytes(packed[:40])
    with pytest.raises(ConfigurationError, match=r"cut\.json\.gz is no whole gzip file"):
        run("--ledger", str(account / "usage.db"), "--logs", str(folder))


def test_what_was_not_called_at_bedrock_is_left_out_and_said(account: Path) -> None:
    use(account)
    with closing(UsageLedger(account / "usage.db")) as ledger:
        ledger.count_call("local:x", {}, _usage(), 0.0, None)
        ledger.count_call("bedrock:amazon.nova-lite-v1:0", {}, _usage(), 0.0, None)
    told = found(account, "--logs", "s3://invocations")
    assert told["notes"] == [
        "of 1 calls the ledger has no id: they are in the sums alone",
        "1 calls of the ledger went elsewhere than to Bedrock and are left out",
    ]


def _usage() -> Any:
    from awsllm import Usage

    return Usage(input_tokens=1, output_tokens=1)


def test_what_is_not_there_is_told(account: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no .*usage\.db"):
        run("--ledger", str(account / "usage.db"), "--logs", "s3://invocations")
    use(account)
    with pytest.raises(ConfigurationError, match="there is no nowhere"):
        run("--ledger", str(account / "usage.db"), "--logs", "nowhere")
    assert run("--ledger", str(account / "usage.db"), "--logs", "s3://invocations", "--by", "week").exit_code == 2
    with pytest.raises(AwsllmError):
        run("--ledger", str(account / "usage.db"), "--logs", "s3://nobodys-bucket")
