"""The shape of the house: which module may import which, what is public, what an import may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import awsllm

PACKAGE = Path(awsllm.__file__).parent

# The lowest level first: a module imports its own room and the levels below.
LEVELS: list[list[str]] = [
    ["types", "errors"],
    ["stream", "models", "wire", "engine"],
    ["aws", "policy", "tools", "typed", "schema", "docstrings", "store", "coerce"],
    ["backends", "jumpstart"],
    ["client", "calls"],
    ["server", "testing", "lambdas", "cli"],
    ["__main__"],
]
# Rooms of one level that may see each other, with the reason.
NEIGHBOURS = {
    ("errors", "types"): "errors carry the partial response",
    ("types", "errors"): "a value that cannot be made says so",
    ("typed", "tools"): "typed output drives the tool loop",
    ("typed", "coerce"): "boto3-shaped tools beside a typed output",
    ("coerce", "tools"): "a function given as a tool",
    ("wire", "models"): "which model takes which InvokeModel body",
    ("tools", "schema"): "a function's arguments as a JSON schema",
    ("tools", "docstrings"): "a function's description",
    ("typed", "schema"): "a type as a JSON schema",
    ("client", "calls"): "the client makes what calls prepares",
    ("store", "aws"): "models kept in S3",
    ("testing", "server"): "tests start the server",
    ("cli", "server"): "`awsllm serve`",
    ("jumpstart", "backends"): "what a deployment is called through",
}
# Which packages may be imported at all, and from where; a prefix of the module path.
RESERVED = {
    "botocore": ("aws/", "server/", "testing/"),
    "boto3": ("aws/", "testing/"),
    "moto": ("testing/", "server/"),
    "torch": ("engine/",),
    "aiohttp": ("aws/aio",),
    "typer": ("cli/",),
    "granian": ("server/",),
    "transformers": (),
    "sagemaker": ("jumpstart/interop",),
    "requests": (),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def level(name: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if room(name) in rooms)


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            # `from awsllm import coerce` names a module, `from awsllm.types import Text` a value.
            found += [f"awsllm.{alias.name}" for alias in node.names] if base == "awsllm" else [base]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = ".".join(["awsllm", *path.relative_to(PACKAGE).with_suffix("").parts])
    if here == "awsllm.__init__":  # resolves every public name lazily, from all levels
        return
    for target in imports(path):
        top = target.split(".")[0]
        if top in RESERVED:
            relative = path.relative_to(PACKAGE).as_posix()
            assert relative.startswith(RESERVED[top]), f"{here} may not import {target}"
        if top != "awsllm" or room(target) in ("", "__version__"):
            continue
        if room(here) == "engine":
            assert room(target) == "engine", f"{here} imports {target}: the engine knows nothing of awsllm"
        if room(here) == room(target) or (room(here), room(target)) in NEIGHBOURS:
            continue
        assert level(target) < level(here), f"{here} imports {target}: imports point down"
        if room(target) == "engine":
            assert here == "awsllm.backends.local", f"{here} imports {target}: only backends/local.py may"


def test_public_names() -> None:
    assert sorted(awsllm.__all__) == sorted(set(awsllm.__all__))
    for name in awsllm.__all__:
        assert getattr(awsllm, name) is not None
    assert set(awsllm.__all__) <= set(dir(awsllm))
    with pytest.raises(AttributeError, match="no_such_name"):
        awsllm.no_such_name  # noqa: B018


def loaded_after(code: str) -> set[str]:
    """The modules a fresh interpreter holds after running ``code``: deterministic, unlike a time."""
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(out.split())


HEAVY = {
    "boto3",
    "botocore.session",
    "botocore.client",
    "pydantic",
    "torch",
    "numpy",
    "tenacity",
    "asyncio",
    "rich",
    "aiohttp",
}


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import awsllm", HEAVY | {"botocore", "msgspec"}),
        ("import awsllm; awsllm.Client", HEAVY | {"botocore"}),
        ("import awsllm.backends.bedrock, awsllm.backends.sagemaker", HEAVY | {"botocore"}),
        ("import awsllm.backends.local", (HEAVY | {"botocore"}) - {"asyncio"}),  # torch comes with it at first use
        ("import awsllm.aws.http, awsllm.aws.session", HEAVY),
        ("import awsllm.cli", {"torch", "boto3", "botocore"}),
        (  # the SageMaker SDK takes seconds and a gigabyte: deploying never imports it
            "from awsllm.jumpstart import apply, catalogue, deployed, endpoints, facade, interop, plan, training",
            HEAVY | {"sagemaker"},
        ),
        ("import awsllm.testing.plugin", {"torch", "moto", "boto3", "botocore"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_import_weight(code: str, banned: set[str]) -> None:
    assert not loaded_after(code) & banned
