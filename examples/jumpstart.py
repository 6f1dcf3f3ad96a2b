"""Deploy a JumpStart model, talk to it, leave nothing behind.

python examples/jumpstart.py                                   # offline: a mocked AWS, in which a real model answers
python examples/jumpstart.py meta-textgeneration-llama-3-1-8b-instruct --accept-eula

The second needs an account, and AWSLLM_SAGEMAKER_ROLE with the ARN of an execution role. It costs money while it runs.
"""

import contextlib
import sys

import awsllm
from awsllm.testing import mock_aws


def main(*arguments: str) -> None:
    model_id = arguments[0] if arguments else "example-gated-lmi-chat"
    role = None if arguments else "arn:aws:iam::123456789012:role/sagemaker"
    with contextlib.nullcontext() if arguments else mock_aws():
        client = awsllm.Client(region="us-east-1")
        plan = client.jumpstart.plan(model_id, accept_eula="--accept-eula" in arguments or not arguments, role=role)
        print(plan)
        with client.jumpstart.deployed(
            model_id, accept_eula=plan.eula_accepted, role=role, on_progress=lambda p: print(p.resource, p.state)
        ) as model:
            reply = model.converse("Name three rivers of Europe.", max_tokens=40)
            print(f"{model}: {reply.text}")
        print("left:", client.jumpstart.endpoints.list())


if __name__ == "__main__":
    main(*sys.argv[1:])
