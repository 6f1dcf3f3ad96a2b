"""Dask itself: threads, and processes of its own scheduler."""

import pickle
from functools import partial
from pathlib import Path

import pytest

import awsllm
from tests.engines import blocks

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_frame_gets_its_answers(scheduler: str) -> None:
    frame = dd.from_pandas(pd.DataFrame({"text": blocks.TEXTS}), npartitions=4)
    ask = awsllm.batch_for_dask(blocks.MODEL, prompt="say {text}", client=blocks.client, max_tokens=9)
    answered = ask(frame)
    assert list(answered.columns)[:2] == ["text", "answer"]
    with dask.config.set(scheduler=scheduler):
        found = answered.compute()
    blocks.check(found.to_dict("records"))
    assert str(found["answer_input_tokens"].dtype) == "Int64"


def test_map_partitions_with_the_meta_asks_nothing_before_it_computes() -> None:
    asked = []

    def never() -> awsllm.Client:
        asked.append(1)
        return blocks.client()

    frame = dd.from_pandas(pd.DataFrame({"text": blocks.TEXTS}), npartitions=2)
    ask = awsllm.batch_for_dask(blocks.MODEL, prompt="say {text}", client=never)
    planned = frame.map_partitions(ask, meta=ask.meta(frame))
    assert asked == []
    with dask.config.set(scheduler="synchronous"):
        blocks.check(planned.compute().to_dict("records"))


def test_what_is_sent_to_workers_is_small() -> None:
    ask = awsllm.batch_for_dask(blocks.MODEL, prompt="say {text}", client=blocks.client)
    assert len(pickle.dumps(ask)) < 2000


def test_processes_share_one_quota(tmp_path: Path) -> None:
    frame = dd.from_pandas(pd.DataFrame({"text": blocks.TEXTS}), npartitions=4)
    client = partial(blocks.limited, str(tmp_path / "limits.db"))
    ask = awsllm.batch_for_dask(blocks.MODEL, prompt="say {text}", client=client, attempts=1)
    with dask.config.set(scheduler="processes", num_workers=2):
        blocks.check_limited(ask(frame).compute().to_dict("records"))


def test_columns_that_are_no_json_are_left_as_they_are() -> None:
    """What the prompt does not name is nobody's business; a cell of nothing is told, and not asked as a text."""
    given = pd.DataFrame(
        {"text": ["a", None, float("nan")], "when": pd.to_datetime(["2026-01-01"] * 3), "odd": [{1}] * 3}
    )
    found = awsllm.batch_for_dask(blocks.MODEL, prompt="say {text}", client=blocks.client)(given)
    assert found["answer"].tolist() == ["SAY A", None, None]
    assert "nothing in the column 'text'" in found["answer_error"].tolist()[2]
