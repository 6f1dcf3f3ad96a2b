"""The places whose models are not Bedrock's."""

from __future__ import annotations

from awsllm.models.rules import CACHE_ALL, INVOKE, NOTHING, READ, Rule

RULES = (
    Rule(
        ("local:*",),
        {
            "family": "local",
            "provider": "local",
            "native_json_schema": True,
            "strict_subset": False,
            "cache_points": CACHE_ALL,
            "continues": True,
        },
        "answers and tool calls are decoded under a grammar, so any schema the grammar takes holds; a last turn of the "
        "assistant's is left open",
        "awsllm/engine/grammar.py; awsllm/backends/local/models.py",
        READ,
    ),
    Rule(
        ("sagemaker:*",),
        {
            "family": "openai-chat",
            "provider": "sagemaker",
            "native_json_schema": True,
            "strict_subset": False,
            "cache_points": NOTHING,
            "routes": INVOKE | {"invoke_stream"},
        },
        "chat containers (vLLM, LMI, TGI, SGLang) take response_format json_schema and decode under it",
        "docs.djl.ai/master/docs/serving/serving/docs/lmi/user_guides/lmi_input_output_schema.html",
        READ,
    ),
)
