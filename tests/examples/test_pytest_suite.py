"""The example suite of a Bedrock application, collected here too: each of its tests passes."""

from examples.pytest_suite.test_support_bot import *  # noqa: F403
