"""The table of prices: dated, sourced, replaceable, and about instances that exist."""

import json
import re
from pathlib import Path

import botocore.session
import pytest

from awsllm.errors import ConfigurationError
from awsllm.jumpstart.prices import Prices


def test_every_sheet_says_when_and_from_where() -> None:
    for sheet in Prices.default().sheets:
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", sheet.as_of)
        assert len(sheet.source) > 20
        assert sheet.per_hour
        assert all(0 < price < 200 for price in sheet.per_hour.values())


def test_every_type_can_host() -> None:
    service = botocore.session.get_session().get_service_model("sagemaker")
    known = set(service.shape_for("ProductionVariantInstanceType").enum)
    for sheet in Prices.default().sheets:
        assert set(sheet.per_hour) <= known


def test_bigger_costs_more_within_a_family() -> None:
    order = ["medium", "large", "xlarge", *(f"{n}xlarge" for n in (2, 4, 8, 9, 16, 12, 24, 48))]  # 12 has more devices
    prices = Prices.default()
    for region in {sheet.region for sheet in prices.sheets}:
        families: dict[str, dict[str, float]] = {}
        for sheet in prices.sheets:
            if sheet.region == region:
                for kind in sheet.per_hour:
                    _, family, size = kind.split(".")
                    price = prices.per_hour(kind, region)
                    assert price is not None
                    families.setdefault(family, {})[size] = price
        for family, sizes in families.items():
            if family == "g4dn":  # its 16xlarge has one device, its 12xlarge four, and costs more all the same
                continue
            ordered = [sizes[size] for size in order if size in sizes]
            assert ordered == sorted(ordered), (region, family)


def test_what_is_unknown_has_no_price() -> None:
    prices = Prices.default()
    assert prices.per_hour("ml.g5.2xlarge", "us-east-1") == 1.515
    assert prices.per_hour("ml.g5.2xlarge", "ap-south-2") is None
    assert prices.per_hour("ml.x99.huge", "us-east-1") is None
    assert prices.as_of == min(sheet.as_of for sheet in prices.sheets)
    assert "Price List" in prices.source


def test_the_first_sheet_that_knows_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sheet(as_of: str, **per_hour: float) -> dict[str, object]:
        named = {name.replace("_", "."): price for name, price in per_hour.items()}
        return {"region": "eu-west-1", "as_of": as_of, "source": f"contract {as_of}", "per_hour": named}

    file = tmp_path / "prices.json"
    file.write_text(
        json.dumps(
            {"sheets": [sheet("2026-11-01", ml_g5_xlarge=1.3), sheet("2026-01-01", ml_g5_xlarge=9, ml_m5_large=1)]}
        )
    )
    prices = Prices.load(file)
    assert prices.per_hour("ml.g5.xlarge", "eu-west-1") == 1.3
    assert prices.per_hour("ml.m5.large", "eu-west-1") == 1
    assert prices.as_of == "2026-01-01"
    found = prices.sheet("ml.m5.large", "eu-west-1")
    assert found is not None
    assert found.source == "contract 2026-01-01"
    monkeypatch.setenv("AWSLLM_PRICES", str(file))
    assert Prices.default() == prices


@pytest.mark.parametrize("content", ["", "[]", '{"sheets": [{"region": 1}]}'])
def test_what_is_no_table_says_its_form(tmp_path: Path, content: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"not a table of prices.*sheets"):
        Prices.load(file)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        Prices.load(tmp_path / "none.json")
