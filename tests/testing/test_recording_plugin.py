"""The marker and the fixture of the pytest plugin: a file a test."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.loopback import Response, serving

pytest_plugins = ["pytester"]

HEAD = """
import boto3, pytest
from awsllm.testing import MissingRecordingError

def ask(text):
    messages = [{"role": "user", "content": [{"text": text}]}]
    return boto3.client("bedrock-runtime", "us-east-1").converse(modelId="amazon.nova-lite-v1:0", messages=messages)
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> Run:
    loaded = request.config.pluginmanager.hasplugin("awsllm")  # by its entry point, where awsllm is installed

    def call(*args: str, **options: Any) -> pytest.RunResult:
        plugin = [] if loaded else ["-p", "awsllm.testing.plugin"]
        return pytester.runpytest_inprocess("--strict-markers", *args, *plugin, **options)

    return call


def files(pytester: pytest.Pytester) -> list[str]:
    return sorted(str(path.relative_to(pytester.path)) for path in pytester.path.rglob("*.yaml"))


@contextlib.contextmanager
def bedrock() -> Iterator[None]:
    """A server that every client of the block takes for Bedrock."""
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": "served"}]}}}
    body, headers = json.dumps(reply).encode(), {"Content-Type": "application/json"}
    with serving(lambda request: Response(body, headers=headers)) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "k")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        yield


def test_a_marked_test_has_a_file(pytester: pytest.Pytester, run: Run) -> None:
    """Recorded when asked; after that nothing but the file answers."""
    tests = """
@pytest.mark.aws_recording
@pytest.mark.parametrize("text", ["a", "b/c: d"])
def test_one(text):
    assert ask(text)["output"]["message"]["content"][0]["text"] == "served"

class TestMany:
    @pytest.mark.aws_recording(strict=True)
    def test_two(self, aws_recording):
        ask("two")
        assert aws_recording.unused == []
"""
    pytester.makepyfile(test_x=HEAD + tests)
    with bedrock():
        run("--awsllm-record=once").assert_outcomes(passed=3)
    found = files(pytester)
    assert found[0] == "recordings/test_x/TestMany.test_two.yaml"
    assert found[1] == "recordings/test_x/test_one[a].yaml"
    assert found[2].startswith("recordings/test_x/test_one[b_c_ d]-")
    run().assert_outcomes(passed=3)


def test_without_a_file_nothing_is_sent(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_x=HEAD
        + """
@pytest.mark.aws_recording
def test_one():
    with pytest.raises(MissingRecordingError, match=r"(?s)test_one.yaml.*no such file.*--awsllm-record"):
        ask("x")

@pytest.mark.aws_recording
def test_two():
    pass

def test_three(aws_recording):
    assert aws_recording.mode == "none"
    assert str(aws_recording.path).endswith("recordings/test_x/test_three.yaml")
"""
    )
    run().assert_outcomes(passed=3)
    assert files(pytester) == []


def test_the_markers_words(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_x=HEAD
        + """
@pytest.mark.aws_recording("shared/one.yaml", mode="once", ignore=["system"])
def test_one(aws_recording, request):
    assert aws_recording.path == request.path.parent / "shared" / "one.yaml"
    assert aws_recording.mode == MODE

@pytest.mark.aws_recording(mode="never")
def test_two():
    pass

def test_three():
    pass
""".replace("MODE", "'once'")
    )
    result = run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*there is no mode 'never'*"])


def test_what_was_not_used_fails_a_strict_test(pytester: pytest.Pytester, run: Run) -> None:
    text = HEAD + "\n@pytest.mark.aws_recording(strict=True)\ndef test_one():\n    ask('x')\n"
    pytester.makepyfile(test_x=text)
    with bedrock():
        run("--awsllm-record=all").assert_outcomes(passed=1)
    pytester.makepyfile(test_x=text.replace("ask('x')", "pass"))
    result = run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*1 of the exchanges in *test_one.yaml were not used*"])


def test_an_interrupted_run_keeps_the_old_file(pytester: pytest.Pytester, run: Run) -> None:
    text = HEAD + "\n@pytest.mark.aws_recording\ndef test_one():\n    ask('x')\n"
    pytester.makepyfile(test_x=text)
    with bedrock():
        run("--awsllm-record=all").assert_outcomes(passed=1)
        before = pytester.path.joinpath(files(pytester)[0]).read_bytes()
        pytester.makepyfile(test_x=text + "    ask('y')\n    raise KeyboardInterrupt\n")
        assert run("--awsllm-record=all", no_reraise_ctrlc=True).ret == pytest.ExitCode.INTERRUPTED
    assert pytester.path.joinpath(files(pytester)[0]).read_bytes() == before
