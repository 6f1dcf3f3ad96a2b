"""litellm's router over one deployment, with the options that ``settings`` name."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices at import

import logging

import litellm

logging.getLogger("LiteLLM Router").setLevel(logging.CRITICAL)
logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
litellm.suppress_debug_info = True


def make(settings):
    deployment = {
        "model_name": "chat",
        "litellm_params": {
            "model": "bedrock/converse/anthropic.claude-sonnet-4-20250514-v1:0",
            "aws_bedrock_runtime_endpoint": os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"],
            **settings.get("deployment", {}),
        },
    }
    router = litellm.Router(model_list=[deployment], **settings["router"])

    async def ask(number, prompt, max_tokens):
        reply = await router.acompletion("chat", [{"role": "user", "content": prompt}], max_tokens=max_tokens)
        assert f"#{number}#" in reply.choices[0].message.content

    return ask
