"""awsllm, with the policy and the limits that ``settings`` name.

Clients of one process that are behind one quota share a limiter. Each of these stands for a program of its own, so each
has limits of its own: another ``max_wait``, by a second, and where they share nothing, another name of the quota.
"""

from itertools import count
from typing import Any

import awsllm

MODEL = "bedrock:anthropic.claude-sonnet-4-20250514-v1:0"
NUMBERS = count(1)


def make(settings):
    options: dict[str, Any] = {}
    if "limits" in settings:
        number = next(NUMBERS)
        limits = {"quota": f"of client {number}", **settings["limits"]}
        options["limits"] = {MODEL: awsllm.Limits(max_wait=600 + number, **limits)}
    client = awsllm.Client(policy=awsllm.Policy(**settings.get("policy", {})), max_connections=50, **options)

    def ask(number, prompt, max_tokens):
        reply = client.converse(MODEL, prompt, max_tokens=max_tokens, timeout=settings.get("timeout"))
        assert f"#{number}#" in reply.text

    return ask
