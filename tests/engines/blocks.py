"""What the engines' workers answer with: a client whose model is a function, made in each of their processes."""

from __future__ import annotations

from typing import Any

import awsllm
from awsllm.testing.scripted import ScriptedBackend
from awsllm.types import ConverseRequest

MODEL = "bedrock:amazon.nova-lite-v1:0"


def reply(request: ConverseRequest) -> Any:
    text = request.messages[-1].text
    if text.endswith("7"):
        raise awsllm.ValidationError("this one is refused")
    return text.upper()


def client() -> awsllm.Client:
    return awsllm.Client(region="us-east-1", backends={"bedrock": ScriptedBackend(reply)}, configuration=None)


TEXTS = [f"row {n}" for n in range(40)]
ANSWERS = [None if text.endswith("7") else f"SAY {text}".upper() for text in TEXTS]


def check(rows: list[dict[str, Any]]) -> None:
    """The engine's rows have all answers, in their rows."""
    found = sorted(rows, key=lambda row: int(str(row["text"]).split()[-1]))
    assert [row["text"] for row in found] == TEXTS
    assert [row["answer"] if isinstance(row["answer"], str) else None for row in found] == ANSWERS
    assert [row["answer_error"] for row in found if isinstance(row["answer_error"], str)] == [
        "ValidationError: this one is refused"
    ] * 4
    assert found[0]["answer_cost"] > 0


ALLOWED = 12  # of the 40 rows, in a minute


def limited(path: str) -> awsllm.Client:
    """A client whose quota all processes share by a file."""
    limits = awsllm.Limits(requests_per_minute=ALLOWED, max_wait=0.5, shared=path, quota="batch")
    backends: Any = {"bedrock": ScriptedBackend(_always)}
    return awsllm.Client(region="us-east-1", backends=backends, configuration=None, limits={MODEL: limits})


def _always(request: ConverseRequest) -> str:
    return request.messages[-1].text.upper()


def check_limited(rows: list[dict[str, Any]]) -> None:
    """Together they were answered as often as one client would have been."""
    answered = [row for row in rows if isinstance(row["answer"], str)]
    refused = [row["answer_error"] for row in rows if isinstance(row["answer_error"], str)]
    assert len(answered) + len(refused) == len(TEXTS)
    assert len(answered) == ALLOWED
    assert all(error.startswith("LimitExceededError") for error in refused)
