"""Translate the texts of an application: a glossary is kept to, and placeholders must come through unharmed.

python examples/uses/translation.py [--to French] [--model REF] [TEXT ...]
"""

import argparse
import re

import awsllm

TEXTS = ["Hello {name}, your basket is empty.", "Your parcel arrives in {days} days.", "Thank you for your order."]
GLOSSARY = {"French": {"basket": "panier", "parcel": "colis"}, "German": {"basket": "Warenkorb", "parcel": "Paket"}}


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", default=TEXTS, metavar="TEXT")
    parser.add_argument("--to", default="French", metavar="LANGUAGE")
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    options = parser.parse_args()
    terms = "; ".join(f"{ours} is {theirs}" for ours, theirs in GLOSSARY.get(options.to, {}).items())
    system = f"Translate into {options.to}. Answer with the translation alone. Leave what stands in braces as it is."
    system += f" Use these terms: {terms}." if terms else ""
    harmed = 0
    with awsllm.Client() as client:
        for text in options.texts:
            reply = client.converse(options.model, text, system=system, max_tokens=120, temperature=0)
            kept = placeholders(reply.text) == placeholders(text)
            harmed += not kept
            print(f"{text}\n  {reply.text.strip()}{'' if kept else '   <- placeholders differ: have it checked'}")
    print(f"{len(options.texts) - harmed} of {len(options.texts)} can be used as they are")


if __name__ == "__main__":
    main()
