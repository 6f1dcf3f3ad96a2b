"""What a package is made of, checked and derived before anything is fetched."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict

from awsllm.errors import ConfigurationError
from awsllm.lambdas.packaging.bytecode import find_python
from awsllm.lambdas.packaging.closure import HANDLERS, PACKAGE, Closure, closure, modules_in, own_modules
from awsllm.lambdas.packaging.wheels import LambdaPlatform, check_requirement, pins

EXTRAS = {"tools": ("pydantic", "regress"), "boto3": ("boto3",), "pdf": ("pypdf",)}
"""What can be packed beside awsllm's core, by the name that ``extras`` and ``--with`` take."""

_CORE = ("msgspec", "tenacity")
RUNTIME_LOOP = "awsllm.lambdas.runtime"
_ENGINE = "awsllm.engine"  # needs PyTorch, which alone is larger than a function may be
_TOOLS = frozenset(("tools", "output_type", "tool", "function_tool", "mcp_tools", "pydantic"))

OnStep = Callable[[str], None]


class PackageOptions(TypedDict, total=False):
    """What ``build`` takes.

    handlers: what Lambda calls, as MODULE.FUNCTION; modules of ``awsllm.lambdas`` or of ``source``.
    layer: a layer, whose modules lie under ``python/``, and not a function.
    arch: "arm64" or "x86_64".
    python: the runtime's minor version, as in "3.13".
    source: a folder of one's own modules and files, packed as it lies but for what is hidden.
    configuration: an awsllm.toml, whose names the function then knows.
    requirements: distributions beside awsllm's own, as in "requests>=2.34".
    extras: names of ``EXTRAS``.
    include: modules of awsllm beside those that the handlers are seen to need.
    find_links: a folder of wheels, in the package index's place.
    interpreter: a Python of the runtime's minor version, which compiles; it is looked for where it is not given.
    replace: whether a file that is there already is replaced.
    progress: is told what is done.
    """

    handlers: Sequence[str]
    layer: bool
    arch: str
    python: str
    source: Path | str | None
    configuration: Path | str | None
    requirements: Sequence[str]
    extras: Sequence[str]
    include: Sequence[str]
    find_links: Path | str | None
    interpreter: Path | str | None
    replace: bool
    progress: OnStep


class Recipe:
    """Options that were checked, and what follows from them before anything is fetched."""

    def __init__(self, options: PackageOptions) -> None:
        for name in options.keys() - PackageOptions.__annotations__.keys():
            raise ConfigurationError(f"a package takes no {name!r}{_similar(name, PackageOptions.__annotations__)}")
        self.platform = LambdaPlatform(options.get("arch", "arm64"), options.get("python", "3.13"))
        self.layer = options.get("layer", False)
        self.progress: OnStep = options.get("progress") or (lambda _text: None)
        self.find_links = _folder(options.get("find_links"), "--find-links")
        self.source = _folder(options.get("source"), "--source")
        self.configuration = _configuration(options.get("configuration"))
        self.interpreter = find_python(self.platform.python, options.get("interpreter"))
        self.requirements = tuple(options.get("requirements", ()))
        self._required = {check_requirement(text) for text in self.requirements}
        self.own = own_modules()
        self.theirs = modules_in(self.source) if self.source else {}
        if self.source and (clash := sorted(name for name in self.theirs if name.partition(".")[0] == PACKAGE)):
            raise ConfigurationError(f"{self.theirs[clash[0]]} would hide awsllm itself: give it another name")
        self.handlers = self._handlers(options.get("handlers", ()))
        extras, include = options.get("extras", ()), options.get("include", ())
        for name in extras:
            if name not in EXTRAS:
                raise ConfigurationError(f"--with {name}: there are {', '.join(EXTRAS)}")
        for name in include:
            if name not in self.own:
                raise ConfigurationError(f"--include {name}: awsllm has no such module{_similar(name, self.own)}")
        self.closure = self._closure(include)
        self.extras = self._extras(extras)

    def _handlers(self, given: Sequence[str]) -> tuple[str, ...]:
        if isinstance(given, str):
            given = (given,)
        if given:
            return tuple(check_handler(handler, self.own | self.theirs) for handler in given)
        return () if self.source else tuple(every_handler(self.own))

    def _closure(self, include: Sequence[str]) -> Closure:
        roots = [*self.theirs, *(handler.rpartition(".")[0].replace("/", ".") for handler in self.handlers), *include]
        roots += [RUNTIME_LOOP] if RUNTIME_LOOP in self.own else []
        if (self.layer and not self.theirs) or not roots:
            roots.append("awsllm.client")
        self._roots = tuple(roots)
        try:
            return closure(roots, self.own | self.theirs)
        except SyntaxError as error:
            raise ConfigurationError(f"{error.filename}, line {error.lineno}: {error.msg}") from error

    def _extras(self, given: Sequence[str]) -> tuple[str, ...]:
        found = dict.fromkeys(given)
        if self.closure.said & _TOOLS:
            found["tools"] = None
        return tuple(found)

    def wanted(self) -> list[str]:
        """What pip is asked for. A requirement of the caller's stands before the version that is installed here."""
        names = [*_CORE, *(name for extra in self.extras for name in EXTRAS[extra])]
        return [*(pin for name, pin in sorted(pins(names).items()) if name not in self._required), *self.requirements]

    def modules(self, laid_out: Path) -> list[str]:
        """awsllm's modules that are needed, by the distributions that lie in a folder too: a requirement may be a
        library of one's own over awsllm."""
        others = {name: path for name, path in modules_in(laid_out).items() if PACKAGE.encode() in path.read_bytes()}
        found = self.closure.modules
        if others:
            found = closure([*self._roots, *others], self.own | self.theirs | others).modules
        return sorted(name for name in found if name != _ENGINE and not name.startswith(f"{_ENGINE}."))


def check_handler(handler: str, known: Mapping[str, Path]) -> str:
    """A handler as it was given. ``ConfigurationError`` where there is no such module, or no such name in it."""
    name, _, attribute = handler.replace("/", ".").rpartition(".")
    if name not in known:
        raise ConfigurationError(f"handler {handler}: there is no module {name or handler!r}{_similar(name, known)}")
    if not (defined := _defined(known[name])) & {attribute, "__getattr__", "*"}:
        raise ConfigurationError(f"handler {handler}: {name} defines no {attribute!r}{_similar(attribute, defined)}")
    return handler


def every_handler(modules: Mapping[str, Path]) -> list[str]:
    """The handlers that awsllm has, one a kind."""
    rooms = [name for name in modules if name.startswith(HANDLERS) and name.count(".") == 2]
    return [f"{name}.handler" for name in rooms if _has_handler(modules[name])]


def _has_handler(path: Path) -> bool:
    """One of its own, or one that ``__getattr__`` makes when it is asked for."""
    if "__getattr__" not in (defined := _defined(path)):
        return "handler" in defined
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.Constant) and node.value == "handler" for node in nodes)


def _defined(path: Path) -> set[str]:
    """The names that a module defines, without running it."""
    found: set[str] = set()
    try:
        body = ast.parse(path.read_text(encoding="utf-8"), str(path)).body
    except SyntaxError as error:
        raise ConfigurationError(f"{path}, line {error.lineno}: {error.msg}") from error
    for statement in body:
        for node in ast.walk(statement) if not isinstance(statement, ast.ClassDef | ast.FunctionDef) else (statement,):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.alias():
                    found.add(node.asname or node.name)
    return found


def _similar(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _configuration(given: Path | str | None) -> Path | None:
    """The file, which is checked here: a function that cannot read it answers nothing."""
    if given is None:
        return None
    from awsllm.policy.configuration import read

    read(given)
    return Path(given)


def _folder(given: Path | str | None, option: str) -> Path | None:
    if given is None:
        return None
    folder = Path(given)
    if not folder.is_dir():
        raise ConfigurationError(f"{option} {folder} is no folder")
    return folder
