"""Adapters of low rank (https://arxiv.org/abs/2106.09685): what a linear map has learned beside weights that stay.

The files are peft's: ``adapter_config.json`` and ``adapter_model.safetensors``, whose tensors go by Hugging Face's
names of the modules. Those are ours too, save where a family fuses projections or stacks experts (``peft_names``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from awsllm.engine import described, weights
from awsllm.engine.errors import ModelError, WeightsError
from awsllm.engine.model import configure
from awsllm.engine.train.decoder import TrainableDecoder
from awsllm.engine.train.export import as_stored, export, write_gguf
from awsllm.engine.train.files import write_json, write_tensors
from awsllm.engine.train.laid import apart
from awsllm.engine.train.peft_names import Pair, SharedAdapter, each_by_itself, read, shared, written
from awsllm.engine.weights import read_safetensors, require

if TYPE_CHECKING:
    from awsllm.engine.config import Config

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
ATTENTION: Final = frozenset(("q_proj", "k_proj", "v_proj", "o_proj"))
ALL: Final = ATTENTION | {"gate_proj", "up_proj", "down_proj"}
_PREFIX: Final = "base_model.model."
_MAX_RANK: Final = 4096
_REFUSED: Final = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "layers_to_transform", "rank_pattern",
    "alpha_pattern", "layer_replication", "trainable_token_indices", "alora_invocation_tokens", "arrow_config",
    "megatron_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
_CHANGING: Final = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Beginnings that change the base's own weights (peft 0.21, ``LoraConfig.init_lora_weights``): beside those as they
are, what was learned means something else. peft says ``true`` where it has converted an adapter back."""
_MAX_NAMES: Final = 10_000  # of targets, each compared with each map


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
    """A linear map that stays, and two small ones beside it: in -> rank -> out. Maps that peft sees as one share the
    first of these."""

    def __init__(self, base: nn.Linear, lora: Lora, going_in: nn.Linear | None = None) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A = going_in or nn.Linear(base.in_features, lora.rank, bias=False)  # the names that peft's files have
        self.lora_B = nn.Linear(lora.rank, base.out_features, bias=False)
        self.dropout = nn.Dropout(lora.dropout)
        self.scale = lora.scale
        if going_in is None:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)  # so that training begins at the model itself

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        narrow = self.lora_A(self.dropout(x))
        if type(self.lora_B.weight) is nn.Parameter:
            whole = torch.addmm(y.flatten(0, -2), narrow.flatten(0, -2), self.lora_B.weight.T, alpha=self.scale)
            y = whole.view(y.shape)
        else:  # a part of one (FSDP)
            y = y + self.lora_B(narrow) * self.scale
        return y

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The weights of one map that does what both do."""
        return self.base.weight + (self.lora_B.weight @ self.lora_A.weight) * self.scale


def add(decoder: TrainableDecoder, lora: Lora) -> None:
    """Give the targets adapters, in place; all else stays as it is. Raises ``ModelError`` where there is none."""
    decoder.requires_grad_(False)
    for adapter in wanted(decoder, lora):
        if adapter.parameter and lora.dropout:
            raise ModelError("adapters of experts have no dropout, in peft neither: take dropout=0, or no experts")
        for members in adapter.members:
            first = None
            for name in members:
                parent, _, last = name.rpartition(".")
                holder = decoder.get_submodule(parent)
                made = LoraLinear(holder.get_submodule(last), lora, first)  # type: ignore[arg-type]
                first = made.lora_A
                setattr(holder, last, made)


def wanted(decoder: TrainableDecoder, lora: Lora) -> list[SharedAdapter]:
    """The adapters that the targets mean in a decoder, whether it has them yet or not. Raises ``ModelError`` where
    there is none."""
    linears = [name.removesuffix(".base") for name, module in decoder.named_modules() if _is_map(name, module)]
    every = shared(decoder.config.family, linears)
    if not (found := [each for each in every if each.is_wanted(lora.targets)]):
        known = sorted({each.target for each in every})
        raise ModelError(
            f"the model has no linear maps called {', '.join(sorted(lora.targets))}; there are {', '.join(known)}"
        )
    return found


def _is_map(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and ".lora_" not in name and not name.endswith(".router")


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
    pairs = {name: (module.lora_A.weight, module.lora_B.weight) for name, module in adapters(decoder)}
    found = wanted(decoder, lora)
    tensors = written(found, {name: (pair[0].detach(), pair[1].detach()) for name, pair in pairs.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, {f"{_PREFIX}{name}": value for name, value in tensors.items()})
    write_json(folder / CONFIG, _described(lora, base, found, decoder.config.family))


def _described(lora: Lora, base: str, found: Sequence[SharedAdapter], family: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilised,
        "target_modules": sorted({each.target for each in found if not each.parameter}),
        "target_parameters": list(dict.fromkeys(each.target for each in found if each.parameter)) or None,
        "bias": "none",
        "fan_in_fan_out": family == "gpt2",
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
    if str(said.get("init_lora_weights")).startswith(_CHANGING):
        raise ModelError(
            f"the adapter began as {said['init_lora_weights']!r:.40}, which changes the base: save it converted to a "
            "plain one (path_initial_model_for_weight_conversion)"
        )
    if said.get("bias", "none") != "none":
        raise ModelError("an adapter that changes biases is not supported")
    targets = [*_names(said, "target_modules"), *_names(said, "target_parameters")]
    lora = Lora(
        rank=said.get("r", 8),
        alpha=_number(said.get("lora_alpha", 8)),
        dropout=_number(said.get("lora_dropout") or 0.0),
        targets=frozenset(targets),
        rank_stabilised=bool(said.get("use_rslora")),
    )
    return lora, str(said.get("base_model_name_or_path") or "")


def _names(said: Mapping[str, Any], key: str) -> list[str]:
    names = said.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"the adapter's {key} is no list of names")
    if len(names) > _MAX_NAMES:
        raise ModelError(f"the adapter's {key} has {len(names)} names")
    return names


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) else math.nan


def load(folder: Path, decoder: TrainableDecoder) -> Lora:
    """Give the decoder the adapters that lie in ``folder``. Raises ``ModelError`` or ``WeightsError``."""
    lora, _ = read_config(folder)
    tensors = read_tensors(folder)
    if each_by_itself(decoder.config.family, tensors):
        raise ModelError(
            "the adapter has experts one by one, as before transformers 5: such are computed and merged, not trained "
            "on; merge it into its base, and train that"
        )
    add(decoder, lora)
    fill(decoder, as_parameters(decoder, lora, tensors))
    return lora


def as_parameters(decoder: TrainableDecoder, lora: Lora, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``read_tensors`` read, by the names of the parameters of a decoder that has such adapters."""
    own = {name for name, _ in decoder.named_parameters() if ".lora_" in name}
    found = {}
    for name, pair in read(wanted(decoder, lora), tensors, _sizes(decoder), lora.rank).items():
        found.update({f"{name}.lora_{letter}.weight": value for letter, value in zip("AB", pair, strict=True)})
    return {name: value for name, value in found.items() if name in own}  # of those that are shared, the first


def read_pairs(folder: Path, config: Config) -> tuple[Lora, dict[str, Pair]]:
    """What an adapter's files have for each linear map of the model beneath. Raises ``ModelError`` or
    ``WeightsError``."""
    lora, _ = read_config(folder)
    tensors = read_tensors(folder)
    with torch.device("meta"):
        beneath = TrainableDecoder(config)
    sizes = _sizes(beneath)
    alone = each_by_itself(config.family, tensors)
    found = wanted(beneath, lora) if not alone else [each for each in wanted(beneath, lora) if not each.parameter]
    if alone:
        tensors = {name: value for name, value in tensors.items() if ".experts." not in name}
    for name, (going_in, coming_out) in alone.items():
        shapes = (lora.rank, sizes.get(name, (0, 0))[1]), (sizes.get(name, (0, 0))[0], lora.rank)
        if (going_in.shape, coming_out.shape) != shapes:
            raise WeightsError(f"the adapter has not the tensors of this model: {name!r:.100} is of another size")
    return lora, read(found, tensors, sizes, lora.rank) | alone


def _sizes(decoder: TrainableDecoder) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of each linear map."""
    maps = ((name.removesuffix(".base"), module) for name, module in decoder.named_modules() if _is_map(name, module))
    return {name: (module.out_features, module.in_features) for name, module in maps if isinstance(module, nn.Linear)}


def merge_files(base: Path, folder: Path, target: Path) -> None:
    """Write the model of ``base`` with what the adapter in ``folder`` learned, in base's format, to ``target``. No more
    than the changed weights is dequantised. Raises ``ModelError`` or ``WeightsError``."""
    checkpoint = weights.read(base)
    config, tensors = configure(checkpoint)
    lora, pairs = read_pairs(folder, config)
    tensors, changed = apart(config, tensors), {}
    for name, (going_in, coming_out) in pairs.items():
        stored = require(tensors, f"{name}.weight")
        if stored.shape != (len(coming_out), going_in.shape[1]):
            raise WeightsError(f"tensor {name!r} has shape {stored.shape}, the configuration says otherwise")
        made = stored.float() + (coming_out @ going_in) * lora.scale
        if not bool(made.isfinite().all()):
            raise WeightsError(f"with the adapter, {name!r} holds what is no number")
        changed[f"{name}.weight"] = made
    if checkpoint.is_gguf:
        write_gguf(base, changed, target)
        return
    export(base, changed, target, like=as_stored)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """An adapter's tensors by peft's names, without what these begin with. Raises ``WeightsError``."""
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
    """Take over the weights of adapters by the names of the decoder's parameters. Raises ``WeightsError`` where they
    are not those."""
    own = {name: each for name, each in decoder.named_parameters() if ".lora_" in name}
    _expect({name: tuple(each.shape) for name, each in own.items()}, tensors)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
