"""A state that says whether a review may be published. Retry ThrottlingError and TransientError, catch PermanentError.

echo '{"review": "You are all fools."}' | awsllm lambda invoke - --handler examples.lambdas.stepfunctions.handler
"""

import os
from typing import Any

import awsllm
from awsllm.lambdas import StateInput, step_handler

client = awsllm.Client()
VERDICT = {"type": "object", "properties": {"publish": {"type": "boolean"}}, "required": ["publish"]}


def respond(state: StateInput) -> Any:
    reply = client.converse(
        os.environ["AWSLLM_MODEL"],
        f"May this review be published? It must not insult anybody.\n\n{state.input}",
        output_type=VERDICT,
        max_tokens=20,
        timeout=state.timeout,
    )
    return reply.output


handler = step_handler(respond=respond)
