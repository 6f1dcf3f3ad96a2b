"""Which of peft's adapters stands beside which of the decoder's linear maps.

Most families have a map for a map. Where transformers fuses several into one (Phi-3's ``qkv_proj``, GPT-2's
``c_attn``), peft has one adapter for them, and so have the maps here: they share what goes in, and each has its rows of
what comes out. Experts stand in stacks there (``target_parameters``): a file has the adapters of all of a layer in one
tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from awsllm.engine import layout
from awsllm.engine.errors import ModelError, WeightsError

_EXPERT: Final = re.compile(r"(model\.layers\.\d+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj")
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)")
_PHI3: Final = {
    **dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.qkv_proj"),
    **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), "mlp.gate_up_proj"),
}
_GPT2: Final = {
    **dict.fromkeys(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "attn.c_attn"),
    "self_attn.o_proj": "attn.c_proj", "mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj",
}  # fmt: skip
Pair = tuple[Tensor, Tensor]
"""What goes in, (rank, C), and what comes out, (rows, rank)."""


@dataclass(frozen=True, slots=True)
class SharedAdapter:
    """One of peft's adapters: ``name`` is its module's path, ``parameter`` the one of it that is meant where it holds
    stacks. ``members``: of each expert the decoder's maps that share it; where there are no experts, one such set."""

    name: str
    parameter: str
    members: tuple[tuple[str, ...], ...]
    in_turn: bool = False  # rows of the members take turns (gpt-oss), else one stands below the other

    @property
    def target(self) -> str:
        """By what a file's description names it, with the layer left out."""
        path = re.sub(r"^.*\.\d+\.", "", self.name)
        if self.parameter:
            return f"{path}.{self.parameter}"
        return path if path.startswith(("attn.c_", "mlp.c_")) else path.rpartition(".")[2]

    def is_wanted(self, targets: Iterable[str]) -> bool:
        """By peft's name, whole or its end, or by the names of all its members. Raises ``ModelError`` where only some
        of them are named."""
        whole = f"{self.name}.{self.parameter}" if self.parameter else self.name
        if any(whole == target or whole.endswith(f".{target}") for target in targets):
            return True
        own = {member.rpartition(".")[2] for member in self.members[0]}
        named = own & set(targets)
        if named and named != own:
            fused = self.parameter or self.name.rpartition(".")[2]
            raise ModelError(f"the model has {', '.join(sorted(own))} in one, {fused}: name that, or all of them")
        return bool(named)


def shared(family: str, linears: Sequence[str]) -> list[SharedAdapter]:
    """How peft sees the linear maps of a decoder of this family, in their order."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name in linears:
        expert = _EXPERT.fullmatch(name)
        if expert is None:
            found.setdefault((_theirs(family, name), ""), {}).setdefault("", []).append(name)
        else:
            parameter = "down_proj" if expert[3] == "down" else "gate_up_proj"
            found.setdefault((expert[1], parameter), {}).setdefault(expert[2], []).append(name)
    turns = family == "gpt_oss"
    return [
        SharedAdapter(name, parameter, tuple(tuple(each) for each in members.values()), turns and bool(parameter))
        for (name, parameter), members in found.items()
    ]


def _theirs(family: str, name: str) -> str:
    table = {"phi3": _PHI3, "gpt2": _GPT2}.get(family)
    if table is None or (layer := _LAYER.fullmatch(name)) is None:
        return name
    part = table.get(layer[2], layer[2])
    return f"transformer.h.{layer[1]}.{part}" if family == "gpt2" else f"model.layers.{layer[1]}.{part}"


# --- a file's tensors ------------------------------------------------------------------------------------------------


def written(adapters: Sequence[SharedAdapter], pairs: Mapping[str, Pair]) -> dict[str, Tensor]:
    """The pairs of the decoder's maps as peft's tensors."""
    found = {}
    for adapter, name in _placed(adapters).items():
        going_in = [pairs[members[0]][0] for members in adapter.members]
        coming_out = []
        for members in adapter.members:
            parts = [pairs[member][1] for member in members]
            coming_out.append(torch.stack(parts, 1).flatten(0, 1) if adapter.in_turn else torch.cat(parts))
        found[f"{name}.lora_A.weight"] = torch.cat(going_in)
        found[f"{name}.lora_B.weight"] = torch.stack(coming_out, -1).flatten(1)
    return found


def _placed(adapters: Sequence[SharedAdapter]) -> dict[SharedAdapter, str]:
    """Of each adapter its module. Of two in one module peft lays the second round the first."""
    first = {each.name for each in adapters if each.parameter == "down_proj"}
    return {
        each: f"{each.name}.base_layer" if each.parameter == "gate_up_proj" and each.name in first else each.name
        for each in adapters
    }


def read(
    adapters: Sequence[SharedAdapter], tensors: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, int]], rank: int
) -> dict[str, Pair]:
    """The pairs of the decoder's maps from peft's tensors; ``sizes`` are (outputs, inputs) of each map. Raises
    ``WeightsError`` where those are not this model's."""
    found: dict[str, Pair] = {}
    left = dict(tensors)
    for adapter, name in _as_laid(adapters, tensors, sizes).items():
        pair = tuple(left.pop(f"{name}.lora_{letter}.weight", None) for letter in "AB")
        if pair[0] is None or pair[1] is None:
            raise WeightsError(f"the adapter has not the tensors of this model: {name!r:.100} is on one side alone")
        found.update(_taken_apart(adapter, (pair[0], pair[1]), sizes, rank))
    if left:
        raise WeightsError(f"the adapter has not the tensors of this model: {min(left)!r:.100} is on one side alone")
    return found


def _as_laid(
    adapters: Sequence[SharedAdapter], tensors: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, int]]
) -> dict[SharedAdapter, str]:
    """As ``_placed``, by what the file has: which of two was laid round which follows from their sizes."""
    placed = _placed(adapters)
    for adapter, name in placed.items():
        if name.endswith(".base_layer"):
            other = next(each for each in adapters if each.name == adapter.name and each is not adapter)
            stored = tensors.get(f"{name}.lora_B.weight")
            if stored is not None and len(stored) != sum(sizes[member][0] for member in adapter.members[0]):
                placed[adapter], placed[other] = adapter.name, name
    return placed


def _taken_apart(
    adapter: SharedAdapter, pair: Pair, sizes: Mapping[str, tuple[int, int]], rank: int
) -> Iterator[tuple[str, Pair]]:
    count, members = len(adapter.members), adapter.members[0]
    rows, columns = sum(sizes[member][0] for member in members), sizes[members[0]][1]
    if pair[0].shape != (rank * count, columns) or pair[1].shape != (rows, rank * count):
        raise WeightsError(
            f"the adapter of {adapter.name} has shapes {tuple(pair[0].shape)} and {tuple(pair[1].shape)}, not "
            f"{(rank * count, columns)} and {(rows, rank * count)}"
        )
    going_in, coming_out = pair[0].view(count, rank, columns), pair[1].reshape(rows, rank, count)
    for expert, names in enumerate(adapter.members):
        own, start = coming_out[:, :, expert], 0
        for place, name in enumerate(names):
            size = sizes[name][0]
            part = own[place :: len(names)] if adapter.in_turn else own[start : start + size]
            yield name, (going_in[expert].contiguous(), part.contiguous())
            start += size


def each_by_itself(family: str, tensors: Mapping[str, Tensor]) -> dict[str, Pair]:
    """The pairs of experts that a file has one by one, as they were written before transformers 5."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        path, _, letter = name.removesuffix(".weight").rpartition(".lora_")
        ours = (layout.renamed(f"{path}.weight", family) or "").removesuffix(".weight")
        if _EXPERT.fullmatch(ours) and letter in ("A", "B"):
            found.setdefault(ours, {})[letter] = value
    if odd := next((name for name, pair in found.items() if len(pair) != 2), None):
        raise WeightsError(f"the adapter has half of {odd!r:.100}")
    return {name: (pair["A"], pair["B"]) for name, pair in found.items()}
