"""What is asked of every client in its own words: one tool, one shape of an answer, one conversation."""

from __future__ import annotations

from typing import Any

CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
GPT_OSS = "openai.gpt-oss-20b-1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
QUESTION = "What is the weather in Oslo?"
TOOL = ("get_weather", "The weather in a city.")
TITLE = "get_weather"


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun over {city}"
