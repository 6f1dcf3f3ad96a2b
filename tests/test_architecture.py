"""The shape of the house: which module may import which, what is public, what an import may load."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import awsllm

PACKAGE = Path(awsllm.__file__).parent

# The lowest level first. A module stands on the level of the longest prefix that names it; it imports its own room and
# the levels below.
LEVELS: list[list[str]] = [
    ["_version", "log", "notebook", "pydantic_schema", "types", "errors"],
    ["backend", "stream", "event_stream", "models", "wire", "engine", "explanation"],
    ["aws", "policy", "telemetry", "tools", "store", "fetching"],
    ["backends", "calls", "jumpstart"],
    ["jobs", "speech", "evaluation", "jumpstart.facade"],
    ["client", "async_client", "client_base", "client_settings", "client_options"],
    ["server", "testing", "lambdas", "infra"],
    ["cli", "__main__"],
]
# What may see a room of its own level at all, with the reason; rooms not named here stand alone on their level.
COMPUTING = ("awsllm.backends.local.", "awsllm.jobs.local.", "awsllm.jobs.sessions.")  # what may use the engine
NEIGHBOURS = {
    ("errors", "types"): "errors carry the partial response",
    ("types", "errors"): "a value that cannot be made says so",
    ("types", "notebook"): "values show themselves in notebooks",
    ("types", "pydantic_schema"): "values are members of pydantic models",
    ("event_stream", "stream"): "how any stream breaks",
    ("stream", "wire"): "tool arguments that are read as they stream",
    ("wire", "models"): "which model takes which body",
    ("store", "aws"): "models kept in S3",
    ("jumpstart", "backends"): "what a deployment is called through",
    ("client", "client_base"): "what both clients have",
    ("client", "client_settings"): "what both clients are made of",
    ("client", "client_options"): "what both clients take",
    ("async_client", "client_base"): "what both clients have",
    ("async_client", "client_settings"): "what both clients are made of",
    ("async_client", "client_options"): "what both clients take",
    ("client_base", "client_settings"): "what the methods look at",
    ("client_settings", "client_options"): "settings are made of options",
    ("evaluation", "jobs"): "evaluation jobs are jobs",
    ("jumpstart.facade", "jobs"): "training and batch jobs of JumpStart's models",
    ("testing", "server"): "tests start the server",
    ("lambdas", "server"): "the gateway speaks the server's protocols; a handler is tried out against the offline AWS",
    ("infra", "lambdas"): "a stack's functions are packaged before it is deployed",
    ("tools", "policy"): "what a tool raised is told to observers",
    ("telemetry", "policy"): "what an observer is",
    ("policy", "aws"): "what keys use, counted in DynamoDB",
    ("fetching", "aws"): "how an answer of HTTP is read, and which certificates are trusted",
    ("aws", "policy"): "lean calls are attempted as a client's are",
    ("__main__", "cli"): "`python -m awsllm`",
}
CIRCLES = {frozenset({"awsllm.errors", "awsllm.types"})}  # a value that cannot be made says so; errors carry answers
# Which packages may be imported at all, and from where; a prefix of the module path.
RESERVED = {
    "botocore": ("aws/", "server/", "testing/"),
    "boto3": ("aws/", "testing/traffic/recording"),
    "moto": ("server/moto/",),
    "prometheus_client": ("server/metrics",),
    "cryptography": ("server/http/tls",),
    "regex": ("server/account/guardrails/patterns",),
    "sqlite3": ("server/keeping", "policy/usage", "policy/database", "policy/call_log"),
    "redis": ("policy/answers/stores", "policy/limiting/stores"),
    "opentelemetry": ("telemetry/otel", "server/"),
    "torch": ("engine/",),
    "aiohttp": ("testing/traffic/aiobotocore_tap",),
    "aiobotocore": ("testing/traffic/aiobotocore_tap",),
    "yaml": ("infra/", "testing/traffic/cassette", "testing/script_files", "server/moto/hardening"),
    "mcp": ("tools/mcp",),
    "anyio": ("tools/mcp",),
    "httpx2": ("tools/mcp",),
    "awscrt": ("aws/duplex",),
    "typer": ("cli/",),
    "granian": ("server/run",),
    "pypdf": ("wire/text/pdf_reader",),
    "transformers": ("engine/foreign",),
    "llama_cpp": ("engine/llamacpp",),
    "sagemaker": ("jumpstart/interop",),
    "requests": (),
}
Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {
        ".".join(["awsllm", *p.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): p for p in paths
    }


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import: lazy ones and those for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            for alias in node.names:  # `from awsllm.wire import converse` names a module, `… import Text` a value
                full = f"{base}.{alias.name}"
                found.add(full if full in MODULES else base)
    return found


def graph() -> Graph:
    """awsllm's modules and what they import of each other; ``awsllm/__init__`` resolves all public names lazily."""
    return {
        name: {target for target in imports(path) if target in MODULES and target not in ("awsllm", name)}
        for name, path in MODULES.items()
        if name != "awsllm"
    }


def circles(edges: Graph) -> set[frozenset[str]]:
    """Sets of modules that reach each other by imports."""
    reach = {name: set(targets) for name, targets in edges.items()}
    grown = True
    while grown:
        grown = False
        for targets in reach.values():
            more = {far for near in targets for far in reach.get(near, ())} - targets
            targets |= more
            grown = grown or bool(more)
    return {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in reach if a in reach[a]}


def room(name: str) -> str:
    """The longest entry of LEVELS that ``name`` belongs to."""
    parts = name.split(".")[1:]
    known = {one for level in LEVELS for one in level}
    return next(found for n in range(len(parts), 0, -1) if (found := ".".join(parts[:n])) in known)


def level(name: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if room(name) in rooms)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "awsllm"])
def test_imports_point_down(name: str) -> None:
    for target in imports(MODULES[name]):
        top = target.split(".")[0]
        if top in RESERVED:
            relative = MODULES[name].relative_to(PACKAGE).as_posix()
            assert relative.startswith(RESERVED[top]), f"{name} may not import {target}"
        if top != "awsllm" or target == "awsllm":
            continue
        here, there = room(name), room(target)
        if here == "engine":
            assert there == "engine", f"{name} imports {target}: the engine knows nothing of awsllm"
        if here == there or (here, there) in NEIGHBOURS:
            continue
        assert level(target) < level(name), f"{name} imports {target}: imports point down"
        if there == "engine":
            assert name.startswith(COMPUTING), f"{name} imports {target}: only {', '.join(COMPUTING)} may"


def test_no_circle() -> None:
    assert circles(graph()) == CIRCLES


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(edges) == {frozenset({"b", "c"})}


# What two rooms call by one name, each of its own; there shall be no more of them.
NAMESAKES = {
    *("Body", "Caller", "Checkpoint", "Conversation", "Exchange", "Finding", "Limits", "Listing", "Output", "Progress"),
    *("Service", "SessionStart", "Settings", "TextInput"),
}


def test_a_class_has_a_name_of_its_own() -> None:
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, set()).add(name)
    assert {name for name, places in found.items() if len(places) > 1} == NAMESAKES


def test_public_names() -> None:
    assert sorted(awsllm.__all__) == sorted(set(awsllm.__all__))
    for name in awsllm.__all__:
        assert getattr(awsllm, name) is not None
    assert set(awsllm.__all__) <= set(dir(awsllm))
    with pytest.raises(AttributeError, match="no_such_name"):
        awsllm.no_such_name  # noqa: B018


def test_rooms_are_reached_without_an_import_of_their_own() -> None:
    """In a process of its own: here they are imported already."""
    names = "awsllm.infra.plan.__module__, awsllm.lambdas.chat_handler.__name__, awsllm.testing.mock_aws"
    ask = f"import awsllm; print({names})"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert told.startswith("awsllm.infra.api chat_handler ")


def names_of(annotation: ast.expr) -> set[str]:
    """The names in an annotation, those in quotes too."""
    found: set[str] = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= names_of(ast.parse(node.value, mode="eval").body)
    return found


def annotations(path: str) -> Iterator[ast.expr]:
    """Of the members of the classes in a module, and of the parameters and results of their public methods."""
    for made in ast.parse((PACKAGE / path).read_text(encoding="utf-8")).body:
        for member in made.body if isinstance(made, ast.ClassDef) else ():
            if isinstance(member, ast.AnnAssign):
                yield member.annotation
            elif isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_"):
                given = [*member.args.posonlyargs, *member.args.args, *member.args.kwonlyargs, member.args.kwarg]
                yield from (one.annotation for one in given if one is not None and one.annotation is not None)
                yield from [member.returns] if member.returns is not None else []


def own_names(path: str) -> set[str]:
    """What a module imports of awsllm."""
    nodes = ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8")))
    of_awsllm = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith("awsllm")]
    return {alias.name for node in of_awsllm for alias in node.names}


@pytest.mark.parametrize("path", ["client.py", "async_client.py", "calls/options.py"])
def test_what_a_caller_annotates_with_is_public(path: str) -> None:
    """A program that hands a request, a response, an event or options on can name their types."""
    used = {name for annotation in annotations(path) for name in names_of(annotation)}
    assert used & own_names(path) <= set(awsllm.__all__)


def test_requests_and_events_are_public() -> None:
    """Backends, tests of one's own and programs that read streams tell them apart."""
    public = {getattr(awsllm, name) for name in awsllm.__all__}
    values = [importlib.import_module(name) for name in MODULES if name.startswith("awsllm.types")]
    requests = {
        value
        for module in values
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, awsllm.Request) and not name.startswith("_")
    }
    events = {
        variant for name in awsllm.__all__ if name.endswith("Event") for variant in get_args(getattr(awsllm, name))
    }
    assert requests <= public
    assert events <= public


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
}


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import awsllm", HEAVY | {"botocore", "msgspec"}),
        ("import awsllm; awsllm.Client", HEAVY | {"botocore"}),
        ("import awsllm.backends.bedrock.backend, awsllm.backends.sagemaker.backend", HEAVY | {"botocore"}),
        (
            "import awsllm.backends.local.backend",
            (HEAVY | {"botocore"}) - {"asyncio"},
        ),  # torch comes with it at first use
        ("import awsllm.engine.scheduler, awsllm.engine.grammar", HEAVY - {"numpy"}),
        ("import awsllm.aws.http, awsllm.aws.session", HEAVY),
        (  # what a first call to Bedrock does without, where the environment says who calls
            "import awsllm.client, awsllm.calls.prepare, awsllm.backends.bedrock, awsllm.aws.http",
            {
                *("awsllm.wire.body", "awsllm.aws.chain", "awsllm.aws.errand", "awsllm.log", "awsllm.tools"),
                *("awsllm.policy.groups", "awsllm.policy.configuration", "awsllm.calls.routed"),
                *("http.client", "email", "ssl", "base64", "json"),
            },
        ),
        (  # what a first reply in Anthropic's body does without
            "import awsllm.backends.bedrock.invoke, awsllm.wire.anthropic.body",
            {
                *(
                    "awsllm.backends.bedrock.families",
                    "awsllm.types.media",
                    "awsllm.wire.vectors",
                    "awsllm.wire.framing",
                ),
                *("awsllm.wire.anthropic.citations", "awsllm.wire.anthropic.stream", "awsllm.wire.text.blocks", "json"),
            },
        ),
        ("import awsllm.cli", {"torch", "boto3", "botocore"}),
        (  # the SageMaker SDK takes seconds and a gigabyte: deploying never imports it
            "import awsllm.jumpstart.facade, awsllm.jumpstart.interop, awsllm.jobs.finetune, awsllm.jobs.transform",
            HEAVY | {"sagemaker"},
        ),
        ("import awsllm.testing.plugin", {"torch", "moto", "boto3", "botocore"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_import_weight(code: str, banned: set[str]) -> None:
    assert not loaded_after(code) & banned
