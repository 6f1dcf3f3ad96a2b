"""Ray Data itself, with its workers in processes of their own, and each of its forms of a block."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import awsllm
from tests.engines import blocks

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="error")
    yield
    ray.shutdown()


@pytest.mark.parametrize("form", ["default", "pandas", "pyarrow"])
def test_a_dataset_gets_its_answers(form: Any) -> None:
    ask = awsllm.batch_for_ray(blocks.MODEL, prompt="say {text}", client=blocks.client, max_tokens=9)
    rows = ray.data.from_items([{"text": text} for text in blocks.TEXTS])
    blocks.check(rows.map_batches(ask, batch_format=form, batch_size=10).take_all())


def test_workers_share_one_quota(tmp_path: Path) -> None:
    client = partial(blocks.limited, str(tmp_path / "limits.db"))
    ask = awsllm.batch_for_ray(blocks.MODEL, prompt="say {text}", client=client, attempts=1)
    rows = ray.data.from_items([{"text": text} for text in blocks.TEXTS], override_num_blocks=4)
    blocks.check_limited(rows.map_batches(ask, batch_size=10, concurrency=2).take_all())
