"""Which format a deployment speaks: the facts' rows, one case each, and every format's own reply recognised."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import AccessDeniedError, ModelNotReadyError, ServerError, ValidationError
from awsllm.types import ConverseRequest, ConverseResponse, InferenceConfig, Message, Text
from awsllm.wire import endpoint
from awsllm.wire.body import Context, Payload, Settings
from awsllm.wire.endpoint import Detected, detect
from awsllm.wire.endpoint.errors import decode_error

ECR = "763104351884.dkr.ecr.us-east-1.amazonaws.com/"
PACKAGE = "arn:aws:sagemaker:us-east-1:111122223333:model-package/"

# --- tags ------------------------------------------------------------------------------------------------------------


def test_tags_name_format_and_prompt_style() -> None:
    found = detect.from_tags({"awsllm:format": "tgi", "awsllm:prompt": "llama2", "other": "x"})
    assert found is not None
    assert (found.format, found.settings, found.source) == ("tgi", Settings(prompt="llama2"), "tags")
    assert "awsllm:format=tgi" in found.evidence


@pytest.mark.parametrize("tags", [{}, {"awsllm:format": "newer"}, {"awsllm:prompt": "llama2"}])
def test_other_tags_tell_nothing(tags: dict[str, str]) -> None:
    assert detect.from_tags(tags) is None


def test_a_prompt_tag_counts_whatever_told_the_format() -> None:
    found = detect.from_container(ECR + "djl-inference:0.25.0-lmi", {})
    assert found is not None
    assert detect.with_tags(found, {}) == found
    assert detect.with_tags(found, {"awsllm:prompt": "no such style"}) == found
    assert detect.with_tags(found, {"awsllm:prompt": "gemma"}).settings.prompt == "gemma"


# --- example payloads ------------------------------------------------------------------------------------------------

PROMPT = {"inputs": "x", "parameters": {"max_new_tokens": 64}}
PAYLOADS: tuple[tuple[Any, dict[str, str], str, Settings], ...] = (
    ({"messages": [], "max_tokens": 1}, {"generated_text": "choices[0].message.content"}, "openai", Settings()),
    ({"text_inputs": "x"}, {"generated_text": "generated_texts[0]"}, "mms", Settings()),
    ({"text_inputs": ["x"], "mode": "embedding"}, {"embedding": "embedding"}, "mms", Settings(task="embedding")),
    (PROMPT, {"generated_text": "[0].generated_text"}, "tgi", Settings()),
    (PROMPT, {"generated_text": "generated_text"}, "lmi", Settings()),
    (
        {"inputs": "<s>[INST] x [/INST]", "parameters": {}},
        {"generated_text": "[0].generated_text"},
        "tgi",
        Settings(prompt="mistral"),
    ),
    (
        {"inputs": [[{"role": "user", "content": "x"}]], "parameters": {}},
        {"generated_text": "[0].generation.content"},
        "dialogs",
        Settings(),
    ),
    (PROMPT, {"generated_text": "[0].generation"}, "dialogs", Settings(task="text-generation")),
    ({"inputs": "x", "parameters": {"stop_sequences": []}}, {}, "lmi", Settings()),
    ({"inputs": "x", "parameters": {"stop": []}}, {}, "tgi", Settings()),
    ({"inputs": {"question": "x", "context": "y"}}, {}, "huggingface", Settings()),
    ({"inputs": "x"}, {"label": "[0].label"}, "huggingface", Settings()),
    ({"prompt": "x", "maxTokens": 1}, {}, "jurassic", Settings()),
    ({"prompt": "x", "max_tokens": 1}, {"generated_text": "generations[0].text"}, "cohere-command", Settings()),
    ({"message": "x"}, {}, "cohere-chat", Settings()),
    ({"texts": ["x"], "input_type": "search_query"}, {}, "cohere-embed", Settings()),
    ({"query": "x", "documents": ["y"]}, {}, "cohere-rerank", Settings()),
    ({"data": {"text": "x"}, "endpoint": "llm/create"}, {}, "lighton", Settings()),
    ({"text": "x", "params": {}}, {}, "lyra", Settings()),
    ({"prompt": "x", "num_inference_steps": 1}, {}, "stable-diffusion", Settings()),
    ({"prompt": "x"}, {"generated_image": "generated_image"}, "stable-diffusion", Settings()),
    ({"text_prompts": [{"text": "x"}]}, {}, "sdxl", Settings()),
    ({"input": ["x"]}, {}, "openai", Settings()),
    ("a raw prompt", {"generated_text": "generated_text"}, "mms-text", Settings()),
    ('{"messages": []}', {}, "openai", Settings()),
)


@pytest.mark.parametrize(("body", "outputs", "name", "settings"), PAYLOADS)
def test_an_example_payload_shows_its_format(body: Any, outputs: dict[str, str], name: str, settings: Settings) -> None:
    found = detect.from_payloads({"hello": {"ContentType": "x", "Body": body, "OutputKeys": outputs}})
    assert found is not None
    assert (found.format, found.settings, found.source) == (name, settings, "document")
    assert "'hello'" in found.evidence


@pytest.mark.parametrize("example", [{}, {"Body": 3}, {"Body": PROMPT}, {"Body": "text"}, {"Body": {"x": 1}}])
def test_an_example_that_tells_nothing(example: Any) -> None:
    assert detect.from_payloads({"hello": example}) is None


def test_messages_go_before_a_prompt() -> None:
    document: dict[str, dict[str, Any]] = {
        "prompt": {"Body": PROMPT, "OutputKeys": {"generated_text": "generated_text"}},
        "chat": {"Body": {"messages": []}},
    }
    found = detect.from_payloads(document)
    assert found is not None
    assert found.format == "openai"


# --- what runs -------------------------------------------------------------------------------------------------------

LINES = Settings(framing="jsonlines")
CONTAINERS: tuple[tuple[str, dict[str, str], dict[str, Any], str | None, Settings], ...] = (
    ("vllm:0.11.0-gpu-py312", {}, {}, "openai", Settings()),
    ("vllm:omni-sagemaker-cuda-v1", {}, {}, "openai", Settings()),
    ("huggingface-vllm-omni:0.20.0-transformers5.8.1-gpu-py312-cu130", {}, {}, "openai", Settings()),
    ("sglang:0.5", {}, {}, "openai", Settings()),
    ("huggingface-sglang:0.5.12-transformers5.6.0-gpu-py312-cu130", {}, {}, "openai", Settings()),
    ("huggingface-llama.cpp:b9522-cpu-ubuntu24.04", {}, {}, "openai", Settings()),
    ("huggingface-llamacpp:b9522-cpu-ubuntu24.04", {}, {}, "openai", Settings()),
    ("anything:1", {"SM_LLAMACPP_MODEL": "/opt/ml/model/m.gguf"}, {}, "openai", Settings()),
    ("anything:1", {"LLAMA_ARG_HF_REPO": "org/model-GGUF"}, {}, "openai", Settings()),
    ("sagemaker-tritonserver:24.09-py3", {}, {}, "triton", Settings()),
    ("anything:1", {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "m"}, {}, "triton", Settings()),
    ("tei:2.0.1-tei1.9.3-gpu-py310", {"MAX_CLIENT_BATCH_SIZE": "128"}, {}, "tei", Settings(batch=128)),
    ("anything:1", {"SM_VLLM_MODEL": "/opt/ml/model"}, {}, "openai", Settings()),
    ("anything:1", {"SM_SGLANG_MODEL_PATH": "x"}, {}, "openai", Settings()),
    ("djl-inference:0.26.0-lmi", {"OPTION_TGI_COMPAT": "true"}, {}, "lmi", Settings(is_list=True)),
    ("djl-inference:0.26.0-lmi", {"OPTION_ROLLING_BATCH": "disable"}, {}, "djl", Settings()),
    ("djl-inference:0.26.0-lmi", {"OPTION_ROLLING_BATCH": "vllm"}, {}, "lmi", LINES),
    ("djl-inference:0.26.0-lmi", {"OPTION_OUTPUT_FORMATTER": "sse"}, {}, "lmi", Settings()),
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {}, {}, "openai", LINES),
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {}, {"task": "Text to Image"}, None, Settings()),
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {}, {"task": "image-text-to-text"}, "openai", LINES),
    ("djl-inference:0.21.0-deepspeed0.8.3-cu117", {"SAGEMAKER_PROGRAM": "inference.py"}, {}, None, Settings()),
    ("djl-inference:0.23.0-deepspeed0.9.5-cu118", {"OPTION_ROLLING_BATCH": "auto"}, {}, "lmi", LINES),
    ("djl-inference:0.25.0-tensorrtllm0.5.0-cu122", {}, {}, "lmi", LINES),
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {"OPTION_TASK": "text_embedding"}, {}, "lmi", Settings(task="embedding")),
    ("huggingface-pytorch-tgi-inference:2.0-tgi1.4.2-gpu", {}, {}, "tgi", Settings()),
    (
        "huggingface-pytorch-tgi-inference:2.0-tgi1.4.2-gpu",
        {"MESSAGES_API_ENABLED": "true"},
        {},
        "openai",
        Settings(),
    ),
    ("huggingface-pytorch-tgi-inference:2.6.0-tgi3.2.3-gpu", {}, {}, "openai", Settings()),
    ("tei:2.0.1-tei1.4.0-gpu-py310", {}, {}, "tei", Settings()),
    ("tei-cpu:2.0.1-tei1.4.0-cpu-py310", {}, {}, "tei", Settings()),
    ("stabilityai-pytorch-inference:2.0.1-sgm0.1.0", {}, {}, "sdxl", Settings()),
    ("huggingface-pytorch-inference:1.10", {}, {"task": "text2text-generation"}, "mms", Settings()),
    ("pytorch-inference:1.5", {}, {"task": "textgeneration"}, "mms", Settings()),
    ("mxnet-inference:1.7", {}, {"task": "sentence-similarity"}, "mms", Settings(task="embedding")),
    (
        "huggingface-pytorch-inference:2.1",
        {"HF_TASK": "feature-extraction"},
        {},
        "huggingface",
        Settings(task="feature-extraction"),
    ),
    ("huggingface-pytorch-inference:1.10", {}, {}, None, Settings()),
    ("somebody/own:latest", {}, {}, None, Settings()),
    ("", {}, {}, None, Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "cohere-gpt-medium-v1-4"}, "cohere-command", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "cohere-command-r-plus-1"}, "cohere-chat", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "cohere-embed-english-v3"}, "cohere-embed", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "cohere-rerank-v3"}, "cohere-rerank", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "j2-mid-v1"}, "jurassic", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "jamba-instruct"}, "openai", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "lightonai-mini-instruct"}, "lighton", Settings()),
    ("", {}, {"model_package_arn": PACKAGE + "lyra-fr"}, "lyra", Settings()),
)


@pytest.mark.parametrize(("image", "env", "more", "name", "settings"), CONTAINERS)
def test_image_and_environment_show_the_format(
    image: str, env: dict[str, str], more: dict[str, Any], name: str | None, settings: Settings
) -> None:
    found = detect.from_container(ECR + image if image else None, env, **more)
    if name is None:
        assert found is None
        return
    assert found is not None
    assert (found.format, found.settings) == (name, settings)
    assert found.source in ("image", "environment")
    assert found.evidence


@pytest.mark.parametrize(
    ("image", "task", "from_document", "is_known"),
    [
        ("tensorflow-inference:2.8-gpu", None, False, True),
        ("sagemaker-xgboost:1.5", None, False, True),
        ("pytorch-inference:1.5", None, False, False),
        ("pytorch-inference:1.5", None, True, True),
        ("pytorch-inference:1.5", "Object Detection", False, True),
        ("somebody/own:1", "Image Classification", False, True),
        ("somebody/own:1", None, True, False),
        ("somebody/own:1", "text-generation", True, False),
        ("", None, True, False),
    ],
)
def test_what_is_known_to_do_something_else(image: str, task: str | None, from_document: bool, is_known: bool) -> None:
    found = detect.other_work(ECR + image if image else None, task=task, from_document=from_document)
    assert (found is not None) is is_known


ROUTED: tuple[tuple[str, Any, str], ...] = (
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {"inputs": "x"}, "lmi"),
    ("djl-inference:0.34.0-lmi16.0.0-cu128", {"messages": []}, "openai"),
    ("djl-inference:0.27.0-lmi", {"messages": []}, "lmi"),
    ("huggingface-pytorch-tgi-inference:2.6.0-tgi3.2.3-gpu", {"inputs": "x"}, "tgi"),
    ("huggingface-pytorch-tgi-inference:2.6.0-tgi3.2.3-gpu", ["x"], "openai"),
    ("vllm:0.11.0", {"inputs": "x"}, "openai"),
)


@pytest.mark.parametrize(("image", "body", "name"), ROUTED)
def test_newer_containers_choose_their_format_by_the_body(image: str, body: Any, name: str) -> None:
    found = detect.from_container(ECR + image, {})
    assert found is not None
    answers = detect.for_body(found, ECR + image, body)
    assert (answers.format, answers.settings) == (name, found.settings)


def test_every_name_found_is_a_format() -> None:
    rows = (*(row[1] for row in detect._PAYLOAD_ROWS), *(row[1] for row in detect._REPLY_ROWS))
    assert {*rows, *(row.format for row in detect._CONTAINER_ROWS)} <= set(endpoint.BODIES)


# --- replies and probes ----------------------------------------------------------------------------------------------

REPLIES: tuple[tuple[Any, str | None], ...] = (
    ({"choices": [{"message": {"content": "x"}}]}, "openai"),
    ([{"generated_text": "x", "details": {}}], "tgi"),
    ([{"generated_text": "x"}], "tgi"),
    ({"generated_text": "x"}, "lmi"),
    ({"outputs": ["x"]}, "djl"),
    ([{"generation": {"role": "assistant", "content": "x"}}], "dialogs"),
    ({"generated_texts": ["x"]}, "mms"),
    ([[{"generated_text": "x"}]], "mms"),
    ({"embedding": [[0.5]]}, "mms"),
    ([[0.5, 1]], "tei"),
    ([[[0.5], [1]]], "huggingface"),
    ([{"label": "POSITIVE", "score": 0.9}], "huggingface"),
    ([{"index": 0, "score": 0.9}], "tei"),
    ([{"index": 1, "text": "x", "score": 0.9}], "tei"),
    ([{"entity": "B-PER", "score": 0.9, "index": 1, "word": "x", "start": 0, "end": 1}], None),
    ({"generations": [{"text": "x"}]}, "cohere-command"),
    ({"text": "x", "finish_reason": "COMPLETE"}, "cohere-chat"),
    ({"completions": [{"data": {"text": "x"}}], "id": "1"}, "jurassic"),
    ({"responses": [{"completions": []}]}, "lighton"),
    ({"outputs": [[{"completions": []}]], "costs": {}}, "lyra"),
    ({"artifacts": [{"base64": "x"}]}, "sdxl"),
    ({"generated_images": ["x"], "prompt": "y"}, "stable-diffusion"),
    ({"results": [{"index": 0, "relevance_score": 0.9}]}, "cohere-rerank"),
    ({"error": "x", "error_type": "validation"}, None),
    ({"code": 424, "message": "x", "error": "y"}, None),
    ({}, None),
    ([], None),
    ("x", None),
    (None, None),
)


@pytest.mark.parametrize(("reply", "name"), REPLIES)
def test_a_reply_shows_its_format(reply: Any, name: str | None) -> None:
    found = detect.from_reply(reply)
    assert (found and found.format) == name


def test_the_base_models_of_the_dialogs_take_a_text() -> None:
    found = detect.from_reply([{"generation": "x"}])
    assert found is not None
    assert (found.format, found.settings.task) == ("dialogs", "text-generation")


NAMES = st.sampled_from(
    ["inputs", "messages", "prompt", "outputs", "generated_text", "generation", "Body", "OutputKeys"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_nothing_that_a_container_or_a_document_says_breaks_detection(value: Any) -> None:
    for found in (detect.from_reply(value), detect.from_payloads({"a": value, "b": {"Body": value}})):
        assert found is None or found.format in endpoint.BODIES


def reply_to(name: str, probe: detect.Probe) -> Payload | None:
    """What a container of the format answers to a probe; None where it refuses."""
    body = endpoint.get(name)
    try:
        sent = msgspec.structs.replace(probe.payload, attributes="accept_eula=true")
        request, _ = body.read("ep", sent, Settings())
    except ValidationError:
        return None
    if not isinstance(request, ConverseRequest) or body.chat is None:
        return None
    message = Message("assistant", (Text("x"),))
    response = ConverseResponse(message=message, stop_reason="max_tokens", messages=(message,))
    return body.chat.encode_response(response, Context(request=request))


@pytest.mark.parametrize(
    "name", ["tgi", "lmi", "mms", "dialogs", "openai", "jurassic", "cohere-command", "cohere-chat"]
)
def test_the_probes_find_a_container_that_nothing_is_known_of(name: str) -> None:
    judged = ((probe, reply_to(name, probe)) for probe in detect.probes())
    found = next(one for probe, reply in judged if reply and (one := probe.judge(reply)))
    assert (found.format, found.source) == (name, "probe")
    assert found.evidence.startswith("the probe ")


HARMLESS = ({"inputs": "Hi"}, {"query": "Hi", "texts": ["Hi"]})  # whatever reads them generates little or nothing


def test_a_probe_asks_for_no_more_than_a_token() -> None:
    for probe in detect.probes():
        body = probe.payload.json()
        limits = {**body, **body.get("parameters", {})}
        limit = [limits[key] for key in ("max_tokens", "max_new_tokens", "max_length", "maxTokens") if key in limits]
        assert all(value <= 2 for value in limit)
        assert "mode" in body or "input_type" in body or limit or body in HARMLESS
    assert next(iter(detect.probes())).formats == {"openai"}


def test_a_probe_believes_only_what_it_asked_for() -> None:
    messages = next(iter(detect.probes()))
    assert messages.judge(Payload(b'{"generated_text": "x"}')) is None
    assert messages.judge(Payload(b"not JSON")) is None


def test_only_the_containers_own_refusal_leads_to_the_next_probe() -> None:
    body = msgspec.json.encode({"OriginalStatusCode": 422, "OriginalMessage": "x", "Message": "y"})
    container = decode_error(424, {"x-amzn-errortype": "ModelError"}, body)
    assert detect.refused(container)
    busy = msgspec.json.encode({"OriginalStatusCode": 503, "OriginalMessage": "x", "Message": "y"})
    assert not detect.refused(decode_error(424, {"x-amzn-errortype": "ModelError"}, busy))
    for error in (AccessDeniedError("x"), ModelNotReadyError("x"), ServerError("x")):
        assert not detect.refused(error)


def found_in(source: str, name: str, **members: Any) -> Detected:
    return Detected(format=name, settings=Settings(**members), source=source, evidence=source)


def test_evidence_counts_in_the_order_of_its_trust() -> None:
    caller, document = found_in("caller", "lyra"), found_in("document", "openai")
    container, probe = found_in("image", "tei"), found_in("probe", "mms")
    tags = {"awsllm:format": "djl"}
    facts: dict[str, Any] = {"caller": caller, "tags": tags, "document": document, "container": container}
    facts["probe"] = probe
    for name in ("lyra", "djl", "openai", "tei", "mms"):
        found = detect.settled(**facts)
        assert found is not None
        assert found.format == name
        facts.pop(next(iter(facts)))
    assert detect.settled() is None


def test_document_and_container_complete_each_other() -> None:
    document, container = found_in("document", "lmi", prompt="llama2"), found_in("image", "lmi", framing="sse")
    found = detect.settled(document=document, container=container)
    assert found == found_in("document", "lmi", prompt="llama2", framing="sse")
    assert detect.settled(document=document, container=found_in("image", "openai")) == document
    tagged = detect.settled(tags={"awsllm:prompt": "chatml"}, document=document)
    assert tagged == found_in("document", "lmi", prompt="chatml")
    caller = found_in("caller", "lmi")
    assert detect.settled(caller=caller, document=document) == found_in("caller", "lmi", prompt="llama2")


def test_a_style_seen_in_an_example_reaches_the_prompt() -> None:
    example = {"Body": {"inputs": "<|im_start|>user\nx<|im_end|>\n", "parameters": {"stop": ["x"]}}}
    found = detect.from_payloads({"hello": example})
    assert found is not None
    request = ConverseRequest(
        model="ep", messages=(Message.user("Hi"),), inference_config=InferenceConfig(1), system=(Text("S"),)
    )
    sent = endpoint.get(found.format).codec(ConverseRequest).encode_request(request, found.settings).json()
    assert sent["inputs"].startswith("<|im_start|>system\nS<|im_end|>")
    assert sent["parameters"]["stop"] == ["<|im_end|>"]
