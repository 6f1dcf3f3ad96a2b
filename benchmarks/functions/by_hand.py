"""The same by hand with boto3, as its documentation shows it; less than the other does (one front door, no deadline, no
body's limit, no log)."""

import base64
import json

import boto3

client = boto3.client("bedrock-runtime")


def handler(event, context):
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)
    try:
        prompt = json.loads(body)["message"]
    except (ValueError, KeyError):
        return reply(400, {"error": {"type": "ValidationError", "message": 'send {"message": "..."}'}})
    response = client.converse(
        modelId="anthropic.claude-3-haiku-20240307-v1:0",
        messages=[{"role": "user", "content": [{"text": prompt}]}],
        inferenceConfig={"maxTokens": 64},
    )
    return reply(200, {"text": response["output"]["message"]["content"][0]["text"], "usage": response["usage"]})


def reply(status, document):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(document)}
