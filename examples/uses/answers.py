"""Answer questions from a folder of documents, without any service: embeddings, the nearest passages, an answer.

python examples/uses/answers.py ["Who pays for the return?"] [--documents DIR] [--model REF] [--embed-model REF]
"""

import argparse
from pathlib import Path

import awsllm

HANDBOOK = Path(__file__).parent.parent / "data" / "handbook"
SYSTEM = "Answer in one sentence, from the passages alone. If they do not say it, answer: I do not know."


def passages_of(folder: Path) -> list[tuple[str, str]]:
    """Each paragraph with the name of its file; the heading goes along, so that a passage says what it is about."""
    found = []
    for path in sorted(folder.glob("*.md")):
        heading, *paragraphs = path.read_text(encoding="utf-8").strip().split("\n\n")
        found += [(path.name, f"{heading.lstrip('# ')}: {paragraph}") for paragraph in paragraphs]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="How long is the warranty of a battery?")
    parser.add_argument("--documents", type=Path, default=HANDBOOK, metavar="DIR", help="with *.md files")
    parser.add_argument("--top", type=int, default=3, help="passages that the model reads")
    parser.add_argument("--least", type=float, default=0.25, help="similarity below which nothing is answered")
    parser.add_argument("--model", default="local:smollm2-135m-instruct")
    parser.add_argument("--embed-model", default="local:all-minilm-l6-v2")
    options = parser.parse_args()
    if not (passages := passages_of(options.documents)):
        parser.error(f"there is no *.md in {options.documents}")
    with awsllm.Client() as client:
        texts = [options.question, *(text for _, text in passages)]
        query, *vectors = client.embed(options.embed_model, texts, normalize=True).vectors
        scores = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
        best = sorted(zip(scores, passages, strict=True), reverse=True)[: options.top]
        if best[0][0] < options.least:
            print("The documents say nothing of that.")
            return
        context = "\n".join(text for _, (_, text) in best)
        prompt = f"Passages:\n{context}\n\nQuestion: {options.question}"
        print(client.converse(options.model, prompt, system=SYSTEM, max_tokens=60, temperature=0).text.strip())
    for score, (name, text) in best:
        print(f"  {score:.2f}  {name}: {text}")


if __name__ == "__main__":
    main()
