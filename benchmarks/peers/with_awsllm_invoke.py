"""awsllm over InvokeModel, in the body of Anthropic's Messages."""

import awsllm

MODEL = "bedrock:anthropic.claude-3-haiku-20240307-v1:0"


def make():
    return awsllm.Client()


def call(client):
    assert client.converse(MODEL, "Hello", max_tokens=64, api="invoke").text


def stream(client):
    with client.converse_stream(MODEL, "Hello", max_tokens=64, api="invoke") as events:
        return sum(1 for _ in events)


def many(_client, calls, in_flight):
    import asyncio

    async def run():
        async with awsllm.AsyncClient(max_connections=in_flight) as client:
            todo = iter(range(calls))

            async def worker():
                for _ in todo:
                    await client.converse(MODEL, "Hello", max_tokens=64, api="invoke")

            await asyncio.gather(*[worker() for _ in range(in_flight)])

    asyncio.run(run())
