"""How files lay out what the trained decoder has apart: the other way of ``layout``.

A file's tensor is joined of the decoder's: three projections in one, the experts of a layer in a stack, GPT-2's
matrices turned round. Whatever file a model came from, so goes what was learned back into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from awsllm.engine import layout, weights
from awsllm.engine.errors import ModelError
from awsllm.engine.model import configure

if TYPE_CHECKING:
    from awsllm.engine.config import Config
    from awsllm.engine.quant import Stored

_FUSED: Final = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
_STACK: Final = re.compile(r"(.*\.mlp\.experts\.)(gate_up_proj|gate_proj|up_proj|down_proj)(_bias|_blocks|\.\w+|)")
_QUANTISED: Final = re.compile(r"(.*\.mlp\.experts\.\w+_proj)_(blocks|scales)")  # gpt-oss's MXFP4, in folders


@dataclass(frozen=True, slots=True)
class JoinedTensor:
    """One tensor of a file: of which of the decoder's it is made, and how."""

    parts: tuple[str, ...]
    join: Callable[[Sequence[Tensor]], Tensor]


def joined(name: str, config: Config) -> JoinedTensor:
    """``name``: as ``weights.read`` has it of GGUF, as ``layout.renamed`` makes it of a folder's."""
    for fused, parts in _FUSED.items():
        before, found, kind = name.partition(f".{fused}.")
        if found:
            return JoinedTensor(tuple(f"{before}.{part}.{kind}" for part in parts), _one_below_the_other)
    if config.experts is not None and (stack := _STACK.fullmatch(name)):
        return _stack(config.family, config.experts.count, (stack[1], stack[2], stack[3]))
    return JoinedTensor((name,), lambda tensors: tensors[0])


def _one_below_the_other(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors))


def _stack(family: str, count: int, named: tuple[str, str, str]) -> JoinedTensor:
    prefix, part, kind = named
    names = ("gate_proj", "up_proj") if part == "gate_up_proj" else (part,)
    suffix = ".bias" if kind in ("_bias", ".bias") else ".weight"
    odd = family == "gpt_oss" and not kind.startswith(".")  # a row of gate beside one of up, and matrices turned round

    def join(tensors: Sequence[Tensor]) -> Tensor:
        experts = []
        for start in range(0, len(tensors), len(names)):
            own = list(tensors[start : start + len(names)])
            whole = torch.stack(own, 1).flatten(0, 1) if odd and len(own) > 1 else torch.cat(own)
            experts.append(whole.T if odd and suffix == ".weight" else whole)
        return torch.stack(experts)

    return JoinedTensor(tuple(f"{prefix}{n}.{each}{suffix}" for n in range(count) for each in names), join)


def apart(config: Config, tensors: dict[str, Stored]) -> dict[str, Stored]:
    """The tensors of ``configure``, each expert by itself; those that a tied model does not use are left out."""
    if (experts := config.experts) is not None:
        for prefix in (f"model.layers.{layer}.mlp.experts." for layer in range(config.layers)):
            for number, expert in enumerate(layout.experts(tensors, prefix, experts.count)):
                tensors.update({f"{prefix}{number}.{part}": stored for part, stored in expert.items()})
    if config.tied:
        tensors.pop("lm_head.weight", None)
    return tensors


class FileTensors:
    """The tensors of a checkpoint with other values for some of the decoder's."""

    def __init__(self, checkpoint: weights.Checkpoint, values: Mapping[str, Tensor]) -> None:
        self.config, tensors = configure(checkpoint)
        self._checkpoint = checkpoint
        self._values = {name: value.detach() for name, value in values.items()}
        self._tensors = apart(self.config, tensors)
        if unknown := values.keys() - self._tensors.keys():
            raise ModelError(f"the model's file has no tensor for {min(unknown)}")

    def changed(self, name: str) -> Tensor | None:
        """The tensor that GGUF's file has by this canonical name, if it is another now."""
        made = joined(name, self.config)
        parts = [part for part in made.parts if part in self._values]
        if all(torch.equal(self._stored(part), self._values[part].float()) for part in parts):
            return None
        return made.join([self._value(part) for part in made.parts])

    def of_folder(self, like: Callable[[Stored, Tensor], Tensor]) -> dict[str, Tensor]:
        """All tensors by the names that a folder's files have; ``like`` gives a new one its type."""
        found: dict[str, Tensor] = {}
        family = self.config.family
        for name, stored in self._checkpoint.tensors.items():
            quantised = _QUANTISED.fullmatch(name)
            if quantised and quantised[2] == "scales":
                continue
            ours = layout.renamed(name, family)
            if ours is None:  # what sees beside what reads
                found[name] = like(stored, stored.float())
                continue
            made = joined(ours, self.config)
            if self.config.tied and ours == "lm_head.weight":
                continue
            if not any(part in self._values for part in made.parts) and not quantised:
                found[name] = like(stored, stored.float())
                continue
            value = made.join([self._value(part) for part in made.parts])
            turned = layout.is_turned(name, stored, family)
            found[quantised[1] if quantised else name] = like(stored, value.T if turned else value)
        return found

    def _value(self, name: str) -> Tensor:
        return self._values[name] if name in self._values else self._stored(name)

    def _stored(self, name: str) -> Tensor:
        return weights.require(self._tensors, name).float()
