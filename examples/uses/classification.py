"""Sort support tickets into four classes in four ways, and say how often each is right on tickets it has not seen.

The tickets are made up and short, and their words give them away: real ones are harder. The two that learn of vectors
see all 80 labelled tickets, few-shot 8 of them, which is what fits a small model's prompt, and zero-shot none.

python examples/uses/classification.py [--model REF] [--embed-model REF] [--limit N]
"""

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import awsllm

TICKETS = Path(__file__).parent.parent / "data" / "tickets.csv"
LABELS = ("billing", "delivery", "account", "defect")
ONE_OF = {"type": "object", "properties": {"label": {"enum": list(LABELS)}}, "required": ["label"]}
Ticket = tuple[str, str]  # label, text


def by_prompt(client: awsllm.Client, model: str, examples: list[Ticket]) -> Callable[[str], str]:
    """Zero-shot without examples, few-shot with some. The schema leaves the model no other answer than a label."""
    shown = "".join(f"\nTicket: {text}\nLabel: {label}" for label, text in examples)
    system = f"Classify each support ticket as one of {', '.join(LABELS)}.{shown}"

    def classify(text: str) -> str:
        reply = client.converse(
            model, f"Ticket: {text}\nLabel:", system=system, output_type=ONE_OF, max_tokens=20, temperature=0
        )
        return str(reply.output["label"])

    return classify


def by_centroid(vectors: Any, labels: Any) -> Callable[[Any], Any]:
    """The label whose tickets have the nearest mean. Vectors have length 1, so a product is a cosine."""
    means = np.stack([vectors[labels == number].mean(axis=0) for number in range(len(LABELS))])
    return lambda x: (x @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(axis=1)


def by_regression(vectors: Any, labels: Any, steps: int = 500, rate: float = 5.0, decay: float = 1e-3) -> Any:
    """Logistic regression (softmax) by plain gradient descent."""
    weights, wanted = np.zeros((vectors.shape[1], len(LABELS))), np.eye(len(LABELS))[labels]
    for _ in range(steps):
        scores = np.exp(vectors @ weights)
        gradient = vectors.T @ (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(vectors)
        weights -= rate * (gradient + decay * weights)
    return lambda x: (x @ weights).argmax(axis=1)


def interval(right: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95% interval of a share: with forty tickets it is wide, and a table without it would pretend."""
    share, width = right / of, z * math.sqrt(right * (of - right) / of + z * z / 4) / (of + z * z)
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    return middle - width, middle + width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", help="for zero-shot and few-shot")
    parser.add_argument("--embed-model", default="local:all-minilm-l6-v2")
    parser.add_argument(
        "--limit", type=int, default=40, choices=range(1, 41), metavar="1..40", help="tickets to classify"
    )
    options = parser.parse_args()
    tickets = [(label, text) for label, text in csv.reader(TICKETS.read_text(encoding="utf-8").splitlines())][1:]
    train = [ticket for number, ticket in enumerate(tickets) if number % 3]
    test = [tickets[::3][number * 40 // options.limit] for number in range(options.limit)]  # of every label as many
    truth = np.array([LABELS.index(label) for label, _ in test])
    with awsllm.Client() as client:
        results = {}
        for name, examples in (("zero-shot", []), ("few-shot", train[::10])):
            classify = by_prompt(client, options.model, examples)
            results[name] = len(examples), np.array([LABELS.index(classify(text)) for _, text in test])
        texts = [text for _, text in (*train, *test)]
        vectors = np.array(client.embed(options.embed_model, texts, normalize=True).vectors)
    labels = np.array([LABELS.index(label) for label, _ in train])
    for name, fit in (("nearest centroid", by_centroid), ("logistic regression", by_regression)):
        results[name] = len(train), fit(vectors[: len(train)], labels)(vectors[len(train) :])
    print(
        f"{len(test)} tickets to classify, none of them among the examples; guessing is right in {1 / len(LABELS):.0%}"
    )
    for name, (seen, found) in results.items():
        right = int((found == truth).sum())
        low, high = interval(right, len(test))
        share = f"{right / len(test):>4.0%}  (95%: {low:.0%} to {high:.0%})"
        print(f"{name:<20} {seen:>2} examples {right:>3} right {share}")


if __name__ == "__main__":
    main()
