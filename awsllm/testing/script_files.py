"""Scripts in files, for ``awsllm serve --script``: read anew when they change.

A Python file binds ``reply``, which is what ``mock_aws(reply=…)`` takes, and may bind ``models``, a table of local
models by patterns of ids, which then answer in the script's place:

    reply = ["First.", "Second."]
    models = {"amazon.nova*": "local:smollm2-135m-instruct"}

A JSON or YAML file has the same two members, or is the reply itself (``json_replies``). A Python file is the program of
whoever names it, and is run.
"""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from awsllm.errors import ConfigurationError
from awsllm.testing.json_replies import json_script
from awsllm.testing.served import described
from awsllm.testing.table import is_table, local


class ScriptFile:
    """The script in a file as it is now. Calling it raises what keeps the file from being read, which names the
    line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._script: Any = None

    def check(self) -> None:
        """Raise ``ConfigurationError`` for a file that cannot be read now."""
        if not self.path.is_file():
            raise ConfigurationError(f"there is no script {str(self.path)!r}")
        try:
            self()
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(described(error)) from error

    def __call__(self) -> Any:
        status = os.stat(self.path)
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._script = read_script(self.path)
            self._stamp = stamp
        return self._script


def read_script(path: Path) -> Any:
    """The script that a file holds."""
    match path.suffix.lower():
        case ".py":
            bound = runpy.run_path(str(path))
            if "reply" not in bound and "models" not in bound:
                raise ConfigurationError(f"{path.name} binds no `reply`: give it one, such as reply = 'Hello'")
            return _with_models(bound.get("reply"), bound.get("models"))
        case ".json" | ".yaml" | ".yml":
            value = _parsed(path)
            if isinstance(value, dict) and value and value.keys() <= {"reply", "models"}:
                return _with_models(json_script(value.get("reply")), value.get("models"))
            return json_script(value)
        case other:
            raise ConfigurationError(f"a script is a .py, .json or .yaml file, not {other or path.name!r}")


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name} is not UTF-8") from error
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{path.name} is not JSON: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise ConfigurationError("scripts in YAML need PyYAML: pip install 'awsllm[test]'") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of a date that there is not
        raise ConfigurationError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error


def _with_models(reply: Any, models: Any) -> Any:
    if models is None:
        return reply
    if not isinstance(models, Mapping):
        raise ConfigurationError("`models` is a table of local models by patterns: {'amazon.nova*': 'local:…'}")
    real = {str(pattern): local(str(reference)) for pattern, reference in models.items()}
    rest = reply if is_table(reply) else {} if reply is None else {"*": reply}
    return {**rest, **real}
