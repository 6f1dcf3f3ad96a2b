"""Writes the reference of the docs site, a page a part of the public surface, and its index for language models.

    python tools/reference.py          # docs/reference/*.md, docs/llms.txt

The names are those of ``awsllm.__init__``; what they mean stands in their docstrings, which mkdocstrings reads. A test
tells when the pages are not those that this writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import awsllm

DOCS = Path(__file__).parent.parent / "docs"
_PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "client": ("Clients", ("client", "async_client", "client_options", "calls.options", "policy", "telemetry")),
    "values": ("Values", ("types", "calls", "models", "wire", "aws", "fetching")),
    "streams": ("Streams and sessions", ("stream", "event_stream", "speech", "calls.guard")),
    "tools": ("Tools", ("tools",)),
    "errors": ("Errors", ("errors",)),
    "jobs": ("JumpStart and jobs", ("jumpstart", "jobs")),
    "evaluation": ("Evaluation", ("evaluation",)),
    "explanation": ("Looking inside", ("explanation", "backends.local.explain")),
}
"""Title, and the modules whose public names it has; the longest that fits."""
_MODULES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "testing": (
        "Testing",
        ("awsllm.testing", "awsllm.testing.faults", "awsllm.testing.proxy", "awsllm.testing.scripted"),
    ),
    "lambdas": (
        "Lambda",
        (
            *(f"awsllm.lambdas.{kind}" for kind in ("chat", "stream", "gateway", "sqs", "documents", "stepfunctions")),
            *(f"awsllm.lambdas.{kind}" for kind in ("eventbridge", "callbacks", "websocket", "grader", "mcp")),
            *(
                f"awsllm.lambdas.{part}"
                for part in ("settings", "http.events", "context", "runtime", "packaging.build")
            ),
        ),
    ),
    "infra": (
        "Infrastructure",
        (
            "awsllm.infra",
            "awsllm.infra.api",
            "awsllm.infra.tag_profiles",
            "awsllm.infra.permissions",
            "awsllm.aws.authorization",
        ),
    ),
}
"""Title, and modules that are shown whole."""


def pages() -> Iterator[tuple[str, str]]:
    """Each page's name and text."""
    modules = sorted((module for _, named in _PAGES.values() for module in named), key=len, reverse=True)
    for page, (title, own) in _PAGES.items():
        names = [name for name, home in awsllm._HOME.items() if _place(home, modules) in own]
        names.sort(key=lambda name: (name != "Client", name != "AsyncClient", name.lower() != name, name))
        yield page, f"# {title}\n\n" + "\n".join(f"::: awsllm.{name}\n" for name in names)
    for page, (title, whole) in _MODULES.items():
        yield page, f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in whole)


def _place(home: str, modules: list[str]) -> str:
    return next(module for module in modules if home == module or home.startswith(f"{module}."))


def index() -> str:
    """``llms.txt`` (llmstxt.org): what the site has, a line a page."""
    lines = [
        "# awsllm",
        "",
        "> One Python client for Amazon Bedrock, Amazon SageMaker and local models, and an offline AWS",
        "",
    ]
    for path in sorted(DOCS.rglob("*.md"), key=lambda path: (len(path.parts), path.as_posix())):
        text = path.read_text(encoding="utf-8")
        lines.append(f"- [{_title(text)}]({path.relative_to(DOCS).as_posix()}): {_first(text)}".rstrip(": "))
    return "\n".join(lines) + "\n"


def _title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ")


def _first(text: str) -> str:
    """The first sentence."""
    prose = [part for part in text.split("\n\n")[1:] if not part.startswith(("<!--", ":::", "```", "|", "#"))]
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)|`", r"\1", prose[0]) if prose else ""
    return re.split(r"(?<=[.:])\s", " ".join(plain.split()), maxsplit=1)[0].rstrip(":")


if __name__ == "__main__":
    for name, text in pages():
        (DOCS / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    (DOCS / "llms.txt").write_text(index(), encoding="utf-8")
