"""A chat model that is made in a moment: a Llama of one layer with random weights, its tokenizer and a template."""

from __future__ import annotations

from pathlib import Path

from awsllm.engine.train import scratch


def write(path: Path) -> str:
    """Write it into a folder. Returns its reference."""
    tokenizer = scratch.new_tokenizer(["Where? What is the capital of Atlantia? Merrow is the capital, I say."], 300)
    size = scratch.Size(hidden=32, layers=1, heads=2, key_heads=1, context=128)
    described = size.described(tokenizer.get_vocab_size())
    scratch.save(path, scratch.new_decoder(described), described, tokenizer)
    return f"local:{path}"
