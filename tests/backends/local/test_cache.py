"""Cache points count as Bedrock counts them: written once, read while they live, nothing without them."""

from awsllm.backends.local.cache import Checkpoint, PromptCache, Terms, terms_of, with_marks
from awsllm.types import CacheDetail, CachePoint, ConverseRequest, Message, Text, ToolSpec, Usage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


PROMPT = list(range(100))


def counts(usage: Usage) -> tuple[int | None, int | None, int | None]:
    return usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens


def test_without_cache_points_nothing_is_counted() -> None:
    cache = PromptCache()
    cache.count(PROMPT, [Checkpoint(40, "5m")])
    assert cache.count(PROMPT, []) == Usage(100)


def test_a_prefix_is_written_and_then_read_as_far_as_it_is_the_same() -> None:
    cache = PromptCache()
    assert counts(cache.count(PROMPT, [Checkpoint(40, "5m")])) == (60, 0, 40)
    assert counts(cache.count(PROMPT[:50], [Checkpoint(40, "5m")])) == (10, 40, 0)
    assert counts(cache.count(PROMPT, [Checkpoint(40, "5m"), Checkpoint(70, "5m")])) == (30, 40, 30)
    assert counts(cache.count([7, *PROMPT[1:]], [Checkpoint(40, "5m")])) == (60, 0, 40)


def test_a_point_that_moves_on_reads_what_an_earlier_one_wrote() -> None:
    cache = PromptCache()
    cache.count(PROMPT[:60], [Checkpoint(40, "5m")])
    assert counts(cache.count(PROMPT, [Checkpoint(90, "5m")])) == (10, 40, 50)


def test_a_prefix_lives_for_its_time_from_its_last_use() -> None:
    clock = Clock()
    cache = PromptCache(clock)
    points = [Checkpoint(20, "1h"), Checkpoint(50, "5m")]
    first = cache.count(PROMPT, points)
    assert first.cache_details == (CacheDetail("1h", 20), CacheDetail("5m", 30))
    for clock.now in (200.0, 400.0):
        assert counts(cache.count(PROMPT, points)) == (50, 50, 0)
    clock.now = 1000.0
    assert counts(cache.count(PROMPT, points)) == (50, 20, 30)


def test_a_mark_stands_where_each_point_does() -> None:
    point, spec = CachePoint(), ToolSpec("f", {"type": "object"}, "Does.")
    request = ConverseRequest(
        model="m",
        tools=(point, spec, CachePoint(ttl="1h")),
        system=(Text("s"), point),
        messages=(Message("user", (Text("u"), point, Text("v"))),),
    )
    (tools, ttl), (system, _), (messages, _) = with_marks(request, "MARK")
    assert tools.tools[1] == ToolSpec("f", {"type": "object"}, "Does.MARK")
    assert ttl == "1h"
    assert system.system == (Text("s"), Text("MARK"))
    assert messages.messages[0].content == (Text("u"), Text("MARK"), Text("v"))
    assert system.messages == request.messages


def test_a_model_of_bedrock_s_has_its_own_cache_and_its_own_minimum() -> None:
    """Sonnet 4.5 wants 1,024 tokens before a point (docs.aws.amazon.com, Prompt caching)."""
    request = ConverseRequest(model="m", family="us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    terms, cache, long = terms_of(request), PromptCache(), list(range(3000))
    assert terms == Terms("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 1024)
    assert terms_of(ConverseRequest(model="m")) == Terms()
    assert counts(cache.count(long, [Checkpoint(1023, "5m")], terms)) == (3000, 0, 0)
    assert counts(cache.count(long, [Checkpoint(1023, "5m"), Checkpoint(2000, "5m")], terms)) == (1000, 0, 2000)
    assert counts(cache.count(long, [Checkpoint(2000, "5m")], Terms("another"))) == (1000, 0, 2000)
    assert counts(cache.count(long, [Checkpoint(2000, "5m")], terms)) == (1000, 2000, 0)
