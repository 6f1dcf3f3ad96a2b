"""The notebooks run from top to bottom in a kernel of their own, and lie in the repository as they were written."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.examples import HOME

NOTEBOOKS = sorted((HOME / "notebooks").glob("*.ipynb"))
SHOWN = {
    "application_developer": ("<caption>local:smollm2-135m-instruct</caption>", "<caption>tokens</caption>"),
    "lambda_author": ("'stop_reason'", "invalid_request", "done: {'number': 1}", "'itemIdentifier': 'poisoned'"),
    "platform_engineer": ("example-gated-lmi-chat", "CreateInferenceComponent", "MaxCapacity"),
    "test_author": ("A short summary. Another one.", "{EMAIL}", "end_turn"),
}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_clean(path: Path) -> None:
    """No output, no count, no machine's metadata: a change of it is a change of what it says."""
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    for cell in notebook.cells:
        assert cell.metadata == {}
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.slow
def test_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one kernel, which starts but once; what the one before left is taken away."""
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):  # nothing of whoever runs the tests
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    cells: dict[str, list[Any]] = {}
    for path in NOTEBOOKS:
        cells[path.stem] = [*read(path).cells, new_code_cell(RESET)]
        for cell in cells[path.stem]:
            cell.id = f"{path.stem}-{cell.id}"
    whole = new_notebook(cells=[cell for some in cells.values() for cell in some])
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(whole, timeout=120, kernel_name="python3", resources=place).execute()
    assert [(stem, text) for stem, some in cells.items() for text in SHOWN[stem] if text not in shown(some)] == []


RESET = """%reset -f
import os
[os.environ.pop(name) for name in list(os.environ) if name.startswith(("AWS_", "AWSLLM_MODEL"))]
"""


def shown(cells: list[Any]) -> str:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join(str(output.get("text") or output.get("data")) for output in outputs)
