"""A chat API by awsllm: one line."""

from awsllm.lambdas import chat_handler

handler = chat_handler("bedrock:anthropic.claude-3-haiku-20240307-v1:0", max_tokens=64)
