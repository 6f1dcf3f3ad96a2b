"""awsllm's templates in a CDK application: a construct that includes one of them.

    from awsllm_stack import AwsllmTemplate

    chat = AwsllmTemplate(stack, "Chat", template="chat-api", parameters={"ModelId": …, "CodeBucket": …})
    alarm_topic.grant_publish(chat.resource("Role"))

It needs ``aws-cdk-lib`` and nothing else of awsllm's: the template is found beside this file or in an installed awsllm.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from aws_cdk import CfnElement, cloudformation_include
from constructs import Construct

_FILE = "template.yaml"


def template_file(name: str) -> Path:
    """The template of a checkout, or of the awsllm that is installed. Raises ``FileNotFoundError``."""
    places = [Path(__file__).resolve().parents[1]]
    if (spec := find_spec("awsllm")) is not None and spec.submodule_search_locations:
        places.append(Path(spec.submodule_search_locations[0]) / "infra" / "templates")
    for place in places:
        if (found := place / name / _FILE).is_file():
            return found
    raise FileNotFoundError(f"no template is called {name!r} in {' or '.join(map(str, places))}")


class AwsllmTemplate(Construct):
    """One of awsllm's templates, with parameters filled in. Its resources keep their logical names, so that a stack
    takes one template, or several whose names differ."""

    def __init__(self, scope: Construct, id: str, *, template: str, parameters: Mapping[str, object] | None = None):
        super().__init__(scope, id)
        self.included = cloudformation_include.CfnInclude(
            self, "Template", template_file=str(template_file(template)), parameters=dict(parameters or {})
        )

    def resource(self, name: str) -> CfnElement:
        """A resource of the template by its logical name."""
        return self.included.get_resource(name)
