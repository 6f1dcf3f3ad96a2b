"""langchain-tests' standard suite, which every integration of LangChain is held to, by the chat models that have a
door here. The model behind is scripted and honours schemas, so what fails is the protocol, or is named here."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.clients.conftest import Server
from tests.clients.wishes import CLAUDE, GPT_OSS

pytest.importorskip("langchain_tests")
httpx = pytest.importorskip("httpx")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs

from langchain_anthropic import ChatAnthropic  # noqa: E402
from langchain_aws import ChatBedrockConverse  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from langchain_tests.integration_tests import ChatModelIntegrationTests  # noqa: E402

# A PNG of 1 by 1.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(autouse=True)
def _pointed(scripted: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite makes its models from parameters that know no fixture, so the address is in the environment. The
    pictures and the paper that it takes from the web are taken from here."""
    monkeypatch.setattr(httpx, "get", fetched)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{scripted.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", scripted.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any")


def fetched(url: str, **_: Any) -> Any:
    """What stands at the suite's addresses, by the ends of their names."""
    kinds = {"pdf": PDF, "png": base64.b64decode(PIXEL)}
    return httpx.Response(200, content=next((data for end, data in kinds.items() if url.endswith(end)), JPEG))


class TestChatBedrockConverse(ChatModelIntegrationTests):  # type: ignore[misc]
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_anthropic_inputs = True

    @property
    def chat_model_class(self) -> Any:
        return ChatBedrockConverse

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": SONNET, "region_name": "us-east-1", "max_tokens": 200}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop_sequences": []}

    @pytest.mark.xfail(strict=True, reason="the client sends the file's name, test_file.pdf, and Bedrock takes no dot")
    def test_pdf_inputs(self, model: Any) -> None:
        super().test_pdf_inputs(model)


class TestChatOpenAI(ChatModelIntegrationTests):  # type: ignore[misc]
    supports_json_mode = True

    @property
    def chat_model_class(self) -> Any:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": GPT_OSS, "stream_usage": True, "use_responses_api": False}


class TestChatOpenAIResponses(TestChatOpenAI):
    supports_json_mode = False

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": GPT_OSS, "use_responses_api": True}


class TestChatAnthropic(ChatModelIntegrationTests):  # type: ignore[misc]
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_anthropic_inputs = True

    @property
    def chat_model_class(self) -> Any:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": CLAUDE, "max_tokens": 200}
