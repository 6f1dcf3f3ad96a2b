"""Where a fine-tuning runs: weighed by size, price, memory and deadline, and what is told of that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from awsllm.client import Client
from awsllm.errors import ConfigurationError, RequestError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import TrainingDataError, read_training_data
from awsllm.jobs.local.needs import needs_of
from awsllm.jobs.local.planning import LocalTraining
from awsllm.jobs.training_choice import TrainingCandidate, chosen
from awsllm.models.customizable import training_price
from awsllm.testing import mock_aws
from tests.support import random_models, tiny_chat
from tests.support.bedrock_account import NOVA, ROLE
from tests.support.sagemaker_account import client as boto

CHATS = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)]
DATA = read_training_data(CHATS)
TITAN = "amazon.titan-text-express-v1"
IN_AWS: Any = {"output": "s3://data/out", "role": ROLE}


def one(base: str = "local:a", where: Any = "local", **members: Any) -> TrainingCandidate:
    return TrainingCandidate(base=base, where=where, **members)


HERE = one(usd=0.0, seconds=7200.0, memory=4_000_000_000, free=8_000_000_000)
THERE = one("bedrock:b", "bedrock", usd=3.0, seconds=3600.0)
UNPRICED = one("sagemaker:c", "sagemaker", seconds=900.0)


@pytest.mark.parametrize(
    ("candidates", "deadline", "most", "winner", "said"),
    [
        ((THERE, HERE), None, None, 1, r"local:a for nothing, in about 2 hours, with 4\.0 GB of memory of the 8\.0 GB"),
        (
            (HERE, THERE),
            4000.0,
            None,
            1,
            r"local:a cannot be: it takes about 2 hours, and the deadline is in 67 minutes",
        ),
        ((UNPRICED, THERE), None, None, 1, r"sagemaker:c would be of unknown price, in 15 minutes at least"),
        ((UNPRICED, THERE), None, 5.0, 1, r"sagemaker:c cannot be: its price is not known here, and \$5\.00 may"),
        ((one(usd=0.0, memory=9, free=1), THERE), None, None, 1, "it takes about 0.0 MB of memory, and 0.0 MB are"),
        ((UNPRICED, THERE), 1000.0, None, 0, "bedrock:b cannot be: it takes at least 60 minutes"),
    ],
)
def test_what_is_chosen_and_why(candidates: Any, deadline: Any, most: Any, winner: int, said: str) -> None:
    number, why = chosen(candidates, deadline, most)
    assert number == winner
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(why)


def test_where_none_can_be_each_reason_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"none of these can be trained: local:a: .*; bedrock:b: it costs up"):
        chosen([HERE, THERE], 60.0 * 90, 1.0)


# --- over the places -------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Client]:
    with mock_aws(reply="trained"), Client(region="us-east-1") as made:
        boto("s3").create_bucket(Bucket="data")
        yield made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat.write(tmp_path_factory.mktemp("base"))


def test_several_bases_are_a_choice(client: Client, base: str) -> None:
    """Of those that can be, what costs nothing; options of one place do not hinder another."""
    bases = [f"bedrock:{TITAN}", base]
    options: Any = {**IN_AWS, "steps": 2, "rank": 2}
    plan = client.jobs.plan_fine_tune(bases, CHATS, options=options)
    assert plan.cost.total == 0
    job = client.fine_tune([f"bedrock:{NOVA}", f"bedrock:{TITAN}"], CHATS, **IN_AWS)
    assert "titan-text-express" in job.name  # whose price is known
    assert f"bedrock:{NOVA} would be of unknown price" in job.why
    price, tokens, epochs = 8.0, 3 * len(CHATS), 5  # Titan's, and the epochs that it makes where nobody says
    assert job.cost.total == pytest.approx(price * tokens * epochs / 1e6)
    assert client.jobs.plan_fine_tune(bases, CHATS, where="bedrock", options=IN_AWS).request["roleArn"] == ROLE
    with pytest.raises(UnsupportedError, match=r"client\.jobs\.import_model"):
        client.fine_tune([base, base], CHATS, where="bedrock")
    with pytest.raises(ValidationError, match="there is no base"):
        client.fine_tune([], CHATS)


def test_limits_are_held_before_anything_begins(client: Client, base: str) -> None:
    for options, said in (
        ({"max_cost": 1.0, **IN_AWS}, "its price is not known here"),
        ({"deadline": 60, **IN_AWS}, "it takes at least 60 minutes"),
        ({"deadline": "soon", **IN_AWS}, "deadline='soon' is no number above 0"),
    ):
        with pytest.raises((ConfigurationError, ValidationError), match=said):
            client.fine_tune(f"bedrock:{NOVA}", CHATS, **options)
    assert client.jobs.list().jobs == ()
    with pytest.raises(TrainingDataError, match="line 7"):
        client.fine_tune([base, f"bedrock:{NOVA}"], [*CHATS, {"prompt": 3}], **IN_AWS)


def test_a_base_that_cannot_be_trained_is_told_at_once(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    random_models.write("llama-tied", folder)
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(UnsupportedError, match=r"is not trained here: architecture .bert. is not supported"):
        client.fine_tune(f"local:{folder}", CHATS)
    with pytest.raises(RequestError, match="does not support model customization"):  # the service knows best
        client.fine_tune("bedrock:cohere.command-r-v1:0", CHATS, **IN_AWS)
    assert client.jobs.list().jobs == ()


def test_what_a_training_here_takes(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(base.removeprefix("local:"))
    little = needs_of(path, DATA, LocalTraining(rank=2, steps=2, rows=1).filled(DATA))
    much = needs_of(path, DATA, LocalTraining(method="full", steps=200, rows=4).filled(DATA))
    assert little is not None
    assert much is not None
    assert little.parameters == much.parameters or little.parameters > much.parameters  # the adapter's are among them
    assert little.memory < much.memory
    assert (little.seconds or 0) <= (much.seconds or 0)
    assert not little.shortage
    monkeypatch.setattr("awsllm.engine.train.memory.free_memory", lambda device: 1000)
    with (
        Client(region="us-east-1") as made,
        pytest.raises(ConfigurationError, match=r"of memory .*and 0\.0 MB is free"),
    ):
        made.fine_tune(base, CHATS)


def test_prices_of_training_have_a_source() -> None:
    found = training_price(f"us.{TITAN}")
    assert found is not None
    assert (found.per_million, found.per_month) == (8.0, 1.95)
    assert "aws.amazon.com/bedrock/pricing" in found.source
    assert training_price(NOVA) is None
