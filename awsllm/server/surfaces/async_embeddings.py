"""Vectors by asynchronous invocation, offline: TwelveLabs Marengo and Nova's multimodal embeddings.

The model that answers for the account makes them. Of media it is given the place in S3, as InvokeModel gives it; a text
that is in S3 is read here. A model gives vectors of its own size, which are brought to the one that was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from awsllm.errors import ServerError, ValidationError
from awsllm.server.account.refusals import invalid
from awsllm.server.surfaces.limits import check_limits
from awsllm.server.surfaces.vectors import resize
from awsllm.types import JsonObject, S3Location
from awsllm.types.embedding import EmbedRequest, EmbedResponse
from awsllm.wire.amazon.nova_embed import decode_segmented, segment_files
from awsllm.wire.twelvelabs.marengo import V3, V27

if TYPE_CHECKING:
    from awsllm.server.account.account import Region

_NOVA = "nova-embed"
_MARENGO = {"marengo": V27, "marengo-3": V3}


def are_made_by(body: str) -> bool:
    """Whether models that take this body make vectors asynchronously."""
    return body == _NOVA or body in _MARENGO


def asked(region: Region, body: str, request: JsonObject) -> EmbedRequest:
    """What StartAsyncInvoke asks of the model. Raises the refusal of a body that is malformed, or names an object which
    is not there."""
    model, wire = str(request["modelId"]), _with_text(region, body, request["modelInput"])
    found = decode_segmented(model, wire) if body == _NOVA else _MARENGO[body].decode_asynchronous(model, wire)
    check_limits(found)
    for block in found.inputs[0] if found.inputs else ():
        source = getattr(block, "source", None)
        store = region.account.objects
        if isinstance(source, S3Location) and store is not None and source.uri not in store.list(source.uri):
            raise _absent(source.uri)
    return found


def files(region: Region, body: str, request: JsonObject, folder: str) -> list[tuple[str, bytes]]:
    """What the model writes into ``folder``. Raises its errors."""
    with region.account.lock:
        wire = _with_text(region, body, request["modelInput"])
        neutral = asked(region, body, request)
    response = _vectors(region, neutral)
    if body == _NOVA:
        return list(segment_files(wire, response, folder))
    return [("output.json", _MARENGO[body].encode_clips(wire, response).body)]


def _vectors(region: Region, request: EmbedRequest) -> EmbedResponse:
    account = region.account
    if account.backend is None:
        raise ServerError("no model answers behind this account")
    if account.models.remote(request):
        return account.backend.ask(account.models.rename(request))
    plain = EmbedRequest(model=request.model, texts=request.texts, inputs=request.inputs)
    response = account.backend.ask(account.models.rename(plain))
    size = cast("int", request.dimensions)  # which both decoders set
    return replace(response, vectors=[resize(vector, size, normalize=True) for vector in response.vectors])


def _with_text(region: Region, body: str, wire: JsonObject) -> JsonObject:
    """The body with the text itself where it names one in S3."""
    params = wire.get("segmentedEmbeddingParams") if body == _NOVA else None
    text = params.get("text") if isinstance(params, dict) else None
    source = text.get("source") if isinstance(text, dict) and text.get("value") is None else None
    location = source.get("s3Location") if isinstance(source, dict) else None
    uri = location.get("uri") if isinstance(location, dict) else None
    if not isinstance(params, dict) or not isinstance(text, dict) or not isinstance(uri, str):
        return wire
    try:
        value = _read(region, uri).decode()
    except UnicodeDecodeError:
        raise invalid(f"{uri[:200]} is no text in UTF-8.") from None
    return {**wire, "segmentedEmbeddingParams": {**params, "text": {**text, "value": value}}}


def _read(region: Region, uri: str) -> bytes:
    if region.account.objects is None:
        return b""  # which is told by who begins the folder
    try:
        return region.account.objects.read(uri)
    except KeyError:
        raise _absent(uri) from None


def _absent(uri: str) -> ValidationError:
    return invalid(f"Invalid S3 URI: {uri[:200]} does not exist.")
