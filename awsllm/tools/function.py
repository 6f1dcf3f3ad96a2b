"""Functions as tools.

``function_tool`` reads a function's signature and docstring into a JSON schema, and makes of it a ``ToolFunction`` that
validates what the model sends before the function sees it. pydantic does both; it is loaded when the first function is
read.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints, overload

import msgspec

from awsllm.errors import UnsupportedError, ValidationError
from awsllm.tools.docstrings import parse_docstring
from awsllm.tools.schema.tidy import close, tidy
from awsllm.tools.schema.types import portable, schema_generator, type_schema
from awsllm.types import JsonObject, JsonValue, ToolSpec, ToolUse

if TYPE_CHECKING:
    from pydantic import BaseModel


class ToolFunction(msgspec.Struct, frozen=True):
    """A tool that can be run. ``call`` is given the arguments as the model sent them and returns the result, or an
    awaitable of it. Called itself, it is the plain function. ``on_error`` is given what it raises, and returns what the
    model reads of it; see ``tools.failures``. ``approve`` is asked before it runs; see ``tools.approval``."""

    spec: ToolSpec
    call: Callable[[JsonValue], Any]
    function: Callable[..., Any] | None = None
    unbound: bool = False
    on_error: Callable[[ToolUse, Exception], str] | None = None
    approve: Callable[[ToolUse], Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.function or self.call)(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> ToolFunction:
        """A method's tool, reached through an instance, is the tool of the bound method."""
        if instance is None or self.function is None:
            return self
        bound = self.function.__get__(instance, owner)
        return function_tool(bound, name=self.spec.name, description=self.spec.description, strict=self.spec.strict)


@overload
def tool(function: Callable[..., Any], /) -> ToolFunction: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, strict: bool | None = None
) -> Callable[[Callable[..., Any]], ToolFunction]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> ToolFunction | Callable[[Callable[..., Any]], ToolFunction]:
    """Decorator: makes a function a tool; bare, or ``@tool(name=…)`` with what its signature does not say."""
    if function is not None:
        return function_tool(function)
    return functools.partial(function_tool, name=name, description=description, strict=strict)


def function_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
) -> ToolFunction:
    """The tool that runs ``function``: what ``tool`` makes, for lambdas, partials and functions of others.

    ``ValidationError`` for a signature that named arguments cannot fill, ``UnsupportedError`` for a type that JSON
    cannot carry; each names the parameter. ``name`` and ``description`` default to the function's own.
    """
    if isinstance(function, ToolFunction):
        return function
    if not callable(function):
        raise ValidationError(f"{function!r} is not a function: tools are functions, ToolSpec values or boto3's dicts")
    name = name or _name(function)
    summary, documented = parse_docstring(inspect.getdoc(function) if not _is_instance(function) else None)
    parameters = _parameters(function, name)
    unbound = bool(parameters) and _is_self(parameters[0])
    parameters = parameters[1:] if unbound else parameters
    model = _arguments_model(name, parameters)
    schema = _describe(_model_schema(model), documented)
    spec = ToolSpec(name=name, input_schema=schema, description=description or summary, strict=strict)
    return ToolFunction(spec, functools.partial(_call, function, model, parameters), function, unbound)


def model_tool(model: type) -> ToolSpec:
    """A specification whose arguments are a pydantic model, dataclass or TypedDict; the caller reads them himself."""
    import dataclasses

    if not (hasattr(model, "model_json_schema") or dataclasses.is_dataclass(model) or hasattr(model, "__total__")):
        raise ValidationError(f"the class {model.__name__} is no tool: pass a function, a method, or a pydantic model")
    schema = type_schema(model, f"tool {model.__name__}")
    description, _ = parse_docstring(model.__doc__ if not dataclasses.is_dataclass(model) else None)
    return ToolSpec(
        name=model.__name__, input_schema=schema, description=schema.pop("description", None) or description
    )


# --- from a signature to a schema ------------------------------------------------------------------------------------


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise ValidationError("a lambda has no name to call it by: use def, or function_tool(fn, name=...)")
    return name


def _is_instance(function: Any) -> bool:
    """Whether it is an object with ``__call__`` or a partial, whose docstring is its class's."""
    return not (inspect.isroutine(function) or inspect.isclass(function))


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        signature, hints = inspect.signature(function), _hints(function)
    except NameError as error:
        raise ValidationError(f"tool {name!r}: {error}; its annotations must name types of the module") from error
    except (TypeError, ValueError) as error:
        raise ValidationError(f"tool {name!r} has no signature to read: wrap it in a function with one") from error
    parameters = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]
    for index, parameter in enumerate(parameters):
        if not (index == 0 and _is_self(parameter)):
            _check_parameter(parameter, name)
    return parameters


def _hints(function: Any) -> dict[str, Any]:
    """The annotations of a function, of what a partial fills, or of an object's ``__call__``, with names resolved."""
    while isinstance(function, functools.partial):
        function = function.func
    target = type(function).__call__ if _is_instance(function) else function
    return {name: portable(hint) for name, hint in get_type_hints(target, include_extras=True).items()}


def _is_self(parameter: inspect.Parameter) -> bool:
    return parameter.name in ("self", "cls") and parameter.annotation is parameter.empty


def _check_parameter(parameter: inspect.Parameter, name: str) -> None:
    where = f"tool {name!r}, parameter {parameter.name!r}"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise ValidationError(
            f"{where}: a model cannot fill '{parameter}'; name each argument, or take one list or dict"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ValidationError(f"{where} is positional only, and a model names its arguments: remove the '/'")
    if parameter.annotation is parameter.empty:
        raise ValidationError(f"{where} has no annotation: write its type, as in '{parameter.name}: str'")


def _arguments_model(name: str, parameters: Sequence[inspect.Parameter]) -> type[BaseModel]:
    """A model with one field a parameter. Fields have names of their own, since pydantic reserves some; the parameter's
    name is the alias, which is what schema and errors show."""
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    fields: dict[str, Any] = {f"argument_{i}": (_annotation(p), _field(p)) for i, p in enumerate(parameters)}
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid", use_attribute_docstrings=False), **fields)
    except PydanticUserError as error:
        raise _inexpressible(name, parameters, error) from error


def _annotation(parameter: inspect.Parameter) -> Any:
    """The annotation, with the ``Field(...)`` that a parameter may have for its default."""
    return Annotated[parameter.annotation, parameter.default] if _is_field(parameter.default) else parameter.annotation


def _field(parameter: inspect.Parameter) -> Any:
    from pydantic import Field

    if parameter.default is parameter.empty or _is_field(parameter.default):
        return Field(alias=parameter.name)
    return Field(default=parameter.default, alias=parameter.name)


def _inexpressible(name: str, parameters: Sequence[inspect.Parameter], error: Exception) -> UnsupportedError:
    """Which parameter it was, found by trying each alone."""
    for parameter in parameters:
        try:
            type_schema(parameter.annotation, name)
        except UnsupportedError as cause:
            return UnsupportedError(f"tool {name!r}, parameter {parameter.name!r}: {cause.message}")
    return UnsupportedError(f"tool {name!r}: {str(error).partition(chr(10))[0]}")


def _model_schema(model: type[BaseModel]) -> JsonObject:
    from pydantic.errors import PydanticUserError

    try:
        schema = model.model_json_schema(by_alias=True, schema_generator=schema_generator())
    except PydanticUserError as error:
        fields = model.model_fields.values()
        parameters = [
            inspect.Parameter(f.alias or "", inspect.Parameter.KEYWORD_ONLY, annotation=f.annotation) for f in fields
        ]
        raise _inexpressible(model.__name__, parameters, error) from error
    return {"properties": {}, **close(tidy(schema))}


def _describe(schema: JsonObject, documented: Mapping[str, str]) -> JsonObject:
    """The schema with the docstring's words on parameters that have no description of their own."""
    properties = {
        name: ({**part, "description": documented[name]} if name in documented and "description" not in part else part)
        for name, part in schema["properties"].items()
    }
    return schema | {"properties": properties}


# --- running one call ------------------------------------------------------------------------------------------------


class BadArguments(ValueError):
    """The model's arguments do not validate; the message lists why, for the model to read."""


def _call(
    function: Callable[..., Any], model: type[BaseModel], parameters: Sequence[inspect.Parameter], arguments: JsonValue
) -> Any:
    """Validate and call. Arguments that the model left out are left to the function's own defaults."""
    import pydantic

    try:
        # As JSON: strict models take texts for dates there.
        values = model.model_validate_json(msgspec.json.encode(arguments if arguments is not None else {}))
    except pydantic.ValidationError as error:
        raise BadArguments(f"invalid arguments: {error_list(error)}") from error
    given = values.model_fields_set
    python_default = [p.default is not p.empty and not _is_field(p.default) for p in parameters]
    named = [(f"argument_{i}", p.name, python_default[i]) for i, p in enumerate(parameters)]
    return function(**{name: getattr(values, field) for field, name, own in named if field in given or not own})


def _is_field(default: Any) -> bool:
    from pydantic.fields import FieldInfo

    return isinstance(default, FieldInfo)


def error_list(error: Any) -> str:
    """pydantic's errors as ``where: what``, for a model to read; without its links and inputs' types."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'the value'}: {item['msg']}" for item in items)
