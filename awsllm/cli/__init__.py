"""The command line, `awsllm`.

One file a command; each imports what it needs when it runs, so that help and listings come at once. An expected error
is one line on standard error and exit code 1, a wrong command line is exit code 2, Ctrl-C is 130. A traceback is shown
with `--debug` alone. What a program may read goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `awsllm` with these arguments, or with the process's. Ends in ``SystemExit``."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.exit(f"awsllm: the command line needs {error.name}: pip install 'awsllm[cli]'")
    from awsllm.cli.app import run

    run(sys.argv[1:] if arguments is None else arguments)
