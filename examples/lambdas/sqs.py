"""Support mails of a queue, made into tickets: a mail that cannot be read fails alone, the others are done.

awsllm lambda events sqs --body '{"mail": "The kettle leaks!"}' > event.json
awsllm lambda invoke event.json --handler examples.lambdas.sqs.handler
"""

import os
from typing import Any, Literal, TypedDict

import awsllm
from awsllm.lambdas import QueueRecord, sqs_handler

client = awsllm.Client()


class Ticket(TypedDict):
    product: str
    severity: Literal["low", "medium", "high"]


def process(record: QueueRecord) -> Any:
    mail, model = record.json()["mail"], os.environ["AWSLLM_MODEL"]
    question = f"Make a support ticket of this mail: {mail}"
    reply = client.converse(model, question, output_type=Ticket, max_tokens=80, timeout=record.timeout)
    return reply.output  # to AWSLLM_RESULT_QUEUE, where it is set


handler = sqs_handler(process=process)
