"""The model for devices, on the CPU: the same classes and shapes, without graphs. Tokens are those of the float32
decoder that computes a sequence alone and whole each time."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from awsllm.engine import device_memory, device_model, model
from awsllm.engine.choosing import TokenChoice
from awsllm.engine.config import FAMILIES
from awsllm.engine.device_decoder import FusedRMSNorm
from awsllm.engine.device_memory import Room
from awsllm.engine.device_model import DeviceModel
from awsllm.engine.errors import ModelError
from awsllm.engine.generate import Sampling
from awsllm.engine.interface import Chunk, Words
from awsllm.engine.norms import RMSNorm
from awsllm.engine.scheduler import Bounds, Generation, Scheduler
from tests.support import random_models

ROOM = Room(slots=4, capacity=96, prefix_bytes=1 << 20)
LENGTHS = (1, 5, 30, 12, 40)
PROMPTS = [[(7 * n + 11 * i + i * i // 3) % 128 for i in range(size)] for n, size in enumerate(LENGTHS)]
GREEDY = Sampling(max_tokens=12)


@cache
def decoder(name: str) -> model.Decoder:
    path = Path(mkdtemp())
    random_models.write(name, path)
    return model.load(path, precision="float32")


def device(name: str = "llama", room: Room = ROOM, **how: Any) -> DeviceModel:
    return DeviceModel(decoder(name), room, **how)


def scheduler_of(target: DeviceModel) -> Scheduler:
    return Scheduler(target, target.bounds)


@cache
def alone(name: str, prompt: tuple[int, ...], count: int) -> list[int]:
    """Greedy tokens, the whole sequence computed anew for each."""
    net, tokens = decoder(name), list(prompt)
    for _ in range(count):
        tokens.append(int(net.forward([Chunk(tokens, net.new_cache(len(prompt) + count))]).argmax()))
    return tokens[len(prompt) :]


def greedily(chunks: Sequence[Chunk], target: DeviceModel) -> list[int]:
    found = target.choose(chunks, lambda: [TokenChoice(Sampling())] * len(chunks))
    return [-1 if token is None else token for token in found]


def test_every_family_is_tried() -> None:
    assert {decoder(name).config.family for name in random_models.VARIANTS} == set(FAMILIES)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_answers_together_are_those_of_each_alone(name: str, ahead: bool) -> None:
    scheduler = scheduler_of(device(name, ahead=ahead))
    try:
        generations = [scheduler.submit(prompt, GREEDY) for prompt in PROMPTS]  # one more than there are slots
        found = [list(generation) for generation in generations]
    finally:
        scheduler.close()
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        assert tokens == alone(name, tuple(prompt), 12), len(prompt)


@pytest.mark.parametrize("name", random_models.VARIANTS)
def test_logits_of_a_step_are_those_of_the_decoder(name: str) -> None:
    target, net = device(name), decoder(name)
    slotted, caches = target._slotted, [target.new_cache(60) for _ in PROMPTS[:4]]
    theirs = [net.new_cache(60) for _ in caches]
    for prompt, mine, other in zip(PROMPTS, caches, theirs, strict=False):
        target.forward([Chunk(prompt, mine)])
        net.forward([Chunk(prompt, other)])
    state = torch.tensor([[3, 9, 27, 81], [one.length for one in caches], [1] * 4, [one.long for one in caches]])
    with torch.inference_mode():
        found = slotted.step(state, 64)
    expected = net.forward([Chunk([token], one) for token, one in zip((3, 9, 27, 81), theirs, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ahead", [False, True])
def test_joins_leaves_and_cancellations_change_nobodys_tokens(ahead: bool) -> None:
    chance, scheduler = random.Random(5), scheduler_of(device(ahead=ahead))
    running: list[tuple[list[int], Generation, int]] = []
    heard: dict[Generation, list[int]] = {}
    try:
        for _ in range(40):
            prompt, count = PROMPTS[chance.randrange(len(PROMPTS))], chance.randrange(1, 13)
            running.append((prompt, scheduler.submit(prompt, Sampling(max_tokens=count)), count))
            some, another = (running[chance.randrange(len(running))][1] for _ in range(2))
            if chance.random() < 0.3:
                some.cancel()
            if chance.random() < 0.4 and another not in heard:
                heard[another] = list(another)
        for prompt, generation, count in running:
            found, expected = heard.get(generation) or list(generation), alone("llama", tuple(prompt), 12)[:count]
            assert found == expected[: len(found)]
            assert found == expected or generation.cancelled
    finally:
        scheduler.close()


_ASK_THE_HOST = ("item", "_local_scalar_dense", "nonzero", "lift", "scalar_tensor", "unique")


@pytest.mark.parametrize("name", ["gpt-oss", "phi4-long"])
def test_a_step_can_be_captured(name: str) -> None:
    """As far as that is seen without a GPU: nothing in it depends on what tensors hold, or brings numbers along."""
    target = device(name)
    state = torch.tensor([[3, 4, 5, 6], [0, 1, 2, 3], [1, 1, 0, 1], [0, 0, 0, 0]])

    def step(state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        target._state = state
        return target._step(4, 64)

    with torch.no_grad():
        traced = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(state)
    names = {str(node.target) for node in traced.graph.nodes if node.op == "call_function"}
    assert "aten.index_put_.default" in names
    assert not [name for name in names if any(asking in name for asking in _ASK_THE_HOST) and "getitem" not in name]


def test_norms_in_one_kernel_are_the_same() -> None:
    norm = next(layer.mlp_norm for layer in decoder("llama").layers)
    assert isinstance(norm, RMSNorm)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(FusedRMSNorm(norm, decoder("llama").config.norm_eps)(x), norm(x))


class Steps(DeviceModel):
    """One that counts the steps it computes, and those it was given from the host."""

    computed = uploaded = 0

    def _step(self, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.computed += 1
        return super()._step(count, length)

    def _launch(self, rows: Any, before: Any = None) -> Any:
        self.uploaded += before is None
        return super()._launch(rows, before)


def test_steps_are_computed_ahead_and_taken_where_they_are_right() -> None:
    target = Steps(decoder("llama"), ROOM, ahead=True)
    scheduler = scheduler_of(target)
    assert list(scheduler.submit(PROMPTS[2], GREEDY)) == alone("llama", tuple(PROMPTS[2]), 12)
    scheduler.close()
    assert (target.uploaded, target.computed) == (1, 11)  # the prompt gives the first token; none beyond the last


def test_a_step_computed_ahead_is_not_anothers() -> None:
    """Another sequence that comes to the same slot, position and token has other keys and values."""
    target = Steps(decoder("llama"), ROOM, ahead=True)
    first, other = [5, 6, 7, 8], [90, 91, 92, 93]
    cache = target.new_cache(20)
    token = greedily([Chunk(first, cache)], target)[0]
    following = greedily([Chunk([token], cache)], target)[0]  # and the next is under way
    del cache
    cache = target.new_cache(20)
    assert cache.slot == 0
    target.decoder.forward([Chunk([*other, 3], cache)])  # as long as what went
    found = greedily([Chunk([following], cache)], target)
    net = decoder("llama")
    expected = net.forward([Chunk([*other, 3, following], net.new_cache(20))]).argmax()
    assert (found, target.uploaded) == ([int(expected)], 2)


def test_a_sequence_that_goes_on_otherwise_is_computed_anew() -> None:
    target = Steps(decoder("llama"), ROOM, ahead=True)
    cache = target.new_cache(20)
    token = greedily([Chunk(PROMPTS[1], cache)], target)[0]
    likeliest = greedily([Chunk([token], cache)], target)[0]
    another = (likeliest + 1) % 128
    net = decoder("llama")
    expected = net.forward([Chunk([*PROMPTS[1], token, another], net.new_cache(20))]).argmax()
    assert greedily([Chunk([another], cache)], target) == [int(expected)]


def test_prompts_are_computed_beside_answers() -> None:
    target, net = device(), decoder("llama")
    one, two = target.new_cache(20), target.new_cache(60)
    token = greedily([Chunk(PROMPTS[1], one)], target)[0]
    found = greedily([Chunk([token], one), Chunk(PROMPTS[2], two)], target)
    assert found == [alone("llama", tuple(PROMPTS[1]), 12)[1], alone("llama", tuple(PROMPTS[2]), 12)[0]]
    assert net.forward([Chunk(PROMPTS[2], net.new_cache(60))]).argmax() == found[1]


# --- what chooses ----------------------------------------------------------------------------------------------------


class Allowing:
    """A grammar of one token after another."""

    def __init__(self, *tokens: int, fails: bool = False) -> None:
        self.left, self.fails, self.finished = list(tokens), fails, False

    def mask(self) -> Words:
        if self.fails:
            raise RuntimeError("the grammar is broken")
        words = np.zeros(4, np.uint32)
        words[self.left[0] // 32] = 1 << self.left[0] % 32
        return words.view(np.int32)

    def advance(self, token_id: int) -> None:
        assert token_id == self.left.pop(0)
        self.finished = not self.left


def test_grammars_hold_their_own_sequence_alone() -> None:
    scheduler = scheduler_of(device(ahead=True))
    try:
        held = scheduler.submit(PROMPTS[1], GREEDY, Allowing(31, 32, 127, 0))
        free = scheduler.submit(PROMPTS[2], GREEDY)
        broken = scheduler.submit(PROMPTS[3], GREEDY, Allowing(1, fails=True))
        assert list(held) == [31, 32, 127, 0]
        assert list(free) == alone("llama", tuple(PROMPTS[2]), 12)
        with pytest.raises(RuntimeError, match="the grammar is broken"):
            list(broken)
    finally:
        scheduler.close()


def test_tokens_that_are_never_chosen_and_no_token_at_all() -> None:
    target = device()
    likeliest = alone("llama", tuple(PROMPTS[1]), 12)
    scheduler = Scheduler(target, target.bounds, never=likeliest[:2])
    try:
        assert not set(scheduler.submit(PROMPTS[1], GREEDY)) & set(likeliest[:2])
        with pytest.raises(ValueError, match="no token is possible"):
            list(scheduler.submit(PROMPTS[1], GREEDY, Allowing(likeliest[0])))
    finally:
        scheduler.close()


def test_a_seed_repeats_whatever_else_is_computed() -> None:
    drawn = Sampling(temperature=0.9, top_p=0.9, top_k=40, seed=4, max_tokens=12)
    scheduler = scheduler_of(device(ahead=True))
    try:
        single = list(scheduler.submit(PROMPTS[2], drawn))
        beside = [scheduler.submit(prompt, GREEDY) for prompt in PROMPTS[:3]]
        again = list(scheduler.submit(PROMPTS[2], drawn))
        assert [list(one) for one in beside] == [alone("llama", tuple(prompt), 12) for prompt in PROMPTS[:3]]
    finally:
        scheduler.close()
    assert single == again != alone("llama", tuple(PROMPTS[2]), 12)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_slots_are_given_back() -> None:
    target = device()
    caches = [target.new_cache(96) for _ in range(4)]
    with pytest.raises(MemoryError, match="all 4 places of the device are taken"):
        target.new_cache(1)
    with pytest.raises(ValueError, match="97 tokens do not fit in 96"):
        target.new_cache(97)
    caches[2].settle()
    caches[2].settle()  # as often as one likes
    assert (target.new_cache(1).slot, caches[2].nbytes) == (2, 0)
    del caches
    gc.collect()
    assert target.new_cache(1).slot == 0
    assert target.cache_bytes(1) == target.cache_bytes(96) == target.new_cache(1).nbytes


def test_what_prompts_have_in_common_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceModel, "block", 8)
    scheduler = scheduler_of(device())
    try:
        for _ in range(8):  # more than there are slots: what is kept of old prompts takes none
            first = scheduler.submit(PROMPTS[4], GREEDY)
            assert list(first) == alone("llama", tuple(PROMPTS[4]), 12)
        assert first.cached_tokens == 32
        longer = [*PROMPTS[4][:35], 1, 2, 3]
        assert list(scheduler.submit(longer, GREEDY)) == alone("llama", tuple(longer), 12)
    finally:
        scheduler.close()


def test_what_is_planned_is_what_is_allocated() -> None:
    config, token = decoder("llama").config, 1000
    whole = device_memory.plan(config, token, 10**10, Bounds(64))
    assert (whole.slots, whole.capacity) == (64, config.context)
    few = device_memory.plan(config, 10**6, 10**10, Bounds(64))
    assert 1 < few.slots < 64
    assert few.capacity == config.context
    assert few.slots * (few.capacity + 64) * 10**6 + few.prefix_bytes < 0.9 * 10**10
    bounded = device_memory.plan(config, token, 10**10, Bounds(64, max_context=100, max_bytes=10**7))
    assert bounded.capacity == 100
    assert bounded.slots * 164 * token + bounded.prefix_bytes <= 10**7
    with pytest.raises(ModelError, match=r"0\.6 GB free .* take a smaller model"):
        device_memory.plan(config, 10**6, 6 * 10**8, Bounds(64))
    target = device()
    assert target._slotted.arena.nbytes == 4 * target.cache_bytes(1)
    assert Scheduler(target, target.bounds).max_bytes == 4 * target.cache_bytes(1) + ROOM.prefix_bytes
    assert "4 conversations at once, of 96 tokens each" in target.reserved


def test_models_that_plan_nothing_are_bounded_by_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "free_bytes", lambda _: 1000)
    asked = Bounds(64)
    assert device_memory.unplanned("cpu", asked) is None
    assert device_memory.unplanned("cuda:0", asked) == Bounds(8, max_bytes=500)
    assert device_memory.unplanned("cuda:0", Bounds(2, max_bytes=300)) == Bounds(2, max_bytes=300)


def test_a_device_without_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    target = device()

    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")

    cache = target.new_cache(20)
    monkeypatch.setattr(target._slotted, "step", fail)
    with pytest.raises(MemoryError, match="cpu has no memory left for a step of 1 tokens: lower max_sequences"):
        greedily([Chunk([1], cache)], target)
    monkeypatch.setattr(model, "load", fail)
    with pytest.raises(ModelError, match="cuda has too little memory for the model's weights"):
        device_model.load(None, "cuda")  # type: ignore[arg-type]


def test_a_bfloat16_model_computes_about_the_same(tmp_path: Path) -> None:
    random_models.write("llama", tmp_path)
    rough = DeviceModel(model.load(tmp_path, precision="bfloat16"), ROOM, ahead=True)
    scheduler = scheduler_of(rough)
    found = list(scheduler.submit(PROMPTS[2], GREEDY))
    scheduler.close()
    assert len(found) == 12
    assert found[0] == alone("llama", tuple(PROMPTS[2]), 12)[0]
