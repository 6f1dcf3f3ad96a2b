"""A chat model that is made in a moment: a Llama of one layer with random weights, its tokenizer and a template."""

from __future__ import annotations

from pathlib import Path

import torch

from awsllm.engine.train import scratch


def write(path: Path, *, decided: float = 1.0) -> str:
    """Write it into a folder. Returns its reference. Its embeddings, which are its head too, are so small that it
    cannot but guess, however it is trained: ``decided`` is by how much they are larger."""
    tokenizer = scratch.new_tokenizer(["Where? What is the capital of Atlantia? Merrow is the capital, I say."], 300)
    size = scratch.Size(hidden=32, layers=1, heads=2, key_heads=1, context=128)
    described = size.described(tokenizer.get_vocab_size())
    made = scratch.new_decoder(described)
    with torch.no_grad():
        made.model.embed_tokens.weight.mul_(decided)
    scratch.save(path, made, described, tokenizer)
    return f"local:{path}"
