"""BERT-shaped sentence encoders: texts in, one vector a text out.

The directory is what sentence-transformers writes: ``config.json`` (the shape), ``model.safetensors``,
``tokenizer.json``, ``sentence_bert_config.json`` (how many tokens are read), ``modules.json`` and a pooling module's
``config.json`` (how a text's token vectors become one). The result is sentence-transformers' own: the first
``max_tokens`` tokens, [CLS] and [SEP] among them, pooled (mean over real tokens, or [CLS]) and scaled to length one
where the modules say so.

Shapes: B texts, T tokens of the longest, H heads, D width of a head, C = H * D width of a token.

    x = norm(word[ids] + position[0..T] + type[0])         (B, T, C)
    x = norm(x + attention(x)); x = norm(x + mlp(x))       for each layer
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from awsllm.engine.tokenizer import Tokenizer, TokenizerError, ids_of

_BATCH = 32  # texts computed at once; they are sorted by length first, so little of a batch is padding
_APPROXIMATION = {
    "gelu": "none",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
}  # config's hidden_act -> approximation


class EncoderError(ValueError):
    """The directory does not hold an encoder that can be run exactly."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of a BERT-shaped encoder and how its token vectors become one."""

    layers: int
    heads: int
    width: int
    eps: float
    gelu: str
    max_tokens: int
    pad_id: int
    pool_cls: bool
    normalize: bool

    @classmethod
    def from_directory(cls, path: Path) -> EncoderConfig:
        shape = _read_json(path / "config.json")
        _expect(path, "model_type", shape.get("model_type"), ("bert",))
        _expect(path, "position_embedding_type", shape.get("position_embedding_type", "absolute"), ("absolute",))
        _expect(path, "hidden_act", shape.get("hidden_act"), tuple(_APPROXIMATION))
        modules = [module["type"].rsplit(".", 1)[-1] for module in _read_json(path / "modules.json")]
        _expect(path, "modules", modules[:2], (["Transformer", "Pooling"],))
        _expect(path, "modules", modules[2:], ([], ["Normalize"]))
        return cls(
            layers=shape["num_hidden_layers"],
            heads=shape["num_attention_heads"],
            width=shape["hidden_size"],
            eps=shape["layer_norm_eps"],
            gelu=_APPROXIMATION[shape["hidden_act"]],
            max_tokens=min(
                int(_read_json(path / "sentence_bert_config.json")["max_seq_length"]), shape["max_position_embeddings"]
            ),
            pad_id=shape.get("pad_token_id", 0),
            pool_cls=_pools_cls(path),
            normalize="Normalize" in modules,
        )


@dataclass(frozen=True, slots=True)
class _Block:
    """Weights of one block; the three input projections of attention are one matrix (3C, C)."""

    qkv: Tensor
    qkv_bias: Tensor
    out: tuple[Tensor, Tensor]
    norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    final_norm: tuple[Tensor, Tensor]


class Encoder:
    """A sentence encoder. Holds no state between calls, so safe to share between threads."""

    def __init__(self, config: EncoderConfig, tokenizer: Tokenizer, weights: Mapping[str, Tensor]) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.dimensions = config.width
        self.max_tokens = config.max_tokens
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._type = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{n}.") for n in range(config.layers)]

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Encoder:
        """Load a directory as sentence-transformers writes it. Raises EncoderError naming what does not fit."""
        directory = Path(path)
        try:
            config = EncoderConfig.from_directory(directory)
            tokenizer = Tokenizer.from_file(directory / "tokenizer.json")
            weights = {name: value.to(device, dtype) for name, value in _read_weights(directory).items()}
            encoder = cls(config, tokenizer, weights)
            encoder._check(directory)
            return encoder
        except (EncoderError, TokenizerError):
            raise
        except KeyError as error:
            raise EncoderError(f"{directory} lacks {error}") from error
        except (TypeError, ValueError, AttributeError, LookupError, StopIteration, RuntimeError) as error:
            raise EncoderError(f"{directory} holds what does not fit together: {error}") from error

    def _check(self, directory: Path) -> None:
        """What was read fits together: two texts, one of them padded, have vectors."""
        if len(self._positions) < self.max_tokens:
            raise EncoderError(f"{directory} has {len(self._positions)} positions for {self.max_tokens} tokens")
        self.embed_ids([[0, 0], [0]])

    def encode(self, text: str) -> list[int]:
        """All token ids of the text, [CLS] and [SEP] included; ``embed`` reads ``max_tokens`` of them."""
        text.encode()  # a lone surrogate: ValueError, not the library's TypeError
        return ids_of(self.tokenizer.hf, text, add_special_tokens=True)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors ``(B, C)``, float32, in the order of the texts."""
        return self.embed_ids([self.encode(text) for text in texts])

    @torch.inference_mode()
    def embed_ids(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """As ``embed``, of token ids that ``encode`` gave."""
        rows = [self._truncate(row) for row in rows]
        order = sorted(range(len(rows)), key=lambda n: -len(rows[n]))
        vectors = torch.empty(len(rows), self.dimensions)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            vectors[batch] = self._pooled([rows[n] for n in batch]).float().cpu()
        return vectors

    def _truncate(self, row: Sequence[int]) -> Sequence[int]:
        """The first tokens, with the closing [SEP] kept."""
        return row if len(row) <= self.max_tokens else [*row[: self.max_tokens - 1], row[-1]]

    def _pooled(self, rows: list[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(row) for row in rows], device=self._words.device)
        longest = int(lengths.max())
        ids = torch.tensor([[*row, *[self.config.pad_id] * (longest - len(row))] for row in rows])
        real = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (B, T)
        x = self._forward(ids.to(self._words.device), real)
        vectors = x[:, 0] if self.config.pool_cls else (x * real[..., None]).sum(1) / lengths[:, None]
        return functional.normalize(vectors, dim=-1) if self.config.normalize else vectors

    def _forward(self, ids: Tensor, real: Tensor) -> Tensor:
        x = self._words[ids] + self._positions[: ids.shape[1]] + self._type  # (B, T, C)
        x = self._layer_norm(x, self._norm)
        for layer in self._layers:
            x = self._layer_norm(x + self._attention(x, real, layer), layer.norm)
            hidden = functional.gelu(functional.linear(x, *layer.up), approximate=self.config.gelu)
            x = self._layer_norm(x + functional.linear(hidden, *layer.down), layer.final_norm)
        return x

    def _attention(self, x: Tensor, real: Tensor, layer: _Block) -> Tensor:
        batch, tokens, width = x.shape
        qkv = functional.linear(x, layer.qkv, layer.qkv_bias)  # (B, T, 3C)
        q, k, v = qkv.view(batch, tokens, 3, self.config.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
        return functional.linear(y.transpose(1, 2).reshape(batch, tokens, width), *layer.out)

    def _layer_norm(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], *weights, eps=self.config.eps)


def _layer(weights: Mapping[str, Tensor], prefix: str) -> _Block:
    projections = [_pair(weights, f"{prefix}attention.self.{name}") for name in ("query", "key", "value")]
    return _Block(
        qkv=torch.cat([weight for weight, _ in projections]),
        qkv_bias=torch.cat([bias for _, bias in projections]),
        out=_pair(weights, f"{prefix}attention.output.dense"),
        norm=_pair(weights, f"{prefix}attention.output.LayerNorm"),
        up=_pair(weights, f"{prefix}intermediate.dense"),
        down=_pair(weights, f"{prefix}output.dense"),
        final_norm=_pair(weights, f"{prefix}output.LayerNorm"),
    )


def _pair(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors; a checkpoint of a model with a head has them under ``bert.``."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(directory / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{directory / 'model.safetensors'} cannot be read: {error}") from error
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from error


def _pools_cls(path: Path) -> bool:
    """True for the vector of [CLS], False for the mean; sentence-transformers knows more, which are refused."""
    pooling = next(module["path"] for module in _read_json(path / "modules.json") if module["type"].endswith("Pooling"))
    modes = [name for name, on in _read_json(path / pooling / "config.json").items() if name.startswith("pool") and on]
    _expect(path, "pooling", modes, (["pooling_mode_cls_token"], ["pooling_mode_mean_tokens"]))
    return modes == ["pooling_mode_cls_token"]


def _expect(path: Path, what: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise EncoderError(f"{path}: {what} {value!r} is not supported; {' or '.join(map(repr, known))} is")
