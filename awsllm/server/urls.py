"""Pictures and documents that callers name by URL, fetched for them where whoever started the server allows it.

Nothing is fetched otherwise. A URL counts where a user's own turn has one as a picture or a document, in the words of
OpenAI's Chat Completions and Responses and of Anthropic's Messages. What a model wrote, a tool call or its result, may
have addresses that nobody chose: they are left as they are, for whoever reads the request to refuse. A URL is replaced
in the body, once its caller is known and its signature is checked, so that all that comes after sees bytes.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from awsllm.errors import AwsllmError, ConnectError, ValidationError
from awsllm.fetching.rules import FetchUrls
from awsllm.fetching.visit import NOT_REACHED
from awsllm.server.surfaces import anthropic, openai
from awsllm.server.surfaces.limits import read_json
from awsllm.server.work import Incoming
from awsllm.wire.formats import begins_as

_MOST = 16  # URLs of one request
_AT_ONCE = 8  # that the whole server fetches
_WAIT = 10.0  # seconds for one of those places
Put = Callable[[str, str], None]


class _Lot:
    """What one request has fetched: as much together as one URL may give, and nothing more once one is refused."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self.refusal: AwsllmError | None = None

    def with_one(self, data: bytes) -> bytes:
        self._bytes += len(data)
        if self._bytes > self._most:
            raise ValidationError(f"what the URLs of this request give is larger than {self._most:,} bytes")
        return data


class UrlInputs:
    """What one server fetches for its callers."""

    def __init__(self, rules: FetchUrls) -> None:
        self._rules = rules
        self._places = asyncio.Semaphore(_AT_ONCE)

    def concerns(self, incoming: Incoming) -> bool:
        """Whether there may be a URL to fetch."""
        spoken = incoming.path.startswith((*anthropic.PREFIXES, *openai.PREFIXES))
        return spoken and incoming.method == "POST" and (b'"http' in incoming.body or b"file_url" in incoming.body)

    async def inlined(self, incoming: Incoming) -> Incoming:
        """The request with bytes where it has URLs. Raises ``ValidationError``, whichever of them it is of."""
        wire = read_json(incoming.body)
        named = list(_named(wire))
        if not named:
            return incoming
        if len(named) > _MOST:
            raise ValidationError(f"a request names {len(named)} URLs; {_MOST} are fetched at most", status=400)
        for _, kind, url in named:  # all are judged before any is asked
            _as_bad_request(lambda url=url: self._rules.allows(url), kind)  # type: ignore[misc]
        lot = _Lot(self._rules.max_bytes)
        async with asyncio.TaskGroup() as group:
            once = dict.fromkeys(url for _, _, url in named)
            fetched = {url: group.create_task(self._fetched(url, lot)) for url in once}
        for put, kind, url in named:
            data = fetched[url].result()
            if isinstance(data, AwsllmError):
                raise _bad_request(data, kind)
            put(_media_type(data, kind, url), b64encode(data).decode())
        return replace(incoming, body=msgspec.json.encode(wire))

    async def _fetched(self, url: str, lot: _Lot) -> bytes | AwsllmError:
        try:
            async with asyncio.timeout(_WAIT):
                await self._places.acquire()
        except TimeoutError:
            return ValidationError("too many URLs are being fetched for others: try again")
        try:
            if lot.refusal is None:
                return lot.with_one(await self._rules.read_async(url))
            return lot.refusal
        except AwsllmError as error:
            lot.refusal = error
            return error
        finally:
            self._places.release()


def _as_bad_request(check: Callable[[], None], kind: str) -> None:
    try:
        check()
    except AwsllmError as error:
        raise _bad_request(error, kind) from None


def _bad_request(error: AwsllmError, kind: str) -> ValidationError:
    """What a caller is told. Whether a name means nothing, an address of this network or one that does not answer is
    none of it: it would tell what is in there."""
    if isinstance(error, ConnectError) or error.code == NOT_REACHED:
        text = f"the {kind} cannot be fetched: its host cannot be asked, or does not answer as it should"
        return ValidationError(text, code="ValidationException", status=400)
    return ValidationError(f"the {kind} cannot be fetched: {error.message}", code="ValidationException", status=400)


def _media_type(data: bytes, kind: str, url: str) -> str:
    found, form = begins_as(data) or ("", "")
    if found != kind:
        raise ValidationError(f"what {urlsplit(url).hostname} sent is no {kind}", status=400)
    return f"image/{form}" if kind == "image" else f"application/{form}"


# --- where URLs stand ------------------------------------------------------------------------------------------------


def _named(wire: dict[str, Any]) -> Iterator[tuple[Put, str, str]]:
    """What puts the content in a URL's place, of which kind it is to be, and the URL."""
    for turn in [*_list(wire.get("messages")), *_list(wire.get("input"))]:
        if isinstance(turn, dict) and turn.get("role") == "user":
            for part in _list(turn.get("content")):
                if isinstance(part, dict) and (found := _url_of(part)) is not None:
                    yield found


def _url_of(part: dict[str, Any]) -> tuple[Put, str, str] | None:
    match part:
        case {"type": "image_url", "image_url": {"url": str(url)} as image} if _is_web(url):
            return lambda mime, data: image.update(url=f"data:{mime};base64,{data}"), "image", url
        case {"type": "input_image", "image_url": str(url)} if _is_web(url):
            return lambda mime, data: part.update(image_url=f"data:{mime};base64,{data}"), "image", url
        case {"type": "input_file", "file_url": str(url)} if _is_web(url):
            return lambda mime, data: _put_file(part, f"data:{mime};base64,{data}"), "document", url
        case {"type": "image" | "document" as kind, "source": {"type": "url", "url": str(url)}} if _is_web(url):
            return (
                lambda mime, data: part.update(source={"type": "base64", "media_type": mime, "data": data}),
                str(kind),
                url,
            )
    return None


def _put_file(part: dict[str, Any], data: str) -> None:
    name = unquote(urlsplit(part.pop("file_url")).path).rpartition("/")[2]
    part["file_data"] = data
    part.setdefault("filename", name or "document.pdf")


def _is_web(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
