"""Deploy a JumpStart model, talk to it, leave nothing behind.

python examples/jumpstart.py                                   # offline: a mocked AWS, in which a real model answers
python examples/jumpstart.py meta-textgeneration-llama-3-1-8b-instruct --accept-eula

The second needs an account, and AWSLLM_SAGEMAKER_ROLE with the ARN of an execution role. It costs money while it runs.
"""

import argparse
import contextlib

import awsllm
from awsllm.testing import mock_aws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a JumpStart model id; offline without one")
    parser.add_argument("--accept-eula", action="store_true", help="you have read and accept the model's licence")
    options = parser.parse_args()
    offline = options.model is None
    model_id = options.model or "example-gated-lmi-chat"
    role = "arn:aws:iam::123456789012:role/sagemaker" if offline else None
    with mock_aws() if offline else contextlib.nullcontext():
        client = awsllm.Client(region="us-east-1")
        plan = client.jumpstart.plan(model_id, accept_eula=options.accept_eula or offline, role=role)
        print(plan)
        with client.jumpstart.deployed(
            model_id, accept_eula=plan.eula_accepted, role=role, on_progress=lambda p: print(p.resource, p.state)
        ) as model:
            reply = model.converse("Name three rivers of Europe.", max_tokens=40)
            print(f"{model}: {reply.text}")
        print("left:", client.jumpstart.endpoints.list())


if __name__ == "__main__":
    main()
