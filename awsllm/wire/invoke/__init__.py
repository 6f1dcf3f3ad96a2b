"""InvokeModel bodies: every family has its own, one file a family.

``embedder`` finds the body of an embedding model by its id. A foundation-model ARN ends in that id; an opaque ARN
(provisioned throughput, application profile) tells nothing.
"""

from __future__ import annotations

from awsllm.errors import UnsupportedError
from awsllm.wire.invoke import titan

_EMBEDDERS = (
    ("amazon.titan-embed-text-v2", titan.V2),
    ("amazon.titan-embed-text-v1", titan.V1),
    ("amazon.titan-embed-g1-text-02", titan.V1),  # the first release of v1
)


def embedder(model: str) -> titan.Titan:
    """The body that an embedding model takes; ``UnsupportedError`` names those that are known."""
    name = model.rsplit("/", 1)[-1]
    for prefix, body in _EMBEDDERS:
        if name.startswith(prefix):
            return body
    known = ", ".join(prefix for prefix, _ in _EMBEDDERS)
    raise UnsupportedError(f"no embedding body is known for {model!r}; these Bedrock models embed: {known}")
