"""A guardrail: made, asked by itself, reading along in an answer and a stream, and deleted again.

python examples/guardrails.py --offline           # the offline AWS: SmolLM2 answers, the guardrail does its work
python examples/guardrails.py [--model REF]       # an account; a guardrail that nobody calls costs nothing
"""

import argparse
import contextlib

import boto3

import awsllm
from awsllm.testing import mock_aws

POLICIES = {
    "wordPolicyConfig": {"wordsConfig": [{"text": "Falcon-9000"}]},  # a product that is not announced yet
    "sensitiveInformationPolicyConfig": {
        "piiEntitiesConfig": [{"type": "EMAIL", "action": "ANONYMIZE"}, {"type": "PHONE", "action": "ANONYMIZE"}]
    },
}


def show(client: awsllm.Client, model: str, guardrail: str) -> None:
    mail = "Write to ann@example.com about the order."
    judged = client.apply_guardrail(guardrail, mail, source="OUTPUT")
    print(f"{judged.action}: {judged.text}  {[(f.policy, f.type, f.action) for f in judged.findings]}")

    config = {"guardrailIdentifier": guardrail, "guardrailVersion": "DRAFT", "trace": "enabled"}
    for question in ("Name a river of Europe.", "When does the Falcon-9000 come out?"):
        reply = client.converse(model, question, guardrail_config=config, max_tokens=30)
        print(f"> {question}\n{reply.text}  [{reply.stop_reason}]")

    # A stream of any model, a local one too: text is let out once the guardrail has seen its surroundings.
    stream = client.converse_stream(model, f"Repeat word for word: {mail}", max_tokens=30, temperature=0)
    with client.guard(stream, guardrail) as guarded:
        print("".join(guarded.text_stream))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="no account: AWS is on this machine")
    parser.add_argument("--model", default="bedrock:us.amazon.nova-lite-v1:0")
    parser.add_argument("--region", default="us-east-1")
    options = parser.parse_args()
    with mock_aws() if options.offline else contextlib.nullcontext():
        bedrock = boto3.client("bedrock", region_name=options.region)
        guardrail = bedrock.create_guardrail(
            name="awsllm-example",
            blockedInputMessaging="I cannot talk about that.",
            blockedOutputsMessaging="I cannot say that.",
            **POLICIES,
        )["guardrailId"]
        try:
            with awsllm.Client(region=options.region) as client:
                show(client, options.model, guardrail)
        finally:
            bedrock.delete_guardrail(guardrailIdentifier=guardrail)


if __name__ == "__main__":
    main()
