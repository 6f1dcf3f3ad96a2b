"""What a look inside a local model found, as values. Their JSON (``to_dict``) always has every member."""

from __future__ import annotations

from typing import Literal

from awsllm.types import Value

TokenPart = Literal["template", "prompt", "answer"]
"""Whose words a token is of: the chat template's, the user's, or the model's own."""
StopReason = Literal["end", "max_tokens"]


class LikelyToken(Value, frozen=True):
    """A token that the model held for possible."""

    id: int
    text: str
    probability: float


class LayerGuess(Value, frozen=True):
    """What the model would say next if it ended with a layer (the logit lens): layer 0 is the embeddings, layer n what
    n layers have made of them. ``chosen``: the probability that it gives to the token that the last layer chose."""

    layer: int
    id: int
    text: str
    probability: float
    chosen: float


class ExplainedToken(Value, frozen=True):
    """A token and what the model thought before it was there.

    ``text`` is what its bytes read as, where a part of a character is spelt ``\\xe6``; ``bytes`` are in hexadecimal.
    ``special``: the tokenizer's own, such as one that ends a turn. ``surprise`` is -log2 of the probability,
    ``entropy`` how undecided the model was, both in bits. Nothing stands before the first token, so nothing foretells
    it: None. ``layers`` is filled for tokens of the answer.
    """

    id: int
    text: str
    bytes: str
    special: bool
    part: TokenPart
    probability: float | None
    surprise: float | None
    entropy: float | None
    likeliest: tuple[LikelyToken, ...]
    layers: tuple[LayerGuess, ...]


class HeadHabits(Value, frozen=True):
    """Where a head looks, in the mean over the tokens: at the first, the one before, the token itself, and nowhere
    (``sink``, in models that have one), each a part of 1. ``entropy``: over how many tokens it spreads, in bits."""

    head: int
    first: float
    previous: float
    itself: float
    sink: float
    entropy: float


class AttentionMap(Value, frozen=True):
    """Row n: the weights by which token n mixed what the tokens 0 … n have to give; they sum to 1, or to less where a
    sink takes its part. ``head`` None is the mean of the layer's heads."""

    head: int | None
    weights: tuple[tuple[float, ...], ...]


class LayerAttention(Value, frozen=True):
    """Attention of one layer. ``window``: how many tokens a token sees there, None for all."""

    layer: int
    window: int | None
    maps: tuple[AttentionMap, ...]
    heads: tuple[HeadHabits, ...]


class NearToken(Value, frozen=True):
    """``id`` is None where a text is near, and no token."""

    id: int | None
    text: str
    similarity: float


class Neighbourhood(Value, frozen=True):
    """What lies near a word: tokens by the model's input embeddings, or texts by an encoder's vectors; ``similarity``
    is the cosine. ``pieces``: the tokens that the word consists of."""

    word: str
    pieces: tuple[str, ...]
    neighbours: tuple[NearToken, ...]


class Anatomy(Value, frozen=True):
    """What a model is made of.

    ``inner_width``: channels within the MLP. ``parameters``: how many numbers were learned, in ``parts`` by where they
    work; ``weight_bytes``: what they take in the file. ``precision``: in what it was computed here.
    ``cache_token_bytes``: keys and values kept for each token, in that precision; 0 for an encoder, which keeps none.
    ``sentences``: the same in words.
    """

    kind: Literal["decoder", "encoder"]
    family: str
    precision: str
    layers: int
    heads: int
    key_heads: int
    head_width: int
    width: int
    inner_width: int | None
    vocabulary: int
    context: int
    parameters: int
    weight_bytes: int
    parts: dict[str, int]
    cache_token_bytes: int
    sentences: tuple[str, ...]


class Explanation(Value, frozen=True):
    """What a chat model made of a prompt.

    ``rendered``: the prompt as the template writes it. ``tokens``: its tokens, then those of the answer. ``perplexity``
    is of the user's own words, ``answer_perplexity`` of the answer: 2 to the mean surprise, as if the model had chosen
    among so many tokens that are equally likely; None where there are none.
    """

    model: str
    rendered: str
    answer: str
    stop_reason: StopReason
    perplexity: float | None
    answer_perplexity: float | None
    tokens: tuple[ExplainedToken, ...]
    attention: LayerAttention
    near: Neighbourhood | None
    anatomy: Anatomy

    def part(self, *parts: TokenPart) -> tuple[ExplainedToken, ...]:
        """The tokens of these parts."""
        return tuple(token for token in self.tokens if token.part in parts)

    def _repr_html_(self) -> str:
        from awsllm.explanation.words import likely, percent, quoted
        from awsllm.notebook import table

        rows = [
            (
                token.part,
                quoted(token.text, token.id),
                "" if token.probability is None else percent(token.probability),
                ", ".join(likely(other.text, other.id, other.probability) for other in token.likeliest),
            )
            for token in self.tokens
        ]
        return table(rows, caption=self.model, header=("part", "token", "probability", "likeliest"))


class ReadText(Value, frozen=True):
    """A text as an encoder reads it: its tokens, those that the tokenizer adds among them. ``cut``: how many more it
    has than the encoder reads."""

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    cut: int


class TextsExplanation(Value, frozen=True):
    """What an encoder made of texts. ``similarities``: the cosine of each text's vector with each other's."""

    model: str
    texts: tuple[ReadText, ...]
    dimensions: int
    similarities: tuple[tuple[float, ...], ...]
    near: Neighbourhood | None
    anatomy: Anatomy

    def _repr_html_(self) -> str:
        from awsllm.explanation.words import shown
        from awsllm.notebook import table

        rows = [
            (shown(read.text), *(f"{cosine:.2f}" for cosine in row))
            for read, row in zip(self.texts, self.similarities, strict=True)
        ]
        return table(rows, caption=self.model, header=("", *(shown(read.text, 20) for read in self.texts)))
