"""Summarise an article of any length: in parts that fit the model, then the summaries of the parts (map-reduce).

python examples/uses/summarise.py [FILE] [--model REF] [--part 3000] [--sentences 2]
"""

import argparse
from pathlib import Path

import awsllm

ARTICLE = Path(__file__).parent.parent / "data" / "article.txt"


def parts_of(text: str, most: int) -> list[str]:
    """Whole paragraphs, as many in a part as its characters allow; a longer paragraph is cut."""
    parts = [""]
    for paragraph in text.split("\n\n"):
        for start in range(0, len(paragraph), most):
            piece = paragraph[start : start + most]
            if parts[-1] and len(parts[-1]) + len(piece) > most:
                parts.append("")
            parts[-1] = f"{parts[-1]}\n\n{piece}".strip()
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=ARTICLE)
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    parser.add_argument("--part", type=int, default=3000, help="characters that the model reads at a time")
    parser.add_argument("--sentences", type=int, default=2)
    options = parser.parse_args()
    if options.part < 1 or not options.file.is_file():
        parser.error(f"{options.file} must be a file, and a part have a character at least")
    system = f"Provide a concise, objective summary of the input text in up to {options.sentences} sentences."
    with awsllm.Client() as client:

        def summary(text: str) -> str:
            return client.converse(options.model, text, system=system, max_tokens=120, temperature=0).text.strip()

        text = options.file.read_text(encoding="utf-8")
        while len(parts := parts_of(text, options.part)) > 1:
            print(f"{len(text):,} characters in {len(parts)} parts")
            summaries = "\n\n".join(summary(part) for part in parts)
            if len(summaries) >= len(text):  # a model that does not shorten would be asked for ever
                break
            text = summaries
        print(summary(parts_of(text, options.part)[0]))


if __name__ == "__main__":
    main()
