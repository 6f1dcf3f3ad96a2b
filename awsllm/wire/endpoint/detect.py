"""Which format a deployment speaks, found from what is known of it; never from its model id.

The wire format of one model id changes between versions, so what counts is what runs. In this order of trust: the
caller's word, the tags awsllm left (``from_tags``), the example payloads in the model's document (``from_payloads``),
the image and its environment (``from_container``), and last a harmless probe (``probes``), whose reply shows by its
keys what answered (``from_reply``). ``settled`` weighs them. All of it is pure: whoever detects fetches the facts and
makes the calls.

The rules are rows: a test, what it means, why. The first row that fits decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from awsllm.errors import AwsllmError
from awsllm.types import JsonObject, JsonValue, Value
from awsllm.wire.body import Payload, Settings
from awsllm.wire.endpoint import BODIES, Detected
from awsllm.wire.reading import JSON
from awsllm.wire.text import prompts

FORMAT_TAG = "awsllm:format"
PROMPT_TAG = "awsllm:prompt"
# What the SageMaker SDK writes on what it deploys from JumpStart: which document its example payloads stand in.
SDK_MODEL_TAG = "sagemaker-sdk:jumpstart-model-id"
SDK_VERSION_TAG = "sagemaker-sdk:jumpstart-model-version"
SDK_CONFIG_TAG = "sagemaker-sdk:jumpstart-inference-config-name"
SDK_HUB_TAG = "sagemaker-sdk:hub-content-arn"
PUBLIC_HUB = "SageMakerPublicHub"

# --- what the evidence amounts to ------------------------------------------------------------------------------------


def settled(
    *,
    caller: Detected | None = None,
    tags: Mapping[str, str] | None = None,
    document: Detected | None = None,
    container: Detected | None = None,
    probe: Detected | None = None,
) -> Detected | None:
    """The format that follows from what is known, in the order of trust that the members have; None where nothing
    tells it. A caller who names what was found anyway gets its settings, too; a prompt style in the tags counts
    whatever told the format. ``document``, ``container`` and ``probe`` are what ``from_payloads``, ``from_container``
    and ``Probe.judge`` found."""
    tags = tags or {}
    found = from_tags(tags) or _running(document, container) or probe
    found = found and with_tags(found, tags)
    if caller is None or found is None or caller.format != found.format:
        return caller or found
    prompt = caller.settings.prompt or found.settings.prompt
    return msgspec.structs.replace(caller, settings=msgspec.structs.replace(found.settings, prompt=prompt))


def _running(document: Detected | None, container: Detected | None) -> Detected | None:
    """The document's finding, else the container's. Where both agree, what only the container tells completes it."""
    if document is None or container is None or document.format != container.format:
        return document or container
    task = document.settings.task or container.settings.task
    settings = msgspec.structs.replace(container.settings, prompt=document.settings.prompt, task=task)
    return msgspec.structs.replace(document, settings=settings)


# --- tags ------------------------------------------------------------------------------------------------------------


def from_tags(tags: Mapping[str, str]) -> Detected | None:
    """What a deployment made by awsllm says of itself. A format this version does not know is no finding."""
    name = tags.get(FORMAT_TAG, "")
    if name not in BODIES:
        return None
    settings = Settings(prompt=_known_style(tags))
    return Detected(format=name, settings=settings, source="tags", evidence=f"the tag {FORMAT_TAG}={name}")


def with_tags(detected: Detected, tags: Mapping[str, str]) -> Detected:
    """The finding with the prompt style that a tag names: the tag ``awsllm:prompt`` counts whatever told the format."""
    style = _known_style(tags)
    if style is None:
        return detected
    return msgspec.structs.replace(detected, settings=msgspec.structs.replace(detected.settings, prompt=style))


def _known_style(tags: Mapping[str, str]) -> str | None:
    style = tags.get(PROMPT_TAG)
    return style if style in prompts.STYLES else None


# --- the document's example payloads ---------------------------------------------------------------------------------

_Fits: TypeAlias = Callable[[JsonObject, dict[str, str]], bool]
"""Asked of an example's body and its ``OutputKeys``: JMESPaths into the reply, which show its shape."""


def _has(*names: str) -> _Fits:
    return lambda body, outputs: all(name in body for name in names)


def _gives(pattern: str, *names: str) -> _Fits:
    """The body has the names and an output's name or path matches the pattern."""
    search = re.compile(pattern).search
    return lambda body, outputs: (
        all(name in body for name in names) and any(search(f"{name}={path}") for name, path in outputs.items())
    )


def _is_dialog(body: JsonObject, outputs: dict[str, str]) -> bool:
    inputs = body.get("inputs")
    return isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], list)


def _inputs_is_object(body: JsonObject, outputs: dict[str, str]) -> bool:
    return isinstance(body.get("inputs"), dict)


def _has_parameter(*names: str) -> _Fits:
    return lambda body, outputs: (
        isinstance(body.get("parameters"), dict) and any(name in body["parameters"] for name in names)
    )


_PAYLOAD_ROWS: tuple[tuple[_Fits, str, str], ...] = (
    (_has("data", "endpoint"), "lighton", "a body with `data` and `endpoint`"),
    (_has("messages"), "openai", "a body with `messages`"),
    (_has("text_prompts"), "sdxl", "a body with `text_prompts`"),
    (_has("text_inputs"), "mms", "a body with `text_inputs`"),
    (_has("text", "params"), "lyra", "a body with `text` and `params`"),
    (_has("texts"), "cohere-embed", "a body with `texts`"),
    (_has("query", "documents"), "cohere-rerank", "a body with `query` and `documents`"),
    (_has("message"), "cohere-chat", "a body with `message`"),
    (_has("prompt", "maxTokens"), "jurassic", "a body with `prompt` and `maxTokens`"),
    (_gives(r"=completions", "prompt"), "jurassic", "an output at `completions`"),
    (_gives(r"=generations", "prompt"), "cohere-command", "an output at `generations`"),
    (_has("prompt", "num_generations"), "cohere-command", "a body with `prompt` and `num_generations`"),
    (_gives(r"generated_image", "prompt"), "stable-diffusion", "an output `generated_image`"),
    (_has("prompt", "num_inference_steps"), "stable-diffusion", "a body with `num_inference_steps`"),
    (_has("prompt", "num_images_per_prompt"), "stable-diffusion", "a body with `num_images_per_prompt`"),
    (_has("input"), "openai", "a body with `input`"),
    (_is_dialog, "dialogs", "`inputs` as a list of dialogs"),
    (_gives(r"=\[0\]\.generation\b", "inputs"), "dialogs", "an output at `[0].generation`"),
    (_inputs_is_object, "huggingface", "`inputs` as an object"),
    (_gives(r"=\[0\]\.generated_text", "inputs"), "tgi", "an output at `[0].generated_text`"),
    (_gives(r"=generated_text", "inputs"), "lmi", "an output at `generated_text`"),
    (_gives(r"=outputs\b", "inputs"), "djl", "an output at `outputs`"),
    (_gives(r"embedding", "inputs"), "tei", "an output `embedding`"),
    (_gives(r"=\[", "inputs"), "huggingface", "a list of results that are no generated text"),
    (_has_parameter("stop_sequences", "max_input_tokens"), "lmi", "a parameter that only LMI takes"),
    (_has_parameter("stop", "decoder_input_details", "truncate"), "tgi", "a parameter that only TGI takes"),
)


def from_payloads(payloads: Mapping[str, JsonObject]) -> Detected | None:
    """What the document's ``DefaultPayloads`` (of the very version deployed) show. The first example that tells
    decides, but one in OpenAI's format goes first: such a container may take prompts as well, and ``messages`` spare us
    the template."""
    found = [one for name, example in payloads.items() if (one := _from_payload(name, example))]
    chat = (one for one in found if one.format == "openai")
    return next(chat, found[0] if found else None)


def _from_payload(name: str, example: JsonValue) -> Detected | None:
    if not isinstance(example, dict):
        return None
    body, outputs = example.get("Body"), example.get("OutputKeys")
    where = f"example payload {name!r}"
    if isinstance(body, str):
        body = _parsed(body)
    outputs = {str(k): str(v) for k, v in outputs.items()} if isinstance(outputs, dict) else {}
    if isinstance(body, str):
        return _from_text_payload(where, outputs)
    if not isinstance(body, dict):
        return None
    for fits, found, reason in _PAYLOAD_ROWS:
        if fits(body, outputs):
            settings = Settings(prompt=_style_of(body, found), task=_task_of(body, outputs, found))
            return Detected(format=found, settings=settings, source="document", evidence=f"{where}: {reason}")
    return None


def _from_text_payload(where: str, outputs: dict[str, str]) -> Detected | None:
    if not any("generated_text" in f"{name}={path}" for name, path in outputs.items()):
        return None
    return Detected(format="mms-text", source="document", evidence=f"{where}: a text as the body")


def _parsed(body: str) -> JsonValue:
    """A body given as JSON text, parsed; a text that is no JSON object as it is."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return body
    return value if isinstance(value, dict) else body


def _style_of(body: JsonObject, format: str) -> str | None:
    if format not in _PROMPTED:
        return None
    text = body.get("inputs", body.get("text_inputs"))
    if isinstance(text, list) and text:
        text = text[0]
    return prompts.detect_style(text) if isinstance(text, str) else None


_PROMPTED = frozenset(("tgi", "lmi", "djl", "mms"))


def _task_of(body: JsonObject, outputs: dict[str, str], format: str) -> str | None:
    if format == "mms":
        embeds = body.get("mode") == "embedding" or any("embedding" in name for name in outputs)
        return "embedding" if embeds else None
    if format == "dialogs" and isinstance(body.get("inputs"), str):
        return "text-generation"  # the base models: a text in, a text out
    return None


# --- what runs -------------------------------------------------------------------------------------------------------


class _Seen(Value, frozen=True):
    """What is known of a container: ``repository`` and ``tag`` of its image, its environment, the last part of its
    model package's ARN, the task of its model."""

    repository: str
    tag: str
    env: dict[str, str]
    package: str
    task: str

    def on(self, name: str) -> bool:
        return self.env.get(name, "").lower() in ("true", "1")


class _ContainerRow(Value, frozen=True):
    """``image`` and ``package`` are patterns; ``fits`` is asked where they match."""

    format: str
    evidence: str
    image: str = ""
    package: str = ""
    fits: Callable[[_Seen], bool] = lambda seen: True
    settings: Settings = Settings()


def _version(pattern: str, least: tuple[int, ...]) -> Callable[[_Seen], bool]:
    """The tag carries a version that is at least that."""
    search = re.compile(pattern).search

    def fits(seen: _Seen) -> bool:
        found = search(seen.tag)
        return found is not None and tuple(map(int, found[1].split("."))) >= least

    return fits


def _env_prefix(*prefixes: str) -> Callable[[_Seen], bool]:
    return lambda seen: any(name.startswith(prefixes) for name in seen.env)


_EMBEDS = re.compile(r"embed|feature-extraction|sentence-similarity")
_GENERATES = re.compile(r"text-?generation|text2text|summariz|completion|llm")
_MMS_IMAGES = r"^(huggingface-(pytorch|tensorflow)-inference|(pytorch|mxnet|tensorflow)-inference)"


def _embeds(seen: _Seen) -> bool:
    return bool(_EMBEDS.search(seen.task))


def _is_toolkit(seen: _Seen) -> bool:
    """Hugging Face's own handler serves the model, not a script: its task is set, or its model comes from the hub."""
    return "HF_TASK" in seen.env or ("HF_MODEL_ID" in seen.env and "SAGEMAKER_PROGRAM" not in seen.env)


# Tasks of which no container converses, whatever its image can do else; hyphens for whatever parts the words.
_OTHER_TASKS = re.compile(
    r"classif|detection|segmentation|regress|forecast|tabular|to-image|2img|image-generation|inpaint|upscal|depth|"
    r"image-(embed|feature)|speech|audio|named-entity|token-class|fill-mask|question-answering|sentence-pair"
)
_TALKS = re.compile(r"text-to-text|visual-question")


def _does_other(seen: _Seen) -> bool:
    task = re.sub(r"[^a-z0-9]+", "-", seen.task)
    return bool(_OTHER_TASKS.search(task)) and not _TALKS.search(task)


def _is_lmi(seen: _Seen) -> bool:
    """Images of DJL Serving alone serve whatever a handler of the model's own says; those for large models are named
    for it (from 0.28: ``lmi``), or are told their options by the environment."""
    return bool(re.search("lmi|tensorrtllm", seen.tag)) or any(name.startswith("OPTION_") for name in seen.env)


_JSON_LINES = Settings(framing="jsonlines")
_ROUTES_LMI = _version(r"^(\d+\.\d+)", (0, 29))  # its documentation of chat completions is of 0.29
_ROUTES_TGI = _version(r"tgi-?(\d+\.\d+)", (3, 0))  # its pull request 2683, of October 2024

_CONTAINER_ROWS: tuple[_ContainerRow, ...] = (
    _ContainerRow("cohere-rerank", "a model package of Cohere's rerankers", package="cohere.*rerank"),
    _ContainerRow("cohere-embed", "a model package of Cohere's embedding models", package="cohere.*embed"),
    _ContainerRow("cohere-chat", "a model package of Cohere's Command R or A", package="cohere.*command-[ra]"),
    _ContainerRow("cohere-command", "a model package of Cohere", package="cohere"),
    _ContainerRow("openai", "a model package of AI21's Jamba", package="jamba"),
    _ContainerRow("jurassic", "a model package of AI21's Jurassic", package=r"\bj2-|jurassic"),
    _ContainerRow("lyra", "a model package of LightOn's Lyra", package="lyra"),
    _ContainerRow("lighton", "a model package of LightOn", package="mini-instruct|lighton|paradigm"),
    _ContainerRow("openai", "an image of vLLM", image="vllm"),  # that of vLLM-Omni, too
    _ContainerRow("openai", "an image of SGLang", image="sglang"),
    _ContainerRow("openai", "an image of llama.cpp", image=r"llama[-_.]?cpp"),
    _ContainerRow("triton", "an image of Triton", image="tritonserver"),
    _ContainerRow("openai", "SM_VLLM_* in the environment", fits=_env_prefix("SM_VLLM_")),
    _ContainerRow("openai", "SM_SGLANG_* in the environment", fits=_env_prefix("SM_SGLANG_")),
    _ContainerRow("openai", "llama.cpp's words in the environment", fits=_env_prefix("SM_LLAMACPP_", "LLAMA_ARG_")),
    _ContainerRow("triton", "SAGEMAKER_TRITON_* in the environment", fits=_env_prefix("SAGEMAKER_TRITON_")),
    _ContainerRow(
        "lmi",  # it answers as TGI does, and takes its own names of the parameters
        "a djl-inference image with OPTION_TGI_COMPAT",
        image="djl-inference",
        fits=lambda seen: seen.on("OPTION_TGI_COMPAT"),
        settings=Settings(is_list=True),
    ),
    _ContainerRow(
        "djl",
        "a djl-inference image with OPTION_ROLLING_BATCH=disable",
        image="djl-inference",
        fits=lambda seen: seen.env.get("OPTION_ROLLING_BATCH", "").lower() == "disable" and not _embeds(seen),
    ),
    _ContainerRow("lmi", "a djl-inference image and a task that embeds", image="djl-inference", fits=_embeds),
    _ContainerRow(
        "openai",
        "a djl-inference image that takes `messages`",
        image="djl-inference",
        fits=lambda seen: _ROUTES_LMI(seen) and not _does_other(seen),
        settings=_JSON_LINES,
    ),
    _ContainerRow(
        "lmi",
        "a djl-inference image for large models",
        image="djl-inference",
        fits=lambda seen: _is_lmi(seen) and not _does_other(seen),
        settings=_JSON_LINES,
    ),
    _ContainerRow(
        "openai",
        "a TGI image with MESSAGES_API_ENABLED",
        image="tgi",
        fits=lambda seen: seen.on("MESSAGES_API_ENABLED"),
    ),
    _ContainerRow("openai", "a TGI image that routes by body", image="tgi", fits=_ROUTES_TGI),
    _ContainerRow("tgi", "an image of TGI", image="tgi"),
    _ContainerRow("tei", "an image of Text Embeddings Inference", image=r"^tei\b|text-embeddings-inference"),
    _ContainerRow("sdxl", "an image of Stability AI", image="stabilityai"),
    _ContainerRow(
        "huggingface", "a Hugging Face image without a script of its own", image=_MMS_IMAGES, fits=_is_toolkit
    ),
    _ContainerRow(
        "mms",
        "a framework image and a task that embeds",
        image=_MMS_IMAGES,
        fits=_embeds,
        settings=Settings(task="embedding"),
    ),
    _ContainerRow(
        "mms",
        "a framework image and a task that generates text",
        image=_MMS_IMAGES,
        fits=lambda seen: bool(_GENERATES.search(seen.task)),
    ),
)


def from_container(
    image: str | None,
    env: Mapping[str, str],
    *,
    model_package_arn: str | None = None,
    task: str | None = None,
) -> Detected | None:
    """What the image, its environment and the model package tell. ``task`` is the document's, where there is one."""
    seen = _seen(image or "", env, model_package_arn or "", task or "")
    for row in _CONTAINER_ROWS:
        if re.search(row.image, seen.repository) and re.search(row.package, seen.package) and _applies(row, seen):
            return _found(row, seen)
    return None


_HANDLED = re.compile(_MMS_IMAGES + "|^djl-inference")
_CLASSIC = re.compile(r"^(tensorflow|mxnet)-inference|xgboost|scikit-learn|autogluon|lightgbm|catboost")


def other_work(image: str | None, *, task: str | None = None, from_document: bool = False) -> str | None:
    """What a container does that speaks none of the formats, where that is known: its task, or an image that serves no
    text. Of a model ``from_document`` everything is known that can be, so that a framework's image of which nothing
    shows that it generates runs a handler of its own for something else. None where it may be anything."""
    seen = _seen(image or "", {}, "", task or "")
    if _does_other(seen):
        return str(task)
    if _CLASSIC.search(seen.repository):
        return f"the work of {seen.repository}"
    if _HANDLED.search(seen.repository) and (task or from_document):
        return task or f"the work of a handler on {seen.repository}"
    return None


_ROUTES: tuple[tuple[str, Callable[[_Seen], bool], Mapping[str, str]], ...] = (
    ("djl-inference", _ROUTES_LMI, {"messages": "openai", "inputs": "lmi"}),
    ("tgi", _ROUTES_TGI, {"messages": "openai", "inputs": "tgi"}),
)


def for_body(found: Detected, image: str | None, body: JsonValue) -> Detected:
    """The same container as it answers this body: newer LMI and TGI choose their format by the body's members."""
    seen = _seen(image or "", {}, "", "")
    for pattern, fits, names in _ROUTES:
        if re.search(pattern, seen.repository) and fits(seen) and isinstance(body, dict):
            name = next((names[member] for member in names if member in body), found.format)
            return found if name == found.format else msgspec.structs.replace(found, format=name)
    return found


def _applies(row: _ContainerRow, seen: _Seen) -> bool:
    """A row about a model package wants one, a row about an image wants one; all want what they say."""
    return bool(seen.package or not row.package) and bool(seen.repository or not row.image) and row.fits(seen)


def _seen(image: str, env: Mapping[str, str], arn: str, task: str) -> _Seen:
    repository, _, tag = image.rpartition("/")[2].partition(":")
    own = env.get("HF_TASK") or env.get("OPTION_TASK") or task
    return _Seen(
        repository.partition("@")[0].lower(), tag.lower(), dict(env), arn.rpartition("/")[2].lower(), own.lower()
    )


def _found(row: _ContainerRow, seen: _Seen) -> Detected:
    settings = row.settings
    if row.format == "lmi" and _embeds(seen):
        settings = msgspec.structs.replace(settings, task="embedding")
    if row.format == "huggingface" and seen.task:
        settings = msgspec.structs.replace(settings, task=seen.task)
    if row.format == "tei" and (size := seen.env.get("MAX_CLIENT_BATCH_SIZE", "")).isdigit():
        settings = msgspec.structs.replace(settings, batch=int(size))
    if seen.env.get("OPTION_OUTPUT_FORMATTER", "").lower() == "sse":
        settings = msgspec.structs.replace(settings, framing="sse")
    source = "environment" if not (row.image or row.package) else "image"
    return Detected(format=row.format, settings=settings, source=source, evidence=row.evidence)


# --- a reply ---------------------------------------------------------------------------------------------------------


def _first(value: JsonValue) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _object_with(*names: str) -> Callable[[JsonValue], bool]:
    return lambda value: isinstance(value, dict) and all(name in value for name in names)


def _list_of_objects_with(name: str) -> Callable[[JsonValue], bool]:
    return lambda value: isinstance(_first(value), dict) and name in value[0]


def _is_embedding(value: JsonValue) -> bool:
    vector = _first(value)
    return isinstance(vector, list) and isinstance(_first(vector), (int, float))


def _is_ranking(value: JsonValue) -> bool:
    """Exactly these members: Hugging Face's tokens have an index and a score as well, and a word."""
    first = _first(value)
    return isinstance(first, dict) and set(first) - {"text"} == {"index", "score"}


def _is_lyra(value: JsonValue) -> bool:
    return isinstance(value, dict) and isinstance(_first(value.get("outputs")), list)


_REPLY_ROWS: tuple[tuple[Callable[[JsonValue], bool], str, str], ...] = (
    (_object_with("choices"), "openai", "a reply with `choices`"),
    (_object_with("generated_texts"), "mms", "a reply with `generated_texts`"),
    (_object_with("generated_text"), "lmi", "an object with `generated_text`"),
    (_list_of_objects_with("details"), "tgi", "a list of one object with `details`"),
    (_list_of_objects_with("generation"), "dialogs", "a list of objects with `generation`"),
    (_list_of_objects_with("generated_text"), "tgi", "a list of objects with `generated_text`"),
    (lambda value: _list_of_objects_with("generated_text")(_first(value)), "mms", "a list of lists of generated texts"),
    (_object_with("embedding"), "mms", "a reply with `embedding`"),
    (_object_with("artifacts"), "sdxl", "a reply with `artifacts`"),
    (_object_with("generated_images"), "stable-diffusion", "a reply with `generated_images`"),
    (_object_with("generated_image"), "stable-diffusion", "a reply with `generated_image`"),
    (_is_lyra, "lyra", "a reply with a list of lists of `outputs`"),
    (_object_with("outputs"), "djl", "a reply with `outputs`"),
    (_object_with("responses"), "lighton", "a reply with `responses`"),
    (_object_with("generations"), "cohere-command", "a reply with `generations`"),
    (_object_with("completions"), "jurassic", "a reply with `completions`"),
    (_object_with("text", "finish_reason"), "cohere-chat", "a reply with `text` and `finish_reason`"),
    (_object_with("embeddings"), "cohere-embed", "a reply with `embeddings`"),
    (_object_with("results"), "cohere-rerank", "a reply with `results`"),
    (_list_of_objects_with("summary_text"), "huggingface", "a list of objects with `summary_text`"),
    (_list_of_objects_with("translation_text"), "huggingface", "a list of objects with `translation_text`"),
    (_list_of_objects_with("label"), "huggingface", "a list of objects with `label`"),
    (_is_embedding, "tei", "a list of vectors"),
    (_is_ranking, "tei", "a list of objects with `index` and `score`"),
    (lambda value: _is_embedding(_first(value)), "huggingface", "a list of lists of vectors"),
)


def from_reply(value: JsonValue) -> Detected | None:
    """Which format a container's reply is in. None for errors and what no format answers."""
    for fits, found, reason in _REPLY_ROWS:
        if fits(value):
            settings = Settings(task=_task_shown(found, value), is_list=found == "tgi")
            return Detected(format=found, settings=settings, source="probe", evidence=reason)
    return None


def _task_shown(format: str, reply: JsonValue) -> str | None:
    if format == "mms" and isinstance(reply, dict) and "embedding" in reply:
        return "embedding"
    if format == "dialogs" and isinstance(reply[0]["generation"], str):
        return "text-generation"
    return None


_UNMISTAKABLE = frozenset(("stable-diffusion", "sdxl"))  # who answers with an image answers each probe so


class Probe(Value, frozen=True):
    """A request of one token at most, which a container of another format refuses. ``judge`` reads the reply."""

    name: str
    payload: Payload
    formats: frozenset[str]

    def judge(self, reply: Payload) -> Detected | None:
        """What a 2xx reply shows; None where the container answered something else than this probe asks for."""
        try:
            value = reply.json()
        except AwsllmError:
            return None
        found = from_reply(value)
        if found is None or found.format not in self.formats | _UNMISTAKABLE:
            return None
        return msgspec.structs.replace(found, evidence=f"the probe {self.name}: {found.evidence}")


def refused(error: AwsllmError) -> bool:
    """Whether the container itself refused a probe, so that the next one is worth a try. Anything else (no access, not
    ready, throttled, no answer in time) says nothing of the format."""
    return error.code == "ModelError" and not error.retryable and error.status not in (408, 502, 504)


def refused_body(error: AwsllmError) -> bool:
    """Whether a container that ``refused`` a probe will always do so. One that failed (500, 424) may fail on bodies of
    other formats, or may have been about to restart."""
    return error.status in (400, 404, 405, 413, 415, 422)


def _probe(name: str, body: JsonObject, formats: Iterable[str]) -> Probe:
    return Probe(name, Payload(msgspec.json.encode(body), JSON), frozenset(formats))


_PROBES = (
    _probe(
        "messages",
        {"model": "", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
        ("openai",),
    ),
    _probe(
        "inputs with details",
        {"inputs": "Hi", "parameters": {"max_new_tokens": 1, "details": True}},
        ("tgi", "lmi", "djl", "tei"),
    ),
    _probe(
        "inputs",
        {"inputs": "Hi", "parameters": {"max_new_tokens": 1}},
        ("tgi", "lmi", "djl", "tei", "huggingface", "dialogs"),
    ),
    _probe(
        "dialogs",
        {"inputs": [[{"role": "user", "content": "Hi"}]], "parameters": {"max_new_tokens": 1}},
        ("dialogs",),
    ),
    _probe("inputs alone", {"inputs": "Hi"}, ("tei", "huggingface")),
    _probe("query and texts", {"query": "Hi", "texts": ["Hi"]}, ("tei",)),
    _probe("text_inputs", {"text_inputs": "Hi", "max_length": 2}, ("mms",)),
    _probe("embedding text_inputs", {"text_inputs": ["Hi"], "mode": "embedding"}, ("mms",)),
    _probe("prompt", {"prompt": "Hi", "maxTokens": 1, "numResults": 1}, ("jurassic",)),
    _probe("command prompt", {"prompt": "Hi", "max_tokens": 1}, ("cohere-command", "openai")),
    _probe("message", {"message": "Hi", "max_tokens": 1}, ("cohere-chat",)),
    _probe("texts", {"texts": ["Hi"], "input_type": "search_document"}, ("cohere-embed",)),
)


def probes() -> tuple[Probe, ...]:
    """What to ask a container of which nothing is known, in this order, until one reply tells."""
    return _PROBES
