"""litellm: completion and acompletion on Converse."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices at import

import asyncio

import litellm

MODEL = "bedrock/converse/anthropic.claude-3-haiku-20240307-v1:0"
REQUEST = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 64,
    "aws_bedrock_runtime_endpoint": os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"],
}


def make():
    return None


def call(_client):
    assert litellm.completion(**REQUEST).choices[0].message.content


def stream(_client):
    return sum(1 for _ in litellm.completion(stream=True, **REQUEST))


def many(_client, calls, in_flight):
    async def run():
        todo = iter(range(calls))

        async def worker():
            for _ in todo:
                await litellm.acompletion(**REQUEST)

        await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
