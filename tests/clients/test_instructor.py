"""instructor: typed answers over boto3's Converse, Anthropic's client for Bedrock, and OpenAI's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, GPT_OSS, QUESTION

instructor = pytest.importorskip("instructor")
pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


class Place(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A place that is spoken of."""

    city: str


ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "response_model": Place, "max_retries": 1}


def test_boto3(server: Server) -> None:
    boto3 = pytest.importorskip("boto3")
    client = instructor.from_bedrock(boto3.client("bedrock-runtime"), mode=instructor.Mode.BEDROCK_TOOLS)
    assert isinstance(client.chat.completions.create(modelId=CLAUDE, **ASKED), Place)


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_openai(server: Server, mode: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode[mode])
        assert isinstance(client.chat.completions.create(model=GPT_OSS, max_tokens=200, **ASKED), Place)
