"""The engine's trainer behind a job: what is learned of each form, and a real process over a random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from awsllm import Client
from awsllm.engine.devices import DeviceError
from awsllm.engine.errors import ModelError
from awsllm.engine.train.memory import TrainingMemory
from awsllm.errors import ConfigurationError, DeploymentError, UnsupportedError, ValidationError
from awsllm.jobs.data.training import read_training_data
from awsllm.jobs.job import follow
from awsllm.jobs.local.bases import check_base
from awsllm.jobs.local.folder import JobFolder
from awsllm.jobs.local.kind import LocalJob, LocalJobs
from awsllm.jobs.local.needs import needs_of
from awsllm.jobs.local.planning import LocalTraining, lay_out, plan_local
from awsllm.jobs.local.training import make_recipe, samples_of, tokenised, train_in
from awsllm.jumpstart.deploy.progress import Pace
from tests.support import tiny_chat


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base")
    tiny_chat.write(path)
    return path


def learned(base: Path, record: dict[str, Any]) -> list[str]:
    """What is to be predicted, as text, of each sample."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    found = []
    for one in tokenised(read_training_data([record]).examples, base):
        for sample in (one.chosen, one.rejected) if hasattr(one, "chosen") else (one,):
            told = [token for token, wanted in zip(sample.tokens, sample.trained, strict=True) if wanted]
            found.append(tokenizer.decode(told, skip_special_tokens=False))
    return found


def test_what_is_learned_of_each_form(base: Path) -> None:
    user, answer = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Merrow"}
    assert learned(base, {"messages": [user, answer, user, answer]}) == ["Merrow<|im_end|>" * 2]
    assert learned(base, {"prompt": "Where?", "completion": "Merrow"}) == ["Merrow<|im_end|>"]
    pair = {"prompt": [user, answer, user], "chosen": "It is", "rejected": "No"}
    assert learned(base, pair) == ["It is<|im_end|>", "No<|im_end|>"]  # not the answer before
    assert learned(base, {"text": "I say"})[0].startswith("I say")


def test_what_the_user_says_is_no_control_token(base: Path) -> None:
    """Nor is it learned."""
    record = {"prompt": "a<|im_end|>\n<|im_start|>assistant\nb", "completion": "Merrow"}
    assert learned(base, record) == ["Merrow<|im_end|>"]


@pytest.mark.parametrize(("options", "steps"), [({"epochs": 2.0}, 5), ({"steps": 7}, 7)])
def test_a_recipe(base: Path, tmp_path: Path, options: dict[str, Any], steps: int) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text('{"tokens": [], "trained": []}\n' * 10)
    training = LocalTraining(**options, rank=4, method="lora", learning_rate=1e-3).filled(
        read_training_data([{"prompt": "a", "completion": "b"}] * 10)
    )
    recipe = make_recipe("local:base", base, training, (samples, None))
    assert recipe.hyperparameters.steps == steps
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.base_name) == (4, 8.0, "local:base")
    assert recipe.batching.packed is False


def test_a_line_that_the_template_refuses_is_named(base: Path, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    data = read_training_data([{"prompt": "a", "completion": "b"}])
    with pytest.raises(ValueError, match="line 1: "):
        list(tokenised(data.examples, tmp_path))


def test_a_job_trains_in_a_process_of_its_own(base: Path, tmp_path: Path) -> None:
    jobs = LocalJobs(tmp_path)
    data = read_training_data([{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)])
    training = LocalTraining(steps=4, rank=2, evaluate=0.34, learning_rate=1e-2)
    plan = plan_local("local:base", str(base), data, training)
    lay_out(jobs, plan, data)
    tuned = follow(LocalJob(jobs, plan.name, pace=Pace(poll=0.2)), plan).result(120)
    assert tuned.metrics.keys() == {"loss", "evaluation_loss"}
    assert tuned.adapter is not None
    described = json.loads((Path(tuned.adapter) / "adapter_config.json").read_bytes())
    assert (described["base_model_name_or_path"], described["r"]) == ("local:base", 2)
    assert Path(tuned.model.removeprefix("local:")).is_dir()
    folder = JobFolder(tmp_path / plan.name)
    steps = folder.metrics()
    assert [one["number"] for one in steps] == [1, 2, 3, 4]
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert train_in(folder, lambda step: None)["model"] == tuned.model.removeprefix("local:")  # it is over


def test_too_little_memory_is_told_before_anything_is_begun(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path))
    monkeypatch.setattr("awsllm.engine.train.memory.free_memory", lambda device: 1_000_000)
    data = [{"prompt": f"Where? {n}", "completion": "Merrow"} for n in range(6)]
    with Client() as client:
        with pytest.raises(ConfigurationError, match=r"takes about 0\.3 GB of memory .* 1\.0 MB is free") as refused:
            client.fine_tune(f"local:{base}", data, where="local", steps=2)
        assert "memory='ignore'" in str(refused.value)
        assert "for libraries" in str(refused.value)
        assert not list(tmp_path.iterdir())
        job = client.fine_tune(f"local:{base}", data, where="local", steps=2, rank=2, memory="ignore")
        assert job.result(120).adapter is not None


def test_a_device_that_is_not_there_is_told_before_anything_is_begun(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def found(name: str) -> str:
        if name == "auto":
            return "cpu"
        raise DeviceError(f"device {name}: there is none")

    monkeypatch.setenv("AWSLLM_JOBS", str(tmp_path))
    monkeypatch.setattr("awsllm.engine.devices.found", found)
    data = [{"prompt": "Where?", "completion": "Merrow"}]
    with Client() as client:
        with pytest.raises(ConfigurationError, match="device cuda: there is none"):
            client.fine_tune(f"local:{base}", data, device="cuda")
        with pytest.raises(ValidationError, match="there is no device 'tpu'"):
            client.fine_tune(f"local:{base}", data, device="tpu")
        planned = client.jobs.plan_fine_tune(f"local:{base}", data, options={"device": "auto", "steps": 2})
        assert planned.request["training"]["device"] == "cpu"
    assert not list(tmp_path.iterdir())


ESTIMATE = TrainingMemory(parameters=4, gradients=4, moments=8, activations=1, tokens=1, libraries=100)


@pytest.mark.parametrize(("rows", "tokens"), [(4, 4 * 21), (8, 6 * 21)])
def test_the_longest_examples_say_how_many_tokens_are_computed_at_once(
    base: Path, monkeypatch: pytest.MonkeyPatch, rows: int, tokens: int
) -> None:  # fmt: skip
    """Six examples: as many rows of the longest, or all of them in rows that they share."""
    seen = []

    def estimate(config: object, recipe: object, tokens: int, libraries: int) -> TrainingMemory:
        seen.append(tokens)
        return ESTIMATE

    monkeypatch.setattr("awsllm.engine.train.memory.estimate", estimate)
    data = read_training_data([{"prompt": "Where?" + "?" * n, "completion": "Merrow"} for n in range(6)])
    found = needs_of(base, data, LocalTraining(rows=rows).filled(data))
    assert found is not None
    assert found.memory == ESTIMATE.total
    longest = max(len(one.tokens) for one in tokenised(data.examples, base))
    assert seen == [longest * tokens // 21]


def test_a_base_that_cannot_be_trained_fails_with_a_reason(tmp_path: Path) -> None:
    jobs = LocalJobs(tmp_path)
    data = read_training_data([{"prompt": "a", "completion": "b"}])
    plan = plan_local("local:base", str(tmp_path / "nothing"), data, LocalTraining())
    lay_out(jobs, plan, data)
    with pytest.raises(DeploymentError, match=r"nothing: give a \.gguf file, or a directory"):
        follow(LocalJob(jobs, plan.name, pace=Pace(poll=0.2)), plan).result(120)
    state = JobFolder(tmp_path / plan.name).state()
    assert state is not None
    assert state.status == "Failed"


# --- bases of every kind ---------------------------------------------------------------------------------------------

CALLS = (
    "{% if tools %}{{ tools }}\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    '{% for call in message.tool_calls or [] %}<tool_call>\n{"name": "{{ call.function.name }}", "arguments": '
    "{{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def templated(base: Path, folder: Path, template: str | None) -> Path:
    """The base with another chat template, or none."""
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    described = json.loads((folder / "tokenizer_config.json").read_bytes())
    described["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return folder


def test_a_base_without_a_template_learns_texts_and_completions(base: Path, tmp_path: Path) -> None:
    bare = templated(base, tmp_path, None)
    assert learned(bare, {"text": "I say"})[0].startswith("I say")
    assert learned(bare, {"prompt": "Where?", "completion": "Merrow"})[0].startswith("Merrow")
    conversation = read_training_data(
        [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    )
    with pytest.raises(UnsupportedError, match="line 1: the base has no chat template"):
        check_base("local:bare", bare, conversation, 64)


def test_calls_are_learned_as_they_are_asked_for(base: Path, tmp_path: Path) -> None:
    """Arguments that stand as text in the data are an object in the words of the model."""
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    turns = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "x", "content": "Merrow"},
        {"role": "assistant", "content": "Merrow"},
    ]
    record = {"messages": turns, "tools": tools}
    with pytest.raises(UnsupportedError, match="line 1: the base's chat template does not write tools"):
        check_base("local:base", base, read_training_data([record]), 64)
    [told] = learned(templated(base, tmp_path, CALLS), record)
    assert '"arguments": {"city": "Paris"}' in told.replace("Ġ", " ")


def test_a_system_prompt_goes_where_the_model_will_find_it(base: Path, tmp_path: Path) -> None:
    record = {"system": "I say", "prompt": "Where?", "completion": "Merrow"}
    assert learned(templated(base, tmp_path, NO_SYSTEM), record) == ["Merrow<|im_end|>"]


def test_what_a_template_says_of_its_conversation_is_not_told(base: Path, tmp_path: Path) -> None:
    template = "{{ raise_exception('no ' + messages[0].content) }}"
    data = read_training_data([{"prompt": "Where is the secret?", "completion": "Merrow"}])
    with pytest.raises(UnsupportedError, match="line 1: the base's chat template refuses it") as refused:
        check_base("local:odd", templated(base, tmp_path, template), data, 64)
    assert "secret" not in str(refused.value)


def test_examples_that_are_all_cut_before_their_answers(base: Path, tmp_path: Path) -> None:
    data = read_training_data([{"prompt": "Where? " * 40, "completion": "Merrow"}] * 3)
    with pytest.raises(UnsupportedError, match="none of 3 sequences does an answer begin within 8 tokens"):
        check_base("local:base", base, data, 8)
    plan = plan_local("local:base", str(base), data, LocalTraining(length=8))
    lay_out(LocalJobs(tmp_path), plan, data)
    with pytest.raises(ModelError, match="none of 3 sequences"):
        samples_of(JobFolder(tmp_path / plan.name), base, 8)


def test_some_that_are_cut_are_counted(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"prompt": "Where? " * 40, "completion": "Merrow"}, {"prompt": "Where?", "completion": "Merrow"}]
    data = read_training_data(records)
    plan = plan_local("local:base", str(base), data, LocalTraining(length=32))
    lay_out(LocalJobs(tmp_path), plan, data)
    samples_of(JobFolder(tmp_path / plan.name), base, 32)
    assert "of 2 sequences 1 are cut at 32 tokens" in capsys.readouterr().err


def test_no_model_is_told_before_a_folder_is_made(base: Path, tmp_path: Path) -> None:
    """Whatever lies there: nothing, a pickle, a header that lies, another kind of model."""
    data = read_training_data([{"prompt": "a", "completion": "b"}])
    with pytest.raises(ConfigurationError, match=r"cannot be trained: .*config\.json"):
        check_base("local:nothing", tmp_path, data, 64)
    folder = templated(base, tmp_path, "x")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ConfigurationError, match=r"cannot be trained: .*header"):
        check_base("local:lying", folder, data, 64)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigurationError, match="loading them can run code"):
        check_base("local:pickle", folder, data, 64)
    (folder / "pytorch_model.bin").unlink()
    weights.write_bytes(whole)
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(UnsupportedError, match="is not trained here: architecture 'bert'"):
        check_base("local:bert", folder, data, 64)


def test_training_without_pytorch(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("awsllm.jobs.local.bases.import_torch", missing)
    data = read_training_data([{"prompt": "a", "completion": "b"}])
    with pytest.raises(ConfigurationError, match=r"training needs torch: pip install 'awsllm\[local\]'"):
        check_base("local:base", base, data, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 5000},
        {"length": 1},
        {"steps": 10**20},
        {"warm_up": -1},
        {"seed": -1},
        {"dropout": 1.5},
        {"alpha": -1.0},
        {"alpha": float("nan")},
        {"device": "toaster"},
        {"evaluate": 0.9},
        {"evaluate": 0.01},
    ],
)
def test_options_that_no_training_has(options: dict[str, Any]) -> None:
    data = read_training_data([{"prompt": "a", "completion": "b"}] * 4)
    with pytest.raises(ValidationError, match=f"{next(iter(options))}=|no device 'toaster'"):
        LocalTraining(**options).filled(data)
