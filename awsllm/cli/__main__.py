"""`python -m awsllm.cli`."""

from awsllm.cli import main

main()
