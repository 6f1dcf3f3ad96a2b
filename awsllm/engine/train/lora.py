"""Adapters of low rank (https://arxiv.org/abs/2106.09685): what a linear map has learned beside weights that stay.

The files are peft's: ``adapter_config.json`` and ``adapter_model.safetensors``, whose tensors go by Hugging Face's
names of the modules. Those are ours too, save where a family fuses projections or stacks experts (``_OTHER_NAMES``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from awsllm.engine import described, weights
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.model import configure
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.export import export, write_gguf
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.weights import read_safetensors, require

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
ATTENTION: Final = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))
ALL: Final = ATTENTION | {"gate_proj", "up_proj", "down_proj"}
_PREFIX: Final = "base_model.model."
_MAX_RANK: Final = 4096
_TYPES: Final = {"F16": torch.float16, "BF16": torch.bfloat16}
_REFUSED: Final = ("use_dora", "lora_bias", "modules_to_save", "layers_to_transform", "rank_pattern", "alpha_pattern")
_OTHER_NAMES: Final = ("gpt2", "phi3", "mixtral", "qwen3_moe", "gpt_oss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """``rank`` of the adapters, ``alpha``: what they give is multiplied by ``alpha / rank``, or by its root where
    ``rank_stabilised``. ``targets``: the last part of the names of the linear maps that get one."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: frozenset[str] = ALL
    rank_stabilised: bool = False

    def __post_init__(self) -> None:
        if type(self.rank) is not int or not 1 <= self.rank <= _MAX_RANK:
            raise ModelError(f"an adapter's rank is a whole number from 1 to {_MAX_RANK}, not {self.rank!r}")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"an adapter's dropout is a share below 1, not {self.dropout!r}")
        if not 0 < self.alpha < math.inf:
            raise ModelError(f"an adapter's alpha is a number above 0, not {self.alpha!r}")

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


class LoraLinear(nn.Module):
    """A linear map that stays, and two small ones beside it: in -> rank -> out."""

    def __init__(self, base: nn.Linear, lora: Lora) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Linear(base.in_features, lora.rank, bias=False)  # the names that peft's files have
        self.lora_B = nn.Linear(lora.rank, base.out_features, bias=False)
        self.dropout = nn.Dropout(lora.dropout)
        self.scale = lora.scale
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)  # so that training begins at the model itself

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.lora_B(self.lora_A(self.dropout(x))) * self.scale
        return y

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weights of one map that does what both do."""
        return self.base.weight + (self.lora_B.weight @ self.lora_A.weight) * self.scale


def add(decoder: TrainableDecoder, lora: Lora) -> None:
    """Give the targets adapters, in place; all else stays as it is. Raises ``ModelError`` where there is none."""
    decoder.requires_grad_(False)
    found = [name for name, module in decoder.named_modules() if _is_target(name, module, lora)]
    if not found:
        raise ModelError(f"the model has no linear maps called {', '.join(sorted(lora.targets))}")
    for name in found:
        parent, _, last = name.rpartition(".")
        holder = decoder.get_submodule(parent)
        setattr(holder, last, LoraLinear(holder.get_submodule(last), lora))  # type: ignore[arg-type]


def _is_target(name: str, module: nn.Module, lora: Lora) -> bool:
    return isinstance(module, nn.Linear) and name.rpartition(".")[2] in lora.targets


def adapters(decoder: TrainableDecoder) -> Iterator[tuple[str, LoraLinear]]:
    for name, module in decoder.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def merged(decoder: TrainableDecoder) -> dict[str, Tensor]:
    """The decoder's parameters by ``layout``'s names, with what its adapters have learned."""
    values = {name.replace(".base.", "."): each.detach() for name, each in decoder.named_parameters()}
    values = {name: value for name, value in values.items() if ".lora_" not in name}
    return values | {f"{name}.weight": module.merged() for name, module in adapters(decoder)}


# --- files -----------------------------------------------------------------------------------------------------------


def save(folder: Path, decoder: TrainableDecoder, lora: Lora, *, base: str) -> None:
    """Write the adapters as peft does. ``base`` is how the model beneath is called."""
    tensors = {}
    for name, module in adapters(decoder):
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = module.lora_A.weight.detach()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = module.lora_B.weight.detach()
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, tensors)
    write_json(folder / CONFIG, _described(lora, base))


def _described(lora: Lora, base: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilised,
        "target_modules": sorted(lora.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def read_config(folder: Path) -> tuple[Lora, str]:
    """What ``adapter_config.json`` says, and the name of the model beneath. Raises ``ModelError`` for an adapter of
    another kind."""
    said = described.read_object(folder / CONFIG)
    if said.get("peft_type") != "LORA":
        raise ModelError(f"the adapter is of the kind {said.get('peft_type')!r:.40}; LORA is supported")
    if used := next((name for name in _REFUSED if said.get(name)), None):
        raise ModelError(f"an adapter with {used} is not supported")
    if said.get("bias", "none") != "none":
        raise ModelError("an adapter that changes biases is not supported")
    targets = said.get("target_modules")
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise ModelError("the adapter's target_modules is no list of names")
    lora = Lora(
        rank=said.get("r", 8),
        alpha=_number(said.get("lora_alpha", 8)),
        dropout=_number(said.get("lora_dropout") or 0.0),
        targets=frozenset(targets),
        rank_stabilised=bool(said.get("use_rslora")),
    )
    return lora, str(said.get("base_model_name_or_path") or "")


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) else math.nan


def load(folder: Path, decoder: TrainableDecoder) -> Lora:
    """Give the decoder the adapters that lie in ``folder``. Raises ``ModelError`` or ``WeightsError``."""
    lora, _ = read_config(folder)
    if decoder.config.family in _OTHER_NAMES:
        raise ModelError(f"adapters of {decoder.config.family} models are not read")
    tensors = _numbers(folder)
    add(decoder, lora)
    fill(decoder, tensors)
    return lora


def merge_files(base: Path, folder: Path, target: Path) -> None:
    """Write the model of ``base`` with what the adapter in ``folder`` learned, in base's format, to ``target``. No more
    than the changed weights is dequantised. Raises ``ModelError`` or ``WeightsError``."""
    lora, _ = read_config(folder)
    checkpoint = weights.read(base)
    config, tensors = configure(checkpoint)
    if config.family in _OTHER_NAMES:
        raise ModelError(f"adapters of {config.family} models are not read")
    with torch.device("meta"):
        wanted = TrainableDecoder(config)
        add(wanted, lora)
    learned = _numbers(folder)
    _expect({name: tuple(each.shape) for name, each in wanted.named_parameters() if ".lora_" in name}, learned)
    changed = {}
    for name, _ in adapters(wanted):
        up, down = learned[f"{name}.lora_B.weight"], learned[f"{name}.lora_A.weight"]
        stored = require(tensors, f"{name}.weight")
        if stored.shape != (len(up), down.shape[1]):
            raise WeightsError(f"tensor {name!r} has shape {stored.shape}, the configuration says otherwise")
        changed[f"{name}.weight"] = stored.float() + (up @ down) * lora.scale
    if checkpoint.is_gguf:
        write_gguf(base, changed, target)
        return
    if missing := changed.keys() - checkpoint.tensors.keys():
        raise ModelError(f"the model's files call {min(missing)} otherwise: adapters of such models are not read")
    whole = {
        name: changed.get(name, stored.float()).to(_TYPES.get(stored.type.name, torch.float32))
        for name, stored in checkpoint.tensors.items()
    }
    export(base, whole, target)


def _numbers(folder: Path) -> dict[str, Tensor]:
    """An adapter's tensors by our names."""
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"the adapter has no {WEIGHTS} (.bin is refused: loading it can run code)")
    found = {name.removeprefix(_PREFIX): stored.float() for name, stored in read_safetensors(folder / WEIGHTS).items()}
    if broken := next((name for name, value in found.items() if not bool(value.isfinite().all())), None):
        raise WeightsError(f"the adapter's {broken!r:.100} holds what is no number")
    return found


def _expect(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    if odd := wanted.keys() ^ found.keys():
        raise WeightsError(f"the adapter has not the tensors of this model: {min(odd)!r:.100} is on one side alone")
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise WeightsError(f"the adapter's {name} has shape {tuple(found[name].shape)}, not {shape}")


def fill(decoder: TrainableDecoder, tensors: Mapping[str, Tensor]) -> None:
    """Take over the weights of adapters by their names. Raises ``WeightsError`` where they are not those."""
    wanted = {name: each for name, each in decoder.named_parameters() if ".lora_" in name}
    _expect({name: tuple(each.shape) for name, each in wanted.items()}, tensors)
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])
