"""Knowledge bases before they are asked: ids and ARNs, queries, filters, rerankers.

A knowledge base is named by its id or its ARN, which also says in which region it is. Where the service wants the ARN
of a foundation model, an id becomes one of the region that is called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from awsllm.calls import content
from awsllm.calls.media import FilePath, media
from awsllm.calls.options import (
    AgenticOptions,
    GenerateOptions,
    KnowledgeOptions,
    RetrieveOptions,
    check_names,
    check_number,
)
from awsllm.errors import ConfigurationError, UnsupportedError, ValidationError
from awsllm.models.references import Reference, geography, is_bedrock_id, parse_reference
from awsllm.types import GuardrailConfig, Image, JsonObject, Text
from awsllm.types.reranking import RerankRequest
from awsllm.types.retrieval import (
    AgenticRetrieveRequest,
    AllOf,
    AnyOf,
    Attribute,
    Condition,
    ExternalSource,
    Filter,
    GenerateQueryRequest,
    ImplicitFilter,
    OptimizePromptRequest,
    Reranking,
    RetrievalConfig,
    RetrieveAndGenerateRequest,
    Retriever,
    RetrieveRequest,
)
from awsllm.wire.agents.retrieval import OPERATORS, decode_filter
from awsllm.wire.reading import MalformedError

T = TypeVar("T")

RetrievalQuery: TypeAlias = str | bytes | Image | FilePath | Sequence[str | bytes | Image | FilePath]
KnowledgeBases: TypeAlias = str | Retriever | Sequence[str | Retriever]
Region: TypeAlias = Callable[[], str | None]
"""Where calls go that name no region; None where nobody knows."""

_ARN = re.compile(r"arn:(aws[a-z-]*):bedrock:([a-z0-9-]+):\d{12}:knowledge-base/([0-9a-zA-Z]{10})")
_ID = re.compile(r"[0-9a-zA-Z]{10}")
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.{1,1024}")
_MAX_RESULTS = 100
_MAX_DOCUMENT = 10_485_760  # bytes (service model, ByteContentBlob)
_MAX_RERANKED = 1000
_CHOICES = {"managed": "MANAGED", "none": "NONE"}


def knowledge_base(name: str) -> Reference:
    """A knowledge base's id or ARN, checked, with the region of an ARN."""
    if not isinstance(name, str):
        raise ConfigurationError(f"a knowledge base is named by its id or ARN, not by a {type(name).__name__}")
    name = name.strip().removeprefix("bedrock:")
    if found := _ARN.fullmatch(name):
        return Reference("bedrock", name, region=found[2])
    if not _ID.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a knowledge base: give its id (10 letters and digits, such as 'ABCDEFGHIJ') or its ARN; "
            "boto3's bedrock-agent, list_knowledge_bases(), has both"
        )
    return Reference("bedrock", name)


def foundation_model_arn(model: str, region: Region) -> str:
    """What the service takes for a model: an ARN as it is, an id of a foundation model as the ARN of the region that is
    called, and any other id (a profile's, whose ARN has an account in it) as it is."""
    reference = parse_reference(f"bedrock:{model}" if is_bedrock_id(str(model)) else model)
    if reference.scheme != "bedrock":
        raise ConfigurationError(f"{reference} is no model of bedrock, where knowledge bases are")
    name = reference.model
    where = None if name.startswith("arn:") or geography(name) else region()
    if where is None:
        return name
    from awsllm.aws.iam import partition

    return f"arn:{partition(where)}:bedrock:{where}::foundation-model/{name}"


# --- how to search ---------------------------------------------------------------------------------------------------


def _config(options: KnowledgeOptions, region: Region) -> RetrievalConfig:
    count, managed = options.get("number_of_results"), bool(options.get("managed"))
    check_number("number_of_results", count, whole=True)
    if count is not None and not 1 <= count <= _MAX_RESULTS:
        raise ValidationError(f"number_of_results is {count}; it is 1 to {_MAX_RESULTS}")
    kind = options.get("search_type")
    if managed and (kind or options.get("implicit_filter")):
        raise ValidationError("a managed search chooses by itself: leave search_type and implicit_filter out")
    reranking, reranking_type = _reranking(options.get("rerank"), region)
    if not managed:
        if reranking_type is not None and reranking is None:
            raise ValidationError("rerank='managed' and 'none' are for managed=True; else name a reranker's id or ARN")
        reranking_type = None
    return RetrievalConfig(
        number_of_results=count,
        search_type=_search_type(kind),
        filter=_filter(options.get("filter")),
        implicit_filter=_implicit(options.get("implicit_filter"), region),
        reranking=reranking,
        managed=managed,
        reranking_type=reranking_type,
    )


def _search_type(kind: str | None) -> str | None:
    if kind is None:
        return None
    if str(kind).upper() not in ("HYBRID", "SEMANTIC"):
        raise ValidationError(f"search_type is {kind!r}; it is 'hybrid' or 'semantic'")
    return kind.upper()


def _filter(value: Any) -> Filter | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        try:
            return decode_filter(dict(value))
        except MalformedError as error:
            raise ValidationError(f"filter is not what the service takes: {error.message}") from error
    if isinstance(value, Attribute):
        raise ValidationError("filter is an attribute with no condition: compare it, as attribute('year') >= 2020")
    if not isinstance(value, Condition | AllOf | AnyOf):
        raise ValidationError(f"filter is made of awsllm.attribute(...), or the service's dict; not {value!r:.50}")
    if isinstance(value, Condition) and value.operator not in OPERATORS:
        raise ValidationError(f"filter: {value.operator}: is no condition; there are {', '.join(sorted(OPERATORS))}")
    return value


def _implicit(value: Any, region: Region) -> ImplicitFilter | None:
    found = _value(value, ImplicitFilter, "implicit_filter")
    return None if found is None else replace(found, model_arn=foundation_model_arn(found.model_arn, region))


def _reranking(value: Any, region: Region) -> tuple[Reranking | None, str | None]:
    """The reranker, and the kind of it that a managed search is told."""
    if isinstance(value, str) and value.lower() in _CHOICES:
        return None, _CHOICES[value.lower()]
    found = Reranking(model_arn=value) if isinstance(value, str) else _value(value, Reranking, "rerank")
    if found is None:
        return None, None
    return replace(found, model_arn=foundation_model_arn(found.model_arn, region)), "CUSTOM"


def _value(value: Any, kind: type[T], name: str) -> T | None:
    """A value, or its members as a dict."""
    if value is None or isinstance(value, kind):
        return value
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, TypeError) as error:
        raise ValidationError(f"{name} is a {kind.__name__} or its members as a dict: {error}") from error


def _guardrail(value: Any) -> GuardrailConfig | None:
    config = content.config(value, GuardrailConfig, "guardrailConfig")
    if config is not None and not config.guardrail_identifier:
        raise ValidationError("guardrail_config names no guardrail: give guardrail_identifier and guardrail_version")
    return config


# --- requests --------------------------------------------------------------------------------------------------------


def prepare_retrieve(
    name: str, query: RetrievalQuery, options: RetrieveOptions, region: Region
) -> tuple[Reference, RetrieveRequest]:
    check_names(options, RetrieveOptions)
    reference = knowledge_base(name)
    text, image = _query(query)
    return reference, RetrieveRequest(
        model=reference.model,
        text=text,
        image=image,
        config=_config(options, _region_of(reference, region)),
        guardrail_config=_guardrail(options.get("guardrail_config")),
        user_id=options.get("user_id"),
        next_token=options.get("next_token"),
    )


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValidationError(f"{name} is a text, and not blank")


def _region_of(reference: Reference, region: Region) -> Region:
    return (lambda: reference.region) if reference.region else region


def _query(query: RetrievalQuery) -> tuple[str | None, Image | None]:
    """A text, an image, or one of each."""
    parts = list(query) if isinstance(query, (list, tuple)) else [query]
    texts: list[str] = []
    images: list[Image] = []
    for part in parts:
        block = part.text if isinstance(part, Text) else part
        if isinstance(block, str):
            texts.append(block)
            continue
        found = media(block) if isinstance(block, bytes | bytearray | memoryview | os.PathLike) else block
        if not isinstance(found, Image):
            raise ValidationError(f"a query is a text, an image, or one of each, not a {type(found).__name__}")
        images.append(found)
    if len(texts) > 1 or len(images) > 1 or not parts:
        raise ValidationError("a query is one text, one image, or one of each")
    if texts and not texts[0].strip() and not images:
        raise ValidationError("the query is blank: say what to look for")
    return (texts[0] if texts else None), (images[0] if images else None)


def prepare_generate(
    model: str, text: str, options: GenerateOptions, region: Region
) -> tuple[Reference, RetrieveAndGenerateRequest]:
    check_names(options, GenerateOptions)
    _check_text("the question", text)
    base, sources = options.get("knowledge_base"), options.get("sources")
    if (base is None) == (sources is None):
        raise ValidationError("an answer is made of a knowledge_base or of sources: give one of them")
    reference = Reference("bedrock", "") if base is None else knowledge_base(base)
    searched = {name: options.get(name) for name in _SEARCH if options.get(name)}
    if base is None and searched:
        raise ValidationError(f"{min(searched)} is of a search, and a source that is given is not searched")
    where = _region_of(reference, region)
    config = _config(options, where)
    return reference, RetrieveAndGenerateRequest(
        model=reference.model,
        text=text,
        generator=foundation_model_arn(model, where),
        config=None if base is None or config == RetrievalConfig() else config,
        sources=() if sources is None else _sources(sources),
        session_id=options.get("session_id"),
        kms_key_arn=options.get("kms_key_arn"),
        prompt_template=options.get("prompt_template"),
        guardrail_config=_guardrail(options.get("guardrail_config")),
        inference_config=_inference(options),
        extra=options.get("extra"),
        latency=options.get("latency"),
        orchestration=options.get("orchestration"),
        user_id=options.get("user_id"),
    )


_SEARCH = ("number_of_results", "search_type", "filter", "implicit_filter", "rerank", "managed", "orchestration")


def _inference(options: GenerateOptions) -> JsonObject | None:
    for name, whole in (("max_tokens", True), ("temperature", False), ("top_p", False)):
        check_number(name, options.get(name), whole=whole)
    stops = options.get("stop_sequences")
    members: JsonObject = {
        "maxTokens": options.get("max_tokens"),
        "temperature": options.get("temperature"),
        "topP": options.get("top_p"),
        "stopSequences": ([stops] if isinstance(stops, str) else list(stops)) if stops else None,
    }
    return {name: value for name, value in members.items() if value is not None} or None


def _sources(value: Any) -> tuple[ExternalSource, ...]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(items) != 1:
        raise ValidationError(f"{len(items)} sources were given; the service takes one document")
    return (_source(items[0]),)


def _source(value: Any) -> ExternalSource:
    if isinstance(value, os.PathLike):
        path = Path(value)
        kind = guess_type(path.name)[0] or ("text/markdown" if path.suffix == ".md" else "text/plain")
        value = ExternalSource(data=_read(path), content_type=kind, identifier=path.name)
    elif isinstance(value, str):
        value = ExternalSource(uri=value)
    if not isinstance(value, ExternalSource):
        raise ValidationError("a source is an s3:// address, a pathlib.Path, or an ExternalSource")
    if value.uri is not None:
        if not _S3.fullmatch(value.uri):
            raise ValidationError(f"{value.uri!r:.120} is no address of an object: write s3://BUCKET/KEY")
        return value
    if not value.data or not value.content_type or not value.identifier:
        raise ValidationError("a source is a uri, or data (not empty) with its content_type and an identifier")
    if len(value.data) > _MAX_DOCUMENT:
        raise ValidationError(f"the source has {len(value.data):,} bytes; at most {_MAX_DOCUMENT:,} go into a request")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValidationError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error


def prepare_agentic(
    bases: Any, messages: Any, options: AgenticOptions, region: Region
) -> tuple[Reference, AgenticRetrieveRequest]:
    check_names(options, AgenticOptions)
    retrievers = _retrievers(bases)
    reference = knowledge_base(retrievers[0].knowledge_base)
    turns = tuple((turn.role, turn.text) for turn in content.messages(messages))
    if not all(text.strip() for _, text in turns):
        raise ValidationError("a message is blank: retrieval takes texts alone")
    request = AgenticRetrieveRequest(
        model=reference.model,
        messages=turns,
        retrievers=retrievers,
        configuration=_agentic_configuration(options, _region_of(reference, region)),
        generate=options.get("generate"),
        guardrail_config=_guardrail(options.get("guardrail_config")),
        user_id=options.get("user_id"),
        next_token=options.get("next_token"),
        extra=options.get("extra"),
    )
    return reference, request


def _retrievers(value: Any) -> tuple[Retriever, ...]:
    items: Iterable[Any] = [value] if isinstance(value, (str, Retriever)) else value
    retrievers = tuple(item if isinstance(item, Retriever) else Retriever(knowledge_base=item) for item in items)
    if not retrievers:
        raise ValidationError("no knowledge base to search: give an id, an ARN or a Retriever")
    for retriever in retrievers:
        knowledge_base(retriever.knowledge_base)
    return tuple(replace(retriever, filter=_filter(retriever.filter)) for retriever in retrievers)


def _agentic_configuration(options: AgenticOptions, region: Region) -> JsonObject:
    iterations, model, rerank = options.get("max_iterations"), options.get("model"), options.get("rerank")
    check_number("max_iterations", iterations, whole=True)
    wire: JsonObject = {"foundationModelType": "MANAGED" if model is None else "CUSTOM"}
    if model is not None:
        how = {"modelConfiguration": {"modelArn": foundation_model_arn(model, region)}}
        kind = "BEDROCK_FOUNDATION_MODEL"
        wire["foundationModelConfiguration"] = {"type": kind, "bedrockFoundationModelConfiguration": how}
    reranking, kind_of_reranker = _reranking(rerank, region)
    if kind_of_reranker is not None:
        wire["rerankingModelType"] = kind_of_reranker
    if reranking is not None:
        how = {"modelConfiguration": {"modelArn": reranking.model_arn}}
        wire["rerankingConfiguration"] = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": how}
    if iterations is not None:
        wire["maxAgentIteration"] = iterations
    return wire


def prepare_query(name: str, text: str) -> tuple[Reference, GenerateQueryRequest]:
    reference = knowledge_base(name)
    if reference.region is None:
        raise ConfigurationError(
            f"generate_query takes a knowledge base's ARN, not its id {reference.model!r}: "
            f"arn:aws:bedrock:REGION:ACCOUNT:knowledge-base/{reference.model}"
        )
    _check_text("the question", text)
    return reference, GenerateQueryRequest(model=reference.model, text=text)


def prepare_optimize(model: str, text: str) -> tuple[Reference, OptimizePromptRequest]:
    reference = parse_reference(model)
    if reference.scheme != "bedrock":
        raise ConfigurationError(f"optimize_prompt is for bedrock: models; {reference} is none")
    _check_text("the prompt", text)
    return reference, OptimizePromptRequest(model=reference.model, text=text)


def through_agents(prepared: tuple[Reference, RerankRequest], region: Region) -> tuple[Reference, RerankRequest]:
    """A rerank by the door of knowledge bases, which knows a model by its ARN."""
    reference, request = prepared
    if reference.scheme != "bedrock":
        raise UnsupportedError(f"api='agents' is a door of bedrock: models; {reference} is none")
    if len(request.documents) > _MAX_RERANKED:
        raise ValidationError(f"{len(request.documents):,} documents to rank; the service takes {_MAX_RERANKED:,}")
    arn = foundation_model_arn(reference.model, _region_of(reference, region))
    return reference, replace(request, model=arn)
