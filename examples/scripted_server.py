"""A server that answers from a script, for a program in any language; here it is one in another process."""

import os
import subprocess
import sys

from awsllm import ConverseRequest
from awsllm.testing import server
from awsllm.testing.faults import throttle

PROGRAM = """
import boto3  # or the AWS SDK of any other language: it reads the same variables

bedrock = boto3.client("bedrock-runtime")
for question in ("Where is Oslo?", "And Bergen?"):
    messages = [{"role": "user", "content": [{"text": question}]}]
    reply = bedrock.converse(modelId="us.amazon.nova-lite-v1:0", messages=messages)
    retries = reply["ResponseMetadata"]["RetryAttempts"]
    print(reply["output"]["message"]["content"][0]["text"], f"({retries} retries)")
"""

with server(reply=["In Norway.", "On its coast."], faults=[throttle(after=1, times=1)]) as aws:
    subprocess.run([sys.executable, "-c", PROGRAM], env={**os.environ, **aws.env}, check=True)
    print("asked:", [request.messages[0].text for request in aws.requests if isinstance(request, ConverseRequest)])
    aws.assert_all_used()
