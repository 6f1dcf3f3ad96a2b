"""bedrock-agent-runtime: knowledge bases, agents, prompts. Each module has the requests, answers and events of a few
operations, both ways. Facts of the wire: botocore's service model, and the API reference for what it leaves open."""
