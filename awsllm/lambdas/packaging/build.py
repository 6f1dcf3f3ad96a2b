"""Packages for Lambda: what a function needs of awsllm and nothing else, with bytecode, the same bytes each time.

    from awsllm.lambdas.packaging.build import build

    built = build("chat.zip", handlers=["awsllm.lambdas.chat.handler"], arch="arm64")

- Which modules go in is derived from the handlers (``closure``); ``include`` adds to them. A package without handlers
  and without a source has every handler of ``awsllm.lambdas``; a layer without them the whole client, too.
- msgspec and tenacity are in each package. pydantic and regress come where the code uses tools or typed output, or
  with ``extras=["tools"]``; boto3 is in Lambda's managed runtimes, and comes with ``extras=["boto3"]``.
- Without bytecode a cold start compiles every module, each time, for a package's folder is read-only: it is compiled
  here by the runtime's minor version, and never checked against its source there (PEP 552's unchecked hashes).
- Entries are sorted, their times and modes are fixed: the same inputs give the same bytes.
- The engine of local models is left out, for PyTorch alone is larger than a function may be; who calls a ``local:``
  model is told.

A file is written in whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import msgspec

from awsllm._version import __version__
from awsllm.errors import ConfigurationError
from awsllm.lambdas.packaging.bytecode import compile_folder
from awsllm.lambdas.packaging.closure import PACKAGE
from awsllm.lambdas.packaging.contents import RUNTIME_LOOP, PackageOptions, Recipe
from awsllm.lambdas.packaging.wheels import RUNTIME, PackedWheel, fetch, normal, provided, unpack
from awsllm.policy.configuration_file import CONFIGURATION

MAX_UNZIPPED = 262_144_000
"""Bytes of a function with its layers ("Unzipped size must be smaller than 262144000 bytes", Lambda's refusal)."""
MAX_UPLOAD = 50 * 1024 * 1024
"""Bytes of a zip that the API takes itself; what is larger goes through S3 ("Lambda quotas")."""
MANIFEST = "awsllm-package.json"
WRAPPER = "awsllm-stream"
"""What AWS_LAMBDA_EXEC_WRAPPER names to stream: it starts ``lambdas.runtime`` in the managed runtime's place."""

_RUNTIME_HAS = ("boto3", "botocore", "awslambdaric", "snapshot_restore_py")
_NOT_SOURCE = frozenset(("__pycache__", "node_modules"))
_SECRET_NAMES = frozenset(("credentials", "id_rsa", "id_ed25519", "id_ecdsa", "terraform.tfstate"))
_SECRET_KINDS = frozenset((".env", ".key", ".p12", ".pfx", ".jks", ".keystore"))
_HEAD = 4096  # bytes of a file
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time


class BuiltPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A package that was written. Sizes are bytes. ``code_sha256`` is what Lambda shows as CodeSha256; ``bytecode``
    whether modules are compiled; ``notes`` what its owner should know."""

    path: Path
    size: int
    unzipped: int
    sha256: str
    code_sha256: str
    layer: bool
    arch: str
    python: str
    handlers: tuple[str, ...]
    modules: int
    awsllm_size: int
    wheels: tuple[PackedWheel, ...]
    bytecode: bool
    notes: tuple[str, ...]


def build(output: Path | str, **options: Unpack[PackageOptions]) -> BuiltPackage:
    """Write a function's package, or a layer, to ``output``. Raises ``ConfigurationError`` that names the fix; nothing
    is left behind then."""
    path = Path(output)
    if path.is_dir() or (path.exists() and not options.get("replace")):
        raise ConfigurationError(f"{path} exists: give another path, or --force to replace it")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"{path.absolute().parent} is no folder: make it first")
    recipe = Recipe(options)
    try:
        with tempfile.TemporaryDirectory(prefix="awsllm-package-") as folder:
            return _Building(recipe, Path(folder), path).run()
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: {error.strerror or 'it cannot be packed'}") from error


class _Building:
    """One package on its way: laid out in a folder, compiled, then written."""

    def __init__(self, recipe: Recipe, folder: Path, output: Path) -> None:
        self._recipe = recipe
        self._output = output
        self._top = folder / "package"
        self._root = self._top / "python" if recipe.layer else self._top
        self._fetched = folder / "wheels"
        self._notes: list[str] = []
        self._root.mkdir(parents=True)
        self._fetched.mkdir()

    def run(self) -> BuiltPackage:
        recipe = self._recipe
        wheels = self._lay_out_wheels()
        modules = recipe.modules(self._root)
        recipe.progress(f"awsllm {__version__}: {len(modules)} of {len(recipe.own)} modules")
        size = self._lay_out_awsllm(modules)
        self._lay_out_source()
        self._lay_out_configuration()
        self._tell_missing()
        bytecode = self._compile()
        self._write_manifest(wheels, bytecode)
        unzipped = sum(path.stat().st_size for path in self._top.rglob("*") if path.is_file())
        self._check_size(unzipped, wheels)
        return self._write(
            BuiltPackage(
                path=self._output,
                size=0,
                unzipped=unzipped,
                sha256="",
                code_sha256="",
                layer=recipe.layer,
                arch=recipe.platform.arch,
                python=recipe.platform.python,
                handlers=recipe.handlers,
                modules=len(modules),
                awsllm_size=size,
                wheels=wheels,
                bytecode=bytecode,
                notes=(),
            )
        )

    def _lay_out_awsllm(self, modules: Sequence[str]) -> int:
        """The modules, the data files of their packages, and the script that streams."""
        files = [self._recipe.own[name] for name in modules]
        home = self._recipe.own[PACKAGE].parent
        packages = {path.parent for path in files if path.name == "__init__.py"}
        files += [path for path in sorted(home.rglob("*")) if _is_data(path) and _package_of(path) in packages]
        for path in files:
            if path.name != WRAPPER:
                _copy(path, self._root / PACKAGE / path.relative_to(home))
        wrapper = home / "lambdas" / "data" / WRAPPER
        if wrapper.is_file() and RUNTIME_LOOP in modules:
            _copy(wrapper, self._top / WRAPPER)
        described = self._root / f"{PACKAGE}-{__version__}.dist-info" / "METADATA"
        described.parent.mkdir()
        described.write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {__version__}\n", encoding="utf-8")
        return sum(path.stat().st_size for path in files)

    def _lay_out_wheels(self) -> tuple[PackedWheel, ...]:
        recipe = self._recipe
        wanted = recipe.wanted()
        where = f"Python {recipe.platform.python} on {recipe.platform.arch}"
        recipe.progress(f"fetching {', '.join(wanted)} for {where}")
        found = []
        for wheel in fetch(wanted, recipe.platform, self._fetched, recipe.find_links):
            name = normal(wheel.name.partition("-")[0])
            if name == PACKAGE:  # a requirement needs it, and it comes from here
                continue
            if name in RUNTIME and "boto3" not in recipe.extras:
                self._notes.append(f"{name} is left to Lambda's runtime; --with boto3 packs it")
                continue
            found.append(unpack(wheel, self._root))
        return tuple(found)

    def _lay_out_configuration(self) -> None:
        """Where a function's working directory is, and a client looks."""
        given, target = self._recipe.configuration, self._root / CONFIGURATION
        if given is None:
            return
        if self._recipe.layer:
            raise ConfigurationError(
                "a layer lies elsewhere than a client looks for awsllm.toml: package it with functions"
            )
        if target.exists() and target.read_bytes() != given.read_bytes():
            raise ConfigurationError(f"{self._recipe.source} has an awsllm.toml of its own, too: leave out one of them")
        _copy(given, target)

    def _lay_out_source(self) -> None:
        source = self._recipe.source
        if source is None:
            return
        hidden, secret = [], []
        for folder, names, files in os.walk(source):
            here = Path(folder)
            hidden += [str((here / name).relative_to(source)) for name in [*names, *files] if name.startswith(".")]
            names[:] = sorted(name for name in names if _is_source(here / name))
            for path in [here / name for name in names if (here / name).is_symlink()]:
                raise ConfigurationError(f"{path} is a link to a folder, which is not followed: copy what it names")
            for name in sorted(files):
                path = here / name
                if name.startswith(".") or name.endswith(".pyc") or path.absolute() == self._output.absolute():
                    continue
                _check_file(path, source)
                target = self._root / path.relative_to(source)
                if target.exists():
                    raise ConfigurationError(f"{path} has the name of a file of a requirement: rename it")
                _copy(path, target)
                secret += [str(path.relative_to(source))] if _looks_secret(target) else []
        if hidden:
            self._notes.append(f"what is hidden is left out: {', '.join(sorted(hidden)[:5])}")
        if secret:
            self._notes.append(
                f"these look like secrets, and whoever may read the function's code reads them: {', '.join(secret[:5])}"
            )

    def _tell_missing(self) -> None:
        """The modules that the owner's code imports and nothing here provides."""
        recipe = self._recipe
        there = {*sys.stdlib_module_names, *provided(self._root), *_RUNTIME_HAS}
        for name, module in recipe.closure.foreign.items():
            if module in recipe.theirs and name not in there:
                self._notes.append(f"{module} imports {name}, which is not in the package: --requirement {name}")
        if "tools" not in recipe.extras and (recipe.source or recipe.layer):
            self._notes.append("tools and typed output need pydantic, which nothing here was seen to use: --with tools")

    def _compile(self) -> bool:
        recipe = self._recipe
        if recipe.interpreter is None:
            self._notes.append(
                f"no bytecode: no Python {recipe.platform.python} is here to compile with (--interpreter names one). "
                "Each cold start then compiles what it imports, which takes about three times as long"
            )
            return False
        recipe.progress(f"compiling with {recipe.interpreter}")
        compile_folder(recipe.interpreter, self._root, "/opt/python" if recipe.layer else "/var/task")
        return True

    def _write_manifest(self, wheels: Sequence[PackedWheel], bytecode: bool) -> None:
        recipe = self._recipe
        files = sorted(path for path in self._top.rglob("*") if path.is_file())
        document = {
            "awsllm": __version__,
            "python": recipe.platform.python,
            "architecture": recipe.platform.arch,
            "handlers": recipe.handlers,
            "bytecode": bytecode,
            "wheels": [
                {"name": one.name, "version": one.version, "file": one.file, "sha256": one.sha256} for one in wheels
            ],
            "files": {path.relative_to(self._top).as_posix(): _sha256(path) for path in files},
        }
        encoded = msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1)
        (self._root / MANIFEST).write_bytes(encoded)

    def _check_size(self, unzipped: int, wheels: Sequence[PackedWheel]) -> None:
        if unzipped > MAX_UNZIPPED:
            largest = ", ".join(
                f"{one.name} {one.size / 1e6:.0f} MB" for one in sorted(wheels, key=lambda one: -one.size)[:3]
            )
            raise ConfigurationError(
                f"the package is {unzipped / 1e6:.0f} MB unzipped, and Lambda takes {MAX_UNZIPPED / 1e6:.0f}: "
                f"leave out of the largest ({largest}), or make a container image"
            )

    def _write(self, built: BuiltPackage) -> BuiltPackage:
        """Beside the output first, then in its place."""
        handle, name = tempfile.mkstemp(prefix=f".{self._output.name}.", dir=self._output.absolute().parent)
        os.close(handle)
        partial = Path(name)
        try:
            _zip(self._top, partial)
            content = partial.read_bytes()
            partial.chmod(0o644)
            partial.replace(self._output)
        finally:
            partial.unlink(missing_ok=True)
        if len(content) > MAX_UPLOAD:
            self._notes.append("the zip is over 50 MB: Lambda takes it from S3 alone")
        digest = hashlib.sha256(content)
        return msgspec.structs.replace(
            built,
            size=len(content),
            sha256=digest.hexdigest(),
            code_sha256=base64.b64encode(digest.digest()).decode(),
            notes=tuple(self._notes),
        )


def _is_source(folder: Path) -> bool:
    return not folder.name.startswith(".") and folder.name not in _NOT_SOURCE and not (folder / "pyvenv.cfg").exists()


def _check_file(path: Path, source: Path) -> None:
    if not path.resolve().is_relative_to(source.resolve()):
        raise ConfigurationError(f"{path} leads out of {source}: copy what it names")
    if not path.is_file():
        raise ConfigurationError(f"{path} is no file, or a link to none: remove it")


def _looks_secret(path: Path) -> bool:
    """Whether it is where keys and passwords lie, by its name or as a private key by how it begins."""
    name = path.name.lower()
    if name in _SECRET_NAMES or name.startswith("env.") or path.suffix in _SECRET_KINDS:
        return True
    with path.open("rb") as file:
        return b"PRIVATE KEY-----" in file.read(_HEAD) and path.suffix != ".py"


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in {".py", ".pyc"} and not path.name.startswith(".")


def _package_of(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "__init__.py").exists())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _zip(folder: Path, into: Path) -> None:
    """Sorted entries with one time and two modes, so that the bytes follow from the files alone."""
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if not path.is_file():
                continue
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EARLIEST)
            entry.create_system = 3  # Unix, whose modes follow
            entry.external_attr = (0o100755 if path.name == WRAPPER else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes(), compresslevel=9)
