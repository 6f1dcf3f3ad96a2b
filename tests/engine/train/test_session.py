"""Training by hand: the losses are those of their formulas, steps learn, state comes back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from awsllm.engine.train import decoder, lora
from awsllm.engine.train.lora import Lora
from awsllm.engine.train.session import LOSSES, AdamStep, LoraSession, LossExample, TokenDrawing
from tests.support import random_models

TOKENS = [3, 50, 60, 70]
TARGETS = [50, 60, 70, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    random_models.write("llama", path)
    return path


def session(folder: Path) -> LoraSession:
    return LoraSession(decoder.load(folder), Lora(rank=4))


def example(**more: list[float]) -> LossExample:
    return LossExample(TOKENS, {"target_tokens": TARGETS, "weights": [0.0, 1.0, 1.0, 1.0], **more})


def reinforced(folder: Path, advantage: float = 1.0) -> LossExample:
    known = session(folder).forward([example()], "cross_entropy").logprobs[0]
    shifted = [value - 0.5 for value in known]  # the ratio of each token is exp(0.5)
    return example(logprobs=shifted, advantages=[advantage] * 4)


def test_losses_are_their_formulas(folder: Path) -> None:
    one = session(folder)
    plain = one.forward([example()], "cross_entropy")
    assert plain.metrics["loss:sum"] == pytest.approx(-math.fsum(plain.logprobs[0][1:]), rel=1e-5)
    assert plain.metrics["loss:mean"] == pytest.approx(plain.metrics["loss:sum"] / 3, rel=1e-5)
    given = reinforced(folder)
    assert one.forward([given], "importance_sampling").metrics["loss:sum"] == pytest.approx(
        -3 * math.exp(0.5), rel=1e-4
    )
    assert one.forward([given], "ppo").metrics["loss:sum"] == pytest.approx(-3 * 1.2, rel=1e-4)
    wide = {"clip_high_threshold": 1.5}
    assert one.forward([given], "ppo", wide).metrics["loss:sum"] == pytest.approx(-3 * 1.5, rel=1e-4)
    bad = reinforced(folder, advantage=-1.0)
    assert one.forward([bad], "ppo").metrics["loss:sum"] == pytest.approx(3 * math.exp(0.5), rel=1e-4)
    expected = -1.2 * math.fsum(plain.logprobs[0][1:])
    assert one.forward([given], "cispo").metrics["loss:sum"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_make_what_is_rewarded_likelier(folder: Path, loss: str) -> None:
    one, given = session(folder), reinforced(folder)
    before = math.fsum(one.forward([example()], "cross_entropy").logprobs[0][1:])
    for _ in range(3):
        one.forward_backward([given], loss, {"clip_high_threshold": 10.0} if loss == "ppo" else None)
        one.step(AdamStep(learning_rate=5e-3, clip=1.0))
    assert math.fsum(one.forward([example()], "cross_entropy").logprobs[0][1:]) > before + 0.1
    assert one.steps == 3


def test_gradients_add_up(folder: Path) -> None:
    apart, together = session(folder), session(folder)
    other = LossExample([4, 5], {"target_tokens": [5, 6], "weights": [1.0, 1.0]})
    apart.forward_backward([example()], "cross_entropy")
    apart.forward_backward([other], "cross_entropy")
    together.forward_backward([example(), other], "cross_entropy")
    norms = [each.step(AdamStep(learning_rate=1e-3))["gradient_norm"] for each in (apart, together)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_state_comes_back(folder: Path, tmp_path: Path) -> None:
    one = session(folder)
    for _ in range(2):
        one.forward_backward([example()], "cross_entropy")
        one.step(AdamStep(learning_rate=1e-2))
    one.save_state(tmp_path / "state")
    again = session(folder)
    again.load_state(tmp_path / "state")
    for each in (one, again):
        each.forward_backward([example()], "cross_entropy")
        each.step(AdamStep(learning_rate=1e-2))
    found = [each.forward([example()], "cross_entropy").metrics["loss:sum"] for each in (one, again)]
    assert found[0] == found[1]
    one.save_adapter(tmp_path / "adapter", base="x")
    plain = decoder.load(folder)
    assert lora.load(tmp_path / "adapter", plain) == Lora(rank=4)


def test_samples_follow_their_seed_and_end(folder: Path) -> None:
    one = session(folder)
    drawn = one.sample(TOKENS, TokenDrawing(most=6, seed=3))
    assert one.sample(TOKENS, TokenDrawing(most=6, seed=3)) == drawn
    assert len(drawn.tokens) == 6
    assert not drawn.stopped
    stopped = one.sample(TOKENS, TokenDrawing(most=6, seed=3, ends=frozenset(drawn.tokens[2:3])))
    assert stopped.stopped
    assert list(stopped.tokens) == list(drawn.tokens[:3])
    greedy = one.sample(TOKENS, TokenDrawing(most=4, temperature=0))
    expected = one.logprobs([*TOKENS, *greedy.tokens])[len(TOKENS) - 1 :]
    assert list(greedy.logprobs) == pytest.approx(list(expected), rel=1e-4, abs=1e-5)
    ended = one.sample(TOKENS, TokenDrawing(most=6, seed=3), lambda tokens: list(tokens) == list(drawn.tokens[:2]))
    assert (list(ended.tokens), ended.stopped) == (list(drawn.tokens[:2]), True)
    narrow = one.sample(TOKENS, TokenDrawing(most=4, temperature=5.0, top_k=1, seed=1))
    assert narrow.tokens == greedy.tokens
    assert one.sample(TOKENS, TokenDrawing(most=4, temperature=5.0, top_p=1e-9, seed=1)).tokens == greedy.tokens


@pytest.mark.parametrize(
    ("given", "loss", "settings", "message"),
    [
        (example(), "mse", {}, "no loss 'mse'"),
        (example(), "ppo", {}, "lacks advantages, logprobs"),
        (example(x=[1.0] * 4), "cross_entropy", {}, "has 'x'"),
        (
            LossExample(TOKENS, {"target_tokens": [1], "weights": [1.0] * 4}),
            "cross_entropy",
            {},
            "1 target_tokens for 4",
        ),
        (LossExample([], {}), "cross_entropy", {}, "no tokens"),
        (example(), "cross_entropy", {"clip": 1.0}, "no setting 'clip'"),
        (example(), "cross_entropy", {"clip_low_threshold": 2.0}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_computed_is_told(
    folder: Path, given: LossExample, loss: str, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        session(folder).forward_backward([given], loss, settings)


def test_a_step_needs_gradients(folder: Path) -> None:
    with pytest.raises(ValueError, match="follows on forward_backward"):
        session(folder).step(AdamStep(learning_rate=1e-3))


def test_gradients_that_are_no_numbers_move_nothing(folder: Path) -> None:
    one = session(folder)
    with torch.no_grad():
        dict(one.decoder.named_parameters())["model.norm.weight"].fill_(math.nan)
    with pytest.raises(ArithmeticError, match="the loss of example 0 is no number"):
        one.forward_backward([example()], "cross_entropy")
    with pytest.raises(ValueError, match="there are no gradients"):
        one.step(AdamStep(learning_rate=1e-3))
    next(lora.adapters(one.decoder))[1].lora_B.weight.grad = torch.full_like(
        next(lora.adapters(one.decoder))[1].lora_B.weight, math.inf
    )
    with pytest.raises(ArithmeticError, match="no numbers"):
        one.step(AdamStep(learning_rate=1e-3))
    assert one.steps == 0


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "has no tokens"),
        ([3, 128], "has the token 128; the model knows 0 to 127"),
        ([-1], "has the token -1"),
        ([1] * 513, "has 513 tokens; the model reads 512"),
    ],
)
def test_tokens_that_the_model_cannot_read_are_told(folder: Path, tokens: list[int], message: str) -> None:
    one = session(folder)
    asked = LossExample(tokens, {"target_tokens": tokens, "weights": [1.0] * len(tokens)})
    for ask in (
        lambda: one.forward([asked], "cross_entropy"),
        lambda: one.logprobs(tokens),
        lambda: one.sample(tokens, TokenDrawing(most=1)),
        lambda: one.likeliest(tokens, 1),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    targets = LossExample([3], {"target_tokens": [500], "weights": [1.0]})
    with pytest.raises(ValueError, match="target_tokens has the token 500"):
        one.forward([targets], "cross_entropy")


def test_each_token_of_a_sample_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, counts = session(folder), list[int]()
    compute = one.decoder.forward

    def counted(batch: decoder.Batch, past: decoder.DecoderPast | None = None) -> torch.Tensor:
        counts.append(batch.tokens.shape[1])
        return compute(batch, past)

    monkeypatch.setattr(one.decoder, "forward", counted)
    one.sample(TOKENS, TokenDrawing(most=4, temperature=0))
    assert counts == [len(TOKENS), 1, 1, 1]


def test_a_sample_ends_where_the_model_does(folder: Path) -> None:
    drawn = session(folder).sample([3] * 510, TokenDrawing(most=9, temperature=0))
    assert (len(drawn.tokens), drawn.stopped) == (2, False)


def test_other_weights_are_lent_and_given_back(folder: Path, tmp_path: Path) -> None:
    one = session(folder)
    base = one.logprobs(TOKENS)

    def learn() -> None:
        one.forward_backward([example()], "cross_entropy")
        one.step(AdamStep(learning_rate=1e-2))

    learn()
    one.save_state(tmp_path / "state")
    one.save_adapter(tmp_path / "adapter", base="base")
    first = one.logprobs(TOKENS)
    learn()
    second = one.logprobs(TOKENS)
    with one.lent(None):
        assert one.logprobs(TOKENS) == pytest.approx(base, abs=1e-6)
    for kept in ("state", "adapter"):
        with one.lent(tmp_path / kept):
            assert one.logprobs(TOKENS) == pytest.approx(first, abs=1e-6)
    assert one.logprobs(TOKENS) == second
    one.load_state(tmp_path / "adapter")
    assert one.logprobs(TOKENS) == pytest.approx(first, abs=1e-6)
    assert one.steps == 0


def test_the_likeliest_tokens_are_those_of_the_logits(folder: Path) -> None:
    one = session(folder)
    rows = one.likeliest(TOKENS, 128)
    assert [dict(row)[token] for row, token in zip(rows, TOKENS[1:], strict=True)] == pytest.approx(
        one.logprobs(TOKENS)
    )
    assert all(row[0][1] == max(value for _, value in row) for row in rows)


def test_the_matrices_b_may_learn_faster(folder: Path) -> None:
    def moved(plus: float) -> tuple[float, float]:
        torch.manual_seed(0)
        one = session(folder)
        _, held = next(lora.adapters(one.decoder))
        before = held.lora_A.weight.detach().clone()
        for _ in range(2):  # B is zero at first, so A has no gradient
            one.forward_backward([example()], "cross_entropy")
            one.step(AdamStep(learning_rate=1e-3, plus=plus))
        a, b = held.lora_A.weight.detach(), held.lora_B.weight.detach()
        return float((a - before).abs().max()), float(b.abs().max())

    (plain_a, plain_b), (faster_a, faster_b) = moved(1.0), moved(8.0)
    assert faster_b == pytest.approx(8 * plain_b, rel=0.2)
    assert faster_a == pytest.approx(plain_a, rel=0.2)
