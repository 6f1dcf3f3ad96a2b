"""A Hugging Face hub on this machine: repositories of bytes, by the API that huggingface_hub speaks.

    with FakeHub().serving() as hub:
        hub.add("org/tiny-GGUF", {"tiny-Q8_0.gguf": b"GGUF…"})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)

Large files are listed with their SHA-256, as those of LFS are, small ones with git's id; a gated repository wants the
token ``hf_good``. What was asked for is in ``requests``: path and Range.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.loopback import Received, Response, serving

TOKEN = "hf_good"
_LARGE = 1000  # bytes from which a file is of LFS


@dataclass
class Repository:
    """``card`` is what its README declares, ``gguf`` what the hub read in its GGUF files."""

    files: dict[str, bytes]
    commit: str
    task: str = "text-generation"
    gated: str | bool = False
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    gguf: dict[str, Any] | None = None


class FakeHub:
    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.cut_after: int | None = None  # bytes after which the next body ends early
        self.faults: list[int] = []  # statuses of the next answers
        self.redirect: str | None = None  # where files are, if elsewhere: a URL that the path is put behind
        self.spoiled: dict[str, bytes] = {}  # by path, what is sent in place of what is listed

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repository:
        made = hashlib.sha1(name.encode() + b"".join(files.values()), usedforsecurity=False).hexdigest()
        self.repositories[name] = Repository(files, facts.pop("commit", made), **facts)
        return self.repositories[name]

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        with serving(self._respond) as url:
            self.url = url
            yield self

    def fetched(self) -> list[str]:
        """The paths of the files that were asked for, in order."""
        return [path.partition("/resolve/")[2].partition("/")[2] for path, _ in self.requests if "/resolve/" in path]

    def _respond(self, request: Received) -> Response:
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        self.requests.append((path, request.header("Range")))
        self.tokens.append(request.header("Authorization"))
        if self.faults:
            return Response(status=self.faults.pop(0))
        if path == "/api/models":
            return self._search(parse_qs(parts.query))
        if path.startswith("/api/models/"):
            return self._listing(path.removeprefix("/api/models/"), parts.query)
        if path.startswith("/elsewhere/"):
            path = path.removeprefix("/elsewhere")
        elif self.redirect is not None:
            return Response(status=302, headers={"Location": f"{self.redirect}{parts.path}"})
        return self._file(path, request)

    def _search(self, asked: dict[str, list[str]]) -> Response:
        words = asked["search"][0].lower().split()
        found = [name for name in self.repositories if all(word in name.lower() for word in words)]
        return _json([self._summary(name) for name in found][: int(asked["limit"][0])])

    def _summary(self, name: str) -> dict[str, Any]:
        one = self.repositories[name]
        formats = {"gguf" for path in one.files if path.endswith(".gguf")}
        formats |= {"safetensors" for path in one.files if path.endswith(".safetensors")}
        tags = [*sorted(formats), f"license:{one.card['license']}"]
        return {"id": name, "downloads": 1234, "likes": 5, "tags": tags, "pipeline_tag": one.task, "private": False}

    def _listing(self, rest: str, query: str) -> Response:
        name, _, revision = rest.partition("/revision/")
        one = self.repositories.get(name)
        if one is None:
            return Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        if revision not in {"", "main", one.commit}:
            return Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        assert query.lower() == "blobs=true"
        document = self._summary(name) | {
            "sha": one.commit,
            "gated": one.gated,
            "cardData": one.card,
            "siblings": [_sibling(path, data) for path, data in one.files.items()],
        }
        return _json(document | ({"gguf": one.gguf} if one.gguf else {}))

    def _file(self, path: str, request: Received) -> Response:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        one = self.repositories.get(name)
        if one is None or file not in one.files or revision not in {one.commit, "main"}:
            return Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        if one.gated and request.header("Authorization") != f"Bearer {TOKEN}":
            return Response(status=401, headers={"X-Error-Code": "GatedRepo"})
        data, start, status, headers = self.spoiled.get(file, one.files[file]), 0, 200, {}
        if wanted := request.header("Range"):
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body, self.cut_after = data[start:][: self.cut_after], None
        return Response(body, status, headers, length=len(data) - start)


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    said: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
    if len(data) >= _LARGE:
        said["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return said


def _json(document: Any) -> Response:
    return Response(json.dumps(document).encode(), headers={"Content-Type": "application/json"})
