"""Spark itself, on this machine."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import awsllm
from tests.engines import blocks

sql = pytest.importorskip("pyspark.sql")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are theirs


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    made = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    local = made.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    session = local.getOrCreate()
    yield session
    session.stop()


def test_a_frame_gets_its_answers(spark: Any) -> None:
    ask = awsllm.batch_for_spark(blocks.MODEL, prompt="say {text}", client=blocks.client, max_tokens=9)
    frame = spark.createDataFrame([(text,) for text in blocks.TEXTS], ["text"]).repartition(3)
    rows = frame.select("text", ask("text").alias("found")).select("text", "found.*").collect()
    blocks.check([row.asDict() for row in rows])


def test_workers_share_one_quota(spark: Any, tmp_path: Path) -> None:
    client = partial(blocks.limited, str(tmp_path / "limits.db"))
    ask = awsllm.batch_for_spark(blocks.MODEL, prompt="say {text}", client=client, attempts=1)
    frame = spark.createDataFrame([(text,) for text in blocks.TEXTS], ["text"]).repartition(3)
    rows = frame.select("text", ask("text").alias("found")).select("text", "found.*").collect()
    blocks.check_limited([row.asDict() for row in rows])
