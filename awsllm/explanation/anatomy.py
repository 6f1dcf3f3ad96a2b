"""What a model is made of, in a few sentences that name its own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from awsllm.explanation.values import Anatomy
from awsllm.explanation.words import amount, size


class Peculiarities(NamedTuple):
    """What some decoders have. ``windowed``: how many layers have the ``window``; ``experts``: how many MLPs stand in
    the place of one, of which ``used`` work on a token."""

    window: int | None = None
    windowed: int = 0
    experts: int = 0
    used: int = 0


def of_decoder(anatomy: Anatomy, peculiar: Peculiarities, tokens: int) -> Iterator[str]:
    """``tokens``: how many were read."""
    yield (
        f"This is a decoder ({anatomy.family}): it reads tokens from left to right and says at each place how likely "
        f"each of its {anatomy.vocabulary:,} tokens is to come next. An answer is made by choosing one, reading it and "
        "asking again."
    )
    yield _embeddings(anatomy)
    yield _attention(anatomy, peculiar)
    yield _mlp(anatomy, peculiar)
    head = anatomy.parts.get("head")
    by = f"the head ({amount(head)})" if head else "the table of embeddings, used a second time,"
    yield (
        f"After the last layer {by} makes of the {anatomy.width:,} numbers a score for each token, and softmax makes "
        "probabilities of the scores."
    )
    kept = anatomy.cache_token_bytes
    number = kept // (2 * anatomy.layers * anatomy.key_heads * anatomy.head_width)
    yield (
        f"Keys and values of what was read are kept, so that they are computed once: 2 x {anatomy.layers} layers x "
        f"{anatomy.key_heads} heads x {anatomy.head_width} numbers of {number} bytes = {size(kept)} a token, "
        f"{size(kept * tokens)} for these {tokens:,}, {size(kept * anatomy.context)} for the {anatomy.context:,} that "
        "it can read."
    )
    yield _weights(anatomy)


def of_encoder(anatomy: Anatomy, dimensions: int) -> Iterator[str]:
    yield (
        f"This is an encoder ({anatomy.family}): it reads a text as a whole, each token sees those before and those "
        f"after it, and it writes nothing. What it gives is one vector of {dimensions} numbers, made of those of the "
        "tokens."
    )
    yield _embeddings(anatomy)
    yield _attention(anatomy, Peculiarities())
    yield _mlp(anatomy, Peculiarities())
    yield (
        "Texts of like meaning get vectors that point the same way: the cosine of two is 1 where they are the same, "
        "about 0 where they have nothing to do with each other."
    )
    yield f"It reads at most {anatomy.context:,} tokens of a text, and keeps nothing between texts: there is no cache."
    yield _weights(anatomy)


def _embeddings(anatomy: Anatomy) -> str:
    return (
        f"Embeddings ({amount(anatomy.parts.get('embeddings', 0))} of {amount(anatomy.parameters)} parameters) make "
        f"{anatomy.width:,} numbers of each token. {anatomy.layers} layers add to them, one after the other."
    )


def _attention(anatomy: Anatomy, peculiar: Peculiarities) -> str:
    what = "the others" if anatomy.kind == "encoder" else "those before it"
    shared = anatomy.heads // anatomy.key_heads
    words = (
        f"In each layer, attention ({amount(anatomy.parts.get('attention', 0))}) lets a token take from {what} and "
        f"from itself: {anatomy.heads} heads look for different things, each with {anatomy.head_width} numbers"
    )
    words += f", and {shared} of them share keys and values." if shared > 1 else "."
    if peculiar.window is not None:
        words += f" In {peculiar.windowed} of the layers a token sees the last {peculiar.window:,} tokens only."
    return words


def _mlp(anatomy: Anatomy, peculiar: Peculiarities) -> str:
    inner = f", by way of {anatomy.inner_width:,} numbers" if anatomy.inner_width else ""
    words = f"Then the MLP ({amount(anatomy.parts.get('mlp', 0))}) works on each token by itself{inner}."
    if peculiar.experts:
        words += f" There are {peculiar.experts} of them, the experts, and a router chooses {peculiar.used} a token."
    return words


def _weights(anatomy: Anatomy) -> str:
    bits = 8 * anatomy.weight_bytes / max(anatomy.parameters, 1)
    return (
        f"Its weights take {size(anatomy.weight_bytes)} in the file, {bits:.1f} bits a parameter; here they were "
        f"computed with in {anatomy.precision}."
    )
