"""Deploy a stack from Python: its permissions derived, its changes and cost shown first, used, and taken down again.

python examples/infrastructure.py --offline
python examples/infrastructure.py [--model REF] [--stack NAME] [--keep]     # an account; the stack costs nothing idle

`awsllm infra` does the same with templates that come with awsllm, and this one: `awsllm infra plan stack.json`.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path

import boto3

import awsllm
from awsllm import infra
from awsllm.infra.change_sets import StackPlan
from awsllm.testing import mock_aws


def template(region: str, model: str) -> str:
    """A bucket for transcripts, and a policy that lets an application write there and call this one model, wherever
    its inference profile sends the call."""
    may_call = infra.policy(model, region=region, stream=True).policy["Statement"]
    may_write = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": {"Fn::Sub": "${Transcripts.Arn}/*"}}
    policy = {"PolicyDocument": {"Version": "2012-10-17", "Statement": [*may_call, may_write]}}
    made = {
        "Transcripts": {"Type": "AWS::S3::Bucket"},
        "MayAsk": {"Type": "AWS::IAM::ManagedPolicy", "Properties": policy},
    }
    return json.dumps({"Resources": made, "Outputs": {"Bucket": {"Value": {"Ref": "Transcripts"}}}}, indent=1)


def take_down(stack: str, region: str) -> None:
    infra.destroy(stack, region=region, delete_data=True)
    print(f"{stack} is gone")


def use(region: str, model: str, bucket: str) -> None:
    with awsllm.Client(region=region) as client:
        reply = client.converse(model, "Name a river of Europe.", max_tokens=30)
    boto3.client("s3", region_name=region).put_object(Bucket=bucket, Key="first.txt", Body=reply.text)
    print(f"s3://{bucket}/first.txt: {reply.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="no account: AWS is on this machine")
    parser.add_argument("--model", default="bedrock:us.amazon.nova-lite-v1:0")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--stack", default="awsllm-example")
    parser.add_argument("--keep", action="store_true", help="do not take it down")
    options = parser.parse_args()
    with (
        mock_aws() if options.offline else contextlib.nullcontext(),
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as undo,
    ):

        def approve(plan: StackPlan) -> bool:
            """A person would be asked. Nothing that was there is changed, for this program deletes what it deploys."""
            print(plan)
            if (new := plan.action == "create") and not options.keep:
                undo.callback(take_down, options.stack, options.region)
            return new

        stack = Path(folder, "stack.json")
        stack.write_text(template(options.region, options.model), encoding="utf-8")
        made = infra.deploy(
            stack,
            stack=options.stack,
            region=options.region,
            approve=approve,
            on_progress=lambda step: print(step.resource, step.state),
        )
        if made is None:
            raise SystemExit(f"there is a stack {options.stack} already: choose another name with --stack")
        use(options.region, options.model, made.outputs["Bucket"])


if __name__ == "__main__":
    main()
