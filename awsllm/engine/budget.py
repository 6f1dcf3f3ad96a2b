"""What a chat template may compute, counted as it goes, so that a stranger's program ends and stays small.

A step is a part of the program that is run, an item that is gone through or made, or 16 characters that are read or
written; it takes about a tenth of a microsecond, seldom half of one. Whatever could take long or grow large is paid for
*before* it is done, from what it is given. A template may take ``STEPS`` and ``PER_INPUT`` more for each step that it
takes to read its conversation once, so that honest templates, which are linear, render conversations of any length. The
count depends on nothing but the program and its values: a busy machine refuses no template that an idle one renders.

``sandbox`` asks: its generated code, its operators, filters, tests and calls. The tables below say what each costs;
what they do not list is refused. What a list or a tuple costs is what a walk through it takes, however often the same
list stands in it, because printing, comparing and hashing walk so, too.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace
from markupsafe import Markup

STEPS: Final = 2_000_000
PER_INPUT: Final = 32
_CHARACTERS: Final = 4  # a step is so many bits of a count of characters: 16
_COMPARED: Final = 10  # and 1,024 characters of a search that goes wrong at the last character, again and again
_MAX_BITS: Final = 4096  # of an integer
_NAIVE_SEARCH: Final = 30_000  # CPython searches longer texts in linear time
_VIEWS: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))
_NUMBERS: Final = re.compile(r"\d+")

Toll = Callable[..., Any]
"""Pays for an operation: called with the budget and what the operation is given. A filter is then given what its toll
returned in the place of its value."""


class TemplateError(ValueError):
    """The template is broken, refuses the conversation (``raise_exception``), or exceeds a limit."""


class Budget:
    """The steps that are left to one rendering."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = STEPS

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TemplateError("the chat template computes or builds more than a conversation of this length needs")

    def write(self, characters: int) -> None:
        self.left -= 1 + (characters >> _CHARACTERS)
        if self.left < 0:
            self.spend(0)

    def admit(self, value: Any) -> None:
        """Allow for a scalar of the conversation."""
        self.left += PER_INPUT * (1 + (len(value) >> _CHARACTERS) if isinstance(value, str) else 1)

    def read(self, *values: Any) -> None:
        """Pay for a walk through the values."""
        stack = list(values)
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                self.write(len(value))
            elif isinstance(value, dict):
                self.spend(1 + len(value))
                stack += value
                stack += value.values()
            elif isinstance(value, (list, tuple)) or type(value) in _VIEWS:
                self.spend(1 + len(value))
                stack += value
            elif isinstance(value, Namespace):
                self.spend(2)
                stack.append(value._Namespace__attrs)  # printed whole
            else:
                self.spend(1 + (value.bit_length() >> 8) if isinstance(value, int) else 1)

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, paid for one by one."""
        for item in items:
            self.spend(1 + len(item) if isinstance(item, list) else 1)
            yield item

    # --- what the generated code calls -------------------------------------------------------------------------------

    def text(self, value: Any) -> str:
        """The value as it is printed."""
        if type(value) is str:
            return value
        self.read(value)
        text = str(value)
        self.write(len(text))
        return text

    def join(self, parts: Iterable[Any]) -> str:
        texts = [self.text(part) for part in parts]
        self.spend(len(texts))
        self.write(sum(map(len, texts)))
        return "".join(texts)

    def sliced(self, value: Any) -> Any:
        """What a slice is to be taken of."""
        self.write(len(value)) if isinstance(value, str) else self.spend(1 + _length(value))
        return value

    def compared(self, value: Any) -> Any:
        """A side of a comparison, or a key."""
        if type(value) is str:
            self.left -= 1 + (len(value) >> _CHARACTERS)
        elif not isinstance(value, (bool, float, type(None))):
            self.read(value)
        if self.left < 0:
            self.spend(0)
        return value

    def contained(self, item: Any, container: Any) -> bool:
        if isinstance(item, str) and isinstance(container, str):
            _search(self, len(container), len(item))
        elif isinstance(container, dict):
            self.compared(item)
        else:
            self.read(item, container)
            self.spend(len(container) if isinstance(container, range) else 0)  # each number may be compared
        return item in container


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0


def _search(budget: Budget, length: int, sought: int, *, backwards: bool = False) -> None:
    naive = sought > 16 and (backwards or length < _NAIVE_SEARCH)
    budget.spend(1 + (length >> _CHARACTERS) + (length * sought >> _COMPARED if naive else 0))


def refuse(what: str) -> SecurityError:
    return SecurityError(f"{what} is not allowed in a chat template")


# --- operators -------------------------------------------------------------------------------------------------------


def operate(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Pay for ``left operator right``."""
    if isinstance(left, str) and operator == "+" and isinstance(right, str):
        budget.write(len(left) + len(right))
    elif isinstance(left, str) and operator == "%":
        _percent(budget, left, right)
    elif operator == "**" and (abs(left) > 1_000_000 or abs(right) > 64):
        raise refuse("a power this large")
    elif operator == "*" and (isinstance(left, (str, list, tuple)) or isinstance(right, (str, list, tuple))):
        sequence, count = (left, right) if isinstance(right, int) else (right, left)
        if isinstance(count, int) and isinstance(sequence, (str, list, tuple)):
            size = len(sequence) * max(0, count)
            budget.write(size) if isinstance(sequence, str) else budget.spend(1 + size)
    elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        budget.spend(1 + len(left) + len(right))
    elif sum(side.bit_length() for side in (left, right) if isinstance(side, int)) > _MAX_BITS:
        raise refuse("an integer this large")


def _percent(budget: Budget, text: str, values: Any) -> None:
    widths = values if isinstance(values, tuple) and "*" in text else ()
    _fill(budget, text, text.count("%"), values, [n for n in widths if isinstance(n, int)])


def _braces(budget: Budget, text: str, *args: Any, **kwargs: Any) -> None:
    if any(spec and "{" in spec for _, _, spec, _ in string.Formatter().parse(text)):
        raise refuse("a format whose width is an argument")
    _fill(budget, text, text.count("{"), [*args, *kwargs.values()], [])


def _fill(budget: Budget, text: str, fields: int, values: Any, widths: list[int]) -> None:
    """A format: any field can be as long as all values together and as wide as the sum of all numbers in it."""
    numbers = _NUMBERS.findall(text)
    if any(len(number) > 9 for number in numbers):
        raise refuse("a format this wide")
    before = budget.left
    budget.read(values)
    budget.spend((before - budget.left) * fields)
    budget.write(len(text) + sum(map(int, numbers)) + sum(map(abs, widths)))


# --- methods and filters ---------------------------------------------------------------------------------------------


def _free(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    return value


def _whole(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Everything is gone through once; the result is about as long."""
    value = list(budget.each(value)) if hasattr(value, "__next__") else value
    budget.read(value, *args, *kwargs.values())
    return value


def _shallow(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Items are gone through, but not what they hold."""
    value = list(budget.each(value)) if hasattr(value, "__next__") else value
    budget.spend(1 + _length(value))
    return value


def _lazy(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Items are gone through as they are asked for, and what is done with each is paid for apart."""
    _check_path(*args, *kwargs.values())
    return budget.each(value)


def _ordered(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Items are compared with others."""
    _check_path(*args, *kwargs.values())
    before = budget.left
    value = _whole(budget, value, *args, **kwargs)
    budget.spend((before - budget.left) * _length(value).bit_length())
    return value


def _check_path(*arguments: Any) -> None:
    """Each item is looked into along a path such as ``function.name``."""
    if any(isinstance(argument, str) and argument.count(".") > 100 for argument in arguments):
        raise refuse("a path this long")


def _summed(budget: Budget, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise refuse("a sum of anything but numbers")
    return _ordered(budget, value, attribute)


def _stripped(budget: Budget, text: Any, characters: Any = None) -> Any:
    budget.read(text)
    budget.write(_length(text) * _length(characters))
    return text


def _found(budget: Budget, text: str, sought: Any, *args: Any) -> str:
    _search(budget, len(text), _length(sought))
    return text


def _found_last(budget: Budget, text: str, sought: Any, *args: Any) -> str:
    _search(budget, len(text), _length(sought), backwards=True)
    return text


def _split(budget: Budget, text: str, sep: Any = None, maxsplit: int = -1) -> str:
    if isinstance(sep, str) and sep:
        _search(budget, len(text), len(sep), backwards=True)
        budget.spend(text.count(sep))
    else:
        budget.spend(1 + len(text) // 2)  # as many words there can be
    return text


def _in_lines(budget: Budget, text: str, *args: Any, **kwargs: Any) -> str:
    budget.write(len(text))
    budget.spend(_lines(text))
    return text


def _lines(text: str) -> int:
    return 1 + sum(map(text.count, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))


def _in_characters(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    """A text may be taken apart into its characters."""
    if isinstance(value, str):
        budget.spend(len(value))
    return _shallow(budget, value)


def _replaced(budget: Budget, text: Any, old: Any, new: Any, count: int | None = None) -> Any:
    text, old, new = budget.text(text), budget.text(old), budget.text(new)
    _search(budget, len(text), len(old))
    found = text.count(old)
    budget.write(len(text) + len(new) * (found if count is None or count < 0 else min(found, count)))
    return text


def _joined(budget: Budget, separator: str, items: Any) -> str:
    """The method; the filter is ``join`` below."""
    budget.read(items)
    budget.write(len(separator) * _length(items))
    return separator


def _centred(budget: Budget, text: Any, width: int = 80, *fill: Any) -> Any:
    budget.read(text)
    budget.write(max(0, width))
    return text


def _indented(budget: Budget, text: Any, width: Any = 4, first: Any = False, blank: Any = False) -> Any:
    text = budget.text(text)
    budget.write(len(text) + _lines(text) * (len(width) if isinstance(width, str) else max(0, width)))
    budget.spend(_lines(text))
    return text


def _filled(budget: Budget, value: Any, count: int, fill_with: Any = None) -> Any:
    """``batch`` and ``slice``: so many places."""
    value = _shallow(budget, value)
    budget.spend(max(0, count))
    return value


def _rounded(budget: Budget, value: Any, precision: int = 0, method: str = "common") -> Any:
    if abs(precision) > 100:
        raise refuse("a precision this large")
    return value


def _whole_number(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> Any:
    if _length(value) > _MAX_BITS:
        raise refuse("an integer this large")
    return value


def _formatted(budget: Budget, text: Any, *args: Any, **kwargs: Any) -> str:
    whole: str = budget.text(text)
    _percent(budget, whole, kwargs or args)
    return whole


_TEXT: Final[dict[str, Toll]] = {
    **dict.fromkeys(("capitalize", "casefold", "lower", "swapcase", "title", "upper"), _whole),
    **dict.fromkeys(("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric"), _whole),
    **dict.fromkeys(("isspace", "istitle", "isupper", "startswith", "endswith"), _whole),
    **dict.fromkeys(("removeprefix", "removesuffix"), _whole),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), _stripped),
    **dict.fromkeys(("count", "find", "index", "partition"), _found),
    **dict.fromkeys(("rfind", "rindex", "rpartition"), _found_last),
    **dict.fromkeys(("split", "rsplit"), _split),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _centred),
    "splitlines": _in_lines,
    "replace": _replaced,
    "join": _joined,
    "format": _braces,
}
_LIST: Final[dict[str, Toll]] = {"index": _whole, "count": _whole, "copy": _shallow}
METHODS: Final[dict[type, dict[str, Toll]]] = {
    str: _TEXT,
    Markup: _TEXT,
    list: _LIST,
    tuple: _LIST,
    dict: {**dict.fromkeys(("items", "keys", "values"), _free), "get": lambda budget, _, *keys: budget.read(*keys[:1]),
           "copy": _shallow},
    int: {},
    bool: {},
    float: {"is_integer": _free},
    **{view: {} for view in _VIEWS},
}  # fmt: skip

FILTERS: Final[dict[str, Toll | None]] = {  # None: takes no time worth counting
    **dict.fromkeys(("attr", "count", "d", "default", "length", "random"), None),
    **dict.fromkeys(("abs", "capitalize", "e", "escape", "filesizeformat", "float", "forceescape", "lower"), _whole),
    **dict.fromkeys(("safe", "truncate", "upper", "urlencode", "xmlattr"), _whole),
    **dict.fromkeys(("first", "last", "items"), _free),
    **dict.fromkeys(("map", "reject", "rejectattr", "select", "selectattr"), _lazy),
    **dict.fromkeys(("dictsort", "groupby", "max", "min", "sort", "unique"), _ordered),
    **dict.fromkeys(("list", "title", "wordcount", "reverse"), _in_characters),
    **dict.fromkeys(("batch", "slice"), _filled),
    "center": _centred,
    "format": _formatted,
    "indent": _indented,
    "int": _whole_number,
    "replace": _replaced,
    "round": _rounded,
    "sum": _summed,
    "trim": _stripped,
}
"""Jinja's own; ``join``, ``string`` and ``tojson`` are below. ``pprint``, ``striptags``, ``urlize`` and ``wordwrap``,
which no chat template needs, have no bound."""

TESTS: Final[dict[str, Toll]] = {
    **dict.fromkeys(("eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<="), _whole),
    **dict.fromkeys(("gt", ">", "greaterthan", "ge", ">=", "lower", "upper", "divisibleby"), _whole),
}
"""The others take no time worth counting; ``in`` is ``Budget.contained``."""


def join(budget: Budget, value: Any, d: Any = "", attribute: Callable[[Any], Any] | None = None) -> str:
    """The filter; ``attribute`` gives of each item what is joined."""
    items = budget.each(value) if attribute is None else map(attribute, budget.each(value))
    texts = [budget.text(item) for item in items]
    separator: str = budget.text(d)
    budget.write(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def tojson(
    budget: Budget,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it: no escapes for HTML."""
    before = budget.left
    budget.read(value, separators)
    if indent:
        width = len(indent) if isinstance(indent, str) else max(0, indent)
        budget.write((before - budget.left) * width * _depth(value))
    budget.spend((before - budget.left) * (1 + sum(map(len, separators or ()))))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _depth(value: Any) -> int:
    depth, layer = 0, [value]
    while layer := [
        child
        for item in layer
        if isinstance(item, (dict, list, tuple))
        for child in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
    return depth
