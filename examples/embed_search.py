"""Search by meaning: the passage nearest to a question.

python examples/embed_search.py [--model REF]
"""

import argparse

import awsllm

PASSAGES = [
    "Invoices are due within thirty days of delivery.",
    "The battery lasts nine hours and charges in forty minutes.",
    "Returns are accepted for two weeks if the seal is unbroken.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:all-minilm-l6-v2", metavar="REF")
    options = parser.parse_args()
    question = "Can I send it back if I do not like it?"
    with awsllm.Client() as client:
        query, *passages = client.embed(options.model, [question, *PASSAGES], normalize=True).vectors
    scores = [sum(a * b for a, b in zip(query, passage, strict=True)) for passage in passages]
    for score, text in sorted(zip(scores, PASSAGES, strict=True), reverse=True):
        print(f"{score:.3f}  {text}")


if __name__ == "__main__":
    main()
