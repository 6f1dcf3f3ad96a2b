"""Group sentences that nobody has labelled: embeddings, k-means, and a name for each group from the model.

python examples/uses/clustering.py [--model REF] [--embed-model REF] [--clusters 4]
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

import awsllm

TICKETS = Path(__file__).parent.parent / "data" / "tickets.csv"


def kmeans(vectors: Any, count: int, rng: np.random.Generator, rounds: int = 50) -> tuple[Any, Any]:
    """Centres and, for each vector, the number of its own. Starts are chosen far from each other (k-means++)."""
    centres = vectors[[rng.integers(len(vectors))]]
    while len(centres) < count:
        distance = ((vectors[:, None] - centres) ** 2).sum(axis=2).min(axis=1)
        centres = np.vstack([centres, vectors[rng.choice(len(vectors), p=distance / distance.sum())]])
    for _ in range(rounds):
        nearest = ((vectors[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        moved = [vectors[nearest == k].mean(axis=0) if (nearest == k).any() else centres[k] for k in range(count)]
        if np.allclose(moved, centres):
            break
        centres = np.stack(moved)
    return centres, nearest


def best_of(vectors: Any, count: int, tries: int = 10) -> tuple[Any, Any]:
    """The tightest of several runs, each from other starts."""
    runs = [kmeans(vectors, count, np.random.default_rng(seed)) for seed in range(tries)]
    return min(runs, key=lambda run: float(((vectors - run[0][run[1]]) ** 2).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2-135m-instruct", help="names the clusters")
    parser.add_argument("--embed-model", default="local:all-minilm-l6-v2")
    parser.add_argument("--clusters", type=int, default=4, choices=range(1, 21), metavar="1..20")
    options = parser.parse_args()
    labels, texts = zip(*list(csv.reader(TICKETS.read_text(encoding="utf-8").splitlines()))[1:], strict=True)
    with awsllm.Client() as client:
        vectors = np.array(client.embed(options.embed_model, list(texts), normalize=True).vectors)
        centres, nearest = best_of(vectors, options.clusters)
        agreed = 0
        for k in range(options.clusters):
            members = np.flatnonzero(nearest == k)
            typical = members[((vectors[members] - centres[k]) ** 2).sum(axis=1).argsort()][:5]
            listing = "\n".join(f"- {texts[i]}" for i in typical)
            question = f"What do these messages have in common? Answer with a title of two or three words.\n{listing}"
            title = client.converse(options.model, question, max_tokens=12, temperature=0).text.strip().splitlines()
            print(f"\n{len(members)} sentences: {title[0] if title else '(no title)'}\n{listing}")
            counts = np.unique([labels[i] for i in members], return_counts=True)[1]
            agreed += int(counts.max()) if len(counts) else 0
    print(f"\npurity {agreed / len(texts):.0%}: the share of sentences whose cluster is mostly of their own label")


if __name__ == "__main__":
    main()
