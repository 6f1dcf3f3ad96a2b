"""Text as it is generated, and the whole response at the end.

python examples/stream.py [--model REF]
"""

import argparse

import awsllm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
    options = parser.parse_args()
    with (
        awsllm.Client() as client,
        client.converse_stream(options.model, "Write a limerick about the cloud.", max_tokens=80) as stream,
    ):
        for text in stream.text_stream:
            print(text, end="", flush=True)
        print(f"\n[{stream.response.stop_reason}, {stream.response.usage.output_tokens} tokens]")


if __name__ == "__main__":
    main()
