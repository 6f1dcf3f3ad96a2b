"""A result as one page of HTML that needs nothing from elsewhere and runs nothing: no script is in it at all.

What models answered is somebody else's text: all of it is escaped, and a policy in the page's head lets no script run
and nothing load, whatever escaped. Cases are filtered by two boxes that CSS alone reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from awsllm.evaluation.cases import text
from awsllm.evaluation.markdown import NOTE, judging, legible, tables, titled

if TYPE_CHECKING:
    from awsllm.evaluation.judges import PairVerdict
    from awsllm.evaluation.structure import MetricScore
    from awsllm.evaluation.values import EvaluatedCase, Reportable, ScoredAnswer

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST = 2_000  # cases that stand side by side; the rest are in the JSON
_LONGEST = 20_000  # characters of a text that are shown


def result_page(result: Reportable) -> str:
    style = (files("awsllm.evaluation") / "page.css").read_text(encoding="utf-8")
    title = titled(result)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{''.join(_tables(result))}{''.join(_cases(result))}</main>\n</body>\n</html>\n"
    )


def _tables(result: Reportable) -> Iterator[str]:
    for title, (header, *rows) in tables(result):
        if rows:
            yield f"<h2>{title or 'Scores'}</h2>\n"
            yield _table(header, ("".join(f"<td>{_shown(cell)}</td>" for cell in row) for row in rows))
    yield f'<p class="note">{_shown(" ".join([*judging(result), NOTE]))}</p>\n'


def _table(header: Sequence[str], rows: Iterator[str], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{_shown(cell)}</th>' for cell in header)
    body = "".join(row if row.startswith("<tr") else f"<tr>{row}</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _cases(result: Reportable) -> Iterator[str]:
    yield "<h2>Answers side by side</h2>\n<section>"
    if len(result.models) > 1:
        yield '<input type="checkbox" id="differ"><label for="differ">only where the models differ</label>'
    yield '<input type="checkbox" id="fail"><label for="fail">only where one fails</label>\n'
    yield _table(["case", "expected", *result.models], map(_case, result.rows[:_MOST]), "cases")
    if len(result.rows) > _MOST:
        yield f'<p class="note">{len(result.rows) - _MOST:,} more cases are in the result, not on this page.</p>'
    yield "</section>"


def _case(row: EvaluatedCase) -> str:
    case = row.case
    outcomes = [_outcome(one) for one in row.answers]
    kinds = [
        "same" if all(one == outcomes[0] for one in outcomes) else "differing",
        "failing" if any(one.answer.error or False in _outcome(one) for one in row.answers) else "fine",
    ]
    system = f'<p class="note">{_shown(case.system)}</p>' if case.system else ""
    before = "".join(f'<p class="note">{_shown(text(turn))}</p>' for turn in case.messages[:-1])
    expected = "" if case.expected is None else "\n".join(case.alternatives) or "[]"
    verdicts = "".join(map(_verdict, row.verdicts))
    cells = [
        f'<td><p class="note">{_shown(case.id)}</p>{system}{before}<div class="text">{_shown(case.prompt)}</div></td>',
        f'<td><div class="text">{_shown(expected)}</div>{f"<ul>{verdicts}</ul>" if verdicts else ""}</td>',
        *map(_answer, row.answers),
    ]
    return f'<tr class="{" ".join(kinds)}">{"".join(cells)}</tr>\n'


def _outcome(one: ScoredAnswer) -> tuple[bool | None, ...]:
    """Whether it passes, by metric; where no metric has a bound, the scores have no outcome."""
    return (one.answer.error is None, *(score.passed for score in one.scores.values()))


def _answer(one: ScoredAnswer) -> str:
    answer = one.answer
    if answer.error is not None:
        return f'<td><div class="text error">{_shown(answer.error)}</div></td>'
    calls = "".join(
        f'<div class="text note">{_shown(use["name"])} {_shown(text(use["arguments"]))}</div>'
        for use in answer.tool_uses
    )
    scores = "".join(_score(name, score) for name, score in one.scores.items())
    faults = "".join(f'<li class="error">{_shown(name)}: {_shown(why)}</li>' for name, why in one.faults.items())
    return f'<td><div class="text">{_shown(answer.text)}</div>{calls}<ul>{scores}{faults}</ul></td>'


def _score(name: str, score: MetricScore) -> str:
    kind = {True: "passed", False: "failed", None: ""}[score.passed]
    mark = {True: " ✓", False: " ✗", None: ""}[score.passed]
    why = f": {_shown(score.reason)}" if score.reason else ""
    return f'<li class="{kind}">{_shown(name)} {score.value:.3g}{mark}{why}</li>'


def _verdict(one: PairVerdict) -> str:
    better = {"first": one.first, "second": one.second, "tie": "neither"}[one.preferred]
    order = "" if one.consistent else ", by their order"
    return f"<li>{_shown(one.judge)}: {_shown(better)}{order}; {_shown(' / '.join(one.reasons))}</li>"


def _shown(said: str) -> str:
    """Escaped, and cut where it is endless. Characters that HTML has no place for become a mark."""
    cut = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} … ({len(said) - _LONGEST:,} characters more)"
    return escape(legible(cut))
