"""botocore's service model judges every response of Bedrock's control plane that these tests see."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from awsllm.server.account import protocols
from awsllm.server.shapes import faults, service_model

# What the service itself writes though its model has it otherwise: modalities and inference types newer than the
# enumerations, names of models of more than 20 characters, ARNs without a region in global profiles; and a custom model
# of files, whose base model nobody knows.
_KNOWN = re.compile(
    r"'\S*(inputModalities|outputModalities|inferenceTypesSupported)\S*' failed to satisfy constraint: Member must "
    r"satisfy enum value set"
    r"|modelName' failed to satisfy constraint: Member must have length less than or equal to 20"
    r"|^Value 'arn:aws:bedrock:::foundation-model/"
    r"|^Value null at 'modelSummaries\S*\.baseModel(Arn|Name)'"
)


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> Any:
    found: list[str] = []
    write = protocols.write

    def judge(meant: protocols.Meant, response: Any) -> Any:
        reply = write(meant, response)
        shape = service_model(meant.service).operation_model(meant.operation).output_shape
        if meant.service == "bedrock" and shape is not None:
            told = [fault for fault in faults(shape, json.loads(reply.body)) if not _KNOWN.search(fault)]
            found.extend(f"{meant.operation}: {fault}" for fault in told)
        return reply

    monkeypatch.setattr(protocols, "write", judge)
    yield
    assert found == []
