"""`awsllm chat` without a prompt: a conversation that keeps its history.

Ctrl-C stops what is going on, an answer or a half-typed line, and never the program; Ctrl-D or /exit leaves it. An
answer that was stopped is remembered as far as it came; one that failed leaves no trace, so that it can be tried again.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from errno import EEXIST
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from awsllm.cli import flags, rendering, terminal
from awsllm.cli.attachments import attachments
from awsllm.errors import AwsllmError, ContextWindowError, UnsupportedError
from awsllm.policy.configuration_file import configured
from awsllm.types import ContentBlock, ConverseResponse, Message

if TYPE_CHECKING:
    from awsllm.calls.options import ConverseOptions
    from awsllm.client import Client
    from awsllm.models.references import Reference
    from awsllm.policy.groups import Group


class Conversation:
    """The messages so far, and the loop that adds to them. ``attached`` goes into the next turn; ``read`` gives what
    the user typed, by default from the terminal; ``plain`` leaves Markdown as it is."""

    def __init__(
        self,
        client: Client,
        model: str,
        options: ConverseOptions,
        attached: Sequence[ContentBlock] = (),
        *,
        read: Callable[[], str] | None = None,
        plain: bool = False,
    ) -> None:
        self._client = client
        self._model = model
        self._options: ConverseOptions = {**options}
        self._attached = list(attached)
        self._files: set[Path] = set()  # saved to or loaded from: what /save may write again
        self._read = read
        self._plain = plain
        self._tokens = (0, 0)
        self._cost: float | None = 0.0
        self.messages: list[Message] = []

    def run(self) -> None:
        """Read, answer, repeat, until the user leaves."""
        read = self._read or _typing()
        terminal.note(f"{self._model}. /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.")
        while True:
            try:
                text = read()
            except EOFError:
                terminal.write("\n")
                return
            except KeyboardInterrupt:
                terminal.note("\n(Ctrl-D or /exit leaves)")
                continue
            if text.startswith("/") and "\n" not in text:
                if self._command(text):
                    return
            elif text.strip():
                self._turn(Message.user(*self._attached, text.strip()))

    def _turn(self, question: Message) -> None:
        try:
            answer = self._answer([*self.messages, question])
        except AwsllmError as error:
            hint = " (/clear begins anew)" if isinstance(error, ContextWindowError) else ""
            terminal.note(f"awsllm: {flags.spoken(terminal.one_line(error))}{hint}")
            return
        if answer:
            self.messages += [question, *answer]
            self._attached.clear()

    def _answer(self, messages: list[Message]) -> tuple[Message, ...]:
        """Show the answer and give what of it is to be remembered: with tools, their turns too."""
        pieces: list[str] = []
        response: ConverseResponse | None = None
        began = first = time.monotonic()
        try:
            with (
                rendering.view(plain=self._plain) as view,
                self._client.converse_stream(self._model, messages, **self._options) as stream,
            ):
                for piece in stream.text_stream:
                    first = first if pieces else time.monotonic()
                    pieces.append(piece)
                    view.write(piece)
                response = stream.response
        except KeyboardInterrupt:
            pass
        if response is None:
            terminal.note("(stopped)")
            text = "".join(pieces)
            return (Message.assistant(text),) if text.strip() else ()
        terminal.remark(response)
        self._count(response)
        terminal.note(_speed(response, first - began, time.monotonic() - first))
        return response.messages if response.message.content else ()

    def _count(self, response: ConverseResponse) -> None:
        usage = response.usage
        taken = (usage.input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        self._tokens = (self._tokens[0] + taken, self._tokens[1] + (usage.output_tokens or 0))
        self._cost = None if self._cost is None or response.cost is None else self._cost + response.cost

    # --- commands ----------------------------------------------------------------------------------------------------

    def _command(self, line: str) -> bool:
        """Do what a line that begins with a slash asks; true where it asks to leave."""
        name, _, argument = line.strip().partition(" ")
        if name == "/exit":
            return True
        if command := COMMANDS.get(name):
            command(self, argument.strip())
        else:
            near = difflib.get_close_matches(name, [*COMMANDS, "/exit"], n=1)
            terminal.note(f"no command {name}" + (f"; did you mean {near[0]}?" if near else "; /help lists them"))
        return False

    def _help(self, _argument: str) -> None:
        """/help            this list"""
        for command in COMMANDS.values():
            terminal.note(command.__doc__ or "", hang=17)
        terminal.note("/exit            leave, as Ctrl-D does", hang=17)
        terminal.note('Several lines: paste them, press Alt-Enter, or write between """ and """.')
        terminal.note("Ctrl-R searches what you typed before.")
        terminal.note("A question may begin with a slash if a space stands before it.")

    def _switch(self, argument: str) -> None:
        """/model REF       go on with another model or a name of awsllm.toml; without REF, say which one it is"""
        if argument:
            try:
                self._model = chosen(argument)
            except AwsllmError as error:
                terminal.note(terminal.one_line(error))
                return
        terminal.note(f"({self._model})")

    def _system(self, argument: str) -> None:
        """/system TEXT     set the system prompt; - takes it away, nothing shows it"""
        if argument:
            self._options["system"] = None if argument == "-" else argument
        terminal.note(f"(system prompt: {self._options.get('system') or 'none'})")

    def _document(self, argument: str) -> None:
        """/document FILE   put a document into the next turn"""
        self._attach(argument, lambda path: attachments((), [path], self._attached))

    def _image(self, argument: str) -> None:
        """/image FILE      put an image into the next turn"""
        self._attach(argument, lambda path: attachments([path], (), self._attached))

    def _attach(self, argument: str, load: Callable[[Path], list[ContentBlock]]) -> None:
        def act(path: Path) -> None:
            self._attached += load(path)

        if self._with_file(argument, act):
            terminal.note(f"({argument} goes into the next turn)")

    def _retry(self, _argument: str) -> None:
        """/retry           ask the last question again"""
        at = next(
            (
                i
                for i in reversed(range(len(self.messages)))
                if self.messages[i].text and self.messages[i].role == "user"
            ),
            None,
        )
        if at is None:
            terminal.note("nothing was asked yet")
            return
        question, before = self.messages[at], self.messages
        self.messages = before[:at]
        self._turn(question)
        if len(self.messages) == at:  # it failed: what was there stays
            self.messages = before

    def _usage(self, _argument: str) -> None:
        """/usage           what the conversation has used so far"""
        cost = "" if not self._cost else f", ${self._cost:.4f}"
        terminal.note(f"({self._tokens[0]:,} tokens in, {self._tokens[1]:,} out{cost}; {len(self.messages)} messages)")

    def _clear(self, _argument: str) -> None:
        """/clear           forget the conversation"""
        self.messages = []
        self._attached.clear()
        terminal.note("(forgotten)")

    def _save(self, argument: str) -> None:
        """/save FILE       write the conversation to a JSON file"""
        document = msgspec.json.format(msgspec.json.encode(self.messages))

        def save(path: Path) -> None:
            if path not in self._files and path.exists():
                raise FileExistsError(EEXIST, "it exists and is not this conversation's: choose another name")
            path.write_bytes(document)
            self._files.add(path)

        if self._with_file(argument, save):
            terminal.note(f"({len(self.messages)} messages: {argument})")

    def _load(self, argument: str) -> None:
        """/load FILE       go on with a conversation that was saved"""

        def load(path: Path) -> None:
            self.messages = msgspec.json.decode(path.read_bytes(), type=list[Message])
            self._files.add(path)

        if self._with_file(argument, load):
            terminal.note(f"({len(self.messages)} messages: {argument})")

    def _with_file(self, argument: str, act: Callable[[Path], object]) -> bool:
        """Do something with a file; false, and said why, where that cannot be done."""
        if not argument:
            terminal.note("name a file")
            return False
        try:
            act(Path(argument).expanduser())
        except OSError as error:
            terminal.note(f"{argument}: {error.strerror or error}")
        except msgspec.MsgspecError as error:
            terminal.note(f"{argument} is no saved conversation: {error}")
        except AwsllmError as error:
            terminal.note(terminal.one_line(error))
        else:
            return True
        return False


COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "/help": Conversation._help,
    "/model": Conversation._switch,
    "/system": Conversation._system,
    "/document": Conversation._document,
    "/image": Conversation._image,
    "/retry": Conversation._retry,
    "/usage": Conversation._usage,
    "/clear": Conversation._clear,
    "/save": Conversation._save,
    "/load": Conversation._load,
}


def chosen(model: str) -> str:
    """The reference or name, if what it means may be talked to: what is known of local models is asked before a
    question is typed. Raises ``ModelNotFoundError``, ``UnsupportedError`` and what a reference that is none raises."""
    from awsllm.models.references import parse_reference

    meant = names().get(model)
    if meant is None:
        reference = parse_reference(model)
        _check(reference)
        return str(reference)
    for one in (parse_reference(meant),) if isinstance(meant, str) else [member.reference for member in meant.members]:
        _check(one)
    return model


def names() -> Mapping[str, str | Group]:
    """What the awsllm.toml names that a client finds."""
    found = configured(None)
    return {} if found is None else {**found.aliases, **found.groups}


def _check(reference: Reference) -> None:
    from awsllm.store import KINDS, Store

    if reference.scheme == "local":
        store = Store()
        store.check(reference.model)
        row = store.row(reference.model)
        if row is not None and row.kind in ("embed", "rerank"):
            raise UnsupportedError(
                f"{reference} {KINDS[row.kind]}; chat with local:smollm2-135m-instruct or another chat model"
            )


def _typing() -> Callable[[], str]:
    from awsllm.cli.prompting import Typing

    return Typing([*COMMANDS, *(f"/model {name}" for name in names()), "/exit"]).read


def _speed(response: ConverseResponse, waited: float, writing: float) -> str:
    """How much was written and how fast; the wait for the first word is told apart."""
    tokens = response.usage.output_tokens
    if tokens is None:
        return f"({waited + writing:.1f} s)"
    rate = f", {(tokens - 1) / writing:.0f} a second" if tokens > 1 and writing > 0.01 else ""
    return f"({tokens} tokens after {waited:.1f} s{rate})"
