"""A gateway of your own: OpenAI's and Anthropic's clients, with keys that you give out, in front of Bedrock's models.

awsllm lambda events url --path /v1/chat/completions \
    --body '{"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}' > event.json
awsllm lambda invoke event.json --handler examples.lambdas.gateway.handler --aws    # with the tables of infra/gateway
"""

from typing import Any

from msgspec.structs import replace

from awsllm import ConverseRequest, Request, Text
from awsllm.lambdas import GatewayCall, gateway_handler

MODELS = {"fast": "bedrock:us.amazon.nova-lite-v1:0", "gpt-4o": "bedrock:us.amazon.nova-pro-v1:0"}
RULES = "Never name a competitor's product."


def prepare(call: GatewayCall) -> Request[Any]:
    """Every conversation of every team begins with the company's rules."""
    if not isinstance(call.request, ConverseRequest):
        return call.request
    return replace(call.request, system=(Text(RULES), *call.request.system))


handler = gateway_handler(MODELS, prepare=prepare)  # keys and what they use: AWSLLM_KEYS_TABLE, AWSLLM_USAGE_TABLE
