"""The same over HTTP: operations run in the background, in the order of their numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from awsllm.server import running
from awsllm.server.account.sessions.runtime import SERVICE
from awsllm.testing import AsyncScriptedBackend
from tests.server.account.sessions.test_sessions import REQUEST, STEP, learning
from tests.server.account.test_background import PATIENCE
from tests.server.test_offline import client


def test_what_is_submitted_at_once_is_done_one_after_another(base: Path) -> None:
    with running(AsyncScriptedBackend("x"), models={"a-model*": f"local:{base}"}) as url:
        client("s3", url).create_bucket(Bucket="data")
        sagemaker, session = client("sagemaker", url), client(SERVICE, url)
        sagemaker.create_training_session(TrainingSessionName="mine", **REQUEST)
        until = time.monotonic() + PATIENCE

        def state() -> str:
            found = sagemaker.describe_training_session(TrainingSessionName="mine")["TrainingSessionDetail"]
            assert found["TrainingSessionStatus"] != "Failed", found["ErrorDetails"]
            return str(found["TrainingSessionStatus"])

        while state() != "Running" and time.monotonic() < until:
            time.sleep(0.02)
        sent = [
            session.execute_training_operation(
                trainingSessionName="mine", sequenceNumber=number, operationConfig=config
            )
            for number, config in enumerate([learning(base), STEP, learning(base), STEP, {"saveWeights": {}}], 1)
        ]
        assert state() == "Running"  # what waits for its turn blocks nothing

        def result(number: int) -> Any:
            while time.monotonic() < until:
                found = session.get_training_operation_result(
                    trainingSessionName="mine", operationId=sent[number]["operationId"]
                )
                if found["status"] not in ("Pending", "InProgress"):
                    return found
                time.sleep(0.02)
            pytest.fail("the operation does not end")

        assert "modelPackageArn" in result(4)["operationResult"]["saveWeights"]
        losses = [result(n)["operationResult"]["forwardBackward"]["metrics"]["actor/pg_loss"] for n in (0, 2)]
        assert losses[1] < losses[0]
        body = json.dumps({"messages": [{"role": "user", "content": "Where?"}], "max_tokens": 4})
        said = session.sample_training_session(trainingSessionName="mine", body=body)
        assert json.loads(said["body"].read())["choices"][0]["message"]["content"]
        with pytest.raises(session.exceptions.ResourceNotFoundException):
            session.sample_training_session(trainingSessionName="other", body=body)
