"""Invoices that arrive in a bucket: what each says is written beside it as JSON.

awsllm lambda events s3 > event.json                # put your bucket and key into it
awsllm lambda invoke event.json --handler examples.lambdas.documents.handler --aws
"""

import os
from typing import Any, TypedDict

import awsllm
from awsllm.lambdas import SourceDocument, documents_handler

client = awsllm.Client()


class Invoice(TypedDict):
    number: str
    total: float


def invoice(source: SourceDocument) -> Any:
    content = [source.block() or source.text(), "Which number and total has this invoice?"]
    reply = client.converse(
        os.environ["AWSLLM_MODEL"], content, output_type=Invoice, max_tokens=80, timeout=source.timeout
    )
    return reply.output


handler = documents_handler(task=invoice)
