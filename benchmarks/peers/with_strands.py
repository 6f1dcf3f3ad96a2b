"""strands: an Agent over BedrockModel; an agent serves one call at a time, so many calls take many agents."""

import asyncio

from strands import Agent
from strands.models import BedrockModel

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def make(streaming=False):
    model = BedrockModel(model_id=MODEL, region_name="us-east-1", max_tokens=64, streaming=streaming)
    return Agent(model=model, callback_handler=None)


def call(agent):
    agent.messages.clear()
    assert str(agent("Hello"))


def stream(_agent):
    agent = make(streaming=True)

    async def run():
        return sum([1 async for event in agent.stream_async("Hello") if "event" in event])

    return asyncio.run(run())


def many(agent, calls, in_flight):
    async def run():
        todo = iter(range(calls))

        async def worker():
            own = Agent(model=agent.model, callback_handler=None)
            for _ in todo:
                own.messages.clear()
                await own.invoke_async("Hello")

        await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
