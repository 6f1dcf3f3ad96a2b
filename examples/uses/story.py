"""Finish a story: the beginning is yours, the rest streams in. Several endings, to choose from.

python examples/uses/story.py [BEGINNING] [--endings 2] [--temperature 0.9] [--model REF]
"""

import argparse

import awsllm

BEGINNING = "The lighthouse keeper had counted the ships every night for thirty years. Tonight there was one too many."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("beginning", nargs="?", default=BEGINNING)
    parser.add_argument("--endings", type=int, default=2, choices=range(1, 21), metavar="1..20")
    parser.add_argument("--temperature", type=float, default=0.9, help="0 is the same ending every time")
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    options = parser.parse_args()
    system = "Continue the story from where it stops, in the same voice, and bring it to an end. Do not repeat it."
    with awsllm.Client() as client:
        for number in range(1, options.endings + 1):
            print(f"--- ending {number}\n{options.beginning}", end=" ", flush=True)
            with client.converse_stream(
                options.model,
                options.beginning,
                system=system,
                temperature=options.temperature,
                max_tokens=options.max_tokens,
            ) as stream:
                for text in stream.text_stream:
                    print(text, end="", flush=True)
            cut = " [...]" if stream.response.stop_reason == "max_tokens" else ""
            print(f"{cut}\n")


if __name__ == "__main__":
    main()
