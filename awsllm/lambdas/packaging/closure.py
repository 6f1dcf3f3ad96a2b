"""Which modules a handler can come to need: what a package holds of awsllm is derived, not listed.

Every module that the roots import is needed, those that are imported inside functions too, and so are the packages
that they stand in. Five things make the difference between that and nearly the whole of awsllm, or too little of it:

- What is imported for type checking alone is not needed.
- An import inside a function counts where the function can be called: where its name is used somewhere in what is
  needed (a method's as an attribute, or as text beside a ``getattr`` of a computed name). ``Client.jumpstart`` imports
  JumpStart, and a handler that never says ``.jumpstart`` does without. Names alone are compared, not types, so too
  much is packed now and then, and too little where a name is computed elsewhere; ``--include`` adds that. Of the roots
  themselves every function counts.
- A client's methods count where something says so that can hold a client: what stands below it (``_BELOW``) knows
  none, and its ``settings.batch`` is no ``client.batch``.
- A table of module names (``BODIES``, ``MODULES``) is an import of each.
- A package whose ``__getattr__`` resolves names at first use is an import of what is asked of it by name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

PACKAGE = "awsllm"
HANDLERS = "awsllm.lambdas."
_CLIENTS = ("awsllm.client", "awsllm.async_client")
_BELOW = tuple(
    f"awsllm.{room}."
    for room in (
        "aws",
        "backends",
        "calls",
        "engine",
        "models",
        "policy",
        "store",
        "telemetry",
        "tools",
        "types",
        "wire",
    )
)
# Decorators under which a function is called by its own name alone; any other may keep it and call it unnamed.
_PLAIN = {
    *("abstractmethod", "asynccontextmanager", "cache", "cached_property", "classmethod", "contextmanager"),
    *("deprecated", "documented", "final", "grouped", "lru_cache", "overload", "override", "property", "setter"),
    *("singledispatch", "staticmethod", "wraps"),
}
# Bases whose subclasses nobody calls by a name of the base's own; the methods of any other foreign base's may be.
_INERT = {
    *("Enum", "Exception", "Generic", "IntEnum", "NamedTuple", "Protocol", "StrEnum", "Struct", "TypedDict", "object"),
}


class Unit(msgspec.Struct):
    """Code that runs together: a module's own, or a function's. ``function`` is None for a module.

    ``names`` and ``attributes`` are what it uses, ``keywords`` what it passes by name, ``texts`` its constants.
    ``always``: nothing in sight need name it for it to run. ``computes``: it asks for members by computed names.
    """

    function: str | None = None
    method: bool = False
    always: bool = False
    computes: bool = False
    imports: set[str] = msgspec.field(default_factory=set)
    names: set[str] = msgspec.field(default_factory=set)
    attributes: set[str] = msgspec.field(default_factory=set)
    keywords: set[str] = msgspec.field(default_factory=set)
    texts: set[str] = msgspec.field(default_factory=set)
    inner: list[Unit] = msgspec.field(default_factory=list)

    def walk(self) -> Iterator[Unit]:
        yield self
        for unit in self.inner:
            yield from unit.walk()


_Name = tuple[str, str]  # of a function (""), a method, or a client's method


class Closure(msgspec.Struct, frozen=True):
    """``modules``: what of awsllm is needed. ``foreign``: the top-level modules that others provide, and the module
    that first imports each. ``said``: the keywords, texts and imported names of the roots' own code, and of what
    awsllm's handlers are made of."""

    modules: frozenset[str]
    foreign: dict[str, str]
    said: frozenset[str]


def own_modules() -> dict[str, Path]:
    """awsllm's modules as they lie here, by name."""
    return modules_in(Path(__file__).parents[2], PACKAGE)


def modules_in(folder: Path, package: str = "") -> dict[str, Path]:
    """The modules under a folder that is on the path, or is the package of that name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join([*([package] if package else []), *parts]).removesuffix(".__init__")
        found[name] = path
    return found


def closure(roots: Iterable[str], modules: Mapping[str, Path]) -> Closure:
    """What ``roots`` need of ``modules``, which holds awsllm's and may hold others."""
    return _Search(modules, roots).run()


class _Search:
    def __init__(self, modules: Mapping[str, Path], roots: Iterable[str]) -> None:
        self._known = modules
        self._roots = dict.fromkeys(roots)
        self._units: dict[str, Unit] = {}
        self._lazy = {name: self._table(name) for name in self._lazy_packages()}
        self._entered: set[int] = set()
        self._used: set[_Name] = set()
        self._waiting: dict[_Name, list[tuple[str, Unit]]] = {}
        self._foreign: dict[str, str] = {}
        self._todo: list[tuple[str, Unit]] = []

    def run(self) -> Closure:
        for root in self._roots:
            self._need(root)
        while self._todo:
            self._enter(*self._todo.pop())
        said: set[str] = set()
        for name in [name for name in self._units if name in self._roots or name.startswith(HANDLERS)]:
            for unit in self._units[name].walk():
                said |= unit.keywords | unit.texts | {name.rpartition(".")[2] for name in unit.imports}
        own = frozenset(name for name in self._units if name.partition(".")[0] == PACKAGE)
        return Closure(own, dict(sorted(self._foreign.items())), frozenset(said))

    def _need(self, name: str) -> None:
        """A module, and the packages around it."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module in self._units or module not in self._known:
                continue
            unit = self._units[module] = read_unit(self._known[module], module, self._known)
            self._todo.append((module, unit))

    def _enter(self, module: str, unit: Unit) -> None:
        """Code that can run: what it imports is needed, and what it names can be called."""
        if id(unit) in self._entered:
            return
        self._entered.add(id(unit))
        for target in unit.imports:
            self._import(module, target)
        members = unit.attributes | (unit.texts if unit.computes or module in self._roots else set())
        kinds = ("method",) if f"{module}.".startswith(_BELOW) else ("method", "client")
        used = {("", name) for name in unit.names | members} | {(kind, name) for name in members for kind in kinds}
        for name in used - self._used:
            self._todo += self._waiting.pop(name, ())
        self._used |= used
        for inner in unit.inner:
            kind = "" if not inner.method else "client" if module in _CLIENTS else "method"
            name = (kind, str(inner.function))
            if inner.always or name in self._used or module in self._roots:
                self._todo.append((module, inner))
            else:
                self._waiting.setdefault(name, []).append((module, inner))

    def _import(self, module: str, target: str) -> None:
        package, _, name = target.rpartition(".")
        table = self._lazy.get(package, {})
        if target in self._known:
            self._need(target)
        elif package in self._known:
            self._need(package)
            for home in table.values() if name == "*" else [table[name]] if name in table else []:
                self._need(home)
        else:
            self._foreign.setdefault(target.partition(".")[0], module)

    def _lazy_packages(self) -> Iterator[str]:
        for name, path in self._known.items():
            if path.name == "__init__.py" and "def __getattr__" in path.read_text(encoding="utf-8"):
                yield name

    def _table(self, package: str) -> dict[str, str]:
        """Public name -> module, of the tables in a package that resolves its names at first use."""
        found: dict[str, str] = {}
        for node in ast.parse(self._known[package].read_text(encoding="utf-8")).body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if not isinstance(value, ast.Dict):
                continue
            for key, home in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(home, ast.Constant) and isinstance(home.value, str):
                    for module in (f"{package}.{home.value}", home.value):
                        if module in self._known:
                            found[str(key.value)] = module
        return found


def read_unit(path: Path, module: str, known: Mapping[str, Path]) -> Unit:
    """A module's code as units. Raises ``SyntaxError`` as Python does."""
    unit = Unit()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    _Reader(module, package, known).read(ast.parse(path.read_text(encoding="utf-8"), str(path)), unit)
    return unit


class _Reader:
    def __init__(self, module: str, package: str, known: Mapping[str, Path]) -> None:
        self._module = module
        self._package = package
        self._known = known
        self._others: set[str] = set()  # names that come from modules which are not known here

    def read(self, node: ast.AST, unit: Unit) -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child, unit)

    def _visit(self, node: ast.AST, unit: Unit) -> None:
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                for child in node.orelse:
                    self._visit(child, unit)
            case ast.ClassDef():
                self._class(node, unit)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node, unit)
            case ast.Import():
                for alias in node.names:
                    unit.imports.add(alias.name)
                    self._note(alias, alias.name)
            case ast.ImportFrom():
                self._import_from(node, unit)
            case ast.Constant(value=str(text)):
                self._text(text, unit)
            case ast.JoinedStr():
                self._pattern(node, unit)
            case _:
                self._names(node, unit)
                self.read(node, unit)

    def _note(self, alias: ast.alias, module: str) -> None:
        if module.partition(".")[0] not in self._known:
            self._others.add(alias.asname or alias.name.partition(".")[0])

    def _class(self, node: ast.ClassDef, unit: Unit) -> None:
        """A class's body runs where it is defined. A base that is not known here may call methods by their names."""
        called = any(_first(base) in self._others and _last(base) not in _INERT for base in node.bases)
        before = len(unit.inner)
        for child in (*node.bases, *node.keywords, *node.decorator_list, *node.body):
            self._visit(child, unit)
        for inner in unit.inner[before:]:
            inner.method = True
            inner.always = inner.always or called
        unit.attributes |= {node.id for stated in node.body for node in ast.walk(stated) if isinstance(node, ast.Name)}

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, unit: Unit) -> None:
        """Decorators and defaults run where the function is defined; its body where it is called."""
        if node.name == "__getattr__" and self._package == self._module and not unit.inner and unit.function is None:
            return
        inner = Unit(node.name)
        decorators = {_last(one) for one in node.decorator_list}
        inner.always = bool(decorators - _PLAIN) or (node.name.startswith("__") and node.name.endswith("__"))
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self._visit(part, unit)
        for statement in node.body:
            self._visit(statement, inner)
        unit.inner.append(inner)

    def _import_from(self, node: ast.ImportFrom, unit: Unit) -> None:
        base = node.module or ""
        if node.level:
            parts = self._package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        for alias in node.names:
            unit.imports.add(f"{base}.{alias.name}")
            unit.names.add(alias.name)
            self._note(alias, base)

    def _text(self, text: str, unit: Unit) -> None:
        if text in self._known and text.startswith(f"{PACKAGE}."):
            unit.imports.add(text)
        elif text.isidentifier():
            unit.texts.add(text)

    def _pattern(self, node: ast.JoinedStr, unit: Unit) -> None:
        """``f"{__name__}.{name}"`` is an import of all that stands in this package."""
        match node.values:
            case [ast.FormattedValue(value=ast.Name("__name__")), ast.Constant("."), ast.FormattedValue(), *_]:
                unit.imports |= {name for name in self._known if name.startswith(f"{self._module}.")}
        self.read(node, unit)

    def _names(self, node: ast.AST, unit: Unit) -> None:
        match node:
            case ast.Name(id=name):
                unit.names.add(name)
            case ast.Attribute(value=owner, attr=name):
                unit.attributes.add(name)
                if isinstance(owner, ast.Name) and owner.id == PACKAGE:  # `awsllm.Client`, resolved at first use
                    unit.imports.add(f"{PACKAGE}.{name}")
            case ast.keyword(arg=str(name)):
                unit.keywords.add(name)
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                unit.attributes.add(name)
            case ast.Call(func=ast.Name("getattr" | "hasattr" | "attrgetter" | "methodcaller" | "vars")):
                unit.computes = True


def _first(node: ast.expr) -> str:
    """``a`` of ``a.b[c]``."""
    match node:
        case ast.Attribute(value=owner) | ast.Subscript(value=owner) | ast.Call(func=owner):
            return _first(owner)
        case ast.Name(id=name):
            return name
    return ""


def _last(node: ast.expr) -> str:
    """``b`` of ``a.b[c]``."""
    match node:
        case ast.Subscript(value=owner) | ast.Call(func=owner):
            return _last(owner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
