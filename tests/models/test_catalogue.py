"""The shipped figures, their review, and the script that writes them."""

from __future__ import annotations

from datetime import date

import pytest

from awsllm.models.catalogue import lifecycle_warning, price
from awsllm.models.entries import Entry, entries, entry
from awsllm.models.profiles import profile
from awsllm.models.references import is_bedrock_id, parse_reference
from tools import catalogue as script

EVERY = tuple(entries())
MODALITIES = {"text", "image", "video", "audio", "speech", "embedding"}
HEAD = "# litellm\nid\troute\tmode\tmax_input\tmax_output\tcan\tcannot\tprices\tend\n"


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.id)
def test_each_row_can_be_reviewed(row: Entry) -> None:
    assert is_bedrock_id(row.id)
    assert parse_reference(f"bedrock:{row.id}").model == row.id
    can = profile("bedrock", row.id)
    assert can.known
    assert can.family != "unknown"
    assert can.routes
    assert {*row.input, *row.output} <= MODALITIES
    assert row.input
    assert row.output
    assert "." in row.source
    assert date.fromisoformat(row.read) <= date(2026, 12, 31)
    assert row.successor is None or entry(row.successor)
    assert not (row.legacy and row.end_of_life) or row.legacy < row.end_of_life
    assert "invoke" not in can.routes or can.invoke_body


@pytest.mark.parametrize("row", [row for row in EVERY if row.prices], ids=lambda row: row.id)
def test_each_price_is_one(row: Entry) -> None:
    for where in row.prices:
        rates = price(f"{where}.{row.id}" if where.isalpha() else row.id, where)
        assert rates
        assert rates.source
        assert date.fromisoformat(rates.read or "") <= date(2026, 12, 31)
        numbers = [value for name in rates.__struct_fields__ if isinstance(value := getattr(rates, name), float)]
        assert numbers
        assert all(value > 0 for value in numbers)


def test_the_rows_are_sorted_and_single() -> None:
    ids = [row.id for row in EVERY]
    assert ids == sorted(set(ids))


def test_a_row_is_found_by_each_name_of_its_model() -> None:
    row = entry("amazon.nova-lite-v1:0")
    assert row
    assert (row.context_window, row.max_output_tokens, row.input) == (300_000, 10_000, ("text", "image", "video"))
    for name in (
        "us.amazon.nova-lite-v1:0",
        "amazon.nova-lite-v1:0:300k",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-lite-v1:0",
    ):
        assert entry(name) == row
    lite = entry("amazon.titan-text-lite-v1")
    assert lite is not None
    assert entry("amazon.titan-text-lite-v1:0:4k") == lite
    assert entry("amazon.titan-text-lite-v1:0") is None
    for name in ("newcorp.brilliant-v1:0", "", "amazon.nova-lite", "arn:aws:bedrock:us-east-1:1:imported-model/x"):
        assert entry(name) is None


# Prices from AWS's cards and Price List; where each is from stands in tools/catalogue.py.
@pytest.mark.parametrize(
    ("model", "region", "rate"),
    [
        ("global.anthropic.claude-sonnet-4-6", "us-east-1", 3.0),
        ("us.anthropic.claude-sonnet-4-6", "us-east-1", 3.3),
        ("anthropic.claude-sonnet-4-6", "us-east-1", 3.3),  # within a region: never at the global rate
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "eu-west-1", 1.1),
        ("minimax.minimax-m2.5", "us-east-1", 0.3),
        ("minimax.minimax-m2.5", "ap-northeast-1", 0.36),
        ("minimax.minimax-m2.5", None, 0.3),
        ("us-gov.openai.gpt-oss-20b-1:0", "us-gov-west-1", 0.084),
    ],
)
def test_a_price_depends_on_where_the_call_goes(model: str, region: str | None, rate: float) -> None:
    found = price(model, region)
    assert found
    assert found.input == rate


def test_what_is_known_from_litellm_alone_is_marked() -> None:
    litellm, aws = price("ai21.j2-mid-v1"), price("global.openai.gpt-6-astra")
    assert litellm
    assert litellm.litellm
    assert "litellm" in (litellm.source or "")
    assert aws
    assert not aws.litellm
    assert "model-card-openai-gpt-6-astra" in (aws.source or "")


@pytest.mark.parametrize(
    "model", ["amazon.titan-image-generator-v2:0", "newcorp.brilliant-v1:0", "amazon.nova-reel-v1:1"]
)
def test_what_is_not_known_has_no_price(model: str) -> None:
    assert price(model) is None


@pytest.mark.parametrize(
    ("model", "today", "says"),
    [
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-10-07", None),
        (
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "2026-10-08",
            "anthropic.claude-sonnet-4-5-20250929-v1:0 is Legacy and ends on 2027-04-08: "
            "move to anthropic.claude-sonnet-5-5",
        ),
        ("ai21.jamba-1-5-mini-v1:0", "2026-11-26", "ended on 2026-11-26: move to another model"),
        ("meta.llama3-8b-instruct-v1:0", "2026-12-29", None),
        ("meta.llama3-8b-instruct-v1:0", "2026-12-30", "may end on 2027-03-30 or later: litellm's table says so"),
        ("meta.llama3-8b-instruct-v1:0", "2028-01-01", "may end on 2027-03-30 or later"),
        # litellm's table ends it on 2026-10-15; its card says Active, and no end sooner than 2026-10-01
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "2026-11-26", None),
        ("anthropic.claude-opus-5-5", "2030-01-01", None),
        ("newcorp.brilliant-v1:0", "2030-01-01", None),
    ],
)
def test_a_model_near_its_end_says_so(model: str, today: str, says: str | None) -> None:
    found = lifecycle_warning(model, today)
    assert found is None if says is None else says in (found or "")


def test_the_script_reads_litellms_rows() -> None:
    rows = script.build(
        HEAD
        + "qwen.qwen9-1b\tconverse\tchat\t32000\t8000\t\t\tin=1 out=2\t2031-01-01\n"
        + "us-east-2/qwen.qwen9-1b\tinvoke\tchat\t32000\t8000\t\t\tin=1 out=2\t\n"
        + "eu-west-1/qwen.qwen9-1b\tinvoke\tchat\t32000\t8000\t\t\tin=3 out=4\t\n"
        + "*/1-month-commitment/cohere.command-text-v14\tinvoke\tchat\t1\t1\t\t\t\t\n"
        + "claude_platform/claude-opus-9\tinvoke\tchat\t1\t1\t\t\tin=1 out=1\t\n"
    )
    row = next(row for row in rows if row["id"] == "qwen.qwen9-1b")
    assert row["prices"] == {
        "": {"input": 1.0, "output": 2.0, "litellm": True},
        "eu-west-1": {"input": 3.0, "output": 4.0, "litellm": True},
    }
    assert "end_of_life" not in row  # which is AWS's to announce
    assert (row["end_by_litellm"], row["litellm"], row["output"]) == ("2031-01-01", True, ["text"])
    assert not [row for row in rows if "opus-9" in row["id"]]


def test_the_script_prices_a_bare_id_as_a_call_within_its_region() -> None:
    lines = [f"{geography}anthropic.claude-x\tconverse\tchat\t9\t9\t\t\t{{}}\t" for geography in ("", "us.", "global.")]
    prices = ("in=3 out=15", "in=3.3 out=16.5", "in=3 out=15")
    rows = script.build(HEAD + "\n".join(line.format(price) for line, price in zip(lines, prices, strict=True)))
    row = next(row for row in rows if row["id"] == "anthropic.claude-x")
    assert {where: rates["input"] for where, rates in row["prices"].items()} == {"": 3.3, "global": 3.0}
