"""An application of one stack: ``cdk deploy``, or ``python app.py`` to synthesise it into ``cdk.out``."""

from __future__ import annotations

import aws_cdk
from awsllm_stack import AwsllmTemplate

app = aws_cdk.App()
stack = aws_cdk.Stack(app, "awsllm")
AwsllmTemplate(
    stack,
    "Included",
    template=app.node.try_get_context("template") or "chat-api",
    parameters=app.node.try_get_context("parameters")
    or {
        "CodeBucket": "your-bucket",
        "CodeKey": "awsllm.zip",
        "ModelId": "amazon.nova-lite-v1:0",
        "ModelArns": ["arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"],
    },
)
app.synth()
