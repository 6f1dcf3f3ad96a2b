"""An adapter's pairs of narrow maps as a decoder takes them: which of them stand beside which of its maps.

A decoder computes queries, keys and values as one map, and so a gate with what it gates; the maps that peft knows are
its parts, one below the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from awsllm.engine.errors import ModelError
from awsllm.engine.rope import order
from awsllm.engine.train import lora

if TYPE_CHECKING:
    from pathlib import Path

    from awsllm.engine.config import Config
    from awsllm.engine.train.peft_names import Pair

_QUERIES: Final = "self_attn.q_proj"
_KEYS: Final = "self_attn.k_proj"


class NotBesideError(ModelError):
    """The adapter has changed what is not computed beside others: it can be merged."""


def parts(config: Config) -> dict[str, dict[str, int]]:
    """Of each map of a layer its parts, and how many rows of it each has. Experts are none of them."""
    queries, keys, inner = config.heads * config.head_dim, config.kv_heads * config.head_dim, config.intermediate_size
    found = {
        "qkv": {_QUERIES: queries, _KEYS: keys, "self_attn.v_proj": keys},
        "output": {"self_attn.o_proj": config.hidden_size},
    }
    if config.experts is None:
        found["up"] = dict.fromkeys(("mlp.gate_proj", "mlp.up_proj") if config.gated else ("mlp.up_proj",), inner)
        found["down"] = {"mlp.down_proj": config.hidden_size}
    return found


def read(folder: Path, config: Config) -> list[dict[str, Pair]]:
    """Of each layer the pairs by their parts' names, scaled, and channels of queries and keys in the order in which
    they turn. Raises ``ModelError`` or ``WeightsError`` for an adapter that is not this model's, and
    ``NotBesideError``."""
    adapter, pairs = lora.read_pairs(folder, config)
    known = {name for found in parts(config).values() for name in found}
    layers: list[dict[str, Pair]] = [{} for _ in range(config.layers)]
    for name, (going_in, coming_out) in pairs.items():
        head, _, rest = name.partition(".layers.")
        number, _, part = rest.partition(".")
        if head != "model" or part not in known:
            raise NotBesideError(f"the adapter has {name}, which is not computed beside others: merge it")
        turned = None
        if part in (_QUERIES, _KEYS):
            heads = config.heads if part == _QUERIES else config.kv_heads
            turned = order(config.layer_rope(int(number)), config.head_dim, heads)
        layers[int(number)][part] = (
            going_in * adapter.scale, coming_out if turned is None else coming_out[turned]
        )  # fmt: skip
    return layers
