"""Write a product's page from its facts, as fields that fit a template, and say it again in another voice.

python examples/uses/copywriting.py [--voice "a sea captain"] [--fact FACT ...] [--model REF]
"""

import argparse
import re
from typing import Annotated

from pydantic import BaseModel, Field

import awsllm

FACTS = ["Falcon kettle, 1.7 litres", "boils in two minutes", "keeps warm for an hour", "three years of warranty"]


class Copy(BaseModel):
    headline: Annotated[str, Field(max_length=60)]
    body: Annotated[str, Field(max_length=300)]
    call_to_action: Annotated[str, Field(max_length=40)]


def telling(text: str) -> set[str]:
    """Numbers and words of four letters or more: "in" and "the" come through anyhow."""
    return set(re.findall(r"\d[\d.,]*\d|\d|\w{4,}", text.lower()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fact", action="append", help="may be repeated")
    parser.add_argument("--voice", default="a sea captain who has seen everything")
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    options = parser.parse_args()
    facts = "; ".join(options.fact or FACTS)
    with awsllm.Client() as client:
        copy: Copy = client.converse(
            options.model,
            f"Write the text of a product page. The facts are: {facts}. Claim nothing else.",
            output_type=Copy,
            max_tokens=250,
        ).output
        print(f"# {copy.headline}\n\n{copy.body}\n\n[{copy.call_to_action}]")
        again = client.converse(
            options.model,
            f"{copy.body} ({facts})",
            system=f"You rewrite texts. Rewrite the input text in the voice of {options.voice}, with every fact of it.",
            max_tokens=150,
        )
    print(f"\n--- {options.voice}\n{again.text.strip()}")
    left_out = [fact for fact in options.fact or FACTS if not telling(fact) <= telling(again.text)]
    print(f"\nTo be checked, words of them are missing: {', '.join(left_out) or 'none'}")


if __name__ == "__main__":
    main()
