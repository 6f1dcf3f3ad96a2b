"""An explanation as one page of HTML that needs nothing from elsewhere: no font, picture, style or script.

All that a prompt or a model says is escaped, or set as text; a policy in the page's head lets nothing run but the
page's own script, by its hash. Without that script all tables are there, and one map of attention.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from awsllm.explanation.values import (
    Anatomy,
    ExplainedToken,
    Explanation,
    LayerAttention,
    Neighbourhood,
    TextsExplanation,
)
from awsllm.explanation.words import amount, percent, quoted, shown

_LEVELS: Final = (0.5, 0.25, 0.1, 0.03, 0.01)  # of a map's shades, each with the least weight that has it
_OPACITY: Final = (1, 0.75, 0.5, 0.28, 0.12)
_LIKELIHOODS: Final = ((0.5, "sure"), (0.1, "likely"), (0.01, "doubtful"), (0.0, "odd"))
_LEGEND: Final = (
    '<p class="legend note"><span class="sure">from 50 %</span><span class="likely">from 10 %</span>'
    '<span class="doubtful">from 1 %</span><span class="odd">less</span><span class="special">special</span></p>'
)


def explanation_page(found: Explanation | TextsExplanation) -> str:
    """One self-contained page of HTML: light or dark as its reader's screen is, to be used by keyboard, and printed."""
    if isinstance(found, Explanation):
        body, data = "".join(_chat(found)), _embedded(_data(found))
    else:
        body, data = "".join(_encoder(found)), ""
    script = _asset("page.js") if data else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"
    title = escape(shown(found.model))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Inside {title}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Inside {title}</h1>\n{body}</main>\n"
        + (f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script>\n' if data else "")
        + "</body>\n</html>\n"
    )


@cache
def _asset(name: str) -> str:
    return (files("awsllm.explanation") / name).read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# --- a chat model ----------------------------------------------------------------------------------------------------


def _chat(found: Explanation) -> Iterator[str]:
    count = len(found.tokens) - len(found.part("answer"))
    yield f'<p class="note">{count:,} tokens were read, {len(found.tokens) - count:,} were written.</p>'
    yield "<h2>The prompt and its answer</h2>"
    yield (
        "<p>The prompt as its chat template writes it, then the answer, underlined, token by token. The colour is the "
        "probability that the model gave to a token before it was there; its own special tokens have one of theirs. "
        "Choose a token with the mouse or the arrow keys.</p>"
    )
    yield _LEGEND
    yield _controls(found.attention)
    buttons = "".join(map(_button, found.tokens))
    yield f'<div class="tokens" id="tokens" role="group" aria-label="tokens">{buttons}</div>'
    yield (
        '<div class="panel" id="details" hidden><p id="about" aria-live="polite"></p><div class="columns">'
        '<div><strong>What was likely here</strong><table><tbody id="likeliest"></tbody></table></div>'
        '<div><strong>What it looked at</strong><table><tbody id="looked"></tbody></table></div></div></div>'
    )
    for what, perplexity in (("the prompt's own words", found.perplexity), ("the answer", found.answer_perplexity)):
        if perplexity is not None:
            yield f"<p>Perplexity of {what}: {perplexity:.1f}, as if each token were one of so many equally likely.</p>"
    yield f"<details><summary>All tokens as a table</summary>{_token_table(found.tokens)}</details>"
    yield from _attention(found)
    yield from _lens(found.part("answer"))
    if found.near is not None:
        yield _near(found.near, "Tokens near")
    yield from _anatomy(found.anatomy)


def _controls(attention: LayerAttention) -> str:
    options = "".join(
        f'<option value="{n}">{"mean of all heads" if one.head is None else f"head {one.head}"}</option>'
        for n, one in enumerate(attention.maps)
    )
    chooser = f'<label>Attention of layer {attention.layer}: <select id="head">{options}</select></label>'
    return (
        '<div class="controls" hidden><fieldset><label><input type="radio" name="colour" value="probability" checked> '
        'colour by probability</label> <label><input type="radio" name="colour" value="attention"> by what the chosen '
        f"token looked at</label></fieldset>{chooser}</div>"
    )


def _button(token: ExplainedToken) -> str:
    kinds = f"{'special' if token.special else _likelihood(token.probability)} {token.part}"
    told = "nothing foretells it" if token.probability is None else percent(token.probability)
    text = escape(shown(token.text) or f"#{token.id}")
    ended = "<br>" if token.text.endswith("\n") else ""
    return f'<button type="button" class="{kinds}" title="{escape(told)}">{text}</button>{ended}'


def _likelihood(probability: float | None) -> str:
    if probability is None:
        return "first"
    return next(name for least, name in _LIKELIHOODS if probability >= least)


def _token_table(tokens: Sequence[ExplainedToken]) -> str:
    rows = []
    for place, token in enumerate(tokens):
        likeliest = ", ".join(f"{quoted(one.text, one.id)} {percent(one.probability)}" for one in token.likeliest)
        rows.append(
            (
                _cell(place),
                _cell(token.id),
                _cell(quoted(token.text, token.id), "token"),
                _cell(token.bytes, "token"),
                _cell("special" if token.special else token.part),
                _number(token.probability, percent),
                _number(token.surprise, "{:.2f}".format),
                _number(token.entropy, "{:.2f}".format),
                _cell(likeliest, "token"),
            )
        )
    return _table(
        "tokens", ("#", "id", "token", "bytes", "of", "probability", "surprise", "entropy", "the likeliest"), rows
    )


def _data(found: Explanation) -> dict[str, object]:
    """What the script needs."""
    tokens = [
        {
            "text": quoted(token.text, token.id),
            "about": _about(place, token),
            "likeliest": [[quoted(one.text, one.id), round(one.probability, 6)] for one in token.likeliest],
        }
        for place, token in enumerate(found.tokens)
    ]
    maps = [{"rows": [[round(w, 4) for w in row] for row in one.weights]} for one in found.attention.maps]
    chosen = max(0, len(found.tokens) - len(found.part("answer")) - 1)
    return {"tokens": tokens, "maps": maps, "levels": _LEVELS, "chosen": chosen}


def _about(place: int, token: ExplainedToken) -> str:
    kind = "a special token" if token.special else f"of the {token.part}"
    words = f"Token {place}, {quoted(token.text, token.id)}: number {token.id}, bytes {token.bytes or '-'}, {kind}."
    if token.probability is None or token.surprise is None or token.entropy is None:
        return f"{words} It is the first, so nothing foretells it."
    return (
        f"{words} Probability {percent(token.probability)}, a surprise of {token.surprise:.1f} bits; the model was "
        f"undecided by {token.entropy:.1f} bits."
    )


# --- attention and layers --------------------------------------------------------------------------------------------


def _attention(found: Explanation) -> Iterator[str]:
    attention = found.attention
    window = "" if attention.window is None else f" It sees the last {attention.window:,} tokens."
    yield (
        f"<h2>Attention of layer {attention.layer}</h2><p>A row for each token, from the first at the top: how much it "
        f"took from the tokens before it, from left to right, and from itself at the end of the row.{window} The "
        "darker, the more; less than 1 % is left blank.</p>"
    )
    weights, size = attention.maps[0].weights, len(found.tokens)
    cells: list[list[str]] = [[] for _ in _LEVELS]
    for y, row in enumerate(weights):
        for x, weight in enumerate(row):
            level = next((n for n, least in enumerate(_LEVELS) if weight >= least), None)
            if level is not None:
                cells[level].append(f"M{x} {y}h1v1h-1z")
    paths = "".join(f'<path opacity="{o}" d="{"".join(c)}"/>' for o, c in zip(_OPACITY, cells, strict=True))
    whose = "mean of all heads" if attention.maps[0].head is None else f"head {attention.maps[0].head}"
    yield (
        f'<svg class="map" id="map" viewBox="0 0 {size} {size}" role="img" aria-label="Map of attention, {whose}; the '
        f'numbers stand beside each token">{paths}<rect x="0" y="-2" width="{size}" height="1"/></svg>'
    )
    sinks = any(head.sink > 0.0005 for head in attention.heads)
    rows = []
    for head in attention.heads:
        shares = [head.first, head.previous, head.itself, *([head.sink] if sinks else [])]
        rows.append((_cell(head.head), *map(_heat, shares), _number(head.entropy, "{:.2f}".format)))
    headings = ("head", "first", "previous", "itself", *(["nothing"] if sinks else []), "entropy, bits")
    yield f"<h2>Where its heads look</h2><p>In the mean over all tokens.</p>{_table('heads', headings, rows)}"


def _lens(answer: Sequence[ExplainedToken]) -> Iterator[str]:
    if not answer:
        return
    yield (
        "<h2>What each layer would say</h2><p>If the model ended with a layer, its likeliest token: layer 0 is the "
        "embeddings. The darker, the likelier already what the last layer says.</p>"
    )
    headings = ("layer", *(quoted(token.text, token.id) for token in answer))
    rows = []
    for layer in range(len(answer[0].layers)):
        said = [token.layers[layer] for token in answer]
        cells = (_heat(one.chosen, f"{quoted(one.text, one.id)} {percent(one.probability)}") for one in said)
        rows.append((_cell(layer), *cells))
    yield _table("layers", headings, rows)


def _near(near: Neighbourhood, title: str) -> str:
    pieces = escape(" ".join(quoted(piece, 0) for piece in near.pieces))
    rows = [
        (
            _cell(shown(one.text) if one.id is None else quoted(one.text, one.id), "token"),
            _heat(one.similarity, signed=True),
        )
        for one in near.neighbours
    ]
    heading = f"<h2>{title} {escape(quoted(near.word, 0))}</h2>"
    return (
        f"{heading}<p>By the cosine of vectors; it is read as <code>{pieces}</code>.</p>"
        f"{_table('nearness', ('what is near', 'cosine'), rows)}"
    )


# --- an encoder, and what both have ----------------------------------------------------------------------------------


def _encoder(found: TextsExplanation) -> Iterator[str]:
    yield f'<p class="note">{len(found.texts)} texts, a vector of {found.dimensions} numbers each.</p>'
    yield "<h2>The texts and their tokens</h2><ol>"
    for read in found.texts:
        tokens = " ".join(f'<span class="token">{escape(shown(token))}</span>' for token in read.tokens)
        cut = f' <span class="note">and {read.cut} tokens that are not read</span>' if read.cut else ""
        yield f"<li>{escape(shown(read.text))}<br><span class='note'>{tokens}</span>{cut}</li>"
    yield "</ol>"
    rows = [
        (_cell(f"{n} {shown(read.text, 60)}"), *(_heat(cosine, signed=True) for cosine in row))
        for n, (read, row) in enumerate(zip(found.texts, found.similarities, strict=True), 1)
    ]
    yield "<h2>How near they are</h2><p>The cosine of their vectors.</p>"
    yield _table("similarities", ("text", *(str(n) for n in range(1, len(found.texts) + 1))), rows)
    if found.near is not None:
        yield _near(found.near, "The texts by their nearness to")
    yield from _anatomy(found.anatomy)


def _anatomy(anatomy: Anatomy) -> Iterator[str]:
    yield "<h2>What it is made of</h2>"
    yield "".join(f"<p>{escape(shown(sentence))}</p>" for sentence in anatomy.sentences)
    whole = max(anatomy.parameters, 1)
    spans = "".join(f'<span style="width: {100 * n / whole:.2f}%"></span>' for n in anatomy.parts.values())
    parts = [(_cell(part), _cell(amount(n)), _number(n / whole, percent)) for part, n in anatomy.parts.items()]
    yield f'<div class="bar" aria-hidden="true">{spans}</div>'
    yield _table("parameters", ("part", "parameters", "share"), parts)


def _table(label: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls by itself; ``label`` is what a screen reader calls it."""
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object, kind: str = "") -> str:
    kind = "number" if isinstance(value, int) else kind
    return f'<td class="{kind}">{escape(str(value))}</td>'


def _number(value: float | None, form: Callable[[float], str]) -> str:
    return f'<td class="number">{"-" if value is None else escape(form(value))}</td>'


def _heat(weight: float, text: str = "", *, signed: bool = False) -> str:
    shade = min(1.0, max(0.0, weight))
    told = text or (f"{weight:.2f}" if signed else percent(weight))
    kind = "token heat" if text else "number heat"
    return f'<td class="{kind}" style="--weight: {shade:.3f}">{escape(told)}</td>'
