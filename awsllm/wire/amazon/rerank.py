"""Amazon Rerank 1.0: Cohere's body without its version.

That the model takes ``top_n`` is documented nowhere, so it is not sent: of its reply the best are taken.
Source: public callers of InvokeModel with amazon.rerank-v1:0, who send ``query`` and ``documents`` and read
``results[].relevance_score``; AWS documents only the service that ranks for it.
"""

from __future__ import annotations

from awsllm.wire.amazon.titan import encode_error
from awsllm.wire.body import Body, reads
from awsllm.wire.cohere.rerank import CohereRerank

_RERANK = CohereRerank("the format of Amazon Rerank", api_version=None, has_top_n=False)

BODIES: tuple[Body, ...] = (Body("amazon-rerank", _RERANK.title, reads(_RERANK), encode_error, rerank=_RERANK),)
