"""What one types: lines that can be edited, a history that can be searched, several lines as one message.

Enter sends. A paste of several lines is one message (terminals mark pastes, so the line breaks in one send nothing);
Alt-Enter begins a new line, and what begins with three quotes goes on until they are closed. Up and Ctrl-R go through
what was typed before, in this conversation and in others: it is kept in the cache directory, for its owner alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from awsllm.errors import ConfigurationError
from awsllm.store import default_cache_dir

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "> "
_QUOTES = '"""'


class Typing:
    """Reads messages from the terminal. ``commands`` are completed by Tab."""

    def __init__(self, commands: Sequence[str] = ()) -> None:
        try:
            import prompt_toolkit  # noqa: F401
        except ImportError as error:
            message = "a conversation needs prompt_toolkit: pip install 'awsllm[cli]'; or give a PROMPT"
            raise ConfigurationError(message) from error
        self._session = _session(commands)

    def read(self) -> str:
        """The next message, without the quotes around it. Raises ``EOFError`` for Ctrl-D and ``KeyboardInterrupt``."""
        return unquoted(self._session.prompt())


def unquoted(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith(_QUOTES):
        return text
    return stripped.removeprefix(_QUOTES).removesuffix(_QUOTES).strip("\n")


def is_open(text: str) -> bool:
    """Whether quotes have been opened and not closed."""
    stripped = text.strip()
    return stripped.startswith(_QUOTES) and not (len(stripped) >= 2 * len(_QUOTES) and stripped.endswith(_QUOTES))


def _session(commands: Sequence[str]) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation="  ",
        history=_history(),
        key_bindings=_keys(),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
    )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        if is_open(event.current_buffer.text):
            event.current_buffer.newline()
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    return keys


def _history() -> FileHistory | None:
    """None where the cache directory cannot be written: then nothing is remembered."""
    from prompt_toolkit.history import FileHistory

    path = default_cache_dir() / "chat_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return None
    return FileHistory(str(path))
