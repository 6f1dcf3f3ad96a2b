"""CloudFormation templates of awsllm's, and any other: rendered, planned, deployed, looked at and taken down.

    from awsllm import infra

    print(infra.plan("chat-api", models=("bedrock:us.amazon.nova-lite-v1:0",), region="us-east-1"))
    stack = infra.deploy("chat-api", stack="chat", models=(...,), code="chat.zip")
    stack.outputs, infra.status("chat"), infra.destroy("chat")
    infra.policy("bedrock:us.amazon.nova-lite-v1:0", stream=True).policy

Values are read before anything is done: a plan is CloudFormation's change set with its cost, a policy the statements
with their reasons. The templates stand in ``infra/`` of a checkout and in ``awsllm/infra/templates`` of a package.
Names are resolved when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsllm.infra.api import deploy as deploy
    from awsllm.infra.api import destroy as destroy
    from awsllm.infra.api import detect_drift as detect_drift
    from awsllm.infra.api import doctor as doctor
    from awsllm.infra.api import list_stacks as list_stacks
    from awsllm.infra.api import outputs as outputs
    from awsllm.infra.api import plan as plan
    from awsllm.infra.api import policy as policy
    from awsllm.infra.api import read_parameters as read_parameters
    from awsllm.infra.api import render as render
    from awsllm.infra.api import status as status
    from awsllm.infra.tag_profiles import TagProfile as TagProfile
    from awsllm.infra.tag_profiles import create_profile as create_profile
    from awsllm.infra.tag_profiles import delete_profile as delete_profile
    from awsllm.infra.tag_profiles import list_profiles as list_profiles
    from awsllm.infra.tag_profiles import profiles_by_tag as profiles_by_tag
    from awsllm.infra.templates import Template as Template
    from awsllm.infra.templates import list_templates as list_templates
    from awsllm.infra.templates import template as template

__all__ = [
    *("TagProfile", "Template", "create_profile", "delete_profile", "deploy", "destroy", "detect_drift", "doctor"),
    *("list_profiles", "list_stacks", "list_templates", "outputs", "plan", "policy", "profiles_by_tag"),
    *("read_parameters", "render", "status", "template"),
]

_HOMES = {
    **dict.fromkeys(__all__, "api"),
    **dict.fromkeys(
        ("TagProfile", "create_profile", "delete_profile", "list_profiles", "profiles_by_tag"), "tag_profiles"
    ),
    **dict.fromkeys(("Template", "list_templates", "template"), "templates"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
