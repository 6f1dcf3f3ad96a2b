"""What docstrings say of parameters, in the three ways that are common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.tools.docstrings import parse_docstring

GOOGLE = """Find it.

    Args:
        query (str): What to
            look for.
        limit: At most.

    Raises:
        ValueError: never
    """
NUMPY = """Find it.

    Parameters
    ----------
    query : str
        What to
        look for.
    limit
        At most.

    Returns
    -------
    other : str
        Not a parameter.
    """
SPHINX = """Find it.

    :param str query: What to
        look for.
    :param limit: At most.
    :returns: nothing
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_ways_to_document_parameters(text: str) -> None:
    assert parse_docstring(text) == ("Find it.", {"query": "What to look for.", "limit": "At most."})


@given(st.text())
def test_no_docstring_breaks_the_reader(text: str) -> None:
    parse_docstring(text)


def test_a_missing_docstring_says_nothing() -> None:
    assert parse_docstring(None) == (None, {})
