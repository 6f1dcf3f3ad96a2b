"""Make a picture, then ask another model what it shows.

python examples/images.py --offline          # the offline AWS: the picture is one colour, the answer is made up
python examples/images.py "a red bicycle in the rain" [--model REF] [--ask-model REF] [--output FILE]
"""

import argparse
import contextlib
from pathlib import Path

import awsllm
from awsllm.testing import mock_aws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="a red bicycle in the rain")
    parser.add_argument("--offline", action="store_true", help="no account: AWS is on this machine")
    parser.add_argument("--model", default="bedrock:stability.stable-image-core-v1:1", help="makes the picture")
    parser.add_argument("--ask-model", default="bedrock:us.amazon.nova-lite-v1:0", help="looks at it")
    parser.add_argument("--region", default="us-west-2", help="where the models are")
    parser.add_argument("--output", type=Path, default=Path("picture.png"))
    options = parser.parse_args()
    with (
        mock_aws(reply="One colour.") if options.offline else contextlib.nullcontext(),
        awsllm.Client(region=options.region) as client,
    ):
        made = client.generate_image(options.model, options.prompt, aspect_ratio="1:1", seed=7)
        picture = made.images[0].source
        if not isinstance(picture, awsllm.Bytes):  # withheld by the provider's filter
            raise SystemExit(f"no picture: {made.images[0].error}")
        options.output.write_bytes(picture.data)
        print(f"{options.output}: {made.images[0].format}, ${made.cost or 0:.2f}")
        reply = client.converse(options.ask_model, ["What does this picture show?", options.output], max_tokens=60)
        print(reply.text)


if __name__ == "__main__":
    main()
