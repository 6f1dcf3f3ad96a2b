"""Where a stranger's chat template runs: Jinja's immutable sandbox, with every operation paid for from a ``Budget``.

Jinja compiles a template to Python. A code generator of our own has each block of statements say ``spend(n)`` with the
number of its nodes before it runs, so loops, macros and recursion are counted wherever they come from, and has output,
captures, ``~``, comparisons and slices go through the budget's functions. Operators, filters, tests, attributes and
calls are hooks that Jinja offers; there the tables of ``budget`` say what may be used and what it costs. The budget is
the rendering's own: it hangs on the context, which every piece of generated code is given.

What a template can see beside its values is what transformers offers: ``raise_exception``, ``strftime_now``, ``dict``,
``namespace``, the filter ``tojson`` without HTML escapes, loop controls and the tag ``{% generation %}``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from operator import attrgetter
from types import BuiltinMethodType, FunctionType
from typing import Any, NoReturn

import jinja2
import jinja2.compiler
import jinja2.ext
import jinja2.filters
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.tests
import jinja2.utils
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Macro

from awsllm.engine import budget as tolls
from awsllm.engine.budget import Budget, Toll, refuse

MAX_NODES = 1 << 14  # of the syntax tree; the longest public templates have about 4,000
_MAX_BRANCHED = 1 << 20  # assignments times branches: Jinja follows each variable through each branch as it compiles
_CALL = 8  # steps of any call
_OTHER_FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
_KEYS = (str, int, float, type(None), jinja2.Undefined)
_DATE_FORMAT = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%]){0,100}")
_COUNTED = " counted"  # a filter, under a name that no template can write


class _Context(Context):
    """What generated code is given, with the rendering's budget."""

    budget: Budget

    def derived(self, locals: dict[str, Any] | None = None) -> Context:
        derived = super().derived(locals)
        assert isinstance(derived, _Context)  # noqa: S101 -- the environment's context_class
        derived.budget = self.budget
        return derived


class _MeteredCode(CodeGenerator):
    """Writes Python that pays as it goes. The names that a template gives never look like those used here."""

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("budget = context.budget")
        self.writeline("spend, str = budget.spend, budget.text")
        self.writeline("concat = str_join = budget.join")

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        body = list(nodes)
        self.writeline(f"spend({2 + sum(map(_weight, body))})")
        super().blockvisit(body, frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 -- Jinja's name
        if node.ops[0].op in ("in", "notin"):
            if len(node.ops) > 1:
                self.fail("a comparison cannot go on after 'in'", node.lineno)
            self.write("(not " if node.ops[0].op == "notin" else "(")
            self._through("contained", [node.expr, node.ops[0].expr], frame)
        else:
            self.write("(")
            self._through("compared", [node.expr], frame)
            for operand in node.ops:
                if operand.op in ("in", "notin"):
                    self.fail("a comparison cannot go on with 'in'", node.lineno)
                self.write(f" {operators[operand.op]} ")
                self._through("compared", [operand.expr], frame)
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self._through("sliced", [node.node], frame)
        self.write("[")
        self.visit(node.arg, frame)
        self.write("]")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self.write("{")
        for item in node.items:
            self._through("compared", [item.key], frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("}")

    def _through(self, function: str, arguments: list[nodes.Expr], frame: Frame) -> None:
        """A call of the budget's function; what stands in the template itself is paid for with its block."""
        if function == "compared" and isinstance(arguments[0], nodes.Const):
            self.visit(arguments[0], frame)
            return
        self.write(f"budget.{function}(")
        for argument in arguments:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")


def _weight(node: nodes.Node) -> int:
    """The steps of a statement or an expression, less the blocks in it."""
    weight = 1 + sum(map(_weight, node.iter_child_nodes(exclude=("body", "else_"))))
    for text in (getattr(node, "value", None), getattr(node, "data", None)):
        weight += len(text) >> 4 if isinstance(text, str) else 0
    return weight


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """The sandbox with what transformers adds, less what cannot be bounded."""

    context_class = _Context
    code_generator_class = _MeteredCode
    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
        known: dict[str, Any] = jinja2.filters.FILTERS
        self.filters: dict[str, Any] = {name: _metered(known[name], toll) for name, toll in tolls.FILTERS.items()}
        self.filters |= {"join": _join, "string": _string, "tojson": _tojson, _COUNTED: _counted}
        tests: dict[str, Any] = jinja2.tests.TESTS
        self.tests = {**tests, **{name: _metered(tests[name], toll) for name, toll in tolls.TESTS.items()}, "in": _in}
        self.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        self.globals |= {"dict": _Dict(), "namespace": _Namespace}
        del self.globals["lipsum"]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        count = assigned = branches = 0
        for node in tree.find_all(nodes.Node):
            count += 1
            assigned += isinstance(node, nodes.Name) and node.ctx != "load"
            branches += isinstance(node, (nodes.If, nodes.For))
            if isinstance(node, _OTHER_FILES):
                raise refuse("reading another template")
            if isinstance(node, nodes.For) and node.test is not None:  # it runs outside of every block
                weight = nodes.Const(_weight(node.test))
                node.test = nodes.Filter(node.test, _COUNTED, [weight], [], None, None)
        if count > MAX_NODES or assigned * branches > _MAX_BRANCHED:
            raise refuse(f"a program of {count:,} parts")
        tree.set_environment(self)
        return tree

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, _KEYS):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                return super().getitem(obj, argument)
        return self.undefined(obj=obj, name=type(argument).__name__)  # hashing and naming it might take for ever

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        methods = tolls.METHODS.get(type(obj))
        return attr in methods if methods is not None else super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        return None if getattr(value, "__name__", None) == "format_map" else super().wrap_str_format(value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if type(left) is str and type(right) is str and operator == "+":  # what most templates do most
            context.budget.write(len(left) + len(right))  # type: ignore[attr-defined]
            return left + right
        tolls.operate(_budget(context), operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        for name in ("_loop_vars", "_block_vars"):  # for functions that are given the context
            kwargs.pop(name, None)
        budget.spend(_CALL + len(args) + len(kwargs))
        if isinstance(called, BuiltinMethodType):
            toll = tolls.METHODS.get(type(called.__self__), {}).get(called.__name__)
            if toll is None:
                raise refuse(f"calling {called.__name__}")
            if called.__name__ == "join" and len(args) == 1:  # its items may be a generator's
                return tolls.join(budget, args[0], called.__self__)
            toll(budget, called.__self__, *args, **kwargs)
        elif isinstance(called, FunctionType) and hasattr(called, "__wrapped__"):
            tolls.METHODS[str]["format"](budget, called.__wrapped__.__self__, *args, **kwargs)
        elif not isinstance(called, (Macro, LoopContext)):
            budget.read(args, kwargs)
        return super().call(context, called, *args, **kwargs)


def _budget(context: Context) -> Budget:
    budget: Budget = context.budget  # type: ignore[attr-defined]
    return budget


# --- filters and tests -----------------------------------------------------------------------------------------------


_LEADS: dict[Any, Callable[[Context], Any]] = {  # what Jinja's own give themselves to be called with before the value
    jinja2.utils._PassArg.context: lambda context: context,
    jinja2.utils._PassArg.eval_context: attrgetter("eval_ctx"),
    jinja2.utils._PassArg.environment: attrgetter("environment"),
}


def _metered(function: Callable[..., Any], toll: Toll | None) -> Callable[..., Any]:
    """Jinja's filter or test, paid for first."""
    if toll is None:
        return function
    lead = _LEADS.get(jinja2.utils._PassArg.from_obj(function))

    @jinja2.pass_context
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        value = toll(budget, value, *args, **kwargs)
        given = (value, *args) if lead is None else (lead(context), value, *args)
        result = function(*given, **kwargs)
        return budget.each(result) if hasattr(result, "__next__") else result

    return metered


@jinja2.pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    getter = None if attribute is None else jinja2.filters.make_attrgetter(context.environment, attribute)
    return tolls.join(_budget(context), value, d, getter)


@jinja2.pass_context
def _string(context: Context, value: Any) -> str:
    return value if isinstance(value, str) else _budget(context).text(value)


@jinja2.pass_context
def _tojson(context: Context, value: Any, *args: Any, **kwargs: Any) -> str:
    return tolls.tojson(_budget(context), value, *args, **kwargs)


@jinja2.pass_context
def _in(context: Context, value: Any, container: Any) -> bool:
    return _budget(context).contained(value, container)


@jinja2.pass_context
def _counted(context: Context, value: Any, steps: int) -> Any:
    """The condition of a loop, paid for."""
    _budget(context).spend(steps)
    return value


# --- what transformers adds ------------------------------------------------------------------------------------------


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


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    """The local date, as a person would say it."""
    if not _DATE_FORMAT.fullmatch(format):
        raise refuse("a date this wide")
    return datetime.datetime.now().astimezone().strftime(format)
