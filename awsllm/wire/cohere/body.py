"""Cohere's containers: Command (a prompt in), Embed and Rerank; Command R is in ``cohere_chat``.

Streams are JSON lines. Command tells no usage; where a container adds ``meta`` with counts they are read. Embed needs
to know what the texts are for (``input_type``, from version 3 on); vectors of several types come in an object by type.
Source: cohere-ai/cohere-aws, its clients and examples, 2023-2024.
"""

from __future__ import annotations

from awsllm.errors import AwsllmError, ServerError
from awsllm.types import (
    ConverseRequest,
    ConverseResponse,
    EmbedRequest,
    EmbedResponse,
    JsonObject,
    JsonValue,
    RerankRequest,
    RerankResponse,
)
from awsllm.wire import body as formats
from awsllm.wire.body import Payload, Settings
from awsllm.wire.cohere.chat import CohereChat
from awsllm.wire.cohere.chat_response import FINISH_REASONS, decode_stop_reason, decode_usage
from awsllm.wire.endpoint.format import Asked, Format, ReplyContext
from awsllm.wire.endpoint.tei import check_dimensions, check_vectors, decode_texts, embedded, knob_warnings, ranked
from awsllm.wire.payloads import asked_for, read_body, read_object, reply_of, write
from awsllm.wire.reading import MalformedError, optional, required, structures, without_none
from awsllm.wire.text import generated as text
from awsllm.wire.text import pieces as plain
from awsllm.wire.text.generated import Generated
from awsllm.wire.text.pieces import Names


def _error_body(status: int, message: str) -> JsonObject:
    return {"message": message}


# --- Command ---------------------------------------------------------------------------------------------------------

_NAMES = Names(max_tokens="max_tokens", temperature="temperature", top_p="p", stop_sequences="stop_sequences")
_KNOWN = _NAMES.all | {"prompt", "stream", "num_generations"}


class CohereCommand(Format):
    name = "cohere-command"
    title = "the format of Cohere's Command"
    serves = frozenset(("converse", "converse_stream"))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return text.warnings(request) if isinstance(request, ConverseRequest) else ()

    def encode_converse(self, request: ConverseRequest, settings: Settings, *, stream: bool) -> Payload:
        plain.check_single(request.extra, "num_generations")
        text.check(request, self)
        prompt = text.prompt(request, settings)
        members = {"prompt": prompt.text, **_NAMES.encode(request.inference_config, prompt.all_stops)}
        return write(without_none(members, request.extra) | {"stream": stream})

    def decode_converse(self, payload: Payload, context: ReplyContext) -> ConverseResponse:
        wire = read_object(payload, context)
        with reply_of(self.title, context):
            return text.response(_decode_generations(wire), context)

    def chunk_decoder(self, context: ReplyContext) -> formats.ChunkDecoder:
        return plain.PieceDecoder(_decode_chunk, context)

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        plain.check_single(wire, "num_generations")
        prompt, extra = required(wire, "prompt", str), plain.beyond(wire, _KNOWN)
        return text.read_prompt(model, prompt, settings, _NAMES.decode(wire), extra), wire.get("stream") is True

    def encode_converse_response(self, response: ConverseResponse, asked: ReplyContext) -> Payload:
        return write(self._whole(plain.told(response), asked))

    def chunk_encoder(self, asked: ReplyContext) -> formats.ChunkEncoder:
        def end(piece: Generated) -> bytes:
            finish = FINISH_REASONS.get(piece.finish_reason or "end_turn", "COMPLETE")
            return plain.line({"is_finished": True, "finish_reason": finish, "response": self._whole(piece, asked)})

        return plain.PieceEncoder(
            lambda piece: plain.line({"text": piece, "is_finished": False, "index": 0}),
            end,
            lambda error: (
                plain.failed(error, lambda status, message: {"error": message, "code": status})[1].body + b"\n"
            ),
        )

    def _whole(self, piece: Generated, asked: ReplyContext) -> JsonObject:
        request_id = asked.request_id or ""
        prompt = text.prompt(asked_for(ConverseRequest, asked), asked.settings).text
        finish = FINISH_REASONS.get(piece.finish_reason or "end_turn", "COMPLETE")
        generation = {"id": request_id, "text": piece.text, "finish_reason": finish}
        return {"id": request_id, "prompt": prompt, "generations": [generation]}

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


def _decode_generations(wire: JsonObject) -> Generated:
    generations = structures(wire, "generations", lambda generation: generation)
    if not generations:
        raise MalformedError("must hold an answer", "generations")
    return Generated(
        text=required(generations[0], "text", str),
        finish_reason=decode_stop_reason(generations[0].get("finish_reason")),
        usage=decode_usage(wire),
        wire=wire,
    )


def _decode_chunk(chunk: JsonObject) -> Generated | None:
    """A chunk; or a whole answer, from a container that does not stream."""
    if "generations" in chunk:
        return plain.ended(_decode_generations(chunk))
    if chunk.get("is_finished") is True:
        reason, whole = decode_stop_reason(chunk.get("finish_reason")), optional(chunk, "response", dict) or {}
        return plain.ended(Generated("", finish_reason=reason, usage=decode_usage(whole)))
    piece = optional(chunk, "text", str)
    return None if piece is None or chunk.get("index", 0) != 0 else Generated(text=piece)


# --- Embed -----------------------------------------------------------------------------------------------------------

_INPUT_TYPE = "search_document"


class CohereEmbed(Format):
    name = "cohere-embed"
    title = "the format of Cohere's Embed"
    serves = frozenset(("embed",))

    def warnings(self, request: ConverseRequest | EmbedRequest, settings: Settings) -> tuple[str, ...]:
        return knob_warnings(request, normalizes=False, has_input_type=True)

    def encode_embed(self, request: EmbedRequest, settings: Settings) -> Payload:
        """Texts are documents unless the request says otherwise."""
        check_dimensions(request, self.title)
        members = {"texts": list(request.texts), "input_type": request.input_type or _INPUT_TYPE}
        return write(without_none(members, request.extra))

    def decode_embed(self, payload: Payload, context: ReplyContext) -> EmbedResponse:
        """Of vectors of several types the first are taken, floats before others; ``raw`` has them all."""
        wire = read_object(payload, context)
        vectors: JsonValue = wire.get("embeddings")
        if isinstance(vectors, dict):
            vectors = vectors.get("float", next(iter(vectors.values()), None))
        with reply_of(self.title, context):
            return embedded(check_vectors(vectors, self.title, context), context, wire, usage=decode_usage(wire))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        extra = plain.beyond(wire, frozenset(("texts", "input_type")))
        texts, input_type = decode_texts(wire, "texts"), optional(wire, "input_type", str)
        return EmbedRequest(model=model, texts=texts, input_type=input_type, extra=extra), False

    def encode_embed_response(self, response: EmbedResponse, asked: ReplyContext) -> Payload:
        request = asked_for(EmbedRequest, asked)
        by_type = "float" in ((request.extra or {}).get("embedding_types") or ())
        vectors: JsonValue = {"float": response.vectors} if by_type else response.vectors
        return write({"id": asked.request_id or "", "texts": list(request.texts), "embeddings": vectors})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


# --- Rerank ----------------------------------------------------------------------------------------------------------

_RERANK = frozenset(("api_version", "query", "documents", "top_n"))


class CohereRerank(Format):
    name = "cohere-rerank"
    title = "the format of Cohere's Rerank"
    serves = frozenset(("rerank",))

    def encode_rerank(self, request: RerankRequest, settings: Settings) -> Payload:
        members = {
            "api_version": 2,
            "query": request.query,
            "documents": list(request.documents),
            "top_n": request.top_n,
        }
        return write(without_none(members, request.extra))

    def decode_rerank(self, payload: Payload, context: ReplyContext) -> RerankResponse:
        wire = read_object(payload, context)
        if not isinstance(wire.get("results"), list):
            raise ServerError(f"not a reply of {self.title}: {str(wire)[:200]}", request_id=context.request_id)
        with reply_of(self.title, context):
            scores = structures(
                wire, "results", lambda rank: (required(rank, "index", int), required(rank, "relevance_score", float))
            )
            return ranked(scores, context, wire, usage=decode_usage(wire))

    def decode_request(self, model: str, payload: Payload, settings: Settings) -> tuple[Asked, bool]:
        wire = read_body(payload)
        request = RerankRequest(
            model=model,
            query=required(wire, "query", str),
            documents=_decode_documents(required(wire, "documents", list)),
            top_n=optional(wire, "top_n", int),
            extra=plain.beyond(wire, _RERANK),
        )
        return request, False

    def encode_rerank_response(self, response: RerankResponse, asked: ReplyContext) -> Payload:
        results = [{"index": rank.index, "relevance_score": rank.score} for rank in response.results]
        return write({"id": asked.request_id or "", "results": results})

    def encode_error(self, error: AwsllmError) -> tuple[int, Payload]:
        return plain.failed(error, _error_body)


def _decode_documents(values: list[JsonValue]) -> tuple[str, ...]:
    """Texts, or objects with a text as the first version had them."""
    given = (value.get("text") if isinstance(value, dict) else value for value in values)
    texts = tuple(text for text in given if isinstance(text, str))
    if not texts or len(texts) != len(values):
        raise MalformedError("must be texts, or objects with a text", "documents")
    return texts


FORMATS: tuple[Format, ...] = (CohereCommand(), CohereChat(), CohereEmbed(), CohereRerank())
