"""Whether a test's output tells a secret: what each test signs with is learned, and what it prints is searched for it.

Learned is what the code under test really uses: the keys and session tokens that requests are signed with, the API keys
that servers ask for, bearer tokens and the like of the environment, and whatever a test plants by ``WATCH.plant``.
Heard is what a program would put before eyes: standard output and error (also of what is started, and what tests read
with ``capsys``), logs, the texts of awsllm's errors, and the files that the test leaves but for those that are made to
hold secrets. Once the test is over each is searched for each; what is found fails the test, and shows the place only.

A test that prints a secret on purpose says so with ``@pytest.mark.tells_secrets(why)``; ``tests/test_leaks.py`` has the
list of them.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHORTEST = 12  # characters of what counts: shorter ones are words ("testing", "secret") that texts may have
PROMPT = "planted-prompt-5f1c7d"
"""In a prompt, what nothing may tell but the request itself."""

_LARGEST = 1_000_000  # bytes of a file that is read
_NO_TEXT = {".safetensors", ".gguf", ".so", ".whl", ".zip", ".gz", ".png", ".pyc"}
_SECRET_NAMES = ("SECRET", "TOKEN", "API_KEY", "PASSWORD")
# Files that hold secrets because that is what they are for, by a part of their names.
_KEEPERS = ("credentials", "config", "key", "secret", ".env", "token", ".pem", "keys", "instance", "serve")
# Values that documentation prints, which are no secrets.
_EXAMPLES = frozenset({"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"})


class Watch:
    """What one test uses of secrets, and what it tells."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.heard: list[tuple[str, str]] = []

    def plant(self, *values: str | None) -> None:
        """What is to be found nowhere from now on, in this test."""
        self.secrets.update(value for value in values if value and len(value) >= SHORTEST and value not in _EXAMPLES)

    def hear(self, where: str, text: Any) -> None:
        if text:
            self.heard.append((where, text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)))

    def hear_files(self, folder: Path) -> None:
        """What a test leaves on the disk."""
        if not self.secrets:
            return
        for path in folder.rglob("*"):
            kept = path.relative_to(folder).as_posix().lower()
            if path.suffix in _NO_TEXT or any(word in kept for word in _KEEPERS) or path.is_symlink():
                continue
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    self.hear(f"the file {kept}", path.read_bytes())

    def leaks(self) -> list[str]:
        """Where a secret was told, without the secret."""
        return sorted(
            {
                f"{where} tells {secret[:4]}… ({len(secret)} characters)"
                for where, text in self.heard
                for secret in self.secrets
                if secret in text
            }
        )

    def clear(self) -> None:
        self.secrets.clear()
        self.heard.clear()


WATCH = Watch()


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """Learn and hear, for as long as the tests run."""
    patch = pytest.MonkeyPatch()
    _learn(patch)
    _listen(patch)
    try:
        yield
    finally:
        patch.undo()


def _learn(patch: pytest.MonkeyPatch) -> None:
    from awsllm.aws import session, signing

    sign, stripped, setenv = signing.Scope.sign, session._stripped, pytest.MonkeyPatch.setenv

    def watched_sign(scope: Any, canonical: str, secret: str) -> str:
        WATCH.plant(secret)
        return sign(scope, canonical, secret)

    def watched_keys(keys: Any) -> Any:
        found = stripped(keys)
        WATCH.plant(found.secret_key, found.token)
        return found

    def watched_setenv(self: pytest.MonkeyPatch, name: str, value: str, prepend: str | None = None) -> None:
        if any(word in name for word in _SECRET_NAMES) and "/" not in value[:1]:
            WATCH.plant(value)
        setenv(self, name, value, prepend)

    patch.setattr(signing.Scope, "sign", watched_sign)
    patch.setattr(session, "_stripped", watched_keys)
    patch.setattr(pytest.MonkeyPatch, "setenv", watched_setenv)


def _listen(patch: pytest.MonkeyPatch) -> None:
    from awsllm.errors import AwsllmError

    begin, communicate, readouterr = (
        AwsllmError.__init__,
        subprocess.Popen.communicate,
        pytest.CaptureFixture.readouterr,
    )

    def heard_error(self: AwsllmError, message: str, *arguments: Any, **options: Any) -> None:
        WATCH.hear(f"a {type(self).__name__}", message)
        begin(self, message, *arguments, **options)

    def heard_output(self: Any, *arguments: Any, **options: Any) -> Any:
        done = communicate(self, *arguments, **options)
        for name, text in zip(("output", "errors"), done, strict=True):
            WATCH.hear(f"the {name} of a program", text)
        return done

    def heard_capture(self: Any) -> Any:
        read = readouterr(self)
        WATCH.hear("what was printed", read.out)
        WATCH.hear("what was printed on stderr", read.err)
        return read

    patch.setattr(AwsllmError, "__init__", heard_error)
    patch.setattr(subprocess.Popen, "communicate", heard_output)
    patch.setattr(pytest.CaptureFixture, "readouterr", heard_capture)
