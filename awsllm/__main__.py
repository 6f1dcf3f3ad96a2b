"""``python -m awsllm``: the same as the ``awsllm`` command."""

from awsllm.cli import main

main()
