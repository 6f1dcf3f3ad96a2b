"""The names of OpenTelemetry's conventions for generative AI that awsllm emits, and its own.

They are those of opentelemetry-semantic-conventions 0.66b2, but for ``NEWER``: names of the conventions' own repository
(github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai, read 2026-11-27), where they went in May 2026, and
which that package does not have. A test holds this module against the package. The conventions are in development.

Names that begin with ``awsllm.`` are its own: the conventions have none for what they say.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.42.0"

# Attributes.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
OUTPUT_TYPE = "gen_ai.output.type"
CONVERSATION_ID = "gen_ai.conversation.id"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
EMBEDDING_DIMENSIONS = "gen_ai.embeddings.dimension.count"
AGENT_ID = "gen_ai.agent.id"
DATA_SOURCE_ID = "gen_ai.data_source.id"
QUERY_TEXT = "gen_ai.retrieval.query.text"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
GUARDRAIL_ID = "aws.bedrock.guardrail.id"
KNOWLEDGE_BASE_ID = "aws.bedrock.knowledge_base.id"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

# Metrics, and the bounds of their buckets where the conventions give some.
OPERATION_DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
SERVER_DURATION = "gen_ai.server.request.duration"
SERVER_FIRST_TOKEN = "gen_ai.server.time_to_first_token"  # noqa: S105
SERVER_PER_TOKEN = "gen_ai.server.time_per_output_token"  # noqa: S105
TOOL_DURATION = "gen_ai.execute_tool.duration"
AGENT_DURATION = "gen_ai.invoke_agent.duration"
DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))
TOKEN_BUCKETS = tuple(4.0**power for power in range(14))
SERVER_FIRST_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
SERVER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

# Events.
DETAILS = "gen_ai.client.inference.operation.details"

NEWER = frozenset((TOOL_DURATION, AGENT_DURATION, DETAILS))
"""What 0.66b2 does not have."""

# Values.
CHAT = "chat"
EMBEDDINGS = "embeddings"
EXECUTE_TOOL = "execute_tool"
GENERATE_CONTENT = "generate_content"
INVOKE_AGENT = "invoke_agent"
RETRIEVAL = "retrieval"
BEDROCK = "aws.bedrock"
SERVER_PROVIDER = "awsllm.serve"
"""Of what `awsllm serve` answers, whatever protocol it speaks."""
PROVIDERS = {"bedrock": BEDROCK, "sagemaker": "aws.sagemaker", "local": "awsllm.local"}
"""The conventions have a value for Bedrock alone; the others are ours, as they allow."""

OPERATIONS = {
    "converse": CHAT,
    "embed": EMBEDDINGS,
    "generate_image": GENERATE_CONTENT,
    "edit_image": GENERATE_CONTENT,
    "retrieve": RETRIEVAL,
    "agentic_retrieve": RETRIEVAL,
    "invoke_agent": INVOKE_AGENT,
    "invoke_inline_agent": INVOKE_AGENT,
}
"""By the client's method. Others (rerank, count_tokens, invoke_model, whose body may be anything …) keep their name,
which the conventions allow where none of their values applies."""

# Ours.
GROUP = "awsllm.group"
ATTEMPTS = "awsllm.attempts"
FALLBACK_REASON = "awsllm.fallback.reason"
FALLBACK_FROM = "awsllm.fallback.from"
BREAKER_STATE = "awsllm.breaker.state"
LIMITER_WAIT = "awsllm.limiter.wait"
COST = "awsllm.cost.usd"
CACHE_HIT = "awsllm.cache.hit"
MODEL_ARN = "awsllm.model.arn"
LEFT = "awsllm.left"
TENANT = "awsllm.tenant"
TAG = "awsllm.tag."
RETRY_EVENT = "awsllm.retry"
RETRY_WAIT = "awsllm.retry.wait"
WENT_ON_EVENTS = {"hedge": "awsllm.hedge", "resume": "awsllm.resume"}
FALLBACK_EVENT = "awsllm.fallback"
PASSED_OVER_EVENT = "awsllm.passed_over"
