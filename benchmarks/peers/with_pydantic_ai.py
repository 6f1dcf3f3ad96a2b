"""pydantic-ai: an Agent over BedrockConverseModel."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.settings import ModelSettings

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def make():
    return Agent(BedrockConverseModel(MODEL), model_settings=ModelSettings(max_tokens=64))


def call(agent):
    assert agent.run_sync("Hello").output


def stream(agent):
    async def run():
        count = 0
        async with agent.run_stream("Hello") as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                count += 1
        return count

    return asyncio.run(run())


def many(agent, calls, in_flight):
    async def run():
        todo = iter(range(calls))

        async def worker():
            for _ in todo:
                await agent.run("Hello")

        await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
