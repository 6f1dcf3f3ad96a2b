"""moto's CloudFormation, where it is not as AWS's is.

- A type that it does not make has a stand-in (``stand_ins``), where moto fails at whatever refers to it.
- Parameters that keep their value may be lists, and those that echo nothing are not shown.
- ``AWS::NoValue`` in a list is left out, where moto leaves ``null``, and ``Fn::Equals`` compares texts.
- A resource is made, changed or deleted where its condition or what it refers to changes, where moto compares the
  templates' text alone.
- A change set that cannot be made ends in a rollback with its reason, where moto raises and leaves a stack half-made;
  one that is made gives the stack its outputs, exports and tags.
- ``RetainExceptOnCreate`` retains what the end of a stack would delete, where moto knows ``Retain`` alone; a deletion
  that fails is DELETE_FAILED; a protected stack is not deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from awsllm.server.moto import stand_ins

Addition = tuple[Any, str, Any]
_RETAINS = ("Retain", "RetainExceptOnCreate")
_TRIES = 5  # of what depends on something that is changed or deleted after it
_FAILED = "_awsllm_resource"  # on an error: the resource that could not be made


def additions() -> Iterator[Addition]:
    """What is replaced: a class or module of moto's, a name in it, and what stands there instead."""
    from moto.cloudformation import models, parsing
    from moto.cloudformation.responses import CloudFormationResponse
    from moto.kms.models import Key

    yield parsing, "resource_class_from_type", _class_of
    yield parsing, "clean_json", _without_nothing(parsing.clean_json)
    yield parsing, "parse_condition", _comparing_text(parsing.parse_condition)
    yield parsing, "parse_and_create_resource", _naming(parsing.parse_and_create_resource)
    yield parsing.ResourceMap, "load_parameters", _with_lists(parsing.ResourceMap.load_parameters)
    yield models.Stack, "parameter_list", property(_parameter_list)
    yield models.CloudFormationBackend, "delete_change_set", _delete_change_set
    yield parsing.ResourceMap, "build_resource_diff", _difference
    yield parsing.ResourceMap, "update", _update
    yield parsing.ResourceMap, "delete", _delete_resources(parsing.ResourceMap.delete)
    yield parsing.OutputMap, "exports", property(_exports)
    yield models.ChangeSet, "diff", _changes
    yield models.CloudFormationBackend, "execute_change_set", _execute
    yield models.CloudFormationBackend, "delete_stack", _delete_stack
    yield CloudFormationResponse, "update_termination_protection", _update_protection
    yield Key, "create_from_cloudformation_json", classmethod(_with_tags(Key.create_from_cloudformation_json))


# --- resources -------------------------------------------------------------------------------------------------------


def _class_of(resource_type: str) -> Any:
    from moto.cloudformation.parsing import get_model_map

    return stand_ins.MADE.get(resource_type) or get_model_map().get(resource_type) or stand_ins.StandIn


def _without_nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    def clean_json(resource_json: Any, resources_map: Any) -> Any:
        cleaned = original(resource_json, resources_map)
        if not isinstance(resource_json, list):
            return cleaned
        pairs = zip(resource_json, cleaned, strict=True)
        return [found for given, found in pairs if found is not None or given is None]

    return clean_json


def _comparing_text(original: Callable[..., Any]) -> Callable[..., Any]:
    """Parameters are text to ``Fn::Equals``; to moto they may be numbers, and 0 is not "0"."""

    def parse_condition(condition: Any, resources_map: Any, condition_map: Any) -> bool:
        if isinstance(condition, dict) and "Fn::Condition" in condition:  # as moto reads !Condition
            return bool(condition_map[condition["Fn::Condition"]])
        if not isinstance(condition, dict) or "Fn::Equals" not in condition:
            return bool(original(condition, resources_map, condition_map))
        from moto.cloudformation.parsing import clean_json

        left, right = (clean_json(each, resources_map) for each in condition["Fn::Equals"])
        return _text(left) == _text(right)

    return parse_condition


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _naming(original: Callable[..., Any]) -> Callable[..., Any]:
    """An error of making a resource says which one it was: the first, where others needed it."""

    def parse_and_create_resource(logical_id: str, resource_json: Any, *rest: Any, **known: Any) -> Any:
        try:
            return original(logical_id, resource_json, *rest, **known)
        except Exception as error:
            if not hasattr(error, _FAILED):
                setattr(error, _FAILED, (logical_id, resource_json.get("Type", "")))
            raise

    return parse_and_create_resource


def _with_tags(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tags of a key as KMS has them, from those of CloudFormation."""

    def create(cls: Any, resource_name: str, cloudformation_json: Any, *where: Any, **known: Any) -> Any:
        properties = dict(cloudformation_json["Properties"])
        if "Tags" in properties:
            properties["Tags"] = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties["Tags"]]
        return original(resource_name, {**cloudformation_json, "Properties": properties}, *where, **known)

    return create


def _with_lists(original: Callable[..., Any]) -> Callable[..., Any]:
    """Parameters that are kept come as moto has resolved them: lists, where it expects the text of one."""

    def load_parameters(resources: Any) -> None:
        resources.input_parameters = {name: _joined(value) for name, value in resources.input_parameters.items()}
        original(resources)

    return load_parameters


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _parameter_list(stack: Any) -> list[dict[str, Any]]:
    """As DescribeStacks shows them: texts, and no secret."""
    hidden = stack.resource_map.no_echo_parameter_keys
    resolved = stack.resource_map.resolved_parameters
    return [
        {"ParameterKey": name, "ParameterValue": "****" if name in hidden else _joined(value)}
        for name, value in resolved.items()
    ]


# --- what a template changes ------------------------------------------------------------------------------------------


class _Ahead:
    """A template's references and conditions before any of it is made: what is there has its values, what is not yet
    has a stand-in's."""

    def __init__(self, resources: Any, template: Any, parameters: Any) -> None:
        from moto.cloudformation.parsing import ResourceMap

        given = resources.input_parameters if parameters is None else parameters
        named = (resources.stack_id, resources._parsed_resources["AWS::StackName"], given, resources.tags)
        self.map = ResourceMap(
            *named, resources._region_name, resources._account_id, template, resources.cross_stack_resources
        )
        self.map.load_mapping()
        self.map.load_parameters()
        self.map.load_conditions()
        self.lazy_condition_map = self.map.lazy_condition_map
        self.cross_stack_resources = resources.cross_stack_resources
        self._there = resources._parsed_resources

    def __getitem__(self, name: str) -> Any:
        for known in (self.map._parsed_resources, self._there):
            if known.get(name) is not None or name.startswith("AWS::"):
                return known.get(name)
        each = self.map._resource_json_map[name]
        return stand_ins.StandIn(each["Type"], name, {}, {"id": name.lower(), "partition": "aws"})

    def get(self, name: str) -> Any:
        return self[name] if name in self.map._parsed_resources or name in self.map._resource_json_map else None

    def makes(self, name: str) -> bool:
        condition = self.map._resource_json_map[name].get("Condition")
        return not condition or bool(self.lazy_condition_map[condition])

    def properties(self, each: Any) -> Any:
        from moto.cloudformation import parsing

        clean: Any = parsing.clean_json
        return clean(each.get("Properties") or {}, self)


def _difference(resources: Any, other_template: Any, parameters: Any = None) -> dict[str, list[str]]:
    """Names of resources by what becomes of them."""
    old, new = resources._resource_json_map, other_template["Resources"]
    there = [name for name in old if resources._parsed_resources.get(name) is not None]
    ahead = _Ahead(resources, other_template, parameters)
    made = [name for name in new if ahead.makes(name)]
    before = _Ahead(resources, resources._template, None) if there else ahead
    return {
        "Add": [name for name in made if name not in there],
        "Modify": [
            name
            for name in made
            if name in there
            and (old[name]["Type"] != new[name]["Type"] or before.properties(old[name]) != ahead.properties(new[name]))
        ],
        "Remove": [name for name in there if name not in made],
    }


def _changes(change_set: Any) -> list[Any]:
    from moto.cloudformation.models import Change

    there = change_set.stack.resource_map
    found = there.build_resource_diff(change_set.template_dict, change_set.parameters)
    types = {**there._resource_json_map, **change_set.template_dict["Resources"]}
    return [Change(action, name, types[name]["Type"]) for action, names in found.items() for name in names]


def _update(resources: Any, template: Any, parameters: Any = None) -> None:
    """Make what is new, then change what is there, then delete what is left over."""
    names = resources.build_resource_diff(template, parameters)
    before = resources._resource_json_map
    resources._template = template
    if parameters is not None:
        resources.input_parameters = parameters
    resources.load_mapping()
    resources.load_parameters()
    resources.load_conditions()
    resources._resource_json_map = template["Resources"]
    for name in names["Add"]:
        resources._parsed_resources.pop(name, None)
    for name in names["Add"]:
        _ = resources[name]  # makes it, unless another needed it before
    _each(names["Modify"], lambda name: _modify(resources, name))
    _each(names["Remove"], lambda name: _remove(resources, name, before[name]))


def _modify(resources: Any, name: str) -> None:
    from moto.cloudformation.parsing import parse_and_update_resource

    each = resources._resource_json_map[name]
    changed: Any = parse_and_update_resource(name, each, resources, resources._account_id, resources._region_name)
    if changed is not None:  # None where moto cannot change it
        resources._parsed_resources[name] = changed


def _remove(resources: Any, name: str, each: Any) -> None:
    if each.get("DeletionPolicy") not in _RETAINS:
        resources._delete_resource(resources._parsed_resources[name], each)
    del resources._parsed_resources[name]


def _each(names: Sequence[str], act: Callable[[str], None]) -> None:
    """Act on each; what fails is tried again once the others are done."""
    left, errors = list(names), list[Exception]()
    for _ in range(_TRIES):
        errors = []
        for name in list(left):
            try:
                act(name)
            except Exception as error:
                errors.append(error)
            else:
                left.remove(name)
        if not left:
            return
    raise errors[0]


# --- change sets -----------------------------------------------------------------------------------------------------


def _execute(backend: Any, change_set_name: str, stack_name: str | None = None) -> None:
    change_set = backend.describe_change_set(change_set_name)
    stack, kind = backend.stacks[change_set.stack_id], change_set.change_set_type
    before = (stack.template_dict, stack.resource_map.input_parameters)
    stack._add_stack_event(f"{kind}_IN_PROGRESS", resource_status_reason="User Initiated")
    change_set.execution_status = "EXECUTE_COMPLETE"
    try:
        _apply(backend, change_set)
    except Exception as error:
        change_set.execution_status = "EXECUTE_FAILED"
        _roll_back(stack, kind, before, error)
    else:
        _settle(stack, f"{kind}_COMPLETE")


def _delete_change_set(backend: Any, change_set_name: str) -> None:
    """One that is not there is no error, as AWS has it."""
    for key, each in list(backend.change_sets.items()):
        if change_set_name in (key, each.change_set_name):
            del backend.change_sets[key]
            return


def _apply(backend: Any, change_set: Any) -> None:
    """What a change set does to its stack."""
    stack = change_set.stack
    stack.resource_map.cross_stack_resources = stack.cross_stack_resources = backend.exports
    stack.resource_map.update(change_set.template_dict, change_set.parameters)
    stack.template, stack.template_dict = change_set.template, change_set.template_dict
    stack.description = stack.template_dict.get("Description")
    stack.parameters = change_set.parameters or stack.parameters
    stack.tags = change_set.tags or stack.tags
    stack.role_arn = change_set.role_arn or stack.role_arn
    stack.output_map = stack._create_output_map()
    list(stack.output_map.values())  # one that refers to nothing fails here
    for export in stack.exports:
        backend.exports[export.name] = export


def _exports(outputs: Any) -> list[Any]:
    """Of the outputs whose condition holds."""
    from moto.cloudformation.parsing import Export, clean_json

    exported = [(each["Export"].get("Name"), outputs[key]) for key, each in _declared(outputs) if each.get("Export")]
    named = [(clean_json(name, outputs._resource_map), output) for name, output in exported if output is not None]
    return [Export(outputs._stack_id, name, output.value) for name, output in named]


def _declared(outputs: Any) -> Sequence[tuple[str, Any]]:
    return [*(outputs._output_json_map or {}).items()]


def _roll_back(stack: Any, kind: str, before: tuple[Any, Any], error: Exception) -> None:
    """The stack as it was, and why."""
    reason = _reason(error)
    stack.events.append(_failure(stack, kind, error, reason))
    started = "ROLLBACK_IN_PROGRESS" if kind == "CREATE" else "UPDATE_ROLLBACK_IN_PROGRESS"
    stack._add_stack_event(started, resource_status_reason=f"The following resource(s) failed: {reason}")
    try:
        if kind == "CREATE":
            made = stack.resource_map._resource_json_map
            there = [name for name in made if stack.resource_map._parsed_resources.get(name) is not None]
            _each(there, lambda name: _remove(stack.resource_map, name, {**made[name], "DeletionPolicy": "Delete"}))
            _forget(stack)
        else:
            stack.resource_map.update(*before)
            stack.template_dict = before[0]
            stack.output_map = stack._create_output_map()
    except Exception as again:
        _settle(stack, started.replace("IN_PROGRESS", "FAILED"), _reason(again))
    else:
        _settle(stack, started.replace("IN_PROGRESS", "COMPLETE"))


def _failure(stack: Any, kind: str, error: Exception, reason: str) -> Any:
    from moto.cloudformation.models import Event

    name, of_type = getattr(error, _FAILED, (stack.name, "AWS::CloudFormation::Stack"))
    return Event(
        stack_id=stack.stack_id,
        stack_name=stack.name,
        logical_resource_id=name,
        physical_resource_id="",
        resource_type=of_type,
        resource_status=f"{kind}_FAILED",
        resource_status_reason=reason,
        resource_properties=None,
    )


def _settle(stack: Any, status: str, reason: str | None = None) -> None:
    stack._add_stack_event(status, resource_status_reason=reason)
    stack.status = status


def _reason(error: Exception) -> str:
    """moto's errors are AWS's own words; of any other, a template's author needs to know what it stumbled over."""
    told = getattr(error, "message", None) or getattr(error, "description", None)
    if isinstance(told, str):
        return told
    stumbled = f" at {error.args[0]}" if isinstance(error, KeyError) and error.args else ""
    return f"the offline AWS cannot make this ({type(error).__name__}{stumbled})"


# --- the end of a stack ----------------------------------------------------------------------------------------------


def _delete_resources(original: Callable[..., Any]) -> Callable[..., Any]:
    def delete(resources: Any) -> None:
        for name, each in resources._resource_json_map.items():
            if each.get("DeletionPolicy") in _RETAINS:
                each["DeletionPolicy"] = "Retain"
            else:
                _check_empty(name, resources._parsed_resources.get(name))
        original(resources)

    return delete


def _check_empty(name: str, made: Any) -> None:
    """moto lets go of a bucket with objects, and calls it deleted."""
    from moto.cloudformation.exceptions import ValidationError
    from moto.s3.models import FakeBucket

    if isinstance(made, FakeBucket) and made.keys:
        error = ValidationError(message=f"The bucket you tried to delete is not empty: {made.name}")
        setattr(error, _FAILED, (name, "AWS::S3::Bucket"))
        raise error


def _forget(stack: Any) -> None:
    """What is gone is not listed: moto makes what it lists."""
    stack.template_dict = stack.resource_map._resource_json_map = {}
    stack.output_map = stack._create_output_map()


def _update_protection(response: Any) -> Any:
    """UpdateTerminationProtection, which moto has not."""
    from moto.core.responses import ActionResult

    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    stack.enable_termination_protection = response._get_bool_param("EnableTerminationProtection")
    return ActionResult({"StackId": stack.stack_id})


def _delete_stack(backend: Any, name_or_stack_id: str) -> None:
    from moto.cloudformation.exceptions import ValidationError

    found = [stack for stack in backend.stacks.values() if name_or_stack_id in (stack.name, stack.stack_id)]
    for stack in found[:1]:
        if stack.enable_termination_protection:
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        exported = [name for name, export in backend.exports.items() if export.exporting_stack_id == stack.stack_id]
        stack._add_stack_event("DELETE_IN_PROGRESS", resource_status_reason="User Initiated")
        try:
            stack.resource_map.delete()
        except Exception as error:
            stack.events.append(_failure(stack, "DELETE", error, _reason(error)))
            _settle(stack, "DELETE_FAILED", _reason(error))
            return
        _forget(stack)
        _settle(stack, "DELETE_COMPLETE")
        backend.deleted_stacks[stack.stack_id] = backend.stacks.pop(stack.stack_id)
        for name in exported:
            del backend.exports[name]
