"""What bodies may take: time, size, and memory of all of them together. The application is driven without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from awsllm.errors import ConfigurationError
from awsllm.server import create_app
from awsllm.server.http.app import App
from awsllm.server.http.bodies import Limits
from awsllm.testing import AsyncScriptedBackend

HELLO = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}).encode()
CONVERSE = "/model/amazon.nova-lite-v1%3A0/converse"
LIMITS = Limits(size=1000, small=100, total=1500, pause=0.05, whole=0.2, dropped=2000, dropped_pause=0.02)
NEVER = None  # instead of a part: the client keeps the connection and sends nothing


class Client:
    """One request: ``parts`` arrive one after another, ``seconds`` apart by the loop's clock, which is put forward.
    ``reads`` counts what was taken of them."""

    def __init__(
        self, parts: Sequence[bytes | None], seconds: float = 0.0, path: str = CONVERSE, **headers: str
    ) -> None:
        self.parts, self.seconds = list(parts), seconds
        named = {"host": "localhost", "transfer-encoding": "chunked", **headers}
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
        }
        self.reads = 0
        self.status = 0
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if not self.parts:
            await asyncio.Event().wait()
        await put_forward(self.seconds)
        part = self.parts.pop(0)
        if part is NEVER:
            await asyncio.Event().wait()
        self.reads += 1
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def ask(self, app: App) -> Client:
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


async def put_forward(seconds: float) -> None:
    """Let so many seconds pass on the loop's clock, and what is due by then happen."""
    loop = asyncio.get_running_loop()
    if seconds:
        now = loop.time
        loop.time = lambda: now() + seconds  # type: ignore[method-assign]
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def app(**settings: Any) -> App:
    return create_app(AsyncScriptedBackend(lambda request: "Hello."), limits=LIMITS, **settings)


def asked(*parts: bytes | None, seconds: float = 0.0, server: App | None = None, **headers: str) -> Client:
    return asyncio.run(Client(parts, seconds, **headers).ask(server or app()))


def test_a_body_in_parts_is_put_together() -> None:
    assert asked(HELLO[:7], b"", HELLO[7:], b"").status == 200


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        pytest.param([b"{", NEVER], 0.0, id="it stops"),
        pytest.param([NEVER], 0.0, id="it never begins"),
        pytest.param([b""] * 40 + [NEVER], 0.01, id="empty parts are no progress"),
        pytest.param([b" "] * 40 + [NEVER], 0.01, id="it drips"),
    ],
)
def test_a_body_that_does_not_arrive_ends_its_request(parts: list[bytes | None], seconds: float) -> None:
    client = asked(*parts, seconds=seconds)
    assert client.status == 400
    assert client.message.startswith("The request's body did not arrive")


def test_slow_is_not_stopped() -> None:
    """Each pause is shorter than the limit, all of them together are longer."""
    thirds = [HELLO[:9], HELLO[9:18], HELLO[18:27], HELLO[27:], b""]
    server = create_app(AsyncScriptedBackend("Hello."), limits=Limits(pause=100.0, whole=1000.0))
    assert asked(*thirds, seconds=90.0, server=server).status == 200


def test_an_outer_cancellation_is_passed_on() -> None:
    async def main() -> None:
        task = asyncio.create_task(Client([b"{", NEVER]).ask(create_app(AsyncScriptedBackend("Hello."))))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_what_is_too_large_is_read_to_its_end_and_held_no_longer() -> None:
    client = asked(*[b" " * 300] * 5)
    assert (client.status, client.reads) == (400, 5)
    assert "more than 1000 bytes" in client.message
    assert asked(content_length="1001").status == 400


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    client = asked(*[b" " * 300] * 50)
    assert client.status == 400
    assert client.reads < 15


def test_bodies_that_hold_too_much_together_keep_large_ones_out_and_no_small_ones() -> None:
    large = HELLO.ljust(600)

    async def main() -> list[Client]:
        server = app()
        holding = [Client([b" " * 700, NEVER], path=CONVERSE) for _ in range(2)]
        held = [asyncio.create_task(client.ask(server)) for client in holding]
        await asyncio.sleep(0.01)
        refused, small = await Client([large]).ask(server), await Client([HELLO]).ask(server)
        await asyncio.gather(*held)
        return [refused, small, await Client([large]).ask(server)]

    refused, small, later = asyncio.run(main())
    assert (refused.status, small.status, later.status) == (429, 200, 200)
    assert refused.message.startswith("Too many large requests at once")


# --- the head decides ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer another"},
        {"x_api_key": "another"},
        {"authorization": "AWS4-HMAC-SHA256 nonsense"},
        {"authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/r/s/aws4_request, SignedHeaders=host, Signature=0"},
    ],
)
def test_who_shows_no_key_is_refused_without_the_body(headers: dict[str, Any]) -> None:
    """Of a body of a thousand parts a few are dropped, and none is kept."""
    client = asked(*[b" " * 300] * 1000, server=app(api_key="the-key"), **headers)
    assert client.status == 403
    assert client.reads < 15
    unsent = asked(NEVER, server=app(api_key="the-key"), expect="100-continue", **headers)
    assert (unsent.status, unsent.reads) == (403, 0)


def test_a_signature_over_the_digest_in_a_header_is_judged_without_the_body() -> None:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    client = asked(
        *[b" " * 300] * 1000,
        server=app(api_key="k"),
        authorization=f"AWS4-HMAC-SHA256 Credential=a/{now[:8]}/r/s/aws4_request, SignedHeaders=host, Signature=00",
        x_amz_date=now,
        x_amz_content_sha256="00",
    )
    assert client.status == 403
    assert client.reads < 15
    assert client.message.startswith("The request signature we calculated does not match")


@pytest.mark.parametrize("key", ["", " ", "\n", "a b", "a\nb", "a\x00"])
def test_a_key_that_nobody_can_show_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="the API key"):
        app(api_key=key)


def test_a_line_break_behind_a_key_is_not_part_of_it() -> None:
    assert asked(HELLO, server=app(api_key="the-key\n"), authorization="Bearer the-key").status == 200


def test_a_key_may_have_letters_of_any_alphabet() -> None:
    assert asked(HELLO, server=app(api_key="clé"), authorization="Bearer clé").status == 200
    assert asked(HELLO, server=app(api_key="clé"), authorization="Bearer cle").status == 403
