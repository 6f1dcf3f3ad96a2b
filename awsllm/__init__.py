"""awsllm: one client for Amazon Bedrock, Amazon SageMaker and local PyTorch models."""
