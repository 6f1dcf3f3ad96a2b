"""awsllm beside what people use today, on a loopback stub of Bedrock: `make bench` or `python -m benchmarks`."""
