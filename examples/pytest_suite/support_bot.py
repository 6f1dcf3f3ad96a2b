"""The application under test: a support bot on Bedrock that looks up orders and keeps what it says in S3."""

from collections.abc import Iterator

import boto3

import awsllm

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
BUCKET = "support-transcripts"
ORDERS = {"A-17": "packed", "A-18": "on its way"}


def order_status(number: str) -> str:
    """The status of an order, such as A-17."""
    return ORDERS[number]


def answer(client: awsllm.Client, question: str) -> str:
    try:
        reply = client.converse(
            MODEL, question, system="You are a support bot.", tools=[order_status], max_tokens=200, timeout=20
        )
    except awsllm.ThrottlingError:
        return "We are busy. Please ask again in a minute."
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"{reply.request_id}.txt", Body=f"{question}\n{reply.text}")
    return reply.text


def live_answer(client: awsllm.Client, question: str) -> Iterator[str]:
    """The answer as it comes. A stream that breaks says so, and what has been said stays said."""
    with client.converse_stream(MODEL, question, max_tokens=200) as stream:
        try:
            yield from stream.text_stream
        except awsllm.StreamError:
            yield " [the connection broke]"
