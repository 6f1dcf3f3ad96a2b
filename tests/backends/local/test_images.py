"""Images in conversations with a local model: prompts as transformers makes them, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from PIL import Image as Pillow

import awsllm
from awsllm import types as t
from awsllm.backend import Attempt
from awsllm.backends.local import images
from awsllm.backends.local.backend import AsyncLocalBackend, LocalBackend
from awsllm.backends.local.models import ChatModel
from awsllm.cli import main
from awsllm.engine.vision_encoder import VisionEncoder
from awsllm.errors import ConfigurationError, ModelTimeoutError, UnsupportedError, ValidationError
from awsllm.stream import fold
from tests.support import random_qwen, random_vision, tiny_gguf
from tests.support.random_vision import encoded, picture


def image(width: int = 60, height: int = 40, seed: int = 0) -> t.Image:
    return t.Image("png", t.Bytes(encoded(picture(width, height, seed=seed))))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeing")
    random_vision.write(path)
    return path


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend()
    yield backend
    backend.close()


@pytest.fixture
def model(path: Path, backend: LocalBackend) -> ChatModel:
    return backend._chat_model(str(path))


def ask(path: Path, *content: t.ContentBlock, **options: Any) -> t.ConverseRequest:
    options.setdefault("messages", (t.Message("user", content),))
    return t.ConverseRequest(model=str(path), inference_config=t.InferenceConfig(6), **options)


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turns",
    [
        [("user", [image(), "What is this?"])],
        [("user", ["What is this?", image()])],
        [("user", ["Before", image(90, 20), image(10, 10), "between", image(9, 70), "after"])],
        [("user", [image()]), ("assistant", ["A gradient."]), ("user", ["And", image(30, 30, 1)])],
        [("user", ["Nothing to see"])],
    ],
)
def test_prompts_equal_those_of_transformers(turns: list[tuple[str, list[Any]]], path: Path, model: ChatModel) -> None:
    blocks = [(role, [t.Text(one) if isinstance(one, str) else one for one in content]) for role, content in turns]
    request = ask(path, messages=tuple(t.Message(role, tuple(content)) for role, content in blocks))
    parts = [[{"type": "image"} if isinstance(one, t.Image) else {"type": "text", "text": one} for one in content]
             for _, content in turns]  # fmt: skip
    conversation: Any = [{"role": role, "content": content} for (role, _), content in zip(turns, parts, strict=True)]
    processor = random_vision.processor()
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    shown = [decoded(one) for _, content in turns for one in content if isinstance(one, t.Image)]
    expected = processor(text=text, images=shown or None)["input_ids"][0]
    prompt = model.encode(request)
    assert prompt == expected
    vectors = model.vectors(request, prompt, None) or {}
    assert len(vectors) == prompt.count(model.tokenizer.control["<image>"])
    assert bool(vectors) == bool(shown)


def test_gemma_prompts_equal_those_of_transformers(tmp_path: Path, backend: LocalBackend) -> None:
    random_vision.write_gemma(tmp_path)
    model = backend._chat_model(str(tmp_path))
    request = ask(tmp_path, image(), t.Text(" What <image_soft_token> is this?"))
    processor = random_vision.gemma_processor()
    parts = [{"type": "image"}, {"type": "text", "text": "What ? is this?"}]
    conversation: Any = [{"role": "user", "content": parts}]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    expected = processor(text=text, images=[decoded(image())], add_special_tokens=False)["input_ids"][0]
    prompt = model.encode(request)
    assert random_vision.gemma_tokenizer().decode(prompt).replace(" <image_soft_token> ", " ? ") == (
        random_vision.gemma_tokenizer().decode(expected)
    )
    assert prompt.count(model.tokenizer.control["<image_soft_token>"]) == 64
    assert len(model.vectors(request, prompt, None) or {}) == 64
    assert backend.ask(request).usage.input_tokens == len(prompt)


@pytest.mark.parametrize("family", sorted(random_qwen.VISION))
def test_qwen_prompts_equal_those_of_transformers(family: str, tmp_path: Path, backend: LocalBackend) -> None:
    random_qwen.write(tmp_path, family)
    model = backend._chat_model(str(tmp_path))
    shown = [image(), image(20, 90, 1)]
    request = ask(tmp_path, shown[0], t.Text("And <|image_pad|>?"), shown[1])
    tokenizer = random_qwen.tokenizer()
    parts = [{"type": "image"}, {"type": "text", "text": "And ?"}, {"type": "image"}]
    conversation: Any = [{"role": "user", "content": parts}]
    first, *rest = str(
        tokenizer.apply_chat_template(
            conversation, chat_template=random_qwen.TEMPLATE, add_generation_prompt=True, tokenize=False
        )
    ).split("<|image_pad|>")
    grids = [random_qwen.image_processor()(decoded(one))["image_grid_thw"].prod() // 4 for one in shown]
    text = first + "".join("<|image_pad|>" * int(count) + after for count, after in zip(grids, rest, strict=True))
    prompt = model.encode(request)
    written = str(tokenizer.decode(prompt))
    assert written.replace("And <|image_pad|>?", "And ?") == text
    assert prompt.count(model.tokenizer.control["<|image_pad|>"]) == sum(grids)  # the caller's own is plain text
    vectors = model.vectors(request, prompt, None) or {}
    assert {row.shape for row in vectors.values()} == {(64 + 3,)}
    assert len(vectors) == sum(grids)
    answer = backend.ask(request)
    assert answer.usage.input_tokens == len(prompt)
    other = backend.ask(ask(tmp_path, image(seed=7), t.Text("And <|image_pad|>?"), shown[1]))
    assert answer.text == backend.ask(request).text != other.text
    with pytest.raises(ValidationError, match="image 1 is more than 200 times as long as it is wide"):
        backend.ask(ask(tmp_path, image(1, 300)))


def decoded(block: t.Image) -> Pillow.Image:
    assert isinstance(block.source, t.Bytes)
    return Pillow.open(io.BytesIO(block.source.data))


def test_vectors_stand_in_the_order_of_their_images(path: Path, model: ChatModel) -> None:
    """A result is told before what stands beside it, whatever their order in the request."""
    calls = t.Message("assistant", (t.ToolUse("1", "draw", {}),))
    result = t.ToolResult("1", (t.Text("drawn:"), image(seed=1), t.Text("with a pen")))
    turns = (t.Message.user("Draw!"), calls, t.Message("user", (image(seed=2), t.Text("Now this."), result)))
    tool = t.ToolSpec("draw", {"type": "object", "properties": {}}, "Draws.")
    request = ask(path, messages=turns, tools=(tool,))
    prompt = model.encode(request)
    vectors = list((model.vectors(request, prompt, None) or {}).values())
    half = len(vectors) // 2
    for seed, found in ((1, vectors[:half]), (2, vectors[half:])):
        lone = ask(path, image(seed=seed))
        alone = list((model.vectors(lone, model.encode(lone), None) or {}).values())
        assert len(alone) == half
        assert all((a == b).all() for a, b in zip(found, alone, strict=True))
    text = random_vision.tokenizer().decode(prompt)
    assert text.index("drawn:") < text.index("<image>") < text.index("with a pen") < text.rindex("<image>")


def test_a_system_prompt_is_one_where_the_template_has_it(path: Path, model: ChatModel) -> None:
    prompt = model.encode(ask(path, image(), system=(t.Text("Be brief."),)))
    assert random_vision.tokenizer().decode(prompt).startswith("<|im_start|>System: Be brief.<end_of_utterance>")


def test_text_that_looks_like_an_image_is_none(path: Path, model: ChatModel) -> None:
    forged = "<image> <fake_token_around_image><row_1_col_1><global-img> \ufdd10123456789abcdef0123456789abcdef:0;"
    request = ask(path, t.Text(forged), image(), t.Text(forged))
    prompt, plain = model.encode(request), model.encode(ask(path, image()))
    control = {token for text, token in model.tokenizer.control.items() if "image" in text or "row_" in text}
    assert [token for token in prompt if token in control] == [token for token in plain if token in control]
    text = random_vision.tokenizer().decode(prompt)
    assert text.count("<image> <fake_token_around_image><row_1_col_1><global-img>") == 2


def test_tokens_of_images_are_counted_without_looking_at_them(
    path: Path, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(path, image(seed=7), t.Text("What?"))
    with monkeypatch.context() as patched:
        patched.setattr(VisionEncoder, "vectors", lambda *_: pytest.fail("it was looked at"))
        counted = backend.ask(t.CountTokensRequest(model=request.model, converse=request))
    assert backend.ask(request).usage.input_tokens == counted > 9 * 4


# --- answers ----------------------------------------------------------------------------------------------------------


def test_answers_depend_on_what_is_seen_and_repeat(path: Path, backend: LocalBackend) -> None:
    first, second = (ask(path, image(seed=seed), t.Text("What?")) for seed in (1, 2))
    texts = [backend.ask(request).text for request in (first, second, first)]
    assert texts[0] != texts[1]
    assert texts[0] == texts[2]

    async def streamed() -> str:
        return fold([event async for event in AsyncLocalBackend(backend).stream(first)]).text

    assert asyncio.run(streamed()) == texts[0]


def test_an_image_is_looked_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, vectors = [], VisionEncoder.vectors

    def noted(self: VisionEncoder, tile: Any) -> Any:
        looked.append(tile)
        return vectors(self, tile)

    monkeypatch.setattr(VisionEncoder, "vectors", noted)
    backend = LocalBackend(max_sequences=3)
    backend.ask(ask(path, image(seed=20), t.Text("What?")))
    tiles = len(looked)
    assert tiles > 1
    backend.ask(ask(path, t.Text("And this?"), image(seed=20), image(seed=20)))
    assert len(looked) == tiles
    backend.ask(ask(path, image(seed=21)))
    assert len(looked) == 2 * tiles
    monkeypatch.setattr(images, "_REMEMBERED", 1)
    backend.ask(ask(path, image(seed=22)))
    backend.ask(ask(path, image(seed=20)))
    assert len(looked) == 4 * tiles
    backend.close()


def test_cache_points_tell_images_apart(path: Path) -> None:
    backend = LocalBackend(max_sequences=2)

    def read(seed: int) -> tuple[int | None, int | None]:
        usage = backend.ask(ask(path, image(seed=seed), t.CachePoint(), t.Text("What?"))).usage
        return usage.cache_read_input_tokens, usage.cache_write_input_tokens

    (none, written), (nothing, again), (found, rest) = read(1), read(2), read(1)
    assert (none, nothing, rest) == (0, 0, 0)
    assert written == again == found
    assert (written or 0) > 9 * 4
    backend.close()


def test_an_answer_never_holds_an_image(path: Path, model: ChatModel) -> None:
    assert model.images is not None
    assert model.images.config.image_token in model.scheduler._never


def test_answers_with_an_image_satisfy_a_schema(path: Path) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    answer = awsllm.Client().converse(f"local:{path}", [image(), "Well?"], output_type=schema, max_tokens=30)
    assert isinstance(answer.output["ok"], bool)


def test_the_deadline_ends_looking(path: Path, backend: LocalBackend) -> None:
    with pytest.raises(ModelTimeoutError, match="looking at an image"):
        backend.ask(ask(path, image(seed=30)), Attempt(deadline=time.monotonic() - 1))


def test_the_deadline_ends_waiting_for_others_who_look(path: Path, backend: LocalBackend, model: ChatModel) -> None:
    """Tokens are counted meanwhile."""
    assert model.images is not None
    request = ask(path, image(seed=31))
    with model.images._looking:
        assert backend.ask(t.CountTokensRequest(model=request.model, converse=request)) > 9 * 4
        with pytest.raises(ModelTimeoutError, match="looking at an image"):
            backend.ask(request, Attempt(deadline=time.monotonic() + 0.05))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (t.Image("png", t.Bytes(b"\x89PNG\r\n\x1a\n?")), ": image 2 cannot be decoded: it is damaged"),
        (t.Image("png", t.Bytes(b"BM" + bytes(50))), ": image 2 cannot be decoded"),
        (
            t.Image("gif", t.Bytes(b"GIF89a\xff\x7f\xff\x0f\0\0\0,\0\0\0\0\xff\x7f\xff\x0f\0\x08")),
            ": image 2 has .* pixels; at most",
        ),
        (t.Image("png", t.Bytes(bytes(20_000_001))), ": image 2 has 20,000,001 bytes; at most 20,000,000 are read"),
    ],
)
def test_hostile_images_are_refused_by_their_number(
    block: t.Image, message: str, path: Path, backend: LocalBackend
) -> None:
    for content in ((image(), t.Text("?"), block), (image(), t.ToolResult("1", (t.Text("drawn"), block)))):
        with pytest.raises(ValidationError, match=message):
            backend.ask(ask(path, *content))


def test_images_are_not_fetched(path: Path, backend: LocalBackend) -> None:
    block = t.Image("png", t.S3Location("s3://bucket/key.png"))
    with pytest.raises(UnsupportedError, match=r"image 1: s3://bucket/key.png is not fetched; pass its bytes"):
        backend.ask(ask(path, block))
    with pytest.raises(UnsupportedError, match="of the kind 'url' is newer"):
        backend.ask(ask(path, t.Image("png", t.Unknown("url", {}))))


def test_twenty_images_are_taken_and_no_more(path: Path, model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    small = image(4, 4)
    assert images.MAX_IMAGES == 20
    monkeypatch.setattr(images, "MAX_IMAGES", 2)
    model.encode(ask(path, small, small))
    with pytest.raises(ValidationError, match="more than 2 images"):
        model.encode(ask(path, small, small, small))


def test_other_media_are_refused_as_ever(path: Path, backend: LocalBackend) -> None:
    with pytest.raises(UnsupportedError, match="cannot take a video"):
        backend.ask(ask(path, image(), t.Video("mp4", t.Bytes(b"?"))))


def test_a_model_that_reads_text_says_so(tmp_path: Path, backend: LocalBackend) -> None:
    blind = tiny_gguf.write(tmp_path / "m.gguf", tiny_gguf.metadata(), says=65)
    for content in ((image(),), (t.ToolResult("1", (image(),)),)):
        with pytest.raises(UnsupportedError, match="this local model reads text and cannot take an image"):
            backend.ask(ask(blind, *content))


def changed(path: Path, to: Path, file: str, **values: Any) -> Path:
    """The model, with other values in one of its files."""
    for one in path.iterdir():
        (to / one.name).write_bytes(one.read_bytes())
    described = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps(described | values))
    return to


def test_a_template_without_images_makes_a_model_that_reads_text(path: Path, tmp_path: Path) -> None:
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
    model = changed(path, tmp_path, "chat_template.json", chat_template=plain)
    backend = LocalBackend()
    assert backend.ask(ask(model, t.Text("Hi"))).usage.input_tokens == 2
    with pytest.raises(UnsupportedError, match="cannot take an image"):
        backend.ask(ask(model, image()))
    backend.close()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_token_id": 65}, "token 65, which stands for images, is no control token"),
        ({"scale_factor": 7}, "4 patches a side cannot be joined by 7"),
    ],
)
def test_a_model_that_cannot_see_as_it_says_is_not_loaded(
    values: dict[str, Any], message: str, path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be loaded: .*{message}"):
        LocalBackend().ask(ask(changed(path, tmp_path, "config.json", **values), t.Text("Hi")))


def test_an_encoder_that_does_not_fit_is_told_with_the_first_image(path: Path, tmp_path: Path) -> None:
    described = json.loads((path / "config.json").read_text())
    vision = described["vision_config"] | {"intermediate_size": 50}
    model = changed(path, tmp_path, "config.json", vision_config=vision)
    backend = LocalBackend()
    backend.ask(ask(model, t.Text("Hi")))
    with pytest.raises(ConfigurationError, match=r"fc1.weight' has shape \(48, 32\)"):
        backend.ask(ask(model, image()))
    backend.close()


# --- where images come from -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(path: Path) -> Iterator[str]:
    from awsllm.testing import server

    with server(models={"eyes": f"local:{path}", "amazon.nova-lite*": f"local:{path}"}) as running:
        yield running.url


def test_the_server_takes_images_of_every_protocol(url: str) -> None:
    source = image(seed=40).source
    assert isinstance(source, t.Bytes)
    data = base64.b64encode(source.data).decode()
    openai = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    anthropic = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    text = {"type": "text", "text": "What is it?"}

    def call(route: str, part: dict[str, Any]) -> Any:
        body = {"model": "eyes", "max_tokens": 6, "messages": [{"role": "user", "content": [part, text]}]}
        request = urllib.request.Request(url + route, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, **keys)
    content = [{"image": {"format": "png", "source": {"bytes": source.data}}}, {"text": "What is it?"}]
    turn = {"role": "user", "content": content}
    converse = client.converse(
        modelId="amazon.nova-lite-v1:0", messages=[turn], inferenceConfig={"maxTokens": 6, "temperature": 0}
    )
    chat, messages = call("/v1/chat/completions", openai), call("/v1/messages", anthropic)
    answers = [
        converse["output"]["message"]["content"][0]["text"],
        chat["choices"][0]["message"]["content"],
        messages["content"][0]["text"],
    ]
    assert len(set(answers)) == 1
    tokens = [converse["usage"]["inputTokens"], chat["usage"]["prompt_tokens"], messages["usage"]["input_tokens"]]
    assert len(set(tokens)) == 1
    assert tokens[0] > 9 * 4


def test_the_command_line_takes_images(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    file = tmp_path / "picture.png"
    source = image(seed=41).source
    assert isinstance(source, t.Bytes)
    file.write_bytes(source.data)
    with pytest.raises(SystemExit) as ended:
        main(["chat", "-m", f"local:{path}", "--image", str(file), "--max-tokens", "4", "--json", "What is it?"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["usage"]["input_tokens"] > 9 * 4
