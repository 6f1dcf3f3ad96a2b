"""Proves and measures local models on a GPU, in one short run.

    python -m benchmarks.gpu [--device cuda] [--sizes 135m,8b] [--streams 1,8,64] [--peers transformers,vllm] [--json]

Models are random, of the shapes of known ones, and made on the device, so that nothing is fetched. Said for each size:

    decode      tokens a second at so many streams, and for one stream which share that is of what memory allows: the
                bytes of weights, keys and values that a token needs, at the speed of a copy on the same device
    peers       the same number of streams by transformers' ``generate``, and by vLLM where it is installed
    prefill     tokens of prompts a second
    memory      what was allocated for conversations, against what was said

and once, that a small model's tokens are those of the float32 decoder on the CPU, together, with graphs and without.
The exit status is 1 where something is wrong, or one stream of the largest model stays under ``WANTED`` of the bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from awsllm.engine import devices, model
from awsllm.engine.build import Biased
from awsllm.engine.choosing import TokenChoice
from awsllm.engine.device_memory import free_bytes, plan
from awsllm.engine.device_model import DeviceModel
from awsllm.engine.formats import BF16
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk
from awsllm.engine.model import Decoder
from awsllm.engine.quant import Dense, Stored
from awsllm.engine.scheduler import Bounds, Scheduler
from awsllm.engine.weights import Checkpoint

WANTED: Final = 0.7  # of what the memory's speed allows, at one stream of the largest model
_ENOUGH: Final = 1 << 30  # bytes that are copied to measure it


class Shape(NamedTuple):
    hidden: int
    inner: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    vocabulary: int
    context: int = 8192


SHAPES: Final = {
    "tiny": Shape(64, 128, 2, 4, 2, 16, 256, 512),
    "135m": Shape(576, 1536, 30, 9, 3, 64, 49152),  # SmolLM2's
    "1b": Shape(2048, 8192, 16, 32, 8, 64, 128256),  # Llama 3.2's
    "8b": Shape(4096, 14336, 32, 32, 8, 128, 128256),  # Llama 3.1's, but for its second table
}


@dataclass(frozen=True)
class Work:
    """What is measured: so many tokens of an answer after a prompt of so many."""

    prompt: int = 256
    tokens: int = 64
    streams: tuple[int, ...] = (1, 8, 64)


@dataclass(frozen=True)
class Finding:
    """``ok`` is None for what is a figure alone."""

    size: str
    what: str
    figure: float
    unit: str
    ok: bool | None = None


# --- models ----------------------------------------------------------------------------------------------------------


def config_of(shape: Shape) -> dict[str, Any]:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden, "intermediate_size": shape.inner, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.groups, "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context, "rms_norm_eps": 1e-5, "rope_theta": 1e5, "hidden_act": "silu",
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": None, "torch_dtype": "bfloat16",
    }  # fmt: skip


def checkpoint_of(shape: Shape, device: str) -> Checkpoint:
    """Random weights, made where they will be used."""
    generator = torch.Generator(device).manual_seed(0)

    def matrix(rows: int, columns: int) -> Stored:
        data = torch.randn(rows, columns, generator=generator, device=device) * columns**-0.5
        return Stored((rows, columns), BF16, data.bfloat16().view(torch.uint8))

    one = torch.ones(shape.hidden, dtype=torch.bfloat16, device=device).view(torch.uint8)
    norm = Stored((shape.hidden,), BF16, one)
    tensors = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden), "model.norm.weight": norm}
    queries, keys = shape.heads * shape.head_dim, shape.groups * shape.head_dim
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}{name}_layernorm.weight": norm for name in ("input", "post_attention")}
        tensors |= {
            f"{prefix}self_attn.q_proj.weight": matrix(queries, shape.hidden),
            f"{prefix}self_attn.k_proj.weight": matrix(keys, shape.hidden),
            f"{prefix}self_attn.v_proj.weight": matrix(keys, shape.hidden),
            f"{prefix}self_attn.o_proj.weight": matrix(shape.hidden, queries),
            f"{prefix}mlp.gate_proj.weight": matrix(shape.inner, shape.hidden),
            f"{prefix}mlp.up_proj.weight": matrix(shape.inner, shape.hidden),
            f"{prefix}mlp.down_proj.weight": matrix(shape.hidden, shape.inner),
        }
    return Checkpoint(config_of(shape), is_gguf=False, tensors=tensors)


def prompt_of(number: int, length: int, vocabulary: int) -> list[int]:
    generator = torch.Generator().manual_seed(number)
    return torch.randint(3, vocabulary, (length,), generator=generator).tolist()


def room_for(decoder: Decoder, work: Work) -> DeviceModel:
    """The model with room for the work, or less where the device has less."""
    config = decoder.config
    token = config.layers * 2 * config.kv_heads * config.head_dim * decoder.dtype.itemsize
    free = free_bytes(decoder.device) if decoder.device.type != "cpu" else 1 << 30
    bounds = Bounds(max(work.streams), max_context=work.prompt + work.tokens + 8)
    return DeviceModel(decoder, plan(config, token, free, bounds))


# --- what is right ---------------------------------------------------------------------------------------------------


def correctness(device: str) -> Iterator[Finding]:
    """A small model in float32: tokens on the device, together, are those on the CPU, each computed whole."""
    shape = Shape(256, 512, 4, 8, 2, 32, 1000, 512)
    on_cpu = checkpoint_of(shape, "cpu")
    reference = model.load(on_cpu, precision="float32")
    prompts = [prompt_of(length, length, shape.vocabulary) for length in (3, 64, 65, 130, 200, 17)]
    expected = [_whole(reference, prompt, 24) for prompt in prompts]
    there = model.load(checkpoint_of_copy(on_cpu, device), device=device, precision="float32")
    for graphs in (False, True) if device.startswith("cuda") else (False,):
        target = DeviceModel(there, plan(there.config, 1, 1 << 34, Bounds(8)), graphs=graphs, ahead=True)
        scheduler = Scheduler(target, target.bounds)
        generations = [scheduler.submit(prompt, Sampling(max_tokens=24)) for prompt in prompts]
        found = [list(generation) for generation in generations]
        scheduler.close()
        same = sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)
        yield Finding("small", f"answers equal to the CPU's, graphs {graphs}", same, "of all", same == 1)


def checkpoint_of_copy(checkpoint: Checkpoint, device: str) -> Checkpoint:
    moved = {name: Stored(one.shape, one.type, one.data.to(device)) for name, one in checkpoint.tensors.items()}
    return Checkpoint(checkpoint.source, is_gguf=False, tensors=moved)


def _whole(decoder: Decoder, prompt: Sequence[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(decoder.forward([Chunk(tokens, decoder.new_cache(len(tokens)))]).argmax()))
    return tokens[len(prompt) :]


# --- what is fast ----------------------------------------------------------------------------------------------------


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def bandwidth(device: str) -> float:
    """Bytes a second, read and written by a copy."""
    size = _ENOUGH if device != "cpu" else _ENOUGH >> 5
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda: target.copy_(source), 5, device)


def seconds(what: Callable[[], object], times: int, device: str) -> float:
    what()
    synchronize(device)
    started = time.perf_counter()
    for _ in range(times):
        what()
    synchronize(device)
    return (time.perf_counter() - started) / times


def weight_bytes(decoder: Decoder) -> int:
    """Those that a step reads: all but the embedding table, where it is not the head."""
    linears: list[Any] = [decoder.head]
    for layer in decoder.layers:
        mlp: Any = layer.mlp
        linears += [layer.qkv, layer.output, mlp.gate_up, mlp.down]
    dense = [linear.linear if isinstance(linear, Biased) else linear for linear in linears]
    return sum(one.weight.nbytes for one in dense if isinstance(one, Dense))


def steps(target: DeviceModel, work: Work, streams: int) -> float:
    """Seconds of one step that gives each of so many streams a token."""
    vocabulary = target.config.vocab_size
    caches = [target.new_cache(work.prompt + work.tokens + 1) for _ in range(streams)]
    tokens: list[int] = []
    for number, cache in enumerate(caches):
        prompt = prompt_of(number, work.prompt, vocabulary)
        tokens += _chosen(target, [Chunk(prompt, cache)])

    def step() -> None:
        tokens[:] = _chosen(target, [Chunk([token], cache) for token, cache in zip(tokens, caches, strict=True)])

    step()  # graphs are captured at their first use
    step()
    return seconds(step, work.tokens - 4, str(target.decoder.device))


def _chosen(target: DeviceModel, chunks: Sequence[Chunk]) -> list[int]:
    found = target.choose(chunks, lambda: [TokenChoice(Sampling())] * len(chunks))
    return [0 if token is None else token for token in found]


def served(target: DeviceModel, work: Work, streams: int) -> float:
    """Tokens a second of so many answers by a scheduler, prompts included."""
    scheduler = Scheduler(target, target.bounds)
    prompts = [prompt_of(number, work.prompt, target.config.vocab_size) for number in range(streams)]
    started = time.perf_counter()
    generations = [scheduler.submit(prompt, Sampling(max_tokens=work.tokens)) for prompt in prompts]
    count = sum(len(list(generation)) for generation in generations)
    elapsed = time.perf_counter() - started
    scheduler.close()
    return count / elapsed


def speed(size: str, device: str, work: Work, *, judged: bool) -> Iterator[Finding]:
    decoder = model.load(checkpoint_of(SHAPES[size], device), device=device, precision="bfloat16")
    before = torch.cuda.memory_allocated(device) if device.startswith("cuda") else 0
    target = room_for(decoder, work)
    said = target.room.slots * target.cache_bytes(1)
    if device.startswith("cuda"):
        taken = torch.cuda.memory_allocated(device) - before
        yield Finding(size, "memory of conversations", taken / 1e9, "GB", abs(taken - said) < 0.01 * said + (1 << 24))
    limit, weights = bandwidth(device), weight_bytes(decoder)
    yield Finding(size, "bandwidth of a copy", limit / 1e9, "GB/s")
    token = target.cache_bytes(1) // target.room.capacity
    for streams in work.streams:
        if streams > target.room.slots:
            continue
        step = steps(target, work, streams)
        yield Finding(size, f"decode, {streams} streams", streams / step, "tokens/s")
        moved = weights + streams * token * (work.prompt + work.tokens // 2)
        share = moved / limit / step
        wanted = judged and streams == 1
        yield Finding(size, f"share of the bound, {streams} streams", share, "", share >= WANTED if wanted else None)
    most = min(max(work.streams), target.room.slots)
    served(target, work, most)  # graphs of every number of rows are captured
    yield Finding(size, f"served with prompts, {most} streams", served(target, work, most), "tokens/s")
    yield Finding(size, "prefill", prefilled(target, work), "tokens/s")
    if device.startswith("cuda"):
        yield Finding(size, "most memory at once", torch.cuda.max_memory_allocated(device) / 1e9, "GB")


def prefilled(target: DeviceModel, work: Work) -> float:
    """Tokens of a prompt a second, block by block."""
    ids = prompt_of(0, work.prompt, target.config.vocab_size)

    def prefill() -> None:
        cache = target.new_cache(work.prompt)
        for start in range(0, work.prompt, target.block):
            _chosen(target, [Chunk(ids[start : start + target.block], cache)])

    return work.prompt / seconds(prefill, 4, str(target.decoder.device))


# --- peers -----------------------------------------------------------------------------------------------------------


def by_transformers(shape: Shape, device: str, work: Work) -> Iterator[tuple[int, float]]:
    """Tokens a second at each number of streams, prompts included."""
    import transformers

    known = {name: value for name, value in config_of(shape).items() if name not in ("architectures", "torch_dtype")}
    with torch.device(device):
        net: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**known))
    net = net.to(torch.bfloat16).eval()
    for streams in work.streams:
        ids = torch.tensor([prompt_of(n, work.prompt, shape.vocabulary) for n in range(streams)], device=device)
        how = {"max_new_tokens": work.tokens, "min_new_tokens": work.tokens, "do_sample": False, "pad_token_id": 0}
        ask = lambda ids=ids, how=how: net.generate(ids, attention_mask=torch.ones_like(ids), **how)  # noqa: E731
        yield streams, streams * work.tokens / seconds(ask, 1, device)


def by_vllm(shape: Shape, device: str, work: Work) -> Iterator[tuple[int, float]]:
    """The same; vLLM takes a directory's configuration and makes weights of its own."""
    import vllm

    where = Path(tempfile.mkdtemp())
    (where / "config.json").write_text(json.dumps(config_of(shape)), encoding="utf-8")
    room = work.prompt + work.tokens + 16
    engine = vllm.LLM(
        model=str(where), load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=room,
        enable_prefix_caching=False, gpu_memory_utilization=0.5,
    )  # fmt: skip
    how = vllm.SamplingParams(temperature=0.0, max_tokens=work.tokens, ignore_eos=True, detokenize=False)
    for streams in work.streams:
        asked = [{"prompt_token_ids": prompt_of(n, work.prompt, shape.vocabulary)} for n in range(streams)]
        ask = lambda asked=asked: engine.generate(asked, how, use_tqdm=False)  # noqa: E731
        yield streams, streams * work.tokens / seconds(ask, 1, device)


PEERS: Final = {"transformers": by_transformers, "vllm": by_vllm}


def peer(name: str, size: str, device: str, work: Work) -> Iterator[Finding]:
    """What a peer does, as far as it is installed and does."""
    try:
        for streams, rate in PEERS[name](SHAPES[size], device, work):
            yield Finding(size, f"served by {name}, {streams} streams", rate, "tokens/s")
    except ImportError:
        print(f"{name} is not installed", file=sys.stderr)
    except Exception as error:  # a peer's failure is none of ours
        print(f"{name} failed: {type(error).__name__}: {error}"[:500], file=sys.stderr)


# --- all of it -------------------------------------------------------------------------------------------------------


def measure(device: str, sizes: Sequence[str], work: Work, peers: Sequence[str]) -> Iterator[Finding]:
    yield from correctness(device)
    for size in sizes:
        yield from speed(size, device, work, judged=size == sizes[-1] and device.startswith("cuda"))
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
        for name in peers:
            yield from peer(name, size, device, work)


def line(finding: Finding) -> str:
    judged = {True: "pass", False: "FAIL", None: ""}[finding.ok]
    return f"{finding.size:6} {finding.what:48} {finding.figure:12,.2f} {finding.unit:9} {judged}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", default="135m,8b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--streams", default="1,8,64")
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--peers", default="transformers,vllm")
    parser.add_argument("--json", action="store_true", help="one JSON document, after the table")
    chosen = parser.parse_args(arguments)
    device = devices.found(chosen.device)
    work = Work(chosen.prompt, chosen.tokens, tuple(int(one) for one in chosen.streams.split(",")))
    print(f"PyTorch {torch.__version__} on {devices.describe(device)}", flush=True)
    findings = []
    for finding in measure(device, chosen.sizes.split(","), work, [name for name in chosen.peers.split(",") if name]):
        findings.append(finding)
        print(line(finding), flush=True)
    if chosen.json:
        print(json.dumps({"device": devices.describe(device), "findings": [asdict(one) for one in findings]}))
    return int(any(finding.ok is False for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
