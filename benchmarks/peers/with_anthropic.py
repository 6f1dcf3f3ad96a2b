"""Anthropic's own client for Bedrock, which speaks InvokeModel."""

import os
from typing import Any

import anthropic

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
MESSAGES: Any = [{"role": "user", "content": "Hello"}]


def make():
    return anthropic.AnthropicBedrock(base_url=os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"], aws_region="us-east-1")


def call(client):
    assert client.messages.create(model=MODEL, max_tokens=64, messages=MESSAGES).content[0].text


def stream(client):
    with client.messages.create(model=MODEL, max_tokens=64, messages=MESSAGES, stream=True) as events:
        return sum(1 for _ in events)


def many(_client, calls, in_flight):
    import asyncio

    async def run():
        url = os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
        async with anthropic.AsyncAnthropicBedrock(base_url=url, aws_region="us-east-1") as client:
            todo = iter(range(calls))

            async def worker():
                for _ in todo:
                    await client.messages.create(model=MODEL, max_tokens=64, messages=MESSAGES)

            await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
