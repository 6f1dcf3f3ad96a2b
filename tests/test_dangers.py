"""What awsllm's code never does, read off the code itself: run what is data, unpack what is foreign, trust without a
check, or reach the network from where nobody expects it. That docs/security.md points at tests that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import awsllm

ROOT = Path(__file__).parent.parent
PACKAGE = Path(awsllm.__file__).parent
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}

# Modules that run what they read.
RUNNING = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "imp"}
# Calls that run text or a shell, load pickles, or unpack archives.
CALLS = {
    "eval", "exec", "__import__", "os.system", "os.popen", "os.execv", "subprocess.getoutput", "torch.load",
    "torch.jit.load", "torch.export.load", "numpy.load", "pickle.load", "pickle.loads", "tempfile.mktemp",
    "ssl._create_unverified_context", "shutil.unpack_archive",
}  # fmt: skip
METHODS = {"extractall", "extract_all", "unsafe_load", "full_load"}
# Options that must not be given so.
OPTIONS = {
    ("shell", True), ("trust_remote_code", True), ("weights_only", False), ("allow_pickle", True), ("verify", False),
    ("check_hostname", False),
}  # fmt: skip
# Who speaks to the network, and to whom.
NETWORK = {
    "aws/": "AWS, signed",
    "cli/doctor.py": "whether an address answers that the user configured",
    "cli/memory.py": "a server of awsllm that the user names",
    "fetching/rules.py": "hosts that the caller allowed",
    "lambdas/runtime.py": "Lambda's Runtime API",
    "server/run.py": "listens",
    "server/workers.py": "listens",
    "store/": "the hubs of models",
    "testing/": "this machine",
}
_NETWORK_MODULES = {"urllib.request", "http.client", "socket", "ftplib", "smtplib", "telnetlib", "xmlrpc.client"}


def name_of(node: ast.expr) -> str:
    """``os.system`` of a call's function; empty for what is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_nothing_is_unpickled() -> None:
    assert {name: found for name, tree in TREES.items() if (found := imported(tree) & RUNNING)} == {}


def test_no_text_is_run_and_no_archive_unpacked() -> None:
    found = [
        (name, name_of(call.func))
        for name, tree in TREES.items()
        for call in calls(tree)
        if name_of(call.func) in CALLS or name_of(call.func).rpartition(".")[2] in METHODS
    ]
    assert found == []


def test_nothing_is_trusted_without_a_check() -> None:
    found = [
        (name, keyword.arg, keyword.value.value)
        for name, tree in TREES.items()
        for call in calls(tree)
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in OPTIONS
    ]
    assert found == []


def test_yaml_is_read_by_loaders_that_make_no_objects() -> None:
    import yaml

    from awsllm.infra import template_text
    from awsllm.server.moto import hardening

    readers = {name for name, tree in TREES.items() for call in calls(tree) if name_of(call.func) == "yaml.load"}
    assert readers == {"infra/template_text.py", "server/moto/hardening.py"}
    for module in (template_text, hardening):
        assert issubclass(module._loader(), yaml.SafeLoader)


def test_who_speaks_to_the_network_is_listed() -> None:
    found = {name for name, tree in TREES.items() if imported(tree) & _NETWORK_MODULES and _is_used(name, tree)}
    assert [name for name in found if not name.startswith(tuple(NETWORK))] == []
    assert [place for place in NETWORK if not any(name.startswith(place) for name in found)] == []


def _is_used(name: str, tree: ast.AST) -> bool:
    """Whether what was imported opens a connection, and is not only a type or an address's family."""
    opening = {
        "urlopen",
        "build_opener",
        "create_connection",
        "create_server",
        "open_connection",
        "socket",
        "getaddrinfo",
    }
    opening |= {"HTTPConnection", "HTTPSConnection", "bind", "connect", "request"}
    return any(name_of(call.func).rpartition(".")[2] in opening for call in calls(tree))


def test_keys_are_compared_in_constant_time() -> None:
    """Whatever has to do with a caller's key compares digests: a plain comparison ends at the first difference."""
    guarding = ("server/http/auth.py", "server/http/signatures.py", "server/admin.py", "policy/keys.py")
    for name in guarding:
        assert any(name_of(call.func) == "hmac.compare_digest" for call in calls(TREES[name])), name


def test_the_page_on_security_points_at_tests_that_there_are() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    for tool in re.findall(r"`(tools/[\w.]+)`", text):
        assert (ROOT / tool).exists(), tool


def test_who_finds_a_fault_knows_where_to_tell() -> None:
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "private" in policy
    assert "docs/security.md" in policy
