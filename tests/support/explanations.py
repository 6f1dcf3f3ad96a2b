"""Explanations made by hand, whose texts are a stranger's."""

from __future__ import annotations

from typing import Any

from awsllm.explanation.values import (
    Anatomy,
    AttentionMap,
    ExplainedToken,
    Explanation,
    HeadHabits,
    LayerAttention,
    LayerGuess,
    LikelyToken,
    NearToken,
    Neighbourhood,
    ReadText,
    TextsExplanation,
)

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;\"'\x1b[31m\u202e"
ANATOMY = Anatomy(
    kind="decoder", family="llama", precision="float32", layers=1, heads=2, key_heads=1, head_width=4, width=8,
    inner_width=16, vocabulary=100, context=512, parameters=300, weight_bytes=1200,
    parts={"embeddings": 100, "attention": 50, "mlp": 150}, cache_token_bytes=32,
    sentences=(f"This is a decoder. {HOSTILE}", "It has one layer."),
)  # fmt: skip


def token(place: int, **changes: Any) -> ExplainedToken:
    known = {"probability": 0.25, "surprise": 2.0, "entropy": 3.5, "likeliest": (LikelyToken(7, HOSTILE, 0.5),)}
    first: dict[str, Any] = {"probability": None, "surprise": None, "entropy": None, "likeliest": ()}
    given = {"id": place, "text": f"t{place}", "bytes": "7430", "special": False, "part": "prompt", "layers": ()}
    return ExplainedToken(**(given | (known if place else first) | changes))


def explanation(count: int = 4, **changes: Any) -> Explanation:
    """``count`` tokens, of which the second is hostile, the third special with a line's end, the last the answer's."""
    tokens = [token(place) for place in range(count)]
    tokens[1] = token(1, text=HOSTILE)
    tokens[2] = token(2, text="<end>\n", special=True, part="template")
    says = (LayerGuess(0, 7, HOSTILE, 0.25, 0.01), LayerGuess(1, count - 1, "said", 0.75, 0.75))
    tokens[-1] = token(count - 1, text="said", part="answer", layers=says)
    even = tuple(tuple([1 / n] * n) for n in range(1, count + 1))
    itself = tuple((0.0,) * n + (1.0,) for n in range(count))
    given: dict[str, Any] = {
        "model": f"local:{HOSTILE}",
        "rendered": "".join(one.text for one in tokens[:-1]),
        "answer": "said",
        "stop_reason": "end",
        "perplexity": 4.0,
        "answer_perplexity": None,
        "tokens": tuple(tokens),
        "attention": LayerAttention(
            layer=3,
            window=64,
            maps=(AttentionMap(None, even), AttentionMap(1, itself)),
            heads=(HeadHabits(0, 0.5, 0.25, 0.125, 0.125, 1.5), HeadHabits(1, 0.0, 0.0, 1.0, 0.0, 0.0)),
        ),
        "near": Neighbourhood(HOSTILE, ("a", "b"), (NearToken(3, HOSTILE, 0.875), NearToken(4, "", -0.5))),
        "anatomy": ANATOMY,
    }
    return Explanation(**(given | changes))


def texts_explanation() -> TextsExplanation:
    return TextsExplanation(
        model="local:encoder",
        texts=(ReadText("A man eats.", (1, 2), ("[CLS]", "[SEP]"), 0), ReadText(HOSTILE, (1,), (HOSTILE,), 5)),
        dimensions=8,
        similarities=((1.0, -0.25), (-0.25, 1.0)),
        near=Neighbourhood("food", ("food",), (NearToken(None, HOSTILE, 0.625),)),
        anatomy=ANATOMY,
    )
