"""Reports and the gate: what they say, and that what models answered cannot speak in them."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm import EvaluatedAnswer, EvaluationCase, EvaluationResult, MetricScore
from awsllm.errors import ConfigurationError, ValidationError
from awsllm.evaluation.gate import regressions
from awsllm.evaluation.judges import PairVerdict
from awsllm.evaluation.values import EvaluatedCase, MetricFacts, ScoredAnswer

HOSTILE = "</div><script>alert(1)</script><img src=x onerror=alert(2)>`|*_\x1b[31m\x00\u202e &amp; \"'"
EXACT = MetricFacts(name="exact", passes=1.0, is_rate=True)
LATENCY = MetricFacts(name="latency", lower_is_better=True)


def answered(value: float | None, text: str = "Paris", seconds: float = 1.0) -> ScoredAnswer:
    """One that scored so, or failed."""
    if value is None:
        return ScoredAnswer(answer=EvaluatedAnswer(error=f"RequestError: {text}"))
    scores = {"exact": MetricScore(value=value, passed=value == 1), "latency": MetricScore(value=seconds)}
    return ScoredAnswer(answer=EvaluatedAnswer(text=text, latency=seconds, cost=0.001), scores=scores)


def result(*columns: list[float | None], models: tuple[str, ...] = ("one", "two"), **more: Any) -> EvaluationResult:
    """A column of scores for each model."""
    rows = tuple(
        EvaluatedCase(
            case=EvaluationCase(id=str(n), prompt=f"{more.get('asks', 'p')} {n}", expected="Paris"),
            answers=tuple(answered(value, seconds=more.get("seconds", 1.0)) for value in values),
        )
        for n, values in enumerate(zip(*columns, strict=True))
    )
    return EvaluationResult(models=models[: len(columns)], metrics=(EXACT, LATENCY), rows=rows)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile(HOSTILE: str = HOSTILE) -> EvaluationResult:  # noqa: N803 -- one text in every place
    score = MetricScore(value=0.0, passed=False, reason=HOSTILE)
    bad = ScoredAnswer(
        answer=EvaluatedAnswer(text=HOSTILE, tool_uses=({"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}},)),
        scores={HOSTILE: score},
        faults={HOSTILE: HOSTILE},
    )
    failed = ScoredAnswer(answer=EvaluatedAnswer(error=HOSTILE))
    case = EvaluationCase(id=HOSTILE, prompt=HOSTILE, expected=[HOSTILE], system=HOSTILE)
    verdict = PairVerdict(
        judge=HOSTILE, first=HOSTILE, second="two", preferred="first", consistent=False, reasons=(HOSTILE,)
    )
    return EvaluationResult(
        models=(HOSTILE, "two"),
        metrics=(MetricFacts(name=HOSTILE, is_rate=True, passes=1),),
        rows=(EvaluatedCase(case=case, answers=(bad, failed), verdicts=(verdict,)),),
        notes=(HOSTILE,),
    )


def test_a_hostile_answer_in_the_page() -> None:
    page = hostile().to_html()
    seen = Elements()
    seen.feed(page)
    assert not {"script", "img", "iframe", "a"} & set(seen.tags)
    assert seen.attributes <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "scope",
        "type",
        "id",
        "for",
    }
    assert "default-src 'none'" in page
    assert not {"\x1b", "\x00"} & set(page)
    assert not re.search(r"https?://", page)
    assert sum("<script>alert(1)</script>" in text for text in seen.texts) > 8  # to be read


BREAKING_OUT = [
    "</td></tr></table></main></body></html><script>alert(1)</script>",
    "</style><style>* { display: none }</style>",
    '" onmouseover="alert(1)" style="position: fixed; inset: 0',
    "' onfocus='alert(1)' autofocus='",
    "<!-- <script> --><script>alert(1)</script><!--",
    "<svg/onload=alert(1)><math><mi//xlink:href='javascript:alert(1)'>",
    "&lt;script&gt;alert(1)&lt;/script&gt;&#60;script&#62;",
    "]]><![CDATA[<script>alert(1)</script>",
    "<base href=//evil><meta http-equiv=refresh content='0;url=//evil'><link rel=stylesheet href=//evil>",
    "<form action=//evil><input name=a><button>",
    "</title></textarea></noscript><iframe srcdoc='<script>alert(1)</script>'>",
    "\u202e\u2066\x1b]0;title\x07\x1b[2J\x9b31m\x00\x08\r",
    "<\x00script>alert(1)<\x0bimg src=x>",
]


@pytest.mark.parametrize("text", BREAKING_OUT)
def test_nothing_that_was_answered_becomes_part_of_the_page(text: str) -> None:
    """The same elements, attributes and styles as of a harmless answer, and the text is there to be read."""
    seen, harmless = Elements(), Elements()
    page = hostile(text).to_html()
    seen.feed(page)
    harmless.feed(hostile("harmless").to_html())
    assert seen.tags == harmless.tags
    assert seen.attributes == harmless.attributes
    assert page.count("<style>") == 1
    assert not [c for c in page if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]
    assert not {"\u202e", "\u2066"} & set(page)
    assert any(text.translate(dict.fromkeys(range(32), "\ufffd")) in one for one in seen.texts) or "\x9b" in text


@pytest.mark.parametrize("text", BREAKING_OUT)
def test_nothing_that_was_answered_becomes_markup(text: str) -> None:
    written = hostile(text).to_markdown()
    assert not re.search(r"(?<!\\)[<>]", written)
    assert not [c for c in written if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"]
    assert len(written.splitlines()) == len(hostile("harmless").to_markdown().splitlines())


@pytest.mark.parametrize("text", BREAKING_OUT)
@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_that_was_answered_steers_a_terminal(
    text: str, as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from awsllm.cli import evaluate

    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    evaluate._show(hostile(text), as_json=as_json)
    shown = "".join(capsys.readouterr())
    assert shown
    assert not [c for c in shown if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"]


def test_a_hostile_answer_in_markdown() -> None:
    text = hostile().to_markdown()
    assert "<script>" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:3]}) == 1


def test_the_page_has_the_answers() -> None:
    page = result([1.0, 0.0], [1.0, 1.0]).to_html()
    assert page.count('class="same fine"') == 1
    assert page.count('class="differing failing"') == 1
    assert "50.0% (9.5% to 90.5%)" in page
    assert '<section><input type="checkbox" id="differ">' in page
    alone = result([1.0]).to_html()
    assert 'id="differ"' not in alone
    assert page_of("x" * 30_000).count("x") < 25_000
    assert "… (10,000 characters more)" in page_of("x" * 30_000)


def page_of(text: str) -> str:
    row = EvaluatedCase(case=EvaluationCase(id="1", prompt="p"), answers=(answered(1.0, text),))
    return EvaluationResult(models=("one",), metrics=(EXACT,), rows=(row,)).to_html()


def test_markdown() -> None:
    text = result([1.0, 0.0, None], [1.0, 1.0, 1.0]).to_markdown()
    assert "| one | 50.0% (9.5% to 90.5%) | 1 (1 to 1) |" in text
    assert "| one | 2 | 1 | $0.0020 | 1.00 s | 1.00 s | 0 | 0 |" in text
    assert re.search(r"\| exact \| one \| two \| \+50.0% \(.*\) \| 1.000 \| 2 \| not shown \|", text)
    assert "Preferences" not in text


def test_saved_and_loaded(tmp_path: Path) -> None:
    found = result([1.0, None], [0.0, 1.0])
    for name in ("r.json", "r.md", "r.html"):
        found.save(tmp_path / name)
    assert EvaluationResult.load(tmp_path / "r.json") == found
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert "<table>" in found._repr_html_()
    with pytest.raises(ConfigurationError, match=r"saved as .json, .md or .html"):
        found.save(tmp_path / "r.pdf")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        found.save(tmp_path / "none/r.md")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        EvaluationResult.load(tmp_path / "none.json")
    for text in ("{}", "[" * 100_000, '{"models": 3}', "\xff"):
        with pytest.raises(ValidationError, match="no evaluation's result"):
            EvaluationResult.from_json(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"there is no f1 of one; of one, two there is exact, latency"):
        found.summary("one", "f1")


# --- the gate --------------------------------------------------------------------------------------------------------

GOOD: list[float | None] = [1.0] * 40


def test_as_good_as_it_was(tmp_path: Path) -> None:
    before = result(GOOD)
    before.save(tmp_path / "before.json")
    awsllm.assert_no_regression(before, tmp_path / "before.json")
    awsllm.assert_no_regression(before, result([0.0] * 40))  # better is no regression
    awsllm.assert_no_regression(result([*GOOD[:-1], 0.0]), before)  # one answer may be bad luck
    with pytest.raises(AssertionError, match=r"1 regression:\n- exact of one: 1 before, 0.975 now, .* most in 39"):
        awsllm.assert_no_regression(result([*GOOD[:-1], 0.0]), before, strict=True)
    awsllm.assert_no_regression(result([*GOOD[:-1], 0.0]), before, strict=True, margin=0.03)


@pytest.mark.parametrize("worse", [0.0, None], ids=["wrong", "failed"])
def test_worse_than_it_was(worse: float | None) -> None:
    now = result([*GOOD[:30], *[worse] * 10])
    with pytest.raises(
        AssertionError, match=r"exact of one: 1 before, 0.75 now, a difference of -0.25 .* over 40 cases"
    ):
        awsllm.assert_no_regression(now, result(GOOD))
    awsllm.assert_no_regression(now, result(GOOD), margin=0.3)
    (told,) = regressions(now, result(GOOD))
    assert told.lost == ("30", "31", "32", "33", "34")
    assert told.high < 0


def test_time_is_held_where_it_is_named() -> None:
    slow, fast = result(GOOD, seconds=9.0), result(GOOD)
    awsllm.assert_no_regression(slow, fast)
    with pytest.raises(AssertionError, match="latency of one: 1 before, 9 now"):
        awsllm.assert_no_regression(slow, fast, metrics=["latency"])
    awsllm.assert_no_regression(fast, slow, metrics=["latency"])


def test_models_are_those_of_their_names() -> None:
    both = result(GOOD, [0.0] * 40)
    assert not regressions(both, both)
    assert not regressions(result([0.0] * 40, models=("two",)), both)
    assert regressions(result([0.0] * 40, models=("one",)), both)
    assert regressions(result([0.0] * 40, models=("new",)), result(GOOD, models=("old",)))  # each has one
    with pytest.raises(ConfigurationError, match="the baseline has one, two, the result new"):
        regressions(result(GOOD, models=("new",)), both)


def test_nothing_to_compare() -> None:
    with pytest.raises(ConfigurationError, match="no case in common"):
        awsllm.assert_no_regression(result(GOOD, asks="another"), result(GOOD))
    with pytest.raises(ConfigurationError, match="f1 is not in both"):
        awsllm.assert_no_regression(result(GOOD), result(GOOD), metrics=["f1"])
    with pytest.raises(ConfigurationError, match="0 or more"):
        awsllm.assert_no_regression(result(GOOD), result(GOOD), margin=-1)
