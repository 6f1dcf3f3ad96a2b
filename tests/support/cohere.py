"""Sampling knobs as a request has them, and as Cohere's bodies have them."""

from awsllm.types import InferenceConfig

FULL = InferenceConfig(max_tokens=20, temperature=0.5, top_p=0.9, stop_sequences=("##",))
SAMPLED = {"max_tokens": 20, "temperature": 0.5, "p": 0.9, "stop_sequences": ["##"]}
