"""Training sessions whose callers send too much, and whose files were tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from awsllm.errors import ServerError
from awsllm.server.account.sessions import life, records
from awsllm.server.account.sessions.runtime import SERVICE
from awsllm.types.training import SampleSettings
from tests.server.account.sessions.test_sessions import (
    DRAW,
    STEP,
    aws,
    chunks,
    learning,
    make,
    result,
    sagemaker,
    sampled,
    state,
    submit,
)
from tests.support.sagemaker_account import client

__all__ = ["aws"]  # the fixture


def test_files_that_others_put_beside_a_package(aws: Any, base: Path) -> None:
    """Consoles show folders by empty objects whose names end in a slash."""
    make()
    submit(1, **learning(base))
    submit(2, **STEP)
    package = result(submit(3, saveState={}))["operationResult"]["saveState"]["modelPackageArn"]
    [weights] = [
        one["Key"]
        for one in client("s3").list_objects_v2(Bucket="data")["Contents"]
        if one["Key"].endswith("state/weights.safetensors")
    ]
    folder = weights.removesuffix("weights.safetensors")
    for name in ("", "..", "../../etc/passwd", "sub/", "sub/state.json"):
        client("s3").put_object(Bucket="data", Key=f"{folder}{name}", Body=b"[]")
    load: Any = {"loadState": {"modelPackageArn": package, "loadOptimizer": True}}
    assert result(submit(4, **load))["status"] == "Completed"
    client("s3").put_object(Bucket="data", Key=f"{folder}state.json", Body=b'{"step": "many"}')
    found = result(submit(5, **load))
    assert (found["status"], found["errorDetails"]) == ("Failed", "the state does not say how many steps it has made")


def test_what_waits_is_bounded(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MOST", 3)
    make()
    for number in (2, 3, 4):  # the first is missing
        submit(number, **STEP)
    with pytest.raises(ClientError, match="Too many operations") as caught:
        submit(5, **STEP)
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    submitted = sagemaker().describe_training_session(TrainingSessionName="mine")["TrainingSessionDetail"]
    assert submitted["LastReceivedSequenceNumber"] == 4


def test_a_stopped_session_computes_no_more(aws: Any) -> None:
    make()
    assert state() == "Running"
    [place] = life.places(aws.plane).values()
    sagemaker().stop_training_session(TrainingSessionName="mine")
    with pytest.raises(ServerError, match="the session was closed"):
        place.sample((3,), SampleSettings(max_tokens=9))
    with pytest.raises(client(SERVICE).exceptions.ConflictException):
        sampled(sample={"prompt": chunks([3]), **DRAW})
