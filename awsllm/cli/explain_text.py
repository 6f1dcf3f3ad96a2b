"""An explanation in a terminal, or as plain text in a pipe, where nothing is cut for want of room.

Colour is an addition: whatever it says stands in numbers or shades, too. A token's text is shown so that it cannot
steer the terminal (``words.shown``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from awsllm.cli import terminal
from awsllm.explanation.values import Explanation, TextsExplanation
from awsllm.explanation.words import likely, percent, quoted, shown

if TYPE_CHECKING:
    from awsllm.explanation.values import (
        ExplainedToken,
        LayerAttention,
        Neighbourhood,
        ReadText,
    )

_PIPE: Final = 100_000  # columns: lines stay whole
_PICTURE: Final = 100  # tokens of a picture in a pipe
_LAST: Final = 30  # of a table's last column, for which others are left out
_TOKEN: Final = 20  # columns of a token's text in a table
_LAYERS: Final = 16  # of the lens, told at most
_SHADES: Final = ((0.5, "█"), (0.25, "▓"), (0.1, "▒"), (0.03, "░"), (0.0, "·"))
_PLAIN_SHADES: Final = ((0.5, "@"), (0.25, "#"), (0.1, "+"), (0.03, "-"), (0.0, "."))

Shade = Callable[[float], str]


def write(found: Explanation | TextsExplanation) -> None:
    on_screen = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        width=terminal.columns(sys.stdout) if on_screen else _PIPE,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )
    sheet = _Sheet(console, terminal.columns(sys.stdout) if on_screen else _PICTURE + 22)
    if isinstance(found, Explanation):
        _explanation(sheet, found)
    else:
        _texts(sheet, found)
    sheet.title("What it is made of")
    for sentence in found.anatomy.sentences:
        sheet.prose(sentence)


class _Sheet:
    """Where sections go, one below the other. ``width``: what a picture may take."""

    def __init__(self, console: Console, width: int) -> None:
        self.console, self.width = console, width
        self._begun = False

    def title(self, text: str, note: str = "") -> None:
        if self._begun:
            self.console.print()
        self._begun = True
        self.console.print(Text.assemble((shown(text), "bold"), (f"  {shown(note)}" if note else "", "dim")))

    def prose(self, text: str) -> None:
        self.console.print(Text(shown(text)))

    def line(self, text: Text) -> None:
        """One line, cut where the screen ends."""
        self.console.print(text, no_wrap=True, overflow="ellipsis")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Text]], spare: Sequence[str] = ()) -> None:
        """Columns as wide as their longest cell, numbers to the right; the last one takes what is left. ``spare``: the
        columns that are left out, one after the other, where it would have no room."""
        columns = list(zip([Text(heading, "dim") for heading in headings], *rows, strict=True))
        widths = [max(cell_len(cell.plain) for cell in column) for column in columns]
        kept = list(range(len(headings)))
        for name in spare:
            if sum(widths[n] + 2 for n in kept[:-1]) + _LAST <= self.console.width:
                break
            kept.remove(headings.index(name))
        for row in zip(*(columns[n] for n in kept), strict=True):
            line = Text()
            for n, cell in zip(kept, row, strict=True):
                room = " " * (widths[n] - cell_len(cell.plain))
                numeric = cell.justify == "right" or headings[n] in _NUMBERS
                line.append(room if numeric else "").append_text(cell)
                line.append("" if n == kept[-1] else f"{'' if numeric else room}  ")
            line.rstrip()
            self.line(line)

    def symbols(self, symbols: str, otherwise: str) -> str:
        """The symbols, where the output's encoding has them."""
        try:
            symbols.encode(self.console.encoding)
        except (UnicodeEncodeError, LookupError):
            return otherwise
        return symbols


_NUMBERS: Final = ("#", "id", "p", "bits", "entropy", "first", "previous", "itself", "sink", "head", "cosine", "layer")


# --- a chat model ----------------------------------------------------------------------------------------------------


def _explanation(sheet: _Sheet, found: Explanation) -> None:
    prompt, answer = found.part("template", "prompt"), found.part("answer")
    sheet.title("The prompt, as its template writes it", f"{found.model}, {len(prompt)} tokens")
    _rendered(sheet, prompt)
    sheet.title("Its tokens", _perplexity("your words", found.perplexity))
    _tokens(sheet, prompt, 0)
    if answer:
        end = "" if found.stop_reason == "end" else ", cut"
        sheet.title("The answer", f"{_perplexity('perplexity', found.answer_perplexity)}{end}")
        sheet.prose(found.answer)
        _tokens(sheet, answer, len(prompt))
        _lens(sheet, answer)
    _attention(sheet, found)
    if found.near is not None:
        _near(sheet, found.near, "Tokens near")


def _perplexity(what: str, perplexity: float | None) -> str:
    if perplexity is None:
        return ""
    return f"{what}: as if each were one of {perplexity:.1f} equally likely tokens"


def _rendered(sheet: _Sheet, tokens: Sequence[ExplainedToken]) -> None:
    """Token by token; a line ends where the prompt's lines do."""
    bar = sheet.symbols("│", "|")
    line = Text()
    for token in tokens:
        line.append(shown(token.text), _style(token)).append(bar, "dim")
        if token.text.endswith("\n"):
            sheet.console.print(line)
            line = Text()
    if line:
        sheet.console.print(line)


def _style(token: ExplainedToken) -> str:
    if token.special:
        return "bold magenta"
    return "dim" if token.probability is None else _likelihood(token.probability)


def _likelihood(probability: float) -> str:
    return "green" if probability >= 0.5 else "yellow" if probability >= 0.05 else "red"


def _tokens(sheet: _Sheet, tokens: Sequence[ExplainedToken], first: int) -> None:
    rows = []
    for place, token in enumerate(tokens, first):
        others = ", ".join(likely(other.text, other.id, other.probability) for other in token.likeliest)
        kind = "special" if token.special else token.part
        rows.append(
            [
                Text(str(place), "dim"),
                Text(str(token.id)),
                _cut(quoted(token.text, token.id), _style(token)),
                _cut(" ".join(token.bytes[n : n + 2] for n in range(0, len(token.bytes), 2)), "dim"),
                Text(kind, "dim"),
                _number(token.probability, percent),
                _number(token.surprise, "{:.1f}".format),
                _number(token.entropy, "{:.1f}".format),
                Text(others),
            ]
        )
    sheet.table(
        ("#", "id", "token", "bytes", "of", "p", "bits", "entropy", "the likeliest"),
        rows,
        ("bytes", "id", "of", "entropy"),
    )


def _number(value: float | None, form: Callable[[float], str]) -> Text:
    if value is None:
        return Text("-", "dim")
    return Text(form(value), _likelihood(value) if form is percent else "")


def _cut(text: str, style: str = "", width: int = _TOKEN) -> Text:
    cell = Text(text, style)
    cell.truncate(width, overflow="ellipsis")
    return cell


def _lens(sheet: _Sheet, answer: Sequence[ExplainedToken]) -> None:
    """A row a layer, a column a token of the answer: what the model would say there if it ended with the layer."""
    told = [token for token in answer if token.layers]
    columns = told[: max(1, min(8, (sheet.width - 7) // (_TOKEN + 2)))]
    last = len(columns[0].layers) - 1
    step = -(-(last + 1) // _LAYERS)
    some = "" if step == 1 else f", every {step} layers"
    sheet.title("What each layer would say", f"layer 0 is the embeddings{some}; * what is said in the end")
    headings = ["layer", *(f"{n}." for n in range(1, len(columns) + 1))]
    rows = []
    for layer in sorted({*range(0, last + 1, step), last}):
        cells = []
        for token in columns:
            guess = token.layers[layer]
            mark = "*" if guess.id == token.id else ""
            text = _cut(quoted(guess.text, guess.id), "green" if mark else "", _TOKEN - 8)
            cells.append(text.append(f"{mark} {percent(guess.probability)}", "dim"))
        rows.append([Text(str(layer), "dim"), *cells])
    sheet.table(headings, rows)


# --- attention -------------------------------------------------------------------------------------------------------


def _attention(sheet: _Sheet, found: Explanation) -> None:
    attention = found.attention
    shade = _shades(sheet)
    for one in attention.maps:
        whose = "the mean of its heads" if one.head is None else f"head {one.head}"
        sheet.title(f"Attention of layer {attention.layer}, {whose}", _legend(shade))
        _picture(sheet, found.tokens, one.weights, shade)
    _heads(sheet, attention)


def _shades(sheet: _Sheet) -> Shade:
    blocks = "".join(symbol for _, symbol in _SHADES)
    table = _SHADES if sheet.symbols(blocks, "") else _PLAIN_SHADES
    return lambda weight: next(symbol for least, symbol in table if weight >= least)


def _legend(shade: Shade) -> str:
    told = ((0.03, "3%"), (0.1, "10%"), (0.25, "25%"), (0.5, "50%"))
    return "a row: what the token took from those above it; " + " ".join(
        f"{shade(least)} from {share}" for least, share in told
    )


def _picture(sheet: _Sheet, tokens: Sequence[ExplainedToken], weights: Sequence[Sequence[float]], shade: Shade) -> None:
    """As many of the last tokens as there is room for."""
    label, number = 16, len(str(len(tokens)))
    room = max(8, sheet.width - label - number - 2)
    first = max(0, len(tokens) - room)
    wide = 2 if 2 * (len(tokens) - first) <= room else 1
    if first:
        sheet.line(Text(f"the last {len(tokens) - first} of {len(tokens)} tokens", "dim"))
    for place in range(first, len(tokens)):
        token, row = tokens[place], weights[place]
        name = _cut(shown(token.text) or f"#{token.id}", _style(token), label)
        line = Text(f"{place:{number}} ", "dim").append_text(name)
        line.append(" " * (label - cell_len(name.plain) + 1))
        for weight in row[first:]:
            line.append(shade(weight) * wide, "cyan" if weight >= 0.1 else "dim")
        sheet.line(line)


def _heads(sheet: _Sheet, attention: LayerAttention) -> None:
    window = "" if attention.window is None else f", which sees the last {attention.window:,} tokens"
    sheet.title(f"Where the heads of layer {attention.layer} look", f"in the mean over all tokens{window}")
    sinks = any(head.sink > 0.0005 for head in attention.heads)
    headings = ("head", "first", "previous", "itself", *(["sink"] if sinks else []), "entropy")
    rows = []
    for head in attention.heads:
        shares = [head.first, head.previous, head.itself, *([head.sink] if sinks else [])]
        cells = [Text(percent(share), "cyan" if share >= 0.25 else "") for share in shares]
        rows.append([Text(str(head.head), "dim"), *cells, Text(f"{head.entropy:.1f}")])
    sheet.table(headings, rows)


def _near(sheet: _Sheet, near: Neighbourhood, title: str) -> None:
    sheet.title(f"{title} {quoted(near.word, 0)}", f"read as {' '.join(quoted(piece, 0) for piece in near.pieces)}")
    rows = [
        [Text(f"{one.similarity:.2f}"), Text(quoted(one.text, one.id) if one.id is not None else shown(one.text))]
        for one in near.neighbours
    ]
    sheet.table(("cosine", ""), rows)


# --- an encoder ------------------------------------------------------------------------------------------------------


def _texts(sheet: _Sheet, found: TextsExplanation) -> None:
    bar = sheet.symbols("│", "|")
    sheet.title("The texts and their tokens", f"{found.model}, a vector of {found.dimensions} numbers each")
    for number, read in enumerate(found.texts, 1):
        sheet.console.print(
            Text.assemble((f"{number}  ", "dim"), bar.join(map(shown, read.tokens)), (_rest(read), "red"))
        )
    if len(found.texts) > 1:
        sheet.title("How near they are", "the cosine of their vectors")
        headings = ["", *(str(n) for n in range(1, len(found.texts) + 1)), ""]
        rows = []
        for number, (read, cosines) in enumerate(zip(found.texts, found.similarities, strict=True), 1):
            cells = [Text(f"{cosine:.2f}", _likelihood(cosine), justify="right") for cosine in cosines]
            rows.append([Text(str(number), "dim"), *cells, Text(shown(read.text))])
        sheet.table(headings, rows)
    if found.near is not None:
        _near(sheet, found.near, "The texts by their nearness to")


def _rest(read: ReadText) -> str:
    return f"  and {read.cut} tokens that are not read" if read.cut else ""
