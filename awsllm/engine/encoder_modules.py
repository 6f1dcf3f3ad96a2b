"""What sentence-transformers puts behind an encoder: token vectors become one, which is mapped, scaled and named.

A directory lists its modules in ``modules.json``: a Transformer, a Pooling, and any of Dense, LayerNorm and Normalize.
Versions 2 to 6 of the library write other module paths and keys for the same things; of a type only the last part
counts, as long as it is the library's own. What loads code, or routes texts to several models (Router, Asym), is
refused. A directory without ``modules.json`` is a plain model of transformers, and takes the mean, as the library does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from awsllm.engine.described import Description
from awsllm.engine.encoder_config import MODULES, EncoderError, read_json, read_object

Step = Callable[[Tensor], Tensor]  # (B, C) -> (B, C')
_POOLING: Final = {  # by the keys of versions before 6, in the order in which several are joined
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_DENSE_ACTIVATIONS: Final[Mapping[str, Step]] = {
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.activation.ReLU": functional.relu,
    "torch.nn.modules.activation.GELU": functional.gelu,
    "torch.nn.modules.activation.SiLU": functional.silu,
    "torch.nn.modules.activation.Sigmoid": torch.sigmoid,
    "torch.nn.modules.linear.Identity": lambda x: x,
}
_OUTPUTS: Final = ("last_hidden_state", "logits")
_ARGUMENTS_WITHOUT_EFFECT: Final = frozenset(
    ("attn_implementation", "torch_dtype", "dtype", "add_pooling_layer", "use_safetensors", "trust_remote_code")
)
_ROUTES: Final = ("Router", "Asym")


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the vectors of a text's tokens become one; several ways are joined end to end."""

    ways: tuple[str, ...] = ("mean",)
    with_prompt: bool = True

    def __call__(self, x: Tensor, lengths: Tensor, skipped: int = 0) -> Tensor:
        """``x`` is (B, T, C) of texts of these lengths, the first ``skipped`` tokens of each being its prompt."""
        first = torch.full_like(lengths, 0 if self.with_prompt else skipped)
        first = torch.minimum(first, lengths - 1)
        places = torch.arange(x.shape[1], device=x.device)
        real = (places < lengths[:, None]) & (places >= first[:, None])  # (B, T)
        return torch.cat([_POOLERS[way](x, real, first, lengths) for way in self.ways], dim=-1)


_Pooler = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _mean(x: Tensor, real: Tensor, _: Tensor, __: Tensor) -> Tensor:
    return (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)


def _mean_by_root(x: Tensor, real: Tensor, _: Tensor, __: Tensor) -> Tensor:
    return (x * real[..., None]).sum(1) / real.sum(1, keepdim=True).sqrt()


def _weighted_mean(x: Tensor, real: Tensor, _: Tensor, __: Tensor) -> Tensor:
    weights = real * torch.arange(1, x.shape[1] + 1, device=x.device)  # (B, T): later tokens count for more
    return (x * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)


_POOLERS: Final[Mapping[str, _Pooler]] = {
    "cls": lambda x, real, first, lengths: x[torch.arange(len(x), device=x.device), first],
    "max": lambda x, real, first, lengths: x.masked_fill(~real[..., None], float("-inf")).amax(1),
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": lambda x, real, first, lengths: x[torch.arange(len(x), device=x.device), lengths - 1],
}


@dataclass(frozen=True, slots=True)
class Modules:
    """What a directory says of its encoder. ``base``: the folder of the encoder itself; ``max_tokens`` None: no word
    of that. ``normalizes``: the last step scales vectors to length one. ``truncate``: how many numbers of a vector are
    kept; ``sizes``: how many may be, None for any number and () for none."""

    base: Path
    pooling: Pooling = Pooling()
    steps: tuple[Step, ...] = ()
    width: int | None = None  # of the vectors, where a step changes it
    normalizes: bool = False
    max_tokens: int | None = None
    lower: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    truncate: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # config_sentence_transformers.json
    processing: Mapping[str, Any] = field(default_factory=dict)  # how the tokenizer is called, by kind of input


def read_modules(directory: Path, device: str) -> Modules:
    """Raises ``EncoderError`` for what is not supported, by name."""
    if not (directory / MODULES).is_file():
        return Modules(directory, **_transformer(directory))
    listed = [_module(directory, one) for one in _list(read_json(directory / MODULES), directory)]
    if not listed or listed[0][0] != "Transformer":
        first = listed[0][0] if listed else "nothing"
        raise EncoderError(f"{directory / MODULES} begins with {first[:60]!r}, not with a Transformer")
    kinds = [kind for kind, _ in listed]
    base = listed[0][1]
    values: dict[str, Any] = {**_transformer(base), **_saved(directory)}
    if kinds == ["Transformer"]:  # a reranker's, or an encoder's without a Pooling, whose vectors are not one
        return Modules(base, Pooling(()), **values)
    if kinds[1] != "Pooling":
        raise EncoderError(f"{directory / MODULES} has {kinds[1][:60]!r} where a Pooling is expected")
    steps: list[Step] = []
    for kind, path in listed[2:]:
        step, width = _step(kind, path, device)
        steps += [] if step is None else [step]
        if width is not None:
            values["width"] = width
    return Modules(base, _pooling(listed[1][1]), tuple(steps), normalizes=kinds[-1] == "Normalize", **values)


def _list(value: Any, directory: Path) -> list[Any]:
    if not isinstance(value, list) or len(value) > 32:
        raise EncoderError(f"{directory / MODULES} is not a list of modules")
    return value


def _module(directory: Path, listed: Any) -> tuple[str, Path]:
    """A module's kind, and its folder, which is inside the directory."""
    match listed:
        case {"type": str(name), "path": str(path)}:
            kind = name.rpartition(".")[2]
        case _:
            raise EncoderError(f"{directory / MODULES} has a module without a type and a path")
    if kind in _ROUTES:
        raise EncoderError(
            f"{directory} routes texts to several models ({kind}), which is not supported; save one of them by itself"
        )
    if not name.startswith("sentence_transformers."):
        raise EncoderError(f"{directory} has a module of the type {name[:100]!r}, whose code is not loaded")
    parts = Path(path).parts
    if Path(path).is_absolute() or ".." in parts or len(parts) > 4:
        raise EncoderError(f"{directory / MODULES} has a module in {path[:100]!r}, outside the directory")
    return kind, directory / path


def _transformer(base: Path) -> dict[str, Any]:
    """What sentence-transformers says of the encoder itself, in a file whose name once told the family."""
    names = (f"sentence_{family}_config.json" for family in ("bert", "roberta", "distilbert", "xlm-roberta"))
    file = next((base / name for name in names if (base / name).is_file()), None)
    if file is None:
        return {}
    saved = Description(read_object(file), file.name)
    for key in ("model_args", "model_kwargs"):
        if unknown := set(saved.mapping(key)) - _ARGUMENTS_WITHOUT_EFFECT:
            raise EncoderError(f"{file} has {min(unknown)[:60]!r} in {key}, which is not supported")
    for key in ("config_args", "tokenizer_args", "config_kwargs", "processor_kwargs"):
        saved.expect(key, {})
    saved.expect("transformer_task", "feature-extraction", "sequence-classification")
    saved.expect("module_output_name", "token_embeddings", "scores")
    saved.expect("modality_config", *({"text": {"method": "forward", "method_output_name": name}} for name in _OUTPUTS))
    most = saved.whole("max_seq_length", 0)
    if most < 0:
        raise EncoderError(f"{file}: max_seq_length is {most}, no number of tokens")
    values = {"lower": saved.flag("do_lower_case", False), "processing": saved.mapping("processing_kwargs")}
    saved.finish(frozenset(("unpad_inputs",)))
    return {"max_tokens": most or None, **values}


def _saved(directory: Path) -> dict[str, Any]:
    saved = read_object(directory / "config_sentence_transformers.json", optional=True)
    prompts = saved.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise EncoderError(f"{directory}: prompts are not texts by name")
    default, truncate = saved.get("default_prompt_name"), saved.get("truncate_dim")
    if default is not None and default not in prompts:
        raise EncoderError(f"{directory}: default_prompt_name {str(default)[:60]!r} is none of its prompts")
    if truncate is not None and (type(truncate) is not int or truncate < 1):
        raise EncoderError(f"{directory}: truncate_dim is {str(truncate)[:60]}, no number of dimensions")
    return {
        "prompts": {name: text or "" for name, text in prompts.items()},
        "default_prompt": default,
        "truncate": truncate,
        "settings": saved,
    }


def _pooling(path: Path) -> Pooling:
    saved = read_object(path / "config.json")
    named: Any = saved.get("pooling_mode")
    if named is None:
        named = [way for key, way in _POOLING.items() if saved.get(key)] or ["mean"]
    ways: Any = [named] if isinstance(named, str) else named
    known = set(_POOLING.values())
    if not isinstance(ways, list) or not ways or not all(isinstance(way, str) and way in known for way in ways):
        raise EncoderError(
            f"{path}: pooling by {str(ways)[:100]} is not supported; supported are {', '.join(sorted(known))}"
        )
    if unknown := [key for key, on in saved.items() if key.startswith("pooling_mode_") and on and key not in _POOLING]:
        raise EncoderError(f"{path}: pooling by {unknown[0][:60]} is not supported")
    return Pooling(tuple(ways), saved.get("include_prompt", True) is not False)


def _step(kind: str, path: Path, device: str) -> tuple[Step | None, int | None]:
    """What a module does to vectors, and how wide it makes them, where it does."""
    match kind:
        case "Normalize":
            _expect_vectors(path, read_object(path / "config.json", optional=True))
            return normalize, None
        case "Dense":
            return _dense(path, device)
        case "LayerNorm":
            tensors = _tensors(path, device)
            weight, bias = tensors["norm.weight"], tensors["norm.bias"]
            return lambda x: functional.layer_norm(x, x.shape[-1:], weight, bias), None
        case "Dropout":  # at work in training only
            return None, None
        case _:
            known = "Dense, LayerNorm, Normalize and Dropout"
            raise EncoderError(f"{path}: a module {kind[:60]!r} is not supported behind Pooling; {known} are")


def normalize(x: Tensor) -> Tensor:
    """Vectors scaled to length one."""
    return functional.normalize(x, dim=-1)


def _dense(path: Path, device: str) -> tuple[Step, int]:
    saved = read_object(path / "config.json")
    _expect_vectors(path, saved)
    name = saved.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(name, str) or name not in _DENSE_ACTIVATIONS:
        raise EncoderError(f"{path}: activation_function {str(name)[:100]!r} is not supported")
    activation = _DENSE_ACTIVATIONS[name]
    tensors = _tensors(path, device)
    weight, bias = tensors["linear.weight"], tensors.get("linear.bias")
    if not saved.get("use_residual"):
        return lambda x: activation(functional.linear(x, weight, bias)), len(weight)
    residual = tensors.get("residual.weight")

    def with_residual(x: Tensor) -> Tensor:
        return activation(functional.linear(x, weight, bias)) + (
            x if residual is None else functional.linear(x, residual)
        )

    return with_residual, len(weight)


def _expect_vectors(path: Path, saved: Mapping[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if saved.get(key) not in (None, "sentence_embedding"):
            raise EncoderError(f"{path}: {key} {str(saved[key])[:60]!r} is not supported")


def _tensors(path: Path, device: str) -> dict[str, Tensor]:
    """Those of a module, in float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        pickle = "; a pickled file is not read" if (path / "pytorch_model.bin").is_file() else ""
        raise EncoderError(f"{path / 'model.safetensors'} cannot be read: {error}{pickle}") from error
    return {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}


def allowed_sizes(source: Mapping[str, Any], modules: Modules) -> Sequence[int] | None:
    """How many numbers of a vector may be kept, by the model's own word; None: any. By ``matryoshka_dimensions`` or
    ``is_matryoshka`` in ``config.json``, as vLLM reads them, or a ``truncate_dim`` of sentence-transformers."""
    sizes = source.get("matryoshka_dimensions")
    if isinstance(sizes, list):
        return tuple(size for size in sizes if type(size) is int and size > 0)
    return None if source.get("is_matryoshka") is True or modules.truncate is not None else ()
