"""Prompt caching, and what it saves: several questions about one long text, whose beginning is read once.

python examples/prompt_caching.py --offline       # the offline AWS caches too; SmolLM2 answers
python examples/prompt_caching.py [--model REF]   # an account
"""

import argparse
import contextlib
from pathlib import Path

import awsllm
from awsllm.testing import mock_aws

ARTICLE = Path(__file__).parent / "data" / "article.txt"
QUESTIONS = (
    "Who runs the fish factory?",
    "How much electricity was made last year?",
    "Why did the first turbine fail?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="no account: AWS is on this machine")
    parser.add_argument("--model", default="bedrock:us.anthropic.claude-sonnet-5-5")
    parser.add_argument("--file", type=Path, default=ARTICLE, help="too short a prompt is not cached")
    options = parser.parse_args()
    system = f"Answer in one sentence, from this text.\n\n{options.file.read_text(encoding='utf-8')}"
    paid = uncached = 0.0
    with (
        mock_aws() if options.offline else contextlib.nullcontext(),
        awsllm.Client(region="us-east-1" if options.offline else None) as client,
    ):
        price = client.price(options.model)
        for question in QUESTIONS:
            reply = client.converse(options.model, question, system=system, cache="auto", max_tokens=40)
            usage = reply.usage
            read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
            print(f"> {question}\n{reply.text}\n  [{usage.input_tokens} tokens new, {written} written, {read} read]")
            if reply.cost is not None and price is not None and price.input is not None and price.output is not None:
                tokens_in = (usage.input_tokens or 0) + read + written
                paid += reply.cost
                uncached += (tokens_in * price.input + (usage.output_tokens or 0) * price.output) / 1_000_000
    if not uncached:
        print("The price of this model is not known.")
    else:
        print(f"${paid:.6f} instead of ${uncached:.6f}: {1 - paid / uncached:.0%} saved")


if __name__ == "__main__":
    main()
