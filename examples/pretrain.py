"""A language model from nothing: a tokenizer and a small decoder learn from this project's own documentation.

    python examples/pretrain.py

It takes a minute or two on two cores (65 seconds of processor time). The loss falls from that of a guess (the
logarithm of the vocabulary) and what the model writes becomes letters, then words, then the beginnings of sentences.
Stop it when you like: the next run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path

from awsllm.engine.train import scratch
from awsllm.engine.train.decoder import Batch, load
from awsllm.engine.train.recipe import Hyperparameters, TrainingRecipe
from awsllm.engine.train.run import Trainer, TrainingStep, train
from awsllm.engine.train.samples import Batching
from awsllm.engine.train.scratch import Size
from awsllm.explanation.curves import LossPoint, loss_lines, loss_page

DOCS = Path(__file__).parent.parent / "docs"
PROMPT = "The model"
_PIECES = 1024  # of words, in the vocabulary
_GUESS = math.log(_PIECES)


def words(folder: Path, step: int, count: int = 24) -> str:
    """What the model of the last checkpoint writes behind ``PROMPT``."""
    import torch  # after awsllm, which tells its threads to sleep while they wait: on a busy machine that is all

    decoder = load(folder / "beginning")
    if step:
        Trainer(decoder, Hyperparameters(steps=step), folder)  # takes over the last checkpoint
    tokenizer = scratch.read_tokenizer(folder / "beginning")
    tokens = torch.tensor([tokenizer.encode(PROMPT).ids])
    chance = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        for _ in range(count):
            places = torch.arange(tokens.shape[1])[None]
            logits = decoder.eval().logits(decoder(Batch(tokens, tokens, places))[:, -1]) / 0.7
            tokens = torch.cat((tokens, torch.multinomial(logits.softmax(-1), 1, generator=chance)), 1)
    return tokenizer.decode(tokens[0].tolist()).replace("\n", " ")


def pretrain(folder: Path, steps: int, size: Size) -> list[LossPoint]:
    """The curve of the loss; the model is in ``folder / "result" / "model"``."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))]
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": page}) + "\n" for page in pages), encoding="utf-8")
    print(f"{len(pages)} pages of documentation; the loss of a guess among {_PIECES} pieces of words is {_GUESS:.2f}")
    looks = max(1, steps // 4)
    options = Hyperparameters(
        steps=steps, learning_rate=4e-3, schedule="wsd", warm_up=max(1, steps // 20), weight_decay=0.1, save_every=looks
    )
    recipe = TrainingRecipe(
        method="pretrain",
        samples=str(texts),
        size=size,
        vocabulary=_PIECES,
        hyperparameters=options,
        batching=Batching(rows=16, length=size.context, packed=False),
    )
    points: list[LossPoint] = []

    def report(step: TrainingStep) -> None:  # its loss is that of the weights before it
        points.append(LossPoint(step.number, step.loss))
        if (done := step.number - 1) % looks == 0:
            print(f"{done:4} steps  loss {step.loss:.3f}  {words(folder, done)!r}")

    train(folder, recipe, report)
    print(f"{steps:4} steps  {words(folder, steps)!r}")
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where checkpoints and the model go; a temporary folder by default")
    parser.add_argument("--steps", type=int, default=448)
    asked = parser.parse_args()
    if asked.steps < 1 or (asked.folder and asked.folder.exists() and not asked.folder.is_dir()):
        parser.error("--steps counts from 1, and --folder is a folder")
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="pretrained-"))
    try:
        points = pretrain(folder, asked.steps, Size(hidden=128, layers=4, heads=4, key_heads=2, context=96))
    except KeyboardInterrupt:
        parser.exit(130, f"\nstopped: --folder {folder} goes on from its last checkpoint\n")
    if points:  # else it was over before
        print("\n".join(loss_lines(points)))
        page = folder / "loss.html"
        page.write_text(loss_page(points, "Pre-training on the documentation"), encoding="utf-8")
        print(f"a piece's chance was {1 / _PIECES:.1%} at first, {math.exp(-points[-1].loss):.1%} in the end: {page}")
    model = folder / "result" / "model"
    print(f"the model is {model}; have it write: awsllm chat --model local:{model} 'A client'")


if __name__ == "__main__":
    main()
