"""Chat templates: the Jinja programs that models carry, rendered as transformers' ``apply_chat_template`` does.

A template comes with a model file, so it is a stranger's program. It runs in a sandbox (``sandbox``), sees nothing but
plain JSON values, and has a budget of time and memory (``budget``), measured by the length of its conversation. Its
variables are ``messages``, ``tools``, ``documents``, ``bos_token``, ``eos_token`` and ``add_generation_prompt``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jinja2
import jinja2.meta

from awsllm.engine.budget import Budget, TemplateError
from awsllm.engine.sandbox import Sandbox

__all__ = ["MAX_OUTPUT", "MAX_SOURCE", "ChatTemplate", "TemplateError"]

MAX_SOURCE = 1 << 17  # characters; the longest public templates have about 30,000
MAX_OUTPUT = 1 << 25  # characters
_MAX_MESSAGE = 1000  # characters of what a template has to say against a conversation


class ChatTemplate:
    """One compiled template. Immutable, so safe to share between threads.

    ``variables`` are the names the template reads: ``"tools" in variables`` says whether it can describe tools.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source):,} characters; at most {MAX_SOURCE:,} are read")
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        environment = Sandbox()
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source)))
        except Exception as error:  # of Jinja, and of Python where what Jinja writes nests too deeply
            raise TemplateError(f"the chat template does not compile: {_words(error)}") from error

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The conversation as the model's prompt. Raises TemplateError."""
        budget = Budget()
        try:
            values = _plain(
                {"documents": None, **self._tokens, **variables, "messages": messages, "tools": tools}, budget
            )
            context = self._template.new_context({**values, "add_generation_prompt": add_generation_prompt})
            context.budget = budget  # type: ignore[attr-defined] # the sandbox's context has one
            return "".join(_limited(self._template.root_render_func(context)))
        except TemplateError:
            raise
        except Exception as error:  # a template is a program: it can raise whatever an expression can
            raise TemplateError(f"the chat template failed: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error)[:_MAX_MESSAGE] or type(error).__name__


def _limited(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_OUTPUT:
            raise TemplateError(f"the rendered conversation exceeds {MAX_OUTPUT:,} characters")
        yield part


def _plain(value: Any, budget: Budget) -> Any:
    """A copy in plain JSON types, so that a template cannot reach what is richer. The budget grows by it."""
    budget.admit(value)
    match value:
        case str():
            return str.__str__(value)
        case Mapping():
            return {_plain(key, budget): _plain(item, budget) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, budget) for item in value]
        case None | bool():
            return value
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case _:
            raise TemplateError(f"a chat template takes JSON values, not {type(value).__name__}")
