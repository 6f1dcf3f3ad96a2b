"""langchain-aws: ChatBedrockConverse; its async calls run in threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from langchain_aws import ChatBedrockConverse

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def make():
    return ChatBedrockConverse(model=MODEL, region_name="us-east-1", max_tokens=64)


def call(client):
    assert client.invoke("Hello").content


def stream(client):
    return sum(1 for _ in client.stream("Hello"))


def many(client, calls, in_flight):
    async def run():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(in_flight))
        todo = iter(range(calls))

        async def worker():
            for _ in todo:
                await client.ainvoke("Hello")

        await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
