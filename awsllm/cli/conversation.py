"""`awsllm chat` without a prompt: a conversation that keeps its history.

Ctrl-C stops what is going on, an answer or a half-typed line, and never the program; Ctrl-D or /exit leaves it. An
answer that was stopped is remembered as far as it came; one that failed leaves no trace, so that it can be tried again.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from awsllm.cli import terminal
from awsllm.errors import AwsllmError, ContextWindowError
from awsllm.store import default_cache_dir
from awsllm.types import ContentBlock, ConverseResponse, Message

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions
    from awsllm.client import Client

PROMPT = "> "
_HISTORY_LINES = 1000


class Conversation:
    """The messages so far, and the loop that adds to them. ``attached`` goes into the first turn."""

    def __init__(
        self, client: Client, model: str, options: ConverseOptions, attached: Sequence[ContentBlock] = ()
    ) -> None:
        self._client = client
        self._model = model
        self._options = options
        self._attached = tuple(attached)
        self.messages: list[Message] = []

    def run(self) -> None:
        """Read, answer, repeat, until the user leaves."""
        terminal.note(f"{self._model}. /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.")
        with _line_editing():
            while True:
                try:
                    line = input(PROMPT)
                except EOFError:
                    terminal.write("\n")
                    return
                except KeyboardInterrupt:
                    terminal.note("\n(Ctrl-D or /exit leaves)")
                    continue
                if line.startswith("/"):
                    if self._command(line):
                        return
                elif line.strip():
                    self._turn(line.strip())

    def _turn(self, text: str) -> None:
        question = Message.user(*self._attached, text)
        try:
            answer = self._answer([*self.messages, question])
        except AwsllmError as error:
            hint = " (/clear begins anew)" if isinstance(error, ContextWindowError) else ""
            terminal.note(f"awsllm: {terminal.one_line(error)}{hint}")
            return
        if answer is not None:
            self.messages += [question, answer]
            self._attached = ()

    def _answer(self, messages: list[Message]) -> Message | None:
        """Show the answer and give what of it is to be remembered, None where that is nothing."""
        pieces: list[str] = []
        response: ConverseResponse | None = None
        try:
            with self._client.converse_stream(self._model, messages, **self._options) as stream:
                for piece in stream.text_stream:
                    pieces.append(piece)
                    terminal.write(piece)
                response = stream.response
        except KeyboardInterrupt:
            pass
        finally:
            if pieces:
                terminal.write("\n")
        if response is None:
            terminal.note("(stopped)")
            text = "".join(pieces)
            return Message.assistant(text) if text.strip() else None
        terminal.remark(response)
        return response.message if response.message.content else None

    # --- commands ----------------------------------------------------------------------------------------------------

    def _command(self, line: str) -> bool:
        """Do what a line that begins with a slash asks; true where it asks to leave."""
        name, _, argument = line.strip().partition(" ")
        if name == "/exit":
            return True
        if command := _COMMANDS.get(name):
            command(self, argument.strip())
        else:
            near = difflib.get_close_matches(name, [*_COMMANDS, "/exit"], n=1)
            terminal.note(f"no command {name}" + (f"; did you mean {near[0]}?" if near else "; /help lists them"))
        return False

    def _help(self, _argument: str) -> None:
        """/help            this list"""
        for command in _COMMANDS.values():
            terminal.note(command.__doc__ or "")
        terminal.note(
            "/exit            leave, as Ctrl-D does\nA question may begin with a slash if a space stands before it."
        )

    def _clear(self, _argument: str) -> None:
        """/clear           forget the conversation"""
        self.messages.clear()
        terminal.note("(forgotten)")

    def _save(self, argument: str) -> None:
        """/save FILE       write the conversation to a JSON file"""
        self._with_file(
            argument, lambda path: path.write_bytes(msgspec.json.format(msgspec.json.encode(self.messages)))
        )

    def _load(self, argument: str) -> None:
        """/load FILE       go on with a conversation that was saved"""

        def load(path: Path) -> None:
            self.messages = msgspec.json.decode(path.read_bytes(), type=list[Message])

        self._with_file(argument, load)

    def _with_file(self, argument: str, act: Callable[[Path], object]) -> None:
        if not argument:
            terminal.note("name a file")
            return
        try:
            act(Path(argument).expanduser())
        except OSError as error:
            terminal.note(f"{argument}: {error.strerror or error}")
        except msgspec.MsgspecError as error:
            terminal.note(f"{argument} is no saved conversation: {error}")
        else:
            terminal.note(f"({len(self.messages)} messages: {argument})")


_COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "/help": Conversation._help,
    "/clear": Conversation._clear,
    "/save": Conversation._save,
    "/load": Conversation._load,
}


@contextlib.contextmanager
def _line_editing() -> Iterator[None]:
    """Arrow keys and a history that outlives the program, where the platform has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = default_cache_dir() / "chat_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what one asks is nobody else's business
            readline.write_history_file(path)
