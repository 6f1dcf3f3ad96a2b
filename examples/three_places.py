"""One program, three places: only the model reference differs.

python examples/three_places.py --model local:smollm2-135m-instruct
python examples/three_places.py --model bedrock:us.amazon.nova-lite-v1:0
python examples/three_places.py --model sagemaker:my-endpoint

The last two need an account, or `awsllm serve` and AWS_ENDPOINT_URL=http://127.0.0.1:8900 with any keys and region.
"""

import argparse

import awsllm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    options = parser.parse_args()
    with awsllm.Client() as client:
        reply = client.converse(options.model, "Name three rivers of Europe.", max_tokens=60)
    print(f"{reply.model}: {reply.text}")


if __name__ == "__main__":
    main()
