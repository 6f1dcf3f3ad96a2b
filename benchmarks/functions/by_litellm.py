"""The same by litellm."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices at import

import litellm


def handler(event, context):
    prompt = json.loads(event["body"])["message"]
    response = litellm.completion(
        "bedrock/converse/anthropic.claude-3-haiku-20240307-v1:0",
        [{"role": "user", "content": prompt}],
        max_tokens=64,
        aws_bedrock_runtime_endpoint=os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"],
    )
    document = {"text": response.choices[0].message.content}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(document)}
