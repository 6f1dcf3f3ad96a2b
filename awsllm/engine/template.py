"""Chat templates: the Jinja programs that models carry, rendered as transformers' ``apply_chat_template`` does.

A template comes with a model file, so it is a stranger's program. It runs in Jinja's immutable sandbox (no attribute
that begins with an underscore, no method that changes a value), sees nothing but plain JSON values, and is bounded in
what it can build: source, output, repetition and padding have limits. What it can see beside ``messages`` and ``tools``
is what transformers offers: ``bos_token``, ``eos_token``, ``add_generation_prompt``, ``documents``,
``raise_exception``, ``strftime_now``, ``dict``, ``namespace``, the filter ``tojson`` without HTML escapes, loop
controls and the tag ``{% generation %}``, whose body is rendered as it stands.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils
from jinja2.exceptions import SecurityError
from jinja2.filters import do_format

MAX_SOURCE = 1 << 18  # characters; the longest public templates have about 30,000
MAX_OUTPUT = 1 << 25  # characters
_MAX_REPEAT = 1 << 20  # length of one repeated string or list
_PADDING = frozenset(["center", "ljust", "rjust", "zfill", "expandtabs", "format_map"])
_WIDE_FIELD = re.compile(r"\d{4,}|\*|\{[^{}]*:[^{}]*\{")


class TemplateError(ValueError):
    """The template is broken, refuses the conversation (``raise_exception``), or exceeds a limit."""


class ChatTemplate:
    """One compiled template. Immutable, so safe to share between threads.

    ``variables`` are the names the template reads: ``"tools" in variables`` says whether it can describe tools.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source):,} characters; at most {MAX_SOURCE:,} are read")
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        environment = _Sandbox()
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(jinja2.meta.find_undeclared_variables(environment.parse(source)))
        except (jinja2.TemplateError, RecursionError) as error:
            raise TemplateError(f"the chat template does not compile: {error}") from error

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The conversation as the model's prompt. Raises TemplateError."""
        values = {"documents": None, **self._tokens, **_plain(variables)}
        values |= {"messages": _plain(messages), "tools": _plain(tools), "add_generation_prompt": add_generation_prompt}
        try:
            return "".join(_limited(self._template.generate(values)))
        except TemplateError:
            raise
        except Exception as error:  # a template is a program: it can raise whatever an expression can
            raise TemplateError(f"the chat template failed: {error}") from error


def _limited(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_OUTPUT:
            raise TemplateError(f"the rendered conversation exceeds {MAX_OUTPUT:,} characters")
        yield part


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox with what transformers adds, and with bounds on what an expression can build."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
        self.filters["tojson"] = _tojson
        self.filters |= {"center": _bounded(self.filters["center"]), "indent": _bounded(self.filters["indent"])}
        self.filters["format"] = _format
        self.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        self.globals |= {"dict": _Dict(), "namespace": _Namespace}
        del self.globals["lipsum"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_repeat(left, right)
            _check_repeat(right, left)
        elif operator == "**" and (abs(left) > 1_000_000 or abs(right) > 64):
            raise SecurityError("a power this large is not allowed")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _PADDING:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}…{% endgeneration %}`` marks what the model wrote, for training; here its body is all."""

    tags = {"generation"}  # noqa: RUF012 - declared mutable by Jinja's base class

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    """``dict(...)`` without the type behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
    """A namespace whose names do not begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        jinja2.utils.Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _check_repeat(sequence: Any, count: Any) -> None:
    if isinstance(sequence, str | list | tuple) and isinstance(count, int) and len(sequence) * count > _MAX_REPEAT:
        raise SecurityError(f"repeating {len(sequence)} items {count:,} times is not allowed")


def _check_format(text: str) -> None:
    if _WIDE_FIELD.search(text):
        raise SecurityError(f"a format with wide fields is not allowed: {text[:40]!r}")


def _bounded(filter: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, refusing widths beyond what a prompt needs."""

    def checked(value: Any, *args: Any, **kwargs: Any) -> Any:
        widths = [n for n in (*args, *kwargs.values()) if isinstance(n, int)]
        if any(width > 1000 for width in widths):
            raise SecurityError(f"a width of {max(widths):,} is not allowed")
        return filter(value, *args, **kwargs)

    return checked


def _format(text: str, *args: Any, **kwargs: Any) -> str:
    _check_format(str(text))
    return do_format(text, *args, **kwargs)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().astimezone().strftime(format)  # the local date, as a person would say it


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _plain(value: Any) -> Any:
    """A copy in plain JSON types, so that a template cannot reach a method of anything richer."""
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case Mapping():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            raise TemplateError(f"a chat template takes JSON values, not {type(value).__name__}")
