"""Writes ``awsllm/models/catalogue.jsonl``: ``python tools/catalogue.py litellm.tsv``.

Sources, and what each is believed for:

* litellm's table of models (github.com/BerriAI/litellm, MIT), as tab-separated rows of id, route, mode, most input and
  output tokens, abilities, what it has not, prices (``in=3 out=15``: US dollars a million tokens, or one of what is
  counted singly) and end of life. It is the base of the list; what is known from it alone is marked ``litellm``.
* AWS's pages for what stands in the tables below, each with its source and day. They go before litellm.
* ``awsllm.models.rules`` for what a model reads.

Left out on purpose, so that a cost is unknown rather than wrong: the prices of images that depend on size and quality
(Titan Image, Nova Canvas, SDXL), and whatever litellm lists for Anthropic's own platform.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from awsllm.models.profiles import profile
from awsllm.models.references import geography, without_geography

OUT = Path(__file__).parent.parent / "awsllm" / "models" / "catalogue.jsonl"
LITELLM = "github.com/BerriAI/litellm 1.110.2 (MIT)"
READ = "2026-11-26"
GUIDE = "docs.aws.amazon.com/bedrock/latest/userguide/"
LIFECYCLE = GUIDE + "model-lifecycle-legacy.html"

_PRICES = {
    "in": "input",
    "out": "output",
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "cache_write_1h": "cache_write_1h",
    "batch_in": "batch_input",
    "batch_out": "batch_output",
    "flex_in": "flex_input",
    "flex_out": "flex_output",
    "priority_in": "priority_input",
    "priority_out": "priority_output",
    "image_out": "image",
    "image_in": "image_input",
    "video_s": "video_second",
    "audio_s": "audio_second",
    "query": "query",
}
_REGION = re.compile(r"[a-z]+(?:-gov)?-[a-z]+-\d$")
_NO_MODEL = re.compile(r"commitment/|^claude|^guardrails$|steps/|@|^\*")
_BY_SIZE = ("amazon.titan-image-", "amazon.nova-canvas-", "stability.stable-diffusion-xl-")
_ROUTES = {"converse": 0, "invoke": 1, "mantle": 2}  # which row of an id is believed first

# Ids that AWS lists or listed (userguide/models-supported.html, model-ids.html) and litellm does not.
_MORE_IDS = (
    *("amazon.nova-reel-v1:0", "amazon.nova-reel-v1:1", "amazon.nova-sonic-v1:0", "amazon.titan-tg1-large"),
    *("anthropic.claude-3-sonnet-20240229-v1:0", "anthropic.claude-v2", "cohere.command-r-v1:0"),
    *("cohere.command-r-plus-v1:0", "luma.ray-v2:0", "stability.stable-diffusion-xl-v1"),
)

# Legacy day, end of life, successor. The days are AWS's page's (copies of June to November 2026); the successor is the
# one that AWS or its samples name, else the current model of the line.
_ENDS: dict[str, tuple[str | None, str | None, str | None]] = {
    "ai21.jamba-1-5-large-v1:0": ("2026-05-26", "2026-11-26", None),
    "ai21.jamba-1-5-mini-v1:0": ("2026-05-26", "2026-11-26", None),
    "amazon.nova-canvas-v1:0": ("2026-03-30", "2026-09-30", "stability.stable-image-core-v1:1"),
    "amazon.nova-premier-v1:0": ("2026-03-13", "2026-09-14", "amazon.nova-2-lite-v1:0"),
    "amazon.nova-reel-v1:0": ("2026-03-30", "2026-09-30", "luma.ray-v2:0"),
    "amazon.nova-reel-v1:1": ("2026-03-30", "2026-09-30", "luma.ray-v2:0"),
    "amazon.nova-sonic-v1:0": ("2026-03-13", "2026-09-14", "amazon.nova-2-sonic-v1:0"),
    "amazon.titan-image-generator-v2:0": ("2025-12-30", "2026-06-30", "stability.stable-image-core-v1:1"),
    "anthropic.claude-3-5-sonnet-20240620-v1:0": (None, "2026-07-30", "anthropic.claude-sonnet-5-5"),
    "anthropic.claude-3-5-sonnet-20241022-v2:0": (None, "2026-07-30", "anthropic.claude-sonnet-5-5"),
    "anthropic.claude-3-haiku-20240307-v1:0": (
        "2026-03-10",
        "2026-09-10",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
    ),
    "anthropic.claude-3-sonnet-20240229-v1:0": ("2026-01-30", "2026-07-30", "anthropic.claude-sonnet-5-5"),
    "anthropic.claude-opus-4-1-20250805-v1:0": ("2026-07-08", "2027-01-08", "anthropic.claude-opus-5-5"),
    "anthropic.claude-sonnet-4-20250514-v1:0": ("2026-04-14", "2026-10-14", "anthropic.claude-sonnet-4-6"),
    "anthropic.claude-sonnet-4-5-20250929-v1:0": ("2026-10-08", "2027-04-08", "anthropic.claude-sonnet-5-5"),
    "cohere.command-r-plus-v1:0": ("2026-02-19", "2026-08-19", None),
    "cohere.command-r-v1:0": ("2026-02-19", "2026-08-19", None),
    "meta.llama3-1-405b-instruct-v1:0": (None, "2026-07-07", "meta.llama3-3-70b-instruct-v1:0"),
    "meta.llama3-2-11b-instruct-v1:0": (None, "2026-07-07", "meta.llama4-scout-17b-instruct-v1:0"),
    "meta.llama3-2-1b-instruct-v1:0": (None, "2026-07-07", "meta.llama3-1-8b-instruct-v1:0"),
    "meta.llama3-2-3b-instruct-v1:0": (None, "2026-07-07", "meta.llama3-1-8b-instruct-v1:0"),
    "meta.llama3-2-90b-instruct-v1:0": (None, "2026-07-07", "meta.llama4-maverick-17b-instruct-v1:0"),
    "twelvelabs.marengo-embed-2-7-v1:0": ("2026-05-29", "2026-11-30", "twelvelabs.marengo-embed-3-0-v1:0"),
}

# Models whose end in litellm's table is none: AWS's card has them Active, and only a day before which they do not end.
# Claude Haiku 4.5's, in a copy of 2026-05-12, says "No sooner than 10/1/2026".
_NO_SOONER = frozenset(("anthropic.claude-haiku-4-5-20251001-v1:0",))


def _rates(numbers: str, source: str, read: str) -> dict[str, Any]:
    """Input, output, cache read and write, in US dollars a million tokens, as one of AWS's pages has them."""
    names = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
    rates = dict(zip(names, map(float, numbers.split()), strict=False))
    return {**rates, "source": source, "read": read}


_ASTRA = GUIDE + "model-card-openai-gpt-6-astra.html"
_SOL = GUIDE + "model-card-openai-gpt-6-1-sol.html"
_LUNA = GUIDE + "model-card-openai-gpt-56-luna.html"
_KIMI = GUIDE + "model-card-moonshot-ai-kimi-k3.html"
_SONNET = "AWS Price List of us-east-1, quoted in github.com/BerriAI/litellm/issues/42679"

# Prices that AWS's own pages show, by id and by where the call goes.
_AWS_PRICES: dict[str, dict[str, dict[str, Any]]] = {
    "openai.gpt-6-astra": {
        "": _rates("11 55 1.1 13.75", _ASTRA, "2026-10-04"),
        "us": _rates("11 55 1.1 13.75", _ASTRA, "2026-10-04"),
        "global": _rates("10 50 1 12.5", _ASTRA, "2026-10-04"),
    },
    "openai.gpt-6.1-sol": {
        "": _rates("2.2 11 0.11 2.75", _SOL, "2026-10-04"),
        "us": _rates("2.2 11 0.11 2.75", _SOL, "2026-10-04"),
        "global": _rates("2 10 0.1 2.5", _SOL, "2026-10-04"),
    },
    "openai.gpt-5.6-luna": {
        "": _rates("0.22 1.32 0.022 0.275", _LUNA, "2026-10-04"),
        "us": _rates("0.22 1.32 0.022 0.275", _LUNA, "2026-10-04"),
        "global": _rates("0.2 1.2 0.02 0.25", _LUNA, "2026-10-04"),
    },
    "openai.gpt-5.4": {"": _rates("2.75 16.5 0.275", GUIDE + "model-card-openai-gpt-54.html", "2026-10-04")},
    "moonshotai.kimi-k3": {
        "us": _rates("3.3 16.5 0.33 4.125", _KIMI, "2026-10-04"),
        "global": _rates("3 15 0.3 3.75", _KIMI, "2026-10-04"),
    },
    "xai.grok-4.3": {"": _rates("1.25 2.5 0.2", GUIDE + "model-card-xai-grok-4-3.html", "2026-10-04")},
    "anthropic.claude-sonnet-4-6": {
        "": _rates("3.3 16.5 0.33 4.125", _SONNET, "2026-09-23"),
        "us": _rates("3.3 16.5 0.33 4.125", _SONNET, "2026-09-23"),
        "global": _rates("3 15 0.3 3.75", _SONNET, "2026-09-23"),
    },
}

# Prompts above so many tokens cost more: the threshold, and the factors on input (cached too) and output where a page
# shows them. Of the other GPT the cards show the threshold alone, so that such a prompt's cost is unknown.
_LONG: tuple[tuple[str, int, tuple[float, float] | None], ...] = (
    ("openai.gpt-6-astra", 272_000, (2.0, 1.5)),
    ("openai.gpt-6.1-sol", 272_000, (2.0, 1.5)),
    ("openai.gpt-5.6-luna", 272_000, (2.0, 1.5)),
    ("openai.gpt-5.", 272_000, None),
    ("openai.gpt-6", 272_000, None),
    ("openai.gpt-daybreak", 272_000, None),
    # platform.claude.com/docs/en/models/haiku-5-5/overview, and the `_long_ctx` prices of the AWS Price List (2026-10)
    ("anthropic.claude-haiku-5-5", 100_000, (5.0, 5.0)),
)


class Row(NamedTuple):
    """A row of litellm's: the bare id, and where its prices are for."""

    id: str
    where: str
    route: str
    mode: str
    sizes: tuple[int | None, int | None]
    prices: dict[str, Any]
    end: str | None


def read_rows(text: str) -> list[Row]:
    """litellm's rows of Bedrock's models, without those of commitments, image sizes and other platforms."""
    rows = []
    for line in text.splitlines():
        if line.startswith(("#", "id\t")) or not line.strip() or _NO_MODEL.search(line.split("\t")[0]):
            continue
        name, route, mode, most_in, most_out, _, _, prices, end = (line.split("\t") + [""] * 9)[:9]
        region, slash, rest = name.partition("/")
        where = region if slash and _REGION.match(region) else geography(name) or ""
        bare = without_geography(rest if slash else name)
        if bare.startswith("claude"):
            continue
        found = {_PRICES[key]: float(value) for key, value in (item.split("=") for item in prices.split())}
        sizes = (int(most_in) if most_in else None, int(most_out) if most_out else None)
        rows.append(Row(bare, where, route, mode, sizes, found, end.strip() or None))
    return rows


def build(text: str) -> list[dict[str, Any]]:
    """The rows of the catalogue, by id."""
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(text):
        by_id[row.id].append(row)
    for name in _MORE_IDS:
        by_id.setdefault(name, [])
    return [_entry(name, by_id[name]) for name in sorted(by_id)]


def _entry(name: str, rows: list[Row]) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: (row.where != "", _ROUTES.get(row.route, 3)))
    legacy, end, successor = _ENDS.get(name, (None, None, None))
    reads, makes = _modalities(name, rows[0].mode if rows else "")
    context, output = rows[0].sizes if rows else (None, None)
    theirs = next((row.end for row in rows if row.end and not end and name not in _NO_SOONER), None)
    entry = {
        "id": name,
        "input": reads,
        "output": makes,
        "context_window": context if makes == ["text"] or "embedding" in makes else None,
        "max_output_tokens": output if makes == ["text"] else None,
        "legacy": legacy,
        "end_of_life": end,
        "end_by_litellm": theirs,
        "successor": successor,
        "prices": _prices(name, rows),
        "source": LITELLM if rows else LIFECYCLE,
        "read": READ,
        "litellm": bool(rows),
    }
    return {key: value for key, value in entry.items() if value not in (None, {}, False)}


def _modalities(name: str, mode: str) -> tuple[list[str], list[str]]:
    can = profile("bedrock", name)
    reads = ["text", *(kind for kind in ("image", "video", "audio") if getattr(can, _READS[kind]))]
    if "bidirectional" in can.routes:
        return ["speech", "text"], ["speech", "text"]
    makes = _MAKES.get(can.family) or _MAKES.get(mode) or ["text"]
    return reads, makes


_READS = {"image": "images", "video": "video", "audio": "audio"}
_MAKES = {
    "embedding": ["embedding"],
    "image_generation": ["image"],
    "image_edit": ["image"],
    "nova-canvas": ["image"],
    "titan-image": ["image"],
    "stability-sdxl": ["image"],
    "nova-reel": ["video"],
    "luma-ray": ["video"],
}


def _prices(name: str, rows: list[Row]) -> dict[str, dict[str, Any]]:
    if name.startswith(_BY_SIZE):
        return {}
    prices: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.prices:
            prices.setdefault(row.where, {**row.prices, "litellm": True})
    _price_in_region(prices)
    for where, rates in _AWS_PRICES.get(name, {}).items():
        more = {key: value for key, value in prices.get(where, {}).items() if key != "litellm" and key not in rates}
        prices[where] = {**rates, **more, **({"litellm": True} if more else {})}
    base = prices.get("")
    kept = {where: rates for where, rates in prices.items() if where == "" or rates != base}
    return {where: _with_long_context(name, rates) for where, rates in sorted(kept.items())}


def _price_in_region(prices: dict[str, dict[str, Any]]) -> None:
    """litellm gives a bare id the global profile's price. A call within a region costs what the geography's profile
    costs (the AWS Price List has these two alone: litellm issue 42679), a tenth more."""
    regional = prices.get("us") or next((prices[key] for key in ("eu", "jp", "au", "apac") if key in prices), None)
    if regional and "global" in prices and prices.get("", {}).get("input") == prices["global"].get("input"):
        prices[""] = dict(regional)


def _with_long_context(name: str, rates: dict[str, Any]) -> dict[str, Any]:
    for prefix, threshold, factors in _LONG:
        if not name.startswith(prefix) or name.startswith("openai.gpt-oss"):
            continue
        if factors is None:
            return {**rates, "long_context": threshold}
        names = ("input", "cache_read", "cache_write", "cache_write_1h")
        long = {key: round(rates[key] * factors[0], 6) for key in names if key in rates}
        long["output"] = round(rates["output"] * factors[1], 6)
        return {**rates, "long_context": threshold, "long": long}
    return rates


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/catalogue.py LITELLM.tsv")
    rows = build(Path(sys.argv[1]).read_text(encoding="utf-8"))
    OUT.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    sys.stdout.write(f"{len(rows)} rows, {OUT.stat().st_size} bytes: {OUT}\n")


if __name__ == "__main__":
    main()
