"""What is fetched, from whom, and how much: against services on this machine."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import awsllm
from awsllm.errors import AwsllmError, ConfigurationError, ConnectError, ValidationError
from awsllm.fetching import rules as fetching
from awsllm.fetching.rules import FetchUrls
from awsllm.fetching.visit import WebPlace
from awsllm.types import Bytes, Document, Image
from tests.support.certificates import self_signed
from tests.support.loopback import Received, Response, serving
from tests.support.requests import PDF, PNG

HERE = ("127.0.0.0/8",)
Read = Callable[[FetchUrls, str], bytes]


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Read:
    if request.param == "sync":
        return lambda rules, url: rules.read(url)
    return lambda rules, url: asyncio.run(rules.read_async(url))


def noting(seen: list[Received]) -> Callable[[Received], Response]:
    """A picture for everybody, whose requests are kept."""

    def respond(request: Received) -> Response:
        seen.append(request)
        return Response(PNG)

    return respond


def rules(url: str, **options: Any) -> FetchUrls:
    """What allows to ask the service at ``url``, which is on this machine."""
    authority = url.partition("://")[2].rstrip("/")
    given: dict[str, Any] = {"hosts": [authority], "http": True, "networks": HERE}
    return FetchUrls(**{**given, **options})


@contextmanager
def named(monkeypatch: pytest.MonkeyPatch, **names: list[str]) -> Iterator[list[str]]:
    """A resolver that knows these names (``_`` for a dot); gives those that were looked up."""
    known = {name.replace("_", "."): addresses for name, addresses in names.items()}
    asked: list[str] = []

    def addresses(place: WebPlace) -> list[str]:
        asked.append(place.host)
        return known.get(place.host, [place.host])

    monkeypatch.setattr(fetching, "_addresses", addresses)
    yield asked


def test_a_picture_is_fetched(read: Read) -> None:
    seen: list[Received] = []
    with serving(noting(seen)) as url:
        assert read(rules(url), f"{url}/a/cat.png?size=2#part") == PNG
    (request,) = seen
    assert (request.method, request.path) == ("GET", "/a/cat.png?size=2")
    names = {name.lower() for name in request.headers}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}, "and nothing of whoever asks"
    assert request.header("Accept-Encoding") == "identity"


def test_blocks_are_made_of_what_is_fetched() -> None:
    with serving(lambda request: Response(PDF if "report" in request.path else PNG)) as url:
        allowed = rules(url)
        assert awsllm.image(f"{url}/cat.jpg", fetch=allowed) == Image("png", Bytes(PNG))
        made = awsllm.document(f"{url}/my%20report.pdf?key=word", fetch=allowed)
        assert made == Document("my report", Bytes(PDF), "pdf")
        with pytest.raises(ValidationError, match=r"what 127.0.0.1 sent is not a document") as wrong:
            awsllm.document(f"{url}/cat.png?key=word", fetch=allowed)
        assert "word" not in str(wrong.value)


def test_nothing_is_fetched_unless_it_is_allowed() -> None:
    asked: list[Received] = []
    with serving(noting(asked)) as url:
        for make in (awsllm.image, awsllm.document, awsllm.video, awsllm.audio):
            with pytest.raises(ValidationError, match=r"fetch=awsllm.FetchUrls\(hosts="):
                make(f"{url}/cat.png")
    assert asked == []


def test_an_address_of_this_network_is_not_asked(read: Read) -> None:
    asked: list[Received] = []
    with serving(noting(asked)) as url:
        for networks in ((), ("10.0.0.0/8",)):
            with pytest.raises(ValidationError, match="not on the internet"):
                read(rules(url, networks=networks), f"{url}/cat.png")
    assert asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"])
def test_a_name_that_means_this_network_is_not_asked(read: Read, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with named(monkeypatch, images_test=["8.8.8.8", address]), pytest.raises(ValidationError, match="not on the inter"):
        read(FetchUrls(hosts=["images.test"]), "https://images.test/cat.png")


def test_a_name_is_resolved_once_and_connected_to_as_it_was_judged(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of names that answers another way the second time (DNS rebinding) is not asked a second time."""
    seen: list[Received] = []
    with serving(noting(seen)) as url:
        port = int(url.rpartition(":")[2])
        with named(monkeypatch, images_test=["127.0.0.1"]) as asked:
            assert read(rules(url, hosts=[f"images.test:{port}"]), f"http://images.test:{port}/cat.png") == PNG
    assert asked == ["images.test"]
    assert [request.header("Host") for request in seen] == [f"images.test:{port}"]


def test_the_next_address_of_a_name_is_tried(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: Response(PNG)) as url:
        port = int(url.rpartition(":")[2])
        allowed = rules(url, hosts=[f"images.test:{port}"], networks=[*HERE, "::1/128"])
        with named(monkeypatch, images_test=["::1", "127.0.0.1"]):  # nothing listens at the first
            assert read(allowed, f"http://images.test:{port}/cat.png") == PNG


# --- redirects -------------------------------------------------------------------------------------------------------


def redirecting(*places: str) -> Callable[[Received], Response]:
    """Each path leads to the next place, and the last is a picture."""

    def respond(request: Received) -> Response:
        step = int(request.path.strip("/") or 0)
        if step >= len(places):
            return Response(PNG)
        return Response(b"x" * 5000, status=302, headers={"Location": places[step]})

    return respond


def test_redirects_are_followed_a_few_times(read: Read) -> None:
    with serving(redirecting("/1", "/2", "/3")) as url:
        assert read(rules(url), f"{url}/0") == PNG
        with pytest.raises(ValidationError, match="more often than 2 times"):
            read(rules(url, redirects=2), f"{url}/0")
        with pytest.raises(ValidationError, match="more often than 0 times"):
            read(rules(url, redirects=0), f"{url}/0")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://169.254.169.254/latest/meta-data/iam/", "not on the internet"),
        ("http://[::ffff:a9fe:a9fe]/", "not on the internet"),
        ("http://[64:ff9b::a9fe:a9fe]/", "not on the internet"),
        ("http://[2002:a9fe:a9fe::]/", "not on the internet"),
        ("http://localhost/", "not on the internet"),
        ("http://2852039166/", "neither a name"),
        ("http://user:word@example.com/", "login"),
        ("file:///etc/passwd", "only https"),
        ("http://example.com:22/", "none of the hosts"),
        ("", "redirects more often"),
    ],
)
def test_a_redirect_is_judged_as_the_first_url_was(
    read: Read, location: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(redirecting(location)) as url, named(monkeypatch, localhost=["127.0.0.1"]):
        authority = url.partition("://")[2]
        allowed = FetchUrls(hosts=["*", authority], http=True, networks=["127.0.0.1/32"])
        if location == "http://localhost/":
            monkeypatch.setattr(
                fetching, "_addresses", lambda place: ["127.0.0.9" if "l" in place.host else place.host]
            )
        with pytest.raises(ValidationError, match=message) as refused:
            read(allowed, f"{url}/0")
        assert "word" not in str(refused.value)


def test_a_redirect_to_another_host_needs_that_host(read: Read) -> None:
    with serving(lambda _: Response(PNG)) as other, serving(redirecting(f"{other}/9")) as url:
        with pytest.raises(ValidationError, match="none of the hosts"):
            read(rules(url), f"{url}/0")
        both = [one.partition("://")[2] for one in (url, other)]
        assert read(rules(url, hosts=both), f"{url}/0") == PNG


# --- how much, and what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response",
    [
        Response(PNG + bytes(5000)),
        Response([PNG + bytes(100)] + [bytes(500)] * 10),
        Response(PNG, length=10**12),
    ],
    ids=["length", "chunks", "a length that is none"],
)
def test_no_more_than_max_bytes_is_read(read: Read, response: Response) -> None:
    with serving(lambda _: response) as url, pytest.raises(ValidationError, match="larger than max_bytes=1,000"):
        read(rules(url, max_bytes=1000), f"{url}/cat.png")


def test_nothing_is_unpacked(read: Read) -> None:
    bomb = gzip.compress(bytes(10**6))
    with (
        serving(lambda _: Response(bomb, headers={"Content-Encoding": "gzip"})) as url,
        pytest.raises(ValidationError, match="compresses"),
    ):
        read(rules(url), f"{url}/cat.png")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"AccessKeyId": "planted"}', b"<html>planted", b"<svg>planted", b"\x89PN"]
)
def test_only_what_begins_as_a_known_format_is_taken(read: Read, body: bytes) -> None:
    headers = {"Content-Type": "image/png"}  # which says nothing
    with serving(lambda _: Response(body, headers=headers)) as url, pytest.raises(ValidationError) as refused:
        read(rules(url), f"{url}/secret-path?word")
    assert "no image" in str(refused.value)
    assert not any(word in str(refused.value) for word in ("planted", "secret-path", "word"))


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 404, 500])
def test_only_a_200_is_an_answer(read: Read, status: int) -> None:
    with serving(lambda _: Response(PNG, status=status)) as url, pytest.raises(ValidationError, match=str(status)):
        read(rules(url), f"{url}/cat.png")


def test_an_answer_that_is_cut_short_is_none(read: Read) -> None:
    with serving(lambda _: Response(PNG, length=len(PNG) + 10)) as url, pytest.raises(ConnectError, match="ended"):
        read(rules(url), f"{url}/cat.png")


# --- how long --------------------------------------------------------------------------------------------------------


@contextmanager
def dripping(first: bytes = b"HTTP/1.1 200 OK\r\n\r\n" + PNG, every: float = 0.02) -> Iterator[str]:
    """A service that sends a byte now and then, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ending = threading.Event()

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                try:
                    connection.sendall(first)
                    while not ending.wait(every):
                        connection.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ending.set()
        thread.join(10)


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\n\r\n" + PNG], ids=["head", "body"])
def test_the_whole_of_it_has_a_time(read: Read, first: bytes) -> None:
    with dripping(first) as url:
        began = time.monotonic()
        with pytest.raises(ConnectError, match=r"was not there in 0.3 s|does not speak HTTP"):
            read(rules(url, timeout=0.3), f"{url}/cat.png")
        assert time.monotonic() - began < 8


def test_a_name_that_takes_too_long_is_given_up(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = threading.Event()
    monkeypatch.setattr(fetching, "_addresses", lambda place: [] if ending.wait(20) else [place.host])
    try:
        with pytest.raises(ConnectError, match=r"was not there in 0.1 s"):
            read(FetchUrls(hosts=["slow.test"], timeout=0.1), "https://slow.test/cat.png")
    finally:
        ending.set()


def test_a_cancelled_one_closes_its_connection() -> None:
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                while connection.recv(4096):
                    pass
            gone.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def cancelled() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await rules(url).read_async(f"{url}/cat.png")

        asyncio.run(cancelled())
        assert gone.wait(10)
        thread.join(10)


# --- TLS, and what else goes wrong -----------------------------------------------------------------------------------


def test_certificates_are_checked_for_the_host(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl

    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with secure(context) as port:
        url = f"https://127.0.0.1:{port}/cat.png"
        trusted = FetchUrls(hosts=[f"127.0.0.1:{port}"], networks=HERE, ca_bundle=str(cert))
        assert read(trusted, url) == PNG
        with pytest.raises(ConnectError, match=r"certificate.*not trusted"):
            read(FetchUrls(hosts=[f"127.0.0.1:{port}"], networks=HERE), url)
        with (
            named(monkeypatch, images_test=["127.0.0.1"]),
            pytest.raises(ConnectError, match=r"certificate.*not trusted"),
        ):
            read(
                FetchUrls(hosts=[f"images.test:{port}"], networks=HERE, ca_bundle=str(cert)),
                f"https://images.test:{port}/cat.png",
            )
        assert asked[-1] == "images.test", "TLS names the host, not the address"


@contextmanager
def secure(context: Any) -> Iterator[int]:
    """The picture over TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(65536)
                        wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_proxies_of_the_environment_are_not_used(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with serving(lambda _: Response(PNG)) as url:
        assert read(rules(url), f"{url}/cat.png") == PNG


def test_what_does_not_answer_is_told_without_the_path(read: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ConnectError, match="cannot be reached") as refused:
        read(rules(url), f"{url}/secret?word")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_http_is_told_and_not_quoted(read: Read, sent: bytes) -> None:
    with dripping(sent, every=5) as url, pytest.raises(ConnectError, match="does not speak HTTP") as refused:
        read(rules(url), f"{url}/")
    assert "SSH" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"hosts": []}, {"hosts": "example.com"}, {"hosts": ["https://example.com"]}, {"hosts": ["example.com/x"]},
        {"hosts": ["user@example.com"]}, {"hosts": ["ex*mple.com"]}, {"hosts": ["*."]}, {"hosts": [""]},
        {"hosts": ["example.com:x"]}, {"hosts": ["example.com:0"]}, {"hosts": [7]}, {"hosts": ["example.com."]},
        {"hosts": ["*"], "networks": ["10.0.0.1/8"]}, {"hosts": ["*"], "networks": "10.0.0.0/8"},
        {"hosts": ["*"], "max_bytes": 0}, {"hosts": ["*"], "timeout": 0}, {"hosts": ["*"], "redirects": -1},
    ],
)  # fmt: skip
def test_rules_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        FetchUrls(**options)


def test_every_error_is_awsllms_own(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(place: WebPlace) -> list[str]:
        raise socket.gaierror(8, "a resolver's words")

    monkeypatch.setattr(fetching, "_addresses", broken)
    with pytest.raises(AwsllmError) as failed:
        read(FetchUrls(hosts=["images.test"]), "https://images.test/")
    assert "resolver" not in str(failed.value)
