"""A loss that falls is seen to fall, in a terminal and on a page that runs nothing."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from awsllm.explanation.curves import LossPoint, loss_lines, loss_page

FALLING = [LossPoint(step, 8 / step, 9 / step if step % 10 == 0 else None) for step in range(1, 101)]


def test_a_falling_loss_begins_at_the_top_left_and_ends_at_the_bottom_right() -> None:
    lines = loss_lines(FALLING, width=20, height=5)
    assert len(lines) == 6
    rows = [line.split("┤")[1] for line in lines[:5]]
    assert rows[0][0] != "\u2800"
    assert rows[0][-1] == "\u2800"
    assert rows[4][-1] != "\u2800"
    assert "step 1 to 100, loss 8.000 → 0.080" in lines[-1]


@pytest.mark.parametrize("points", [[LossPoint(1, 2.0)], [LossPoint(1, 2.0), LossPoint(2, 2.0)]])
def test_a_loss_that_stands_is_drawn_too(points: list[LossPoint]) -> None:
    assert any(cell != "\u2800" for line in loss_lines(points)[:-1] for cell in line.split("┤")[1])
    assert "<polyline" in loss_page(points, "x")


def test_a_page_escapes_its_title_and_runs_nothing() -> None:
    page = loss_page(FALLING, "<script>alert(1)</script>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    drawing = re.search(r"<svg.*</svg>", page)
    assert drawing is not None
    tree = ElementTree.fromstring(drawing[0])  # noqa: S314  # our own page
    line = tree.find("polyline")
    assert line is not None
    heights = [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
    assert heights == sorted(heights)  # down the page
    assert len(tree.findall("circle")) == 10


def test_what_is_no_number_is_left_out() -> None:
    assert loss_lines([LossPoint(1, math.nan)]) == []
    with pytest.raises(ValueError, match="no step"):
        loss_page([LossPoint(1, math.inf)], "x")
