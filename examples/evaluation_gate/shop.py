"""The application under test: it answers questions about a shop. Its prompt is what somebody will change one day."""

import awsllm

MODEL = "bedrock:us.amazon.nova-lite-v1:0"
PROMPT = (
    "Answer for a lamp shop in one short sentence. Returns: within 30 days. Shipping: 3 days, in this country alone. "
    "Warranty: 2 years. Gift wrapping: free. Telephone: until 6 pm."
)


def answer(client: awsllm.Client, question: str, prompt: str = PROMPT) -> str:
    return client.converse(MODEL, question, system=prompt, max_tokens=60, temperature=0).text
