"""Text as it is generated, and the whole response at the end.

python examples/stream.py [MODEL]
"""

import sys

import awsllm


def main(model: str = "local:smollm2-135m-instruct") -> None:
    with (
        awsllm.Client() as client,
        client.converse_stream(model, "Write a limerick about the cloud.", max_tokens=80) as stream,
    ):
        for text in stream.text_stream:
            print(text, end="", flush=True)
        print(f"\n[{stream.response.stop_reason}, {stream.response.usage.output_tokens} tokens]")


if __name__ == "__main__":
    main(*sys.argv[1:])
