"""One program, three places: only the model reference differs.

python examples/three_places.py local:smollm2-135m-instruct
python examples/three_places.py bedrock:us.amazon.nova-lite-v1:0
python examples/three_places.py sagemaker:my-endpoint

The last two need an account, or `awsllm serve` and AWS_ENDPOINT_URL=http://127.0.0.1:8900 with any keys and region.
"""

import sys

import awsllm


def main(model: str = "local:smollm2-135m-instruct") -> None:
    with awsllm.Client() as client:
        reply = client.converse(model, "Name three rivers of Europe.", max_tokens=60)
    print(f"{reply.model}: {reply.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
